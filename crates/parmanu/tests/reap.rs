//! `parmanu reap` as cron runs it: a cloud behind a program, a fake GitLab over HTTP, exit codes and JSON.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{Fault, FaultKind};
use serde_json::{Value, json};
use support::{Bench, text};

const ACME: [&str; 2] = ["--fleet", "acme"];

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_powered_off_goes_once_and_exit_codes_tell() {
    let bench = Bench::start().await;
    bench.machine("acme", "stopped");
    let dry = bench
        .run("reap", &[&ACME[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(dry.status.code(), Some(3), "{}", text(&dry));
    assert!(text(&dry).contains("would go"), "{}", text(&dry));
    assert_eq!(bench.listed(), 1);

    let json = [&ACME[..], &["--output", "json"]].concat();
    let run = bench.run("reap", &json).await;
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    let machine = &report["machines"][0];
    assert_eq!(
        (&report["version"], &machine["machine"]),
        (&json!(1), &json!("linux-7-1-0"))
    );
    assert_eq!(
        (&machine["fate"], &machine["why"]),
        (&json!("deleted"), &json!("it was powered off"))
    );
    assert_eq!(
        (&machine["state"], &machine["expires"]),
        (&json!("stopped"), &json!("2026-01-01T01:00:00Z"))
    );
    assert_eq!(bench.listed(), 0);

    let again = bench.run("reap", &json).await;
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["machines"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_ci_server_does_not_answer_stays_and_is_named() {
    let bench = Bench::start().await;
    bench.machine("acme", "running");
    let broken = Fault::on("/", 100, FaultKind::Html(503));
    bench.gitlab.lock().unwrap().inject(broken);
    let run = bench.run("reap", &ACME).await;
    let said = text(&run);
    assert_eq!(run.status.code(), Some(3), "{said}");
    for word in ["linux-7-1-0", "STAYS", "503"] {
        assert!(said.contains(word), "no {word} in\n{said}");
    }
    assert!(!said.contains("glpat-not-a-secret"), "{said}");
    assert_eq!(bench.listed(), 1);
    // and goes when nobody is to be asked
    let run = bench
        .run("reap", &[&ACME[..], &["--even-if-busy"]].concat())
        .await;
    assert!(
        text(&run).contains("nobody asked whether it was busy"),
        "{}",
        text(&run)
    );
    assert_eq!(bench.listed(), 0);
    // its executor could not be removed, and somebody has to know
    assert_eq!(run.status.code(), Some(3), "{}", text(&run));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_fleet_that_is_named_is_meant() {
    let bench = Bench::start().await;
    bench.machine("other", "stopped");
    let run = bench.run("reap", &ACME).await;
    assert_eq!(
        (run.status.code(), bench.listed()),
        (Some(0), 1),
        "{}",
        text(&run)
    );
    let run = bench.run("reap", &["--fleet", "other"]).await;
    assert_eq!(
        (run.status.code(), bench.listed()),
        (Some(0), 0),
        "{}",
        text(&run)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_at_all_is_an_error() {
    let bench = Bench::start().await;
    let run = bench
        .run("reap", &["--fleet", "acme", "--provider", "shet"])
        .await;
    assert_eq!(run.status.code(), Some(1));
    assert!(
        text(&run).contains("no provider `shet`; it has shed"),
        "{}",
        text(&run)
    );
    // there is no state yet: the program fails
    let run = bench.run("reap", &ACME).await;
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("not seen: shed"), "{}", text(&run));
}
