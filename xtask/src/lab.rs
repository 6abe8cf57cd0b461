//! The LXD of the tests, in a cell with the host's network, since tests reach it over HTTPS too.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use tempfile::TempDir;

use crate::cell::{Cell, Network};
use crate::command::wait_until;
use crate::image::Image;
use crate::parts;
use crate::server::free_port;

const SCRIPT: &str = include_str!("../parts/lxd.sh");

/// The daemon needs a second, the import of the image another.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running daemon; dropping it ends the daemon and all of its machines.
pub(crate) struct Lab {
    // in this order: the cell must have ended before its folder is removed
    _cell: Cell,
    folder: TempDir,
    port: u16,
}

impl Lab {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let lxd = parts::lxd()?;
        let folder = folder()?;
        // LXD's helpers run as other users and must pass
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711))?;
        let archive = Image::Small.archive(folder.path())?;
        let port = free_port()?;
        let mut script = Command::new("bash");
        script
            .args(["-c", SCRIPT, "lxd.sh"])
            .args([lxd.daemon, lxd.client, archive, folder.path().to_owned()])
            .arg(port.to_string());
        let log = folder.path().join("cell.log");
        let mut cell = Cell::start(Network::Host, &script, Some(&log))?;
        let ready = folder.path().join("ready");
        wait_until("lxd", START_LIMIT, || {
            if let Some(status) = cell.ended()? {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(3).collect();
                bail!("lxd ended at once with {status}: {}", last.join(" | "));
            }
            Ok(ready.exists().then_some(()))
        })?;
        Ok(Self {
            _cell: cell,
            folder,
            port,
        })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("lxd/unix.socket")
    }

    /// Where it answers over HTTPS.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The folder with `client.crt`, `client.key` and `server.crt`.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.path().join("client")
    }
}

/// In memory where there is some: machines are made and removed by the dozen.
fn folder() -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("parmanu-");
    let made = match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    };
    Ok(made?)
}
