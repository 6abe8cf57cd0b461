//! The real loops of probot and scaler in one process and in virtual time, over fakes whose truth can be asked for.
#![allow(dead_code, reason = "each test file uses its own part of the support")]

mod clock;
mod clocks;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use emitter_fake::{FakeCi, FakeEmitter, Serves};
use model::{
    Boot, Bootstrap, ConfigHash, EmitterName, ExecutorMode, HolderId, InstallationId, OfferId,
    OfferPolicy, OnStale, Policy, PoolName, ProviderName, Rule, RuleKind, UncontrolledLeave,
    WorkloadTrust, rules::ScaleIn,
};
use ports::{Clock, Emitter, EmitterPlugin, ExecutorControl, Provider, Store};
use probot::mapping::{Mapper, PoolRule};
use probot::{Polled, Probot};
use provider_fake::{FakeCloud, Options};
use scaler::{FleetView, Parts, Pool, Scaler, Timing};
use store_memory::MemoryStore;
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use clock::{SimClock, shared};
use clocks::SetOff;
pub(crate) use world::World;
use world::{BEAT, Limits};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Longest time a CI server may take to hand out a job it promised.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// Idle machines leave after this.
pub(crate) const IDLE_FOR: Duration = Duration::from_secs(10);

/// More virtual time than any test needs: one that gets here waits for something that never comes.
const END_OF_TIME: Duration = Duration::from_secs(48 * 3600);

/// One pool, served by a CI server and a cloud of its own unless they are shared by name.
#[derive(Clone)]
pub(crate) struct PoolSetup {
    pub(crate) name: &'static str,
    pub(crate) emitter: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) bootstrap: Bootstrap,
    /// How machines leave whose executors cannot be controlled, if they cannot.
    pub(crate) uncontrolled: Option<UncontrolledLeave>,
    /// Idle machines leave after this.
    pub(crate) idle_for: Duration,
    /// Agents register themselves.
    pub(crate) enrols: bool,
    /// Machines join no CI server.
    pub(crate) joins_nothing: bool,
}

pub(crate) const LINUX: PoolSetup = PoolSetup {
    name: "linux",
    emitter: "ci",
    provider: "sim",
    min: 0,
    max: 10,
    bootstrap: Bootstrap::PerMachine,
    uncontrolled: None,
    idle_for: IDLE_FOR,
    enrols: false,
    joins_nothing: false,
};

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) pools: Vec<PoolSetup>,
    pub(crate) boot: Duration,
    pub(crate) lag: Duration,
    /// A provider that the configuration does not name.
    pub(crate) removed: Option<&'static str>,
    /// A provider that stands at the cloud of another one.
    pub(crate) moved: Option<(&'static str, &'static str)>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            seed: 1,
            pools: vec![LINUX],
            boot: SECOND * 5,
            lag: Duration::ZERO,
            removed: None,
            moved: None,
        }
    }
}

/// A test in virtual time.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) setup: Setup,
    pub(crate) clock: Arc<SimClock>,
    /// What the services take for the time.
    pub(crate) wall: Arc<SetOff>,
    world: Arc<Mutex<World>>,
    pub(crate) store: Arc<MemoryStore>,
}

