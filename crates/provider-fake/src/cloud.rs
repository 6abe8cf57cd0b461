//! The simulated cloud itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{
    CreateBatch, FleetId, Instance, InstanceName, InstanceState, Listing, Owner, ProviderName,
    ProviderRef, UserData, age,
};
use ports::{Call, Clock, Outcome, Provider, ProviderError, ProviderErrorKind};

/// How the cloud behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Time from the creation call to `running`.
    pub boot: Duration,
    /// How long a new machine is missing from listings, and a deleted one still listed as running.
    pub lag: Duration,
    /// Machines that may exist at once.
    pub capacity: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            boot: Duration::ZERO,
            lag: Duration::ZERO,
            capacity: u32::MAX,
        }
    }
}

/// Something that goes wrong once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The next creation happens, but its answer is lost.
    LoseCreateReply,
    /// The next creation does not happen, and its answer is lost.
    DropCreate,
    /// The next listing cannot see this part.
    HideScope(String),
    /// The next listing fails.
    FailList,
}

/// One simulated machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeMachine {
    /// Its owner.
    pub fleet: FleetId,
    /// As the cloud would list it, without lag.
    pub instance: Instance,
    /// Its boot script.
    pub user_data: UserData,
    created_at: Timestamp,
    ends: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct State {
    machines: BTreeMap<InstanceName, FakeMachine>,
    faults: Vec<Fault>,
    next_id: u64,
    creates: u64,
}

/// A simulated cloud account; clones share it.
#[derive(Clone)]
pub struct FakeCloud {
    name: ProviderName,
    clock: Arc<dyn Clock>,
    options: Options,
    state: Arc<Mutex<State>>,
}

impl FakeCloud {
    /// An empty cloud.
    pub fn new(name: ProviderName, clock: Arc<dyn Clock>, options: Options) -> Self {
        FakeCloud {
            name,
            clock,
            options,
            state: Arc::default(),
        }
    }

    /// Makes something go wrong once.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// All machines that exist now, in their true state.
    pub fn machines(&self) -> Vec<FakeMachine> {
        let now = self.clock.now();
        let state = self.lock();
        let alive = state.machines.values().filter(|m| m.ends.is_none());
        alive
            .map(|machine| {
                let mut machine = machine.clone();
                machine.instance.state = self.true_state(&machine, now);
                machine
            })
            .collect()
    }

    /// Every machine that was ever made, with how long it cost money until now.
    pub fn ever(&self) -> Vec<(InstanceName, Duration)> {
        let now = self.clock.now();
        let state = self.lock();
        let cost = |m: &FakeMachine| age(m.created_at, m.ends.unwrap_or(now));
        state
            .machines
            .iter()
            .map(|(name, m)| (name.clone(), cost(m)))
            .collect()
    }

    /// Takes a machine away without anybody's doing, as a spot interruption does.
    pub fn kill(&self, name: &InstanceName) {
        let now = self.clock.now();
        if let Some(machine) = self.lock().machines.get_mut(name) {
            machine.ends.get_or_insert(now);
        }
    }

