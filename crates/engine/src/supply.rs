//! The pool's machines, each in one phase, and the two numbers that are never one: room for new work, and machines
//! that cost money.
//!
//! Phases are derived from observations at every tick and never stored; an odd machine gets a phase that says so and
//! never stops the others.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Cordon, EmitterName, Epoch, Executor, ExecutorId, ExecutorMode, ExecutorRef, ExecutorState,
    FleetId, Instance, InstanceName, InstanceState, Intent, LeaveStep, OfferId, Policy,
    ProviderName, Seen, Workload, age,
};

use crate::Observation;
use crate::demand::{free_slots, slots};

/// Where a machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, not listed yet. Counts as existing until a listing proves otherwise.
    Requested,
    /// Listed, not running.
    Provisioning,
    /// Running, its executor not online yet.
    Booting,
    /// Online without a job since this moment (as far as it has been watched without a break).
    Idle {
        /// Since when.
        since: Timestamp,
    },
    /// Runs jobs, or may run some: a state that could not be read counts as busy.
    Busy {
        /// Why it counts as busy although no job was seen, if so.
        unknown: Option<String>,
    },
    /// Kept from new jobs by a scaler; on its way out.
    Cordoned {
        /// Whose term.
        epoch: Epoch,
        /// Whether a job was seen on it.
        busy: bool,
    },
    /// Kept from new jobs by somebody else: never touched.
    ForeignCordon,
    /// Its deletion was asked for, or the cloud is stopping it.
    Deleting,
    /// No executor within the boot deadline.
    Stuck,
    /// Its executor went offline while the machine runs.
    Lost,
    /// Powered off, and still there.
    Stopped,
    /// Cannot be told; counted, never acted on.
    Unclear {
        /// Why.
        why: String,
    },
}

impl Phase {
    /// A stable word for metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Phase::Requested => "requested",
            Phase::Provisioning => "provisioning",
            Phase::Booting => "booting",
            Phase::Idle { .. } => "idle",
            Phase::Busy { .. } => "busy",
            Phase::Cordoned { .. } => "cordoned",
            Phase::ForeignCordon => "foreign_cordon",
            Phase::Deleting => "deleting",
            Phase::Stuck => "stuck",
            Phase::Lost => "lost",
            Phase::Stopped => "stopped",
            Phase::Unclear { .. } => "unclear",
        }
    }

    /// All words of [`Phase::as_str`], so that a phase without machines can be shown as zero.
    pub const ALL: [&'static str; 12] = [
        "requested",
        "provisioning",
        "booting",
        "idle",
        "busy",
        "cordoned",
        "foreign_cordon",
        "deleting",
        "stuck",
        "lost",
        "stopped",
        "unclear",
    ];

    /// Whether the machine works, or will work, for the pool.
    pub fn serves(&self) -> bool {
        matches!(
            self,
            Phase::Requested
                | Phase::Provisioning
                | Phase::Booting
                | Phase::Idle { .. }
                | Phase::Busy { .. }
        )
    }

    /// Whether it is still on its way up.
    pub fn is_coming(&self) -> bool {
        matches!(
            self,
            Phase::Requested | Phase::Provisioning | Phase::Booting
        )
    }
}

/// One machine of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: InstanceName,
    /// Where it is, or is to be.
    pub provider: ProviderName,
    /// As the cloud lists it.
    pub instance: Option<Instance>,
    /// As the CI server sees it.
    pub executor: Option<Executor>,
    /// Its executor, as the machine's tag, its departure or the CI server names it.
    pub executor_ref: Option<ExecutorRef>,
    /// The offer it comes from, as far as its tag or its creation says.
    pub offer: Option<OfferId>,
    /// Its departure, if one was begun, and for how long it has been in that step.
    pub leaving: Option<Leaving>,
    /// Where it stands.
    pub phase: Phase,
    /// Slots that a new job could take, now or once it is up.
    pub free_slots: u32,
}

/// A departure that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// How far it is.
    pub step: LeaveStep,
    /// Time in this step.
    pub age: Duration,
    /// The term that began it.
    pub epoch: Epoch,
}

impl Leaving {
    /// Whether a look that began after the cordon was confirmed shows no cordon any more: somebody lifted it, or the
    /// CI server forgot it. An older look proves nothing.
    pub(crate) fn was_lifted(&self, seen: &Observation, now: Timestamp) -> bool {
        let confirmed = matches!(self.step, LeaveStep::Settling | LeaveStep::ProvenOnce);
        let look = seen.seen.workload.at();
        confirmed && look.is_some_and(|at| age(at, now) < self.age)
    }
}

