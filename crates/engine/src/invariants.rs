//! What must never happen, by number: the one list that the tests, the simulation and the production counters share.
//!
//! [`check`] judges one plan against what its maker could see. It is written from the invariants and not from the
//! engine, and looks things up in the observation itself, so that a mistake in the engine's own view does not hide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Cordon, ExecutorMode, ExecutorRef, ExecutorState, FleetPolicy, Instance, InstanceName,
    InstanceState, Intent, LeaveStep, Money, Policy, PoolName, ProviderName, Seen,
    UncontrolledLeave,
};

use crate::budget::BudgetState;
use crate::fleet::PoolPlan;
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

/// The invariants that can be judged from plans.
pub const IDS: [&str; 8] = ["I1", "I2", "I3", "I5", "I6", "I13", "I14", "E3"];

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

/// Judges what all pools of a fleet create together: no cap (I2) and no budget (I3) is exceeded by a creation of ours.
/// One that is exceeded already is no violation, as long as nothing is added.
pub fn check_fleet<'a>(
    plans: &[PoolPlan],
    policy: impl Fn(&PoolName) -> Option<&'a Policy>,
    fleet: &FleetPolicy,
    now: Timestamp,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut judge = |name: String, cap: u32, those: &mut dyn Iterator<Item = (u32, u32)>| {
        let (there, created) = those.fold((0u64, 0u64), |sum, (there, created)| {
            (sum.0 + u64::from(there), sum.1 + u64::from(created))
        });
        if created > 0 && there + created > u64::from(cap) {
            found.push(Violation {
                id: "I2",
                what: format!("{name}: {there} machines and {created} more, with at most {cap}"),
            });
        }
    };
    let any = |_: &ProviderName| true;
    if let Some(max) = fleet.max {
        let mut all = plans.iter().map(|plan| machines(plan, any));
        judge("the fleet".to_owned(), max, &mut all);
    }
    for (group, max) in &fleet.groups {
        let in_group = |plan: &&PoolPlan| {
            let of = policy(&plan.plan.pool).and_then(|policy| policy.standing.group.as_ref());
            of == Some(group)
        };
        let mut those = plans
            .iter()
            .filter(in_group)
            .map(|plan| machines(plan, any));
        judge(format!("group {group}"), *max, &mut those);
    }
    for (provider, max) in &fleet.providers {
        let mut those = plans.iter().map(|plan| machines(plan, |p| p == provider));
        judge(format!("provider {provider}"), *max, &mut those);
    }
    let by_pool: BTreeMap<&PoolName, &PoolPlan> =
        plans.iter().map(|plan| (&plan.plan.pool, plan)).collect();
    for budget in &fleet.budgets {
        let mut state = BudgetState::new(budget);
        let mut new = Money::ZERO;
        for pool in &budget.pools {
            let (Some(plan), Some(policy)) = (by_pool.get(pool), policy(pool)) else {
                state.add_unknown(now);
                continue;
            };
            let memory = &plan.seen.seen.memory;
            let spend = crate::budget::spend(memory, budget, &plan.supply, policy, now);
            state.add(&spend, &plan.supply, policy, now);
            for action in &plan.plan.actions {
                if let Action::Create { count, offer, .. } = action {
                    let price = policy.offers.iter().find(|known| known.id == *offer);
                    let one = state.cost_of(price.and_then(|offer| offer.price));
                    new = new.plus(one.times(*count));
                }
            }
        }
        if new > Money::ZERO && state.used().plus(new) > budget.limit {
            found.push(Violation {
                id: "I3",
                what: format!(
                    "budget {}: {} of {} and {new} more",
                    budget.name,
                    state.used(),
                    budget.limit
                ),
            });
        }
    }
    found
}