    /// Creation calls that were answered or lost.
    pub fn create_calls(&self) -> u64 {
        self.lock().creates
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take_fault(state: &mut State, which: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let at = state.faults.iter().position(which)?;
        Some(state.faults.remove(at))
    }

    fn true_state(&self, machine: &FakeMachine, now: Timestamp) -> InstanceState {
        match machine.ends {
            Some(_) => InstanceState::Gone { why: None },
            None if age(machine.created_at, now) < self.options.boot => InstanceState::Pending,
            None => InstanceState::Running,
        }
    }

    /// The machine as a listing shows it now, with its lag; `None` when the listing does not know it (any more).
    fn listed(&self, machine: &FakeMachine, now: Timestamp) -> Option<Instance> {
        let mut instance = machine.instance.clone();
        let lag = self.options.lag;
        if !lag.is_zero() && age(machine.created_at, now) < lag {
            return None;
        }
        instance.state = match machine.ends {
            Some(at) if age(at, now) < lag => InstanceState::Running,
            // a cloud shows terminated machines for a while
            Some(at) if age(at, now) > Duration::from_secs(3600) => return None,
            Some(_) | None => self.true_state(machine, now),
        };
        Some(instance)
    }

    fn error(
        &self,
        kind: ProviderErrorKind,
        operation: &'static str,
        message: &str,
    ) -> ProviderError {
        let provider = self.name.clone();
        ProviderError {
            kind,
            provider,
            operation,
            message: message.to_owned(),
            source: None,
        }
    }

    fn make(&self, state: &mut State, batch: &CreateBatch, index: u32) -> Outcome<Instance> {
        let now = self.clock.now();
        let name = batch.batch.instance(index);
        if let Some(there) = state.machines.get(&name) {
            // the same batch again: the idempotency token finds the first result
            return Outcome::Done(there.instance.clone());
        }
        let alive = state
            .machines
            .values()
            .filter(|machine| machine.ends.is_none())
            .count();
        if alive >= self.options.capacity as usize {
            let message = "the simulated cloud has no room for another machine";
            return Outcome::Failed(self.error(
                ProviderErrorKind::OutOfCapacity,
                "create machines",
                message,
            ));
        }
        state.next_id += 1;
        let instance = Instance {
            name: name.clone(),
            id: ProviderRef::new(format!("fake-{:06}", state.next_id)),
            scope: "simulated".to_owned(),
            state: InstanceState::Pending,
            created_at: Some(now),
            owner: Owner {
                fleet: batch.fleet.clone(),
                installation: Some(batch.installation.clone()),
            },
            executor: batch.executor.clone(),
            offer: Some(batch.offer.clone()),
        };
        let machine = FakeMachine {
            fleet: batch.fleet.clone(),
            instance: instance.clone(),
            user_data: batch.user_data.clone(),
            created_at: now,
            ends: None,
        };
        state.machines.insert(name, machine);
        Outcome::Done(instance)
    }
}

#[async_trait]
impl Provider for FakeCloud {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let now = self.clock.now();
        let mut state = self.lock();
        if Self::take_fault(&mut state, |fault| *fault == Fault::FailList).is_some() {
            let message = "the simulated API is out of order";
            return Err(self.error(ProviderErrorKind::Unavailable, "list machines", message));
        }
        let hidden = Self::take_fault(&mut state, |fault| matches!(fault, Fault::HideScope(_)));
        let unknown = match hidden {
            Some(Fault::HideScope(scope)) => vec![format!("{scope} does not answer")],
            Some(_) | None => Vec::new(),
        };
        let instances = if unknown.is_empty() {
            let ours = state
                .machines
                .values()
                .filter(|machine| machine.fleet == *fleet);
            ours.filter_map(|machine| self.listed(machine, now))
                .collect()
        } else {
            Vec::new()
        };
        Ok(Listing { instances, unknown })
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        let count = 0..batch.count;
        if call.remaining().is_none() {
            let over = || {
                let message = "the lease was over before the call";
                self.error(ProviderErrorKind::LeaseOver, "create machines", message)
            };
            return count.map(|_| Outcome::Failed(over())).collect();
        }
        let mut state = self.lock();
        state.creates += 1;
        let lost = Self::take_fault(&mut state, |fault| {
            matches!(fault, Fault::LoseCreateReply | Fault::DropCreate)
        });
        if lost == Some(Fault::DropCreate) {
            return count.map(|_| Outcome::Unknown(self.lost())).collect();
        }
        let made = count
            .map(|index| self.make(&mut state, batch, index))
            .collect();
        match lost {
            Some(_) => (0..batch.count)
                .map(|_| Outcome::Unknown(self.lost()))
                .collect(),
            None => made,
        }
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let now = self.clock.now();
        let over = call.remaining().is_none();
        let mut state = self.lock();
        let delete = |instance: &Instance| {
            if over {
                let message = "the lease was over before the call";
                let kind = ProviderErrorKind::LeaseOver;
                return Outcome::Failed(self.error(kind, "delete machines", message));
            }
            let machine = state.machines.get_mut(&instance.name);
            // by the cloud's own id, so that nothing is deleted for having a name like another's
            if let Some(machine) = machine.filter(|m| m.instance.id == instance.id) {
                machine.ends.get_or_insert(now);
            }
            Outcome::Done(instance.name.clone())
        };
        instances.iter().map(delete).collect()
    }
}

impl FakeCloud {
    fn lost(&self) -> ProviderError {
        let message = "the link broke before the answer came";
        self.error(
            ProviderErrorKind::UnknownOutcome,
            "create machines",
            message,
        )
    }
}
