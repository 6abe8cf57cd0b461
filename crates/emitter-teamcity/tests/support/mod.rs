//! The real plugin against a TeamCity on a loopback port, on a clock that a test moves.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use emitter_teamcity::TeamCity as Plugin;
use fake_teamcity::{Rights, Server, TeamCity};
use jiff::Timestamp;
use model::{Executor, Fit, InstanceName, Job, JobClass, Snapshot};
use ports::{
    Clock, Credential, Emitter, EmitterContext, EmitterPlugin as _, EmitterRegistry,
    ExecutorControl, Registration,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// The secret that must be found in no message.
pub(crate) const TOKEN: &str = "11never-print-me";

/// A clock that stands until it is moved; only a probe's time limit needs it to move by itself.
#[derive(Clone, Default)]
pub(crate) struct Hand(Arc<Mutex<Duration>>);

impl Hand {
    pub(crate) fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-09-01T10:00:00Z".parse().unwrap();
        start + self.boottime()
    }

    fn boottime(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

pub(crate) struct World {
    pub(crate) teamcity: Arc<Mutex<TeamCity>>,
    pub(crate) server: Server,
    pub(crate) clock: Hand,
    pub(crate) config: Value,
    pub(crate) serves: BTreeMap<&'static str, Value>,
    /// The TeamCity agent pool of the pool `linux`.
    pub(crate) pool: u64,
}

/// What machines of the pool `linux` say of themselves.
pub(crate) const LINUX: &[(&str, &str)] = &[("os", "linux")];

impl World {
    /// A server with one project, one agent pool and build types of each kind; the token manages agents.
    pub(crate) async fn start() -> Self {
        let mut teamcity = TeamCity::new();
        teamcity.grant(TOKEN, Rights::manager());
        let pool = teamcity.add_pool("Linux", &["App"]);
        teamcity.add_type("App_Build", "App", &[("os", "linux")]);
        teamcity.add_type("App_Gpu", "App", &[("gpu", "yes")]);
        let teamcity = Arc::new(Mutex::new(teamcity));
        let clock = Hand::default();
        let now = clock.clone();
        let server = Server::start(teamcity.clone(), move || now.now())
            .await
            .unwrap();
        Self {
            config: json!({ "url": server.url(), "token": TOKEN, "manage": {} }),
            serves: [("linux", json!([{ "agent_pool": "Linux" }]))].into(),
            teamcity,
            server,
            clock,
            pool,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn context(&self) -> EmitterContext {
        let pools = self.serves.iter().map(|(name, serves)| {
            let entries = serves.as_array().unwrap().clone();
            (name.parse().unwrap(), entries)
        });
        EmitterContext {
            upkeep: true,
            name: "teamcity".parse().unwrap(),
            fleet: "acme-ci".parse().unwrap(),
            pools: pools.collect(),
            probe_timeout: Duration::from_secs(20),
            clock: Arc::new(self.clock.clone()),
        }
    }

    /// A probot that has just started: without any memory.
    pub(crate) fn emitter(&self) -> Arc<dyn Emitter> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("teamcity").unwrap().emitter)(&self.config, &self.context()).unwrap()
    }

    /// Somebody who only asks for a look.
    pub(crate) fn onlooker(&self) -> Arc<dyn Emitter> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        let context = EmitterContext {
            upkeep: false,
            ..self.context()
        };
        (registry.get("teamcity").unwrap().emitter)(&self.config, &context).unwrap()
    }

    pub(crate) fn control(&self) -> Arc<dyn ExecutorControl> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("teamcity").unwrap().control)(&self.config, &self.context())
            .unwrap()
            .unwrap()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, TeamCity> {
        self.teamcity.lock().unwrap()
    }

    pub(crate) fn push(&self, of_type: &str) -> u64 {
        let now = self.now();
        self.lock().push(of_type, now)
    }

    /// Registers a machine and lets its agent connect.
    pub(crate) async fn machine(&self, index: u32) -> Registration {
        let request = ports::Register::of(instance(index));
        let made = self.control().register(&request).await.unwrap();
        self.join(&made);
        made
    }

    /// The machine of a registration comes up, as its boot script makes it.
    pub(crate) fn join(&self, registration: &Registration) -> u64 {
        self.join_with(registration, LINUX)
    }

    pub(crate) fn join_with(&self, registration: &Registration, says: &[(&str, &str)]) -> u64 {
        let join = secret(registration, "join");
        let token = secret(registration, "token");
        let mut parameters = vec![("system.parmanu.join", join.as_str())];
        parameters.extend(says);
        let token = Some(token.as_str()).filter(|token| !token.is_empty());
        let now = self.now();
        let name = registration.executor.as_str();
        self.lock().join(name, &parameters, token, now)
    }

    pub(crate) fn agent_id(&self, name: &str) -> u64 {
        let teamcity = self.lock();
        let mut agents = teamcity.agents.iter();
        *agents.find(|(_, agent)| agent.name == name).unwrap().0
    }

    /// What a pool says to a job.
    pub(crate) fn fit(&self, pool: &str, job: &Job) -> Fit {
        let entries = serde_json::from_value(self.serves[pool].clone()).unwrap();
        Plugin::matcher(entries).fit(job)
    }

    /// Whether an executor of somebody else's counts for a pool.
    pub(crate) fn serves(&self, pool: &str, executor: &Executor) -> bool {
        let entries = serde_json::from_value(self.serves[pool].clone()).unwrap();
        Plugin::matcher(entries).is_served_by(executor)
    }

    /// Ids of the jobs that ask for a machine of this pool.
    pub(crate) fn demand(&self, pool: &str, snapshot: &Snapshot) -> Vec<String> {
        let wanted = snapshot
            .jobs
            .iter()
            .filter(|job| job.class == JobClass::Runnable && self.fit(pool, job).is_yes());
        wanted.map(|job| job.id.to_string()).collect()
    }

    pub(crate) fn nobody_was_killed(&self) {
        let teamcity = self.lock();
        let killed: Vec<_> = teamcity.ended.iter().filter(|ended| !ended.whole).collect();
        assert!(killed.is_empty(), "{killed:?}");
    }
}

