//! The CI server itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{
    Completeness, Cordon, EmitterName, Epoch, Executor, ExecutorId, ExecutorState, FleetId,
    InstanceName, Job, JobClass, JobId, PoolName, Reading, Requirement, Snapshot, SnapshotCost,
    Work,
};
use ports::{
    Clock, Contact, Credential, Emitter, EmitterError, EmitterErrorKind, ExecutorControl, Found,
    Register, Registration,
};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It ran to its end.
    Done,
    /// Its machine went away under it: the one thing that must never be our doing.
    Killed,
}

/// One job of the fake CI server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeJob {
    /// Tags an executor must have.
    pub tags: Vec<String>,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// The executor that runs or ran it.
    pub executor: Option<ExecutorId>,
    /// How it ended, if it did.
    pub end: Option<JobEnd>,
}

#[derive(Debug, Clone)]
struct FakeExecutor {
    name: String,
    fleet: Option<FleetId>,
    tags: Vec<String>,
    slots: u32,
    joined: bool,
    online: bool,
    cordon: Cordon,
    /// A job request is on its way and will be answered whatever happens meanwhile.
    promised: bool,
    /// Its agent asks for no more jobs, and goes when it has none.
    ending: bool,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<u64, FakeJob>,
    executors: BTreeMap<ExecutorId, FakeExecutor>,
    next: u64,
    failing: Option<String>,
    blind: Option<String>,
    /// So many looks show nothing and say that this is all.
    empty_looks: u32,
    /// Why nobody may cordon, if so, and how often that was said.
    no_cordon: Option<String>,
    refused: u32,
    /// Executors that this token may not cordon, whatever it may else.
    not_ours_to_cordon: BTreeSet<ExecutorId>,
    /// What the next agent that is asked to go is given instead.
    stays_for: Option<Vec<String>>,
    /// Why whoever looks for an executor by name is not told, if so.
    untold: Option<String>,
    /// How long a request takes, there and back.
    latency: Duration,
}

/// An in-process CI server; clones share it.
#[derive(Clone)]
pub struct FakeCi {
    name: EmitterName,
    fleet: FleetId,
    clock: Arc<dyn Clock>,
    settle: Duration,
    /// Tags of each pool's executors.
    pools: Arc<BTreeMap<PoolName, Vec<String>>>,
    state: Arc<Mutex<State>>,
}

impl FakeCi {
    /// An empty CI server whose executors are registered with these tags per pool.
    pub fn new(
        name: EmitterName,
        fleet: FleetId,
        clock: Arc<dyn Clock>,
        settle: Duration,
        pools: BTreeMap<PoolName, Vec<String>>,
    ) -> Self {
        FakeCi {
            name,
            fleet,
            clock,
            settle,
            pools: Arc::new(pools),
            state: Arc::default(),
        }
    }

    /// Queues a job.
    pub fn push(&self, tags: &[&str]) -> u64 {
        let queued_at = self.clock.now();
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let job = FakeJob {
            tags,
            queued_at,
            started_at: None,
            executor: None,
            end: None,
        };
        state.jobs.insert(id, job);
        id
    }

    /// Adds an executor that Parmanu did not register.
    pub fn add_static(&self, name: &str, tags: &[&str], slots: u32) {
        let executor = FakeExecutor {
            name: name.to_owned(),
            fleet: None,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            slots,
            joined: true,
            online: true,
            cordon: Cordon::None,
            promised: false,
            ending: false,
        };
        self.lock()
            .executors
            .insert(ExecutorId::new(name), executor);
    }

    /// The machine of this name is up: its executor is online.
    pub fn join(&self, name: &InstanceName) {
        let name = name.to_string();
        for executor in self
            .lock()
            .executors
            .values_mut()
            .filter(|e| e.name == name)
        {
            (executor.joined, executor.online) = (true, true);
        }
    }

