//! The `http` plugin keeps the promises of every emitter that looks, against a little CI server that keeps state.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use conformance::emitter::EmitterHarness;
use conformance::hostile::Plugin;
use conformance::provider::Shown;
use emitter_http::Http;
use model::{Epoch, ExecutorId, FleetId, InstanceName, JobId, Reading};
use ports::{Clock, Emitter, EmitterError, ExecutorControl, Found, Register, Registration};
use serde_json::{Value, json};
use support::{Asked, Reply, Server};

const CONFIG: &str = r#"
url: set by the test
token: { secret: never-print-me }
requests:
  jobs:
    path: /jobs
    pages: { number: { parameter: page, items: jobs } }
    expect: sees == 'all'
    complete: [{ items: jobs, total: total }]
  agents: { path: /agents }
jobs:
  - from: jobs
    items: jobs
    id: id
    name: name
    project: project
    labels: labels
    state: state
    states: { queued: runnable, running: running }
    executor: agent
executors:
  - from: agents
    id: name
    labels: labels
    state: state
    states: { idle: idle, busy: busy, new: never-joined }
    paused: paused
"#;

/// Items of a page.
const PAGE: usize = 2;

#[derive(Default)]
struct World {
    /// The agent of each open job, if it runs.
    jobs: BTreeMap<u32, Option<String>>,
    /// Whether each agent has joined, and whether it is paused.
    agents: BTreeMap<String, (bool, bool)>,
    count: u32,
    fails: bool,
    hides: bool,
    loses: bool,
}

impl World {
    fn answer(&self, asked: &Asked) -> Reply {
        if asked.header("authorization") != "Bearer never-print-me" {
            return Reply::status(401);
        }
        match asked.path.as_str() {
            _ if self.fails => Reply::status(500),
            "/api/jobs" => self.jobs(asked.parameter("page").parse().unwrap_or(1)),
            "/api/agents" => Reply::ok(self.agents()),
            _ => Reply::status(404),
        }
    }

    fn jobs(&self, page: usize) -> Reply {
        if self.loses && page > 1 {
            return Reply::status(502);
        }
        let row = |(id, agent): (&u32, &Option<String>)| {
            let state = if agent.is_some() { "running" } else { "queued" };
            json!({
                "id": id, "name": "build", "project": "acme/app", "labels": ["linux"],
                "state": state, "agent": agent,
            })
        };
        let mut rows: Vec<Value> = self.jobs.iter().map(row).collect();
        if self.hides {
            rows.clear();
        }
        let total = rows.len();
        let rows: Vec<Value> = rows
            .into_iter()
            .skip((page - 1) * PAGE)
            .take(PAGE)
            .collect();
        let sees = if self.hides { "own" } else { "all" };
        Reply::ok(json!({ "jobs": rows, "total": total, "sees": sees }))
    }

    fn agents(&self) -> Value {
        let row = |(name, (joined, paused)): (&String, &(bool, bool))| {
            let busy = self.jobs.values().flatten().any(|on| on == name);
            let state = match (joined, busy) {
                (false, _) => "new",
                (true, false) => "idle",
                (true, true) => "busy",
            };
            // the image of a machine gives its agent this label
            let labels = if name.starts_with("linux-") {
                json!(["parmanu-fleet=acme-ci"])
            } else {
                json!([])
            };
            json!({ "name": name, "state": state, "paused": paused, "labels": labels })
        };
        self.agents.iter().map(row).collect()
    }
}

struct Harness {
    world: Arc<Mutex<World>>,
    emitter: Arc<dyn Emitter>,
    hand: Hand,
    server: Server,
}

/// The operator's own hand at the server, where a plugin with a control half would act.
struct Hand(Arc<Mutex<World>>);

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("nobody panicked")
}

#[async_trait]
impl ExecutorControl for Hand {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        let name = request.instance.to_string();
        lock(&self.0).agents.insert(name.clone(), (false, false));
        Ok(Registration {
            executor: ExecutorId::new(name),
            credentials: BTreeMap::new(),
        })
    }
    async fn cordon(&self, executor: &ExecutorId, _: Epoch) -> Result<(), EmitterError> {
        let mut world = lock(&self.0);
        world.agents.get_mut(executor.as_str()).expect("an agent").1 = true;
        Ok(())
    }
    async fn uncordon(&self, _: &ExecutorId, _: Epoch) -> Result<(), EmitterError> {
        unreachable!("{ONLY_LOOKS}")
    }
    async fn read(&self, _: &ExecutorId) -> Result<Reading, EmitterError> {
        unreachable!("{ONLY_LOOKS}")
    }
    async fn find(&self, _: &InstanceName, _: Option<&ExecutorId>) -> Result<Found, EmitterError> {
        unreachable!("{ONLY_LOOKS}")
    }
    async fn remove(&self, _: &ExecutorId) -> Result<(), EmitterError> {
        unreachable!("{ONLY_LOOKS}")
    }
}

