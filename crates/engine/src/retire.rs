//! Machines that leave although they are wanted: they have run the jobs they may run, grew too old, were made from what
//! is not configured any more, or an operator drains them.
//!
//! A machine that may run no further job is *spent* ([`Phase::Spent`]): it is kept from new ones at once, while its last
//! one runs. The others are *due*: they serve until another machine stands in their place, a share of the pool at a time.
//! A broken image costs one machine and no capacity: as long as nothing made from the new one is up, one is made, and
//! nothing leaves for it. Nobody is killed here: who leaves goes the ordinary way, from cordon to the second reading.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Executor, ExecutorMode, ExecutorState, Instance, InstanceName, JobsRun, OfferId, Override,
    Policy, UncontrolledLeave, age,
};

use crate::Observation;
use crate::leave::Context;
use crate::offers;
use crate::plan::{LeaveWhy, Plan};
use crate::reason::Reason;
use crate::supply::{Machine, Phase, Supply};

/// Whether machines of this pool can be kept from new jobs at this moment.
fn can_leave(seen: &Observation, policy: &Policy) -> bool {
    match policy.executors {
        ExecutorMode::Managed { .. } => seen.seen.control_refused.is_none(),
        ExecutorMode::None => true,
        ExecutorMode::ReadOnly { leave } => leave != UncontrolledLeave::ByThemselves,
    }
}

/// The jobs seen on a machine up to this look, where its pool counts them.
pub(crate) fn jobs_run(
    seen: &Observation,
    policy: &Policy,
    name: &InstanceName,
    executor: Option<&Executor>,
) -> Option<JobsRun> {
    policy.reuse.max_jobs?;
    let known = seen.seen.memory.jobs.get(name).cloned();
    match executor.map(|executor| &executor.state) {
        Some(ExecutorState::Busy { jobs }) => Some(known.unwrap_or_default().seeing(jobs)),
        _ => known,
    }
}

/// Whether a machine that ran so many jobs may run no further one, and can be kept from it. Where it cannot, it serves on.
pub(crate) fn is_spent(
    seen: &Observation,
    policy: &Policy,
    name: &InstanceName,
    jobs: Option<&JobsRun>,
) -> bool {
    let most = policy.reuse.max_jobs.unwrap_or(u32::MAX);
    jobs.is_some_and(|jobs| jobs.count >= most)
        && policy.executors != ExecutorMode::None
        && can_leave(seen, policy)
        && !seen.seen.cordon_refused.contains_key(name)
}

/// Whether a machine was made from what no offer of its pool says any more. Of one that does not say what it was made
/// from nothing is concluded.
pub(crate) fn is_changed(instance: &Instance, policy: &Policy) -> bool {
    let made_from = instance.generation.as_ref();
    made_from.is_some_and(|made| policy.offers.iter().all(|offer| offer.generation != *made))
}

/// The offer that a machine was made from, as the configuration has it now; `None` if it has it no more, or if the machine
/// does not say.
pub(crate) fn made_from<'a>(instance: &'a Instance, policy: &'a Policy) -> Option<&'a OfferId> {
    let (made_from, marked) = (instance.generation.as_ref(), instance.offer.as_ref()?);
    let Some(_) = made_from else {
        // the place of its offer is all that is known
        return Some(marked);
    };
    let offer = offers::made_from(policy, made_from, Some(marked));
    offer.map(|offer| &offer.id)
}

/// What drains a machine, if anything does.
pub(crate) fn drained<'a>(
    seen: &'a Observation,
    policy: &Policy,
    instance: &Instance,
) -> Option<&'a Override> {
    if seen.overrides.in_force.is_empty() {
        return None;
    }
    let made_from = made_from(instance, policy);
    seen.overrides
        .drain(&instance.name, Some(&instance.scope), made_from)
}

/// Why a machine that serves is to be replaced, if it is.
pub(crate) fn due(machine: &Machine, policy: &Policy, now: Timestamp) -> Option<LeaveWhy> {
    let listed = machine.listed?;
    if listed.drained {
        return Some(LeaveWhy::Drained);
    }
    let is_old = |most: Duration| listed.exists_since.is_some_and(|at| age(at, now) >= most);
    if policy.reuse.replace_changed && listed.changed {
        return Some(LeaveWhy::Changed);
    }
    (policy.reuse.max_age.is_some_and(is_old)).then_some(LeaveWhy::Aged)
}

