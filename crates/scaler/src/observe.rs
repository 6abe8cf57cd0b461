//! Puts together what is known: the store's record, the providers' listings, and what actions taught since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{FleetObservation, Observation, PoolSeen, Supply};
use jiff::Timestamp;
use model::{
    Demand, EmitterName, Epoch, Intent, Overrides, PoolName, Seen, StoredWorkload, Workload,
};
use ports::store::MOST_LEFT_OVER;
use ports::{FleetRecord, PoolRecord};

use crate::drains;
use crate::former::Former;
use crate::lease::Term;
use crate::ledger::{Changes, Learned};
use crate::looked::{Looked, PoolLooked};
use crate::run::{Fleet, Pool};

/// One observation, and the intent changes that are to be written with the next commit.
pub(crate) struct Observed {
    pub(crate) fleet: FleetObservation,
    /// Until when calls may have been in flight whose intents were lost, for each pool.
    pub(crate) lost_at: BTreeMap<PoolName, Option<Timestamp>>,
    pub(crate) changes: BTreeMap<PoolName, Changes>,
    /// Pools whose memory was written by a clock that was ahead: it is written anew, or what is put right would be as new at
    /// every tick.
    pub(crate) put_right: BTreeSet<PoolName>,
    /// Pools whose record in the store is not what we write, and what is wrong with it: they are left alone.
    pub(crate) unreadable: BTreeMap<PoolName, String>,
}

impl Observed {
    /// What is known of the fleet, to be taken apart by pool; an empty one stays behind.
    pub(crate) fn take_fleet(&mut self) -> FleetObservation {
        let fleet = &mut self.fleet;
        FleetObservation {
            fleet: fleet.fleet.clone(),
            config: fleet.config.clone(),
            epoch: fleet.epoch,
            listings: std::mem::take(&mut fleet.listings),
            pools: std::mem::take(&mut fleet.pools),
            intents_lost_at: fleet.intents_lost_at,
            unavailable: std::mem::take(&mut fleet.unavailable),
            rival: fleet.rival.clone(),
            overrides: std::mem::take(&mut fleet.overrides),
        }
    }
}

pub(crate) fn observe(
    fleet: &Fleet,
    orphans: &BTreeMap<PoolName, Pool>,
    term: &Term,
    learned: &Learned,
    mut record: FleetRecord,
    sequences: &BTreeMap<PoolName, u32>,
    now: Timestamp,
) -> Observed {
    let boottime = fleet.clock.boottime();
    let looks = last_looks(&record);
    let mut pools = BTreeMap::new();
    let mut changes = BTreeMap::new();
    let mut lost_at = BTreeMap::new();
    let mut put_right = BTreeSet::new();
    let mut unreadable = BTreeMap::new();
    for (name, pool) in fleet.pools.iter().chain(orphans) {
        let mut stored = record.pools.remove(name).unwrap_or_default();
        if let Some(why) = stored.unreadable {
            unreadable.insert(name.clone(), why);
            continue;
        }
        let changed = fleet.ledger.overlay(learned, name, &mut stored.intents);
        let in_term = boottime.saturating_sub(term.began);
        for entry in &mut stored.intents {
            // a call of an earlier holder may have been on the way until this term began
            if let Intent::Create { batch, .. } = &entry.intent
                && batch.epoch != term.epoch
            {
                entry.age = entry.age.min(in_term);
            }
        }
        changes.insert(name.clone(), changed);
        let emitter = pool.policy.emitter.as_ref();
        if let Some(emitter) = emitter.filter(|_| orphans.contains_key(name)) {
            let none = looked_in_vain(name, &stored, looks.get(emitter), &record);
            stored
                .workloads
                .extend(none.map(|none| (emitter.clone(), none)));
        }
        let workload = emitter.map_or(Seen::Never { why: None }, |emitter| {
            workload_of(&record, &stored, emitter, now)
        });
        lost_at.insert(
            name.clone(),
            match &stored.memory {
                // nobody has written anything since the store was new or wiped
                _ if !term.remembered => Some(term.alone_since),
                None => Some(term.alone_since),
                Some(memory) => memory.intents_lost_at,
            },
        );
        let written = stored.memory.unwrap_or_default();
        let memory = written.clone().no_later_than(now);
        if memory != written {
            put_right.insert(name.clone());
        }
        let seen = PoolSeen {
            workload,
            intents: stored.intents,
            memory,
            next_sequence: sequences.get(name).copied().unwrap_or_default(),
            creation_held: fleet.ledger.held(name, boottime),
            control_refused: fleet.ledger.refusals(|all| all.of_pool(name, boottime)),
            cordon_refused: fleet.ledger.refusals(|all| all.of_machines(name, boottime)),
            join_doubts: fleet.ledger.sought(|all| all.of_pool(name, boottime)),
            offer_news: learned.news_of(name),
        };
        pools.insert(name.clone(), seen);
    }
    // the scaler before may have ended an intent for what a newer listing showed it than our last one
    let listings = fleet.listings.between(term.taken_at, now);
    let rival = engine::rival(&listings, term.epoch, term.taken_at, now);
    let observation = FleetObservation {
        fleet: fleet.id.clone(),
        config: fleet.config.clone(),
        epoch: term.epoch,
        listings,
        pools,
        intents_lost_at: lost_at.values().flatten().max().copied(),
        // offers that step aside stand in the pools' memories
        unavailable: BTreeMap::new(),
        rival,
        overrides: ordered(fleet, &record, now),
    };
    Observed {
        fleet: observation,
        lost_at,
        put_right,
        changes,
        unreadable,
    }
}

