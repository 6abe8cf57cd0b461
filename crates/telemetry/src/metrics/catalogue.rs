//! What every metric is, in one list: the help text on the wire, docs/metrics.md, and what dashboard and alerts may name.
//!
//! It counts nothing. A test fills every metric and holds the list to what a scrape then shows.

use super::Service;

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows only; its name ends with `_total` in a scrape.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count: `_bucket`, `_sum` and `_count` in a scrape.
    Histogram,
    /// Always 1, and says something in its labels; its name ends with `_info` in a scrape.
    Info,
}

impl Kind {
    /// The word of the exposition format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name without the prefix `parmanu_` and without the endings of its kind.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Who has it; [`Service::Both`] is each of the two.
    pub service: Service,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// One line.
    pub help: &'static str,
    /// What an operator should know beyond it; may be empty.
    pub more: &'static str,
}

impl Entry {
    /// The name of its first series in a scrape.
    #[must_use]
    pub fn series(&self) -> String {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Histogram => "_bucket",
            Kind::Info => "_info",
        };
        format!("parmanu_{}{ending}", self.name)
    }
}

/// The help text of a metric.
pub(super) fn help(name: &str) -> &'static str {
    let found = ALL.iter().find(|entry| entry.name == name);
    found.map_or("", |entry| entry.help)
}

const fn both(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    more: &'static str,
) -> Entry {
    Entry {
        name,
        kind,
        service: Service::Both,
        labels,
        help,
        more,
    }
}

const fn of(service: Service, entry: Entry) -> Entry {
    Entry { service, ..entry }
}

const fn probot(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    more: &'static str,
) -> Entry {
    of(Service::Probot, both(name, kind, labels, help, more))
}

const fn scaler(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    more: &'static str,
) -> Entry {
    of(Service::Scaler, both(name, kind, labels, help, more))
}

use Kind::{Counter, Gauge, Histogram, Info};