pub(crate) fn instance(index: u32) -> InstanceName {
    format!("linux-1795531234567-1-{index}").parse().unwrap()
}

pub(crate) fn secret(registration: &Registration, name: &str) -> String {
    match &registration.credentials[name] {
        Credential::Secret(secret) => secret.expose_secret().to_owned(),
        Credential::Plain(_) => panic!("{name} is printable"),
    }
}

pub(crate) fn job(snapshot: &Snapshot, id: u64) -> &Job {
    let id = id.to_string();
    let mut jobs = snapshot.jobs.iter();
    jobs.find(|job| job.id.as_str() == id).unwrap()
}

pub(crate) fn missing(fit: Fit) -> String {
    match fit {
        Fit::Yes => "nothing".to_owned(),
        Fit::No { missing } => missing.join("; "),
    }
}

/// Looks and expects everything to be seen.
pub(crate) async fn whole(emitter: &Arc<dyn Emitter>) -> Snapshot {
    let snapshot = emitter.probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    snapshot
}

/// Looks and expects something not to be seen; says what.
pub(crate) async fn doubts(emitter: &Arc<dyn Emitter>) -> String {
    let snapshot = emitter.probe().await.unwrap();
    snapshot.completeness.doubts().join("; ")
}

/// The plugin, pointed at another server than the fake.
pub(crate) fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> conformance::hostile::Plugin {
    let executor = model::ExecutorId::new("linux-1795531234567-1-0");
    let config = json!({ "url": url, "token": TOKEN, "manage": {} });
    let serves = vec![json!({ "agent_pool": "Linux" })];
    let context = EmitterContext {
        upkeep: true,
        name: "teamcity".parse().unwrap(),
        fleet: "acme-ci".parse().unwrap(),
        pools: [("linux".parse().unwrap(), serves)].into(),
        probe_timeout: Duration::from_secs(20),
        clock: clock.clone(),
    };
    conformance::hostile::Plugin::of::<Plugin>(&config, context, clock, executor)
}
