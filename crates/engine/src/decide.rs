//! The decision, top down: trust, supply, demand, limits, who leaves.

use std::borrow::Cow;

use jiff::Timestamp;
use model::{Policy, Recommendations, age};

use crate::reason::Reason;
use crate::rules::when::Facts;
use crate::rules::{
    self, InForce, Situation, limit, pace, pressure, reserve, scale_in, utilization,
};
use crate::supply::{Phase, Supply};
use crate::trust::{self, Trust};
use crate::{Observation, Plan, Summary, create, demand, learn, leave};

/// Names of failed machines remembered at most; the breaker needs three.
const MAX_FAILED_BOOTS: usize = 100;

/// Decides what one pool does next.
///
/// Pure: equal inputs give an equal plan, so a plan seen in production can be replayed from its recorded inputs.
/// Nothing is retried here: the next tick is the retry.
pub fn plan(seen: &Observation, policy: &Policy, now: Timestamp) -> Plan {
    let supply = Supply::of(seen, policy, now);
    let facts = Facts::of(seen, policy, &supply, now);
    let (limited, limits) = limit::apply(policy, &facts);
    let policy: &Policy = &limited;
    let trust = Trust::of(seen, policy, now);
    let mut plan = start(seen, policy, &supply);
    remember(&mut plan, &supply, policy, now);
    create::settle(seen, policy, &mut plan, now);
    let remembered = plan.memory.learned.clone();
    let boot = learn::boot_time(&remembered, &policy.boot);
    let rules = Situation {
        seen,
        policy,
        supply: &supply,
        rules: InForce::of(policy, &facts),
        known: &learn::settled(&remembered, boot, now),
        boot,
        now,
    };

    let wanted = wanted(&rules, &facts, &trust, limits, &mut plan);
    let serving = supply.serving();
    let held = trust.no_shrink.as_ref().map_or(0, |_| serving);
    let target = wanted.min(policy.max.max(held));

    let leaving = leave::Context {
        seen,
        policy,
        supply: &supply,
        trust: &trust,
        rules: &rules,
        now,
    };
    let short = target.saturating_sub(serving);
    let called_back = leaving.call_back(short, &mut plan);
    let created = create::grow(&leaving, short - called_back, &mut plan);
    let reached = if short > 0 {
        serving + called_back + created
    } else {
        target
    };
    let at_max = supply.costing() + created >= policy.max;
    if wanted > reached && (wanted > target || at_max) {
        let (max, costing) = (policy.max, supply.costing());
        plan.reasons.push(Reason::Ceiling {
            max,
            costing,
            wanted,
            reached,
        });
    }
    leaving.carry_on(&mut plan);
    leaving.begin(serving.saturating_sub(target), &mut plan);
    leaving.clear_away(&mut plan);
    plan.summary.target = target;
    if plan.actions.is_empty() && serving == target {
        plan.reasons.push(Reason::Steady { serving });
    }
    plan
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
    plan.reasons.push(trust::held(why));
    let keep = serving.max(trust::at_least_on_doubt(policy).min(policy.max));
    if keep > wanted {
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
fn remember(plan: &mut Plan, supply: &Supply, policy: &Policy, now: Timestamp) {
    let memory = &mut plan.memory;
    let mut idle = std::collections::BTreeMap::new();
    let mut coming = std::collections::BTreeSet::new();
    for machine in &supply.machines {
        let name = machine.name.clone();
        match &machine.phase {
            Phase::Idle { since } => {
                idle.insert(name, *since);
            }
            Phase::Stuck if memory.failed_boots.len() < MAX_FAILED_BOOTS => {
                memory.failed_boots.insert(name);
            }
            phase if phase.is_coming() => {
                coming.insert(name);
            }
            Phase::Requested
            | Phase::Provisioning
            | Phase::Booting
            | Phase::Busy { .. }
            | Phase::Cordoned { .. }
            | Phase::ForeignCordon
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
            Phase::Idle { .. } | Phase::Busy { unknown: None }
        );
        if up && memory.booting.contains(&machine.name) {
            memory.failed_boots.clear();
            let created = machine.instance.as_ref().and_then(|i| i.created_at);
            if let Some(created) = created {
                learn::observe_boot(&mut memory.learned, age(created, now));
            }
        }
    }
    memory.idle_since = idle;
    memory.booting = coming;
    let window = rules::longest_departure_window(policy);
    memory.departures.retain(|at| age(*at, now) < window);
}
