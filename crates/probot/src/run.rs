//! From settings to running loops.

use std::sync::Arc;

use config::{Registries, Settings};
use model::HolderId;
use ports::{Clock, EmitterContext, PluginError, Store};
use telemetry::{Metrics, Readiness};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::mapping::{Mapper, PoolRule};
use crate::poll::{Polled, Poller};

/// Why probot cannot start.
#[derive(Debug)]
pub enum StartError {
    /// A plugin refuses its configuration.
    Plugin(PluginError),
    /// The configuration names a kind that this build does not have.
    Kind(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Plugin(_) => f.write_str("an emitter could not be made"),
            StartError::Kind(kind) => {
                write!(f, "there is no emitter plugin `{kind}` in this build")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Plugin(error) => Some(error),
            StartError::Kind(_) => None,
        }
    }
}

impl From<PluginError> for StartError {
    fn from(error: PluginError) -> Self {
        StartError::Plugin(error)
    }
}

/// All polling loops of one process.
pub struct Probot {
    /// The emitters to look at.
    pub emitters: Vec<Polled>,
    /// Where to write.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// This process, for leases.
    pub holder: HolderId,
}

impl Probot {
    /// Makes the emitters of a checked configuration.
    pub fn emitters(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Polled>, StartError> {
        let mut emitters = Vec::new();
        for (name, emitter) in &settings.emitters {
            let entry = registries.emitters.get(&emitter.kind);
            let entry = entry.ok_or_else(|| StartError::Kind(emitter.kind.clone()))?;
            let pools = settings.serves_of(name);
            if pools.is_empty() {
                info!(emitter = %name, "no pool uses this emitter: it is not looked at");
                continue;
            }
            let mut rules = Vec::new();
            for (pool, serves) in &pools {
                let precedence = settings.pools.get(pool).map_or(0, |pool| pool.precedence);
                let matcher = (entry.matcher)(serves)?;
                rules.push(PoolRule {
                    name: pool.clone(),
                    precedence,
                    matcher,
                });
            }
            let context = EmitterContext {
                name: name.clone(),
                fleet: settings.fleet.clone(),
                pools,
                probe_timeout: emitter.timeout,
                clock: clock.clone(),
            };
            emitters.push(Polled {
                name: name.clone(),
                emitter: (entry.emitter)(&emitter.config, &context)?,
                mapper: Mapper::new(
                    name.clone(),
                    settings.fleet.clone(),
                    settings.hash.clone(),
                    rules,
                ),
                every: emitter.every,
                timeout: emitter.timeout,
            });
        }
        Ok(emitters)
    }

    /// Looks at every emitter until `stop`, each in a loop of its own; then gives the leases back.
    pub async fn run(self, stop: CancellationToken) {
        let mut loops = JoinSet::new();
        for polled in self.emitters {
            let condition = self.readiness.condition(format!("emitter {}", polled.name));
            let poller = Poller::new(
                polled,
                self.store.clone(),
                self.clock.clone(),
                self.metrics.clone(),
                self.holder.clone(),
                condition,
            );
            loops.spawn(poller.run(stop.clone()));
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(failure) = ended {
                // a panic is a bug of ours; the other emitters go on, and readiness shows the silent one
                error!(error = %failure, "the loop of one emitter broke");
            }
        }
    }
}
