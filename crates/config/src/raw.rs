//! The keys as an operator writes them: everything that does not belong to a plugin.
//!
//! These types make the JSON Schema too, so their doc comments are what an editor shows while typing.

pub(crate) mod quantity;
pub(crate) mod rules;

use std::path::PathBuf;

use model::{EmitterName, GroupName, MachineName, Share};
use ports::SecretRef;
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use quantity::{Decimal, Percent, Range, Size};

/// Top-level keys, in the order of the documentation.
pub(crate) const SECTIONS: [&str; 11] = [
    "version",
    "fleet",
    "store",
    "api",
    "emitters",
    "providers",
    "machines",
    "pools",
    "groups",
    "limits",
    "rules",
];

/// How often an emitter is asked, and how long it may take.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probe {
    /// Time between the starts of two looks. Default 10s.
    pub(crate) every: Span,
    /// Longest time one look may take in all. Default 30s.
    pub(crate) timeout: Span,
}

impl Default for Probe {
    fn default() -> Self {
        Probe {
            every: Span::seconds(10),
            timeout: Span::seconds(30),
        }
    }
}

/// Whether `POST /hooks/<emitter>` of probot brings the next look forward.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    /// What the sender must say, in X-Gitlab-Token, X-Parmanu-Token or Authorization: Bearer.
    pub(crate) secret: SecretRef,
}

/// The store, reached over Redis.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisStore {
    /// Address, such as redis://redis:6379/ or rediss://…; usually ${env:REDIS_URL}.
    pub(crate) url: SecretRef,
    /// The authority (PEM) that signed Redis' certificate, instead of those of the system. Only with rediss://.
    #[serde(default)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate (PEM) that services show to a Redis which asks for one (`tls-auth-clients`).
    #[serde(default)]
    pub(crate) client_cert_file: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    #[serde(default)]
    pub(crate) client_key_file: Option<PathBuf>,
}

/// A store in one process; only for `parmanu up`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryStore {}

/// The verbs of scaler's API that change something: pause, pin, drain. Without this section they are refused.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    /// What an operator must say, in Authorization: Bearer; at least 16 characters.
    pub(crate) token: SecretRef,
}

/// What a pool's machines are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// Jobs one machine runs at a time. Without it as many as fit by the pool's `job`, else 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) slots: Option<u32>,
    /// Its processors.
    #[serde(default)]
    pub(crate) cpu: Option<Decimal>,
    /// Its memory.
    #[serde(default)]
    pub(crate) memory: Option<Size>,
    /// How long a machine takes to come up.
    #[serde(default)]
    pub(crate) boot: BootTimes,
    /// User-data template (minijinja), a path relative to this file. It gets `machine`, `fleet`, `pool` and `executor`.
    #[serde(default)]
    pub(crate) bootstrap: Option<String>,
    /// What the template carries: `per-machine` (a credential for one machine, so one creation call per machine) or
    /// `shared` (nothing that is for one machine only, so one call may start a whole batch). Default per-machine.
    #[serde(default)]
    pub(crate) credential: CredentialKind,
    /// For how long one machine serves, and how machines that are too old or changed are replaced.
    #[serde(default)]
    pub(crate) reuse: Reuse,
    /// `none` for nodes that join no CI server: ready when they run.
    #[serde(default)]
    pub(crate) executor: ExecutorKind,
    /// Where it can be had, in order of preference.
    #[schemars(length(min = 1))]
    pub(crate) offers: Vec<Value>,
}

/// For how long one machine serves. A job is never ended for it: a machine that is to leave is kept from new jobs, and its
/// running ones are left to finish.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reuse {
    /// Jobs one machine runs in its life, as far as probes see them; 1 makes single-use machines. Without it there is no
    /// limit.
    #[schemars(range(min = 1))]
    pub(crate) max_jobs: Option<u32>,
    /// How old a machine grows before it is replaced. Without it there is no limit.
    pub(crate) max_age: Option<Span>,
    /// What becomes of machines whose image, boot script or registration is not what the configuration says any more:
    /// `replace` them, or `keep` them as long as they are wanted. Default replace, for `executor: none` keep.
    pub(crate) when_changed: Option<WhenChanged>,
    /// The share of the pool that may be on its way out for age or change at once, at least one machine. Default 10%.
    pub(crate) at_once: Percent,
}

impl Default for Reuse {
    fn default() -> Self {
        Reuse {
            max_jobs: None,
            max_age: None,
            when_changed: None,
            at_once: Percent(Share::percent(10)),
        }
    }
}

/// What becomes of machines that were made from what is not configured any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenChanged {
    /// One first, the others when a new one has joined.
    Replace,
    /// They serve on.
    Keep,
}

/// What a bootstrap template carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CredentialKind {
    /// A credential for one machine.
    #[default]
    PerMachine,
    /// Nothing that is for one machine only.
    Shared,
}

/// Whether machines join a CI server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ExecutorKind {
    /// They join the pool's emitter.
    #[default]
    Joins,
    /// They join none.
    None,
}

/// How long a machine takes to come up.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BootTimes {
    /// Usual time from launch to executor online. Default 60s.
    pub(crate) expect: Span,
    /// After this the machine is given up. Default 10m.
    pub(crate) timeout: Span,
}

