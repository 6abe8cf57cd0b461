//! What must never happen, by number: the one list that the tests, the simulation and the production counters share.
//!
//! [`check`] judges one plan against what its maker could see. It is written from the invariants and not from the
//! engine, and looks things up in the observation itself, so that a mistake in the engine's own view does not hide.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use model::{
    Cordon, ExecutorMode, ExecutorState, Instance, InstanceName, InstanceState, Intent, LeaveStep,
    Policy, Seen,
};

use crate::plan::DeleteProof;
use crate::rules::limit;
use crate::trust::LISTING_FRESH;
use crate::{Action, Observation, Plan, Reason};

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number, such as `I1`.
    pub id: &'static str,
    /// What is wrong, with names.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.what)
    }
}

/// The invariants that can be judged from one plan.
pub const IDS: [&str; 7] = ["I1", "I2", "I5", "I6", "I13", "I14", "E3"];

/// Judges one plan.
pub fn check(seen: &Observation, policy: &Policy, plan: &Plan, now: Timestamp) -> Vec<Violation> {
    // a limit rule puts other limits in the place of the pool's own
    let (min, max) = limit::in_force(seen, policy, now);
    let mut judge = Judge {
        seen,
        policy,
        min,
        max,
        plan,
        now,
        found: Vec::new(),
    };
    judge.i1_no_deletion_without_proof();
    judge.i2_never_above_max();
    judge.i5_new_names_only();
    judge.i6_no_shrink_on_doubt();
    judge.i13_min_or_a_reason();
    judge.i14_only_our_machines();
    judge.e3_reasons();
    judge.found
}

struct Judge<'a> {
    seen: &'a Observation,
    policy: &'a Policy,
    min: u32,
    max: u32,
    plan: &'a Plan,
    now: Timestamp,
    found: Vec<Violation>,
}

