//! The keys of `jobs:` and `executors:`.

use std::collections::BTreeMap;

use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::expression::Expression;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Waits for nothing but an executor.
    Runnable,
    /// Holds an executor.
    Running,
    /// Becomes runnable at `starts_at`.
    Scheduled,
    /// Waits for something else.
    Blocked,
    /// Can never run as things stand.
    Unrunnable,
    /// Is over: no demand, and not seen.
    Done,
}

/// What an executor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorWord {
    /// In contact and without a job.
    Idle,
    /// Has a job.
    Busy,
    /// Not in contact.
    Offline,
    /// No machine ever reported under it.
    NeverJoined,
}

/// Jobs in the answers of one request. All expressions but `items` and `paused` see one item.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// The request.
    pub from: String,
    /// The list in each page; the page itself if absent. The members of an object are items with a `key` and a `value`.
    #[serde(default)]
    pub items: Option<Expression>,
    /// The CI server's id.
    pub id: Expression,
    /// How many jobs the item stands for, where a server only counts: they get the ids `id#1`, `id#2`, …
    #[serde(default)]
    pub count: Option<Expression>,
    /// What a person calls it; the id if absent.
    #[serde(default)]
    pub name: Option<Expression>,
    /// What it belongs to.
    #[serde(default)]
    pub project: Option<Expression>,
    /// Where all of them stand, if that needs no word of the server.
    #[serde(default)]
    pub is: Option<Class>,
    /// The server's word for where it stands, looked up in `states`.
    #[serde(default)]
    pub state: Option<Expression>,
    /// What the server's words mean. A word that is not here is not demand, and makes the look partial.
    #[serde(default)]
    pub states: BTreeMap<String, Class>,
    /// Whether the server starts nothing at present (true or false), seen from the page: then what is runnable counts as
    /// blocked.
    #[serde(default)]
    pub paused: Option<Expression>,
    /// What an executor must offer: a list, a text, or an object of which each member is `key=value`.
    #[serde(default)]
    pub labels: Option<Expression>,
    /// When it began to wait: RFC 3339, or seconds or milliseconds since 1970.
    #[serde(default)]
    pub queued_at: Option<Expression>,
    /// When it began to run.
    #[serde(default)]
    pub started_at: Option<Expression>,
    /// When a scheduled one becomes runnable.
    #[serde(default)]
    pub starts_at: Option<Expression>,
    /// Seconds that it runs by the server's own estimate.
    #[serde(default)]
    pub expected: Option<Expression>,
    /// The id of the executor that a running one holds.
    #[serde(default)]
    pub executor: Option<Expression>,
    /// What a blocked or unrunnable one waits for, in words; the server's word for its state if absent.
    #[serde(default)]
    pub reason: Option<Expression>,
    /// The jobs that a blocked one waits for, if it waits for nothing else.
    #[serde(default)]
    pub parents: Option<Expression>,
    /// Processors that it needs.
    #[serde(default)]
    pub cpu: Option<Expression>,
    /// Bytes of memory that it needs.
    #[serde(default)]
    pub memory: Option<Expression>,
}

/// Executors in the answers of one request. All expressions but `items` see one item.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorsConfig {
    /// The request.
    pub from: String,
    /// The list in each page; the page itself if absent.
    #[serde(default)]
    pub items: Option<Expression>,
    /// The CI server's id.
    pub id: Expression,
    /// Its name, by which machines and executors find each other; the id if absent.
    #[serde(default)]
    pub name: Option<Expression>,
    /// What it offers: a list, a text, or an object of which each member is `key=value`.
    #[serde(default)]
    pub labels: Option<Expression>,
    /// Jobs it runs at a time; 1 if absent.
    #[serde(default)]
    pub slots: Option<Expression>,
    /// The server's word for what it does, looked up in `states`.
    #[serde(default)]
    pub state: Option<Expression>,
    /// What the server's words mean. A word that is not here means unknown, which counts as busy.
    #[serde(default)]
    pub states: BTreeMap<String, ExecutorWord>,
    /// It is busy when a running job names it and idle otherwise, where the server has no word for it.
    #[serde(default)]
    pub busy_from_jobs: bool,
    /// The ids of the jobs on a busy one.
    #[serde(default)]
    pub jobs: Option<Expression>,
    /// Since when it is idle or offline.
    #[serde(default)]
    pub since: Option<Expression>,
    /// When the server last heard of it. Never means that no machine has joined.
    #[serde(default)]
    pub last_contact: Option<Expression>,
    /// It is offline when the last contact is longer ago; 2m if absent.
    #[serde(default)]
    pub offline_after: Option<Span>,
    /// Whether somebody keeps it from taking jobs (true or false).
    #[serde(default)]
    pub paused: Option<Expression>,
    /// Whether it takes jobs without labels (true or false).
    #[serde(default)]
    pub unlabelled: Option<Expression>,
    /// Bytes of memory that are free, for rules of the kind `memory`.
    #[serde(default)]
    pub memory_free: Option<Expression>,
    /// Load per processor, for rules of the kind `load`.
    #[serde(default)]
    pub load: Option<Expression>,
}
