//! One life: the product's own wiring of a checked configuration, over the fakes, in virtual time.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use config::{Registries, Settings};
use fake_ec2::Ec2;
use fake_gce::Gce;
use jiff::Timestamp;
use model::{HolderId, InstallationId, ProviderName};
use ports::{Clock, Provider, Store};
use probot::Probot;
use scaler::{FleetView, Scaler, Timing};
use store_memory::MemoryStore;
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ci::{Ci, GitLab, Jenkins, TOKEN, TeamCity};
use crate::clock::{SimClock, shared};
use crate::cloud::{Cloud, Ec2Cloud, GceCloud};
use crate::gate::{Gate, GatedClock, GatedProvider, GatedStore};
use crate::liar::{Liar, Lies};
use crate::ports::{CloudPort, Shared, Wire, lock};
use crate::world::{BEAT, FLEET, World};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// More virtual time than any life takes: one that gets here waits for something that never comes.
const END_OF_TIME: Duration = Duration::from_secs(48 * 3600);

/// Whose CI server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    GitLab,
    Jenkins,
    TeamCity,
}

impl Kind {
    pub(crate) fn server(self, now: Timestamp) -> Box<dyn Ci> {
        match self {
            Kind::GitLab => Box::new(GitLab::new()),
            Kind::Jenkins => Box::new(Jenkins::new()),
            Kind::TeamCity => Box::new(TeamCity::new(now)),
        }
    }
}

/// Where everything is, as the configuration says it.
pub(crate) struct Places<'a> {
    pub(crate) store: &'a str,
    pub(crate) ci: &'a str,
    /// More keys of each provider.
    pub(crate) aws: &'a str,
    pub(crate) gcp: &'a str,
}

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// In the order of the pool's offers.
    pub(crate) clouds: Vec<&'static str>,
    pub(crate) boot: Duration,
    pub(crate) lag: Duration,
    /// Longest time the configuration lets the CI server take to hand out what it promised.
    pub(crate) settle: Duration,
    /// Jobs that a machine may run, if they are counted.
    pub(crate) max_jobs: Option<u32>,
    /// How old a machine may grow before another takes its place.
    pub(crate) max_age: Option<Duration>,
    /// Strong reads that tell of an idle and cordoned executor, whatever is true.
    pub(crate) lies: Lies,
}

impl Setup {
    pub(crate) fn of(kind: Kind) -> Self {
        Setup {
            seed: 1,
            kind,
            min: 0,
            max: 6,
            clouds: vec!["aws"],
            boot: SECOND * 3,
            lag: Duration::ZERO,
            settle: SECOND * 3,
            max_jobs: None,
            max_age: None,
            lies: Lies::None,
        }
    }

    pub(crate) fn text(&self, at: &Places<'_>) -> String {
        let Places {
            store,
            ci: url,
            aws,
            gcp,
        } = at;
        let (min, max, lag) = (self.min, self.max, self.lag.as_secs());
        let settle = self.settle.as_secs();
        let emitter = match self.kind {
            Kind::GitLab => format!(
                "kind: gitlab, url: \"{url}\", token: {TOKEN}, manage_token: {TOKEN}, scope: {{ instance: true }}"
            ),
            Kind::Jenkins => {
                format!(
                    "kind: jenkins, url: \"{url}\", user: parmanu, token: {TOKEN}, manage: {{}}"
                )
            }
            Kind::TeamCity => {
                format!("kind: teamcity, url: \"{url}\", token: {TOKEN}, manage: {{}}")
            }
        };
        let serves = match self.kind {
            Kind::GitLab => "tags: [linux]",
            Kind::Jenkins => "labels: [linux]",
            Kind::TeamCity => "agent_pool: Linux, prototype: prototype",
        };
        let offers = self.clouds.iter().map(|cloud| match *cloud {
            "aws" => "{ provider: aws, image: ami-00000000000000001, types: [m7i.large] }",
            _ => "{ provider: gcp, image: projects/acme-ci/global/images/ci-linux-v12, types: [e2-small] }",
        });
        let offers = offers.collect::<Vec<_>>().join(", ");
        let jobs = self.max_jobs.map(|jobs| format!("max_jobs: {jobs}"));
        let age = self
            .max_age
            .map(|age| format!("max_age: {}s", age.as_secs()));
        let reuse = jobs.into_iter().chain(age).collect::<Vec<_>>().join(", ");
        format!(
            r#"
version: 1
fleet: {FLEET}
store: {{ {store} }}
emitters:
  ci: {{ {emitter}, settle: {settle}s, probe: {{ every: 2s, timeout: 5s }} }}
providers:
  aws: {{ kind: ec2, region: eu-central-1, listing_lag: {lag}s{aws} }}
  gcp: {{ kind: gce, project: acme-ci, zones: [europe-west3-a], listing_lag: {lag}s{gcp} }}
machines:
  small: {{ bootstrap: boot.j2, boot: {{ expect: 5s, timeout: 60s }}, reuse: {{ {reuse} }}, offers: [{offers}] }}
pools:
  linux: {{ emitter: ci, serves: [{{ {serves} }}], machine: small, min: {min}, max: {max}, rules: [soon], fresh_for: 30s }}
rules:
  soon: {{ kind: scale-in, idle_for: 10s }}
"#
        )
    }

