//! The units of `deploy/systemd`: in each run in the hands of systemd's own critic, and in the extended run started by the
//! systemd of a Debian machine. No Redis, no GitLab and no cloud is there: it shows what systemd makes of the directives.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cell::Cell;
use crate::image::Image;
use crate::lab::Lab;
use crate::parts;

/// Exposure times ten, from 0 to 100. Ours have 12; what is left is the network, which they are for.
const MOST_EXPOSED: &str = "--threshold=15";

/// What judges them.
pub(crate) fn critic() -> anyhow::Result<PathBuf> {
    parts::program("systemd-analyze", "systemd")
}

/// Verifies and judges each unit; gives a line of words.
pub(crate) fn judge(analyze: &Path, root: &Path) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let mut units = Vec::new();
    for entry in std::fs::read_dir(root.join("deploy/systemd"))? {
        let file = entry?.path();
        let name = file.file_name().context("a file has a name")?;
        let text = std::fs::read_to_string(&file)?;
        // the critic wants the program to be there
        let lines = text
            .lines()
            .map(|line| match line.split_once("/usr/local/bin/") {
                Some(("ExecStart=", _)) => "ExecStart=/bin/true",
                _ => line,
            });
        let copy = folder.path().join(name);
        std::fs::write(&copy, lines.collect::<Vec<_>>().join("\n"))?;
        units.push(copy);
    }
    let said = run(Command::new(analyze).arg("verify").args(&units))?;
    // it ends well with unknown keys, too
    if !said.complaints.trim().is_empty() {
        bail!("{}", said.complaints.trim());
    }
    for unit in &units {
        let judge = ["security", "--offline=true", "--no-pager", MOST_EXPOSED];
        run(Command::new(analyze).args(judge).arg(unit))?;
    }
    Ok(format!(
        "{} units, none more exposed than 1.5 of 10",
        units.len()
    ))
}

/// A machine manager, and what it makes a machine from.
pub(crate) struct Bench {
    lab: Lab,
    client: PathBuf,
    archive: PathBuf,
    script: PathBuf,
    root: PathBuf,
    binaries: PathBuf,
}

/// Gets it ready; the services must have been built.
pub(crate) fn bench(root: &Path, binaries: &Path) -> anyhow::Result<Bench> {
    Cell::possible()?;
    Ok(Bench {
        client: parts::lxd()?.client,
        // kept in the cache, and not in a folder
        archive: Image::CloudInit.archive(Path::new("/nowhere"))?,
        lab: Lab::start()?,
        script: root.join("xtask/deploy/units.sh"),
        root: root.to_owned(),
        binaries: binaries.to_owned(),
    })
}

/// Starts both units in a machine; gives the last line of what was said.
pub(crate) fn start(bench: &Bench) -> anyhow::Result<String> {
    let mut command = Command::new("bash");
    command
        .arg(&bench.script)
        .args([&bench.client, &bench.archive, &bench.binaries, &bench.root])
        .env("LXD_SOCKET", bench.lab.socket());
    let said = run(&mut command)?;
    Ok(said.words.lines().last().unwrap_or_default().to_owned())
}

/// What a program said that ended well.
struct Said {
    words: String,
    complaints: String,
}

fn run(command: &mut Command) -> anyhow::Result<Said> {
    let output = command
        .output()
        .with_context(|| format!("could not start {:?}", command.get_program()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said {
        words: text(&output.stdout),
        complaints: text(&output.stderr),
    };
    if !output.status.success() {
        bail!("{}", [said.words, said.complaints].concat().trim());
    }
    Ok(said)
}
