//! Machines are told until when they are wanted, for whatever clears up after a Parmanu that is gone for good.

mod support;

use std::time::Duration;

use model::Timestamp;
use ports::Clock;
use provider_fake::Fault;
use support::{SECOND, Setup, Sim, simulate};

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
