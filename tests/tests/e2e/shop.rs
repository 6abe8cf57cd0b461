//! The shop: everything one end-to-end test starts, plays and looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fake_gitlab::{GitLab, JobId, JobState, ProjectId, Scope, Server};
use jiff::Timestamp;
use model::{FleetId, Instance, InstanceState, Listing};
use ports::{Clock, Provider, ProviderContext, ProviderErrorKind, ProviderPlugin};
use telemetry::SystemClock;

/// The token of everything; obviously no secret.
pub const TOKEN: &str = "e2e-token-of-nobody";

/// How long a played job runs.
const JOB_LENGTH: Duration = Duration::from_millis(1200);
/// How often the played machines move, and how often a state is looked at.
const BEAT: Duration = Duration::from_millis(150);

/// The real parts a test needs.
pub struct Parts {
    moto: String,
    binaries: PathBuf,
}

/// The parts, or a note that this test was skipped for want of them.
pub fn skip_without_parts(name: &str) -> Option<Parts> {
    let moto = std::env::var("PARMANU_TEST_MOTO_URL");
    let binaries = std::env::var("PARMANU_TEST_BIN_DIR");
    let redis = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    match (moto, binaries, redis) {
        (Ok(moto), Ok(binaries), Ok(_)) => Some(Parts {
            moto,
            binaries: binaries.into(),
        }),
        (moto, binaries, _) => {
            let missing = match (moto, binaries) {
                (Err(_), _) => "moto (PARMANU_TEST_MOTO_URL is not set)",
                (_, Err(_)) => "the binaries (PARMANU_TEST_BIN_DIR is not set)",
                (Ok(_), Ok(_)) => "redis-server on the PATH",
            };
            conformance::store::skip(name, &format!("{missing}; run `cargo xtask test`"));
            None
        }
    }
}

/// Ends a process when the test ends, however it ends.
struct Running(Child);

impl Running {
    fn send(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is true at one moment.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    machines: Vec<Instance>,
    /// Every machine name ever seen.
    pub ever: BTreeSet<String>,
    /// Jobs that ended well.
    pub done: usize,
    /// Machines with a job.
    pub working: usize,
    /// Runners registered.
    pub runners: usize,
    /// Runners paused.
    pub paused: usize,
}

impl Seen {
    /// Machines of a pool that run.
    pub fn running(&self, pool: &str) -> usize {
        let running =
            |i: &&Instance| i.pool().as_str() == pool && i.state == InstanceState::Running;
        self.machines.iter().filter(running).count()
    }

    /// Machines that are not gone.
    pub fn alive(&self) -> usize {
        self.machines.iter().filter(|i| !i.state.is_gone()).count()
    }
}

/// How the played machines behave.
#[derive(Default)]
struct Behaviour {
    /// Machines take jobs.
    take: AtomicBool,
    /// Jobs end by themselves.
    finish: AtomicBool,
}

/// One test's world.
pub struct Shop {
    folder: tempfile::TempDir,
    parts: Parts,
    gitlab: Arc<Mutex<GitLab>>,
    _server: Server,
    redis: Running,
    redis_port: u16,
    fleet: FleetId,
    ec2: Arc<dyn Provider>,
    behaviour: Arc<Behaviour>,
    ever: Arc<Mutex<BTreeSet<String>>>,
    machines: tokio::task::JoinHandle<()>,
    probot: Option<Running>,
    scaler: Option<Running>,
    ports: (u16, u16),
    random: AtomicU64,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn configuration(gitlab: &str, moto: &str, redis: u16, fleet: &FleetId) -> String {
    format!(
        r#"
version: 1
fleet: {fleet}
store: {{ kind: redis, url: "redis://127.0.0.1:{redis}/" }}
emitters:
  gitlab:
    kind: gitlab
    url: {gitlab}
    token: {TOKEN}
    manage_token: {TOKEN}
    scope: {{ instance: true }}
    hook: {{ secret: {TOKEN} }}
    settle: 1s
    probe: {{ every: 400ms, timeout: 10s }}
providers:
  aws:
    kind: ec2
    region: us-east-1
    endpoint: {moto}
    credentials: {{ keys: {{ id: e2e-id, secret: e2e-secret }} }}
    listing_lag: 2s
machines:
  small:
    bootstrap: runner.sh.j2
    boot: {{ expect: 1s, timeout: 5m }}
    offers: [{{ provider: aws, image: ami-0123456789abcdef0, types: [t3.micro], price: 36 }}]
pools:
  linux: {{ emitter: gitlab, serves: [{{ tags: [linux] }}], machine: small, max: 25, precedence: 1, rules: [soon], fresh_for: 10s }}
  docker: {{ emitter: gitlab, serves: [{{ tags: [docker, privileged] }}], machine: small, max: 25, rules: [soon], fresh_for: 10s }}
rules:
  soon: {{ kind: scale-in, idle_for: 4s }}
"#
    )
}

impl Shop {
    /// Starts Redis and the fake GitLab and begins to play the machines.
    pub async fn open(parts: Parts, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let fleet: FleetId = format!("e2e-{name}-{pid}").parse().unwrap();
        let mut gitlab = GitLab::new();
        let user = gitlab.add_user("parmanu", true);
        gitlab.add_token(user, TOKEN, &[Scope::Api]);
        gitlab.add_project("acme/app");
        let gitlab = Arc::new(Mutex::new(gitlab));
        let server = Server::start(gitlab.clone(), || SystemClock.now())
            .await
            .unwrap();
        let redis_port = free_port();
        let redis = start_redis(folder.path(), redis_port);
        let template = "#!/bin/sh\nexec gitlab-runner run-single --token {{ executor.token }} --name {{ machine }}\n";
        std::fs::write(folder.path().join("runner.sh.j2"), template).unwrap();
        let text = configuration(&server.url(), &parts.moto, redis_port, &fleet);
        std::fs::write(folder.path().join("parmanu.yaml"), text).unwrap();
        let ec2 = ec2(&parts.moto);
        let behaviour = Arc::new(Behaviour::default());
        let ever = Arc::new(Mutex::new(BTreeSet::new()));
        let machines = tokio::spawn(play_machines(
            ec2.clone(),
            fleet.clone(),
            gitlab.clone(),
            behaviour.clone(),
            ever.clone(),
        ));
        let seed = SystemClock.boottime().as_nanos() as u64;
        println!("random moments from seed {seed}");
        Shop {
            folder,
            parts,
            gitlab,
            _server: server,
            redis,
            redis_port,
            fleet,
            ec2,
            behaviour,
            ever,
            machines,
            probot: None,
            scaler: None,
            ports: (free_port(), free_port()),
            random: AtomicU64::new(seed),
        }
    }

