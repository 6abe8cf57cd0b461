//! The real loops of probot and scaler, in one process, in virtual time, judged by the truth of cloud and CI server.
//!
//! Each test is one thing that goes wrong. What must hold everywhere (no job dies by our hand, never above max, nothing
//! that is not ours, no shrink in doubt) is judged by the world after every step of time: see `support/world.rs`.

mod support;

use std::time::Duration;

use emitter_fake::JobEnd;
use model::{Bootstrap, Cordon, InstanceName, InstanceState, UncontrolledLeave};
use provider_fake::Fault;
use support::{LINUX, PoolSetup, SECOND, SETTLE, Setup, Sim, World, simulate};

/// Both loops, and jobs of this length.
fn start(sim: &Sim, jobs: u32, seconds: u32) -> (support::Running, support::Running) {
    push(sim, jobs, seconds);
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

fn idle(machines: usize) -> impl Fn(&World) -> bool {
    move |world| world.open_jobs() == 0 && world.all_alive() == machines
}

fn only_machine(sim: &Sim) -> InstanceName {
    let alive = sim.world().alive("linux");
    assert_eq!(alive.len(), 1);
    alive[0].clone()
}

fn with(change: impl FnOnce(&mut Setup)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup);
    setup
}

#[test]
fn a_burst_becomes_machines_once_and_they_all_go_again() {
    simulate(Setup::default(), |sim| async move {
        sim.strangers().await;
        let (probot, scaler) = start(&sim, 6, 30);
        sim.until("all six run", SECOND * 25, run(6)).await;
        sim.until_settled(SECOND * 120).await;
        assert_eq!(sim.world().ever(), 6);
        assert_eq!(sim.world().ended(JobEnd::Done), 6);
        scaler.stop().await;
        probot.stop().await;
    });
}

#[test]
fn a_shared_boot_script_makes_a_burst_in_one_call() {
    let setup = with(|setup| setup.pools[0].bootstrap = Bootstrap::Shared);
    simulate(setup, |sim| async move {
        sim.world().join = SECOND * 10_000;
        let _loops = start(&sim, 6, 30);
        let made = |world: &World| world.all_alive() == 6;
        sim.until("six machines", SECOND * 25, made).await;
        assert_eq!(sim.cloud("sim").create_calls(), 1);
        // nobody registered an executor for them: they are given up, one canary at a time
        sim.pass(SECOND * 300).await;
        assert!(sim.world().ever() <= 18, "{} were made", sim.world().ever());
    });
}

#[test]
fn a_burst_above_max_is_served_by_max_machines() {
    let setup = with(|setup| setup.pools[0].max = 3);
    simulate(setup, |sim| async move {
        let _loops = start(&sim, 9, 20);
        sim.until_settled(SECOND * 240).await;
        assert_eq!(sim.world().ever(), 3);
    });
}

#[test]
fn demand_that_returns_calls_machines_back_before_new_ones_are_made() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 3, 20);
        sim.until("all three run", SECOND * 25, run(3)).await;
        let leaving = |world: &World| world.cordoned().len() == 3;
        sim.until("all three leave", SECOND * 60, leaving).await;
        push(&sim, 3, 20);
        sim.until("all three run again", SECOND * 15, run(3)).await;
        sim.until_settled(SECOND * 120).await;
        assert_eq!(sim.world().ever(), 3);
        assert_eq!(sim.world().ended(JobEnd::Done), 6);
    });
}

#[test]
fn a_creation_whose_reply_is_lost_is_found_and_not_doubled() {
    simulate(Setup::default(), |sim| async move {
        sim.cloud("sim").fault(Fault::LoseCreateReply);
        let _loops = start(&sim, 1, 20);
        sim.until("it runs", SECOND * 25, run(1)).await;
        sim.until_settled(SECOND * 120).await;
        assert_eq!(sim.world().ever(), 1);
    });
}

#[test]
fn a_creation_that_was_dropped_is_made_again_after_the_lag_bound() {
    let setup = with(|setup| setup.lag = SECOND * 15);
    simulate(setup, |sim| async move {
        sim.cloud("sim").fault(Fault::DropCreate);
        let _loops = start(&sim, 1, 20);
        let took = sim.until("it runs", SECOND * 60, run(1)).await;
        assert!(took > SECOND * 15, "made again after {took:?}");
        sim.until_settled(SECOND * 240).await;
        assert_eq!(sim.world().ever(), 1);
        assert_eq!(sim.cloud("sim").create_calls(), 2);
    });
}

#[test]
fn a_listing_that_lags_doubles_nothing_and_loses_nothing() {
    let setup = with(|setup| setup.lag = SECOND * 20);
    simulate(setup, |sim| async move {
        let _loops = start(&sim, 5, 10);
        sim.until("all five run", SECOND * 40, run(5)).await;
        sim.until_settled(SECOND * 180).await;
        assert_eq!(sim.world().ever(), 5);
    });
}

