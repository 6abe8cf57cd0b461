//! What an operator ordered for a while, against what the rules would do.
//!
//! An override is no configuration: it has an author, a reason and an end, and nobody has to remember to take it back. It
//! lives in the store, so a store that is wiped forgets it: then the rules decide again. Whether it still holds is told by
//! the store's clock; what the engine gets is dated on the scaler's.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ConfigHash, InstanceName, OfferId, PoolName, ProviderName};

/// What is ordered. One of each [`Directive::id`] can be in force: a second one takes the place of the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Directive {
    /// The pool neither grows nor shrinks.
    Pause {
        /// The pool.
        pool: PoolName,
    },
    /// The pool wants this many machines, within its max, whatever its jobs and rules say.
    Pin {
        /// The pool.
        pool: PoolName,
        /// Machines.
        machines: u32,
    },
    /// The machine leaves, although it is wanted.
    DrainMachine {
        /// The machine.
        instance: InstanceName,
    },
    /// Every machine of this image or template leaves, and none is made from it.
    DrainImage {
        /// The image, as the provider's listing and the offers name it.
        image: String,
    },
    /// Every machine in this zone leaves, and none is made in it.
    DrainZone {
        /// The zone, as the provider's listing and the offers name it.
        zone: String,
    },
    /// What a changed configuration lets go of these pools may go.
    Confirm {
        /// That configuration; under another one it says nothing.
        config: ConfigHash,
        /// The pools.
        pools: BTreeSet<PoolName>,
        /// Providers that are no longer in that configuration, or stand somewhere else: what they listed last is taken
        /// for gone.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        providers: BTreeSet<ProviderName>,
    },
}

impl Directive {
    /// Its identity, such as `pause:linux`.
    pub fn id(&self) -> String {
        match self {
            Directive::Pause { pool } => format!("pause:{pool}"),
            Directive::Pin { pool, .. } => format!("pin:{pool}"),
            Directive::DrainMachine { instance } => format!("drain-machine:{instance}"),
            Directive::DrainImage { image } => format!("drain-image:{image}"),
            Directive::DrainZone { zone } => format!("drain-zone:{zone}"),
            Directive::Confirm { .. } => "confirm".to_owned(),
        }
    }

    /// Whether a pool's plan has to know of it.
    pub fn concerns(&self, of: &PoolName) -> bool {
        match self {
            Directive::Pause { pool } | Directive::Pin { pool, .. } => pool == of,
            Directive::DrainMachine { instance } => instance.pool() == of,
            Directive::DrainImage { .. } | Directive::DrainZone { .. } => true,
            // it takes away what keeps machines, before there is a plan
            Directive::Confirm { .. } => false,
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Directive::Pause { pool } => write!(f, "pause pool {pool}"),
            Directive::Pin { pool, machines } => write!(f, "pin pool {pool} at {machines}"),
            Directive::DrainMachine { instance } => write!(f, "drain machine {instance}"),
            Directive::DrainImage { image } => write!(f, "drain image {image}"),
            Directive::DrainZone { zone } => write!(f, "drain zone {zone}"),
            Directive::Confirm {
                config,
                pools,
                providers,
            } => {
                let pools: Vec<&str> = pools.iter().map(PoolName::as_str).collect();
                let mut of = pools;
                of.extend(providers.iter().map(ProviderName::as_str));
                let of = of.join(", ");
                write!(f, "confirm what configuration {config} lets go of {of}")
            }
        }
    }
}

/// An order with its author. The text of it is a format (docs/redis.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub what: Directive,
    /// Who says so; at most [`Order::LONGEST_WHO`] characters.
    pub who: String,
    /// Why; at most [`Order::LONGEST_WHY`] characters.
    pub why: String,
}

impl Order {
    /// How long an override may hold: a week is the longest that somebody remembers why. Whatever is meant for longer
    /// belongs into the configuration, where it is reviewed.
    pub const LONGEST: Duration = Duration::from_secs(7 * 86_400);
    /// Overrides of one fleet at once: more is a script that runs wild.
    pub const MOST: usize = 200;
    /// Characters of an author's name.
    pub const LONGEST_WHO: usize = 100;
    /// Characters of a reason: a sentence with a link.
    pub const LONGEST_WHY: usize = 500;
    /// Characters of an image's or a zone's name; the longest known are Google's paths of images.
    pub const LONGEST_NAME: usize = 250;
}

