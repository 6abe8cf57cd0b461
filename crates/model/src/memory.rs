//! What the engine must remember of one pool between two ticks.
//!
//! Data in, data out: the engine gets it with the observation and gives it back with the plan. It is small, it is
//! versioned, and an empty one is always safe: what it holds can only make the engine act later, never sooner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rules::{IdleTime, RuleKind};
use crate::{
    BatchId, EmitterName, Generation, Instance, InstanceName, JobId, Learned, Money, OfferId,
    Policy, ProviderName, Rule, UncontrolledLeave, age,
};

/// The engine's memory of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolMemory {
    /// Version of this format.
    pub version: u32,
    /// Since when each idle machine has been seen idle without a break. The idle clock starts at registration or at
    /// the end of the last job, not at creation.
    pub idle_since: BTreeMap<InstanceName, Timestamp>,
    /// When each machine whose provider does not tell when it was created was first listed: it is at least so old.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub first_listed: BTreeMap<InstanceName, Timestamp>,
    /// What its machines join, as its configuration said last: read when it is not configured any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
    /// Complete listings, each newer than the one before and later than the provider's lag bound, in which a machine of
    /// this batch was still missing.
    pub missing: BTreeMap<BatchId, Missing>,
    /// When machines of this pool began to leave, newest last; bounded by the window of the scale-in rule.
    pub departures: Vec<Timestamp>,
    /// Machines that were seen coming up and have not shown an executor since.
    pub booting: BTreeSet<InstanceName>,
    /// Those of them that a listing showed: one that is gone without having joined has failed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub launched: BTreeSet<InstanceName>,
    /// Machines that failed to join, in a row, by what they were made from; cleared when one joins.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<Generation, FailedBoots>,
    /// Until when calls may have been in flight whose intents were lost. It stands here so that a scaler which takes over
    /// right after a wipe knows of it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intents_lost_at: Option<Timestamp>,
    /// Executors of ours without a machine, and when that was first seen.
    pub ghosts: BTreeMap<InstanceName, Timestamp>,
    /// Where the pool's machines were listed last, by provider. It outlives the scaler that heard it: whoever begins while a
    /// provider cannot be listed, or is no longer in the configuration, or stands somewhere else, knows by it what may be
    /// there. One that was heard and had none is kept without machines; of one that is not here nothing is known. Whoever
    /// lists writes it, since the engine does not know where providers stand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listed: BTreeMap<ProviderName, LastListed>,
    /// What kept the pool's machines at the last tick that could tell what another configuration would let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeps: Option<Keeps>,
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
    /// What was learned of offers: who steps aside, how machines from it fare. All pools read it of all pools.
    #[serde(with = "crate::offer_keys", skip_serializing_if = "BTreeMap::is_empty")]
    pub offers: BTreeMap<OfferId, OfferMemory>,
    /// Providers whose quota was met. All pools read it of all pools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub quotas: BTreeMap<ProviderName, QuotaMemory>,
    /// What this pool's machines cost in the current period of each budget, by the budget's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spend: BTreeMap<String, Spend>,
    /// Jobs seen on each machine, where the pool limits them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<InstanceName, JobsRun>,
    /// Running and runnable jobs of the last look that was believed.
    #[serde(skip_serializing_if = "is_zero")]
    pub believed_work: u32,
    /// The start of a look in which most of that work was gone, until a second one shows it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cliff: Option<Timestamp>,
    /// Since when most executors of the pool have been offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomaly_since: Option<Timestamp>,
}

/// What of a pool's configuration keeps machines that no job needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// The pool's `min`.
    pub min: u32,
    /// Its rules.
    pub rules: Vec<Rule>,
}

impl Keeps {
    /// That of a policy.
    pub fn of(policy: &Policy) -> Self {
        Keeps {
            min: policy.min,
            rules: policy.rules.clone(),
        }
    }

