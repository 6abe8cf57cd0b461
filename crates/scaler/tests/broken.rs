//! What breaks inside: a plugin that panics in the middle of a call, and work that comes all at once. A panic is a bug; it
//! must stay the trouble of the one machine or provider that it befell, and be said.

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use emitter_fake::FakeCi;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, Snapshot};
use ports::{Call, Emitter, EmitterError, Outcome, Provider, ProviderError};
use provider_fake::{FakeCloud, Fault};
use scaler::Parts;
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, World, simulate};
use tokio::sync::watch;

/// A cloud whose plugin panics in the verbs that are named, once for each name.
#[derive(Clone)]
struct Breaking {
    cloud: FakeCloud,
    verbs: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Breaking {
    fn of(cloud: FakeCloud) -> Self {
        let verbs = Arc::default();
        Breaking { cloud, verbs }
    }

    fn breaks(&self, verb: &'static str, times: usize) {
        let mut verbs = self.verbs.lock().unwrap_or_else(PoisonError::into_inner);
        verbs.extend(std::iter::repeat_n(verb, times));
    }

    fn is_next(&self, verb: &'static str) -> bool {
        let mut verbs = self.verbs.lock().unwrap_or_else(PoisonError::into_inner);
        let at = verbs.iter().position(|breaks| *breaks == verb);
        at.and_then(|at| verbs.remove(at)).is_some()
    }

    fn holds(&self, verb: &'static str) {
        let breaks = self.is_next(verb);
        assert!(!breaks, "{verb}: a bug of this plugin");
    }
}

#[async_trait]
impl Provider for Breaking {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        self.holds("list");
        self.cloud.list(fleet).await
    }
    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        self.holds("create");
        let outcomes = self.cloud.create(batch, call).await;
        self.holds("answer of create");
        if self.is_next("forgotten machine") {
            return Vec::new();
        }
        outcomes
    }
    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        self.holds("delete");
        self.cloud.delete(instances, call).await
    }
    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        self.cloud.renew(instances, until, call).await
    }
}

/// A scaler whose provider `sim` is this one.
fn scaler_on(sim: &Sim, provider: &Breaking) -> (Running, watch::Sender<Option<Arc<Parts>>>) {
    let (changes, changed) = watch::channel(None);
    let mut parts = sim.parts();
    let name = "sim".parse().expect("the name of a provider");
    parts.providers.insert(name, Arc::new(provider.clone()));
    assert!(changes.send(Some(Arc::new(parts))).is_ok());
    let scaler = sim.scaler_reloaded("s", sim.store.clone(), None, changed);
    (scaler, changes)
}

fn push(sim: &Sim, jobs: u32, seconds: u32) {
    for _ in 0..jobs {
        sim.world().push("ci", "linux", SECOND * seconds);
    }
}

fn counted(of: &Running, series: &str) -> u64 {
    let text = of.metrics.exposition();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// At most one machine: were the broken creation counted for ever, none would be made again.
fn one_machine() -> Setup {
    Setup {
        pools: vec![PoolSetup { max: 1, ..LINUX }],
        lag: SECOND * 15,
        ..Setup::default()
    }
}

#[test]
fn a_creation_that_breaks_is_doubted_and_then_made_again() {
    // before the machine is made, and after
    for verb in ["create", "answer of create"] {
        simulate(one_machine(), |sim| async move {
            let provider = Breaking::of(sim.cloud("sim"));
            provider.breaks(verb, 1);
            push(&sim, 1, 20);
            let _probot = sim.probot("p");
            let (scaler, _keep) = scaler_on(&sim, &provider);
            let runs = |world: &World| world.running() == 1;
            sim.until("it runs", SECOND * 90, runs).await;
            sim.until_settled(SECOND * 240).await;
            assert_eq!(sim.world().ever(), 1);
            let broke =
                "parmanu_action_total{pool=\"linux\",action=\"create\",outcome=\"panicked\"}";
            assert_eq!(counted(&scaler, broke), 1);
            scaler.stop().await;
        });
    }
}

#[test]
fn a_machine_that_an_answer_does_not_speak_of_may_have_been_made() {
    let setup = Setup {
        lag: SECOND * 15,
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let provider = Breaking::of(sim.cloud("sim"));
        provider.breaks("forgotten machine", 1);
        push(&sim, 1, 20);
        let _probot = sim.probot("p");
        let (_scaler, _keep) = scaler_on(&sim, &provider);
        sim.until_settled(SECOND * 240).await;
        assert_eq!(sim.world().ever(), 1);
    });
}

#[test]
fn a_provider_whose_listing_breaks_is_listed_again_after_a_growing_pause() {
    simulate(Setup::default(), |sim| async move {
        let provider = Breaking::of(sim.cloud("sim"));
        let _probot = sim.probot("p");
        let (scaler, _keep) = scaler_on(&sim, &provider);
        sim.pass(SECOND * 12).await;
        assert!(scaler.readiness.report().ready);
        provider.breaks("list", 3);
        sim.pass(SECOND * 8).await;
        assert!(!scaler.readiness.report().ready, "nobody lists it");
        push(&sim, 1, 20);
        let runs = |world: &World| world.running() == 1;
        // pauses of five, ten and twenty seconds, and a boot
        let took = sim.until("it runs", SECOND * 60, runs).await;
        assert!(took > SECOND * 20, "runs after {took:?}");
        assert!(scaler.readiness.report().ready);
        let broke = "parmanu_provider_calls_total{provider=\"sim\",operation=\"list\",outcome=\"panicked\"}";
        assert_eq!(counted(&scaler, broke), 3);
        sim.until_settled(SECOND * 240).await;
    });
}

