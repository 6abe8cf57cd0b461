//! From settings to running loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Registries, Settings};
use futures::StreamExt;
use futures::stream::BoxStream;
use model::{EmitterName, HolderId, JobRange};
use ports::{Clock, EmitterContext, PluginError, Store};
use service::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::hooks::Hooks;
use crate::mapping::{Mapper, PoolRule};
use crate::poll::{Polled, Poller};

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
    /// Hooks that this process takes, if it takes any.
    pub hooks: Option<Hooks>,
}

impl Probot {
    /// The loops of a started service.
    ///
    /// # Errors
    ///
    /// When a plugin refuses its configuration.
    pub fn of(
        service: &Service,
        store: Arc<dyn Store>,
        hooks: Option<Hooks>,
    ) -> Result<Self, PluginError> {
        Ok(Probot {
            emitters: Probot::emitters(&service.settings, &service.registries, &service.clock)?,
            store,
            clock: service.clock.clone(),
            metrics: service.metrics.clone(),
            readiness: service.readiness.clone(),
            holder: service.holder.clone(),
            hooks,
        })
    }

    /// Makes the emitters of a checked configuration that any pool uses.
    ///
    /// # Errors
    ///
    /// When a plugin refuses its configuration.
    pub fn emitters(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Polled>, PluginError> {
        let mut emitters = Vec::new();
        for name in settings.emitters.keys() {
            if settings.serves_of(name).is_empty() {
                info!(emitter = %name, "no pool uses this emitter: it is not looked at");
                continue;
            }
            emitters.extend(Probot::emitter(settings, registries, clock, name, true)?);
        }
        Ok(emitters)
    }

    /// Makes one emitter of a checked configuration, whether or not any pool uses it; `None` if it has none of this name.
    /// Without `upkeep` its looks only read ([`EmitterContext::upkeep`]).
    ///
    /// # Errors
    ///
    /// When the plugin refuses its configuration.
    pub fn emitter(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
        name: &EmitterName,
        upkeep: bool,
    ) -> Result<Option<Polled>, PluginError> {
        let Some(emitter) = settings.emitters.get(name) else {
            return Ok(None);
        };
        let entry = registries.emitters.require(&emitter.kind)?;
        let pools = settings.serves_of(name);
        let mut rules = Vec::new();
        for (pool, serves) in &pools {
            let known = settings.pools.get(pool);
            rules.push(PoolRule {
                name: pool.clone(),
                precedence: known.map_or(0, |pool| pool.precedence),
                job: known.map_or(JobRange::default(), |pool| pool.job),
                matcher: (entry.matcher)(serves)?,
            });
        }
        let context = EmitterContext {
            upkeep,
            name: name.clone(),
            fleet: settings.fleet.clone(),
            pools,
            probe_timeout: emitter.timeout,
            clock: clock.clone(),
        };
        let (fleet, config) = (settings.fleet.clone(), settings.hash.clone());
        Ok(Some(Polled {
            name: name.clone(),
            emitter: (entry.emitter)(&emitter.config, &context)?,
            mapper: Mapper::new(name.clone(), fleet, config, rules),
            every: emitter.every,
            timeout: emitter.timeout,
        }))
    }

    /// Looks at every emitter until `stop`, each in a loop of its own; then gives the leases back.
    pub async fn run(self, stop: CancellationToken) {
        let mut loops = JoinSet::new();
        let mut hints = BTreeMap::new();
        for polled in self.emitters {
            let hint = Arc::new(Notify::new());
            hints.insert(polled.name.clone(), hint.clone());
            let condition = self.readiness.condition(format!("emitter {}", polled.name));
            let poller = Poller::new(
                polled,
                self.store.clone(),
                self.clock.clone(),
                self.metrics.clone(),
                self.holder.clone(),
                condition,
                hint,
            );
            loops.spawn(poller.run(stop.clone()));
        }
        if let Some(hooks) = self.hooks {
            loops.spawn(hooks.pass_on(self.store.clone(), stop.clone()));
        }
        loops.spawn(listen(self.store.hints(), hints, stop));
        while let Some(ended) = loops.join_next().await {
            if let Err(failure) = ended {
                // a panic is a bug of ours; the other emitters go on, and readiness shows the silent one
                error!(error = %failure, "the loop of one emitter broke");
            }
        }
    }
}

/// Wakes the loop that each hint is about.
async fn listen(
    mut hints: BoxStream<'static, EmitterName>,
    pollers: BTreeMap<EmitterName, Arc<Notify>>,
    stop: CancellationToken,
) {
    loop {
        let hint = tokio::select! {
            () = stop.cancelled() => return,
            hint = hints.next() => hint,
        };
        if let Some(poller) = hint.and_then(|emitter| pollers.get(&emitter)) {
            poller.notify_one();
        }
    }
}