#[test]
fn a_listing_that_fails_or_is_partial_creates_and_deletes_nothing() {
    for fault in [Fault::FailList, Fault::HideScope("zone-a".to_owned())] {
        simulate(Setup::default(), |sim| async move {
            let _loops = start(&sim, 3, 5);
            sim.until("all three run", SECOND * 25, run(3)).await;
            sim.until("they are idle", SECOND * 15, idle(3)).await;
            let cloud = sim.cloud("sim");
            cloud.listings(Some(fault));
            // two more than there are machines, while these are about to leave
            push(&sim, 5, 20);
            sim.pass(SECOND * 6).await;
            let (created, deleted) = (cloud.create_calls(), cloud.deletions().len());
            sim.pass(SECOND * 120).await;
            assert_eq!(cloud.create_calls(), created);
            assert_eq!(cloud.deletions().len(), deleted);
            cloud.listings(None);
            sim.until_settled(SECOND * 240).await;
        });
    }
}

#[test]
fn while_the_emitter_fails_or_is_blind_nothing_shrinks_and_then_it_does() {
    for (fails, blind) in [(Some("502"), None), (None, Some("the token sees nothing"))] {
        simulate(Setup::default(), |sim| async move {
            let _loops = start(&sim, 4, 20);
            sim.until("all four run", SECOND * 25, run(4)).await;
            sim.world().trouble("ci", fails, blind);
            sim.pass(SECOND * 300).await;
            assert_eq!(sim.world().all_alive(), 4, "the pool holds");
            sim.world().trouble("ci", None, None);
            sim.until_settled(SECOND * 180).await;
            assert_eq!(sim.world().ever(), 4);
        });
    }
}

#[test]
fn a_wiped_store_deletes_nothing_and_doubles_nothing() {
    for after in 0..40 {
        let setup = with(|setup| {
            setup.seed = u64::from(after) + 1;
            setup.lag = SECOND * 5;
        });
        simulate(setup, |sim| async move {
            let _loops = start(&sim, 4, 40);
            sim.pass(SECOND * after / 2).await;
            sim.store.wipe();
            let deleted = sim.cloud("sim").deletions().len();
            sim.until("all four run", SECOND * 60, |world| {
                world.running() == 4 || world.open_jobs() < 4
            })
            .await;
            assert_eq!(sim.cloud("sim").deletions().len(), deleted);
            sim.until_settled(SECOND * 300).await;
            assert_eq!(sim.world().ever(), 4, "wiped after {after} half seconds");
        });
    }
}

#[test]
fn a_scaler_that_is_stopped_gives_its_lease_back_at_once() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("a");
        sim.pass(SECOND).await;
        let second = sim.scaler("b");
        push(&sim, 2, 60);
        sim.until("both run", SECOND * 25, run(2)).await;
        let began = sim.clock_now();
        first.stop().await;
        while !second.is_active() {
            sim.pass(SECOND / 4).await;
        }
        let took = sim.clock_now() - began;
        assert!(took <= SECOND * 2, "took over after {took:?}");
        assert_eq!(sim.world().all_alive(), 2);
        sim.until_settled(SECOND * 240).await;
    });
}

#[test]
fn an_operators_pause_is_left_alone() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 2, 10);
        sim.until("both run", SECOND * 25, run(2)).await;
        let kept = sim.world().alive("linux")[0].clone();
        sim.ci("ci").pause(&kept.to_string(), true);
        let left = |world: &World| world.open_jobs() == 0 && world.all_alive() == 1;
        sim.until("the other one goes", SECOND * 120, left).await;
        sim.pass(SECOND * 300).await;
        assert_eq!(only_machine(&sim), kept);
        assert_eq!(sim.world().executors()[0].cordon, Cordon::Foreign);
        sim.ci("ci").pause(&kept.to_string(), false);
        sim.until_settled(SECOND * 120).await;
        assert_eq!(sim.world().ever(), 2);
    });
}

#[test]
fn a_pause_in_the_middle_of_a_departure_ends_it() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 1, 5);
        sim.until("it runs", SECOND * 25, run(1)).await;
        let leaving = |world: &World| world.cordoned().len() == 1;
        sim.until("it leaves", SECOND * 60, leaving).await;
        let name = only_machine(&sim);
        sim.ci("ci").pause(&name.to_string(), true);
        sim.pass(SECOND * 120).await;
        assert_eq!(only_machine(&sim), name);
        sim.ci("ci").pause(&name.to_string(), false);
        sim.until_settled(SECOND * 120).await;
    });
}

#[test]
fn a_machine_that_the_cloud_takes_is_replaced_and_its_executor_removed() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 2, 30);
        sim.until("both run", SECOND * 25, run(2)).await;
        let taken = sim.world().alive("linux")[0].clone();
        sim.world().kill(&taken);
        push(&sim, 1, 30);
        sim.until("another one runs it", SECOND * 40, run(2)).await;
        sim.until_settled(SECOND * 240).await;
        assert_eq!(
            sim.world().ended(JobEnd::Killed),
            1,
            "by the cloud, not by us"
        );
        assert_eq!(sim.world().ever(), 3);
        assert!(!sim.cloud("sim").deletions().contains(&taken));
    });
}

