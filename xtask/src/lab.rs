//! The LXD of the tests, in a cell with the host's network, since tests reach it over HTTPS too.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::cell::Cell;
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
        let folder = Cell::folder()?;
        let archive = Image::Small.archive(folder.path())?;
        let port = free_port()?;
        let mut script = Command::new("bash");
        script
            .args(["-c", SCRIPT, "lxd.sh"])
            .args([lxd.daemon, lxd.client, archive, folder.path().to_owned()])
            .arg(port.to_string());
        let cell = Cell::start_server("lxd", &script, folder.path(), START_LIMIT)?;
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
