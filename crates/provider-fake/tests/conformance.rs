//! The simulated cloud keeps the promises of every provider: what is proved with it would be worth nothing otherwise.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use jiff::Timestamp;
use model::{CreateBatch, FleetId, InstallationId, Instance, ProviderRef, UserData};
use ports::{Call, Clock, Outcome, Provider, ProviderErrorKind};
use provider_fake::{FakeCloud, Fault, Options};
use serde_json::{Value, json};
use tokio::sync::watch;

const LAG: Duration = Duration::from_secs(30);
const ROOM: u32 = 1000;

/// Time that passes only when a test says so.
struct HandClock(watch::Sender<Duration>);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).expect("a time") + self.boottime()
    }
    fn boottime(&self) -> Duration {
        *self.0.borrow()
    }
    async fn sleep(&self, duration: Duration) {
        let until = self.boottime() + duration;
        let mut time = self.0.subscribe();
        time.wait_for(|now| *now >= until).await.expect("a clock");
    }
}

struct World {
    clock: Arc<HandClock>,
    cloud: FakeCloud,
}

async fn start() -> Result<World, String> {
    let clock = Arc::new(HandClock(watch::Sender::new(Duration::ZERO)));
    let options = Options {
        boot: Duration::from_secs(10),
        lag: LAG,
        capacity: ROOM,
    };
    let name = "sim".parse().expect("the name of a provider");
    let cloud = FakeCloud::new(name, clock.clone(), options);
    Ok(World { clock, cloud })
}

#[async_trait]
impl ProviderHarness for World {
    fn provider(&self) -> &dyn Provider {
        &self.cloud
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        json!({})
    }
    fn fleet(&self) -> FleetId {
        "acme".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("fake-999999")
    }
    async fn settle(&self) {
        self.clock.0.send_modify(|now| *now += LAG * 2);
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(self.cloud.machines().len())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let batch = CreateBatch {
            fleet: "somebody-else".parse().expect("the name of a fleet"),
            installation: InstallationId::new("elsewhere"),
            batch: "database-1-1".parse().expect("the name of a batch"),
            count: 1,
            offer: "large/0".parse().expect("the name of an offer"),
            spec: json!({}),
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: None,
            user_data: UserData::default(),
        };
        let call = Call::within(self.clock(), LAG);
        match self.cloud.create(&batch, &call).await.pop() {
            Some(Outcome::Done(machine)) => Ok(machine.id),
            other => panic!("{other:?}"),
        }
    }
    async fn announce_end(&self, machine: &Instance) -> Shown {
        self.cloud
            .announce_end(&machine.name, "a spot interruption");
        Ok(())
    }
    async fn lose_reply(&self) -> Shown {
        self.cloud.fault(Fault::LoseCreateReply);
        Ok(())
    }
    async fn room(&self, machines: u32) -> Shown {
        self.cloud.set_capacity(machines);
        Ok(())
    }
    async fn blind(&self) -> Shown {
        self.cloud.fault(Fault::HideScope("zone a".to_owned()));
        Ok(())
    }
    async fn refuse(&self, refusal: Refusal) -> Shown {
        self.cloud.fault(Fault::RefuseCreate(match refusal {
            Refusal::Throttled => ProviderErrorKind::RateLimited { retry_after: None },
            Refusal::OutOfCapacity => ProviderErrorKind::OutOfCapacity,
            Refusal::OverQuota => ProviderErrorKind::QuotaExceeded,
            Refusal::Unauthorized => ProviderErrorKind::Unauthorized,
            Refusal::BadRequest => ProviderErrorKind::InvalidRequest,
        }));
        Ok(())
    }
}

conformance::provider_suite!(start);
