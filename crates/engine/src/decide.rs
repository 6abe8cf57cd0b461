//! The decision, top down: trust, supply, demand, limits, what the fleet grants, who leaves.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    ExecutorMode, FleetPolicy, InstanceName, JobsRun, Joins, Learned, Policy, PoolMemory,
    Recommendations, Seen, age,
};

use crate::allocate::{Ask, Grant, Held, allocate};
use crate::create::Growth;
use crate::leave::Context;
use crate::reason::Reason;
use crate::retire::Replacement;
use crate::rules::when::Facts;
use crate::rules::{
    self, InForce, Situation, limit, pace, pressure, reserve, scale_in, utilization,
};
use crate::supply::{Does, Machine, Phase, Supply};
use crate::trust::{self, Trust, Unseen};
use crate::{Observation, Plan, Summary, boots, create, demand, fleet, learn, offers, orders};

/// Decides what one pool does next, as if it were alone: with no cap but its own.
///
/// Pure: equal inputs give an equal plan, so a plan seen in production can be replayed from its recorded inputs.
/// Nothing is retried here: the next tick is the retry.
pub fn plan(seen: &Observation, policy: &Policy, now: Timestamp) -> Plan {
    let supply = Supply::of(seen, policy, now);
    let (case, begun) = Case::of(seen, policy, &supply, now);
    let wish = Wish::of(&case, begun);
    let grant = wish.alone();
    wish.granted(&grant)
}

/// How many machines a pool wants by its own rules, of what it has; `None` while a doubt keeps what is there, and so nothing
/// is known of what they would let go.
pub fn wants(seen: &Observation, policy: &Policy, now: Timestamp) -> Option<u32> {
    let supply = Supply::of(seen, policy, now);
    let (case, begun) = Case::of(seen, policy, &supply, now);
    let wish = Wish::of(&case, begun);
    let trust = &wish.context.trust;
    trust.no_shrink.is_none().then_some(wish.target)
}

/// Decides what one pool does next with what the fleet grants it; the inputs of a record give its plan again.
pub fn plan_granted(seen: &Observation, policy: &Policy, grant: &Grant, now: Timestamp) -> Plan {
    let supply = Supply::of(seen, policy, now);
    let (case, begun) = Case::of(seen, policy, &supply, now);
    Wish::of(&case, begun).granted(grant)
}

/// One pool at one tick, and the limits that hold for it at this moment.
pub(crate) struct Case<'a> {
    seen: &'a Observation,
    supply: &'a Supply,
    facts: Facts,
    policy: Cow<'a, Policy>,
    limits: Option<Reason>,
    /// What was learned up to this tick, and the boot time that follows from it.
    known: Learned,
    boot: Duration,
}

impl<'a> Case<'a> {
    pub(crate) fn of(
        seen: &'a Observation,
        policy: &'a Policy,
        supply: &'a Supply,
        now: Timestamp,
    ) -> (Self, Plan) {
        let facts = Facts::of(seen, policy, supply, now);
        let (policy, limits) = limit::apply(policy, &facts);
        let mut plan = start(seen, &policy, supply);
        remember(&mut plan, seen, supply, &policy, now);
        create::settle(seen, &policy, &mut plan, now);
        let boot = learn::boot_time(&plan.memory.learned, &policy.boot);
        let known = learn::settled(&plan.memory.learned, boot, now).into_owned();
        let case = Case {
            seen,
            supply,
            facts,
            policy,
            limits,
            known,
            boot,
        };
        (case, plan)
    }
}

/// One pool's decision up to the point where it must know what the fleet grants it.
pub(crate) struct Wish<'a> {
    context: Context<'a>,
    plan: Plan,
    wanted: u32,
    /// The same within the pool's limits.
    wanted_now: u32,
    /// The same with what stands in for machines that are being replaced.
    target: u32,
    called_back: u32,
    growth: Growth,
    replacement: Option<Replacement>,
}

