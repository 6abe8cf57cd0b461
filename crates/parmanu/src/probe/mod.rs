//! `parmanu probe EMITTER`: one look at one CI server, in words or as JSON. The first thing to run when a job does not start.
//!
//! It is the look that probot takes, by the same plugin and the same mapping, and nothing of it is written anywhere. What
//! it says of a job is what the pools say, in their order.

mod found;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use config::Settings;
use model::EmitterName;
use ports::{Clock, timeout};
use probot::{Polled, Probot};
use telemetry::{SystemClock, chain};

use found::Found;

/// What is looked at, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The emitter, as the configuration calls it.
    emitter: EmitterName,
    /// The configuration: a YAML file, or a directory of them.
    #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
    config: PathBuf,
    /// Tables for people, or everything as JSON.
    #[arg(long, default_value = "words")]
    output: Output,
    /// Jobs and executors that the tables show; JSON has all of them.
    #[arg(long, default_value_t = 40)]
    rows: usize,
    /// Only jobs whose id, name, project or labels contain this text.
    #[arg(long)]
    job: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Words,
    Json,
}

/// A look that did not see everything: its pools would grow, but not shrink.
const PARTIAL: u8 = 3;

/// Looks and prints. Exit code 0 for a whole look, 3 for a partial one, 1 for none.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = crate::usable(&arguments.config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let polled = polled(&settings, &clock, &arguments.emitter)?;
    let began = clock.boottime();
    let look = timeout(&*clock, polled.timeout, polled.emitter.probe()).await;
    let took = clock.boottime().saturating_sub(began);
    let snapshot = match look {
        Some(Ok(snapshot)) => snapshot,
        Some(Err(error)) => bail!("{}", chain(&error)),
        None => bail!(
            "no whole look at {} within {:?}, its `probe: {{ timeout: … }}`",
            arguments.emitter,
            polled.timeout
        ),
    };
    let mut found = Found::of(&snapshot, &polled, took, clock.now());
    if let Some(text) = &arguments.job {
        found.jobs.retain(|job| job.mentions(text));
    }
    match arguments.output {
        Output::Words => print!("{}", words::of(&found, arguments.rows)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&found)?),
    }
    Ok(match found.complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PARTIAL),
    })
}

fn polled(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    name: &EmitterName,
) -> anyhow::Result<Polled> {
    let found = Probot::emitter(settings, &service::registries(), clock, name, false)?;
    found.with_context(|| {
        let known = settings.emitters.keys().map(ToString::to_string);
        let known = known.collect::<Vec<_>>().join(", ");
        format!("the configuration has no emitter `{name}`; it has {known}")
    })
}
