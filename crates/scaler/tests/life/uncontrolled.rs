//! One departure where executors may only be read (`scale_in`), and a job that comes at every moment of it. And what the judge
//! excuses there, and what not: `best-effort` promises nothing of a job that no look of the last seconds could show, and everything
//! of all others; `ask-guest` promises everything.

use std::time::Duration;

use crate::gate::Gate;
use crate::joining::Join;
use crate::random::is_extended;
use crate::setup::{Kind, Setup};
use crate::sim::{SECOND, Sim, simulate};
use crate::world::World;

const KINDS: [Kind; 3] = [Kind::GitLab, Kind::Jenkins, Kind::TeamCity];

/// More crossings than a departure takes.
const MOST: u64 = 1_000;

/// Every so many-th place is one.
const STRIDE: usize = 3;

/// The usual run plays one of them.
fn kinds() -> &'static [Kind] {
    let some = if is_extended() { 3 } else { 1 };
    &KINDS[..some]
}

fn setup(kind: Kind, join: Join, seed: u64) -> Setup {
    Setup {
        seed,
        join,
        ..Setup::of(kind)
    }
}

fn is_done(world: &World) -> bool {
    world.ci.open() == 0
}

/// A life with one machine, which had one job and has nothing to do; the next is its departure.
async fn one_is_idle(sim: &Sim) -> String {
    sim.pass(SECOND * 12).await;
    sim.world().push(SECOND * 5);
    sim.until("its job is done", SECOND * 60, is_done).await;
    let alive = sim.world().alive();
    assert_eq!(alive.len(), 1, "{alive:?}");
    alive[0].clone()
}

/// What became of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The machine took it, and ended it.
    Ended,
    /// The machine took it, and was deleted with it.
    Died,
    /// The machine took none any more; another one ran it.
    NotTaken,
}

/// One departure, and a job after so many crossings of the scaler's gate from its last job on, which the machine has at once if it
/// takes any. `None` when the departure had ended by then.
fn job_at(kind: Kind, join: Join, place: u64) -> Option<End> {
    let end = std::rc::Rc::new(std::cell::Cell::new(None));
    let told = end.clone();
    simulate(setup(kind, join, place + 1), |sim| async move {
        let _probot = sim.probot("p");
        let scaler = sim.scaler("s", Gate::open());
        let name = one_is_idle(&sim).await;
        scaler.gate.pauses_after(place);
        let gone = |world: &World| !world.alive().contains(&name);
        tokio::select! {
            biased;
            () = scaler.gate.reached() => {}
            () = sim.until("it is gone", SECOND * 240, gone) => {
                scaler.gate.pauses_after(u64::MAX);
                return;
            }
        }
        let has_it = sim.world().has_a_job_at_once(&name);
        if !has_it {
            sim.world().push(SECOND * 20);
        }
        scaler.gate.resume();
        sim.until_settled(SECOND * 600).await;
        let died = !sim.world().ci.killed().is_empty();
        told.set(Some(match (has_it, died) {
            (_, true) => End::Died,
            (true, false) => End::Ended,
            (false, false) => End::NotTaken,
        }));
    });
    end.get()
}

/// How the jobs at each place ended.
fn at_every_place(kind: Kind, join: Join) -> Vec<End> {
    let places = (0..MOST).step_by(STRIDE);
    let ends = places.map_while(|place| job_at(kind, join, place));
    let ends: Vec<End> = ends.collect();
    assert!(ends.contains(&End::Ended), "{kind:?} {join:?}: {ends:?}");
    assert!(
        ends.len() * STRIDE < 1_000,
        "{kind:?} {join:?}: it does not end"
    );
    ends
}

#[test]
fn a_job_comes_at_every_place_of_a_departure_whose_guest_is_asked_and_none_dies() {
    for kind in kinds() {
        let ends = at_every_place(*kind, Join::AskGuest);
        assert!(!ends.contains(&End::Died), "{kind:?}: {ends:?}");
        assert!(ends.contains(&End::NotTaken), "{kind:?}: {ends:?}");
    }
}

/// The danger of which `parmanu check` warns is real, and there is no more of it than that: the judge excuses nothing else.
#[test]
fn a_job_comes_at_every_place_of_a_departure_by_best_effort_and_one_that_no_look_could_show_dies() {
    for kind in kinds() {
        let ends = at_every_place(*kind, Join::BestEffort);
        assert!(ends.contains(&End::Died), "{kind:?}: {ends:?}");
    }
}

/// Whether the judge reports a deletion that nobody but a broken scaler would send, of a machine with a job of this age.
fn judge_reports(kind: Kind, join: Join, age: Duration) -> bool {
    let reports = std::rc::Rc::new(std::cell::Cell::new(false));
    let told = reports.clone();
    simulate(setup(kind, join, 1), |sim| async move {
        let probot = sim.probot("p");
        let scaler = sim.scaler("s", Gate::open());
        let name = one_is_idle(&sim).await;
        // whatever comes of it is not the scaler's doing
        scaler.crash().await;
        probot.crash().await;
        assert!(sim.world().has_a_job_at_once(&name));
        sim.pass(age).await;
        let mut world = sim.world();
        world.is_deleted_at_last(&name);
        told.set(world.wrong.iter().any(|wrong| wrong.contains("I1: ")));
        world.excuse();
    });
    reports.get()
}

/// The judge's own test.
#[test]
fn the_judge_excuses_only_what_no_look_could_show_and_only_with_best_effort() {
    for kind in KINDS {
        let reports = |join, seconds| judge_reports(kind, join, SECOND * seconds);
        assert!(
            !reports(Join::BestEffort, 1),
            "{kind:?}: given after the look"
        );
        assert!(!reports(Join::BestEffort, 14), "{kind:?}");
        assert!(
            reports(Join::BestEffort, 17),
            "{kind:?}: to be seen in any look that counts"
        );
        assert!(
            reports(Join::AskGuest, 1),
            "{kind:?}: the guest knows of it"
        );
        assert!(reports(Join::Registered, 1), "{kind:?}");
    }
}