#[test]
fn the_minimum_is_kept_whatever_happens() {
    let setup = with(|setup| setup.pools[0].min = 2);
    simulate(setup, |sim| async move {
        let _loops = start(&sim, 0, 0);
        sim.until_settled(SECOND * 40).await;
        push(&sim, 5, 20);
        sim.until_settled(SECOND * 120).await;
        let taken = sim.world().alive("linux")[0].clone();
        sim.world().kill(&taken);
        let short = |world: &World| world.all_alive() == 1;
        sim.until("one is taken", SECOND, short).await;
        sim.until_settled(SECOND * 200).await;
        sim.pass(SECOND * 600).await;
        assert_eq!(sim.world().all_alive(), 2);
        assert_eq!(sim.world().ever(), 6);
    });
}

#[test]
fn replicas_of_probot_share_an_emitter_by_its_lease() {
    simulate(Setup::default(), |sim| async move {
        let (first, second) = (sim.probot("a"), sim.probot("b"));
        let _scaler = sim.scaler("s");
        push(&sim, 1, 20);
        sim.until_settled(SECOND * 120).await;
        let (one, two) = (probes(&first), probes(&second));
        assert!(one == 0 || two == 0, "both look: {one} and {two} times");
        let (active, standby) = if one > 0 {
            (first, second)
        } else {
            (second, first)
        };
        active.crash().await;
        push(&sim, 1, 20);
        sim.until("it runs", SECOND * 40, run(1)).await;
        assert!(probes(&standby) > 0);
        // a stopped one gives way at once
        standby.stop().await;
        let third = sim.probot("c");
        sim.pass(SECOND).await;
        assert!(probes(&third) > 0);
    });
}

fn probes(probot: &support::Running) -> u64 {
    let text = probot.metrics.exposition();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("parmanu_probe_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn machines_that_never_join_do_not_become_a_bill() {
    simulate(Setup::default(), |sim| async move {
        sim.world().join = SECOND * 100_000;
        let _loops = start(&sim, 5, 20);
        sim.pass(SECOND * 900).await;
        let made = sim.world().ever();
        assert!(made <= 5 + 15, "{made} machines for 5 jobs in 15 minutes");
        let mut consoles = sim.cloud("sim").consoles();
        let gone = sim.cloud("sim").deletions().len();
        assert!(gone >= 5 && consoles.len() >= gone, "{consoles:?}");
        consoles.sort();
        consoles.dedup();
        assert!(consoles.len() >= gone, "each is asked once: {consoles:?}");
        assert_eq!(consoles.len(), sim.cloud("sim").consoles().len());
        sim.world().join = SECOND;
        sim.until_settled(SECOND * 600).await;
    });
}

/// Each of them ends by itself a second after it runs, so nothing ever hangs until its deadline.
#[test]
fn machines_that_end_before_they_join_do_not_become_a_bill() {
    simulate(Setup::default(), |sim| async move {
        sim.world().join = SECOND * 100_000;
        let _loops = start(&sim, 5, 20);
        for _ in 0..900 {
            sim.pass(SECOND).await;
            let running = sim.cloud("sim").machines();
            let running = running
                .iter()
                .filter(|m| m.instance.state == InstanceState::Running);
            for machine in running {
                sim.cloud("sim").kill(&machine.instance.name);
            }
        }
        let made = sim.world().ever();
        assert!(made <= 5 + 6, "{made} machines for 5 jobs in 15 minutes");
        sim.world().join = SECOND;
        sim.until_settled(SECOND * 2400).await;
    });
}

#[test]
fn a_deletion_that_is_lost_is_asked_for_again() {
    for fault in [Fault::DropDelete, Fault::LoseDeleteReply] {
        simulate(Setup::default(), |sim| async move {
            sim.cloud("sim").fault(fault);
            let _loops = start(&sim, 2, 5);
            sim.until_settled(SECOND * 180).await;
            assert_eq!(sim.world().ever(), 2);
        });
    }
}

#[test]
fn nothing_of_a_scaler_goes_on_when_it_is_dropped() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("a");
        sim.pass(SECOND * 10).await;
        first.crash().await;
        sim.pass(SECOND * 6).await;
        let second = sim.scaler_at_once("b").await;
        sim.pass(SECOND).await;
        assert!(
            second.is_active(),
            "the dropped one still extends its lease"
        );
    });
}

#[test]
fn of_two_scalers_one_is_active_and_the_other_takes_over_within_the_lease() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("a");
        sim.pass(SECOND).await;
        let second = sim.scaler("b");
        push(&sim, 4, 30);
        sim.until("all four run", SECOND * 25, run(4)).await;
        assert!(first.is_active() && !second.is_active());
        assert_eq!(second.view.borrow().epoch, None);
        first.crash().await;
        let began = sim.clock_now();
        while !second.is_active() && sim.clock_now() - began < SECOND * 60 {
            sim.pass(SECOND / 20).await;
        }
        let took = sim.clock_now() - began;
        // the lease of five seconds, and the moment in which it is asked for
        assert!(took <= SECOND * 53 / 10, "took over after {took:?}");
        sim.until_settled(SECOND * 240).await;
        assert_eq!(sim.world().ever(), 4);
    });
}

