//! What the API answers and takes: the shapes that scripts rely on.
//!
//! They are types of their own, so that the engine may change without breaking anybody. Within `v1` fields are added and
//! never renamed, removed or given another meaning; a reader leaves out what it does not know. Times are RFC 3339 in UTC,
//! lengths of time are whole seconds (`*_seconds`) in answers and texts with a unit (`2h`) in requests. What is not known
//! is `null` or left out, never zero.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ports::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which replica answers, and how much its word is worth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// The fleet.
    pub fleet: String,
    /// The hash of the configuration in force here.
    pub config: String,
    /// Why the files hold a configuration that is not in force here, while they do.
    pub config_stale: Option<String>,
    /// This process.
    pub holder: String,
    /// Whether this replica acts for the fleet.
    pub active: bool,
    /// The replica that acts, as far as this one knows.
    pub active_holder: Option<String>,
    /// The term of this replica, while it is active.
    pub epoch: Option<u64>,
    /// When this replica last looked at the store and the listings.
    #[schemars(with = "Option<String>")]
    pub looked_at: Option<Timestamp>,
    /// What this replica cannot see or vouch for, in words.
    pub doubts: Vec<String>,
    /// Departures that the configuration asks for and that wait for a confirmation, if there are any.
    pub waiting: Option<Waiting>,
}

/// What a changed configuration would let go at once, and keeps until it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// What is confirmed with `POST /api/v1/confirmations/{hash}`. Another change has another hash.
    pub hash: String,
    /// How many machines.
    pub machines: u32,
    /// Pool by pool.
    pub pools: Vec<WaitingPool>,
}

/// What one pool would lose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingPool {
    /// Its name.
    pub pool: String,
    /// Why.
    pub why: String,
    /// How many machines.
    pub machines: u32,
    /// The machines of the pool, of which so many would go; the first hundred.
    pub of: Vec<String>,
}

/// One pool in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The CI server whose jobs it serves.
    pub emitter: Option<String>,
    /// Machines kept whatever the demand, as configured.
    pub min: u32,
    /// Machines that may exist at once, as configured.
    pub max: u32,
    /// Machines wanted; only the active replica plans.
    pub target: Option<u32>,
    /// Machines that work, or will work, for the pool.
    pub serving: u32,
    /// Machines that exist, serving or not.
    pub costing: u32,
    /// Jobs waiting for nothing but an executor; `null` while the CI server has not been heard.
    pub queued: Option<u32>,
    /// Jobs running, likewise.
    pub running: Option<u32>,
    /// For how long the oldest of the waiting jobs has waited.
    pub oldest_wait_seconds: Option<u64>,
    /// Executors that are not ours.
    pub static_executors: u32,
    /// Machines by phase; phases without a machine are left out.
    pub phases: BTreeMap<String, u32>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// The size that an operator pinned.
    pub pinned: Option<u32>,
    /// Why what is said of this pool is not the whole truth.
    pub doubts: Vec<String>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Its name, which is its executor's name too.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// The cloud account.
    pub provider: String,
    /// The cloud's id, once it is listed.
    pub id: Option<String>,
    /// Its zone, as the provider calls it.
    pub zone: Option<String>,
    /// The offer it comes from.
    pub offer: Option<String>,
    /// Where it stands: requested, provisioning, booting, idle, busy, cordoned, foreign_cordon, preempted, deleting,
    /// stuck, lost, stopped, unclear.
    pub phase: String,
    /// What more there is to say of that, in words.
    pub note: Option<String>,
    /// When the cloud created it.
    #[schemars(with = "Option<String>")]
    pub created_at: Option<Timestamp>,
    /// Since when it has been seen idle without a break.
    #[schemars(with = "Option<String>")]
    pub idle_since: Option<Timestamp>,
    /// Until when it is marked as wanted.
    #[schemars(with = "Option<String>")]
    pub expires: Option<Timestamp>,
    /// Its executor at the CI server, as `emitter:id`.
    pub executor: Option<String>,
    /// The jobs seen on it.
    pub jobs: Vec<String>,
    /// How far its departure is: cordoning, settling, proven_once, deleting, removing.
    pub leaving: Option<String>,
}

