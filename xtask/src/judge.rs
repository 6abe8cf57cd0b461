//! A fake of ours is judged by code that is not ours: the vendor's own client drives it, and its answers are held against the
//! vendor's own description of the API.
//!
//! Client and fake run in a cell where there is a loopback device and nothing else, so that a client which finds another way
//! than the one it was given reaches nobody. What a judge looks at stands in its script, beside the fake's tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::cell::{Cell, Network};
use crate::command::must;
use crate::parts;
use crate::run::Places;

/// Starts the fake, waits until it says where it serves, and becomes the judge.
const SCRIPT: &str = r#"
coproc fake { exec "$1" 127.0.0.1:0; }
read -r -u "${fake[0]}" _ _ url
exec "$2" "$3" "$url"
"#;

/// Whose client judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Judge {
    /// Amazon's, of the fake EC2.
    Ec2,
    /// Google's, of the fake Compute Engine.
    Gce,
}

/// A judge that has all it needs.
pub(crate) struct Court {
    fake: PathBuf,
    python: PathBuf,
    script: PathBuf,
}

impl Judge {
    pub(crate) const ALL: [Self; 2] = [Self::Ec2, Self::Gce];

    /// The name of its line in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2-judge",
            Self::Gce => "gce-judge",
        }
    }

    /// The fake's crate, and its example that serves.
    fn fake(self) -> (&'static str, &'static str) {
        match self {
            Self::Ec2 => ("fake-ec2", "serve"),
            Self::Gce => ("fake-gce", "serve-gce"),
        }
    }

    /// Finds or installs the client, and builds the fake.
    pub(crate) fn set_up(self, places: &Places) -> anyhow::Result<Court> {
        Cell::possible()?;
        let python = match self {
            Self::Ec2 => parts::python_with_boto3()?,
            Self::Gce => parts::python_with_google()?,
        };
        let (folder, example) = self.fake();
        // alone, and not as a part of the workspace: a minute once more, and whoever wants only this builds no cloud's SDK
        must(&mut places.cargo(&["build", "--locked", "-p", folder, "--example", example]))?;
        Ok(Court {
            fake: places.binaries().join("examples").join(example),
            python,
            script: places
                .root
                .join("crates")
                .join(folder)
                .join("tests/judge/judge.py"),
        })
    }
}

impl Court {
    /// Lets the judge work; gives its last line.
    ///
    /// # Errors
    ///
    /// With all that it found.
    pub(crate) fn hear(&self) -> anyhow::Result<String> {
        let output = tempfile::NamedTempFile::new().context("no temporary file")?;
        let mut command = Command::new("bash");
        command
            .args(["-c", SCRIPT, "judge"])
            .args([&self.fake, &self.python, &self.script]);
        let status = Cell::start(Network::Own, &command, Some(output.path()))?.wait()?;
        let words = std::fs::read_to_string(output.path()).context("the judge's words are lost")?;
        if !status.success() {
            bail!("{}", words.trim());
        }
        let verdict = words.lines().last().unwrap_or_default();
        Ok(verdict.to_owned())
    }
}
