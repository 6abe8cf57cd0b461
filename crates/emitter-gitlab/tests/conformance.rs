//! The GitLab plugin keeps the promises of every emitter, against our fake.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use conformance::emitter::EmitterHarness;
use conformance::hostile::{AnotherPage, Answer, Plugin};
use conformance::provider::Shown;
use fake_gitlab::{Access, Fault, FaultKind, JobRequest, RunnerId};
use model::{ExecutorId, FleetId, JobId};
use ports::{Clock, Emitter, ExecutorControl, Registration};
use serde_json::{Value, json};
use support::World;

/// More than one page of jobs, whatever the size of a page.
const MANY: usize = 150;

struct Harness {
    world: World,
    emitter: Arc<dyn Emitter>,
    control: Arc<dyn ExecutorControl>,
    /// Requests for a job that are open, by executor.
    asked: Mutex<BTreeMap<ExecutorId, JobRequest>>,
    /// Whether it looks at the whole instance.
    sees_all: bool,
}

async fn start() -> Result<Harness, String> {
    Ok(harness(World::instance().await, true))
}

fn harness(world: World, sees_all: bool) -> Harness {
    Harness {
        emitter: world.emitter(),
        control: world.control(),
        world,
        asked: Mutex::default(),
        sees_all,
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("GitLab's ids are numbers")
}

#[async_trait]
impl EmitterHarness for Harness {
    fn emitter(&self) -> &dyn Emitter {
        &*self.emitter
    }
    fn control(&self) -> &dyn ExecutorControl {
        &*self.control
    }
    fn fleet(&self) -> FleetId {
        "acme-ci".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ExecutorId {
        ExecutorId::new("424242")
    }
    async fn queue(&self) -> JobId {
        JobId::new(self.world.push(&["linux"]).to_string())
    }
    async fn join(&self, registration: &Registration) {
        // the machine asks for work, and there is none
        let token = support::secret(registration);
        let now = self.world.clock.now();
        let asked = self.world.lock().begin_job_request(&token, "s_1", now);
        assert!(asked.is_ok(), "{asked:?}");
    }
    async fn start(&self, job: &JobId, executor: &ExecutorId) {
        let (runner, job) = (RunnerId(number(executor.as_str())), number(job.as_str()));
        let now = self.world.clock.now();
        let started = self
            .world
            .lock()
            .start_job(runner, fake_gitlab::JobId(job), now);
        assert!(started);
    }
    async fn finish(&self, job: &JobId) {
        let job = fake_gitlab::JobId(number(job.as_str()));
        let now = self.world.clock.now();
        assert!(self.world.lock().finish_job(job, true, now));
    }
    async fn promise(&self, job: &JobId, executor: &ExecutorId) -> Shown {
        let (runner, job) = (RunnerId(number(executor.as_str())), number(job.as_str()));
        assert!(
            self.world
                .lock()
                .promise_job(runner, fake_gitlab::JobId(job))
        );
        Ok(())
    }
    async fn ask(&self, registration: &Registration) -> Shown {
        let token = support::secret(registration);
        let now = self.world.clock.now();
        let asked = self.world.lock().begin_job_request(&token, "s_1", now);
        let asked = asked.expect("an open request");
        let mut open = self.asked.lock().expect("nobody panics with it");
        open.insert(registration.executor.clone(), asked);
        Ok(())
    }
    async fn answer(&self, registration: &Registration) -> Shown {
        let open = self.asked.lock().expect("nobody panics with it");
        let now = self.world.clock.now();
        let asked = &open[&registration.executor];
        assert!(self.world.lock().finish_job_request(asked, now).is_some());
        Ok(())
    }
    async fn fail(&self) -> Shown {
        let fault = Fault::on("/", u32::MAX, FaultKind::Html(502));
        self.world.lock().inject(fault);
        Ok(())
    }
    async fn lose_a_page(&self) -> Shown {
        for _ in 0..MANY {
            self.world.push(&["linux"]);
        }
        let fault = Fault::on("/api/graphql", 100, FaultKind::Html(502)).after(1);
        self.world.lock().inject(fault);
        Ok(())
    }
    async fn hide(&self) -> Shown {
        self.world.lock().revoke(self.world.admin);
        Ok(())
    }
    async fn hide_some(&self) -> Shown {
        if self.sees_all {
            return Err("an administrator sees all jobs, and others none");
        }
        let mut gitlab = self.world.lock();
        gitlab.revoke(self.world.admin);
        gitlab.grant(self.world.admin, self.world.project, Access::Maintainer);
        let hidden = gitlab.add_project("acme/hidden");
        drop(gitlab);
        self.world.push_in(hidden);
        // rights are proven again with each whole list of a group's projects
        self.world.clock.forward(Duration::from_secs(301));
        Ok(())
    }
    async fn pause(&self, executor: &ExecutorId) -> Shown {
        let runner = RunnerId(number(executor.as_str()));
        let mut gitlab = self.world.lock();
        gitlab.runner_mut(runner).expect("a runner").paused = true;
        Ok(())
    }
    fn url(&self) -> Shown<String> {
        Ok(self.world.server.url())
    }
    fn another_page(&self) -> Option<AnotherPage> {
        Some(another_page)
    }
    async fn foreign(&self) -> Shown<ExecutorId> {
        let (executor, runner, _) = self.world.machine(77).await;
        let mut gitlab = self.world.lock();
        let runner = gitlab.runner_mut(runner).expect("a runner");
        runner.description = "mac-mini".to_owned();
        runner.tags = vec!["linux".to_owned()];
        Ok(executor)
    }
}

/// GraphQL says it in each `pageInfo`, REST in the header `Link` of a list.
fn another_page(answer: &mut Answer, number: u64) {
    fn step(value: &mut Value, number: u64) {
        match value {
            Value::Object(members) => {
                if members.contains_key("hasNextPage") {
                    members["hasNextPage"] = Value::Bool(true);
                    members["endCursor"] = Value::from(format!("cursor-{number}"));
                }
                members.values_mut().for_each(|member| step(member, number));
            }
            Value::Array(rows) => rows.iter_mut().for_each(|row| step(row, number)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    step(&mut answer.body, number);
    if answer.body.is_array() {
        let link = format!("<http://gitlab.invalid/x?page={number}>; rel=\"next\"");
        answer.headers.retain(|(name, _)| name != "link");
        answer.headers.push(("link".to_owned(), link));
    }
}

fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> Plugin {
    support::plugin_at(url, json!({ "instance": true }), clock)
}

conformance::emitter_suite!(start);
conformance::hostile_suite!(plugin_at, start);

/// The same for the jobs of a group, whose calls are others.
mod group {
    use super::*;

    async fn start() -> Result<Harness, String> {
        Ok(harness(World::group().await, false))
    }

    fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> Plugin {
        support::plugin_at(url, json!({ "groups": ["acme"] }), clock)
    }

    conformance::emitter_suite!(start);
    conformance::hostile_suite!(plugin_at, start);
}
