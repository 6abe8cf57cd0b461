//! The machine as the cloud sees it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ExecutorRef, FleetId, Generation, InstallationId, InstanceName, OfferId, PoolName, ProviderRef,
};

/// One machine of our fleet in one listing of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Our name for it, from its tags; never reused.
    pub name: InstanceName,
    /// The cloud's id.
    pub id: ProviderRef,
    /// Where it runs: zone or region, as the provider calls it.
    pub scope: String,
    /// What the cloud says of it.
    pub state: InstanceState,
    /// When the cloud created it, by the cloud's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Marks from its tags.
    pub owner: Owner,
    /// The executor registered for it before it was made, from its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ExecutorRef>,
    /// The offer it came from, from its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferId>,
    /// What it was made from, from its tags; unknown of machines that an earlier version made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// That the cloud takes it back soon, in the cloud's words or in those of a guest that was told: a spot
    /// interruption, a rebalance recommendation, a host that is to be maintained. New jobs had better go elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Until when somebody said that it is wanted, where the provider keeps such a mark and the mark can be read. Whoever
    /// clears up after a Parmanu that is gone for good goes by it; no scaler does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl Instance {
    /// The pool it was made for.
    pub fn pool(&self) -> &PoolName {
        self.name.pool()
    }
}

/// Whose a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The fleet on its tag. Providers list only those of the fleet asked for.
    pub fleet: FleetId,
    /// The installation that made it, if its tag says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationId>,
}

/// What the cloud says of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// Accepted, not running yet.
    Pending,
    /// Running; says nothing of what runs on it.
    Running,
    /// On its way to stop or to be deleted.
    Stopping,
    /// Powered off but still there (and perhaps billed).
    Stopped,
    /// Gone for good; some clouds list it for a while.
    Gone {
        /// Why, where the cloud says (spot interruption, launch failure).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// The cloud names a state that we do not know. Counted, never acted on.
    Unknown {
        /// What it said.
        what: String,
    },
}

impl InstanceState {
    /// Whether the machine no longer exists.
    pub fn is_gone(&self) -> bool {
        matches!(self, InstanceState::Gone { .. })
    }
}

/// All machines of a fleet at one provider, in one sweep over all pools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// The machines, in any state.
    pub instances: Vec<Instance>,
    /// What could not be seen (a zone that does not answer, a page that failed), in words. Never left out:
    /// the engine acts on absence.
    pub unknown: Vec<String>,
}

/// How a machine is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MarketKind {
    /// At the list price, kept until we delete it.
    #[default]
    OnDemand,
    /// Cheaper, may be taken back by the cloud.
    Spot,
}