impl<'a> Wish<'a> {
    /// Goes on with a plan that was begun with the case.
    pub(crate) fn of(case: &'a Case<'a>, mut plan: Plan) -> Self {
        let Case {
            seen,
            supply,
            facts,
            ..
        } = case;
        let (policy, now): (&Policy, Timestamp) = (&case.policy, facts.now);
        let rules = Situation {
            seen,
            policy,
            supply,
            rules: InForce::of(policy, facts),
            known: &case.known,
            boot: case.boot,
            now,
        };
        let mut trust = Trust::of(seen, policy, now)
            .with_sense(seen, policy, supply, &mut plan, now)
            .with_orders(seen);

        let limits = case.limits.clone();
        let wanted = wanted(&rules, facts, &trust, limits, &mut plan);
        let serving = supply.serving();
        orders::say_drains(seen, policy, &mut plan);
        let wanted = orders::apply(seen, policy, serving, wanted, &mut trust, &mut plan);
        let held = trust.no_shrink.as_ref().map_or(0, |_| serving);
        let wanted_now = wanted.min(policy.max.max(held));
        let sure = trust.no_shrink.is_none();
        let replacement = sure
            .then(|| Replacement::of(seen, policy, supply, now))
            .flatten();
        let extra = replacement.map_or(0, |replacement| replacement.extra);
        let target = wanted_now
            .saturating_add(extra)
            .min(policy.max.max(wanted_now));

        let context = Context {
            seen,
            policy,
            supply,
            trust,
            rules,
            now,
        };
        let short = target.saturating_sub(serving);
        let called_back = context.call_back(short, &mut plan);
        let growth = create::growth(&context, short - called_back, &mut plan);
        Wish {
            context,
            plan,
            wanted,
            wanted_now,
            target,
            called_back,
            growth,
            replacement,
        }
    }

    /// What it asks of the fleet.
    pub(crate) fn ask(&self) -> Ask {
        let Context { policy, supply, .. } = &self.context;
        let standing = &policy.standing;
        let serving = supply.serving() + self.called_back;
        let affordable = |offer: &&model::OfferPolicy| {
            standing
                .max_price
                .is_none_or(|max| offer.price <= Some(max))
        };
        Ask {
            pool: policy.pool.clone(),
            group: standing.group.clone(),
            priority: standing.priority,
            weight: standing.weight,
            serving,
            count: self.growth.count,
            to_min: policy.min.saturating_sub(serving).min(self.growth.count),
            oldest_wait: fleet::oldest_wait(self.context.seen, self.context.now),
            cheapest: policy
                .offers
                .iter()
                .filter(affordable)
                .filter_map(|o| o.price)
                .min(),
            rungs: self.growth.rungs.clone(),
        }
    }

    /// What it gets where nothing is shared.
    fn alone(&self) -> Grant {
        let nobody = FleetPolicy::default();
        let granted = allocate(&[self.ask()], &nobody, &Held::default()).pop();
        Grant {
            spend: self.plan.memory.spend.clone(),
            ..granted.unwrap_or_default()
        }
    }

    /// The plan with what the fleet grants.
    pub(crate) fn granted(self, grant: &Grant) -> Plan {
        let Wish {
            context,
            mut plan,
            wanted,
            wanted_now,
            target,
            called_back,
            growth,
            replacement,
        } = self;
        let Context { policy, supply, .. } = context;
        let serving = supply.serving();
        plan.memory.spend.clone_from(&grant.spend);
        plan.reasons.extend(grant.reasons.iter().cloned());
        let created = create::create(&context, &growth, grant, &mut plan);
        let reached = if target > serving {
            serving + called_back + created
        } else {
            target
        };
        let unseen = Unseen::of(context.seen, supply).count();
        let at_max = supply.costing() + created + unseen >= policy.max;
        if wanted > reached && (wanted > wanted_now || at_max) {
            let (max, costing) = (policy.max, supply.costing());
            plan.reasons.push(Reason::Ceiling {
                max,
                costing,
                wanted,
                reached,
            });
        }
        context.carry_on(&mut plan);
        let replaced = replacement.map(|due| context.begin_due(&due, wanted_now, &mut plan));
        context.begin(target, &replaced.unwrap_or_default(), &mut plan);
        context.clear_away(&mut plan);
        plan.summary.target = target;
        if plan.actions.is_empty() && serving == target {
            plan.reasons.push(Reason::Steady { serving });
        }
        plan
    }
}

fn start(seen: &Observation, policy: &Policy, supply: &Supply) -> Plan {
    let demand = seen.seen.workload.any().map(|workload| &workload.demand);
    Plan {
        pool: policy.pool.clone(),
        summary: Summary {
            target: 0,
            serving: supply.serving(),
            costing: supply.costing(),
            queued: demand.map_or(0, |demand| demand.runnable),
            running: demand.map_or(0, |demand| demand.running),
            static_executors: supply.static_executors,
        },
        actions: Vec::new(),
        reasons: Vec::new(),
        put: Vec::new(),
        end: Vec::new(),
        memory: seen.seen.memory.clone(),
        next_sequence: seen.seen.next_sequence,
    }
}

