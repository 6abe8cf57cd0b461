//! `cargo xtask test`: the parts, the build, the tests, the table.
//!
//! Everything is built and tested with `--workspace`, because any narrower choice changes which
//! features are switched on and compiles half of the tree a second time; tests are chosen by the
//! runner's filters instead.

mod trials;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::command::{catch_interrupts, find, foreground, interrupted, line_of, now};
use crate::hypervisor::Hypervisor;
use crate::image::Image;
use crate::lab::Lab;
use crate::parts;
use crate::proxies::Proxies;
use crate::report::{Outcome, Report};
use crate::server::{Server, free_port};

pub(crate) use trials::{compiled_containers, containers, judges, manifests, quick_start};

/// The variables that tests read. They are removed first, so that a variable left over in the
/// shell cannot point a test at somebody's real Redis.
const REDIS_URL: &str = "PARMANU_TEST_REDIS_URL";
const MOTO_URL: &str = "PARMANU_TEST_MOTO_URL";
const BUILDBOT_URL: &str = "PARMANU_TEST_BUILDBOT_URL";
const BUILDBOT_MASTER: &str = "PARMANU_TEST_BUILDBOT_MASTER";
const BUILDBOT_WORKER: &str = "PARMANU_TEST_BUILDBOT_WORKER";
const LXD_SOCKET: &str = "PARMANU_TEST_LXD_SOCKET";
const LXD_URL: &str = "PARMANU_TEST_LXD_URL";
const LXD_CLIENT: &str = "PARMANU_TEST_LXD_CLIENT";
const LIBVIRT_URI: &str = "PARMANU_TEST_LIBVIRT_URI";
const LIBVIRT_GUEST: &str = "PARMANU_TEST_LIBVIRT_GUEST";
const LIBVIRT_FOLDER: &str = "PARMANU_TEST_LIBVIRT_FOLDER";
const MOTO_PROXY: &str = "PARMANU_TEST_MOTO_PROXY";
const LXD_PROXY: &str = "PARMANU_TEST_LXD_PROXY";
const PROXIES: &str = "PARMANU_TEST_PROXIES";
const BIN_DIR: &str = "PARMANU_TEST_BIN_DIR";
const SKIPS: &str = "PARMANU_TEST_SKIPS";
const VARIABLES: [&str; 16] = [
    REDIS_URL,
    MOTO_URL,
    BUILDBOT_URL,
    BUILDBOT_MASTER,
    BUILDBOT_WORKER,
    LXD_SOCKET,
    LXD_URL,
    LXD_CLIENT,
    LIBVIRT_URI,
    LIBVIRT_GUEST,
    LIBVIRT_FOLDER,
    MOTO_PROXY,
    LXD_PROXY,
    PROXIES,
    BIN_DIR,
    SKIPS,
];

/// How many cases of each property proptest tries: 256 unless it is set.
const CASES: &str = "PROPTEST_CASES";
/// What `--extended` asks for: minutes instead of seconds on two cores, and well within the time limit of one test.
const EXTENDED_CASES: &str = "5000";

/// Binaries and tests in one go: built apart they would differ in features, half of the tree would be compiled twice, and
/// the tests would meet other binaries than the ones that were built with them.
pub(crate) const BUILD: [&str; 5] = ["build", "--workspace", "--locked", "--bins", "--tests"];

/// A real part that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The store.
    Redis,
    /// EC2's API.
    Moto,
    /// A CI server.
    Buildbot,
    /// Machines that are containers.
    Lxd,
    /// Virtual machines.
    Virsh,
    /// Proxies that break things, before moto and LXD, which stand before this.
    Proxies,
}

/// What each run starts.
const EACH_RUN: [Part; 4] = [Part::Redis, Part::Moto, Part::Buildbot, Part::Lxd];