    /// The machine of this name is up, and its agent registers itself, as with a credential that serves all machines of a
    /// pool.
    pub fn enrol(&self, name: &InstanceName) {
        let Some(tags) = self.pools.get(name.pool()) else {
            return;
        };
        let (id, name) = (ExecutorId::new(name.to_string()), name.to_string());
        let executor = FakeExecutor {
            name,
            fleet: Some(self.fleet.clone()),
            tags: tags.clone(),
            slots: 1,
            joined: true,
            online: true,
            cordon: Cordon::None,
            promised: false,
            ending: false,
        };
        self.lock().executors.insert(id, executor);
    }

    /// The agent of this machine was asked by its guest to end after its build: it asks for no more jobs, and goes when it
    /// has none. True when it is gone.
    pub fn end_agent(&self, name: &InstanceName) -> bool {
        let name = name.to_string();
        let mut state = self.lock();
        let State {
            jobs, executors, ..
        } = &mut *state;
        executors.retain(|id, executor| {
            executor.ending |= executor.name == name;
            let holds = jobs.values().any(|job| job.holds(id));
            !executor.ending || executor.promised || holds
        });
        !executors.values().any(|executor| executor.name == name)
    }

    /// The machine of this name is gone: whatever ran on it is killed.
    pub fn vanish(&self, name: &InstanceName) {
        let name = name.to_string();
        let mut state = self.lock();
        let ids: Vec<ExecutorId> = state
            .executors
            .iter()
            .filter(|(_, e)| e.name == name)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            if let Some(executor) = state.executors.get_mut(&id) {
                executor.online = false;
            }
            for job in state.jobs.values_mut() {
                if job.executor.as_ref() == Some(&id) && job.end.is_none() {
                    job.end = Some(JobEnd::Killed);
                }
            }
        }
    }

    /// An executor's agent asks for a job: the answer comes at the next [`FakeCi::hand_out`], whatever happens between.
    pub fn request(&self, executor: &ExecutorId) {
        if let Some(executor) = self.lock().executors.get_mut(executor) {
            // asking again after the cordon does not take back what was promised before it
            let asks = executor.online && !executor.ending;
            executor.promised |= asks && executor.cordon == Cordon::None;
        }
    }

    /// Hands queued jobs, the oldest first, to executors that may take them.
    pub fn hand_out(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let State {
            jobs, executors, ..
        } = &mut *state;
        for (id, executor) in executors.iter_mut() {
            let takes = executor.cordon == Cordon::None && !executor.ending;
            let open = executor.online && (takes || executor.promised);
            let mut held = jobs.values().filter(|job| job.holds(id)).count();
            while open && held < executor.slots as usize {
                let next = jobs
                    .values_mut()
                    .find(|job| job.waits() && job.tags.iter().all(|t| executor.tags.contains(t)));
                let Some(job) = next else { break };
                (job.started_at, job.executor) = (Some(now), Some(id.clone()));
                held += 1;
            }
            executor.promised = false;
        }
    }

    /// Gives a waiting job to an executor that has not begun with it.
    pub fn assign(&self, id: u64, executor: &ExecutorId) {
        if let Some(job) = self.lock().jobs.get_mut(&id).filter(|job| job.waits()) {
            job.executor = Some(executor.clone());
        }
    }

    /// The job runs on this executor from now on, whatever the tags say.
    pub fn start(&self, id: u64, executor: &ExecutorId) {
        let now = self.clock.now();
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            (job.started_at, job.executor) = (Some(now), Some(executor.clone()));
        }
    }

    /// A job runs to its end.
    pub fn finish(&self, id: u64) {
        if let Some(job) = self
            .lock()
            .jobs
            .get_mut(&id)
            .filter(|job| job.started_at.is_some())
        {
            job.end.get_or_insert(JobEnd::Done);
        }
    }

    /// All jobs, with how they ended.
    pub fn jobs(&self) -> BTreeMap<u64, FakeJob> {
        self.lock().jobs.clone()
    }

    /// Names of the registered executors.
    pub fn executor_names(&self) -> Vec<String> {
        self.lock()
            .executors
            .values()
            .map(|executor| executor.name.clone())
            .collect()
    }

    /// Somebody else pauses an executor, or lets it go on.
    pub fn pause(&self, name: &str, paused: bool) {
        for executor in self
            .lock()
            .executors
            .values_mut()
            .filter(|e| e.name == name)
        {
            executor.cordon = if paused {
                Cordon::Foreign
            } else {
                Cordon::None
            };
        }
    }

    /// Every request fails with these words, until `None`.
    pub fn fail(&self, why: Option<&str>) {
        self.lock().failing = why.map(str::to_owned);
    }

    /// Every look is partial for this reason and shows no jobs, until `None`: what a token without rights sees.
    pub fn blind(&self, why: Option<&str>) {
        self.lock().blind = why.map(str::to_owned);
    }

    /// The next looks are whole, and show neither jobs nor executors: what a CI server tells that has not read its own state yet.
    pub fn show_nothing(&self, looks: u32) {
        self.lock().empty_looks = looks;
    }

    /// Every cordon is forbidden with these words, until `None`: what a token without the right gets.
    pub fn forbid_cordons(&self, why: Option<&str>) {
        self.lock().no_cordon = why.map(str::to_owned);
    }

    /// The cordon of this executor is forbidden, or allowed again: one that was locked, or moved to somebody else's project.
    pub fn forbid_cordon_of(&self, executor: &ExecutorId, forbidden: bool) {
        let mut state = self.lock();
        if forbidden {
            state.not_ours_to_cordon.insert(executor.clone());
        } else {
            state.not_ours_to_cordon.remove(executor);
        }
    }

    /// Whether a machine has an executor is not told to whoever asks for it by name, for this reason, until `None`: as where an
    /// executor may be that of several machines.
    pub fn hide_names(&self, why: Option<&str>) {
        self.lock().untold = why.map(str::to_owned);
    }

    /// How many cordons were forbidden.
    pub fn forbidden(&self) -> u32 {
        self.lock().refused
    }

    /// The next agent that is asked to go does not: somebody lifts its cordon, and a job with these tags begins on it.
    pub fn keep(&self, tags: &[&str]) {
        self.lock().stays_for = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
    }

    /// Every request takes so long from now on, half of it before it takes effect. A long time is a server that hangs.
    pub fn slow(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// All executors in their true state.
    pub fn executors(&self) -> Vec<Executor> {
        let state = self.lock();
        let executors = state.executors.iter();
        executors.map(|(id, e)| state.executor(id, e)).collect()
    }

    /// One way of a request, there or back.
    async fn travel(&self) {
        let half = self.lock().latency / 2;
        if !half.is_zero() {
            self.clock.sleep(half).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn up(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, EmitterError> {
        let state = self.lock();
        match &state.failing {
            Some(why) => Err(self.error(EmitterErrorKind::Unavailable, operation, why.clone())),
            None => Ok(state),
        }
    }

    fn error(
        &self,
        kind: EmitterErrorKind,
        operation: &'static str,
        message: String,
    ) -> EmitterError {
        EmitterError {
            kind,
            emitter: self.name.clone(),
            operation,
            message,
            source: None,
        }
    }

    fn missing(&self, operation: &'static str, executor: &ExecutorId) -> EmitterError {
        let message = format!("there is no executor {executor}");
        self.error(EmitterErrorKind::NotFound, operation, message)
    }
}

impl FakeJob {
    fn waits(&self) -> bool {
        self.executor.is_none() && self.end.is_none()
    }

    fn holds(&self, executor: &ExecutorId) -> bool {
        self.executor.as_ref() == Some(executor) && self.end.is_none()
    }

    /// The job as a look shows it.
    fn seen(&self, id: u64) -> Job {
        Job {
            id: JobId::new(id.to_string()),
            name: format!("job-{id}"),
            project: "fake/project".to_owned(),
            requirement: Requirement {
                labels: self.tags.clone(),
                ..Requirement::default()
            },
            queued_at: Some(self.queued_at),
            started_at: None,
            expected: None,
            class: match &self.executor {
                Some(executor) => JobClass::Running {
                    executor: Some(executor.clone()),
                },
                None => JobClass::Runnable,
            },
        }
    }
}

impl State {
    fn executor(&self, id: &ExecutorId, executor: &FakeExecutor) -> Executor {
        let held: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.holds(id))
            .map(|(id, _)| JobId::new(id.to_string()))
            .collect();
        Executor {
            id: id.clone(),
            name: executor.name.clone(),
            fleet: executor.fleet.clone(),
            labels: executor.tags.clone(),
            run_untagged: false,
            protected_only: false,
            health: None,
            slots: executor.slots,
            state: match (held.is_empty(), executor.joined, executor.online) {
                (false, _, _) => ExecutorState::Busy { jobs: held },
                (true, false, _) => ExecutorState::NeverJoined,
                (true, true, false) => ExecutorState::Offline { since: None },
                (true, true, true) => ExecutorState::Idle { since: None },
            },
            cordon: executor.cordon,
        }
    }
}

#[async_trait]
impl Emitter for FakeCi {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let taken_at = self.clock.now();
        self.travel().await;
        let (jobs, completeness) = self.jobs_now()?;
        // demand first, executors second: a job may move in between
        self.travel().await;
        let mut state = self.up("list executors")?;
        let is_shown = state.empty_looks == 0;
        state.empty_looks = state.empty_looks.saturating_sub(1);
        let executors = state.executors.iter().filter(|_| is_shown);
        Ok(Snapshot {
            jobs: if is_shown { jobs } else { Vec::new() },
            executors: executors.map(|(id, e)| state.executor(id, e)).collect(),
            taken_at,
            completeness,
            cost: SnapshotCost {
                requests: 2,
                bytes: 0,
            },
        })
    }
}

#[async_trait]
impl ExecutorControl for FakeCi {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.travel().await;
        let registration = self.register_now(request);
        self.travel().await;
        registration
    }

    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.travel().await;
        let cordoned = self.cordon_now(executor, epoch);
        self.travel().await;
        cordoned
    }

    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.travel().await;
        let lifted = self.uncordon_now(executor, epoch);
        self.travel().await;
        lifted
    }

    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        self.travel().await;
        let reading = self.read_now(executor);
        self.travel().await;
        reading
    }

    async fn dismiss(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.travel().await;
        let kept = self.lock().stays_for.take();
        let Some(tags) = kept else { return Ok(()) };
        if let Some(found) = self.lock().executors.get_mut(executor) {
            found.cordon = Cordon::None;
        }
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        self.start(self.push(&tags), executor);
        let message = format!("{executor} did not go");
        Err(self.error(EmitterErrorKind::TimedOut, "let an agent go", message))
    }

    async fn find(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError> {
        self.travel().await;
        let found = self.find_now(instance, known);
        self.travel().await;
        found
    }

    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.travel().await;
        let removed = self.remove_now(executor);
        self.travel().await;
        removed
    }
}

