//! The `probot` binary: wiring. Everything else is in the library and in `service`.
#![forbid(unsafe_code)]

use clap::Parser;
use probot::{Hooks, Probot};
use service::{Defaults, Half};
use telemetry::logs::LogFormat;

/// Asks CI servers what they want done and writes each pool's workload into Redis.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    service: service::Arguments,
}

const DEFAULTS: Defaults = Defaults {
    name: "probot",
    half: Half::Probot,
    port: 9641,
    log_format: LogFormat::Json,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse().service;
    if arguments.health {
        return service::health(&arguments, DEFAULTS).await;
    }
    let (mut service, hooks) = Hooks::start(&arguments, DEFAULTS).await?;
    let redis = Some(service.redis()?);
    let store = plugins::store(redis, &service.settings.fleet, service.clock.clone())?;
    let probot = Probot::of(&service, store, Some(hooks))?;
    let (loops, changes) = probot.reconfigure(&service.settings);
    let runs = probot.run_with(service.stop.clone(), changes);
    tokio::join!(runs, service.reload_into(loops));
    service.finish().await
}
