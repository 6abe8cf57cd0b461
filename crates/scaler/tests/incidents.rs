//! What went wrong in comparable systems and takes the whole loop to go wrong: in one process, in virtual time, judged by the
//! truth of cloud and CI server. What a single plan shows stands in the engine's tests, under the same name of file.
//!
//! What was taken out of the code to see a test fail:
//!
//! | test | taken out | where |
//! |---|---|---|
//! | `two_hundred_pools_wait_for_none_of_each_other` | each pool's own permits | `run.rs`, `ticker` |
//! | `a_burst_is_made_side_by_side` | many calls at once | `run.rs`, `MAX_PARALLEL` |
//! | `a_creation_that_hangs_holds_up_no_other` | the same | `run.rs`, `MAX_PARALLEL` |
//! | `looks_that_find_nothing_let_nobody_go` | absent is not idle | `engine`, `supply/look.rs`, `phase_without` |
//! | `a_scaler_left_over_does_nothing_of_what_it_had_decided` | the fence of the store | `store-memory`, `fence` |
//! | `a_storm_of_refusals_is_not_answered_by_a_storm_of_calls` | the wait after a refusal grows | `engine`, `offers.rs`, `learn` |

mod support;
// the part of the lives that stands between one scaler and its store
#[path = "life/gate.rs"]
#[allow(dead_code, reason = "only its store is used here")]
mod gate;

use std::sync::Arc;
use std::time::Duration;

use gate::{Gate, GatedStore};
use ports::ProviderErrorKind;
use provider_fake::Fault;
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, World, simulate};

fn start(sim: &Sim) -> (Running, Running) {
    (sim.probot("p"), sim.scaler("s"))
}

fn push(sim: &Sim, jobs: u32, seconds: u32) {
    for _ in 0..jobs {
        sim.world().push("ci", "linux", SECOND * seconds);
    }
}

fn run(running: usize) -> impl Fn(&World) -> bool {
    move |world| world.running() == running
}

fn with_max(max: u32) -> Setup {
    Setup {
        pools: vec![PoolSetup { max, ..LINUX }],
        ..Setup::default()
    }
}

/// How often an action was begun, however it ended.
fn actions(scaler: &Running, action: &str) -> u64 {
    counted(scaler, &format!("action=\"{action}\""))
}

fn counted(scaler: &Running, is: &str) -> u64 {
    let text = scaler.metrics.exposition();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("parmanu_action_total"));
    lines
        .filter(|line| line.contains(is))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// kedacore/keda #2240: with hundreds of scaled objects the loop's own limit of calls let most of them wait for minutes.
#[test]
fn two_hundred_pools_wait_for_none_of_each_other() {
    let names = (0..200).map(|n| &*Box::leak(format!("pool-{n}").into_boxed_str()));
    let pools = names.map(|name| PoolSetup { name, ..LINUX });
    let setup = Setup {
        pools: pools.collect(),
        ..Setup::default()
    };
    let names: Vec<&str> = setup.pools.iter().map(|pool| pool.name).collect();
    simulate(setup, |sim| async move {
        let _loops = start(&sim);
        sim.pass(SECOND * 12).await;
        sim.cloud("sim").slow(SECOND * 2);
        for name in &names {
            sim.world().push("ci", name, SECOND * 60);
        }
        let took = sim.until("all run", SECOND * 400, run(names.len())).await;
        // a look, a call, a boot, and the machine joins
        assert!(took <= SECOND * 16, "all run after {took:?}");
    });
}

/// The same report's other half, and fleet-plugin's: looks that failed, or found nothing, were taken for an empty queue. One
/// is doubted as a cliff; after more of them it still holds that who is absent is not idle.
#[test]
fn looks_that_find_nothing_let_nobody_go() {
    for looks in [1, 3] {
        simulate(Setup::default(), |sim| async move {
            let (_probot, scaler) = start(&sim);
            push(&sim, 4, 300);
            sim.until("all four run", SECOND * 60, run(4)).await;
            // by now a machine without an executor is no machine that still boots
            sim.pass(SECOND * 90).await;
            for _ in 0..4 {
                sim.ci("ci").show_nothing(looks);
                sim.pass(SECOND * 10).await;
                sim.ci("ci").fail(Some("502"));
                sim.pass(SECOND * 3).await;
                sim.ci("ci").fail(None);
                sim.pass(SECOND * 3).await;
            }
            assert_eq!(actions(&scaler, "cordon"), 0, "{looks} looks");
            assert_eq!(sim.world().ever(), 4, "and nothing is made beside them");
            sim.until_settled(SECOND * 900).await;
        });
    }
}

