//! One departure, and a job that comes at the worst moment of it. Here each protection of a running build stands alone: what
//! would have to be seen by another one is hidden from it (the looks have stopped, or no time passes between the event and
//! the act). And here the judge is seen to report killed builds, so that his silence elsewhere means something.
//!
//! The one moment in which nobody can know stands in [`nobody_could_know`]: the deletion follows the answer of the last
//! read at once, and a machine that somebody lets take jobs again in between is deleted with a job on it.
//!
//! Each life has been seen reporting a killed build, or never ending, with its protection taken out of the product:
//!
//! | taken out | where | seen by |
//! |---|---|---|
//! | both strong reads; also the second alone | `deleting.rs`, `verify`, `delete` | `a_job_comes_at_every_place_…`, `…_is_seen_by_the_second` |
//! | the first read alone | `deleting.rs`, `verify` | `a_read_that_lies_now_and_then_…` |
//! | a job in the read is busy | `deleting.rs`, `certainly_idle` | `a_job_comes_at_every_place_…`, `a_job_promised_before_…` |
//! | a cordon that is gone forbids it | `deleting.rs`, `certainly_idle` | `a_job_comes_at_every_place_…` |
//! | unknown is busy | `deleting.rs`, `certainly_idle` | `a_job_comes_at_every_place_…` |
//! | the settle time | `engine`, `leave.rs`, `settle` | `a_job_promised_before_…`, `…_is_seen_by_the_second` |
//! | the cordon | `act.rs`, `cordon` | all: nothing leaves, since the reads find no cordon |
//! | the end of a call with its lease | `lease.rs`, `Term::call` | `a_job_comes_at_every_place_…` |
//! | the pause is read last | `emitter-gitlab`, `control.rs`, `certain` | `a_job_comes_at_every_place_…_gitlab` |
//! | cordons are one-way across epochs, in the engine *and* in the emitters | `leave.rs`, `call_back`; `control.rs` | `a_deletion_that_outlives_…` |
//!
//! The last is kept twice: without the engine's part alone its own tests fail (`incidents.rs`, `snapshots.rs`), without an
//! emitter's alone the conformance suite, and no build is killed yet.

use std::time::Duration;

use crate::gate::Gate;
use crate::liar::Lies;
use crate::random::is_extended;
use crate::setup::{Kind, Setup};
use crate::sim::{Running, SECOND, Sim, simulate};
use crate::world::{Moment, World};

const KINDS: [Kind; 3] = [Kind::GitLab, Kind::Jenkins, Kind::TeamCity];

/// More crossings than a departure takes.
const MOST: u64 = 1_000;

/// In the usual run every so many-th place is one.
const STRIDE: usize = 3;

/// What happens while a machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Race {
    /// Somebody lets it take jobs again, and it has one at once.
    JobAtOnce,
    /// The same, and the job comes a moment after the machine asked for it.
    JobSoon,
    /// The same as the first, and then the CI server cannot be asked, while the last look is still fresh.
    ThenDown,
    /// The CI server is restarted, and with it all cordons are lifted.
    Restart,
    /// The scaler stands still for longer than its lease, and meanwhile there is a job.
    WhilePaused,
}

const RACES: [Race; 5] = [
    Race::JobAtOnce,
    Race::JobSoon,
    Race::ThenDown,
    Race::Restart,
    Race::WhilePaused,
];

/// Longer than a lease.
const PAUSE: Duration = Duration::from_secs(8);

/// Whether the scaler had no chance to learn of an event: no time passed until the deletion, and it asked nothing.
fn nobody_could_know(event: &Moment, kill: &Moment) -> bool {
    event == kill
}

fn cordoned(world: &World) -> bool {
    let alive = world.alive();
    alive.iter().any(|name| world.ci.is_cordoned(name))
}

/// A life with one machine, which had one job and has just been cordoned.
async fn one_leaves(sim: &Sim) -> (Running, Running) {
    let probot = sim.probot("p");
    let scaler = sim.scaler("first", Gate::open());
    sim.pass(SECOND * 12).await;
    sim.world().push(SECOND * 5);
    let ran = |world: &World| world.ci.open() == 0;
    sim.until("its job is done", SECOND * 60, ran).await;
    sim.until("it is cordoned", SECOND * 120, cordoned).await;
    (probot, scaler)
}

