//! A fake EC2 behind a port, the plugin in front of it, and a clock that is moved by hand.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fake_ec2::{Ec2 as FakeEc2, Server, Settings};
use jiff::Timestamp;
use ports::{Clock, Provider, ProviderContext, ProviderPlugin};
use provider_ec2::{Config, Ec2};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Types and subnets of the offer that the tests use: two tries, so that the way from one to the next is walked.
pub(crate) const TYPE: &str = "m7i.large";
/// The zones of the offer's subnets.
pub(crate) const ZONES: [&str; 2] = ["eu-central-1a", "eu-central-1b"];

/// Time that passes only when a test says so, so that no test depends on how busy its host is.
pub(crate) struct HandClock(watch::Sender<Duration>);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Duration::ZERO)))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }
}

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
        let waited = self
            .0
            .subscribe()
            .wait_for(|now| *now >= until)
            .await
            .map(drop);
        waited.expect("the clock outlives its sleepers");
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
        let provider = provider(&account(&server.url()), clock.clone());
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
