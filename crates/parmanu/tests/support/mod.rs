//! A fleet whose cloud is a program with a file, and whose CI server is a fake GitLab over HTTP.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use fake_gitlab::{GitLab, Scope, Server};
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

pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) gitlab: Arc<Mutex<GitLab>>,
    _server: Server,
}

impl Bench {
    /// A fleet without a state of its cloud.
    pub(crate) async fn start() -> Self {
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
    pub(crate) fn machine(&self, fleet: &str, state: &str) {
        let listing = json!({"version": 1, "machines": [{
            "name": "linux-7-1-0", "id": "vm-1", "state": state, "created_at": "2026-01-01T00:00:00Z",
            "tags": {
                "parmanu-fleet": fleet, "parmanu-batch": "linux-7-1", "parmanu-executor": "gitlab:4711",
                "parmanu-expires": "2026-01-01T01:00:00Z",
            },
        }]});
        std::fs::write(self.state(), listing.to_string()).unwrap();
    }

    /// No machine at all.
    pub(crate) fn nothing(&self) {
        std::fs::write(self.state(), r#"{"version": 1, "machines": []}"#).unwrap();
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state.json")
    }

    /// How many machines there are.
    pub(crate) fn listed(&self) -> usize {
        let text = std::fs::read(self.state()).unwrap();
        let state: Value = serde_json::from_slice(&text).unwrap();
        state["machines"].as_array().unwrap().len()
    }

    /// Runs one verb of the program on this fleet.
    pub(crate) async fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let config: &Path = &self.folder.path().join("parmanu.yaml");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_parmanu"));
        command
            .arg(verb)
            .args(arguments)
            .arg("--config")
            .arg(config);
        command.output().await.unwrap()
    }
}

/// An address to listen on that was free a moment ago; whoever takes it meanwhile makes the start fail, loudly.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// All that a program printed.
pub(crate) fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}