impl FakeCi {
    fn jobs_now(&self) -> Result<(Vec<Job>, Completeness), EmitterError> {
        let state = self.up("list jobs")?;
        if let Some(why) = &state.blind {
            let mut completeness = Completeness::Complete;
            completeness.doubt(why.clone());
            return Ok((Vec::new(), completeness));
        }
        let open = state.jobs.iter().filter(|(_, job)| job.end.is_none());
        let jobs = open.map(|(id, job)| job.seen(*id)).collect();
        Ok((jobs, Completeness::Complete))
    }

    fn register_now(&self, request: &Register) -> Result<Registration, EmitterError> {
        let mut state = self.up("register an executor")?;
        let name = request.instance.to_string();
        let tags = self
            .pools
            .get(request.instance.pool())
            .cloned()
            .unwrap_or_default();
        let id = ExecutorId::new(format!("exec-{name}"));
        state.executors.entry(id.clone()).or_insert(FakeExecutor {
            name,
            fleet: Some(self.fleet.clone()),
            tags,
            slots: 1,
            joined: false,
            online: false,
            cordon: Cordon::None,
            promised: false,
            ending: false,
        });
        let token = Credential::Secret(format!("token-of-{id}").into());
        Ok(Registration {
            executor: id,
            credentials: [("token".to_owned(), token)].into(),
        })
    }

