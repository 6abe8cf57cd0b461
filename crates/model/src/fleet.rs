//! What the pools of one fleet share: caps, budgets, and how each pool stands among the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Currency, GroupName, Money, PoolName, ProviderName, Share};

/// The limits over all pools, after the configuration has been checked. They ration growth and nothing else: no machine
/// leaves, and no job dies, because a cap is below what exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPolicy {
    /// Machines of all pools together, in any state.
    pub max: Option<u32>,
    /// Machines at one provider, in any state.
    pub providers: BTreeMap<ProviderName, u32>,
    /// Machines of the pools of one group, in any state.
    pub groups: BTreeMap<GroupName, u32>,
    /// Budgets.
    pub budgets: Vec<Budget>,
    /// Each time that a pool's oldest job has waited for this long gives the pool a claim to one machine before any
    /// priority counts.
    pub patience: Duration,
}

impl FleetPolicy {
    /// Without a word in the configuration: three boot times of a slow machine, so that an ordinary boot is not an
    /// emergency, and short enough that nobody's job waits an hour behind others' first ones.
    pub const PATIENCE: Duration = Duration::from_secs(900);
}

impl Default for FleetPolicy {
    fn default() -> Self {
        FleetPolicy {
            max: None,
            providers: BTreeMap::new(),
            groups: BTreeMap::new(),
            budgets: Vec::new(),
            patience: FleetPolicy::PATIENCE,
        }
    }
}

/// How a pool stands among the others, and what its machines may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The pools it shares a cap with.
    pub group: Option<GroupName>,
    /// What is scarce goes to the greater one first.
    pub priority: i32,
    /// Its part among pools of equal priority; 1 or more.
    pub weight: u32,
    /// No machine dearer than this per hour is made.
    pub max_price: Option<Money>,
    /// In which order its offers are tried.
    pub ranking: Ranking,
}

impl Default for Standing {
    fn default() -> Self {
        Standing {
            group: None,
            priority: 0,
            weight: 1,
            max_price: None,
            ranking: Ranking::Listed,
        }
    }
}

/// In which order offers are tried. In both, one whose machines mostly never joined lately goes behind the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// As they stand in the configuration.
    #[default]
    Listed,
    /// By price for each machine that joins, then by boot time learned, then as they stand.
    Price,
}

/// A limit to what machines may cost in a calendar period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Its name: the rule's, with what it counts for.
    pub name: String,
    /// The pools whose machines count.
    pub pools: BTreeSet<PoolName>,
    /// What may be spent in one period.
    pub limit: Money,
    /// The currency of the limit and of all prices.
    pub currency: Currency,
    /// The period.
    pub per: Period,
    /// The zone in which days and months begin, such as UTC or Asia/Kolkata.
    pub zone: String,
    /// From this share of the limit on, every plan says so.
    pub warn_at: Share,
    /// From this share of the limit on, only each pool's cheapest offers are used.
    pub cheapest_at: Share,
    /// How long a new machine is taken to live: it is created only when its whole price for this time is left.
    pub machine_life: Duration,
}

impl Budget {
    /// Whether it comes from the rule of this name.
    pub fn is_of(&self, rule: &str) -> bool {
        let rest = self.name.strip_prefix(rule);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" of "))
    }
}

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
        })
    }
}
