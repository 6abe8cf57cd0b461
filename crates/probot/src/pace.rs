//! When to look next: the usual interval, more rarely while looks fail, and never more than half of the time.
//!
//! Three things slow an emitter down, and each wears off by itself:
//!
//! - **Back-off**: after each failure in a row the wait doubles, up to a minute, so that a server which is down is not
//!   beaten when it comes back.
//! - **The breaker**: after five failures in a row, or one that only an operator can mend (a token that is refused locks an
//!   account in the end), the emitter is asked once a minute until a look succeeds. Hints do not wake it meanwhile.
//! - **Strain**: a server that throttles us (429) is asked half as often from then on, and after ten good looks twice as
//!   often again. Until then hints bring no look forward: they would be what throttled it.
//!
//! Pure: the moment, the outcome and the die are given.

use std::time::Duration;

use ports::EmitterErrorKind;

use crate::hooks::LEAST_BETWEEN;

/// The breaker opens after so many failures in a row.
const FAILURES: u32 = 5;
/// While it is open the emitter is asked so often: enough to notice within a minute that it is back.
const TRIAL_EVERY: Duration = Duration::from_secs(60);
/// The interval is doubled at most so often.
const MOST_STRAIN: u32 = 4;
/// So many good looks take one doubling back.
const RECOVERS_AFTER: u32 = 10;

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It came, and what it saw is written.
    Well,
    /// The emitter did not answer as it should.
    Badly(EmitterErrorKind),
    /// The store did not take it; the emitter is not to blame.
    Unwritten,
}

/// What an operator should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// From now on the emitter is asked once a minute only.
    Opened {
        /// Failures in a row.
        failures: u32,
    },
    /// It answers again.
    Closed {
        /// Failures there were in a row.
        failures: u32,
    },
}

/// The pace of one emitter.
#[derive(Debug)]
pub(crate) struct Pace {
    every: Duration,
    failures: u32,
    open: bool,
    strain: u32,
    good: u32,
}

impl Pace {
    pub(crate) fn new(every: Duration) -> Self {
        Pace {
            every,
            failures: 0,
            open: false,
            strain: 0,
            good: 0,
        }
    }

    /// Whether the breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// How soon after the beginning of a look that took so long a hint may bring the next one; `None` while the emitter
    /// asks for rest.
    pub(crate) fn soonest(&self, took: Duration) -> Option<Duration> {
        let rests = self.open || self.failures > 0 || self.strain > 0;
        (!rests).then(|| LEAST_BETWEEN.max(took.saturating_mul(2)))
    }

    /// Takes in how a look ended.
    pub(crate) fn note(&mut self, ended: Ended) -> Option<News> {
        match ended {
            Ended::Well => {
                self.good += 1;
                if self.good.is_multiple_of(RECOVERS_AFTER) {
                    self.strain = self.strain.saturating_sub(1);
                }
                let failures = std::mem::take(&mut self.failures);
                let was_open = std::mem::take(&mut self.open);
                was_open.then_some(News::Closed { failures })
            }
            Ended::Badly(kind) => {
                self.good = 0;
                self.failures = self.failures.saturating_add(1);
                if matches!(kind, EmitterErrorKind::RateLimited { .. }) {
                    self.strain = (self.strain + 1).min(MOST_STRAIN);
                }
                let opens = self.failures >= FAILURES || needs_an_operator(kind);
                let opened = opens && !self.open;
                self.open |= opens;
                let failures = self.failures;
                opened.then_some(News::Opened { failures })
            }
            Ended::Unwritten => None,
        }
    }

    /// How long to wait after a look that ended like this and took so long. `die` is evenly between 0 and 1: replicas and
    /// emitters must not march in step.
    pub(crate) fn wait(&self, ended: Ended, took: Duration, die: f64) -> Duration {
        match ended {
            Ended::Well => {
                let every = self.every.saturating_mul(1 << self.strain);
                let jittered = every.mul_f64(0.95 + die * 0.1);
                // a look that takes long is followed by a rest as long
                jittered.saturating_sub(took).max(took)
            }
            Ended::Unwritten => STORE_RETRY,
            Ended::Badly(kind) => {
                let wait = match self.open {
                    true => TRIAL_EVERY.max(self.every),
                    false => {
                        let doublings = self.failures.saturating_sub(1).min(6);
                        let doubled = self.every.saturating_mul(1 << doublings);
                        doubled.min(TRIAL_EVERY.max(self.every))
                    }
                };
                let wait = wait.mul_f64(0.8 + die * 0.2);
                match kind {
                    EmitterErrorKind::RateLimited {
                        retry_after: Some(asked),
                    } => wait.max(asked),
                    _ => wait,
                }
            }
        }
    }
}

/// While the store is away there is nowhere to write to; it is asked again after this.
pub(crate) const STORE_RETRY: Duration = Duration::from_secs(1);

