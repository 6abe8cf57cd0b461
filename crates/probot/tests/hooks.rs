//! Hooks over HTTP: whoever knows the secret brings the next look forward, and nobody else does anything.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Completeness, ConfigHash, HolderId, Snapshot, SnapshotCost};
use ports::{Clock, Emitter, EmitterError, Store};
use probot::mapping::Mapper;
use probot::{Hooks, Polled, Probot};
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than any step of a test takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

const RIGHT: &str = "X-Gitlab-Token: not-a-secret\r\n";

/// A CI server that counts how often it is looked at.
struct Counted(watch::Sender<usize>);

#[async_trait]
impl Emitter for Counted {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        self.0.send_modify(|looks| *looks += 1);
        Ok(Snapshot {
            jobs: Vec::new(),
            executors: Vec::new(),
            taken_at: SystemClock.now(),
            completeness: Completeness::Complete,
            cost: SnapshotCost::default(),
        })
    }
}

/// One replica of probot with its endpoint.
struct Replica {
    address: SocketAddr,
    looks: watch::Receiver<usize>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// `ci` takes hooks, `quiet` takes none.
fn settings() -> config::Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parmanu.yaml");
    let text = r#"
version: 1
fleet: acme
store: { kind: memory }
emitters:
  ci: { kind: fake, hook: { secret: "not-a-secret" } }
  quiet: { kind: fake }
providers:
  cloud: { kind: fake }
machines:
  small: { bootstrap: boot.j2, offers: [{ provider: cloud }] }
pools:
  linux: { emitter: ci, serves: [{ tags: [linux] }], machine: small, max: 1 }
"#;
    std::fs::write(folder.path().join("boot.j2"), "#!/bin/sh\n").unwrap();
    std::fs::write(&file, text).unwrap();
    config::load(&file, &service::registries()).unwrap().0
}

/// It looks every hour, so that each look but the first is a hint's.
async fn replica(store: &Arc<dyn Store>, name: &str) -> Replica {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new(Service::Probot));
    let hooks = Hooks::of(&settings(), metrics.clone(), clock.clone());
    let listener = telemetry::http::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(telemetry::http::serve(listener, hooks.routes(), stopped));
    let (counter, looks) = watch::channel(0);
    let hour = Duration::from_secs(3600);
    let (ci, fleet) = ("ci".parse().unwrap(), "acme".parse().unwrap());
    let polled = Polled {
        name: "ci".parse().unwrap(),
        emitter: Arc::new(Counted(counter)),
        mapper: Mapper::new(ci, fleet, ConfigHash::new("c"), Vec::new()),
        every: hour,
        timeout: hour,
    };
    let probot = Probot {
        emitters: vec![Arc::new(polled)],
        store: store.clone(),
        clock,
        metrics: metrics.clone(),
        readiness: Readiness::default(),
        holder: HolderId::new(name),
        hooks: Some(hooks),
    };
    tokio::spawn(probot.run(stop.clone()));
    Replica {
        address,
        looks,
        metrics,
        stop,
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(store_memory::MemoryStore::new(Arc::new(SystemClock)))
}

impl Replica {
    async fn looked(&mut self, times: usize) {
        let enough = self.looks.wait_for(|looks| *looks >= times);
        let enough = tokio::time::timeout(DEADLINE, enough).await;
        enough.expect("it looks in time").expect("it runs");
    }

    /// The status of a hook with these header lines.
    async fn hook(&self, path: &str, headers: &str, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // a server that refuses may hang up before the body is through
        let _ = stream.write_all(body).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        let reply = String::from_utf8_lossy(&reply);
        let status = reply.split(' ').nth(1).and_then(|word| word.parse().ok());
        status.unwrap_or_else(|| panic!("no status in `{reply}`"))
    }

    fn counted(&self, emitter: &str, outcome: &str) -> bool {
        let line = format!("parmanu_hooks_total{{emitter=\"{emitter}\",outcome=\"{outcome}\"}}");
        self.metrics.exposition().contains(&line)
    }
}