    fn settings(&self, registries: &Registries) -> Settings {
        let here = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/life"));
        let places = Places {
            store: "kind: memory",
            ci: URL,
            aws: "",
            gcp: "",
        };
        match config::check_text(&self.text(&places), "life.yaml", here, registries) {
            Ok((settings, _)) => settings,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Where the CI server is, as nobody else can be.
const URL: &str = "http://ci.test";

/// A life that goes on.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) setup: Setup,
    clock: Arc<SimClock>,
    world: Shared,
    pub(crate) store: Arc<MemoryStore>,
    settings: Arc<Settings>,
    registries: Arc<Registries>,
}

/// Runs a life to its end; time passes only while nothing can run. Fails with all that the fakes found wrong.
pub(crate) fn simulate<F: Future<Output = ()>>(setup: Setup, life: impl FnOnce(Sim) -> F) {
    if std::env::var_os("PARMANU_TEST_LOG").is_some() {
        let _ = telemetry::logs::init(telemetry::logs::LogFormat::Human, None);
    }
    let _replay = Replay(setup.kind, setup.seed);
    fastrand::seed(setup.seed);
    let clock = Arc::new(SimClock::default());
    let sim = Sim::new(setup, &clock);
    let (world, time) = (sim.world.clone(), clock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_park(move || pass_time(&time, &world))
        .build()
        .expect("a runtime");
    runtime.block_on(life(sim.clone()));
    let wrong = sim.world().verdict();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Called when nothing can run: the world moves, then time, until somebody wakes.
fn pass_time(clock: &SimClock, world: &Mutex<World>) {
    loop {
        world
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .beat();
        let beat = clock.boottime() + BEAT;
        assert!(beat < END_OF_TIME, "waited for something that never comes");
        let next = clock.next().map_or(beat, |next| next.min(beat));
        if clock.advance(next) {
            return;
        }
    }
}

/// Says how to replay a life that failed.
struct Replay(Kind, u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Replay(kind, seed) = self;
            let line = format!("replay with PARMANU_TEST_SEED={seed} and the test of {kind:?}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }
}

fn clouds(setup: &Setup) -> [(ProviderName, Box<dyn Cloud>); 2] {
    let (boot, lag) = (setup.boot, setup.lag);
    let ec2 = Ec2::new(fake_ec2::Settings {
        boot,
        appears_after: lag,
        ends_unseen_for: lag,
        ..fake_ec2::Settings::default()
    });
    let gce = Gce::new(fake_gce::Settings {
        creation: boot,
        appears_after: lag,
        ends_unseen_for: lag,
        anonymous: true,
        ..fake_gce::Settings::default()
    });
    let named = |name: &str| name.parse().expect("the name of a provider");
    [
        (named("aws"), Box::new(Ec2Cloud { ec2, boot })),
        (named("gcp"), Box::new(GceCloud { gce, boot })),
    ]
}

impl Sim {
    fn new(setup: Setup, clock: &Arc<SimClock>) -> Self {
        let ci = setup.kind.server(clock.now());
        let mut world = World::new(shared(clock), setup.seed, ci);
        world.max = setup.max as usize;
        world.clouds.extend(clouds(&setup));
        let registries = Registries {
            emitters: plugins::emitters(),
            providers: plugins::providers(),
        };
        Sim {
            settings: Arc::new(setup.settings(&registries)),
            registries: Arc::new(registries),
            setup,
            clock: clock.clone(),
            world: Arc::new(Mutex::new(world)),
            store: Arc::new(MemoryStore::new(shared(clock))),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Calls on the way may still arrive when the next scaler acts.
    pub(crate) fn another_may_act(&self) {
        let mut world = self.world();
        world.above_max += world.on_the_way;
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// Waits for a state of the world, and fails when it does not come within `limit` of virtual time.
    pub(crate) async fn until(&self, what: &str, limit: Duration, is: impl Fn(&World) -> bool) {
        let began = self.clock.boottime();
        while !is(&self.world()) {
            let world = self.world();
            assert!(
                self.clock.boottime() - began <= limit,
                "not within {limit:?}: {what}\n{}",
                world.tell()
            );
            drop(world);
            self.pass(BEAT).await;
        }
    }

    /// Waits until all jobs have ended and nothing is left but the minimum, and stays so.
    pub(crate) async fn until_settled(&self, limit: Duration) {
        let min = self.setup.min as usize;
        let what = "all jobs done, machines at the minimum, no executor without a machine";
        let limit = limit + self.world().work_left();
        self.until(what, limit, |world| world.settled(min)).await;
    }

    /// As [`Sim::until_settled`], and so it stays: what is so for a moment may be so by chance, while the services still
    /// learn that all is well again.
    pub(crate) async fn comes_to_rest(&self) {
        let min = self.setup.min as usize;
        for _ in 0..6 {
            // the longest of it: a breaker that opens, a lost creation, a ghost that is watched
            self.until_settled(SECOND * 1_200).await;
            self.pass(SECOND * 30).await;
            if self.world().settled(min) {
                return;
            }
        }
        panic!("it does not stay so: {}", self.world().tell());
    }

    /// From now on whoever makes a client of the CI server reaches it through this gate.
    fn open_wire(&self, of_scaler: bool, gate: &Gate) {
        let wire = Wire {
            of_scaler,
            world: self.world.clone(),
            clock: shared(&self.clock),
            gate: gate.clone(),
        };
        web::memory::serve(&URL.parse().expect("an address"), Arc::new(wire));
    }

    pub(crate) fn probot(&self, holder: &str) -> Running {
        self.open_wire(false, &Gate::open());
        let running = Running::new(Service::Probot, Gate::open());
        let clock = shared(&self.clock);
        let emitters = Probot::emitters(&self.settings, &self.registries, &clock);
        let probot = Probot {
            emitters: emitters.expect("the emitter"),
            store: self.store.clone(),
            clock,
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            hooks: None,
        };
        let stop = running.stop.clone();
        running.with(tokio::spawn(probot.run(stop)))
    }

    pub(crate) fn scaler(&self, holder: &str, gate: Gate) -> Running {
        self.open_wire(true, &gate);
        let running = Running::new(Service::Scaler, gate.clone());
        let clock: Arc<dyn Clock> = Arc::new(GatedClock(gate.clone(), shared(&self.clock)));
        let store: Arc<dyn Store> = self.store.clone();
        let providers = self.settings.providers.keys().map(|name| {
            let port = CloudPort {
                name: name.clone(),
                world: self.world.clone(),
                clock: shared(&self.clock),
            };
            let provider: Arc<dyn Provider> = Arc::new(GatedProvider(gate.clone(), Arc::new(port)));
            (name.clone(), provider)
        });
        let controls = Scaler::controls(&self.settings, &self.registries, &clock);
        let mut controls = controls.expect("the controls");
        for control in controls.values_mut() {
            *control = Liar::between(control.clone(), self.setup.lies);
        }
        let scaler = Scaler {
            id: self.settings.fleet.clone(),
            installation: InstallationId::new("installation"),
            config: self.settings.hash.clone(),
            pools: Scaler::pools(&self.settings),
            limits: self.settings.limits.clone(),
            settles: Scaler::settles(&self.settings),
            providers: providers.collect(),
            places: Scaler::places(&self.settings),
            controls,
            store: Arc::new(GatedStore(gate.clone(), store)),
            clock,
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            timing: Timing {
                list_every: SECOND * 5,
                ..Timing::default()
            },
        };
        let view = watch::channel(FleetView::default()).0;
        let stop = running.stop.clone();
        running.with(tokio::spawn(scaler.run(stop, view)))
    }
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) gate: Gate,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    task: Option<JoinHandle<()>>,
}

impl Running {
    fn new(service: Service, gate: Gate) -> Self {
        Running {
            gate,
            stop: CancellationToken::new(),
            metrics: Arc::new(Metrics::new(service)),
            readiness: Readiness::default(),
            task: None,
        }
    }

    fn with(mut self, task: JoinHandle<()>) -> Self {
        self.task = Some(task);
        self
    }

    /// Stops it as a signal does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("a service that does not break");
        }
        self.no_plan_broke_an_invariant();
    }

    /// Kills it at once, wherever it stands.
    pub(crate) async fn crash(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let end = task.await;
            assert!(end.is_ok() || end.is_err_and(|end| end.is_cancelled()));
        }
        self.no_plan_broke_an_invariant();
    }

    fn no_plan_broke_an_invariant(&self) {
        let text = self.metrics.exposition();
        let broken = text
            .lines()
            .filter(|line| line.starts_with("parmanu_invariant_violations_total{"))
            .find(|line| !line.ends_with(" 0"));
        assert_eq!(broken, None, "a plan broke an invariant");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