/// A pool is not told of when its last workload is older than the last look by so much. The store is not read in one moment, and a
/// look may be written in between.
const SILENT_FOR: Duration = Duration::from_secs(120);

/// One workload of the last look at each CI server: what holds for the look holds for all of its pools.
fn last_looks(record: &FleetRecord) -> BTreeMap<EmitterName, StoredWorkload> {
    let mut looks: BTreeMap<EmitterName, StoredWorkload> = BTreeMap::new();
    for (emitter, stored) in record.pools.values().flat_map(|pool| &pool.workloads) {
        let known = looks.get(emitter).map(|known| known.age);
        if known.is_none_or(|known| stored.age < known) {
            looks.insert(emitter.clone(), stored.clone());
        }
    }
    looks
}

/// What a look says of a pool that is not configured and of which it showed no executor: probot writes workloads of the pools that
/// it knows, and of others that have executors. Silence is told from a look that did not come by another pool of the same look.
fn looked_in_vain(
    pool: &PoolName,
    stored: &PoolRecord,
    look: Option<&StoredWorkload>,
    record: &FleetRecord,
) -> Option<StoredWorkload> {
    let look = look?;
    let emitter = &look.workload.emitter;
    let status = record.emitters.get(emitter)?;
    let was_told = stored.workloads.get(emitter).map(|own| own.age);
    let is_last = status.last_good.is_some_and(|last| look.age <= last);
    let was_long_ago = |own: Duration| own > look.age.saturating_add(SILENT_FOR);
    let is_silent = was_told.is_none_or(was_long_ago) && !status.left_over.contains(pool);
    let told_all = status.left_over.len() < MOST_LEFT_OVER;
    (is_last && is_silent && told_all).then(|| StoredWorkload {
        age: look.age,
        workload: Workload {
            pool: pool.clone(),
            demand: Demand::default(),
            executors: Vec::new(),
            ..look.workload.clone()
        },
    })
}

/// The orders in force, and what they mean for our offers.
fn ordered(fleet: &Fleet, record: &FleetRecord, now: Timestamp) -> Overrides {
    let mut overrides = Overrides::of(&record.orders, now);
    drains::resolve(
        &mut overrides,
        fleet.pools.values().flat_map(|pool| &pool.offers),
    );
    overrides
}

/// What a replica sees that does not act: the store's record and the listings, with no term and nothing learned.
pub(crate) fn overlook(fleet: &Fleet, mut record: FleetRecord, now: Timestamp) -> Looked {
    let mut unreadable = BTreeMap::new();
    let mut pools = BTreeMap::new();
    for (name, pool) in &fleet.pools {
        let mut stored = record.pools.remove(name).unwrap_or_default();
        if let Some(why) = stored.unreadable.take() {
            unreadable.insert(name.clone(), why);
            continue;
        }
        let emitter = pool.policy.emitter.as_ref();
        let workload = emitter.map_or(Seen::Never { why: None }, |emitter| {
            workload_of(&record, &stored, emitter, now)
        });
        let seen = PoolSeen {
            workload,
            intents: stored.intents,
            memory: stored.memory.unwrap_or_default().no_later_than(now),
            next_sequence: 0,
            creation_held: None,
            control_refused: None,
            cordon_refused: BTreeMap::new(),
            join_doubts: BTreeMap::new(),
            offer_news: Vec::new(),
        };
        pools.insert(name.clone(), seen);
    }
    let overrides = ordered(fleet, &record, now);
    let observation = FleetObservation {
        fleet: fleet.id.clone(),
        config: fleet.config.clone(),
        epoch: Epoch::default(),
        listings: fleet.listings.since(Timestamp::MIN),
        pools,
        intents_lost_at: None,
        unavailable: BTreeMap::new(),
        rival: None,
        overrides: overrides.clone(),
    };
    let looked = |(name, seen): (PoolName, Observation)| {
        let policy = &fleet.pools.get(&name)?.policy;
        let supply = Supply::of(&seen, policy, now);
        let plan = None;
        Some((name, PoolLooked { seen, supply, plan }))
    };
    Looked {
        at: now,
        pools: observation
            .split()
            .pools
            .into_iter()
            .filter_map(looked)
            .collect(),
        unreadable,
        emitters: record.emitters,
        overrides,
        former: Former::default(),
        waiting: None,
    }
}

