//! How many machines the pool's jobs need.

use model::{Executor, ExecutorState, Policy, Seen};

use crate::Observation;
use crate::reason::Reason;
use crate::supply::{Phase, Supply};

/// Machines needed by running and runnable jobs, before any limit.
///
/// A runnable job first takes a free slot of an executor that is not ours, then one of a machine that is busy anyway;
/// the rest is rounded up to whole machines. Never less for more queued jobs (E2).
pub(crate) fn wanted(
    seen: &Observation,
    policy: &Policy,
    supply: &Supply,
    reasons: &mut Vec<Reason>,
) -> u32 {
    let Some(workload) = seen.seen.workload.any() else {
        return 0;
    };
    let busy = supply.count(|m| matches!(m.phase, Phase::Busy { .. }));
    let busy_free: u32 = supply
        .machines
        .iter()
        .filter(|m| matches!(m.phase, Phase::Busy { .. }))
        .map(|m| m.free_slots)
        .sum();
    let free = busy_free.saturating_add(supply.static_free);
    let unserved = workload.demand.runnable.saturating_sub(free);
    let wanted = busy.saturating_add(unserved.div_ceil(policy.slots.max(1)));
    reasons.push(Reason::Demand {
        queued: workload.demand.runnable,
        running: workload.demand.running,
        busy,
        free,
        slots: policy.slots,
        wanted,
    });
    wanted
}

/// Slots of one executor that a job could take now.
pub(crate) fn free_slots(executor: &Executor) -> u32 {
    if executor.cordon != model::Cordon::None {
        return 0;
    }
    match &executor.state {
        ExecutorState::Idle { .. } => executor.slots,
        ExecutorState::Busy { jobs } => {
            let held = u32::try_from(jobs.len()).unwrap_or(u32::MAX).max(1);
            executor.slots.saturating_sub(held)
        }
        ExecutorState::NeverJoined
        | ExecutorState::Offline { .. }
        | ExecutorState::Unknown { .. } => 0,
    }
}

/// Whether the workload was ever heard.
pub(crate) fn heard(seen: &Observation) -> bool {
    !matches!(seen.seen.workload, Seen::Never { .. })
}
