//! From one look at a CI server to one workload per pool. Pure.
//!
//! Who may run a job is the CI server's rule, brought by the emitter's matcher; which of several fitting pools gets it
//! is ours, by explicit precedence, so that every job is counted exactly once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    ConfigHash, Demand, EmitterName, Executor, ExecutorId, ExecutorState, Fit, FleetId, Job,
    JobClass, JobId, JobRange, NameParts, NamedJob, PoolName, Requirement, Snapshot, Unmatched,
    Workload, age,
};
use ports::Matcher;
use ports::store::MOST_LEFT_OVER;

use crate::ahead::{Ahead, Durations};
use crate::named::Named;

/// Jobs without a pool that are reported by name; the rest is a number.
const MAX_UNMATCHED: usize = 50;

/// One pool of an emitter, as the mapping needs it.
pub struct PoolRule {
    /// The pool.
    pub name: PoolName,
    /// Its rank when a job fits several pools; greater goes first, then the name.
    pub precedence: i32,
    /// What its jobs may need; counts where the platform states it for a job.
    pub job: JobRange,
    /// The CI server's own rule for its `serves:`.
    pub matcher: Box<dyn Matcher>,
}

impl PoolRule {
    /// Whether the pool takes a job: by the CI server's own rule, and by what the job says that it needs.
    fn fit(&self, job: &Job) -> Fit {
        let misfits = self.job.misfits(&job.requirement);
        match self.matcher.fit(job) {
            Fit::Yes if misfits.is_empty() => Fit::Yes,
            Fit::Yes => Fit::No { missing: misfits },
            Fit::No { mut missing } => {
                missing.extend(misfits);
                Fit::No { missing }
            }
        }
    }
}

/// What one pool says to one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The pool.
    pub pool: PoolName,
    /// Its rank.
    pub precedence: i32,
    /// Whether it takes the job, or what is missing.
    pub fit: Fit,
    /// Whether the job goes there: to the first that takes it.
    pub chosen: bool,
}

/// Where one job of a look counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the pool of the executor that holds it.
    Held(&'a PoolName),
    /// In the first pool that takes it.
    First(&'a PoolName),
    /// In none.
    Nowhere(Option<Nearest<'a>>),
}

impl<'a> Place<'a> {
    /// The pool, if any.
    pub fn pool(self) -> Option<&'a PoolName> {
        match self {
            Place::Held(pool) | Place::First(pool) => Some(pool),
            Place::Nowhere(_) => None,
        }
    }
}

/// The pool that comes nearest to a job which none takes, and what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// The pool.
    pub pool: &'a PoolName,
    /// What is missing, in words.
    pub missing: &'a [String],
}