    fn cordon_now(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        let operation = "cordon an executor";
        let mut state = self.up(operation)?;
        let locked = state.not_ours_to_cordon.contains(executor);
        let locked = locked.then(|| format!("{executor} is locked"));
        if let Some(why) = state.no_cordon.clone().or(locked) {
            state.refused += 1;
            return Err(self.error(EmitterErrorKind::Forbidden, operation, why));
        }
        let missing = self.missing(operation, executor);
        let found = state.executors.get_mut(executor).ok_or(missing)?;
        self.ours(found, operation, executor)?;
        match found.cordon {
            Cordon::Foreign => {
                let message = format!("{executor} is paused by somebody else");
                Err(self.error(EmitterErrorKind::Conflict, operation, message))
            }
            // the first mark stays: cordons are one-way across epochs
            Cordon::Ours { .. } => Ok(()),
            Cordon::None => {
                found.cordon = Cordon::Ours { epoch };
                Ok(())
            }
        }
    }

    fn uncordon_now(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        let operation = "uncordon an executor";
        let mut state = self.up(operation)?;
        let missing = self.missing(operation, executor);
        let found = state.executors.get_mut(executor).ok_or(missing)?;
        self.ours(found, operation, executor)?;
        match found.cordon {
            Cordon::Ours { epoch: mark } if mark != epoch => {
                let message = format!("{executor} was cordoned in epoch {mark}");
                Err(self.error(EmitterErrorKind::Conflict, operation, message))
            }
            Cordon::Foreign => {
                let message = format!("{executor} is paused by somebody else");
                Err(self.error(EmitterErrorKind::Conflict, operation, message))
            }
            Cordon::Ours { .. } | Cordon::None => {
                found.cordon = Cordon::None;
                Ok(())
            }
        }
    }

