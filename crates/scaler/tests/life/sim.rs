//! One life: the product's own wiring of a checked configuration, over the fakes, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::{Registries, Settings};
use fake_ec2::Ec2;
use fake_gce::Gce;
use model::{HolderId, InstallationId, ProviderName};
use ports::{Clock, Provider, Store};
use probot::{Polled, Probot};
use scaler::{FleetView, Parts, Scaler, Timing};
use store_memory::MemoryStore;
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{SimClock, shared};
use crate::cloud::{Cloud, Ec2Cloud, GceCloud};
use crate::gate::{Gate, GatedClock, GatedProvider, GatedStore};
use crate::liar::Liar;
use crate::ports::{CloudPort, Shared, Wire, lock};
use crate::setup::{IMAGES, Kind, Setup};
use crate::world::{BEAT, World};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// More virtual time than any life takes: one that gets here waits for something that never comes.
const END_OF_TIME: Duration = Duration::from_secs(48 * 3600);

/// Where the CI server is, as nobody else can be.
pub(crate) const URL: &str = "http://ci.test";

/// A life that goes on.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) setup: Setup,
    clock: Arc<SimClock>,
    world: Shared,
    pub(crate) store: Arc<MemoryStore>,
    in_force: Arc<Mutex<InForce>>,
    registries: Arc<Registries>,
}

/// The configuration that a service reads when it starts, or when it is told to.
struct InForce {
    setup: Setup,
    settings: Arc<Settings>,
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
        world.lock().unwrap_or_else(PoisonError::into_inner).beat();
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
        images: IMAGES.map(str::to_owned).into(),
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
        let ci = setup.kind.server(setup.join, clock.now());
        let mut world = World::new(shared(clock), setup.seed, ci);
        world.is_configured(&setup);
        world.clouds.extend(clouds(&setup));
        let registries = Registries {
            emitters: plugins::emitters(),
            providers: plugins::providers(),
        };
        let in_force = InForce {
            setup: setup.clone(),
            settings: Arc::new(setup.settings(&registries)),
        };
        Sim {
            in_force: Arc::new(Mutex::new(in_force)),
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

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the configuration in force says.
    pub(crate) fn configured(&self) -> Setup {
        self.in_force().setup.clone()
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.in_force().settings.clone()
    }

    /// Another configuration stands in the file from now on; whoever runs goes on with it when it [`Running::reads`] it.
    pub(crate) fn configure(&self, setup: &Setup) {
        let settings = Arc::new(setup.settings(&self.registries));
        self.world().is_configured(setup);
        let setup = setup.clone();
        *self.in_force() = InForce { setup, settings };
    }

    /// Calls on the way may still arrive when the next scaler acts.
    pub(crate) fn another_may_act(&self) {
        self.world().another_may_act();
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
        let (min, _) = self.configured().at_rest();
        let what = "all jobs done, machines at the minimum, no executor without a machine";
        let limit = limit + self.world().work_left();
        self.until(what, limit, |world| world.settled(min)).await;
    }

    /// As [`Sim::until_settled`], and so it stays: what is so for a moment may be so by chance, while the services still
    /// learn that all is well again.
    pub(crate) async fn comes_to_rest(&self) {
        let (min, _) = self.configured().at_rest();
        // the longest of it: a breaker that opens, a lost creation, a ghost that is watched
        let mut limit = SECOND * 1_200;
        if self.setup.kind == Kind::GitLab && self.world().has_former_executors() {
            // GitLab takes a runner for online for so long after it heard of it last, and one of a pool that is not configured
            // stays until then
            limit += SECOND * 7_200;
        }
        for _ in 0..6 {
            self.until_settled(limit).await;
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

    fn emitters(&self) -> Vec<Arc<Polled>> {
        self.open_wire(false, &Gate::open());
        let emitters = Probot::emitters(&self.settings(), &self.registries, &shared(&self.clock));
        emitters.expect("the emitter")
    }

    pub(crate) fn probot(&self, holder: &str) -> Running {
        let mut running = Running::new(Service::Probot, Gate::open());
        let probot = Probot {
            emitters: self.emitters(),
            store: self.store.clone(),
            clock: shared(&self.clock),
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            hooks: None,
        };
        let (change, changes) = watch::channel(Vec::new());
        running.reads = Box::new(move |sim| {
            change.send_replace(sim.emitters());
        });
        let stop = running.stop.clone();
        running.with(tokio::spawn(probot.run_with(stop, changes)))
    }

    fn providers(&self, gate: &Gate) -> BTreeMap<ProviderName, Arc<dyn Provider>> {
        let settings = self.settings();
        let providers = settings.providers.keys().map(|name| {
            let port = CloudPort {
                name: name.clone(),
                world: self.world.clone(),
                clock: shared(&self.clock),
            };
            let provider: Arc<dyn Provider> = Arc::new(GatedProvider(gate.clone(), Arc::new(port)));
            (name.clone(), provider)
        });
        providers.collect()
    }

    /// What the configuration in force means for a scaler behind this gate. Its providers stay the ones they are, as no key of
    /// theirs is ever changed here.
    fn parts(&self, gate: &Gate, providers: &BTreeMap<ProviderName, Arc<dyn Provider>>) -> Parts {
        self.open_wire(true, gate);
        let clock: Arc<dyn Clock> = Arc::new(GatedClock(gate.clone(), shared(&self.clock)));
        let settings = self.settings();
        let controls = Scaler::controls(&settings, &self.registries, &clock);
        let mut controls = controls.expect("the controls");
        for control in controls.values_mut() {
            *control = Liar::between(control.clone(), self.setup.lies);
        }
        Parts {
            config: settings.hash.clone(),
            pools: Scaler::pools(&settings),
            limits: settings.limits.clone(),
            settles: Scaler::settles(&settings),
            providers: providers.clone(),
            places: Scaler::places(&settings),
            controls,
        }
    }

    pub(crate) fn scaler(&self, holder: &str, gate: Gate) -> Running {
        let mut running = Running::new(Service::Scaler, gate.clone());
        let store: Arc<dyn Store> = self.store.clone();
        let Parts {
            config,
            pools,
            limits,
            providers,
            places,
            controls,
            settles,
        } = self.parts(&gate, &self.providers(&gate));
        let kept = providers.clone();
        let scaler = Scaler {
            id: self.settings().fleet.clone(),
            installation: InstallationId::new("installation"),
            config,
            pools,
            limits,
            settles,
            providers,
            places,
            controls,
            store: Arc::new(GatedStore(gate.clone(), store)),
            clock: Arc::new(GatedClock(gate.clone(), shared(&self.clock))),
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            timing: Timing {
                list_every: SECOND * 5,
                ..Timing::default()
            },
        };
        let (change, changes) = watch::channel(None);
        running.reads = Box::new(move |sim| {
            change.send_replace(Some(Arc::new(sim.parts(&gate, &kept))));
        });
        let view = watch::channel(FleetView::default()).0;
        let stop = running.stop.clone();
        running.with(tokio::spawn(
            scaler.run_reloadable(stop, view, None, changes),
        ))
    }
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) gate: Gate,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    task: Option<JoinHandle<()>>,
    reads: Box<dyn Fn(&Sim)>,
}

impl Running {
    fn new(service: Service, gate: Gate) -> Self {
        Running {
            gate,
            stop: CancellationToken::new(),
            metrics: Arc::new(Metrics::new(service)),
            readiness: Readiness::default(),
            task: None,
            reads: Box::new(|_| {}),
        }
    }

    /// Goes on with the configuration that stands in the file now.
    pub(crate) fn reads(&self, sim: &Sim) {
        (self.reads)(sim);
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
