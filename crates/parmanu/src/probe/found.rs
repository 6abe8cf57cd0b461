//! What one look found, as data: the JSON of `parmanu probe`.

use std::time::Duration;

use jiff::Timestamp;
use model::{Demand, EmitterName, Executor, Fit, Job, JobClass, PoolName, Snapshot, SnapshotCost};
use probot::Polled;
use probot::ahead::Durations;
use probot::mapping::{Candidate, Place};
use serde::Serialize;

/// One look. Keys may be added, and none changes its meaning within a version.
#[derive(Serialize)]
pub(crate) struct Found {
    version: u32,
    pub(crate) emitter: EmitterName,
    pub(crate) taken_at: Timestamp,
    pub(crate) took_ms: u64,
    /// Whether everything was seen.
    pub(crate) complete: bool,
    /// What could not be seen, in words.
    pub(crate) doubts: Vec<String>,
    pub(crate) cost: SnapshotCost,
    pub(crate) pools: Vec<Pool>,
    /// Runnable jobs that no pool takes.
    pub(crate) unmatched: u32,
    /// Those that nobody runs first.
    pub(crate) jobs: Vec<FoundJob>,
    pub(crate) executors: Vec<FoundExecutor>,
}

#[derive(Serialize)]
pub(crate) struct Pool {
    pub(crate) pool: PoolName,
    pub(crate) demand: Demand,
    pub(crate) executors: usize,
}

#[derive(Serialize)]
pub(crate) struct FoundJob {
    #[serde(flatten)]
    pub(crate) job: Job,
    /// The pool it counts in.
    pub(crate) pool: Option<PoolName>,
    /// Whether that is because an executor of the pool holds it.
    pub(crate) held: bool,
    /// What each pool says, in the order in which they are asked.
    pub(crate) candidates: Vec<Says>,
}

#[derive(Serialize)]
pub(crate) struct Says {
    pub(crate) pool: PoolName,
    pub(crate) precedence: i32,
    pub(crate) fits: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
}

impl From<Candidate> for Says {
    fn from(candidate: Candidate) -> Self {
        let fits = candidate.fit.is_yes();
        Says {
            pool: candidate.pool,
            precedence: candidate.precedence,
            fits,
            missing: match candidate.fit {
                Fit::Yes => Vec::new(),
                Fit::No { missing } => missing,
            },
        }
    }
}

#[derive(Serialize)]
pub(crate) struct FoundExecutor {
    #[serde(flatten)]
    pub(crate) executor: Executor,
    /// The pool it counts for.
    pub(crate) pool: Option<PoolName>,
}

impl Found {
    pub(crate) fn of(snapshot: &Snapshot, polled: &Polled, took: Duration, now: Timestamp) -> Self {
        let mapper = &polled.mapper;
        // one look teaches no durations, so of blocked jobs no time is told
        let mapped = mapper.map(snapshot, &Durations::default(), now);
        let pool = |workload: model::Workload| Pool {
            pool: workload.pool,
            demand: workload.demand,
            executors: workload.executors.len(),
        };
        let mut jobs = Vec::new();
        mapper.place(snapshot, |job, class, place| {
            let candidates = mapper.candidates(job).into_iter().map(Says::from);
            jobs.push(FoundJob {
                pool: place.pool().cloned(),
                held: matches!(place, Place::Held(_)),
                candidates: candidates.collect(),
                job: Job {
                    class: class.clone(),
                    ..job.clone()
                },
            });
        });
        jobs.sort_by_key(|found| rank(&found.job.class));
        let homes = mapper.homes(snapshot);
        let executors = snapshot.executors.iter().map(|executor| FoundExecutor {
            pool: homes.get(&executor.id).map(|pool| (*pool).clone()),
            executor: executor.clone(),
        });
        Found {
            version: 1,
            emitter: polled.name.clone(),
            taken_at: snapshot.taken_at,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            complete: snapshot.completeness.is_complete(),
            doubts: snapshot.completeness.doubts().to_vec(),
            cost: snapshot.cost,
            pools: mapped.workloads.into_iter().map(pool).collect(),
            unmatched: mapped.unmatched_total,
            jobs,
            executors: executors.collect(),
        }
    }
}

/// Whoever asks wants to know of the jobs that do not start.
fn rank(class: &JobClass) -> u8 {
    match class {
        JobClass::Runnable => 0,
        JobClass::Unrunnable { .. } => 1,
        JobClass::Blocked { .. } => 2,
        JobClass::Scheduled { .. } => 3,
        JobClass::Running { .. } => 4,
    }
}

impl FoundJob {
    /// Whether any of the words an operator would look for contains this text.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        let Job {
            id,
            name,
            project,
            requirement,
            ..
        } = &self.job;
        let expression = requirement.expression.as_deref();
        let words = [id.as_str(), name, project].into_iter();
        let labels = requirement.labels.iter().map(String::as_str);
        words
            .chain(labels)
            .chain(expression)
            .any(|word| word.contains(text))
    }
}