/// Every metric, in the order in which a person asks.
pub const ALL: &[Entry] = &[
    // do builds wait?
    probot(
        "job_wait_seconds",
        Histogram,
        &["pool"],
        "Time jobs waited before they began to run",
        "From what the CI server says of each job (queued, started); a job that begins and ends between two looks is not in it, nor are those of the first look after a start.",
    ),
    scaler(
        "pool_oldest_wait_seconds",
        Gauge,
        &["pool"],
        "Time the oldest runnable job of a pool has waited",
        "0 without one. Only the replica that acts sets it, as all metrics of pools.",
    ),
    scaler(
        "pool_jobs",
        Gauge,
        &["pool", "class"],
        "Jobs of a pool, by what they wait for",
        "`runnable` and `running` are demand; `scheduled` and `blocked` are forecast; `unrunnable` will get no machine.",
    ),
    probot(
        "unmatched_jobs",
        Gauge,
        &["emitter"],
        "Runnable jobs that no pool takes",
        "The log and `parmanu probe` name them, with the nearest pool and what it lacks.",
    ),
    probot(
        "jobs_passed_over",
        Counter,
        &["pool"],
        "Jobs found not to be handed out although machines stood idle",
        "docs/probe.md says what becomes of them.",
    ),
    scaler(
        "create_wait_seconds",
        Histogram,
        &["pool"],
        "Time the oldest job had waited when a creation was asked for",
        "Most of it is the time to the next look at the CI server; hooks shorten it.",
    ),
    scaler(
        "machine_boot_seconds",
        Histogram,
        &["pool"],
        "Time from a machine's creation to its executor online",
        "",
    ),
    scaler(
        "machine_stage_seconds",
        Histogram,
        &["pool", "stage"],
        "Time of each stage of a machine's way to its first job",
        "`requested` (asked for, not listed), `provisioning` (listed, not running), `booting` (running, its executor not online) and `unused` (online, without a job). A stage that nobody saw begin is not counted, and one that is over between two looks counts in the one before.",
    ),
    // what is there, and what does it cost?
    scaler(
        "pool_machines",
        Gauge,
        &["pool", "phase"],
        "Machines of a pool, by phase",
        "The phases stand in docs/machines.md and docs/glossary.md.",
    ),
    scaler(
        "pool_target_machines",
        Gauge,
        &["pool"],
        "Machines the pool should have, as last decided",
        "",
    ),
    scaler(
        "pool_max_machines",
        Gauge,
        &["pool"],
        "Machines the pool may have",
        "The pool's own `max`, whatever a `limit` rule says at the moment.",
    ),
    scaler(
        "machine_seconds",
        Counter,
        &["pool", "use"],
        "Time machines were there, by what they did",
        "`busy`, `idle`, `coming` (asked for, booting) or `leaving` (everything else that costs money).",
    ),
    scaler(
        "spend",
        Counter,
        &["pool", "use"],
        "What machines cost, by what they did",
        "In the currency of the configuration, from the prices of offers; machines of offers without a price are not in it. An estimate, not a bill: volumes, traffic and discounts are not in it.",
    ),
    // why?
    scaler(
        "pool_reason",
        Gauge,
        &["pool", "reason"],
        "1 for each reason that the plan in force gives",
        "The codes are those of `parmanu status` and the log. Of those that a pool gave before, 0.",
    ),
    scaler(
        "plan",
        Counter,
        &["pool", "reason"],
        "Plans that changed, once for each reason they gave",
        "",
    ),
    scaler(
        "action",
        Counter,
        &["pool", "action", "outcome"],
        "Actions carried out, by how they ended",
        "`done`, `refused` (something forbade it, mostly a job that slipped in: nothing was done), `failed`, or `panicked` (a defect; the log has it).",
    ),
    // does it see, and can it act?
    probot(
        "probe",
        Counter,
        &["emitter", "outcome"],
        "Looks at a CI server, by how they ended",
        "`ok`, `partial` (pools may grow, not shrink), `timed_out`, or the kind of the error.",
    ),
    probot(
        "probe_duration_seconds",
        Histogram,
        &["emitter"],
        "Time one look at a CI server took",
        "",
    ),
    probot(
        "probe_requests",
        Counter,
        &["emitter"],
        "Requests sent to a CI server by looks at it",
        "",
    ),
    probot(
        "probe_bytes",
        Counter,
        &["emitter"],
        "Bytes received from a CI server by looks at it",
        "",
    ),
    probot(
        "probe_breaker_open",
        Gauge,
        &["emitter"],
        "1 while looks at an emitter fail and it is asked once a minute only",
        "",
    ),
    probot(
        "hooks",
        Counter,
        &["emitter", "outcome"],
        "Hooks that came for an emitter, by what became of them",
        "`accepted`, `refused`, `busy` or `too_large`; an emitter that takes none is `unknown`.",
    ),
    scaler(
        "pool_look_age_seconds",
        Gauge,
        &["pool"],
        "Age of the look at the CI server that a pool is decided by",
        "Beyond `fresh_for` no machine leaves. Not there for pools without an emitter, and before the first look.",
    ),
    scaler(
        "provider_calls",
        Counter,
        &["provider", "operation", "outcome"],
        "Calls to a provider, by how they ended",
        "`ok` or `done`, `partial`, `unknown` (no answer in time), or the kind of the error, such as `rate_limited`, `out_of_capacity`, `quota_exceeded`, `unauthorized`.",
    ),
    both(
        "store_errors",
        Counter,
        &[],
        "Calls to the store that failed",
        "",
    ),
    both(
        "config_reloads",
        Counter,
        &["outcome"],
        "Times the configuration was read again, by what came of it",
        "`applied`; `unchanged` when it means what it meant; `invalid` or `needs_restart`: the last good one stays in force.",
    ),
    both(
        "config_stale",
        Gauge,
        &[],
        "1 while the files hold a configuration that is not in force",
        "The log and `parmanu status` say why.",
    ),
    scaler(
        "config_held_departures",
        Gauge,
        &[],
        "Machines that the configuration would let go and that stay until an operator confirms it",
        "`parmanu status` shows them with the hash for `parmanu confirm`.",
    ),
    // is it well?
    scaler(
        "leader",
        Gauge,
        &[],
        "1 while this process acts for the fleet, 0 while it stands by",
        "The sum over all replicas is 1.",
    ),
    scaler(
        "epoch",
        Gauge,
        &[],
        "The newest lease epoch this process held",
        "",
    ),
    scaler(
        "tick_duration_seconds",
        Histogram,
        &[],
        "Time one pass took",
        "",
    ),
    scaler(
        "invariant_violations",
        Counter,
        &["invariant"],
        "Plans refused because they would have broken an invariant",
        "Always 0 but for a defect of ours: please report it with the log.",
    ),
    both("build", Info, &["version"], "The version that runs", ""),
];
