//! `parmanu demo`: the whole system at work with no account anywhere.
//!
//! Real are the GitLab plugin (over HTTP on loopback), the polling loop, the engine, the reconcile loop and the
//! configuration they are made from. Not real are the CI server, the cloud, the machines and the speed of time.

mod clock;
mod show;
mod summary;
mod world;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use model::HolderId;
use ports::Clock;
use probot::Probot;
use provider_fake::FakeCloud;
use scaler::{FleetView, Scaler, Timing};
use telemetry::metrics::Service;
use telemetry::{Metrics, Readiness, process};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use clock::FastClock;
use world::World;

/// What the operator chose.
pub(crate) struct Options {
    /// How long it runs, in real time.
    pub(crate) length: Duration,
    /// How much faster than real time.
    pub(crate) speed: u32,
    /// Seed of the jobs.
    pub(crate) seed: u64,
    /// No live table.
    pub(crate) plain: bool,
}

/// The demo's configuration, as an operator would write it. Times are virtual.
fn configuration(gitlab: &str) -> String {
    format!(
        r#"
version: 1
fleet: demo
store: {{ kind: memory }}
emitters:
  gitlab:
    kind: gitlab
    url: {gitlab}
    token: {token}
    manage_token: {token}
    scope: {{ instance: true }}
    settle: 60s
    probe: {{ every: 5s, timeout: 2m }}
providers:
  cloud: {{ kind: fake, boot: 45s, lag: 5s }}
machines:
  small:
    bootstrap: runner.sh.j2
    boot: {{ expect: 50s, timeout: 5m }}
    offers: [{{ provider: cloud, price: 0.10 }}]
  large:
    bootstrap: runner.sh.j2
    boot: {{ expect: 50s, timeout: 5m }}
    offers: [{{ provider: cloud, price: 0.40 }}]
pools:
  linux: {{ emitter: gitlab, serves: [{{ tags: [linux], run_untagged: true }}], machine: small, min: 1, max: 20, rules: [soon] }}
  docker: {{ emitter: gitlab, serves: [{{ tags: [linux, docker] }}], machine: small, max: 15, rules: [soon] }}
  gpu: {{ emitter: gitlab, serves: [{{ tags: [gpu] }}], machine: large, max: 6, rules: [soon] }}
rules:
  soon: {{ kind: scale-in, idle_for: 3m }}
"#,
        token = world::TOKEN,
    )
}

/// Runs the demo; returns after its length or Ctrl-C.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let fast = FastClock::new(options.speed);
    let clock: Arc<dyn Clock> = Arc::new(fast.clone());
    let gitlab = world::gitlab();
    let server = fake_gitlab::Server::start(gitlab.clone(), {
        let clock = clock.clone();
        move || clock.now()
    })
    .await?;
    // the template stands in a file, as an operator's would
    let folder = world::template_folder()?;
    let registries = service::registries();
    let text = configuration(&server.url());
    let (settings, _) = config::check_text(&text, "demo.yaml", folder.path(), &registries)?;
    let cloud = FakeCloud::new(
        "cloud".parse()?,
        clock.clone(),
        provider_fake::Options {
            boot: Duration::from_secs(45),
            lag: Duration::from_secs(5),
            capacity: u32::MAX,
        },
    );
    let stop = CancellationToken::new();
    let (view, shown) = watch::channel(FleetView::default());
    let services = services(&settings, &registries, &clock, &cloud, &stop, view)?;
    let world = World::new(gitlab, cloud, clock.clone(), options.seed);
    let playing = tokio::spawn(world.clone().play(stop.clone()));
    let live = !options.plain && std::io::stdout().is_terminal();
    let showing = tokio::spawn(show::run(
        shown,
        world.clone(),
        clock.clone(),
        live,
        stop.clone(),
    ));

    let signal = process::stop_signal()?;
    tokio::select! {
        () = signal => {}
        () = fast.real_sleep(options.length) => {}
    }
    // the machines stand still before anything else does, so that the summary is of one moment
    world.freeze();
    stop.cancel();
    services.await?;
    playing.await?;
    showing.await?;
    let summary = summary::Summary::of(&world, clock.now());
    println!("{summary}");
    Ok(if summary.killed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn services(
    settings: &config::Settings,
    registries: &config::Registries,
    clock: &Arc<dyn Clock>,
    cloud: &FakeCloud,
    stop: &CancellationToken,
    view: watch::Sender<FleetView>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let store = plugins::store(None, &settings.fleet, clock.clone())?;
    let metrics = Arc::new(Metrics::new(Service::Both));
    let readiness = Readiness::default();
    let holder = HolderId::new(process::identity());
    let probot = Probot {
        emitters: Probot::emitters(settings, registries, clock)?,
        store: store.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        holder: holder.clone(),
        hooks: None,
    };
    let simulated: Arc<dyn ports::Provider> = Arc::new(cloud.clone());
    let providers = [("cloud".parse()?, simulated)].into();
    let scaler = Scaler {
        id: settings.fleet.clone(),
        installation: plugins::installation(None),
        config: settings.hash.clone(),
        pools: Scaler::pools(settings),
        limits: settings.limits.clone(),
        providers,
        controls: Scaler::controls(settings, registries, clock)?,
        store,
        clock: clock.clone(),
        metrics,
        readiness,
        holder,
        // the wall's seconds are few here: everything that waits for a reply gets more of the demo's
        timing: Timing {
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            ..Timing::default()
        },
    };
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        tokio::join!(probot.run(stop.clone()), scaler.run(stop, view));
    }))
}