/// Runs everything; true when nothing failed.
pub(crate) fn test(extended: bool, runner: &[String]) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    for part in EACH_RUN {
        run.start(part);
    }
    if extended {
        run.start(Part::Virsh);
        run.start(Part::Proxies);
    }
    if extended && std::env::var_os(CASES).is_none() {
        run.set(CASES, EXTENDED_CASES);
    }
    let built = run.build();
    if built {
        run.tests(if extended { "extended" } else { "default" }, runner);
    }
    if built && extended && runner.is_empty() {
        run.lives();
    }
    run.started.clear();
    if built && runner.is_empty() {
        run.manifests();
        run.units();
        run.alerts();
        run.chain(Image::Small);
        if extended {
            run.chart();
            run.containers(None, None);
            run.quick_start(None);
            run.started_units(None);
            run.chain(Image::CloudInit);
            run.all_judges();
        }
    }
    if !extended {
        let what = "--extended adds virtual machines of libvirt, proxies that break things, the clients of Amazon and Google that judge our fakes, Helm, the images and the demo in a Docker engine, the quick start word for word, the units under systemd, the chain with Debian machines that run systemd and cloud-init, ten thousand simulated lives, and more cases of each property";
        run.report.add("extended", Outcome::NotAsked, None, what);
    }
    Ok(run.finish())
}

/// Starts some parts and runs one command with the variables that tests read; true when it ended well.
pub(crate) fn with(parts: &[Part], words: &[String]) -> anyhow::Result<bool> {
    catch_interrupts()?;
    let mut run = Run::new()?;
    for part in parts {
        if !run.start(*part) {
            println!("{}", run.report.table());
            bail!("not everything could be started");
        }
    }
    let (program, arguments) = words.split_first().context("name a command after `--`")?;
    let mut command = Command::new(program);
    command.args(arguments);
    without_variables(&mut command);
    command.envs(run.variables.iter().map(|(name, value)| (name, value)));
    let done = foreground(&mut command)?.success();
    let skipped = std::fs::read_to_string(run.skips.path()).unwrap_or_default();
    print!("{skipped}");
    Ok(done)
}

/// A Buildbot master for the tests, and what its workers need.
struct Master {
    server: Server,
    worker_port: u16,
    worker: PathBuf,
}

impl Master {
    fn start() -> anyhow::Result<Self> {
        let buildbot = parts::buildbot()?;
        let worker_port = free_port()?;
        Ok(Self {
            server: Server::buildbot(&buildbot.master, worker_port)?,
            worker_port,
            worker: buildbot.worker,
        })
    }
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
        without_variables(&mut command);
        command
    }
}

fn without_variables(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
}

