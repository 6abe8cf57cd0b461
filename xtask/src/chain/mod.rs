//! `cargo xtask chain`: a production CI server, real machines, and the real binaries between them.
//!
//! Twelve builds wait at a Buildbot master that has no worker; `probot` sees them, `scaler` has LXD make containers, the
//! boot script starts a worker in each, the builds drain, the machines leave. A second scaler stands by and takes over twice.
//! Meanwhile both services, Redis's contents, the LXD daemon and one machine in the middle of a build are lost. Then
//! all services are gone, the machines look after themselves, and an operator's `parmanu doctor` and `parmanu reap` look at
//! them. Then an order gives a pool a machine, which is replaced for a changed boot script and for its age, and serves once. At
//! last orders keep, empty and hold a pool of machines that join no CI server. A timeline tells it, verdicts end it.
//!
//! Everything runs in a [`Cell`], so that one process, when it ends, takes all of it along. This file is outside of the
//! cell; the program starts itself again inside, where [`inside`] plays the story.

mod age;
mod alone;
mod faults;
mod look;
mod nodes;
mod operator;
mod orders;
mod stage;
mod story;
mod takeover;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::cell::{Cell, Network};
use crate::command::{catch_interrupts, foreground, now};
use crate::image::Image;
use crate::parts;
use crate::run::{BUILD, Places};

/// Builds and machines of one builder, as `chain/master.cfg` and `chain/parmanu.yaml` have them.
pub(crate) struct Builder {
    pub(crate) name: &'static str,
    pub(crate) builds: usize,
    pub(crate) max: usize,
}

pub(crate) const BUILDERS: [Builder; 2] = [
    Builder {
        name: "linux",
        builds: 8,
        max: 4,
    },
    Builder {
        name: "docs",
        builds: 4,
        max: 2,
    },
];

/// The pools by name, with the machines that each may have.
pub(crate) fn pools() -> impl Iterator<Item = (&'static str, usize)> {
    let builders = BUILDERS.iter().map(|builder| (builder.name, builder.max));
    builders.chain([(nodes::POOL, nodes::MAX)])
}

/// What the program inside the cell must know.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Scene {
    /// The folder of the freshly built `probot`, `scaler` and `parmanu`.
    #[arg(long)]
    binaries: PathBuf,
    /// Where the logs of everything go.
    #[arg(long)]
    logs: PathBuf,
    /// The top of the repository.
    #[arg(long)]
    repository: PathBuf,
    /// The image's archive.
    #[arg(long)]
    archive: PathBuf,
    #[arg(long, value_enum)]
    image: Image,
    #[arg(long)]
    redis: PathBuf,
    /// Buildbot's `buildbot`.
    #[arg(long)]
    master: PathBuf,
    /// The folder with the worker's packages.
    #[arg(long)]
    worker: PathBuf,
    #[arg(long)]
    lxd: PathBuf,
    #[arg(long)]
    lxc: PathBuf,
}

/// What the chain itself needs: the cloud is LXD, and the SDKs of the others take longer to build than all else together.
const LEAN: [&str; 10] = [
    "build",
    "--locked",
    "--no-default-features",
    "-p",
    "probot",
    "-p",
    "scaler",
    "-p",
    "parmanu",
    "--bins",
];

/// The whole task: parts, build, as many runs as asked for. True when every promise was kept every time.
pub(crate) fn chain(image: Image, times: u32, lean: bool) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let places = Places::find()?;
    let start = now();
    let mut build = places.cargo(if lean { &LEAN[..] } else { &BUILD });
    if !foreground(&mut build)?.success() {
        bail!("the binaries could not be built");
    }
    for number in 1..=times {
        if times > 1 {
            println!(
                "\n== run {number} of {times}, {} s so far",
                start.elapsed().as_secs()
            );
        }
        if let Err(error) = set_up(&places, image).and_then(play) {
            eprintln!("error: {error:#}");
            return Ok(false);
        }
    }
    if times > 1 {
        println!("\n{times} of {times} runs kept every promise");
    }
    Ok(true)
}

/// A run that has all it needs.
pub(crate) struct Set {
    scene: Scene,
    folder: TempDir,
}

