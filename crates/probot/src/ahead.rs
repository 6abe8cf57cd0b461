//! When jobs that cannot run yet will: learned durations, and the chains above them.
//!
//! A job that is scheduled becomes runnable at its time. One that waits for other jobs, and for nothing else, becomes
//! runnable when the last of them ends; that can be told only while all of them run, and only from what jobs of the same
//! name took before. Whatever cannot be told is not counted ahead: a machine for a phantom job is a machine for nothing
//! (buildkite-agent-metrics #31). It costs no more than the wait for one boot.
//!
//! The end of a running job is reckoned by the median of its last runs. One that has run longer than all of them has no
//! known end any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use model::{Demand, Job, JobClass, JobId, Snapshot, Soon, age};

/// Runs of one job that are remembered: enough for a median, few enough that a faster build shows within a day.
const RUNS: usize = 8;

/// Fewer runs than this tell nothing.
const ENOUGH: usize = 3;

/// Jobs whose durations are remembered; the one not seen for the longest time makes room. With eight runs of four bytes
/// and a name of fifty that is less than a megabyte.
const JOBS: usize = 5_000;

/// Running jobs of a look that are watched, so that their ends teach something; as many again that partial looks hide.
const WATCHED: usize = 20_000;

/// Readiness is rounded up to this, so that a thousand jobs are a few entries.
const ROUNDED: Duration = Duration::from_secs(5);

/// Nobody boots a machine longer ahead than this.
const HORIZON: Duration = Duration::from_secs(3600);

/// How long jobs of one name ran, learned from the looks at one CI server. Bounded, and empty after a start.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    runs: BTreeMap<Name, Runs>,
    /// Jobs that ran in the last look, and since when.
    running: BTreeMap<JobId, (Name, Timestamp)>,
    /// Jobs of the last look that did not run in the one before.
    started: BTreeSet<JobId>,
    looks: u64,
}

/// Project and name.
type Name = (String, String);

#[derive(Debug, Clone, Default)]
struct Runs {
    seconds: VecDeque<u32>,
    last_look: u64,
}

impl Durations {
    /// Takes in a look: what ran before and runs no more has ended, at most one look ago. A partial look ends nothing.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.looks += 1;
        let now = snapshot.taken_at;
        let mut running = BTreeMap::new();
        let mut present = BTreeSet::new();
        self.started.clear();
        for job in &snapshot.jobs {
            present.insert(&job.id);
            if !matches!(job.class, JobClass::Running { .. }) || running.len() >= WATCHED {
                continue;
            }
            let since = match (job.started_at, self.running.get(&job.id)) {
                (Some(at), _) => at,
                (None, Some((_, since))) => *since,
                (None, None) => now,
            };
            // what ran already when the first look began started at a time of which nothing is known
            if self.looks > 1 && !self.running.contains_key(&job.id) {
                self.started.insert(job.id.clone());
            }
            running.insert(job.id.clone(), (name_of(job), since));
        }
        if !snapshot.completeness.is_complete() {
            // it may only be hidden: watched on, but not taken as ended. Looks may stay partial for as long as we run,
            // so what is hidden is let go of when it fills the memory.
            if self.running.len() >= WATCHED {
                self.running.clear();
            }
            self.running.extend(running);
            return;
        }
        let before = std::mem::replace(&mut self.running, running);
        for (id, (name, since)) in before {
            if !present.contains(&id) {
                self.learn(name, age(since, now));
            }
        }
    }

    /// How long a job had waited that was first seen to run in the last look, as far as its CI server says.
    pub(crate) fn waited(&self, job: &Job) -> Option<Duration> {
        let queued = job.queued_at.filter(|_| self.started.contains(&job.id))?;
        let (_, since) = self.running.get(&job.id)?;
        Some(age(queued, *since))
    }

    fn learn(&mut self, name: Name, took: Duration) {
        if self.runs.len() >= JOBS && !self.runs.contains_key(&name) {
            let oldest = self.runs.iter().min_by_key(|(_, runs)| runs.last_look);
            let oldest = oldest.map(|(name, _)| name.clone());
            self.runs.remove(&oldest.unwrap_or_default());
        }
        let runs = self.runs.entry(name).or_default();
        runs.last_look = self.looks;
        runs.seconds
            .push_back(u32::try_from(took.as_secs()).unwrap_or(u32::MAX));
        if runs.seconds.len() > RUNS {
            runs.seconds.pop_front();
        }
    }

    /// How much longer a running job is likely to run; `None` if nobody can tell.
    fn left(&self, job: &Job, now: Timestamp) -> Option<Duration> {
        let watched = self.running.get(&job.id).map(|(_, since)| *since);
        let ran = age(job.started_at.or(watched)?, now);
        let (usual, longest) = match job.expected {
            Some(expected) => (expected, expected.saturating_mul(2)),
            None => self.usual(&name_of(job))?,
        };
        (ran <= longest).then(|| usual.saturating_sub(ran))
    }

    /// The median and the longest of the last runs.
    fn usual(&self, name: &Name) -> Option<(Duration, Duration)> {
        let runs = self.runs.get(name)?;
        let mut seconds: Vec<u32> = runs.seconds.iter().copied().collect();
        seconds.sort_unstable();
        if seconds.len() < ENOUGH {
            return None;
        }
        let at = |index: usize| Some(Duration::from_secs(u64::from(*seconds.get(index)?)));
        Some((at((seconds.len() - 1) / 2)?, at(seconds.len() - 1)?))
    }
}

