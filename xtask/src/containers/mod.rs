//! `cargo xtask containers`: the images of the Dockerfile and the demo of docker-compose, built and run by a real engine.
//!
//! Docker's daemon runs in a [`Cell`] with a network of its own, so it can reach nobody and nothing of it is left. It can
//! pull no image either: what ours stand on is made from Debian's packages, and the programs are those just built here. So
//! the stage of the Dockerfile that compiles is not run, and the real bases are not met.
//!
//! This file is outside of the cell; [`story`] is what happens inside.

mod engine;
mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::cell::{Cell, Network};
use crate::command::{catch_interrupts, must};
use crate::parts;
use crate::run::Places;

const BASES: &str = include_str!("../../containers/bases.sh");

/// What the program inside the cell must know.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Scene {
    /// The folder of the built `probot`, `scaler` (with the clouds' SDKs) and `parmanu`.
    #[arg(long)]
    binaries: PathBuf,
    /// The top of the repository.
    #[arg(long)]
    repository: PathBuf,
    /// The folder of the engine, gone afterwards.
    #[arg(long)]
    folder: PathBuf,
    /// The folder with the archives of the bases.
    #[arg(long)]
    bases: PathBuf,
    #[arg(long)]
    dockerd: PathBuf,
    #[arg(long)]
    docker: PathBuf,
    #[arg(long)]
    compose: PathBuf,
}

/// A run that has all it needs.
pub(crate) struct Set {
    scene: Scene,
    folder: TempDir,
}

/// Finds or installs what a run needs, beside the programs, which must have been built.
///
/// # Errors
///
/// When a part is missing and cannot be installed.
pub(crate) fn set_up(places: &Places, binaries: Option<&Path>) -> anyhow::Result<Set> {
    Cell::possible()?;
    let docker = parts::docker()?;
    let bases = parts::in_cache("image-bases", BASES.trim(), |folder| {
        parts::program("mmdebstrap", "mmdebstrap")?;
        std::fs::create_dir_all(folder)?;
        eprintln!("making the images that ours stand on, about a minute");
        must(
            Command::new("bash")
                .args(["-c", BASES, "bases.sh"])
                .arg(folder),
        )
    })?;
    let folder = tempfile::Builder::new()
        .prefix("parmanu-containers-")
        .tempdir()?;
    let scene = Scene {
        binaries: binaries.map_or_else(|| places.binaries(), Path::to_owned),
        repository: places.root.clone(),
        folder: folder.path().to_owned(),
        bases,
        dockerd: docker.daemon,
        docker: docker.client,
        compose: docker.compose,
    };
    Ok(Set { scene, folder })
}

/// One run; gives its last words.
///
/// # Errors
///
/// With all that was said, when something is not as it should be.
pub(crate) fn play(set: Set) -> anyhow::Result<String> {
    let Set { scene, folder } = set;
    let output = tempfile::NamedTempFile::new().context("no temporary file")?;
    let command = scene.command(folder.path())?;
    let mut cell = Cell::start(Network::Own, &command, Some(output.path()))?;
    let status = cell.wait();
    drop(cell);
    let words = std::fs::read_to_string(output.path()).context("its words are lost")?;
    if !status?.success() {
        bail!("{}", words.trim());
    }
    eprint!("{words}");
    Ok(words.lines().last().unwrap_or_default().to_owned())
}

/// What happens inside the cell.
pub(crate) fn inside(scene: &Scene) -> anyhow::Result<bool> {
    catch_interrupts()?;
    story::tell(scene)?;
    Ok(true)
}

impl Scene {
    /// This program again, as it is started inside the cell.
    fn command(&self, folder: &Path) -> anyhow::Result<Command> {
        let program = folder.join("xtask");
        std::fs::copy("/proc/self/exe", &program).context("could not copy this program")?;
        let mut command = Command::new(program);
        command.arg("inside-the-containers");
        for (name, value) in [
            ("--binaries", &self.binaries),
            ("--repository", &self.repository),
            ("--folder", &self.folder),
            ("--bases", &self.bases),
            ("--dockerd", &self.dockerd),
            ("--docker", &self.docker),
            ("--compose", &self.compose),
        ] {
            command.arg(name).arg(value);
        }
        Ok(command)
    }
}
