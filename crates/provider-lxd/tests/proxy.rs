//! Lost, cut, late and refused answers of a real LXD over HTTPS, by a proxy that we did not write.
//!
//! In the extended run only. One test, since the proxy follows one plan at a time. What stands is told by the daemon
//! itself, over its socket.

#[path = "world/mod.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{CreateBatch, InstallationId, Instance, UserData};
use ports::{Call, Outcome, Provider, ProviderContext, ProviderPlugin};
use provider_lxd::{Config, Lxd};
use serde_json::json;
use world::{RealClock, World};

struct Proxied {
    world: World,
    provider: Arc<dyn Provider>,
    plan: PathBuf,
    plans: u32,
}

impl Proxied {
    async fn start() -> Option<Self> {
        let variables = ["LXD_PROXY", "PROXIES", "LXD_CLIENT"];
        let found = variables.map(|name| std::env::var(format!("PARMANU_TEST_{name}")).ok());
        let [Some(url), Some(folder), Some(client)] = found else {
            let why = "PARMANU_TEST_LXD_PROXY is not set";
            conformance::provider::left_out("provider-lxd::proxy", why);
            return None;
        };
        let world = World::start().await.expect("LXD runs where its proxy does");
        let (folder, client) = (Path::new(&folder), Path::new(&client));
        let secret = |file: PathBuf| json!(format!("${{file:{}}}", file.display()));
        let config = json!({
            "url": url,
            "project": world.project,
            "client_certificate": secret(client.join("client.crt")),
            "client_key": secret(client.join("client.key")),
            "server_certificate": secret(folder.join("mitmproxy-ca-cert.pem")),
        });
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let context = ProviderContext {
            name: "rack".parse().expect("a name"),
            clock: Arc::new(RealClock),
        };
        Some(Self {
            provider: Lxd::provider(config, &context).expect("a provider"),
            plan: folder.join("lxd.json"),
            plans: 0,
            world,
        })
    }

    /// The next request that begins so fares so.
    fn next(&mut self, what: &str, fault: &str) {
        self.plans += 1;
        let rules = json!([{"what": what, "times": 1, "do": fault}]);
        let plan = json!({"id": self.plans.to_string(), "rules": rules});
        std::fs::write(&self.plan, plan.to_string()).expect("the plan is written");
    }

    fn call(&self) -> Call {
        Call::within(self.world.clock.clone(), Duration::from_secs(120))
    }

    /// Asks until it is done: what a creator that vanished left behind stands in the way for some seconds.
    async fn made(&self, batch: &CreateBatch) -> Instance {
        let until = self.world.clock.clone();
        let deadline = ports::Clock::boottime(&*until) + Duration::from_secs(60);
        loop {
            match self.provider.create(batch, &self.call()).await.pop() {
                Some(Outcome::Done(machine)) => return machine,
                other => assert!(
                    ports::Clock::boottime(&*until) < deadline,
                    "not made within a minute: {other:?}"
                ),
            }
        }
    }
}

fn batch(sequence: u32) -> CreateBatch {
    CreateBatch {
        fleet: "acme".parse().expect("the name of a fleet"),
        installation: InstallationId::new("here"),
        batch: format!("linux-7-{sequence}")
            .parse()
            .expect("the name of a batch"),
        count: 1,
        offer: "small/0".parse().expect("the name of an offer"),
        spec: world::offer(),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData::default(),
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn whatever_breaks_on_the_way_no_answer_lies_and_no_machine_is_made_twice() {
    let Some(mut proxied) = Proxied::start().await else {
        return;
    };
    let (instances, operations) = ("POST /1.0/instances?", "GET /1.0/operations/");
    let mut wanted: Vec<String> = Vec::new();
    let mut made = Vec::new();
    for (sequence, (what, fault)) in (1..).zip([
        (instances, "drop_before"),
        (instances, "drop_after"),
        (instances, "truncate"),
        (instances, "throttle"),
        (operations, "drop_after"),
        (operations, "truncate"),
        (instances, "delay"),
    ]) {
        proxied.next(what, fault);
        let batch = batch(sequence);
        let name = batch.batch.instance(0).to_string();
        let first = proxied.provider.create(&batch, &proxied.call()).await;
        let is_there = proxied.world.names().await.contains(&name);
        let is_done = matches!(first[0], Outcome::Done(_));
        assert_eq!(is_done, fault == "delay", "{what} {fault}: {first:?}");
        match &first[0] {
            Outcome::Done(_) => assert!(is_there, "{what} {fault}: done, and not there"),
            Outcome::Failed(error) => {
                assert!(!is_there, "{what} {fault}: failed, and there: {error}");
            }
            Outcome::Unknown(_) => {}
        }
        made.push(proxied.made(&batch).await);
        wanted.push(name);
        let names = sorted(proxied.world.names().await);
        assert_eq!(names, wanted, "after {what} {fault}: each once");
    }
    for fault in ["drop_before", "drop_after", "truncate", "throttle"] {
        proxied.next("GET /1.0/instances", fault);
        let fleet = "acme".parse().expect("the name of a fleet");
        if let Ok(listing) = proxied.provider.list(&fleet).await {
            assert!(
                !listing.unknown.is_empty(),
                "{fault}: a short listing that looks whole"
            );
        }
        let listing = proxied.provider.list(&fleet).await.expect("a listing");
        assert_eq!(listing.instances.len(), wanted.len(), "after {fault}");
    }
    for (machine, (what, fault)) in made.iter().zip([
        ("DELETE /1.0/instances/", "drop_before"),
        ("DELETE /1.0/instances/", "drop_after"),
        ("DELETE /1.0/instances/", "truncate"),
        ("DELETE /1.0/instances/", "throttle"),
        ("PUT /1.0/instances/", "drop_after"),
        ("GET /1.0/operations/", "drop_after"),
        ("PUT /1.0/instances/", "delay"),
    ]) {
        proxied.next(what, fault);
        let doomed = std::slice::from_ref(machine);
        let first = proxied.provider.delete(doomed, &proxied.call()).await;
        let is_there = proxied
            .world
            .names()
            .await
            .contains(&machine.name.to_string());
        let is_done = matches!(first[0], Outcome::Done(_));
        assert_eq!(is_done, fault == "delay", "{what} {fault}: {first:?}");
        match &first[0] {
            Outcome::Done(_) => assert!(!is_there, "{what} {fault}: done, and still there"),
            Outcome::Failed(error) => {
                assert!(is_there, "{what} {fault}: failed, and gone: {error}");
            }
            Outcome::Unknown(_) => {}
        }
        let again = proxied.provider.delete(doomed, &proxied.call()).await;
        assert!(
            matches!(again[0], Outcome::Done(_)),
            "{what} {fault}: {again:?}"
        );
    }
    assert_eq!(proxied.world.names().await, Vec::<String>::new());
}
