//! The pool's machines, each in one phase, and the two numbers that are never one: room for new work, and machines
//! that cost money.
//!
//! Phases are derived from observations at every tick and never stored; an odd machine gets a phase that says so and
//! never stops the others.

mod executors;
mod look;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Cordon, Epoch, Executor, ExecutorId, ExecutorRef, ExecutorState, Generation, Instance,
    InstanceName, InstanceState, Intent, JobsRun, LeaveStep, OfferId, OfferPolicy, Policy,
    ProviderName, age,
};

use self::executors::Executors;
use self::look::Look;
use crate::Observation;
use crate::demand::{free_slots, slots};
use crate::offers;
use crate::retire;

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
    /// Its provider takes it back soon: left to finish what it runs, never given a new job.
    Preempted {
        /// What the provider, or the guest, said.
        notice: String,
        /// Whether a job may run on it.
        busy: bool,
    },
    /// It has run the jobs it may run: left to finish the last of them, never given a new one.
    Spent {
        /// Whether a job may run on it.
        busy: bool,
    },
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
            Phase::Preempted { .. } => "preempted",
            Phase::Spent { .. } => "spent",
            Phase::Deleting => "deleting",
            Phase::Stuck => "stuck",
            Phase::Lost => "lost",
            Phase::Stopped => "stopped",
            Phase::Unclear { .. } => "unclear",
        }
    }

    /// All words of [`Phase::as_str`], so that a phase without machines can be shown as zero.
    pub const ALL: [&'static str; 14] = [
        "requested",
        "provisioning",
        "booting",
        "idle",
        "busy",
        "cordoned",
        "foreign_cordon",
        "preempted",
        "spent",
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
            Phase::Spent { busy: true }
                | Phase::Requested
                | Phase::Provisioning
                | Phase::Booting
                | Phase::Idle { .. }
                | Phase::Busy { .. }
        )
    }

    /// Whether it runs jobs for the pool, or may run some.
    pub fn is_busy(&self) -> bool {
        matches!(self, Phase::Busy { .. } | Phase::Spent { busy: true })
    }

    /// Whether it is still on its way up.
    pub fn is_coming(&self) -> bool {
        matches!(
            self,
            Phase::Requested | Phase::Provisioning | Phase::Booting
        )
    }
}

/// One machine of the pool: what its phase was told from, as far as decisions look at it again. Copying the listing and
/// the look whole was most of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: InstanceName,
    /// Where it is, or is to be.
    pub provider: ProviderName,
    /// What the cloud lists of it.
    pub listed: Option<Listed>,
    /// What the CI server says of its executor.
    pub agent: Option<Agent>,
    /// Its executor, as the machine's tag, its departure or the CI server names it.
    pub executor_ref: Option<ExecutorRef>,
    /// The offer it comes from, as far as its tag or its creation says.
    pub offer: Option<OfferId>,
    /// What it was made from, as far as its tag says.
    pub generation: Option<Generation>,
    /// Its departure, if one was begun, and for how long it has been in that step.
    pub leaving: Option<Leaving>,
    /// Where it stands.
    pub phase: Phase,
    /// Slots that a new job could take, now or once it is up.
    pub free_slots: u32,
    /// The jobs seen on it up to now, where its pool limits them.
    pub jobs: Option<JobsRun>,
}

impl Machine {
    /// The offer of which it is made now; none where nothing that is configured makes such a machine.
    pub(crate) fn made_from<'p>(&self, policy: &'p Policy) -> Option<&'p OfferPolicy> {
        offers::made_from(policy, self.generation.as_ref(), self.offer.as_ref())
    }
}

/// What a listing says of a machine that is not gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// When the cloud created it.
    pub created_at: Option<Timestamp>,
    /// Since when it has existed for certain: the same, or when it was first listed.
    pub exists_since: Option<Timestamp>,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is powered off.
    pub stopped: bool,
    /// Whether its provider takes it back soon.
    pub noticed: bool,
    /// Whether it was made from what is not configured any more.
    pub changed: bool,
    /// Whether an operator drains it, its zone or its image.
    pub drained: bool,
}

/// What a look says of a machine's executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// What it does.
    pub does: Does,
    /// Whether it is kept from new jobs, and by whom.
    pub cordon: Cordon,
}

/// What an executor does, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// No machine has ever reported under it.
    NeverJoined,
    /// It is online without a job.
    Idle,
    /// It runs jobs.
    Busy,
    /// It was online and is not.
    Offline,
    /// It could not be told.
    Unknown,
}

impl Agent {
    fn of(executor: &Executor) -> Agent {
        let does = match executor.state {
            ExecutorState::NeverJoined => Does::NeverJoined,
            ExecutorState::Idle { .. } => Does::Idle,
            ExecutorState::Busy { .. } => Does::Busy,
            ExecutorState::Offline { .. } => Does::Offline,
            ExecutorState::Unknown { .. } => Does::Unknown,
        };
        let cordon = executor.cordon;
        Agent { does, cordon }
    }
}

