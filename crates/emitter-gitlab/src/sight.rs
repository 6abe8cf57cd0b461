//! What one look has gathered so far.
//!
//! Pure: adds pages up, keeps each id once, and joins jobs with the runners that hold them.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Completeness, Executor, ExecutorId, ExecutorState, Job, JobClass, JobId, Requirement, Snapshot,
    SnapshotCost, Timestamp,
};

use crate::config::Serves;
use crate::convert::{Page, Runner};

/// Jobs that are believed of one runner without having been named. A large machine takes some dozen; a number that is
/// wrong must not fill the memory.
const MOST_UNNAMED: u32 = 1_000;

/// What one look has gathered so far.
#[derive(Debug)]
pub(crate) struct Sight {
    jobs: BTreeMap<JobId, Job>,
    pub(crate) runners: BTreeMap<ExecutorId, Runner>,
    completeness: Completeness,
}

impl Sight {
    pub(crate) fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            runners: BTreeMap::new(),
            completeness: Completeness::Complete,
        }
    }

    pub(crate) fn doubt(&mut self, why: impl Into<String>) {
        self.completeness.doubt(why);
    }

    /// Adds a job once; of two sightings the one that holds a runner is the newer.
    pub(crate) fn add(&mut self, job: Job) {
        let runs = matches!(job.class, JobClass::Running { .. });
        if runs || !self.jobs.contains_key(&job.id) {
            self.jobs.insert(job.id.clone(), job);
        }
    }

    /// Adds a page of jobs, doubts included.
    pub(crate) fn add_page(&mut self, page: Page) {
        page.jobs.into_iter().for_each(|job| self.add(job));
        page.doubts.into_iter().for_each(|doubt| self.doubt(doubt));
    }

    /// The projects of the jobs seen so far.
    pub(crate) fn projects(&self) -> BTreeSet<String> {
        self.jobs.values().map(|job| job.project.clone()).collect()
    }

    /// How many jobs run in each project, as far as they are named.
    pub(crate) fn running_in(&self) -> BTreeMap<String, usize> {
        let mut running = BTreeMap::new();
        for job in self.jobs.values() {
            if matches!(job.class, JobClass::Running { .. }) && !job.project.is_empty() {
                *running.entry(job.project.clone()).or_default() += 1;
            }
        }
        running
    }

    /// Adds jobs that wait for others. A job that was seen before keeps what was seen, and one that waits for a job which
    /// was not seen has no parents that anybody could reckon with: absent would read as ended.
    pub(crate) fn add_ahead(&mut self, jobs: Vec<Job>) {
        let added: BTreeSet<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
        for mut job in jobs {
            if let JobClass::Blocked { parents, .. } = &mut job.class
                && !parents
                    .iter()
                    .all(|id| added.contains(id) || self.jobs.contains_key(id))
            {
                parents.clear();
            }
            self.add(job);
        }
    }

    /// How many jobs were seen on each runner so far.
    pub(crate) fn held(&self) -> BTreeMap<ExecutorId, u32> {
        let mut held = BTreeMap::new();
        for job in self.jobs.values() {
            if let JobClass::Running {
                executor: Some(executor),
            } = &job.class
            {
                *held.entry(executor.clone()).or_default() += 1;
            }
        }
        held
    }

    pub(crate) fn jobs_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.jobs.values_mut()
    }

    /// Adds jobs that GitLab counts on a runner without naming them: as many as it holds, asking for
    /// what the pool serves, so that they are mapped to the pool whose machine they keep busy.
    pub(crate) fn add_unnamed(&mut self, runner: &Runner, entry: Option<&Serves>) {
        let labels = entry.map_or(&runner.executor.labels, |entry| &entry.tags);
        let held = runner.holds.min(MOST_UNNAMED);
        if held < runner.holds {
            self.doubt(format!(
                "GitLab counts {} jobs on runner {}, which no machine takes: {held} of them are believed",
                runner.holds, runner.executor.id
            ));
        }
        for place in 0..held {
            self.add(Job {
                id: JobId::new(format!("runner-{}-{place}", runner.executor.id)),
                name: format!("unnamed job of runner {}", runner.executor.name),
                project: String::new(),
                requirement: Requirement {
                    labels: labels.clone(),
                    ..Requirement::default()
                },
                queued_at: None,
                started_at: None,
                expected: None,
                class: JobClass::Running {
                    executor: Some(runner.executor.id.clone()),
                },
            });
        }
    }

    /// The snapshot. A runner that a job was seen on is busy, whatever the later look at it said:
    /// the two were not read at one moment, and busy is the safe side.
    pub(crate) fn into_snapshot(self, taken_at: Timestamp, cost: SnapshotCost) -> Snapshot {
        let mut held: BTreeMap<ExecutorId, Vec<JobId>> = BTreeMap::new();
        for job in self.jobs.values() {
            if let JobClass::Running {
                executor: Some(executor),
            } = &job.class
            {
                held.entry(executor.clone())
                    .or_default()
                    .push(job.id.clone());
            }
        }
        let executors = self.runners.into_values().map(|runner| {
            let mut executor: Executor = runner.executor;
            if let Some(jobs) = held.remove(&executor.id) {
                // full, as far as anybody can tell
                executor.slots = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
                executor.state = ExecutorState::Busy { jobs };
            }
            executor
        });
        Snapshot {
            executors: executors.collect(),
            jobs: self.jobs.into_values().collect(),
            taken_at,
            completeness: self.completeness,
            cost,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Cordon;

    use super::*;

    fn job(id: &str, class: JobClass) -> Job {
        Job {
            id: JobId::new(id),
            name: String::new(),
            project: String::new(),
            requirement: Requirement::default(),
            queued_at: None,
            started_at: None,
            expected: None,
            class,
        }
    }

    fn runner(id: &str, holds: u32) -> Runner {
        let executor = Executor {
            id: ExecutorId::new(id),
            name: id.to_owned(),
            fleet: None,
            labels: vec!["linux".to_owned()],
            run_untagged: false,
            protected_only: false,
            health: None,
            slots: 1,
            state: ExecutorState::Idle { since: None },
            cordon: Cordon::None,
        };
        Runner { executor, holds }
    }

    fn on(id: &str) -> JobClass {
        JobClass::Running {
            executor: Some(ExecutorId::new(id)),
        }
    }

    #[test]
    fn a_job_that_moved_between_two_pages_is_counted_once_and_as_running() {
        for order in [[JobClass::Runnable, on("7")], [on("7"), JobClass::Runnable]] {
            let mut sight = Sight::new();
            order
                .into_iter()
                .for_each(|class| sight.add(job("1", class)));
            let snapshot = sight.into_snapshot(Timestamp::UNIX_EPOCH, SnapshotCost::default());
            assert_eq!(snapshot.jobs.len(), 1);
            assert_eq!(snapshot.jobs[0].class, on("7"));
        }
    }

    #[test]
    fn a_runner_that_a_job_was_seen_on_is_busy_even_if_it_looked_idle() {
        let mut sight = Sight::new();
        sight.add(job("1", on("7")));
        sight.runners.insert(ExecutorId::new("7"), runner("7", 0));
        let snapshot = sight.into_snapshot(Timestamp::UNIX_EPOCH, SnapshotCost::default());
        assert_eq!(
            snapshot.executors[0].state,
            ExecutorState::Busy {
                jobs: vec![JobId::new("1")]
            }
        );
    }

    #[test]
    fn a_number_of_jobs_that_no_machine_takes_is_a_doubt_and_no_flood() {
        let mut sight = Sight::new();
        sight.add_unnamed(&runner("7", 1_000_000_000), None);
        let snapshot = sight.into_snapshot(Timestamp::UNIX_EPOCH, SnapshotCost::default());
        assert_eq!(snapshot.jobs.len(), 1_000);
        assert!(!snapshot.completeness.is_complete());
    }

    #[test]
    fn what_waits_for_a_job_that_was_not_seen_has_no_parents() {
        let waits = |id: &str, parents: &[&str]| {
            let class = JobClass::Blocked {
                by: String::new(),
                parents: parents.iter().map(|id| JobId::new(*id)).collect(),
            };
            job(id, class)
        };
        let mut sight = Sight::new();
        sight.add(job("1", on("7")));
        sight.add(job("5", JobClass::Runnable));
        let ahead = [
            waits("2", &["1"]),
            waits("3", &["1", "9"]),
            waits("4", &["2"]),
            waits("5", &["1"]),
        ];
        sight.add_ahead(ahead.into());
        let snapshot = sight.into_snapshot(Timestamp::UNIX_EPOCH, SnapshotCost::default());
        let parents = |job: &Job| match &job.class {
            JobClass::Blocked { parents, .. } => parents.len(),
            _ => 100,
        };
        let parents: Vec<usize> = snapshot.jobs.iter().map(parents).collect();
        assert_eq!(parents, [100, 1, 0, 1, 100]);
        assert!(snapshot.completeness.is_complete());
    }

    #[test]
    fn unnamed_jobs_ask_for_what_the_pool_serves() {
        let mut sight = Sight::new();
        let entry = Serves {
            tags: vec!["docker".to_owned()],
            ..Serves::default()
        };
        sight.add_unnamed(&runner("7", 2), Some(&entry));
        let snapshot = sight.into_snapshot(Timestamp::UNIX_EPOCH, SnapshotCost::default());
        assert_eq!(snapshot.jobs.len(), 2);
        assert!(
            snapshot
                .jobs
                .iter()
                .all(|job| job.requirement.labels == ["docker"])
        );
    }
}
