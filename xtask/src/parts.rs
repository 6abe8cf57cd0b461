//! Finds the real parts, or installs them where that is allowed.
//!
//! Redis comes from the distribution, moto from the Python registry into a folder of its own below
//! the user's cache. Where the parts are present no root is needed and nothing is installed. No
//! service of the machine is ever started by an installation.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::command::{find, is_program, must};

/// The one version of moto the tests were written against: its quirks are listed in the tests that
/// meet them, and a newer one may have others.
const MOTO: &str = "moto[server,ec2]==5.2.5";

/// The file that says that the folder with moto is complete. Written last, so that an installation
/// that was interrupted is begun again.
const MOTO_MARKER: &str = ".complete";

/// A `redis-server` that can be started.
pub(crate) fn redis() -> anyhow::Result<PathBuf> {
    if let Some(found) = find("redis-server") {
        return Ok(found);
    }
    apt_install("redis-server")?;
    find("redis-server").context("redis-server was installed but is not in the PATH")
}

/// A `moto_server` of the expected version.
pub(crate) fn moto() -> anyhow::Result<PathBuf> {
    let cache = cache_folder()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("could not make {cache:?}"))?;
    // Two runs at once must not install into the same folder; the lock ends with this process.
    let lock = File::create(cache.join("venv-moto.lock")).context("could not make a lock file")?;
    lock.lock()
        .context("could not take the lock of the moto folder")?;

    let venv = cache.join("venv-moto");
    let server = venv.join("bin/moto_server");
    let marker = venv.join(MOTO_MARKER);
    let complete = std::fs::read_to_string(&marker).is_ok_and(|text| text.trim() == MOTO);
    if complete && is_program(&server) {
        return Ok(server);
    }
    make_venv(&venv)?;
    eprintln!("installing {MOTO}, about a minute");
    must(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", MOTO]))?;
    std::fs::write(&marker, MOTO).with_context(|| format!("could not write {marker:?}"))?;
    Ok(server)
}

/// Where things that survive a `cargo clean` are kept.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/parmanu"))
}

fn make_venv(venv: &Path) -> anyhow::Result<()> {
    if venv.exists() {
        std::fs::remove_dir_all(venv).with_context(|| format!("could not remove {venv:?}"))?;
    }
    if python_with_venv().is_none() {
        apt_install("python3-venv")?;
    }
    let python = python_with_venv().context("no python3 with the modules venv and ensurepip")?;
    must(Command::new(python).args(["-m", "venv"]).arg(venv))
}

/// The distribution's Python before any other: version managers put a shim first in the PATH whose
/// version changes from folder to folder, and the venv would break with it.
fn python_with_venv() -> Option<PathBuf> {
    let system = PathBuf::from("/usr/bin/python3");
    let candidates = [is_program(&system).then_some(system), find("python3")];
    candidates.into_iter().flatten().find(|python| {
        Command::new(python)
            .args(["-c", "import venv, ensurepip"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

fn apt_install(package: &str) -> anyhow::Result<()> {
    let Some(apt) = find("apt-get") else {
        bail!("{package} is missing and there is no apt-get to install it: please install it");
    };
    if !rustix::process::geteuid().is_root() {
        bail!("{package} is missing: `sudo apt-get install --no-install-recommends {package}`");
    }
    let _no_service = ServiceStartDenied::new()?;
    let install = || {
        let mut command = Command::new(&apt);
        command
            .args(["install", "-y", "-qq", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        command
    };
    eprintln!("installing {package}");
    if must(&mut install()).is_ok() {
        return Ok(());
    }
    // A fresh image has no package lists, an old one has lists of files that are gone.
    eprintln!("that failed; reading the package lists first");
    must(Command::new(&apt).args(["update", "-qq"]))?;
    must(&mut install())
}

/// Keeps an installation from starting the service that comes with the package: the tests start
/// their own, and a service on the well-known port is not ours to add to somebody's machine.
struct ServiceStartDenied {
    ours: Option<&'static Path>,
}

impl ServiceStartDenied {
    fn new() -> anyhow::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = Path::new("/usr/sbin/policy-rc.d");
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(file);
        match made {
            Ok(mut made) => {
                use std::io::Write;
                made.write_all(b"#!/bin/sh\nexit 101\n")
                    .context("could not write policy-rc.d")?;
                Ok(Self { ours: Some(file) })
            }
            // The machine has a policy already, as every container image does.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Self { ours: None })
            }
            Err(error) => Err(error).context("could not make /usr/sbin/policy-rc.d"),
        }
    }
}

impl Drop for ServiceStartDenied {
    fn drop(&mut self) {
        if let Some(file) = self.ours
            && let Err(error) = std::fs::remove_file(file)
        {
            eprintln!("please remove {}: {error}", file.display());
        }
    }
}