#[test]
fn a_crashed_scaler_doubles_nothing_loses_nothing_and_leaks_nothing() {
    for seed in 1..=60 {
        simulate(with(|setup| setup.seed = seed), |sim| async move {
            let cloud = sim.cloud("sim");
            cloud.slow(SECOND / 2);
            sim.ci("ci").slow(SECOND / 3);
            let (_probot, mut scaler) = start(&sim, 5, 15);
            for life in 0..8 {
                let millis = sim.world().rng.u64(0..12_000);
                sim.pass(std::time::Duration::from_millis(millis)).await;
                scaler.crash().await;
                scaler = sim.scaler(&format!("s{life}"));
            }
            sim.until_settled(SECOND * 400).await;
            assert_eq!(sim.world().ended(JobEnd::Done), 5);
            // a creation whose process died on the way is made again, if it never arrived
            let arrived = cloud.ever().len();
            assert!(arrived <= 5, "{arrived} machines for 5 jobs, seed {seed}");
        });
    }
}

#[test]
fn a_scaler_that_crashes_with_a_creation_on_its_way_doubles_nothing() {
    for way in [2u32, 8] {
        let setup = with(|setup| setup.lag = SECOND * 12);
        simulate(setup, |sim| async move {
            sim.cloud("sim").fault(Fault::SlowCreate(SECOND * way));
            let (_probot, scaler) = start(&sim, 1, 40);
            let sent = |world: &World| world.clouds.values().any(|c| c.on_the_way() == 1);
            sim.until("it is on its way", SECOND * 40, sent).await;
            sim.pass(SECOND).await;
            scaler.crash().await;
            let _next = sim.scaler("t");
            sim.until_settled(SECOND * 300).await;
            assert_eq!(sim.world().ever(), 1, "{way} s on its way");
        });
    }
}

#[test]
fn a_scaler_stops_in_time_though_a_provider_and_an_emitter_hang() {
    simulate(Setup::default(), |sim| async move {
        let (_probot, scaler) = start(&sim, 3, 30);
        sim.until("all three run", SECOND * 25, run(3)).await;
        sim.cloud("sim").slow(SECOND * 3600);
        sim.ci("ci").slow(SECOND * 3600);
        sim.pass(SECOND * 12).await;
        let began = sim.clock_now();
        scaler.stop().await;
        let took = sim.clock_now() - began;
        assert!(took <= SECOND * 6, "stopped after {took:?}");
    });
}

#[test]
fn a_scaler_that_is_stopped_is_followed_at_once() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("a");
        sim.pass(SECOND).await;
        let second = sim.scaler("b");
        // the standby asks from time to time; what it must not need is luck
        for wait in [700, 1300] {
            sim.pass(std::time::Duration::from_millis(wait)).await;
            assert!(first.is_active() && !second.is_active());
        }
        first.stop().await;
        sim.pass(SECOND / 5).await;
        assert!(second.is_active(), "nobody told it");
    });
}

#[test]
fn a_scaler_that_stands_by_is_ready() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let _first = sim.scaler("a");
        sim.pass(SECOND * 10).await;
        let second = sim.scaler("b");
        sim.pass(SECOND * 20).await;
        let report = second.readiness.report();
        assert!(report.ready, "{report:?}");
    });
}

#[test]
fn a_scaler_that_lost_its_lease_shows_no_term() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("a");
        sim.pass(SECOND * 10).await;
        assert!(first.view.borrow().epoch.is_some());
        // somebody else is quicker after a wipe
        sim.store.wipe();
        let second = sim.scaler_at_once("b").await;
        sim.pass(SECOND * 10).await;
        assert!(!first.is_active());
        assert_eq!(first.view.borrow().epoch, None);
        drop(second);
    });
}

#[test]
fn a_creation_on_its_way_is_not_taken_for_one_that_never_was() {
    simulate(Setup::default(), |sim| async move {
        sim.cloud("sim").fault(Fault::SlowCreate(SECOND * 40));
        let _loops = start(&sim, 1, 20);
        sim.until("it runs", SECOND * 60, run(1)).await;
        sim.until_settled(SECOND * 120).await;
        assert_eq!(sim.world().ever(), 1);
    });
}

#[test]
fn a_shared_creation_whose_fate_is_unknown_counts_from_when_it_was_given_up() {
    let setup = with(|setup| {
        setup.pools[0].bootstrap = Bootstrap::Shared;
        setup.lag = SECOND * 15;
    });
    simulate(setup, |sim| async move {
        // it arrives right when nobody waits for it any more, and is listed a lag later
        sim.cloud("sim").fault(Fault::SlowCreate(SECOND * 61));
        let _loops = start(&sim, 1, 20);
        let made = |world: &World| world.all_alive() == 1;
        sim.until("it is made", SECOND * 100, made).await;
        sim.pass(SECOND * 30).await;
        assert_eq!(sim.world().ever(), 1);
    });
}

#[test]
fn a_store_wiped_with_a_creation_on_its_way_doubles_nothing() {
    simulate(Setup::default(), |sim| async move {
        sim.cloud("sim").fault(Fault::SlowCreate(SECOND * 4));
        let _loops = start(&sim, 1, 40);
        let sent = |world: &World| world.clouds.values().any(|c| c.on_the_way() == 1);
        sim.until("it is on its way", SECOND * 40, sent).await;
        sim.store.wipe();
        sim.until_settled(SECOND * 300).await;
        assert_eq!(sim.world().ever(), 1);
    });
}

