//! How long it takes to map one look to its pools, on one core: `cargo bench -p probot --bench map`.
//!
//! 100 000 jobs, half of them running, in 1 000 pools with a label of their own each and one that all have; 10 000
//! executors of ours. One job in a hundred fits no pool.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark reads a clock and talks to a person"
)]

use std::time::Duration;

use emitter_fake::{FakeEmitter, Serves};
use jiff::Timestamp;
use model::{
    Completeness, ConfigHash, Cordon, Executor, ExecutorId, ExecutorState, Job, JobClass, JobId,
    JobRange, Requirement, Snapshot, SnapshotCost,
};
use ports::EmitterPlugin;
use probot::ahead::Durations;
use probot::mapping::{Mapper, PoolRule};

const POOLS: usize = 1_000;
const JOBS: usize = 100_000;
const EXECUTORS: usize = 10_000;

fn label(pool: usize) -> Vec<String> {
    vec!["linux".to_owned(), format!("team-{pool}")]
}

fn mapper() -> Mapper {
    let rule = |pool: usize| PoolRule {
        name: format!("pool-{pool}").parse().unwrap(),
        precedence: 0,
        job: JobRange::default(),
        matcher: FakeEmitter::matcher(vec![Serves { tags: label(pool) }]),
    };
    Mapper::new(
        "ci".parse().unwrap(),
        "acme".parse().unwrap(),
        ConfigHash::new("c"),
        (0..POOLS).map(rule).collect(),
    )
}

fn look() -> Snapshot {
    let job = |number: usize| Job {
        id: JobId::new(number.to_string()),
        name: "build".to_owned(),
        project: format!("acme/{}", number % 500),
        requirement: Requirement {
            labels: label(if number.is_multiple_of(100) {
                POOLS
            } else {
                number % POOLS
            }),
            ..Requirement::default()
        },
        queued_at: Some(Timestamp::UNIX_EPOCH),
        started_at: None,
        expected: None,
        class: match number % 2 {
            0 => JobClass::Runnable,
            _ => JobClass::Running { executor: None },
        },
    };
    let executor = |number: usize| Executor {
        id: ExecutorId::new(number.to_string()),
        name: format!("pool-{}-7-{number}-0", number % POOLS),
        fleet: Some("acme".parse().unwrap()),
        labels: Vec::new(),
        run_untagged: false,
        protected_only: false,
        slots: 1,
        state: ExecutorState::Idle { since: None },
        cordon: Cordon::None,
        health: None,
    };
    Snapshot {
        jobs: (0..JOBS).map(job).collect(),
        executors: (0..EXECUTORS).map(executor).collect(),
        taken_at: Timestamp::UNIX_EPOCH,
        completeness: Completeness::Complete,
        cost: SnapshotCost::default(),
    }
}

/// Time of the processor spent by this thread, so that what else the machine does is not measured.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn main() {
    let (mapper, look, durations) = (mapper(), look(), Durations::default());
    let mut times = Vec::new();
    for _ in 0..7 {
        let began = cpu();
        let mapped = mapper.map(&look, &durations, Timestamp::UNIX_EPOCH);
        times.push(cpu().saturating_sub(began));
        assert_eq!(mapped.unmatched_total as usize, JOBS / 100);
        let jobs = mapped
            .workloads
            .iter()
            .map(|w| w.demand.runnable + w.demand.running);
        assert_eq!(jobs.sum::<u32>() as usize, JOBS - JOBS / 100);
    }
    times.sort();
    println!(
        "{JOBS} jobs to {POOLS} pools: median {:.2?}, least {:.2?}",
        times[3], times[0]
    );
}
