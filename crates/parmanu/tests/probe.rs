//! `parmanu probe` as an operator runs it, at a fake GitLab over HTTP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use fake_gitlab::{Fault, FaultKind, GitLab, Scope, Server};
use jiff::Timestamp;
use serde_json::Value;

/// Far in the past, so that nothing is younger than it.
fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// Two jobs that wait for a machine, and one that no pool takes.
fn gitlab() -> GitLab {
    let mut gitlab = GitLab::new();
    let admin = gitlab.add_user("root", true);
    gitlab.add_token(admin, "glpat-not-a-secret", &[Scope::Api]);
    let project = gitlab.add_project("acme/app");
    gitlab.push_job(project, "build", &["linux"], "main", now());
    gitlab.push_job(project, "image", &["linux", "docker"], "main", now());
    gitlab.push_job(project, "train", &["linux", "gpu"], "main", now());
    gitlab
}

struct Bench {
    folder: tempfile::TempDir,
    gitlab: Arc<Mutex<GitLab>>,
    _server: Server,
}

impl Bench {
    async fn start() -> Self {
        let gitlab = Arc::new(Mutex::new(gitlab()));
        let server = Server::start(gitlab.clone(), now).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("boot.j2"), "#!/bin/sh\n").unwrap();
        let text = format!(
            r#"
version: 1
fleet: acme
store: {{ kind: memory }}
emitters:
  gitlab:
    {{ kind: gitlab, url: "{}", token: glpat-not-a-secret, scope: {{ instance: true }} }}
  spare:
    {{ kind: gitlab, url: "{}", token: glpat-not-a-secret, scope: {{ instance: true }} }}
providers:
  cloud: {{ kind: fake }}
machines:
  small: {{ bootstrap: boot.j2, offers: [{{ provider: cloud }}] }}
pools:
  any: {{ emitter: gitlab, serves: [{{ tags: [linux] }}], machine: small, max: 5, precedence: 1 }}
  docker: {{ emitter: gitlab, serves: [{{ tags: [linux, docker] }}], machine: small, max: 5 }}
"#,
            server.url(),
            server.url(),
        );
        std::fs::write(folder.path().join("parmanu.yaml"), text).unwrap();
        Bench {
            folder,
            gitlab,
            _server: server,
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("parmanu.yaml")
    }

    async fn probe(&self, arguments: &[&str]) -> Output {
        probe(&self.config(), arguments).await
    }
}

async fn probe(config: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_parmanu"));
    command
        .arg("probe")
        .args(arguments)
        .arg("--config")
        .arg(config);
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_shown_with_its_pool_and_the_reason() {
    let bench = Bench::start().await;
    let output = bench.probe(&["gitlab"]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    let row = |words: &[&str]| {
        let fits = |line: &&str| words.iter().all(|word| line.contains(word));
        assert!(
            said.lines().any(|line| fits(&line)),
            "no line with {words:?} in\n{said}"
        );
    };
    row(&["emitter gitlab: a whole look", "requests"]);
    // it would run in both: the losing pool is named
    row(&[
        "acme/app",
        "build",
        "runnable",
        "any",
        "asked before docker",
    ]);
    row(&[
        "image",
        "linux, docker",
        "docker",
        "the only pool that takes it",
    ]);
    row(&["train", "none", "nearest is any: tag `gpu`"]);
    row(&["1 runnable, and no pool takes them"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_has_everything() {
    let bench = Bench::start().await;
    let output = bench
        .probe(&["gitlab", "--output", "json", "--job", "train"])
        .await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&found["version"], &found["complete"]),
        (&1.into(), &true.into())
    );
    assert!(found["cost"]["requests"].as_u64() > Some(0), "{found}");
    let jobs = found["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "only the one that was asked for: {found}");
    let job = &jobs[0];
    assert_eq!(
        (&job["pool"], &job["class"]["class"]),
        (&Value::Null, &"runnable".into())
    );
    let says = job["candidates"].as_array().unwrap();
    let order: Vec<_> = says
        .iter()
        .map(|says| says["pool"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["any", "docker"], "by precedence");
    assert_eq!(says[1]["missing"], serde_json::json!(["tag `gpu`"]));
    // the sums are those of all jobs
    assert_eq!(found["unmatched"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emitter_that_no_pool_uses_can_be_looked_at() {
    let bench = Bench::start().await;
    let output = bench.probe(&["spare"]).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    assert!(
        said.contains("no pool of the configuration uses this emitter"),
        "{said}"
    );
    assert!(said.contains("acme/app"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_said_and_costs_the_exit_code() {
    let bench = Bench::start().await;
    let output = bench.probe(&["gitlap"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("no emitter `gitlap`; it has gitlab, spare"),
        "{said}"
    );

    let broken = Fault::on("/", 100, FaultKind::Html(503));
    bench.gitlab.lock().unwrap().inject(broken);
    let output = bench.probe(&["gitlab"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("503"), "{said}");
    assert!(!said.contains("glpat-not-a-secret"), "{said}");
}
