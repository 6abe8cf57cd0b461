//! Everything goes wrong at random, and somebody changes the configuration and orders things meanwhile (`operator.rs`). Each
//! life ends with all faults over and must then settle.
//!
//! The extended run lives 3 400 lives of each CI server, each with its seed, so 10 200 in all:
//!
//! ```sh
//! cargo nextest run --cargo-profile life --package scaler --no-default-features --test life \
//!   --profile extended --ignore-default-filter -E 'test(whatever)'
//! ```

use std::time::Duration;

use crate::cloud::{Verb, Wrong};
use crate::gate::Gate;
use crate::joining::Join;
use crate::operator::Operator;
use crate::setup::{Kind, Setup};
use crate::sim::{Running, SECOND, Sim, simulate};
use crate::world::Weather;

/// Lives of each CI server without a word from outside, and in the extended run.
const LIVES: u64 = 24;
const LIVES_EXTENDED: u64 = 3_400;

/// Each part is a test of its own, so that they run side by side.
const PARTS: u64 = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Whether nextest runs us with the profile of the extended run.
pub(crate) fn is_extended() -> bool {
    std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "extended")
}

fn lives(kind: Kind, part: u64) {
    if let Some(seed) = number("PARMANU_TEST_SEED") {
        if part == 0 {
            live(kind, seed);
        }
        return;
    }
    let usual = if is_extended() { LIVES_EXTENDED } else { LIVES };
    let first = number("PARMANU_TEST_FIRST_SEED").unwrap_or(1);
    let lives = number("PARMANU_TEST_SEEDS").unwrap_or(usual);
    let mine = (first..first + lives).filter(|seed| seed % PARTS == part);
    mine.for_each(|seed| live(kind, seed));
}

macro_rules! parts {
    ($($name:ident: $kind:ident $part:literal,)*) => {$(
        #[test]
        fn $name() {
            lives(Kind::$kind, $part);
        }
    )*};
}

parts! {
    whatever_goes_wrong_around_gitlab_no_build_dies_and_nothing_is_forgotten_a: GitLab 0,
    whatever_goes_wrong_around_gitlab_no_build_dies_and_nothing_is_forgotten_b: GitLab 1,
    whatever_goes_wrong_around_gitlab_no_build_dies_and_nothing_is_forgotten_c: GitLab 2,
    whatever_goes_wrong_around_jenkins_no_build_dies_and_nothing_is_forgotten_a: Jenkins 0,
    whatever_goes_wrong_around_jenkins_no_build_dies_and_nothing_is_forgotten_b: Jenkins 1,
    whatever_goes_wrong_around_jenkins_no_build_dies_and_nothing_is_forgotten_c: Jenkins 2,
    whatever_goes_wrong_around_teamcity_no_build_dies_and_nothing_is_forgotten_a: TeamCity 0,
    whatever_goes_wrong_around_teamcity_no_build_dies_and_nothing_is_forgotten_b: TeamCity 1,
    whatever_goes_wrong_around_teamcity_no_build_dies_and_nothing_is_forgotten_c: TeamCity 2,
}

fn setup(kind: Kind, seed: u64) -> Setup {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let clouds = [
        vec!["aws"],
        vec!["gcp"],
        vec!["aws", "gcp"],
        vec!["gcp", "aws"],
    ];
    // a source of its own, so that the seeds of before live the same lives where this says nothing
    let mut reuse = fastrand::Rng::with_seed(seed ^ 0xa6e);
    let max_jobs = *reuse.choice(&[None, None, Some(1), Some(2)]).expect("one");
    let max_age = *reuse
        .choice(&[None, None, None, Some(SECOND * 90)])
        .expect("one");
    let mut beds = fastrand::Rng::with_seed(seed ^ 0xbed);
    let beds = *beds
        .choice(&[None, Some(0), Some(1), Some(2)])
        .expect("one");
    let join = joins(kind, seed);
    let mut setup = Setup {
        join,
        max_jobs,
        max_age,
        beds,
        seed,
        min: rng.u32(0..=1),
        max: rng.u32(2..=6),
        clouds: rng.choice(&clouds).expect("one of them").clone(),
        boot: SECOND * rng.u32(0..6),
        lag: SECOND * *rng.choice(&[0, 0, 3, 10]).expect("one of them"),
        ..Setup::of(kind)
    };
    if join == Join::AskGuest {
        // machines of GCE read no mark of themselves
        setup.clouds = vec!["aws"];
    }
    setup
}

