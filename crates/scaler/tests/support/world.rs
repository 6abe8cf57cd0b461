//! The world outside: CI servers, clouds, and the machines between them. It plays the machines, and judges by the
//! truth, never by what Parmanu believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use emitter_fake::{FakeCi, JobEnd};
use model::{
    BatchId, Cordon, CreateBatch, EmitterName, Epoch, Executor, ExecutorState, FleetId,
    InstallationId, InstanceName, InstanceState, OfferId, PoolName, ProviderName, UserData,
};
use ports::{Call, Clock, Provider};
use provider_fake::FakeCloud;

use super::clock::{SimClock, shared};

/// How often the world moves.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// After a CI server fell silent or blind, a scaler may still act on the look before for so long: one probe, its
/// write, and what was in flight.
const MAY_STILL_ACT: Duration = Duration::from_secs(12);

/// What the judge knows of one pool.
pub(crate) struct Limits {
    pub(crate) emitter: EmitterName,
    pub(crate) provider: ProviderName,
    pub(crate) max: usize,
    /// Its agents register themselves.
    pub(crate) enrols: bool,
}

pub(crate) struct World {
    clock: Arc<SimClock>,
    pub(crate) cis: BTreeMap<EmitterName, FakeCi>,
    pub(crate) clouds: BTreeMap<ProviderName, FakeCloud>,
    pub(crate) pools: BTreeMap<PoolName, Limits>,
    pub(crate) rng: fastrand::Rng,
    /// Time from a running machine to its executor online.
    pub(crate) join: Duration,
    /// How long a CI server may take to hand out what it promised; shorter than the settle time.
    pub(crate) promise: Duration,
    /// The test hands jobs out itself.
    pub(crate) by_hand: bool,
    /// What was made and deleted at each cloud when it was judged last.
    calls: Vec<(u64, usize)>,
    moves_at: Duration,
    lengths: BTreeMap<(EmitterName, u64), Duration>,
    up_since: BTreeMap<InstanceName, Duration>,
    joined: BTreeSet<InstanceName>,
    /// Machines that never join, as with a broken image.
    pub(crate) broken: BTreeSet<InstanceName>,
    /// When each CI server answers the requests that are open.
    answers_at: BTreeMap<EmitterName, Duration>,
    judged: BTreeMap<ProviderName, usize>,
    doubtful_since: BTreeMap<EmitterName, Duration>,
    /// Machines above max that a take-over may cause: the calls in flight then.
    pub(crate) above_max: usize,
    pub(crate) most: BTreeMap<PoolName, usize>,
    pub(crate) wrong: Vec<String>,
}