/// The workload of one emitter; while its last look failed, the one before is a lower bound at best.
pub fn workload_of(
    record: &FleetRecord,
    stored: &PoolRecord,
    emitter: &EmitterName,
    now: Timestamp,
) -> Seen<Workload> {
    let seen = stored.seen(emitter, now);
    let failure = record
        .emitters
        .get(emitter)
        .and_then(|status| status.failure.as_ref());
    let Some(failure) = failure else { return seen };
    let why = format!("the last look at {emitter} failed: {}", failure.why);
    match seen {
        Seen::Complete { value, at } => Seen::Partial {
            value,
            at,
            why: vec![why],
        },
        Seen::Partial {
            value,
            at,
            why: mut doubts,
        } => {
            doubts.insert(0, why);
            Seen::Partial {
                value,
                at,
                why: doubts,
            }
        }
        Seen::Never { .. } => Seen::Never { why: Some(why) },
    }
}

#[cfg(test)]
mod tests {
    use model::{Completeness, ConfigHash};
    use ports::EmitterStatus;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn workload(pool: &str, age: Duration) -> StoredWorkload {
        let workload = Workload {
            version: Workload::VERSION,
            pool: pool.parse().unwrap(),
            emitter: "ci".parse().unwrap(),
            config: ConfigHash::new("c"),
            demand: Demand::default(),
            executors: Vec::new(),
            completeness: Completeness::Complete,
        };
        StoredWorkload { workload, age }
    }

    /// Whether the last look, which is a second old and wrote the workload of `linux`, is taken for one that showed no executor
    /// of `mac`.
    fn is_silent(told: Option<Duration>, change: impl FnOnce(&mut EmitterStatus)) -> bool {
        let ci: EmitterName = "ci".parse().unwrap();
        let of = |stored: StoredWorkload| PoolRecord {
            workloads: [(ci.clone(), stored)].into(),
            ..PoolRecord::default()
        };
        let mut status = EmitterStatus {
            last_good: Some(SECOND),
            ..EmitterStatus::default()
        };
        change(&mut status);
        let mac = told.map_or_else(PoolRecord::default, |age| of(workload("mac", age)));
        let record = FleetRecord {
            pools: [
                ("linux".parse().unwrap(), of(workload("linux", SECOND))),
                ("mac".parse().unwrap(), mac.clone()),
            ]
            .into(),
            emitters: [(ci.clone(), status)].into(),
            ..FleetRecord::default()
        };
        let looks = last_looks(&record);
        let pool = "mac".parse().unwrap();
        let none = looked_in_vain(&pool, &mac, looks.get(&ci), &record);
        if let Some(none) = &none {
            assert_eq!((&none.workload.pool, none.age), (&pool, SECOND));
        }
        none.is_some()
    }

    #[test]
    fn a_look_that_does_not_tell_of_a_pool_has_shown_no_executor_of_it() {
        assert!(is_silent(None, |_| {}));
        assert!(is_silent(Some(SECOND * 300), |_| {}));
        // it was told by that look, or by the one before, and the store was read while that one was written
        assert!(!is_silent(Some(SECOND), |_| {}));
        assert!(!is_silent(Some(SECOND * 60), |_| {}));
        // it has executors, or may be among those that were left out
        assert!(!is_silent(None, |status| {
            status.left_over = ["mac".parse().unwrap()].into();
        }));
        assert!(!is_silent(None, |status| {
            let pools = (0..MOST_LEFT_OVER).map(|n| format!("p{n}").parse().unwrap());
            status.left_over = pools.collect();
        }));
        // the other pool's workload is of another look
        assert!(!is_silent(None, |status| status.last_good = None));
        assert!(!is_silent(None, |status| {
            status.last_good = Some(Duration::ZERO);
        }));
    }
}
