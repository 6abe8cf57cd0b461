//! Knowledge with its quality: absence of data is never the same as zero.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One part of an observation, together with how much of it was seen and when.
///
/// Missing, partial or old data may hold or raise a pool, never shrink it; whoever wants to act on
/// absence has to take the [`Seen::Complete`] case apart, so the compiler asks the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen<T> {
    /// All of it was seen, at this moment.
    Complete {
        /// What was seen.
        value: T,
        /// Start of the look.
        at: Timestamp,
    },
    /// Something was seen, but not all of it, or it is the last good value of a source that fails now.
    Partial {
        /// What was seen: a lower bound.
        value: T,
        /// Start of the look.
        at: Timestamp,
        /// What could not be seen, in words for the operator.
        why: Vec<String>,
    },
    /// Nothing has been heard yet.
    Never {
        /// Why, as far as it is known.
        why: Option<String>,
    },
}

impl<T> Seen<T> {
    /// What is known, whatever its quality. Use only to hold or to raise.
    pub fn any(&self) -> Option<&T> {
        match self {
            Seen::Complete { value, .. } | Seen::Partial { value, .. } => Some(value),
            Seen::Never { .. } => None,
        }
    }

    /// When it was seen.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Seen::Complete { at, .. } | Seen::Partial { at, .. } => Some(*at),
            Seen::Never { .. } => None,
        }
    }

    /// The value, only if all of it was seen and not before `limit` ago. Use to shrink.
    pub fn complete_within(&self, limit: std::time::Duration, now: Timestamp) -> Option<&T> {
        match self {
            Seen::Complete { value, at } if age(*at, now) <= limit => Some(value),
            Seen::Complete { .. } | Seen::Partial { .. } | Seen::Never { .. } => None,
        }
    }

    /// The same look at another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Seen::Complete { value, at } => Seen::Complete {
                value: f(value),
                at,
            },
            Seen::Partial { value, at, why } => Seen::Partial {
                value: f(value),
                at,
                why,
            },
            Seen::Never { why } => Seen::Never { why },
        }
    }
}

/// Time from `at` to `now`. A moment in the future has age zero (clocks of two hosts differ).
pub fn age(at: Timestamp, now: Timestamp) -> std::time::Duration {
    now.duration_since(at)
        .try_into()
        .unwrap_or(std::time::Duration::ZERO)
}

/// Whether one look saw everything it should have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "completeness", rename_all = "snake_case")]
pub enum Completeness {
    /// Every page was read and nothing was hidden, as far as the platform can tell.
    Complete,
    /// Something is missing; each reason is a sentence for the operator.
    Partial {
        /// What could not be seen and why.
        why: Vec<String>,
    },
}

impl Completeness {
    /// Reasons kept at most. Each pool's workload has a copy of them all: a thousand reasons for a thousand pools would be
    /// a million texts at every look, and nobody reads the hundredth.
    pub const MOST: usize = 20;

    /// Adds one reason for doubt; beyond [`Completeness::MOST`] only that there are more.
    pub fn doubt(&mut self, reason: impl Into<String>) {
        match self {
            Completeness::Complete => {
                *self = Completeness::Partial {
                    why: vec![reason.into()],
                }
            }
            Completeness::Partial { why } if why.len() < Self::MOST => why.push(reason.into()),
            Completeness::Partial { why } if why.len() == Self::MOST => {
                why.push("and more that is not listed".to_owned());
            }
            Completeness::Partial { .. } => {}
        }
    }

    /// Whether everything was seen.
    pub fn is_complete(&self) -> bool {
        matches!(self, Completeness::Complete)
    }

    /// The reasons for doubt; empty when complete.
    pub fn doubts(&self) -> &[String] {
        match self {
            Completeness::Complete => &[],
            Completeness::Partial { why } => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn doubts_are_bounded() {
        let mut doubts = Completeness::Complete;
        for page in 0..1000 {
            doubts.doubt(format!("page {page}"));
        }
        assert_eq!(doubts.doubts().len(), Completeness::MOST + 1);
        assert_eq!(doubts.doubts()[0], "page 0");
        assert!(!doubts.is_complete());
    }

    #[test]
    fn only_a_complete_and_fresh_look_may_be_used_to_shrink() {
        let t = Timestamp::UNIX_EPOCH;
        let later = t + jiff::SignedDuration::from_secs(31);
        let seen = Seen::Complete { value: 1, at: t };
        assert_eq!(
            seen.complete_within(Duration::from_secs(31), later),
            Some(&1)
        );
        assert_eq!(seen.complete_within(Duration::from_secs(30), later), None);
        let part = Seen::Partial {
            value: 1,
            at: t,
            why: vec!["page 2 failed".into()],
        };
        assert_eq!(part.complete_within(Duration::from_secs(31), later), None);
        assert_eq!(part.any(), Some(&1));
    }

    #[test]
    fn a_moment_in_the_future_has_age_zero() {
        let t = Timestamp::UNIX_EPOCH;
        assert_eq!(
            age(t + jiff::SignedDuration::from_secs(5), t),
            Duration::ZERO
        );
    }
}
