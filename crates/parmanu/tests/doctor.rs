//! `parmanu doctor` as somebody runs it at 3 a.m.: no scaler, no store; exit codes, tables and JSON.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use fake_gitlab::{Fault, FaultKind};
use serde_json::Value;
use support::{Bench, text};

async fn report(bench: &Bench) -> Value {
    let run = bench.run("doctor", &["--output", "json"]).await;
    serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&run)))
}

fn codes(row: &Value) -> Vec<&str> {
    let problems = row["problems"].as_array().unwrap();
    problems
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_a_machine_is_well() {
    let bench = Bench::start().await;
    bench.nothing();
    let run = bench.run("doctor", &[]).await;
    assert_eq!(run.status.code(), Some(0), "{}", text(&run));
    assert!(
        text(&run).contains("nothing that was seen is wrong"),
        "{}",
        text(&run)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_what_to_do_and_an_exit_code() {
    let bench = Bench::start().await;
    bench.machine("acme", "running");
    let run = bench.run("doctor", &[]).await;
    assert_eq!(run.status.code(), Some(3), "{}", text(&run));
    for word in [
        "linux-7-1-0",
        "expired",
        "no_executor",
        "parmanu reap",
        "gitlab:4711",
    ] {
        assert!(text(&run).contains(word), "no {word} in\n{}", text(&run));
    }
    let report = report(&bench).await;
    assert_eq!(codes(&report["machines"][0]), ["expired", "no_executor"]);
    assert_eq!(report["machines"][0]["id"], "vm-1");
    let short = bench.run("doctor", &["--only-problems"]).await;
    assert!(text(&short).len() < text(&run).len());
    assert_eq!(bench.listed(), 1, "it changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ci_server_that_does_not_answer_proves_nothing_of_its_executors() {
    let bench = Bench::start().await;
    bench.machine("acme", "running");
    let broken = Fault::on("/", 100, FaultKind::Html(503));
    bench.gitlab.lock().unwrap().inject(broken);
    let run = bench.run("doctor", &[]).await;
    assert!(
        text(&run).contains("not seen: no executor of gitlab"),
        "{}",
        text(&run)
    );
    assert!(!text(&run).contains("no_executor"), "{}", text(&run));
    assert!(!text(&run).contains("glpat-not-a-secret"), "{}", text(&run));
    bench.nothing();
    let broken = Fault::on("/", 100, FaultKind::Html(503));
    bench.gitlab.lock().unwrap().inject(broken);
    let run = bench.run("doctor", &[]).await;
    assert_eq!(
        run.status.code(),
        Some(4),
        "nothing is wrong, not all was seen: {}",
        text(&run)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_nothing_says_so() {
    let bench = Bench::start().await;
    // there is no state yet: the program fails
    let broken = Fault::on("/", 100, FaultKind::Html(503));
    bench.gitlab.lock().unwrap().inject(broken);
    let run = bench.run("doctor", &[]).await;
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("no machine of shed"), "{}", text(&run));
}