/// gitlab-runner #38716: a controller that was left over went on by what it had decided, beside its successor. Here it is held
/// up at each of the places between it and the store while it decides, and goes on long after.
#[test]
fn a_scaler_left_over_does_nothing_of_what_it_had_decided() {
    let begun = std::rc::Rc::new(std::cell::Cell::new(0));
    for place in 0..16 {
        let begins = begun.clone();
        simulate(Setup::default(), |sim| async move {
            let _probot = sim.probot("p");
            let gate = Gate::open();
            let store = Arc::new(GatedStore(gate.clone(), sim.store.clone()));
            let old = sim.scaler_on("old", store);
            push(&sim, 2, 20);
            sim.until("two run", SECOND * 60, run(2)).await;
            push(&sim, 3, 120);
            gate.pauses_after(place);
            gate.reached().await;
            let before = actions(&old, "create");
            let done = counted(&old, "outcome=\"done\"");
            sim.pass(SECOND * 8).await;
            let new = sim.scaler("new");
            let three = |world: &World| world.running() >= 3;
            sim.until("three run", SECOND * 60, three).await;
            sim.pass(SECOND * 30).await;
            gate.resume();
            sim.pass(SECOND * 30).await;
            assert!(new.is_active() && !old.is_active(), "at {place}");
            assert_eq!(counted(&old, "outcome=\"done\""), done, "at {place}");
            begins.set(begins.get() + u32::from(actions(&old, "create") > before));
            let ever = sim.world().ever();
            assert!(ever <= 5, "{ever} for 5 jobs at {place}");
            sim.until_settled(SECOND * 600).await;
        });
    }
    // what the store had taken before is refused for its lease; all else is refused by the store
    assert!(begun.get() <= 1, "it begins at {} places", begun.get());
}

/// github-aws-runners/terraform-aws-github-runner #3824: machines were made one after the other, and a burst waited minutes.
#[test]
fn a_burst_is_made_side_by_side() {
    simulate(with_max(50), |sim| async move {
        let _loops = start(&sim);
        sim.pass(SECOND * 12).await;
        sim.cloud("sim").slow(SECOND * 3);
        push(&sim, 40, 60);
        let took = sim.until("all run", SECOND * 300, run(40)).await;
        assert!(took <= SECOND * 16, "all run after {took:?}");
        assert_eq!(sim.cloud("sim").create_calls(), 40);
    });
}

/// The same, with one creation that hangs.
#[test]
fn a_creation_that_hangs_holds_up_no_other() {
    simulate(with_max(10), |sim| async move {
        let _loops = start(&sim);
        sim.pass(SECOND * 12).await;
        sim.cloud("sim").fault(Fault::SlowCreate(SECOND * 50));
        push(&sim, 4, 120);
        let took = sim.until("three run", SECOND * 300, run(3)).await;
        assert!(took <= SECOND * 12, "three run after {took:?}");
        push(&sim, 3, 120);
        let took = sim.until("three more run", SECOND * 300, run(6)).await;
        assert!(took <= SECOND * 12, "three more run after {took:?}");
        sim.until_settled(SECOND * 600).await;
    });
}

/// CloudSnorkel/cdk-github-runners #192: what was refused for its rate was asked again at once, by every job, without end.
#[test]
fn a_storm_of_refusals_is_not_answered_by_a_storm_of_calls() {
    let storms = [
        ProviderErrorKind::RateLimited { retry_after: None },
        ProviderErrorKind::Unavailable,
    ];
    for kind in storms {
        simulate(with_max(50), |sim| async move {
            let _loops = start(&sim);
            sim.pass(SECOND * 12).await;
            let cloud = sim.cloud("sim");
            (0..100_000).for_each(|_| cloud.fault(Fault::RefuseCreate(kind)));
            let (creates, lists) = (cloud.create_calls(), cloud.list_calls());
            push(&sim, 20, 60);
            sim.pass(SECOND * 600).await;
            let (creates, lists) = (cloud.create_calls() - creates, cloud.list_calls() - lists);
            assert!(
                creates <= 60,
                "{kind:?}: {creates} creations in ten minutes"
            );
            // what is listed anyway, and once after each refusal at most
            assert!(
                lists <= 120 + creates,
                "{kind:?}: {lists} listings in ten minutes"
            );
            cloud.forget_faults();
            let before = cloud.create_calls();
            let took = sim.until("all run", SECOND * 400, run(20)).await;
            assert!(
                took <= Duration::from_secs(60),
                "{kind:?}: all run after {took:?}"
            );
            assert_eq!(cloud.create_calls() - before, 20, "{kind:?}");
        });
    }
}