/// One CI server, as probot last saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Emitter {
    /// Its name.
    pub name: String,
    /// The pools that serve its jobs.
    pub pools: Vec<String>,
    /// Time since the start of the last good look; `null` when there was none.
    pub last_good_seconds: Option<u64>,
    /// Why the last look failed, if it did.
    pub failure: Option<String>,
    /// Jobs that no pool takes, in all.
    pub unmatched_total: u32,
    /// Some of them.
    pub unmatched: Vec<UnmatchedJob>,
}

/// A job that no pool takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnmatchedJob {
    /// The job, as `<project> <name> #<id>`.
    pub job: String,
    /// The pool that comes nearest.
    pub nearest: Option<String>,
    /// What that pool lacks.
    pub missing: Vec<String>,
}

/// One reason of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// A stable word; more may come.
    pub code: String,
    /// The sentence, for people.
    pub text: String,
}

/// What was decided for one pool at the last tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The pool.
    pub pool: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Machines wanted.
    pub target: u32,
    /// Machines that work, or will work, for the pool.
    pub serving: u32,
    /// Jobs waiting for nothing but an executor, as far as heard.
    pub queued: u32,
    /// Jobs running, as far as heard.
    pub running: u32,
    /// What is done, in words; empty when nothing is.
    pub actions: Vec<String>,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// An operator's order that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// Its identity, such as `pause:linux`.
    pub id: String,
    /// What it orders, in words.
    pub what: String,
    /// Who gave it.
    pub who: String,
    /// Why.
    pub because: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Until when.
    #[schemars(with = "String")]
    pub until: Timestamp,
}

/// A pool that is not configured, and of which machines or executors are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormerPool {
    /// Its name.
    pub name: String,
    /// The CI server that has its executors, as far as it was heard.
    pub emitter: Option<String>,
    /// Machines of it that are listed.
    pub machines: u32,
    /// Executors of it, as far as that CI server was heard.
    pub executors: Option<u32>,
    /// Whether nothing of it leaves until somebody does something.
    pub stays: bool,
    /// What becomes of it, in words.
    pub what: String,
    /// What the last plan says of it; only the active replica plans.
    pub reasons: Vec<Reason>,
}

/// A provider that is not configured any more, or stands somewhere else now, and where machines of the fleet stand or stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormerProvider {
    /// Its name, or one made from it where another provider has it now.
    pub name: String,
    /// What it was called.
    pub was: String,
    /// Where it stood: region, account, endpoint, in its own words.
    pub place: Option<String>,
    /// Machines that are listed there, or were listed there last.
    pub machines: u32,
    /// Whether it is still listed.
    pub listed: bool,
    /// What becomes of it, in words.
    pub what: String,
}

/// `GET /api/v1/pools`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pools {
    /// Who answers.
    pub replica: Replica,
    /// Every configured pool, by name.
    pub pools: Vec<Pool>,
    /// Pools that are not configured and of which something is left.
    #[serde(default)]
    pub former_pools: Vec<FormerPool>,
    /// Providers that are not configured and where machines of the fleet stand or stood.
    #[serde(default)]
    pub former_providers: Vec<FormerProvider>,
}

/// `GET /api/v1/pools/{name}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnePool {
    /// Who answers.
    pub replica: Replica,
    /// The pool.
    pub pool: Pool,
    /// Its machines.
    pub machines: Vec<Machine>,
    /// What was decided last; only the active replica plans.
    pub plan: Option<Plan>,
    /// The overrides that concern it.
    pub overrides: Vec<Override>,
}

/// `GET /api/v1/machines`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machines {
    /// Who answers.
    pub replica: Replica,
    /// Every machine of the configured pools.
    pub machines: Vec<Machine>,
}

/// `GET /api/v1/machines/{name}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OneMachine {
    /// Who answers.
    pub replica: Replica,
    /// The machine.
    pub machine: Machine,
    /// What the last plan says of it.
    pub reasons: Vec<Reason>,
    /// What the last plan does with it.
    pub actions: Vec<String>,
    /// The override that drains it.
    pub drained_by: Option<Override>,
    /// The end of what it printed while it booted, if it was given up as one that never joined and this replica asked for it.
    #[serde(default)]
    pub console: Option<String>,
}