/// What is to be replaced in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// Machines that serve and are to be replaced.
    due: u32,
    /// Machines that are on their way out, for whatever.
    leaving: u32,
    /// Machines that may be on their way out for it at once, beyond those that are.
    left: u32,
    /// Machines to have beyond those that are wanted, to stand in for them.
    pub(crate) extra: u32,
}

impl Replacement {
    /// What is due; `None` if nothing is, or nothing can be done about it.
    pub(crate) fn of(
        seen: &Observation,
        policy: &Policy,
        supply: &Supply,
        now: Timestamp,
    ) -> Option<Replacement> {
        if !can_leave(seen, policy) {
            return None;
        }
        let why = |machine: &Machine| due(machine, policy, now);
        let is_refused = |machine: &Machine| seen.seen.cordon_refused.contains_key(&machine.name);
        let is_due = |machine: &Machine| {
            machine.phase.serves() && why(machine).is_some() && !is_refused(machine)
        };
        let due = supply.count(is_due);
        if due == 0 {
            return None;
        }
        let is_leaving = |machine: &Machine| {
            machine.leaving.is_some() || matches!(machine.phase, Phase::Cordoned { .. })
        };
        let leaving = supply.count(is_leaving);
        // without those that are coming, so that the machines which stand in do not make the share greater
        let pool = supply.count(is_up).saturating_add(leaving);
        // nobody knows yet whether the new image joins: one tries it
        let is_proven = supply
            .machines
            .iter()
            .any(|machine| is_up(machine) && machine.listed.is_some_and(|listed| !listed.changed));
        let is_changed = |machine: &Machine| why(machine) == Some(LeaveWhy::Changed);
        let unproven = !is_proven && supply.machines.iter().any(is_changed);
        let at_once = match unproven {
            true => 1,
            false => policy.reuse.at_once.of(pool).max(1),
        };
        let left = at_once.saturating_sub(leaving);
        let extra = left.min(due);
        Some(Replacement {
            due,
            leaving,
            left,
            extra,
        })
    }
}

/// Whether a machine serves and has joined.
fn is_up(machine: &Machine) -> bool {
    machine.phase.serves() && !machine.phase.is_coming()
}

impl Context<'_> {
    /// Lets machines that are due begin to leave, as far as so many others are up as are wanted; where there is no room
    /// for another beside them, one at a time goes first. Idle ones go before busy ones, which finish what they run.
    pub(crate) fn begin_due(
        &self,
        replacement: &Replacement,
        wanted: u32,
        plan: &mut Plan,
    ) -> BTreeSet<InstanceName> {
        let (supply, policy) = (self.supply, self.policy);
        let up = supply.count(is_up);
        let coming = supply.count(|machine| machine.phase.is_coming());
        let wanted = wanted.min(policy.max);
        // one that went before and whose place is still empty was not replaced
        let is_quiet = coming == 0 && replacement.leaving == 0;
        let is_full = supply.costing() >= policy.max && is_quiet && up >= wanted;
        let spare = up.saturating_sub(wanted);
        let may_go = spare.max(u32::from(is_full)).min(replacement.left);
        plan.reasons.push(Reason::Replacing {
            due: replacement.due,
            at_once: replacement.left,
            extra: replacement.extra,
            now: may_go,
        });
        let mut candidates: Vec<(bool, Option<Timestamp>, &Machine, LeaveWhy)> = supply
            .machines
            .iter()
            .filter(|machine| is_up(machine) && self.can_begin(machine))
            .filter_map(|machine| {
                let why = due(machine, policy, self.now)?;
                let created = machine.listed.and_then(|listed| listed.created_at);
                let busy = !matches!(machine.phase, Phase::Idle { .. });
                Some((busy, created, machine, why))
            })
            .collect();
        candidates.sort_by_key(|(busy, created, machine, _)| (*busy, *created, &machine.name));
        let mut begun = BTreeSet::new();
        for (_, _, machine, why) in candidates.into_iter().take(may_go as usize) {
            self.begin_one(machine, why, plan);
            begun.insert(machine.name.clone());
        }
        begun
    }
}