struct Run {
    /// The guards of what was started; it is stopped when they go.
    started: Vec<Box<dyn Any>>,
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
            started: Vec::new(),
            places,
            skips,
            variables,
            report: Report::default(),
        })
    }

    fn set(&mut self, variable: &'static str, value: impl Into<PathBuf>) {
        self.variables.push((variable, value.into()));
    }

    fn variable(&self, name: &str) -> Option<PathBuf> {
        let mut set = self.variables.iter();
        set.find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }

    /// Starts a part and notes where tests find it; false when it is missing.
    fn start(&mut self, part: Part) -> bool {
        let on = |server: &Server| format!("on {}", server.address());
        match part {
            Part::Redis => {
                let redis = self.part("redis", || Server::redis(&parts::redis()?), on);
                self.keep(redis, |redis| {
                    vec![(REDIS_URL, format!("redis://{}/", redis.address()).into())]
                })
            }
            Part::Moto => {
                let moto = self.part("moto", || Server::moto(&parts::moto()?), on);
                self.keep(moto, |moto| {
                    vec![(MOTO_URL, format!("http://{}", moto.address()).into())]
                })
            }
            Part::Buildbot => {
                let master = self.part("buildbot", Master::start, |master| on(&master.server));
                self.keep(master, |master| {
                    let url = format!("http://{}", master.server.address());
                    let port = format!("127.0.0.1:{}", master.worker_port);
                    vec![
                        (BUILDBOT_URL, url.into()),
                        (BUILDBOT_MASTER, port.into()),
                        (BUILDBOT_WORKER, master.worker.clone()),
                    ]
                })
            }
            Part::Lxd => {
                let lab = self.part("lxd", Lab::start, |lab| format!("on {}", lab.url()));
                self.keep(lab, |lab| {
                    vec![
                        (LXD_SOCKET, lab.socket()),
                        (LXD_URL, lab.url().into()),
                        (LXD_CLIENT, lab.certificates()),
                    ]
                })
            }
            Part::Proxies => {
                let before = [MOTO_URL, LXD_URL, LXD_CLIENT].map(|name| self.variable(name));
                let started = self.part(
                    "proxies",
                    || match before {
                        [Some(moto), Some(lxd), Some(client)] => {
                            let text = |path: &Path| path.display().to_string();
                            Proxies::start(&text(&moto), &text(&lxd), &client)
                        }
                        _ => bail!("moto and LXD must run before"),
                    },
                    |proxies| format!("on {} and {}", proxies.moto(), proxies.lxd()),
                );
                self.keep(started, |proxies| {
                    vec![
                        (MOTO_PROXY, proxies.moto().into()),
                        (LXD_PROXY, proxies.lxd().into()),
                        (PROXIES, proxies.folder().to_owned()),
                    ]
                })
            }
            Part::Virsh => {
                let started = self.part("virsh", Hypervisor::start, Hypervisor::uri);
                self.keep(started, |hypervisor| {
                    vec![
                        (LIBVIRT_URI, hypervisor.uri().into()),
                        (LIBVIRT_GUEST, hypervisor.guest().to_owned()),
                        (LIBVIRT_FOLDER, hypervisor.folder().to_owned()),
                    ]
                })
            }
        }
    }

    fn keep<T: 'static>(
        &mut self,
        part: Option<T>,
        variables: impl FnOnce(&T) -> Vec<(&'static str, PathBuf)>,
    ) -> bool {
        let Some(part) = part else { return false };
        self.variables.extend(variables(&part));
        self.started.push(Box::new(part));
        true
    }

    /// Makes one real part ready; a part that cannot be had is a line in the report, not the end.
    fn part<T>(
        &mut self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<T>,
        where_: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let start = now();
        let made = if interrupted() {
            Err(anyhow::anyhow!("interrupted"))
        } else {
            make()
        };
        let (outcome, detail) = match &made {
            Ok(part) => (Outcome::Passed, where_(part)),
            Err(error) => (Outcome::Missing, format!("{error:#}")),
        };
        self.report
            .add(name, outcome, Some(start.elapsed()), detail);
        made.ok()
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.places.cargo(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn build(&mut self) -> bool {
        // a test reads the graph of all platforms and asks no registry; what is built here is that of one
        let fetch = self.cargo(&["fetch", "--locked"]);
        if !self.step("packages", fetch, None) {
            return false;
        }
        let command = self.cargo(&BUILD);
        self.step("build", command, None)
    }

    /// Thousands of simulated lives, for which the usual build is several times too slow.
    fn lives(&mut self) {
        if find("cargo-nextest").is_none() {
            return;
        }
        let words = [
            "nextest",
            "run",
            "--cargo-profile",
            "life",
            "--package",
            "scaler",
            "--no-default-features",
            "--test",
            "life",
            "--locked",
            "--profile",
            "extended",
            "--ignore-default-filter",
        ];
        let junit = self.places.root.join("target/nextest/extended/junit.xml");
        let command = self.cargo(&words);
        self.step("ten thousand lives", command, Some(&junit));
    }

    /// All tests, with this profile of the runner.
    fn tests(&mut self, profile: &str, runner: &[String]) {
        let words: Vec<&str> = runner.iter().map(String::as_str).collect();
        if find("cargo-nextest").is_some() {
            let common = [
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-tests=pass",
                "--profile",
                profile,
            ];
            // The runner keeps its files in the workspace, wherever the compiler keeps its own.
            let kept = format!("target/nextest/{profile}/junit.xml");
            let junit = self.places.root.join(kept);
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
