//! Every metric of Parmanu, in one place.
//!
//! Labels come from closed sets only: names in the configuration (pool, emitter, provider) and
//! `&'static str` codes written in the source. Never error text, never a machine's name: each value
//! of a label is a time series that somebody pays for.
//!
//! A service has only its own half registered, so that a probot does not claim to be no leader.

pub mod catalogue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Amounts<const N: usize> = Family<Labels<N>, Counter<f64, AtomicU64>>;
type Spans<const N: usize> = Family<Labels<N>, Gauge<f64, AtomicU64>>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Registers a metric with what the catalogue says of it. Counters get `_total` from the format.
fn register(registry: &mut Registry, name: &'static str, metric: impl Metric) {
    registry.register(name, catalogue::help(name), metric);
}

/// From a tenth of a second to an hour and a half: what jobs and machines wait for.
fn waits() -> Histogram {
    Histogram::new(exponential_buckets(0.1, 2.0, 17))
}

/// Which half of the metrics a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It looks at CI servers.
    Probot,
    /// It runs machines.
    Scaler,
    /// Both loops in one process.
    Both,
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the probot sets.
    pub probot: ProbotMetrics,
    /// What the scaler sets.
    pub scaler: ScalerMetrics,
    store_errors: Counter,
    reloads: Counters<1>,
    stale: Gauge,
}

/// What came of reading the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It is in force.
    Applied,
    /// It means what it meant before.
    Unchanged,
    /// It cannot be used.
    Invalid,
    /// It changes what only a restart can.
    NeedsRestart,
}

impl Reloaded {
    /// All there are.
    pub const ALL: [Reloaded; 4] = [
        Reloaded::Applied,
        Reloaded::Unchanged,
        Reloaded::Invalid,
        Reloaded::NeedsRestart,
    ];

    /// As a label says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Unchanged => "unchanged",
            Reloaded::Invalid => "invalid",
            Reloaded::NeedsRestart => "needs_restart",
        }
    }
}

impl Metrics {
    /// Metrics that are all zero.
    #[must_use]
    pub fn new(service: Service) -> Self {
        let mut registry = Registry::with_prefix("parmanu");
        let probot = ProbotMetrics::new();
        let scaler = ScalerMetrics::new();
        if service != Service::Scaler {
            probot.register(&mut registry);
        }
        if service != Service::Probot {
            scaler.register(&mut registry);
        }
        let store_errors = Counter::default();
        register(&mut registry, "store_errors", store_errors.clone());
        let (reloads, stale) = (Counters::<1>::default(), Gauge::default());
        for outcome in Reloaded::ALL {
            let label = [("outcome", outcome.as_str().to_owned())];
            // a first failure is a rise and not a new series
            drop(reloads.get_or_create(&label));
        }
        register(&mut registry, "config_reloads", reloads.clone());
        register(&mut registry, "config_stale", stale.clone());
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        register(&mut registry, "build", Info::new(version.to_vec()));
        Self {
            registry,
            probot,
            scaler,
            store_errors,
            reloads,
            stale,
        }
    }

    /// The configuration was read again.
    pub fn reloaded(&self, outcome: Reloaded) {
        let label = [("outcome", outcome.as_str().to_owned())];
        self.reloads.get_or_create(&label).inc();
        let stale = matches!(outcome, Reloaded::Invalid | Reloaded::NeedsRestart);
        self.stale.set(i64::from(stale));
    }

