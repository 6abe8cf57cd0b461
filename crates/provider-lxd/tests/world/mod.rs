//! A real LXD, one project of it per test, and a wire to it that can be cut.
//!
//! The daemon is named by `PARMANU_TEST_LXD_SOCKET`, its image by `PARMANU_TEST_LXD_IMAGE` (an alias; `small` if
//! absent) and its storage pool by `PARMANU_TEST_LXD_POOL` (`default` if absent). Each test makes a project, so that
//! equal names do not meet, and takes it away again.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::Timestamp;
use ports::{Clock, Provider, ProviderContext, ProviderPlugin};
use provider_lxd::{Config, Lxd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// The variable that names the daemon's socket.
pub(crate) const SOCKET: &str = "PARMANU_TEST_LXD_SOCKET";

/// Real time: LXD does not wait for a clock of ours.
pub(crate) struct RealClock;

#[async_trait]
impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "the daemon lives in real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
    fn boottime(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "the daemon lives in real time")]
        START.get_or_init(std::time::Instant::now).elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// What the wire does to the next request that begins so.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// The first bytes of the request.
    pub(crate) begins: &'static str,
    /// Whether the daemon still hears it.
    pub(crate) heard: bool,
    /// How many such requests are cut.
    pub(crate) times: u32,
}

/// One project of the daemon.
pub(crate) struct World {
    daemon: PathBuf,
    pub(crate) project: String,
    pub(crate) clock: Arc<RealClock>,
    pub(crate) provider: Arc<dyn Provider>,
    cuts: Arc<Mutex<Vec<Cut>>>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Result<World, String> {
        let config = json!({ "features.images": "false", "features.profiles": "false" });
        Self::start_in(&config).await
    }

    /// In a project with this configuration.
    pub(crate) async fn start_in(config: &Value) -> Result<World, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let daemon = std::env::var_os(SOCKET).ok_or_else(|| format!("{SOCKET} is not set"))?;
        let daemon = PathBuf::from(daemon);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let project = format!("t{}-{number}", std::process::id());
        let body = json!({ "name": project, "config": config });
        let made = ask(&daemon, "POST", "/1.0/projects", Some(&body)).await;
        assert_eq!(made["type"], "sync", "{made}");
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("wire.socket");
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(forward(listener, daemon.clone(), cuts.clone()));
        let clock = Arc::new(RealClock);
        let provider = provider(&socket, &project, clock.clone());
        Ok(World {
            daemon,
            project,
            clock,
            provider,
            cuts,
            _folder: folder,
        })
    }

    pub(crate) fn cut(&self, cut: Cut) {
        self.cuts.lock().expect("no panic").push(cut);
    }

    /// Asks the daemon itself, about this project.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}project={}", self.project);
        ask(&self.daemon, method, &path, body).await
    }

    /// Asks for a change and waits for its end.
    pub(crate) async fn change(&self, method: &str, path: &str, body: Option<&Value>) {
        let answer = self.ask(method, path, body).await;
        if let Some(operation) = answer["operation"].as_str().filter(|path| !path.is_empty()) {
            ask(
                &self.daemon,
                "GET",
                &format!("{operation}/wait?timeout=30"),
                None,
            )
            .await;
        }
    }

    pub(crate) async fn limit(&self, key: &str, value: &str) {
        let path = format!("/1.0/projects/{}", self.project);
        // LXD 5.0 takes a missing feature for one that is switched back
        let body = json!({
            "config": { "features.images": "false", "features.profiles": "false", key: value },
        });
        let answer = ask(&self.daemon, "PATCH", &path, Some(&body)).await;
        assert_eq!(answer["type"], "sync", "{answer}");
    }

    /// The names of all instances, whoever made them.
    pub(crate) async fn names(&self) -> Vec<String> {
        let answer = self.ask("GET", "/1.0/instances?recursion=1", None).await;
        let rows = answer["metadata"].as_array().expect("a list").iter();
        rows.map(|row| row["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (daemon, project) = (self.daemon.clone(), self.project.clone());
        // a runtime of its own: the test's may not be waited for here
        let clear = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(clear(&daemon, &project));
        });
        let _ = clear.join();
    }
}

async fn clear(daemon: &Path, project: &str) {
    let list = format!("/1.0/instances?recursion=1&project={project}");
    let answer = ask(daemon, "GET", &list, None).await;
    for row in answer["metadata"].as_array().into_iter().flatten() {
        let name = row["name"].as_str().unwrap_or_default();
        let stop = json!({ "action": "stop", "force": true, "timeout": 20 });
        let calls = [
            (
                "PUT",
                format!("/1.0/instances/{name}/state?project={project}"),
                Some(&stop),
            ),
            (
                "DELETE",
                format!("/1.0/instances/{name}?project={project}"),
                None,
            ),
        ];
        for (method, path, body) in calls {
            let answer = ask(daemon, method, &path, body).await;
            if let Some(operation) = answer["operation"].as_str().filter(|path| !path.is_empty()) {
                ask(daemon, "GET", &format!("{operation}/wait?timeout=30"), None).await;
            }
        }
    }
    ask(daemon, "DELETE", &format!("/1.0/projects/{project}"), None).await;
}

pub(crate) fn provider(socket: &Path, project: &str, clock: Arc<dyn Clock>) -> Arc<dyn Provider> {
    let config = json!({ "url": format!("unix:{}", socket.display()), "project": project });
    let config: Config = serde_json::from_value(config).expect("a configuration");
    let context = ProviderContext {
        name: "rack".parse().expect("a name"),
        clock,
    };
    Lxd::provider(config, &context).expect("a provider")
}

/// An offer of the small image.
pub(crate) fn offer() -> Value {
    let variable = |name, otherwise: &str| std::env::var(name).unwrap_or(otherwise.to_owned());
    json!({
        "image": variable("PARMANU_TEST_LXD_IMAGE", "small"),
        "profiles": [],
        "config": { "security.privileged": "true" },
        "devices": { "root": {
            "type": "disk", "path": "/", "pool": variable("PARMANU_TEST_LXD_POOL", "default"),
        } },
    })
}

/// One request, by hand: nothing of the adapter's own client is used to judge it.
async fn ask(daemon: &Path, method: &str, path: &str, body: Option<&Value>) -> Value {
    let mut stream = UnixStream::connect(daemon).await.expect("the daemon");
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: lxd\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// Passes connections on, one request each, and cuts those it was told to.
async fn forward(listener: UnixListener, daemon: PathBuf, cuts: Arc<Mutex<Vec<Cut>>>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (daemon, cuts) = (daemon.clone(), cuts.clone());
        tokio::spawn(async move {
            let mut head = vec![0; 64 << 10];
            let Ok(size) = near.read(&mut head).await else {
                return;
            };
            let head = &head[..size];
            let cut = take(&cuts, head);
            if cut.as_ref().is_some_and(|cut| !cut.heard) {
                return;
            }
            let Ok(mut far) = UnixStream::connect(&daemon).await else {
                return;
            };
            if far.write_all(head).await.is_err() {
                return;
            }
            if cut.is_some() {
                // the daemon answers, and nobody hears it
                let _ = far.read(&mut [0; 1024]).await;
                return;
            }
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

fn take(cuts: &Mutex<Vec<Cut>>, head: &[u8]) -> Option<Cut> {
    let mut cuts = cuts.lock().expect("no panic");
    let cut = cuts
        .iter_mut()
        .find(|cut| cut.times > 0 && head.starts_with(cut.begins.as_bytes()))?;
    cut.times -= 1;
    Some(cut.clone())
}
