//! Everything that runs inside the cell: Redis, Buildbot, LXD and the two services, each of which can be killed and
//! started again.
//!
//! The places are fixed: `/run` is the cell's own and so are the ports, and the configuration files can be read as they
//! stand.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::operator::Operator;
use super::{BUILDERS, Scene, look};
use crate::command::{must, now, wait_until};
use crate::image::Image;

/// Where the master's web server listens.
pub(crate) const BUILDBOT: &str = "127.0.0.1:8010";
/// LXD's socket.
pub(crate) const LXD_SOCKET: &str = "/run/chain/lxd/unix.socket";

/// Where probot answers.
const PROBOT: &str = "127.0.0.1:7000";
/// What the two scalers are called here, and where they answer.
pub(crate) const SCALERS: [(&str, &str); 2] = [
    ("scaler-a", "127.0.0.1:7001"),
    ("scaler-b", "127.0.0.1:7002"),
];

/// The configuration of the services and of `parmanu`, and two files of it that are changed on the way.
pub(crate) const CONFIG: &str = "/run/chain/config";
pub(crate) const MACHINES: &str = "/run/chain/config/machines.yaml";
pub(crate) const BOOT_SCRIPT: &str = "/run/chain/config/bootstrap/buildbot-worker.sh.j2";
/// What an operator must say.
pub(crate) const TOKEN: &str = "/run/chain/token";

const FOLDER: &str = "/run/chain";
const LXD: &str = "/run/chain/lxd";
const MASTER: &str = "/run/chain/master";
/// `/etc/parmanu` of each machine.
const GUEST: &str = "/run/chain/guest";

/// Worker names of each builder in `chain/master.cfg`, at least.
const NAMES: usize = 10;

const START_LIMIT: Duration = Duration::from_secs(60);
/// The services' own grace is 10 s.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The running parts.
pub(crate) struct Stage {
    pub(crate) redis: Process,
    pub(crate) buildbot: Process,
    pub(crate) lxd: Process,
    pub(crate) probot: Process,
    /// One acts, the other stands by.
    pub(crate) scalers: [Process; 2],
    pub(crate) operator: Operator,
}

impl Stage {
    /// Starts the servers, fills the image store, and prepares the services, which are not started yet.
    pub(crate) fn set(scene: &Scene) -> anyhow::Result<Stage> {
        let folder = Path::new(FOLDER);
        for place in [
            LXD,
            MASTER,
            "/run/chain/passwords",
            "/run/chain/config/bootstrap",
            "/run/chain/worker",
            GUEST,
        ] {
            std::fs::create_dir_all(place)?;
        }
        write_passwords(&folder.join("passwords"))?;
        write_configuration(scene, Path::new(CONFIG))?;
        let full = scene.repository.join("xtask/chain/full.py");
        std::fs::copy(full, folder.join("full.py"))?;
        std::fs::write(TOKEN, "not-a-secret-of-the-chain")?;
        // what an image would bring, for people who watch
        std::fs::write(Path::new(GUEST).join("guest.conf"), "every=1\ngrace=5\n")?;
        // bound to a fixed place, so that the configuration of the machines can name it
        must(
            Command::new("mount")
                .arg("--bind")
                .arg(&scene.worker)
                .arg("/run/chain/worker"),
        )?;
        let chain = scene.repository.join("xtask/chain");
        std::fs::copy(
            chain.join("master.cfg"),
            Path::new(MASTER).join("master.cfg"),
        )?;
        let log = |name: &str| scene.logs.join(format!("{name}.log"));
        must(
            Command::new(&scene.master)
                .args(["create-master", "-r", MASTER])
                .stdout(File::create(log("create-master"))?),
        )?;

        let service = |name: &'static str, program: &str, listen: &str| {
            let mut command = Command::new(scene.binaries.join(program));
            command
                .arg("--config")
                .arg(CONFIG)
                .args(["--log-format", "json", "--listen", listen]);
            Process::new(name, command, log(name))
        };
        let mut redis = Command::new(&scene.redis);
        redis.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            FOLDER,
        ]);
        let mut buildbot = Command::new(&scene.master);
        buildbot.args(["start", "--nodaemon", MASTER]);
        let mut lxd = Command::new(&scene.lxd);
        lxd.args(["--group", "root"]).env("LXD_DIR", LXD);
        let mut stage = Stage {
            redis: Process::new("redis", redis, log("redis")),
            buildbot: Process::new("buildbot", buildbot, log("buildbot")),
            lxd: Process::new("lxd", lxd, log("lxd")),
            probot: service("probot", "probot", PROBOT),
            scalers: SCALERS.map(|(name, listen)| service(name, "scaler", listen)),
            operator: Operator::new(&scene.binaries, &log("operator")),
        };
        stage.redis.start()?;
        stage.buildbot.start()?;
        stage.lxd.start()?;
        stage.lxd.ready(look::lxd_answers)?;
        fill_store(scene)?;
        stage.redis.ready(|| look::redis(&["PING"]).is_ok())?;
        stage.buildbot.ready(look::buildbot_answers)?;
        Ok(stage)
    }
}