/// How often an action was carried out, however it ended.
fn actions(scaler: &support::Running, action: &str) -> u64 {
    let text = scaler.metrics.exposition();
    let is = format!("action=\"{action}\"");
    let lines = text.lines().filter(|l| l.starts_with("parmanu_action"));
    lines
        .filter(|line| line.contains(&is))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn a_job_promised_before_the_cordon_is_left_to_finish() {
    simulate(Setup::default(), |sim| async move {
        let (_probot, scaler) = start(&sim, 1, 5);
        sim.until("it runs", SECOND * 25, run(1)).await;
        sim.until("it is done", SECOND * 25, idle(1)).await;
        sim.world().by_hand = true;
        let ci = sim.ci("ci");
        let leaves = |world: &World| {
            let executors = world.executors();
            executors.iter().for_each(|e| ci.request(&e.id));
            world.cordoned().len() == 1
        };
        sim.until("it is cordoned", SECOND * 60, leaves).await;
        sim.pass(SETTLE - SECOND / 2).await;
        push(&sim, 1, 600);
        ci.hand_out();
        sim.until("the promised job runs", SECOND, run(1)).await;
        sim.world().by_hand = false;
        sim.until_settled(SECOND * 700).await;
        assert_eq!(sim.world().ended(JobEnd::Done), 2);
        assert_eq!(sim.world().ever(), 1);
        // a build of ten minutes is not asked after every settle time
        let verified = actions(&scaler, "verify");
        assert!(verified < 20, "verified {verified} times");
    });
}

#[test]
fn an_agent_that_does_not_go_and_has_a_job_by_then_is_left_alone() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 1, 5);
        sim.until("it runs", SECOND * 25, run(1)).await;
        let ci = sim.ci("ci");
        ci.keep(&["linux"]);
        let first = *ci.jobs().last_key_value().expect("a job").0;
        sim.world().lasts("ci", first + 1, SECOND * 60);
        sim.until("it is done", SECOND * 25, idle(1)).await;
        let begun = |_: &World| ci.jobs().len() == 2;
        sim.until("the second job begins", SECOND * 200, begun)
            .await;
        sim.pass(SECOND * 30).await;
        only_machine(&sim);
        sim.until_settled(SECOND * 300).await;
        assert_eq!(sim.world().ended(JobEnd::Done), 2);
    });
}

const OTHER: PoolSetup = PoolSetup {
    name: "other",
    emitter: "ci-b",
    provider: "sim-b",
    max: 200,
    ..LINUX
};

#[test]
fn a_provider_that_hangs_delays_no_other_pool() {
    let setup = with(|setup| setup.pools.push(OTHER));
    simulate(setup, |sim| async move {
        let _loops = start(&sim, 0, 0);
        sim.pass(SECOND * 12).await;
        // heard once, so that its pool grows; then it hangs with more creations than may be carried out at once
        sim.cloud("sim-b").slow(SECOND * 3600);
        for _ in 0..150 {
            sim.world().push("ci-b", "other", SECOND * 10);
        }
        sim.pass(SECOND * 5).await;
        push(&sim, 3, 20);
        let took = sim.until("all three run", SECOND * 60, run(3)).await;
        assert!(took < SECOND * 12, "run after {took:?}");
        let done = |world: &World| world.alive("linux").is_empty();
        sim.until("and they go", SECOND * 120, done).await;
    });
}

#[test]
fn an_emitter_that_hangs_delays_no_other_pool() {
    let setup = with(|setup| setup.pools.push(OTHER));
    simulate(setup, |sim| async move {
        let _loops = start(&sim, 0, 0);
        for _ in 0..150 {
            sim.world().push("ci-b", "other", SECOND * 10);
        }
        sim.pass(SECOND * 2).await;
        sim.ci("ci-b").slow(SECOND * 3600);
        sim.pass(SECOND * 2).await;
        push(&sim, 3, 20);
        let took = sim.until("all three run", SECOND * 60, |world| {
            let jobs = world.cis[&"ci".parse().expect("a name")].jobs();
            jobs.values().filter(|job| job.started_at.is_some()).count() == 3
        });
        let took = took.await;
        assert!(took < SECOND * 12, "run after {took:?}");
    });
}

#[test]
fn a_moments_failure_of_registration_holds_a_pool_for_a_moment_only() {
    simulate(Setup::default(), |sim| async move {
        let ci = sim.ci("ci");
        let (_probot, scaler) = start(&sim, 0, 0);
        sim.pass(SECOND * 12).await;
        push(&sim, 1, 20);
        ci.slow(SECOND * 2);
        let begun = |_: &World| scaler.view.borrow().pools[0].summary.target == 1;
        sim.until("the registration is on its way", SECOND * 10, begun)
            .await;
        ci.fail(Some("503"));
        sim.pass(SECOND * 2).await;
        ci.fail(None);
        assert_eq!(actions(&scaler, "create"), 1);
        assert_eq!(sim.cloud("sim").create_calls(), 0);
        let took = sim.until("it runs", SECOND * 120, run(1)).await;
        assert!(took < SECOND * 35, "run after {took:?}");
    });
}

