//! The `scaler` binary: arguments, wiring, signals. Everything else is in the library.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use config::{Registries, StoreSettings};
use model::HolderId;
use ports::Clock;
use scaler::{FleetView, Scaler, Timing};
use telemetry::logs::LogFormat;
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness, SystemClock, http, logs, process};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Reads workloads from Redis, decides by the rules of the configuration, and creates and deletes machines.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration: a YAML file, or a directory of them.
    #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
    config: PathBuf,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "PARMANU_LISTEN", default_value = "127.0.0.1:9642")]
    listen: SocketAddr,
    /// json or human.
    #[arg(long, env = "PARMANU_LOG_FORMAT", default_value = "json")]
    log_format: LogFormat,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logs::init(arguments.log_format, None)?;
    let registries = Registries {
        emitters: plugins::emitters(),
        providers: plugins::providers(),
    };
    let (settings, report) = config::load(&arguments.config, &registries)?;
    for warning in &report.0 {
        tracing::warn!(message = %warning.message, file = %warning.file, "configuration");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = match &settings.store {
        StoreSettings::Redis { url } => url,
        StoreSettings::Memory => anyhow::bail!(
            "store kind memory lives in one process: use `parmanu up`, or give both services one Redis"
        ),
    };
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let signal = process::stop_signal().context("cannot listen for signals")?;
    let metrics = Arc::new(Metrics::new(Service::Scaler));
    let readiness = Readiness::default();
    let scaler = Scaler {
        id: settings.fleet.clone(),
        installation: plugins::installation(Some(url)),
        config: settings.hash.clone(),
        pools: Scaler::pools(&settings),
        providers: Scaler::providers(&settings, &registries, &clock)?,
        controls: Scaler::controls(&settings, &registries, &clock)?,
        store: plugins::store(Some(url), &settings.fleet, clock.clone())?,
        clock,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        holder: HolderId::new(process::identity()),
        timing: Timing::default(),
    };
    let listener = http::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    info!(fleet = %settings.fleet, config = %settings.hash, listen = %arguments.listen, "scaler starts");
    let served = http::serve(
        listener,
        http::router(metrics, readiness),
        stop.clone().cancelled_owned(),
    );
    let serving = tokio::spawn(served);
    tokio::spawn(async move {
        signal.await;
        info!("asked to stop");
        stopping.cancel();
    });
    let (view, _) = watch::channel(FleetView::default());
    scaler.run(stop.clone(), view).await;
    stop.cancel();
    serving.await??;
    info!("scaler stopped");
    Ok(())
}
