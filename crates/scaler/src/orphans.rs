//! Machines of pools that the configuration does not name any more: a pool that was removed or renamed, a description that
//! was split. They carry our fleet's mark and nobody wants them, and a build may run on each of them.
//!
//! They leave like any idle machine, by the engine and with all of its proofs, under a policy that wants none. That takes
//! somebody who tells what runs on them: probot goes on to report executors of pools that it does not know. And it must be known
//! what the machines join: each names an executor in its tag, or the pool's memory has it from when it was configured
//! ([`model::Joins`]). By that those whose agents enrolled themselves are matched by their names, those of `executor: none` have
//! no builds, and those whose executors cannot be controlled leave as their pool's `scale_in` said. Else the pool is left alone,
//! counted against the caps, and reported: nobody here knows what its machines do.
//!
//! After a day they are no longer told that they are wanted. So the guest of each, which does know what its agent does, ends it
//! after its build (docs/guest.md).
//!
//! Of which pools nothing but executors is left, `left_over.rs` tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use model::rules::ScaleIn;
use model::{
    Boot, Bootstrap, EmitterName, ExecutorMode, Instance, InstanceName, Joins, OnStale, Policy,
    PoolName, Reuse, Rule, RuleKind, Seen, Standing, WorkloadTrust, age,
};
use ports::FleetRecord;

use crate::left_over::LeftOver;
use crate::run::{Fleet, Pool};
use crate::ways::CiServers;

/// A machine of an unknown pool is looked at when it is so old: replicas of a new configuration start one after the other,
/// and the last one of the old configuration may still be the active one.
pub(crate) const GRACE: Duration = Duration::from_secs(600);

/// Such a machine leaves when it has been idle for so long.
const IDLE_FOR: Duration = Duration::from_secs(60);

/// So many of one pool begin to leave within a minute at most: a mistake of ours is seen before it is complete.
const AT_ONCE: u32 = 10;

/// How old a look may be, where no pool of the same CI server says it.
const FRESH_FOR: Duration = Duration::from_secs(120);

/// So long a pool that is left alone is told that it is wanted: it may be missing by mistake, and no operator is asked.
const WANTED_STILL: Duration = Duration::from_secs(24 * 3600);

/// Pools looked at in one tick at most: what is found in tags bounds nothing.
const MOST: usize = 100;

/// Pools without a configuration whose machines can be let go, and those of which nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// By name.
    pub(crate) pools: BTreeMap<PoolName, Pool>,
    /// Pools that are not configured and have machines.
    pub(crate) found: BTreeSet<PoolName>,
    /// Pools of which nothing is left but executors: those of `pools` that no machine told of.
    pub(crate) executors_only: BTreeSet<PoolName>,
    left_over: LeftOver,
    /// What the machines of each joined, as far as the store was read: `None` where it does not know.
    joined: BTreeMap<PoolName, Option<Joins>>,
    /// When the last machine of each was listed: the executors are removed after the machines.
    listed: BTreeMap<PoolName, Timestamp>,
    /// Why each of the others is left alone.
    pub(crate) left_alone: BTreeMap<PoolName, String>,
    /// Since when, as far as this process knows.
    left_since: BTreeMap<PoolName, Timestamp>,
    /// When machines that do not tell their age were seen first by this process.
    first_seen: BTreeMap<InstanceName, Timestamp>,
}

impl Orphans {
    /// What the newest listings show of pools that are not configured, and who was there a moment ago.
    pub(crate) fn now(self, fleet: &Fleet, now: Timestamp) -> Orphans {
        let mut found: BTreeMap<PoolName, Vec<Instance>> = BTreeMap::new();
        let listings = fleet.listings.since(Timestamp::MIN);
        for instance in listings.values().filter_map(Seen::any).flatten() {
            let known = fleet.pools.contains_key(instance.pool());
            if known || instance.state.is_gone() || instance.owner.fleet != fleet.id {
                continue;
            }
            let of_pool = found.entry(instance.pool().clone()).or_default();
            of_pool.push(instance.clone());
        }
        let mut orphans = Orphans {
            found: found.keys().take(MOST).cloned().collect(),
            joined: self.joined,
            left_over: self.left_over,
            ..Orphans::default()
        };
        orphans.joined.retain(|pool, _| found.contains_key(pool));
        for (name, pool) in self.pools {
            // it is configured again
            if fleet.pools.contains_key(&name) {
                continue;
            }
            let listed = self.listed.get(&name).copied();
            if let Some(at) = listed.filter(|at| age(*at, now) < GRACE) {
                orphans.listed.insert(name.clone(), at);
                orphans.pools.insert(name, pool);
            }
        }
        for machine in found.values().flatten() {
            if machine.created_at.is_none() {
                let first = self.first_seen.get(&machine.name).copied();
                let first = first.unwrap_or(now);
                orphans.first_seen.insert(machine.name.clone(), first);
            }
        }
        let has_machines: BTreeSet<PoolName> = found.keys().cloned().collect();
        let servers = CiServers::of(&fleet.parts);
        for (number, (name, machines)) in found.into_iter().enumerate() {
            if number >= MOST {
                let why = format!("there are more than {MOST} such pools; it has its turn later");
                orphans.left_alone.insert(name, why);
                continue;
            }
            let old = |machine: &Instance| {
                let first = orphans.first_seen.get(&machine.name).copied();
                let since = machine.created_at.or(first);
                since.is_some_and(|at| age(at, now) >= GRACE)
            };
            if !machines.iter().all(old) {
                continue;
            }
            let way = match servers.way_by_tags(&machines) {
                Ok(way) => Ok(way),
                // by the next tick the store has been read
                Err(_) if !orphans.joined.contains_key(&name) => continue,
                Err(why) => match orphans.joined.get(&name).and_then(Option::as_ref) {
                    Some(joins) => servers.way_by_memory(joins, &machines),
                    None => Err(why),
                },
            };
            match way {
                Ok((emitter, executors)) => {
                    let pool = wanted_by_nobody(fleet, &name, emitter, executors);
                    orphans.listed.insert(name.clone(), now);
                    orphans.pools.insert(name, pool);
                }
                Err(why) => {
                    orphans.pools.remove(&name);
                    let since = self.left_since.get(&name).copied().unwrap_or(now);
                    orphans.left_since.insert(name.clone(), since);
                    orphans.left_alone.insert(name, why);
                }
            }
        }
        orphans.add_executors_only(fleet, &has_machines, now);
        orphans
    }

