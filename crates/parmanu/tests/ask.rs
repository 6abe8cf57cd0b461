//! The verbs that speak with a scaler, as an operator types them: a real `parmanu up` on fakes, over sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

const TOKEN: &str = "not-a-secret-but-long-enough";

const CONFIG: &str = r#"
version: 1
fleet: acme
store: { kind: memory }
api: { token: "${file:TOKEN}" }
emitters: { ci: { kind: fake } }
providers: { cloud: { kind: fake } }
machines: { small: { credential: shared, offers: [{ provider: cloud }] } }
pools: { linux: { emitter: ci, serves: [{ tags: [linux] }], machine: small, min: 2, max: 5 } }
"#;

struct Bench {
    folder: tempfile::TempDir,
    address: String,
    _up: Child,
}

impl Bench {
    /// A scaler that has made its two machines.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let config = CONFIG.replace("TOKEN", &token.display().to_string());
        std::fs::write(folder.path().join("parmanu.yaml"), config).unwrap();
        let listen = support::free_address();
        let up = Command::new(env!("CARGO_BIN_EXE_parmanu"))
            .args(["up", "--listen", &listen, "--config"])
            .arg(folder.path().join("parmanu.yaml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let bench = Bench {
            folder,
            address: format!("http://{listen}"),
            _up: up,
        };
        bench
            .until("two machines", |seen| seen["pools"][0]["costing"] == 2)
            .await;
        bench
    }

    /// Waits until `status` shows this.
    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let shown = async {
            loop {
                let output = self.ask(&["status", "--output", "json"]).await;
                let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                if is(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let shown = tokio::time::timeout(Duration::from_secs(60), shown).await;
        shown.unwrap_or_else(|_| panic!("no {what} within a minute"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parmanu"));
        command.args(arguments).env("PARMANU_SCALER", &self.address);
        command.env("PARMANU_WHO", "ann");
        command
            .env_remove("PARMANU_TOKEN")
            .env_remove("PARMANU_TOKEN_FILE");
        command
    }

    async fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    async fn order(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.env("PARMANU_TOKEN_FILE", self.folder.path().join("token"));
        command.output().await.unwrap()
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn says(output: &Output, code: i32, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in:\n{text}");
    }
}

#[tokio::test]
async fn it_is_asked_and_told_what_to_do() {
    let bench = Bench::start().await;
    let status = bench.ask(&["status"]).await;
    says(
        &status,
        0,
        &["fleet acme", "(active)", "linux", "2 of 5", "ci: heard"],
    );

    let why = bench.ask(&["why", "pool", "linux"]).await;
    says(&why, 0, &["wants 2", "floor: 0 -> 2 (min)", "machine"]);
    says(
        &bench.ask(&["why", "pool", "windows"]).await,
        4,
        &["the configuration has linux"],
    );
    says(
        &bench.ask(&["why", "machine", "linux-1-1-0"]).await,
        4,
        &["parmanu doctor"],
    );
    says(
        &bench.ask(&["why", "job", "group/job/7"]).await,
        4,
        &["no job group/job/7", "it did not at the last look"],
    );

    let pin = [
        "pin",
        "linux",
        "3",
        "--for",
        "2h",
        "--because",
        "the release",
    ];
    says(
        &bench.ask(&pin).await,
        1,
        &["PARMANU_TOKEN", "--token-file"],
    );
    says(
        &bench.order(&pin).await,
        0,
        &[
            "override pin:linux: pin pool linux at 3 by ann",
            "the release",
        ],
    );
    let seen = bench
        .until("third machine", |seen| seen["pools"][0]["costing"] == 3)
        .await;
    assert_eq!(seen["pools"][0]["pinned"], 3, "{seen}");
    says(
        &bench.ask(&["why", "pool", "linux"]).await,
        0,
        &["pinned at 3 by ann", "the release"],
    );

    let pause = ["pause", "linux", "--for", "1h", "--because", "a look"];
    says(
        &bench.order(&pause).await,
        0,
        &["override pause:linux", "override pin:linux"],
    );
    bench
        .until("pause", |seen| seen["pools"][0]["paused"] == true)
        .await;
    says(&bench.ask(&["status"]).await, 0, &["paused; pinned at 3"]);
    let removed = bench.order(&["overrides", "--remove", "pin:linux"]).await;
    says(&removed, 0, &["override pause:linux"]);
    assert!(!text(&removed).contains("pin:linux"), "{}", text(&removed));
    says(
        &bench.order(&["resume", "linux"]).await,
        0,
        &["no overrides"],
    );
    says(
        &bench.order(&["resume", "linux"]).await,
        4,
        &["there is no override `pause:linux`"],
    );

    let machine = seen_machine(&bench).await;
    let drain = [
        "drain",
        "machine",
        &machine,
        "--for",
        "1h",
        "--because",
        "odd",
    ];
    says(
        &bench.order(&drain).await,
        0,
        &[&format!("drain machine {machine} by ann")],
    );
    let zone = ["drain", "zone", "a/b c", "--for", "1h", "--because", "odd"];
    says(&bench.order(&zone).await, 0, &["drain zone a/b c by ann"]);
    let removed = bench
        .order(&["overrides", "--remove", "drain-zone:a/b c"])
        .await;
    says(&removed, 0, &["drain-machine"]);

    let mut wrong = bench.command(&pause);
    wrong.env("PARMANU_TOKEN", "wrong");
    says(
        &wrong.output().await.unwrap(),
        1,
        &["this is not the token"],
    );
    let long = ["pause", "linux", "--for", "200h", "--because", "a look"];
    says(&bench.order(&long).await, 1, &["7 days"]);
}

async fn seen_machine(bench: &Bench) -> String {
    let why = bench
        .ask(&["why", "pool", "linux", "--output", "json"])
        .await;
    let seen: Value = serde_json::from_slice(&why.stdout).unwrap();
    let name = seen["machines"][0]["name"].as_str().unwrap().to_owned();
    says(
        &bench.ask(&["why", "machine", &name]).await,
        0,
        &["machine", "provider: cloud"],
    );
    name
}

#[tokio::test]
async fn a_watch_goes_on_while_no_scaler_answers() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let bench = Bench::start().await;
    let mut command = bench.command(&["status", "--watch", "--every", "200ms", "--output", "json"]);
    let mut watch = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next_line().await.unwrap().unwrap();
        let seen: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(seen["pools"][0]["name"], "linux");
    }
    drop(bench);
    let limit = Duration::from_secs(30);
    let away = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("no scaler answers") {
                return;
            }
        }
        panic!("it ended");
    };
    tokio::time::timeout(limit, away).await.unwrap();
    // by a handler of its own: the first process of a container is not ended by a signal that it does not handle
    let id = watch.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(sent.unwrap().success());
    let ended = tokio::time::timeout(limit, watch.wait()).await.unwrap();
    assert_eq!(ended.unwrap().code(), Some(130));
}

#[tokio::test]
async fn where_no_scaler_answers_it_says_what_was_tried_and_what_looks_by_itself() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let output = Command::new(env!("CARGO_BIN_EXE_parmanu"))
        .args(["status", "--scaler", &format!("http://{address}/")])
        .output()
        .await
        .unwrap();
    let place = format!("no scaler answers at http://{address}/");
    says(&output, 1, &[&place, "PARMANU_SCALER", "parmanu doctor"]);
}

#[tokio::test]
async fn every_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(env!("CARGO_BIN_EXE_parmanu"))
            .args(["completions", shell])
            .output()
            .await
            .unwrap();
        says(&output, 0, &["parmanu", "overrides", "drain"]);
    }
}