#[test]
fn a_machine_is_called_back_once_and_not_until_a_look_shows_it() {
    simulate(Setup::default(), |sim| async move {
        let (_probot, scaler) = start(&sim, 3, 20);
        sim.until("all three run", SECOND * 25, run(3)).await;
        let leaving = |world: &World| world.cordoned().len() == 3;
        sim.until("all three leave", SECOND * 60, leaving).await;
        push(&sim, 3, 20);
        sim.until("all three run again", SECOND * 15, run(3)).await;
        sim.until_settled(SECOND * 120).await;
        let asked = actions(&scaler, "uncordon");
        assert!(asked <= 6, "asked {asked} times for 3 machines");
    });
}

#[test]
fn a_failing_call_back_is_not_repeated_at_once() {
    simulate(Setup::default(), |sim| async move {
        let (_probot, scaler) = start(&sim, 1, 5);
        sim.until("it runs", SECOND * 25, run(1)).await;
        let leaving = |world: &World| world.cordoned().len() == 1;
        sim.until("it leaves", SECOND * 60, leaving).await;
        push(&sim, 1, 20);
        sim.ci("ci").slow(SECOND / 2);
        sim.pass(SECOND * 5 / 2).await;
        sim.ci("ci").fail(Some("503"));
        sim.pass(SECOND * 30).await;
        let asked = actions(&scaler, "uncordon");
        assert!(asked <= 4, "asked {asked} times in half a minute");
        sim.ci("ci").fail(None);
        sim.until_settled(SECOND * 240).await;
    });
}

#[test]
fn a_scaler_that_takes_over_right_after_a_wipe_waits_as_well() {
    let setup = with(|setup| setup.lag = SECOND * 20);
    simulate(setup, |sim| async move {
        let (_probot, scaler) = start(&sim, 3, 60);
        let made = |world: &World| world.all_alive() == 3;
        sim.until("three are made", SECOND * 40, made).await;
        sim.store.wipe();
        sim.pass(SECOND * 3).await;
        scaler.crash().await;
        // by now the store remembers a lease again, but not what was in flight
        let _next = sim.scaler("t");
        sim.until_settled(SECOND * 300).await;
        assert_eq!(sim.world().ever(), 3);
    });
}

/// A token that was meant to manage executors and may not: nothing is lost by it but money, and that is said.
#[test]
fn a_pool_whose_cordons_are_refused_serves_on_and_shrinks_when_they_are_not() {
    simulate(Setup::default(), |sim| async move {
        sim.ci("ci")
            .forbid_cordons(Some("the token lacks the scope manage_runner"));
        let _loops = start(&sim, 3, 20);
        sim.until("three idle machines", SECOND * 120, idle(3))
            .await;
        sim.pass(SECOND * 1000).await;
        assert_eq!(sim.world().all_alive(), 3, "none may leave");
        // each is asked for once, and again every five minutes
        let asked = sim.ci("ci").forbidden();
        assert!((3..=15).contains(&asked), "{asked} refused cordons");
        push(&sim, 3, 20);
        sim.until("they serve on", SECOND * 60, run(3)).await;
        assert_eq!(sim.world().ever(), 3, "and nothing is made beside them");
        sim.ci("ci").forbid_cordons(None);
        sim.until_settled(SECOND * 600).await;
    });
}

/// One executor that this token may not cordon, as a runner that was locked or moved: the others leave without it.
#[test]
fn a_machine_whose_cordon_is_refused_keeps_no_other() {
    simulate(Setup::default(), |sim| async move {
        let _loops = start(&sim, 3, 20);
        sim.until("three idle machines", SECOND * 120, idle(3))
            .await;
        let executors = sim.world().executors();
        let locked = &executors.first().expect("three").id;
        sim.ci("ci").forbid_cordon_of(locked, true);
        let alone = |world: &World| world.all_alive() == 1;
        sim.until("the others leave", SECOND * 600, alone).await;
        sim.pass(SECOND * 3_000).await;
        let asked = sim.ci("ci").forbidden();
        assert!((2..=7).contains(&asked), "{asked} refused cordons");
        push(&sim, 1, 20);
        sim.until("it serves on", SECOND * 60, run(1)).await;
        sim.ci("ci").forbid_cordon_of(locked, false);
        sim.until_settled(SECOND * 1_000).await;
        assert_eq!(sim.world().ever(), 3);
    });
}

fn uncontrolled(leave: UncontrolledLeave) -> Setup {
    let uncontrolled = Some(leave);
    with(|setup| {
        setup.pools = vec![PoolSetup {
            uncontrolled,
            bootstrap: Bootstrap::Shared,
            ..LINUX
        }];
    })
}

/// A token that may read and nothing else, and machines that bring the guest: they go one build after the other, though
/// jobs keep coming while they are asked.
#[test]
fn guests_that_are_asked_end_their_agents_after_their_builds() {
    for seed in 1..20 {
        let setup = Setup {
            seed,
            ..uncontrolled(UncontrolledLeave::AskGuest)
        };
        simulate(setup, |sim| async move {
            let _loops = start(&sim, 6, 30);
            for _ in 0..10 {
                sim.pass(Duration::from_secs(60 + sim.setup.seed)).await;
                push(&sim, 2, 20);
            }
            sim.until_settled(SECOND * 600).await;
            assert_eq!(sim.world().ended(JobEnd::Done), 26);
            let left_by_itself = sim.world().ever();
            assert!(left_by_itself >= 6, "{left_by_itself}");
        });
    }
}

