//! `parmanu up`: both loops in one process on an in-memory store.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use model::HolderId;
use ports::Clock;
use probot::Probot;
use scaler::{FleetView, Scaler, Timing};
use telemetry::logs::{self, LogFormat};
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness, SystemClock, http, process};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Runs until SIGTERM or Ctrl-C.
pub(crate) async fn run(
    file: &Path,
    listen: SocketAddr,
    format: LogFormat,
) -> anyhow::Result<ExitCode> {
    logs::init(format, None)?;
    let registries = crate::registries();
    let (settings, report) = config::load(file, &registries)?;
    for warning in &report.0 {
        tracing::warn!(message = %warning.message, file = %warning.file, "configuration");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = plugins::store(None, &settings.fleet, clock.clone())?;
    let metrics = Arc::new(Metrics::new(Service::Both));
    let readiness = Readiness::default();
    let holder = HolderId::new(process::identity());
    let probot = Probot {
        emitters: Probot::emitters(&settings, &registries, &clock)?,
        store: store.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        holder: holder.clone(),
    };
    let scaler = Scaler {
        id: settings.fleet.clone(),
        installation: plugins::installation(None),
        config: settings.hash.clone(),
        pools: Scaler::pools(&settings),
        providers: Scaler::providers(&settings, &registries, &clock)?,
        controls: Scaler::controls(&settings, &registries, &clock)?,
        store,
        clock,
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        holder,
        timing: Timing::default(),
    };
    let signal = process::stop_signal().context("cannot listen for signals")?;
    let listener = http::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    info!(fleet = %settings.fleet, config = %settings.hash, %listen, "up: probot and scaler in one process");
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let serving = tokio::spawn(http::serve(
        listener,
        http::router(metrics, readiness),
        stopped,
    ));
    let stopping = stop.clone();
    tokio::spawn(async move {
        signal.await;
        info!("asked to stop");
        stopping.cancel();
    });
    let (view, _) = watch::channel(FleetView::default());
    tokio::join!(probot.run(stop.clone()), scaler.run(stop.clone(), view));
    serving.await??;
    Ok(ExitCode::SUCCESS)
}