/// What the pools say to one requirement.
enum Verdict<'a> {
    Takes(&'a PoolName),
    Nobody(Option<(&'a PoolName, Vec<String>)>),
}

/// Who maps.
pub struct Mapper {
    emitter: EmitterName,
    fleet: FleetId,
    config: ConfigHash,
    /// By rank.
    pools: Vec<PoolRule>,
    /// Places in `pools`.
    by_name: HashMap<String, usize>,
}

/// What a look means for the pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// One for every pool, those without jobs too: zero is said, not left out. Then those of pools that are not configured
    /// and have executors all the same.
    pub workloads: Vec<Workload>,
    /// Runnable jobs that no pool takes, with the pool that comes nearest.
    pub unmatched: Vec<Unmatched>,
    /// How many such jobs there are in all.
    pub unmatched_total: u32,
    /// The pools that are not configured and have executors all the same.
    pub left_over: BTreeSet<PoolName>,
    /// The oldest jobs of each pool and state, by name.
    pub named: Vec<NamedJob>,
    /// Jobs that began to run since the look before, and how long they had waited.
    pub waits: Vec<(PoolName, Duration)>,
}

impl Mapper {
    /// A mapper for the pools of one emitter.
    pub fn new(
        emitter: EmitterName,
        fleet: FleetId,
        config: ConfigHash,
        mut pools: Vec<PoolRule>,
    ) -> Self {
        pools.sort_by(|a, b| (b.precedence, &a.name).cmp(&(a.precedence, &b.name)));
        let places = pools.iter().enumerate();
        let by_name = places
            .map(|(place, pool)| (pool.name.to_string(), place))
            .collect();
        Mapper {
            emitter,
            fleet,
            config,
            pools,
            by_name,
        }
    }

    /// What every pool says to one job, in their order: the first that takes it gets it, the others lose by precedence,
    /// then by name.
    pub fn candidates(&self, job: &Job) -> Vec<Candidate> {
        let mut taken = false;
        let judge = |pool: &PoolRule| {
            let fit = pool.fit(job);
            let chosen = fit.is_yes() && !taken;
            taken |= chosen;
            Candidate {
                pool: pool.name.clone(),
                precedence: pool.precedence,
                fit,
                chosen,
            }
        };
        self.pools.iter().map(judge).collect()
    }

    /// Maps one look. `now` is the clock that the CI server's times are compared with.
    /// `durations` is what earlier looks taught; without any, no blocked job's time can be told.
    pub fn map(&self, snapshot: &Snapshot, durations: &Durations, now: Timestamp) -> Mapped {
        let mut workloads: BTreeMap<&PoolName, Workload> = self
            .pools
            .iter()
            .map(|pool| (&pool.name, self.workload(&pool.name, snapshot)))
            .collect();
        let homes = self.homes(snapshot);
        for executor in &snapshot.executors {
            let home = homes.get(&executor.id);
            if let Some(workload) = home.and_then(|pool| workloads.get_mut(*pool)) {
                workload.executors.push(executor.clone());
            }
        }
        let mut mapped = Mapped {
            workloads: Vec::new(),
            unmatched: Vec::new(),
            unmatched_total: 0,
            left_over: BTreeSet::new(),
            named: Vec::new(),
            waits: Vec::new(),
        };
        let ahead = Ahead::of(snapshot, durations, now);
        let mut named = Named::default();
        self.place_each(snapshot, &homes, |job, class, place| {
            named.add(job, class, place.pool());
            match place {
                Place::Held(pool) | Place::First(pool) => {
                    if let Some(workload) = workloads.get_mut(pool) {
                        let waited = durations.waited(job);
                        mapped
                            .waits
                            .extend(waited.map(|waited| (pool.clone(), waited)));
                        count(&mut workload.demand, job, class, now);
                        ahead.count(&mut workload.demand, job, class);
                    }
                }
                Place::Nowhere(nearest) if *class == JobClass::Runnable => {
                    mapped.miss(job, nearest);
                }
                Place::Nowhere(_) => {}
            }
        });
        mapped.named = named.told(now);
        mark_busy(snapshot, &homes, &mut workloads);
        mapped.workloads = workloads.into_values().collect();
        let left_over = self.left_over(snapshot);
        mapped.left_over = left_over.iter().map(|it| it.pool.clone()).collect();
        mapped.workloads.extend(left_over);
        mapped
    }

    /// Executors of ours whose pools are not configured any more, without any demand: somebody must know what runs on them
    /// to let their machines go.
    fn left_over(&self, snapshot: &Snapshot) -> Vec<Workload> {
        let ours = snapshot.executors.iter().filter(|e| self.is_ours(e));
        let named = ours.filter_map(|executor| {
            let pool = NameParts::of(&executor.name)?.pool;
            let unknown = !self.by_name.contains_key(pool);
            let pool = unknown.then(|| pool.parse::<PoolName>().ok()).flatten()?;
            Some((executor, pool))
        });
        let named: Vec<(&Executor, PoolName)> = named.collect();
        let mut homes = BTreeMap::new();
        let mut workloads: BTreeMap<&PoolName, Workload> = BTreeMap::new();
        for (executor, pool) in &named {
            if !workloads.contains_key(pool) && workloads.len() == MOST_LEFT_OVER {
                continue;
            }
            let workload = workloads
                .entry(pool)
                .or_insert_with(|| self.workload(pool, snapshot));
            workload.executors.push((*executor).clone());
            homes.insert(&executor.id, pool);
        }
        mark_busy(snapshot, &homes, &mut workloads);
        workloads.into_values().collect()
    }

    /// The workload of a pool of which nothing was counted yet.
    fn workload(&self, pool: &PoolName, snapshot: &Snapshot) -> Workload {
        Workload {
            version: Workload::VERSION,
            pool: pool.clone(),
            emitter: self.emitter.clone(),
            config: self.config.clone(),
            demand: Demand::default(),
            executors: Vec::new(),
            completeness: snapshot.completeness.clone(),
        }
    }

    /// Says of each job of a look where it counts, each job once.
    pub fn place(&self, snapshot: &Snapshot, say: impl FnMut(&Job, &JobClass, Place<'_>)) {
        self.place_each(snapshot, &self.homes(snapshot), say);
    }

    pub(crate) fn place_each<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        homes: &BTreeMap<&'a ExecutorId, &'a PoolName>,
        mut say: impl FnMut(&'a Job, &JobClass, Place<'_>),
    ) {
        let held = held(snapshot);
        let mut verdicts: HashMap<&Requirement, Verdict<'_>> = HashMap::new();
        let mut seen = HashSet::new();
        for job in snapshot.jobs.iter().filter(|job| seen.insert(&job.id)) {
            // it was handed out while we looked: counted as queued too, a burst would be served twice
            let class = match (&job.class, held.get(&job.id)) {
                (JobClass::Runnable, Some(executor)) => Cow::Owned(JobClass::Running {
                    executor: Some((*executor).clone()),
                }),
                (class, _) => Cow::Borrowed(class),
            };
            let home = match &*class {
                JobClass::Running {
                    executor: Some(executor),
                } => homes.get(executor),
                _ => None,
            };
            let place = match home {
                Some(pool) => Place::Held(pool),
                // most jobs ask for the same few things
                None => match verdicts
                    .entry(&job.requirement)
                    .or_insert_with(|| self.judge(job))
                {
                    Verdict::Takes(pool) => Place::First(pool),
                    Verdict::Nobody(nearest) => Place::Nowhere(
                        nearest
                            .as_ref()
                            .map(|(pool, missing)| Nearest { pool, missing }),
                    ),
                },
            };
            say(job, &class, place);
        }
    }

    /// The pool of every executor: ours by the pool in its name, others the first pool they would serve.
    pub fn homes<'a>(&'a self, snapshot: &'a Snapshot) -> BTreeMap<&'a ExecutorId, &'a PoolName> {
        let home = |executor: &Executor| {
            if self.is_ours(executor) {
                let name = NameParts::of(&executor.name)?;
                self.by_name.get(name.pool).map(|place| &self.pools[*place])
            } else {
                let mut pools = self.pools.iter();
                pools.find(|pool| pool.matcher.is_served_by(executor))
            }
        };
        let executors = snapshot.executors.iter();
        let homes = executors.filter_map(|executor| Some((&executor.id, &home(executor)?.name)));
        homes.collect()
    }

    /// The pools, by rank.
    pub(crate) fn names(&self) -> impl Iterator<Item = &PoolName> {
        self.pools.iter().map(|pool| &pool.name)
    }

    pub(crate) fn is_ours(&self, executor: &Executor) -> bool {
        executor.fleet.as_ref() == Some(&self.fleet)
    }

    /// The first pool that takes a job; else the one that comes nearest.
    fn judge(&self, job: &Job) -> Verdict<'_> {
        let mut nearest: Option<(&PoolName, Vec<String>)> = None;
        for pool in &self.pools {
            match pool.fit(job) {
                Fit::Yes => return Verdict::Takes(&pool.name),
                Fit::No { missing } => {
                    let fewest = nearest.as_ref().map(|(_, fewest)| fewest.len());
                    if fewest.is_none_or(|fewest| missing.len() < fewest) {
                        nearest = Some((&pool.name, missing));
                    }
                }
            }
        }
        Verdict::Nobody(nearest)
    }
}

