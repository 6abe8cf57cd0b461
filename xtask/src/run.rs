//! `cargo xtask test`: the parts, the build, the tests, the table.
//!
//! Everything is built and tested with `--workspace`, because any narrower choice changes which
//! features are switched on and compiles half of the tree a second time; tests are chosen by the
//! runner's filters instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::command::{catch_interrupts, find, foreground, interrupted, line_of, now};
use crate::parts;
use crate::report::{Outcome, Report};
use crate::server::Server;

/// The variables that tests read. They are removed first, so that a variable left over in the
/// shell cannot point a test at somebody's real Redis.
const REDIS_URL: &str = "PARMANU_TEST_REDIS_URL";
const MOTO_URL: &str = "PARMANU_TEST_MOTO_URL";
const BIN_DIR: &str = "PARMANU_TEST_BIN_DIR";
const SKIPS: &str = "PARMANU_TEST_SKIPS";
const VARIABLES: [&str; 4] = [REDIS_URL, MOTO_URL, BIN_DIR, SKIPS];

/// Runs everything; true when nothing failed.
pub(crate) fn test(extended: bool, runner: &[String]) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    let redis = run.part("redis", || Server::redis(&parts::redis()?));
    let moto = run.part("moto", || Server::moto(&parts::moto()?));
    if let Some(server) = &redis {
        run.variables
            .push((REDIS_URL, format!("redis://{}/", server.address()).into()));
    }
    if let Some(server) = &moto {
        run.variables
            .push((MOTO_URL, format!("http://{}", server.address()).into()));
    }
    if run.build() {
        run.tests(runner);
    }
    run.extended(extended);
    drop((redis, moto));
    Ok(run.finish())
}

/// Where this program finds what it works on.
pub(crate) struct Places {
    cargo: PathBuf,
    /// The top of the repository.
    pub(crate) root: PathBuf,
    target: PathBuf,
}

impl Places {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = here
            .as_deref()
            .and_then(Path::parent)
            .context("please start this as `cargo xtask`")?
            .to_owned();
        // This program lies in target/debug, so its own place says where the others are built.
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        let target = program
            .ancestors()
            .nth(2)
            .context("not in a target folder")?
            .to_owned();
        Ok(Self {
            cargo,
            root,
            target,
        })
    }

    /// The folder of the built programs.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// Cargo, at the top of the repository, without what a shell may have left of earlier tests.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args(arguments).current_dir(&self.root);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }
}

struct Run {
    places: Places,
    skips: tempfile::NamedTempFile,
    variables: Vec<(&'static str, PathBuf)>,
    report: Report,
}

impl Run {
    fn new() -> anyhow::Result<Self> {
        let places = Places::find()?;
        let skips = tempfile::NamedTempFile::new().context("no temporary file")?;
        let variables = vec![
            (BIN_DIR, places.binaries()),
            (SKIPS, skips.path().to_owned()),
        ];
        Ok(Self {
            places,
            skips,
            variables,
            report: Report::default(),
        })
    }

