//! The notice-board and lock-keeper between probot and scaler.
//!
//! The store may be wiped at any time: it holds nothing that the provider's listing and the CI server cannot give
//! back, except knowledge of what was begun a moment ago. Verbs are of our domain, never of a database. Every write
//! of a lease holder carries its epoch and is refused, in the same atomic step, when the lease has moved on. Ages are
//! by the store's own clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use model::{
    EmitterName, Epoch, HolderId, InstallationId, Intent, IntentKey, NamedJob, Order, PoolMemory,
    PoolName, Seen, StoredIntent, StoredOrders, StoredWorkload, Unmatched, Workload,
};

use crate::BoxError;

/// The store of one fleet. Every call is bounded in time by the adapter and fails at once when the store is away.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes the lease if it is free or over, or extends it if `holder` has it already (same epoch then). A new
    /// holder's epoch is [`Epoch::next`] of the stored one, `floor` and the store's clock.
    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        ttl: Duration,
        floor: Epoch,
    ) -> Result<Acquired, StoreError>;

    /// Extends the lease; `false` when `holder` no longer has it in this epoch.
    async fn renew(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives the lease back, so that the next holder need not wait. Not having it is success. That of the scaler is told
    /// to all who listen ([`Wake::All`]), since one of them stands by for it.
    async fn release(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
    ) -> Result<(), StoreError>;

    /// Writes the workloads of one look, replaces the emitter's status and wakes the scaler for each pool whose demand
    /// or executors changed. Fenced by the emitter's lease.
    async fn put_workloads(&self, write: &WorkloadWrite) -> Result<(), StoreError>;

    /// Notes why a look failed, for the scaler's reasons. The last good workloads stay and grow old. Fenced by the
    /// emitter's lease.
    async fn put_failure(
        &self,
        emitter: &EmitterName,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), StoreError>;

    /// Reads all that the scaler needs for these pools and emitters, in a number of round trips that does not depend
    /// on how many there are.
    async fn read(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
    ) -> Result<FleetRecord, StoreError>;

    /// Writes what one cycle decided, for all pools in one atomic step, fenced by the scaler's lease: after success the
    /// intents are recorded and their actions may begin.
    async fn commit(&self, epoch: Epoch, pools: &[PoolCommit]) -> Result<(), StoreError>;

    /// Keeps an operator's order for this time, in the place of one with the same [`model::Directive::id`]. Not fenced: an
    /// operator may say it to any replica. Refused when there are [`model::Order::MOST`] others.
    async fn put_order(&self, order: &Order, lasts: Duration) -> Result<(), StoreError>;

    /// Forgets an order, by its [`model::Directive::id`], and says whether it was there: of many who ask at once one is
    /// told so. With `only_if_over` one that still holds stays.
    async fn end_order(&self, id: &str, only_if_over: bool) -> Result<bool, StoreError>;

    /// Hints that a pool's workload changed. Lossy: the slow sweep is the truth. [`Wake::All`] after every
    /// (re)connection, since hints may have been missed. Never ends by itself.
    fn wakes(&self) -> BoxStream<'static, Wake>;

    /// Tells every replica of probot that something may have changed at an emitter. Lossy, and heard by the sender too.
    async fn hint(&self, emitter: &EmitterName) -> Result<(), StoreError>;

    /// Hints of all replicas. Lossy: the next look is the truth. Never ends by itself.
    fn hints(&self) -> BoxStream<'static, EmitterName>;

    /// The id of the installation that this store belongs to, the same for all of its replicas: the one that is kept, or else
    /// `proposed`, which is kept from now on. Of many who propose at once one is heard. A store that was wiped keeps a new one.
    async fn installation(&self, proposed: &InstallationId) -> Result<InstallationId, StoreError>;

    /// Whether the store answers, for readiness.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// A time-limited right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseName {
    /// To act for the fleet.
    Scaler,
    /// To probe one emitter.
    Emitter(EmitterName),
}

/// Answer to [`Store::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The caller holds it.
    Held(Lease),
    /// Somebody else does.
    By {
        /// Who.
        holder: HolderId,
        /// For how long at most.
        remaining: Duration,
    },
}

/// A lease that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The term.
    pub epoch: Epoch,
    /// Whether the store remembered an earlier epoch of this lease. If not, it is new or was wiped, and intents of
    /// calls in flight may be missing.
    pub remembered: bool,
}

