//! More than fifty secrets, each known by its text, through every error path that can be reached from outside: servers that
//! answer with what they were sent, at the most talkative log level. Not one may be found afterwards in a log, in Redis, in a
//! metric, in an answer of the API, or in what a command prints.
//!
//! Real are the binaries and Redis. The search is tried on what the servers heard: there every secret that was sent is found.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may panic and print, and its helpers are a module"
)]

mod echo;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use echo::{Echo, Manner};
use fake_gitlab::{GitLab, Scope, Server};
use ports::Clock as _;
use serde_json::{Map, Value, json};
use telemetry::SystemClock;

/// Every planted secret has this in its text, and nothing else has.
const MARK: &str = "C4N4RY";

/// The secrets by the variable that carries each.
#[derive(Default)]
struct Planted(BTreeMap<String, String>);

impl Planted {
    /// A new secret; gives the reference to it.
    fn plant(&mut self) -> String {
        let number = self.0.len();
        let name = format!("PLANTED_{number}");
        let secret = format!("{MARK}{number:03}zQ{:08x}", fastrand_like(number));
        self.0.insert(name.clone(), secret);
        format!("${{env:{name}}}")
    }

    /// The ways in which a secret may stand in a text: as it is, in the login of Basic authentication, in base64 at each offset.
    fn forms(&self) -> Vec<(String, String)> {
        let mut forms = Vec::new();
        for (name, secret) in &self.0 {
            forms.push((name.clone(), secret.clone()));
            for user in ["parmanu:", ":", "farm:"] {
                forms.push((
                    format!("{name} as a login"),
                    STANDARD.encode(format!("{user}{secret}")),
                ));
            }
            for skipped in 0..3 {
                let shifted = STANDARD.encode(&secret.as_bytes()[skipped..]);
                // without the end, which depends on what follows
                let inner = shifted.trim_end_matches('=');
                forms.push((
                    format!("{name} in base64"),
                    inner[..inner.len() - 4].to_owned(),
                ));
            }
        }
        forms
    }

    /// What of it is in this text, in words that do not repeat it.
    fn found_in(&self, place: &str, text: &str) -> Vec<String> {
        let of = |(name, form): (String, String)| {
            let at = text.find(&form)?;
            let mut from = at.saturating_sub(160);
            while !text.is_char_boundary(from) {
                from += 1;
            }
            Some(format!("{place}: {name} after: {}", &text[from..at]))
        };
        self.forms().into_iter().filter_map(of).take(5).collect()
    }
}

