//! A real Buildbot master, real workers of it, and a wire to it that can be cut.
//!
//! `PARMANU_TEST_BUILDBOT_URL` names a master of this run only, with a builder `live` of several workers and nobody
//! connected; `PARMANU_TEST_BUILDBOT_MASTER` is where workers connect and `PARMANU_TEST_BUILDBOT_WORKER` a folder with
//! the worker's Python packages. The tests share the master, so each takes it for itself and leaves it empty.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use conformance::hostile::Plugin;
use emitter_buildbot::{Buildbot, BuildbotConfig};
use model::{ExecutorId, InstanceName, JobId, Timestamp};
use ports::{
    Clock, Credential, Emitter, EmitterContext, EmitterPlugin as _, ExecutorControl, Registration,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const URL: &str = "PARMANU_TEST_BUILDBOT_URL";
const MASTER: &str = "PARMANU_TEST_BUILDBOT_MASTER";
const WORKER: &str = "PARMANU_TEST_BUILDBOT_WORKER";

/// The builder of the tests.
pub(crate) const BUILDER: &str = "live";

/// Longer than a worker needs to connect on a busy machine by far.
const LIMIT: Duration = Duration::from_secs(60);

/// Real time: Buildbot does not wait for a clock of ours.
pub(crate) struct RealClock;

#[async_trait]
impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the master lives in real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn boottime(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "the master lives in real time")]
        START.get_or_init(std::time::Instant::now).elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The master, for one test.
pub(crate) struct World {
    /// Where the master answers, without the wire.
    url: String,
    master: String,
    packages: PathBuf,
    /// What the plugin is told.
    seen: String,
    cut: Arc<AtomicBool>,
    folder: tempfile::TempDir,
    workers: Mutex<BTreeMap<ExecutorId, Child>>,
    next: AtomicU32,
    _alone: File,
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}

impl World {
    pub(crate) async fn start() -> Result<World, String> {
        let (url, master) = (variable(URL)?, variable(MASTER)?);
        let packages = PathBuf::from(variable(WORKER)?);
        let name = url.replace(['/', ':'], "-");
        let lock = std::env::temp_dir().join(format!("parmanu-{name}.lock"));
        let lock = File::create(lock).expect("a lock");
        let alone = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        let alone = alone.await.expect("no panic").expect("the lock");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let seen = format!("http://{}", listener.local_addr().expect("an address"));
        let cut = Arc::new(AtomicBool::new(false));
        let far = url.trim_start_matches("http://").to_owned();
        tokio::spawn(forward(listener, far, cut.clone()));
        Ok(World {
            url,
            master,
            packages,
            seen,
            cut,
            folder: tempfile::tempdir().expect("a folder"),
            workers: Mutex::default(),
            next: AtomicU32::new(1),
            _alone: alone,
        })
    }

    fn config(&self) -> BuildbotConfig {
        serde_json::from_value(config(&self.seen, &self.master)).expect("a configuration")
    }

    pub(crate) fn emitter(&self) -> Arc<dyn Emitter> {
        Buildbot::emitter(self.config(), &context()).expect("an emitter")
    }

    pub(crate) fn control(&self) -> Arc<dyn ExecutorControl> {
        let control = Buildbot::control(self.config(), &context()).expect("a control half");
        control.expect("the right to control")
    }

    /// Where the plugin finds the master.
    pub(crate) fn url(&self) -> String {
        self.seen.clone()
    }

