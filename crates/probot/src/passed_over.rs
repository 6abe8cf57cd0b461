//! Jobs that their CI server does not hand out although a machine stands idle beside them.
//!
//! A server lists such a job as waiting like any other and often does not say what stops it: no compute minutes left
//! (gitlab-org/gitlab #27852), a lock that only the server knows, a rule that no list tells. Counted as demand it would
//! keep machines idle for as long as it waits, and fifty of them would keep fifty. Here the evidence is the machine: one
//! more of the same kind would stand beside the first.
//!
//! - Evidence is an executor of ours that was idle, in contact and not cordoned in every whole look for [`PATIENCE`],
//!   while the job waited in its pool. Each such slot speaks against one job, the one that has waited longest: an executor
//!   that hangs costs its own place, and the other jobs get their machines. Only if no machine of a pool takes anything,
//!   and there are two at least, does that speak against all that have waited so long.
//! - A job that is passed over is taken for `Unrunnable` for a while only, longer each time, and at once no more when
//!   another job of its project starts or ends: what was in its way may be gone.
//! - A partial look proves nothing new. Nothing is remembered over a start of probot; what is forgotten is demand again.
//!
//! It decides nothing about machines, and never touches a job that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    Cordon, Executor, ExecutorId, ExecutorState, Job, JobClass, JobId, PoolName, Snapshot, age,
};

use crate::mapping::{Mapper, Place, held};

/// How long a machine stands idle beside a job before it tells something: far longer than any server needs to hand a
/// job out (GitLab's runners ask every 3 s, and a long poll takes 50 s; TeamCity and Jenkins look every few seconds).
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Whole looks that have to agree, for emitters that are looked at seldom.
const LOOKS: u32 = 5;

/// The first time a job is not counted, twice as long with each time, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(600);

/// The longest time a job is not counted before it is tried again.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

/// Jobs that are watched; those beyond it are demand.
const WATCHED: usize = 5_000;

/// Machines that are named as evidence.
const NAMED: usize = 3;

/// A job was found to be passed over, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The job, as `<project> <name> #<id>`.
    pub job: String,
    /// Where it waits.
    pub pool: PoolName,
    /// Executors of the pool that stood idle beside it.
    pub beside: Vec<String>,
    /// For how long it is no demand.
    pub pause: Duration,
}

/// What whole looks showed of jobs that wait and executors that idle. Bounded, and empty after a start.
#[derive(Debug, Clone, Default)]
pub struct PassedOver {
    idle: BTreeMap<ExecutorId, Watch>,
    waiting: BTreeMap<JobId, Waiting>,
}

/// Since when something was the same in every whole look.
#[derive(Debug, Clone, Copy)]
struct Watch {
    since: Timestamp,
    looks: u32,
}

impl Watch {
    fn from(now: Timestamp) -> Self {
        Watch {
            since: now,
            looks: 0,
        }
    }

    fn tells(&self, now: Timestamp) -> bool {
        self.looks >= LOOKS && age(self.since, now) >= PATIENCE
    }
}

#[derive(Debug, Clone)]
struct Waiting {
    watch: Watch,
    project: String,
    /// How often it was passed over.
    times: u32,
    mark: Option<Mark>,
}

#[derive(Debug, Clone)]
struct Mark {
    until: Timestamp,
    /// What ran in its project then. As soon as that is something else, the job is tried again.
    running: BTreeSet<JobId>,
    why: String,
}

/// What one look shows of one pool.
#[derive(Default)]
struct Pool<'a> {
    /// Jobs that wait in it.
    jobs: Vec<&'a Job>,
    /// Executors of ours, with those that idle.
    executors: usize,
    idle: Vec<&'a Executor>,
}

