//! What the checks find, and where they say it is.

use ports::strict::{self, Severity};
use serde_json::{Value, json};

use super::*;

fn config() -> Value {
    json!({"project": "acme-ci", "zones": ["europe-west3-a", "europe-west3-b"]})
}

fn account(value: &Value) -> Vec<String> {
    let mut problems = Problems::default();
    if let Some(config) = strict::read::<Config>(value, &mut problems) {
        config.check(&mut problems);
    }
    words(&problems)
}

fn check(value: &Value, problems: &mut Problems) {
    let config: Config = serde_json::from_value(config()).unwrap();
    if let Some(offer) = strict::read::<Offer>(value, problems) {
        offer.check(&config, problems);
    }
}

fn offer(value: &Value) -> Vec<String> {
    let mut problems = Problems::default();
    check(value, &mut problems);
    words(&problems)
}

/// What is wrong, without what could be better.
fn errors(value: &Value) -> Vec<String> {
    let mut found = Problems::default();
    check(value, &mut found);
    found
        .0
        .retain(|problem| problem.severity == Severity::Error);
    words(&found)
}

fn words(problems: &Problems) -> Vec<String> {
    let path = |steps: &[Step]| {
        let steps = steps.iter().map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        });
        steps.collect::<Vec<_>>().join(".")
    };
    let problems = problems.0.iter();
    problems
        .map(|p| format!("{}: {}", path(&p.path), p.message))
        .collect()
}

fn with(mut base: Value, key: &str, value: Value) -> Value {
    base[key] = value;
    base
}

#[test]
fn good_accounts_have_no_problem() {
    for good in [
        config(),
        with(config(), "project", json!("example.com:acme-ci")),
        with(
            config(),
            "zones",
            json!(["us-central1-f", "northamerica-northeast1-a"]),
        ),
        with(
            config(),
            "credentials",
            json!({"service_account": "${file:/run/secrets/gcp.json}"}),
        ),
        with(
            config(),
            "credentials",
            json!({"workload_identity": "${file:/etc/wif.json}"}),
        ),
        with(config(), "calls_per_minute", json!(300)),
    ] {
        assert_eq!(account(&good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn bad_accounts_are_told_where() {
    let literal = json!({"service_account": "{\"private_key\": \"hunter2\"}"});
    for (bad, path) in [
        (with(config(), "project", json!("Acme CI")), "project: "),
        (with(config(), "zones", json!([])), "zones: "),
        (
            with(config(), "zones", json!(["europe-west3"])),
            "zones.0: ",
        ),
        (
            with(config(), "zones", json!(["us-east1-b", "us-east1-b"])),
            "zones.1: ",
        ),
        (with(config(), "endpoint", json!("localhost")), "endpoint: "),
        (with(config(), "listing_lag", json!("1s")), "listing_lag: "),
        (
            with(config(), "region", json!("europe-west3")),
            "region: unknown key",
        ),
        (
            with(config(), "credentials", literal),
            "credentials.service_account: ",
        ),
    ] {
        let found = account(&bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with(path), "{found:?}");
        assert!(!found[0].contains("hunter2"), "a secret in a message");
    }
}

#[test]
fn good_offers_have_no_problem() {
    for good in [
        json!({"template": "ci-linux-v12"}),
        json!({"template": "ci-linux-v12", "types": ["e2-standard-4"], "market": "spot"}),
        json!({
            "image": "projects/debian-cloud/global/images/family/debian-12",
            "types": ["e2-standard-4", "n2-standard-4"], "zones": ["europe-west3-b"], "market": "spot",
            "disk": {"size_gib": 100, "type": "pd-ssd"}, "subnet": "builders", "external_ip": false,
            "tags": ["ci"], "labels": {"cost-centre": "ci_1"}, "metadata": {"enable-oslogin": "TRUE"},
            "service_account": {"email": "builder@acme-ci.iam.gserviceaccount.com"},
            "boot_key": "user-data", "max_run_duration": "48h", "longest_job": "6h",
        }),
    ] {
        assert_eq!(offer(&good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn bad_offers_are_told_where() {
    let base = || json!({"image": "family/debian-12", "types": ["e2-standard-4"]});
    for (bad, path) in [
        (json!({"types": ["e2-small"]}), "image: "),
        (json!({"image": "debian-12"}), "types: "),
        (
            with(base(), "image", json!("debian-cloud/debian-12")),
            "image: ",
        ),
        (
            with(base(), "template", json!("global/instanceTemplates/x")),
            "template: ",
        ),
        (with(base(), "types", json!(["a", "a"])), "types.1: "),
        (
            with(base(), "types", json!(["zones/z/machineTypes/t"])),
            "types.0: ",
        ),
        (
            with(base(), "zones", json!(["europe-west3-c"])),
            "zones.0: ",
        ),
        (with(base(), "market", json!("auction")), "market: "),
        (
            with(base(), "disk", json!({"size_gib": 1})),
            "disk.size_gib: ",
        ),
        (
            with(base(), "subnet", json!("regions/x/subnetworks/y")),
            "subnet: ",
        ),
        (with(base(), "tags", json!(["a b"])), "tags.0: "),
        (
            with(base(), "labels", json!({"Team": "x"})),
            "labels.Team: ",
        ),
        (
            with(base(), "labels", json!({"team": "A b"})),
            "labels.team: ",
        ),
        (
            with(base(), "labels", json!({"parmanu-x": "y"})),
            "labels.parmanu-x: ",
        ),
        (
            with(base(), "metadata", json!({"startup-script": "x"})),
            "metadata.startup-script: ",
        ),
        (with(base(), "boot_key", json!("a b")), "boot_key: "),
        (
            with(base(), "service_account", json!({"email": "default"})),
            "service_account.email: ",
        ),
        (
            with(base(), "max_run_duration", json!("4800h")),
            "max_run_duration: ",
        ),
        (
            with(base(), "max_run_duration", json!("48h")),
            "max_run_duration: Google deletes a machine after 48h, busy or not: say with `longest_job`",
        ),
        (
            with(
                with(base(), "max_run_duration", json!("6h 10m")),
                "longest_job",
                json!("6h"),
            ),
            "max_run_duration: a machine takes no job in the last 6h 10m before",
        ),
        (with(base(), "price", json!(1)), "price: unknown key"),
    ] {
        let found = errors(&bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with(path), "{found:?} {path}");
    }
    let disk = json!({"template": "t", "disk": {"size_gib": 50}});
    assert!(offer(&disk)[0].starts_with("disk: "));
}

#[test]
fn that_nothing_ends_a_forgotten_machine_is_said() {
    let base = json!({"image": "family/debian-12", "types": ["e2-standard-4"]});
    let found = offer(&base);
    assert!(
        found[0].contains("when Parmanu is gone for good"),
        "{found:?}"
    );
    let found = offer(&with(base.clone(), "longest_job", json!("6h")));
    assert!(found[0].starts_with("longest_job: "), "{found:?}");
    let ends = with(base, "max_run_duration", json!("48h"));
    let ends = with(ends, "longest_job", json!("6h"));
    assert_eq!(offer(&ends), [""; 0]);
    let ends: Offer = serde_json::from_value(ends).unwrap();
    let most = Duration::from_secs((48 - 6) * 3600 - 600);
    assert_eq!(ends.serves_for(), Some(most));
}