/// What an operator asked for: machines leave, and nobody can promise that none had just been given a job. The jobs here
/// come while nothing leaves.
#[test]
fn best_effort_lets_idle_machines_go_without_any_right() {
    simulate(
        uncontrolled(UncontrolledLeave::BestEffort),
        |sim| async move {
            let _loops = start(&sim, 6, 30);
            // the executors stay: nobody has the right to remove them
            let gone = |world: &World| world.open_jobs() == 0 && world.all_alive() == 0;
            sim.until("no machine", SECOND * 600, gone).await;
            assert_eq!(sim.world().ended(JobEnd::Done), 6);
        },
    );
}

/// Without either they stay, and serve what comes.
#[test]
fn without_any_right_machines_stay_and_serve() {
    simulate(
        uncontrolled(UncontrolledLeave::ByThemselves),
        |sim| async move {
            let _loops = start(&sim, 3, 20);
            sim.until("three idle machines", SECOND * 120, idle(3))
                .await;
            sim.pass(SECOND * 3600).await;
            push(&sim, 3, 20);
            sim.until("they serve on", SECOND * 60, run(3)).await;
            assert_eq!(sim.world().all_alive(), 3);
            assert_eq!(sim.world().ever(), 3);
        },
    );
}

/// Two compose files copied from one, each with a store of its own: whatever one makes, the other takes for its own, and
/// each would let go what the other has just made. Neither deletes anything while both are at work, and when one is switched
/// off the other goes on.
#[test]
fn two_installations_of_one_fleet_stop_each_others_deletions() {
    let pools = vec![PoolSetup { max: 100, ..LINUX }];
    simulate(with(|setup| setup.pools = pools), |sim| async move {
        let _ours = start(&sim, 0, 0);
        sim.pass(SECOND * 300).await;
        let other = sim.elsewhere();
        let theirs = start(&other, 0, 0);
        sim.pass(SECOND * 300).await;
        push(&sim, 4, 20);
        sim.until("all jobs done", SECOND * 120, |world| {
            world.open_jobs() == 0
        })
        .await;
        let made = sim.world().alive("linux").len();
        let deleted = sim.cloud("sim").deletions().len();
        sim.pass(SECOND * 1200).await;
        assert_eq!(sim.world().alive("linux").len(), made);
        assert_eq!(sim.cloud("sim").deletions().len(), deleted);
        drop(theirs);
        sim.until_settled(SECOND * 3600).await;
    });
}

/// Whether the last plans of a scaler say that another installation is at work.
fn knows_a_rival(scaler: &support::Running) -> bool {
    let view = scaler.view.borrow();
    let mut reasons = view.pools.iter().flat_map(|pool| &pool.reasons);
    reasons.any(|reason| reason.contains("another installation acts for this fleet"))
}

/// Two that make nothing know of each other when each has told the machines that they are wanted, and nothing that one of
/// them does not want leaves. Neither forgets it between two renewals of the other, since each writes over the other's mark.
#[test]
fn two_installations_that_make_nothing_stop_each_other_within_a_renewal() {
    let three = vec![PoolSetup { min: 3, ..LINUX }];
    simulate(with(|setup| setup.pools = three), |sim| async move {
        let (_our_probot, ours) = start(&sim, 0, 0);
        sim.until("three stand", SECOND * 60, |world| world.all_alive() == 3)
            .await;
        sim.pass(SECOND * 600).await;
        let other = sim.elsewhere();
        let (their_probot, theirs) = start(&other, 0, 0);
        sim.pass(SECOND * 100).await;
        assert!(knows_a_rival(&ours), "he has renewed");
        sim.pass(SECOND * 900).await;
        assert!(knows_a_rival(&theirs), "we have renewed since he came");
        for _ in 0..60 {
            sim.pass(SECOND * 60).await;
            assert!(knows_a_rival(&ours) && knows_a_rival(&theirs));
        }
        assert_eq!(sim.world().all_alive(), 3);
        assert_eq!(sim.cloud("sim").deletions().len(), 0);
        theirs.stop().await;
        drop(their_probot);
        sim.pass(SECOND * 3700).await;
        assert!(!knows_a_rival(&ours), "he stopped an hour ago");
        ours.stop().await;
    });
}

/// The store has another id then, what was renewed before is nobody's sign, and the replica that stands by renews with the new one.
#[test]
fn a_store_that_was_wiped_is_no_rival_of_itself() {
    let three = vec![PoolSetup { min: 3, ..LINUX }];
    simulate(with(|setup| setup.pools = three), |sim| async move {
        let (_probot, ours) = start(&sim, 0, 0);
        let standby = sim.scaler("standby");
        sim.pass(SECOND * 1200).await;
        for _ in 0..3 {
            sim.store.wipe();
            for _ in 0..120 {
                sim.pass(SECOND * 20).await;
                assert!(!knows_a_rival(&ours) && !knows_a_rival(&standby));
            }
        }
        assert_eq!(sim.world().all_alive(), 3);
        assert!(sim.cloud("sim").renewals() > 8);
        standby.stop().await;
        ours.stop().await;
    });
}