/// Runs a test until its end; time passes only while nothing can run. Fails with everything the world found wrong.
pub(crate) fn simulate<F: Future<Output = ()>>(setup: Setup, test: impl FnOnce(Sim) -> F) {
    if std::env::var_os("PARMANU_TEST_LOG").is_some() {
        let _ = telemetry::logs::init(telemetry::logs::LogFormat::Human, None);
    }
    let seed = setup.seed;
    let _replay = Replay(seed);
    fastrand::seed(seed);
    let clock = Arc::new(SimClock::default());
    let sim = Sim::new(setup, &clock);
    let (world, time) = (sim.world.clone(), clock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .on_thread_park(move || pass_time(&time, &world))
        .build()
        .expect("a runtime");
    runtime.block_on(test(sim.clone()));
    let wrong = std::mem::take(&mut sim.world().wrong);
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

/// Says how to replay a test that failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let line = format!("replay with PARMANU_TEST_SEED={}\n", self.0);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

impl Sim {
    fn new(setup: Setup, clock: &Arc<SimClock>) -> Self {
        let mut world = World::new(clock.clone(), setup.seed);
        let mut tags: BTreeMap<EmitterName, BTreeMap<PoolName, Vec<String>>> = BTreeMap::new();
        for pool in &setup.pools {
            let limits = Limits {
                emitter: parsed(pool.emitter),
                provider: parsed(pool.provider),
                max: pool.max as usize,
                enrols: pool.enrols || pool.uncontrolled.is_some(),
            };
            tags.entry(limits.emitter.clone())
                .or_default()
                .insert(parsed(pool.name), vec![pool.name.to_owned()]);
            let options = Options {
                boot: setup.boot,
                lag: setup.lag,
                capacity: u32::MAX,
            };
            let provider = limits.provider.clone();
            world
                .clouds
                .entry(provider.clone())
                .or_insert_with(|| FakeCloud::new(provider, shared(clock), options));
            world.pools.insert(parsed(pool.name), limits);
        }
        for (name, pools) in tags {
            let ci = FakeCi::new(name.clone(), parsed("acme"), shared(clock), SETTLE, pools);
            world.cis.insert(name, ci);
        }
        Sim {
            setup,
            clock: clock.clone(),
            wall: Arc::new(SetOff::of(clock)),
            world: Arc::new(Mutex::new(world)),
            store: Arc::new(MemoryStore::new(shared(clock))),
        }
    }

    /// The same world, met by an installation with another store.
    pub(crate) fn elsewhere(&self) -> Sim {
        Sim {
            store: Arc::new(MemoryStore::new(shared(&self.clock))),
            ..self.clone()
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ci(&self, name: &str) -> FakeCi {
        self.world().cis[&parsed::<EmitterName>(name)].clone()
    }

    pub(crate) fn cloud(&self, name: &str) -> FakeCloud {
        self.world().clouds[&parsed::<ProviderName>(name)].clone()
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// Waits for a state of the world, and fails when it does not come within `limit` of virtual time.
    pub(crate) async fn until(
        &self,
        what: &str,
        limit: Duration,
        is: impl Fn(&World) -> bool,
    ) -> Duration {
        let began = self.clock.boottime();
        loop {
            if is(&self.world()) {
                return self.clock.boottime() - began;
            }
            if self.clock.boottime() - began > limit {
                let world = self.world();
                let alive: Vec<_> = world
                    .pools
                    .keys()
                    .map(|p| world.alive(p.as_str()))
                    .collect();
                panic!(
                    "not within {limit:?}: {what}\nmachines: {alive:?}\nexecutors: {:?}\nopen jobs: {}\nwrong: {:?}",
                    world.executors(),
                    world.open_jobs(),
                    world.wrong,
                );
            }
            self.pass(BEAT).await;
        }
    }

    /// Waits until all jobs have ended and nothing is left but the minimum.
    pub(crate) async fn until_settled(&self, limit: Duration) -> Duration {
        let min: u32 = self.setup.pools.iter().map(|pool| pool.min).sum();
        let what = "all jobs done, machines back to the minimum, no executor without a machine";
        self.until(what, limit, |world| world.settled(min as usize))
            .await
    }

    pub(crate) fn probot(&self, holder: &str) -> Running {
        self.probot_with(holder, |ci| Arc::new(ci))
    }

    /// A probot that looks at the CI servers through what is made of them.
    pub(crate) fn probot_with(
        &self,
        holder: &str,
        through: impl Fn(FakeCi) -> Arc<dyn Emitter>,
    ) -> Running {
        let running = Running::new(Service::Probot);
        let world = self.world();
        let emitters = world.cis.iter().map(|(name, ci)| {
            let mine = self
                .setup
                .pools
                .iter()
                .filter(|p| p.emitter == name.as_str());
            let rules = mine.map(|pool| PoolRule {
                name: parsed(pool.name),
                precedence: 0,
                job: model::JobRange::default(),
                matcher: FakeEmitter::matcher(vec![Serves {
                    tags: vec![pool.name.to_owned()],
                }]),
            });
            let (fleet, config) = (parsed("acme"), ConfigHash::new("c"));
            Arc::new(Polled {
                name: name.clone(),
                emitter: through(ci.clone()),
                mapper: Mapper::new(name.clone(), fleet, config, rules.collect()),
                every: SECOND * 2,
                timeout: SECOND * 5,
            })
        });
        let probot = Probot {
            emitters: emitters.collect(),
            store: self.store.clone(),
            clock: self.wall.clone(),
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            hooks: None,
        };
        let stop = running.stop.clone();
        running.with(tokio::spawn(probot.run(stop)))
    }

    /// Puts machines and executors into the world that are not ours.
    pub(crate) async fn strangers(&self) {
        let (clouds, cis): (Vec<_>, Vec<_>) = {
            let world = self.world();
            let clouds = world.clouds.values().cloned().collect();
            (clouds, world.cis.values().cloned().collect())
        };
        world::strangers(&self.clock, &clouds, &cis).await;
    }

    pub(crate) fn clock_now(&self) -> Duration {
        self.clock.boottime()
    }

    /// A scaler that has asked for the lease once when this returns.
    pub(crate) async fn scaler_at_once(&self, holder: &str) -> Running {
        let scaler = self.scaler(holder);
        self.pass(Duration::from_millis(1)).await;
        scaler
    }

    pub(crate) fn scaler(&self, holder: &str) -> Running {
        self.scaler_on(holder, self.store.clone())
    }

    pub(crate) fn scaler_on(&self, holder: &str, store: Arc<dyn Store>) -> Running {
        self.scaler_with(holder, store, None)
    }

    /// A scaler that shows what it sees.
    pub(crate) fn scaler_with(
        &self,
        holder: &str,
        store: Arc<dyn Store>,
        api: Option<scaler::Api>,
    ) -> Running {
        let (_keep, changes) = watch::channel(None);
        self.scaler_reloaded(holder, store, api, changes)
    }

    /// A scaler that goes on with what `changes` brings.
    pub(crate) fn scaler_reloaded(
        &self,
        holder: &str,
        store: Arc<dyn Store>,
        api: Option<scaler::Api>,
        changes: watch::Receiver<Option<Arc<Parts>>>,
    ) -> Running {
        let mut running = Running::new(Service::Scaler);
        let Parts {
            config,
            pools,
            limits,
            providers,
            places,
            controls,
            settles,
        } = self.parts();
        let scaler = Scaler {
            id: parsed("acme"),
            installation: InstallationId::new("installation"),
            config,
            pools,
            limits,
            providers,
            places,
            controls,
            settles,
            store,
            clock: self.wall.clone(),
            metrics: running.metrics.clone(),
            readiness: running.readiness.clone(),
            holder: HolderId::new(holder),
            timing: Timing {
                list_every: SECOND * 5,
                ..Timing::default()
            },
        };
        let (view, seen) = watch::channel(FleetView::default());
        running.view = seen;
        let stop = running.stop.clone();
        running.with(tokio::spawn(
            scaler.run_reloadable(stop, view, api, changes),
        ))
    }

    /// What the pools of this setup are for a scaler.
    pub(crate) fn parts(&self) -> Parts {
        let world = self.world();
        let named = world.clouds.keys();
        let named = named.filter(|name| self.setup.removed != Some(name.as_str()));
        let stands_at = |name: &ProviderName| match self.setup.moved {
            Some((moved, to)) if moved == name.as_str() => parsed(to),
            _ => name.clone(),
        };
        let providers = named.clone().map(|name| {
            let cloud = world.clouds[&stands_at(name)].clone();
            let provider: Arc<dyn Provider> = Arc::new(cloud);
            (name.clone(), provider)
        });
        let places = named.map(|name| (name.clone(), stands_at(name).to_string()));
        let read_only = |name: &EmitterName| {
            let of = |pool: &&PoolSetup| pool.emitter == name.as_str();
            let mut pools = self.setup.pools.iter().filter(of);
            pools.any(|pool| pool.uncontrolled.is_some())
        };
        let controlled = world.cis.iter().filter(|(name, _)| !read_only(name));
        let controls = controlled.map(|(name, ci)| {
            let control: Arc<dyn ExecutorControl> = Arc::new(ci.clone());
            (name.clone(), control)
        });
        let pools = self.setup.pools.iter().map(|pool| self.pool(pool));
        Parts {
            config: ConfigHash::new("c"),
            pools: pools.collect(),
            limits: model::FleetPolicy::default(),
            providers: providers.collect(),
            places: places.collect(),
            controls: controls.collect(),
            settles: world
                .cis
                .keys()
                .map(|name| (name.clone(), SETTLE))
                .collect(),
        }
    }

    fn pool(&self, pool: &PoolSetup) -> (PoolName, Pool) {
        let offer = OfferId {
            machine: parsed("m"),
            index: 0,
        };
        let policy = Policy {
            pool: parsed(pool.name),
            emitter: (!pool.joins_nothing).then(|| parsed(pool.emitter)),
            slots: 1,
            min: pool.min,
            max: pool.max,
            boot: Boot {
                expect: self.setup.boot,
                timeout: SECOND * 60,
            },
            executors_appear: false,
            reuse: model::Reuse {
                replace_changed: true,
                ..model::Reuse::default()
            },
            executors: match pool.uncontrolled {
                None if pool.joins_nothing => ExecutorMode::None,
                None => ExecutorMode::Managed { settle: SETTLE },
                Some(leave) => ExecutorMode::ReadOnly { leave },
            },
            bootstrap: pool.bootstrap,
            offers: vec![OfferPolicy {
                id: offer.clone(),
                provider: parsed(pool.provider),
                generation: model::Generation::new(pool.provider),
                price: None,
                listing_lag: self.setup.lag,
                batch_limit: 100,
                least_billed: Duration::from_secs(60),
            }],
            trust: WorkloadTrust {
                fresh_for: SECOND * 30,
                on_stale: OnStale::Hold,
            },
            rules: vec![Rule::always(
                "scale-in",
                RuleKind::ScaleIn(ScaleIn::fixed(pool.idle_for)),
            )],
            standing: model::Standing::default(),
        };
        let pool = Pool {
            policy,
            offers: [(offer, serde_json::json!({}))].into(),
            bootstrap: None,
        };
        (pool.policy.pool.clone(), pool)
    }
}

/// A service that runs.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) view: watch::Receiver<FleetView>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    fn new(service: Service) -> Self {
        Running {
            stop: CancellationToken::new(),
            metrics: Arc::new(Metrics::new(service)),
            readiness: Readiness::default(),
            view: watch::channel(FleetView::default()).1,
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
            assert!(end.is_ok() || end.is_err_and(|e| e.is_cancelled()));
        }
        self.no_plan_broke_an_invariant();
    }

    pub(crate) fn is_active(&self) -> bool {
        let text = self.metrics.exposition();
        text.lines().any(|line| line == "parmanu_leader 1")
    }

    pub(crate) fn no_plan_broke_an_invariant(&self) {
        let text = self.metrics.exposition();
        let broken = text
            .lines()
            .filter(|l| l.starts_with("parmanu_invariant_violations_total{"))
            .find(|l| !l.ends_with(" 0"));
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
