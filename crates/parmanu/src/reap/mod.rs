//! `parmanu reap --fleet F`: deletes machines that nobody has wanted for a while, and whose builds are done.
//!
//! The last line against machines that are forgotten: it needs no store and no running scaler, and may run from cron
//! anywhere. While a scaler lives it finds nothing to do, since that renews each machine's mark. It believes less than a
//! scaler, never more: what has no mark, what cannot be read and what has a job stays and is named.
//!
//! - `due.rs` says which machines are past their time, from one listing: pure;
//! - `proof.rs` says on what a deletion may rest;
//! - `reaper.rs` takes them from the cordon to the deletion;
//! - `server.rs` is a CI server as far as that needs one;
//! - `report.rs` and `words.rs` are what is printed.

mod due;
mod proof;
mod reaper;
mod report;
mod server;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use config::Settings;
use model::{EmitterName, Epoch, FleetId, ProviderName};
use ports::Clock;
use ports::units::Span;
use probot::Probot;
use scaler::Scaler;
use telemetry::SystemClock;

use due::Order;
use reaper::Reaper;
use server::Server;

/// What is reaped, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The fleet whose machines are meant; it need not be the one of the configuration.
    #[arg(long)]
    fleet: FleetId,
    /// The configuration, for its providers and emitters: a YAML file, or a directory of them.
    #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
    config: PathBuf,
    /// Only machines of this provider.
    #[arg(long)]
    provider: Option<ProviderName>,
    /// How long a machine's mark must have been over.
    #[arg(long, default_value = "1h")]
    grace: Span,
    /// Also machines that carry no mark at all and are older than this. Never while the mark of any machine of the fleet
    /// lies ahead. On a provider that keeps no such mark this takes the idle machines of a fleet that is alive.
    #[arg(long)]
    without_mark_older_than: Option<Span>,
    /// Cordons nothing, reads nothing, and deletes what is past its time. RUNNING BUILDS ARE KILLED.
    #[arg(long)]
    even_if_busy: bool,
    /// Reads only, and says what would be done.
    #[arg(long)]
    dry_run: bool,
    /// A table for people, or everything as JSON.
    #[arg(long, default_value = "words")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Words,
    Json,
}

/// Something stayed that is past its time, or could not be seen.
const STAYED: u8 = 3;

/// Reaps and prints. Exit code 0 when nothing is left to do, 3 when something stayed, 1 when nothing could be done at all.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut settings = crate::usable(&arguments.config)?;
    if settings.fleet != arguments.fleet {
        // what the pools of one fleet are says nothing of another's, even where they have the same names
        settings.pools.clear();
        settings.fleet = arguments.fleet.clone();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let report = reaper(arguments, &settings, clock)?.run().await;
    match arguments.output {
        Output::Words => print!("{}", words::of(&report)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    if report.saw_nothing() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(match report.is_done() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(STAYED),
    })
}

fn reaper(
    arguments: &Arguments,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Reaper> {
    let registries = service::registries();
    let mut providers = Scaler::providers(settings, &registries, &clock)?;
    if let Some(only) = &arguments.provider {
        let known = settings.providers.keys().map(ToString::to_string);
        let known = known.collect::<Vec<_>>().join(", ");
        let found = providers.remove(only);
        let found = found.with_context(|| {
            format!("the configuration has no provider `{only}`; it has {known}")
        })?;
        providers = [(only.clone(), found)].into();
    }
    let policies = settings.pools.iter();
    let now = clock.now();
    Ok(Reaper {
        order: Order {
            fleet: arguments.fleet.clone(),
            grace: arguments.grace.0,
            unmarked: arguments.without_mark_older_than.map(|span| span.0),
            even_if_busy: arguments.even_if_busy,
            dry_run: arguments.dry_run,
        },
        servers: servers(settings, &clock)?,
        pools: policies
            .map(|(name, pool)| (name.clone(), pool.policy.clone()))
            .collect(),
        // as a scaler's epochs, which are milliseconds too: no other run has the same
        epoch: Epoch(u64::try_from(now.as_millisecond()).unwrap_or_default()),
        providers,
        clock,
    })
}

fn servers(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<BTreeMap<EmitterName, Server>> {
    let registries = service::registries();
    let mut controls = Scaler::controls(settings, &registries, clock)?;
    let mut servers = BTreeMap::new();
    for (name, emitter) in &settings.emitters {
        let Some(polled) = Probot::emitter(settings, &registries, clock, name, false)? else {
            continue;
        };
        let server = Server {
            emitter: polled.emitter,
            control: controls.remove(name),
            settle: emitter.facts.settle,
            timeout: polled.timeout,
            clock: clock.clone(),
        };
        servers.insert(name.clone(), server);
    }
    Ok(servers)
}
