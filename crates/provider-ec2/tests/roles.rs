//! Roles, assumed at a token service that we did not write: moto's.

#[path = "world/mod.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use model::{CreateBatch, FleetId, InstallationId, UserData};
use ports::{Call, Outcome, Provider, ProviderErrorKind};
use serde_json::{Value, json};
use world::HandClock;

const ROLE: &str = "arn:aws:iam::123456789012:role/parmanu";

/// The address of moto; without it the test is skipped by name.
fn moto(test: &str) -> Option<String> {
    let variable = "PARMANU_TEST_MOTO_URL";
    let url = std::env::var(variable).ok();
    if url.is_none() {
        conformance::provider::missing(test, &format!("{variable} is not set"));
    }
    url
}

fn provider(url: &str, credentials: &Value) -> (Arc<dyn Provider>, Arc<HandClock>) {
    let clock = HandClock::new();
    let mut account = world::account(url);
    account["sts_endpoint"] = json!(url);
    account["credentials"] = credentials.clone();
    (world::provider(&account, clock.clone()), clock)
}

/// Makes one machine and ends it.
async fn live(
    url: &str,
    fleet: &str,
    credentials: &Value,
) -> Result<(), (ProviderErrorKind, String)> {
    let (provider, clock) = provider(url, credentials);
    let batch = CreateBatch {
        fleet: format!("{fleet}-{}", std::process::id())
            .parse::<FleetId>()
            .expect("a fleet"),
        installation: InstallationId::new("here"),
        batch: "linux-7-1".parse().expect("the name of a batch"),
        count: 1,
        offer: "large/0".parse().expect("the name of an offer"),
        spec: json!({"image": "ami-12345678", "types": ["m5.large"], "zones": ["eu-central-1a"]}),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData::default(),
    };
    let call = Call::within(clock, Duration::from_secs(600));
    match provider.create(&batch, &call).await.pop() {
        Some(Outcome::Done(machine)) => {
            let ended = provider.delete(&[machine], &call).await;
            assert!(matches!(ended[0], Outcome::Done(_)), "{ended:?}");
            Ok(())
        }
        Some(Outcome::Failed(error)) => Err((error.kind, error.to_string())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_keys() {
    let Some(url) = moto("roles::a_role_is_assumed_with_keys") else {
        return;
    };
    let credentials = json!({"assume_role": {
        "role": ROLE,
        "external_id": "a fake external id",
        "keys": {"id": "AKIAFAKEFAKEFAKEFAKE", "secret": "canary-secret"},
    }});
    live(&url, "assumed", &credentials)
        .await
        .expect("a machine");
}

#[tokio::test]
async fn a_role_is_assumed_with_a_token_from_a_file() {
    let Some(url) = moto("roles::a_role_is_assumed_with_a_token_from_a_file") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "canary.fake.token\n").expect("a file");
    let credentials = json!({"web_identity": {"role": ROLE, "token_file": file}});
    live(&url, "by-token", &credentials)
        .await
        .expect("a machine");
}

/// Prevents: a volume that is not mounted looks like a cloud that does not answer, and nobody looks at the mount.
#[tokio::test]
async fn a_token_that_cannot_be_read_is_told_with_its_file_and_nothing_is_sent() {
    let credentials = json!({"web_identity": {"role": ROLE, "token_file": "/nowhere/token"}});
    let (kind, words) = live("http://127.0.0.1:9", "none", &credentials)
        .await
        .unwrap_err();
    assert_eq!(kind, ProviderErrorKind::Unauthorized, "{words}");
    assert!(words.contains("/nowhere/token"), "{words}");
}
