//! `cargo xtask containers`: the images of the Dockerfile and the demo of docker-compose, built and run by a real engine.
//!
//! Docker's daemon runs in a [`Cell`] with a network of its own, so it can reach nobody and nothing of it is left. It can
//! pull no image either: what ours stand on is made from Debian's packages, and the programs are those just built here. The stage
//! of the Dockerfile that compiles is run with `--compile` only ([`mod@compile`]). The real bases are not met.
//!
//! This file is outside of the cell; [`story`] is what happens inside.

pub(crate) mod compile;
pub(crate) mod engine;
pub(crate) mod story;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use tempfile::TempDir;

use engine::Tools;

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
    /// An archive of the images, where they were made before.
    #[arg(long)]
    images: Option<PathBuf>,
    /// The top of the repository.
    #[arg(long)]
    repository: PathBuf,
    /// The folder with the archives of the bases.
    #[arg(long)]
    bases: PathBuf,
    #[command(flatten)]
    tools: Tools,
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
pub(crate) fn set_up(
    places: &Places,
    binaries: Option<&Path>,
    images: Option<PathBuf>,
) -> anyhow::Result<Set> {
    Cell::possible()?;
    let bases = bases()?;
    let folder = folder()?;
    let scene = Scene {
        binaries: binaries.map_or_else(|| places.binaries(), Path::to_owned),
        images,
        repository: places.root.clone(),
        bases,
        tools: Tools::find(folder.path())?,
    };
    Ok(Set { scene, folder })
}

/// Where an engine keeps all that is its own.
pub(crate) fn folder() -> anyhow::Result<TempDir> {
    let mut named = tempfile::Builder::new();
    let folder = named.prefix("parmanu-containers-").tempdir();
    folder.context("no temporary folder")
}

/// The folder with the archives of the images that ours stand on.
pub(crate) fn bases() -> anyhow::Result<PathBuf> {
    archives("image-bases", BASES)
}

/// A folder of archives that a script makes out of Debian's packages, once.
fn archives(name: &str, script: &str) -> anyhow::Result<PathBuf> {
    parts::in_cache(name, script.trim(), |folder| {
        parts::program("mmdebstrap", "mmdebstrap")?;
        std::fs::create_dir_all(folder)?;
        eprintln!("making images that ours stand on, about a minute");
        let mut bash = Command::new("bash");
        must(bash.args(["-c", script, name]).arg(folder))
    })
}

/// One run; gives its last words.
///
/// # Errors
///
/// With all that was said, when something is not as it should be.
pub(crate) fn play(set: Set) -> anyhow::Result<String> {
    let Set { scene, folder } = set;
    let paths = [
        ("--binaries", scene.binaries.as_path()),
        ("--repository", &scene.repository),
        ("--bases", &scene.bases),
    ];
    let images = scene.images.iter().map(|path| ("--images", path.as_path()));
    let paths = paths
        .into_iter()
        .chain(images)
        .chain(scene.tools.arguments());
    in_a_cell(folder.path(), "inside-the-containers", paths, Network::Own)
}

/// Runs another task of this program in a cell, with these paths as its arguments; gives its last words.
pub(crate) fn in_a_cell<'a>(
    folder: &Path,
    task: &str,
    paths: impl Iterator<Item = (&'static str, &'a Path)>,
    network: Network,
) -> anyhow::Result<String> {
    let program = folder.join("xtask");
    std::fs::copy("/proc/self/exe", &program).context("could not copy this program")?;
    let mut command = Command::new(program);
    command.arg(task);
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    let output = tempfile::NamedTempFile::new().context("no temporary file")?;
    let mut cell = Cell::start(network, &command, Some(output.path()))?;
    let status = cell.wait();
    drop(cell);
    let words = std::fs::read_to_string(output.path()).context("its words are lost")?;
    eprint!("{words}");
    let last = words.lines().last().unwrap_or_default();
    if !status?.success() {
        // what a command printed may follow in many lines, which stand above
        let error = words.lines().rfind(|line| line.starts_with("error: "));
        bail!("{}", error.unwrap_or(last));
    }
    Ok(last.to_owned())
}

/// What happens inside the cell.
pub(crate) fn inside(scene: &Scene) -> anyhow::Result<bool> {
    catch_interrupts()?;
    story::tell(scene)?;
    Ok(true)
}
