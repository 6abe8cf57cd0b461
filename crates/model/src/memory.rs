//! What the engine must remember of one pool between two ticks.
//!
//! Data in, data out: the engine gets it with the observation and gives it back with the plan. It is small, it is
//! versioned, and an empty one is always safe: what it holds can only make the engine act later, never sooner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BatchId, InstanceName, Learned, age};

/// The engine's memory of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolMemory {
    /// Version of this format.
    pub version: u32,
    /// Since when each idle machine has been seen idle without a break. The idle clock starts at registration or at
    /// the end of the last job, not at creation.
    pub idle_since: BTreeMap<InstanceName, Timestamp>,
    /// Complete listings, each newer than the one before and later than the provider's lag bound, in which a machine of
    /// this batch was still missing.
    pub missing: BTreeMap<BatchId, Missing>,
    /// When machines of this pool began to leave, newest last; bounded by the window of the scale-in rule.
    pub departures: Vec<Timestamp>,
    /// Machines that were coming up at the last tick.
    pub booting: BTreeSet<InstanceName>,
    /// Machines that reached their boot deadline without an executor, in a row; cleared when one joins.
    pub failed_boots: BTreeSet<InstanceName>,
    /// Until when calls may have been in flight whose intents were lost. It stands here so that a scaler which takes over
    /// right after a wipe knows of it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intents_lost_at: Option<Timestamp>,
    /// Executors of ours without a machine, and when that was first seen.
    pub ghosts: BTreeMap<InstanceName, Timestamp>,
    /// What the rules wanted, now and lately: the way down is read from it. `None` before the first tick that could
    /// trust its workload; then the machines that are there count as wanted until that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Recommendations>,
    /// What the pace rule has left; `None` is a full bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// What was learned of the pool's load.
    #[serde(skip_serializing_if = "Learned::is_empty")]
    pub learned: Learned,
}

/// What the rules wanted, before limits and before anything was held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Recommendations {
    /// Machines wanted at the last tick whose workload could be trusted.
    pub now: u32,
    /// Greater numbers of earlier ticks, the greatest first; at most [`Recommendations::MOST`]. Each was wanted until a
    /// moment no earlier than that of the one before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Wanted>,
}

impl Recommendations {
    /// Entries kept; beyond it two neighbours become one, which holds the greater number for the longer time.
    pub const MOST: usize = 64;

    /// Records what is wanted at this moment.
    pub fn record(&mut self, machines: u32, now: Timestamp) {
        if machines < self.now {
            self.earlier.push(Wanted {
                machines: self.now,
                until: now,
            });
        }
        self.now = machines;
        self.earlier.retain(|earlier| earlier.machines > machines);
        while self.earlier.len() > Self::MOST {
            let last = self.earlier.pop();
            if let (Some(last), Some(before)) = (last, self.earlier.last_mut()) {
                before.until = last.until;
            }
        }
    }

    /// The greatest number wanted within this time.
    pub fn greatest_within(&self, window: Duration, now: Timestamp) -> u32 {
        let recent = |earlier: &&Wanted| age(earlier.until, now) < window;
        let earlier = self.earlier.iter().find(recent);
        earlier.map_or(self.now, |earlier| earlier.machines)
    }

    /// Forgets what no rule asks for any more.
    pub fn forget(&mut self, window: Duration, now: Timestamp) {
        self.earlier
            .retain(|earlier| age(earlier.until, now) < window);
    }
}

/// So many machines were wanted until this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Machines.
    pub machines: u32,
    /// Until when.
    pub until: Timestamp,
}

/// A token bucket as it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Thousandths of a creation.
    pub milli: u64,
    /// When.
    pub at: Timestamp,
}

/// How often a batch has been looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Number of complete listings without it.
    pub listings: u32,
    /// The start of the newest of them.
    pub last: Timestamp,
}

impl PoolMemory {
    /// The version written today.
    pub const VERSION: u32 = 1;
}

impl Default for PoolMemory {
    fn default() -> Self {
        PoolMemory {
            version: PoolMemory::VERSION,
            idle_since: BTreeMap::new(),
            missing: BTreeMap::new(),
            departures: Vec::new(),
            booting: BTreeSet::new(),
            failed_boots: BTreeSet::new(),
            intents_lost_at: None,
            ghosts: BTreeMap::new(),
            wanted: None,
            tokens: None,
            learned: Learned::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// The worked example of the pace rule.
    #[test]
    fn the_greatest_number_of_a_window_is_found_and_let_go() {
        let mut wanted = Recommendations::default();
        for (second, machines) in [(0, 9), (60, 4), (90, 7), (100, 3)] {
            wanted.record(machines, at(second));
        }
        let window = Duration::from_secs(120);
        let greatest = |second| wanted.greatest_within(window, at(second));
        assert_eq!([100, 179, 180, 219, 220].map(greatest), [9, 9, 7, 7, 3]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_errs_on_the_side_of_keeping() {
        let mut wanted = Recommendations::default();
        wanted.record(1000, at(0));
        for second in 1..500 {
            wanted.record(1000 - second, at(i64::from(second)));
        }
        assert!(wanted.earlier.len() <= Recommendations::MOST);
        for window in [1, 10, 60, 300] {
            // without the bound, what was wanted `window` ago would be the answer
            let exact = 501 + window - 1;
            let found = wanted.greatest_within(Duration::from_secs(u64::from(window)), at(499));
            assert!(
                found >= exact,
                "{found} within {window} s, not less than {exact}"
            );
        }
    }
}
