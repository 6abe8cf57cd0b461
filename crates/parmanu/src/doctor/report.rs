//! What a look at the whole fleet found. Its JSON is for scripts: fields are added and never renamed.

use jiff::Timestamp;
use serde::Serialize;

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// A stable word.
    pub(super) code: &'static str,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) advice: String,
}

/// One machine as a provider lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct MachineRow {
    pub(super) name: String,
    pub(super) pool: String,
    pub(super) provider: String,
    pub(super) zone: String,
    /// The cloud's id.
    pub(super) id: String,
    /// What the cloud says of it.
    pub(super) state: String,
    pub(super) created_at: Option<Timestamp>,
    /// Its executor, as `emitter:id`, and what that does.
    pub(super) executor: Option<String>,
    /// Why it is there, in words.
    pub(super) why: String,
    pub(super) problems: Vec<Problem>,
}

/// One executor as a CI server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ExecutorRow {
    pub(super) emitter: String,
    pub(super) id: String,
    pub(super) name: String,
    /// What it does, and whether it is kept from jobs.
    pub(super) state: String,
    /// Whether it carries the fleet's mark, or the name of one of our machines.
    pub(super) ours: bool,
    /// The machine it stands for.
    pub(super) machine: Option<String>,
    /// Why it is there, in words.
    pub(super) why: String,
    pub(super) problems: Vec<Problem>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) fleet: String,
    pub(super) at: Timestamp,
    /// What could not be seen, and so may be wrong all the same.
    pub(super) not_seen: Vec<String>,
    pub(super) machines: Vec<MachineRow>,
    pub(super) executors: Vec<ExecutorRow>,
    /// What is wrong with no single machine or executor.
    pub(super) problems: Vec<Problem>,
}

impl Report {
    /// How many things are wrong.
    pub(super) fn wrong(&self) -> usize {
        let of_machines: usize = self.machines.iter().map(|row| row.problems.len()).sum();
        let of_executors: usize = self.executors.iter().map(|row| row.problems.len()).sum();
        of_machines + of_executors + self.problems.len()
    }
}

impl Problem {
    pub(super) fn new(
        code: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Problem {
            code,
            what: what.into(),
            advice: advice.into(),
        }
    }
}
