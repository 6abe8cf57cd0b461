//! What this replica saw last, kept for whoever asks: the active one from its tick, a standby from the store and the
//! listings. Nothing here is copied for the sake of being shown; it is put into words when somebody asks.

use std::collections::BTreeMap;

use engine::{Observation, Plan, Supply};
use jiff::Timestamp;
use model::{EmitterName, Overrides, PoolName};
use ports::EmitterStatus;

use crate::former::Former;
use crate::held::Waiting;

/// The fleet as one replica saw it at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Looked {
    pub(crate) at: Timestamp,
    pub(crate) pools: BTreeMap<PoolName, PoolLooked>,
    /// Pools whose record cannot be read, and why.
    pub(crate) unreadable: BTreeMap<PoolName, String>,
    pub(crate) emitters: BTreeMap<EmitterName, EmitterStatus>,
    pub(crate) overrides: Overrides,
    /// What is left of earlier configurations.
    pub(crate) former: Former,
    /// What waits for an operator, of what the configuration lets go.
    pub(crate) waiting: Option<Waiting>,
}

/// One pool of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolLooked {
    pub(crate) seen: Observation,
    pub(crate) supply: Supply,
    /// What was decided; a standby decides nothing.
    pub(crate) plan: Option<Plan>,
}
