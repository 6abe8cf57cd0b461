//! How many machines the pool's jobs need.

use std::time::Duration;

use jiff::Timestamp;
use model::{Executor, ExecutorState, Policy, Seen, age};

use crate::Observation;
use crate::reason::Reason;
use crate::supply::Supply;

/// What the jobs need, before any rule and any limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Machines.
    pub(crate) machines: u32,
    /// Slots for jobs that do not run yet: runnable ones, and those that become runnable within a boot time.
    pub(crate) open: u32,
}

/// Machines needed by running and runnable jobs, and by those that become runnable within one boot time.
///
/// A runnable job first takes a free slot of an executor that is not ours, then one of a machine that is busy anyway;
/// the rest is rounded up to whole machines. Never less for more queued jobs (E2).
pub(crate) fn needed(
    seen: &Observation,
    policy: &Policy,
    supply: &Supply,
    within: Duration,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) -> Needed {
    let Some(workload) = seen.seen.workload.any() else {
        return Needed {
            machines: 0,
            open: 0,
        };
    };
    let runnable = workload.demand.runnable;
    let machines = machines_for(policy, supply, runnable);
    reasons.push(Reason::Demand {
        queued: runnable,
        running: workload.demand.running,
        busy: busy(supply),
        free: free(supply),
        slots: policy.slots,
        wanted: machines,
    });
    let since_look = seen
        .seen
        .workload
        .at()
        .map_or(Duration::ZERO, |at| age(at, now));
    let horizon = within.saturating_add(since_look);
    let soon = workload.demand.soon.iter();
    let soon = soon.filter(|soon| soon.ready_in <= horizon);
    let jobs = soon.fold(0u32, |sum, soon| sum.saturating_add(soon.jobs));
    let open = runnable.saturating_add(jobs);
    let raised = machines_for(policy, supply, open);
    if raised > machines {
        reasons.push(Reason::Ahead {
            jobs,
            within,
            wanted: machines,
            raised,
        });
    }
    Needed {
        machines: raised,
        open,
    }
}

/// Machines that run jobs, and those that give so many slots more.
pub(crate) fn machines_for(policy: &Policy, supply: &Supply, open: u32) -> u32 {
    let unserved = open.saturating_sub(free(supply));
    busy(supply).saturating_add(unserved.div_ceil(policy.slots.max(1)))
}

fn busy(supply: &Supply) -> u32 {
    supply.count(|m| m.phase.is_busy())
}

/// Free slots of busy machines and of executors that are not ours.
fn free(supply: &Supply) -> u32 {
    let busy = supply.machines.iter();
    let busy = busy.filter(|m| m.phase.is_busy());
    let free = busy.fold(0u32, |sum, m| sum.saturating_add(m.free_slots));
    free.saturating_add(supply.static_free)
}

/// Slots of one executor that takes jobs, free or not.
pub(crate) fn slots(executor: &Executor) -> u32 {
    match &executor.state {
        ExecutorState::Idle { .. } | ExecutorState::Busy { .. }
            if executor.cordon == model::Cordon::None =>
        {
            executor.slots
        }
        ExecutorState::Idle { .. }
        | ExecutorState::Busy { .. }
        | ExecutorState::NeverJoined
        | ExecutorState::Offline { .. }
        | ExecutorState::Unknown { .. } => 0,
    }
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