impl Race {
    async fn happens(self, sim: &Sim, scaler: &Running) -> Moment {
        let alive = sim.world().alive();
        let name = alive.first().cloned().unwrap_or_default();
        match self {
            Race::JobAtOnce | Race::ThenDown | Race::WhilePaused => {
                sim.world().free_with_a_job(&name, Duration::ZERO);
            }
            Race::JobSoon => sim.world().free_with_a_job(&name, SECOND),
            Race::Restart => {
                sim.world().lift_cordons();
                sim.world().push(SECOND * 20);
            }
        }
        let moment = sim.world().moment();
        match self {
            Race::ThenDown => sim.world().set_down(true),
            Race::WhilePaused => sim.pass(PAUSE).await,
            Race::JobAtOnce | Race::JobSoon | Race::Restart => {}
        }
        scaler.gate.resume();
        if self == Race::ThenDown {
            sim.pass(SECOND * 10).await;
            sim.world().set_down(false);
        }
        moment
    }
}

/// One departure with a race after so many crossings. `None` when it had ended by then; else whether it killed a build as
/// nobody could know.
fn departure(setup: Setup, race: Race, place: u64) -> Option<bool> {
    let killed = std::rc::Rc::new(std::cell::Cell::new(None));
    let told = killed.clone();
    let lies = setup.lies != Lies::None;
    simulate(setup, |sim| async move {
        let (probot, scaler) = one_leaves(&sim).await;
        let probot = (race != Race::ThenDown).then_some(probot);
        scaler.gate.pauses_after(place);
        let event = tokio::select! {
            biased;
            () = scaler.gate.reached() => race.happens(&sim, &scaler).await,
            () = sim.until("it is gone", SECOND * 120, |world| world.alive().is_empty()) => {
                scaler.gate.pauses_after(u64::MAX);
                return;
            }
        };
        let _probot = probot.unwrap_or_else(|| sim.probot("again"));
        sim.until_settled(SECOND * 600).await;
        let mut world = sim.world();
        let as_nobody_could = world
            .kills
            .iter()
            .all(|kill| nobody_could_know(&event, kill));
        if as_nobody_could || lies {
            world.excuse();
        }
        told.set(Some(!world.kills.is_empty()));
    });
    killed.get()
}

fn at_every_place(kind: Kind) {
    let mut killed = 0;
    for (turn, place) in (0..MOST).enumerate() {
        let cloud = ["aws", "gcp"][turn % 2];
        let races: &[Race] = match turn % 6 {
            _ if is_extended() => &RACES,
            // the one that only the cordon tells of
            0 | 2 | 4 => &[Race::JobSoon],
            1 => &[Race::ThenDown],
            3 => &RACES[turn / 6 % RACES.len()..][..1],
            _ => continue,
        };
        let setup = || Setup {
            seed: place + 1,
            clouds: vec![cloud],
            // a machine that is gone is still listed, and its executor stays as long
            lag: SECOND * 5,
            ..Setup::of(kind)
        };
        let ends = races.iter().map(|race| departure(setup(), *race, place));
        let ends: Vec<Option<bool>> = ends.collect();
        killed += ends.iter().filter(|end| **end == Some(true)).count();
        if ends.iter().all(Option::is_none) {
            assert!(place > 20, "{kind:?}: only {place} places");
            assert!(
                !is_extended() || killed > 0,
                "{kind:?}: the judge saw nothing"
            );
            return;
        }
    }
    panic!("{kind:?}: it does not end");
}

#[test]
fn a_job_comes_at_every_place_of_a_departure_from_gitlab() {
    at_every_place(Kind::GitLab);
}

#[test]
fn a_job_comes_at_every_place_of_a_departure_from_jenkins() {
    at_every_place(Kind::Jenkins);
}

#[test]
fn a_job_comes_at_every_place_of_a_departure_from_teamcity() {
    at_every_place(Kind::TeamCity);
}