/// Digits that differ from secret to secret; nobody has to guess them.
fn fastrand_like(number: usize) -> u32 {
    let number = u32::try_from(number).unwrap();
    number.wrapping_add(1).wrapping_mul(2_654_435_761)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What the configuration says of one hostile server: emitters of every kind, an account, and pools that need both.
struct Hostile {
    emitters: Map<String, Value>,
    providers: Map<String, Value>,
    machines: Map<String, Value>,
    pools: Map<String, Value>,
}

fn hostile(planted: &mut Planted, manner: Manner, port: u16) -> Hostile {
    let (word, url) = (manner.word(), format!("http://127.0.0.1:{port}"));
    let kinds = [
        (
            "gitlab",
            json!({ "token": planted.plant(), "manage_token": planted.plant(), "scope": { "instance": true } }),
            json!({ "tags": ["x"] }),
        ),
        (
            "jenkins",
            json!({ "user": "parmanu", "token": planted.plant(), "manage": { "work_dir": "/w", "placeholder": true } }),
            json!({ "labels": ["x"], "executors": 1 }),
        ),
        (
            "teamcity",
            json!({ "token": planted.plant(), "manage": { "token": planted.plant() } }),
            json!({ "agent_pool": "x" }),
        ),
        (
            "buildbot",
            json!({ "manage": { "master": "127.0.0.1:1", "password": planted.plant() } }),
            json!({ "builders": ["x"] }),
        ),
        (
            "http",
            json!({
                "login": { "user": "farm", "password": planted.plant() },
                "requests": { "all": { "path": "/all" } },
                "jobs": [{ "from": "all", "items": "jobs", "is": "runnable", "id": "id", "name": "id", "labels": "tags" }],
            }),
            json!({ "labels": ["x"] }),
        ),
    ];
    let provider = format!("ec2-{word}");
    let machine = format!("m-{word}");
    let mut found = Hostile {
        emitters: Map::new(),
        providers: Map::new(),
        machines: Map::new(),
        pools: Map::new(),
    };
    let keys =
        json!({ "id": planted.plant(), "secret": planted.plant(), "session": planted.plant() });
    let account = json!({ "kind": "ec2", "region": "eu-central-1", "endpoint": url, "credentials": { "keys": keys } });
    found.providers.insert(provider.clone(), account);
    let offer =
        json!({ "provider": provider, "image": "ami-0123456789abcdef0", "types": ["m7i.large"] });
    let made = json!({ "bootstrap": "boot.j2", "offers": [offer] });
    found.machines.insert(machine.clone(), made);
    for (kind, mut keys, serves) in kinds {
        let name = format!("{kind}-{word}");
        keys["kind"] = json!(kind);
        keys["url"] = json!(url);
        keys["probe"] = json!({ "every": "500ms", "timeout": "5s" });
        keys["hook"] = json!({ "secret": planted.plant() });
        found.emitters.insert(name.clone(), keys);
        let pool =
            json!({ "emitter": name, "serves": [serves], "machine": machine, "min": 1, "max": 3 });
        found.pools.insert(name, pool);
    }
    found
}

/// Everything that is started, and everything that was said.
struct Scene {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    planted: Planted,
    redis_port: u16,
    redis_password: String,
    echoes: Vec<Echo>,
    _gitlab: Server,
    _redis: Running,
}

impl Scene {
    async fn open(binaries: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut planted = Planted::default();
        let redis_port = free_port();
        planted.plant();
        let redis_password = planted.0.values().next().unwrap().clone();
        let echoes: Vec<Echo> = Manner::ALL.map(Echo::start).into();
        let mut config = json!({
            "version": 1,
            "fleet": "planted",
            "store": { "kind": "redis", "url": "${env:STORE}" },
            "api": { "token": planted.plant() },
            "emitters": {}, "providers": {}, "machines": {}, "pools": {},
        });
        for (manner, echo) in Manner::ALL.into_iter().zip(&echoes) {
            let hostile = hostile(&mut planted, manner, echo.port);
            let parts = [
                ("emitters", hostile.emitters),
                ("providers", hostile.providers),
                ("machines", hostile.machines),
                ("pools", hostile.pools),
            ];
            for (key, part) in parts {
                config[key].as_object_mut().unwrap().extend(part);
            }
        }
        let gitlab = well_gitlab(&mut planted, &mut config).await;
        // a program that says what it was told
        let talks = folder.path().join("talks.sh");
        std::fs::write(
            &talks,
            "#!/bin/sh\necho \"cannot: $FARM_TOKEN\" >&2\nexit 1\n",
        )
        .unwrap();
        config["providers"]["talks"] = json!({ "kind": "command", "program": ["/bin/sh", talks], "env": { "FARM_TOKEN": planted.plant() } });
        config["machines"]["m-talks"] =
            json!({ "bootstrap": "boot.j2", "offers": [{ "provider": "talks", "spec": {} }] });
        config["pools"]["talks"] = json!({ "emitter": "well", "serves": [{ "tags": ["talks"] }], "machine": "m-talks", "min": 1, "max": 2 });
        std::fs::write(
            folder.path().join("boot.j2"),
            "#!/bin/sh\necho {{ executor }}\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("parmanu.yaml"), config.to_string()).unwrap();
        let redis = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
            ])
            .arg(redis_port.to_string())
            .args(["--requirepass", &redis_password])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Scene {
            folder,
            binaries,
            planted,
            redis_port,
            redis_password,
            echoes,
            _gitlab: gitlab,
            _redis: Running(redis),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        let store = format!(
            "redis://:{}@127.0.0.1:{}/",
            self.redis_password, self.redis_port
        );
        command
            .env("STORE", store)
            .env("PARMANU_LOG", "trace")
            .env("PARMANU_CONFIG", self.config())
            .env("RUST_BACKTRACE", "full")
            .envs(&self.planted.0)
            .current_dir(self.folder.path());
        command
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("parmanu.yaml")
    }

    fn start(&self, program: &str, port: u16) -> Running {
        let log = std::fs::File::create(self.log(program)).unwrap();
        let mut command = self.command(program);
        command
            .env("PARMANU_LISTEN", format!("127.0.0.1:{port}"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Running(command.spawn().unwrap())
    }

    fn log(&self, program: &str) -> PathBuf {
        self.folder.path().join(format!("{program}.log"))
    }

    /// What a command prints, however it ends.
    fn ask(&self, words: &[&str], scaler: u16) -> String {
        let output = self
            .command("parmanu")
            .args(words)
            .env("PARMANU_SCALER", format!("http://127.0.0.1:{scaler}"))
            .output()
            .unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Every key of Redis with all that is in it.
    async fn dump(&self) -> String {
        let url = format!(
            "redis://:{}@127.0.0.1:{}/",
            self.redis_password, self.redis_port
        );
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .unwrap();
        assert!(keys.len() > 5, "{keys:?}");
        let mut text = keys.join("\n");
        for key in &keys {
            let kind: String = redis::cmd("TYPE")
                .arg(key)
                .query_async(&mut connection)
                .await
                .unwrap();
            let command = match kind.as_str() {
                "hash" => vec!["HGETALL", key],
                "stream" => vec!["XRANGE", key, "-", "+"],
                "list" => vec!["LRANGE", key, "0", "-1"],
                "set" => vec!["SMEMBERS", key],
                "zset" => vec!["ZRANGE", key, "0", "-1"],
                _ => vec!["GET", key],
            };
            let mut asked = redis::cmd(command[0]);
            asked.arg(&command[1..]);
            let value: redis::Value = asked.query_async(&mut connection).await.unwrap();
            write!(text, "\n{key}: {}", in_words(&value)).unwrap();
        }
        text
    }
}

fn in_words(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// A GitLab that is well, so that machines with tokens of their own are asked for at accounts that are not.
async fn well_gitlab(planted: &mut Planted, config: &mut Value) -> Server {
    let mut gitlab = GitLab::new();
    let user = gitlab.add_user("parmanu", true);
    let (token, manage) = (planted.plant(), planted.plant());
    let secret = |reference: &str| {
        planted.0[reference.trim_start_matches("${env:").trim_end_matches('}')].clone()
    };
    gitlab.add_token(user, &secret(&token), &[Scope::Api]);
    gitlab.add_token(user, &secret(&manage), &[Scope::Api]);
    let server = Server::start(Arc::new(Mutex::new(gitlab)), || SystemClock.now())
        .await
        .unwrap();
    config["emitters"]["well"] = json!({
        "kind": "gitlab", "url": server.url(), "token": token, "manage_token": manage,
        "scope": { "instance": true }, "probe": { "every": "500ms", "timeout": "5s" },
    });
    for manner in Manner::ALL {
        let word = manner.word();
        config["pools"][format!("well-{word}")] = json!({ "emitter": "well", "serves": [{ "tags": [word] }], "machine": format!("m-{word}"), "min": 1, "max": 3 });
    }
    server
}

fn binaries(name: &str) -> Option<PathBuf> {
    let binaries = std::env::var("PARMANU_TEST_BIN_DIR").ok()?;
    let has_redis = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !has_redis {
        conformance::store::skip(
            name,
            "redis-server is not on the PATH; run `cargo xtask test`",
        );
        return None;
    }
    Some(binaries.into())
}

/// Waits until every server has heard every kind of credential, and both services have told of the answers.
async fn until_all_was_sent(scene: &Scene) {
    const CREDENTIALS: [&str; 4] = [
        "private-token: ",
        "authorization: basic",
        "authorization: bearer",
        "authorization: aws4-hmac",
    ];
    let missing = || -> Vec<String> {
        let of = |(manner, echo): (Manner, &Echo)| {
            let heard = echo.heard().to_lowercase();
            let unheard = CREDENTIALS
                .into_iter()
                .filter(move |part| !heard.contains(part));
            unheard.map(move |part| format!("{}: {part}", manner.word()))
        };
        let all = Manner::ALL.into_iter().zip(&scene.echoes);
        all.flat_map(of).collect()
    };
    let wait = async {
        while !missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .is_err()
    {
        let log = |program: &str| {
            let text = std::fs::read_to_string(scene.log(program)).unwrap_or_default();
            // why it does not run, or what it did last
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.len().saturating_sub(6).max(12.min(lines.len()));
            let errors = lines.iter().filter(|line| line.starts_with("error"));
            let told = errors.take(12).chain(&lines[last..]);
            told.copied().collect::<Vec<_>>().join("\n")
        };
        panic!(
            "{:?} was not sent\nprobot: {}\nscaler: {}",
            missing(),
            log("probot"),
            log("scaler")
        );
    }
    // the answers come, are told, and are tried again
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_found_anywhere() {
    let name = "secrets::no_planted_secret_is_found_anywhere";
    let Some(binaries) = binaries(name) else {
        return conformance::store::skip(
            name,
            "the binaries (PARMANU_TEST_BIN_DIR is not set); run `cargo xtask test`",
        );
    };
    let scene = Scene::open(binaries).await;
    assert!(scene.planted.0.len() >= 50, "{}", scene.planted.0.len());
    let (probot_port, scaler_port) = (free_port(), free_port());
    let services = [
        scene.start("probot", probot_port),
        scene.start("scaler", scaler_port),
    ];
    until_all_was_sent(&scene).await;

    let mut said: Vec<(String, String)> = Vec::new();
    for (port, paths) in [
        (probot_port, &["metrics", "healthz", "readyz"][..]),
        (
            scaler_port,
            &[
                "metrics",
                "healthz",
                "readyz",
                "api/v1/pools",
                "api/v1/machines",
                "api/v1/emitters",
                "api/v1/plans",
                "api/v1/decisions",
            ][..],
        ),
    ] {
        for path in paths {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/{path}"))
                .await
                .unwrap();
            said.push((path.to_string(), answer.text().await.unwrap()));
        }
    }
    said.push(("redis".to_owned(), scene.dump().await));
    let config = scene.config().display().to_string();
    let mut commands: Vec<Vec<String>> = vec![
        vec!["check".into(), config.clone()],
        vec!["doctor".into(), "--config".into(), config.clone()],
        vec!["plan".into(), "--config".into(), config.clone()],
        vec!["status".into()],
        vec!["why".into(), "pool".into(), "well-broken".into()],
    ];
    for manner in Manner::ALL {
        for kind in ["gitlab", "jenkins", "teamcity", "buildbot", "http"] {
            let emitter = format!("{kind}-{}", manner.word());
            commands.push(vec![
                "probe".into(),
                emitter,
                "--config".into(),
                config.clone(),
            ]);
        }
    }
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        said.push((words.join(" "), scene.ask(&words, scaler_port)));
    }
    drop(services);
    for program in ["probot", "scaler"] {
        let log = std::fs::read_to_string(scene.log(program)).unwrap();
        assert!(
            log.len() > 10_000,
            "{program} says everything: {} bytes",
            log.len()
        );
        said.push((format!("{program}'s log"), log));
    }

    let found: Vec<String> = said
        .iter()
        .flat_map(|(place, text)| scene.planted.found_in(place, text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    // tokens of runners that were made for machines, which no configuration knows
    for (place, text) in &said {
        assert!(!text.contains("glrt-"), "{place} tells a runner's token");
    }

    // the search finds what is there: the servers heard most of them
    let heard: String = scene.echoes.iter().map(Echo::heard).collect();
    let all = scene.planted.found_in("heard", &heard);
    assert_eq!(all.len(), 5, "{all:?}");
    let sent = scene.planted.0.values().filter(|secret| {
        let login = STANDARD.encode(format!("parmanu:{secret}"));
        let other = STANDARD.encode(format!("farm:{secret}"));
        [*secret, &login, &other]
            .iter()
            .any(|form| heard.contains(form.as_str()))
    });
    assert!(
        sent.count() >= 25,
        "too few were sent for the test to mean anything"
    );
}
