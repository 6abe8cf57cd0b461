//! `parmanu up`: both loops in one process on an in-memory store.

use std::process::ExitCode;

use probot::{Hooks, Probot};
use scaler::{FleetView, Scaler};
use service::{Arguments, Defaults, Half};
use telemetry::logs::LogFormat;
use tokio::sync::watch;

const DEFAULTS: Defaults = Defaults {
    name: "up",
    half: Half::Both,
    port: 9642,
    log_format: LogFormat::Human,
};

/// Runs until SIGTERM or Ctrl-C.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (service, hooks) = Hooks::start(arguments, DEFAULTS).await?;
    let store = plugins::store(None, &service.settings.fleet, service.clock.clone())?;
    let probot = Probot::of(&service, store.clone(), Some(hooks))?;
    let scaler = Scaler::of(&service, store, plugins::installation(None))?;
    let (view, _) = watch::channel(FleetView::default());
    let stop = service.stop.clone();
    tokio::join!(probot.run(stop.clone()), scaler.run(stop, view));
    service.finish().await?;
    Ok(ExitCode::SUCCESS)
}