impl World {
    pub(crate) fn new(clock: Arc<SimClock>, seed: u64) -> Self {
        World {
            clock,
            cis: BTreeMap::new(),
            clouds: BTreeMap::new(),
            pools: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(seed),
            join: Duration::from_secs(1),
            promise: Duration::from_millis(1400),
            by_hand: false,
            calls: Vec::new(),
            moves_at: Duration::ZERO,
            lengths: BTreeMap::new(),
            up_since: BTreeMap::new(),
            joined: BTreeSet::new(),
            broken: BTreeSet::new(),
            answers_at: BTreeMap::new(),
            judged: BTreeMap::new(),
            doubtful_since: BTreeMap::new(),
            above_max: 0,
            most: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, emitter: &str, tag: &str, length: Duration) -> u64 {
        let emitter: EmitterName = emitter.parse().expect("the name of an emitter");
        let id = self.cis[&emitter].push(&[tag]);
        self.lengths.insert((emitter, id), length);
        id
    }

    /// How long a job takes that the CI server will make by itself.
    pub(crate) fn lasts(&mut self, emitter: &str, id: u64, length: Duration) {
        let emitter = emitter.parse().expect("the name of an emitter");
        self.lengths.insert((emitter, id), length);
    }

    /// The CI server fails, or cannot see, from now on; or is well again.
    pub(crate) fn trouble(&mut self, emitter: &str, fails: Option<&str>, blind: Option<&str>) {
        let name: EmitterName = emitter.parse().expect("the name of an emitter");
        let ci = &self.cis[&name];
        ci.fail(fails);
        ci.blind(blind);
        if fails.is_some() || blind.is_some() {
            let now = self.clock.boottime();
            self.doubtful_since.entry(name).or_insert(now);
        } else {
            self.doubtful_since.remove(&name);
        }
    }

    /// Machines of a pool that exist now.
    pub(crate) fn alive(&self, pool: &str) -> Vec<InstanceName> {
        let machines = self.clouds.values().flat_map(FakeCloud::machines);
        let ours = machines.filter(|m| m.fleet.as_str() == "acme");
        let names = ours.map(|m| m.instance.name);
        names.filter(|n| n.pool().as_str() == pool).collect()
    }

    pub(crate) fn all_alive(&self) -> usize {
        self.pools
            .keys()
            .map(|pool| self.alive(pool.as_str()).len())
            .sum()
    }

    /// Machines of ours that were ever made.
    pub(crate) fn ever(&self) -> usize {
        let all = self.clouds.values().flat_map(FakeCloud::ever);
        all.filter(|(name, _)| name.batch.epoch != Epoch(7)).count()
    }

    pub(crate) fn executors(&self) -> Vec<Executor> {
        let all = self.cis.values().flat_map(FakeCi::executors);
        all.filter(|executor| executor.fleet.is_some()).collect()
    }

    pub(crate) fn ended(&self, how: JobEnd) -> usize {
        let jobs = self.cis.values().flat_map(|ci| ci.jobs().into_values());
        jobs.filter(|job| job.end == Some(how)).count()
    }

    /// The time that all open jobs take one after the other.
    pub(crate) fn work_left(&self) -> Duration {
        let mut left = Duration::ZERO;
        for (emitter, ci) in &self.cis {
            for (id, _) in ci.jobs().iter().filter(|(_, job)| job.end.is_none()) {
                left += self.lengths[&(emitter.clone(), *id)];
            }
        }
        left
    }

    pub(crate) fn running(&self) -> usize {
        let jobs = self.cis.values().flat_map(|ci| ci.jobs().into_values());
        jobs.filter(|job| job.started_at.is_some() && job.end.is_none())
            .count()
    }

    pub(crate) fn open_jobs(&self) -> usize {
        let jobs = self.cis.values().flat_map(|ci| ci.jobs().into_values());
        jobs.filter(|job| job.end.is_none()).count()
    }

    pub(crate) fn cordoned(&self) -> Vec<Executor> {
        let all = self.executors().into_iter();
        all.filter(|executor| matches!(executor.cordon, Cordon::Ours { .. }))
            .collect()
    }

    /// The cloud takes a machine away.
    pub(crate) fn kill(&mut self, name: &InstanceName) {
        for cloud in self.clouds.values() {
            cloud.kill(name);
        }
    }

    /// Nothing is left but the machines of each pool's minimum, and their executors.
    pub(crate) fn settled(&self, min: usize) -> bool {
        let names: BTreeSet<String> = self
            .pools
            .keys()
            .flat_map(|pool| self.alive(pool.as_str()))
            .map(|name| name.to_string())
            .collect();
        let executors: BTreeSet<String> = self.executors().into_iter().map(|e| e.name).collect();
        self.open_jobs() == 0 && names.len() == min && executors == names
    }

    /// Moves what is due and judges what there is. Nothing else runs meanwhile.
    pub(crate) fn beat(&mut self) {
        let calls: Vec<(u64, usize)> = self
            .clouds
            .values()
            .map(|cloud| (cloud.made(), cloud.deletions().len()))
            .collect();
        if self.calls != calls {
            self.judge_deletions();
            self.judge_numbers();
            self.calls = calls;
        }
        let now = self.clock.boottime();
        if now < self.moves_at {
            return;
        }
        self.moves_at = now + BEAT;
        self.judge_strangers();
        self.machines_come_and_go();
        self.jobs_end();
        if !self.by_hand {
            self.jobs_start();
        }
    }

    fn wrong(&mut self, what: String) {
        let at = self.clock.boottime();
        self.wrong.push(format!("at {at:?}: {what}"));
    }

    /// I1 and I6, at the very moment of the deletion.
    fn judge_deletions(&mut self) {
        let mut found = Vec::new();
        for (provider, cloud) in &self.clouds {
            let deletions = cloud.deletions();
            let judged = self.judged.entry(provider.clone()).or_default();
            for name in &deletions[*judged..] {
                found.push(name.clone());
            }
            *judged = deletions.len();
        }
        for name in found {
            let emitter = self.pools[name.pool()].emitter.clone();
            let text = name.to_string();
            let mut executors = self.executors().into_iter();
            let executor = executors.find(|executor| executor.name == text);
            if let Some(executor) = executor {
                if matches!(executor.state, ExecutorState::Busy { .. }) {
                    self.wrong(format!("I1: {name} is deleted with a job on it"));
                }
                if executor.cordon == Cordon::Foreign {
                    self.wrong(format!(
                        "I14: {name} is deleted, though an operator keeps it"
                    ));
                }
            }
            let since = self.doubtful_since.get(&emitter);
            if since.is_some_and(|at| self.clock.boottime() > *at + MAY_STILL_ACT) {
                self.wrong(format!("I6: {name} is deleted while {emitter} is in doubt"));
            }
        }
    }

    /// I2.
    fn judge_numbers(&mut self) {
        let counts: Vec<(PoolName, usize, usize)> = self
            .pools
            .iter()
            .map(|(pool, limits)| (pool.clone(), self.alive(pool.as_str()).len(), limits.max))
            .collect();
        for (pool, count, max) in counts {
            let most = self.most.entry(pool.clone()).or_default();
            *most = (*most).max(count);
            if count > max + self.above_max {
                self.wrong(format!(
                    "I2: {count} machines in {pool} with a max of {max}"
                ));
            }
        }
    }

    /// I14.
    fn judge_strangers(&mut self) {
        let touched: Vec<String> = self
            .clouds
            .values()
            .flat_map(FakeCloud::deletions)
            .filter(|name| name.batch.epoch == Epoch(7))
            .map(|name| name.to_string())
            .collect();
        let cordoned = self.cis.values().flat_map(FakeCi::executors);
        let cordoned = cordoned.filter(|e| e.fleet.is_none() && e.cordon != Cordon::None);
        let touched: Vec<String> = touched
            .into_iter()
            .chain(cordoned.map(|e| e.name))
            .collect();
        if !touched.is_empty() {
            self.wrong(format!("I14: {touched:?} is not ours"));
        }
    }

    fn machines_come_and_go(&mut self) {
        let now = self.clock.boottime();
        let mut there = BTreeSet::new();
        for machine in self.clouds.values().flat_map(FakeCloud::machines) {
            if machine.fleet.as_str() != "acme" {
                continue;
            }
            let name = machine.instance.name;
            there.insert(name.clone());
            if machine.instance.state != InstanceState::Running {
                continue;
            }
            let since = *self.up_since.entry(name.clone()).or_insert(now);
            let due = now.saturating_sub(since) >= self.join && !self.broken.contains(&name);
            if due && self.joined.insert(name.clone()) {
                self.ci_of(&name).join(&name);
                if self.pools[name.pool()].enrols {
                    self.ci_of(&name).enrol(&name);
                }
            }
            if machine.asked && self.ci_of(&name).end_agent(&name) {
                self.clouds[&self.pools[name.pool()].provider].power_off(&name);
            }
        }
        let gone: Vec<InstanceName> = self.up_since.keys().cloned().collect();
        for name in gone.into_iter().filter(|name| !there.contains(name)) {
            self.up_since.remove(&name);
            self.joined.remove(&name);
            self.ci_of(&name).vanish(&name);
        }
    }

    fn ci_of(&self, name: &InstanceName) -> &FakeCi {
        &self.cis[&self.pools[name.pool()].emitter]
    }

    fn jobs_end(&mut self) {
        let now = self.clock.now();
        for (emitter, ci) in &self.cis {
            for (id, job) in ci.jobs() {
                let Some(started) = job.started_at.filter(|_| job.end.is_none()) else {
                    continue;
                };
                let length = self.lengths.get(&(emitter.clone(), id));
                if model::age(started, now) >= length.copied().unwrap_or_default() {
                    ci.finish(id);
                }
            }
        }
    }

    /// Agents ask for work all the time, and are answered a little later, whatever happened to them meanwhile.
    fn jobs_start(&mut self) {
        let now = self.clock.boottime();
        for (emitter, ci) in &self.cis {
            let at = self.answers_at.entry(emitter.clone()).or_insert(now);
            if *at > now {
                continue;
            }
            ci.hand_out();
            for executor in ci.executors() {
                if self.rng.bool() {
                    ci.request(&executor.id);
                }
            }
            let most = u64::try_from(self.promise.as_millis()).expect("a short time");
            *at = now + Duration::from_millis(self.rng.u64(0..=most));
        }
    }
}

/// A machine of another fleet and one executor that nobody of us made, in every cloud and CI server.
pub(crate) async fn strangers(clock: &Arc<SimClock>, clouds: &[FakeCloud], cis: &[FakeCi]) {
    for cloud in clouds {
        let batch = CreateBatch {
            fleet: "other".parse::<FleetId>().expect("a fleet"),
            installation: InstallationId::new("theirs"),
            batch: BatchId {
                pool: "linux".parse().expect("a pool"),
                epoch: Epoch(7),
                sequence: 0,
            },
            count: 1,
            offer: OfferId {
                machine: "m".parse().expect("a machine"),
                index: 0,
            },
            spec: serde_json::Value::Null,
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: None,
            user_data: UserData::default(),
        };
        let call = Call::within(shared(clock), Duration::from_secs(60));
        assert_eq!(cloud.create(&batch, &call).await.len(), 1);
    }
    for ci in cis {
        ci.add_static("stranger", &["somewhere-else"], 1);
    }
}
