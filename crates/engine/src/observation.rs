//! What the engine may know at one tick.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    ConfigHash, Epoch, FleetId, Instance, InstanceName, OfferId, Overrides, PoolMemory, PoolName,
    ProviderName, Seen, Share, StoredIntent, Workload,
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
    #[serde(with = "model::offer_keys")]
    pub unavailable: BTreeMap<OfferId, Unavailable>,
    /// Who else acts for this fleet, in words (see [`crate::rival`]): then nothing of it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
    /// What operators ordered.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
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
    /// Why the CI server lately refused to have an executor of it cordoned, if so: then no machine that has one begins to
    /// leave, as in the read-only mode.
    #[serde(default)]
    pub control_refused: Option<String>,
    /// Machines whose own executors it lately refused to have cordoned, and why: they do not begin to leave, others do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cordon_refused: BTreeMap<InstanceName, String>,
    /// Machines whose deletion rests on having no executor, where the CI server, asked right before it, knew one or could not
    /// tell; and why. They are not deleted for that reason for a while.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub join_doubts: BTreeMap<InstanceName, String>,
    /// How creations of this pool ended since its memory was written.
    #[serde(default)]
    pub offer_news: Vec<OfferNews>,
}

/// How one creation call ended, for the memory of offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferNews {
    /// The offer that was asked for.
    pub offer: OfferId,
    /// Its provider.
    pub provider: ProviderName,
    /// Machines that were made.
    pub made: u32,
    /// Why some were not, if so.
    pub refusal: Option<Refusal>,
}

/// Why an offer gave no machine, or fewer than asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is to be learned of it.
    pub kind: RefusalKind,
    /// What the provider said.
    pub why: String,
}

/// What is to be learned of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum RefusalKind {
    /// No machine of this offer is to be had now.
    NoCapacity,
    /// The account has as many machines as it may.
    Quota,
    /// Something else; the provider, or common sense, says how long to wait.
    Wait {
        /// For how long.
        wait: Duration,
    },
}

/// Why an offer steps aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// What the provider said.
    pub why: String,
    /// For how much longer; zero when the time is over, and one machine may try whether it is to be had again.
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
    #[serde(with = "model::offer_keys")]
    pub unavailable: BTreeMap<OfferId, Unavailable>,
    /// The fleet's machines at each provider: the cap that a quota is taken for. Filled where there is news only.
    #[serde(default)]
    pub at_provider: BTreeMap<ProviderName, u32>,
    /// How much of a budget that counts the pool is spent or promised, of the fullest one.
    #[serde(default)]
    pub spent: Option<Share>,
    /// Who else acts for this fleet, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<String>,
    /// What operators ordered of the pool, its machines, their images and zones.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

/// A fleet taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// The part of each pool that something is recorded of, by name.
    pub pools: BTreeMap<PoolName, Observation>,
    /// Machines of ours that belong to none of these pools, by provider: they count against the caps.
    pub strays: BTreeMap<ProviderName, u32>,
}

impl FleetObservation {
    /// The part that concerns one pool; `None` for a pool nothing is recorded of.
    pub fn pool(&self, pool: &PoolName) -> Option<Observation> {
        let mut one = self.clone();
        one.pools.retain(|name, _| name == pool);
        one.split().pools.remove(pool)
    }

    /// Takes the fleet apart by pool, in one pass over the listings.
    ///
    /// A machine belongs to a pool by its name. One that carries another fleet's tag is left out here, whatever a
    /// provider lists, so that no later step can touch it.
    pub fn split(self) -> Split {
        let mut split = Split::default();
        for (name, seen) in self.pools {
            let overrides = self.overrides.of_pool(&name);
            let observation = Observation {
                overrides,
                fleet: self.fleet.clone(),
                config: self.config.clone(),
                epoch: self.epoch,
                listings: BTreeMap::new(),
                intents_lost_at: self.intents_lost_at,
                seen,
                unavailable: self.unavailable.clone(),
                at_provider: BTreeMap::new(),
                spent: None,
                rival: self.rival.clone(),
            };
            split.pools.insert(name, observation);
        }
        for (provider, listing) in self.listings {
            let (value, rest) = match listing {
                Seen::Complete { value, at } => (value, Seen::Complete { value: (), at }),
                Seen::Partial { value, at, why } => (value, Seen::Partial { value: (), at, why }),
                Seen::Never { why } => (Vec::new(), Seen::Never { why }),
            };
            // hashed, since a tree of names is compared ten times for each machine; only looked up in, never walked
            let mut by_pool: HashMap<PoolName, Vec<Instance>> = HashMap::new();
            for instance in value {
                if instance.owner.fleet == self.fleet {
                    match by_pool.get_mut(instance.pool()) {
                        Some(list) => list.push(instance),
                        None => {
                            by_pool.insert(instance.pool().clone(), vec![instance]);
                        }
                    }
                }
            }
            for (name, observation) in &mut split.pools {
                let mine = by_pool.remove(name).unwrap_or_default();
                let listing = rest.clone().map(|()| mine);
                observation.listings.insert(provider.clone(), listing);
            }
            let strays = by_pool.into_values().flatten();
            let strays = strays.filter(|instance| !instance.state.is_gone()).count();
            if strays > 0 {
                let strays = u32::try_from(strays).unwrap_or(u32::MAX);
                split.strays.insert(provider, strays);
            }
        }
        split
    }
}
