//! Departures that nothing but a changed configuration asks for, and that an operator has to confirm when they are many.
//!
//! A pool that was removed or renamed, or a `max` far below what runs, would let a great part of the fleet go because of one
//! line of a file. So they are counted before anything begins: more than [`MOST`] machines, or more than [`SHARE`] per cent of
//! a fleet, wait until an operator has said `parmanu confirm` with the hash of exactly this. All else of the new configuration
//! is in force meanwhile, and a pool that waits may shrink as its jobs do, by its own rules.
//!
//! What would leave is told from what there is: machines of pools that nobody configured, and pools with more machines than
//! they may have. No record of an earlier configuration is needed, so that it holds as well for a scaler that was stopped,
//! given another file and started again, and for a store that was wiped. A replacement of machines whose image changed is not
//! held: its pool stays as large as it is, one machine tries the new image first, and `reuse.at_once` bounds the rest.
//!
//! A lower `min`, a smaller reserve or a shorter idle time are told from what was in force before (`keeping.rs`), which the
//! store remembers; one that was wiped does not.
//!
//! Nothing here lets a machine go, and nothing here ends a job.

use std::collections::{BTreeMap, BTreeSet};

use engine::FleetObservation;
use jiff::Timestamp;
use model::{
    ConfigHash, Directive, Instance, InstanceState, Keeps, Order, Override, Overrides, Policy,
    PoolName, ProviderName, Seen,
};
use sha2::{Digest, Sha256};
use tracing::{error, info, warn};

use crate::keeping::Keeping;
use crate::orphans::Orphans;
use crate::run::Fleet;
use crate::unseen::Unseen;

/// So many machines may leave because of a configuration without a question.
const MOST: usize = 20;

/// So great a part of the fleet, in per cent, ...
const SHARE: usize = 30;

/// ... if it is more than so many machines: a third of a fleet of six is no accident worth a call at night.
const FEW: usize = 5;

/// Why machines of one pool would leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// It was removed or has another name now.
    NotConfigured,
    /// It may have fewer than it has.
    AboveMax {
        /// How many.
        max: u32,
    },
    /// Its `min`, or a rule, keeps fewer than before.
    KeepsFewer {
        /// Its `min` now.
        min: u32,
    },
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::NotConfigured => f.write_str("it is not configured any more"),
            Cause::AboveMax { max } => write!(f, "its max is {max}"),
            Cause::KeepsFewer { min } => {
                write!(f, "its min, now {min}, or its rules keep fewer than before")
            }
        }
    }
}

/// What one pool would lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departure {
    pub(crate) why: Cause,
    /// How many machines.
    pub(crate) machines: usize,
    /// All machines of the pool, of which so many would go.
    pub(crate) of: Vec<String>,
    /// The `min` and the rules that go on until it is confirmed, where these are others.
    pub(crate) kept_by: Option<Keeps>,
}

/// What waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What he confirms: these pools, for these reasons, under this configuration.
    pub(crate) hash: String,
    pub(crate) config: ConfigHash,
    pub(crate) pools: BTreeMap<PoolName, Departure>,
    /// Providers that nobody looks at any more, with the machines that were there last: these are taken for gone.
    pub(crate) providers: BTreeMap<ProviderName, usize>,
    /// It is not known to be much: a part of the fleet cannot be listed, and more may be there than is counted.
    pub(crate) is_part: bool,
}

impl Waiting {
    /// How many machines.
    pub(crate) fn machines(&self) -> usize {
        machines_of(&self.pools) + self.providers.values().sum::<usize>()
    }

    /// Pool by pool.
    pub(crate) fn in_words(&self) -> String {
        let pools = self.pools.iter().map(|(pool, departure)| {
            let Departure { why, machines, .. } = departure;
            format!("{machines} of {pool} ({why})")
        });
        let providers = self.providers.iter();
        let providers = providers
            .map(|(provider, machines)| format!("{machines} last listed by {provider} (it is not configured any more, or stands somewhere else: put it back, or confirm that they are gone)"));
        pools.chain(providers).collect::<Vec<_>>().join(", ")
    }
}