/// Finds or installs everything that a run needs, beside the binaries, which must have been built.
///
/// # Errors
///
/// When a part is missing and cannot be installed.
pub(crate) fn set_up(places: &Places, image: Image) -> anyhow::Result<Set> {
    Cell::possible()?;
    let folder = tempfile::Builder::new()
        .prefix("parmanu-chain-")
        .tempdir()?;
    let logs = folder.path().join("logs");
    std::fs::create_dir_all(&logs)?;
    let lxd = parts::lxd()?;
    if image == Image::CloudInit {
        // six machines of this size want a storage pool that shares what is the same
        parts::program("mkfs.btrfs", "btrfs-progs")?;
    }
    let buildbot = parts::buildbot()?;
    let redis = parts::redis()?;
    parts::program("redis-cli", "redis-tools")?;
    let scene = Scene {
        binaries: places.binaries(),
        logs,
        repository: places.root.clone(),
        archive: image.archive(folder.path())?,
        image,
        redis,
        master: buildbot.master,
        worker: buildbot.worker,
        lxd: lxd.daemon,
        lxc: lxd.client,
    };
    Ok(Set { scene, folder })
}

/// One run. Says in a few words how it went.
///
/// # Errors
///
/// When the run broke or a promise was not kept; the logs stay then, and the error says where.
pub(crate) fn play(set: Set) -> anyhow::Result<String> {
    let Set { scene, folder } = set;
    let image = scene.image.name();
    let start = now();
    let mut cell = Cell::start(Network::Own, &scene.command(folder.path())?, None)?;
    let status = cell.wait();
    drop(cell);
    let status = status?;
    if !status.success() {
        let logs = keep(folder, &scene.logs);
        let logs = logs.display();
        bail!("the chain with the {image} image ended with {status}; logs: {logs}");
    }
    let took = seconds(start.elapsed());
    Ok(format!("{image} image, every promise kept in {took}"))
}

/// Leaves the logs behind, since somebody will want to read them.
fn keep(folder: TempDir, logs: &Path) -> PathBuf {
    let _ = folder.keep();
    logs.to_owned()
}

/// Plays the story inside the cell. True when every promise was kept.
pub(crate) fn inside(scene: &Scene) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut stage = stage::Stage::set(scene)?;
    let story = story::tell(&mut stage, scene.image)?;
    Ok(verdict::give(story))
}

impl Scene {
    /// This program again, as it is started inside the cell.
    ///
    /// As a copy, since the build just before may have replaced the file that this program was started from.
    fn command(&self, folder: &Path) -> anyhow::Result<Command> {
        let program = folder.join("xtask");
        std::fs::copy("/proc/self/exe", &program).context("could not copy this program")?;
        let mut command = Command::new(program);
        command.arg("inside-the-chain");
        for (name, value) in [
            ("--binaries", &self.binaries),
            ("--logs", &self.logs),
            ("--repository", &self.repository),
            ("--archive", &self.archive),
            ("--redis", &self.redis),
            ("--master", &self.master),
            ("--worker", &self.worker),
            ("--lxd", &self.lxd),
            ("--lxc", &self.lxc),
        ] {
            command.arg(name).arg(value);
        }
        command.args(["--image", self.image.name()]);
        Ok(command)
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers stand in three files, each in the language of its reader.
    #[test]
    fn the_files_agree_on_builders_and_limits() {
        let yaml = include_str!("../../chain/parmanu.yaml");
        let master = include_str!("../../chain/master.cfg");
        for Builder { name, max, builds } in &BUILDERS {
            let pool = format!(
                "{name}: {{ emitter: buildbot, serves: [{{ builders: [{name}] }}], machine: worker, max: {max},"
            );
            assert!(yaml.contains(&pool), "{pool}");
            assert!(master.contains(&format!("\"{name}\": ")), "{name}");
            assert!(builds > max, "more builds than machines, or nothing drains");
        }
        let nodes = format!("{}: {{ machine: node, max: {},", nodes::POOL, nodes::MAX);
        assert!(yaml.contains(&nodes), "{nodes}");
        assert_eq!(
            BUILDERS.iter().map(|builder| builder.builds).sum::<usize>(),
            12
        );
    }
}