/// A password of its own for each worker name.
fn write_passwords(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for builder in &BUILDERS {
        for number in 1..=NAMES {
            let name = format!("{}-{number}", builder.name);
            std::fs::write(folder.join(&name), format!("not-a-secret-{name}"))?;
        }
    }
    Ok(())
}

/// The configuration: what the repository has, word by word.
fn write_configuration(scene: &Scene, folder: &Path) -> anyhow::Result<()> {
    let chain = scene.repository.join("xtask/chain");
    let scripts = scene.repository.join("config/bootstrap");
    let machines = format!("machines-{}.yaml", scene.image.name());
    let copies = [
        (chain.join("parmanu.yaml"), folder.join("parmanu.yaml")),
        (chain.join(machines), folder.join("machines.yaml")),
        (
            scripts.join("buildbot-worker.sh.j2"),
            folder.join("bootstrap/buildbot-worker.sh.j2"),
        ),
        (
            scripts.join("guest.sh.j2"),
            folder.join("bootstrap/guest.sh.j2"),
        ),
    ];
    for (from, to) in copies {
        std::fs::copy(&from, to).with_context(|| format!("could not copy {}", from.display()))?;
    }
    Ok(())
}

/// A storage pool and the image.
fn fill_store(scene: &Scene) -> anyhow::Result<()> {
    let log = File::create(scene.logs.join("lxc.log"))?;
    let lxc = |arguments: &[&str]| -> anyhow::Result<()> {
        must(
            Command::new(&scene.lxc)
                .args(arguments)
                .env("LXD_DIR", LXD)
                // the client writes certificates where it thinks it is at home
                .env("LXD_CONF", "/run/chain/lxc")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?),
        )
    };
    match scene.image {
        Image::Small => lxc(&["storage", "create", "default", "dir"])?,
        Image::CloudInit => lxc(&["storage", "create", "default", "btrfs", "size=8GB"])?,
    }
    let archive = scene
        .archive
        .to_str()
        .context("an image at a place that is not text")?;
    lxc(&["image", "import", archive, "--alias", scene.image.name()])
}

/// One program that can be killed and started again.
pub(crate) struct Process {
    name: &'static str,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    fn new(name: &'static str, command: Command, log: PathBuf) -> Self {
        Self {
            name,
            command,
            log,
            child: None,
        }
    }

    /// What it is called here.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Starts it, after what its log holds already.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `answers`.
    pub(crate) fn ready(&mut self, answers: impl Fn() -> bool) -> anyhow::Result<()> {
        let name = self.name;
        wait_until(name, START_LIMIT, || {
            self.alive()?;
            Ok(answers().then_some(()))
        })
    }

    /// An error when it has ended by itself.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default().to_owned();
            bail!("{} ended by itself with {status}: {last}", self.name);
        }
        Ok(())
    }

    /// kill −9.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop; true when it ended well and in time.
    pub(crate) fn stop(&mut self) -> anyhow::Result<bool> {
        let Some(mut child) = self.child.take() else {
            return Ok(false);
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let start = now();
        let status = wait_until(self.name, STOP_LIMIT, || Ok(child.try_wait()?));
        let in_time = start.elapsed() <= STOP_LIMIT;
        Ok(status.is_ok_and(|status| status.success()) && in_time)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}