/// An executor of ours without a machine or a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ghost {
    /// The machine it was registered for.
    pub instance: InstanceName,
    /// The CI server's id.
    pub executor: ExecutorId,
    /// Whether it runs a job all the same, or nobody can tell.
    pub busy: bool,
    /// Whether the CI server hears of it: then a machine stands behind it, whoever does not list it.
    pub online: bool,
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
    /// Everything not confirmed gone, sorted by the parts of the names.
    pub machines: Vec<Machine>,
    /// Executors of ours without a machine or a creation.
    pub ghosts: Vec<Ghost>,
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
        let leaving = departures(seen);
        let listed = listed_once(seen);
        let mut supply = Supply {
            machines: Vec::with_capacity(listed.len()),
            ..Supply::default()
        };
        for (provider, instance) in &listed {
            if instance.state.is_gone() {
                continue;
            }
            let executor = executors.take(instance);
            let begun = leaving.get(&instance.name);
            let leaving = begun.map(|(leaving, _)| leaving.clone());
            let named = || reference(policy, instance, executor, begun.and_then(|b| b.1));
            let nowhere = executor.is_none() && never_joined(seen, policy, instance, begun);
            let executor_ref = (!nowhere).then(named).flatten();
            let jobs = retire::jobs_run(seen, policy, &instance.name, executor);
            let look = Look {
                instance,
                executor,
                spent: retire::is_spent(seen, policy, &instance.name, jobs.as_ref()),
                leaving: leaving.as_ref(),
                registered: executor_ref.is_some(),
                seen,
                policy,
                now,
            };
            let phase = look.phase();
            let free_slots = look.room(&phase);
            supply.machines.push(Machine {
                name: instance.name.clone(),
                provider: (*provider).clone(),
                listed: Some(Listed {
                    created_at: instance.created_at,
                    exists_since: seen.seen.memory.exists_since(instance),
                    running: instance.state == InstanceState::Running,
                    stopped: instance.state == InstanceState::Stopped,
                    noticed: instance.notice.is_some(),
                    changed: retire::is_changed(instance, policy),
                    drained: retire::drained(seen, policy, instance).is_some(),
                }),
                agent: executor.map(Agent::of),
                executor_ref,
                offer: retire::made_from(instance, policy)
                    .or(instance.offer.as_ref())
                    .cloned(),
                generation: instance.generation.clone(),
                leaving,
                phase,
                free_slots,
                jobs,
            });
        }
        let before = supply.machines.len();
        supply.add_requested(seen, policy, &listed, &mut executors);
        if supply.machines.len() > before {
            supply
                .machines
                .sort_by(|a, b| a.name.parts().cmp(&b.name.parts()));
        }
        // a name that is only configured has no machine behind it
        let machines = executors.foreign.iter();
        let machines = machines.filter(|e| e.state != ExecutorState::NeverJoined);
        supply.static_executors = u32::try_from(machines.count()).unwrap_or(u32::MAX);
        supply.static_slots = executors.foreign.iter().map(|e| slots(e)).sum();
        supply.static_free = executors.foreign.iter().map(|e| free_slots(e)).sum();
        supply.ghosts = executors.left(&seen.fleet);
        supply
    }

    /// The machine of this name.
    pub fn machine(&self, name: &InstanceName) -> Option<&Machine> {
        let parts = name.parts();
        let at = self
            .machines
            .binary_search_by(|machine| machine.name.parts().cmp(&parts));
        at.ok().map(|at| &self.machines[at])
    }

    /// Machines of creations that no listing shows yet.
    fn add_requested(
        &mut self,
        seen: &Observation,
        policy: &Policy,
        listed: &[(&ProviderName, &Instance)],
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
                let parts = name.parts();
                let known = listed.binary_search_by(|(_, listed)| listed.name.parts().cmp(&parts));
                if known.is_ok() {
                    continue;
                }
                // its runner exists already and is no ghost
                let seen_executor = executors.remove(name.parts());
                self.machines.push(Machine {
                    name,
                    provider: provider.clone(),
                    offer: Some(offer.clone()),
                    generation: None,
                    listed: None,
                    agent: seen_executor.map(Agent::of),
                    executor_ref: executor.clone(),
                    leaving: None,
                    phase: Phase::Requested,
                    free_slots: policy.slots,
                    jobs: None,
                });
            }
        }
    }
}

/// Departures that were begun, each with the executor it names.
fn departures(seen: &Observation) -> BTreeMap<&InstanceName, (Leaving, Option<&ExecutorRef>)> {
    let begun = seen.seen.intents.iter();
    let begun = begun.filter_map(|stored| match &stored.intent {
        Intent::Leave {
            instance,
            executor,
            epoch,
            step,
        } => {
            let leaving = Leaving {
                step: *step,
                age: stored.age,
                epoch: *epoch,
            };
            Some((instance, (leaving, executor.as_ref())))
        }
        Intent::Create { .. } => None,
    });
    begun.collect()
}

/// Everything listed, sorted by name; a name that two providers list counts once, where it is listed first.
fn listed_once(seen: &Observation) -> Vec<(&ProviderName, &Instance)> {
    let mut listed: Vec<(&ProviderName, &Instance)> = Vec::new();
    for (provider, listing) in &seen.listings {
        let list = listing.any().into_iter().flatten();
        listed.extend(list.map(|instance| (provider, instance)));
    }
    listed.sort_by(|(_, a), (_, b)| a.name.parts().cmp(&b.name.parts()));
    listed.dedup_by(|(_, later), (_, first)| later.name == first.name);
    listed
}

/// Whether the executor that a machine's tag names was never made, as far as can be told: the CI server makes one when a
/// machine joins, and this one was seen from its creation on without ever having joined. Its departure remembers that.
fn never_joined(
    seen: &Observation,
    policy: &Policy,
    instance: &Instance,
    begun: Option<&(Leaving, Option<&ExecutorRef>)>,
) -> bool {
    policy.executors_appear
        && match begun {
            Some((_, executor)) => executor.is_none(),
            None => seen.seen.memory.booting.contains(&instance.name),
        }
}

fn reference(
    policy: &Policy,
    instance: &Instance,
    executor: Option<&Executor>,
    leaving: Option<&ExecutorRef>,
) -> Option<ExecutorRef> {
    let observed = executor
        .zip(policy.emitter.as_ref())
        .map(|(e, emitter)| ExecutorRef {
            emitter: emitter.clone(),
            id: e.id.clone(),
        });
    observed.or_else(|| instance.executor.as_ref().or(leaving).cloned())
}
