//! `cargo xtask`: finds, installs and starts the real parts the tests need, and runs the tests.
//!
//! It exists so that one command works on a fresh Debian machine with nothing but the Rust
//! toolchain and the package registries. It does not know what any test does: it hands the tests
//! the addresses of the parts by environment variables and reports what ran.
//!
//! | variable | holds |
//! |---|---|
//! | `PARMANU_TEST_REDIS_URL` | a Redis of this run only, `redis://127.0.0.1:PORT/` |
//! | `PARMANU_TEST_MOTO_URL` | a moto server of this run only, `http://127.0.0.1:PORT` |
//! | `PARMANU_TEST_BUILDBOT_URL` | a Buildbot master of this run only, `http://127.0.0.1:PORT` |
//! | `PARMANU_TEST_BUILDBOT_MASTER` | where its workers connect, `127.0.0.1:PORT` |
//! | `PARMANU_TEST_BUILDBOT_WORKER` | a folder with the Python packages of a worker |
//! | `PARMANU_TEST_LXD_SOCKET` | the socket of an LXD of this run only, with an image `small` |
//! | `PARMANU_TEST_LXD_URL` | the same over HTTPS |
//! | `PARMANU_TEST_LXD_CLIENT` | a folder with `client.crt`, `client.key` and the daemon's `server.crt` |
//! | `PARMANU_TEST_LIBVIRT_URI` | a libvirt of this run only, with `--extended` |
//! | `PARMANU_TEST_LIBVIRT_GUEST` | a folder with the `kernel` and `initrd` of a small guest |
//! | `PARMANU_TEST_LIBVIRT_FOLDER` | a folder for disks, which goes with that libvirt |
//! | `PARMANU_TEST_MOTO_PROXY` | mitmproxy before moto, in the extended run |
//! | `PARMANU_TEST_LXD_PROXY` | mitmproxy before LXD, over HTTPS |
//! | `PARMANU_TEST_PROXIES` | the folder with what the two are told to break, and with the certificate they show |
//! | `PARMANU_TEST_BIN_DIR` | the folder with the freshly built `probot`, `scaler`, `parmanu` |
//! | `PARMANU_TEST_SKIPS` | a file; a test that lacks a part appends `name<TAB>why` to it |
//!
//! With `PARMANU_CI=1` (or `CI=true`) a part that is missing and a test that skipped are failures.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program talks to the person at the terminal"
)]

mod alerts;
mod cell;
mod chain;
mod command;
mod containers;
mod hypervisor;
mod image;
mod judge;
mod lab;
mod manifests;
mod parts;
mod proxies;
mod quick_start;
mod report;
mod run;
mod server;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Parmanu repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs or finds the real parts, starts them, runs every test and says what ran.
    Test {
        /// Also the slow parts.
        #[arg(long)]
        extended: bool,
        /// What follows `--` goes to the test runner, for example a name to filter by.
        #[arg(last = true)]
        runner: Vec<String>,
    },
    /// Lets the clients of Amazon and Google judge our fakes of their clouds, as `test --extended` does.
    Judge {
        /// Which; all without any.
        #[arg(value_enum)]
        judges: Vec<judge::Judge>,
    },
    /// Holds the manifests of deploy/kubernetes against the schemas of Kubernetes and against what Helm makes of the chart, and the
    /// units of deploy/systemd against systemd.
    Manifests {
        /// Renders them anew first, after a change of the chart. Needs Python 3.12 or later.
        #[arg(long)]
        write: bool,
    },
    /// Starts some of the real parts and runs a command with the variables above, for example
    /// `cargo xtask with lxd -- cargo test -p provider-lxd`.
    With {
        /// What to start.
        #[arg(value_enum, required = true)]
        parts: Vec<run::Part>,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// A real CI server has builds and no worker: watch them being served by real machines, while everything is lost
    /// once. Installs Buildbot, LXD and Redis where they are missing; needs root.
    Chain {
        /// What the machines are made from.
        #[arg(long, value_enum, default_value_t = image::Image::Small)]
        image: image::Image,
        /// How often; stops at the first promise that is not kept.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// Builds the two services only, and without the clouds' SDKs.
        #[arg(long)]
        lean: bool,
    },
    /// The images of the Dockerfile and the demo of docker-compose in a real engine: built, run, killed, cut off. And the units of
    /// deploy/systemd, started in a machine of LXD. Installs Docker and LXD where they are missing; needs root.
    Containers {
        /// A folder with `probot`, `scaler` (with the clouds' SDKs) and `parmanu`, instead of building them.
        #[arg(long)]
        binaries: Option<std::path::PathBuf>,
        /// Compiles the images by the Dockerfile itself, optimised, and runs those: 8 GB of memory and about 40 minutes on two cores.
        #[arg(long, conflicts_with = "binaries")]
        compile: bool,
        /// A folder where that engine's files stay; the next compilation with it takes minutes.
        #[arg(long, requires = "compile")]
        keep: Option<std::path::PathBuf>,
    },
    /// The part of `containers --compile` that runs in namespaces of its own.
    #[command(hide = true)]
    InsideTheCompilation(containers::compile::Scene),
    /// docs/quick-start.md word for word, in an empty home: on a GitLab that is played and moto, with the real Docker engine, Compose,
    /// Redis and `aws`. Installs them where they are missing; needs root. Only what is committed is tried.
    QuickStart {
        /// A folder with `probot`, `scaler` and `parmanu` (both with the clouds' SDKs), instead of building them.
        #[arg(long)]
        binaries: Option<std::path::PathBuf>,
    },
    /// The part of `quick-start` that runs in namespaces of its own.
    #[command(hide = true)]
    InsideTheQuickStart(quick_start::Scene),
    /// The part of `containers` that runs in namespaces of its own.
    #[command(hide = true)]
    InsideTheContainers(containers::Scene),
    /// The part of `chain` that runs in namespaces of its own.
    #[command(hide = true)]
    InsideTheChain(chain::Scene),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.task {
        Task::Test { extended, runner } => run::test(*extended, runner),
        Task::Judge { judges } => run::judges(judges),
        Task::Manifests { write } => run::manifests(*write),
        Task::With { parts, command } => run::with(parts, command),
        Task::Chain { image, times, lean } => chain::chain(*image, *times, *lean),
        Task::Containers {
            compile: true,
            keep,
            ..
        } => run::compiled_containers(keep.as_deref()),
        Task::Containers { binaries, .. } => run::containers(binaries.as_deref()),
        Task::InsideTheCompilation(scene) => containers::compile::inside(scene),
        Task::QuickStart { binaries } => run::quick_start(binaries.as_deref()),
        Task::InsideTheQuickStart(scene) => quick_start::inside(scene),
        Task::InsideTheContainers(scene) => containers::inside(scene),
        Task::InsideTheChain(scene) => chain::inside(scene),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
