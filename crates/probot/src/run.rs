//! From settings to running loops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::{Registries, Settings};
use futures::StreamExt;
use futures::stream::BoxStream;
use model::{EmitterName, HolderId, JobRange};
use ports::{Clock, EmitterContext, PluginError, Store};
use service::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::hooks::Hooks;
use crate::mapping::{Mapper, PoolRule};
use crate::poll::{Polled, Poller};

/// All polling loops of one process.
pub struct Probot {
    /// The emitters to look at.
    pub emitters: Vec<Arc<Polled>>,
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

    /// Makes the emitters of a checked configuration, also those that no pool uses any more: a pool that was removed may have
    /// left executors there, and machines that leave only when somebody tells what runs on them.
    ///
    /// # Errors
    ///
    /// When a plugin refuses its configuration.
    pub fn emitters(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Arc<Polled>>, PluginError> {
        let mut emitters = Vec::new();
        for name in settings.emitters.keys() {
            let made = Probot::emitter(settings, registries, clock, name, true)?;
            emitters.extend(made.map(Arc::new));
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

    /// As [`Probot::run_with`], with a configuration that stays.
    pub async fn run(self, stop: CancellationToken) {
        let (_keep, changes) = watch::channel(Vec::new());
        self.run_with(stop, changes).await;
    }

    /// Looks at every emitter until `stop`, each in a loop of its own; then gives the leases back. What `changes` brings takes
    /// the place of the emitters before: a loop goes on with it after its turn and keeps its lease, its pace and what it
    /// learned; one whose emitter is gone ends.
    pub async fn run_with(
        self,
        stop: CancellationToken,
        mut changes: watch::Receiver<Vec<Arc<Polled>>>,
    ) {
        let mut pollers = Pollers {
            store: self.store.clone(),
            clock: self.clock,
            metrics: self.metrics,
            readiness: self.readiness,
            holder: self.holder,
            running: BTreeMap::new(),
            hints: Arc::default(),
            loops: JoinSet::new(),
        };
        pollers.follow(self.emitters, &stop);
        let mut others = JoinSet::new();
        if let Some(hooks) = self.hooks {
            others.spawn(hooks.pass_on(self.store.clone(), stop.clone()));
        }
        let heard = pollers.hints.clone();
        others.spawn(listen(self.store.hints(), heard, stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = changes.changed() => {
                    let emitters = changes.borrow_and_update().clone();
                    pollers.follow(emitters, &stop);
                }
                Some(ended) = pollers.loops.join_next() => pollers.ended(ended),
                Some(ended) = others.join_next() => note(ended),
                else => break,
            }
        }
        stop.cancelled().await;
        while let Some(ended) = pollers.loops.join_next().await {
            note(ended.map(drop));
        }
        while let Some(ended) = others.join_next().await {
            note(ended);
        }
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(failure) = ended {
        // a panic is a bug of ours; the other emitters go on, and readiness shows the silent one
        error!(error = %failure, "the loop of one emitter broke");
    }
}

fn condition_of(emitter: &EmitterName) -> String {
    format!("emitter {emitter}")
}

/// The hint of each emitter that is looked at.
type Hints = Arc<Mutex<BTreeMap<EmitterName, Arc<Notify>>>>;

/// The loops that run, one for each emitter.
struct Pollers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    holder: HolderId,
    running: BTreeMap<EmitterName, Running>,
    hints: Hints,
    loops: JoinSet<EmitterName>,
}

/// One loop: how it is told of another configuration, and how it ends.
struct Running {
    polled: watch::Sender<Arc<Polled>>,
    stop: CancellationToken,
}

impl Pollers {
    /// Lets these emitters be looked at and no others.
    fn follow(&mut self, emitters: Vec<Arc<Polled>>, stop: &CancellationToken) {
        let names: BTreeSet<EmitterName> = emitters.iter().map(|it| it.name.clone()).collect();
        self.running.retain(|name, running| {
            let stays = names.contains(name);
            if !stays {
                info!(emitter = %name, "this emitter is no longer looked at");
                running.stop.cancel();
            }
            stays
        });
        self.hints().retain(|name, _| names.contains(name));
        for polled in emitters {
            let name = polled.name.clone();
            if let Some(running) = self.running.get(&name) {
                running.polled.send_replace(polled);
                continue;
            }
            let hint = Arc::new(Notify::new());
            self.hints().insert(name.clone(), hint.clone());
            let (sender, changes) = watch::channel(polled);
            let poller = Poller::new(
                changes,
                self.store.clone(),
                self.clock.clone(),
                self.metrics.clone(),
                self.holder.clone(),
                self.readiness.condition(condition_of(&name)),
                hint,
            );
            let own = stop.child_token();
            let (ends, of) = (own.clone(), name.clone());
            self.loops.spawn(async move {
                poller.run(ends).await;
                of
            });
            let running = Running {
                polled: sender,
                stop: own,
            };
            self.running.insert(name, running);
        }
    }

    /// A loop has ended. What it said of its emitter is forgotten, unless that came back meanwhile.
    fn ended(&self, ended: Result<EmitterName, JoinError>) {
        if let Ok(name) = &ended
            && !self.running.contains_key(name)
        {
            self.readiness.forget(&condition_of(name));
        }
        note(ended.map(drop));
    }

    fn hints(&self) -> MutexGuard<'_, BTreeMap<EmitterName, Arc<Notify>>> {
        lock(&self.hints)
    }
}

fn lock(hints: &Hints) -> MutexGuard<'_, BTreeMap<EmitterName, Arc<Notify>>> {
    // each change is whole, so a panic of another thread left nothing half done
    hints.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the loop that each hint is about.
async fn listen(
    mut hints: BoxStream<'static, EmitterName>,
    pollers: Hints,
    stop: CancellationToken,
) {
    loop {
        let hint = tokio::select! {
            () = stop.cancelled() => return,
            hint = hints.next() => hint,
        };
        if let Some(poller) = hint.and_then(|emitter| lock(&pollers).get(&emitter).cloned()) {
            poller.notify_one();
        }
    }
}
