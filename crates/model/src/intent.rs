//! What was begun and is not yet visible in the provider's listing.
//!
//! An intent is written before its first side effect. Whoever takes over finds it, counts what it may have
//! caused, and lets it end by what the cloud and the CI server show. Losing all intents is safe: the epoch of a
//! cordon stands at the CI server, the batch of a machine in its tags.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BatchId, Epoch, ExecutorRef, InstanceName, OfferId, PoolName, ProviderName};

/// One begun creation or departure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "snake_case")]
pub enum Intent {
    /// A batch of machines is being created.
    Create {
        /// Its name.
        batch: BatchId,
        /// How many machines.
        count: u32,
        /// Where.
        provider: ProviderName,
        /// Which offer.
        offer: OfferId,
        /// The executor registered for it, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executor: Option<ExecutorRef>,
    },
    /// A machine is on its way out.
    Leave {
        /// The machine.
        instance: InstanceName,
        /// The executor to cordon and to read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executor: Option<ExecutorRef>,
        /// The scaler's term that began it.
        epoch: Epoch,
        /// How far it is.
        step: LeaveStep,
    },
}

/// How far a departure is. Each step is entered only when its side effect is known to have succeeded, and its age
/// counts from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveStep {
    /// The cordon is being set.
    Cordoning,
    /// The cordon is confirmed; the CI server may still hand out a job it promised before.
    Settling,
    /// Read once as certainly idle, a settle time after the cordon; a second read a settle time later allows the deletion.
    ProvenOnce,
    /// The guest was asked to end its agent after its build, and to power off. There is no way back from it.
    Asked,
    /// The deletion was asked for.
    Deleting,
    /// The machine is gone; its executor is still to be removed from the CI server.
    Removing,
}

/// Identity of an intent within its pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", content = "name", rename_all = "snake_case")]
pub enum IntentKey {
    /// A creation, by batch.
    Create(BatchId),
    /// A departure, by machine.
    Leave(InstanceName),
}

impl Intent {
    /// Its identity.
    pub fn key(&self) -> IntentKey {
        match self {
            Intent::Create { batch, .. } => IntentKey::Create(batch.clone()),
            Intent::Leave { instance, .. } => IntentKey::Leave(instance.clone()),
        }
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> &PoolName {
        match self {
            Intent::Create { batch, .. } => &batch.pool,
            Intent::Leave { instance, .. } => instance.pool(),
        }
    }
}

impl std::fmt::Display for IntentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntentKey::Create(batch) => write!(f, "create:{batch}"),
            IntentKey::Leave(instance) => write!(f, "leave:{instance}"),
        }
    }
}

/// An intent as the store gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredIntent {
    /// What was begun.
    pub intent: Intent,
    /// Time since it was last written, by the store's clock.
    pub age: Duration,
}
