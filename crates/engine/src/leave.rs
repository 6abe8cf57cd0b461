//! Departures: what all of their steps look at, and the calling back of machines that are needed again.
//!
//! No machine leaves but through cordon → settle → strong read → settle → strong read → delete. The first three steps
//! are actions of their own; the last read and the deletion are one, so that nothing lies between them. Doubt about the
//! workload or the listing stops every step but the calling back of a machine.

mod begin;
mod step;

use std::time::Duration;

use jiff::Timestamp;
use model::{
    ExecutorMode, Instance, IntentKey, LeaveStep, OfferId, Policy, Seen, UncontrolledLeave, age,
};

use crate::reason::Reason;
use crate::retire;
use crate::rules::Situation;
use crate::supply::{Does, Machine, Phase, Supply};
use crate::trust::{Trust, listing_doubt};
use crate::{Action, Observation, Plan};

/// After this an action whose outcome was not heard is asked for again; all of them are idempotent.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What a machine is billed for at least where no offer says it, as at EC2 and GCE.
const LEAST_BILLED: Duration = Duration::from_secs(60);

/// The least age at which a machine of this offer leaves: it has had the time to boot, and an earlier end would save
/// nothing. For an offer that is not configured any more the longest time of all that are.
pub(crate) fn least_age(policy: &Policy, offer: Option<&OfferId>) -> Duration {
    let known = policy.offers.iter().find(|known| Some(&known.id) == offer);
    let longest = || policy.offers.iter().map(|offer| offer.least_billed).max();
    let billed = known.map(|offer| offer.least_billed).or_else(longest);
    policy.boot.expect.max(billed.unwrap_or(LEAST_BILLED))
}

/// How old the look may be on which `scale_in: best-effort` deletes: the older, the likelier it was given a job since.
const FRESH_LOOK: Duration = Duration::from_secs(10);

/// How a machine is made to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a cordon, two readings and a deletion; without an executor by the deletion alone.
    Cordon,
    /// By its own guest.
    AskGuest,
    /// By a deletion on the word of a look.
    BestEffort,
}

/// What every step looks at.
pub(crate) struct Context<'a> {
    pub(crate) seen: &'a Observation,
    pub(crate) policy: &'a Policy,
    pub(crate) supply: &'a Supply,
    pub(crate) trust: Trust,
    pub(crate) rules: Situation<'a>,
    pub(crate) now: Timestamp,
}

impl Context<'_> {
    /// The settle time, if executors can be controlled at all.
    pub(crate) fn settle(&self) -> Option<Duration> {
        match self.policy.executors {
            ExecutorMode::Managed { settle } => Some(settle),
            ExecutorMode::ReadOnly { .. } => None,
            ExecutorMode::None => Some(Duration::ZERO),
        }
    }

    /// How machines leave here, if they do.
    fn way(&self) -> Option<Way> {
        match self.policy.executors {
            ExecutorMode::Managed { .. } | ExecutorMode::None => Some(Way::Cordon),
            ExecutorMode::ReadOnly { leave } => match leave {
                UncontrolledLeave::ByThemselves => None,
                UncontrolledLeave::AskGuest => Some(Way::AskGuest),
                UncontrolledLeave::BestEffort => Some(Way::BestEffort),
            },
        }
    }

    /// Whether a look shows it idle and uncordoned, and is so young that it may be true still.
    fn was_just_idle(&self, machine: &Machine) -> bool {
        let look = self.seen.seen.workload.at();
        let is_idle = machine
            .agent
            .is_some_and(|agent| agent.does == Does::Idle && agent.cordon == model::Cordon::None);
        is_idle && look.is_some_and(|at| age(at, self.now) <= FRESH_LOOK)
    }

    fn listing_is_whole(&self, machine: &Machine) -> bool {
        listing_doubt(self.seen, &machine.provider, self.now).is_none()
    }

    /// Lets up to `short` machines that this very term cordoned take jobs again, before anything new is made.
    pub(crate) fn call_back(&self, short: u32, plan: &mut Plan) -> u32 {
        if self.settle().is_none() {
            return 0;
        }
        // one that runs a job would bring no room for another; it is left to finish and is called back then
        let candidates = self
            .supply
            .machines
            .iter()
            .filter(|machine| match &machine.phase {
                Phase::Cordoned { epoch, busy: false } => {
                    *epoch == self.seen.epoch && self.may_return(machine)
                }
                _ => false,
            });
        let mut count = 0;
        for machine in candidates.take(short as usize) {
            let Some(executor) = machine.executor_ref.clone() else {
                continue;
            };
            let instance = machine.name.clone();
            plan.end.push(IntentKey::Leave(instance.clone()));
            plan.actions.push(Action::Uncordon { instance, executor });
            count += 1;
        }
        if count > 0 {
            plan.reasons.push(Reason::CalledBack { count });
        }
        count
    }

    /// Whether a cordoned machine is whole and its deletion was not asked for yet.
    fn may_return(&self, machine: &Machine) -> bool {
        let does = machine.agent.map(|agent| agent.does);
        let alive = matches!(does, Some(Does::Idle | Does::Busy));
        let running = is_running(machine);
        // a cordon that is being set at this moment is waited for; one that was not heard of is taken back as well
        let may = machine
            .leaving
            .as_ref()
            .is_none_or(|leaving| match leaving.step {
                LeaveStep::Settling | LeaveStep::ProvenOnce => true,
                LeaveStep::Cordoning => leaving.age >= RETRY_AFTER,
                LeaveStep::Asked | LeaveStep::Deleting | LeaveStep::Removing => false,
            });
        let stays = machine.listed.is_some_and(|listed| !listed.noticed)
            && retire::due(machine, self.policy, self.now).is_none()
            && !retire::is_spent(self.seen, self.policy, &machine.name, machine.jobs.as_ref());
        alive && running && stays && may && machine.executor_ref.is_some()
    }

    /// Whether every provider's listing is whole and shows no such machine, or shows it as gone.
    pub(crate) fn is_gone(&self, name: &model::InstanceName) -> bool {
        let listed = |list: &Vec<Instance>| list.iter().any(|i| i.name == *name);
        self.seen
            .listings
            .iter()
            .any(|(_, seen)| seen.any().is_some_and(listed))
            || self.seen.listings.iter().all(|(provider, seen)| {
                matches!(seen, Seen::Complete { .. })
                    && listing_doubt(self.seen, provider, self.now).is_none()
            })
    }
}

fn is_running(machine: &Machine) -> bool {
    machine.listed.is_some_and(|listed| listed.running)
}
