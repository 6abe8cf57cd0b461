//! What the engine may know at one tick.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    ConfigHash, Epoch, FleetId, Instance, OfferId, PoolMemory, PoolName, ProviderName, Seen,
    StoredIntent, Workload,
};
use serde::{Deserialize, Serialize};

/// Everything known of one fleet at one tick, before it is taken apart by pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetObservation {
    /// Owner id.
    pub fleet: FleetId,
    /// The configuration in force; a workload mapped with another one is partial.
    pub config: ConfigHash,
    /// The term we act in.
    pub epoch: Epoch,
    /// Each provider's own list of our machines. While a provider fails, its last good list stays here as partial, so
    /// that its machines are still counted.
    pub listings: BTreeMap<ProviderName, Seen<Vec<Instance>>>,
    /// What the store and the CI servers say of each pool.
    pub pools: BTreeMap<PoolName, PoolSeen>,
    /// When intents may have been lost (a store that was wiped, a start without any), if they may.
    pub intents_lost_at: Option<Timestamp>,
    /// Offers that step aside for a while.
    pub unavailable: BTreeMap<OfferId, Unavailable>,
}

/// What is known of one pool beside its machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolSeen {
    /// Its workload.
    pub workload: Seen<Workload>,
    /// What was begun for it.
    pub intents: Vec<StoredIntent>,
    /// The engine's memory of it.
    pub memory: PoolMemory,
    /// The sequence of its next batch in this epoch.
    pub next_sequence: u32,
    /// Why nothing can be created for it now, if so (registration refused, for instance).
    pub creation_held: Option<String>,
}

/// Why an offer steps aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// What the provider said.
    pub why: String,
    /// For how much longer.
    pub remaining: Duration,
}

/// Everything known of one pool at one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Owner id.
    pub fleet: FleetId,
    /// The configuration in force.
    pub config: ConfigHash,
    /// The term we act in.
    pub epoch: Epoch,
    /// The pool's machines, by provider.
    pub listings: BTreeMap<ProviderName, Seen<Vec<Instance>>>,
    /// What else is known.
    pub seen: PoolSeen,
    /// When intents may have been lost, if they may.
    pub intents_lost_at: Option<Timestamp>,
    /// Offers that step aside for a while.
    pub unavailable: BTreeMap<OfferId, Unavailable>,
}

impl FleetObservation {
    /// The part that concerns one pool; `None` for a pool nothing is recorded of.
    ///
    /// A machine belongs to a pool by its name. One that carries another fleet's tag is left out here, whatever a
    /// provider lists, so that no later step can touch it.
    pub fn pool(&self, pool: &PoolName) -> Option<Observation> {
        let ours = |list: &[Instance]| -> Vec<Instance> {
            list.iter()
                .filter(|i| i.owner.fleet == self.fleet && i.pool() == pool)
                .cloned()
                .collect()
        };
        let listings = self
            .listings
            .iter()
            .map(|(provider, seen)| {
                let mine = match seen {
                    Seen::Complete { value, at } => Seen::Complete {
                        value: ours(value),
                        at: *at,
                    },
                    Seen::Partial { value, at, why } => Seen::Partial {
                        value: ours(value),
                        at: *at,
                        why: why.clone(),
                    },
                    Seen::Never { why } => Seen::Never { why: why.clone() },
                };
                (provider.clone(), mine)
            })
            .collect();
        Some(Observation {
            fleet: self.fleet.clone(),
            config: self.config.clone(),
            epoch: self.epoch,
            listings,
            seen: self.pools.get(pool)?.clone(),
            intents_lost_at: self.intents_lost_at,
            unavailable: self.unavailable.clone(),
        })
    }
}