/// Machines of a pool at some providers: those that exist, and those that its plan creates.
fn machines(plan: &PoolPlan, at: impl Fn(&ProviderName) -> bool) -> (u32, u32) {
    let there = plan.supply.count(|machine| at(&machine.provider));
    let created = plan.plan.actions.iter().map(|action| match action {
        Action::Create {
            count, provider, ..
        } if at(provider) => *count,
        _ => 0,
    });
    (there, created.sum())
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
    /// settle time, and a first read. Where an operator asks for `best-effort`, on a young look that shows it idle. One that its provider takes back, that may run no further job, or that is to be
    /// replaced is cordoned all the same: its job is left to finish.
    fn i1_no_deletion_without_proof(&mut self) {
        for action in &self.plan.actions {
            match action {
                Action::Cordon { instance, .. } | Action::AskGuest { instance, .. }
                    if self.looks_busy(instance)
                        && !self.is_leaving(action)
                        && !self.is_taken_back(instance)
                        && !self.has_served(instance) =>
                {
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
                | Action::AskGuest { .. }
                | Action::Uncordon { .. }
                | Action::Create { .. }
                | Action::Verify { .. }
                | Action::RemoveExecutor { .. } => {}
            }
        }
    }

    /// Whether its guest is asked in the middle of a departure: it began before, and the guest lets the build end.
    fn is_leaving(&self, action: &Action) -> bool {
        let Action::AskGuest { instance: name, .. } = action else {
            return false;
        };
        self.seen.seen.intents.iter().any(
            |stored| matches!(&stored.intent, Intent::Leave { instance, .. } if instance == name),
        )
    }

    fn is_taken_back(&self, name: &InstanceName) -> bool {
        self.instance(name)
            .is_some_and(|instance| instance.notice.is_some())
    }

    /// Whether it has run the jobs it may run, is too old, was made from what is not configured any more, or is drained.
    fn has_served(&self, name: &InstanceName) -> bool {
        let reuse = &self.policy.reuse;
        let Some(instance) = self.instance(name) else {
            return false;
        };
        let jobs = self.plan.memory.jobs.get(name).map_or(0, |jobs| jobs.count);
        let spent = reuse.max_jobs.is_some_and(|most| jobs >= most);
        let created = self.seen.seen.memory.exists_since(instance);
        let aged = reuse
            .max_age
            .is_some_and(|most| created.is_some_and(|at| model::age(at, self.now) >= most));
        let offers = self.policy.offers.iter();
        let alike = |offer: &&model::OfferPolicy| {
            let made_from = instance.generation.as_ref();
            made_from.is_some_and(|made_from| offer.generation == *made_from)
        };
        let mut stand = offers.filter(alike).map(|offer| &offer.id).peekable();
        let changed =
            reuse.replace_changed && instance.generation.is_some() && stand.peek().is_none();
        // of one that does not say what it was made from the place of its offer is all that is known
        let marked = instance.offer.as_ref();
        let marked = marked.filter(|_| instance.generation.is_none());
        let drains = |from: Option<&model::OfferId>| {
            let orders = &self.seen.overrides;
            orders.drain(name, Some(&instance.scope), from).is_some()
        };
        let drained = drains(marked) || stand.any(|id| drains(Some(id)));
        spent || aged || changed || drained
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
                // a name in a tag is no executor where the machine that joins makes it
                let named = |i: &Instance| i.executor.is_some() && !self.policy.executors_appear;
                let registered = instance.is_none_or(named);
                let present = self.executors_of(name).next().is_some();
                (registered || present).then(|| "it has an executor".to_owned())
            }
            DeleteProof::ReadIdle { .. } => self.unsettled(name),
            DeleteProof::LookedIdle => self.not_just_idle(name),
        }
    }

    fn not_just_idle(&self, name: &InstanceName) -> Option<String> {
        let asked_for = ExecutorMode::ReadOnly {
            leave: UncontrolledLeave::BestEffort,
        };
        if self.policy.executors != asked_for {
            return Some("nobody asked for `best-effort`".to_owned());
        }
        let looked = self.seen.seen.workload.at();
        if looked.is_none_or(|at| model::age(at, self.now) > Duration::from_secs(10)) {
            return Some("the look is old".to_owned());
        }
        let mut executors = self.executors_of(name).peekable();
        let is_there = executors.peek().is_some();
        let idle = executors.all(|executor| {
            matches!(executor.state, ExecutorState::Idle { .. }) && executor.cordon == Cordon::None
        });
        (!is_there || !idle).then(|| "its executor was not seen idle".to_owned())
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
                }
                | Action::AskGuest {
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
                | Action::AskGuest { .. }
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
                    | Reason::OfferCanary { .. }
                    | Reason::Capped { .. }
                    | Reason::BudgetHolds { .. }
                    | Reason::BudgetCheapest { .. }
                    | Reason::BootBreaker { .. }
                    | Reason::Paced { .. }
                    | Reason::Paused { .. }
                    | Reason::Pinned { .. }
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
                }
                | Action::AskGuest {
                    instance, provider, ..
                } => {
                    let listed = self.seen.listings.get(provider).and_then(Seen::any);
                    let ours = listed
                        .into_iter()
                        .flatten()
                        .any(|i| i.name == *instance && i.owner.fleet == self.seen.fleet);
                    if !ours || instance.pool() != &self.policy.pool {
                        self.violated("I14", format!("{instance} is not ours to let go"));
                    }
                }
                Action::Cordon {
                    instance, executor, ..
                }
                | Action::Uncordon { instance, executor }
                | Action::Verify { instance, executor }
                | Action::RemoveExecutor { instance, executor } => {
                    if !self.is_ours(instance, executor) || instance.pool() != &self.policy.pool {
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

    /// Whether the CI server marks this executor as ours, or the machine's tag or an intent about the machine names it. One
    /// that was not seen cannot be told to be somebody else's.
    fn is_ours(&self, instance: &InstanceName, executor: &ExecutorRef) -> bool {
        let executors = self.seen.seen.workload.any().map(|w| &w.executors);
        let mut seen = executors.into_iter().flatten();
        let Some(seen) = seen.find(|e| e.id == executor.id) else {
            return true;
        };
        let marked = seen.fleet.as_ref() == Some(&self.seen.fleet)
            || matches!(seen.cordon, Cordon::Ours { .. });
        let mut listed = self.seen.listings.values().filter_map(Seen::any).flatten();
        let tagged = listed.any(|i| {
            i.name == *instance
                && i.owner.fleet == self.seen.fleet
                && i.executor.as_ref() == Some(executor)
        });
        let recorded = self
            .seen
            .seen
            .intents
            .iter()
            .any(|stored| match &stored.intent {
                Intent::Create {
                    batch,
                    executor: named,
                    ..
                } => batch.instance(0) == *instance && named.as_ref() == Some(executor),
                Intent::Leave {
                    instance: of,
                    executor: named,
                    ..
                } => of == instance && named.as_ref() == Some(executor),
            });
        marked || tagged || recorded
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
                | Action::AskGuest { instance: name, .. }
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
