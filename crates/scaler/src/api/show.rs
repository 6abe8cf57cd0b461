//! From what was seen to what is shown: no decision, no I/O.

use std::collections::BTreeMap;

use engine::Phase;
use model::{ExecutorState, Instance, InstanceName, LeaveStep, PoolName, Seen, age};

use super::{Api, Now, Standing, shapes};
use crate::held::Waiting;
use crate::looked::{Looked, PoolLooked};

/// Who answers, with all that this replica cannot vouch for.
pub(super) fn replica(api: &Api, now: &Now) -> shapes::Replica {
    let holder = api.0.store.get().map(|(_, holder)| holder.to_string());
    let holder = holder.unwrap_or_default();
    let (active, active_holder, epoch) = match &now.standing {
        Standing::Active(epoch) => (true, Some(holder.clone()), Some(epoch.0)),
        Standing::Standby(other) => (false, Some(other.to_string()), None),
        Standing::Unknown => (false, None, None),
    };
    let mut doubts = Vec::new();
    if let Some(why) = &now.trouble {
        doubts.push(format!("the last look failed: {why}"));
    }
    if let Some(why) = &now.config_stale {
        let first = why.lines().next().unwrap_or_default();
        doubts.push(format!(
            "the configuration on disk is not in force, the last good one is: {first}"
        ));
    }
    match (&now.looked, &active_holder) {
        (None, _) => doubts.push("this replica has not looked yet".to_owned()),
        _ if active => {}
        (_, Some(other)) => doubts.push(format!(
            "this replica stands by and plans nothing: {other} acts"
        )),
        (_, None) => doubts.push(
            "this replica stands by and does not know who acts: the store did not say".to_owned(),
        ),
    }
    if let Some(looked) = &now.looked {
        doubts.extend(blind_spots(looked));
    }
    let waiting = now.looked.as_ref().and_then(|it| it.waiting.as_ref());
    if let Some(waiting) = waiting {
        let why = match waiting.is_part {
            true => " while a part of the fleet cannot be listed, or",
            false => ",",
        };
        doubts.push(format!(
            "{} machines stay although the configuration would let them go{why} until `parmanu confirm {}`: {}",
            waiting.machines(),
            waiting.hash,
            waiting.in_words()
        ));
    }
    shapes::Replica {
        fleet: api.0.fleet.clone(),
        config: api.known().config.clone(),
        config_stale: now.config_stale.clone(),
        holder,
        active,
        active_holder,
        epoch,
        looked_at: now.looked.as_ref().map(|looked| looked.at),
        doubts,
        waiting: waiting.map(shown_waiting),
    }
}

/// Machines of one pool that are named: the others can be asked for.
const MOST_NAMED: usize = 100;

fn shown_waiting(waiting: &Waiting) -> shapes::Waiting {
    let number = |machines| u32::try_from(machines).unwrap_or(u32::MAX);
    let pools = waiting
        .pools
        .iter()
        .map(|(pool, departure)| shapes::WaitingPool {
            pool: pool.to_string(),
            why: departure.why.to_string(),
            machines: number(departure.machines),
            of: departure.of.iter().take(MOST_NAMED).cloned().collect(),
        });
    shapes::Waiting {
        hash: waiting.hash.clone(),
        machines: number(waiting.machines()),
        pools: pools.collect(),
    }
}

/// Listings that are not whole, said once for all pools.
fn blind_spots(looked: &Looked) -> Vec<String> {
    let mut said = BTreeMap::new();
    for (provider, listing) in looked.pools.values().flat_map(|pool| &pool.seen.listings) {
        let why = match listing {
            Seen::Complete { .. } => continue,
            Seen::Partial { why, .. } => {
                format!("the listing of {provider} is not whole: {}", why.join("; "))
            }
            Seen::Never { why: Some(why) } => format!("{provider} was never listed: {why}"),
            Seen::Never { why: None } => format!("{provider} was never listed"),
        };
        said.insert(provider, why);
    }
    said.into_values().collect()
}

/// Every configured pool, also those of which nothing is known.
pub(super) fn pools(api: &Api, now: &Now) -> Vec<shapes::Pool> {
    let known = api.known();
    let pools = known.pools.keys();
    pools.filter_map(|name| pool(api, now, name)).collect()
}