fn name_of(job: &Job) -> Name {
    (job.project.clone(), job.name.clone())
}

/// When each job of one look may run.
pub(crate) struct Ahead<'a> {
    jobs: BTreeMap<&'a JobId, &'a Job>,
    durations: &'a Durations,
    now: Timestamp,
}

impl<'a> Ahead<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, durations: &'a Durations, now: Timestamp) -> Self {
        Ahead {
            jobs: snapshot.jobs.iter().map(|job| (&job.id, job)).collect(),
            durations,
            now,
        }
    }

    /// Adds a job to the forecast of its pool, if its time can be told and is near.
    pub(crate) fn count(&self, demand: &mut Demand, job: &Job, class: &JobClass) {
        let ready_in = match class {
            JobClass::Scheduled { at } => age(self.now, *at),
            JobClass::Blocked { parents, .. } if !parents.is_empty() => {
                let Some(ready_in) = self.after(parents) else {
                    return;
                };
                ready_in
            }
            JobClass::Blocked { .. }
            | JobClass::Runnable
            | JobClass::Running { .. }
            | JobClass::Unrunnable { .. } => return,
        };
        debug_assert!(self.jobs.contains_key(&job.id), "a job of this look");
        if ready_in <= HORIZON {
            add(&mut demand.soon, ready_in);
        }
    }

    /// When the last of the parents ends. One that is not in the look has ended; one that does not run yet has no end.
    fn after(&self, parents: &[JobId]) -> Option<Duration> {
        let mut latest = Duration::ZERO;
        for parent in parents {
            let Some(parent) = self.jobs.get(parent) else {
                continue;
            };
            if !matches!(parent.class, JobClass::Running { .. }) {
                return None;
            }
            latest = latest.max(self.durations.left(parent, self.now)?);
        }
        Some(latest)
    }
}

/// Adds one job to the sorted list; what is latest gives way when it is full.
fn add(soon: &mut Vec<Soon>, ready_in: Duration) {
    let steps = ready_in.as_secs().div_ceil(ROUNDED.as_secs());
    let ready_in = Duration::from_secs(steps * ROUNDED.as_secs());
    match soon.binary_search_by_key(&ready_in, |entry| entry.ready_in) {
        Ok(place) => soon[place].jobs = soon[place].jobs.saturating_add(1),
        Err(place) => soon.insert(place, Soon { ready_in, jobs: 1 }),
    }
    soon.truncate(Demand::MAX_SOON);
}

#[cfg(test)]
mod tests {
    use model::{Completeness, Requirement, SnapshotCost};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn job(id: &str, name: &str, class: JobClass) -> Job {
        Job {
            id: JobId::new(id),
            name: name.to_owned(),
            project: "acme/app".to_owned(),
            requirement: Requirement::default(),
            queued_at: None,
            started_at: None,
            expected: None,
            class,
        }
    }

    fn running(id: &str, name: &str) -> Job {
        job(id, name, JobClass::Running { executor: None })
    }

    fn blocked(id: &str, parents: &[&str]) -> Job {
        let parents = parents.iter().map(|id| JobId::new(*id)).collect();
        let by = "earlier jobs".to_owned();
        job(id, "test", JobClass::Blocked { by, parents })
    }

    fn look(seconds: i64, jobs: Vec<Job>) -> Snapshot {
        Snapshot {
            jobs,
            executors: vec![],
            taken_at: at(seconds),
            completeness: Completeness::Complete,
            cost: SnapshotCost::default(),
        }
    }

    /// Builds of 100, 110 and 300 s: the median is 110 s.
    fn taught() -> Durations {
        let mut durations = Durations::default();
        let mut clock = 0;
        for (id, took) in [("1", 100), ("2", 300), ("3", 110)] {
            durations.observe(&look(clock, vec![running(id, "build")]));
            clock += took;
            durations.observe(&look(clock, vec![]));
        }
        durations
    }