impl Default for BootTimes {
    fn default() -> Self {
        BootTimes {
            expect: Span::seconds(60),
            timeout: Span::minutes(10),
        }
    }
}

/// The keys of an offer that belong to everybody; the others are the provider's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offer {
    /// The cloud account, from `providers:`.
    pub(crate) provider: model::ProviderName,
    /// Price of one machine per hour, in the currency of the budgets.
    #[serde(default)]
    pub(crate) price: Option<f64>,
}

/// A set of interchangeable machines and the jobs they serve.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pool {
    /// The CI server whose jobs it serves, from `emitters:`.
    #[serde(default)]
    pub(crate) emitter: Option<EmitterName>,
    /// Which jobs, in the CI server's own words; a job fits when it fits any entry.
    #[serde(default)]
    pub(crate) serves: Vec<Value>,
    /// What one of its jobs needs at least and at most. A job whose CI server states more or less goes to another pool;
    /// the most sizes the slots.
    #[serde(default)]
    pub(crate) job: Option<JobNeeds>,
    /// What its machines are, from `machines:`.
    pub(crate) machine: MachineName,
    /// Machines kept whatever the demand. Default 0.
    #[serde(default)]
    pub(crate) min: u32,
    /// Machines that may exist at once, in any state.
    pub(crate) max: u32,
    /// A job that fits several pools goes to the one with the greatest precedence, then to the first by name. Default 0.
    #[serde(default)]
    pub(crate) precedence: i32,
    /// The rules it has where its own say nothing: economy, balanced or latency. Default balanced.
    #[serde(default)]
    pub(crate) profile: Profile,
    /// Rules, from `rules:`. Of each kind the first whose conditions hold is in force, else the profile's. A budget counts
    /// for this pool alone; for several together name it in a group or in `limits`.
    #[serde(default)]
    pub(crate) rules: Vec<String>,
    /// The pools it shares a cap or a budget with, from `groups:`.
    #[serde(default)]
    pub(crate) group: Option<GroupName>,
    /// What is scarce goes to the greater priority first; but a job that waits for long has a claim before any priority
    /// (`limits.patience`). Default 0.
    #[serde(default)]
    pub(crate) priority: i32,
    /// Its part of what is scarce, among pools of the same priority. Default 1.
    #[serde(default = "weight_one")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) weight: u32,
    /// No machine that costs more than this per hour is made, whatever the queue.
    #[serde(default)]
    pub(crate) max_price: Option<f64>,
    /// In which order the machine's offers are tried: `listed`, as they stand, or `price`, the cheapest hour of a machine
    /// that joins. Default listed.
    #[serde(default)]
    pub(crate) choose: OfferOrder,
    /// How old a workload may be and still let machines leave. Default: four probes, at least 60s.
    #[serde(default)]
    pub(crate) fresh_for: Option<Span>,
    /// Machines to keep at least while the CI server is not heard. Without it the pool keeps what it has.
    #[serde(default)]
    pub(crate) keep_on_stale: Option<u32>,
    /// How its machines leave if its emitter gives no right to control executors. Without it they do not, unless they power
    /// off by themselves.
    #[serde(default)]
    pub(crate) scale_in: Option<ScaleInWithoutControl>,
}

/// How machines leave whose executors cannot be controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScaleInWithoutControl {
    /// A mark on the machine asks its guest to end the agent after its build and to power off (docs/guest.md).
    AskGuest,
    /// A machine that a look of the last ten seconds shows idle is deleted, without a cordon: a job that it is given in
    /// that moment is killed.
    BestEffort,
}

/// What one job needs, from the least to the most.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobNeeds {
    /// Processors, such as 1..4.
    #[serde(default)]
    pub(crate) cpu: Option<Range<Decimal>>,
    /// Memory, such as 2GiB..8GiB.
    #[serde(default)]
    pub(crate) memory: Option<Range<Size>>,
}

/// A named set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// The lowest cost.
    Economy,
    /// Short waits at a modest cost.
    #[default]
    Balanced,
    /// The shortest waits.
    Latency,
}

impl From<Profile> for model::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Economy => model::Profile::Economy,
            Profile::Balanced => model::Profile::Balanced,
            Profile::Latency => model::Profile::Latency,
        }
    }
}

fn weight_one() -> u32 {
    1
}

/// In which order offers are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OfferOrder {
    /// As they stand.
    #[default]
    Listed,
    /// The cheapest hour of a machine that joins first.
    Price,
}

/// Machines that may exist at this provider at once, in any state. Without it there is no limit.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct MaxMachines(pub(crate) u32);

/// Limits of all pools together. They ration growth; no machine leaves because of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Machines that may exist at once, in any state. Without it there is no limit.
    pub(crate) max: Option<u32>,
    /// Each time a pool's oldest job has waited for this long, the pool has a claim to one machine more before any
    /// priority counts. Default 15m.
    pub(crate) patience: Span,
    /// Budgets over all pools, from `rules:`.
    pub(crate) rules: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max: None,
            patience: Span::minutes(15),
            rules: Vec::new(),
        }
    }
}

/// Pools that share a cap or a budget.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Group {
    /// Machines of its pools that may exist at once, in any state. Without it there is no limit.
    pub(crate) max: Option<u32>,
    /// Budgets that its pools share, from `rules:`.
    pub(crate) rules: Vec<String>,
}
