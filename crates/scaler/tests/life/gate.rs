//! Where one scaler meets the world. Every call it makes crosses its gate twice, before it takes effect and after, and
//! there it can be paused as a whole, or die.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use model::{
    CreateBatch, EmitterName, Epoch, FleetId, HolderId, Instance, InstanceName, Listing, Order,
    PoolName,
};
use ports::{
    Acquired, Call, Clock, FleetRecord, LeaseName, Outcome, PoolCommit, Provider, ProviderError,
    Store, StoreError, Wake, WorkloadWrite,
};
use tokio::sync::{Notify, watch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Dead,
}

/// The gate of one scaler; clones are one.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    state: watch::Sender<State>,
    /// Crossings that are left until its scaler comes no further.
    left: AtomicU64,
    /// What becomes of it then.
    there: Mutex<State>,
    reached: Notify,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Gate(Arc::new(Inner {
            state: watch::Sender::new(State::Open),
            left: AtomicU64::new(u64::MAX),
            there: Mutex::new(State::Dead),
            reached: Notify::new(),
        }))
    }

    /// From now on its scaler comes over this many crossings, and no further.
    pub(crate) fn dies_after(&self, crossings: u64) {
        self.ends_after(crossings, State::Dead);
    }

    /// As [`Gate::dies_after`], and there it is paused.
    pub(crate) fn pauses_after(&self, crossings: u64) {
        self.ends_after(crossings, State::Paused);
    }

    fn ends_after(&self, crossings: u64, there: State) {
        *self.0.there.lock().expect("a state") = there;
        self.0.left.store(crossings, Ordering::Relaxed);
    }

    pub(crate) fn pause(&self) {
        self.0.state.send_replace(State::Paused);
    }

    pub(crate) fn resume(&self) {
        self.0.state.send_replace(State::Open);
    }

    /// Completes when the scaler has come to where it dies or is paused.
    pub(crate) async fn reached(&self) {
        self.0.reached.notified().await;
    }

    /// One side of a call.
    pub(crate) async fn cross(&self) {
        self.wait().await;
        if self.0.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            // whatever else it has begun comes no further either
            let there = *self.0.there.lock().expect("a state");
            self.0.state.send_replace(there);
            self.0.reached.notify_one();
        }
        self.wait().await;
    }

    async fn wait(&self) {
        let mut state = self.0.state.subscribe();
        let _ = state.wait_for(|state| *state == State::Open).await;
    }

    /// A call between its two crossings.
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.cross().await;
        let answer = call.await;
        self.cross().await;
        answer
    }
}

/// The scaler's clock: who is paused wakes late.
pub(crate) struct GatedClock(pub(crate) Gate, pub(crate) Arc<dyn Clock>);

#[async_trait]
impl Clock for GatedClock {
    fn now(&self) -> Timestamp {
        self.1.now()
    }
    fn boottime(&self) -> Duration {
        self.1.boottime()
    }
    async fn sleep(&self, duration: Duration) {
        self.1.sleep(duration).await;
        self.0.wait().await;
    }
}

/// The scaler's side of a provider.
pub(crate) struct GatedProvider(pub(crate) Gate, pub(crate) Arc<dyn Provider>);

#[async_trait]
impl Provider for GatedProvider {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        self.0.call(self.1.list(fleet)).await
    }
    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        self.0.call(self.1.create(batch, call)).await
    }
    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        self.0.call(self.1.delete(instances, call)).await
    }
    async fn ask_guests(
        &self,
        instances: &[Instance],
        why: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        self.0.call(self.1.ask_guests(instances, why, call)).await
    }
}

/// The scaler's side of the store.
pub(crate) struct GatedStore(pub(crate) Gate, pub(crate) Arc<dyn Store>);

#[async_trait]
impl Store for GatedStore {
    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        ttl: Duration,
        floor: Epoch,
    ) -> Result<Acquired, StoreError> {
        self.0.call(self.1.acquire(lease, holder, ttl, floor)).await
    }
    async fn renew(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.0.call(self.1.renew(lease, holder, epoch, ttl)).await
    }
    async fn release(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        self.0.call(self.1.release(lease, holder, epoch)).await
    }
    async fn put_workloads(&self, write: &WorkloadWrite) -> Result<(), StoreError> {
        self.0.call(self.1.put_workloads(write)).await
    }
    async fn put_failure(
        &self,
        emitter: &EmitterName,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), StoreError> {
        self.0.call(self.1.put_failure(emitter, epoch, why)).await
    }
    async fn read(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
    ) -> Result<FleetRecord, StoreError> {
        self.0.call(self.1.read(pools, emitters)).await
    }
    async fn commit(&self, epoch: Epoch, pools: &[PoolCommit]) -> Result<(), StoreError> {
        self.0.call(self.1.commit(epoch, pools)).await
    }
    fn wakes(&self) -> BoxStream<'static, Wake> {
        self.1.wakes()
    }
    async fn hint(&self, emitter: &EmitterName) -> Result<(), StoreError> {
        self.1.hint(emitter).await
    }
    fn hints(&self) -> BoxStream<'static, EmitterName> {
        self.1.hints()
    }
    async fn put_order(&self, order: &Order, lasts: Duration) -> Result<(), StoreError> {
        self.0.call(self.1.put_order(order, lasts)).await
    }
    async fn end_order(&self, id: &str, only_if_over: bool) -> Result<bool, StoreError> {
        self.0.call(self.1.end_order(id, only_if_over)).await
    }
    async fn installation(
        &self,
        proposed: &model::InstallationId,
    ) -> Result<model::InstallationId, StoreError> {
        self.0.call(self.1.installation(proposed)).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.1.ping().await
    }
}
