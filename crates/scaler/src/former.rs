//! What is left of earlier configurations, for whoever asks: pools that are not configured any more, and providers.
//!
//! Nothing is decided here: `orphans.rs`, `lister.rs` and `unseen.rs` have done that.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{PoolName, ProviderName, Seen};

use crate::lister::alive;
use crate::orphans::Orphans;
use crate::run::Fleet;
use crate::unseen::Unseen;

/// What is left of earlier configurations, as one replica sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Former {
    pub(crate) pools: BTreeMap<PoolName, FormerPool>,
    pub(crate) providers: BTreeMap<ProviderName, FormerProvider>,
}

/// A pool that is not configured, and has machines or executors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormerPool {
    /// Machines that are listed.
    pub(crate) machines: usize,
    pub(crate) stands: Stands,
}

/// What becomes of a pool that is not configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stands {
    /// A configuration that knows it may still be on its way.
    Watched,
    /// Its machines leave.
    Leaves,
    /// Nothing of it is listed, and its executors are removed.
    ExecutorsOnly,
    /// Nobody can tell what its machines do, or make them leave.
    LeftAlone {
        /// Why.
        why: String,
    },
}

/// A provider that is not configured, or stands somewhere else now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormerProvider {
    /// What it was called.
    pub(crate) was: ProviderName,
    /// Where it stood, in words; may be empty.
    pub(crate) place: String,
    /// Machines that stand there, or stood there last.
    pub(crate) machines: usize,
    /// Whether somebody still lists it.
    pub(crate) is_listed: bool,
}

impl Former {
    pub(crate) fn of(fleet: &Fleet, orphans: &Orphans, unseen: &Unseen) -> Former {
        let names = orphans.found.iter().chain(orphans.told(fleet));
        let names = names.chain(orphans.pools.keys().chain(orphans.left_alone.keys()));
        let mut names = names.peekable();
        // at most ticks nothing is left, and no machine is looked at for it
        if names.peek().is_none() && fleet.retiring.is_empty() && unseen.0.is_empty() {
            return Former::default();
        }
        let listings = fleet.listings.since(Timestamp::MIN);
        let mut machines: BTreeMap<&PoolName, usize> = BTreeMap::new();
        let listed = listings.values().filter_map(Seen::any).flatten();
        for machine in listed.filter(|it| !it.state.is_gone() && it.owner.fleet == fleet.id) {
            *machines.entry(machine.pool()).or_default() += 1;
        }
        let pools = names.map(|name| {
            let machines = machines.get(name).copied().unwrap_or_default();
            let stands = stands(orphans, name);
            (name.clone(), FormerPool { machines, stands })
        });
        let retiring = fleet.retiring.iter().map(|(name, retired)| {
            let there = listings.get(name).map_or(0, |seen| alive(seen).count());
            let provider = FormerProvider {
                was: retired.was.clone(),
                place: retired.place.clone(),
                machines: there,
                is_listed: true,
            };
            (name.clone(), provider)
        });
        let unseen = unseen.0.iter().map(|(name, gone)| {
            let provider = FormerProvider {
                was: name.clone(),
                place: gone.place.clone(),
                machines: gone.machines.len(),
                is_listed: false,
            };
            (name.clone(), provider)
        });
        Former {
            pools: pools.collect(),
            providers: retiring.chain(unseen).collect(),
        }
    }
}

fn stands(orphans: &Orphans, name: &PoolName) -> Stands {
    if let Some(why) = orphans.left_alone.get(name) {
        return Stands::LeftAlone { why: why.clone() };
    }
    match orphans.pools.contains_key(name) {
        true if orphans.executors_only.contains(name) => Stands::ExecutorsOnly,
        true => Stands::Leaves,
        false => Stands::Watched,
    }
}
