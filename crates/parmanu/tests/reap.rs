//! `parmanu reap` as cron runs it: a cloud behind a program, a fake GitLab over HTTP, exit codes and JSON.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use fake_gitlab::{Fault, FaultKind, GitLab, Scope, Server};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A cloud of one file: its listing, and what is left in it after a deletion.
const CLOUD: &str = r#"
request=$(cat)
case "$request" in
  *'"verb":"list"'*) cat "$STATE" ;;
  *'"verb":"delete"'*)
    echo '{"version": 1, "machines": []}' > "$STATE"
    echo '{"version": 1, "outcomes": [{"name": "linux-7-1-0", "outcome": "done"}]}' ;;
  *'"verb":"describe"'*) echo '{"version": 1, "verbs": ["describe", "renew"]}' ;;
  *) exit 1 ;;
esac
"#;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

struct Bench {
    folder: tempfile::TempDir,
    gitlab: Arc<Mutex<GitLab>>,
    _server: Server,
}

impl Bench {
    async fn start() -> Self {
        let mut gitlab = GitLab::new();
        let admin = gitlab.add_user("root", true);
        gitlab.add_token(admin, "glpat-not-a-secret", &[Scope::Api]);
        let gitlab = Arc::new(Mutex::new(gitlab));
        let server = Server::start(gitlab.clone(), now).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("boot.j2"), "#!/bin/sh\n").unwrap();
        std::fs::write(path("cloud.sh"), CLOUD).unwrap();
        let config = format!(
            r#"
version: 1
fleet: acme
store: {{ kind: memory }}
emitters:
  gitlab:
    {{ kind: gitlab, url: "{}", token: glpat-not-a-secret, manage_token: glpat-not-a-secret,
      scope: {{ instance: true }} }}
providers:
  shed: {{ kind: command, program: [/bin/sh, "{}"], env: {{ STATE: "{}" }} }}
machines:
  small: {{ bootstrap: boot.j2, offers: [{{ provider: shed, spec: {{}} }}] }}
pools:
  linux: {{ emitter: gitlab, serves: [{{ tags: [linux] }}], machine: small, max: 5 }}
"#,
            server.url(),
            path("cloud.sh").display(),
            path("state.json").display(),
        );
        std::fs::write(path("parmanu.yaml"), config).unwrap();
        Bench {
            folder,
            gitlab,
            _server: server,
        }
    }

    /// One machine of the fleet, long past its time.
    fn machine(&self, fleet: &str, state: &str) {
        let listing = json!({"version": 1, "machines": [{
            "name": "linux-7-1-0", "id": "vm-1", "state": state, "created_at": "2026-01-01T00:00:00Z",
            "tags": {
                "parmanu-fleet": fleet, "parmanu-batch": "linux-7-1", "parmanu-executor": "gitlab:4711",
                "parmanu-expires": "2026-01-01T01:00:00Z",
            },
        }]});
        std::fs::write(self.state(), listing.to_string()).unwrap();
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state.json")
    }

    fn listed(&self) -> usize {
        let text = std::fs::read(self.state()).unwrap();
        let state: Value = serde_json::from_slice(&text).unwrap();
        state["machines"].as_array().unwrap().len()
    }

    async fn reap(&self, arguments: &[&str]) -> Output {
        let config: &Path = &self.folder.path().join("parmanu.yaml");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_parmanu"));
        command
            .arg("reap")
            .args(arguments)
            .arg("--config")
            .arg(config);
        command.output().await.unwrap()
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

const ACME: [&str; 2] = ["--fleet", "acme"];

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_powered_off_goes_once_and_exit_codes_tell() {
    let bench = Bench::start().await;
    bench.machine("acme", "stopped");
    let dry = bench.reap(&[&ACME[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.status.code(), Some(3), "{}", text(&dry));
    assert!(text(&dry).contains("would go"), "{}", text(&dry));
    assert_eq!(bench.listed(), 1);

    let json = [&ACME[..], &["--output", "json"]].concat();
    let run = bench.reap(&json).await;
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

    let again = bench.reap(&json).await;
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
    let run = bench.reap(&ACME).await;
    let said = text(&run);
    assert_eq!(run.status.code(), Some(3), "{said}");
    for word in ["linux-7-1-0", "STAYS", "503"] {
        assert!(said.contains(word), "no {word} in\n{said}");
    }
    assert!(!said.contains("glpat-not-a-secret"), "{said}");
    assert_eq!(bench.listed(), 1);
    // and goes when nobody is to be asked
    let run = bench.reap(&[&ACME[..], &["--even-if-busy"]].concat()).await;
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
    let run = bench.reap(&ACME).await;
    assert_eq!(
        (run.status.code(), bench.listed()),
        (Some(0), 1),
        "{}",
        text(&run)
    );
    let run = bench.reap(&["--fleet", "other"]).await;
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
    let run = bench.reap(&["--fleet", "acme", "--provider", "shet"]).await;
    assert_eq!(run.status.code(), Some(1));
    assert!(
        text(&run).contains("no provider `shet`; it has shed"),
        "{}",
        text(&run)
    );
    // there is no state yet: the program fails
    let run = bench.reap(&ACME).await;
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("not seen: shed"), "{}", text(&run));
}
