//! The operator's command as an operator runs it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Command, Output, Stdio};

fn parmanu(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parmanu"));
    // nothing here needs a folder that can be written: containers have none
    command.env("TMPDIR", "/nowhere");
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
fn check_tells_programs_the_same_in_one_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (bad, missing) = (path("bad.yaml"), path("missing.yaml"));
    std::fs::write(&bad, "version: 1\nflet: acme\n").unwrap();
    let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/minimal.yaml");
    let check = |arguments: &[&str]| -> (Option<i32>, serde_json::Value) {
        let output = parmanu(&[&["check", "--output", "json"], arguments].concat());
        let document = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), document)
    };

    let (code, good) = check(&[minimal]);
    assert_eq!(code, Some(0), "{good}");
    let nothing = serde_json::json!({
        "version": 1, "usable": true, "errors": 0, "warnings": 0, "findings": []
    });
    assert_eq!(good, nothing);

    // one that is not there is a finding, and hides no other
    let (code, found) = check(&[&missing, minimal, &bad]);
    assert_eq!(code, Some(1), "{found}");
    assert_eq!(found["usable"], false);
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(found["errors"], findings.len());
    assert_eq!(findings[0]["file"], missing.as_str());
    assert_eq!(findings[0]["line"], serde_json::Value::Null);
    let misspelt = findings.iter().find(|found| found["line"] == 2).unwrap();
    let message = misspelt["message"].as_str().unwrap();
    assert!(message.starts_with("unknown key `flet`"), "{message}");
    let rest = serde_json::json!({
        "severity": "error", "file": bad, "line": 2, "column": 1, "end_column": 5,
        "message": message, "suggestion": "fleet"
    });
    assert_eq!(misspelt, &rest);

    // the words and the document count alike
    let words = text(&parmanu(&["check", &bad]).stdout);
    let (_, alone) = check(&[&bad]);
    let errors = format!("{} errors", alone["errors"]);
    assert!(words.contains(&errors), "{words} {alone}");
}

#[test]
fn warnings_are_no_errors_but_for_the_strict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("literal.yaml");
    let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/minimal.yaml");
    let text = std::fs::read_to_string(minimal).unwrap();
    let literal = text.replace("${env:GITLAB_TOKEN}", "glpat-not-a-real-one");
    assert_ne!(text, literal);
    std::fs::write(&file, literal).unwrap();
    let bootstrap = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/bootstrap");
    std::os::unix::fs::symlink(bootstrap, folder.path().join("bootstrap")).unwrap();
    let file = file.to_str().unwrap();
    for (strict, code, usable) in [(None, 0, true), (Some("--strict"), 1, false)] {
        let arguments = ["check", "--output=json", file].into_iter().chain(strict);
        let output = parmanu(&arguments.collect::<Vec<_>>());
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{found}");
        assert_eq!(found["usable"], usable);
        assert_eq!(found["errors"], 0);
        assert_ne!(found["warnings"], 0);
        assert!(!found.to_string().contains("glpat-not"), "{found}");
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

/// By a handler of its own: the first process of a container is not ended by a signal that it does not handle.
#[test]
fn a_simulation_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs.csv");
    let made = Command::new("mkfifo").arg(&jobs).status().unwrap();
    assert!(made.success());
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/minimal.yaml");
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_parmanu"))
        .args(["simulate", "--config", config, "--jobs"])
        .arg(&jobs)
        .env("GITLAB_TOKEN", "glpat-fake")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // opens once it reads, and then it reads for ever
    let writer = std::fs::OpenOptions::new().write(true).open(&jobs).unwrap();
    let id = simulation.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    let ended = simulation.wait().unwrap();
    assert_eq!(ended.code(), Some(130));
    drop(writer);
}

#[test]
fn the_schema_is_json() {
    let output = parmanu(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Parmanu configuration");
}
