//! The phase of one listed machine, from all that is known of it.

use jiff::Timestamp;
use model::{
    Cordon, Executor, ExecutorMode, ExecutorState, Instance, InstanceState, LeaveStep, Policy, age,
};

use super::{Leaving, Phase};
use crate::{Observation, boots, offers};

/// One listed machine and all that is known of it.
pub(super) struct Look<'a> {
    pub(super) instance: &'a Instance,
    pub(super) executor: Option<&'a Executor>,
    pub(super) leaving: Option<&'a Leaving>,
    /// Whether anything names an executor of it.
    pub(super) registered: bool,
    /// Whether it has run the jobs it may run.
    pub(super) spent: bool,
    pub(super) seen: &'a Observation,
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
}

impl Look<'_> {
    pub(super) fn phase(&self) -> Phase {
        let step = self.leaving.map(|leaving| leaving.step);
        match &self.instance.state {
            InstanceState::Stopping => return Phase::Deleting,
            InstanceState::Stopped if step == Some(LeaveStep::Deleting) => return Phase::Deleting,
            // somebody has a look at it
            InstanceState::Stopped if self.is_kept() => return Phase::ForeignCordon,
            InstanceState::Stopped => return Phase::Stopped,
            InstanceState::Unknown { what } => {
                return Phase::Unclear {
                    why: format!("the provider calls its state `{what}`"),
                };
            }
            InstanceState::Gone { .. } | InstanceState::Pending | InstanceState::Running => {}
        }
        if matches!(step, Some(LeaveStep::Deleting | LeaveStep::Removing)) {
            return Phase::Deleting;
        }
        if self.policy.executors == ExecutorMode::None {
            if self.is_pending() {
                return match self.coming() {
                    // it is ready when it runs, and a cloud that never lets it run makes no machine
                    Phase::Provisioning if self.is_overdue() => Phase::Stuck,
                    coming => coming,
                };
            }
            let since = self.idle_since();
            return self.preempted(false).unwrap_or(Phase::Idle { since });
        }
        match self.executor {
            Some(executor) => self.phase_with(executor),
            None => self.phase_without(),
        }
    }

    /// Whether somebody else keeps it from taking jobs.
    fn is_kept(&self) -> bool {
        let executor = self.executor;
        executor.is_some_and(|executor| executor.cordon == Cordon::Foreign)
    }

    /// A machine on its way up.
    fn coming(&self) -> Phase {
        let on_its_way = if self.is_pending() {
            Phase::Provisioning
        } else {
            Phase::Booting
        };
        self.preempted(false).unwrap_or(on_its_way)
    }

    fn is_pending(&self) -> bool {
        self.instance.state == InstanceState::Pending
    }

    /// Since when it has been seen idle without a break.
    fn idle_since(&self) -> Timestamp {
        let known = self.seen.seen.memory.idle_since.get(&self.instance.name);
        known.copied().unwrap_or(self.now)
    }

    /// A machine that would serve, were it not taken back.
    fn preempted(&self, busy: bool) -> Option<Phase> {
        let notice = self.instance.notice.clone()?;
        Some(Phase::Preempted { notice, busy })
    }

    fn phase_with(&self, executor: &Executor) -> Phase {
        let busy = matches!(executor.state, ExecutorState::Busy { .. });
        // what it runs is the pool's work, cordoned or not; an agent that went with its one job is as good as idle
        let spent = self.spent && executor.cordon != Cordon::Foreign;
        let may_work = matches!(
            executor.state,
            ExecutorState::Busy { .. } | ExecutorState::Unknown { .. }
        );
        if spent && may_work {
            return Phase::Spent { busy: true };
        }
        match executor.cordon {
            Cordon::Ours { epoch } => return Phase::Cordoned { epoch, busy },
            Cordon::Foreign if busy => return Phase::Busy { unknown: None },
            Cordon::Foreign => return Phase::ForeignCordon,
            Cordon::None => {}
        }
        let leaving = self.leaving.filter(|l| !l.was_lifted(self.seen, self.now));
        if let Some(leaving) = leaving {
            return Phase::Cordoned {
                epoch: leaving.epoch,
                busy,
            };
        }
        let online = match executor.state {
            ExecutorState::Idle { .. } => Some(false),
            ExecutorState::Busy { .. } | ExecutorState::Unknown { .. } => Some(true),
            ExecutorState::NeverJoined | ExecutorState::Offline { .. } => None,
        };
        if let Some(phase) = online.and_then(|busy| self.preempted(busy)) {
            return phase;
        }
        if spent {
            return Phase::Spent { busy: false };
        }
        match &executor.state {
            ExecutorState::Busy { .. } => Phase::Busy { unknown: None },
            ExecutorState::Unknown { why } => Phase::Busy {
                unknown: Some(why.clone()),
            },
            ExecutorState::Idle { since } => {
                let watched = self.idle_since();
                // the CI server may know an earlier moment, but a later one wins: a job may have run in between
                let since = since.map_or(watched, |since| since.max(watched));
                Phase::Idle {
                    since: since.min(self.now),
                }
            }
            ExecutorState::NeverJoined if self.is_overdue() => Phase::Stuck,
            ExecutorState::NeverJoined => self.coming(),
            ExecutorState::Offline { .. } => Phase::Lost,
        }
    }

    /// A machine whose executor is not in the look. Absent is not idle: it may be hidden, renamed, or not there yet.
    fn phase_without(&self) -> Phase {
        if !self.is_overdue() {
            return self.coming();
        }
        let fresh = self.policy.trust.fresh_for;
        let workload = &self.seen.seen.workload;
        let looked = workload.complete_within(fresh, self.now).is_some();
        match (self.registered, looked) {
            // nothing was registered before and nothing registered itself: no job can be on it
            (false, true) => Phase::Stuck,
            (true, true) => Phase::Unclear {
                why: "its executor is not to be found at the CI server, and absent is not idle"
                    .into(),
            },
            (_, false) => Phase::Unclear {
                why: "its executor could not be looked for".into(),
            },
        }
    }

    fn is_overdue(&self) -> bool {
        let created = self.seen.seen.memory.exists_since(self.instance);
        let made = self.instance.generation.as_ref();
        let offer = offers::made_from(self.policy, made, self.instance.offer.as_ref());
        let deadline = || boots::deadline(self.policy, &self.seen.seen.memory, offer);
        created.is_some_and(|at| age(at, self.now) > deadline())
    }

    /// Slots that a new job could take.
    pub(super) fn room(&self, phase: &Phase) -> u32 {
        let slots = self.policy.slots;
        match phase {
            Phase::Requested | Phase::Provisioning | Phase::Booting | Phase::Idle { .. } => slots,
            // by the pool's own slots: the CI server need not know how many jobs a machine takes
            Phase::Busy { unknown: None } => match self.executor {
                Some(Executor {
                    state: ExecutorState::Busy { jobs },
                    cordon: Cordon::None,
                    ..
                }) => {
                    let held = u32::try_from(jobs.len()).unwrap_or(u32::MAX).max(1);
                    slots.saturating_sub(held)
                }
                _ => 0,
            },
            Phase::Busy { unknown: Some(_) }
            | Phase::Cordoned { .. }
            | Phase::ForeignCordon
            | Phase::Preempted { .. }
            | Phase::Spent { .. }
            | Phase::Deleting
            | Phase::Stuck
            | Phase::Lost
            | Phase::Stopped
            | Phase::Unclear { .. } => 0,
        }
    }
}
