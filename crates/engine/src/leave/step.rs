//! How each departure is carried on, from its cordon to gone.

use std::time::Duration;

use model::{ExecutorMode, ExecutorRef, InstanceName, Intent, IntentKey, LeaveStep, Seen, age};

use super::{Context, RETRY_AFTER, Way, is_running};
use crate::plan::{DeleteProof, LeaveWhy};
use crate::reason::{Reason, in_words};
use crate::supply::{Does, Leaving, Machine, Phase};
use crate::{Action, Plan, ghosts};

/// Why a departure ends whose cordon is gone.
const LIFTED: &str = "its cordon was lifted, so it stays";

/// A guest that was asked to end its agent is asked again after this, and the operator is told that it runs on: a build
/// may take so long.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3600);

impl Context<'_> {
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

    pub(super) fn ask(&self, machine: &Machine, why: LeaveWhy, plan: &mut Plan) {
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

    pub(super) fn delete(
        &self,
        machine: &Machine,
        leaving: &Leaving,
        proof: DeleteProof,
        plan: &mut Plan,
    ) {
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
    pub(super) fn is_doubted(&self, machine: &Machine, plan: &mut Plan) -> bool {
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
                // it is the CI server's to forget, since nobody here may
                _ if self.settle().is_none() => self.is_over(instance, plan),
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

    pub(crate) fn remove(&self, instance: &InstanceName, executor: &ExecutorRef, plan: &mut Plan) {
        plan.reasons.push(Reason::Ghost {
            instance: instance.clone(),
        });
        let (instance, executor) = (instance.clone(), executor.clone());
        plan.actions
            .push(Action::RemoveExecutor { instance, executor });
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
