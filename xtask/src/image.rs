//! The images of the machines: a small one made in a moment, and a Debian with systemd and cloud-init.
//!
//! Both run the same boot script, which LXD hands to them as user data. They are kept as plain archives, because LXD
//! unpacks a compressed one anew for each machine.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use crate::command::{find, must};
use crate::parts;

const INITTAB: &str = include_str!("../chain/small/inittab");
const BOOT: &str = include_str!("../chain/small/boot.sh");
const USER_DATA: &str = include_str!("../chain/small/user-data.sh");
const WORKER: &str = include_str!("../chain/buildbot-worker");
const DEBIAN: &str = include_str!("../chain/debian.sh");

/// What a boot script and a build of the chain call; each is a name of the one static program.
const TOOLS: &[&str] = &[
    "sh", "cat", "chmod", "cp", "echo", "env", "grep", "hostname", "ip", "ls", "mkdir", "mount",
    "mv", "ps", "rm", "sed", "sleep", "touch", "true",
];

/// Which image the machines are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Image {
    /// An init and a shell, with the host's /usr: made in a moment, starts in a second.
    Small,
    /// Debian with systemd and cloud-init: made once in a minute and kept, starts in some seconds.
    CloudInit,
}

impl Image {
    /// Its alias in LXD and its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Image::Small => "small",
            Image::CloudInit => "cloud-init",
        }
    }

    /// Its archive: in `folder`, or kept in the cache.
    pub(crate) fn archive(self, folder: &Path) -> anyhow::Result<PathBuf> {
        match self {
            Image::Small => small(&parts::lxd()?.busybox, folder),
            Image::CloudInit => debian(),
        }
    }
}

fn small(busybox: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let image = folder.join("image-small");
    let root = image.join("rootfs");
    let empty = [
        "bin",
        "dev",
        "etc",
        "opt/buildbot-worker",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
        "usr",
        "var/lib",
    ];
    for place in empty {
        std::fs::create_dir_all(root.join(place))?;
    }
    let program = root.join("bin/busybox");
    std::fs::copy(busybox, &program).context("could not copy busybox")?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    for tool in TOOLS {
        symlink("busybox", root.join("bin").join(tool))?;
    }
    symlink("../bin/busybox", root.join("sbin/init"))?;
    // where the loader of the host's programs is looked for
    for library in ["lib", "lib64"] {
        symlink(format!("usr/{library}"), root.join(library))?;
    }
    std::fs::write(root.join("etc/inittab"), INITTAB)?;
    std::fs::write(root.join("etc/boot.sh"), BOOT)?;
    std::fs::write(root.join("etc/user-data.sh"), USER_DATA)?;
    let worker = root.join("bin/buildbot-worker");
    std::fs::write(&worker, WORKER)?;
    std::fs::set_permissions(&worker, PermissionsExt::from_mode(0o755))?;
    let metadata = format!(
        "architecture: {}\ncreation_date: 1700000000\nproperties: {{ os: small }}\n",
        std::env::consts::ARCH
    );
    std::fs::write(image.join("metadata.yaml"), metadata)?;
    let archive = folder.join("small.tar");
    must(
        Command::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&image)
            .args(["metadata.yaml", "rootfs"]),
    )?;
    std::fs::remove_dir_all(&image)?;
    Ok(archive)
}

/// Made with Debian's own tool from Debian's own packages; kept as long as the script that makes it is the same.
fn debian() -> anyhow::Result<PathBuf> {
    let version = format!("{}\n{WORKER}", DEBIAN.trim());
    let folder = parts::in_cache("image-debian", version.trim(), |folder| {
        parts::program("mmdebstrap", "mmdebstrap")?;
        std::fs::create_dir_all(folder)?;
        eprintln!("making a Debian image, about a minute");
        let worker = folder.join("buildbot-worker");
        std::fs::write(&worker, WORKER)?;
        must(
            Command::new(find("bash").context("bash is missing")?)
                .args(["-c", DEBIAN, "debian.sh"])
                .arg(folder),
        )
    })?;
    Ok(folder.join("debian.tar"))
}