/// Whether asking again at the usual pace can do no good and may do harm.
fn needs_an_operator(kind: EmitterErrorKind) -> bool {
    match kind {
        EmitterErrorKind::Unauthorized | EmitterErrorKind::Forbidden | EmitterErrorKind::Config => {
            true
        }
        EmitterErrorKind::Unreachable
        | EmitterErrorKind::TimedOut
        | EmitterErrorKind::RateLimited { .. }
        | EmitterErrorKind::NotFound
        | EmitterErrorKind::Conflict
        | EmitterErrorKind::Unavailable
        | EmitterErrorKind::BadAnswer
        | EmitterErrorKind::TooLarge => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);
    const NO_TIME: Duration = Duration::ZERO;
    const AWAY: Ended = Ended::Badly(EmitterErrorKind::Unreachable);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn hints_neither_beat_a_server_that_throttled_nor_leave_a_slow_one_without_rest() {
        let mut pace = Pace::new(EVERY);
        assert_eq!(pace.soonest(NO_TIME), Some(LEAST_BETWEEN));
        assert_eq!(pace.soonest(seconds(3)), Some(seconds(6)));
        pace.note(Ended::Badly(EmitterErrorKind::RateLimited {
            retry_after: None,
        }));
        pace.note(Ended::Well);
        assert_eq!(pace.soonest(NO_TIME), None);
        for _ in 1..RECOVERS_AFTER {
            pace.note(Ended::Well);
        }
        assert_eq!(pace.soonest(NO_TIME), Some(LEAST_BETWEEN));
    }

    #[test]
    fn a_good_look_is_followed_by_the_rest_of_the_interval() {
        let pace = Pace::new(EVERY);
        assert_eq!(pace.wait(Ended::Well, seconds(1), 0.5), seconds(4));
        // within five hundredths of the interval
        assert_eq!(pace.wait(Ended::Well, NO_TIME, 0.0), EVERY.mul_f64(0.95));
        assert_eq!(pace.wait(Ended::Well, NO_TIME, 1.0), EVERY.mul_f64(1.05));
        // a slow server is asked half of the time at most
        assert_eq!(pace.wait(Ended::Well, seconds(4), 0.5), seconds(4));
        assert_eq!(pace.wait(Ended::Well, seconds(20), 0.5), seconds(20));
    }

    #[test]
    fn each_failure_doubles_the_wait_until_the_breaker_opens() {
        let mut pace = Pace::new(EVERY);
        let mut waits = Vec::new();
        let mut news = Vec::new();
        for _ in 0..6 {
            news.extend(pace.note(AWAY));
            waits.push(pace.wait(AWAY, NO_TIME, 1.0).as_secs());
            assert!(pace.soonest(NO_TIME).is_none());
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(news, [News::Opened { failures: 5 }], "said once");
        assert_eq!(
            pace.wait(AWAY, NO_TIME, 0.0),
            seconds(48),
            "replicas do not march in step"
        );
        assert_eq!(pace.note(Ended::Well), Some(News::Closed { failures: 6 }));
        assert!(pace.soonest(NO_TIME).is_some() && !pace.is_open());
        assert_eq!(pace.note(Ended::Well), None);
        pace.note(AWAY);
        assert_eq!(pace.wait(AWAY, NO_TIME, 1.0), EVERY);
    }

    #[test]
    fn a_refused_token_opens_it_at_once() {
        for kind in [
            EmitterErrorKind::Unauthorized,
            EmitterErrorKind::Forbidden,
            EmitterErrorKind::Config,
        ] {
            let mut pace = Pace::new(EVERY);
            assert_eq!(
                pace.note(Ended::Badly(kind)),
                Some(News::Opened { failures: 1 })
            );
            assert_eq!(pace.wait(Ended::Badly(kind), NO_TIME, 1.0), seconds(60));
        }
    }

    #[test]
    fn a_server_that_throttles_is_asked_half_as_often_until_it_has_rested() {
        let mut pace = Pace::new(EVERY);
        let throttled = |asked: u64| {
            Ended::Badly(EmitterErrorKind::RateLimited {
                retry_after: (asked > 0).then(|| seconds(asked)),
            })
        };
        pace.note(throttled(90));
        assert_eq!(
            pace.wait(throttled(90), NO_TIME, 1.0),
            seconds(90),
            "what it asks for"
        );
        assert_eq!(
            pace.wait(throttled(1), NO_TIME, 1.0),
            EVERY,
            "but never sooner than usual"
        );
        pace.note(Ended::Well);
        assert_eq!(pace.wait(Ended::Well, NO_TIME, 0.5), seconds(10));
        for _ in 0..8 {
            pace.note(throttled(0));
        }
        pace.note(Ended::Well);
        assert_eq!(
            pace.wait(Ended::Well, NO_TIME, 0.5),
            seconds(80),
            "16 times at most"
        );
        for _ in 0..39 {
            pace.note(Ended::Well);
        }
        assert_eq!(pace.wait(Ended::Well, NO_TIME, 0.5), EVERY);
    }

    #[test]
    fn an_emitter_that_is_asked_rarely_anyway_is_not_asked_more_often_for_failing() {
        let mut pace = Pace::new(seconds(300));
        for _ in 0..6 {
            pace.note(AWAY);
            assert_eq!(pace.wait(AWAY, NO_TIME, 1.0), seconds(300));
        }
    }

    #[test]
    fn a_store_that_is_away_is_not_the_emitters_fault() {
        let mut pace = Pace::new(EVERY);
        pace.note(AWAY);
        assert_eq!(pace.note(Ended::Unwritten), None);
        assert_eq!(pace.wait(Ended::Unwritten, NO_TIME, 0.5), STORE_RETRY);
        pace.note(AWAY);
        assert_eq!(pace.wait(AWAY, NO_TIME, 1.0), seconds(10));
    }
}
