//! A Docker engine, and what is asked of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cell::Network;
use crate::command::{stopped_with_us, wait_until};

/// The daemon needs two seconds on a machine that does nothing else.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Whoever answers does so in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Its programs, and where it keeps all that it makes. Gone with the folder.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Tools {
    /// The folder of the engine.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    #[arg(long)]
    dockerd: PathBuf,
    #[arg(long)]
    pub(crate) docker: PathBuf,
    #[arg(long)]
    pub(crate) compose: PathBuf,
}

impl Tools {
    /// Finds them, or installs them.
    pub(crate) fn find(folder: &Path) -> anyhow::Result<Self> {
        let docker = crate::parts::docker()?;
        Ok(Self {
            folder: folder.to_owned(),
            dockerd: docker.daemon,
            docker: docker.client,
            compose: docker.compose,
        })
    }

    /// The same as arguments of a program.
    pub(crate) fn arguments(&self) -> [(&'static str, &Path); 4] {
        [
            ("--folder", &self.folder),
            ("--dockerd", &self.dockerd),
            ("--docker", &self.docker),
            ("--compose", &self.compose),
        ]
    }

    /// Where the engine listens, as clients are told.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }
}

pub(crate) struct Engine<'a> {
    tools: &'a Tools,
    /// Where the client stands.
    here: &'a Path,
    // ends with the cell
    _daemon: Child,
}

impl<'a> Engine<'a> {
    /// Starts it in a cell with such a network. In the host's it leaves the host's rules and bridges alone, and containers have no
    /// network but that one.
    pub(crate) fn start(
        tools: &'a Tools,
        here: &'a Path,
        network: Network,
    ) -> anyhow::Result<Self> {
        let folder = &tools.folder;
        // of an earlier one in a folder that was kept: it ended with its cell, and removed nothing
        let left = std::fs::remove_file(folder.join("docker.pid"));
        if left.is_ok() {
            std::fs::remove_dir_all(folder.join("exec"))?;
        }
        let log = File::create(folder.join("dockerd.log"))?;
        let mut command = stopped_with_us(&tools.dockerd);
        command
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("docker.pid"))
            .args(["--host", &tools.address()])
            .args(["--storage-driver", "overlay2", "--ip6tables=false"])
            .args(["--cgroup-parent", &group_of_the_cell()?])
            .stdout(log.try_clone()?)
            .stderr(log);
        if matches!(network, Network::Host) {
            command.args(["--bridge=none", "--iptables=false"]);
        }
        let daemon = command.spawn().context("could not start dockerd")?;
        let engine = Self {
            tools,
            here,
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
    pub(crate) fn docker<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        arguments: I,
    ) -> anyhow::Result<String> {
        let mut command = Command::new(&self.tools.docker);
        // the Dockerfile mounts caches, which the engine's older builder cannot
        command.args(arguments).env("DOCKER_BUILDKIT", "1");
        self.run(command)
    }

    /// Makes an image of an archive of files, with such lines of a Dockerfile.
    pub(crate) fn import(
        &self,
        archive: &Path,
        image: &str,
        changes: &[String],
    ) -> anyhow::Result<()> {
        let changes = changes.iter().flat_map(|line| ["--change", line]);
        let words = std::iter::once("import").chain(changes).map(OsString::from);
        self.docker(words.chain([archive.into(), image.into()]))
            .map(drop)
    }

    /// Compose, on both of the repository's files.
    pub(super) fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.tools.compose);
        command
            .args(["-f", "docker-compose.yml", "-f", "docker-compose.demo.yml"])
            .args(["--ansi", "never", "--progress", "quiet"])
            .args(arguments);
        self.run(command)
    }

    fn run(&self, mut command: Command) -> anyhow::Result<String> {
        let output = command
            .current_dir(self.here)
            .env("DOCKER_HOST", self.tools.address())
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
    pub(crate) fn field(&self, name: &str, field: &str) -> anyhow::Result<String> {
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