    /// The policy with this in the place of its own.
    pub fn put_into(&self, policy: &Policy) -> Policy {
        Policy {
            min: self.min,
            rules: self.rules.clone(),
            ..policy.clone()
        }
    }

    /// Whether an idle machine might leave sooner by these rules than by those before; of what cannot be compared it is
    /// taken that it might.
    pub fn leaves_sooner_than(&self, before: &Keeps) -> bool {
        let idle = |keeps: &Keeps| {
            let rules = keeps.rules.iter();
            let idle = rules.filter_map(|rule| match &rule.rule {
                RuleKind::ScaleIn(scale_in) => Some((rule.when.clone(), scale_in.idle)),
                _ => None,
            });
            idle.collect::<Vec<_>>()
        };
        let (new, old) = (idle(self), idle(before));
        match (&new[..], &old[..]) {
            (new, old) if new == old => false,
            ([(_, new)], [(when, old)]) => match (new, old) {
                (IdleTime::Fixed { idle_for: new }, IdleTime::Fixed { idle_for: old }) => {
                    !when.is_always() || new < old
                }
                _ => true,
            },
            _ => true,
        }
    }
}

/// Machines of one pool that one provider listed last, those that were not gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastListed {
    /// Where the provider stood, in words; empty if nobody said. No secret.
    pub place: String,
    /// Their names.
    pub machines: BTreeSet<InstanceName>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Machines in a row that never joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBoots {
    /// Which; at most a hundred.
    pub machines: BTreeSet<InstanceName>,
    /// When the last of them was found to have failed.
    pub last: Timestamp,
}

/// Jobs seen on one machine in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobsRun {
    /// How many.
    pub count: u32,
    /// Those of them that were seen last; they are not counted again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<JobId>,
}

impl JobsRun {
    /// With the jobs of one more look at a machine that is busy; where the CI server does not name them, one at least.
    #[must_use]
    pub fn seeing(self, jobs: &[JobId]) -> Self {
        let new = jobs.iter().filter(|job| !self.last.contains(job)).count();
        let count = self
            .count
            .saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        JobsRun {
            count: count.max(1),
            last: if jobs.is_empty() {
                self.last
            } else {
                jobs.to_vec()
            },
        }
    }
}

/// What was learned of one offer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferMemory {
    /// What its machines were made from when this was learned; none until the next tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_from: Option<Generation>,
    /// Until when it steps aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What its provider said, cut to a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Refusals in a row; while there are any, one machine at a time tries it.
    pub refusals: u32,
    /// Machines made from it lately; halved together with `failed` when they get many, so that old news fades.
    pub made: u32,
    /// Those of them that never joined.
    pub failed: u32,
    /// Usual time from creation to the first sight of its executor, in milliseconds; 0 when none was seen.
    pub boot_ms: u64,
}

/// A provider whose quota was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaMemory {
    /// Machines of the fleet that were there when it refused one more.
    pub cap: u32,
    /// Until when that is taken for the limit.
    pub until: Timestamp,
    /// Refusals in a row.
    pub refusals: u32,
    /// What the provider said, cut to a line.
    pub why: String,
}

/// What a pool's machines cost in one period of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Start of the period.
    pub period: Timestamp,
    /// Spent in it so far.
    pub amount: Money,
    /// What is too small for `amount` yet, in millionths times milliseconds.
    pub rest: u64,
    /// Up to when it was counted.
    pub at: Timestamp,
    /// The part of `amount` that is assumed, since nothing was known.
    pub assumed: Money,
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

/// What the machines of a pool join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joins {
    /// The CI server; `None` for machines that join none.
    pub emitter: Option<EmitterName>,
    /// How they leave where their executors cannot be controlled, if so.
    pub uncontrolled: Option<UncontrolledLeave>,
    /// Machines that are younger join this; of older ones it is not known.
    pub since: Timestamp,
}

impl PoolMemory {
    /// The longest that an offer or a quota steps aside for one refusal.
    pub const LONGEST_ASIDE: Duration = Duration::from_secs(1800);

