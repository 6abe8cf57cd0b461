//! The decision, top down: trust, supply, demand, limits, who leaves.

use jiff::Timestamp;
use model::{Policy, age};

use crate::reason::Reason;
use crate::supply::{Phase, Supply};
use crate::trust::{self, Trust};
use crate::{Observation, Plan, Summary, create, demand, leave};

/// Names of failed machines remembered at most; the breaker needs three.
const MAX_FAILED_BOOTS: usize = 100;

/// Decides what one pool does next.
///
/// Pure: equal inputs give an equal plan, so a plan seen in production can be replayed from its recorded inputs.
/// Nothing is retried here: the next tick is the retry.
pub fn plan(seen: &Observation, policy: &Policy, now: Timestamp) -> Plan {
    let supply = Supply::of(seen, policy, now);
    let trust = Trust::of(seen, policy, now);
    let mut plan = start(seen, policy, &supply);
    remember(&mut plan, &supply, policy, now);
    create::settle(seen, policy, &mut plan, now);

    let wanted = wanted(seen, policy, &supply, &trust, &mut plan);
    let serving = supply.serving();
    let held = trust.no_shrink.as_ref().map_or(0, |_| serving);
    let target = wanted.min(policy.max.max(held));

    let leaving = leave::Context {
        seen,
        policy,
        supply: &supply,
        trust: &trust,
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

/// Machines wanted: by the jobs, but at least the minimum, and on doubt at least what there is.
fn wanted(
    seen: &Observation,
    policy: &Policy,
    supply: &Supply,
    trust: &Trust,
    plan: &mut Plan,
) -> u32 {
    let serving = supply.serving();
    let mut wanted = 0;
    if trust.may_grow && demand::heard(seen) {
        wanted = demand::wanted(seen, policy, supply, &mut plan.reasons);
    }
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
    let joined = supply.machines.iter().any(|machine| {
        let up = matches!(
            machine.phase,
            Phase::Idle { .. } | Phase::Busy { unknown: None }
        );
        up && memory.booting.contains(&machine.name)
    });
    if joined {
        memory.failed_boots.clear();
    }
    memory.idle_since = idle;
    memory.booting = coming;
    memory
        .departures
        .retain(|at| age(*at, now) < policy.scale_in.per);
}
