//! GitLab: each machine is a runner, and asks for work with its own token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fake_gitlab::{GitLab, JobId, ProjectId, RunnerId, Scope, Server};
use jiff::Timestamp;
use model::InstanceName;
use ports::Clock;

use super::{Ci, Kind, Played};

/// The token that looks; obviously no secret.
const LOOKS: &str = "demo-token-of-nobody";
/// The token that manages runners.
pub(crate) const MANAGES: &str = "demo-token-of-nobody-else";
/// The administrator whose tokens they are, and the project: the first ones of an empty server.
pub(crate) const ADMIN: u64 = 1;
const PROJECT: ProjectId = ProjectId(1);

/// A GitLab with one administrator and one project.
pub(crate) fn server() -> Arc<Mutex<GitLab>> {
    let mut gitlab = GitLab::new();
    gitlab.add_user("parmanu", true);
    gitlab.add_token(ADMIN, LOOKS, &[Scope::ReadApi]);
    gitlab.add_token(ADMIN, MANAGES, &[Scope::CreateRunner, Scope::ManageRunner]);
    gitlab.add_project("acme/app");
    Arc::new(Mutex::new(gitlab))
}

pub(crate) async fn start(
    gitlab: Arc<Mutex<GitLab>>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<Played> {
    start_on(([127, 0, 0, 1], 0).into(), None, gitlab, clock).await
}

/// Serves on this address; `base` is what it calls itself, if that is another.
pub(crate) async fn start_on(
    address: SocketAddr,
    base: Option<String>,
    gitlab: Arc<Mutex<GitLab>>,
    clock: &Arc<dyn Clock>,
) -> std::io::Result<Played> {
    let now = clock.clone();
    let server = Server::start_as(address, base, gitlab.clone(), move || now.now()).await?;
    let url = server.url();
    Ok(Played {
        ci: Box::new(Demo {
            gitlab,
            runners: BTreeMap::new(),
        }),
        emitter: format!(
            "kind: gitlab, url: \"{url}\", token: {LOOKS}, manage_token: {MANAGES}, scope: {{ instance: true }}, settle: 60s"
        ),
        serves: [
            "{ tags: [linux], run_untagged: true }",
            "{ tags: [linux, docker] }",
            "{ tags: [gpu] }",
        ],
        script: "#!/bin/sh\nrun-a-runner {{ executor.token }}\n",
        server,
    })
}

struct Runner {
    token: String,
    id: RunnerId,
}

struct Demo {
    gitlab: Arc<Mutex<GitLab>>,
    runners: BTreeMap<InstanceName, Runner>,
}

impl Demo {
    fn lock(&self) -> MutexGuard<'_, GitLab> {
        self.gitlab.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ci for Demo {
    fn push(&mut self, kind: Kind, now: Timestamp) -> u64 {
        let (name, tags): (_, &[&str]) = match kind {
            Kind::UnitTests => ("unit-tests", &["linux"]),
            Kind::Lint => ("lint", &[]),
            Kind::Image => ("image", &["linux", "docker"]),
            Kind::Train => ("train", &["gpu"]),
        };
        self.lock().push_job(PROJECT, name, tags, "main", now).0
    }

    fn join(&mut self, machine: &InstanceName, arguments: &[&str], _: Timestamp) {
        let [token] = arguments else { return };
        let found = self
            .lock()
            .runners()
            .find(|runner| runner.token == *token)
            .map(|runner| runner.id);
        if let Some(id) = found {
            let token = (*token).to_owned();
            self.runners.insert(machine.clone(), Runner { token, id });
        }
    }

    fn hand_out(&mut self, now: Timestamp) {
        let mut gitlab = self.gitlab.lock().unwrap_or_else(PoisonError::into_inner);
        for runner in self.runners.values() {
            if gitlab.busy_with(runner.id).next().is_none() {
                gitlab.request_job(&runner.token, now);
            }
        }
    }

    fn holds(&self, machine: &InstanceName) -> Option<u64> {
        let runner = self.runners.get(machine)?;
        self.lock().busy_with(runner.id).next().map(|job| job.id.0)
    }

    fn finish(&mut self, job: u64, now: Timestamp) {
        self.lock().finish_job(JobId(job), true, now);
    }

    fn lose(&mut self, machine: &InstanceName, now: Timestamp) {
        if let Some(runner) = self.runners.remove(machine) {
            self.lock().lose_machine(runner.id, now);
        }
    }

    fn killed(&self) -> usize {
        self.lock().killed().count()
    }
}
