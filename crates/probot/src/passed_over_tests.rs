//! Worlds of waiting jobs and machines, looked at every 15 seconds.

use emitter_fake::{FakeEmitter, Serves};
use model::{Completeness, ConfigHash, JobRange, Requirement, SnapshotCost};
use ports::EmitterPlugin;

use super::*;
use crate::ahead::Durations;
use crate::mapping::PoolRule;

const EVERY: i64 = 15;

struct World {
    mapper: Mapper,
    memory: PassedOver,
    now: Timestamp,
    jobs: Vec<Job>,
    executors: Vec<Executor>,
    news: Vec<News>,
}

fn world(jobs: u32, executors: u32) -> World {
    let tags = vec!["linux".to_owned()];
    let pool = PoolRule {
        name: "linux".parse().unwrap(),
        precedence: 0,
        job: JobRange::default(),
        matcher: FakeEmitter::matcher(vec![Serves { tags }]),
    };
    let (emitter, fleet) = ("ci".parse().unwrap(), "acme".parse().unwrap());
    World {
        mapper: Mapper::new(emitter, fleet, ConfigHash::new("c"), vec![pool]),
        memory: PassedOver::default(),
        now: Timestamp::UNIX_EPOCH,
        jobs: (1..=jobs).map(|id| job(id, "acme/app")).collect(),
        executors: (1..=executors).map(executor).collect(),
        news: Vec::new(),
    }
}

fn job(id: u32, project: &str) -> Job {
    Job {
        id: JobId::new(id.to_string()),
        name: "build".into(),
        project: project.into(),
        requirement: Requirement {
            labels: vec!["linux".into()],
            ..Requirement::default()
        },
        queued_at: None,
        started_at: None,
        expected: None,
        class: JobClass::Runnable,
    }
}

fn executor(number: u32) -> Executor {
    let name = format!("linux-7-{number}-0");
    Executor {
        id: ExecutorId::new(&name),
        name,
        fleet: Some("acme".parse().unwrap()),
        labels: vec!["linux".into()],
        run_untagged: false,
        protected_only: false,
        health: None,
        slots: 1,
        state: ExecutorState::Idle { since: None },
        cordon: Cordon::None,
    }
}

fn running() -> JobClass {
    JobClass::Running { executor: None }
}

fn busy() -> ExecutorState {
    let jobs = vec![JobId::new("another")];
    ExecutorState::Busy { jobs }
}

impl World {
    fn look_with(&mut self, completeness: Completeness) -> Snapshot {
        self.now += SignedDuration::from_secs(EVERY);
        let mut snapshot = Snapshot {
            jobs: self.jobs.clone(),
            executors: self.executors.clone(),
            taken_at: self.now,
            completeness,
            cost: SnapshotCost::default(),
        };
        let news = self.memory.judge(&self.mapper, &mut snapshot);
        self.news.extend(news);
        snapshot
    }

    /// Runnable and unrunnable jobs by what the mapping counts.
    fn look(&mut self) -> (u32, u32) {
        let snapshot = self.look_with(Completeness::Complete);
        let mapped = self.mapper.map(&snapshot, &Durations::default(), self.now);
        let demand = &mapped.workloads[0].demand;
        (demand.runnable, demand.unrunnable)
    }

    /// What every look of so many minutes counted, each answer once.
    fn minutes(&mut self, minutes: i64) -> Vec<(u32, u32)> {
        let mut seen: Vec<(u32, u32)> = (0..minutes * 60 / EVERY).map(|_| self.look()).collect();
        seen.dedup();
        seen
    }
}

#[test]
fn a_job_beside_an_idle_machine_is_no_demand_after_ten_minutes_and_is_tried_again() {
    let mut world = world(1, 1);
    assert_eq!(world.minutes(10), [(1, 0)]);
    assert_eq!(
        world.minutes(1),
        [(1, 0), (0, 1)],
        "an idle machine proves it"
    );
    let news = &world.news[0];
    assert_eq!(news.job, "acme/app build #1");
    assert_eq!(
        (news.pool.as_str(), &*news.beside),
        ("linux", &["linux-7-1-0".to_owned()][..])
    );
    // its machine left meanwhile; the mark goes by its own time
    world.executors.clear();
    assert_eq!(world.minutes(12), [(0, 1), (1, 0)]);
    // another one comes and stands there as well: twice as long
    world.executors = vec![executor(2)];
    assert_eq!(world.minutes(11), [(1, 0), (0, 1)]);
    assert_eq!(world.minutes(18), [(0, 1)]);
    assert_eq!(world.minutes(3), [(0, 1), (1, 0)]);
    let pauses: Vec<u64> = world.news.iter().map(|news| news.pause.as_secs()).collect();
    assert_eq!(pauses, [600, 1200]);
}

