//! A CI server: what it wants done, and the control verbs of its executors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    EmitterName, Epoch, Executor, ExecutorId, Fit, FleetId, InstanceName, Job, PoolName, Reading,
    Snapshot,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::strict::Problems;
use crate::{BoxError, Clock, PluginError};

/// Asks one CI server which jobs wait or run and which executors stand ready.
#[async_trait]
pub trait Emitter: Send + Sync {
    /// One look. Demand is read first and executors second, so that a job which moves meanwhile is counted twice,
    /// never not at all. What could not be seen makes the snapshot partial, with the reason; it never makes it
    /// smaller in silence. Bounded in time, pages and bytes by the adapter.
    async fn probe(&self) -> Result<Snapshot, EmitterError>;
}

/// The control verbs of one CI server's executors. Each is idempotent: asked twice is asked once.
#[async_trait]
pub trait ExecutorControl: Send + Sync {
    /// Obtains what one new machine needs to join, before the machine exists. Where the platform fixes the names this
    /// leases a free one. A registration whose answer was lost leaves an executor that never joins; it is found by its
    /// name and removed.
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError>;

    /// Keeps the executor from taking new jobs and leaves the epoch's mark at the CI server. Running jobs go on.
    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError>;

    /// Lets it take jobs again. Refuses ([`EmitterErrorKind::Conflict`]) a cordon that carries another mark than this
    /// epoch's: an operator's pause is his, and another epoch's cordon is one-way.
    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError>;

    /// The strong read of this one executor, by the platform's definition of certain idle (see the adapter's
    /// documentation). Anything but a whole and certain answer is [`model::Work::Unknown`].
    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError>;

    /// Asks the agent of an executor that is cordoned and was just read as idle to end by itself, and waits until the CI
    /// server sees it gone, before its machine is deleted. A courtesy where the platform knows it: the connection is
    /// closed from inside instead of being found broken. Whether it succeeds changes nothing, so an adapter gives up
    /// after some seconds.
    async fn dismiss(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        let _ = executor;
        Ok(())
    }

    /// Looks for the executor of one machine *now*: the last question before the deletion of a machine that no look showed
    /// an executor of. What joined since that look is found, in whatever state it is and whoever's mark it carries; an
    /// answer that was kept from before proves nothing, nor does one that a token without the right would get as well.
    ///
    /// `known` is the executor that the machine's tag or its departure names, if any does. Else it is looked for by the
    /// machine's name, or by what the platform has in its place. [`Found::Absent`] only for what is certain.
    async fn find(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError>;

    /// Removes the executor from the CI server. One already gone is success.
    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError>;
}

/// Whether a machine has an executor at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has one.
    There {
        /// Its id.
        executor: ExecutorId,
        /// Whether its agent is there as well.
        contact: Contact,
    },
    /// It certainly has none.
    Absent,
    /// It could not be told: hidden, not whole, or no name tells it.
    Unknown {
        /// Why, for the operator.
        why: String,
    },
}

/// Whether an agent stands behind an executor at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// The CI server holds a connection to it.
    Live,
    /// It is out of contact, or never was in contact.
    Away,
    /// The CI server keeps no connection, and is late to notice that one is gone.
    Untold,
}

/// The CI server's own rule of who may run what, for one pool's `serves:` entries. Pure.
pub trait Matcher: Send + Sync {
    /// Whether a machine of this pool would be given the job. It looks at the job's requirement and at nothing else of
    /// it: of many jobs that ask for the same only the first is judged.
    fn fit(&self, job: &Job) -> Fit;
    /// Whether an executor that Parmanu did not register is as good as a machine of this pool: it then counts as
    /// capacity and is never touched.
    fn is_served_by(&self, executor: &Executor) -> bool;
}

/// Asks for one executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The machine's name, which becomes the executor's name where the platform lets us choose it.
    pub instance: InstanceName,
    /// Executors of this CI server that other machines have, by their tags or by an intent. Where names are fixed, none
    /// of them is handed out again.
    pub taken: BTreeSet<ExecutorId>,
    /// Machines begun in an earlier term that may exist and whose executor nobody knows. Where names are fixed, none is
    /// handed out until they are settled.
    pub unsettled: Vec<InstanceName>,
}

impl Register {
    /// Asks for the executor of a machine, with nothing known of others.
    pub fn of(instance: InstanceName) -> Self {
        Register {
            instance,
            taken: BTreeSet::new(),
            unsettled: Vec::new(),
        }
    }
}

/// What a machine needs to join.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The executor it will be.
    pub executor: ExecutorId,
    /// What the bootstrap template may use as `{{ executor.<name> }}`.
    pub credentials: BTreeMap<String, Credential>,
}

/// One value for the bootstrap template.
#[derive(Debug, Clone)]
pub enum Credential {
    /// May be seen by anyone (server address, name).
    Plain(String),
    /// Serves this one machine and can be revoked; never printed.
    Secret(SecretString),
}