/// A pool that is not configured any more drains: its idle machines leave by the ordinary way, and a busy one when its job
/// is done.
#[test]
fn the_machines_of_a_pool_that_was_removed_leave_and_kill_nothing() {
    let mac = PoolSetup {
        name: "mac",
        min: 2,
        ..LINUX
    };
    let pools = vec![PoolSetup { min: 1, ..LINUX }, mac];
    simulate(with(|setup| setup.pools = pools), |sim| async move {
        let before = start(&sim, 0, 0);
        sim.world().push("ci", "mac", SECOND * 1500);
        sim.until("both pools have what they want", SECOND * 60, |world| {
            world.alive("linux").len() == 1 && world.alive("mac").len() == 2
        })
        .await;
        drop(before);
        sim.pass(SECOND * 10).await;
        let mut after = sim.clone();
        after.setup.pools.pop();
        let _loops = start(&after, 0, 0);
        sim.pass(SECOND * 500).await;
        assert_eq!(
            sim.world().alive("mac").len(),
            2,
            "a configuration may still be on its way"
        );
        sim.until("the idle one has left", SECOND * 400, |world| {
            world.alive("mac").len() == 1
        })
        .await;
        assert_eq!(sim.world().open_jobs(), 1);
        sim.until("the busy one has left too", SECOND * 1500, |world| {
            world.alive("mac").is_empty() && world.executors().len() == 1
        })
        .await;
        assert_eq!(sim.world().open_jobs(), 0);
        assert_eq!(sim.world().alive("linux").len(), 1);
    });
}

/// A pool that was removed and whose machines name no executor in their tags.
fn removed(mac: PoolSetup, life: impl AsyncFn(&Sim, &Sim)) {
    let pools = vec![PoolSetup { min: 1, ..LINUX }, mac];
    simulate(with(|setup| setup.pools = pools), |sim| async move {
        let before = start(&sim, 0, 0);
        sim.until("both pools have what they want", SECOND * 60, |world| {
            world.alive("linux").len() == 1 && world.alive("mac").len() == 2
        })
        .await;
        sim.pass(SECOND * 10).await;
        drop(before);
        let mut after = sim.clone();
        after.setup.pools.pop();
        life(&sim, &after).await;
        assert_eq!(sim.world().alive("linux").len(), 1);
    });
}

const MAC: PoolSetup = PoolSetup {
    name: "mac",
    min: 2,
    ..LINUX
};

/// Agents that enrolled themselves are matched by their machines' names: the idle one leaves by its cordon, the busy one after
/// its job.
#[test]
fn machines_of_a_removed_pool_whose_agents_enrolled_themselves_leave_and_kill_nothing() {
    let mac = PoolSetup {
        bootstrap: Bootstrap::Shared,
        enrols: true,
        ..MAC
    };
    removed(mac, async |sim, after| {
        sim.world().push("ci", "mac", SECOND * 1500);
        let _loops = start(after, 0, 0);
        sim.until("the idle one has left", SECOND * 1000, |world| {
            world.alive("mac").len() == 1
        })
        .await;
        assert_eq!(sim.world().open_jobs(), 1);
        sim.until("the busy one has left too", SECOND * 1500, |world| {
            world.alive("mac").is_empty() && world.executors().len() == 1
        })
        .await;
        assert_eq!(sim.world().open_jobs(), 0);
    });
}

/// Machines that join no CI server have no builds; they leave once they are no longer young.
#[test]
fn machines_of_a_removed_pool_that_join_nothing_leave() {
    let mac = PoolSetup {
        joins_nothing: true,
        ..MAC
    };
    removed(mac, async |sim, after| {
        let _loops = start(after, 0, 0);
        sim.pass(SECOND * 500).await;
        assert_eq!(
            sim.world().alive("mac").len(),
            2,
            "a configuration may still be on its way"
        );
        sim.until("they have left", SECOND * 600, |world| {
            world.alive("mac").is_empty()
        })
        .await;
    });
}

/// Where executors cannot be controlled they leave as the pool's `scale_in` said.
#[test]
fn machines_of_a_removed_pool_that_cannot_be_controlled_are_asked_to_end() {
    let mac = PoolSetup {
        uncontrolled: Some(UncontrolledLeave::AskGuest),
        emitter: "ci-b",
        ..MAC
    };
    let is_there = |pools: &mut Vec<PoolSetup>| {
        pools.push(PoolSetup {
            name: "docs",
            emitter: "ci-b",
            uncontrolled: Some(UncontrolledLeave::AskGuest),
            ..LINUX
        });
    };
    removed(mac, async |sim, after| {
        sim.world().push("ci-b", "mac", SECOND * 1500);
        let mut after = after.clone();
        is_there(&mut after.setup.pools);
        let _loops = start(&after, 0, 0);
        sim.until("both have left", SECOND * 3000, |world| {
            world.alive("mac").is_empty()
        })
        .await;
        assert_eq!(sim.world().open_jobs(), 0);
    });
}

/// What the store does not know (it was wiped meanwhile) nobody knows: they stay.
#[test]
fn machines_of_a_removed_pool_stay_when_nobody_knows_what_they_joined() {
    let mac = PoolSetup {
        joins_nothing: true,
        ..MAC
    };
    removed(mac, async |sim, after| {
        sim.store.wipe();
        let _loops = start(after, 0, 0);
        sim.pass(SECOND * 3600).await;
        assert_eq!(sim.world().alive("mac").len(), 2);
    });
}
