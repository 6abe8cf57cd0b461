//! Lost, cut, late and refused answers between the real SDK and moto, by a proxy that we did not write.
//!
//! In the extended run only. One test, since the proxy follows one plan at a time.

#[path = "world/mod.rs"]
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{CreateBatch, FleetId, InstallationId, Instance, InstanceName, UserData};
use ports::{Call, Outcome, Provider, ProviderErrorKind};
use serde_json::json;
use world::HandClock;

struct Proxied {
    plan: PathBuf,
    plans: u32,
    fleet: FleetId,
    clock: Arc<HandClock>,
    provider: Arc<dyn Provider>,
}

impl Proxied {
    fn start() -> Option<Self> {
        let url = std::env::var("PARMANU_TEST_MOTO_PROXY").ok();
        let Some((url, folder)) = url.zip(std::env::var_os("PARMANU_TEST_PROXIES")) else {
            let why = "PARMANU_TEST_MOTO_PROXY is not set";
            conformance::provider::left_out("provider-ec2::proxy", why);
            return None;
        };
        let clock = HandClock::new();
        let fleet = format!("proxied-{}", std::process::id());
        Some(Self {
            plan: PathBuf::from(folder).join("moto.json"),
            plans: 0,
            fleet: fleet.parse().expect("the name of a fleet"),
            provider: world::patient(&world::account(&url), &clock),
            clock,
        })
    }

    /// The next request of this action fares so.
    fn next(&mut self, action: &str, fault: &str) {
        self.plans += 1;
        let rules = json!([{"what": action, "times": 1, "do": fault}]);
        let plan = json!({"id": self.plans.to_string(), "rules": rules});
        std::fs::write(&self.plan, plan.to_string()).expect("the plan is written");
    }

    fn call(&self) -> Call {
        Call::within(self.clock.clone(), Duration::from_secs(600))
    }

    fn batch(&self, sequence: u32) -> CreateBatch {
        CreateBatch {
            fleet: self.fleet.clone(),
            installation: InstallationId::new("here"),
            batch: format!("linux-7-{sequence}")
                .parse()
                .expect("the name of a batch"),
            count: 1,
            offer: "large/0".parse().expect("the name of an offer"),
            spec: json!({"image": "ami-12345678", "types": ["m5.large"], "zones": ["eu-central-1a"]}),
            generation: model::Generation::new("0f3c5a"),
            attempt: 0,
            executor: None,
            user_data: UserData::default(),
        }
    }

    async fn create(&self, batch: &CreateBatch) -> Outcome<Instance> {
        let mut outcomes = self.provider.create(batch, &self.call()).await;
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    async fn standing(&self) -> Vec<InstanceName> {
        let listing = self.provider.list(&self.fleet).await.expect("a listing");
        assert!(listing.unknown.is_empty(), "{:?}", listing.unknown);
        let standing = listing.instances.into_iter().filter(|machine| {
            let ends = matches!(machine.state, model::InstanceState::Stopping);
            !ends && !machine.state.is_gone()
        });
        let mut names: Vec<_> = standing.map(|machine| machine.name).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn whatever_breaks_on_the_way_no_answer_lies_and_no_machine_is_made_twice() {
    let Some(mut proxied) = Proxied::start() else {
        return;
    };
    let mut wanted = Vec::new();
    // what a creation is told, and whether its machine is there
    for (sequence, (fault, word, kind, is_there)) in (1..).zip([
        (
            "drop_before",
            "unknown",
            Some(ProviderErrorKind::UnknownOutcome),
            false,
        ),
        (
            "drop_after",
            "unknown",
            Some(ProviderErrorKind::UnknownOutcome),
            true,
        ),
        (
            "truncate",
            "unknown",
            Some(ProviderErrorKind::UnknownOutcome),
            true,
        ),
        (
            "no_capacity",
            "failed",
            Some(ProviderErrorKind::OutOfCapacity),
            false,
        ),
        ("delay", "done", None, true),
        ("throttle", "failed", None, false),
    ]) {
        proxied.next("RunInstances", fault);
        let mut batch = proxied.batch(sequence);
        let outcome = proxied.create(&batch).await;
        assert_eq!(outcome.as_str(), word, "{fault}: {outcome:?}");
        if let (Outcome::Failed(error) | Outcome::Unknown(error), Some(kind)) = (&outcome, kind) {
            assert_eq!(error.kind, kind, "{fault}");
        }
        let name = batch.batch.instance(0);
        let listed = proxied.standing().await;
        assert_eq!(listed.contains(&name), is_there, "{fault}: {listed:?}");
        // whoever asks again asks as somebody who knows that somebody was here
        batch.attempt = 1;
        let again = proxied.create(&batch).await;
        assert_eq!(again.as_str(), "done", "{fault}: {again:?}");
        wanted.push(name);
        assert_eq!(proxied.standing().await, wanted, "after {fault}: each once");
    }
    // a listing is whole, or says that it is not
    for fault in ["drop_before", "drop_after", "truncate", "throttle"] {
        proxied.next("DescribeInstances", fault);
        if let Ok(listing) = proxied.provider.list(&proxied.fleet).await {
            assert!(
                !listing.unknown.is_empty(),
                "{fault}: a short listing that looks whole"
            );
        }
        assert_eq!(proxied.standing().await, wanted, "after {fault}");
    }
    // a deletion is done, or may be asked for again
    let machines = proxied
        .provider
        .list(&proxied.fleet)
        .await
        .expect("a listing");
    let faults = [
        "drop_before",
        "drop_after",
        "truncate",
        "throttle",
        "delay",
        "none",
    ];
    for (machine, fault) in machines.instances.iter().zip(faults) {
        proxied.next("TerminateInstances", fault);
        let doomed = std::slice::from_ref(machine);
        let first = proxied.provider.delete(doomed, &proxied.call()).await;
        let is_there = proxied.standing().await.contains(&machine.name);
        match &first[0] {
            Outcome::Done(_) => assert!(!is_there, "{fault}: done, and still there"),
            Outcome::Failed(error) => assert!(is_there, "{fault}: failed, and gone: {error}"),
            Outcome::Unknown(_) => {}
        }
        let again = proxied.provider.delete(doomed, &proxied.call()).await;
        assert!(matches!(again[0], Outcome::Done(_)), "{fault}: {again:?}");
    }
    assert!(proxied.standing().await.is_empty());
}
