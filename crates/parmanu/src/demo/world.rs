//! What the demo plays: people who push jobs in bursts, and machines that run them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{InstanceName, PoolName};
use ports::Clock;
use tokio_util::sync::CancellationToken;

use super::ci::{Ci, Kind};
use super::cloud::{Cloud, Guest};

/// How often the world moves.
const STEP: Duration = Duration::from_secs(1);

/// Share of all jobs, and length in seconds from and to.
const KINDS: [(Kind, f64, u64, u64); 4] = [
    (Kind::UnitTests, 0.45, 60, 300),
    (Kind::Lint, 0.20, 20, 60),
    (Kind::Image, 0.28, 120, 480),
    (Kind::Train, 0.07, 240, 600),
];

/// One job, as far as the summary asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) queued: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    length: Duration,
}

#[derive(Debug)]
struct Play {
    random: fastrand::Rng,
    /// Jobs and pauses are so many times shorter.
    pace: u32,
    /// What each agent runs.
    agents: BTreeMap<InstanceName, Option<u64>>,
    jobs: BTreeMap<u64, Job>,
    next_burst: Timestamp,
    last_step: Timestamp,
    began: Timestamp,
    ended: Option<Timestamp>,
    /// For each pool the largest number of machines that had a job at one moment.
    most_busy: BTreeMap<PoolName, usize>,
}

/// The world; clones share it.
#[derive(Clone)]
pub(crate) struct World {
    ci: Arc<Mutex<Box<dyn Ci>>>,
    pub(crate) cloud: Arc<dyn Cloud>,
    clock: Arc<dyn Clock>,
    play: Arc<Mutex<Play>>,
}

impl World {
    pub(crate) fn new(
        ci: Box<dyn Ci>,
        cloud: Arc<dyn Cloud>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let now = clock.now();
        let play = Play {
            random: fastrand::Rng::with_seed(seed),
            pace: 1,
            agents: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next_burst: now,
            last_step: now,
            began: now,
            ended: None,
            most_busy: BTreeMap::new(),
        };
        World {
            ci: Arc::new(Mutex::new(ci)),
            cloud,
            clock,
            play: Arc::new(Mutex::new(play)),
        }
    }

    /// The same with jobs and pauses so many times shorter.
    pub(crate) fn at_pace(self, pace: u32) -> Self {
        self.lock().pace = pace.max(1);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ci(&self) -> MutexGuard<'_, Box<dyn Ci>> {
        self.ci.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs ever.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.lock().jobs.values().copied().collect()
    }

    /// The world stands still from now on.
    pub(crate) fn freeze(&self) {
        let now = self.clock.now();
        self.lock().ended.get_or_insert(now);
    }

    /// When it began and when it ended (now, if it has not).
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        let play = self.lock();
        (play.began, play.ended.unwrap_or_else(|| self.clock.now()))
    }

    /// The machines of a fixed fleet that would never have made a job wait: machines of one pool cannot run the jobs of
    /// another, so each pool counts with its own busiest moment.
    pub(crate) fn most_busy(&self) -> usize {
        self.lock().most_busy.values().sum()
    }

    /// Moves the world until it is stopped.
    pub(crate) async fn play(self, stop: CancellationToken) {
        loop {
            self.step();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(STEP) => {}
            }
        }
    }

    fn step(&self) {
        let now = self.clock.now();
        let mut play = self.lock();
        if play.ended.is_some() {
            return;
        }
        let machines = self.cloud.guests(now);
        let mut ci = self.ci();
        push_jobs(&mut play, ci.as_mut(), now);
        lose_machines(&mut play, ci.as_mut(), &machines, now);
        start_agents(&mut play, ci.as_mut(), &machines, now);
        finish_jobs(&mut play, ci.as_mut(), now);
        ci.hand_out(now);
        note_jobs(&mut play, ci.as_ref(), now);
        let mut busy: BTreeMap<PoolName, usize> = BTreeMap::new();
        for (name, _) in play.agents.iter().filter(|(_, job)| job.is_some()) {
            *busy.entry(name.pool().clone()).or_default() += 1;
        }
        for (pool, now_busy) in busy {
            let most = play.most_busy.entry(pool).or_default();
            *most = now_busy.max(*most);
        }
        play.last_step = now;
    }
}

/// A steady trickle, and every few minutes somebody pushes a branch with a whole pipeline.
fn push_jobs(play: &mut Play, ci: &mut dyn Ci, now: Timestamp) {
    let pace = play.pace;
    let passed = model::age(play.last_step, now).as_secs_f64() * f64::from(pace);
    let mut jobs = usize::from(play.random.f64() < passed / 40.0);
    if now >= play.next_burst {
        jobs += play.random.usize(6..18);
        let pause = play.random.i64(240..540);
        play.next_burst =
            now + jiff::SignedDuration::from_secs(pause) / i32::try_from(pace).unwrap_or(1);
    }
    for _ in 0..jobs {
        let mut dice = play.random.f64();
        let kind = KINDS.iter().find(|kind| {
            dice -= kind.1;
            dice < 0.0
        });
        let (kind, _, shortest, longest) = kind.unwrap_or(&KINDS[0]);
        let id = ci.push(*kind, now);
        let job = Job {
            queued: now,
            started: None,
            ended: None,
            length: Duration::from_secs(play.random.u64(*shortest..*longest)) / pace,
        };
        play.jobs.insert(id, job);
    }
}

/// A machine that is gone takes its job with it: the promise of the product is that this never happens.
fn lose_machines(play: &mut Play, ci: &mut dyn Ci, machines: &[Guest], now: Timestamp) {
    let alive = |name: &InstanceName| machines.iter().any(|guest| guest.name == *name);
    play.agents.retain(|name, _| {
        let alive = alive(name);
        if !alive {
            ci.lose(name, now);
        }
        alive
    });
}

/// What the boot script does: it starts an agent with what stands in it for this machine.
fn start_agents(play: &mut Play, ci: &mut dyn Ci, machines: &[Guest], now: Timestamp) {
    for machine in machines {
        let name = &machine.name;
        if machine.running && !play.agents.contains_key(name) {
            let line = machine.user_data.lines().last().unwrap_or_default();
            let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
            ci.join(name, &arguments, now);
            play.agents.insert(name.clone(), None);
        }
    }
}

/// Agents report what is done.
fn finish_jobs(play: &mut Play, ci: &mut dyn Ci, now: Timestamp) {
    for held in play.agents.values_mut() {
        let Some((id, job)) = held.and_then(|id| Some((id, play.jobs.get_mut(&id)?))) else {
            continue;
        };
        let is_done = |started| model::age(started, now) >= job.length;
        if job.started.is_some_and(is_done) {
            ci.finish(id, now);
            job.ended = Some(now);
            *held = None;
        }
    }
}

/// Takes down what each agent was given.
fn note_jobs(play: &mut Play, ci: &dyn Ci, now: Timestamp) {
    for (name, held) in &mut play.agents {
        *held = ci.holds(name);
        if let Some(job) = held.and_then(|id| play.jobs.get_mut(&id)) {
            job.started.get_or_insert(now);
        }
    }
}