/// What is held back in one process.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What waits now.
    pub(crate) waiting: Option<Waiting>,
    /// The `min` and the rules that a changed configuration is compared with.
    keeps: BTreeMap<PoolName, Keeps>,
}

impl Held {
    /// Counts what the configuration in force would let go, and holds it if it is much and not confirmed. What is held once
    /// stays held until it is confirmed, the configuration is another one, or nothing is left of it. While a part of the fleet
    /// cannot be listed anything is held: counted piece by piece, everything is few.
    pub(crate) fn judge(
        &mut self,
        fleet: &Fleet,
        orphans: &Orphans,
        ordered: &Overrides,
        unseen: &Unseen,
        keeping: &Keeping,
    ) {
        let mut alive = 0;
        let mut by_pool: BTreeMap<PoolName, Vec<String>> = BTreeMap::new();
        let listings = fleet.listings.since(Timestamp::MIN);
        let whole = |seen: &Seen<Vec<Instance>>| matches!(seen, Seen::Complete { .. });
        let is_part = !listings.values().all(whole) || !keeping.doubted.is_empty();
        let machines = listings.values().filter_map(Seen::any).flatten();
        for machine in machines.filter(|machine| counts(machine, fleet)) {
            alive += 1;
            let names = by_pool.entry(machine.pool().clone()).or_default();
            names.push(machine.name.to_string());
        }
        let confirmed = confirmed(ordered, &fleet.config);
        let mut pools = BTreeMap::new();
        for (pool, names) in by_pool {
            let departure = departure(fleet, orphans, &pool, names, keeping);
            if let Some(departure) = departure.filter(|_| !confirmed.contains(&pool)) {
                pools.insert(pool, departure);
            }
        }
        let machines = machines_of(&pools);
        let before = self.waiting.take();
        let held = before
            .as_ref()
            .filter(|before| before.config == fleet.config && !before.pools.is_empty())
            .is_some_and(|before| !before.is_part);
        let held = held || is_much(machines, alive);
        if !held && !is_part {
            pools.clear();
        }
        let providers = left_behind(fleet, unseen, &listings);
        if machines_of(&pools) > 0 || !providers.is_empty() {
            self.waiting = Some(Waiting {
                hash: hash_of(&fleet.config, &pools, &providers),
                config: fleet.config.clone(),
                is_part: !pools.is_empty() && !held,
                pools,
                providers,
            });
        }
        self.keeps = self.in_force(fleet, keeping);
        self.say(before.as_ref());
        let waiting = self.waiting.as_ref().map_or(0, Waiting::machines);
        fleet.metrics.scaler.set_held(waiting);
    }

    /// The old `min` and rules of what waits or cannot be told yet, else those of the configuration.
    fn in_force(&self, fleet: &Fleet, keeping: &Keeping) -> BTreeMap<PoolName, Keeps> {
        let pools = fleet.pools.iter().map(|(name, pool)| {
            let waiting = self.waiting.as_ref();
            let held = waiting.and_then(|waiting| waiting.pools.get(name)?.kept_by.clone());
            let old = held.or_else(|| keeping.doubted.get(name).cloned());
            (name.clone(), old.unwrap_or_else(|| Keeps::of(&pool.policy)))
        });
        pools.collect()
    }

    /// What this process knows of what kept each pool's machines.
    pub(crate) fn keeps(&self) -> &BTreeMap<PoolName, Keeps> {
        &self.keeps
    }

    /// Says once what waits, and that nothing does any more.
    fn say(&self, before: Option<&Waiting>) {
        let is_news = |waiting: &Waiting| {
            before.is_none_or(|it| it.is_part != waiting.is_part || it.hash != waiting.hash)
        };
        match (&self.waiting, before) {
            (Some(waiting), _) if !is_news(waiting) => {}
            (Some(waiting), _) if waiting.is_part => {
                warn!(
                    hash = waiting.hash,
                    pools = waiting.in_words(),
                    "machines that the configuration lets go stay while a part of the fleet cannot be listed: they may be many"
                );
            }
            (Some(waiting), _) if waiting.pools.is_empty() => {
                error!(
                    hash = waiting.hash,
                    machines = waiting.machines(),
                    providers = waiting.in_words(),
                    "MACHINES ARE NOT SEEN ANY MORE, since the configuration took their provider away: they count against `max` and keep their executors until it is put back, or until `parmanu confirm {}` says that they are gone",
                    waiting.hash
                );
            }
            (Some(waiting), _) => {
                error!(
                    hash = waiting.hash,
                    machines = waiting.machines(),
                    pools = waiting.in_words(),
                    "THE CONFIGURATION WOULD LET MANY MACHINES GO AT ONCE: they stay until `parmanu confirm {}`, or until it is changed back",
                    waiting.hash
                );
            }
            (None, Some(before)) => {
                info!(
                    hash = before.hash,
                    "no departure waits for a confirmation any more"
                );
            }
            (None, None) => {}
        }
    }

