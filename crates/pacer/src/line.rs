//! The bucket and its line, as plain data: every method is told what time it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Bucket, Turn};

/// How long a pace that was slowed down takes to be whole again.
const RECOVERY: Duration = Duration::from_secs(60);
/// The slowest pace, as a part of the documented one.
const SLOWEST: f64 = 1.0 / 16.0;
/// Tokens that are missing only because sums of fractions are not exact.
const ROUNDING: f64 = 1e-6;

/// Where somebody stands: by turn, then in the order of coming.
pub(crate) type Place = (Turn, u64);

/// What the one who stands there is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// The tokens are its own.
    Taken,
    /// It is next, when there are enough.
    First { wait: Duration },
    /// Others go first.
    Behind { wait: Duration },
}

/// One bucket and who waits for it.
#[derive(Debug)]
pub(crate) struct Line {
    bucket: Bucket,
    tokens: f64,
    /// When `tokens` was right.
    at: Duration,
    /// How fast it fills, as a part of the documented pace.
    pace: f64,
    /// Whether anything was let through since the last refusal.
    has_passed: bool,
    waiting: BTreeMap<Place, Waiter>,
    /// How many have come so far.
    came: u64,
}

#[derive(Debug)]
struct Waiter {
    amount: f64,
    moved: Arc<Notify>,
}

impl Line {
    pub(crate) fn new(bucket: Bucket, now: Duration) -> Self {
        Self {
            bucket,
            tokens: f64::from(bucket.burst),
            at: now,
            pace: 1.0,
            has_passed: true,
            waiting: BTreeMap::new(),
            came: 0,
        }
    }

    fn amount(&self, amount: u32) -> f64 {
        f64::from(amount.min(self.bucket.burst))
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let full = f64::from(self.bucket.burst);
        // by the pace as it was: a pace that recovers meanwhile is not counted early
        self.tokens = (self.tokens + passed * self.per_second()).min(full);
        self.pace = (self.pace + passed / RECOVERY.as_secs_f64()).min(1.0);
        self.at = self.at.max(now);
    }

    fn per_second(&self) -> f64 {
        (self.bucket.per_second * self.pace).max(f64::MIN_POSITIVE)
    }

    /// Until there are so many tokens.
    fn until(&self, tokens: f64) -> Duration {
        let missing = tokens - self.tokens;
        if missing <= ROUNDING {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64(missing / self.per_second());
        // a moment more, or rounding wakes the one who waits just too early
        wait.map_or(Duration::MAX, |wait| {
            wait.saturating_add(Duration::from_micros(1))
        })
    }

    /// How long one who came now would wait.
    pub(crate) fn expected_wait(&mut self, amount: u32, turn: Turn, now: Duration) -> Duration {
        self.fill(now);
        let ahead = self.waiting.range(..=(turn, u64::MAX));
        let ahead: f64 = ahead.map(|(_, waiter)| waiter.amount).sum();
        self.until(ahead + self.amount(amount))
    }

    pub(crate) fn enter(&mut self, amount: u32, turn: Turn, moved: Arc<Notify>) -> Place {
        let place = (turn, self.came);
        self.came += 1;
        let amount = self.amount(amount);
        self.waiting.insert(place, Waiter { amount, moved });
        place
    }

    pub(crate) fn step(&mut self, place: Place, now: Duration) -> Step {
        self.fill(now);
        let Some(amount) = self.waiting.get(&place).map(|waiter| waiter.amount) else {
            return Step::Taken;
        };
        let ahead = self.waiting.range(..place);
        let ahead: f64 = ahead.map(|(_, waiter)| waiter.amount).sum();
        let first = self.waiting.keys().next() == Some(&place);
        let wait = self.until(ahead + amount);
        if !first {
            return Step::Behind { wait };
        }
        if !wait.is_zero() {
            return Step::First { wait };
        }
        self.tokens -= amount;
        self.has_passed = true;
        self.leave(place);
        Step::Taken
    }

    /// Gives a place up; whoever is first then is told.
    pub(crate) fn leave(&mut self, place: Place) {
        if self.waiting.remove(&place).is_none() {
            return;
        }
        if let Some(first) = self.waiting.values().next() {
            first.moved.notify_one();
        }
    }

    pub(crate) fn refused(&mut self, now: Duration) {
        self.fill(now);
        self.tokens = 0.0;
        // calls that were on their way together met the same empty bucket: that is one refusal
        if std::mem::take(&mut self.has_passed) {
            self.pace = (self.pace / 2.0).max(SLOWEST);
        }
    }
}