    /// The fake GitLab.
    pub fn gitlab(&self) -> MutexGuard<'_, GitLab> {
        self.gitlab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues jobs.
    pub fn push(&self, count: usize, tags: &[&str]) {
        for _ in 0..count {
            self.gitlab()
                .push_job(ProjectId(1), "build", tags, "main", SystemClock.now());
        }
    }

    /// Machines take jobs, and jobs end after a while.
    pub fn let_jobs_run(&self) {
        self.behaviour.take.store(true, Ordering::SeqCst);
        self.behaviour.finish.store(true, Ordering::SeqCst);
    }

    /// Machines take jobs, and jobs do not end.
    pub fn hold_jobs_open(&self) {
        self.behaviour.take.store(true, Ordering::SeqCst);
        self.behaviour.finish.store(false, Ordering::SeqCst);
    }

    fn start(&self, service: &str, port: u16) -> Running {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("{service}.log")))
            .unwrap();
        let child = Command::new(self.parts.binaries.join(service))
            .arg("--config")
            .arg(self.folder.path().join("parmanu.yaml"))
            .args([
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--log-format",
                "human",
            ])
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running(child)
    }

    /// What a verb of `parmanu` prints for the configuration that the services run with.
    pub fn ask(&self, verb: &[&str]) -> String {
        let output = Command::new(self.parts.binaries.join("parmanu"))
            .args(verb)
            .arg("--config")
            .arg(self.folder.path().join("parmanu.yaml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let trouble = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb:?}: {said}\n{trouble}");
        said
    }

    /// Starts the real probot.
    pub fn start_probot(&mut self) {
        self.probot = Some(self.start("probot", self.ports.0));
    }

    /// Starts the real scaler.
    pub fn start_scaler(&mut self) {
        self.scaler = Some(self.start("scaler", self.ports.1));
    }

    /// kill −9.
    pub fn kill_probot(&mut self) {
        self.probot = None;
    }

    /// kill −9.
    pub fn kill_scaler(&mut self) {
        self.scaler = None;
    }

    /// SIGTERM to both, which must then end by themselves and with success.
    pub async fn stop_gracefully(&mut self) {
        for mut running in [self.probot.take(), self.scaler.take()]
            .into_iter()
            .flatten()
        {
            running.send("-TERM");
            let ended = async {
                loop {
                    if let Some(status) = running.0.try_wait().unwrap() {
                        return status;
                    }
                    tokio::time::sleep(BEAT).await;
                }
            };
            let status = tokio::time::timeout(Duration::from_secs(15), ended).await;
            assert!(status.expect("it stops when asked").success());
        }
    }

    /// SIGHUP to both, which must then read their configuration again, find it the same, and live on.
    pub async fn hang_up(&self) {
        for running in [&self.probot, &self.scaler].into_iter().flatten() {
            running.send("-HUP");
        }
        let same = |log: String| log.contains("the configuration means what it meant");
        let both = async {
            while !(same(self.probot_log()) && same(self.scaler_log())) {
                tokio::time::sleep(BEAT).await;
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(15), both).await;
        read.expect("both read their configuration again");
    }

    pub fn probot_port(&self) -> u16 {
        self.ports.0
    }

    pub fn scaler_port(&self) -> u16 {
        self.ports.1
    }

    /// A number that is another one each time.
    pub fn random_ms(&self, range: Range<u64>) -> Duration {
        let old = self.random.load(Ordering::SeqCst);
        let new = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.random.store(new, Ordering::SeqCst);
        Duration::from_millis(range.start + (new >> 33) % (range.end - range.start))
    }

    /// Lets real time pass: a random moment of a running program has no state to wait for.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Wipes Redis.
    pub fn flush_all(&self) {
        let url = format!("redis://127.0.0.1:{}/", self.redis_port);
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
    }

    /// Redis answers nothing any more, or goes on.
    pub fn freeze_redis(&self, frozen: bool) {
        self.redis.send(if frozen { "-STOP" } else { "-CONT" });
    }

    /// Writes the configuration anew, with this text in the place of that. Gives what stood there.
    pub fn configure(&self, that: &str, this: &str) -> String {
        let file = self.folder.path().join("parmanu.yaml");
        let before = read(&file);
        assert!(before.contains(that), "no `{that}` in\n{before}");
        std::fs::write(file, before.replace(that, this)).unwrap();
        before
    }

    /// Writes the configuration as it stood.
    pub fn restore(&self, text: &str) {
        std::fs::write(self.folder.path().join("parmanu.yaml"), text).unwrap();
    }

    /// Waits until the sum of a metric's series is as asked for.
    pub async fn until_metric(&self, port: u16, name: &str, is: impl Fn(f64) -> bool) {
        let wait = async {
            while !is(self.metric(port, name).await) {
                tokio::time::sleep(BEAT).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(90), wait).await;
        assert!(
            in_time.is_ok(),
            "{name} does not move:\n{}\n{}",
            self.scaler_log(),
            self.probot_log()
        );
    }

    /// What the cloud shows. Moto, listed while machines are made, now and then answers 500 without a word; the scaler lists again
    /// then, and so does who looks on.
    async fn listing(&self) -> Listing {
        for _ in 0..4 {
            match self.ec2.list(&self.fleet).await {
                Ok(listing) => return listing,
                Err(error) if error.kind == ProviderErrorKind::Unavailable => {
                    tokio::time::sleep(BEAT).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        self.ec2.list(&self.fleet).await.unwrap()
    }

    /// Looks at the cloud and at GitLab.
    pub async fn look(&self) -> Seen {
        let listing = self.listing().await;
        assert!(listing.unknown.is_empty(), "{:?}", listing.unknown);
        let gitlab = self.gitlab();
        let working = gitlab
            .runners()
            .filter(|r| gitlab.busy_with(r.id).next().is_some());
        Seen {
            working: working.count(),
            done: gitlab
                .jobs()
                .filter(|job| job.state == JobState::Success)
                .count(),
            runners: gitlab.runners().count(),
            paused: gitlab.runners().filter(|runner| runner.paused).count(),
            ever: self.ever.lock().unwrap().clone(),
            machines: listing.instances,
        }
    }

    /// Waits for a state.
    pub async fn until(&mut self, seconds: u64, what: &str, state: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let seen = self.look().await;
                if state(&seen) {
                    return;
                }
                tokio::time::sleep(BEAT).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(seconds), wait)
            .await
            .is_err()
        {
            let seen = self.look().await;
            let (scaler, probot) = (self.scaler_log(), self.probot_log());
            panic!(
                "not within {seconds} s: {what}\n{seen:#?}\nscaler:\n{scaler}\nprobot:\n{probot}"
            );
        }
    }

    /// Waits until the scaler's log says something.
    pub async fn until_logged(&mut self, seconds: u64, words: &str) {
        let log = self.folder.path().join("scaler.log");
        let what = format!("the scaler's log says `{words}`");
        self.until(seconds, &what, |_| read(&log).contains(words))
            .await;
    }

    /// Every job is done, nothing was killed, everything is gone, and no more machines were made than there were jobs.
    pub async fn all_done_and_gone(&mut self, jobs: usize) {
        self.until(120, "every job is done", |seen| seen.done == jobs)
            .await;
        self.until(90, "every machine is gone", |seen| seen.alive() == 0)
            .await;
        let seen = self.look().await;
        assert!(
            seen.ever.len() <= jobs,
            "{} machines for {jobs} jobs: {:?}",
            seen.ever.len(),
            seen.ever
        );
        self.nothing_was_killed();
    }

    /// No build lost its machine, and each ran once.
    pub fn nothing_was_killed(&self) {
        let gitlab = self.gitlab();
        assert_eq!(gitlab.killed().count(), 0, "a build was killed");
        assert!(
            gitlab.jobs().all(|job| job.runs.len() <= 1),
            "a build ran twice"
        );
    }

    /// Ticks of the running scaler.
    pub async fn ticks(&self) -> f64 {
        self.metric(self.ports.1, "parmanu_tick_duration_seconds_count")
            .await
    }

    /// Waits until the scaler has ticked so often; one that was just started begins at 0.
    pub async fn until_ticks(&mut self, ticks: f64) {
        let wait = async {
            while self.ticks().await < ticks {
                tokio::time::sleep(BEAT).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(
            in_time.is_ok(),
            "the scaler does not tick:\n{}",
            self.scaler_log()
        );
    }

    /// All metrics of a service as it shows them; nothing when it does not answer.
    pub async fn scrape(&self, port: u16) -> String {
        match reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// A hook of the CI server, with its secret or without; the status of the answer.
    pub async fn hook(&self, secret: Option<&str>) -> u16 {
        let url = format!("http://127.0.0.1:{}/hooks/gitlab", self.ports.0);
        let mut request = reqwest::Client::new().post(url);
        if let Some(secret) = secret {
            request = request.header("X-Gitlab-Token", secret);
        }
        let answer = request.send().await.unwrap();
        answer.status().as_u16()
    }

    /// The sum of a metric's series, 0 when the service does not answer.
    pub async fn metric(&self, port: u16, name: &str) -> f64 {
        let text = self.scrape(port).await;
        let series = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    pub fn scaler_log(&self) -> String {
        read(&self.folder.path().join("scaler.log"))
    }

    pub fn probot_log(&self) -> String {
        read(&self.folder.path().join("probot.log"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.machines.abort();
        // in this order, so that nobody complains about a Redis that went first
        self.probot = None;
        self.scaler = None;
        let _ = self.redis.0.kill();
        if std::thread::panicking() {
            eprintln!(
                "scaler:\n{}\nprobot:\n{}",
                self.scaler_log(),
                self.probot_log()
            );
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn start_redis(folder: &Path, port: u16) -> Running {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// The provider the scaler uses, for looking only.
fn ec2(moto: &str) -> Arc<dyn Provider> {
    let config = serde_json::json!({
        "region": "us-east-1",
        "endpoint": moto,
        "credentials": { "keys": { "id": "e2e-id", "secret": "e2e-secret" } },
    });
    let config = serde_json::from_value(config).unwrap();
    let clock = Arc::new(SystemClock);
    let context = ProviderContext {
        name: "aws".parse().unwrap(),
        clock,
    };
    provider_ec2::Ec2::provider(config, &context).unwrap()
}

/// The machines: each that runs asks for a job with its runner's token and runs it; each that is gone takes its job along.
async fn play_machines(
    ec2: Arc<dyn Provider>,
    fleet: FleetId,
    gitlab: Arc<Mutex<GitLab>>,
    behaviour: Arc<Behaviour>,
    ever: Arc<Mutex<BTreeSet<String>>>,
) {
    let mut working: BTreeMap<String, Option<(JobId, Timestamp)>> = BTreeMap::new();
    let length = jiff::SignedDuration::try_from(JOB_LENGTH).unwrap();
    loop {
        tokio::time::sleep(BEAT).await;
        let Ok(listing) = ec2.list(&fleet).await else {
            continue;
        };
        let now = SystemClock.now();
        let mut gitlab = gitlab.lock().unwrap_or_else(PoisonError::into_inner);
        for instance in &listing.instances {
            let name = instance.name.to_string();
            ever.lock().unwrap().insert(name.clone());
            let runner = gitlab.runners().find(|r| r.description == name);
            let Some((runner, token)) = runner.map(|r| (r.id, r.token.clone())) else {
                continue;
            };
            if instance.state.is_gone() {
                if working.remove(&name).is_some() {
                    gitlab.lose_machine(runner, now);
                }
                continue;
            }
            let job = working.entry(name).or_default();
            if let Some((id, until)) = *job
                && behaviour.finish.load(Ordering::SeqCst)
                && now >= until
            {
                gitlab.finish_job(id, true, now);
                *job = None;
            }
            let running = instance.state == InstanceState::Running;
            if job.is_none() && running && behaviour.take.load(Ordering::SeqCst) {
                *job = gitlab.request_job(&token, now).map(|id| (id, now + length));
            }
        }
    }
}