    /// Keeps what waits, in the words of a plan: a pool that nobody configured is paused, and one with more machines than it may
    /// have makes none.
    pub(crate) fn keep(&self, seen: &mut FleetObservation, now: Timestamp) {
        let Some(waiting) = &self.waiting else { return };
        let what = match waiting.is_part {
            true => "a part of the fleet cannot be listed, and many machines may leave at once",
            false => "many machines would leave at once",
        };
        let why = format!("{what}: `parmanu confirm {}` lets them", waiting.hash);
        for (pool, departure) in &waiting.pools {
            match departure.why {
                Cause::NotConfigured => seen.overrides.in_force.push(pause(pool, &why, now)),
                // it may grow as its jobs do
                Cause::KeepsFewer { .. } => {}
                Cause::AboveMax { .. } => {
                    if let Some(seen) = seen.pools.get_mut(pool) {
                        seen.creation_held = Some(why.clone());
                    }
                }
            }
        }
    }

    /// What a pool is planned with: while its departures wait, none leaves because of its `max`, its `min` or its rules.
    pub(crate) fn policy(&self, policy: &Policy) -> Policy {
        let waiting = self.waiting.as_ref();
        let held = waiting.and_then(|waiting| waiting.pools.get(&policy.pool));
        let all = held.map_or(0, |departure| departure.of.len());
        let keeps = held.and_then(|departure| departure.kept_by.as_ref());
        let kept = keeps.map_or_else(|| policy.clone(), |keeps| keeps.put_into(policy));
        let above_max = held.is_some_and(|it| !matches!(it.why, Cause::KeepsFewer { .. }));
        let most = if above_max { all } else { 0 };
        let max = policy.max.max(u32::try_from(most).unwrap_or(u32::MAX));
        // what was its `min` may be more than it may have now
        let min = kept.min.min(max);
        Policy { min, max, ..kept }
    }
}

fn pause(pool: &PoolName, why: &str, now: Timestamp) -> Override {
    Override {
        order: Order {
            what: Directive::Pause { pool: pool.clone() },
            who: "parmanu".to_owned(),
            why: why.to_owned(),
        },
        since: now,
        until: Timestamp::MAX,
        offers: BTreeSet::new(),
    }
}

/// Whether a machine is one of the fleet's that has not begun to end.
fn counts(machine: &Instance, fleet: &Fleet) -> bool {
    let ends = machine.state.is_gone() || matches!(machine.state, InstanceState::Stopping);
    !ends && machine.owner.fleet == fleet.id
}

/// What a pool with these machines would lose.
fn departure(
    fleet: &Fleet,
    orphans: &Orphans,
    pool: &PoolName,
    names: Vec<String>,
    keeping: &Keeping,
) -> Option<Departure> {
    let kept = keeping.kept.get(pool).filter(|kept| kept.machines > 0);
    let (why, machines) = match fleet.pools.get(pool) {
        Some(configured) => {
            let max = configured.policy.max;
            let more = names.len().saturating_sub(usize::try_from(max).ok()?);
            match kept {
                Some(kept) if more == 0 => {
                    let min = configured.policy.min;
                    (Cause::KeepsFewer { min }, kept.machines)
                }
                _ => (
                    Cause::AboveMax { max },
                    more.max(kept.map_or(0, |kept| kept.machines)),
                ),
            }
        }
        // of those that are left alone nothing leaves anyway; those that are too young do later
        None if orphans.left_alone.contains_key(pool) => return None,
        None => (Cause::NotConfigured, names.len()),
    };
    (machines > 0).then_some(Departure {
        why,
        machines,
        of: names,
        kept_by: kept.map(|kept| kept.by.clone()),
    })
}