/// Machines wanted: by the jobs and the rules, but at least the minimum, and on doubt at least what there is.
fn wanted(
    at: &Situation<'_>,
    facts: &Facts,
    trust: &Trust,
    limits: Option<Reason>,
    plan: &mut Plan,
) -> u32 {
    let (policy, serving) = (at.policy, at.supply.serving());
    let mut wanted = 0;
    if trust.may_grow && demand::heard(at.seen) {
        wanted = by_rules(at, facts, &mut plan.reasons);
        if trust.no_shrink.is_none() {
            learn_and_record(at, wanted, plan);
            // not one of the two after the other: each may keep what the other would not
            let stable = pace::stabilise(at, wanted, plan);
            wanted = scale_in::keep(at, wanted, plan).max(stable);
        }
    }
    plan.reasons.extend(limits);
    if wanted < policy.min {
        plan.reasons.push(Reason::Floor {
            min: policy.min,
            wanted,
        });
        wanted = policy.min;
    }
    let Some(why) = &trust.no_shrink else {
        return wanted;
    };
    let reason = trust.said.clone();
    plan.reasons
        .push(reason.unwrap_or_else(|| trust::held(why)));
    let keep = serving.max(trust::at_least_on_doubt(policy).min(policy.max));
    if keep > wanted && trust.said.is_none() {
        plan.reasons.push(Reason::HeldSize { keep });
    }
    wanted.max(keep)
}

/// What the jobs need, and what the rules add to it; none of them lowers it.
fn by_rules(at: &Situation<'_>, facts: &Facts, reasons: &mut Vec<Reason>) -> u32 {
    let needed = demand::needed(at.seen, at.policy, at.supply, at.boot, at.now, reasons);
    let wanted = utilization::raise(at, needed.machines, reasons);
    let wanted = reserve::raise(at, needed.open, wanted, reasons);
    pressure::raise(at, facts, wanted, reasons)
}

/// Takes in what a look that can be trusted teaches, and what was wanted because of it.
fn learn_and_record(at: &Situation<'_>, wanted: u32, plan: &mut Plan) {
    let Some(workload) = at.workload() else {
        return;
    };
    let demand = &workload.demand;
    let needed = demand.running.saturating_add(demand.runnable);
    let memory = &mut plan.memory;
    let known = Cow::Borrowed(at.known);
    learn::observe(&mut memory.learned, known, needed, at.boot, at.now);
    // whoever starts, or lost his memory, does not know since when the machines he finds are not needed
    let found = Recommendations {
        now: at.supply.serving(),
        earlier: Vec::new(),
    };
    let recommended = memory.wanted.get_or_insert(found);
    recommended.record(wanted, at.now);
    recommended.forget(rules::longest_window(at.policy, at.boot), at.now);
}

/// Brings the memory up to this tick: who is idle since when, who was coming up, who never came.
fn remember(plan: &mut Plan, seen: &Observation, supply: &Supply, policy: &Policy, now: Timestamp) {
    let memory = &mut plan.memory;
    offers::learn(memory, &seen.seen.offer_news, &seen.at_provider, now);
    offers::learn_taken_back(memory, supply, policy, now);
    let failed = boots::remember(memory, seen, supply, policy, now);
    offers::learn_boots(memory, supply, policy, &failed, now);
    let mut idle = BTreeMap::new();
    let mut coming = BTreeSet::new();
    for machine in &supply.machines {
        let name = machine.name.clone();
        match &machine.phase {
            Phase::Idle { since } => {
                idle.insert(name, *since);
            }
            // where no look tells who is idle, it goes on as before the notice
            Phase::Preempted { .. } if policy.executors == ExecutorMode::None => {
                let known = memory.idle_since.get(&name).copied();
                idle.insert(name, known.unwrap_or(now));
            }
            // whatever hides it for a while, it was still never seen to join
            phase if phase.is_coming() || still_to_join(machine, memory) => {
                coming.insert(name);
            }
            Phase::Requested
            | Phase::Provisioning
            | Phase::Booting
            | Phase::Busy { .. }
            | Phase::Cordoned { .. }
            | Phase::ForeignCordon
            | Phase::Preempted { .. }
            | Phase::Spent { .. }
            | Phase::Deleting
            | Phase::Stuck
            | Phase::Lost
            | Phase::Stopped
            | Phase::Unclear { .. } => {}
        }
    }
    for machine in &supply.machines {
        let up = matches!(
            machine.phase,
            Phase::Idle { .. } | Phase::Busy { unknown: None } | Phase::Spent { .. }
        );
        if up && memory.booting.contains(&machine.name) {
            let created = machine.listed.and_then(|listed| listed.created_at);
            if let Some(created) = created {
                learn::observe_boot(&mut memory.learned, age(created, now));
            }
        }
    }
    let jobs = supply.machines.iter();
    let jobs = jobs.filter_map(|machine| Some((machine.name.clone(), machine.jobs.clone()?)));
    let mut jobs: BTreeMap<_, _> = jobs.collect();
    keep_unlisted(memory, seen, supply, &mut coming, &mut jobs);
    memory.jobs = jobs;
    memory.idle_since = idle;
    remember_first_listed(memory, seen, now);
    remember_what_they_join(memory, seen, policy, now);
    memory.booting = coming;
    let window = rules::longest_departure_window(policy);
    memory.departures.retain(|at| age(*at, now) < window);
}