    /// From now on nobody gets an answer.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Starts the worker of a registration and waits until it is connected.
    pub(crate) async fn join(&self, registration: &Registration) {
        let credential = |name: &str| match &registration.credentials[name] {
            Credential::Plain(text) => text.clone(),
            Credential::Secret(secret) => secret.expose_secret().to_owned(),
        };
        let (name, password) = (credential("name"), credential("password"));
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let base = self.folder.path().join(format!("worker-{number}"));
        let program = || {
            let mut command = Command::new("/usr/bin/python3");
            command
                .arg("-S")
                .arg(self.packages.join("bin/buildbot-worker"))
                .env("PYTHONPATH", &self.packages)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let mut make = program();
        make.arg("create-worker").arg(&base);
        make.args([&credential("master"), &name, &password]);
        let made = tokio::task::spawn_blocking(move || make.status());
        assert!(made.await.expect("no panic").expect("a program").success());
        let child = program().arg("start").arg("--nodaemon").arg(&base).spawn();
        let child = child.expect("a worker");
        let executor = registration.executor.clone();
        self.note(executor.clone(), child);
        self.until("the worker is connected", || async {
            self.is_connected(&executor).await
        })
        .await;
    }

    fn note(&self, executor: ExecutorId, child: Child) {
        let mut workers = self.workers.lock().expect("no panic");
        workers.insert(executor, child);
    }

    pub(crate) async fn is_connected(&self, executor: &ExecutorId) -> bool {
        let rows = self.rows(&format!("workers/{executor}"), "workers").await;
        rows[0]["connected_to"]
            .as_array()
            .is_some_and(|to| !to.is_empty())
    }

    /// kill −9 of a worker.
    pub(crate) fn kill(&self, executor: &ExecutorId) {
        let mut workers = self.workers.lock().expect("no panic");
        let mut child = workers.remove(executor).expect("a worker of this test");
        child.kill().expect("a process");
        child.wait().expect("a process");
    }

    /// Whether the worker's process has ended by itself.
    pub(crate) fn has_ended(&self, executor: &ExecutorId) -> bool {
        let mut workers = self.workers.lock().expect("no panic");
        let child = workers.get_mut(executor).expect("a worker of this test");
        child.try_wait().expect("a process").is_some()
    }

    /// Queues one build, which goes on until [`World::finish`].
    pub(crate) async fn queue(&self) -> JobId {
        let builders = self.rows("builders", "builders").await;
        let builder = builders.iter().find(|row| row["name"] == BUILDER);
        let id = builder.expect("the builder")["builderid"].to_string();
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let gate = self.folder.path().join(format!("gate-{number}"));
        let params = json!({
            "builderid": id, "username": "test@example.invalid", "gate": gate,
        });
        let path = format!("forceschedulers/force-{BUILDER}");
        let answer = self.act(&path, "force", params).await;
        let request = answer["result"][1][&id].as_u64().expect("a request");
        std::fs::write(self.gate_of(request), gate.to_str().expect("text")).expect("a file");
        JobId::new(request.to_string())
    }

    fn gate_of(&self, request: u64) -> PathBuf {
        self.folder.path().join(format!("request-{request}"))
    }

    fn gate(&self, job: &JobId) -> String {
        let request = job.as_str().parse().expect("a number");
        std::fs::read_to_string(self.gate_of(request)).expect("a gate")
    }

    /// Lets the build of a request end well.
    pub(crate) async fn finish(&self, job: &JobId) {
        std::fs::write(self.gate(job), "").expect("a file");
        self.until("the build ends", || async {
            self.rows(&format!("buildrequests/{job}"), "buildrequests")
                .await[0]["complete"]
                == true
        })
        .await;
    }

    /// The worker that builds a request now, and has begun with it. A worker that is lost before, while the master asks
    /// whether it is there, makes a build that hangs for ever (seen with 4.3).
    pub(crate) async fn worker_of(&self, job: &JobId) -> Option<ExecutorId> {
        if !PathBuf::from(format!("{}.begun", self.gate(job))).exists() {
            return None;
        }
        let builds = self.rows("builds?complete=false", "builds").await;
        let build = builds
            .iter()
            .find(|row| row["buildrequestid"].as_u64() == job.as_str().parse().ok());
        Some(ExecutorId::new(build?["workerid"].to_string()))
    }

    /// An operator pauses a worker.
    pub(crate) async fn pause(&self, executor: &ExecutorId) {
        let reason = json!({ "reason": "its disk is broken" });
        self.act(&format!("workers/{executor}"), "pause", reason)
            .await;
    }

    pub(crate) async fn until<F>(&self, what: &str, is: impl Fn() -> F + Send)
    where
        F: Future<Output = bool> + Send,
    {
        let start = RealClock.boottime();
        while !is().await {
            let waited = RealClock.boottime().saturating_sub(start);
            assert!(
                waited < LIMIT,
                "in {LIMIT:?} it did not come about that {what}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn rows(&self, path: &str, key: &str) -> Vec<Value> {
        rows(&self.url, path, key).await
    }

    async fn act(&self, path: &str, method: &str, params: Value) -> Value {
        act(&self.url, path, method, params).await
    }
}

/// Rows of the master, asked without anything of the plugin.
async fn rows(url: &str, path: &str, key: &str) -> Vec<Value> {
    // now and then a busy master never answers
    for _ in 0..5 {
        let asked = reqwest::Client::new()
            .get(format!("{url}/api/v2/{path}"))
            .timeout(Duration::from_secs(3));
        if let Ok(answer) = asked.send().await
            && let Ok(mut answer) = answer.json::<Value>().await
            && let Value::Array(rows) = answer[key].take()
        {
            return rows;
        }
    }
    panic!("the master does not answer {path}");
}

async fn act(url: &str, path: &str, method: &str, params: Value) -> Value {
    let body = json!({ "id": 1, "jsonrpc": "2.0", "method": method, "params": params });
    let asked = reqwest::Client::new()
        .post(format!("{url}/api/v2/{path}"))
        .json(&body)
        .timeout(Duration::from_secs(10));
    let answer = asked.send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

/// Ends every job and lifts every pause. The workers still live, since a build of a lost worker may hang.
async fn end_jobs(url: &str) {
    for _ in 0..200 {
        let requests = rows(url, "buildrequests?complete=false", "buildrequests").await;
        for row in &requests {
            let path = format!("buildrequests/{}", row["buildrequestid"]);
            act(url, &path, "cancel", json!({ "reason": "over" })).await;
        }
        let builds = rows(url, "builds?complete=false", "builds").await;
        for row in &builds {
            let path = format!("builds/{}", row["buildid"]);
            act(url, &path, "stop", json!({ "reason": "over" })).await;
        }
        if requests.is_empty() && builds.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for row in rows(url, "workers", "workers").await {
        if row["paused"] == true {
            let path = format!("workers/{}", row["workerid"]);
            act(url, &path, "unpause", json!({})).await;
        }
    }
}

/// Waits until the master has seen every worker go.
async fn nobody_is_there(url: &str) {
    for _ in 0..200 {
        let workers = rows(url, "workers", "workers").await;
        if workers.iter().all(|row| row["connected_to"] == json!([])) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Drop for World {
    /// Leaves the master empty for the next test.
    fn drop(&mut self) {
        let workers = std::mem::take(self.workers.get_mut().expect("no panic"));
        let url = self.url.clone();
        // a runtime of its own: the test's may not be waited for here
        let clear = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(end_jobs(&url));
            for mut child in workers.into_values() {
                let _ = child.kill();
                let _ = child.wait();
            }
            runtime.block_on(nobody_is_there(&url));
        });
        let _ = clear.join();
    }
}

/// A name for a machine of the builder's pool.
pub(crate) fn machine(sequence: u32) -> InstanceName {
    let name = format!("linux-7-{sequence}-0");
    name.parse().expect("a name")
}

fn config(url: &str, master: &str) -> Value {
    json!({
        "url": url,
        "manage": { "master": master, "password": "not-a-secret" },
        "request_timeout": "10s",
    })
}

/// The plugin, pointed at another server than the master.
pub(crate) fn plugin_at(url: &str, clock: Arc<dyn Clock>) -> Plugin {
    let config = config(url, "127.0.0.1:9989");
    Plugin::of::<Buildbot>(&config, context(), clock, ExecutorId::new("1"))
}

fn context() -> EmitterContext {
    let serves = vec![json!({ "builders": [BUILDER] })];
    EmitterContext {
        upkeep: true,
        name: "buildbot".parse().expect("a name"),
        fleet: "acme".parse().expect("a fleet"),
        pools: BTreeMap::from([("linux".parse().expect("a pool"), serves)]),
        probe_timeout: Duration::from_secs(30),
        clock: Arc::new(RealClock),
    }
}

/// The executors of a look that somebody is connected to, or has a job.
pub(crate) fn alive(look: &model::Snapshot) -> BTreeSet<&ExecutorId> {
    let joined = |executor: &&model::Executor| executor.state != model::ExecutorState::NeverJoined;
    let executors = look.executors.iter().filter(joined);
    executors.map(|executor| &executor.id).collect()
}

async fn forward(listener: TcpListener, far: String, cut: Arc<AtomicBool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        if cut.load(Ordering::SeqCst) {
            continue;
        }
        let far = far.clone();
        tokio::spawn(async move {
            if let Ok(mut far) = TcpStream::connect(far).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