/// An order as the store gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// Time since it was given, by the store's clock.
    pub age: Duration,
    /// Time for which it still holds; zero when it is over.
    pub remaining: Duration,
}

impl StoredOrder {
    /// The same on another clock; `None` when it is over.
    pub fn in_force(&self, now: Timestamp) -> Option<Override> {
        if self.remaining.is_zero() {
            return None;
        }
        Some(Override {
            order: self.order.clone(),
            since: now.checked_sub(self.age).unwrap_or(Timestamp::MIN),
            until: now.checked_add(self.remaining).unwrap_or(Timestamp::MAX),
            offers: BTreeSet::new(),
        })
    }
}

/// All that the store holds of overrides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredOrders {
    /// Those that can be read, by [`Directive::id`], those that are over among them.
    pub orders: Vec<StoredOrder>,
    /// What cannot be read, and where it stands: nobody knows what it orders.
    pub unreadable: Vec<String>,
}

/// An order that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The order.
    #[serde(flatten)]
    pub order: Order,
    /// Since when, to the second or so.
    pub since: Timestamp,
    /// Until when, likewise.
    pub until: Timestamp,
    /// The configured offers that are of a drained image, or have no zone but drained ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub offers: BTreeSet<OfferId>,
}

/// The overrides that a plan has to know of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Those in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_force: Vec<Override>,
    /// What cannot be read: as long as there is any, nothing shrinks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

impl Overrides {
    /// What the store holds, dated on the clock of `now`.
    pub fn of(stored: &StoredOrders, now: Timestamp) -> Self {
        let in_force = |stored: &StoredOrder| stored.in_force(now);
        Overrides {
            in_force: stored.orders.iter().filter_map(in_force).collect(),
            unreadable: stored.unreadable.clone(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.in_force.is_empty() && self.unreadable.is_empty()
    }

    /// Those that one pool's plan has to know of.
    pub fn of_pool(&self, pool: &PoolName) -> Self {
        let mut own = self.clone();
        own.in_force.retain(|it| it.order.what.concerns(pool));
        own
    }

    /// What pauses a pool, if it is paused.
    pub fn pause(&self, of: &PoolName) -> Option<&Override> {
        let pauses =
            |it: &&Override| matches!(&it.order.what, Directive::Pause { pool } if pool == of);
        self.in_force.iter().find(pauses)
    }

    /// What pins a pool's size, if it is pinned, and at how many machines.
    pub fn pin(&self, of: &PoolName) -> Option<(&Override, u32)> {
        self.in_force.iter().find_map(|it| match &it.order.what {
            Directive::Pin { pool, machines } if pool == of => Some((it, *machines)),
            _ => None,
        })
    }

    /// What drains a machine, if anything does: an order about it, its zone or its image. `made_from` is the offer that it
    /// was made from as that stands now; a machine that an offer made before it was changed has another image.
    pub fn drain(
        &self,
        name: &InstanceName,
        zone: Option<&str>,
        made_from: Option<&OfferId>,
    ) -> Option<&Override> {
        self.in_force.iter().find(|it| match &it.order.what {
            Directive::DrainMachine { instance } => instance == name,
            Directive::DrainImage { .. } => made_from.is_some_and(|id| it.offers.contains(id)),
            Directive::DrainZone { zone: drained } => zone == Some(drained),
            Directive::Pause { .. } | Directive::Pin { .. } | Directive::Confirm { .. } => false,
        })
    }

    /// What keeps machines from being made from an offer, if anything does.
    pub fn drained_offer(&self, offer: &OfferId) -> Option<&Override> {
        self.in_force.iter().find(|it| it.offers.contains(offer))
    }

    /// The drained zones.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.in_force.iter().filter_map(|it| match &it.order.what {
            Directive::DrainZone { zone } => Some(zone.as_str()),
            _ => None,
        })
    }
}
