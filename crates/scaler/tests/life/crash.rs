//! One scale-out and one scale-in, cut off at every place: the scaler dies at the first, the second, the third … side of a
//! call it makes (to the store, to a cloud, each single request to the CI server), before the call takes effect and after.
//! Another one then finds the store as it was, or empty, and everything must end as if nothing had been.
//!
//! Each place was cut off once for each CI server, both clouds and either store (the extended run): all came to rest, with no
//! build killed and no machine too many.

use crate::gate::Gate;
use crate::random::is_extended;
use crate::setup::{Kind, Setup};
use crate::sim::{Running, SECOND, Sim, simulate};
use crate::world::{Weather, World};

/// What is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Out,
    In,
}

/// More crossings than either takes: something goes round in circles.
const MOST: u64 = 2_000;

/// In the usual run every so many-th place is one; the extended run takes them all, with each cloud and either store.
const STRIDE: usize = 5;

fn at_every_place(kind: Kind, phase: Phase) {
    let all = [("aws", false), ("gcp", true), ("gcp", false), ("aws", true)];
    let stride = if is_extended() { 1 } else { STRIDE };
    for (turn, place) in (0..MOST).step_by(stride).enumerate() {
        // in the usual run clouds and stores take turns
        let one = std::slice::from_ref(&all[turn % all.len()]);
        let variants = if is_extended() { &all[..] } else { one };
        let died = variants
            .iter()
            .filter(|(cloud, wiped)| cut_off(kind, phase, place, cloud, *wiped));
        if died.count() == 0 {
            assert!(place > 20, "{kind:?} {phase:?}: only {place} places");
            return;
        }
    }
    panic!("{kind:?} {phase:?}: it does not end");
}

/// One life in which the scaler dies after so many crossings of its gate. False when it had nothing more to do.
fn cut_off(kind: Kind, phase: Phase, place: u64, cloud: &'static str, wiped: bool) -> bool {
    let setup = Setup {
        seed: place + 1,
        clouds: vec![cloud],
        ..Setup::of(kind)
    };
    let has_died = std::rc::Rc::new(std::cell::Cell::new(false));
    let told = has_died.clone();
    simulate(setup, |sim| async move {
        let _probot = sim.probot("p");
        let first = sim.scaler("first", Gate::open());
        sim.pass(SECOND * 12).await;
        sim.world().weather = Weather {
            latency: SECOND / 3,
            lost: 0,
        };
        (0..2).for_each(|_| sim.world().push(SECOND * 10));
        let last = match phase {
            Phase::Out => out(&sim, first, place).await,
            Phase::In => scale_in(&sim, first, place).await,
        };
        told.set(last.is_none());
        if wiped && last.is_none() {
            sim.store.wipe();
        }
        let next = last.unwrap_or_else(|| sim.scaler("next", Gate::open()));
        sim.until_settled(SECOND * 400).await;
        // one machine that came late may have run both jobs
        let ever = sim.world().ever();
        assert!(
            ever <= 2,
            "{ever} at place {place} of {cloud}, wiped: {wiped}"
        );
        next.stop().await;
    });
    has_died.get()
}

fn both_run(world: &World) -> bool {
    world.ci.running().len() == 2
}

/// From the first job until both run.
async fn out(sim: &Sim, scaler: Running, place: u64) -> Option<Running> {
    scaler.gate.dies_after(place);
    dies_before(sim, scaler, both_run).await
}

/// From the first departure until nothing is left.
async fn scale_in(sim: &Sim, scaler: Running, place: u64) -> Option<Running> {
    sim.until("both run", SECOND * 60, both_run).await;
    let done = |world: &World| world.ci.open() == 0;
    sim.until("both are done", SECOND * 60, done).await;
    sim.pass(SECOND * 8).await;
    scaler.gate.dies_after(place);
    dies_before(sim, scaler, |world| world.settled(0)).await
}

/// Waits for a state of the world; gives the scaler back unless it died before.
async fn dies_before(sim: &Sim, scaler: Running, is: impl Fn(&World) -> bool) -> Option<Running> {
    let gate = scaler.gate.clone();
    tokio::select! {
        biased;
        () = gate.reached() => {
            sim.another_may_act();
            scaler.crash().await;
            None
        }
        () = sim.until("it ends", SECOND * 300, is) => {
            gate.dies_after(u64::MAX);
            Some(scaler)
        }
    }
}

macro_rules! places {
    ($($name:ident: $kind:ident $phase:ident,)*) => {$(
        #[test]
        fn $name() {
            at_every_place(Kind::$kind, Phase::$phase);
        }
    )*};
}

places! {
    a_scale_out_with_gitlab_is_cut_off_at_every_place: GitLab Out,
    a_scale_in_with_gitlab_is_cut_off_at_every_place: GitLab In,
    a_scale_out_with_jenkins_is_cut_off_at_every_place: Jenkins Out,
    a_scale_in_with_jenkins_is_cut_off_at_every_place: Jenkins In,
    a_scale_out_with_teamcity_is_cut_off_at_every_place: TeamCity Out,
    a_scale_in_with_teamcity_is_cut_off_at_every_place: TeamCity In,
}
