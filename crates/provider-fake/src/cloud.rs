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
    /// The next creation is on its way for this long and then happens, whether or not its caller still waits.
    SlowCreate(Duration),
    /// The next creation is refused and makes nothing.
    RefuseCreate(ProviderErrorKind),
    /// The next deletion does not happen, and its answer is lost.
    DropDelete,
    /// The next deletion happens, but its answer is lost.
    LoseDeleteReply,
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
    /// Whether its guest was asked to end its agent and to power off.
    pub asked: bool,
    /// Whether it is powered off.
    off: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Two fleets may have pools of one name.
    machines: BTreeMap<(FleetId, InstanceName), FakeMachine>,
    faults: Vec<Fault>,
    next_id: u64,
    creates: u64,
    lists: u64,
    /// How long a call takes, there and back.
    latency: Duration,
    /// Machines that may exist at once, if that was changed.
    capacity: Option<u32>,
    /// How every listing fares.
    listings: Option<Fault>,
    /// Creations on their way, and when each arrives.
    on_the_way: Vec<(Timestamp, CreateBatch)>,
    /// What was asked to be deleted and was there, in that order.
    deletions: Vec<InstanceName>,
    /// Calls that said until when machines are wanted.
    renewals: u64,
    /// Machines that were there when their console was asked for.
    consoles: Vec<InstanceName>,
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

    /// Forgets what was to go wrong and has not yet.
    pub fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// Machines that were there when their console was asked for, in that order.
    pub fn consoles(&self) -> Vec<InstanceName> {
        self.lock().consoles.clone()
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
            .values()
            .map(|m| (m.instance.name.clone(), cost(m)))
            .collect()
    }

    /// Takes a machine away without anybody's doing, as a spot interruption does.
    pub fn kill(&self, name: &InstanceName) {
        let now = self.clock.now();
        for machine in self.lock().machines.values_mut() {
            if machine.instance.name == *name {
                machine.ends.get_or_insert(now);
            }
        }
    }

    /// Says of a machine that it is taken back soon.
    pub fn announce_end(&self, name: &InstanceName, notice: &str) {
        for machine in self.lock().machines.values_mut() {
            if machine.instance.name == *name {
                machine.instance.notice = Some(notice.to_owned());
            }
        }
    }

    /// A machine is powered off from within, and stays there.
    pub fn power_off(&self, name: &InstanceName) {
        for machine in self.lock().machines.values_mut() {
            machine.off |= machine.instance.name == *name;
        }
    }

    /// So many machines may exist at once from now on.
    pub fn set_capacity(&self, machines: u32) {
        self.lock().capacity = Some(machines);
    }

    /// Every call takes so long from now on, half of it before it takes effect. A long time is a cloud that hangs.
    pub fn slow(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Every listing fares like this ([`Fault::FailList`] or [`Fault::HideScope`]), until `None`.
    pub fn listings(&self, fault: Option<Fault>) {
        self.lock().listings = fault;
    }

    /// Creation calls that have not arrived yet.
    pub fn on_the_way(&self) -> usize {
        self.lock().on_the_way.len()
    }

    /// Machines that were there and that somebody asked to delete, in that order.
    pub fn deletions(&self) -> Vec<InstanceName> {
        self.lock().deletions.clone()
    }

    /// How many machines were ever made.
    pub fn made(&self) -> u64 {
        self.lock().next_id
    }

    /// Creation calls that were answered or lost.
    pub fn create_calls(&self) -> u64 {
        self.lock().creates
    }

    /// Listings that were asked for.
    pub fn list_calls(&self) -> u64 {
        self.lock().lists
    }

    /// Calls that said until when machines are wanted.
    pub fn renewals(&self) -> u64 {
        self.lock().renewals
    }

    /// Somebody says of a machine until when it is wanted, or takes the mark away.
    pub fn mark(&self, name: &InstanceName, until: Option<Timestamp>) {
        for machine in self.lock().machines.values_mut() {
            if machine.instance.name == *name {
                machine.instance.expires = until;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.clock.now();
        let (arrived, still) = std::mem::take(&mut state.on_the_way)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        state.on_the_way = still;
        for (at, batch) in arrived {
            for index in 0..batch.count {
                // nobody may be left to hear the answer
                let _ = self.make(&mut state, &batch, index, at);
            }
        }
        state
    }

    /// One way of a call, there or back.
    async fn travel(&self) {
        let half = self.lock().latency / 2;
        if !half.is_zero() {
            self.clock.sleep(half).await;
        }
    }

    fn take_fault(state: &mut State, which: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let at = state.faults.iter().position(which)?;
        Some(state.faults.remove(at))
    }

    fn true_state(&self, machine: &FakeMachine, now: Timestamp) -> InstanceState {
        match machine.ends {
            Some(_) => InstanceState::Gone { why: None },
            None if machine.off => InstanceState::Stopped,
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

    fn make(
        &self,
        state: &mut State,
        batch: &CreateBatch,
        index: u32,
        now: Timestamp,
    ) -> Outcome<Instance> {
        let name = batch.batch.instance(index);
        let key = (batch.fleet.clone(), name.clone());
        if let Some(there) = state.machines.get(&key) {
            // the same batch again: the idempotency token finds the first result
            return Outcome::Done(there.instance.clone());
        }
        let alive = state
            .machines
            .values()
            .filter(|machine| machine.ends.is_none())
            .count();
        let capacity = state.capacity.unwrap_or(self.options.capacity);
        if alive >= capacity as usize {
            let message = "the simulated cloud has no room for another machine";
            return Outcome::Failed(self.error(
                ProviderErrorKind::OutOfCapacity,
                "create machines",
                message,
            ));
        }
        state.next_id += 1;
        let instance = Instance {
            name,
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
            generation: Some(batch.generation.clone()),
            notice: None,
            expires: None,
        };
        let machine = FakeMachine {
            fleet: batch.fleet.clone(),
            instance: instance.clone(),
            user_data: batch.user_data.clone(),
            created_at: now,
            ends: None,
            asked: false,
            off: false,
        };
        state.machines.insert(key, machine);
        Outcome::Done(instance)
    }
}

#[async_trait]
impl Provider for FakeCloud {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        self.travel().await;
        let listed = self.list_now(fleet);
        self.travel().await;
        listed
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        if call.remaining().is_none() {
            let over = || Outcome::Failed(self.over("create machines"));
            return (0..batch.count).map(|_| over()).collect();
        }
        if let Err(error) = serde_json::from_value::<crate::Offer>(batch.spec.clone()) {
            let message = format!("the offer cannot be read: {error}");
            let kind = ProviderErrorKind::InvalidRequest;
            let refused = || Outcome::Failed(self.error(kind, "create machines", &message));
            return (0..batch.count).map(|_| refused()).collect();
        }
        self.travel().await;
        let made = match self.slow_create(batch) {
            Some(way) => {
                self.clock.sleep(way).await;
                self.make_all(&mut self.lock(), batch)
            }
            None => self.create_now(batch),
        };
        self.travel().await;
        made
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        if call.remaining().is_none() {
            let over = |_: &Instance| Outcome::Failed(self.over("delete machines"));
            return instances.iter().map(over).collect();
        }
        self.travel().await;
        let deleted = self.delete_now(instances);
        self.travel().await;
        deleted
    }

    async fn console(
        &self,
        instance: &Instance,
        _: &Call,
    ) -> Result<Option<String>, ProviderError> {
        self.travel().await;
        let mut state = self.lock();
        let key = (instance.owner.fleet.clone(), instance.name.clone());
        let there = state
            .machines
            .get(&key)
            .is_some_and(|machine| machine.ends.is_none());
        if there {
            state.consoles.push(instance.name.clone());
        }
        Ok(there.then(|| format!("[    0.0] {} boots\n", instance.name)))
    }

    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        if call.remaining().is_none() {
            let over = |_: &Instance| Outcome::Failed(self.over("renew machines"));
            return instances.iter().map(over).collect();
        }
        self.travel().await;
        let renewed = self.mark_now("renew machines", instances, |machine| {
            machine.instance.expires = Some(until);
        });
        self.lock().renewals += 1;
        self.travel().await;
        renewed
    }

    async fn ask_guests(
        &self,
        instances: &[Instance],
        _: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let operation = "ask guests";
        if call.remaining().is_none() {
            let over = |_: &Instance| Outcome::Failed(self.over(operation));
            return instances.iter().map(over).collect();
        }
        self.travel().await;
        let asked = self.mark_now(operation, instances, |machine| machine.asked = true);
        self.travel().await;
        asked
    }
}

impl FakeCloud {
    fn list_now(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.lists += 1;
        let listing = |fault: &Fault| matches!(fault, Fault::FailList | Fault::HideScope(_));
        let fault = Self::take_fault(&mut state, listing).or_else(|| state.listings.clone());
        match fault {
            Some(Fault::HideScope(scope)) => {
                return Ok(Listing {
                    instances: Vec::new(),
                    unknown: vec![format!("{scope} does not answer")],
                });
            }
            Some(_) => {
                let message = "the simulated API is out of order";
                return Err(self.error(ProviderErrorKind::Unavailable, "list machines", message));
            }
            None => {}
        }
        let ours = state
            .machines
            .values()
            .filter(|machine| machine.fleet == *fleet);
        Ok(Listing {
            instances: ours
                .filter_map(|machine| self.listed(machine, now))
                .collect(),
            unknown: Vec::new(),
        })
    }

    /// Puts the batch on its way if it is to be slow; returns how long the way is.
    fn slow_create(&self, batch: &CreateBatch) -> Option<Duration> {
        let mut state = self.lock();
        let slow = Self::take_fault(&mut state, |fault| matches!(fault, Fault::SlowCreate(_)));
        let Some(Fault::SlowCreate(way)) = slow else {
            return None;
        };
        let at = self.clock.now() + way;
        state.on_the_way.push((at, batch.clone()));
        Some(way)
    }

    fn create_now(&self, batch: &CreateBatch) -> Vec<Outcome<Instance>> {
        let mut state = self.lock();
        state.creates += 1;
        let fault = Self::take_fault(&mut state, |fault| {
            matches!(
                fault,
                Fault::LoseCreateReply | Fault::DropCreate | Fault::RefuseCreate(_)
            )
        });
        let lost = || Outcome::Unknown(self.lost("create machines"));
        let each = 0..batch.count;
        match fault {
            Some(Fault::DropCreate) => each.map(|_| lost()).collect(),
            Some(Fault::RefuseCreate(kind)) => {
                let message = "the simulated cloud refuses this creation";
                let refused = || Outcome::Failed(self.error(kind, "create machines", message));
                each.map(|_| refused()).collect()
            }
            Some(_) => {
                let _ = self.make_all(&mut state, batch);
                each.map(|_| lost()).collect()
            }
            None => self.make_all(&mut state, batch),
        }
    }

    fn make_all(&self, state: &mut State, batch: &CreateBatch) -> Vec<Outcome<Instance>> {
        let now = self.clock.now();
        (0..batch.count)
            .map(|index| self.make(state, batch, index, now))
            .collect()
    }

    fn delete_now(&self, instances: &[Instance]) -> Vec<Outcome<InstanceName>> {
        let now = self.clock.now();
        let mut state = self.lock();
        let fault = Self::take_fault(&mut state, |fault| {
            matches!(fault, Fault::DropDelete | Fault::LoseDeleteReply)
        });
        let mut outcomes = Vec::new();
        for instance in instances {
            if fault != Some(Fault::DropDelete) {
                Self::end(&mut state, instance, now);
            }
            outcomes.push(match fault {
                Some(_) => Outcome::Unknown(self.lost("delete machines")),
                None => Outcome::Done(instance.name.clone()),
            });
        }
        outcomes
    }

    fn mark_now(
        &self,
        operation: &'static str,
        instances: &[Instance],
        mark: impl Fn(&mut FakeMachine),
    ) -> Vec<Outcome<InstanceName>> {
        let mut state = self.lock();
        let mut outcomes = Vec::new();
        for instance in instances {
            let key = (instance.owner.fleet.clone(), instance.name.clone());
            let machine = state.machines.get_mut(&key);
            let machine = machine.filter(|m| m.instance.id == instance.id && m.ends.is_none());
            outcomes.push(match machine {
                Some(machine) => {
                    mark(machine);
                    Outcome::Done(instance.name.clone())
                }
                None => {
                    let kind = ProviderErrorKind::NotFound;
                    Outcome::Failed(self.error(kind, operation, "there is no such machine"))
                }
            });
        }
        outcomes
    }

    fn end(state: &mut State, instance: &Instance, now: Timestamp) {
        let key = (instance.owner.fleet.clone(), instance.name.clone());
        let machine = state.machines.get_mut(&key);
        // by the cloud's own id, so that nothing is deleted for having a name like another's
        let machine = machine.filter(|m| m.instance.id == instance.id && m.ends.is_none());
        if let Some(machine) = machine {
            machine.ends = Some(now);
            state.deletions.push(instance.name.clone());
        }
    }

    fn over(&self, operation: &'static str) -> ProviderError {
        let message = "the lease was over before the call";
        self.error(ProviderErrorKind::LeaseOver, operation, message)
    }

    fn lost(&self, operation: &'static str) -> ProviderError {
        let message = "the link broke before the answer came";
        self.error(ProviderErrorKind::UnknownOutcome, operation, message)
    }
}