/// What an emitter plugin is made with, beside its own configuration.
#[derive(Clone)]
pub struct EmitterContext {
    /// Its name in the configuration.
    pub name: EmitterName,
    /// The fleet whose mark its executors carry.
    pub fleet: FleetId,
    /// The pools it serves, each with its `serves:` entries as the plugin's `Serves` type reads them.
    pub pools: BTreeMap<PoolName, Vec<Value>>,
    /// Longest time one probe may take in all.
    pub probe_timeout: Duration,
    /// Whether a probe also does what the service needs at the CI server (Jenkins: placeholder nodes; TeamCity: letting
    /// agents in). Without it a probe only reads, as when an operator asks for a look.
    pub upkeep: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What the rest of the system must know of a configured emitter without asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmitterFacts {
    /// Longest time the CI server may take to hand out a job it already promised. Two strong reads at least this far
    /// apart, the first at least this long after the cordon, make an idle executor certain.
    pub settle: Duration,
    /// Whether the configuration gives the right to register, cordon and remove executors.
    pub manages: bool,
    /// Whether an executor is made by the machine that joins and not by [`ExecutorControl::register`]: then one that never
    /// joined is nowhere to be found.
    pub appears: bool,
}

/// Something that executors say of their machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Free memory.
    Memory,
    /// Load per processor.
    Load,
}

/// An emitter as a plugin: one crate, and one line in the crate `plugins`.
pub trait EmitterPlugin: 'static {
    /// The value of `kind:` in YAML; lowercase, stable forever.
    const KIND: &'static str;
    /// What its executors say of their machines ([`model::Health`]); rules that ask for anything else are refused when
    /// the file is checked.
    const REPORTS: &'static [Report] = &[];
    /// Its keys in `emitters:`, beside `kind` and `probe` which belong to everybody. Denies unknown fields.
    type Config: DeserializeOwned + JsonSchema;
    /// One entry of a pool's `serves:`. Denies unknown fields.
    type Serves: DeserializeOwned + JsonSchema;

    /// What must be known without asking it.
    fn facts(config: &Self::Config) -> EmitterFacts;
    /// Finds what is wrong beyond the types. Paths are relative to the emitter's entry.
    fn check(config: &Self::Config, problems: &mut Problems);
    /// Finds what is wrong with the entries of one pool taken together, each of which was read: what no one executor can
    /// be. `slots` is the number of jobs that a machine of the pool runs at a time. Paths are relative to the list.
    fn check_serves(serves: &[Self::Serves], slots: u32, problems: &mut Problems) {
        let _ = (serves, slots, problems);
    }
    /// The matcher of one pool; jobs fit the pool when they fit any of the entries.
    fn matcher(serves: Vec<Self::Serves>) -> Box<dyn Matcher>;
    /// The probing half. Makes no request yet.
    fn emitter(
        config: Self::Config,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError>;
    /// The control half; `None` when the configuration gives no right to it. Makes no request yet.
    fn control(
        config: Self::Config,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError>;
}

/// Why a CI server could not be asked or told.
#[derive(Debug, thiserror::Error)]
#[error("{emitter} could not {operation}: {message}")]
pub struct EmitterError {
    /// For code.
    pub kind: EmitterErrorKind,
    /// The emitter.
    pub emitter: EmitterName,
    /// What was tried, as a verb phrase ("list pending jobs").
    pub operation: &'static str,
    /// Endpoint, status and what to do; never a token or a raw body.
    pub message: String,
    /// What lies below, if anything.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmitterErrorKind {
    /// Nobody answered; ask again later.
    Unreachable,
    /// No answer in time. After a write: it may have happened.
    TimedOut,
    /// The server asks to wait.
    RateLimited {
        /// How long, if it says.
        retry_after: Option<Duration>,
    },
    /// The token is not valid: an operator has to act.
    Unauthorized,
    /// The token may not do this: an operator has to act.
    Forbidden,
    /// Not there, or hidden. Never a proof of absence.
    NotFound,
    /// The server refuses because of what is there now (a foreign cordon, a taken name).
    Conflict,
    /// The server answers with an error of its own.
    Unavailable,
    /// The answer is not what the contract says.
    BadAnswer,
    /// The answer exceeds our bounds.
    TooLarge,
    /// The configuration or a secret behind it is not usable.
    Config,
}

impl EmitterErrorKind {
    /// A stable word for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            EmitterErrorKind::Unreachable => "unreachable",
            EmitterErrorKind::TimedOut => "timed_out",
            EmitterErrorKind::RateLimited { .. } => "rate_limited",
            EmitterErrorKind::Unauthorized => "unauthorized",
            EmitterErrorKind::Forbidden => "forbidden",
            EmitterErrorKind::NotFound => "not_found",
            EmitterErrorKind::Conflict => "conflict",
            EmitterErrorKind::Unavailable => "unavailable",
            EmitterErrorKind::BadAnswer => "bad_answer",
            EmitterErrorKind::TooLarge => "too_large",
            EmitterErrorKind::Config => "config",
        }
    }
}