    /// A call to the store failed.
    pub fn store_error(&self) {
        self.store_errors.inc();
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; the encoder's signature only says that it might.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// What a probot counts.
#[derive(Debug)]
pub struct ProbotMetrics {
    duration: Histograms<1>,
    probes: Counters<2>,
    requests: Counters<1>,
    bytes: Counters<1>,
    hooks: Counters<2>,
    open: Gauges<1>,
    unmatched: Gauges<1>,
    passed_over: Counters<1>,
    job_wait: Histograms<1>,
}

impl ProbotMetrics {
    fn new() -> Self {
        Self {
            // 10 ms to 82 s: a local CI server answers in the first, the longest time-out of a
            // sensible configuration is in the last.
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 14))
            }),
            probes: Family::default(),
            requests: Family::default(),
            bytes: Family::default(),
            hooks: Family::default(),
            open: Family::default(),
            unmatched: Family::default(),
            passed_over: Family::default(),
            job_wait: Family::new_with_constructor(waits),
        }
    }

    fn register(&self, registry: &mut Registry) {
        register(registry, "probe_duration_seconds", self.duration.clone());
        register(registry, "probe", self.probes.clone());
        register(registry, "probe_requests", self.requests.clone());
        register(registry, "probe_bytes", self.bytes.clone());
        register(registry, "hooks", self.hooks.clone());
        register(registry, "probe_breaker_open", self.open.clone());
        register(registry, "unmatched_jobs", self.unmatched.clone());
        register(registry, "jobs_passed_over", self.passed_over.clone());
        register(registry, "job_wait_seconds", self.job_wait.clone());
    }

    /// Shows what seldom happens at an emitter and its pools as never happened, so that its first time is a rise and not a new
    /// series.
    pub fn watches<'a>(&self, emitter: &str, pools: impl Iterator<Item = &'a str>) {
        self.breaker(emitter, false);
        for pool in pools {
            let label = [("pool", pool.to_owned())];
            drop(self.passed_over.get_or_create(&label));
        }
    }

    /// Runnable jobs of an emitter that no pool takes.
    pub fn set_unmatched(&self, emitter: &str, jobs: u32) {
        let label = [("emitter", emitter.to_owned())];
        self.unmatched.get_or_create(&label).set(i64::from(jobs));
    }

    /// A job was found that its CI server does not hand out although machines stand idle.
    pub fn passed_over(&self, pool: &str) {
        let label = [("pool", pool.to_owned())];
        self.passed_over.get_or_create(&label).inc();
    }

    /// A job began to run after it had waited for so long.
    pub fn job_started(&self, pool: &str, waited: Duration) {
        let label = [("pool", pool.to_owned())];
        let histogram = self.job_wait.get_or_create(&label);
        histogram.observe(waited.as_secs_f64());
    }

    /// A hook came for an emitter (`unknown` for one that takes none): `accepted`, `refused`, `busy` or `too_large`.
    pub fn hooked(&self, emitter: &str, outcome: &'static str) {
        let labels = [
            ("emitter", emitter.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.hooks.get_or_create(&labels).inc();
    }

    /// Whether the breaker of an emitter is open.
    pub fn breaker(&self, emitter: &str, open: bool) {
        let label = [("emitter", emitter.to_owned())];
        self.open.get_or_create(&label).set(i64::from(open));
    }

    /// One look at an emitter ended: what it cost and how it ended (`ok`, `partial`, or the code of
    /// the error's kind).
    pub fn probed(
        &self,
        emitter: &str,
        outcome: &'static str,
        took: Duration,
        requests: u64,
        bytes: u64,
    ) {
        let label = [("emitter", emitter.to_owned())];
        self.duration
            .get_or_create(&label)
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&label).inc_by(requests);
        self.bytes.get_or_create(&label).inc_by(bytes);
        let [emitter] = label;
        self.probes
            .get_or_create(&[emitter, ("outcome", outcome.to_owned())])
            .inc();
    }
}

/// What a scaler counts.
#[derive(Debug)]
pub struct ScalerMetrics {
    jobs: ByPool,
    machines: ByPool,
    reasons: ByPool,
    target: Gauges<1>,
    max: Gauges<1>,
    oldest_wait: Spans<1>,
    look_age: Spans<1>,
    create_wait: Histograms<1>,
    boot: Histograms<1>,
    stages: Histograms<2>,
    machine_seconds: Amounts<2>,
    spend: Amounts<2>,
    plans: Counters<2>,
    actions: Counters<3>,
    provider_calls: Counters<3>,
    tick: Histogram,
    held: Gauge,
    leader: Gauge,
    epoch: Gauge,
    violations: Counters<1>,
}

