//! Everything started: a fake GitLab and the cloud in this process, a real Redis, and both services as processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_gitlab::{GitLab, ProjectId, Scope, Server};
use ports::Clock as _;
use telemetry::SystemClock;

use crate::cloud::{Cloud, lock, serve};
use crate::process::{Running, ask, binary, free_port};

/// Obviously no secret.
const TOKEN: &str = "bench-token-of-nobody";

/// What the configuration says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    /// Pools without a machine until there is a job for them: `p0`, with the tag `t0`, and so on.
    pub(crate) empty: usize,
    /// Pools that keep machines: `f0`, with the tag `f0`, and so on.
    pub(crate) filled: usize,
    /// Machines that each of these keeps.
    pub(crate) machines: usize,
    /// How often GitLab is looked at.
    pub(crate) every: &'static str,
}

pub(crate) struct Stage {
    pub(crate) gitlab: Arc<Mutex<GitLab>>,
    pub(crate) cloud: Arc<Mutex<Cloud>>,
    pub(crate) probot: Running,
    pub(crate) scaler: Running,
    pub(crate) redis: Running,
    ports: [u16; 3],
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts everything, and waits until both services say that they are ready.
    pub(crate) async fn open(fleet: Fleet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut gitlab = GitLab::new();
        let user = gitlab.add_user("parmanu", true);
        gitlab.add_token(user, TOKEN, &[Scope::Api]);
        gitlab.add_project("acme/app");
        let gitlab = Arc::new(Mutex::new(gitlab));
        let server = Server::start(gitlab.clone(), || SystemClock.now())
            .await
            .unwrap();
        let cloud = Arc::new(Mutex::new(Cloud::default()));
        let address = serve(cloud.clone());
        let ports = [(); 3].map(|()| free_port());
        let config = configuration(&server.url(), &address, ports[0], fleet);
        std::fs::write(folder.path().join("parmanu.yaml"), config).unwrap();
        std::fs::write(folder.path().join("boot.j2"), "{{ executor.token }}\n").unwrap();
        let redis = Running::start(
            Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--port"])
                .arg(ports[0].to_string())
                .current_dir(folder.path()),
        );
        let service = |name: &str, port: u16| {
            let log = std::fs::File::create(folder.path().join(format!("{name}.log"))).unwrap();
            Running::start(
                Command::new(binary(name))
                    .arg("--config")
                    .arg(folder.path().join("parmanu.yaml"))
                    .args(["--listen", &format!("127.0.0.1:{port}")])
                    .stderr(log),
            )
        };
        let stage = Stage {
            probot: service("probot", ports[1]),
            scaler: service("scaler", ports[2]),
            redis,
            ports,
            gitlab,
            cloud,
            _server: server,
            _folder: folder,
        };
        for port in &ports[1..] {
            let ready = || ask(*port, "GET /readyz", TOKEN).is_ok_and(|(status, _)| status == 200);
            until(Duration::from_secs(120), ready).await;
        }
        stage
    }

    /// The time from a job of this empty pool to its creation.
    pub(crate) async fn time_of(&self, pool: usize, by_hook: bool) -> Duration {
        let tag = format!("t{pool}");
        let visible = SystemClock.boottime();
        lock(&self.gitlab).push_job(ProjectId(1), "build", &[&tag], "main", SystemClock.now());
        if by_hook {
            let (status, _) = ask(self.ports[1], "POST /hooks/gitlab", TOKEN).unwrap();
            assert!((200..300).contains(&status), "{status}");
        }
        let pool = format!("p{pool}");
        let asked = || lock(&self.cloud).asked(&pool);
        until(Duration::from_secs(120), || asked().is_some()).await;
        asked().unwrap().saturating_sub(visible)
    }

    /// What both services count, by the line's name and labels.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let texts = self.ports[1..].iter().map(|port| {
            let (_, text) = ask(*port, "GET /metrics", TOKEN).unwrap();
            text
        });
        let texts: Vec<String> = texts.collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        let lines = lines.filter_map(|line| line.rsplit_once(' '));
        lines
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

/// Waits for a state, and not for ever.
pub(crate) async fn until(limit: Duration, is: impl Fn() -> bool) {
    let began = SystemClock.boottime();
    while !is() {
        let waited = SystemClock.boottime().saturating_sub(began);
        assert!(waited < limit, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The fake knows no limit of requests, so the emitter's own is out of the way: more looks than it allows are what is asked for.
fn configuration(gitlab: &str, cloud: &str, redis: u16, fleet: Fleet) -> String {
    let program = std::env::current_exe().unwrap();
    let program = program.display();
    let Fleet {
        empty,
        filled,
        machines,
        every,
    } = fleet;
    let mut text = format!(
        r#"version: 1
fleet: bench
store: {{ kind: redis, url: "redis://127.0.0.1:{redis}/" }}
emitters:
  gitlab:
    kind: gitlab
    url: {gitlab}
    token: {TOKEN}
    manage_token: {TOKEN}
    scope: {{ instance: true }}
    hook: {{ secret: {TOKEN} }}
    budget: {{ per_probe: 1000, per_minute: 60000 }}
    probe: {{ every: {every} }}
providers:
  here: {{ kind: command, program: ["{program}", --cloud, "{cloud}"], parallel: 8 }}
machines:
  small: {{ bootstrap: boot.j2, offers: [{{ provider: here, spec: {{}} }}] }}
rules:
  none: {{ kind: reserve, idle: 0 }}
pools:
"#
    );
    let mut pool = |name: String, tag: String, min: usize| {
        writeln!(text, "  {name}: {{ emitter: gitlab, serves: [{{ tags: [{tag}] }}], machine: small, min: {min}, max: 5, rules: [none] }}").unwrap();
    };
    (0..empty).for_each(|number| pool(format!("p{number}"), format!("t{number}"), 0));
    (0..filled).for_each(|number| pool(format!("f{number}"), format!("f{number}"), machines));
    text
}