/// The pool's machines at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Supply {
    /// Everything not confirmed gone, sorted by name.
    pub machines: Vec<Machine>,
    /// Executors of ours without a machine or a creation.
    pub ghosts: Vec<(InstanceName, Executor)>,
    /// Free slots of executors that are not ours.
    pub static_free: u32,
    /// Slots of executors that are not ours and take jobs, free or not.
    pub static_slots: u32,
    /// Executors that are not ours.
    pub static_executors: u32,
}

impl Supply {
    /// Machines that cost money: everything not confirmed gone.
    pub fn costing(&self) -> u32 {
        u32::try_from(self.machines.len()).unwrap_or(u32::MAX)
    }

    /// Machines that work, or will work, for the pool.
    pub fn serving(&self) -> u32 {
        self.count(|machine| machine.phase.serves())
    }

    /// Slots of everything that works, or will work, for the pool, executors that are not ours too.
    pub(crate) fn slots(&self, policy: &Policy) -> u32 {
        let ours = self.serving().saturating_mul(policy.slots);
        ours.saturating_add(self.static_slots)
    }

    pub(crate) fn count(&self, which: impl Fn(&Machine) -> bool) -> u32 {
        u32::try_from(self.machines.iter().filter(|m| which(m)).count()).unwrap_or(u32::MAX)
    }

    /// Joins instances with executors and intents, and gives each machine its phase.
    pub fn of(seen: &Observation, policy: &Policy, now: Timestamp) -> Supply {
        let workload = seen.seen.workload.any();
        let mut executors = Executors::of(seen, workload);
        let mut leaving = BTreeMap::new();
        let mut supply = Supply::default();
        for stored in &seen.seen.intents {
            if let Intent::Leave {
                instance,
                executor,
                epoch,
                step,
            } = &stored.intent
            {
                let entry = Leaving {
                    step: *step,
                    age: stored.age,
                    epoch: *epoch,
                };
                leaving.insert(instance.clone(), (entry, executor.clone()));
            }
        }
        let mut known = BTreeSet::new();
        for (provider, listing) in &seen.listings {
            for instance in listing.any().into_iter().flatten() {
                let gone = instance.state.is_gone();
                if !known.insert(instance.name.clone()) || gone {
                    continue;
                }
                let executor = executors.take(instance);
                let begun = leaving.get(&instance.name);
                let executor_ref = reference(policy, instance, executor.as_ref(), begun);
                let mut machine = Machine {
                    name: instance.name.clone(),
                    provider: provider.clone(),
                    offer: instance.offer.clone(),
                    instance: Some(instance.clone()),
                    executor,
                    executor_ref,
                    leaving: begun.map(|(leaving, _)| leaving.clone()),
                    phase: Phase::Requested,
                    free_slots: 0,
                };
                machine.phase = phase_of(&machine, seen, policy, now);
                machine.free_slots = room(&machine, policy);
                supply.machines.push(machine);
            }
        }
        supply.add_requested(seen, policy, &known, &mut executors);
        supply.machines.sort_by(|a, b| a.name.cmp(&b.name));
        // a name that is only configured has no machine behind it
        let machines = executors.foreign.iter();
        let machines = machines.filter(|e| e.state != ExecutorState::NeverJoined);
        supply.static_executors = u32::try_from(machines.count()).unwrap_or(u32::MAX);
        supply.static_slots = executors.foreign.iter().map(|e| slots(e)).sum();
        supply.static_free = executors.foreign.iter().map(|e| free_slots(e)).sum();
        supply.ghosts = executors
            .ours
            .into_iter()
            .filter(|(_, executor)| is_marked(executor, &seen.fleet))
            .map(|(n, e)| (n, e.clone()))
            .collect();
        supply
    }

    /// Machines of creations that no listing shows yet.
    fn add_requested(
        &mut self,
        seen: &Observation,
        policy: &Policy,
        known: &BTreeSet<InstanceName>,
        executors: &mut Executors<'_>,
    ) {
        for stored in &seen.seen.intents {
            let Intent::Create {
                batch,
                count,
                provider,
                offer,
                executor,
            } = &stored.intent
            else {
                continue;
            };
            for name in (0..*count).map(|index| batch.instance(index)) {
                if known.contains(&name) {
                    continue;
                }
                // its runner exists already and is no ghost
                let seen_executor = executors.ours.remove(&name).cloned();
                self.machines.push(Machine {
                    name,
                    provider: provider.clone(),
                    offer: Some(offer.clone()),
                    instance: None,
                    executor: seen_executor,
                    executor_ref: executor.clone(),
                    leaving: None,
                    phase: Phase::Requested,
                    free_slots: policy.slots,
                });
            }
        }
    }
}

