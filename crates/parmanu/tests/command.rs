//! The operator's command as an operator runs it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output};

fn parmanu(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parmanu"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The demo's promises: jobs run, machines come and go, and no build is killed.
fn the_demo_keeps_its_promises(ci: &[&str]) {
    let length = [
        "demo",
        "--seconds",
        "20",
        "--speed",
        "60",
        "--seed",
        "3",
        "--plain",
    ];
    let output = parmanu(&[&length, ci].concat());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    assert!(said.contains("create "), "machines were made:\n{said}");
    assert!(said.contains("cordon "), "machines left:\n{said}");
    assert!(said.contains(", 0 killed"), "{said}");
    let finished = said
        .split(" finished")
        .next()
        .and_then(|rest| rest.rsplit(' ').next());
    let finished: u32 = finished.and_then(|number| number.parse().ok()).unwrap();
    assert!(finished > 10, "{said}");
}

#[test]
fn the_demo_runs_jobs_of_gitlab_and_kills_none() {
    the_demo_keeps_its_promises(&[]);
}

#[test]
fn the_demo_runs_jobs_of_jenkins_and_kills_none() {
    the_demo_keeps_its_promises(&["--ci", "jenkins"]);
}

#[test]
fn the_demo_runs_jobs_of_teamcity_and_kills_none() {
    the_demo_keeps_its_promises(&["--ci", "teamcity"]);
}

#[test]
fn check_reports_every_error_and_says_so_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(
        &file,
        "version: 1\nflet: acme\npools:\n  linux: { machine: none, max: -1 }\n",
    )
    .unwrap();
    let output = parmanu(&["check", file.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["bad.yaml:2:1", "did you mean `fleet`?", "bad.yaml:4:"] {
        assert!(said.contains(part), "`{part}` is missing in\n{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = parmanu(&["check", "no-such-file.yaml"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("no-such-file.yaml"));
}

#[test]
fn every_verb_knows_its_arguments() {
    for verb in ["up", "check", "demo", "schema"] {
        let output = parmanu(&[verb, "--help"]);
        assert!(output.status.success(), "{verb}: {}", text(&output.stderr));
    }
}

#[test]
fn the_schema_is_json() {
    let output = parmanu(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Parmanu configuration");
}