/// Half of the lives are as those before this was random.
fn joins(kind: Kind, seed: u64) -> Join {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x0701);
    match rng.u32(0..8) {
        // it trusts names on an encrypted server only, and `late.rs` is of agents that nobody registered
        0 if kind != Kind::TeamCity => Join::ByThemselves,
        1 | 2 => Join::AskGuest,
        3 => Join::BestEffort,
        _ => Join::Registered,
    }
}

fn live(kind: Kind, seed: u64) {
    simulate(setup(kind, seed), |sim| async move {
        let mut chaos = Chaos::new(&sim);
        sim.world().races = 12;
        let mut operator = Operator::new(&sim);
        for _ in 0..chaos.rng.u32(8..24) {
            chaos.step().await;
            operator.step(&chaos.scalers, &chaos.probots).await;
            let millis = chaos.rng.u64(0..6_000);
            sim.pass(Duration::from_millis(millis)).await;
        }
        chaos.end_all();
        operator.rests(&chaos.scalers, &chaos.probots).await;
        if kind == Kind::TeamCity {
            sim.pass(SECOND * 300).await;
            sim.world().operator_removes_what_never_joined(chaos.wiped);
        }
        // machines that join by themselves name no CI server, so of a pool that is gone, or whose store was wiped, they may be left
        // to somebody
        if sim.setup.join != Join::Registered {
            sim.pass(SECOND * 900).await;
            sim.world().operator_removes_what_is_left_alone();
        }
        sim.comes_to_rest().await;
        chaos.stop().await;
    });
}

/// The services, and what goes wrong with them and around them.
struct Chaos {
    sim: Sim,
    rng: fastrand::Rng,
    scalers: Vec<Running>,
    probots: Vec<Running>,
    /// Whether the store was wiped.
    wiped: bool,
    lives: u32,
}

impl Chaos {
    fn new(sim: &Sim) -> Self {
        Chaos {
            rng: fastrand::Rng::with_seed(sim.setup.seed),
            scalers: vec![sim.scaler("s", Gate::open())],
            probots: vec![sim.probot("p")],
            sim: sim.clone(),
            wiped: false,
            lives: 0,
        }
    }

    fn name(&mut self) -> String {
        self.lives += 1;
        format!("life-{}", self.lives)
    }

