//! The TeamCity plugin keeps the promises of every emitter, against our fake.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use conformance::emitter::EmitterHarness;
use conformance::hostile::{AnotherPage, Answer};
use conformance::provider::Shown;
use fake_teamcity::{Fault, FaultKind, Rights, State};
use model::{ExecutorId, FleetId, JobId};
use ports::{Emitter, ExecutorControl, Registration};
use support::{LINUX, TOKEN, World};

/// Why some cases cannot be shown here; `tests/control.rs` shows what stands in their place.
const REGISTERS_ITSELF: &str =
    "TeamCity knows no agent before it connects, and `register` leaves nothing there";
const CONNECTED: &str = "TeamCity removes disconnected agents only";

struct Harness {
    world: World,
    emitter: Arc<dyn Emitter>,
    control: Arc<dyn ExecutorControl>,
}

async fn start() -> Result<Harness, String> {
    let world = World::start().await;
    Ok(Harness {
        emitter: world.emitter(),
        control: world.control(),
        world,
    })
}

fn number(job: &JobId) -> u64 {
    job.as_str().parse().expect("builds are numbered")
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
        ExecutorId::new("linux-1795531234567-9-9")
    }
    async fn queue(&self) -> JobId {
        JobId::new(self.world.push("App_Build").to_string())
    }
    async fn join(&self, registration: &Registration) {
        self.world.join(registration);
    }
    async fn start(&self, job: &JobId, executor: &ExecutorId) {
        let agent = self.world.agent_id(executor.as_str());
        let now = self.world.now();
        assert!(self.world.lock().start(number(job), agent, now));
    }
    async fn finish(&self, job: &JobId) {
        assert!(self.world.lock().finish(number(job)));
    }
    async fn promise(&self, job: &JobId, executor: &ExecutorId) -> Shown {
        // the only promise that TeamCity knows: a person chose this agent for the build
        let agent = self.world.agent_id(executor.as_str());
        let mut teamcity = self.world.lock();
        let build = teamcity.builds.get_mut(&number(job)).expect("a build");
        build.only_on = Some(agent);
        Ok(())
    }
    async fn ask(&self, _: &Registration) -> Shown {
        // nobody asks: a round of the distribution has looked at the agents, and hands out by what it saw
        Ok(())
    }
    async fn answer(&self, registration: &Registration) -> Shown {
        let agent = self.world.agent_id(registration.executor.as_str());
        let now = self.world.now();
        let handed = self.world.lock().hand_out_late(agent, now);
        assert!(handed.is_some());
        Ok(())
    }
    async fn fail(&self) -> Shown {
        let fault = Fault::on("/", u32::MAX, FaultKind::Html(503));
        self.world.lock().inject(fault);
        Ok(())
    }
    async fn lose_a_page(&self) -> Shown {
        for _ in 0..1001 {
            self.queue().await;
        }
        let fault = Fault::on("/app/rest/buildQueue", 1, FaultKind::Html(502)).after(1);
        self.world.lock().inject(fault);
        Ok(())
    }
    async fn hide(&self) -> Shown {
        self.world.lock().grant(TOKEN, Rights::blind());
        Ok(())
    }
    async fn pause(&self, executor: &ExecutorId) -> Shown {
        let agent = self.world.agent_id(executor.as_str());
        let mut teamcity = self.world.lock();
        let agent = teamcity.agents.get_mut(&agent).expect("an agent");
        agent.enabled = false;
        agent.enabled_comment = "lunch".to_owned();
        Ok(())
    }
    async fn foreign(&self) -> Shown<ExecutorId> {
        let (pool, now) = (self.world.pool, self.world.now());
        self.world.lock().add_agent("mac-mini", pool, LINUX, now);
        Ok(ExecutorId::new("mac-mini"))
    }
    fn url(&self) -> Shown<String> {
        Ok(self.world.server.url())
    }
    fn another_page(&self) -> Option<AnotherPage> {
        Some(another_page)
    }
    async fn hide_some(&self) -> Shown {
        Err("what waits of a hidden project leaves no trace in TeamCity")
    }
    fn left_out(&self, case: &str) -> Option<&'static str> {
        match case {
            "a_second_registration_of_a_name_is_found_by_the_name"
            | "an_executor_is_seen_with_its_name_and_mark" => Some(REGISTERS_ITSELF),
            "a_removed_executor_is_seen_no_more" => Some(CONNECTED),
            _ => None,
        }
    }
}

/// Every list says it in `nextHref`.
fn another_page(answer: &mut Answer, number: u64) {
    if answer.body.get("count").is_some() {
        answer.body["nextHref"] = format!("/app/rest/x?locator=count:1,start:{number}").into();
    }
}

conformance::emitter_suite!(start);
conformance::hostile_suite!(support::plugin_at, start);

/// The harness itself: a fresh build waits.
#[tokio::test]
async fn the_harness_queues_builds_that_wait() {
    let harness = start().await.expect("a world");
    let job = harness.queue().await;
    let state = harness.world.lock().builds[&number(&job)].state.clone();
    assert_eq!(state, State::Queued);
}