    fn soon(durations: &Durations, snapshot: &Snapshot, now: i64) -> Vec<(u64, u32)> {
        let mut demand = Demand::default();
        let ahead = Ahead::of(snapshot, durations, at(now));
        for job in &snapshot.jobs {
            ahead.count(&mut demand, job, &job.class);
        }
        let entries = demand.soon.iter();
        entries.map(|s| (s.ready_in.as_secs(), s.jobs)).collect()
    }

    #[test]
    fn a_child_is_ready_when_its_last_parent_is_likely_to_end() {
        let mut durations = taught();
        let chain = vec![
            running("8", "build"),
            running("9", "build"),
            blocked("10", &["8", "9"]),
        ];
        durations.observe(&look(1000, chain[..1].to_vec()));
        durations.observe(&look(1030, chain.clone()));
        // 8 has run 50 s of 110, 9 has run 20 s
        assert_eq!(soon(&durations, &look(1050, chain), 1050), [(90, 1)]);
    }

    #[test]
    fn what_cannot_be_told_is_not_counted() {
        let durations = taught();
        let waiting = job("8", "build", JobClass::Runnable);
        let cases = [
            vec![running("8", "never seen"), blocked("9", &["8"])],
            vec![waiting, blocked("9", &["8"])],
            vec![blocked("8", &[])],
            vec![blocked("7", &["8"]), blocked("8", &[])],
        ];
        for jobs in cases {
            assert_eq!(
                soon(&durations, &look(1000, jobs.clone()), 1000),
                [],
                "{jobs:?}"
            );
        }
    }

    #[test]
    fn a_job_that_runs_longer_than_ever_has_no_known_end() {
        let durations = taught();
        let mut slow = running("8", "build");
        slow.started_at = Some(at(1000));
        let chain = vec![slow, blocked("9", &["8"])];
        assert_eq!(soon(&durations, &look(1250, chain.clone()), 1250), [(0, 1)]);
        assert_eq!(soon(&durations, &look(1301, chain), 1301), []);
    }

    #[test]
    fn the_ci_servers_own_estimate_goes_before_ours() {
        let mut parent = running("8", "never seen");
        (parent.started_at, parent.expected) = (Some(at(1000)), Some(Duration::from_secs(60)));
        let chain = vec![parent, blocked("9", &["8"])];
        assert_eq!(soon(&taught(), &look(1010, chain), 1010), [(50, 1)]);
    }

    #[test]
    fn scheduled_jobs_are_counted_at_their_time_and_not_a_day_ahead() {
        let jobs = [1020, 1021, 90_000].map(|time| {
            job(
                &time.to_string(),
                "nightly",
                JobClass::Scheduled { at: at(time) },
            )
        });
        let durations = Durations::default();
        assert_eq!(
            soon(&durations, &look(1000, jobs.to_vec()), 1000),
            [(20, 1), (25, 1)]
        );
    }

    #[test]
    fn a_partial_look_ends_no_job() {
        let mut durations = Durations::default();
        for clock in [0, 1000, 2000] {
            durations.observe(&look(clock, vec![running("1", "build")]));
            let mut part = look(clock + 10, vec![]);
            part.completeness.doubt("page 2 failed");
            durations.observe(&part);
        }
        assert!(durations.runs.is_empty() && durations.running.len() == 1);
    }

    /// An emitter whose token may never see everything is partial for as long as probot runs.
    #[test]
    fn looks_that_are_never_whole_do_not_fill_the_memory() {
        let mut durations = Durations::default();
        for n in 0..4 {
            let jobs = (0..WATCHED).map(|id| running(&format!("{n}-{id}"), "build"));
            let mut part = look(n, jobs.collect());
            part.completeness.doubt("hidden projects");
            durations.observe(&part);
        }
        assert!(durations.running.len() <= 2 * WATCHED);
        assert!(durations.running.contains_key(&JobId::new("3-0")));
    }

    #[test]
    fn the_memory_and_the_list_have_a_bound() {
        let mut durations = Durations::default();
        for n in 0..u32::try_from(JOBS).unwrap() + 10 {
            durations.learn(("p".to_owned(), n.to_string()), Duration::from_secs(1));
        }
        assert_eq!(durations.runs.len(), JOBS);
        let mut soon = Vec::new();
        for n in (0..1000).rev() {
            add(&mut soon, Duration::from_secs(n));
        }
        assert_eq!(soon.len(), Demand::MAX_SOON);
        assert!(soon.is_sorted_by_key(|entry| entry.ready_in) && soon[0].ready_in.is_zero());
    }
}
