//! Departures: who leaves, and how each one is carried from cordon to gone.
//!
//! No machine leaves but through cordon → settle → strong read → settle → strong read → delete. The first three steps
//! are actions of their own; the last read and the deletion are one, so that nothing lies between them. Doubt about the
//! workload or the listing stops every step but the calling back of a machine.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::rules::IdleTime;
use model::{
    ExecutorMode, Instance, InstanceName, Intent, IntentKey, LeaveStep, OfferId, Policy, Seen,
    UncontrolledLeave, age,
};

use crate::ghosts;
use crate::plan::{DeleteProof, LeaveWhy};
use crate::reason::{Reason, in_words};
use crate::retire;
use crate::rules::Situation;
use crate::supply::{Does, Leaving, Machine, Phase, Supply};
use crate::trust::{Trust, listing_doubt};
use crate::{Action, Observation, Plan};

/// After this an action whose outcome was not heard is asked for again; all of them are idempotent.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// A job may be on its way to a machine that was not seen idle before.
const IDLE_BEFORE: Duration = Duration::from_secs(1);

/// Why a departure ends whose cordon is gone.
const LIFTED: &str = "its cordon was lifted, so it stays";

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

/// A guest that was asked to end its agent is asked again after this, and the operator is told that it runs on: a build
/// may take so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3600);

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

    /// Carries every departure one step further.
    pub(crate) fn carry_on(&self, plan: &mut Plan) {
        for machine in &self.supply.machines {
            match (&machine.phase, &machine.leaving) {
                _ if plan.end.contains(&IntentKey::Leave(machine.name.clone())) => {}
                (Phase::ForeignCordon, _) => {
                    plan.reasons.push(Reason::ForeignCordon {
                        instance: machine.name.clone(),
                    });
                    self.give_up(machine, LIFTED, plan);
                }
                (Phase::Unclear { why }, _) => {
                    let (instance, why) = (machine.name.clone(), why.clone());
                    plan.reasons.push(Reason::Unclear { instance, why });
                }
                (Phase::Busy { unknown: Some(why) }, None) => {
                    let (instance, why) = (machine.name.clone(), why.clone());
                    plan.reasons.push(Reason::Unclear { instance, why });
                }
                (Phase::Preempted { notice, busy }, leaving) => {
                    plan.reasons.push(Reason::Preempted {
                        instance: machine.name.clone(),
                        notice: notice.clone(),
                        busy: *busy,
                    });
                    match leaving {
                        // one whose executor is not in the look shows no cordon, and none that was lifted
                        Some(leaving) if machine.agent.is_none() => {
                            self.step(machine, leaving, plan);
                        }
                        // its cordon was lifted: it is set again, as long as the notice stands
                        Some(_) => self.give_up(machine, LIFTED, plan),
                        None => {}
                    }
                }
                (Phase::Idle { .. } | Phase::Busy { .. }, Some(_)) => {
                    self.give_up(machine, LIFTED, plan);
                }
                (Phase::Cordoned { epoch, .. }, None) => {
                    let (instance, epoch) = (machine.name.clone(), *epoch);
                    plan.reasons.push(Reason::Adopted { instance, epoch });
                    let step = LeaveStep::Settling;
                    let executor = machine.executor_ref.clone();
                    plan.begin_leave(&machine.name, executor, epoch, step);
                    if self.way() == Some(Way::AskGuest) {
                        let age = Duration::ZERO;
                        self.step(machine, &Leaving { step, age, epoch }, plan);
                    }
                }
                (_, Some(leaving)) => self.step(machine, leaving, plan),
                (_, None) => {}
            }
        }
    }

    /// Ends a departure whose cordon is gone: the machine serves again, or is somebody else's business.
    fn give_up(&self, machine: &Machine, why: &str, plan: &mut Plan) {
        if machine.leaving.is_some() {
            plan.end.push(IntentKey::Leave(machine.name.clone()));
            // whoever lifted it wants it to serve: its idle time begins anew
            if let Some(since) = plan.memory.idle_since.get_mut(&machine.name) {
                *since = self.now;
            }
            let what = why.to_owned();
            plan.reasons.push(Reason::Departing {
                instance: machine.name.clone(),
                what,
            });
        }
    }

    fn step(&self, machine: &Machine, leaving: &Leaving, plan: &mut Plan) {
        if let Some(why) = &self.trust.no_shrink {
            return self.departing(machine, format!("it waits, since {why}"), plan);
        }
        if !self.listing_is_whole(machine) {
            let what = format!("it waits for a whole listing of {}", machine.provider);
            return self.departing(machine, what, plan);
        }
        let Some(settle) = self.settle() else {
            return self.step_uncontrolled(machine, leaving, plan);
        };
        let confirmed = is_cordoned(machine);
        let lifted = !confirmed && leaving.was_lifted(self.seen, self.now);
        if lifted && matches!(machine.phase, Phase::Spent { .. }) {
            return self.begin_one(machine, LeaveWhy::Spent, plan);
        }
        let busy = matches!(
            machine.phase,
            Phase::Cordoned { busy: true, .. } | Phase::Spent { busy: true }
        );
        match (leaving.step, &machine.executor_ref) {
            (LeaveStep::Cordoning, _) if is_off(machine) => {
                self.step_powered_off(machine, leaving, plan);
            }
            (LeaveStep::Cordoning, None) if self.looked_after(leaving, settle) => {
                self.delete(machine, leaving, DeleteProof::NeverRegistered, plan);
            }
            (LeaveStep::Cordoning, None) => {
                self.departing(machine, "it is looked for once more".into(), plan);
            }
            (LeaveStep::Cordoning, Some(executor)) if confirmed => {
                let executor = Some(executor.clone());
                plan.begin_leave(&machine.name, executor, leaving.epoch, LeaveStep::Settling);
                self.departing(machine, "the cordon is confirmed".into(), plan);
            }
            // no cordon came, and a job did: it serves on, as whatever begins to leave is idle
            (LeaveStep::Cordoning, Some(_))
                if leaving.age >= RETRY_AFTER
                    && may_run_a_job(machine)
                    && !self.must_go(machine) =>
            {
                self.give_up(
                    machine,
                    "no cordon came, and it has a job, so it stays",
                    plan,
                );
            }
            (LeaveStep::Cordoning, Some(executor)) if leaving.age >= RETRY_AFTER => {
                plan.begin_leave(
                    &machine.name,
                    Some(executor.clone()),
                    leaving.epoch,
                    LeaveStep::Cordoning,
                );
                let (instance, executor) = (machine.name.clone(), executor.clone());
                plan.actions.push(Action::Cordon {
                    instance,
                    executor,
                    why: self.why_again(machine),
                });
                self.departing(machine, "the cordon is set once more".into(), plan);
            }
            // a job that was promised before the cordon: nothing is to be read until the look shows it done
            (LeaveStep::Settling, Some(_)) if busy => {
                self.departing(
                    machine,
                    "it runs a job, which is left to finish".into(),
                    plan,
                );
            }
            (LeaveStep::Settling, Some(executor)) if leaving.age >= settle => {
                let (instance, executor) = (machine.name.clone(), executor.clone());
                plan.actions.push(Action::Verify { instance, executor });
                self.departing(machine, format!("settled for {}", in_words(settle)), plan);
            }
            (LeaveStep::ProvenOnce, Some(executor)) if leaving.age >= settle => {
                let proof = DeleteProof::ReadIdle {
                    executor: executor.clone(),
                };
                self.delete(machine, leaving, proof, plan);
            }
            (LeaveStep::Deleting, _) if leaving.age >= RETRY_AFTER => {
                let proof = self.proof_again(machine, leaving);
                if let Some(proof) = proof {
                    self.delete(machine, leaving, proof, plan);
                }
            }
            (step, _) => self.departing(machine, step_in_words(step, settle), plan),
        }
    }

    /// The next step of a departure where executors cannot be controlled.
    fn step_uncontrolled(&self, machine: &Machine, leaving: &Leaving, plan: &mut Plan) {
        match (leaving.step, self.way()) {
            (LeaveStep::Cordoning, _) if is_off(machine) => {
                self.step_powered_off(machine, leaving, plan);
            }
            (LeaveStep::Deleting, _) if leaving.age < RETRY_AFTER => {
                self.departing(machine, "its deletion was asked for".to_owned(), plan);
            }
            (LeaveStep::Asked | LeaveStep::Deleting, _) if is_off(machine) => {
                self.delete(machine, leaving, DeleteProof::PoweredOff, plan);
            }
            (LeaveStep::Deleting, Some(Way::BestEffort)) if self.was_just_idle(machine) => {
                self.delete(machine, leaving, DeleteProof::LookedIdle, plan);
            }
            // it runs on, and may have been given a job
            (LeaveStep::Deleting, Some(Way::BestEffort)) => {
                plan.end.push(IntentKey::Leave(machine.name.clone()));
                let what = "its deletion came to nothing, so it stays for now".to_owned();
                self.departing(machine, what, plan);
            }
            (LeaveStep::Asked, Some(Way::AskGuest)) if leaving.epoch != self.seen.epoch => {
                let what = "its guest is asked once more, since the scaler that did may have died";
                self.departing(machine, what.to_owned(), plan);
                self.ask(machine, self.why_again(machine), plan);
            }
            (LeaveStep::Asked, Some(Way::AskGuest)) if leaving.age >= ASK_AGAIN_AFTER => {
                let what = format!(
                    "its guest was asked to end the agent {} ago and it runs on (has its boot script `guest.sh.j2`?); it is asked again",
                    in_words(leaving.age)
                );
                self.departing(machine, what, plan);
                self.ask(machine, self.why_again(machine), plan);
            }
            // begun since it was powered off, or by a cordon that never came, which nobody can set here: what runs a job, or goes
            // by itself only, stays
            (LeaveStep::Cordoning, Some(Way::BestEffort)) if self.was_just_idle(machine) => {
                self.delete(machine, leaving, DeleteProof::LookedIdle, plan);
            }
            (LeaveStep::Cordoning, way)
                if is_running(machine)
                    && !is_cordoned(machine)
                    && (way.is_none()
                        || (way == Some(Way::BestEffort) && may_run_a_job(machine))) =>
            {
                let why = "it runs and nothing keeps it from jobs, so it stays";
                self.give_up(machine, why, plan);
            }
            // cordoned when there was a right to, and nobody can lift that any more
            (
                LeaveStep::Cordoning | LeaveStep::Settling | LeaveStep::ProvenOnce,
                Some(Way::AskGuest),
            ) if is_running(machine) => {
                let what = "there is no right to control executors any more: its guest is asked";
                self.departing(machine, what.to_owned(), plan);
                self.ask(machine, self.why_again(machine), plan);
            }
            (LeaveStep::Asked, _) => {
                let what = "its guest ends the agent after its build and powers off".to_owned();
                self.departing(machine, what, plan);
            }
            _ => self.departing(
                machine,
                "there is no right to control executors".into(),
                plan,
            ),
        }
    }

    fn ask(&self, machine: &Machine, why: LeaveWhy, plan: &mut Plan) {
        let (instance, executor) = (machine.name.clone(), machine.executor_ref.clone());
        plan.begin_leave(&instance, executor, self.seen.epoch, LeaveStep::Asked);
        plan.actions.push(Action::AskGuest {
            instance,
            provider: machine.provider.clone(),
            why,
        });
    }

    /// What a deletion that was not carried out may rest on when it is asked for again.
    fn proof_again(&self, machine: &Machine, leaving: &Leaving) -> Option<DeleteProof> {
        if is_off(machine) {
            return Some(DeleteProof::PoweredOff);
        }
        if self.policy.executors == ExecutorMode::None {
            return Some(DeleteProof::NoExecutor);
        }
        match &machine.executor_ref {
            Some(executor) => Some(DeleteProof::ReadIdle {
                executor: executor.clone(),
            }),
            None => {
                let looked = self.looked_after(leaving, Duration::ZERO);
                looked.then_some(DeleteProof::NeverRegistered)
            }
        }
    }

    /// Whether the look is whole, so that an executor which is not in it does not exist.
    fn looked(&self) -> bool {
        let fresh = self.policy.trust.fresh_for;
        self.seen
            .seen
            .workload
            .complete_within(fresh, self.now)
            .is_some()
    }

    /// Whether a whole look that began so long after this step shows no executor: an older one may be that by which the
    /// machine was given up, and it may have joined since.
    fn looked_after(&self, leaving: &Leaving, settle: Duration) -> bool {
        let look = self.seen.seen.workload.at();
        let since = leaving.age.checked_sub(settle);
        self.looked()
            && look
                .zip(since)
                .is_some_and(|(at, since)| age(at, self.now) <= since)
    }

    /// Whether the listing that shows this machine began after this step.
    fn listed_after(&self, machine: &Machine, leaving: &Leaving) -> bool {
        let listing = self.seen.listings.get(&machine.provider);
        let at = listing.and_then(Seen::at);
        at.is_some_and(|at| age(at, self.now) < leaving.age)
    }

    /// What one listing shows powered off may be on its way up again; what a second one shows so too is not.
    fn step_powered_off(&self, machine: &Machine, leaving: &Leaving, plan: &mut Plan) {
        if self.listed_after(machine, leaving) {
            self.delete(machine, leaving, DeleteProof::PoweredOff, plan);
        } else {
            let what = "powered off, and listed once more before it goes".to_owned();
            self.departing(machine, what, plan);
        }
    }

    fn delete(&self, machine: &Machine, leaving: &Leaving, proof: DeleteProof, plan: &mut Plan) {
        if proof.rests_on_absence() && self.is_doubted(machine, plan) {
            return;
        }
        let instance = machine.name.clone();
        let executor = machine.executor_ref.clone();
        plan.begin_leave(&instance, executor, leaving.epoch, LeaveStep::Deleting);
        let what = "its deletion is asked for".to_owned();
        plan.reasons.push(Reason::Departing {
            instance: instance.clone(),
            what,
        });
        plan.actions.push(Action::Delete {
            instance,
            provider: machine.provider.clone(),
            proof,
        });
    }

    /// Whether the CI server was asked for its executor right before the deletion, lately, and did not say that it has none.
    fn is_doubted(&self, machine: &Machine, plan: &mut Plan) -> bool {
        let doubt = self.seen.seen.join_doubts.get(&machine.name);
        plan.reasons.extend(doubt.map(|why| Reason::JoinDoubt {
            instance: machine.name.clone(),
            why: why.clone(),
        }));
        doubt.is_some()
    }

    fn departing(&self, machine: &Machine, what: String, plan: &mut Plan) {
        plan.reasons.push(Reason::Departing {
            instance: machine.name.clone(),
            what,
        });
    }

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
    fn must_go(&self, machine: &Machine) -> bool {
        self.why_again(machine) != LeaveWhy::Idle
    }

    /// Why a machine leaves whose cordon is asked for once more.
    fn why_again(&self, machine: &Machine) -> LeaveWhy {
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

    /// Ends departures whose machine is gone, and removes executors that have no machine.
    pub(crate) fn clear_away(&self, plan: &mut Plan) {
        let looked = self.trust.no_shrink.is_none() && self.looked();
        for stored in &self.seen.seen.intents {
            let Intent::Leave {
                instance,
                executor,
                epoch,
                step,
            } = &stored.intent
            else {
                continue;
            };
            let exists = self.supply.machine(instance).is_some();
            if exists || !self.is_gone(instance) {
                continue;
            }
            let ghost = self.supply.ghosts.iter().find(|g| g.instance == *instance);
            match (ghost, executor) {
                // one that names no executor has nothing to remove; what came up in the last moment is watched as any ghost
                (_, None) => self.is_over(instance, plan),
                (None, _) if looked => self.is_over(instance, plan),
                (Some(ghost), Some(executor))
                    if looked
                        && !ghost.busy
                        && (*step != LeaveStep::Removing || stored.age >= RETRY_AFTER) =>
                {
                    let reference = Some(executor.clone());
                    plan.begin_leave(instance, reference, *epoch, LeaveStep::Removing);
                    self.remove(instance, executor, plan);
                }
                _ => {}
            }
        }
        ghosts::remove(self, looked, plan);
    }

    /// Ends a departure of which nothing is left.
    fn is_over(&self, instance: &InstanceName, plan: &mut Plan) {
        plan.end.push(IntentKey::Leave(instance.clone()));
        plan.reasons.push(Reason::Departing {
            instance: instance.clone(),
            what: "it is gone".to_owned(),
        });
    }

    pub(crate) fn remove(
        &self,
        instance: &model::InstanceName,
        executor: &model::ExecutorRef,
        plan: &mut Plan,
    ) {
        plan.reasons.push(Reason::Ghost {
            instance: instance.clone(),
        });
        let (instance, executor) = (instance.clone(), executor.clone());
        plan.actions
            .push(Action::RemoveExecutor { instance, executor });
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

/// Whether the look shows a cordon of ours on it.
fn is_cordoned(machine: &Machine) -> bool {
    let cordon = machine.agent.map(|agent| agent.cordon);
    matches!(cordon, Some(model::Cordon::Ours { .. }))
}

/// Whether the look shows a job on it, or cannot tell.
fn may_run_a_job(machine: &Machine) -> bool {
    let does = machine.agent.map(|agent| agent.does);
    matches!(does, Some(Does::Busy | Does::Unknown))
}

fn is_off(machine: &Machine) -> bool {
    machine.listed.is_some_and(|listed| listed.stopped)
}

fn is_running(machine: &Machine) -> bool {
    machine.listed.is_some_and(|listed| listed.running)
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

fn step_in_words(step: LeaveStep, settle: Duration) -> String {
    match step {
        LeaveStep::Cordoning => "the cordon is being set".to_owned(),
        LeaveStep::Settling => format!("cordoned, it settles for {}", in_words(settle)),
        LeaveStep::ProvenOnce => {
            format!(
                "read idle once, it is read again after {}",
                in_words(settle)
            )
        }
        LeaveStep::Asked => "its guest was asked to end its agent".to_owned(),
        LeaveStep::Deleting => "its deletion was asked for".to_owned(),
        LeaveStep::Removing => "its executor is being removed".to_owned(),
    }
}
