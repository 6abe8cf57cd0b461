//! How soon a waiting job becomes a creation on the wire, by poll and by hook, and what both services cost with many pools:
//! the real programs as processes, a real Redis, a fake GitLab, and a cloud that is this very program, all on loopback.
//!
//! ```sh
//! cargo build --release -p probot -p scaler --no-default-features && cargo bench -p parmanu --bench reaction
//! ```
//!
//! Times are from the moment at which the job can be seen at GitLab to the moment at which the cloud is asked to create. They are of
//! this machine and its load; what they are made of is in docs/performance.md.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]
#![expect(clippy::print_stdout, reason = "it reports")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_gitlab::{GitLab, ProjectId, Scope, Server};
use ports::Clock as _;
use serde_json::{Value, json};
use telemetry::SystemClock;

/// Obviously no secret.
const TOKEN: &str = "bench-token-of-nobody";

/// Jobs whose way is timed, each in a pool of its own.
const ROUNDS: usize = 20;
/// Pools of the second part.
const POOLS: usize = 1000;
/// How long their cost is watched, after both services have settled.
const WATCHED: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, address] = &arguments[..]
        && flag == "--cloud"
    {
        return pass_on(address);
    }
    // cargo asks every bench to list its tests
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let poll = Stage::open(ROUNDS + 1, "1s").await;
        report("by poll (every second)", poll.react(false).await);
        drop(poll);
        let hook = Stage::open(ROUNDS + 1, "60s").await;
        report("by hook", hook.react(true).await);
        drop(hook);
        Stage::open(POOLS, "1s").await.cost().await;
    });
}

/// The cloud's program: hands one request to the bench and its reply back.
fn pass_on(address: &str) {
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request).unwrap();
    let mut bench = TcpStream::connect(address).unwrap();
    bench.write_all(&request).unwrap();
    bench.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    bench.read_to_end(&mut reply).unwrap();
    std::io::stdout().write_all(&reply).unwrap();
}

/// What the cloud has made, and when it was asked to.
#[derive(Default)]
struct Cloud {
    machines: Vec<Value>,
    /// By pool, on the clock's boot time.
    asked: BTreeMap<String, Duration>,
}

impl Cloud {
    fn answer(&mut self, request: &Value) -> Value {
        match request["verb"].as_str().unwrap() {
            "describe" => {
                json!({ "version": 1, "verbs": ["describe", "list", "create", "delete"] })
            }
            "list" => json!({ "version": 1, "machines": self.machines }),
            "create" => {
                let now = SystemClock.boottime();
                let pool = request["tags"]["parmanu-pool"].as_str().unwrap();
                self.asked.entry(pool.to_owned()).or_insert(now);
                let names = request["names"].as_array().unwrap();
                let outcomes: Vec<Value> = names
                    .iter()
                    .map(|name| {
                        let machine = json!({
                            "name": name, "id": name, "state": "running", "tags": request["tags"],
                            "created_at": SystemClock.now().to_string(),
                        });
                        self.machines.push(machine.clone());
                        json!({ "name": name, "outcome": "done", "machine": machine })
                    })
                    .collect();
                json!({ "version": 1, "outcomes": outcomes })
            }
            verb => {
                json!({ "version": 1, "error": { "kind": "invalid_request", "message": verb } })
            }
        }
    }
}