    fn find_now(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError> {
        let state = self.up("look for an executor")?;
        if let Some(why) = state.untold.clone() {
            return Ok(Found::Unknown { why });
        }
        let name = instance.to_string();
        let mut executors = state.executors.iter();
        let found = executors.find(|(id, executor)| known == Some(id) || executor.name == name);
        Ok(match found {
            None => Found::Absent,
            Some((id, executor)) => Found::There {
                executor: id.clone(),
                contact: match executor.online {
                    true => Contact::Live,
                    false => Contact::Away,
                },
            },
        })
    }

    fn remove_now(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        let operation = "remove an executor";
        let mut state = self.up(operation)?;
        if let Some(found) = state.executors.get(executor) {
            self.ours(found, operation, executor)?;
            if state.jobs.values().any(|job| job.holds(executor)) {
                let message = format!("{executor} holds a job, which is left to finish");
                return Err(self.error(EmitterErrorKind::Conflict, operation, message));
            }
            state.executors.remove(executor);
        }
        Ok(())
    }

    /// Refuses to touch an executor that does not carry the fleet's mark.
    fn ours(
        &self,
        found: &FakeExecutor,
        operation: &'static str,
        executor: &ExecutorId,
    ) -> Result<(), EmitterError> {
        if found.fleet.as_ref() == Some(&self.fleet) {
            return Ok(());
        }
        let message = format!("{executor} does not carry the mark of fleet {}", self.fleet);
        Err(self.error(EmitterErrorKind::Conflict, operation, message))
    }

    fn read_now(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        let state = self.up("read an executor")?;
        let Some(found) = state.executors.get(executor) else {
            let why = format!("there is no executor {executor}");
            return Ok(Reading {
                cordon: Cordon::None,
                work: Work::Unknown { why },
            });
        };
        let held = state
            .jobs
            .values()
            .filter(|job| job.holds(executor))
            .count();
        let work = match u32::try_from(held) {
            Ok(0) => Work::None,
            count => Work::Jobs {
                count: count.unwrap_or(u32::MAX),
            },
        };
        Ok(Reading {
            cordon: found.cordon,
            work,
        })
    }
}

impl FakeCi {
    /// The settle time it was made with.
    pub fn settle(&self) -> Duration {
        self.settle
    }
}