/// `GET /api/v1/emitters`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Emitters {
    /// Who answers.
    pub replica: Replica,
    /// Every CI server of the configured pools, by name.
    pub emitters: Vec<Emitter>,
}

/// `GET /api/v1/plans`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plans {
    /// Who answers.
    pub replica: Replica,
    /// The plan of each pool at the last tick.
    pub plans: Vec<Plan>,
}

/// `GET /api/v1/decisions`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Decisions {
    /// Who answers.
    pub replica: Replica,
    /// The plans that changed since this process became active, the newest first; a bounded number. Older ones, and
    /// those of other replicas, stand in the store (docs/redis.md).
    pub decisions: Vec<Plan>,
}

/// `GET /api/v1/jobs/{id}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundJobs {
    /// Who answers.
    pub replica: Replica,
    /// What was asked for: an id, a name, `project/name`, a project, or an address.
    pub asked: String,
    /// The jobs that are meant; at most 20. None is no proof that there is none: see `not_known`.
    pub jobs: Vec<Job>,
    /// The pools that they count for.
    pub pools: Vec<JobPool>,
    /// What cannot be told from here, and how to find out.
    pub not_known: Vec<String>,
}

/// One job. Of each pool and state the ten oldest are named, and all that an executor runs by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The CI server's id.
    pub id: String,
    /// What a person calls it, where that is known.
    pub name: Option<String>,
    /// Its project, where that is known.
    pub project: Option<String>,
    /// The CI server.
    pub emitter: String,
    /// Where it stands.
    pub state: JobState,
    /// What it waits for, or why it cannot run.
    pub why: Option<String>,
    /// The pool it counts for.
    pub pool: Option<String>,
    /// Of an unmatched job the pool that comes nearest.
    pub nearest: Option<String>,
    /// What that pool lacks.
    pub missing: Vec<String>,
    /// The executor it runs on; a machine of ours has the same name.
    pub executor: Option<String>,
    /// For how long it has waited, where the CI server says since when.
    pub waited_seconds: Option<u64>,
    /// How old the look is that saw it.
    pub seen_seconds_ago: Option<u64>,
}

/// What a pool does about its jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobPool {
    /// The pool.
    pub pool: Pool,
    /// What was decided last; only the active replica plans.
    pub plan: Option<Plan>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for nothing but an executor.
    Runnable,
    /// It holds an executor.
    Running,
    /// It becomes runnable at a known time.
    Scheduled,
    /// It waits for something else.
    Blocked,
    /// It cannot run as things stand, and is no demand.
    Unrunnable,
    /// It would run, and no pool takes it.
    Unmatched,
}

/// `GET /api/v1/overrides`, and the answer to every verb that sets one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overrides {
    /// Who answers.
    pub replica: Replica,
    /// Those in force.
    pub overrides: Vec<Override>,
    /// What cannot be read: as long as there is any, no machine leaves.
    pub unreadable: Vec<String>,
}

/// An order without anything but its author: pause, drain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ordered {
    /// Who gives it, for the audit; at most 100 characters.
    pub who: String,
    /// Why; at most 500 characters.
    pub because: String,
    /// For how long; at most 7 days.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// `POST /api/v1/pools/{name}/pin`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Machines.
    pub machines: u32,
    /// Who gives the order, for the audit; at most 100 characters.
    pub who: String,
    /// Why; at most 500 characters.
    pub because: String,
    /// For how long; at most 7 days.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// `POST /api/v1/drains`: exactly one of `image` and `zone`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// Machines of this image or template.
    #[serde(default)]
    pub image: Option<String>,
    /// Machines in this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Who gives the order, for the audit; at most 100 characters.
    pub who: String,
    /// Why; at most 500 characters.
    pub because: String,
    /// For how long; at most 7 days.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// Who takes an order back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// Who, for the audit; at most 100 characters.
    pub who: String,
}

/// Every answer that is not a good one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// What is wrong and what to do, in a sentence.
    pub error: String,
}
