//! Any order of events: a machine that was proven idle twice is idle when it goes.
//!
//! The test plays the scaler's part of a departure (cordon, settle, read, settle, read, remove)
//! against random traffic, with requests that began before the cordon and end after the first read.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;

use fake_gitlab::{JobId, JobRequest, RunnerId};
use jiff::Timestamp;
use model::{Cordon, ExecutorId, Work};
use ports::ExecutorControl;
use proptest::prelude::*;

mod support;
use support::{EPOCH, World};

const MACHINES: usize = 2;

/// One thing that happens; the number picks the machine, by remainder.
#[derive(Debug, Clone, Copy)]
enum Event {
    Push,
    Begin(usize),
    BeginTwoPhases(usize),
    EndRequest,
    Accept,
    Finish,
    Cancel,
    Leave(usize),
    /// What began before this has ended after it.
    Settle,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Push),
        3 => (0..MACHINES).prop_map(Event::Begin),
        3 => (0..MACHINES).prop_map(Event::BeginTwoPhases),
        3 => Just(Event::EndRequest),
        1 => Just(Event::Accept),
        3 => Just(Event::Finish),
        1 => Just(Event::Cancel),
        9 => (0..MACHINES).prop_map(Event::Leave),
        4 => Just(Event::Settle),
    ]
}

/// How far a departure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Stays,
    /// Cordoned, and whether a settle time has passed since.
    Cordoned(bool),
    /// Read as idle once, and whether a settle time has passed since.
    ProvenOnce(bool),
    /// The machine is deleted, its runner is not yet: what is handed to it now is lost.
    Dead,
}

struct Machine {
    executor: ExecutorId,
    runner: RunnerId,
    token: String,
    step: Step,
}

struct Play {
    world: World,
    control: std::sync::Arc<dyn ExecutorControl>,
    machines: Vec<Machine>,
    begun: Vec<JobRequest>,
    made: u32,
    now: Timestamp,
}

impl Play {
    async fn start() -> Self {
        let world = World::instance().await;
        let control = world.control();
        let now = "2026-09-01T10:00:00Z".parse().unwrap();
        let mut play = Self {
            world,
            control,
            machines: Vec::new(),
            begun: Vec::new(),
            made: 0,
            now,
        };
        for _ in 0..MACHINES {
            let machine = play.machine().await;
            play.machines.push(machine);
        }
        play
    }

    /// A new machine; names are never used twice.
    async fn machine(&mut self) -> Machine {
        let (executor, runner, token) = self.world.machine(self.made).await;
        self.made += 1;
        Machine {
            executor,
            runner,
            token,
            step: Step::Stays,
        }
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Push => {
                self.world.push(&["linux"]);
            }
            Event::Begin(machine) => self.begin(machine, false),
            Event::BeginTwoPhases(machine) => self.begin(machine, true),
            Event::EndRequest => self.end_request(),
            Event::Accept => self.accept(),
            Event::Finish => {
                if let Some(job) = self.held() {
                    self.world.lock().finish_job(job, true, self.now);
                }
            }
            Event::Cancel => {
                if let Some(job) = self.held() {
                    self.world.lock().cancel_job(job, self.now);
                }
            }
            Event::Settle => self.settle(),
            Event::Leave(machine) => self.leave(machine).await,
        }
    }

    fn begin(&mut self, machine: usize, two_phases: bool) {
        let token = &self.machines[machine].token;
        if self.machines[machine].step == Step::Dead {
            return;
        }
        let begun = self.world.lock().begin_job_request(token, "s_1", self.now);
        let begun = begun.unwrap();
        self.begun.push(if two_phases {
            begun.in_two_phases()
        } else {
            begun
        });
    }

    fn end_request(&mut self) {
        if let Some(begun) = self.begun.pop() {
            self.world.lock().finish_job_request(&begun, self.now);
        }
    }

    fn accept(&self) {
        let mut gitlab = self.world.lock();
        let promised = gitlab.jobs().find_map(|job| Some((job.promised?, job.id)));
        if let Some((runner, job)) = promised {
            gitlab.start_job(runner, job, self.now);
        }
    }

    /// The oldest job that holds a runner.
    fn held(&self) -> Option<JobId> {
        let gitlab = self.world.lock();
        gitlab
            .jobs()
            .find(|job| job.state.holds_runner())
            .map(|job| job.id)
    }

    fn settle(&mut self) {
        while !self.begun.is_empty() {
            self.end_request();
        }
        for machine in &mut self.machines {
            machine.step = match machine.step {
                Step::Cordoned(_) => Step::Cordoned(true),
                Step::ProvenOnce(_) => Step::ProvenOnce(true),
                step @ (Step::Stays | Step::Dead) => step,
            };
        }
    }

    async fn leave(&mut self, index: usize) {
        let machine = &self.machines[index];
        let (executor, runner) = (machine.executor.clone(), machine.runner);
        let next = match machine.step {
            Step::Stays => {
                self.control.cordon(&executor, EPOCH).await.unwrap();
                Step::Cordoned(false)
            }
            Step::Cordoned(true) if self.is_idle(&executor).await => Step::ProvenOnce(false),
            Step::ProvenOnce(true) => {
                if self.is_idle(&executor).await {
                    let held = self.world.lock().busy_with(runner).count();
                    assert_eq!(held, 0, "{executor} was proven idle twice and is not");
                    self.world.lock().lose_machine(runner, self.now);
                    Step::Dead
                } else {
                    Step::Cordoned(true)
                }
            }
            Step::Dead => {
                self.control.remove(&executor).await.unwrap();
                self.machines[index] = self.machine().await;
                return;
            }
            step => step,
        };
        self.machines[index].step = next;
    }

    fn nothing_was_given_to_the_dead(&self) {
        let gitlab = self.world.lock();
        for machine in self
            .machines
            .iter()
            .filter(|machine| machine.step == Step::Dead)
        {
            let held = gitlab.busy_with(machine.runner).count();
            assert_eq!(
                held, 0,
                "{} was given a job after its end",
                machine.executor
            );
        }
    }

    async fn is_idle(&self, executor: &ExecutorId) -> bool {
        let reading = self.control.read(executor).await.unwrap();
        assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
        reading.work == Work::None
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_build_dies_and_each_runs_once(events in prop::collection::vec(any_event(), 1..600)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::start().await;
            for event in events {
                play.happen(event).await;
                play.nothing_was_given_to_the_dead();
            }
            play.world.nobody_was_killed();
            let gitlab = play.world.lock();
            let ran: Vec<JobId> = gitlab.jobs().flat_map(|job| job.runs.iter().map(|_| job.id)).collect();
            let once: BTreeSet<JobId> = ran.iter().copied().collect();
            assert_eq!(ran.len(), once.len());
        });
    }
}

/// The same play with one read instead of two, to show that the traffic is hard enough to tell.
#[tokio::test]
async fn one_read_right_after_the_cordon_would_have_killed_a_build() {
    let mut play = Play::start().await;
    play.happen(Event::Begin(0)).await;
    play.happen(Event::Push).await;
    play.happen(Event::Leave(0)).await;
    let executor = play.machines[0].executor.clone();
    assert!(play.is_idle(&executor).await);
    play.happen(Event::EndRequest).await;
    assert_eq!(
        play.world.lock().busy_with(play.machines[0].runner).count(),
        1
    );
}
