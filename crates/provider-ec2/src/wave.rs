//! A wave of a thousand machines in virtual time: through the real SDK, without a socket.
//!
//! The SDK's requests are handed to the fake EC2 in memory, so that time can be tokio's paused time, which jumps to the
//! next moment somebody waits for. The fake counts in the documented buckets and refuses what finds them empty.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::config::{Credentials, Region, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use fake_ec2::{Ec2 as FakeEc2, Request, Settings};
use jiff::Timestamp;
use model::{CreateBatch, InstallationId, Instance, UserData};
use ports::{
    Call, Clock, Outcome, Provider, ProviderContext, ProviderErrorKind, ProviderPlugin as _,
};
use serde_json::json;

use crate::client::Client;
use crate::provider::Account;
use crate::{Config, Ec2};

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "AKIAFAKEFAKEFAKEFAKE";

/// Tokio's paused time.
struct Paused(tokio::time::Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).unwrap() + self.boottime()
    }
    fn boottime(&self) -> Duration {
        self.0.elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The fake EC2 where the SDK expects a connection.
struct InMemory {
    ec2: Mutex<FakeEc2>,
    clock: Arc<dyn Clock>,
    throttled: AtomicU64,
}

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemory")
    }
}

#[derive(Debug, Clone)]
struct Connection(Arc<InMemory>);

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let headers = request.headers().iter();
        let request = Request {
            method: request.method().to_owned(),
            path: "/".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: request.body().bytes().unwrap_or_default().to_vec(),
        };
        let now = self.0.clock.now();
        let answer = self.0.ec2.lock().unwrap().handle(&request, now);
        if answer.code() == Some("RequestLimitExceeded") {
            self.0.throttled.fetch_add(1, Ordering::Relaxed);
        }
        let status = answer.status.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, answer.body.into())))
    }
}

struct World {
    clock: Arc<dyn Clock>,
    server: Arc<InMemory>,
    account: Arc<Account>,
}

fn world() -> World {
    let clock: Arc<dyn Clock> = {
        #[expect(
            clippy::disallowed_methods,
            reason = "the virtual clock of these tests"
        )]
        Arc::new(Paused(tokio::time::Instant::now()))
    };
    let settings = Settings {
        throttling: true,
        ..Settings::default()
    };
    let server = Arc::new(InMemory {
        ec2: Mutex::new(FakeEc2::new(settings)),
        clock: clock.clone(),
        throttled: AtomicU64::new(0),
    });
    let connection = Connection(server.clone());
    let http: SharedHttpClient =
        http_client_fn(move |_, _| SharedHttpConnector::new(connection.clone()));
    let sdk = aws_sdk_ec2::Config::builder()
        .behavior_version_latest()
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new(KEY, "canary", None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(http)
        .build();
    let config: Config = serde_json::from_value(json!({"region": "eu-central-1"})).unwrap();
    let client = Client::new(config, clock.clone());
    let client = client.with_sdk(aws_sdk_ec2::Client::from_conf(sdk));
    let name = "aws".parse().unwrap();
    let context = ProviderContext {
        name,
        clock: clock.clone(),
    };
    World {
        clock,
        server,
        account: Arc::new(Account::with(client, &context)),
    }
}

impl World {
    fn call(&self) -> Call {
        Call::within(self.clock.clone(), SECOND * 3600)
    }

    fn calls(&self, action: &str) -> u64 {
        self.server.ec2.lock().unwrap().calls(action)
    }

    fn throttled(&self) -> u64 {
        self.server.throttled.load(Ordering::Relaxed)
    }

    fn alive(&self) -> usize {
        let now = self.clock.now();
        self.server.ec2.lock().unwrap().alive(now)
    }

    /// Asks for a batch until it is made: again whenever the account's rate is said to be used up.
    async fn made(&self, sequence: u32, count: u32) -> Vec<Instance> {
        let batch = batch(sequence, count);
        loop {
            if let Some(wait) = self.account.creations_wait() {
                self.clock.sleep(wait).await;
                continue;
            }
            let mut made = Vec::new();
            let mut later = None;
            for outcome in self.account.create(&batch, &self.call()).await {
                match outcome {
                    Outcome::Done(machine) => made.push(machine),
                    Outcome::Failed(error) => match error.kind {
                        ProviderErrorKind::RateLimited { retry_after } => later = retry_after,
                        _ => panic!("{error:?}"),
                    },
                    Outcome::Unknown(error) => panic!("{error:?}"),
                }
            }
            let Some(wait) = later else {
                return made;
            };
            self.clock.sleep(wait).await;
        }
    }