impl PassedOver {
    /// Takes in a look and takes the class `Runnable` from the jobs in it that are passed over.
    pub fn judge(&mut self, mapper: &Mapper, snapshot: &mut Snapshot) -> Vec<News> {
        let now = snapshot.taken_at;
        let news = if snapshot.completeness.is_complete() {
            self.observe(mapper, snapshot)
        } else {
            Vec::new()
        };
        if self.waiting.is_empty() {
            return news;
        }
        let handed_out: BTreeSet<JobId> = held(snapshot).into_keys().cloned().collect();
        for job in snapshot.jobs.iter_mut().filter(|job| is_waiting(job)) {
            let waiting = self.waiting.get(&job.id);
            let mark = waiting.and_then(|waiting| waiting.mark.as_ref());
            let mark = mark.filter(|mark| mark.until > now && !handed_out.contains(&job.id));
            if let Some(mark) = mark {
                let why = mark.why.clone();
                job.class = JobClass::Unrunnable { why };
            }
        }
        news
    }

    fn observe(&mut self, mapper: &Mapper, snapshot: &Snapshot) -> Vec<News> {
        let now = snapshot.taken_at;
        self.watch_executors(mapper, snapshot);
        if self.waiting.is_empty() && self.idle.values().all(|watch| watch.looks < 2) {
            return Vec::new();
        }
        let homes = mapper.homes(snapshot);
        let pools = self.pools(mapper, snapshot, &homes);
        self.watch_jobs(&pools, now);
        let running = running(snapshot);
        self.lift(&running, now);
        let mut news = Vec::new();
        for (name, pool) in &pools {
            let (jobs, beside) = self.passed_over(pool, now);
            news.extend(
                jobs.into_iter()
                    .filter_map(|job| self.mark(job, name, &beside, &running, now)),
            );
        }
        news
    }

