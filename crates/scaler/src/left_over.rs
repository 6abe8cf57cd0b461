//! Pools that the configuration does not name any more and of which nothing is left but executors at a CI server: their machines
//! were taken back, deleted by hand, or never made.
//!
//! No listing tells of such a pool. probot does: it names the pools that it does not know and whose executors it saw. One that
//! scaler does not know either is watched for a while ([`GRACE`]), since replicas of a new configuration start one after the
//! other, and is then planned with like any pool that nobody wants. The engine removes what is offline by its usual proofs
//! (`engine::ghosts`), and leaves what the CI server hears of.
//!
//! What was told is kept in memory only: a scaler that takes over watches anew.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{EmitterName, PoolName, age};
use ports::FleetRecord;

use crate::orphans::GRACE;

/// What probot told last, and since when.
#[derive(Debug, Default)]
pub(crate) struct LeftOver {
    /// The CI servers that have executors of each pool.
    told: BTreeMap<PoolName, BTreeSet<EmitterName>>,
    /// Since when nothing else was seen of each, as far as this process knows.
    since: BTreeMap<PoolName, Timestamp>,
}

impl LeftOver {
    /// What the last look at each CI server told.
    pub(crate) fn learn(&mut self, record: &FleetRecord) {
        self.told.clear();
        for (emitter, status) in &record.emitters {
            for pool in &status.left_over {
                let at = self.told.entry(pool.clone()).or_default();
                at.insert(emitter.clone());
            }
        }
    }

    /// The pools that were told last.
    pub(crate) fn told(&self) -> impl Iterator<Item = &PoolName> {
        self.told.keys()
    }

    /// The pools that were told for long enough while nothing else was known of them, each with its CI servers. `is_known` says
    /// of which there is more to know.
    pub(crate) fn due(
        &mut self,
        is_known: impl Fn(&PoolName) -> bool,
        now: Timestamp,
    ) -> BTreeMap<PoolName, BTreeSet<EmitterName>> {
        let told = self.told.iter().filter(|(pool, _)| !is_known(pool));
        let told: BTreeMap<_, _> = told.collect();
        self.since.retain(|pool, _| told.contains_key(pool));
        let mut due = BTreeMap::new();
        for (pool, emitters) in told {
            let since = *self.since.entry(pool.clone()).or_insert(now);
            if age(since, now) >= GRACE {
                due.insert(pool.clone(), emitters.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use ports::EmitterStatus;

    use super::*;

    fn told(by: &[(&str, &[&str])]) -> FleetRecord {
        let status = |(emitter, pools): &(&str, &[&str])| {
            let left_over = pools.iter().map(|pool| pool.parse().unwrap()).collect();
            let status = EmitterStatus {
                left_over,
                ..EmitterStatus::default()
            };
            (emitter.parse().unwrap(), status)
        };
        FleetRecord {
            emitters: by.iter().map(status).collect(),
            ..FleetRecord::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_pool_is_due_when_it_was_told_without_a_break_and_nothing_else_was_known_of_it() {
        let mut left = LeftOver::default();
        let mac: PoolName = "mac".parse().unwrap();
        let due = |left: &mut LeftOver, known: bool, second: i64| {
            let due = left.due(|_| known, at(second));
            due.get(&mac).map(|emitters| emitters.len())
        };
        left.learn(&told(&[("gitlab", &["mac"]), ("jenkins", &["mac", "bsd"])]));
        assert_eq!(due(&mut left, false, 0), None);
        assert_eq!(due(&mut left, false, 599), None);
        assert_eq!(due(&mut left, false, 600), Some(2));
        // a machine of it is listed meanwhile, or it is configured again
        assert_eq!(due(&mut left, true, 601), None);
        assert_eq!(due(&mut left, false, 602), None);
        assert_eq!(due(&mut left, false, 1202), Some(2));
        // a look shows none of it
        left.learn(&told(&[("gitlab", &[]), ("jenkins", &["bsd"])]));
        assert_eq!(due(&mut left, false, 1203), None);
        left.learn(&told(&[("gitlab", &["mac"])]));
        assert_eq!(due(&mut left, false, 1204), None);
        assert_eq!(due(&mut left, false, 1804), Some(1));
    }
}
