//! A machine that never joined joins after all, between the look by which it goes and its deletion.
//!
//! Its agent enrols itself, so that nothing is known of an executor until a look shows one. The scaler is held up at each of its
//! places between it and the store while the machine leaves; there the machine joins, and has a build at once. Nobody looks any
//! more in time. What was taken out of the code to see each of them fail:
//!
//! | test | taken out | where |
//! |---|---|---|
//! | `a_machine_that_joins_at_the_last_moment_keeps_its_build` | the last question | `deleting.rs`, `delete` |
//! | `a_ci_server_that_cannot_be_asked_last_keeps_the_machine` | unknown is no absence | `deleting.rs`, `nobody_joined` |
//! | `one_that_cannot_be_told_is_asked_about_less_and_less_often` | the wait grows | `sought.rs`, `doubt` |

#[path = "life/gate.rs"]
#[allow(dead_code, reason = "only its store is used here")]
mod gate;
mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use gate::{Gate, GatedStore};
use model::{Bootstrap, ExecutorId, InstanceName};
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, World, simulate};

/// More places than a departure has.
const MOST: u64 = 400;

/// Machines join by themselves, and none does of its own.
fn setup() -> Setup {
    Setup {
        pools: vec![PoolSetup {
            bootstrap: Bootstrap::Shared,
            max: 1,
            ..LINUX
        }],
        ..Setup::default()
    }
}

/// A machine that is about to be given up, the job that it was made for, and a scaler that can be held up.
async fn about_to_go(sim: &Sim) -> (InstanceName, u64, Running, Running, Gate) {
    let gate = Gate::open();
    let store = Arc::new(GatedStore(gate.clone(), sim.store.clone()));
    let (probot, scaler) = (sim.probot("p"), sim.scaler_on("s", store));
    sim.world().by_hand = true;
    let job = sim.world().push("ci", "linux", SECOND * 20);
    let stands = |world: &World| world.alive("linux").len() == 1;
    sim.until("it stands", SECOND * 30, stands).await;
    let name = sim.world().alive("linux").remove(0);
    sim.pass(SECOND * 55).await;
    (name, job, probot, scaler, gate)
}

/// It joins and has the job at once.
fn joins(sim: &Sim, name: &InstanceName, job: u64) {
    let ci = sim.ci("ci");
    ci.enrol(name);
    ci.start(job, &ExecutorId::new(name.to_string()));
}

/// Whether the departure has a place of this number; what happens there is judged by the world.
fn has_place(place: u64, happens: impl Fn(&Sim, &InstanceName, u64)) -> bool {
    let reached = Rc::new(Cell::new(false));
    let told = reached.clone();
    simulate(setup(), |sim| async move {
        let (name, job, _probot, _scaler, gate) = about_to_go(&sim).await;
        gate.pauses_after(place);
        let gone = |world: &World| !world.alive("linux").contains(&name);
        tokio::select! {
            biased;
            () = gate.reached() => told.set(true),
            _ = sim.until("it is gone", SECOND * 120, gone) => return,
        }
        if gone(&sim.world()) {
            gate.pauses_after(u64::MAX);
            gate.resume();
            return told.set(false);
        }
        happens(&sim, &name, job);
        gate.resume();
        sim.pass(SECOND * 60).await;
        sim.world().trouble("ci", None, None);
        sim.world().by_hand = false;
        sim.until("the job is done", SECOND * 900, |world| {
            world.open_jobs() == 0
        })
        .await;
        assert_eq!(sim.world().ended(emitter_fake::JobEnd::Killed), 0);
    });
    reached.get()
}

/// Goes through all places of a departure.
fn at_every_place(happens: impl Fn(&Sim, &InstanceName, u64)) {
    let places = (0..MOST).take_while(|place| has_place(*place, &happens));
    let places = places.count();
    assert!((10..400).contains(&places), "{places} places");
}

#[test]
fn a_machine_that_joins_at_the_last_moment_keeps_its_build() {
    at_every_place(joins);
}

#[test]
fn a_ci_server_that_cannot_be_asked_last_keeps_the_machine() {
    at_every_place(|sim, name, job| {
        joins(sim, name, job);
        sim.world().trouble("ci", Some("503"), None);
    });
}

/// How many deletions a scaler began, carried out or not.
fn begun(scaler: &Running) -> u64 {
    let text = scaler.metrics.exposition();
    let deletes = text.lines().filter(|line| {
        line.starts_with("parmanu_action_total") && line.contains("action=\"delete\"")
    });
    deletes
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn one_that_cannot_be_told_is_asked_about_less_and_less_often() {
    simulate(setup(), |sim| async move {
        sim.ci("ci").hide_names(Some("one runner for all of them"));
        let (name, _, _probot, scaler, _) = about_to_go(&sim).await;
        sim.pass(SECOND * 2 * 3600).await;
        assert_eq!(sim.world().alive("linux"), std::slice::from_ref(&name));
        // after 30 s, and then after twice the time of the time before, up to a quarter of an hour
        let asked = begun(&scaler);
        assert!((8..=13).contains(&asked), "{asked} times");
        sim.ci("ci").hide_names(None);
        let gone = |world: &World| !world.alive("linux").contains(&name);
        sim.until("it is gone", SECOND * 1_000, gone).await;
    });
}
