//! What the demo plays: people who push jobs in bursts, and machines that run them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fake_gitlab::{GitLab, JobId, ProjectId, Scope};
use jiff::Timestamp;
use model::{InstanceName, PoolName};
use ports::Clock;
use provider_fake::{FakeCloud, FakeMachine};
use tokio_util::sync::CancellationToken;

/// The demo's token; obviously no secret.
pub(crate) const TOKEN: &str = "demo-token-of-nobody";

/// How often the world moves.
const STEP: Duration = Duration::from_secs(1);

/// Kinds of jobs: tags, share of all jobs, length in seconds from and to.
const KINDS: [(&str, &[&str], f64, u64, u64); 4] = [
    ("unit-tests", &["linux"], 0.45, 60, 300),
    ("lint", &[], 0.20, 20, 60),
    ("image", &["linux", "docker"], 0.28, 120, 480),
    ("train", &["gpu"], 0.07, 240, 600),
];

/// A GitLab with one administrator and one project.
pub(crate) fn gitlab() -> Arc<Mutex<GitLab>> {
    let mut gitlab = GitLab::new();
    let admin = gitlab.add_user("parmanu", true);
    gitlab.add_token(admin, TOKEN, &[Scope::Api]);
    gitlab.add_project("acme/app");
    Arc::new(Mutex::new(gitlab))
}

/// A folder with the boot script's template.
pub(crate) fn template_folder() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let template = "#!/bin/sh\nrun-a-runner {{ executor.token }}\n";
    std::fs::write(folder.path().join("runner.sh.j2"), template)?;
    Ok(folder)
}

/// A machine's agent.
#[derive(Debug, Clone)]
struct Agent {
    token: String,
    job: Option<(JobId, Timestamp)>,
}

#[derive(Debug)]
struct Play {
    random: fastrand::Rng,
    agents: BTreeMap<InstanceName, Agent>,
    lengths: BTreeMap<JobId, Duration>,
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
    pub(crate) gitlab: Arc<Mutex<GitLab>>,
    pub(crate) cloud: FakeCloud,
    clock: Arc<dyn Clock>,
    play: Arc<Mutex<Play>>,
}

impl World {
    pub(crate) fn new(
        gitlab: Arc<Mutex<GitLab>>,
        cloud: FakeCloud,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let now = clock.now();
        let play = Play {
            random: fastrand::Rng::with_seed(seed),
            agents: BTreeMap::new(),
            lengths: BTreeMap::new(),
            next_burst: now,
            last_step: now,
            began: now,
            ended: None,
            most_busy: BTreeMap::new(),
        };
        World {
            gitlab,
            cloud,
            clock,
            play: Arc::new(Mutex::new(play)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, GitLab> {
        self.gitlab.lock().unwrap_or_else(PoisonError::into_inner)
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
        let machines = self.cloud.machines();
        let mut gitlab = self.server();
        push_jobs(&mut play, &mut gitlab, now);
        lose_machines(&mut play, &mut gitlab, &machines, now);
        for machine in &machines {
            if machine.instance.state == model::InstanceState::Running {
                run_agent(&mut play, &mut gitlab, machine, now);
            }
        }
        let mut busy: BTreeMap<PoolName, usize> = BTreeMap::new();
        for (name, _) in play.agents.iter().filter(|(_, agent)| agent.job.is_some()) {
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
fn push_jobs(play: &mut Play, gitlab: &mut GitLab, now: Timestamp) {
    let passed = model::age(play.last_step, now).as_secs_f64();
    let mut jobs = usize::from(play.random.f64() < passed / 40.0);
    if now >= play.next_burst {
        jobs += play.random.usize(6..18);
        let pause = play.random.i64(240..540);
        play.next_burst = now + jiff::SignedDuration::from_secs(pause);
    }
    for _ in 0..jobs {
        let mut dice = play.random.f64();
        let kind = KINDS.iter().find(|kind| {
            dice -= kind.2;
            dice < 0.0
        });
        let (name, tags, _, shortest, longest) = kind.unwrap_or(&KINDS[0]);
        let id = gitlab.push_job(ProjectId(1), name, tags, "main", now);
        let length = Duration::from_secs(play.random.u64(*shortest..*longest));
        play.lengths.insert(id, length);
    }
}

/// A machine that is gone takes its job with it: the promise of the product is that this never happens.
fn lose_machines(play: &mut Play, gitlab: &mut GitLab, machines: &[FakeMachine], now: Timestamp) {
    let alive = |name: &InstanceName| machines.iter().any(|m| m.instance.name == *name);
    let gone: Vec<InstanceName> = play
        .agents
        .keys()
        .filter(|name| !alive(name))
        .cloned()
        .collect();
    for name in gone {
        play.agents.remove(&name);
        let text = name.to_string();
        let runner = gitlab
            .runners()
            .find(|runner| runner.description == text)
            .map(|r| r.id);
        if let Some(runner) = runner {
            gitlab.lose_machine(runner, now);
        }
    }
}

/// One machine's agent: ask for a job, run it, report it.
fn run_agent(play: &mut Play, gitlab: &mut GitLab, machine: &FakeMachine, now: Timestamp) {
    let name = &machine.instance.name;
    if !play.agents.contains_key(name) {
        // what the boot script does: start a runner with the token that stands in it
        let token = machine
            .user_data
            .0
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned();
        play.agents.insert(name.clone(), Agent { token, job: None });
    }
    let Some(agent) = play.agents.get_mut(name) else {
        return;
    };
    if let Some((job, until)) = agent.job {
        if now < until {
            return;
        }
        gitlab.finish_job(job, true, now);
        agent.job = None;
    }
    if let Some(job) = gitlab.request_job(&agent.token, now) {
        let length = play
            .lengths
            .get(&job)
            .copied()
            .unwrap_or(Duration::from_secs(60));
        let length = jiff::SignedDuration::try_from(length).unwrap_or_default();
        agent.job = Some((job, now + length));
    }
}
