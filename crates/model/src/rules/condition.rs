//! `when:` as data. Whether a condition holds is decided in `engine::rules::when`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Schedule, Share};

/// Conditions that must all hold; none at all always holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct When {
    /// All of them must hold.
    pub all: Vec<Condition>,
}

impl When {
    /// Whether nothing is asked.
    pub fn is_always(&self) -> bool {
        self.all.is_empty()
    }

    /// The schedule, if it is the only condition: then two rules can be compared when the file is read.
    pub fn only_schedule(&self) -> Option<&Schedule> {
        match self.all.as_slice() {
            [Condition::Schedule(schedule)] => Some(schedule),
            _ => None,
        }
    }
}

/// One condition. A fact that is not known satisfies neither it nor its opposite: no data is not zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "if", rename_all = "snake_case")]
pub enum Condition {
    /// The time of the week.
    Schedule(Schedule),
    /// More runnable jobs than this wait.
    QueuedOver {
        /// Jobs.
        jobs: u32,
    },
    /// Fewer.
    QueuedUnder {
        /// Jobs.
        jobs: u32,
    },
    /// The oldest runnable job has waited longer than this.
    OldestWaitOver {
        /// Time.
        time: Duration,
    },
    /// Less long; an empty queue has waited no time.
    OldestWaitUnder {
        /// Time.
        time: Duration,
    },
    /// The total workload is greater than this share of the executors; with no executor any work is.
    UtilizationOver {
        /// The share.
        share: Share,
    },
    /// Less.
    UtilizationUnder {
        /// The share.
        share: Share,
    },
    /// On average less than this is free on the busy executors that report.
    MemoryBelow {
        /// Bytes.
        bytes: u64,
    },
    /// More.
    MemoryAbove {
        /// Bytes.
        bytes: u64,
    },
    /// On average more load per processor than this on the busy executors that report.
    LoadOver {
        /// Thousandths.
        milli: u32,
    },
    /// Less.
    LoadUnder {
        /// Thousandths.
        milli: u32,
    },
    /// More than this share of a budget that counts the pool is spent or promised.
    SpendOver {
        /// The share.
        share: Share,
    },
    /// Less, of every one of them.
    SpendUnder {
        /// The share.
        share: Share,
    },
    /// One of these holds.
    Any {
        /// The alternatives.
        any: Vec<When>,
    },
}

impl When {
    /// Whether it asks for the free memory of executors.
    pub fn asks_memory(&self) -> bool {
        self.all.iter().any(|condition| match condition {
            Condition::MemoryBelow { .. } | Condition::MemoryAbove { .. } => true,
            Condition::Any { any } => any.iter().any(When::asks_memory),
            _ => false,
        })
    }

    /// Whether it asks how much of a budget is spent.
    pub fn asks_spend(&self) -> bool {
        self.all.iter().any(|condition| match condition {
            Condition::SpendOver { .. } | Condition::SpendUnder { .. } => true,
            Condition::Any { any } => any.iter().any(When::asks_spend),
            _ => false,
        })
    }

    /// Whether it can hold only where a CI server tells of jobs.
    pub fn needs_jobs(&self) -> bool {
        self.all.iter().any(|condition| match condition {
            Condition::QueuedOver { .. }
            | Condition::QueuedUnder { .. }
            | Condition::OldestWaitOver { .. }
            | Condition::OldestWaitUnder { .. }
            | Condition::UtilizationOver { .. }
            | Condition::UtilizationUnder { .. } => true,
            // one alternative that does without is enough
            Condition::Any { any } => any.iter().all(When::needs_jobs),
            _ => false,
        })
    }

    /// Whether it asks for the load of executors.
    pub fn asks_load(&self) -> bool {
        self.all.iter().any(|condition| match condition {
            Condition::LoadOver { .. } | Condition::LoadUnder { .. } => true,
            Condition::Any { any } => any.iter().any(When::asks_load),
            _ => false,
        })
    }
}

impl fmt::Display for When {
    /// As an operator would say it; nothing for no condition.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.all.iter().enumerate() {
            let and = if index == 0 { "" } else { " and " };
            write!(f, "{and}{condition}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Schedule(schedule) => write!(f, "{schedule}"),
            Condition::QueuedOver { jobs } => write!(f, "more than {jobs} queued"),
            Condition::QueuedUnder { jobs } => write!(f, "fewer than {jobs} queued"),
            Condition::OldestWaitOver { time } => write!(f, "oldest wait over {time:?}"),
            Condition::OldestWaitUnder { time } => write!(f, "oldest wait under {time:?}"),
            Condition::UtilizationOver { share } => write!(f, "utilization over {share}"),
            Condition::UtilizationUnder { share } => write!(f, "utilization under {share}"),
            Condition::SpendOver { share } => write!(f, "more than {share} of a budget used"),
            Condition::SpendUnder { share } => write!(f, "less than {share} of a budget used"),
            Condition::MemoryBelow { bytes } => write!(f, "less than {} free", mebibytes(*bytes)),
            Condition::MemoryAbove { bytes } => write!(f, "more than {} free", mebibytes(*bytes)),
            Condition::LoadOver { milli } => write!(f, "load over {}", thousandths(*milli)),
            Condition::LoadUnder { milli } => write!(f, "load under {}", thousandths(*milli)),
            Condition::Any { any } => {
                let any: Vec<String> = any.iter().map(|when| format!("({when})")).collect();
                f.write_str(&any.join(" or "))
            }
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn thousandths(milli: u32) -> String {
    format!("{}.{:03}", milli / 1000, milli % 1000)
}
