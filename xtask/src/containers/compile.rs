//! The stage of the Dockerfile that compiles, run as it stands.
//!
//! It needs the registry of crates, so this engine stands in a cell with the host's network and leaves the host's own bridges and rules
//! alone. The image that it compiles in is made here, with this machine's toolchain; where crates come from and whom to trust is
//! handed in for this run only, as this machine's cargo has it. Three quarters of an hour on two cores, most of them for the AWS SDK:
//! therefore no run of the tests does this by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::engine::{Engine, Tools};
use super::story::{PROGRAMS, image_of, stand_on};
use crate::cell::{Cell, Network};
use crate::command::{catch_interrupts, must, now};
use crate::run::Places;

const COMPILER: &str = include_str!("../../containers/compiler.sh");
/// As the real image has it.
const ENVIRONMENT: &str = "ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                           RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo";
/// Beginnings of the variables that tell cargo where crates come from, and how many of them to compile at once.
const HANDED_IN: [&str; 8] = [
    "CARGO_BUILD_JOBS",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
];
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What the program inside the cell must know.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Scene {
    /// What is built: the top of the repository.
    #[arg(long)]
    repository: PathBuf,
    /// The folder with the archives of the bases.
    #[arg(long)]
    bases: PathBuf,
    /// The folder with the archive of the image that compiles.
    #[arg(long)]
    compiler: PathBuf,
    /// Where the images and the programs go.
    #[arg(long)]
    to: PathBuf,
    #[command(flatten)]
    tools: Tools,
}

/// A compilation that has all it needs.
pub(crate) struct Set {
    scene: Scene,
    to: TempDir,
    _engine: Option<TempDir>,
}

/// What came of it; gone when this goes.
pub(crate) struct Compiled {
    folder: TempDir,
}

impl Compiled {
    /// An archive of the three images.
    pub(crate) fn images(&self) -> PathBuf {
        self.folder.path().join("images.tar")
    }

    /// A folder with the three programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.path().join("out")
    }
}

/// Finds or makes what it needs. The engine's own files go to `keep` and stay there, so that the next compilation finds its caches, or
/// are gone afterwards.
///
/// # Errors
///
/// When a part is missing and cannot be installed.
pub(crate) fn set_up(places: &Places, keep: Option<&Path>) -> anyhow::Result<Set> {
    Cell::possible()?;
    let (folder, own) = match keep {
        Some(keep) => {
            std::fs::create_dir_all(keep)?;
            (keep.canonicalize()?, None)
        }
        None => {
            let own = super::folder()?;
            (own.path().to_owned(), Some(own))
        }
    };
    let rust = Command::new("rustc").arg("--version").output();
    let rust = String::from_utf8(rust.context("no rustc")?.stdout)?;
    // another toolchain makes another image
    let script = format!("{COMPILER}# {rust}");
    let to = super::folder()?;
    let scene = Scene {
        repository: places.root.clone(),
        bases: super::bases()?,
        compiler: super::archives("image-compiler", &script)?,
        to: to.path().to_owned(),
        tools: Tools::find(&folder)?,
    };
    Ok(Set {
        scene,
        to,
        _engine: own,
    })
}

/// Compiles, and makes the images; gives its last words too.
///
/// # Errors
///
/// With all that was said, when it fails.
pub(crate) fn play(set: Set) -> anyhow::Result<(String, Compiled)> {
    let Set { scene, to, _engine } = set;
    let paths = [
        ("--repository", scene.repository.as_path()),
        ("--bases", &scene.bases),
        ("--compiler", &scene.compiler),
        ("--to", &scene.to),
    ];
    let paths = paths.into_iter().chain(scene.tools.arguments());
    let words = super::in_a_cell(to.path(), "inside-the-compilation", paths, Network::Host)?;
    Ok((words, Compiled { folder: to }))
}

/// What happens inside the cell.
pub(crate) fn inside(scene: &Scene) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let start = now();
    let engine = Engine::start(&scene.tools, &scene.repository, Network::Host)?;
    stand_on(&engine, &scene.bases)?;
    compiler(scene, &engine)?;
    for program in PROGRAMS {
        let image = image_of(program);
        let words = ["build", "--network", "host", "--progress", "plain"];
        let named = ["--target", program, "--tag", &image, "."];
        let said = engine.docker(words.into_iter().chain(named))?;
        println!("{said}");
    }
    let archive = scene.to.join("images.tar").into_os_string();
    let save = ["save".into(), "--output".into(), archive];
    let images = PROGRAMS.map(|program| OsString::from(image_of(program)));
    engine.docker(save.into_iter().chain(images))?;
    programs(scene, &engine)?;
    println!("compiled in {} min", start.elapsed().as_secs() / 60);
    Ok(true)
}

/// The image that the Dockerfile compiles in, by its name, and with what this machine's cargo is told.
fn compiler(scene: &Scene, engine: &Engine<'_>) -> anyhow::Result<()> {
    let bare = "parmanu-compiler";
    let changes = [ENVIRONMENT.to_owned()];
    engine.import(&scene.compiler.join("compiler.tar"), bare, &changes)?;
    let context = scene.to.join("compiler");
    std::fs::create_dir_all(&context)?;
    let mut file = format!("FROM {bare}\n");
    let told = std::env::vars().filter(|(name, _)| HANDED_IN.iter().any(|it| name.starts_with(it)));
    for (name, value) in told {
        file.push_str(&format!("ENV {name}={value:?}\n"));
    }
    let mut hand_in = |from: &Path, to: &str| -> anyhow::Result<()> {
        let name = from.file_name().context("it is no file")?;
        std::fs::copy(from, context.join(name)).with_context(|| from.display().to_string())?;
        file.push_str(&format!("COPY {} {to}\n", name.to_string_lossy()));
        Ok(())
    };
    hand_in(Path::new(AUTHORITIES), AUTHORITIES)?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let config = home.map(|home| home.join("config.toml"));
    if let Some(config) = config.filter(|file| file.is_file()) {
        hand_in(&config, "/usr/local/cargo/config.toml")?;
    }
    std::fs::write(context.join("Dockerfile"), file)?;
    let name = image_that_compiles(&scene.repository)?;
    let context = context.to_string_lossy().into_owned();
    engine.docker(["build", "--tag", &name, &context])?;
    Ok(())
}

/// Takes the programs out of the images.
fn programs(scene: &Scene, engine: &Engine<'_>) -> anyhow::Result<()> {
    let out = scene.to.join("out");
    std::fs::create_dir_all(&out)?;
    for program in PROGRAMS {
        let made = engine.docker(["create", &image_of(program)])?;
        let from = format!("{}:/usr/local/bin/{program}", made.trim());
        let to = out.join(program);
        engine.docker([OsString::from("cp"), from.into(), to.clone().into()])?;
        engine.docker(["rm", made.trim()])?;
        let said = Command::new(&to).arg("--version").output()?;
        ensure!(said.status.success(), "{program} does not start here");
        // its user may only read it, and others copy it
        must(Command::new("chmod").arg("755").arg(&to))?;
    }
    Ok(())
}

/// The name, without its registry, of the image that the Dockerfile compiles in.
pub(crate) fn image_that_compiles(repository: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(repository.join("Dockerfile"))?;
    let mut lines = text.lines();
    let named = lines.find_map(|line| line.strip_prefix("FROM docker.io/library/"));
    let image = named.and_then(|line| line.strip_suffix(" AS build"));
    Ok(image
        .context("the Dockerfile names no image that compiles")?
        .to_owned())
}