#[tokio::test]
async fn a_hook_with_the_secret_brings_the_next_look_forward() {
    let mut replica = replica(&store(), "one").await;
    replica.looked(1).await;
    let headers = [
        RIGHT,
        "X-Parmanu-Token: not-a-secret\r\n",
        "Authorization: Bearer not-a-secret\r\n",
        // teamcity:not-a-secret
        "Authorization: Basic dGVhbWNpdHk6bm90LWEtc2VjcmV0\r\n",
        "authorization: bearer not-a-secret\r\n",
    ];
    for (before, header) in headers.into_iter().enumerate() {
        // what the body says is nobody's business
        let status = replica.hook("/hooks/ci", header, b"{ not even JSON").await;
        assert_eq!(status, 202, "{header}");
        replica.looked(before + 2).await;
    }
    assert!(replica.counted("ci", "accepted"));
}

#[tokio::test]
async fn nobody_else_learns_or_does_anything() {
    let mut replica = replica(&store(), "one").await;
    replica.looked(1).await;
    for (path, headers) in [
        ("/hooks/ci", ""),
        ("/hooks/ci", "X-Gitlab-Token: not-a-secre\r\n"),
        ("/hooks/ci", "X-Gitlab-Token: not-a-secret-2\r\n"),
        ("/hooks/ci", "X-Gitlab-Token:\r\n"),
        ("/hooks/ci", "Authorization: Basic not-a-secret\r\n"),
        // not-a-secret:x, so the secret is in the place of the user, and not-a-secret without any
        ("/hooks/ci", "Authorization: Basic bm90LWEtc2VjcmV0Ong=\r\n"),
        ("/hooks/ci", "Authorization: Basic bm90LWEtc2VjcmV0\r\n"),
        ("/hooks/quiet", RIGHT),
        ("/hooks/quiet", "X-Gitlab-Token:\r\n"),
        ("/hooks/none", RIGHT),
    ] {
        let status = replica.hook(path, headers, b"{}").await;
        assert_eq!(status, 401, "{path} with {headers:?}");
    }
    assert!(replica.counted("ci", "refused") && replica.counted("unknown", "refused"));
    // the next hint is the first one that counts
    replica.hook("/hooks/ci", RIGHT, b"").await;
    replica.looked(2).await;
    assert_eq!(*replica.looks.borrow(), 2);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let replica = replica(&store(), "one").await;
    let long = vec![b'x'; 4 << 20];
    assert_eq!(replica.hook("/hooks/ci", RIGHT, &long).await, 413);
}

/// Five looks a second, however many hooks come.
#[tokio::test]
async fn a_flood_of_hooks_is_five_looks_a_second() {
    let mut replica = replica(&store(), "one").await;
    replica.looked(1).await;
    let began = SystemClock.boottime();
    let passed = || SystemClock.boottime().saturating_sub(began);
    let mut hooks = 0;
    while *replica.looks.borrow() < 6 {
        assert!(passed() < DEADLINE);
        assert_eq!(replica.hook("/hooks/ci", RIGHT, b"").await, 202);
        hooks += 1;
    }
    let (looks, took) = (*replica.looks.borrow() - 1, passed());
    let most = took.as_millis() / 200 + 1;
    assert!(
        looks as u128 <= most,
        "{looks} looks in {took:?} for {hooks} hooks"
    );
}

/// Behind a load balancer the replica that gets the hook need not be the one that looks.
#[tokio::test]
async fn a_hook_reaches_the_replica_that_looks() {
    let store = store();
    let mut looking = replica(&store, "one").await;
    looking.looked(1).await;
    let standing_by = replica(&store, "two").await;
    assert_eq!(standing_by.hook("/hooks/ci", RIGHT, b"").await, 202);
    looking.looked(2).await;
    assert_eq!(*standing_by.looks.borrow(), 0);
}
