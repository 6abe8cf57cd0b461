//! A cell: namespaces and control groups of its own for servers that start machines, so that nothing of them is left.
//!
//! LXD's containers outlive the daemon that started them, and a daemon that was killed leaves mounts and loop devices.
//! In a cell all of that hangs on one process: when it is killed the kernel takes everything else with it. That one is killed
//! when the guard goes and, by the kernel, when this program dies in any other way.
//!
//! Made and tried on cgroup v1; the lines for v2 have not been run.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::command::{LOOK_AGAIN, find, interrupted, now, sleep, stopped_with_us, wait_until};

const SCRIPT: &str = include_str!("cell.sh");

/// The kernel needs about a second to end a cell with six machines.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What the cell sees of the network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network {
    /// A loopback device and nothing else.
    Own,
    /// The host's.
    Host,
}

/// A running cell; dropping it ends everything inside.
pub(crate) struct Cell {
    name: String,
    child: Child,
}

impl Cell {
    /// Whether a cell can be made here, or why not.
    pub(crate) fn possible() -> anyhow::Result<()> {
        if !rustix::process::geteuid().is_root() {
            bail!("namespaces and containers need root: please run this as root");
        }
        for needed in ["bash", "unshare", "ip", "mount"] {
            find(needed).with_context(|| format!("{needed} is missing"))?;
        }
        Ok(())
    }

    /// Runs `program` in a new cell. Its output goes to `output`, or to this terminal.
    ///
    /// # Errors
    ///
    /// Without root, and where the shell or `unshare` cannot be started. What fails inside shows in the exit status.
    pub(crate) fn start(
        network: Network,
        program: &Command,
        output: Option<&Path>,
    ) -> anyhow::Result<Self> {
        Self::possible()?;
        let name = format!("parmanu-{}-{}", std::process::id(), number());
        let network = match network {
            Network::Own => "own",
            Network::Host => "host",
        };
        let mut command = stopped_with_us(Path::new("bash"));
        command
            .args(["-c", SCRIPT, "cell.sh", &name, network])
            .arg(program.get_program())
            .args(program.get_args());
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::null());
        if let Some(output) = output {
            let file = File::create(output)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        let child = command.spawn().context("could not start a shell")?;
        Ok(Self { name, child })
    }

    /// Runs `program` in a new cell until the file `ready` appears in `folder`, where its output is kept too.
    ///
    /// # Errors
    ///
    /// When it ends before that, with its last words, or takes longer than `limit`.
    pub(crate) fn start_server(
        name: &str,
        program: &Command,
        folder: &Path,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let log = folder.join("cell.log");
        let mut cell = Self::start(Network::Host, program, Some(&log))?;
        let ready = folder.join("ready");
        wait_until(name, limit, || {
            if let Some(status) = cell.ended()? {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(3).collect();
                bail!("{name} ended at once with {status}: {}", last.join(" | "));
            }
            Ok(ready.exists().then_some(()))
        })?;
        Ok(cell)
    }

    /// A folder for such a server: in memory where there is some, for machines are made and removed by the dozen, and open
    /// to the helpers that run as other users.
    pub(crate) fn folder() -> anyhow::Result<TempDir> {
        let memory = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        builder.prefix("parmanu-");
        let folder = match memory.is_dir() {
            true => builder.tempdir_in(memory),
            false => builder.tempdir(),
        }?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711))?;
        Ok(folder)
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("lost the cell")
    }

    /// Waits for its end, or for an interrupt.
    pub(crate) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if interrupted() {
                bail!("interrupted");
            }
            sleep(LOOK_AGAIN);
        }
    }

    /// The folders of its control groups.
    fn groups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
        let in_hierarchies = hierarchies.map(|entry| entry.path().join(&self.name));
        std::iter::once(root.join(&self.name))
            .chain(in_hierarchies)
            .filter(|group| group.is_dir())
            .collect()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            let id = self.child.id();
            eprintln!("could not end the cell (process {id}): {error}");
        }
        // empty only once the kernel has ended every process in it
        let start = now();
        while !self.groups().iter().all(|group| removed(group)) {
            if start.elapsed() > END_LIMIT {
                eprintln!("please remove the control groups called {}", self.name);
                return;
            }
            sleep(LOOK_AGAIN);
        }
    }
}

/// Removes a control group and those below it: it is empty when all of them are.
fn removed(group: &Path) -> bool {
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.path().is_dir()) {
        removed(&entry.path());
    }
    std::fs::remove_dir(group).is_ok()
}

fn number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