impl Mapped {
    fn miss(&mut self, job: &Job, nearest: Option<Nearest<'_>>) {
        self.unmatched_total += 1;
        if self.unmatched.len() < MAX_UNMATCHED {
            let missing = nearest.map_or(Vec::new(), |nearest| nearest.missing.to_vec());
            let nearest = nearest.map(|nearest| nearest.pool.clone());
            let job = format!("{} {} #{}", job.project, job.name, job.id);
            self.unmatched.push(Unmatched {
                job,
                nearest,
                missing,
            });
        }
    }
}

/// Which executor names which job as its own. Executors are read after the jobs, so this is the newer word.
pub(crate) fn held(snapshot: &Snapshot) -> BTreeMap<&JobId, &ExecutorId> {
    let mut held = BTreeMap::new();
    for executor in &snapshot.executors {
        if let ExecutorState::Busy { jobs } = &executor.state {
            held.extend(jobs.iter().map(|job| (job, &executor.id)));
        }
    }
    held
}

fn count(demand: &mut Demand, job: &Job, class: &JobClass, now: Timestamp) {
    match class {
        JobClass::Runnable => {
            demand.runnable += 1;
            let wait = job.queued_at.map(|at| age(at, now));
            demand.oldest_wait = demand.oldest_wait.max(wait);
        }
        JobClass::Running { .. } => demand.running += 1,
        JobClass::Scheduled { .. } => demand.scheduled += 1,
        JobClass::Blocked { .. } => demand.blocked += 1,
        JobClass::Unrunnable { .. } => demand.unrunnable += 1,
    }
}

