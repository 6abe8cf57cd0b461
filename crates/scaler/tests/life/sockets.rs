//! The same life with nothing in between left out: the binaries `probot` and `scaler`, a real Redis, the real SDKs, and the
//! fakes behind loopback ports. The world, its machines and its judge are those of the virtual lives, on the real clock.
//!
//! A life takes as long as the clouds bill at least, which no configuration shortens; so the few there are go side by side.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fake_ec2::Ec2;
use fake_gce::Gce;
use fake_server::{Fake, Request, Response};
use futures::future::join_all;
use jiff::Timestamp;
use ports::Clock as _;
use telemetry::SystemClock;

use crate::cloud::{Books, Truth, ec2_truth, gce_truth};
use crate::ports::{Shared, lock};
use crate::random::is_extended;
use crate::setup::{Kind, Places, Setup};
use crate::sim::SECOND;
use crate::world::{BEAT, World};

/// A life that takes longer than this waits for something that never comes.
const LIMIT: Duration = Duration::from_secs(240);

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(100);

const BOOT: Duration = Duration::from_secs(2);

/// Token of the other identity provider; obviously no secret.
const SUBJECT: &str = "subject-token-of-nobody";

/// Ends a process when the life ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The CI server on its socket.
struct Door(Shared);

impl Fake for Door {
    fn answer(&mut self, request: &Request, _: Timestamp) -> Response {
        lock(&self.0).answer_scaler(request)
    }

    fn listens_at(&mut self, base: String) {
        lock(&self.0).ci.listens_at(base);
    }
}

struct RealTime;

impl fake_gce::Time for RealTime {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(SystemClock.sleep(model::age(self.now(), at)))
    }
}

struct Ec2Books(Arc<Mutex<Ec2>>);

impl Books for Ec2Books {
    fn truth(&self, now: Timestamp) -> Vec<Truth> {
        let ec2 = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ec2_truth(&ec2, BOOT, now)
    }
}

struct GceBooks(Arc<Mutex<Gce>>);

impl Books for GceBooks {
    fn truth(&self, now: Timestamp) -> Vec<Truth> {
        let gce = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gce_truth(&gce, BOOT, now)
    }
}

/// Both clouds on their sockets.
struct Clouds {
    ec2: fake_ec2::Server,
    gce: fake_gce::Server,
}

impl Clouds {
    fn open(world: &mut World) -> Self {
        let ec2 = Arc::new(Mutex::new(Ec2::new(fake_ec2::Settings {
            boot: BOOT,
            ..fake_ec2::Settings::default()
        })));
        let gce = Arc::new(Mutex::new(Gce::new(fake_gce::Settings {
            creation: BOOT,
            subject_tokens: [SUBJECT.to_owned()].into(),
            ..fake_gce::Settings::default()
        })));
        world.elsewhere = vec![
            Box::new(Ec2Books(ec2.clone())),
            Box::new(GceBooks(gce.clone())),
        ];
        Clouds {
            ec2: fake_ec2::Server::start(ec2, || SystemClock.now()).expect("a port"),
            gce: fake_gce::Server::start(gce, RealTime).expect("a port"),
        }
    }

    /// The keys that lead a provider of EC2 here.
    fn aws(&self) -> String {
        let url = self.ec2.url();
        format!(
            ", endpoint: \"{url}\", credentials: {{ keys: {{ id: AKIAFAKEFAKEFAKEFAKE, secret: secret-of-nobody }} }}"
        )
    }

    /// The keys that lead a provider of GCE here, and the files they name.
    fn gcp(&self, folder: &Path) -> String {
        let url = self.gce.url();
        let (token, file) = (folder.join("subject"), folder.join("federation.json"));
        let federation = serde_json::json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/ci",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{url}/v1/token"),
            "credential_source": { "file": token },
        });
        std::fs::write(token, SUBJECT).expect("written");
        std::fs::write(&file, federation.to_string()).expect("written");
        let file = file.display();
        format!(", endpoint: \"{url}\", credentials: {{ workload_identity: \"${{file:{file}}}\" }}")
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// One life with its processes.
struct Life {
    what: String,
    folder: tempfile::TempDir,
    binaries: PathBuf,
    world: Shared,
    _redis: Process,
    _clouds: Clouds,
    _ci: fake_server::Server,
    beats: tokio::task::JoinHandle<()>,
}

