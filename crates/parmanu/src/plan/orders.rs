//! What operators ordered in a world from a file: pauses, pins and drains, as `parmanu overrides` shows those of a real one.

use std::time::Duration;

use anyhow::bail;
use config::Settings;
use jiff::Timestamp;
use model::{Directive, InstanceName, Order, Overrides, PoolName, StoredOrder, StoredOrders};
use serde::Deserialize;

/// Long enough to hold while the plan is made; nothing in a plan goes by when an order ends.
const LASTS: Duration = Duration::from_secs(3600);

/// `drains:` of a world.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drains {
    /// Machines by their names in this world: `<pool>-1-<number>-0`, numbered from 1 in the order of the lines.
    machines: Vec<InstanceName>,
    /// Images or templates, as offers name them.
    images: Vec<String>,
    /// Zones, as offers and lines of machines name them.
    zones: Vec<String>,
}

/// What is ordered of one pool.
pub(super) fn of_pool(pool: &PoolName, paused: bool, pinned: Option<u32>) -> Vec<Directive> {
    let pool = || pool.clone();
    let pause = paused.then(|| Directive::Pause { pool: pool() });
    let pin = pinned.map(|machines| Directive::Pin {
        pool: pool(),
        machines,
    });
    pause.into_iter().chain(pin).collect()
}

impl Drains {
    /// What is drained. `exists` tells the machines of the world: a drain of one that is not there is a mistyped name.
    pub(super) fn directives(
        &self,
        exists: impl Fn(&InstanceName) -> bool,
    ) -> anyhow::Result<Vec<Directive>> {
        if let Some(name) = self.machines.iter().find(|name| !exists(name)) {
            bail!("the world drains a machine `{name}` that it does not have");
        }
        let machines = self.machines.iter().cloned();
        let machines = machines.map(|instance| Directive::DrainMachine { instance });
        let images = self.images.iter().cloned();
        let images = images.map(|image| Directive::DrainImage { image });
        let zones = self.zones.iter().cloned();
        let zones = zones.map(|zone| Directive::DrainZone { zone });
        Ok(machines.chain(images).chain(zones).collect())
    }
}

/// All of it as the engine gets it.
pub(super) fn in_force(what: Vec<Directive>, settings: &Settings, now: Timestamp) -> Overrides {
    let stored = what.into_iter().map(|what| StoredOrder {
        order: Order {
            what,
            who: "the world".to_owned(),
            why: "its file says so".to_owned(),
        },
        age: Duration::ZERO,
        remaining: LASTS,
    });
    let stored = StoredOrders {
        orders: stored.collect(),
        unreadable: Vec::new(),
    };
    let mut overrides = Overrides::of(&stored, now);
    let offers = settings.pools.values().flat_map(|pool| &pool.offers);
    scaler::drains::resolve(&mut overrides, offers);
    overrides
}
