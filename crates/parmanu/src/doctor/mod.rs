//! `parmanu doctor`: every machine and executor of the fleet, why it is there, what is wrong with it, what to do.
//!
//! It looks by itself, with the configuration: the providers' listings, the CI servers' executors, and the store if it can
//! be read. So it works while scaler and Redis are away, which is when it is needed. It changes nothing.
//!
//! - `look.rs` looks; `examine.rs`, `executors.rs` and `former.rs` say what is wrong: pure; `report.rs` is what comes of it;
//! - `words.rs` prints it.

mod examine;
mod executors;
mod former;
mod look;
mod report;
#[cfg(test)]
mod tests;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use ports::Clock;
use telemetry::SystemClock;

/// What is looked at, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration: a YAML file, or a directory of them.
    #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
    config: PathBuf,
    /// Tables for people, or everything as JSON.
    #[arg(long, default_value = "words")]
    output: Output,
    /// Only what is wrong; JSON has everything.
    #[arg(long)]
    only_problems: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Words,
    Json,
}

/// Something is wrong.
const WRONG: u8 = 3;
/// Nothing that was seen is wrong, and not everything was seen.
const UNSEEN: u8 = 4;

/// Exit code 0 when all is well, 3 when something is wrong, 4 when nothing is but not everything could be seen, 1 when
/// nothing could be seen at all.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = crate::usable(&arguments.config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let seen = look::look(&settings, &clock).await?;
    let report = examine::examine(&seen);
    match arguments.output {
        Output::Words => print!("{}", words::of(&report, arguments.only_problems)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    if seen.saw_nothing() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(match (report.wrong(), report.not_seen.is_empty()) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(UNSEEN),
        _ => ExitCode::from(WRONG),
    })
}
