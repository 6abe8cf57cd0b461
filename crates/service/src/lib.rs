//! What the mains of the services share: arguments, the checked configuration, health endpoints, the signal to stop, and
//! the configuration read again when it changes (`reload.rs`).
//!
//! It exists so that `probot`, `scaler` and `parmanu up` start and stop alike. It knows no loop; a main makes its loops
//! from a [`Service`], runs them until [`Service::stop`] and calls [`Service::finish`].
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use config::{Registries, Settings, StoreSettings};
use model::HolderId;
use ports::{Clock, StoreAddress};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use telemetry::logs::{self, LogFormat};
use telemetry::{Metrics, Readiness, SystemClock, http, process};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

mod again;
mod health;
mod reload;

pub use again::{Pauses, caught};
pub use health::{answers, health};
pub use reload::{Configured, NeedsRestart, Reloads};
pub use telemetry::metrics::Service as Half;

/// What every service is told at its start.
#[derive(Debug, Clone, clap::Args)]
// without this clap would name the group as the struct that takes it in, and refuse two of one name
#[group(skip)]
pub struct Arguments {
    /// The configuration: a YAML file, or a directory of them.
    #[arg(long, env = "PARMANU_CONFIG", default_value = "parmanu.yaml")]
    pub config: PathBuf,
    /// Where /healthz, /readyz and /metrics are served; 127.0.0.1:9641 for probot, else 127.0.0.1:9642.
    #[arg(long, env = "PARMANU_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// json or human; json for the services, human for `parmanu up`.
    #[arg(long, env = "PARMANU_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Asks the one that runs here whether it is alive, and ends: 0 if so, else 1. For images without a client.
    #[arg(long)]
    pub health: bool,
}

impl Arguments {
    /// Where the endpoints are.
    fn listen(&self, defaults: Defaults) -> SocketAddr {
        self.listen
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, defaults.port)))
    }
}

/// What a service uses where the arguments say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Its name in the log.
    pub name: &'static str,
    /// Which metrics it has.
    pub half: Half,
    /// Port on loopback.
    pub port: u16,
    /// How it logs.
    pub log_format: LogFormat,
}

/// What a service's own routes are made from.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The configuration in force.
    pub settings: &'a Settings,
    /// What is counted.
    pub metrics: &'a Arc<Metrics>,
    /// Time.
    pub clock: &'a Arc<dyn Clock>,
}

/// A service that has its configuration and answers on its endpoints.
pub struct Service {
    /// The configuration in force.
    pub settings: Settings,
    /// The plugins of this build.
    pub registries: Registries,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// This process, for leases.
    pub holder: HolderId,
    /// Cancelled on SIGTERM or Ctrl-C.
    pub stop: CancellationToken,
    /// Where the configuration is read again.
    pub reloads: Reloads,
    name: &'static str,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Service {
    /// Sets up the log, reads the configuration, and answers on the endpoints from now on.
    ///
    /// # Errors
    ///
    /// A configuration that cannot be used, with everything that is wrong with it; an address that is taken.
    pub async fn start(arguments: &Arguments, defaults: Defaults) -> anyhow::Result<Self> {
        Service::start_with(arguments, defaults, |_| Router::new()).await
    }

    /// The same with routes of the service's own beside the usual endpoints.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub async fn start_with(
        arguments: &Arguments,
        defaults: Defaults,
        routes: impl FnOnce(Base<'_>) -> Router,
    ) -> anyhow::Result<Self> {
        logs::init(arguments.log_format.unwrap_or(defaults.log_format), None)?;
        let registries = registries();
        let (settings, report) = config::load(&arguments.config, &registries)?;
        for warning in &report.0 {
            warn!(warning = %warning.message, file = %warning.file, "configuration");
        }
        let listen = arguments.listen(defaults);
        let listener = http::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let signal = process::stop_signal().context("cannot listen for signals")?;
        let hangup = process::reload_signal().context("cannot listen for signals")?;
        let metrics = Arc::new(Metrics::new(defaults.half));
        let readiness = Readiness::default();
        let stop = CancellationToken::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let own = routes(Base {
            settings: &settings,
            metrics: &metrics,
            clock: &clock,
        });
        let router = http::router(metrics.clone(), readiness.clone()).merge(own);
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(http::serve(listener, router, stopped));
        let stopping = stop.clone();
        tokio::spawn(async move {
            signal.await;
            info!("asked to stop");
            stopping.cancel();
        });
        let (fleet, config) = (&settings.fleet, &settings.hash);
        info!(service = defaults.name, %fleet, %config, %listen, "starts");
        Ok(Service {
            settings,
            registries,
            clock,
            metrics,
            readiness,
            holder: HolderId::new(process::identity()),
            stop,
            reloads: Reloads::new(arguments.config.clone(), hangup),
            name: defaults.name,
            serving,
        })
    }

    /// The address of the Redis that two services share.
    ///
    /// # Errors
    ///
    /// When the configuration says that the store is in one process.
    pub fn redis(&self) -> anyhow::Result<&StoreAddress> {
        match &self.settings.store {
            StoreSettings::Redis(address) => Ok(address),
            StoreSettings::Memory => anyhow::bail!(
                "store kind memory lives in one process: use `parmanu up`, or give both services one Redis"
            ),
        }
    }

    /// Stops the endpoints, after the loops have ended.
    ///
    /// # Errors
    ///
    /// When the endpoints broke before.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.serving.await??;
        info!(service = self.name, "stopped");
        Ok(())
    }
}

/// Whether somebody said the secret that is expected. Takes as long for a wrong one as for the right one: digests have one
/// length, so that none is told by the time.
pub fn is_secret(given: &[u8], expected: &[u8]) -> bool {
    let digest = |text: &[u8]| -> [u8; 32] { Sha256::digest(text).into() };
    digest(given).ct_eq(&digest(expected)).into()
}

/// The plugins of this build.
pub fn registries() -> Registries {
    Registries {
        emitters: plugins::emitters(),
        providers: plugins::providers(),
    }
}
