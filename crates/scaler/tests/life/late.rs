//! A machine never joins, and does so at each moment of its departure, with a build at once: an agent of TeamCity, which comes into
//! being as it joins, and a machine of GitLab or Jenkins for which nobody registered an executor. Nothing can be cordoned before,
//! and nothing read.
//!
//! With the last question taken out (`deleting.rs`, `delete`) a build dies here.

use std::cell::Cell;
use std::rc::Rc;

use crate::gate::Gate;
use crate::joining::Join;
use crate::setup::{Kind, Setup};
use crate::sim::{SECOND, simulate};
use crate::world::{Moment, World};

/// More crossings than a departure takes.
const MOST: u64 = 1_000;

/// In the usual run every so many-th place is one; the last ones before the deletion are a few.
const STRIDE: usize = 3;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The departure has no such place.
    Gone,
    Lives,
    /// It joined after the last question was answered, and before the deletion that follows at once.
    NobodyCouldKnow,
}

fn joins_at(setup: Setup, place: u64) -> End {
    let end = Rc::new(Cell::new(End::Gone));
    let told = end.clone();
    simulate(setup, |sim| async move {
        let _probot = sim.probot("p");
        let scaler = sim.scaler("s", Gate::open());
        sim.world().broken = true;
        sim.world().push(SECOND * 20);
        let stands = |world: &World| world.alive().len() == 1;
        sim.until("it stands", SECOND * 60, stands).await;
        let name = sim.world().alive().remove(0);
        // its time to join is over a moment later
        sim.pass(SECOND * 50).await;
        sim.world().broken = false;
        scaler.gate.pauses_after(place);
        let gone = |world: &World| !world.alive().contains(&name);
        tokio::select! {
            biased;
            () = scaler.gate.reached() => {}
            () = sim.until("it is gone", SECOND * 120, gone) => {
                scaler.gate.pauses_after(u64::MAX);
                return;
            }
        }
        let joined = sim.world().joins_late(&name);
        let event: Moment = sim.world().moment();
        let was_asked = sim.world().asked_last.iter().any(|it| it.contains(&name));
        scaler.gate.resume();
        sim.until_settled(SECOND * 900).await;
        let mut world = sim.world();
        let nobody_could_know =
            !world.kills.is_empty() && was_asked && world.kills.iter().all(|kill| *kill == event);
        if nobody_could_know {
            world.excuse();
        }
        told.set(match (joined, nobody_could_know) {
            (false, _) => End::Gone,
            (true, true) => End::NobodyCouldKnow,
            (true, false) => End::Lives,
        });
    });
    end.get()
}

fn at_every_place(kind: Kind, join: Join) {
    let setup = || Setup {
        join,
        ..Setup::of(kind)
    };
    let places = (0..MOST).step_by(STRIDE);
    let places = places.map(|place| joins_at(setup(), place));
    let ends: Vec<End> = places.take_while(|end| *end != End::Gone).collect();
    let alive = ends.iter().filter(|end| **end == End::Lives).count();
    assert!(alive >= 20, "{ends:?}");
    assert!(ends.len() - alive <= 2, "{ends:?}");
    assert!(ends.len() * STRIDE < 1_000, "it does not end");
}

#[test]
fn a_machine_that_joins_at_any_moment_of_its_departure_from_teamcity_keeps_its_build() {
    at_every_place(Kind::TeamCity, Join::Registered);
}

#[test]
fn a_machine_that_joins_gitlab_by_itself_at_any_moment_of_its_departure_keeps_its_build() {
    at_every_place(Kind::GitLab, Join::ByThemselves);
}

#[test]
fn a_machine_that_joins_jenkins_by_itself_at_any_moment_of_its_departure_keeps_its_build() {
    at_every_place(Kind::Jenkins, Join::ByThemselves);
}