impl Life {
    async fn open(binaries: &Path, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ci = setup.kind.server(setup.join, SystemClock.now());
        let mut world = World::new(Arc::new(SystemClock), setup.seed, ci);
        world.is_configured(setup);
        let clouds = Clouds::open(&mut world);
        let world: Shared = Arc::new(Mutex::new(world));
        let door = Arc::new(Mutex::new(Door(world.clone())));
        let ci = fake_server::Server::start(door, || SystemClock.now()).await;
        let ci = ci.expect("a port");
        let redis = free_port();
        let places = Places {
            store: &format!("kind: redis, url: \"redis://127.0.0.1:{redis}/\""),
            ci: &ci.url(),
            aws: &clouds.aws(),
            gcp: &clouds.gcp(folder.path()),
        };
        let text = setup.text(&places);
        std::fs::write(folder.path().join("parmanu.yaml"), text).expect("written");
        let script = include_str!("boot.j2");
        std::fs::write(folder.path().join("boot.j2"), script).expect("written");
        let moving = world.clone();
        Life {
            what: format!("{:?} on {:?}", setup.kind, setup.clouds),
            _redis: start_redis(folder.path(), redis),
            folder,
            binaries: binaries.to_owned(),
            world,
            _clouds: clouds,
            _ci: ci,
            beats: tokio::spawn(async move {
                loop {
                    lock(&moving).beat();
                    SystemClock.sleep(BEAT / 5).await;
                }
            }),
        }
    }

    fn start(&self, service: &str) -> Process {
        let log = self.folder.path().join(format!("{service}.log"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let child = Command::new(self.binaries.join(service))
            .arg("--config")
            .arg(self.folder.path().join("parmanu.yaml"))
            .args(["--listen", &format!("127.0.0.1:{}", free_port())])
            .args(["--log-format", "human"])
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Process(child.expect("a process"))
    }

    async fn until(&self, what: &str, is: impl Fn(&World) -> bool) {
        let began = SystemClock.boottime();
        while !is(&lock(&self.world)) {
            let passed = SystemClock.boottime() - began;
            assert!(
                passed < LIMIT,
                "not within {LIMIT:?}: {what}\n{}",
                self.tell()
            );
            SystemClock.sleep(LOOK).await;
        }
    }

    /// What is to be known of a life that went wrong.
    fn tell(&self) -> String {
        let log = |service: &str| {
            let path = self.folder.path().join(format!("{service}.log"));
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let world = lock(&self.world);
        format!(
            "{}: machines {:?}, executors {:?}, {} jobs open, wrong: {:?}\nprobot:\n{}\nscaler:\n{}",
            self.what,
            world.alive(),
            world.ci.executors(),
            world.ci.open(),
            world.wrong,
            log("probot"),
            log("scaler"),
        )
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

fn start_redis(folder: &Path, port: u16) -> Process {
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn();
    Process(child.expect("a Redis"))
}

/// Jobs come, the scaler is killed while their machines are made, they run; as the machines leave, jobs that were promised
/// before the cordon come, the CI server lifts its cordons once, and the scaler is killed again. Everything ends as it began.
async fn live(binaries: &Path, kind: Kind, cloud: &'static str) {
    let setup = Setup {
        max: 4,
        clouds: vec![cloud],
        ..Setup::of(kind)
    };
    let life = Life::open(binaries, &setup).await;
    let _probot = life.start("probot");
    let first = life.start("scaler");
    (0..3).for_each(|_| lock(&life.world).push(SECOND * 8));
    life.until("a machine is there", |world| world.ever() > 0)
        .await;
    drop(first);
    let second = life.start("scaler");
    life.until("all jobs are done", |world| world.ci.open() == 0)
        .await;
    {
        let mut world = lock(&life.world);
        world.races = 2;
        world.promise = Some(SECOND * 2);
    }
    let cordoned = |world: &World| {
        let alive = world.alive();
        alive.iter().any(|name| world.ci.is_cordoned(name))
    };
    life.until("one is cordoned", cordoned).await;
    life.until("a promise is kept", |world| world.ci.open() > 0)
        .await;
    lock(&life.world).lift_cordons();
    drop(second);
    let _third = life.start("scaler");
    // the judge looks at every beat
    let all_seen = |world: &World| world.settled(0) && world.deletions == world.ever();
    life.until("nothing is left", all_seen).await;
    let told = life.tell();
    let mut world = lock(&life.world);
    let (wrong, ever) = (world.verdict(), world.ever());
    assert!(wrong.is_empty(), "{wrong:?}\n{told}");
    assert!(
        (1..=6).contains(&ever),
        "{ever} machines for 6 jobs\n{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_through_the_sdks_and_sockets_kill_nothing_and_forget_nothing() {
    let name = "life::sockets";
    let Some(binaries) = std::env::var_os("PARMANU_TEST_BIN_DIR") else {
        let why = "the binaries (PARMANU_TEST_BIN_DIR is not set); run `cargo xtask test`";
        return conformance::store::skip(name, why);
    };
    let redis = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if redis.is_err() {
        return conformance::store::skip(name, "redis-server on the PATH");
    }
    let binaries = PathBuf::from(binaries);
    let usual = [
        (Kind::GitLab, "aws"),
        (Kind::Jenkins, "gcp"),
        (Kind::TeamCity, "aws"),
    ];
    let more = [
        (Kind::GitLab, "gcp"),
        (Kind::Jenkins, "aws"),
        (Kind::TeamCity, "gcp"),
    ];
    let more = more.into_iter().filter(|_| is_extended());
    let all = usual.into_iter().chain(more);
    join_all(all.map(|(kind, cloud)| live(&binaries, kind, cloud))).await;
}
