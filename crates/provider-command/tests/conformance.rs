//! The command plugin keeps the promises of every provider, over a small program that keeps state.

#[path = "world/mod.rs"]
mod world;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use model::{FleetId, Instance, ProviderRef};
use ports::{Clock, Provider};
use serde_json::{Value, json};
use world::RealClock;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/world/machines.py");

struct Folder {
    folder: tempfile::TempDir,
    clock: Arc<RealClock>,
    provider: Arc<dyn Provider>,
}

async fn start() -> Result<Folder, String> {
    // small enough that the suite needs several runs, and some at once
    with_batches_of(20)
}

fn with_batches_of(machines: u32) -> Result<Folder, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(RealClock);
    let config = json!({
        "program": [world::python()?, PROGRAM, folder.path()],
        "batch_limit": machines,
    });
    Ok(Folder {
        provider: world::provider(&config, clock.clone()),
        clock,
        folder,
    })
}

impl Folder {
    /// Tells the next run what to do.
    fn tell(&self, key: &str, value: Value) {
        let mut control = read(&self.folder.path().join("control.json"));
        control[key] = value;
        let file = self.folder.path().join("control.json");
        std::fs::write(file, control.to_string()).expect("a file");
    }

    /// How often the program was asked for this.
    fn runs(&self, verb: &str) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("log"));
        let log = log.unwrap_or_default();
        log.lines().filter(|line| *line == verb).count()
    }

    fn write(&self, machines: &Value) {
        let file = self.folder.path().join("machines.json");
        std::fs::write(file, machines.to_string()).expect("a file");
    }

    fn machines(&self) -> Value {
        read(&self.folder.path().join("machines.json"))
    }
}

fn read(file: &Path) -> Value {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("JSON"),
        Err(_) => json!({}),
    }
}

#[async_trait]
impl ProviderHarness for Folder {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        json!({ "spec": { "size": "large" }, "market": "spot" })
    }
    fn fleet(&self) -> FleetId {
        world::fleet("acme")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("acme.nobody-1-1-1")
    }
    fn largest_batch(&self) -> u32 {
        20
    }
    async fn settle(&self) {
        // the list of a folder does not lag
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(self.machines().as_object().expect("machines").len())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let mut machines = self.machines();
        machines["db1"] = json!({ "name": "db1", "state": "running", "tags": {} });
        self.write(&machines);
        Ok(ProviderRef::new("db1"))
    }
    async fn announce_end(&self, machine: &Instance) -> Shown {
        let mut machines = self.machines();
        machines[machine.id.as_str()]["notice"] = json!("host-1 is to be maintained");
        self.write(&machines);
        Ok(())
    }
    async fn lose_reply(&self) -> Shown {
        self.tell("lose", json!(true));
        Ok(())
    }
    async fn room(&self, machines: u32) -> Shown {
        self.tell("room", json!(machines));
        Ok(())
    }
    async fn blind(&self) -> Shown {
        self.tell("blind", json!(true));
        Ok(())
    }
    async fn refuse(&self, refusal: Refusal) -> Shown {
        let kind = match refusal {
            Refusal::Throttled => "rate_limited",
            Refusal::OutOfCapacity => "out_of_capacity",
            Refusal::OverQuota => "quota_exceeded",
            Refusal::Unauthorized => "unauthorized",
            Refusal::BadRequest => "invalid_request",
        };
        self.tell("refuse", json!(kind));
        Ok(())
    }
}

conformance::provider_suite!(start);

#[tokio::test]
async fn a_machine_is_renewed_and_its_console_read() {
    let folder = match start().await {
        Ok(folder) => folder,
        Err(why) => return conformance::provider::missing("provider-command::renew", &why),
    };
    let batch = world::batch(1, 1, &json!({}));
    let machine = world::made(&*folder.provider, &batch).await;
    let until = "2030-01-01T00:00:00Z".parse().expect("a time");
    let renewed = folder
        .provider
        .renew(std::slice::from_ref(&machine), until, &world::call())
        .await;
    assert!(
        matches!(renewed[..], [ports::Outcome::Done(_)]),
        "{renewed:?}"
    );
    let kept = &folder.machines()[machine.id.as_str()]["tags"]["parmanu-expires"];
    assert_eq!(kept, "2030-01-01T00:00:00Z");
    let console = folder.provider.console(&machine, &world::call()).await;
    assert_eq!(
        console.expect("a console").as_deref(),
        Some("booted with 10 bytes")
    );
}

#[tokio::test]
async fn many_machines_are_deleted_in_runs_of_one_fleet_and_of_no_more_than_one_run_may_have() {
    let folder = match with_batches_of(3) {
        Ok(folder) => folder,
        Err(why) => return conformance::provider::missing("provider-command::runs", &why),
    };
    let mut batch = world::batch(1, 5, &json!({}));
    let mut machines = Vec::new();
    for name in ["acme", "other"] {
        batch.fleet = world::fleet(name);
        for made in folder.provider.create(&batch, &world::call()).await {
            match made {
                ports::Outcome::Done(machine) => machines.push(machine),
                other => panic!("{other:?}"),
            }
        }
    }
    let before = folder.runs("delete");
    let deleted = folder.provider.delete(&machines, &world::call()).await;
    for (outcome, machine) in deleted.iter().zip(&machines) {
        match outcome {
            ports::Outcome::Done(name) => assert_eq!(*name, machine.name),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(deleted.len(), 10);
    assert_eq!(folder.runs("delete") - before, 4, "3 and 2 of each fleet");
    assert_eq!(folder.alive().await, Ok(0));
}
