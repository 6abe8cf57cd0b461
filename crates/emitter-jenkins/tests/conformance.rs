//! The Jenkins plugin keeps the promises of every emitter, against our fake.

mod support;

use std::sync::Arc;

use async_trait::async_trait;
use conformance::emitter::EmitterHarness;
use conformance::provider::Shown;
use fake_jenkins::{Fault, FaultKind, OfflineCause, Rights, Sight};
use model::{ExecutorId, FleetId, JobId};
use ports::{Clock as _, Emitter, ExecutorControl, Registration};
use support::{Still, World};

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
    job.as_str().parse().expect("items are numbered")
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
        JobId::new(self.world.push("linux && docker").to_string())
    }
    async fn join(&self, registration: &Registration) {
        self.world.join(registration);
    }
    async fn start(&self, job: &JobId, executor: &ExecutorId) {
        let mut jenkins = self.world.lock();
        assert!(jenkins.start(number(job), executor.as_str(), Still.now()));
    }
    async fn finish(&self, job: &JobId) {
        assert!(self.world.lock().finish(number(job)));
    }
    async fn promise(&self, job: &JobId, executor: &ExecutorId) -> Shown {
        let mut jenkins = self.world.lock();
        assert!(jenkins.promise(number(job), executor.as_str(), Still.now()));
        Ok(())
    }
    async fn ask(&self, _: &Registration) -> Shown {
        // nobody asks: the scheduler has looked at the nodes, and hands out by what it saw
        Ok(())
    }
    async fn answer(&self, registration: &Registration) -> Shown {
        let name = registration.executor.as_str();
        let handed = self.world.lock().hand_out_late(name, Still.now());
        assert!(handed.is_some());
        Ok(())
    }
    async fn fail(&self) -> Shown {
        let fault = Fault::on("/", u32::MAX, FaultKind::Html(503));
        self.world.lock().inject(fault);
        Ok(())
    }
    async fn lose_a_page(&self) -> Shown {
        Err("Jenkins answers the queue in one page")
    }
    async fn hide(&self) -> Shown {
        let blind = Rights {
            job_read: false,
            ..Rights::ALL
        };
        self.world.lock().grant("parmanu", support::TOKEN, blind);
        Ok(())
    }
    async fn hide_some(&self) -> Shown {
        let hidden = self.world.push("linux && docker");
        let mut jenkins = self.world.lock();
        let item = jenkins.item_mut(hidden).expect("an item");
        item.sight = Sight::Discoverable;
        Ok(())
    }
    async fn pause(&self, executor: &ExecutorId) -> Shown {
        let mut jenkins = self.world.lock();
        let node = jenkins.nodes.get_mut(executor.as_str()).expect("a node");
        node.temporarily_offline = true;
        node.cause = Some(OfflineCause {
            class: "hudson.slaves.OfflineCause$UserCause",
            message: "lunch".to_owned(),
            at: Still.now(),
        });
        Ok(())
    }
    fn url(&self) -> Shown<String> {
        Ok(self.world.server.url())
    }
    async fn foreign(&self) -> Shown<ExecutorId> {
        let mut jenkins = self.world.lock();
        jenkins.add_node("mac-mini", &["linux", "docker"], 1);
        let secret = jenkins.secret("mac-mini");
        assert!(jenkins.connect("mac-mini", &secret));
        Ok(ExecutorId::new("mac-mini"))
    }
}

conformance::emitter_suite!(start);
conformance::hostile_suite!(support::plugin_at, start);