    /// Adds the pools of which nothing is left but executors. One at two CI servers is looked at where they can be controlled, one
    /// after the other.
    fn add_executors_only(
        &mut self,
        fleet: &Fleet,
        has_machines: &BTreeSet<PoolName>,
        now: Timestamp,
    ) {
        let is_known =
            |pool: &PoolName| fleet.pools.contains_key(pool) || has_machines.contains(pool);
        let due = self.left_over.due(is_known, now).into_iter();
        // those whose last machine went a moment ago are planned with as they were
        let due = due.filter(|(name, _)| !self.pools.contains_key(name));
        for (name, emitters) in due.take(MOST).collect::<Vec<_>>() {
            let servers = CiServers::of(&fleet.parts);
            let ways = emitters.iter().map(|emitter| servers.managed(emitter));
            match ways.reduce(|first, next| first.or(next)) {
                Some(Ok((emitter, executors))) => {
                    let pool = wanted_by_nobody(fleet, &name, emitter, executors);
                    self.executors_only.insert(name.clone());
                    self.pools.insert(name, pool);
                }
                Some(Err(why)) => {
                    let why = format!(
                        "nothing but executors is left of it, and {why}: remove them at the CI server"
                    );
                    self.left_alone.insert(name, why);
                }
                None => {}
            }
        }
    }

    /// What the store knows of the pools that were found, and of which others executors are left.
    pub(crate) fn learn(&mut self, record: &FleetRecord) {
        self.left_over.learn(record);
        for pool in &self.found {
            let stored = record.pools.get(pool);
            let memory = stored.and_then(|stored| stored.memory.as_ref());
            let joins = memory.and_then(|memory| memory.joins.clone());
            self.joined.insert(pool.clone(), joins);
        }
    }

    /// Pools that are not configured and of which probot told in its last look.
    pub(crate) fn told<'a>(&'a self, fleet: &'a Fleet) -> impl Iterator<Item = &'a PoolName> {
        let told = self.left_over.told();
        told.filter(|pool| !fleet.pools.contains_key(*pool))
    }

    /// Pools whose machines are not told any more that they are wanted.
    pub(crate) fn unwanted(&self, now: Timestamp) -> BTreeSet<PoolName> {
        let left = self.left_since.iter();
        let long = left.filter(|(_, since)| age(**since, now) >= WANTED_STILL);
        long.map(|(name, _)| name.clone()).collect()
    }
}

fn wanted_by_nobody(
    fleet: &Fleet,
    name: &PoolName,
    emitter: Option<EmitterName>,
    executors: ExecutorMode,
) -> Pool {
    let mut siblings = fleet.pools.values().map(|pool| &pool.policy);
    let sibling = siblings.find(|policy| policy.emitter == emitter);
    let policy = Policy {
        pool: name.clone(),
        emitter,
        slots: 1,
        min: 0,
        max: 0,
        boot: Boot {
            expect: GRACE / 10,
            timeout: GRACE,
        },
        executors,
        executors_appear: false,
        reuse: Reuse::default(),
        bootstrap: Bootstrap::PerMachine,
        offers: Vec::new(),
        trust: WorkloadTrust {
            fresh_for: sibling.map_or(FRESH_FOR, |policy| policy.trust.fresh_for),
            on_stale: OnStale::Hold,
        },
        rules: vec![Rule::always(
            "of pools that are not configured",
            RuleKind::ScaleIn(ScaleIn {
                at_most: Some(AT_ONCE),
                ..ScaleIn::fixed(IDLE_FOR)
            }),
        )],
        standing: Standing::default(),
    };
    Pool {
        policy,
        offers: BTreeMap::new(),
        bootstrap: None,
    }
}