/// Ends a process when the bench ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Stage {
    gitlab: Arc<Mutex<GitLab>>,
    cloud: Arc<Mutex<Cloud>>,
    probot: Running,
    scaler: Running,
    probot_port: u16,
    _redis: Running,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts everything, and waits until both services say that they are ready.
    async fn open(pools: usize, every: &str) -> Self {
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
        let config = configuration(&server.url(), &address, ports[0], pools, every);
        std::fs::write(folder.path().join("parmanu.yaml"), config).unwrap();
        std::fs::write(folder.path().join("boot.j2"), "{{ executor.token }}\n").unwrap();
        let redis = start(
            Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--port"])
                .arg(ports[0].to_string())
                .current_dir(folder.path()),
        );
        let service = |name: &str, port: u16| {
            let log = std::fs::File::create(folder.path().join(format!("{name}.log"))).unwrap();
            start(
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
            probot_port: ports[1],
            gitlab,
            cloud,
            _redis: redis,
            _server: server,
            _folder: folder,
        };
        for port in &ports[1..] {
            until(|| async { ask(*port, "GET /readyz").is_ok_and(|status| status == 200) }).await;
        }
        stage
    }

    /// The time from each job to its creation.
    async fn react(&self, by_hook: bool) -> Vec<Duration> {
        // over an empty store nothing is made until the cloud's listing can show what was in flight: once, and not timed
        self.time_of(ROUNDS, by_hook).await;
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            // not in step with the poll
            tokio::time::sleep(Duration::from_millis(1000 + 137 * (round as u64 % 8))).await;
            times.push(self.time_of(round, by_hook).await);
        }
        times
    }

    /// The time from a job of this pool to its creation.
    async fn time_of(&self, pool: usize, by_hook: bool) -> Duration {
        let tag = format!("t{pool}");
        let visible = SystemClock.boottime();
        self.gitlab
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_job(ProjectId(1), "build", &[&tag], "main", SystemClock.now());
        if by_hook {
            let status = ask(self.probot_port, "POST /hooks/gitlab").unwrap();
            assert!((200..300).contains(&status), "{status}");
        }
        let pool = format!("p{pool}");
        let asked = || {
            let cloud = self.cloud.lock().unwrap_or_else(PoisonError::into_inner);
            cloud.asked.get(&pool).copied()
        };
        until(|| async { asked().is_some() }).await;
        asked().unwrap().saturating_sub(visible)
    }

    /// What both services need while nothing but looking happens.
    async fn cost(&self) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let processes = [("probot", &self.probot), ("scaler", &self.scaler)];
        let before = processes.map(|(_, process)| used(process.0.id()));
        tokio::time::sleep(WATCHED).await;
        for ((name, process), before) in processes.into_iter().zip(before) {
            let pid = process.0.id();
            let share = used(pid).saturating_sub(before).as_secs_f64() / WATCHED.as_secs_f64();
            println!(
                "{POOLS} pools looked at every second: {name} {} MiB resident, {:.1} % of one core",
                resident_mib(pid),
                share * 100.0
            );
        }
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
    println!(
        "job visible to creation on the wire, {what}: median {} ms, 9 of 10 within {} ms, all within {} ms",
        at(50),
        at(90),
        at(100)
    );
}

/// Waits for a state, for two minutes at most.
async fn until<F: Future<Output = bool>>(is: impl Fn() -> F) {
    let began = SystemClock.boottime();
    while !is().await {
        let waited = SystemClock.boottime().saturating_sub(began);
        assert!(waited < Duration::from_secs(120), "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The status of one request without a body.
fn ask(port: u16, line: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Gitlab-Token: {TOKEN}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let status = reply
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no answer"))
}

fn serve(cloud: Arc<Mutex<Cloud>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).unwrap();
            let request: Value = serde_json::from_slice(&request).unwrap();
            let reply = cloud
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answer(&request);
            stream.write_all(reply.to_string().as_bytes()).unwrap();
        }
    });
    address
}

fn configuration(gitlab: &str, cloud: &str, redis: u16, pools: usize, every: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let program = program.display();
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
    budget: {{ per_minute: 5000 }}
    probe: {{ every: {every} }}
providers:
  here: {{ kind: command, program: ["{program}", --cloud, "{cloud}"] }}
machines:
  small: {{ bootstrap: boot.j2, offers: [{{ provider: here, spec: {{}} }}] }}
pools:
"#
    );
    for pool in 0..pools {
        writeln!(text, "  p{pool}: {{ emitter: gitlab, serves: [{{ tags: [t{pool}] }}], machine: small, max: 5, rules: [none] }}").unwrap();
    }
    text.push_str("rules:\n  none: { kind: reserve, idle: 0 }\n");
    text
}

fn start(command: &mut Command) -> Running {
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Running(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// A program of this workspace, beside this one.
fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().and_then(Path::parent).unwrap();
    let found = folder.join(name);
    assert!(
        found.exists(),
        "first: cargo build --release -p probot -p scaler --no-default-features"
    );
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The processor time a process has used (proc(5): fields 14 and 15 of `stat`, in hundredths of a second on Linux).
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