/// Adds what is known of machines that may stand where nobody can look: that they were never seen to join, unless the look shows
/// their executor, and the jobs that they ran.
fn keep_unlisted(
    memory: &PoolMemory,
    seen: &Observation,
    supply: &Supply,
    coming: &mut BTreeSet<InstanceName>,
    jobs: &mut BTreeMap<InstanceName, JobsRun>,
) {
    for name in Unseen::of(seen, supply).names() {
        let mut joined = supply.ghosts.iter();
        if memory.booting.contains(name) && !joined.any(|it| it.instance == *name) {
            coming.insert(name.clone());
        }
        if let Some(ran) = memory.jobs.get(name) {
            jobs.insert(name.clone(), ran.clone());
        }
    }
}

/// Clocks of clouds and ours may differ by so much, and a listing is so late at most, when it is told which machines are
/// younger than a change.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// For the time when the pool is not configured any more. Of machines that stand at a change it is not known which side of it
/// they were made on, so it holds for those made well after it.
fn remember_what_they_join(
    memory: &mut PoolMemory,
    seen: &Observation,
    policy: &Policy,
    now: Timestamp,
) {
    let uncontrolled = match policy.executors {
        ExecutorMode::ReadOnly { leave } => Some(leave),
        ExecutorMode::Managed { .. } | ExecutorMode::None => None,
    };
    let emitter = policy.emitter.clone();
    if let Some(known) = &mut memory.joins
        && known.emitter == emitter
    {
        known.uncontrolled = uncontrolled;
        return;
    }
    let mut listings = seen.listings.values();
    let is_empty =
        |seen: &Seen<Vec<_>>| matches!(seen, Seen::Complete { value, .. } if value.is_empty());
    let is_new = memory.joins.is_none() && seen.seen.intents.is_empty() && listings.all(is_empty);
    let margin = jiff::SignedDuration::try_from(CLOCKS_DIFFER).unwrap_or_default();
    memory.joins = Some(Joins {
        emitter,
        uncontrolled,
        since: if is_new { now - margin } else { now + margin },
    });
}

/// Machines of which their providers do not tell the age. One that a listing with a hole does not show is not forgotten: it
/// would begin anew each time.
fn remember_first_listed(memory: &mut PoolMemory, seen: &Observation, now: Timestamp) {
    let mut known = std::mem::take(&mut memory.first_listed);
    let listed = seen.listings.values().filter_map(Seen::any).flatten();
    for machine in listed.filter(|machine| machine.created_at.is_none()) {
        if !machine.state.is_gone() {
            let first = known.remove(&machine.name).unwrap_or(now);
            memory.first_listed.insert(machine.name.clone(), first);
        }
    }
    if !trust::all_listed(seen) {
        memory.first_listed.append(&mut known);
    }
}

/// Whether a machine that was coming up at the last tick has shown no executor by now.
fn still_to_join(machine: &Machine, memory: &PoolMemory) -> bool {
    let does = machine.agent.map(|agent| agent.does);
    memory.booting.contains(&machine.name) && matches!(does, None | Some(Does::NeverJoined))
}