/// One pool, if it is configured.
pub(super) fn pool(api: &Api, now: &Now, name: &PoolName) -> Option<shapes::Pool> {
    let known = api.known();
    let facts = known.pools.get(name)?;
    let mut shown = shapes::Pool {
        name: name.to_string(),
        emitter: facts.emitter.as_ref().map(ToString::to_string),
        min: facts.min,
        max: facts.max,
        target: None,
        serving: 0,
        costing: 0,
        queued: None,
        running: None,
        oldest_wait_seconds: None,
        static_executors: 0,
        phases: BTreeMap::new(),
        paused: false,
        pinned: None,
        doubts: Vec::new(),
    };
    let Some(looked) = &now.looked else {
        shown.doubts.push("nothing is known of it yet".to_owned());
        return Some(shown);
    };
    shown.paused = looked.overrides.pause(name).is_some();
    shown.pinned = looked.overrides.pin(name).map(|(_, machines)| machines);
    if let Some(why) = looked.unreadable.get(name) {
        let why = format!("nothing is decided for it: the store holds what is not ours: {why}");
        shown.doubts.push(why);
    }
    if let Some(seen) = looked.pools.get(name) {
        fill(&mut shown, seen);
    }
    Some(shown)
}

fn fill(shown: &mut shapes::Pool, pool: &PoolLooked) {
    let PoolLooked { seen, supply, plan } = pool;
    shown.target = plan.as_ref().map(|plan| plan.summary.target);
    (shown.serving, shown.costing) = (supply.serving(), supply.costing());
    shown.static_executors = supply.static_executors;
    for machine in &supply.machines {
        *shown
            .phases
            .entry(machine.phase.as_str().to_owned())
            .or_default() += 1;
    }
    match &seen.seen.workload {
        Seen::Never { why: None } if shown.emitter.is_none() => {}
        Seen::Never { why } => {
            let why = why.as_deref().unwrap_or("probot has written nothing of it");
            shown
                .doubts
                .push(format!("its CI server was not heard: {why}"));
        }
        Seen::Partial { why, .. } => {
            let why = format!("the look at its CI server is not whole: {}", why.join("; "));
            shown.doubts.push(why);
        }
        Seen::Complete { .. } => {}
    }
    if let Some(workload) = seen.seen.workload.any() {
        let demand = &workload.demand;
        (shown.queued, shown.running) = (Some(demand.runnable), Some(demand.running));
        shown.oldest_wait_seconds = demand.oldest_wait.map(|wait| wait.as_secs());
    }
}

/// The machines of one pool.
pub(super) fn machines(looked: &Looked, pool: &PoolName) -> Vec<shapes::Machine> {
    let Some(pool) = looked.pools.get(pool) else {
        return Vec::new();
    };
    let listed = listed(pool);
    let machines = pool.supply.machines.iter();
    machines
        .map(|machine| one(pool, machine, listed.get(&machine.name).copied()))
        .collect()
}

fn listed(pool: &PoolLooked) -> BTreeMap<&InstanceName, &Instance> {
    let listings = pool.seen.listings.values().filter_map(Seen::any).flatten();
    listings
        .map(|instance| (&instance.name, instance))
        .collect()
}

/// One machine, if it is there.
pub(super) fn machine(looked: &Looked, name: &InstanceName) -> Option<shapes::Machine> {
    let pool = looked.pools.get(name.pool())?;
    let machine = pool.supply.machine(name)?;
    Some(one(pool, machine, listed(pool).get(name).copied()))
}

/// What drains a machine, if the engine took it for drained.
pub(super) fn drained_by<'a>(
    looked: &'a Looked,
    name: &InstanceName,
) -> Option<&'a model::Override> {
    let pool = looked.pools.get(name.pool())?;
    let machine = pool.supply.machine(name)?;
    machine.listed.filter(|listed| listed.drained)?;
    let zone = listed(pool).get(name).map(|listed| listed.scope.as_str());
    let overrides = &pool.seen.overrides;
    overrides.drain(name, zone, machine.offer.as_ref())
}