impl Judge<'_> {
    fn violated(&mut self, id: &'static str, what: impl Into<String>) {
        self.found.push(Violation {
            id,
            what: what.into(),
        });
    }

    fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.seen.listings.values().filter_map(Seen::any).flatten()
    }

    fn instance(&self, name: &InstanceName) -> Option<&Instance> {
        self.instances().find(|instance| instance.name == *name)
    }

    /// I1: a machine with a job is neither deleted nor begun to leave, and a deletion rests on a cordon of ours, a
    /// settle time, and a first read.
    fn i1_no_deletion_without_proof(&mut self) {
        for action in &self.plan.actions {
            match action {
                Action::Cordon { instance, .. } if self.looks_busy(instance) => {
                    self.violated("I1", format!("{instance} is busy and begins to leave"));
                }
                Action::Delete {
                    instance, proof, ..
                } => {
                    if let Some(what) = self.unproven(instance, proof) {
                        self.violated("I1", format!("{instance} is deleted although {what}"));
                    }
                }
                Action::Cordon { .. }
                | Action::Uncordon { .. }
                | Action::Create { .. }
                | Action::Verify { .. }
                | Action::RemoveExecutor { .. } => {}
            }
        }
    }

    fn looks_busy(&self, name: &InstanceName) -> bool {
        self.executors_of(name).any(|executor| {
            matches!(
                executor.state,
                ExecutorState::Busy { .. } | ExecutorState::Unknown { .. }
            )
        })
    }

    fn executors_of<'b>(
        &'b self,
        name: &'b InstanceName,
    ) -> impl Iterator<Item = &'b model::Executor> {
        let reference = self
            .instance(name)
            .and_then(|instance| instance.executor.as_ref());
        let workload = self.seen.seen.workload.any();
        workload
            .into_iter()
            .flat_map(|workload| &workload.executors)
            .filter(move |executor| {
                let ours = executor.fleet.as_ref() == Some(&self.seen.fleet);
                let named = executor.name == name.to_string();
                ours && (named || reference.is_some_and(|reference| reference.id == executor.id))
            })
    }

    fn unproven(&self, name: &InstanceName, proof: &DeleteProof) -> Option<String> {
        let instance = self.instance(name);
        match proof {
            DeleteProof::PoweredOff => {
                let off = instance.is_some_and(|i| i.state == InstanceState::Stopped);
                (!off).then(|| "it is not powered off".to_owned())
            }
            DeleteProof::NoExecutor => (self.policy.executors != ExecutorMode::None)
                .then(|| "its pool joins a CI server".to_owned()),
            DeleteProof::NeverRegistered => {
                let registered = instance.is_none_or(|i| i.executor.is_some());
                let present = self.executors_of(name).next().is_some();
                (registered || present).then(|| "it has an executor".to_owned())
            }
            DeleteProof::ReadIdle { .. } => self.unsettled(name),
        }
    }

    fn unsettled(&self, name: &InstanceName) -> Option<String> {
        let ExecutorMode::Managed { settle } = self.policy.executors else {
            return Some("its executor cannot be controlled".to_owned());
        };
        let stored = self
            .seen
            .seen
            .intents
            .iter()
            .find_map(|stored| match &stored.intent {
                Intent::Leave { instance, step, .. } if instance == name => {
                    Some((*step, stored.age))
                }
                Intent::Leave { .. } | Intent::Create { .. } => None,
            });
        match stored {
            Some((LeaveStep::ProvenOnce, age)) if age >= settle => {}
            Some((LeaveStep::Deleting, _)) => {}
            Some((step, age)) => return Some(format!("it is {step:?} for {age:?} only")),
            None => return Some("no departure was begun".to_owned()),
        }
        self.executors_of(name)
            .any(|executor| executor.cordon == Cordon::Foreign)
            .then(|| "somebody else cordoned it".to_owned())
    }

    /// I2: everything not confirmed gone, plus what is created now, stays within max.
    fn i2_never_above_max(&mut self) {
        let mut alive: BTreeSet<InstanceName> = BTreeSet::new();
        let mut gone: BTreeSet<InstanceName> = BTreeSet::new();
        for instance in self.instances() {
            let list = if instance.state.is_gone() {
                &mut gone
            } else {
                &mut alive
            };
            list.insert(instance.name.clone());
        }
        let mut created = 0usize;
        for action in &self.plan.actions {
            if let Action::Create { batch, count, .. } = action {
                created += (0..*count)
                    .filter(|i| alive.insert(batch.instance(*i)))
                    .count();
            }
        }
        for stored in &self.seen.seen.intents {
            if let Intent::Create { batch, count, .. } = &stored.intent {
                let open = (0..*count)
                    .map(|i| batch.instance(i))
                    .filter(|n| !gone.contains(n));
                alive.extend(open);
            }
        }
        if created > 0 && alive.len() > self.max as usize {
            let max = self.max;
            self.violated(
                "I2",
                format!("{} machines with a max of {max}", alive.len()),
            );
        }
    }

    /// I5: a creation has a name that was never used, so that whatever is retried makes at most one machine.
    fn i5_new_names_only(&mut self) {
        let mut names = BTreeSet::new();
        for action in &self.plan.actions {
            let Action::Create { batch, count, .. } = action else {
                continue;
            };
            let recorded = self.plan.put.iter().any(
                |intent| matches!(intent, Intent::Create { batch: b, count: c, .. } if b == batch && c == count),
            );
            let fresh = batch.epoch == self.seen.epoch
                && batch.sequence >= self.seen.seen.next_sequence
                && batch.sequence < self.plan.next_sequence
                && names.insert(batch.clone());
            if !fresh {
                self.violated("I5", format!("batch {batch} is not new"));
            }
            if !recorded {
                self.violated(
                    "I5",
                    format!("batch {batch} is created without a recorded intent"),
                );
            }
        }
    }

    /// I6: no step towards a deletion on data that is old, partial or missing.
    fn i6_no_shrink_on_doubt(&mut self) {
        let fresh = self.policy.trust.fresh_for;
        let workload = self.seen.seen.workload.complete_within(fresh, self.now);
        let sure = self.policy.emitter.is_none()
            || workload.is_some_and(|workload| workload.config == self.seen.config);
        for action in &self.plan.actions {
            let (name, provider) = match action {
                Action::Cordon { instance, .. }
                | Action::Verify { instance, .. }
                | Action::RemoveExecutor { instance, .. } => (instance, None),
                Action::Delete {
                    instance, provider, ..
                } => (instance, Some(provider)),
                Action::Create { .. } | Action::Uncordon { .. } => continue,
            };
            if !sure {
                self.found.push(Violation {
                    id: "I6",
                    what: format!("{action}, though the workload is doubtful"),
                });
            }
            let whole = provider.is_none_or(|provider| {
                let listing = self.seen.listings.get(provider);
                listing.is_some_and(|l| l.complete_within(LISTING_FRESH, self.now).is_some())
            });
            if !whole {
                self.found.push(Violation {
                    id: "I6",
                    what: format!("{name} is deleted on a doubtful listing"),
                });
            }
        }
    }

    /// I13: min is respected, or it is said why not.
    fn i13_min_or_a_reason(&mut self) {
        let created: u32 = self
            .plan
            .actions
            .iter()
            .map(|action| match action {
                Action::Create { count, .. } => *count,
                Action::Uncordon { .. } => 1,
                Action::Cordon { .. }
                | Action::Verify { .. }
                | Action::Delete { .. }
                | Action::RemoveExecutor { .. } => 0,
            })
            .sum();
        let leaving = self
            .plan
            .reasons
            .iter()
            .filter(|reason| {
                matches!(
                    reason,
                    Reason::Leaves {
                        why: crate::LeaveWhy::Idle,
                        ..
                    }
                )
            })
            .count();
        let serving = (self.plan.summary.serving + created) as usize - leaving;
        let said = self.plan.reasons.iter().any(|reason| {
            matches!(
                reason,
                Reason::Ceiling { .. }
                    | Reason::HeldByListing { .. }
                    | Reason::HeldAfterLoss { .. }
                    | Reason::CreationHeld { .. }
                    | Reason::NoOffer { .. }
                    | Reason::BootBreaker { .. }
                    | Reason::Paced { .. }
            )
        });
        if serving < self.min as usize && !said {
            let min = self.min;
            self.violated(
                "I13",
                format!("{serving} machines serve, min is {min}, and no word why"),
            );
        }
    }

    /// I14: only machines with our tag, of this pool, are named.
    fn i14_only_our_machines(&mut self) {
        for action in &self.plan.actions {
            match action {
                Action::Delete {
                    instance, provider, ..
                } => {
                    let listed = self.seen.listings.get(provider).and_then(Seen::any);
                    let ours = listed
                        .into_iter()
                        .flatten()
                        .any(|i| i.name == *instance && i.owner.fleet == self.seen.fleet);
                    if !ours || instance.pool() != &self.policy.pool {
                        self.violated("I14", format!("{instance} is not ours to delete"));
                    }
                }
                Action::Cordon {
                    instance, executor, ..
                }
                | Action::Uncordon { instance, executor }
                | Action::Verify { instance, executor }
                | Action::RemoveExecutor { instance, executor } => {
                    let workload = self.seen.seen.workload.any();
                    let foreign = workload
                        .into_iter()
                        .flat_map(|w| &w.executors)
                        .any(|e| e.id == executor.id && e.fleet.as_ref() != Some(&self.seen.fleet));
                    if foreign || instance.pool() != &self.policy.pool {
                        self.violated("I14", format!("executor {executor} is not ours"));
                    }
                }
                Action::Create { batch, .. } => {
                    if batch.pool != self.policy.pool {
                        self.violated("I14", format!("{batch} is made for another pool"));
                    }
                }
            }
        }
    }

    /// E3: every action and every inaction has a reason.
    fn e3_reasons(&mut self) {
        if self.plan.reasons.is_empty() {
            self.violated("E3", "a plan without a reason");
        }
        for action in &self.plan.actions {
            let explained = self.plan.reasons.iter().any(|reason| match action {
                Action::Create { .. } => matches!(reason, Reason::Grows { .. }),
                Action::Uncordon { .. } => matches!(reason, Reason::CalledBack { .. }),
                Action::Cordon { instance: name, .. }
                | Action::Verify { instance: name, .. }
                | Action::Delete { instance: name, .. } => matches!(
                    reason,
                    Reason::Leaves { instance, .. } | Reason::Departing { instance, .. }
                        if instance == name
                ),
                Action::RemoveExecutor { instance: name, .. } => {
                    matches!(reason, Reason::Ghost { instance } if instance == name)
                }
            });
            if !explained {
                self.violated("E3", format!("no reason for: {action}"));
            }
        }
    }
}
