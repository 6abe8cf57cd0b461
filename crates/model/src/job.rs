//! What one look at a CI server brings back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Completeness, Executor, ExecutorId, JobId};

/// One queued or running job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The CI server's id, unique within its emitter.
    pub id: JobId,
    /// What a person calls it.
    pub name: String,
    /// The project, repository or folder it belongs to.
    pub project: String,
    /// What an executor must offer.
    pub requirement: Requirement,
    /// When it began to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When it began to run, if it does and the CI server says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How long it runs by the CI server's own estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Duration>,
    /// Where it stands.
    pub class: JobClass,
}

/// What a job asks of an executor, as the CI server words it. Who can run it is decided by the emitter's own
/// matcher, never here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Requirement {
    /// Tags, labels, builder names: all of them must be offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// A label expression in the platform's own grammar (Jenkins).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Whether the job's ref is protected; `None` when that was not asked or cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Thousandths of a processor that it needs, where the platform states that for each job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u32>,
    /// Bytes of memory that it needs, where the platform states that for each job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Further facts a platform's matcher needs (TeamCity: compatible agent pools), by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Vec<String>>,
}

/// What the jobs of one pool may need, from the least to the most. A job whose platform states more or less than that
/// belongs to another pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobRange {
    /// Thousandths of a processor.
    pub cpu_milli: Option<(u32, u32)>,
    /// Bytes of memory.
    pub memory: Option<(u64, u64)>,
}

impl JobRange {
    /// What a stated requirement asks beyond the range, in words; nothing for a job that states none.
    pub fn misfits(&self, requirement: &Requirement) -> Vec<String> {
        let mut found = Vec::new();
        if let (Some(asked), Some((least, most))) = (requirement.cpu_milli, self.cpu_milli)
            && !(least..=most).contains(&asked)
        {
            let in_words = |milli: u32| f64::from(milli) / 1000.0;
            found.push(format!(
                "it asks for {} processors, the pool takes {} to {}",
                in_words(asked),
                in_words(least),
                in_words(most)
            ));
        }
        if let (Some(asked), Some((least, most))) = (requirement.memory, self.memory)
            && !(least..=most).contains(&asked)
        {
            found.push(format!(
                "it asks for {} MiB of memory, the pool takes {} to {}",
                asked >> 20,
                least >> 20,
                most >> 20
            ));
        }
        found
    }
}

/// The demand truth table. Only `Runnable` and `Running` are demand; `Blocked` and `Scheduled` are forecast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum JobClass {
    /// Waits for nothing but an executor.
    Runnable,
    /// Holds an executor (running, or being cancelled).
    Running {
        /// Which, if the CI server says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executor: Option<ExecutorId>,
    },
    /// Becomes runnable at a known time.
    Scheduled {
        /// When.
        at: Timestamp,
    },
    /// Waits for other jobs, a resource, a limit, a quiet period or an approval.
    Blocked {
        /// For what, in words.
        by: String,
        /// The jobs that must end before it, if that is all it waits for. Empty when it waits for something else too,
        /// or when they are not known: then nobody can tell when it runs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parents: Vec<JobId>,
    },
    /// Can never run as things stand (quota used up, paused, protected).
    Unrunnable {
        /// Why.
        why: String,
    },
}

/// One look at one CI server: demand is read first, executors second, so that a job which moves meanwhile is
/// counted twice, never not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Queued and running jobs, each id once.
    pub jobs: Vec<Job>,
    /// All executors that could be seen, ours and others.
    pub executors: Vec<Executor>,
    /// Start of the look.
    pub taken_at: Timestamp,
    /// Whether everything was seen.
    pub completeness: Completeness,
    /// What the look cost the server.
    pub cost: SnapshotCost,
}

/// What a look cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotCost {
    /// Requests sent.
    pub requests: u32,
    /// Bytes of bodies received.
    pub bytes: u64,
}

/// Whether a pool's executors would be given a job, by the CI server's own rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fit", rename_all = "snake_case")]
pub enum Fit {
    /// Yes.
    Yes,
    /// No, and what is missing, in words ("tag `gpu`", "the pool refuses untagged jobs").
    No {
        /// Each thing that stands in the way; fewer means nearer.
        missing: Vec<String>,
    },
}

impl Fit {
    /// Whether the job would be given to the pool.
    pub fn is_yes(&self) -> bool {
        matches!(self, Fit::Yes)
    }
}
