//! A started server and the guard that stops it.
//!
//! Each server listens on a free port of the loopback address, keeps its files in a temporary
//! folder and is stopped, by its own process id, when the guard goes: after success, a failure or
//! an interrupt alike. Nothing else on the machine is ever stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::command::{must, stopped_with_us, wait_until};

const FAULTS: &str = include_str!("../parts/faults.py");
const MASTER: &str = include_str!("../parts/master.cfg");

/// Python runs this first. With its usual reactor the master sometimes loses count of its sockets, and then fails to accept
/// each further one (`epoll_ctl` says ENOENT; seen once with Buildbot 4.3.0 on a machine with much else to do).
const POLL: &str = "from twisted.internet import pollreactor\npollreactor.install()\n";

/// moto needs up to 5 s on a busy machine, Redis 0.1 s; a minute means broken.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A port that was free a moment ago may be taken before the server binds it.
const PORT_ATTEMPTS: usize = 3;

/// A running server; dropping it stops the server.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn redis(program: &Path) -> anyhow::Result<Self> {
        let start = |port: u16, folder: &Path| {
            let mut command = stopped_with_us(program);
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--port", &port.to_string()])
                .arg("--dir")
                .arg(folder);
            Ok(command)
        };
        Self::start("redis", start, |address| {
            ask(address, b"PING\r\n").is_some_and(|reply| reply.starts_with("+PONG"))
        })
    }

    pub(crate) fn moto(program: &Path) -> anyhow::Result<Self> {
        let start = |port: u16, _: &Path| {
            let mut command = stopped_with_us(program);
            command
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                // Thousands of images that no test wants cost seconds and memory at the start.
                .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false");
            Ok(command)
        };
        Self::start("moto", start, |address| is_found(address, "/moto-api/"))
    }

    /// A master with the workers' port beside the one of its web server.
    pub(crate) fn buildbot(program: &Path, worker_port: u16) -> anyhow::Result<Self> {
        let start = |port: u16, folder: &Path| {
            let mut make = Command::new(program);
            make.args(["create-master", "-r"]).arg(folder);
            must(make.stdout(Stdio::null()))?;
            std::fs::write(folder.join("master.cfg"), MASTER)?;
            let first = folder.join("first");
            std::fs::create_dir(&first)?;
            std::fs::write(first.join("sitecustomize.py"), POLL)?;
            let mut command = stopped_with_us(program);
            command
                .args(["start", "--nodaemon"])
                .arg(folder)
                .env("PYTHONPATH", first)
                .env("WEB_PORT", port.to_string())
                .env("WORKER_PORT", worker_port.to_string());
            Ok(command)
        };
        Self::start("buildbot", start, |address| {
            is_found(address, "/api/v2/masters")
        })
    }

    /// mitmproxy before another server, with more of its own options. What it does to which request stands in `plan`.
    pub(crate) fn mitmproxy(
        program: &Path,
        upstream: &str,
        plan: &Path,
        options: &[String],
    ) -> anyhow::Result<Self> {
        let start = |port: u16, folder: &Path| {
            let script = folder.join("faults.py");
            std::fs::write(&script, FAULTS)?;
            let mut command = stopped_with_us(program);
            command
                .args(["--quiet", "--mode"])
                .arg(format!("reverse:{upstream}"))
                .args(["--listen-host", "127.0.0.1", "--listen-port"])
                .arg(port.to_string())
                .arg("--scripts")
                .arg(script)
                .args(options)
                .env("PLAN", plan);
            Ok(command)
        };
        let is_open =
            |address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        Self::start("mitmproxy", start, is_open)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(
        name: &'static str,
        command: impl Fn(u16, &Path) -> anyhow::Result<Command>,
        ready: impl Fn(SocketAddr) -> bool,
    ) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            match Self::start_once(name, &command, &ready) {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
            if crate::command::interrupted() {
                break;
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
            .with_context(|| format!("could not start {name}"))
    }

    fn start_once(
        name: &'static str,
        command: &impl Fn(u16, &Path) -> anyhow::Result<Command>,
        ready: &impl Fn(SocketAddr) -> bool,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("parmanu-").tempdir()?;
        let log = folder.path().join(format!("{name}.log"));
        let output = File::create(&log)?;
        let port = free_port()?;
        let child = command(port, folder.path())?
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self {
            name,
            child,
            address,
            log,
            _folder: folder,
        };
        wait_until(name, START_LIMIT, || {
            if let Some(status) = server.child.try_wait()? {
                bail!(
                    "{name} ended at once with {status}: {}",
                    server.last_words()
                );
            }
            Ok(ready(address).then_some(()))
        })?;
        Ok(server)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both keep nothing worth saving, so the certain way of stopping is also the right one.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!(
                "could not stop {} (process {}): {error}",
                self.name,
                self.child.id()
            );
        }
    }
}

pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))
        .context("no free port")?
        .local_addr()?
        .port())
}

/// Whether a server answers 200 to a GET.
fn is_found(address: SocketAddr, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    ask(address, request.as_bytes())
        .is_some_and(|reply| reply.starts_with("HTTP/1.") && reply.contains(" 200"))
}

/// Sends `request` and returns the beginning of the reply, or nothing when nobody answers.
fn ask(address: SocketAddr, request: &[u8]) -> Option<String> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(request).ok()?;
    let mut reply = [0; 64];
    let length = stream.read(&mut reply).ok()?;
    Some(String::from_utf8_lossy(&reply[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_last_words() {
        let command = |_: u16, _: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo no such option; exit 1"]);
            Ok(command)
        };
        let Err(error) = Server::start("thing", command, |_| false) else {
            panic!("it started")
        };
        let text = format!("{error:#}");
        assert!(text.contains("could not start thing"), "{text}");
        assert!(text.contains("no such option"), "{text}");
    }

    #[test]
    fn a_server_stops_when_its_guard_goes() {
        let command = |_: u16, _: &Path| {
            let mut command = Command::new("sleep");
            command.arg("600");
            Ok(command)
        };
        let server = Server::start("sleeper", command, |_| true).unwrap();
        let folder = PathBuf::from(format!("/proc/{}", server.child.id()));
        assert!(folder.exists());
        drop(server);
        assert!(!folder.exists());
    }
}
