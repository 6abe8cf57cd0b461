//! What the tests of this crate share: real time, a provider over a program, and who runs Python.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    BatchId, CreateBatch, Epoch, FleetId, InstallationId, Instance, OfferId, Timestamp, UserData,
};
use ports::{Call, Clock, Outcome, Provider, ProviderContext, ProviderPlugin};
use provider_command::{Command, Config};
use serde_json::{Value, json};

/// Real time: a process does not wait for a clock of ours.
pub(crate) struct RealClock;

#[async_trait]
impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "processes live in real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn boottime(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "processes live in real time")]
        START.get_or_init(std::time::Instant::now).elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The distribution's Python before any other: version managers put a slow shim first in the PATH.
pub(crate) fn python() -> Result<&'static str, String> {
    let system = "/usr/bin/python3";
    if Path::new(system).exists() {
        return Ok(system);
    }
    let found = std::process::Command::new("python3").arg("-V").output();
    match found {
        Ok(output) if output.status.success() => Ok("python3"),
        _ => Err("python3 is not installed".to_owned()),
    }
}

/// A provider called `dc2` of this configuration.
pub(crate) fn provider(config: &Value, clock: Arc<dyn Clock>) -> Arc<dyn Provider> {
    let config: Config = serde_json::from_value(config.clone()).expect("a configuration");
    let context = ProviderContext {
        name: "dc2".parse().expect("a name"),
        clock,
    };
    Command::provider(config, &context).expect("a provider")
}

pub(crate) fn fleet(name: &str) -> FleetId {
    name.parse().expect("the name of a fleet")
}

pub(crate) fn call() -> Call {
    Call::within(Arc::new(RealClock), Duration::from_secs(60))
}

/// A batch of the fleet `acme`.
pub(crate) fn batch(sequence: u32, count: u32, spec: &Value) -> CreateBatch {
    CreateBatch {
        fleet: fleet("acme"),
        installation: InstallationId::new("installation-1"),
        batch: BatchId {
            pool: "linux".parse().expect("a pool"),
            epoch: Epoch(1_795_531_234_567),
            sequence,
        },
        count,
        offer: OfferId {
            machine: "small".parse().expect("a machine"),
            index: 0,
        },
        spec: json!({ "spec": spec }),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData("#!/bin/sh\n".to_owned()),
    }
}

pub(crate) async fn create_one(provider: &dyn Provider, batch: &CreateBatch) -> Outcome<Instance> {
    let outcomes = provider.create(batch, &call()).await;
    outcomes.into_iter().next().expect("one outcome")
}

pub(crate) async fn made(provider: &dyn Provider, batch: &CreateBatch) -> Instance {
    match create_one(provider, batch).await {
        Outcome::Done(machine) => machine,
        other => panic!("{other:?}"),
    }
}

/// Looks until `ready` answers; fails after half a minute.
pub(crate) async fn until<T>(what: &str, mut ready: impl AsyncFnMut() -> Option<T>) -> T {
    let clock = RealClock;
    let start = clock.boottime();
    loop {
        if let Some(value) = ready().await {
            return value;
        }
        let waited = clock.boottime() - start;
        assert!(
            waited < Duration::from_secs(30),
            "{what} did not come within {waited:?}"
        );
        clock.sleep(Duration::from_millis(10)).await;
    }
}

const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/wire.py");

/// The words that start `program` with its reply at the mercy of the test, see [`tell`].
pub(crate) fn behind_a_wire(folder: &Path, program: &str) -> Result<Vec<String>, String> {
    let folder = folder.display().to_string();
    let words = [python()?, "-B", WIRE, &folder, python()?, "-B", program];
    Ok(words.map(str::to_owned).into())
}

/// What the wire does next: `lose` the reply of the next creation, or make the next listing `blind`.
pub(crate) fn tell(folder: &Path, what: &str) {
    std::fs::write(folder.join(what), "").expect("a file");
}