/// Whether the CI server itself says that the executor is ours: by the fleet's mark, or by our cordon. One that is ours
/// only because a machine's tag or an intent names it stops being ours with them, and is no ghost.
fn is_marked(executor: &Executor, fleet: &FleetId) -> bool {
    executor.fleet.as_ref() == Some(fleet) || matches!(executor.cordon, Cordon::Ours { .. })
}

/// The machine of each executor that a tag or an intent names. Where the CI server fixes the names of its executors
/// this is the only thing that joins the two.
fn references(seen: &Observation, emitter: &EmitterName) -> BTreeMap<ExecutorId, InstanceName> {
    let mut found = BTreeMap::new();
    let mut add = |reference: Option<&ExecutorRef>, name: &InstanceName| {
        if let Some(reference) = reference.filter(|reference| reference.emitter == *emitter) {
            found
                .entry(reference.id.clone())
                .or_insert_with(|| name.clone());
        }
    };
    // machines first: they are there, and an intent may be about one that is not
    let listed = seen.listings.values().filter_map(Seen::any).flatten();
    for instance in listed.filter(|instance| !instance.state.is_gone()) {
        add(instance.executor.as_ref(), &instance.name);
    }
    for stored in &seen.seen.intents {
        match &stored.intent {
            Intent::Create {
                batch, executor, ..
            } => add(executor.as_ref(), &batch.instance(0)),
            Intent::Leave {
                instance, executor, ..
            } => add(executor.as_ref(), instance),
        }
    }
    found
}

/// The executors of one look: ours by name or by reference, and the others.
struct Executors<'a> {
    ours: BTreeMap<InstanceName, &'a Executor>,
    /// The names of `ours` by the CI server's id.
    by_id: HashMap<&'a ExecutorId, InstanceName>,
    foreign: Vec<&'a Executor>,
}

impl<'a> Executors<'a> {
    fn of(seen: &'a Observation, workload: Option<&'a Workload>) -> Self {
        let mut ours = BTreeMap::new();
        let mut foreign = Vec::new();
        // most executors carry their machine's name, and then nobody asks for these
        let named = LazyCell::new(|| workload.map(|workload| references(seen, &workload.emitter)));
        for executor in workload.map_or(&[][..], |workload| &workload.executors) {
            let marked = executor.fleet.as_ref() == Some(&seen.fleet);
            let by_name = executor.name.parse::<InstanceName>().ok();
            let by_reference = || named.as_ref()?.get(&executor.id).cloned();
            match by_name.filter(|_| marked).or_else(by_reference) {
                Some(name) => {
                    // of two executors with one name keep the busier, so that neither job is overlooked
                    let busy = matches!(executor.state, ExecutorState::Busy { .. });
                    if busy || !ours.contains_key(&name) {
                        ours.insert(name, executor);
                    }
                }
                None => foreign.push(executor),
            }
        }
        // of two with one id the first by name
        let mut by_id = HashMap::new();
        for (name, executor) in &ours {
            by_id.entry(&executor.id).or_insert_with(|| name.clone());
        }
        Executors {
            ours,
            by_id,
            foreign,
        }
    }

    /// The executor of an instance: by the reference in its tags, else by name.
    fn take(&mut self, instance: &Instance) -> Option<Executor> {
        let by_reference = instance.executor.as_ref();
        let by_reference = by_reference.and_then(|reference| self.by_id.get(&reference.id));
        let name = by_reference.filter(|name| self.ours.contains_key(*name));
        let name = name.unwrap_or(&instance.name).clone();
        self.ours.remove(&name).cloned()
    }
}

fn reference(
    policy: &Policy,
    instance: &Instance,
    executor: Option<&Executor>,
    leaving: Option<&(Leaving, Option<ExecutorRef>)>,
) -> Option<ExecutorRef> {
    let observed = executor
        .zip(policy.emitter.as_ref())
        .map(|(e, emitter)| ExecutorRef {
            emitter: emitter.clone(),
            id: e.id.clone(),
        });
    observed
        .or_else(|| instance.executor.clone())
        .or_else(|| leaving.and_then(|(_, executor)| executor.clone()))
}