impl ScalerMetrics {
    fn new() -> Self {
        Self {
            jobs: ByPool::new("class"),
            machines: ByPool::new("phase"),
            reasons: ByPool::new("reason"),
            target: Family::default(),
            max: Family::default(),
            oldest_wait: Family::default(),
            look_age: Family::default(),
            create_wait: Family::new_with_constructor(waits),
            boot: Family::new_with_constructor(waits),
            stages: Family::new_with_constructor(waits),
            machine_seconds: Family::default(),
            spend: Family::default(),
            plans: Family::default(),
            actions: Family::default(),
            provider_calls: Family::default(),
            // 1 ms to 65 s: a tick that only decides is in the first buckets, one that waits for a
            // slow cloud in the last.
            tick: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            held: Gauge::default(),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            violations: Family::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        register(registry, "pool_jobs", self.jobs.gauges.clone());
        register(registry, "pool_machines", self.machines.gauges.clone());
        register(registry, "pool_reason", self.reasons.gauges.clone());
        register(registry, "pool_target_machines", self.target.clone());
        register(registry, "pool_max_machines", self.max.clone());
        register(
            registry,
            "pool_oldest_wait_seconds",
            self.oldest_wait.clone(),
        );
        register(registry, "pool_look_age_seconds", self.look_age.clone());
        register(registry, "create_wait_seconds", self.create_wait.clone());
        register(registry, "machine_boot_seconds", self.boot.clone());
        register(registry, "machine_stage_seconds", self.stages.clone());
        register(registry, "machine_seconds", self.machine_seconds.clone());
        register(registry, "spend", self.spend.clone());
        register(registry, "plan", self.plans.clone());
        register(registry, "action", self.actions.clone());
        register(registry, "provider_calls", self.provider_calls.clone());
        register(registry, "tick_duration_seconds", self.tick.clone());
        register(registry, "config_held_departures", self.held.clone());
        register(registry, "leader", self.leader.clone());
        register(registry, "epoch", self.epoch.clone());
        register(registry, "invariant_violations", self.violations.clone());
    }

    /// What the plan in force gives as its reasons, by their codes.
    pub fn set_reasons(&self, pool: &str, reasons: &BTreeSet<&'static str>) {
        let one = |reason: &&'static str| (*reason, 1);
        let reasons: Vec<_> = reasons.iter().map(one).collect();
        self.reasons.set(pool, &reasons);
    }

    /// How many machines a pool may have.
    pub fn set_max(&self, pool: &str, machines: u32) {
        let label = [("pool", pool.to_owned())];
        self.max.get_or_create(&label).set(i64::from(machines));
    }

    /// How long the oldest runnable job of a pool has waited, and how old the look is that says so.
    pub fn set_look(&self, pool: &str, oldest_wait: Duration, age: Duration) {
        let label = [("pool", pool.to_owned())];
        let waited = self.oldest_wait.get_or_create(&label);
        waited.set(oldest_wait.as_secs_f64());
        self.look_age.get_or_create(&label).set(age.as_secs_f64());
    }

    /// A creation is asked for, and its pool's oldest job has waited for so long.
    pub fn create_asked(&self, pool: &str, oldest_wait: Duration) {
        let label = [("pool", pool.to_owned())];
        let histogram = self.create_wait.get_or_create(&label);
        histogram.observe(oldest_wait.as_secs_f64());
    }

    /// A machine's executor came online so long after its creation.
    pub fn joined(&self, pool: &str, took: Duration) {
        let label = [("pool", pool.to_owned())];
        self.boot.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// A stage of a machine's way to its first job took so long: `requested`, `provisioning`, `booting` or `unused`.
    pub fn took(&self, pool: &str, stage: &'static str, took: Duration) {
        let labels = [("pool", pool.to_owned()), ("stage", stage.to_owned())];
        let histogram = self.stages.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
    }

    /// Machines of a pool were there for so long in all: `busy`, `idle`, `coming` or `leaving`, and what that came to where their
    /// offers have prices, in the currency of the configuration.
    pub fn spent(&self, pool: &str, usage: &'static str, seconds: f64, money: f64) {
        let labels = [("pool", pool.to_owned()), ("use", usage.to_owned())];
        self.machine_seconds.get_or_create(&labels).inc_by(seconds);
        if money > 0.0 {
            self.spend.get_or_create(&labels).inc_by(money);
        }
    }

    /// The jobs of a pool by class. Classes that are not given are zero.
    pub fn set_jobs(&self, pool: &str, by_class: &[(&'static str, u64)]) {
        self.jobs.set(pool, by_class);
    }

    /// The machines of a pool by phase. Phases that are not given are zero.
    pub fn set_machines(&self, pool: &str, by_phase: &[(&'static str, u64)]) {
        self.machines.set(pool, by_phase);
    }

    /// How many machines a pool should have.
    pub fn set_target(&self, pool: &str, machines: u64) {
        self.target
            .get_or_create(&[("pool", pool.to_owned())])
            .set(signed(machines));
    }

    /// A pool left the configuration: its gauges would stand at their last value for ever.
    pub fn forget_pool(&self, pool: &str) {
        self.jobs.forget(pool);
        self.machines.forget(pool);
        self.reasons.forget(pool);
        let label = [("pool", pool.to_owned())];
        self.target.remove(&label);
        self.max.remove(&label);
        self.oldest_wait.remove(&label);
        self.look_age.remove(&label);
    }

    /// Shows nothing of pools any more: another replica acts and shows them.
    pub fn forget_pools(&self) {
        for by_code in [&self.jobs, &self.machines, &self.reasons] {
            by_code.forget_all();
        }
        self.target.clear();
        self.max.clear();
        self.oldest_wait.clear();
        self.look_age.clear();
    }

    /// Machines that a changed configuration would let go and that wait for an operator.
    pub fn set_held(&self, machines: usize) {
        self.held.set(i64::try_from(machines).unwrap_or(i64::MAX));
    }

    /// A plan was made; called once for each of its reason codes.
    pub fn planned(&self, pool: &str, reason: &'static str) {
        self.plans
            .get_or_create(&[("pool", pool.to_owned()), ("reason", reason.to_owned())])
            .inc();
    }

    /// One action of a plan ended.
    pub fn acted(&self, pool: &str, action: &'static str, outcome: &'static str) {
        let labels = [
            ("pool", pool.to_owned()),
            ("action", action.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.actions.get_or_create(&labels).inc();
    }

    /// One call to a provider ended.
    pub fn called_provider(&self, provider: &str, operation: &'static str, outcome: &'static str) {
        let labels = [
            ("provider", provider.to_owned()),
            ("operation", operation.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.provider_calls.get_or_create(&labels).inc();
    }

    /// One pass ended.
    pub fn ticked(&self, took: Duration) {
        self.tick.observe(took.as_secs_f64());
    }

    /// Whether this process acts for the fleet, and under which epoch; without one the epoch stays
    /// at the newest that was held.
    pub fn set_lease(&self, epoch: Option<u64>) {
        self.leader.set(i64::from(epoch.is_some()));
        match epoch {
            Some(epoch) => {
                self.epoch.set(signed(epoch));
            }
            // what it knew is old from now on, and another replica shows it
            None => self.forget_pools(),
        }
    }

    /// Shows these invariants as never violated, so that a first violation is a rise and not a new series.
    pub fn watches(&self, invariants: &[&'static str]) {
        for invariant in invariants {
            let label = [("invariant", (*invariant).to_owned())];
            drop(self.violations.get_or_create(&label));
        }
    }

    /// A plan would have broken an invariant, named by its id in docs and code (`I1`).
    pub fn violated(&self, invariant: &'static str) {
        self.violations
            .get_or_create(&[("invariant", invariant.to_owned())])
            .inc();
    }
}

/// A gauge per pool and code whose codes are set all at once, so that a phase with no machine left
/// in it reads zero and a pool that is gone reads nothing.
#[derive(Debug)]
struct ByPool {
    label: &'static str,
    gauges: Gauges<2>,
    seen: Mutex<BTreeMap<String, BTreeSet<&'static str>>>,
}

impl ByPool {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            gauges: Family::default(),
            seen: Mutex::default(),
        }
    }

    fn set(&self, pool: &str, values: &[(&'static str, u64)]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let codes = seen.entry(pool.to_owned()).or_default();
        codes.extend(values.iter().map(|(code, _)| *code));
        for code in codes.iter() {
            let value = values
                .iter()
                .filter(|(given, _)| given == code)
                .map(|(_, n)| n)
                .sum();
            self.gauges
                .get_or_create(&self.labels(pool, code))
                .set(signed(value));
        }
    }

    fn forget(&self, pool: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for code in seen.remove(pool).unwrap_or_default() {
            self.gauges.remove(&self.labels(pool, code));
        }
    }

    fn forget_all(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clear();
        self.gauges.clear();
    }

    fn labels(&self, pool: &str, code: &'static str) -> Labels<2> {
        [("pool", pool.to_owned()), (self.label, code.to_owned())]
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn a_phase_that_emptied_is_zero_and_a_forgotten_pool_is_gone() {
        let metrics = Metrics::new(Service::Scaler);
        metrics.scaler.set_machines("linux", &[("booting", 2)]);
        metrics.scaler.set_machines("linux", &[("idle", 2)]);
        let text = metrics.exposition();
        assert!(
            has(
                &text,
                r#"parmanu_pool_machines{pool="linux",phase="booting"} 0"#
            ),
            "{text}"
        );
        assert!(
            has(
                &text,
                r#"parmanu_pool_machines{pool="linux",phase="idle"} 2"#
            ),
            "{text}"
        );
        metrics.scaler.forget_pool("linux");
        assert!(!metrics.exposition().contains("linux"));
    }

    /// Two replicas that both show a pool's machines would be taken for twice as many.
    #[test]
    fn a_replica_that_stands_down_shows_no_pool_any_more() {
        let metrics = Metrics::new(Service::Scaler);
        metrics.scaler.set_lease(Some(7));
        metrics.scaler.set_machines("linux", &[("idle", 2)]);
        metrics.scaler.set_target("linux", 2);
        metrics
            .scaler
            .set_look("linux", Duration::ZERO, Duration::ZERO);
        metrics.scaler.set_lease(None);
        let text = metrics.exposition();
        assert!(!text.contains("linux"), "{text}");
        metrics.scaler.set_machines("linux", &[("idle", 2)]);
        assert!(metrics.exposition().contains("linux"));
    }

    #[test]
    fn a_probot_does_not_claim_to_be_no_leader() {
        assert!(
            !Metrics::new(Service::Probot)
                .exposition()
                .contains("leader")
        );
    }
}