/// A running job makes its executor busy, whatever the executor list said a moment later: the two were not read at the
/// same time, and unknown is busy.
fn mark_busy(
    snapshot: &Snapshot,
    homes: &BTreeMap<&ExecutorId, &PoolName>,
    workloads: &mut BTreeMap<&PoolName, Workload>,
) {
    for job in &snapshot.jobs {
        let JobClass::Running { executor: Some(id) } = &job.class else {
            continue;
        };
        let workload = homes.get(id).and_then(|pool| workloads.get_mut(*pool));
        let Some(workload) = workload else { continue };
        for executor in workload
            .executors
            .iter_mut()
            .filter(|executor| executor.id == *id)
        {
            match &mut executor.state {
                ExecutorState::Busy { jobs } if jobs.contains(&job.id) => {}
                ExecutorState::Busy { jobs } => jobs.push(job.id.clone()),
                other => {
                    *other = ExecutorState::Busy {
                        jobs: vec![job.id.clone()],
                    }
                }
            }
        }
    }
}

/// Longest wait in whole seconds, for logs.
pub(crate) fn oldest_wait(mapped: &Mapped) -> Duration {
    let waits = mapped
        .workloads
        .iter()
        .filter_map(|workload| workload.demand.oldest_wait);
    waits.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use emitter_fake::Serves;
    use model::{Completeness, Cordon, Requirement, SnapshotCost};
    use ports::EmitterPlugin;

    use super::*;

    fn rule(name: &str, precedence: i32, tags: &[&str]) -> PoolRule {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let matcher: Box<dyn Matcher> = emitter_fake::FakeEmitter::matcher(vec![Serves { tags }]);
        PoolRule {
            name: name.parse().unwrap(),
            precedence,
            job: JobRange::default(),
            matcher,
        }
    }

    fn mapper(pools: Vec<PoolRule>) -> Mapper {
        let config = ConfigHash::new("c");
        Mapper::new(
            "ci".parse().unwrap(),
            "acme".parse().unwrap(),
            config,
            pools,
        )
    }

    fn job(id: u32, tags: &[&str], class: JobClass) -> Job {
        let labels = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Job {
            id: JobId::new(id.to_string()),
            name: "build".into(),
            project: "acme/app".into(),
            requirement: Requirement {
                labels,
                ..Requirement::default()
            },
            queued_at: Some(Timestamp::UNIX_EPOCH),
            started_at: None,
            expected: None,
            class,
        }
    }

    fn executor(name: &str, fleet: Option<&str>, labels: &[&str]) -> Executor {
        Executor {
            id: ExecutorId::new(name),
            name: name.into(),
            fleet: fleet.map(|fleet| fleet.parse().unwrap()),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            run_untagged: false,
            protected_only: false,
            health: None,
            slots: 1,
            state: ExecutorState::Idle { since: None },
            cordon: Cordon::None,
        }
    }

    fn look(jobs: Vec<Job>, executors: Vec<Executor>) -> Snapshot {
        let cost = SnapshotCost::default();
        let completeness = Completeness::Complete;
        Snapshot {
            jobs,
            executors,
            taken_at: Timestamp::UNIX_EPOCH,
            completeness,
            cost,
        }
    }

    fn demands(mapped: &Mapped) -> Vec<(String, u32, u32)> {
        let row = |w: &Workload| (w.pool.to_string(), w.demand.runnable, w.demand.running);
        mapped.workloads.iter().map(row).collect()
    }

    #[test]
    fn a_job_that_fits_two_pools_is_counted_once_by_precedence_then_name() {
        let pools = || {
            vec![
                rule("big", 0, &["linux", "docker"]),
                rule("any", 0, &["linux"]),
            ]
        };
        let jobs = vec![job(1, &["linux"], JobClass::Runnable)];
        let mapped = mapper(pools()).map(
            &look(jobs.clone(), vec![]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            demands(&mapped),
            [("any".into(), 1, 0), ("big".into(), 0, 0)]
        );
        let mut pools = pools();
        pools[0].precedence = 1;
        let mapped = mapper(pools).map(
            &look(jobs, vec![]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            demands(&mapped),
            [("any".into(), 0, 0), ("big".into(), 1, 0)]
        );
    }

    /// A job that states what it needs goes to the pool that takes as much, and the losers can be named.
    #[test]
    fn a_stated_need_chooses_the_pool_and_the_losers_say_why() {
        let pools = || {
            let mut small = rule("small", 5, &["linux"]);
            small.job.cpu_milli = Some((0, 2000));
            let mut large = rule("large", 0, &["linux"]);
            large.job.cpu_milli = Some((2001, 16_000));
            vec![small, large, rule("mac", 0, &["macos"])]
        };
        let mut jobs = vec![
            job(1, &["linux"], JobClass::Runnable),
            job(2, &["linux"], JobClass::Runnable),
            job(3, &["linux"], JobClass::Runnable),
        ];
        jobs[0].requirement.cpu_milli = Some(8000);
        jobs[1].requirement.cpu_milli = Some(32_000);
        let mapper = mapper(pools());
        let candidates = mapper.candidates(&jobs[0]);
        let words: Vec<String> = candidates.iter().map(|c| format!("{c:?}")).collect();
        let chosen: Vec<&str> = candidates
            .iter()
            .filter(|c| c.chosen)
            .map(|c| c.pool.as_str())
            .collect();
        assert_eq!(chosen, ["large"]);
        assert!(
            words[0].contains("it asks for 8 processors, the pool takes 0 to 2"),
            "{words:?}"
        );
        let look = look(jobs, vec![]);
        let mapped = mapper.map(&look, &Durations::default(), Timestamp::UNIX_EPOCH);
        // the third states nothing, so that precedence alone decides
        assert_eq!(
            demands(&mapped),
            [
                ("large".into(), 1, 0),
                ("mac".into(), 0, 0),
                ("small".into(), 1, 0)
            ]
        );
        assert_eq!(mapped.unmatched[0].job, "acme/app build #2");
        assert_eq!(
            mapped.unmatched[0].missing,
            ["it asks for 32 processors, the pool takes 0 to 2"]
        );
    }

    /// The forecast goes to the pool of the job that waits, not to the one of its parent.
    #[test]
    fn a_job_ahead_is_counted_in_its_own_pool() {
        let mut parent = job(1, &["linux"], JobClass::Running { executor: None });
        parent.started_at = Some(Timestamp::UNIX_EPOCH);
        parent.expected = Some(Duration::from_secs(40));
        let by = "job 1".into();
        let parents = vec![JobId::new("1")];
        let jobs = vec![
            parent,
            job(2, &["macos"], JobClass::Blocked { by, parents }),
        ];
        let pools = vec![rule("linux", 0, &["linux"]), rule("mac", 0, &["macos"])];
        let mapped = mapper(pools).map(
            &look(jobs, vec![]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        let soon: Vec<usize> = mapped
            .workloads
            .iter()
            .map(|w| w.demand.soon.len())
            .collect();
        assert_eq!(soon, [0, 1]);
        assert_eq!(
            mapped.workloads[1].demand.soon[0].ready_in,
            Duration::from_secs(40)
        );
    }

    #[test]
    fn a_job_without_a_pool_is_reported_with_the_nearest_pool_and_what_it_lacks() {
        let pools = vec![
            rule("linux", 0, &["linux"]),
            rule("mac", 0, &["macos", "gpu"]),
        ];
        let jobs = vec![job(7, &["macos", "gpu", "xcode"], JobClass::Runnable)];
        let mapped = mapper(pools).map(
            &look(jobs, vec![]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(mapped.unmatched_total, 1);
        let unmatched = &mapped.unmatched[0];
        assert_eq!(unmatched.job, "acme/app build #7");
        assert_eq!(unmatched.nearest.as_ref().unwrap().as_str(), "mac");
        assert_eq!(unmatched.missing, ["tag `xcode`"]);
    }

    #[test]
    fn only_runnable_and_running_jobs_are_demand_and_a_repeated_id_counts_once() {
        let blocked = JobClass::Blocked {
            by: "stage build".into(),
            parents: Vec::new(),
        };
        let jobs = vec![
            job(1, &["linux"], JobClass::Runnable),
            job(1, &["linux"], JobClass::Runnable),
            job(2, &["linux"], blocked),
            job(3, &["linux"], JobClass::Running { executor: None }),
        ];
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(90);
        let mapped = mapper(vec![rule("linux", 0, &["linux"])]).map(
            &look(jobs, vec![]),
            &Durations::default(),
            later,
        );
        let demand = &mapped.workloads[0].demand;
        assert_eq!((demand.runnable, demand.running, demand.blocked), (1, 1, 1));
        assert_eq!(demand.oldest_wait, Some(Duration::from_secs(90)));
    }

    #[test]
    fn a_running_job_makes_its_executor_busy_though_the_list_said_idle() {
        let ours = executor("linux-7-1-0", Some("acme"), &["linux"]);
        let running = JobClass::Running {
            executor: Some(ours.id.clone()),
        };
        let jobs = vec![job(1, &["other"], running)];
        let mapped = mapper(vec![rule("linux", 0, &["linux"])]).map(
            &look(jobs, vec![ours]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        let workload = &mapped.workloads[0];
        assert_eq!(
            workload.demand.running, 1,
            "it runs here, whatever its tags say"
        );
        assert!(
            matches!(&workload.executors[0].state, ExecutorState::Busy { jobs } if jobs.len() == 1)
        );
    }

    #[test]
    fn a_job_handed_out_while_we_looked_is_counted_once() {
        let mut ours = executor("linux-7-1-0", Some("acme"), &["linux"]);
        ours.state = ExecutorState::Busy {
            jobs: vec![JobId::new("1")],
        };
        let jobs = vec![
            job(1, &["linux"], JobClass::Runnable),
            job(2, &["linux"], JobClass::Runnable),
        ];
        let mapped = mapper(vec![rule("linux", 0, &["linux"])]).map(
            &look(jobs, vec![ours]),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(demands(&mapped), [("linux".into(), 1, 1)]);
    }

    #[test]
    fn executors_of_another_fleet_are_capacity_only_where_they_serve() {
        let executors = vec![
            executor("linux-9-1-0", Some("other"), &["linux"]),
            executor("mac-mini", None, &["macos"]),
        ];
        let mapped = mapper(vec![rule("linux", 0, &["linux"])]).map(
            &look(vec![], executors),
            &Durations::default(),
            Timestamp::UNIX_EPOCH,
        );
        let names: Vec<_> = mapped.workloads[0]
            .executors
            .iter()
            .map(|e| &e.name)
            .collect();
        assert_eq!(names, ["linux-9-1-0"]);
    }

    /// Somebody must know what runs on the machines of a pool that was removed.
    #[test]
    fn executors_of_pools_that_are_not_configured_are_told_of_without_demand() {
        let mapper = mapper(vec![rule("linux", 0, &["linux"])]);
        let gone = executor("mac-7-1-0", Some("acme"), &["mac"]);
        let running = JobClass::Running {
            executor: Some(gone.id.clone()),
        };
        let executors = vec![
            gone,
            executor("mac-7-2-0", Some("acme"), &["mac"]),
            executor("mac-7-3-0", Some("other"), &["mac"]),
            executor("no name of ours", Some("acme"), &["mac"]),
        ];
        let look = look(vec![job(1, &["linux"], running)], executors);
        let mapped = mapper.map(&look, &Durations::default(), Timestamp::UNIX_EPOCH);
        let pools: Vec<&str> = mapped.workloads.iter().map(|w| w.pool.as_str()).collect();
        assert_eq!(pools, ["linux", "mac"]);
        let mac = &mapped.workloads[1];
        assert_eq!(mac.demand, Demand::default());
        let busy = |e: &Executor| matches!(e.state, ExecutorState::Busy { .. });
        let seen: Vec<(&str, bool)> = mac
            .executors
            .iter()
            .map(|e| (e.name.as_str(), busy(e)))
            .collect();
        assert_eq!(seen, [("mac-7-1-0", true), ("mac-7-2-0", false)]);
        assert_eq!(mapped.left_over, ["mac".parse().unwrap()].into());
    }

    /// A name is anybody's to choose.
    #[test]
    fn pools_that_are_not_configured_are_told_of_up_to_a_bound_and_by_the_same_workloads() {
        let mapper = mapper(vec![rule("linux", 0, &["linux"])]);
        let named = (0..MOST_LEFT_OVER + 50).map(|n| format!("p{n}-7-1-0"));
        let executors = named.map(|name| executor(&name, Some("acme"), &["mac"]));
        let look = look(vec![], executors.collect());
        let mapped = mapper.map(&look, &Durations::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(mapped.left_over.len(), MOST_LEFT_OVER);
        let pools = mapped.workloads.iter().skip(1).map(|it| it.pool.clone());
        assert_eq!(pools.collect::<BTreeSet<_>>(), mapped.left_over);
    }
}
