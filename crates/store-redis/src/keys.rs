//! The layout: which key holds what, and for how long (docs/redis.md).
//!
//! Names obey one grammar without a colon, so no two of these keys are ever the same text.

use std::time::Duration;

use model::{EmitterName, FleetId, PoolName};
use ports::LeaseName;

/// The version of the layout: another one is another set of keys, so two versions never read each other's.
const LAYOUT: &str = "parmanu:v1";

/// How long an epoch is remembered after its lease. The store's clock and the tags on machines keep epochs growing
/// without it; it only tells a wiped store from an old one.
pub(crate) const KEEP_EPOCH: Duration = Duration::from_secs(7 * 86_400);

/// How long a workload or status lives without a new look. Long before that it is too old to shrink on; kept so
/// that an operator sees what was known before a weekend's outage began.
pub(crate) const KEEP_WORKLOADS: Duration = Duration::from_secs(3 * 86_400);

/// How long intents and memory live without a commit for their pool. A departure may wait for a long job; losing
/// them is safe, and a pool nobody commits for in a week is gone.
pub(crate) const KEEP_POOL: Duration = Duration::from_secs(7 * 86_400);

/// How long decisions are kept: a month of "why did it do that".
pub(crate) const KEEP_DECISIONS: Duration = Duration::from_secs(30 * 86_400);

/// How long the hash of overrides lives after the last one was set: longer than any of them holds, so that it never loses
/// one, and long enough for a scaler to say that it is over.
pub(crate) const KEEP_OVERRIDES: Duration = Duration::from_secs(9 * 86_400);

/// How long the installation's id lives after it was asked for, which every renewal of machines does: a fleet that had no machine
/// for a month has no mark to tell from another's.
pub(crate) const KEEP_INSTALLATION: Duration = Duration::from_secs(30 * 86_400);

/// How many decisions are kept for each pool, about: at one change a minute most of a day, in half a megabyte.
pub(crate) const MOST_DECISIONS: usize = 1000;

/// The keys of one fleet.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(fleet: &FleetId) -> Self {
        Keys {
            prefix: format!("{LAYOUT}:{fleet}"),
        }
    }

    pub(crate) fn lease(&self, lease: &LeaseName) -> String {
        match lease {
            LeaseName::Scaler => format!("{}:scaler:lease", self.prefix),
            LeaseName::Emitter(emitter) => format!("{}:emitter:{emitter}:lease", self.prefix),
        }
    }

    pub(crate) fn status(&self, emitter: &EmitterName) -> String {
        format!("{}:emitter:{emitter}:status", self.prefix)
    }

    pub(crate) fn workload(&self, pool: &PoolName) -> String {
        format!("{}:{pool}:workload", self.prefix)
    }

    pub(crate) fn intents(&self, pool: &PoolName) -> String {
        format!("{}:{pool}:intents", self.prefix)
    }

    pub(crate) fn memory(&self, pool: &PoolName) -> String {
        format!("{}:{pool}:memory", self.prefix)
    }

    pub(crate) fn decisions(&self, pool: &PoolName) -> String {
        format!("{}:{pool}:decisions", self.prefix)
    }

    pub(crate) fn installation(&self) -> String {
        format!("{}:installation", self.prefix)
    }

    pub(crate) fn overrides(&self) -> String {
        format!("{}:overrides", self.prefix)
    }

    /// A channel of pub/sub, not a key.
    pub(crate) fn wake(&self) -> String {
        format!("{}:wake", self.prefix)
    }

    /// Likewise, for those who look at emitters.
    pub(crate) fn hint(&self) -> String {
        format!("{}:hint", self.prefix)
    }
}
