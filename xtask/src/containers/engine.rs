//! A Docker engine, and what is asked of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail};

use super::Scene;
use crate::command::{stopped_with_us, wait_until};

/// The daemon needs two seconds on a machine that does nothing else.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Whoever answers does so in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Engine<'a> {
    scene: &'a Scene,
    socket: PathBuf,
    // ends with the cell
    _daemon: Child,
}

impl<'a> Engine<'a> {
    pub(super) fn start(scene: &'a Scene) -> anyhow::Result<Self> {
        let folder = &scene.folder;
        let socket = folder.join("docker.sock");
        let log = File::create(folder.join("dockerd.log"))?;
        let mut command = stopped_with_us(&scene.dockerd);
        command
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("docker.pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(["--storage-driver", "overlay2", "--ip6tables=false"])
            .args(["--cgroup-parent", &group_of_the_cell()?])
            .stdout(log.try_clone()?)
            .stderr(log);
        let daemon = command.spawn().context("could not start dockerd")?;
        let engine = Self {
            scene,
            socket,
            _daemon: daemon,
        };
        let ready = || Ok(engine.docker(["version"]).ok().map(drop));
        if let Err(error) = wait_until("the Docker engine", START_LIMIT, ready) {
            let log = std::fs::read_to_string(folder.join("dockerd.log")).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(3).collect();
            bail!("{error:#}: {}", last.join(" | "));
        }
        Ok(engine)
    }

    /// Docker's client; gives what it printed.
    pub(super) fn docker<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        arguments: I,
    ) -> anyhow::Result<String> {
        let mut command = Command::new(&self.scene.docker);
        // the Dockerfile mounts caches, which the engine's older builder cannot
        command.args(arguments).env("DOCKER_BUILDKIT", "1");
        self.run(command)
    }

    /// Compose, on both of the repository's files.
    pub(super) fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.scene.compose);
        command
            .args(["-f", "docker-compose.yml", "-f", "docker-compose.demo.yml"])
            .args(["--ansi", "never", "--progress", "quiet"])
            .args(arguments);
        self.run(command)
    }

    fn run(&self, mut command: Command) -> anyhow::Result<String> {
        let output = command
            .current_dir(&self.scene.repository)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .output()
            .with_context(|| format!("could not start {:?}", command.get_program()))?;
        let words = [&output.stdout[..], &output.stderr[..]].concat();
        let words = String::from_utf8_lossy(&words).into_owned();
        if !output.status.success() {
            let asked: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
            bail!("{}: {}", asked.join(" "), words.trim());
        }
        Ok(words)
    }

    /// One field of a container or an image.
    pub(super) fn field(&self, name: &str, field: &str) -> anyhow::Result<String> {
        let format = format!("{{{{{field}}}}}");
        let words = self.docker(["inspect", "--format", &format, name])?;
        Ok(words.trim().to_owned())
    }
}

/// The control group of the cell: what stands below it goes with it.
fn group_of_the_cell() -> anyhow::Result<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").context("no control groups")?;
    let mut paths = groups.lines().filter_map(|line| line.rsplit(':').next());
    let group = paths.find(|path| path.starts_with("/parmanu-"));
    Ok(group.context("not in a cell")?.to_owned())
}

/// The answer of a service on a published port.
pub(super) fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer)?;
    Ok(answer)
}
