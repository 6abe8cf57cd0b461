//! Any order of events: a machine that was proven idle twice is idle when it goes.
//!
//! The test plays the scaler's part of a departure (cordon, settle, read, settle, read, delete, remove) against random
//! traffic: rounds of the server's distribution that looked at the agents before the cordon and hand out after the first
//! read, and people who choose a disabled agent for their build.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fake_teamcity::State;
use model::{Cordon, Epoch, ExecutorId, Work};
use ports::{Emitter, ExecutorControl};
use proptest::prelude::*;
use support::World;

const MACHINES: usize = 2;
const EPOCH: Epoch = Epoch(1_795_531_234_567);

/// One thing that happens; the number picks the machine.
#[derive(Debug, Clone, Copy)]
enum Event {
    Push,
    /// A person queues a build for this very agent.
    Choose(usize),
    /// A round of the distribution has looked and picked this agent.
    Round(usize),
    EndRound,
    Dispatch,
    Finish,
    /// probot looks, and lets new agents in.
    Look,
    Leave(usize),
    /// What began before this has ended after it.
    Settle,
    /// Long enough for a cordon to end.
    Hours,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Push),
        1 => (0..MACHINES).prop_map(Event::Choose),
        4 => (0..MACHINES).prop_map(Event::Round),
        3 => Just(Event::EndRound),
        2 => Just(Event::Dispatch),
        4 => Just(Event::Finish),
        2 => Just(Event::Look),
        9 => (0..MACHINES).prop_map(Event::Leave),
        4 => Just(Event::Settle),
        1 => Just(Event::Hours),
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
    /// The machine is deleted, its agent is not yet.
    Dead,
}

struct Machine {
    executor: ExecutorId,
    agent: u64,
    step: Step,
}

struct Play {
    world: World,
    emitter: Arc<dyn Emitter>,
    control: Arc<dyn ExecutorControl>,
    machines: Vec<Machine>,
    rounds: Vec<u64>,
    made: u32,
}

impl Play {
    async fn start() -> Self {
        let world = World::start().await;
        let mut play = Self {
            emitter: world.emitter(),
            control: world.control(),
            world,
            machines: Vec::new(),
            rounds: Vec::new(),
            made: 0,
        };
        for _ in 0..MACHINES {
            let machine = play.machine().await;
            play.machines.push(machine);
        }
        play.emitter.probe().await.unwrap();
        play
    }

    /// A new machine; names are never used twice.
    async fn machine(&mut self) -> Machine {
        let executor = self.world.machine(self.made).await.executor;
        self.made += 1;
        Machine {
            agent: self.world.agent_id(executor.as_str()),
            executor,
            step: Step::Stays,
        }
    }

    async fn happen(&mut self, event: Event) {
        let now = self.world.now();
        match event {
            Event::Push => {
                self.world.push("App_Build");
            }
            Event::Choose(machine) => {
                if self.machines[machine].step == Step::Dead {
                    return;
                }
                let build = self.world.push("App_Build");
                let mut teamcity = self.world.lock();
                let build = teamcity.builds.get_mut(&build).unwrap();
                build.only_on = Some(self.machines[machine].agent);
            }
            Event::Round(machine) => {
                let agent = self.machines[machine].agent;
                let teamcity = self.world.lock();
                if teamcity
                    .agents
                    .get(&agent)
                    .is_some_and(|agent| agent.enabled)
                {
                    self.rounds.push(agent);
                }
            }
            Event::EndRound => self.end_round(),
            Event::Dispatch => self.world.lock().dispatch(now),
            Event::Finish => {
                let mut teamcity = self.world.lock();
                let mut running = teamcity.builds.iter();
                let oldest = running.find(|(_, build)| build.state == State::Running);
                if let Some(id) = oldest.map(|(id, _)| *id) {
                    teamcity.finish(id);
                }
            }
            Event::Look => {
                self.emitter.probe().await.unwrap();
            }
            Event::Settle => self.settle(),
            Event::Hours => {
                self.settle();
                self.world.clock.pass(Duration::from_secs(4 * 3600 - 300));
            }
            Event::Leave(machine) => self.leave(machine).await,
        }
    }

    fn end_round(&mut self) {
        let now = self.world.now();
        if let Some(agent) = self.rounds.pop() {
            self.world.lock().hand_out_late(agent, now);
        }
    }

    fn settle(&mut self) {
        while !self.rounds.is_empty() {
            self.end_round();
        }
        let now = self.world.now();
        self.world.lock().dispatch(now);
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
        let (executor, agent) = (machine.executor.clone(), machine.agent);
        let next = match machine.step {
            Step::Stays => {
                self.control.cordon(&executor, EPOCH).await.unwrap();
                Step::Cordoned(false)
            }
            Step::Cordoned(true) if self.is_idle(&executor).await => Step::ProvenOnce(false),
            Step::ProvenOnce(true) => {
                if self.is_idle(&executor).await {
                    let held = self.world.lock().running_on(agent).count();
                    assert_eq!(held, 0, "{executor} was proven idle twice and is not");
                    self.world.lock().kill(agent);
                    Step::Dead
                } else {
                    Step::Stays
                }
            }
            Step::Dead => {
                self.control.remove(&executor).await.unwrap();
                self.machines[index] = self.machine().await;
                return;
            }
            Step::Cordoned(true) => Step::Stays,
            step @ (Step::Cordoned(false) | Step::ProvenOnce(false)) => step,
        };
        self.machines[index].step = next;
    }

    async fn is_idle(&self, executor: &ExecutorId) -> bool {
        let reading = self.control.read(executor).await.unwrap();
        matches!(reading.cordon, Cordon::Ours { .. }) && reading.work == Work::None
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_build_dies_and_each_runs_once(events in prop::collection::vec(any_event(), 1..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::start().await;
            for event in events {
                play.happen(event).await;
            }
            play.world.nobody_was_killed();
            let teamcity = play.world.lock();
            let ran: Vec<u64> = teamcity.ended.iter().map(|ended| ended.build).collect();
            let once: BTreeSet<u64> = ran.iter().copied().collect();
            assert_eq!(ran.len(), once.len());
        });
    }
}

/// The same play with one read instead of two, to show that the traffic is hard enough to tell.
#[tokio::test]
async fn one_read_right_after_the_cordon_would_have_killed_a_build() {
    let mut play = Play::start().await;
    play.happen(Event::Push).await;
    play.happen(Event::Round(0)).await;
    play.happen(Event::Leave(0)).await;
    let executor = play.machines[0].executor.clone();
    assert!(play.is_idle(&executor).await);
    play.happen(Event::EndRound).await;
    let agent = play.machines[0].agent;
    assert_eq!(play.world.lock().running_on(agent).count(), 1);
    assert!(!play.is_idle(&executor).await);
}

/// Departures end in this play: it would prove nothing if no machine ever left.
#[tokio::test]
async fn an_idle_machine_leaves() {
    let mut play = Play::start().await;
    for event in [
        Event::Leave(0),
        Event::Settle,
        Event::Leave(0),
        Event::Settle,
        Event::Leave(0),
    ] {
        play.happen(event).await;
    }
    assert_eq!(play.machines[0].step, Step::Dead);
    play.happen(Event::Leave(0)).await;
    assert_eq!((play.machines[0].step, play.made), (Step::Stays, 3));
}
