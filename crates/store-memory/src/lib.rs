//! The store in one process: for `parmanu up`, the demo and tests.
//!
//! It keeps the promises of [`ports::Store`] with maps behind a mutex, and dies with the process: that is a wipe, which
//! a store may suffer at any time. It has no expiry of values, since nothing outlives the process that could fill it;
//! streams are capped. Time comes from the given [`Clock`], so a simulation moves it.
#![forbid(unsafe_code)]

mod leases;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use model::{EmitterName, Epoch, HolderId, InstallationId, Order, PoolName};
use ports::{
    Acquired, Clock, FleetRecord, LeaseName, PoolCommit, Store, StoreError, StoreErrorKind, Wake,
    WorkloadWrite,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::state::State;

/// Hints kept for a listener that is slow; one that misses some is told to look at everything.
const HINTS: usize = 1024;

/// A store that lives and dies with this process.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wakes: broadcast::Sender<Wake>,
    hints: broadcast::Sender<EmitterName>,
}

impl MemoryStore {
    /// An empty store on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryStore {
            clock,
            state: Mutex::default(),
            wakes: broadcast::Sender::new(HINTS),
            hints: broadcast::Sender::new(HINTS),
        }
    }

    /// Loses everything, as a restart does. For tests and simulations.
    pub fn wipe(&self) {
        *self.lock() = State::default();
    }

    /// The last decisions for a pool, oldest first.
    #[must_use]
    pub fn decisions(&self, pool: &PoolName) -> Vec<serde_json::Value> {
        self.lock().decisions(pool)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the maps half-written, so a panic of another thread did no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.clock.boottime()
    }

    fn fence(
        &self,
        state: &State,
        operation: &'static str,
        lease: &LeaseName,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let held = state.leases.holds_in(lease, epoch, self.now());
        held.then_some(()).ok_or_else(|| StoreError {
            kind: StoreErrorKind::Fenced,
            operation,
            message: format!("the lease of epoch {epoch} is over or held by somebody else"),
            source: None,
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        ttl: Duration,
        floor: Epoch,
    ) -> Result<Acquired, StoreError> {
        let wall = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let now = self.now();
        Ok(self
            .lock()
            .leases
            .acquire(lease, holder, ttl, floor, now, wall))
    }

    async fn renew(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        Ok(self.lock().leases.renew(lease, holder, epoch, ttl, now))
    }

    async fn release(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let given = self.lock().leases.release(lease, holder, epoch, now);
        if given && *lease == LeaseName::Scaler {
            // nobody listens: then nobody stands by
            let _ = self.wakes.send(Wake::All);
        }
        Ok(())
    }

    async fn put_workloads(&self, write: &WorkloadWrite) -> Result<(), StoreError> {
        let lease = LeaseName::Emitter(write.emitter.clone());
        let mut state = self.lock();
        self.fence(&state, "write workloads", &lease, write.epoch)?;
        for pool in state.put_workloads(write, self.now()) {
            // An error means that nobody listens, which is no error.
            let _ = self.wakes.send(Wake::Pool(pool));
        }
        Ok(())
    }

    async fn put_failure(
        &self,
        emitter: &EmitterName,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), StoreError> {
        let lease = LeaseName::Emitter(emitter.clone());
        let mut state = self.lock();
        self.fence(&state, "note a failed look", &lease, epoch)?;
        state.put_failure(emitter, why, self.now());
        Ok(())
    }

    async fn read(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
    ) -> Result<FleetRecord, StoreError> {
        Ok(self.lock().read(pools, emitters, self.now()))
    }

    async fn commit(&self, epoch: Epoch, pools: &[PoolCommit]) -> Result<(), StoreError> {
        let mut state = self.lock();
        self.fence(&state, "commit a cycle", &LeaseName::Scaler, epoch)?;
        state.commit(pools, self.now());
        Ok(())
    }

    async fn put_order(&self, order: &Order, lasts: Duration) -> Result<(), StoreError> {
        let put = self.lock().put_order(order, lasts, self.now());
        put.then_some(()).ok_or_else(|| StoreError {
            kind: StoreErrorKind::Refused,
            operation: "keep an override",
            message: format!("there are {} already: remove some", Order::MOST),
            source: None,
        })
    }

    async fn end_order(&self, id: &str, only_if_over: bool) -> Result<bool, StoreError> {
        Ok(self.lock().end_order(id, only_if_over, self.now()))
    }

    async fn hint(&self, emitter: &EmitterName) -> Result<(), StoreError> {
        // nobody listens: then nobody needs it
        let _ = self.hints.send(emitter.clone());
        Ok(())
    }

    fn hints(&self) -> BoxStream<'static, EmitterName> {
        let hints = stream::unfold(self.hints.subscribe(), |mut receiver| async {
            loop {
                match receiver.recv().await {
                    Ok(emitter) => return Some((emitter, receiver)),
                    // what was missed are hints
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        });
        hints.boxed()
    }

    fn wakes(&self) -> BoxStream<'static, Wake> {
        let hints = stream::unfold(self.wakes.subscribe(), |mut receiver| async {
            let wake = match receiver.recv().await {
                Ok(wake) => wake,
                Err(RecvError::Lagged(_)) => Wake::All,
                // The store is gone, and with it whatever could change.
                Err(RecvError::Closed) => std::future::pending().await,
            };
            Some((wake, receiver))
        });
        stream::iter([Wake::All]).chain(hints).boxed()
    }

    async fn installation(&self, proposed: &InstallationId) -> Result<InstallationId, StoreError> {
        let mut state = self.lock();
        let kept = state.installation.get_or_insert_with(|| proposed.clone());
        Ok(kept.clone())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