fn phase_of(machine: &Machine, seen: &Observation, policy: &Policy, now: Timestamp) -> Phase {
    let Some(instance) = &machine.instance else {
        return Phase::Requested;
    };
    let step = machine.leaving.as_ref().map(|leaving| leaving.step);
    match &instance.state {
        InstanceState::Stopping => return Phase::Deleting,
        InstanceState::Stopped if step == Some(LeaveStep::Deleting) => return Phase::Deleting,
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
    let pending = instance.state == InstanceState::Pending;
    if policy.executors == ExecutorMode::None {
        let since = seen
            .seen
            .memory
            .idle_since
            .get(&machine.name)
            .copied()
            .unwrap_or(now);
        return if pending {
            Phase::Provisioning
        } else {
            Phase::Idle { since }
        };
    }
    match &machine.executor {
        Some(executor) => phase_with(executor, machine, pending, seen, policy, now),
        None => phase_without(machine, pending, seen, policy, now),
    }
}

fn phase_with(
    executor: &Executor,
    machine: &Machine,
    pending: bool,
    seen: &Observation,
    policy: &Policy,
    now: Timestamp,
) -> Phase {
    let busy = matches!(executor.state, ExecutorState::Busy { .. });
    match executor.cordon {
        Cordon::Ours { epoch } => return Phase::Cordoned { epoch, busy },
        Cordon::Foreign if busy => return Phase::Busy { unknown: None },
        Cordon::Foreign => return Phase::ForeignCordon,
        Cordon::None => {}
    }
    if let Some(leaving) = machine
        .leaving
        .as_ref()
        .filter(|l| !l.was_lifted(seen, now))
    {
        return Phase::Cordoned {
            epoch: leaving.epoch,
            busy,
        };
    }
    match &executor.state {
        ExecutorState::Busy { .. } => Phase::Busy { unknown: None },
        ExecutorState::Unknown { why } => Phase::Busy {
            unknown: Some(why.clone()),
        },
        ExecutorState::Idle { since } => {
            let watched = seen
                .seen
                .memory
                .idle_since
                .get(&machine.name)
                .copied()
                .unwrap_or(now);
            // the CI server may know an earlier moment, but a later one wins: a job may have run in between
            Phase::Idle {
                since: since.map_or(watched, |since| since.max(watched)).min(now),
            }
        }
        ExecutorState::NeverJoined if is_overdue(machine, policy, now) => Phase::Stuck,
        ExecutorState::NeverJoined if pending => Phase::Provisioning,
        ExecutorState::NeverJoined => Phase::Booting,
        ExecutorState::Offline { .. } => Phase::Lost,
    }
}

/// A machine whose executor is not in the look. Absent is not idle: it may be hidden, renamed, or not there yet.
fn phase_without(
    machine: &Machine,
    pending: bool,
    seen: &Observation,
    policy: &Policy,
    now: Timestamp,
) -> Phase {
    if !is_overdue(machine, policy, now) {
        return if pending {
            Phase::Provisioning
        } else {
            Phase::Booting
        };
    }
    let registered = machine.executor_ref.is_some();
    let looked = seen
        .seen
        .workload
        .complete_within(policy.trust.fresh_for, now)
        .is_some();
    match (registered, looked) {
        // nothing was registered before and nothing registered itself: no job can be on it
        (false, true) => Phase::Stuck,
        (true, true) => Phase::Unclear {
            why: "its executor is not to be found at the CI server, and absent is not idle".into(),
        },
        (_, false) => Phase::Unclear {
            why: "its executor could not be looked for".into(),
        },
    }
}

fn is_overdue(machine: &Machine, policy: &Policy, now: Timestamp) -> bool {
    let created = machine
        .instance
        .as_ref()
        .and_then(|instance| instance.created_at);
    created.is_some_and(|at| age(at, now) > policy.boot.timeout)
}

fn room(machine: &Machine, policy: &Policy) -> u32 {
    match &machine.phase {
        Phase::Requested | Phase::Provisioning | Phase::Booting | Phase::Idle { .. } => {
            policy.slots
        }
        // by the pool's own slots: the CI server need not know how many jobs a machine takes
        Phase::Busy { unknown: None } => match machine.executor.as_ref().map(|e| &e.state) {
            Some(ExecutorState::Busy { jobs }) if machine_is_open(machine) => {
                let held = u32::try_from(jobs.len()).unwrap_or(u32::MAX).max(1);
                policy.slots.saturating_sub(held)
            }
            _ => 0,
        },
        Phase::Busy { unknown: Some(_) }
        | Phase::Cordoned { .. }
        | Phase::ForeignCordon
        | Phase::Deleting
        | Phase::Stuck
        | Phase::Lost
        | Phase::Stopped
        | Phase::Unclear { .. } => 0,
    }
}

fn machine_is_open(machine: &Machine) -> bool {
    let cordon = machine.executor.as_ref().map(|executor| executor.cordon);
    cordon == Some(Cordon::None)
}
