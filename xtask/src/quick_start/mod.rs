//! `cargo xtask quick-start`: docs/quick-start.md, word for word, by somebody who has nothing.
//!
//! Every command of the page is typed into a shell in an empty home, in its order, and must end well; what the page says one
//! will see is looked for in what is printed. The checkout, `docker`, `docker compose`, `aws`, `jq` and `curl` are the real
//! ones. [`ACCOUNTS`](story) has the few words that are put in the place of the page's, and why. Others stand where there is
//! no account: our fake of GitLab, and moto for AWS, which is somebody else's and refuses what the user's policy does not name.
//! The compiler is the one thing that is played: it "compiles" by taking programs that were built before
//! (`cargo xtask containers --compile` runs the real one).
//!
//! What is not seen: the real GitLab and AWS, whether AWS reads the conditions of the policy as we do ([`policy`]), and a
//! machine that boots; this program reads its boot script and then talks to GitLab in its place.

mod account;
mod page;
mod policy;
mod shell;
mod story;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cell::{Cell, Network};
use crate::command::{catch_interrupts, must};
use crate::containers::{self, engine::Tools};
use crate::parts;
use crate::run::Places;

/// What the program inside the cell must know.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Scene {
    /// The folder of the built `probot`, `scaler` and `parmanu`, the last two with the clouds' SDKs.
    #[arg(long)]
    binaries: PathBuf,
    /// What is cloned: only what is committed gets into the run.
    #[arg(long)]
    repository: PathBuf,
    /// The folder with the archives of the bases.
    #[arg(long)]
    bases: PathBuf,
    /// The server in the place of AWS.
    #[arg(long)]
    moto: PathBuf,
    /// Amazon's command.
    #[arg(long)]
    aws: PathBuf,
    /// What judges policies of AWS.
    #[arg(long)]
    parliament: PathBuf,
    /// The server in the place of GitLab.
    #[arg(long)]
    gitlab: PathBuf,
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
pub(crate) fn set_up(places: &Places, binaries: Option<&Path>) -> anyhow::Result<Set> {
    Cell::possible()?;
    for program in ["git", "jq", "curl"] {
        parts::program(program, program)?;
    }
    // alone, for whoever brings programs along builds nothing else
    must(&mut places.cargo(&[
        "build",
        "--locked",
        "-p",
        "fake-gitlab",
        "--example",
        "serve-gitlab",
    ]))?;
    let folder = containers::folder()?;
    let scene = Scene {
        binaries: binaries.map_or_else(|| places.binaries(), Path::to_owned),
        repository: places.root.clone(),
        bases: containers::bases()?,
        moto: parts::moto()?,
        aws: parts::aws()?,
        parliament: parts::parliament()?,
        gitlab: places.binaries().join("examples/serve-gitlab"),
        tools: Tools::find(folder.path())?,
    };
    Ok(Set { scene, folder })
}

/// One run; gives its last words.
///
/// # Errors
///
/// With all that was said, when something is not as the page says.
pub(crate) fn play(set: Set) -> anyhow::Result<String> {
    let Set { scene, folder } = set;
    let paths = [
        ("--binaries", scene.binaries.as_path()),
        ("--repository", &scene.repository),
        ("--bases", &scene.bases),
        ("--moto", &scene.moto),
        ("--aws", &scene.aws),
        ("--parliament", &scene.parliament),
        ("--gitlab", &scene.gitlab),
    ];
    let paths = paths.into_iter().chain(scene.tools.arguments());
    containers::in_a_cell(folder.path(), "inside-the-quick-start", paths, Network::Own)
}

/// What happens inside the cell.
pub(crate) fn inside(scene: &Scene) -> anyhow::Result<bool> {
    catch_interrupts()?;
    story::tell(scene)?;
    Ok(true)
}
