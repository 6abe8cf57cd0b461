//! Machines are told until when they are wanted, for whatever clears up after a Parmanu that is gone for good.

mod support;

use std::time::Duration;

use model::{Timestamp, UncontrolledLeave};
use ports::Clock;
use provider_fake::Fault;
use support::{LINUX, PoolSetup, SECOND, Setup, Sim, simulate};

const MINUTE: Duration = Duration::from_secs(60);

fn two_machines() -> Setup {
    let mut setup = Setup::default();
    setup.pools[0].min = 2;
    setup
}

fn marks(sim: &Sim) -> Vec<Option<Timestamp>> {
    let machines = sim.cloud("sim").machines();
    machines.iter().map(|m| m.instance.expires).collect()
}

/// Whether both machines are wanted for at least so long from now.
fn wanted_for(sim: &Sim, time: Duration) -> bool {
    let until = sim.clock.now() + time;
    marks(sim).len() == 2 && marks(sim).iter().all(|mark| *mark >= Some(until))
}

#[test]
fn machines_are_told_every_quarter_of_an_hour_in_one_call() {
    simulate(two_machines(), |sim| async move {
        let _loops = (sim.probot("p"), sim.scaler("s"));
        sim.pass(MINUTE * 2).await;
        assert!(wanted_for(&sim, MINUTE * 58), "{:?}", marks(&sim));
        for minute in 0..120 {
            sim.pass(MINUTE).await;
            assert!(wanted_for(&sim, MINUTE * 44), "{minute}: {:?}", marks(&sim));
        }
        // after the first minute, and then every quarter of two hours
        assert_eq!(sim.cloud("sim").renewals(), 9);
    });
}

#[test]
fn what_a_scaler_finds_past_its_time_is_wanted_again_soon() {
    simulate(two_machines(), |sim| async move {
        let _probot = sim.probot("p");
        let scaler = sim.scaler("s");
        sim.pass(MINUTE * 2).await;
        scaler.stop().await;
        sim.pass(MINUTE * 180).await;
        assert!(marks(&sim).iter().all(|mark| *mark < Some(sim.clock.now())));
        let _scaler = sim.scaler("t");
        sim.pass(SECOND * 90).await;
        assert!(wanted_for(&sim, MINUTE * 58), "{:?}", marks(&sim));
    });
}

#[test]
fn a_listing_that_is_not_whole_keeps_nobody_from_being_told() {
    simulate(two_machines(), |sim| async move {
        let _loops = (sim.probot("p"), sim.scaler("s"));
        sim.pass(MINUTE * 2).await;
        let hidden = Fault::HideScope("zone-a".to_owned());
        sim.cloud("sim").listings(Some(hidden));
        sim.pass(MINUTE * 120).await;
        assert!(wanted_for(&sim, MINUTE * 44), "{:?}", marks(&sim));
    });
}

#[test]
fn a_cloud_that_hangs_is_told_later() {
    simulate(two_machines(), |sim| async move {
        let _loops = (sim.probot("p"), sim.scaler("s"));
        sim.pass(MINUTE * 2).await;
        let told = sim.cloud("sim").renewals();
        sim.cloud("sim").slow(MINUTE * 10);
        sim.pass(MINUTE * 40).await;
        assert!(!wanted_for(&sim, MINUTE * 44), "{:?}", marks(&sim));
        sim.cloud("sim").slow(Duration::ZERO);
        sim.pass(MINUTE * 16).await;
        assert!(wanted_for(&sim, MINUTE * 44), "{:?}", marks(&sim));
        assert!(sim.cloud("sim").renewals() > told);
    });
}

/// Nobody here can tell what machines of a pool do that is not configured any more and whose executors cannot be controlled.
/// Their guests can, once nobody renews what they wait for.
#[test]
fn machines_that_are_left_alone_for_a_day_are_not_told_any_more_and_others_are() {
    let linux = PoolSetup {
        min: 1,
        max: 1,
        ..LINUX
    };
    let mac = PoolSetup {
        name: "mac",
        emitter: "ci-b",
        provider: "sim-b",
        min: 2,
        uncontrolled: Some(UncontrolledLeave::ByThemselves),
        ..LINUX
    };
    let setup = Setup {
        pools: vec![linux, mac],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let before = (sim.probot("p"), sim.scaler("s"));
        sim.until("both pools have what they want", SECOND * 60, |world| {
            world.alive("linux").len() == 1 && world.alive("mac").len() == 2
        })
        .await;
        drop(before);
        let mut after = sim.clone();
        after.setup.pools.pop();
        let _scaler = after.scaler("t");
        let left = |sim: &Sim| {
            let machines = sim.cloud("sim-b").machines();
            let marks = machines.iter().map(|m| m.instance.expires);
            marks.collect::<Vec<_>>()
        };
        sim.pass(MINUTE * 60 * 23).await;
        assert!(left(&sim).iter().all(|mark| *mark > Some(sim.clock.now())));
        sim.pass(MINUTE * 60 * 3).await;
        assert!(left(&sim).iter().all(|mark| *mark < Some(sim.clock.now())));
        assert_eq!(left(&sim).len(), 2, "it is not deleted: it may be busy");
        let until = sim.clock.now() + MINUTE * 44;
        let configured = marks(&sim);
        assert!(
            configured.iter().all(|mark| *mark >= Some(until)),
            "{configured:?}"
        );
    });
}
