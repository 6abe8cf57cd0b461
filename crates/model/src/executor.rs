//! The machine as the CI server sees it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{EmitterName, Epoch, ExecutorId, FleetId, JobId};

/// Names one executor at one CI server; stored with the machine, so that both halves find each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecutorRef {
    /// The CI server.
    pub emitter: EmitterName,
    /// Its id there.
    pub id: ExecutorId,
}

impl fmt::Display for ExecutorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.emitter, self.id)
    }
}

impl std::str::FromStr for ExecutorRef {
    type Err = crate::IdError;
    /// Reads the form that `Display` prints, as it stands in a machine's tag.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (emitter, id) = text.split_once(':').ok_or_else(|| crate::IdError::Name {
            text: text.to_owned(),
        })?;
        Ok(ExecutorRef {
            emitter: emitter.parse()?,
            id: ExecutorId::new(id),
        })
    }
}

/// One runner, node or agent, in one look at its CI server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    /// The CI server's id.
    pub id: ExecutorId,
    /// The CI server's name for it; for machines of ours the machine's name.
    pub name: String,
    /// The fleet whose mark it carries; `None` for executors that Parmanu did not register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetId>,
    /// Labels or tags it serves.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Whether it takes jobs that ask for no label.
    #[serde(default)]
    pub run_untagged: bool,
    /// Whether it takes jobs of protected refs only.
    #[serde(default)]
    pub protected_only: bool,
    /// Jobs it runs at a time.
    pub slots: u32,
    /// What it does.
    pub state: ExecutorState,
    /// Whether it is kept from taking new jobs, and by whom.
    #[serde(default)]
    pub cordon: Cordon,
    /// What the machine says of itself, where the CI server passes it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What a machine says of itself. What it does not say is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Bytes of memory that are free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// Load per processor, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_milli: Option<u32>,
}

/// What an executor does. Whether it is cordoned is a separate question: a cordoned executor can be busy,
/// and that is the case in which a build dies if the two are one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ExecutorState {
    /// Registered, but no machine has ever reported under it.
    NeverJoined,
    /// Online and without a job in this look.
    Idle {
        /// Since when, if the CI server says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// Runs (or holds) these jobs.
    Busy {
        /// The jobs seen on it; may be empty when the CI server says busy without naming them.
        jobs: Vec<JobId>,
    },
    /// Known, but not in contact.
    Offline {
        /// Since when, if the CI server says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// Its state could not be read in this look. Treated as busy.
    Unknown {
        /// Why, for the operator.
        why: String,
    },
}

/// Whether an executor is kept from taking new jobs.
///
/// The mark of a cordon lives at the CI server itself, so it survives us and our store. An operator's own
/// pause is his: never lifted and never followed by a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Cordon {
    /// Takes jobs.
    #[default]
    None,
    /// Cordoned by the scaler of this epoch. One-way across epochs: a later one never lifts it.
    Ours {
        /// The term of the scaler that set it.
        epoch: Epoch,
    },
    /// Paused, disabled or taken offline by somebody else.
    Foreign,
}

/// The strong read of one executor, on which a deletion may rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Whether it is cordoned in this very read.
    pub cordon: Cordon,
    /// What it holds.
    pub work: Work,
}

/// What one executor holds, by the platform's definition of *certain idle*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Certainly nothing: no job running, assigned, or still being cancelled, and the caller may see them all.
    None,
    /// At least these many jobs.
    Jobs {
        /// Jobs running, assigned or being cancelled.
        count: u32,
    },
    /// Could not be told: not found, hidden, partial answer. Treated as busy.
    Unknown {
        /// Why, for the operator.
        why: String,
    },
}