    fn one_of<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[self.rng.usize(0..N)]
    }

    async fn step(&mut self) {
        match self.rng.u32(0..26) {
            0..=6 => {
                let (jobs, length) = (self.rng.u32(1..4), self.rng.u32(1..60));
                (0..jobs).for_each(|_| self.sim.world().push(SECOND * length));
            }
            7 => self.crash_scaler().await,
            8 => self.stop_scaler().await,
            9 if self.scalers.len() < 3 => {
                let name = self.name();
                self.scalers.push(self.sim.scaler(&name, Gate::open()));
            }
            10 => self.pause_one(),
            11 => self.scalers.iter().for_each(|scaler| scaler.gate.resume()),
            12 => {
                self.probots.swap_remove(0).crash().await;
                let name = self.name();
                self.probots.push(self.sim.probot(&name));
            }
            13 => {
                self.wiped = true;
                // a new term begins, and what it could know of calls on the way is gone
                self.sim.another_may_act();
                self.sim.store.wipe();
            }
            14..=17 => self.cloud_fails(),
            18 => {
                let hidden = self.rng.bool();
                self.any_cloud(|cloud| cloud.hide(hidden));
            }
            19 => {
                let down = self.rng.bool();
                self.sim.world().set_down(down);
            }
            20 => self.weather(),
            21 => self.sim.world().lift_cordons(),
            22 => self.take_one(),
            23 => {
                let broken = self.rng.u32(0..4) == 0;
                self.sim.world().broken = broken;
            }
            _ => self.sim.pass(SECOND * 15).await,
        }
    }

    async fn crash_scaler(&mut self) {
        let at = self.rng.usize(0..self.scalers.len());
        self.sim.another_may_act();
        self.scalers.swap_remove(at).crash().await;
        self.at_least_one();
    }

    async fn stop_scaler(&mut self) {
        let at = self.rng.usize(0..self.scalers.len());
        self.sim.another_may_act();
        let scaler = self.scalers.swap_remove(at);
        scaler.gate.resume();
        scaler.stop().await;
        self.at_least_one();
    }

    fn at_least_one(&mut self) {
        if self.scalers.is_empty() {
            let name = self.name();
            self.scalers.push(self.sim.scaler(&name, Gate::open()));
        }
    }

    /// One stands still as a process that gets no time, and another takes over.
    fn pause_one(&mut self) {
        self.sim.another_may_act();
        let at = self.rng.usize(0..self.scalers.len());
        self.scalers[at].gate.pause();
        if self.scalers.len() < 3 {
            let name = self.name();
            self.scalers.push(self.sim.scaler(&name, Gate::open()));
        }
    }

    fn any_cloud(&mut self, change: impl FnOnce(&mut Box<dyn crate::cloud::Cloud>)) {
        let at = self.rng.usize(0..2);
        let mut world = self.sim.world();
        change(world.clouds.values_mut().nth(at).expect("two clouds"));
    }

    fn cloud_fails(&mut self) {
        let verb = self.one_of([Verb::List, Verb::Create, Verb::Create, Verb::Delete]);
        let wrong = self.one_of([
            Wrong::After,
            Wrong::After,
            Wrong::Before,
            Wrong::Throttle,
            Wrong::Fails,
        ]);
        let times = self.rng.u32(1..4);
        self.any_cloud(|cloud| cloud.go_wrong(verb, times, wrong));
    }

    /// Mostly quick, sometimes slow, now and then so slow that it hangs.
    fn weather(&mut self) {
        let latency = Duration::from_millis(self.one_of([0, 0, 200, 600, 2_000, 60_000]));
        let lost = self.one_of([0, 0, 20, 200]);
        self.sim.world().weather = Weather { latency, lost };
    }

    /// The cloud announces that it takes a machine back, or does so without a word.
    fn take_one(&mut self) {
        let alive = self.sim.world().alive();
        let Some(name) = self.rng.choice(&alive).cloned() else {
            return;
        };
        if self.rng.bool() {
            self.sim.world().take_back(&name);
        } else {
            self.sim.world().announce(&name);
        }
    }

    /// All faults are over.
    fn end_all(&mut self) {
        let mut world = self.sim.world();
        world
            .clouds
            .values_mut()
            .for_each(|cloud| cloud.all_is_well());
        world.set_down(false);
        world.weather = Weather::default();
        world.broken = false;
        world.races = 0;
        self.scalers.iter().for_each(|scaler| scaler.gate.resume());
    }

    async fn stop(self) {
        for service in self.scalers.into_iter().chain(self.probots) {
            service.stop().await;
        }
    }
}

/// A broken image must not become a bill: no machine joins for a while, then all do.
fn machines_that_never_join_go_again(kind: Kind) {
    simulate(Setup::of(kind), |sim| async move {
        let _probot = sim.probot("p");
        let _scaler = sim.scaler("s", Gate::open());
        sim.world().broken = true;
        sim.world().push(SECOND * 10);
        sim.pass(SECOND * 240).await;
        sim.world().broken = false;
        sim.until_settled(SECOND * 1_200).await;
    });
}

#[test]
fn machines_that_never_join_gitlab_go_again() {
    machines_that_never_join_go_again(Kind::GitLab);
}

#[test]
fn machines_that_never_join_jenkins_go_again() {
    machines_that_never_join_go_again(Kind::Jenkins);
}

/// Seed 123 found it: at GitLab and Jenkins a registration makes the executor, so one that never joined is seen. At TeamCity
/// the agent comes into being as it joins, and a machine that never does carries a reference to one that is in no look.
#[test]
fn machines_that_never_join_teamcity_go_again() {
    machines_that_never_join_go_again(Kind::TeamCity);
}
