//! What probot writes and scaler reads: a dated fact about one pool from one emitter, never a decision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Completeness, ConfigHash, EmitterName, Executor, PoolName};

/// The workload of one pool at one emitter. Its JSON is a format (docs/redis.md): versioned, readable by a
/// person, read tolerantly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Version of this format.
    pub version: u32,
    /// The pool.
    pub pool: PoolName,
    /// The CI server.
    pub emitter: EmitterName,
    /// The configuration probot mapped with; another one than the scaler's makes the workload partial.
    pub config: ConfigHash,
    /// Jobs by class.
    pub demand: Demand,
    /// Executors that serve the pool: ours, and others that would be given its jobs.
    pub executors: Vec<Executor>,
    /// Whether the look saw everything.
    pub completeness: Completeness,
}

impl Workload {
    /// The version written today.
    pub const VERSION: u32 = 1;
}

/// Jobs of one pool by class of the demand truth table. Numerator and denominator of the total workload are
/// kept apart (see [`Workload::executors`]), never only their ratio: a pool at zero must still grow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// Wait only for an executor.
    pub runnable: u32,
    /// Hold an executor.
    pub running: u32,
    /// Become runnable at a known time.
    #[serde(default)]
    pub scheduled: u32,
    /// Wait for something else.
    #[serde(default)]
    pub blocked: u32,
    /// Cannot run as things stand.
    #[serde(default)]
    pub unrunnable: u32,
    /// Age of the oldest runnable job at the time of the look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_wait: Option<Duration>,
    /// Scheduled and blocked jobs whose time is known, the soonest first; at most [`Demand::MAX_SOON`] entries. Jobs
    /// whose time cannot be told are in no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soon: Vec<Soon>,
}

impl Demand {
    /// Entries of [`Demand::soon`]; later jobs are left out, since only those within one boot time count.
    pub const MAX_SOON: usize = 32;
}

/// Jobs that become runnable at about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soon {
    /// Time from the look until they do.
    pub ready_in: Duration,
    /// How many.
    pub jobs: u32,
}

/// A workload as the store gives it back: the age by the store's own clock, since replicas' wall clocks decide
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWorkload {
    /// What was written.
    pub workload: Workload,
    /// Time since the *start* of the look, as far as the store can tell.
    pub age: Duration,
}

/// A job that no pool takes: what users complain of most is a job that silently never starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// The job, as `<project> <name> #<id>`.
    pub job: String,
    /// The pool that comes nearest.
    pub nearest: Option<PoolName>,
    /// What that pool lacks.
    pub missing: Vec<String>,
}
