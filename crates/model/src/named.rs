//! Jobs by name, so that whoever asks for one gets an answer. Told to people; nothing is decided by them.

use serde::{Deserialize, Serialize};

use crate::{JobId, PoolName};

/// One job of a look. Of many jobs only some are told by name: the oldest of each pool and state, at most
/// [`NamedJob::EACH`], and [`NamedJob::ALL`] of one emitter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedJob {
    /// The CI server's id.
    pub id: JobId,
    /// The project it belongs to, cut and cleaned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// What a person calls it, cut and cleaned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The pool it counts for; none for a job that no pool takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Where it stands.
    pub state: NamedState,
    /// What it waits for, or why it cannot run, in words; cut and cleaned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds from when it began to wait to the look, where the CI server says when that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_s: Option<u64>,
}

impl NamedJob {
    /// Of one pool and state. Who has ten jobs that wait alike learns from the oldest what keeps the others.
    pub const EACH: usize = 10;
    /// Of one emitter: about 200 KiB, which the active scaler reads with each tick.
    pub const ALL: usize = 1_000;
}

/// Where a job stands: [`crate::JobClass`] without what differs from job to job. In the order in which people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedState {
    /// Waits for nothing but an executor.
    Runnable,
    /// Cannot run as things stand.
    Unrunnable,
    /// Waits for something else.
    Blocked,
    /// Becomes runnable at a known time.
    Scheduled,
    /// Holds an executor.
    Running,
}