    /// So many batches at once.
    async fn wave(&self, batches: u32, count: u32) -> Vec<Instance> {
        let batches = (0..batches).map(|sequence| self.made(sequence, count));
        futures::future::join_all(batches).await.concat()
    }
}

fn batch(sequence: u32, count: u32) -> CreateBatch {
    CreateBatch {
        fleet: "acme".parse().unwrap(),
        installation: InstallationId::new("here"),
        batch: format!("linux-7-{sequence}").parse().unwrap(),
        count,
        offer: "large/0".parse().unwrap(),
        spec: json!({"image": "ami-00000000000000001", "types": ["m7i.large"]}),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_machines_with_a_shared_bootstrap_are_five_calls_at_once() {
    let world = world();
    let config = serde_json::from_value(json!({"region": "eu-central-1"})).unwrap();
    let batch_limit = Ec2::facts(&config).batch_limit;
    let made = world
        .wave(1000_u32.div_ceil(batch_limit), batch_limit)
        .await;
    assert_eq!((made.len(), world.alive()), (1000, 1000));
    assert!(world.calls("RunInstances") <= 5);
    assert_eq!(world.throttled(), 0);
    assert!(
        world.clock.boottime() < SECOND,
        "{:?}",
        world.clock.boottime()
    );
}

/// The bucket lets five calls through at once and two a second then: 995 more take 497.5 seconds.
#[tokio::test(start_paused = true)]
async fn a_thousand_machines_with_one_credential_each_are_as_fast_as_the_bucket_fills() {
    let world = world();
    let made = world.wave(1000, 1).await;
    assert_eq!((made.len(), world.alive()), (1000, 1000));
    assert_eq!(world.calls("RunInstances"), 1000);
    assert_eq!(world.throttled(), 0);
    let took = world.clock.boottime();
    assert!(took >= SECOND * 497 && took < SECOND * 505, "{took:?}");
}

/// Prevents: the end of a machine that costs waits behind a wave of new ones, or a listing does.
#[tokio::test(start_paused = true)]
async fn deletions_and_listings_go_on_during_a_wave() {
    let world = world();
    let old = world.made(5000, 50).await;
    let others = async {
        let began = world.clock.boottime();
        let outcomes = world.account.delete(&old, &world.call()).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Done(_)))
        );
        world.account.list(&old[0].owner.fleet).await.unwrap();
        world.clock.boottime() - began
    };
    let (made, took) = tokio::join!(world.wave(100, 1), others);
    assert_eq!(made.len(), 100);
    assert!(took < SECOND, "{took:?}");
    assert_eq!(world.throttled(), 0);
}

/// Prevents: another tool that uses the account up makes Parmanu ask in vain, call after call.
#[tokio::test(start_paused = true)]
async fn when_others_use_the_account_up_the_pace_falls_and_recovers() {
    let world = world();
    world.made(0, 1).await;
    let refusals = 3;
    world
        .server
        .ec2
        .lock()
        .unwrap()
        .fault("RunInstances", refusals, fake_ec2::Fault::Throttle);
    let made = world.wave(20, 1).await;
    assert_eq!(made.len(), 20);
    // each refusal is met once; nothing is hammered
    assert_eq!(world.calls("RunInstances"), u64::from(1 + 20 + refusals));
}

/// Prevents: the scaler gives a creation up that was never sent, and its machines count as existing for minutes.
#[tokio::test(start_paused = true)]
async fn a_creation_that_meets_full_places_ends_before_its_caller_gives_it_up() {
    let world = world();
    world.wave(5, 1).await;
    {
        let mut ec2 = world.server.ec2.lock().unwrap();
        for zone in ["eu-central-1a", "eu-central-1b", "eu-central-1c"] {
            for kind in ["m7i.large", "m7i.xlarge", "c7i.2xlarge"] {
                ec2.set_capacity(kind, zone, fake_ec2::Market::OnDemand, Some(0));
            }
        }
    }
    // forty of them wait for their turn, and each tries three types
    let creations = (10..50).map(|sequence| {
        let mut batch = batch(sequence, 1);
        batch.spec["types"] = json!(["m7i.large", "m7i.xlarge", "c7i.2xlarge"]);
        let world = &world;
        async move {
            let began = world.clock.boottime();
            let outcomes = world.account.create(&batch, &world.call()).await;
            assert!(matches!(outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
            world.clock.boottime() - began
        }
    });
    let took = futures::future::join_all(creations).await;
    let longest = took.into_iter().max().unwrap();
    assert!(longest < SECOND * 60, "{longest:?}");
    assert_eq!(world.throttled(), 0);
}
