//! The keys as an operator writes them: everything that does not belong to a plugin.
//!
//! These types make the JSON Schema too, so their doc comments are what an editor shows while typing.

use model::{EmitterName, GroupName, MachineName};
use ports::SecretRef;
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Top-level keys, in the order of the documentation.
pub(crate) const SECTIONS: [&str; 10] = [
    "version",
    "fleet",
    "store",
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

/// The store, reached over Redis.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisStore {
    /// Address, such as redis://redis:6379/ or rediss://…; usually ${env:REDIS_URL}.
    pub(crate) url: SecretRef,
}

/// A store in one process; only for `parmanu up`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryStore {}

/// What a pool's machines are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// Jobs one machine runs at a time. Default 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) slots: u32,
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
    /// `none` for nodes that join no CI server: ready when they run.
    #[serde(default)]
    pub(crate) executor: ExecutorKind,
    /// Where it can be had, in order of preference.
    #[schemars(length(min = 1))]
    pub(crate) offers: Vec<Value>,
}

fn one() -> u32 {
    1
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
    /// Rules, from `rules:`. A budget counts for this pool alone; for several together name it in a group or in `limits`.
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
    #[serde(default = "one")]
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
}

/// When idle machines leave.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleInRule {
    /// Idle time before a machine may leave, from registration or the end of its last job.
    pub(crate) idle_for: Span,
    /// At most this many machines begin to leave within `per`. Without it there is no limit.
    #[serde(default)]
    pub(crate) at_most: Option<u32>,
    /// The window of `at_most`. Default 1m.
    #[serde(default = "minute")]
    pub(crate) per: Span,
}

fn minute() -> Span {
    Span::minutes(1)
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

/// What machines may cost in a calendar period. It warns, then uses the cheapest offers only, then holds growth; it never
/// kills a job and makes no machine leave.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetRule {
    /// What may be spent in one period.
    pub(crate) limit: f64,
    /// The period: hour, day or month.
    pub(crate) per: PeriodWord,
    /// The currency of the limit and of all prices, such as USD. All budgets state the same one.
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    pub(crate) currency: String,
    /// The time zone in which days and months begin. Default UTC.
    #[serde(default = "utc")]
    pub(crate) zone: String,
    /// From this share of the limit on, every plan says so. Default 80%.
    #[serde(default = "four_fifths")]
    pub(crate) warn_at: Percent,
    /// From this share on, only each pool's cheapest offer is used. Default 90%.
    #[serde(default = "nine_tenths")]
    pub(crate) cheapest_at: Percent,
    /// How long a new machine is taken to live: it is made only when its price for this time is left. Default 1h.
    #[serde(default = "hour")]
    pub(crate) machine_life: Span,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn four_fifths() -> Percent {
    Percent(80)
}

fn nine_tenths() -> Percent {
    Percent(90)
}

fn hour() -> Span {
    Span::minutes(60)
}

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PeriodWord {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
}

/// A share with its sign: `80%`. A bare number is refused, since 1 could be all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Percent(
    #[schemars(with = "String", regex(pattern = "^[0-9]+%$"))] pub(crate) u32,
);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Percent;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a share with its sign, such as 80%")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Percent, E> {
                let number = text
                    .strip_suffix('%')
                    .and_then(|number| number.parse().ok());
                number.map(Percent).ok_or_else(|| {
                    E::custom(format!("`{text}` is not a share: write one such as 80%"))
                })
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}
