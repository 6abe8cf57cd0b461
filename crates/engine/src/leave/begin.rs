//! Who begins to leave.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::rules::IdleTime;
use model::{ExecutorMode, InstanceName, IntentKey, LeaveStep, OfferId, age};

use super::{Context, FRESH_LOOK, Way, is_running, least_age};
use crate::plan::{DeleteProof, LeaveWhy};
use crate::reason::Reason;
use crate::supply::{Does, Leaving, Machine, Phase};
use crate::{Action, Plan, retire};

/// A job may be on its way to a machine that was not seen idle before.
const IDLE_BEFORE: Duration = Duration::from_secs(1);

impl Context<'_> {
    /// Lets machines begin to leave: the broken ones, and the idle ones beyond the target, those that are to be replaced
    /// and those of offers that are no longer configured first, then the longest idle. `replaced` have begun already.
    pub(crate) fn begin(&self, target: u32, replaced: &BTreeSet<InstanceName>, plan: &mut Plan) {
        if self.trust.no_shrink.is_some() {
            return;
        }
        let gone = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
        let serving = self.supply.serving().saturating_sub(gone);
        let surplus = serving.saturating_sub(target);
        let is_replaced = serving >= target && self.supply.count(|m| m.phase.is_coming()) == 0;
        self.begin_broken(is_replaced, plan);
        if let Some(why) = &self.seen.seen.control_refused {
            plan.reasons.push(Reason::ControlRefused {
                why: why.clone(),
                surplus,
            });
            return;
        }
        self.say_refused(plan);
        if surplus == 0 {
            return;
        }
        if self.way().is_none() {
            plan.reasons.push(Reason::ReadOnly { surplus });
            return;
        }
        let rule = self.rules.rules.scale_in();
        let mut idle: Vec<(bool, Timestamp, &Machine)> = self
            .supply
            .machines
            .iter()
            // one that is taken back is not among those that serve
            .filter(|machine| matches!(machine.phase, Phase::Idle { .. }))
            .filter(|machine| !replaced.contains(&machine.name))
            .filter_map(|machine| {
                let since = *plan.memory.idle_since.get(&machine.name)?;
                self.may_leave(machine, since, plan).then_some((
                    !self.goes_first(machine),
                    since,
                    machine,
                ))
            })
            .collect();
        // outdated first, then (once billing edges are known) the nearest to one, then the longest idle
        idle.sort_by_key(|(current, since, machine)| (*current, *since, &machine.name));
        idle.truncate(surplus as usize);
        let look = self.seen.seen.workload.at();
        let is_old = look.is_none_or(|at| age(at, self.now) > FRESH_LOOK);
        if idle.is_empty() && is_old && self.way() == Some(Way::BestEffort) {
            let within = FRESH_LOOK;
            plan.reasons.push(Reason::WaitsForLook { surplus, within });
        } else if idle.is_empty() {
            plan.reasons.push(Reason::NotIdleLongEnough {
                surplus,
                idle_for: self.idle_for(),
            });
        }
        let begun = plan.memory.departures.len();
        let allowed = rule
            .at_most
            .map_or(usize::MAX, |n| (n as usize).saturating_sub(begun));
        if let (Some(at_most), true) = (rule.at_most, idle.len() > allowed) {
            let waiting = u32::try_from(idle.len() - allowed).unwrap_or(u32::MAX);
            plan.reasons.push(Reason::ScaleInPace {
                at_most,
                per: rule.per,
                waiting,
            });
        }
        let share = self.share_left(idle.len().min(allowed), begun, plan);
        for (_, _, machine) in idle.into_iter().take(allowed.min(share)) {
            plan.memory.departures.push(self.now);
            self.begin_one(machine, LeaveWhy::Idle, plan);
        }
    }

    /// How many machines the pool's share lets begin to leave now, of `many` that could.
    fn share_left(&self, many: usize, begun: usize, plan: &mut Plan) -> usize {
        let Some(share) = self.rules.rules.scale_in().at_most_share else {
            return many;
        };
        // of what there was when the window began
        let begun = u32::try_from(begun).unwrap_or(u32::MAX);
        let pool = self.supply.serving().saturating_add(begun);
        let left = share.of(pool).saturating_sub(begun) as usize;
        if many > left {
            plan.reasons.push(Reason::LeaveShare {
                share,
                per: self.rules.rules.scale_in().per,
                waiting: u32::try_from(many - left).unwrap_or(u32::MAX),
            });
        }
        left
    }

    /// Whether it is to be replaced anyway, or comes from an offer that the configuration does not name any more.
    fn goes_first(&self, machine: &Machine) -> bool {
        let offers = &self.policy.offers;
        let known = |id: &OfferId| offers.iter().any(|offer| offer.id == *id);
        machine.offer.as_ref().is_some_and(|id| !known(id))
            || machine.listed.is_some_and(|listed| listed.changed)
            || retire::due(machine, self.policy, self.now).is_some()
    }

    /// How long a machine itself must have been idle. Where levels of the target are kept, they have waited already;
    /// the machine that goes need only be idle in a look before this one.
    fn idle_for(&self) -> Duration {
        match self.rules.rules.scale_in().idle {
            IdleTime::Fixed { idle_for } => idle_for,
            IdleTime::BreakEven { .. } => IDLE_BEFORE,
        }
    }

    fn may_leave(&self, machine: &Machine, since: Timestamp, plan: &Plan) -> bool {
        let departs = machine.leaving.is_some()
            && !plan.end.contains(&IntentKey::Leave(machine.name.clone()));
        let young = machine.listed.is_none_or(|listed| {
            listed
                .exists_since
                .is_none_or(|at| age(at, self.now) < least_age(self.policy, machine.offer.as_ref()))
        });
        !young
            && !self.is_refused(machine)
            && age(since, self.now) >= self.idle_for()
            && !departs
            && self.listing_is_whole(machine)
            && is_running(machine)
            && (machine.executor_ref.is_some() || self.policy.executors == ExecutorMode::None)
            && (self.way() != Some(Way::BestEffort) || self.was_just_idle(machine))
    }

    /// Whether the CI server lately refused to have this machine's own executor cordoned.
    fn is_refused(&self, machine: &Machine) -> bool {
        self.seen.seen.cordon_refused.contains_key(&machine.name)
    }

    fn say_refused(&self, plan: &mut Plan) {
        let refused = self.seen.seen.cordon_refused.iter();
        let there = refused.filter(|(name, _)| self.supply.machine(name).is_some());
        plan.reasons
            .extend(there.map(|(name, why)| Reason::CordonRefused {
                instance: name.clone(),
                why: why.clone(),
            }));
    }

    /// `is_replaced` says that the pool has what it wants without the machines that are taken back, and has it up.
    fn begin_broken(&self, is_replaced: bool, plan: &mut Plan) {
        for machine in &self.supply.machines {
            let why = match machine.phase {
                Phase::Stuck => LeaveWhy::Stuck,
                Phase::Lost => LeaveWhy::Lost,
                Phase::Stopped => LeaveWhy::Stopped,
                Phase::Spent { .. } => LeaveWhy::Spent,
                // one whose executor nobody has seen is not up yet, and is left to the provider
                Phase::Preempted { .. } if machine.agent.is_some() => LeaveWhy::Preempted,
                Phase::Preempted { .. } if is_replaced && self.serves_nobody(machine, plan) => {
                    LeaveWhy::Preempted
                }
                _ => continue,
            };
            let has_cordon = machine.executor_ref.is_some();
            let may = match self.way() {
                Some(Way::Cordon) if !has_cordon => true,
                Some(Way::Cordon) => {
                    self.seen.seen.control_refused.is_none() && !self.is_refused(machine)
                }
                Some(Way::AskGuest) => is_running(machine),
                // what does not answer may run a build all the same
                Some(Way::BestEffort) => self.was_just_idle(machine),
                None => false,
            };
            let may = may || why == LeaveWhy::Stopped;
            if machine.leaving.is_some() || !may || !self.listing_is_whole(machine) {
                continue;
            }
            // the next look may show what was found; until then there is nothing to begin
            let goes_unread = !has_cordon || why == LeaveWhy::Stopped;
            if !goes_unread || !self.is_doubted(machine, plan) {
                self.begin_one(machine, why, plan);
            }
        }
    }

    /// Whether a machine that joins no CI server would leave if it were too many. A notice that comes to nothing must not
    /// keep it for ever.
    fn serves_nobody(&self, machine: &Machine, plan: &Plan) -> bool {
        let since = plan.memory.idle_since.get(&machine.name);
        self.policy.executors == ExecutorMode::None
            && since.is_some_and(|since| self.may_leave(machine, *since, plan))
    }

    /// Whether a machine that serves can begin to leave by a cordon, or needs none.
    pub(crate) fn can_begin(&self, machine: &Machine) -> bool {
        let departs = machine.leaving.is_some();
        let controlled =
            machine.executor_ref.is_some() || self.policy.executors == ExecutorMode::None;
        let controlled =
            controlled && (self.way() != Some(Way::BestEffort) || self.was_just_idle(machine));
        !departs
            && controlled
            && !self.is_refused(machine)
            && is_running(machine)
            && self.listing_is_whole(machine)
    }

    /// Whether it leaves whatever it runs, which is left to finish.
    pub(super) fn must_go(&self, machine: &Machine) -> bool {
        self.why_again(machine) != LeaveWhy::Idle
    }

    /// Why a machine leaves whose cordon is asked for once more.
    pub(super) fn why_again(&self, machine: &Machine) -> LeaveWhy {
        if matches!(machine.phase, Phase::Spent { .. }) {
            return LeaveWhy::Spent;
        }
        match why_bad(machine) {
            LeaveWhy::Idle => retire::due(machine, self.policy, self.now).unwrap_or(LeaveWhy::Idle),
            bad => bad,
        }
    }

    pub(crate) fn begin_one(&self, machine: &Machine, why: LeaveWhy, plan: &mut Plan) {
        let (instance, epoch) = (machine.name.clone(), self.seen.epoch);
        plan.reasons.push(Reason::Leaves {
            instance: instance.clone(),
            why,
        });
        let fresh = Leaving {
            step: LeaveStep::Cordoning,
            age: Duration::ZERO,
            epoch,
        };
        match &machine.executor_ref {
            // there is nothing to cordon; it is listed once more before it goes
            reference if why == LeaveWhy::Stopped => {
                let reference = reference.clone();
                plan.begin_leave(&instance, reference, epoch, LeaveStep::Cordoning);
            }
            _ if self.policy.executors == ExecutorMode::None => {
                self.delete(machine, &fresh, DeleteProof::NoExecutor, plan);
            }
            _ if self.way() == Some(Way::AskGuest) => self.ask(machine, why, plan),
            _ if self.way() == Some(Way::BestEffort) => {
                self.delete(machine, &fresh, DeleteProof::LookedIdle, plan);
            }
            Some(executor) => {
                let reference = Some(executor.clone());
                plan.begin_leave(&instance, reference, epoch, LeaveStep::Cordoning);
                plan.actions.push(Action::Cordon {
                    instance,
                    executor: executor.clone(),
                    why,
                });
            }
            // there is nothing to cordon; it is looked for once more before it goes
            None => plan.begin_leave(&instance, None, epoch, LeaveStep::Cordoning),
        }
    }
}

fn why_bad(machine: &Machine) -> LeaveWhy {
    if machine.listed.is_some_and(|listed| listed.noticed) {
        return LeaveWhy::Preempted;
    }
    match machine.agent.map(|agent| agent.does) {
        Some(Does::NeverJoined) => LeaveWhy::Stuck,
        Some(Does::Offline) => LeaveWhy::Lost,
        Some(Does::Idle | Does::Busy | Does::Unknown) | None => LeaveWhy::Idle,
    }
}