fn machines_of(pools: &BTreeMap<PoolName, Departure>) -> usize {
    pools.values().map(|it| it.machines).sum()
}

/// Providers that the configuration does not name any more, and whose machines cannot be let go: nobody lists them.
fn left_behind(
    fleet: &Fleet,
    unseen: &Unseen,
    listings: &BTreeMap<ProviderName, Seen<Vec<Instance>>>,
) -> BTreeMap<ProviderName, usize> {
    let unseen = unseen.0.iter();
    let unseen = unseen.map(|(name, gone)| (name.clone(), gone.machines.len()));
    let retiring = fleet.retiring.iter().filter_map(|(name, retired)| {
        let listing = listings.get(name)?;
        let whole = matches!(listing, Seen::Complete { .. });
        // a moment ago it may only not have been asked yet
        let doubted = !whole && retired.is_overdue(fleet.clock.now());
        doubted.then(|| (name.clone(), crate::lister::alive(listing).count()))
    });
    unseen.chain(retiring).collect()
}

/// The providers of which an operator said, under this configuration, that what they listed last is gone.
pub(crate) fn forgotten(ordered: &Overrides, config: &ConfigHash) -> BTreeSet<ProviderName> {
    let orders = ordered.in_force.iter().map(|it| &it.order.what);
    let providers = orders.filter_map(|what| match what {
        Directive::Confirm {
            config: of,
            providers,
            ..
        } if of == config => Some(providers),
        _ => None,
    });
    providers.flatten().cloned().collect()
}

/// The pools whose departures an operator confirmed, under this configuration.
pub(crate) fn confirmed(ordered: &Overrides, config: &ConfigHash) -> BTreeSet<PoolName> {
    let orders = ordered.in_force.iter().map(|it| &it.order.what);
    let pools = orders.filter_map(|what| match what {
        Directive::Confirm {
            config: of, pools, ..
        } if of == config => Some(pools),
        _ => None,
    });
    pools.flatten().cloned().collect()
}

fn is_much(machines: usize, alive: usize) -> bool {
    machines > MOST || (machines > FEW && machines * 100 > alive * SHARE)
}

/// Known by the configuration, the pools and why: not by the machines, since these become fewer while they leave.
fn hash_of(
    config: &ConfigHash,
    pools: &BTreeMap<PoolName, Departure>,
    providers: &BTreeMap<ProviderName, usize>,
) -> String {
    let mut digest = Sha256::new();
    digest.update(config.as_str());
    for (pool, departure) in pools {
        digest.update(format!("\n{pool}: {}", departure.why));
    }
    for provider in providers.keys() {
        digest.update(format!("\nprovider {provider}"));
    }
    let digest = digest.finalize();
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_is_more_than_twenty_or_than_three_of_ten_if_they_are_more_than_five() {
        for (machines, alive, much) in [
            (0, 0, false),
            (5, 5, false),
            (6, 6, true),
            (6, 20, false),
            (7, 20, true),
            (20, 100, false),
            (21, 1000, true),
        ] {
            assert_eq!(is_much(machines, alive), much, "{machines} of {alive}");
        }
    }

    #[test]
    fn a_hash_is_of_pools_and_reasons_and_not_of_machines() {
        let departure = |why, machines| Departure {
            why,
            machines,
            of: vec!["m".to_owned(); machines],
            kept_by: None,
        };
        let of = |config: &str, why, machines| {
            let pools = [("old".parse().expect("a name"), departure(why, machines))];
            hash_of(&ConfigHash::new(config), &pools.into(), &BTreeMap::new())
        };
        let hash = of("c", Cause::NotConfigured, 30);
        assert_eq!(hash, of("c", Cause::NotConfigured, 12));
        assert_ne!(hash, of("d", Cause::NotConfigured, 30));
        assert_ne!(hash, of("c", Cause::AboveMax { max: 3 }, 30));
    }
}
