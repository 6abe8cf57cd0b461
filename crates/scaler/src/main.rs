//! The `scaler` binary: wiring. Everything else is in the library and in `service`.
#![forbid(unsafe_code)]

use clap::Parser;
use scaler::{Api, FleetView, Scaler};
use service::{Defaults, Half};
use telemetry::logs::LogFormat;
use tokio::sync::watch;

/// Reads workloads from Redis, decides by the rules of the configuration, and creates and deletes machines.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    service: service::Arguments,
}

const DEFAULTS: Defaults = Defaults {
    name: "scaler",
    half: Half::Scaler,
    port: 9642,
    log_format: LogFormat::Json,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse().service;
    if arguments.health {
        return service::health(&arguments, DEFAULTS).await;
    }
    let (mut service, api) = Api::start(&arguments, DEFAULTS).await?;
    let redis = Some(service.redis()?);
    let store = plugins::store(redis, &service.settings.fleet, service.clock.clone())?;
    let scaler = Scaler::of(&service, store, plugins::installation(redis))?;
    let (view, _) = watch::channel(FleetView::default());
    let (loops, changes) = scaler.reconfigure(&service.settings, Some(api.clone()));
    let runs = scaler.run_reloadable(service.stop.clone(), view, Some(api), changes);
    tokio::join!(runs, service.reload_into(loops));
    service.finish().await
}
