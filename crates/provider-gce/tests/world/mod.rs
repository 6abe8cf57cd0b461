//! A fake Compute Engine behind a port, the plugin in front of it, and a clock that is moved by hand.
#![allow(dead_code, reason = "each test program uses its own part")]

mod asking;
mod harness;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use fake_gce::{Gce as FakeGce, Server, Settings, Time};
use jiff::Timestamp;
use ports::{Clock, Provider, ProviderContext, ProviderPlugin};
use provider_gce::{Config, Gce};
use serde_json::{Value, json};
use tokio::sync::watch;

#[allow(unused_imports, reason = "each test program uses its own part")]
pub(crate) use {
    asking::{CANARY, batch, fleet},
    harness::slow,
};

/// The machine type of the tests' offer.
pub(crate) const TYPE: &str = "e2-standard-4";
/// The zones of the provider: two tries, so that the way from one to the next is walked.
pub(crate) const ZONES: [&str; 2] = ["europe-west3-a", "europe-west3-b"];
/// Who calls.
pub(crate) const CALLER: &str = "parmanu@acme-ci.iam.gserviceaccount.com";
/// The right that is given for one service account, and not by the role of the project.
pub(crate) const ACT_AS: &str = "iam.serviceAccounts.actAs";

/// Time that passes only when a test says so, or when somebody waits for an operation and nothing else happens.
pub(crate) struct HandClock(watch::Sender<Duration>);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Duration::ZERO)))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }

    fn pass_until(&self, at: Timestamp) {
        let until = at.duration_since(START).unsigned_abs();
        self.0.send_modify(|now| *now = until.max(*now));
    }
}

/// Twenty seconds into a minute.
const START: Timestamp = Timestamp::constant(1_795_531_280, 0);

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        START + self.boottime()
    }

    fn boottime(&self) -> Duration {
        *self.0.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.boottime().saturating_add(duration);
        let waited = self
            .0
            .subscribe()
            .wait_for(|now| *now >= until)
            .await
            .map(drop);
        waited.expect("the clock outlives its sleepers");
    }
}

/// The same clock for the server.
struct ServerTime(Arc<HandClock>);

impl Time for ServerTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move { self.0.pass_until(at) })
    }
}

/// One project and the plugin that uses it.
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) server: Server,
    gce: Arc<Mutex<FakeGce>>,
}

impl World {
    /// A project whose policy gives Parmanu the published role and nothing else, so that every test of every program here
    /// would notice a right that is missing from it.
    pub(crate) fn start(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_with(change, |_| {})
    }

    pub(crate) fn start_with(
        change: impl FnOnce(&mut Settings),
        account: impl FnOnce(&mut Value),
    ) -> Self {
        let mut granted: BTreeSet<String> = role().map(str::to_owned).collect();
        granted.insert(ACT_AS.to_owned());
        let mut settings = Settings {
            granted: Some(granted),
            ..Settings::default()
        };
        change(&mut settings);
        let gce = Arc::new(Mutex::new(FakeGce::new(settings)));
        let clock = HandClock::new();
        let time = ServerTime(Arc::clone(&clock));
        let server = Server::start(Arc::clone(&gce), time).expect("a port");
        let mut config = self::account(&server.url());
        account(&mut config);
        let provider = provider(&config, clock.clone());
        Self {
            clock,
            provider,
            server,
            gce,
        }
    }

    /// The fake itself. Let go before the provider is asked for anything.
    pub(crate) fn gce(&self) -> MutexGuard<'_, FakeGce> {
        self.gce.lock().expect("nobody panics with it")
    }

    /// What comes of it while time passes by itself. Client, server and time take turns on one thread, so time runs no
    /// faster beside an exchange on a busy host: it needs some hundred turns, which are a tenth of a second here.
    pub(crate) async fn while_time_passes<T>(&self, what: impl Future<Output = T>) -> T {
        let pass = async {
            loop {
                for _ in 0..500 {
                    tokio::task::yield_now().await;
                }
                self.clock.pass(Duration::from_millis(100));
            }
        };
        tokio::select! {
            biased;
            value = what => value,
            () = pass => unreachable!("it passes for ever"),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        let now = self.clock.now();
        self.gce().alive(now)
    }
}

/// The permissions of the published role.
pub(crate) fn role() -> impl Iterator<Item = &'static str> {
    let file = include_str!("../../../../deploy/gce/parmanu-role.yaml");
    let lines = file
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    lines.filter(|permission| permission.contains('.'))
}

/// A service account's key file. The key is made here and good for nothing.
pub(crate) fn key_file(email: &str) -> String {
    static KEY: OnceLock<String> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its encoding");
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    });
    let file = json!({
        "type": "service_account",
        "project_id": "acme-ci",
        "private_key_id": "canary-key-id",
        "private_key": key,
        "client_email": email,
    });
    file.to_string()
}

/// A configuration whose credentials the fake knows.
pub(crate) fn account(url: &str) -> Value {
    json!({
        "project": "acme-ci",
        "zones": ZONES,
        "endpoint": url,
        "credentials": {"service_account": key_file(CALLER)},
    })
}

pub(crate) fn provider(config: &Value, clock: Arc<dyn Clock>) -> Arc<dyn Provider> {
    let config: Config = serde_json::from_value(config.clone()).expect("a configuration");
    let name = "gcp".parse().expect("the name of a provider");
    Gce::provider(config, &ProviderContext { name, clock }).expect("a provider")
}

pub(crate) fn offer() -> Value {
    json!({
        "image": "family/ci-linux",
        "types": [TYPE],
        "subnet": "builders",
        "tags": ["ci"],
        "service_account": {"email": "builder@acme-ci.iam.gserviceaccount.com"},
    })
}