/// The judge's own test: with a strong read that is not one, builds are killed, and he says so.
#[test]
fn without_the_strong_reads_builds_are_killed_and_the_judge_says_so() {
    for kind in KINDS {
        let setup = |place| Setup {
            seed: place + 1,
            lies: Lies::All,
            ..Setup::of(kind)
        };
        let places = (0..MOST).step_by(STRIDE);
        let ends = places.map(|place| departure(setup(place), Race::JobAtOnce, place));
        let killed = ends.take_while(Option::is_some);
        let killed = killed.filter(|end| *end == Some(true)).take(2).count();
        assert_eq!(killed, 2, "{kind:?}");
    }
}

/// A promise from just before the cordon, which is kept this long after it; meanwhile nobody looks, so that only the
/// settle time and the strong reads stand between the job and the deletion. Gives how many builds were killed.
fn promised(setup: Setup, kept_after: Duration) -> usize {
    let killed = std::rc::Rc::new(std::cell::Cell::new(0));
    let told = killed.clone();
    simulate(setup, |sim| async move {
        let probot = sim.probot("p");
        let _scaler = sim.scaler("first", Gate::open());
        sim.pass(SECOND * 12).await;
        sim.world().push(SECOND * 5);
        let ran = |world: &World| world.ci.open() == 0;
        sim.until("its job is done", SECOND * 60, ran).await;
        // long enough that what was promised comes while it is on its way
        sim.world().deletion_takes = SECOND * 3;
        sim.world().promise = Some(kept_after);
        sim.until("it is cordoned", SECOND * 120, cordoned).await;
        probot.crash().await;
        sim.pass(SECOND * 20).await;
        let _probot = sim.probot("again");
        sim.until_settled(SECOND * 600).await;
        let mut world = sim.world();
        told.set(world.kills.len());
        world.excuse();
    });
    killed.get()
}

#[test]
fn a_job_promised_before_the_cordon_is_not_killed_and_without_the_settle_time_it_is() {
    for kind in KINDS {
        for millis in (0..=2_400).step_by(400) {
            let kept_after = Duration::from_millis(millis);
            assert_eq!(
                promised(Setup::of(kind), kept_after),
                0,
                "{kind:?} {millis}"
            );
        }
        let unsettled = Setup {
            settle: Duration::ZERO,
            ..Setup::of(kind)
        };
        assert_eq!(promised(unsettled, SECOND * 2), 1, "{kind:?}");
    }
}

/// A CI server that keeps a promise later than it says: the second read is a settle time after the first.
#[test]
fn a_job_handed_out_after_the_first_read_is_seen_by_the_second() {
    for kind in KINDS {
        for millis in (3_500..=5_000).step_by(500) {
            let kept_after = Duration::from_millis(millis);
            assert_eq!(
                promised(Setup::of(kind), kept_after),
                0,
                "{kind:?} {millis}"
            );
        }
    }
}

/// A CI server of which some node answers from an old copy now and then: it takes two reads, and both have to be true.
#[test]
fn a_read_that_lies_now_and_then_kills_nothing() {
    for kind in KINDS {
        let setup = Setup {
            lies: Lies::EachOther,
            ..Setup::of(kind)
        };
        assert_eq!(promised(setup, SECOND), 0, "{kind:?}");
    }
}

/// A deletion that is still on its way when another scaler takes over, which knows of it or (its store is empty) does not, and
/// the demand returns: the machine that it is about is not called back, so whenever it arrives it finds no job.
#[test]
fn a_deletion_that_outlives_its_scaler_finds_no_job() {
    let each = KINDS
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)]);
    for (kind, wiped) in each {
        simulate(Setup::of(kind), |sim| async move {
            let (_probot, scaler) = one_leaves(&sim).await;
            sim.world().deletion_takes = SECOND * 25;
            let asked = |world: &World| world.deletions_asked > 0;
            sim.until("its deletion is on its way", SECOND * 60, asked)
                .await;
            sim.another_may_act();
            scaler.crash().await;
            if wiped {
                sim.store.wipe();
            }
            let next = sim.scaler("next", Gate::open());
            sim.world().push(SECOND * 60);
            let both = |world: &World| world.deletions > 0 && world.ci.open() == 0;
            sim.until("it is gone, and the job is done", SECOND * 200, both)
                .await;
            sim.world().deletion_takes = Duration::ZERO;
            sim.until_settled(SECOND * 600).await;
            next.stop().await;
        });
    }
}