    /// What was written by a clock that was ahead, put right: nothing has happened later than now, and nothing steps aside for
    /// longer than it ever may. Else a clock that is set back by a day would keep idle machines, and hold broken images and
    /// offers, for that day. What money was spent in stays: a period that is not over is not begun anew.
    #[must_use]
    pub fn no_later_than(mut self, now: Timestamp) -> Self {
        let idle = self.idle_since.values_mut();
        let since = idle.chain(self.first_listed.values_mut());
        let since = since.chain(self.ghosts.values_mut());
        let since = since.chain(self.departures.iter_mut());
        let since = since.chain(self.missing.values_mut().map(|it| &mut it.last));
        let since = since.chain(self.broken.values_mut().map(|it| &mut it.last));
        let since = since.chain(self.tokens.iter_mut().map(|it| &mut it.at));
        let once = [
            &mut self.intents_lost_at,
            &mut self.cliff,
            &mut self.anomaly_since,
        ];
        let since = since.chain(once.into_iter().flatten());
        let wanted = self.wanted.iter_mut().flat_map(|it| &mut it.earlier);
        let since = since.chain(wanted.map(|it| &mut it.until));
        since.for_each(|at| *at = (*at).min(now));
        let latest = now.checked_add(Self::LONGEST_ASIDE).unwrap_or(now);
        let offers = self.offers.values_mut().filter_map(|it| it.until.as_mut());
        let until = offers.chain(self.quotas.values_mut().map(|it| &mut it.until));
        until.for_each(|at| *at = (*at).min(latest));
        self
    }

    /// Since when a machine has existed for certain. A provider that does not tell (`kind: command` may not) makes it look
    /// younger than it is, and not for ever.
    pub fn exists_since(&self, instance: &Instance) -> Option<Timestamp> {
        let listed = || self.first_listed.get(&instance.name).copied();
        instance.created_at.or_else(listed)
    }

    /// The version written today.
    pub const VERSION: u32 = 1;
}

impl Default for PoolMemory {
    fn default() -> Self {
        PoolMemory {
            version: PoolMemory::VERSION,
            idle_since: BTreeMap::new(),
            first_listed: BTreeMap::new(),
            joins: None,
            missing: BTreeMap::new(),
            departures: Vec::new(),
            booting: BTreeSet::new(),
            launched: BTreeSet::new(),
            broken: BTreeMap::new(),
            intents_lost_at: None,
            ghosts: BTreeMap::new(),
            listed: BTreeMap::new(),
            keeps: None,
            wanted: None,
            tokens: None,
            learned: Learned::default(),
            offers: BTreeMap::new(),
            quotas: BTreeMap::new(),
            spend: BTreeMap::new(),
            jobs: BTreeMap::new(),
            believed_work: 0,
            cliff: None,
            anomaly_since: None,
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
    fn what_a_clock_wrote_that_was_ahead_is_put_right_and_all_else_stays() {
        let name: InstanceName = "linux-7-0-0".parse().unwrap();
        let written = |ahead: i64| PoolMemory {
            idle_since: [(name.clone(), at(900 + ahead))].into(),
            ghosts: [(name.clone(), at(910 + ahead))].into(),
            departures: vec![at(920 + ahead)],
            cliff: Some(at(930 + ahead)),
            offers: [(
                "m/0".parse().unwrap(),
                OfferMemory {
                    until: Some(at(2800 + ahead)),
                    ..OfferMemory::default()
                },
            )]
            .into(),
            ..PoolMemory::default()
        };
        assert_eq!(written(0).no_later_than(at(1000)), written(0));
        let right = written(86_400).no_later_than(at(1000));
        assert_eq!(right.idle_since[&name], at(1000));
        assert_eq!(right.ghosts[&name], at(1000));
        assert_eq!(right.departures, [at(1000)]);
        assert_eq!(right.cliff, Some(at(1000)));
        let aside = right.offers.values().next().and_then(|it| it.until);
        assert_eq!(aside, Some(at(2800)));
    }

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