    /// An executor that is not idle in one look begins anew.
    fn watch_executors(&mut self, mapper: &Mapper, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.idle);
        let idle = snapshot.executors.iter().filter(|executor| {
            let idle = matches!(executor.state, ExecutorState::Idle { .. });
            idle && executor.cordon == Cordon::None && mapper.is_ours(executor)
        });
        for executor in idle {
            let mut watch = before
                .remove(&executor.id)
                .unwrap_or_else(|| Watch::from(snapshot.taken_at));
            watch.looks += 1;
            self.idle.insert(executor.id.clone(), watch);
        }
    }

    fn pools<'a>(
        &self,
        mapper: &'a Mapper,
        snapshot: &'a Snapshot,
        homes: &BTreeMap<&'a ExecutorId, &'a PoolName>,
    ) -> BTreeMap<PoolName, Pool<'a>> {
        let of_each = mapper.names().map(|name| (name.clone(), Pool::default()));
        let mut pools: BTreeMap<PoolName, Pool<'_>> = of_each.collect();
        for executor in snapshot.executors.iter().filter(|e| mapper.is_ours(e)) {
            let home = homes.get(&executor.id);
            if let Some(pool) = home.and_then(|home| pools.get_mut(*home)) {
                pool.executors += 1;
                pool.idle
                    .extend(self.idle.contains_key(&executor.id).then_some(executor));
            }
        }
        mapper.place_each(snapshot, homes, |job, class, place| {
            if let (JobClass::Runnable, Place::First(pool)) = (class, place)
                && let Some(pool) = pools.get_mut(pool)
            {
                pool.jobs.push(job);
            }
        });
        pools
    }

    /// Jobs are watched from when a machine idles in their pool, and remembered while they wait.
    fn watch_jobs(&mut self, pools: &BTreeMap<PoolName, Pool<'_>>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.waiting);
        for pool in pools.values() {
            for job in &pool.jobs {
                let known = before.remove(&job.id);
                let is_beside = !pool.idle.is_empty();
                if known.is_none() && (!is_beside || self.waiting.len() >= WATCHED) {
                    continue;
                }
                let mut waiting = known.unwrap_or_else(|| Waiting {
                    watch: Watch::from(now),
                    project: job.project.clone(),
                    times: 0,
                    mark: None,
                });
                if !is_beside {
                    waiting.watch = Watch::from(now);
                }
                waiting.watch.looks += 1;
                self.waiting.insert(job.id.clone(), waiting);
            }
        }
    }

    /// A mark goes with its time, and when something moves in its project.
    fn lift(&mut self, running: &BTreeMap<&str, BTreeSet<&JobId>>, now: Timestamp) {
        let none = BTreeSet::new();
        for waiting in self.waiting.values_mut() {
            let Some(mark) = &waiting.mark else { continue };
            let now_running = running.get(waiting.project.as_str()).unwrap_or(&none);
            let same = mark.running.iter().eq(now_running.iter().copied());
            if mark.until <= now || !same {
                waiting.mark = None;
                waiting.watch = Watch::from(now);
            }
        }
    }

    /// The jobs of a pool that its idle machines speak against now, and the names of these machines, whose time begins
    /// anew.
    fn passed_over<'a>(&mut self, pool: &Pool<'a>, now: Timestamp) -> (Vec<&'a Job>, Vec<String>) {
        let tells = |executor: &&Executor| {
            let watch = self.idle.get(&executor.id);
            watch.is_some_and(|watch| watch.tells(now))
        };
        let long: Vec<&Executor> = pool.idle.iter().copied().filter(tells).collect();
        let mut jobs: Vec<(Timestamp, &Job)> = pool
            .jobs
            .iter()
            .filter_map(|job| Some((*job, self.waiting.get(&job.id)?)))
            .filter(|(_, waiting)| waiting.mark.is_none() && waiting.watch.tells(now))
            .map(|(job, waiting)| (waiting.watch.since, job))
            .collect();
        if long.is_empty() || jobs.is_empty() {
            return (Vec::new(), Vec::new());
        }
        jobs.sort_by_key(|(since, job)| (*since, &job.id));
        let nobody_works = long.len() >= 2 && long.len() == pool.executors;
        if !nobody_works {
            let slots: u32 = long.iter().map(|executor| executor.slots).sum();
            jobs.truncate(usize::try_from(slots).unwrap_or(usize::MAX));
        }
        for executor in &long {
            self.idle.insert(executor.id.clone(), Watch::from(now));
        }
        let names = long
            .iter()
            .take(NAMED)
            .map(|executor| executor.name.clone());
        (
            jobs.into_iter().map(|(_, job)| job).collect(),
            names.collect(),
        )
    }

    fn mark(
        &mut self,
        job: &Job,
        pool: &PoolName,
        beside: &[String],
        running: &BTreeMap<&str, BTreeSet<&JobId>>,
        now: Timestamp,
    ) -> Option<News> {
        let waiting = self.waiting.get_mut(&job.id)?;
        let pause = FIRST
            .saturating_mul(2_u32.saturating_pow(waiting.times))
            .min(LONGEST);
        waiting.times += 1;
        let idle = beside.join(", ");
        waiting.mark = Some(Mark {
            until: now
                .saturating_add(SignedDuration::try_from(pause).ok()?)
                .ok()?,
            running: running
                .get(job.project.as_str())
                .map(|ids| ids.iter().map(|id| (*id).clone()).collect())
                .unwrap_or_default(),
            why: format!(
                "the CI server did not hand it out in {} min although {idle} stood idle beside it",
                PATIENCE.as_secs() / 60
            ),
        });
        Some(News {
            job: format!("{} {} #{}", job.project, job.name, job.id),
            pool: pool.clone(),
            beside: beside.to_vec(),
            pause,
        })
    }
}

fn is_waiting(job: &Job) -> bool {
    job.class == JobClass::Runnable
}

/// What runs, by project.
fn running(snapshot: &Snapshot) -> BTreeMap<&str, BTreeSet<&JobId>> {
    let mut running: BTreeMap<&str, BTreeSet<&JobId>> = BTreeMap::new();
    for job in &snapshot.jobs {
        if matches!(job.class, JobClass::Running { .. }) {
            running.entry(&job.project).or_default().insert(&job.id);
        }
    }
    running
}

#[cfg(test)]
#[path = "passed_over_tests.rs"]
mod tests;
