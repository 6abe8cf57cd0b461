//! The in-process CI server keeps the promises of every emitter.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conformance::emitter::EmitterHarness;
use conformance::provider::Shown;
use emitter_fake::FakeCi;
use jiff::Timestamp;
use model::{ExecutorId, FleetId, JobId};
use ports::{Clock, Emitter, ExecutorControl, Registration};

/// A clock that stands still: the fake lets nothing happen by itself.
struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn boottime(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {}
}

struct Harness(FakeCi);

fn number(job: &JobId) -> u64 {
    job.as_str().parse().expect("the number of a job")
}

async fn start() -> Result<Harness, String> {
    let pool = "linux".parse().expect("the name of a pool");
    Ok(Harness(FakeCi::new(
        "ci".parse().expect("the name of an emitter"),
        fleet(),
        Arc::new(Still),
        Duration::from_secs(1),
        [(pool, vec!["linux".to_owned()])].into(),
    )))
}

fn fleet() -> FleetId {
    "acme".parse().expect("the name of a fleet")
}

impl Harness {
    fn name(&self, executor: &ExecutorId) -> String {
        let executors = self.0.executors().into_iter();
        let mut named = executors.filter(|seen| seen.id == *executor);
        named.next().expect("a registered executor").name
    }
}

#[async_trait]
impl EmitterHarness for Harness {
    fn emitter(&self) -> &dyn Emitter {
        &self.0
    }
    fn control(&self) -> &dyn ExecutorControl {
        &self.0
    }
    fn fleet(&self) -> FleetId {
        fleet()
    }
    fn nobody(&self) -> ExecutorId {
        ExecutorId::new("exec-nobody")
    }
    async fn queue(&self) -> JobId {
        JobId::new(self.0.push(&["linux"]).to_string())
    }
    async fn join(&self, registration: &Registration) {
        let name = self.name(&registration.executor);
        self.0.join(&name.parse().expect("the name of a machine"));
    }
    async fn start(&self, job: &JobId, executor: &ExecutorId) {
        self.0.start(number(job), executor);
    }
    async fn finish(&self, job: &JobId) {
        self.0.finish(number(job));
    }
    async fn promise(&self, job: &JobId, executor: &ExecutorId) -> Shown {
        self.0.assign(number(job), executor);
        Ok(())
    }
    async fn ask(&self, registration: &Registration) -> Shown {
        self.0.request(&registration.executor);
        Ok(())
    }
    async fn answer(&self, _: &Registration) -> Shown {
        self.0.hand_out();
        Ok(())
    }
    async fn fail(&self) -> Shown {
        self.0.fail(Some("503"));
        Ok(())
    }
    async fn lose_a_page(&self) -> Shown {
        Err("the fake has no pages")
    }
    async fn hide(&self) -> Shown {
        self.0.blind(Some("the token sees nothing"));
        Ok(())
    }
    async fn pause(&self, executor: &ExecutorId) -> Shown {
        self.0.pause(&self.name(executor), true);
        Ok(())
    }
    async fn foreign(&self) -> Shown<ExecutorId> {
        self.0.add_static("mac-mini", &["macos"], 1);
        Ok(ExecutorId::new("mac-mini"))
    }
}

conformance::emitter_suite!(start);