async fn start() -> Result<Harness, String> {
    let world: Arc<Mutex<World>> = Arc::default();
    let shown = world.clone();
    let server = Server::start(move |asked| lock(&shown).answer(asked)).await;
    Ok(Harness {
        emitter: support::emitter(&support::config(CONFIG, &server)),
        hand: Hand(world.clone()),
        world,
        server,
    })
}

const ONLY_LOOKS: &str =
    "the emitter has no control half: no table of expressions can keep its promises";
const NO_EPOCH: &str = "nobody cordons executors here, so every pause is somebody else's";

fn number(job: &JobId) -> u32 {
    job.as_str().parse().expect("jobs are numbered")
}

#[async_trait]
impl EmitterHarness for Harness {
    fn emitter(&self) -> &dyn Emitter {
        &*self.emitter
    }
    fn control(&self) -> &dyn ExecutorControl {
        &self.hand
    }
    fn fleet(&self) -> FleetId {
        "acme-ci".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ExecutorId {
        ExecutorId::new("nobody")
    }
    async fn queue(&self) -> JobId {
        let mut world = lock(&self.world);
        world.count += 1;
        let id = world.count;
        world.jobs.insert(id, None);
        JobId::new(id.to_string())
    }
    async fn join(&self, registration: &Registration) {
        let mut world = lock(&self.world);
        let agent = world.agents.get_mut(registration.executor.as_str());
        agent.expect("an agent").0 = true;
    }
    async fn start(&self, job: &JobId, executor: &ExecutorId) {
        let mut world = lock(&self.world);
        let agent = executor.as_str().to_owned();
        world.jobs.insert(number(job), Some(agent));
    }
    async fn finish(&self, job: &JobId) {
        lock(&self.world).jobs.remove(&number(job));
    }
    async fn promise(&self, _: &JobId, _: &ExecutorId) -> Shown {
        Err(ONLY_LOOKS)
    }
    async fn ask(&self, _: &Registration) -> Shown {
        Err(ONLY_LOOKS)
    }
    async fn answer(&self, _: &Registration) -> Shown {
        Err(ONLY_LOOKS)
    }
    async fn fail(&self) -> Shown {
        lock(&self.world).fails = true;
        Ok(())
    }
    async fn lose_a_page(&self) -> Shown {
        for _ in 0..=PAGE {
            self.queue().await;
        }
        lock(&self.world).loses = true;
        Ok(())
    }
    async fn hide(&self) -> Shown {
        lock(&self.world).hides = true;
        Ok(())
    }
    async fn pause(&self, executor: &ExecutorId) -> Shown {
        let mut world = lock(&self.world);
        world.agents.get_mut(executor.as_str()).expect("an agent").1 = true;
        Ok(())
    }
    fn url(&self) -> Shown<String> {
        Ok(self.server.url.trim_end_matches("/api").to_owned())
    }
    async fn foreign(&self) -> Shown<ExecutorId> {
        let name = "mac-mini".to_owned();
        lock(&self.world).agents.insert(name.clone(), (true, false));
        Ok(ExecutorId::new(name))
    }
    fn left_out(&self, case: &str) -> Option<&'static str> {
        match case {
            "an_empty_server_is_a_complete_and_empty_look"
            | "every_open_job_is_seen_once"
            | "a_job_that_is_done_is_seen_no_more"
            | "an_executor_is_seen_with_its_name_and_mark"
            | "an_executor_with_a_job_is_busy"
            | "a_foreign_executor_carries_no_mark"
            | "a_server_that_fails_is_no_complete_look"
            | "a_page_that_fails_is_no_complete_look"
            | "a_look_without_rights_is_no_complete_look"
            | "a_value_of_another_type_makes_no_look_smaller"
            | "a_value_that_is_missing_makes_no_look_smaller"
            | "negative_numbers_make_no_look_smaller"
            | "huge_numbers_are_believed_within_bounds"
            | "rows_that_come_twice_are_seen_once"
            | "half_an_answer_is_no_complete_look"
            | "pages_without_end_are_no_complete_look"
            | "a_page_that_names_itself_is_no_complete_look"
            | "a_job_that_starts_during_a_look_is_not_lost"
            | "jobs_that_leave_during_a_look_hide_no_others" => None,
            "a_cordon_is_seen_with_its_epoch" => Some(NO_EPOCH),
            _ => Some(ONLY_LOOKS),
        }
    }
}

/// The plugin, pointed at another server than the little one.
fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> Plugin {
    let mut config: Value = serde_yaml::from_str(CONFIG).expect("the keys");
    config["url"] = format!("{url}/api").into();
    let executor = ExecutorId::new("linux-1795531234567-1-0");
    Plugin::of::<Http>(&config, support::context(), clock, executor)
}

conformance::emitter_suite!(start);
conformance::hostile_suite!(plugin_at, start);
