//! What the engine must remember of one pool between two ticks.
//!
//! Data in, data out: the engine gets it with the observation and gives it back with the plan. It is small, it is
//! versioned, and an empty one is always safe: what it holds can only make the engine act later, never sooner.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BatchId, InstanceName};

/// The engine's memory of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolMemory {
    /// Version of this format.
    pub version: u32,
    /// Since when each idle machine has been seen idle without a break. The idle clock starts at registration or at
    /// the end of the last job, not at creation.
    pub idle_since: BTreeMap<InstanceName, Timestamp>,
    /// Complete listings, each newer than the one before and later than the provider's lag bound, in which a machine of
    /// this batch was still missing.
    pub missing: BTreeMap<BatchId, Missing>,
    /// When machines of this pool began to leave, newest last; bounded by the window of the scale-in rule.
    pub departures: Vec<Timestamp>,
    /// Machines that were coming up at the last tick.
    pub booting: BTreeSet<InstanceName>,
    /// Machines that reached their boot deadline without an executor, in a row; cleared when one joins.
    pub failed_boots: BTreeSet<InstanceName>,
    /// Until when calls may have been in flight whose intents were lost. It stands here so that a scaler which takes over
    /// right after a wipe knows of it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intents_lost_at: Option<Timestamp>,
    /// Executors of ours without a machine, and when that was first seen.
    pub ghosts: BTreeMap<InstanceName, Timestamp>,
}

/// How often a batch has been looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Number of complete listings without it.
    pub listings: u32,
    /// The start of the newest of them.
    pub last: Timestamp,
}

impl PoolMemory {
    /// The version written today.
    pub const VERSION: u32 = 1;
}

impl Default for PoolMemory {
    fn default() -> Self {
        PoolMemory {
            version: PoolMemory::VERSION,
            idle_since: BTreeMap::new(),
            missing: BTreeMap::new(),
            departures: Vec::new(),
            booting: BTreeSet::new(),
            failed_boots: BTreeSet::new(),
            intents_lost_at: None,
            ghosts: BTreeMap::new(),
        }
    }
}