fn one(pool: &PoolLooked, machine: &engine::Machine, listed: Option<&Instance>) -> shapes::Machine {
    let executors = pool.seen.seen.workload.any().map(|it| &it.executors);
    let reference = machine.executor_ref.as_ref();
    let executor = executors.into_iter().flatten().find(|executor| {
        reference.is_some_and(|reference| reference.id == executor.id)
            || executor.name == machine.name.to_string()
    });
    let jobs = match executor.map(|executor| &executor.state) {
        Some(ExecutorState::Busy { jobs }) => jobs.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let idle_since = match &machine.phase {
        Phase::Idle { since } => Some(*since),
        _ => None,
    };
    shapes::Machine {
        name: machine.name.to_string(),
        pool: machine.name.pool().to_string(),
        provider: machine.provider.to_string(),
        id: listed.map(|listed| listed.id.to_string()),
        zone: listed.map(|listed| listed.scope.clone()),
        offer: machine.offer.as_ref().map(ToString::to_string),
        phase: machine.phase.as_str().to_owned(),
        note: note(&machine.phase),
        created_at: listed.and_then(|listed| listed.created_at),
        idle_since,
        expires: listed.and_then(|listed| listed.expires),
        executor: reference.map(ToString::to_string),
        jobs,
        leaving: machine.leaving.as_ref().map(|it| step(it.step).to_owned()),
    }
}

fn note(phase: &Phase) -> Option<String> {
    match phase {
        Phase::Busy { unknown: Some(why) } => Some(format!("counts as busy: {why}")),
        Phase::Cordoned { epoch, busy: true } => Some(format!(
            "cordoned in term {epoch}; it runs a job, which is left to finish"
        )),
        Phase::Cordoned { epoch, busy: false } => Some(format!("cordoned in term {epoch}")),
        Phase::Preempted { notice, .. } => Some(format!("its provider takes it back: {notice}")),
        Phase::Unclear { why } => Some(why.clone()),
        Phase::Spent { busy: true } => Some("it runs the last job it may run".to_owned()),
        Phase::Spent { busy: false } => Some("it has run the jobs it may run".to_owned()),
        Phase::ForeignCordon => Some("somebody else keeps it from jobs: never touched".to_owned()),
        Phase::Requested
        | Phase::Provisioning
        | Phase::Booting
        | Phase::Idle { .. }
        | Phase::Busy { unknown: None }
        | Phase::Deleting
        | Phase::Stuck
        | Phase::Lost
        | Phase::Stopped => None,
    }
}

fn step(step: LeaveStep) -> &'static str {
    match step {
        LeaveStep::Cordoning => "cordoning",
        LeaveStep::Settling => "settling",
        LeaveStep::ProvenOnce => "proven_once",
        LeaveStep::Asked => "asked",
        LeaveStep::Deleting => "deleting",
        LeaveStep::Removing => "removing",
    }
}

/// What was decided for a pool, if this replica decides.
pub(super) fn plan(pool: &PoolName, looked: &Looked) -> Option<shapes::Plan> {
    let plan = looked.pools.get(pool)?.plan.as_ref()?;
    Some(shapes::Plan {
        pool: pool.to_string(),
        at: looked.at,
        target: plan.summary.target,
        serving: plan.summary.serving,
        queued: plan.summary.queued,
        running: plan.summary.running,
        actions: plan.actions.iter().map(ToString::to_string).collect(),
        reasons: plan.reasons.iter().map(reason).collect(),
    })
}

pub(super) fn reason(reason: &engine::Reason) -> shapes::Reason {
    shapes::Reason {
        code: reason.code().to_owned(),
        text: reason.to_string(),
    }
}

/// The overrides in force now: what was over since the last look is left out.
pub(super) fn overrides(api: &Api, overrides: &model::Overrides) -> Vec<shapes::Override> {
    let now = api.time();
    let shown = overrides.in_force.iter().filter(|it| it.until > now);
    shown.map(one_override).collect()
}

pub(super) fn one_override(it: &model::Override) -> shapes::Override {
    shapes::Override {
        id: it.order.what.id(),
        what: it.order.what.to_string(),
        who: it.order.who.clone(),
        because: it.order.why.clone(),
        since: whole(it.since),
        until: whole(it.until),
    }
}

/// To the second: the rest is reckoned anew with each look.
fn whole(at: jiff::Timestamp) -> jiff::Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}

/// Every CI server of the configured pools.
pub(super) fn emitters(api: &Api, looked: Option<&Looked>) -> Vec<shapes::Emitter> {
    let known = api.known();
    let mut pools: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (name, facts) in &known.pools {
        if let Some(emitter) = &facts.emitter {
            pools.entry(emitter).or_default().push(name.to_string());
        }
    }
    let shown = pools.into_iter().map(|(name, pools)| {
        let status = looked.and_then(|looked| looked.emitters.get(name));
        let status = status.cloned().unwrap_or_default();
        // what was read once grows old here too
        let since = looked.map_or_else(Default::default, |looked| age(looked.at, api.time()));
        let unmatched = status
            .unmatched
            .into_iter()
            .map(|job| shapes::UnmatchedJob {
                job: job.job,
                nearest: job.nearest.map(|pool| pool.to_string()),
                missing: job.missing,
            });
        shapes::Emitter {
            name: name.to_string(),
            pools,
            last_good_seconds: status.last_good.map(|good| (good + since).as_secs()),
            failure: status.failure.map(|failure| failure.why),
            unmatched_total: status.unmatched_total,
            unmatched: unmatched.collect(),
        }
    });
    shown.collect()
}

/// What a plan says and does about one machine.
pub(super) fn about(looked: &Looked, name: &InstanceName) -> (Vec<shapes::Reason>, Vec<String>) {
    let pool = looked.pools.get(name.pool());
    let Some(plan) = pool.and_then(|pool| pool.plan.as_ref()) else {
        return (Vec::new(), Vec::new());
    };
    let text = name.to_string();
    let actions = plan.actions.iter().filter(|it| it.subject() == text);
    let reasons = plan.reasons.iter().filter(|it| it.subject() == Some(name));
    (
        reasons.map(reason).collect(),
        actions.map(ToString::to_string).collect(),
    )
}
