//! `parmanu up`: both loops in one process on an in-memory store.

use std::process::ExitCode;

use anyhow::Context as _;
use probot::{Hooks, Probot};
use scaler::{Api, FleetView, Scaler};
use service::{Arguments, Defaults, Half, Service};
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
    if arguments.health {
        return service::health(arguments, DEFAULTS)
            .await
            .map(|()| ExitCode::SUCCESS);
    }
    let mut shown = None;
    let mut service = Service::start_with(arguments, DEFAULTS, |base| {
        let api = Api::of(base.settings, base.clock.clone());
        let hooks = Hooks::of(base.settings, base.metrics.clone(), base.clock.clone());
        let routes = hooks.routes().merge(api.routes());
        shown = Some((hooks, api));
        routes
    })
    .await?;
    let (hooks, api) = shown.context("the routes of a service are made once")?;
    let store = plugins::store(None, &service.settings.fleet, service.clock.clone())?;
    let probot = Probot::of(&service, store.clone(), Some(hooks))?;
    let scaler = Scaler::of(&service, store, plugins::installation(None))?;
    let (view, _) = watch::channel(FleetView::default());
    let stop = service.stop.clone();
    let (probot_loops, emitters) = probot.reconfigure(&service.settings);
    let (scaler_loop, parts) = scaler.reconfigure(&service.settings, Some(api.clone()));
    tokio::join!(
        probot.run_with(stop.clone(), emitters),
        scaler.run_reloadable(stop, view, Some(api), parts),
        service.reload_into((probot_loops, scaler_loop))
    );
    service.finish().await?;
    Ok(ExitCode::SUCCESS)
}