/// A CI server whose plugin panics at so many looks.
struct BreakingCi(FakeCi, Arc<AtomicU32>);

#[async_trait]
impl Emitter for BreakingCi {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let breaks = self
            .1
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        assert!(breaks.is_err(), "probe: a bug of this plugin");
        self.0.probe().await
    }
}

#[test]
fn an_emitter_whose_look_breaks_is_looked_at_again_after_a_growing_pause() {
    simulate(Setup::default(), |sim| async move {
        let breaks = Arc::new(AtomicU32::new(0));
        let probot = sim.probot_with("p", |ci| Arc::new(BreakingCi(ci, breaks.clone())));
        let _scaler = sim.scaler("s");
        sim.pass(SECOND * 5).await;
        assert!(probot.readiness.report().ready);
        breaks.store(3, Relaxed);
        sim.pass(SECOND * 4).await;
        assert!(!probot.readiness.report().ready, "nobody looks at it");
        push(&sim, 1, 20);
        let runs = |world: &World| world.running() == 1;
        let took = sim.until("it runs", SECOND * 60, runs).await;
        assert!(took > SECOND * 20, "runs after {took:?}");
        assert!(probot.readiness.report().ready);
        let broke = "parmanu_probe_total{emitter=\"ci\",outcome=\"panicked\"}";
        assert_eq!(counted(&probot, broke), 3);
        probot.stop().await;
    });
}

#[test]
fn a_deletion_that_breaks_is_asked_for_again_after_a_while() {
    simulate(one_machine(), |sim| async move {
        let provider = Breaking::of(sim.cloud("sim"));
        provider.breaks("delete", 3);
        push(&sim, 1, 20);
        let _probot = sim.probot("p");
        let (scaler, _keep) = scaler_on(&sim, &provider);
        sim.until("its job is done", SECOND * 60, |world| {
            world.open_jobs() == 0
        })
        .await;
        let took = sim.until_settled(SECOND * 400).await;
        assert!(
            took > SECOND * 60,
            "asked all the time: settled in {took:?}"
        );
        scaler.stop().await;
    });
}

/// Reads of the store, one for each tick.
fn ticks(scaler: &Running) -> u64 {
    counted(scaler, "parmanu_tick_duration_seconds_count ")
}

#[test]
fn a_wave_of_actions_that_end_is_one_piece_of_news() {
    let setup = Setup {
        pools: vec![PoolSetup { max: 200, ..LINUX }],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        // they never join, so that nothing is news but the ends of the creations
        sim.world().join = SECOND * 10_000;
        push(&sim, 150, 600);
        let _probot = sim.probot("p");
        let scaler = sim.scaler("s");
        let made = |world: &World| world.all_alive() == 150;
        sim.until("150 machines", SECOND * 25, made).await;
        let before = ticks(&scaler);
        sim.pass(SECOND * 12).await;
        let read = ticks(&scaler) - before;
        // a look each two seconds, a listing each five and a sweep each five
        assert!((4..30).contains(&read), "the store was read {read} times");
    });
}
/// The pools of this setup, and those of `linux` made at one provider only.
fn made_at(sim: &Sim, provider: &str) -> Arc<Parts> {
    let mut parts = sim.parts();
    let linux = parts
        .pools
        .get_mut(&"linux".parse().expect("a name"))
        .expect("the pool");
    for offer in &mut linux.policy.offers {
        offer.provider = provider.parse().expect("the name of a provider");
    }
    Arc::new(parts)
}

#[test]
fn creations_that_hang_at_one_provider_keep_those_of_another_one_of_the_pool_not_waiting() {
    let linux = PoolSetup { max: 300, ..LINUX };
    let other = PoolSetup {
        name: "other",
        provider: "sim-b",
        ..LINUX
    };
    let setup = Setup {
        pools: vec![linux, other],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let (changes, changed) = watch::channel(None);
        let hangs = sim.cloud("sim-b");
        // more than are carried out at once
        (0..100).for_each(|_| hangs.fault(Fault::SlowCreate(SECOND * 3600)));
        assert!(changes.send(Some(made_at(&sim, "sim-b"))).is_ok());
        let _probot = sim.probot("p");
        let _scaler = sim.scaler_reloaded("s", sim.store.clone(), None, changed);
        push(&sim, 100, 600);
        sim.until("they hang", SECOND * 25, |_| hangs.on_the_way() >= 64)
            .await;
        assert!(changes.send(Some(made_at(&sim, "sim"))).is_ok());
        push(&sim, 3, 600);
        let made = |world: &World| world.clouds.values().any(|cloud| cloud.made() == 3);
        sim.until("made at the other one", SECOND * 10, made).await;
    });
}
