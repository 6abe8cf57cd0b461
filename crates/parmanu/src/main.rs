//! `parmanu`, the operator's command.
//!
//! Each verb is a module; this file has the arguments only. What the services do is in the libraries `probot` and
//! `scaler`; here they are put together in one process (`up`, `demo`) or not started at all (`check`, `schema`).
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "this program talks to the person at the terminal"
)]

mod ask;
mod check;
mod demo;
mod doctor;
mod output;
mod plan;
mod probe;
mod reap;
mod simulate;
mod tables;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Scales fleets of build machines to the work that CI servers have for them.
#[derive(Parser)]
#[command(name = "parmanu", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Checks a configuration: every error at once, with its line. Exit code 0 when it can be used, 1 when not. Of several,
    /// each is a configuration of its own.
    Check {
        /// A YAML file, or a directory of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Treat warnings as errors.
        #[arg(long)]
        strict: bool,
        /// Text for people, or one JSON document for CI and editors (docs/configuration.md has its shape).
        #[arg(long, default_value = "words")]
        output: output::Output,
    },
    /// Prints what the next tick would do, in words, and does nothing of it: for a world from a file, or for the one
    /// that the store and the providers show now.
    Plan {
        /// The configuration: a YAML file, or a directory of them.
        #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
        config: PathBuf,
        /// A world in YAML, as docs/plan.md describes it; without it the real one is read.
        #[arg(long)]
        world: Option<PathBuf>,
    },
    /// Looks once at one CI server and says of each job which pool it goes to, and why. Needs no store, changes nothing.
    Probe(probe::Arguments),
    /// Lists every machine and executor of the fleet, why it is there, what is wrong with it and what to do. Looks by itself: it
    /// needs neither scaler nor store, and changes nothing.
    Doctor(doctor::Arguments),
    /// Deletes machines of a fleet that no scaler has wanted for a while and that are certainly idle. Needs no store; for cron.
    Reap(reap::Arguments),
    /// Shows the fleet as its scaler sees it.
    Status(ask::Status),
    /// Says why a pool, a job or a machine is as it is.
    Why(ask::Why),
    /// Keeps a pool as it is for a while: it neither grows nor shrinks.
    Pause(ask::Pause),
    /// Takes the pause of a pool back.
    Resume(ask::Resume),
    /// Gives a pool a size for a while, within its max, whatever its jobs and rules say. Ends no job.
    Pin(ask::Pin),
    /// Empties a machine, an image or a zone for a while. Ends no job.
    Drain(ask::Drain),
    /// Lets a changed configuration let many machines go; until then they stay. Ends no job.
    Confirm(ask::Confirm),
    /// Shows what operators ordered, or takes one order back.
    Overrides(ask::Overrides),
    /// Prints the completions of a shell, to be read by it at its start.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Plays a trace of jobs under a configuration in virtual time: waits, machine-hours and cost before paying.
    Simulate(simulate::Arguments),
    /// Prints the JSON Schema of the configuration, for editors.
    Schema,
    /// Runs probot and scaler in one process on an in-memory store: no Redis, no containers.
    Up(service::Arguments),
    /// Plays a GitLab and an EC2 on two ports, with people who push jobs and machines that run them, for a probot and a scaler
    /// that run elsewhere: docker-compose.demo.yml. Nothing real belongs there.
    World(demo::standing::Arguments),
    /// Shows the whole system at work, with no account anywhere: a fake CI server with a bursty queue, its real plugin
    /// and the real loops, a simulated cloud, faster than real time.
    Demo {
        /// The CI server that is played.
        #[arg(long, value_enum, default_value_t)]
        ci: demo::Platform,
        /// How long it runs, in real seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// How much faster than real time.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        speed: u32,
        /// Same seed, same jobs.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Plain lines instead of a live table, as without a terminal.
        #[arg(long)]
        plain: bool,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().verb {
        Verb::Check {
            files,
            strict,
            output,
        } => check::run(&files, strict, output),
        Verb::Plan { config, world } => until_told(plan::run(&config, world.as_deref())).await,
        Verb::Probe(arguments) => until_told(probe::run(&arguments)).await,
        Verb::Doctor(arguments) => until_told(doctor::run(&arguments)).await,
        Verb::Reap(arguments) => until_told(reap::run(&arguments)).await,
        Verb::Status(status) => until_told(status.run()).await,
        Verb::Why(why) => until_told(why.run()).await,
        Verb::Pause(pause) => until_told(pause.run()).await,
        Verb::Resume(resume) => until_told(resume.run()).await,
        Verb::Pin(pin) => until_told(pin.run()).await,
        Verb::Drain(drain) => until_told(drain.run()).await,
        Verb::Confirm(confirm) => until_told(confirm.run()).await,
        Verb::Overrides(overrides) => until_told(overrides.run()).await,
        Verb::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "parmanu", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Simulate(arguments) => until_told(aside(move || simulate::run(&arguments))).await,
        Verb::Schema => {
            let schema = config::schema(&service::registries());
            println!("{}", serde_json::to_string_pretty(&schema)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Up(arguments) => up::run(&arguments).await,
        Verb::World(arguments) => demo::standing::run(&arguments).await,
        Verb::Demo {
            ci,
            seconds,
            speed,
            seed,
            plain,
        } => {
            let length = std::time::Duration::from_secs(seconds);
            demo::run(demo::Options {
                ci,
                length,
                speed,
                seed,
                plain,
            })
            .await
        }
    }
}

/// What a shell reports of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// A verb that asks over the network, until Ctrl-C or SIGTERM. Not left to the kernel: the first process of a container, which this
/// is there, is not ended by a signal that it does not handle, and a `status --watch` would go on for ever.
async fn until_told(
    verb: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let told = telemetry::process::stop_signal()?;
    tokio::select! {
        done = verb => done,
        () = told => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// A verb that computes for long. On a thread of its own: one of the runtime's would be waited for at the end.
async fn aside(
    verb: impl FnOnce() -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    let (done, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("verb".to_owned());
    // nobody listens any more once Ctrl-C was pressed
    thread.spawn(move || drop(done.send(verb())))?;
    result
        .await
        .unwrap_or_else(|_| anyhow::bail!("it panicked; what it said stands above"))
}

/// The configuration, for a verb that looks at the real world with it.
fn usable(file: &std::path::Path) -> anyhow::Result<config::Settings> {
    match config::load(file, &service::registries()) {
        Ok((settings, _)) => Ok(settings),
        Err(config::LoadError::Invalid { report }) => {
            anyhow::bail!("the configuration cannot be used:\n{report}");
        }
        Err(error @ config::LoadError::Io { .. }) => Err(error.into()),
    }
}