/// The machine that hangs costs its own place only: the other jobs are served by others, late as they may come.
#[test]
fn one_machine_that_hangs_speaks_against_one_job() {
    let mut world = world(10, 2);
    world.executors[1].state = busy();
    assert_eq!(world.minutes(11), [(10, 0), (9, 1)]);
    assert_eq!(
        world.memory.waiting[&JobId::new("1")].times,
        1,
        "the one that has waited longest"
    );
    // its time began anew: one more after ten more minutes, not with every look
    assert_eq!(world.minutes(8), [(9, 1)]);
}

#[test]
fn a_pool_whose_machines_all_stand_idle_needs_no_more_of_them() {
    let mut world = world(50, 2);
    assert_eq!(world.minutes(11), [(50, 0), (0, 50)]);
}

#[test]
fn a_busy_machine_or_a_cordoned_one_proves_nothing() {
    for change in [
        |e: &mut Executor| e.state = busy(),
        |e: &mut Executor| e.state = ExecutorState::Offline { since: None },
        |e: &mut Executor| e.state = ExecutorState::Unknown { why: "403".into() },
        |e: &mut Executor| e.cordon = Cordon::Foreign,
        |e: &mut Executor| e.fleet = None,
    ] {
        let mut world = world(3, 2);
        world.executors.iter_mut().for_each(change);
        assert_eq!(world.minutes(60), [(3, 0)]);
        assert!(
            world.memory.waiting.is_empty(),
            "nothing to remember either"
        );
    }
}

/// Machines that run short jobs are idle in most looks.
#[test]
fn a_machine_that_worked_in_between_begins_anew() {
    let mut world = world(1, 1);
    for _ in 0..12 {
        assert_eq!(world.minutes(9), [(1, 0)]);
        world.executors[0].state = busy();
        world.look();
        world.executors[0] = executor(1);
    }
}

#[test]
fn partial_looks_prove_nothing_and_what_was_proved_stays() {
    let partial = || {
        let mut seen = Completeness::Complete;
        seen.doubt("page 2 failed");
        seen
    };
    let mut world = world(1, 1);
    for _ in 0..100 {
        let seen = world.look_with(partial());
        assert_eq!(seen.jobs[0].class, JobClass::Runnable);
    }
    world.minutes(11);
    let seen = world.look_with(partial());
    assert!(matches!(seen.jobs[0].class, JobClass::Unrunnable { .. }));
}

/// A lock was freed, minutes were bought: the next job of the project shows it.
#[test]
fn it_is_demand_at_once_when_its_project_moves() {
    let mut world = world(2, 2);
    world.jobs[1].project = "acme/other".into();
    let mut holder = job(3, "acme/app");
    holder.class = running();
    world.jobs.push(holder);
    assert_eq!(world.minutes(11).last(), Some(&(0, 2)));
    world.jobs.pop();
    assert_eq!(
        world.look(),
        (1, 1),
        "the holder ended: only the job of its own project"
    );
    let mut started = job(4, "acme/other");
    started.class = running();
    world.jobs.push(started);
    assert_eq!(world.look(), (2, 0));
}

/// Handed out while we looked: what the executor says is the newer word.
#[test]
fn a_job_that_an_executor_names_runs() {
    let mut world = world(1, 1);
    world.minutes(11);
    let jobs = vec![JobId::new("1")];
    world.executors[0].state = ExecutorState::Busy { jobs };
    let seen = world.look_with(Completeness::Complete);
    let mapped = world.mapper.map(&seen, &Durations::default(), world.now);
    let demand = &mapped.workloads[0].demand;
    assert_eq!((demand.running, demand.unrunnable), (1, 0));
}

#[test]
fn what_is_remembered_is_bounded_and_goes_with_the_jobs() {
    let mut world = world(u32::try_from(WATCHED).unwrap() + 10, 1);
    world.minutes(1);
    assert_eq!(world.memory.waiting.len(), WATCHED);
    world.jobs.clear();
    world.look();
    assert!(world.memory.waiting.is_empty());
    world.executors.clear();
    world.look();
    assert!(world.memory.idle.is_empty());
}
