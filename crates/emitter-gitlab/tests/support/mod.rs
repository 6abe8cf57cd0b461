//! The real plugin against a GitLab on a loopback port, on a clock the test moves.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use emitter_gitlab::GitLab as Plugin;
use fake_gitlab::{Access, GitLab, JobId, ProjectId, RunnerId, Scope, Server};
use jiff::{SignedDuration, Timestamp};
use model::{Epoch, ExecutorId, InstanceName};
use ports::{
    Clock, Emitter, EmitterContext, EmitterRegistry, ExecutorControl, Register, Registration,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The secret that must be found in no message.
pub(crate) const TOKEN: &str = "glpat-never-print-me";
pub(crate) const MANAGE: &str = "glpat-never-print-me-either";

/// A clock that stands still until the test moves it.
pub(crate) struct Hands(watch::Sender<Duration>);

impl Hands {
    fn start() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Duration::ZERO)))
    }

    pub(crate) fn forward(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }
}

#[async_trait]
impl Clock for Hands {
    fn now(&self) -> Timestamp {
        let began: Timestamp = "2026-09-01T10:00:00Z".parse().unwrap();
        began + SignedDuration::try_from(*self.0.borrow()).unwrap()
    }

    fn boottime(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.boottime() + duration;
        let mut seen = self.0.subscribe();
        seen.wait_for(|now| *now >= until).await.unwrap();
    }
}

pub(crate) struct World {
    pub(crate) gitlab: Arc<Mutex<GitLab>>,
    pub(crate) clock: Arc<Hands>,
    pub(crate) project: ProjectId,
    pub(crate) admin: u64,
    pub(crate) server: Server,
    config: Value,
    pools: BTreeMap<model::PoolName, Vec<Value>>,
    /// Made once: a client reads all the roots of trust of the system.
    registrar: OnceLock<Arc<dyn ExecutorControl>>,
}

impl World {
    /// An instance with one project, read and managed by an administrator, and one pool.
    pub(crate) async fn instance() -> Self {
        Self::with(json!({ "instance": true }), true).await
    }

    /// The same, seen by a Maintainer of the one project.
    pub(crate) async fn project() -> Self {
        Self::with(json!({ "projects": ["acme/app"] }), false).await
    }

    /// The same, seen by an Owner of the group above it.
    pub(crate) async fn group() -> Self {
        let world = Self::with(json!({ "groups": ["acme"] }), false).await;
        world.lock().add_group("acme");
        world.lock().grant_group(world.admin, "acme", Access::Owner);
        world
    }

    async fn with(scope: Value, admin: bool) -> Self {
        let mut gitlab = GitLab::new();
        let project = gitlab.add_project("acme/app");
        let user = gitlab.add_user("parmanu", admin);
        gitlab.grant(user, project, Access::Maintainer);
        gitlab.add_token(user, TOKEN, &[Scope::ReadApi]);
        gitlab.add_token(user, MANAGE, &[Scope::CreateRunner, Scope::ManageRunner]);
        let gitlab = Arc::new(Mutex::new(gitlab));
        let clock = Hands::start();
        let hands = clock.clone();
        let server = Server::start(gitlab.clone(), move || hands.now())
            .await
            .unwrap();
        let config = config(&server.url(), scope);
        Self {
            gitlab,
            clock,
            project,
            admin: user,
            server,
            config,
            pools: pools(),
            registrar: OnceLock::new(),
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    pub(crate) fn pool(&mut self, serves: Value) {
        self.pools
            .insert("linux".parse().unwrap(), serves.as_array().unwrap().clone());
    }

    fn context(&self) -> EmitterContext {
        context(self.pools.clone(), self.clock.clone())
    }

    pub(crate) fn emitter(&self) -> Arc<dyn Emitter> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("gitlab").unwrap().emitter)(&self.config, &self.context()).unwrap()
    }

    pub(crate) fn control(&self) -> Arc<dyn ExecutorControl> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("gitlab").unwrap().control)(&self.config, &self.context())
            .unwrap()
            .unwrap()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, GitLab> {
        self.gitlab.lock().unwrap()
    }

    pub(crate) fn push(&self, tags: &[&str]) -> JobId {
        self.lock()
            .push_job(self.project, "build", tags, "main", self.clock.now())
    }

    pub(crate) fn push_in(&self, project: ProjectId) -> JobId {
        self.lock()
            .push_job(project, "build", &["linux"], "main", self.clock.now())
    }

    /// Registers machine number `index` of the pool.
    pub(crate) async fn machine(&self, index: u32) -> (ExecutorId, RunnerId, String) {
        let registrar = self.registrar.get_or_init(|| self.control());
        let made = registrar.register(&register(index)).await.unwrap();
        let token = secret(&made);
        let id = RunnerId(made.executor.as_str().parse().unwrap());
        (made.executor, id, token)
    }

    /// The machine asks for a job.
    pub(crate) fn ask(&self, token: &str) -> Option<JobId> {
        self.lock().request_job(token, self.clock.now())
    }

    pub(crate) fn nobody_was_killed(&self) {
        assert_eq!(self.lock().killed().count(), 0);
    }
}

fn config(url: &str, scope: Value) -> Value {
    json!({ "url": url, "token": TOKEN, "manage_token": MANAGE, "scope": scope })
}

fn pools() -> BTreeMap<model::PoolName, Vec<Value>> {
    let serves = vec![json!({ "tags": ["linux", "docker"] })];
    BTreeMap::from([("linux".parse().unwrap(), serves)])
}

fn context(pools: BTreeMap<model::PoolName, Vec<Value>>, clock: Arc<dyn Clock>) -> EmitterContext {
    EmitterContext {
        upkeep: true,
        name: "gitlab".parse().unwrap(),
        fleet: "acme-ci".parse().unwrap(),
        pools,
        probe_timeout: Duration::from_secs(20),
        clock,
    }
}

/// The plugin at this scope, pointed at another server than the fake, with a budget that is out of the way.
pub(crate) fn plugin_at(
    url: &str,
    scope: Value,
    clock: Arc<dyn Clock>,
) -> conformance::hostile::Plugin {
    let mut config = config(url, scope);
    config["budget"] = json!({ "per_probe": 1_000_000, "per_minute": 1_000_000 });
    let context = context(pools(), clock.clone());
    conformance::hostile::Plugin::of::<Plugin>(&config, context, clock, ExecutorId::new("1"))
}

pub(crate) fn register(index: u32) -> Register {
    let name: InstanceName = format!("linux-{}-1-{index}", EPOCH.0).parse().unwrap();
    Register::of(name)
}

pub(crate) fn secret(made: &Registration) -> String {
    use secrecy::ExposeSecret as _;
    match &made.credentials["token"] {
        ports::Credential::Secret(token) => token.expose_secret().to_owned(),
        ports::Credential::Plain(_) => panic!("the token is not a secret"),
    }
}

pub(crate) const EPOCH: Epoch = Epoch(7);
