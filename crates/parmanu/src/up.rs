//! `parmanu up`: both loops in one process on an in-memory store.

use std::process::ExitCode;

use anyhow::Context as _;
use config::{Registries, Settings};
use ports::PluginError;
use probot::{Hooks, Probot};
use scaler::{Api, FleetView, Scaler};
use service::{Arguments, Configured, Defaults, Half, Service};
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
    let loops = Loops {
        probot: probot_loops,
        scaler: scaler_loop,
    };
    tokio::join!(
        probot.run_with(stop.clone(), emitters),
        scaler.run_reloadable(stop, view, Some(api), parts),
        service.reload_into(loops)
    );
    service.finish().await?;
    Ok(ExitCode::SUCCESS)
}

/// Both loops, which take a new configuration together or not at all.
struct Loops {
    probot: probot::Reconfigure,
    scaler: scaler::Reconfigure,
}

impl Configured for Loops {
    fn configure(
        &mut self,
        settings: &Settings,
        registries: &Registries,
    ) -> Result<(), PluginError> {
        let emitters = self.probot.made(settings, registries)?;
        let parts = self.scaler.made(settings, registries)?;
        self.probot.take(settings, emitters);
        self.scaler.take(settings, parts);
        Ok(())
    }

    fn stale(&mut self, why: Option<&str>) {
        self.scaler.say_stale(why);
    }
}
