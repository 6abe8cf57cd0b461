//! The wall clock of the host is set forward and back by hours while both loops run. Nothing may leave because
//! of it, nothing be made twice, no lease be lost; and what the wall clock does count (idle times, ages of machines) is put
//! right within a bound, so that the fleet settles all the same.

mod support;

use jiff::SignedDuration;
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, World, simulate};

const HOURS: [i64; 4] = [1, 30, -1, -30];

fn run(running: usize) -> impl Fn(&World) -> bool {
    move |world| world.running() == running
}

fn jobs(sim: &Sim, jobs: u32, seconds: u32) {
    for _ in 0..jobs {
        sim.world().push("ci", "linux", SECOND * seconds);
    }
}

fn deletions(scaler: &Running) -> usize {
    let text = scaler.metrics.exposition();
    let lines = text.lines().filter(|line| {
        line.starts_with("parmanu_action_total") && line.contains("action=\"delete\"")
    });
    lines.filter(|line| !line.ends_with(" 0")).count()
}

/// Machines that run builds, and a minimum that is idle: after a step of the clock all of them are there, in the same term.
#[test]
fn no_machine_leaves_and_no_lease_ends_because_the_wall_clock_was_set() {
    for hours in HOURS {
        let setup = Setup {
            pools: vec![PoolSetup { min: 4, ..LINUX }],
            ..Setup::default()
        };
        simulate(setup, |sim| async move {
            let (_probot, scaler) = (sim.probot("p"), sim.scaler("s"));
            jobs(&sim, 2, 900);
            sim.until("two build", SECOND * 60, run(2)).await;
            sim.until("four stand", SECOND * 60, |world| {
                world.alive("linux").len() >= 4
            })
            .await;
            sim.pass(SECOND * 60).await;
            let (epoch, ever) = (scaler.view.borrow().epoch, sim.world().ever());
            let alive = sim.world().alive("linux");
            for _ in 0..3 {
                sim.wall.set(SignedDuration::from_hours(hours));
                sim.pass(SECOND * 60).await;
                assert_eq!(sim.world().alive("linux"), alive, "{hours} h");
            }
            assert_eq!(scaler.view.borrow().epoch, epoch, "{hours} h: another term");
            assert_eq!(sim.world().ever(), ever, "{hours} h: made again");
            assert_eq!(deletions(&scaler), 0);
            sim.until("both are built", SECOND * 1200, run(0)).await;
            sim.until_settled(SECOND * 900).await;
            scaler.stop().await;
        });
    }
}

/// The step falls into a scale-out, so that machines are made on one side of it and join on the other.
#[test]
fn machines_that_boot_while_the_wall_clock_is_set_serve_and_leave() {
    for hours in HOURS {
        simulate(Setup::default(), |sim| async move {
            let (_probot, scaler) = (sim.probot("p"), sim.scaler("s"));
            sim.pass(SECOND * 20).await;
            jobs(&sim, 3, 60);
            sim.until("machines are asked for", SECOND * 30, |world| {
                world.ever() > 0
            })
            .await;
            sim.wall.set(SignedDuration::from_hours(hours));
            sim.until("all build", SECOND * 300, run(3)).await;
            sim.until_settled(SECOND * 1200).await;
            assert!(sim.world().ever() <= 6, "{hours} h: made over and over");
            scaler.stop().await;
        });
    }
}

/// Machines that wait to have been idle for long enough, and a clock that goes back: they do not wait for the clock to come to
/// where it was.
#[test]
fn idle_machines_leave_in_good_time_although_the_wall_clock_was_set_back() {
    for hours in [-1, -30] {
        simulate(Setup::default(), |sim| async move {
            let (_probot, scaler) = (sim.probot("p"), sim.scaler("s"));
            jobs(&sim, 3, 60);
            sim.until("all build", SECOND * 90, run(3)).await;
            sim.until("all is built", SECOND * 120, run(0)).await;
            sim.wall.set(SignedDuration::from_hours(hours));
            sim.until_settled(SECOND * 900).await;
            scaler.stop().await;
        });
    }
}

/// One dies after the clock was set, and the next one starts with the new time: what the first wrote down is of another time.
#[test]
fn the_next_scaler_goes_on_although_the_wall_clock_was_set_between() {
    for hours in HOURS {
        simulate(Setup::default(), |sim| async move {
            let (_probot, scaler) = (sim.probot("p"), sim.scaler("s"));
            jobs(&sim, 4, 200);
            sim.until("all build", SECOND * 90, run(4)).await;
            let ever = sim.world().ever();
            sim.wall.set(SignedDuration::from_hours(hours));
            scaler.crash().await;
            let next = sim.scaler("t");
            sim.pass(SECOND * 100).await;
            assert_eq!(sim.world().running(), 4, "{hours} h");
            assert_eq!(sim.world().ever(), ever, "{hours} h: made again");
            sim.until_settled(SECOND * 1200).await;
            next.stop().await;
        });
    }
}