    /// Makes one real part ready; a part that cannot be had is a line in the report, not the end.
    fn part(
        &mut self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<Server>,
    ) -> Option<Server> {
        let start = now();
        let made = if interrupted() {
            Err(anyhow::anyhow!("interrupted"))
        } else {
            make()
        };
        match made {
            Ok(server) => {
                let where_ = format!("on {}", server.address());
                self.report
                    .add(name, Outcome::Passed, Some(start.elapsed()), where_);
                Some(server)
            }
            Err(error) => {
                let why = format!("{error:#}");
                self.report
                    .add(name, Outcome::Missing, Some(start.elapsed()), why);
                None
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.places.cargo(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Binaries and tests in one go: built apart they would differ in features, and the tests
    /// would then meet other binaries than the ones that were built with them.
    fn build(&mut self) -> bool {
        let arguments = ["build", "--workspace", "--locked", "--bins", "--tests"];
        let command = self.cargo(&arguments);
        self.step("build", command, None)
    }

    fn tests(&mut self, runner: &[String]) {
        let words: Vec<&str> = runner.iter().map(String::as_str).collect();
        if find("cargo-nextest").is_some() {
            let common = [
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-tests=pass",
            ];
            // The runner keeps its files in the workspace, wherever the compiler keeps its own.
            let junit = self.places.root.join("target/nextest/default/junit.xml");
            let steps = [
                ("unit, property, conformance", "not package(tests)"),
                ("architecture, end to end", "package(tests)"),
            ];
            for (name, filter) in steps {
                let command = self.cargo(&[&common[..], &["-E", filter], &words].concat());
                self.step(name, command, Some(&junit));
            }
        } else {
            let common = [
                "test",
                "--workspace",
                "--locked",
                "--lib",
                "--bins",
                "--tests",
            ];
            let command = self.cargo(&[&common[..], &["--no-fail-fast", "--"], &words].concat());
            self.step("all tests (cargo-nextest is not installed)", command, None);
        }
        if words.is_empty() {
            let command = self.cargo(&["test", "--workspace", "--locked", "--doc"]);
            self.step("doc tests", command, None);
        }
        self.report.add_skips(self.skips.path());
    }

    fn extended(&mut self, asked: bool) {
        let (outcome, what) = if asked {
            (Outcome::Passed, "there are no slow parts yet")
        } else {
            (
                Outcome::NotAsked,
                "--extended adds the slow parts; there are none yet",
            )
        };
        self.report.add("extended", outcome, None, what);
    }

    /// Runs one step; `junit` is the file in which the runner counted its tests.
    fn step(&mut self, name: &str, mut command: Command, junit: Option<&Path>) -> bool {
        let line = line_of(&command);
        eprintln!("\n== {name}: {line}");
        if let Some(junit) = junit {
            // A count of the step before would be worse than none.
            let _ = std::fs::remove_file(junit);
        }
        let start = now();
        let (outcome, detail) = match foreground(&mut command) {
            Ok(status) if status.success() => {
                (Outcome::Passed, junit.and_then(counted).unwrap_or_default())
            }
            Ok(status) => {
                let count = junit
                    .and_then(counted)
                    .unwrap_or_else(|| status.to_string());
                (Outcome::Failed, format!("{count}; {line}"))
            }
            Err(error) => (Outcome::Failed, format!("{error:#}")),
        };
        let passed = outcome == Outcome::Passed;
        self.report
            .add(name, outcome, Some(start.elapsed()), detail);
        passed
    }

    fn finish(self) -> bool {
        let ci = is_ci(|name| std::env::var(name).ok());
        println!("\n{}", self.report.table());
        let good = self.report.is_good(ci) && !interrupted();
        println!(
            "{}",
            if good {
                "all that ran is good"
            } else {
                "NOT GOOD: see the table above"
            }
        );
        good
    }
}

fn is_ci(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name, value| variable(name).is_some_and(|found| found == value);
    is("PARMANU_CI", "1") || is("CI", "true")
}

/// "12 tests, 0 failed", from the root element of a JUnit file.
fn counted(junit: &Path) -> Option<String> {
    count_of(&std::fs::read_to_string(junit).ok()?)
}

fn count_of(text: &str) -> Option<String> {
    let root = text.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |key: &str| -> Option<u64> {
        let value = root.split_once(&format!("{key}=\""))?.1;
        value.split_once('"')?.0.parse().ok()
    };
    let failed = number("failures")? + number("errors")?;
    Some(format!("{} tests, {failed} failed", number("tests")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_tests_is_read_from_the_junit_file() {
        let text = r#"<?xml version="1.0"?><testsuites name="run" tests="12" failures="1" errors="2" uuid="x"><testsuite/>"#;
        assert_eq!(count_of(text).as_deref(), Some("12 tests, 3 failed"));
        assert_eq!(count_of("<html>"), None);
    }

    #[test]
    fn ci_is_known_by_either_variable() {
        let with = |name: &'static str, value: &'static str| {
            is_ci(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(with("PARMANU_CI", "1"));
        assert!(with("CI", "true"));
        assert!(!with("PARMANU_CI", "0"));
        assert!(!with("OTHER", "1"));
    }
}
