//! What a changed configuration would let go although jobs, pools and `max` are what they were: a lower `min`, a smaller
//! reserve, another schedule of limits, a shorter idle time.
//!
//! The memory of each pool says which `min` and rules were in force at the last tick. Where the configuration has others, both
//! are asked what they want of what is there now, by the engine itself. What only the old ones keep would leave because of the
//! file, and is counted with the rest (`held.rs`). It says nothing of what the new ones let go later: a schedule that begins
//! at night is a schedule.

use std::collections::{BTreeMap, BTreeSet};

use engine::FleetObservation;
use jiff::Timestamp;
use model::{Keeps, Policy, PoolName, Seen};

use crate::run::Fleet;

/// What was in force, and how many machines only that keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) by: Keeps,
    pub(crate) machines: usize,
}

/// What the pools would lose by other rules.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// The pools with other rules, as far as it can be told.
    pub(crate) kept: BTreeMap<PoolName, Kept>,
    /// What was in force of pools with other rules of which it cannot be told now: a doubt keeps their machines, or not all of
    /// them are listed.
    pub(crate) doubted: BTreeMap<PoolName, Keeps>,
}

impl Keeping {
    /// Compares what was in force with what is. `known` is what this process knows of it, should the store have lost it.
    pub(crate) fn of(
        fleet: &Fleet,
        seen: &FleetObservation,
        known: &BTreeMap<PoolName, Keeps>,
        now: Timestamp,
    ) -> Keeping {
        let changed = seen.pools.iter().filter_map(|(name, pool)| {
            let before = pool.memory.keeps.as_ref().or_else(|| known.get(name))?;
            let policy = &fleet.pools.get(name)?.policy;
            (*before != Keeps::of(policy)).then(|| (name, policy, before.clone()))
        });
        let changed: Vec<(&PoolName, &Policy, Keeps)> = changed.collect();
        let mut keeping = Keeping::default();
        if changed.is_empty() {
            return keeping;
        }
        let wanted: BTreeSet<&PoolName> = changed.iter().map(|(name, ..)| *name).collect();
        let mut part = seen.clone();
        part.pools.retain(|name, _| wanted.contains(name));
        let split = part.split();
        for (name, policy, before) in changed {
            let Some(pool) = split.pools.get(name) else {
                continue;
            };
            // what is not listed is not counted either, and would be later
            let mut offers = policy.offers.iter();
            let is_listed = offers.all(|offer| {
                let listing = pool.listings.get(&offer.provider);
                matches!(listing, Some(Seen::Complete { .. }))
            });
            if !is_listed {
                keeping.doubted.insert(name.clone(), before.clone());
            }
            let of = |policy: &Policy| engine::wants(pool, policy, now);
            let (Some(old), Some(new)) = (of(&before.put_into(policy)), of(policy)) else {
                keeping.doubted.insert(name.clone(), before);
                continue;
            };
            let serving = engine::Supply::of(pool, policy, now).serving();
            let sooner = Keeps::of(policy).leaves_sooner_than(&before);
            // what has been idle for less than the old rule asks would still be there by it
            let stays = if sooner { serving } else { old.min(serving) };
            let machines = usize::try_from(stays.saturating_sub(new)).unwrap_or(usize::MAX);
            let by = before;
            keeping.kept.insert(name.clone(), Kept { by, machines });
        }
        keeping
    }
}
