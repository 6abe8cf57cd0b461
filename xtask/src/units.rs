//! The units of `deploy/systemd` in the hands of systemd's own critic. They are not started: nothing here shows that they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

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
    if !said.trim().is_empty() {
        bail!("{}", said.trim());
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

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .context("could not start systemd-analyze")?;
    let words = [&output.stdout[..], &output.stderr[..]].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    if !output.status.success() {
        bail!("{}", words.trim());
    }
    Ok(words)
}
