//! The hypervisor of the tests: libvirt and QEMU in a cell, and the smallest real guest.
//!
//! QEMU emulates the processor, so it needs no rights at one and runs where machines are virtual themselves. A guest is up in
//! some seconds.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::cell::Cell;
use crate::command::{find, must};
use crate::parts;

const SCRIPT: &str = include_str!("../parts/libvirt.sh");
const GUEST: &str = include_str!("../parts/guest.sh");

/// The daemon asks QEMU for all it can do before it answers: ten seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running daemon; dropping it ends the daemon and all of its machines.
pub(crate) struct Hypervisor {
    // in this order: the cell must have ended before its folder is removed
    _cell: Cell,
    folder: TempDir,
    guest: PathBuf,
}

impl Hypervisor {
    pub(crate) fn start() -> anyhow::Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("the guest and its machine are described for x86-64 only");
        }
        Cell::possible()?;
        let daemon = parts::libvirt()?;
        let guest = guest()?;
        let folder = Cell::folder()?;
        let mut script = Command::new("bash");
        script
            .args(["-c", SCRIPT, "libvirt.sh"])
            .args([&daemon, folder.path()]);
        let cell = Cell::start_server("libvirt", &script, folder.path(), START_LIMIT)?;
        Ok(Self {
            _cell: cell,
            folder,
            guest,
        })
    }

    /// Where it answers, as libvirt writes it.
    pub(crate) fn uri(&self) -> String {
        let socket = self.folder.path().join("libvirt-sock");
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    /// The folder with `kernel` and `initrd`.
    pub(crate) fn guest(&self) -> &Path {
        &self.guest
    }

    /// A folder in which tests may keep disks; it goes with the daemon.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Kept as long as the script that makes it is the same.
fn guest() -> anyhow::Result<PathBuf> {
    let busybox = parts::static_busybox()?;
    parts::in_cache("guest", GUEST.trim(), |folder| {
        std::fs::create_dir_all(folder)?;
        eprintln!("making a guest: 27 MB to download");
        must(
            Command::new(find("bash").context("bash is missing")?)
                .args(["-c", GUEST, "guest.sh"])
                .args([&busybox, folder]),
        )
    })
}