/// Workloads of one look at one emitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadWrite {
    /// The emitter.
    pub emitter: EmitterName,
    /// The term of its prober.
    pub epoch: Epoch,
    /// Time from the start of the look to this write: a workload's age counts from the start of the look.
    pub elapsed: Duration,
    /// One workload for every pool of the emitter, those without jobs too.
    pub workloads: Vec<Workload>,
    /// Jobs that no pool takes; bounded by the writer.
    pub unmatched: Vec<Unmatched>,
    /// How many jobs no pool takes in all.
    pub unmatched_total: u32,
    /// Some of the jobs by name; bounded by the writer.
    pub named: Vec<NamedJob>,
    /// Pools that the writer has no configuration of, and of which the look showed executors of ours. Each is among the
    /// workloads. At most [`MOST_LEFT_OVER`]: where there are as many, others may be missing.
    pub left_over: BTreeSet<PoolName>,
}

/// Pools without a configuration that one look tells of at most: an executor's name bounds nothing.
pub const MOST_LEFT_OVER: usize = 100;

/// What the store knows of one emitter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmitterStatus {
    /// Time since the start of its last good look, if there was one.
    pub last_good: Option<Duration>,
    /// The failure since then, if the last look failed.
    pub failure: Option<ProbeFailure>,
    /// Jobs that no pool takes.
    pub unmatched: Vec<Unmatched>,
    /// How many in all.
    pub unmatched_total: u32,
    /// Some of the jobs of that look by name.
    pub named: Vec<NamedJob>,
    /// Pools that its prober has no configuration of, and of which that look showed executors of ours. One of before it
    /// could be told tells none.
    pub left_over: BTreeSet<PoolName>,
}

/// A look that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// What happened, in words.
    pub why: String,
    /// Time since it was noted.
    pub age: Duration,
}

/// What the store knows of some pools and emitters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetRecord {
    /// One record for every pool asked for.
    pub pools: BTreeMap<PoolName, PoolRecord>,
    /// One status for every emitter asked for.
    pub emitters: BTreeMap<EmitterName, EmitterStatus>,
    /// What operators ordered. Whatever else was asked for, these are always read: a pool that does not know of its pause
    /// would act against it.
    pub orders: StoredOrders,
}

/// What the store knows of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolRecord {
    /// The last workload of each emitter that wrote one.
    pub workloads: BTreeMap<EmitterName, StoredWorkload>,
    /// What was begun.
    pub intents: Vec<StoredIntent>,
    /// The engine's memory, `None` when there is none or it cannot be read.
    pub memory: Option<PoolMemory>,
    /// What under this pool's keys is not what we write, with the key, if anything. Nothing else of the record may be
    /// used then: the pool holds, and the others go on.
    pub unreadable: Option<String>,
}

/// What one cycle decided for one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolCommit {
    /// The pool.
    pub pool: PoolName,
    /// The engine's memory, when it changed.
    pub memory: Option<PoolMemory>,
    /// Intents to write; their age starts anew.
    pub put: Vec<Intent>,
    /// Intents that ended.
    pub end: Vec<IntentKey>,
    /// The decision in words and as data, when it changed: kept in a capped stream.
    pub decision: Option<serde_json::Value>,
}

/// A hint that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// This pool's workload changed.
    Pool(PoolName),
    /// Hints may have been missed, or the scaler's lease is free: look at everything.
    All,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the store could not {operation}: {message}")]
pub struct StoreError {
    /// For code.
    pub kind: StoreErrorKind,
    /// What was tried, as a verb phrase.
    pub operation: &'static str,
    /// What happened and what to do; never a password.
    pub message: String,
    /// What lies below, if anything.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Away or too slow: skip this cycle.
    Unavailable,
    /// Refuses writes (read-only replica, out of memory): an operator has to act; hold.
    Refused,
    /// The lease has moved on: stop acting.
    Fenced,
    /// A value under one of our keys is not what we write.
    Corrupt,
    /// Address, credentials or TLS settings are not usable.
    Config,
}

impl PoolRecord {
    /// The workload of one emitter as an observation at `now`, its age taken from the store's clock.
    pub fn seen(&self, emitter: &EmitterName, now: jiff::Timestamp) -> Seen<Workload> {
        let Some(stored) = self.workloads.get(emitter) else {
            return Seen::Never { why: None };
        };
        let age = jiff::SignedDuration::try_from(stored.age).unwrap_or(jiff::SignedDuration::MAX);
        let at = now.checked_sub(age).unwrap_or(jiff::Timestamp::MIN);
        let value = stored.workload.clone();
        match value.completeness.doubts() {
            [] => Seen::Complete { value, at },
            why => Seen::Partial {
                why: why.to_vec(),
                value,
                at,
            },
        }
    }
}
