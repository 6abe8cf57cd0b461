//! Every metric of Parmanu, in one place.
//!
//! Labels come from closed sets only: names in the configuration (pool, emitter, provider) and
//! `&'static str` codes written in the source. Never error text, never a machine's name: each value
//! of a label is a time series that somebody pays for.
//!
//! A service has only its own half registered, so that a probot does not claim to be no leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

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
        let help = "Calls to the store that failed";
        registry.register("store_errors", help, store_errors.clone());
        Self {
            registry,
            probot,
            scaler,
            store_errors,
        }
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
        }
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Time one look at a CI server took";
        registry.register("probe_duration_seconds", help, self.duration.clone());
        registry.register(
            "probe",
            "Looks at a CI server, by how they ended",
            self.probes.clone(),
        );
        let help = "Requests sent to a CI server by looks at it";
        registry.register("probe_requests", help, self.requests.clone());
        let help = "Bytes received from a CI server by looks at it";
        registry.register("probe_bytes", help, self.bytes.clone());
        let help = "Hooks that came for an emitter, by what became of them";
        registry.register("hooks", help, self.hooks.clone());
        let help = "1 while looks at an emitter fail and it is asked once a minute only";
        registry.register("probe_breaker_open", help, self.open.clone());
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
    target: Gauges<1>,
    plans: Counters<2>,
    actions: Counters<3>,
    provider_calls: Counters<3>,
    tick: Histogram,
    leader: Gauge,
    epoch: Gauge,
    violations: Counters<1>,
}

impl ScalerMetrics {
    fn new() -> Self {
        Self {
            jobs: ByPool::new("class"),
            machines: ByPool::new("phase"),
            target: Family::default(),
            plans: Family::default(),
            actions: Family::default(),
            provider_calls: Family::default(),
            // 1 ms to 65 s: a tick that only decides is in the first buckets, one that waits for a
            // slow cloud in the last.
            tick: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            leader: Gauge::default(),
            epoch: Gauge::default(),
            violations: Family::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Jobs of a pool, by what they wait for";
        registry.register("pool_jobs", help, self.jobs.gauges.clone());
        let help = "Machines of a pool, by phase";
        registry.register("pool_machines", help, self.machines.gauges.clone());
        let help = "Machines the pool should have, as last decided";
        registry.register("pool_target_machines", help, self.target.clone());
        let help = "Plans made, once for each reason a plan gave";
        registry.register("plan", help, self.plans.clone());
        registry.register(
            "action",
            "Actions carried out, by how they ended",
            self.actions.clone(),
        );
        let help = "Calls to a provider, by how they ended";
        registry.register("provider_calls", help, self.provider_calls.clone());
        registry.register(
            "tick_duration_seconds",
            "Time one pass took",
            self.tick.clone(),
        );
        let help = "1 while this process acts for the fleet, 0 while it stands by";
        registry.register("leader", help, self.leader.clone());
        registry.register(
            "epoch",
            "The newest lease epoch this process held",
            self.epoch.clone(),
        );
        let help = "Plans refused because they would have broken an invariant";
        registry.register("invariant_violations", help, self.violations.clone());
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
        self.target.remove(&[("pool", pool.to_owned())]);
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
        if let Some(epoch) = epoch {
            self.epoch.set(signed(epoch));
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
    fn the_names_and_labels_are_the_documented_ones() {
        let metrics = Metrics::new(Service::Both);
        metrics
            .probot
            .probed("gitlab", "ok", Duration::from_millis(15), 3, 4096);
        metrics.scaler.set_jobs("linux", &[("runnable", 2)]);
        metrics.scaler.set_machines("linux", &[("idle", 1)]);
        metrics.scaler.set_target("linux", 3);
        metrics.scaler.planned("linux", "demand");
        metrics.scaler.acted("linux", "create", "ok");
        metrics.scaler.called_provider("aws", "list", "ok");
        metrics.scaler.ticked(Duration::from_millis(3));
        metrics.scaler.set_lease(Some(7));
        metrics.scaler.violated("I1");
        metrics.store_error();
        let text = metrics.exposition();
        for line in [
            r#"parmanu_probe_duration_seconds_count{emitter="gitlab"} 1"#,
            r#"parmanu_probe_total{emitter="gitlab",outcome="ok"} 1"#,
            r#"parmanu_probe_requests_total{emitter="gitlab"} 3"#,
            r#"parmanu_probe_bytes_total{emitter="gitlab"} 4096"#,
            r#"parmanu_pool_jobs{pool="linux",class="runnable"} 2"#,
            r#"parmanu_pool_machines{pool="linux",phase="idle"} 1"#,
            r#"parmanu_pool_target_machines{pool="linux"} 3"#,
            r#"parmanu_plan_total{pool="linux",reason="demand"} 1"#,
            r#"parmanu_action_total{pool="linux",action="create",outcome="ok"} 1"#,
            r#"parmanu_provider_calls_total{provider="aws",operation="list",outcome="ok"} 1"#,
            "parmanu_store_errors_total 1",
            "parmanu_tick_duration_seconds_count 1",
            "parmanu_leader 1",
            "parmanu_epoch 7",
            r#"parmanu_invariant_violations_total{invariant="I1"} 1"#,
        ] {
            assert!(has(&text, line), "{line} is not in\n{text}");
        }
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

    #[test]
    fn a_probot_does_not_claim_to_be_no_leader() {
        assert!(
            !Metrics::new(Service::Probot)
                .exposition()
                .contains("leader")
        );
    }
}
