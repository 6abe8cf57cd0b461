//! The limits and rules of one pool, after the configuration has been checked.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    EmitterName, Generation, MachineName, Money, PoolName, ProviderName, Rule, Share, Standing,
};

/// All the engine needs to know of one pool's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The pool.
    pub pool: PoolName,
    /// The CI server whose jobs it serves; `None` for nodes that join none.
    pub emitter: Option<EmitterName>,
    /// Jobs one machine runs at a time, 1 or more.
    pub slots: u32,
    /// Machines kept whatever the demand.
    pub min: u32,
    /// Machines that may exist in any state; everything not confirmed gone counts.
    pub max: u32,
    /// How long a machine takes to come up.
    pub boot: Boot,
    /// How the pool's executors are controlled.
    pub executors: ExecutorMode,
    /// Whether executors are made by the machines that join and not by registration: one that never joined is nowhere.
    #[serde(default)]
    pub executors_appear: bool,
    /// When a machine leaves although it is wanted.
    #[serde(default)]
    pub reuse: Reuse,
    /// Whether the boot script carries a credential for one machine.
    pub bootstrap: Bootstrap,
    /// Where machines can be had, in order of preference; at least one.
    pub offers: Vec<OfferPolicy>,
    /// How far the workload is trusted.
    pub trust: WorkloadTrust,
    /// Its rules: its own in the order of the file, then those of its profile. Of each kind the first whose conditions
    /// hold is in force.
    pub rules: Vec<Rule>,
    /// How it stands among the other pools, and what its machines may cost.
    #[serde(default)]
    pub standing: Standing,
}

/// Boot times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Usual time from launch to executor online.
    pub expect: Duration,
    /// After this the machine is given up as stuck.
    pub timeout: Duration,
}

/// For how long one machine serves, and how machines that are to leave although they are wanted are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reuse {
    /// Jobs one machine runs in its life, as far as looks show them; 1 makes single-use machines. No limit without.
    pub max_jobs: Option<u32>,
    /// How old a machine grows before it is replaced. No limit without.
    pub max_age: Option<Duration>,
    /// Whether machines that were made from what is not configured any more are replaced.
    pub replace_changed: bool,
    /// The share of the pool that may be on its way out for age or change at once, rounded up to whole machines.
    pub at_once: Share,
}

impl Default for Reuse {
    /// Machines serve for as long as they are wanted.
    fn default() -> Self {
        Reuse {
            max_jobs: None,
            max_age: None,
            replace_changed: false,
            at_once: Share::percent(10),
        }
    }
}

/// How a pool's executors are controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum ExecutorMode {
    /// Parmanu registers, cordons, reads and removes executors.
    Managed {
        /// Longest time the CI server may take to hand out a job it already promised.
        settle: Duration,
    },
    /// No right to control executors.
    ReadOnly {
        /// How machines leave all the same.
        #[serde(default)]
        leave: UncontrolledLeave,
    },
    /// Machines join no CI server; they are ready when they run.
    None,
}

/// How machines leave a pool whose executors Parmanu may not control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UncontrolledLeave {
    /// By themselves, or not at all.
    #[default]
    ByThemselves,
    /// A mark on the machine asks its guest to end the agent after its build, and to power off.
    AskGuest,
    /// One that a fresh look shows idle is deleted, though it may be given a job at that moment: the one way in which a
    /// build can be killed, for whoever asks for it.
    BestEffort,
}

/// What the boot script carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bootstrap {
    /// A credential that serves one machine: one creation call per machine.
    #[default]
    PerMachine,
    /// Nothing that is for one machine only: one call may start a whole batch.
    Shared,
}

/// One place where a pool's machines can be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferPolicy {
    /// Its identity.
    pub id: OfferId,
    /// The cloud account.
    pub provider: ProviderName,
    /// What a machine of it is made from now.
    pub generation: Generation,
    /// Price of one machine per hour in the currency of the configuration, if stated.
    pub price: Option<Money>,
    /// How long this provider's listing may lag behind its own answers.
    pub listing_lag: Duration,
    /// Machines one creation call may ask for.
    pub batch_limit: u32,
    /// The shortest time a machine is billed for; a younger one does not leave.
    pub least_billed: Duration,
}

/// Names one offer: the machine description and the offer's place in its list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfferId {
    /// The machine description.
    pub machine: MachineName,
    /// Place in its `offers:` list, from 0.
    pub index: u32,
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.machine, self.index)
    }
}

impl std::str::FromStr for OfferId {
    type Err = crate::IdError;
    /// Reads the form that `Display` prints, as it stands in a machine's tag.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || crate::IdError::Name {
            text: text.to_owned(),
        };
        let (machine, index) = text.split_once('/').ok_or_else(bad)?;
        Ok(OfferId {
            machine: machine.parse()?,
            index: index.parse().map_err(|_| bad())?,
        })
    }
}

/// Maps with offers as keys: the keys of a JSON object are texts.
pub mod offer_keys {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::OfferId;

    /// Writes each offer as [`std::fmt::Display`] prints it.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<OfferId, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(offer, value)| (offer.to_string(), value)))
    }

    /// Reads what [`serialize`] wrote. An offer that cannot be read any more is left out: one of which nothing is
    /// known is tried.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<OfferId, V>, D::Error> {
        let read: BTreeMap<String, V> = BTreeMap::deserialize(deserializer)?;
        let offers = read.into_iter();
        Ok(offers
            .filter_map(|(offer, value)| Some((offer.parse().ok()?, value)))
            .collect())
    }
}

/// How far a workload is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadTrust {
    /// Older than this, a workload may still hold or raise the pool, but not shrink it.
    pub fresh_for: Duration,
    /// What to aim at while the workload is not trusted.
    pub on_stale: OnStale,
}

/// What to aim at while the workload is missing or stale. None of them ever shrinks a pool, and the pool's minimum
/// holds in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// Keep what there is.
    #[default]
    Hold,
    /// Keep what there is, and at least this many machines.
    AtLeast(u32),
}
