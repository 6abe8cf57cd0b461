//! The real plugin against a Jenkins on a loopback port, on a clock that stands still.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use emitter_jenkins::Jenkins as Plugin;
use fake_jenkins::{Jenkins, Rights, Server, Task};
use jiff::Timestamp;
use model::{ExecutorId, InstanceName, Job, Snapshot};
use ports::{
    Clock, Credential, Emitter, EmitterContext, EmitterRegistry, ExecutorControl, Registration,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// The secret that must be found in no message.
pub(crate) const TOKEN: &str = "11never-print-me";

/// A clock that stands still; only a probe's time limit needs it to move.
pub(crate) struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-09-01T10:00:00Z".parse().unwrap()
    }

    fn boottime(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

pub(crate) struct World {
    pub(crate) jenkins: Arc<Mutex<Jenkins>>,
    pub(crate) server: Server,
    config: Value,
}

impl World {
    /// A controller with one job, which a managing user may see, and one pool.
    pub(crate) async fn start() -> Self {
        let mut jenkins = Jenkins::new();
        jenkins.grant("parmanu", TOKEN, Rights::ALL);
        jenkins.jobs.insert("team/app".to_owned());
        let jenkins = Arc::new(Mutex::new(jenkins));
        let server = Server::start(jenkins.clone(), || Still.now())
            .await
            .unwrap();
        let config = config(&server.url());
        Self {
            jenkins,
            server,
            config,
        }
    }

    pub(crate) fn only_looks(&mut self) {
        self.config["manage"] = Value::Null;
        self.lock().grant("parmanu", TOKEN, Rights::READ);
    }

    pub(crate) fn emitter(&self) -> Arc<dyn Emitter> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("jenkins").unwrap().emitter)(&self.config, &context()).unwrap()
    }

    /// Somebody who only asks for a look.
    pub(crate) fn onlooker(&self) -> Arc<dyn Emitter> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        let context = EmitterContext {
            upkeep: false,
            ..context()
        };
        (registry.get("jenkins").unwrap().emitter)(&self.config, &context).unwrap()
    }

    pub(crate) fn control(&self) -> Arc<dyn ExecutorControl> {
        let registry = EmitterRegistry::default().with::<Plugin>();
        (registry.get("jenkins").unwrap().control)(&self.config, &context())
            .unwrap()
            .unwrap()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Jenkins> {
        self.jenkins.lock().unwrap()
    }

    pub(crate) fn push(&self, label: &str) -> u64 {
        let task = Task::Freestyle {
            name: "team/app".to_owned(),
            label: Some(label.to_owned()),
        };
        self.lock().push(task, Still.now())
    }

    pub(crate) fn step(&self, label: Option<&str>) -> u64 {
        let task = Task::Step {
            name: "team/sub/pipe".to_owned(),
            run: 7,
            label: label.map(str::to_owned),
        };
        self.lock().push(task, Still.now())
    }

    /// Registers a machine and lets its agent connect.
    pub(crate) async fn machine(&self, index: u32) -> Registration {
        let request = ports::Register::of(instance(index));
        let made = self.control().register(&request).await.unwrap();
        self.join(&made);
        made
    }

    pub(crate) fn join(&self, registration: &Registration) {
        let name = registration.executor.as_str();
        assert!(self.lock().connect(name, &secret(registration)));
    }
}

fn config(url: &str) -> Value {
    json!({ "url": url, "user": "parmanu", "token": TOKEN, "manage": {} })
}

fn context() -> EmitterContext {
    let serves = vec![json!({ "labels": ["linux", "docker"] })];
    EmitterContext {
        upkeep: true,
        name: "jenkins".parse().unwrap(),
        fleet: "acme-ci".parse().unwrap(),
        pools: BTreeMap::from([("linux".parse().unwrap(), serves)]),
        probe_timeout: Duration::from_secs(20),
        clock: Arc::new(Still),
    }
}

/// The plugin, pointed at another server than the fake.
pub(crate) fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> conformance::hostile::Plugin {
    let executor = ExecutorId::new("linux-1795531234567-1-0");
    conformance::hostile::Plugin::of::<Plugin>(&config(url), context(), clock, executor)
}

pub(crate) fn instance(index: u32) -> InstanceName {
    format!("linux-1795531234567-1-{index}").parse().unwrap()
}

pub(crate) fn secret(registration: &Registration) -> String {
    match &registration.credentials["secret"] {
        Credential::Secret(secret) => secret.expose_secret().to_owned(),
        Credential::Plain(_) => panic!("the secret is printable"),
    }
}

pub(crate) fn job(snapshot: &Snapshot, id: u64) -> &Job {
    let id = id.to_string();
    let mut jobs = snapshot.jobs.iter();
    jobs.find(|job| job.id.as_str() == id).unwrap()
}
