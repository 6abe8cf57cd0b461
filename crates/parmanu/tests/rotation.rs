//! Tokens that are rotated while the services run: a file has the new one, and the CI server takes the old one no more.
//!
//! The file is swapped as Kubernetes swaps those of a Secret: a link to a folder is renamed over another.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_gitlab::{GitLab, Scope, Server};
use fake_jenkins::Jenkins;
use fake_teamcity::TeamCity;
use ports::Clock as _;
use serde_json::Value;
use telemetry::SystemClock;
use tokio::process::{Child, Command};

const OLD: &str = "old-token-and-not-a-secret";
const NEW: &str = "new-token-and-not-a-secret";
const NAMES: [&str; 3] = ["gitlab", "jenkins", "teamcity"];

/// Three CI servers, each with one user.
struct Servers {
    gitlab: Arc<Mutex<GitLab>>,
    jenkins: Arc<Mutex<Jenkins>>,
    teamcity: Arc<Mutex<TeamCity>>,
    _running: [Server; 3],
    urls: [String; 3],
}

impl Servers {
    async fn start() -> Self {
        let (gitlab, jenkins, teamcity) = (GitLab::new(), Jenkins::new(), TeamCity::new());
        let gitlab = Arc::new(Mutex::new(gitlab));
        let jenkins = Arc::new(Mutex::new(jenkins));
        let teamcity = Arc::new(Mutex::new(teamcity));
        let now = || SystemClock.now();
        let running = [
            Server::start(gitlab.clone(), now).await.unwrap(),
            Server::start(jenkins.clone(), now).await.unwrap(),
            Server::start(teamcity.clone(), now).await.unwrap(),
        ];
        let urls = [running[0].url(), running[1].url(), running[2].url()];
        let servers = Servers {
            gitlab,
            jenkins,
            teamcity,
            _running: running,
            urls,
        };
        servers.gitlab.lock().unwrap().add_user("parmanu", true);
        servers.let_in(OLD, || {});
        servers
    }

    /// While nobody is served: lets this token in and no other, and does something else before the next request.
    fn let_in(&self, token: &str, meanwhile: impl FnOnce()) {
        let mut gitlab = self.gitlab.lock().unwrap();
        let mut jenkins = self.jenkins.lock().unwrap();
        let mut teamcity = self.teamcity.lock().unwrap();
        gitlab.revoke_token(OLD);
        teamcity.revoke(OLD);
        gitlab.add_token(1, token, &[Scope::Api]);
        // which has one of each user
        jenkins.grant("parmanu", token, fake_jenkins::Rights::ALL);
        teamcity.grant(token, fake_teamcity::Rights::viewer());
        meanwhile();
    }

    fn configuration(&self, secrets: &Path) -> String {
        let [gitlab, jenkins, teamcity] = &self.urls;
        let token = |name| format!("${{file:{}}}", secrets.join(name).display());
        let emitters = [
            format!("kind: gitlab, url: \"{gitlab}\", scope: {{ instance: true }}"),
            format!("kind: jenkins, url: \"{jenkins}\", user: parmanu"),
            format!("kind: teamcity, url: \"{teamcity}\""),
        ];
        let mut text = "version: 1\nfleet: acme\nstore: { kind: memory }\nemitters:\n".to_owned();
        for (name, keys) in NAMES.iter().zip(emitters) {
            let token = token(name);
            text +=
                &format!("  {name}: {{ {keys}, token: \"{token}\", probe: {{ every: 1s }} }}\n");
        }
        text += "providers: { cloud: { kind: fake } }\n";
        text +=
            "machines: { small: { credential: shared, offers: [{ provider: cloud }] } }\npools:\n";
        text +=
            "  gitlab: { emitter: gitlab, serves: [{ tags: [linux] }], machine: small, max: 5 }\n";
        text += "  jenkins: { emitter: jenkins, serves: [{ labels: [linux] }], machine: small, max: 5 }\n";
        text += "  teamcity: { emitter: teamcity, serves: [{ agent_pool: Default }], machine: small, max: 5 }\n";
        text
    }
}

/// A folder of files as the kubelet lays out a Secret's.
fn mount(secrets: &Path, generation: &str, token: &str) {
    let data = secrets.join(generation);
    std::fs::create_dir_all(&data).unwrap();
    for name in NAMES {
        std::fs::write(data.join(name), token).unwrap();
        if !secrets.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), secrets.join(name)).unwrap();
        }
    }
    symlink(generation, secrets.join("..data_tmp")).unwrap();
    std::fs::rename(secrets.join("..data_tmp"), secrets.join("..data")).unwrap();
}

/// Until `status` shows this of every emitter.
async fn until(address: &str, what: &str, is: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let shown = async {
        loop {
            let mut status = Command::new(env!("CARGO_BIN_EXE_parmanu"));
            status
                .args(["status", "--output", "json"])
                .env("PARMANU_SCALER", address);
            let output = status.output().await.unwrap();
            last = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let emitters = last["emitters"].as_array();
            if emitters.is_some_and(|all| all.len() == NAMES.len() && all.iter().all(&is)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(90), shown)
        .await
        .is_ok();
    assert!(in_time, "not {what} in time: {last:#}");
}

fn start(folder: &Path, listen: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_parmanu"))
        .args(["up", "--listen", listen, "--config"])
        .arg(folder.join("parmanu.yaml"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a process lives in real time")]
async fn a_token_that_is_rotated_in_its_file_is_taken_by_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    mount(&secrets, "..1", OLD);
    let servers = Servers::start().await;
    let text = servers.configuration(&secrets);
    std::fs::write(folder.path().join("parmanu.yaml"), text).unwrap();
    let listen = support::free_address();
    let _up = start(folder.path(), &listen);
    let address = format!("http://{listen}");
    let heard = |it: &Value| it["failure"].is_null() && it["last_good_seconds"].is_u64();
    until(&address, "heard", heard).await;
    servers.let_in(NEW, || mount(&secrets, "..2", NEW));
    let rotated = Instant::now();
    // a request that was on its way with the old token is refused, and asked again a minute later
    until(&address, "heard by the new tokens", |it| {
        let ago = it["last_good_seconds"].as_u64();
        heard(it) && ago.is_some_and(|ago| ago + 1 < rotated.elapsed().as_secs())
    })
    .await;
    let log = std::fs::read_to_string("/tmp/rot.log").unwrap();
    for token in [OLD, NEW] {
        assert!(!log.contains(token), "{log}");
    }
}
