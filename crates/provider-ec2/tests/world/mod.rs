//! A fake EC2 behind a port, the plugin in front of it, and a clock that is moved by hand.
#![allow(dead_code, reason = "each test program uses its own part")]

mod harness;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fake_ec2::{Ec2 as FakeEc2, Server, Settings};
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing};
use ports::{
    Call, Clock, Leftover, Outcome, Provider, ProviderContext, ProviderError, ProviderPlugin,
};
use provider_ec2::{Config, Ec2};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Types and subnets of the offer that the tests use: two tries, so that the way from one to the next is walked.
pub(crate) const TYPE: &str = "m7i.large";
/// The zones of the offer's subnets.
pub(crate) const ZONES: [&str; 2] = ["eu-central-1a", "eu-central-1b"];

/// How long the fake's listing lags behind, both ways.
pub(crate) const LAG: Duration = Duration::from_secs(30);
/// Every action that the fake counts.
pub(crate) const ACTIONS: [&str; 8] = [
    "RunInstances",
    "DescribeInstances",
    "TerminateInstances",
    "CreateTags",
    "DescribeImages",
    "DescribeSpotInstanceRequests",
    "GetConsoleOutput",
    "DescribeVolumes",
];

/// Time that passes only when a test says so, so that no test depends on how busy its host is.
pub(crate) struct HandClock {
    now: watch::Sender<Duration>,
    /// Until when whoever lay down last for a short while sleeps.
    short: watch::Sender<Duration>,
}

/// Waits for a turn at the account's call rate are shorter, waits for answers are longer.
const SHORT: Duration = Duration::from_secs(3);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            now: watch::Sender::new(Duration::ZERO),
            short: watch::Sender::new(Duration::ZERO),
        })
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now.send_modify(|now| *now += time);
    }

    /// Carries `future` out; time passes whenever somebody waits for a turn, and not otherwise.
    pub(crate) async fn passing<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let mut short = self.short.subscribe();
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                until = short.wait_for(|until| *until > self.boottime()) => {
                    let until = *until.expect("the clock outlives its sleepers");
                    self.pass(until.saturating_sub(self.boottime()));
                }
            }
        }
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).expect("a time") + self.boottime()
    }

    fn boottime(&self) -> Duration {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.boottime() + duration;
        if duration < SHORT {
            self.short.send_replace(until);
        }
        let waited = self
            .now
            .subscribe()
            .wait_for(|now| *now >= until)
            .await
            .map(drop);
        waited.expect("the clock outlives its sleepers");
    }
}

/// The plugin, while time passes as long as it waits for its turn.
struct Patient {
    provider: Arc<dyn Provider>,
    clock: Arc<HandClock>,
}

#[async_trait]
impl Provider for Patient {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        self.clock.passing(self.provider.list(fleet)).await
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        self.clock.passing(self.provider.create(batch, call)).await
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        self.clock
            .passing(self.provider.delete(instances, call))
            .await
    }

    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let renewed = self.provider.renew(instances, until, call);
        self.clock.passing(renewed).await
    }

    async fn ask_guests(
        &self,
        instances: &[Instance],
        why: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let asked = self.provider.ask_guests(instances, why, call);
        self.clock.passing(asked).await
    }

    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        self.clock
            .passing(self.provider.console(instance, call))
            .await
    }

    async fn leftovers(&self, fleet: &FleetId) -> Result<Vec<Leftover>, ProviderError> {
        self.clock.passing(self.provider.leftovers(fleet)).await
    }
}

/// One account and the plugin that uses it.
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) server: Server,
    ec2: Arc<Mutex<FakeEc2>>,
}

impl World {
    pub(crate) fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let ec2 = Arc::new(Mutex::new(FakeEc2::new(settings)));
        let clock = HandClock::new();
        let time = Arc::clone(&clock);
        let server = Server::start(Arc::clone(&ec2), move || time.now()).expect("a port");
        let provider = patient(&account(&server.url()), &clock);
        Self {
            clock,
            provider,
            server,
            ec2,
        }
    }

    /// The fake itself. Let go before the provider is asked for anything.
    pub(crate) fn ec2(&self) -> MutexGuard<'_, FakeEc2> {
        self.ec2.lock().expect("nobody panics with it")
    }

    pub(crate) fn alive(&self) -> usize {
        let now = self.clock.now();
        self.ec2().alive(now)
    }
}

/// A configuration with the fake's own keys.
pub(crate) fn account(url: &str) -> Value {
    let keys = json!({"id": "AKIAFAKEFAKEFAKEFAKE", "secret": "canary-secret"});
    json!({"region": "eu-central-1", "endpoint": url, "credentials": {"keys": keys}})
}

pub(crate) fn provider(config: &Value, clock: Arc<dyn Clock>) -> Arc<dyn Provider> {
    let config: Config = serde_json::from_value(config.clone()).expect("a configuration");
    let name = "aws".parse().expect("the name of a provider");
    Ec2::provider(config, &ProviderContext { name, clock }).expect("a provider")
}

/// The plugin, while time passes as long as it waits for its turn.
pub(crate) fn patient(config: &Value, clock: &Arc<HandClock>) -> Arc<dyn Provider> {
    Arc::new(Patient {
        provider: provider(config, clock.clone()),
        clock: clock.clone(),
    })
}

pub(crate) fn offer() -> Value {
    json!({
        "image": "ami-00000000000000001",
        "types": [TYPE],
        "subnets": ["subnet-0000000000000000a", "subnet-0000000000000000b"],
        "security_groups": ["sg-00000000000000001"],
        "instance_profile": "ci-builder",
        "key_name": "ci",
    })
}

impl World {
    /// What needs calls that the suite for every provider has no use for.
    pub(crate) async fn newest_image_on_the_spot_market(&self) {
        let spec = json!({
            "newest_image": {"name": "ci-linux-*", "owner": "self"}, "types": [TYPE], "market": "spot",
        });
        let batch = CreateBatch {
            fleet: "acme".parse().expect("the name of a fleet"),
            installation: model::InstallationId::new("here"),
            batch: "linux-7-1".parse().expect("the name of a batch"),
            count: 1,
            offer: "large/0".parse().expect("the name of an offer"),
            spec,
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: None,
            user_data: model::UserData::default(),
        };
        let call = Call::within(self.clock.clone(), Duration::from_secs(60));
        let outcomes = self.provider.create(&batch, &call).await;
        assert!(matches!(outcomes[0], Outcome::Done(_)), "{outcomes:?}");
        let listed = self.provider.list(&batch.fleet).await.expect("a listing");
        assert_eq!(listed.instances.len(), 1);
        let left = self.provider.leftovers(&batch.fleet).await;
        assert_eq!(left.expect("a list of disks"), []);
    }
}
