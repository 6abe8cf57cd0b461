//! `parmanu demo`: the whole system at work with no account anywhere.
//!
//! Real are the plugin of the CI server (over HTTP on loopback), the polling loop, the engine, the reconcile loop and the
//! configuration they are made from. Not real are the CI server, the cloud, the machines and the speed of time.

mod ci;
mod clock;
mod cloud;
mod show;
pub(crate) mod standing;
mod summary;
mod world;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
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

pub(crate) use ci::Platform;
use ci::Played;
use clock::FastClock;
use world::World;

/// How long a machine boots, in virtual time.
const BOOT: Duration = Duration::from_secs(45);

/// What the operator chose.
pub(crate) struct Options {
    /// The CI server that is played.
    pub(crate) ci: Platform,
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
fn configuration(played: &Played) -> String {
    let Played {
        emitter,
        serves: [linux, docker, gpu],
        ..
    } = played;
    format!(
        r#"
version: 1
fleet: demo
store: {{ kind: memory }}
emitters:
  ci: {{ {emitter}, probe: {{ every: 5s, timeout: 2m }} }}
providers:
  cloud: {{ kind: fake, boot: 45s, lag: 5s }}
machines:
  small:
    boot: {{ expect: 50s, timeout: 5m }}
    offers: [{{ provider: cloud, price: 0.10 }}]
  large:
    boot: {{ expect: 50s, timeout: 5m }}
    offers: [{{ provider: cloud, price: 0.40 }}]
pools:
  linux: {{ emitter: ci, serves: [{linux}], machine: small, min: 1, max: 20, rules: [soon] }}
  docker: {{ emitter: ci, serves: [{docker}], machine: small, max: 15, rules: [soon] }}
  gpu: {{ emitter: ci, serves: [{gpu}], machine: large, max: 6, rules: [soon] }}
rules:
  soon: {{ kind: scale-in, idle_for: 3m }}
"#
    )
}

/// All that runs.
struct Running {
    world: World,
    shown: watch::Receiver<FleetView>,
    stop: CancellationToken,
    services: tokio::task::JoinHandle<()>,
    playing: tokio::task::JoinHandle<()>,
    _server: fake_server::Server,
}

/// Starts both loops on the configuration, and the world that they serve.
fn start(played: Played, clock: &Arc<dyn Clock>, seed: u64) -> anyhow::Result<Running> {
    let registries = service::registries();
    let text = configuration(&played);
    let (mut settings, _) = config::check_text(&text, "demo.yaml", Path::new("."), &registries)?;
    // an operator's stands in a file; here a container may have none that can be written
    let script = config::Template {
        name: "agent.sh.j2".to_owned(),
        text: played.script.to_owned(),
        parts: BTreeMap::new(),
    };
    for pool in settings.pools.values_mut() {
        pool.bootstrap = Some(script.clone());
    }
    let cloud = FakeCloud::new(
        "cloud".parse()?,
        clock.clone(),
        provider_fake::Options {
            boot: BOOT,
            lag: Duration::from_secs(5),
            capacity: u32::MAX,
        },
    );
    let stop = CancellationToken::new();
    let (view, shown) = watch::channel(FleetView::default());
    let services = services(&settings, &registries, clock, &cloud, &stop, view)?;
    let world = World::new(played.ci, Arc::new(cloud), clock.clone(), seed);
    let playing = tokio::spawn(world.clone().play(stop.clone()));
    Ok(Running {
        world,
        shown,
        stop,
        services,
        playing,
        _server: played.server,
    })
}

impl Running {
    /// Stops everything. The machines stand still before anything else does, so that what is left is of one moment.
    async fn stop(self) -> anyhow::Result<World> {
        self.world.freeze();
        self.stop.cancel();
        self.services.await?;
        self.playing.await?;
        Ok(self.world)
    }
}

/// Runs the demo; returns after its length or Ctrl-C.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let fast = FastClock::new(options.speed);
    let clock: Arc<dyn Clock> = Arc::new(fast.clone());
    let played = options.ci.start(&clock).await?;
    let running = start(played, &clock, options.seed)?;
    let live = !options.plain && std::io::stdout().is_terminal();
    let showing = tokio::spawn(show::run(
        running.shown.clone(),
        running.world.clone(),
        clock.clone(),
        show::Style {
            live,
            title: options.ci.title(),
        },
        running.stop.clone(),
    ));

    let signal = process::stop_signal()?;
    tokio::select! {
        () = signal => {}
        () = fast.real_sleep(options.length) => {}
    }
    let world = running.stop().await?;
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
        places: Scaler::places(settings),
        controls: Scaler::controls(settings, registries, clock)?,
        settles: Scaler::settles(settings),
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

#[cfg(test)]
mod tests {
    use fake_gitlab::{GitLab, Scope};

    use super::ci::gitlab;
    use super::*;

    /// Waits until some pool says these words of itself.
    async fn says(shown: &mut watch::Receiver<FleetView>, words: &str) -> String {
        let said = |view: &FleetView| {
            let mut reasons = view.pools.iter().flat_map(|pool| &pool.reasons);
            reasons.find(|reason| reason.contains(words)).cloned()
        };
        let heard = async {
            let view = shown.wait_for(|view| said(view).is_some()).await.unwrap();
            said(&view).unwrap()
        };
        let limit = Duration::from_secs(60);
        let heard = tokio::time::timeout(limit, heard).await;
        heard.unwrap_or_else(|_| panic!("nobody said `{words}`"))
    }

    fn scopes(gitlab: &std::sync::Mutex<GitLab>, scopes: &[Scope]) {
        let mut gitlab = gitlab.lock().unwrap();
        gitlab.add_token(gitlab::ADMIN, gitlab::MANAGES, scopes);
    }

    /// Both loops over HTTP: a token that may only look makes the pools read-only, and says what it lacks; with its
    /// scopes again the machines leave.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_managing_token_that_may_only_read_makes_the_pools_read_only() {
        let clock: Arc<dyn Clock> = Arc::new(FastClock::new(60));
        let server = gitlab::server();
        let played = gitlab::start(server.clone(), &clock).await.unwrap();
        let running = start(played, &clock, 1).unwrap();
        let mut shown = running.shown.clone();
        says(&mut shown, "begins to leave: idle").await;

        scopes(&server, &[Scope::ReadApi]);
        let lacks = "`manage_token` lacks the scope create_runner and manage_runner";
        let said = says(&mut shown, "read-only for now").await;
        assert!(said.contains(lacks), "{said}");
        let said = says(&mut shown, "nothing can be created now").await;
        assert!(said.contains(lacks), "{said}");

        scopes(&server, &[Scope::Api]);
        says(&mut shown, "begins to leave: idle").await;
        says(&mut shown, "its deletion is asked for").await;
        let world = running.stop().await.unwrap();
        assert_eq!(world.ci().killed(), 0);
    }
}
