//! From settings to a running scaler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use config::{Registries, Settings, Template};
use model::{
    ConfigHash, EmitterName, FleetId, FleetPolicy, HolderId, InstallationId, OfferId, Policy,
    PoolName, ProviderName,
};
use ports::{
    Clock, EmitterContext, ExecutorControl, PluginError, Provider, ProviderContext, Store,
};
use serde_json::Value;
use service::Service;
use telemetry::{Metrics, Readiness};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::api::Api;
use crate::consoles::Told;
use crate::installation::Installation;
use crate::lease::Keeper;
use crate::ledger::Ledger;
use crate::lister::{Listers, Listings, Retiring};
use crate::names::Names;
use crate::orphans::Orphans;
use crate::tick::Ticker;
use crate::view::FleetView;

/// How often things are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Length of the lease; extended three times within it. After a crash the next scaler waits for it; a call goes on
    /// only as long as it is extended.
    pub lease: Duration,
    /// The slow sweep: a tick happens at least this often, whatever hints are lost.
    pub sweep: Duration,
    /// Time between two listings of one provider.
    pub list_every: Duration,
    /// Longest time one listing may take.
    pub list_limit: Duration,
    /// How soon a store that is away is asked again.
    pub store_retry: Duration,
    /// How long a stopping scaler waits for what is in flight, and keeps its lease meanwhile: a call that hangs delays a planned
    /// take-over by as much. Not less: a call must be over before another scaler acts, and one that is cut off here may still
    /// be carried out there.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            lease: Duration::from_secs(5),
            sweep: Duration::from_secs(5),
            list_every: Duration::from_secs(10),
            list_limit: Duration::from_secs(30),
            store_retry: Duration::from_millis(500),
            grace: Duration::from_secs(5),
        }
    }
}

/// One pool with what carrying its plans out needs.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What the engine needs to know.
    pub policy: Policy,
    /// The provider's own keys of each offer.
    pub offers: BTreeMap<OfferId, Value>,
    /// Its boot script, if it has one.
    pub bootstrap: Option<Template>,
}

/// A scaler ready to run.
pub struct Scaler {
    /// Owner id.
    pub id: FleetId,
    /// Mark of this installation on its machines.
    pub installation: InstallationId,
    /// The configuration in force.
    pub config: ConfigHash,
    /// The pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// What the pools share.
    pub limits: FleetPolicy,
    /// The cloud accounts.
    pub providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// Where each of them stands, in words.
    pub places: BTreeMap<ProviderName, String>,
    /// The control halves of the CI servers that give the right to it.
    pub controls: BTreeMap<EmitterName, Arc<dyn ExecutorControl>>,
    /// Longest time each CI server may take to hand out a job it promised.
    pub settles: BTreeMap<EmitterName, Duration>,
    /// Where workloads are read and intents written.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// This process, for the lease.
    pub holder: HolderId,
    /// How often things are done.
    pub timing: Timing,
}

/// What of a scaler a configuration decides. All of it is replaced at once.
pub struct Parts {
    /// Which configuration it is.
    pub config: ConfigHash,
    /// The pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// What the pools share.
    pub limits: FleetPolicy,
    /// The cloud accounts.
    pub providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// Where each of them stands, in words.
    pub places: BTreeMap<ProviderName, String>,
    /// The control halves of the CI servers that give the right to it.
    pub controls: BTreeMap<EmitterName, Arc<dyn ExecutorControl>>,
    /// Longest time each CI server may take to hand out a job it promised.
    pub settles: BTreeMap<EmitterName, Duration>,
}

impl Parts {
    fn emitters(&self) -> BTreeSet<EmitterName> {
        let pools = self.pools.values();
        pools
            .filter_map(|pool| pool.policy.emitter.clone())
            .collect()
    }
}

/// What ticks and actions share. An action goes on with the one it began with.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) id: FleetId,
    pub(crate) installation: InstallationId,
    pub(crate) emitters: BTreeSet<EmitterName>,
    /// What the configuration in force says.
    pub(crate) parts: Arc<Parts>,
    /// Providers of earlier configurations whose machines have not left yet.
    pub(crate) retiring: Arc<Retiring>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) timing: Timing,
    pub(crate) listings: Listings,
    pub(crate) ledger: Ledger,
    pub(crate) names: Names,
    pub(crate) told: Told,
}

impl std::ops::Deref for Fleet {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Fleet {
    /// A provider that is listed, of this configuration or of an earlier one.
    pub(crate) fn provider(&self, name: &ProviderName) -> Option<&Arc<dyn Provider>> {
        let configured = self.providers.get(name);
        configured.or_else(|| self.retiring.get(name).map(|retiring| &retiring.provider))
    }

    /// Each provider that is listed, and where it stands; empty where nobody says it.
    pub(crate) fn stands_at(&self) -> BTreeMap<ProviderName, String> {
        let at = |name: &ProviderName| self.places.get(name).cloned().unwrap_or_default();
        let configured = self.providers.keys().map(|name| (name.clone(), at(name)));
        let retiring = self.retiring.iter();
        let retiring = retiring.map(|(name, it)| (name.clone(), it.place.clone()));
        configured.chain(retiring).collect()
    }

    /// The same fleet under another configuration: what was begun and what was learned is the same.
    pub(crate) fn with(&self, parts: Arc<Parts>) -> Self {
        Fleet {
            emitters: parts.emitters(),
            parts,
            ..self.clone()
        }
    }
}

impl Scaler {
    /// The scaler of a started service.
    ///
    /// # Errors
    ///
    /// When a plugin refuses its configuration.
    pub fn of(
        service: &Service,
        store: Arc<dyn Store>,
        installation: InstallationId,
    ) -> Result<Self, PluginError> {
        let (settings, registries, clock) =
            (&service.settings, &service.registries, &service.clock);
        Ok(Scaler {
            id: settings.fleet.clone(),
            installation,
            config: settings.hash.clone(),
            pools: Scaler::pools(settings),
            limits: settings.limits.clone(),
            providers: Scaler::providers(settings, registries, clock)?,
            places: Scaler::places(settings),
            controls: Scaler::controls(settings, registries, clock)?,
            settles: Scaler::settles(settings),
            store,
            clock: clock.clone(),
            metrics: service.metrics.clone(),
            readiness: service.readiness.clone(),
            holder: service.holder.clone(),
            timing: Timing::default(),
        })
    }

    /// The pools of a checked configuration.
    pub fn pools(settings: &Settings) -> BTreeMap<PoolName, Pool> {
        let pool = |(name, pool): (&PoolName, &config::PoolSettings)| {
            let offers = pool.offers.clone();
            let bootstrap = pool.bootstrap.clone();
            (
                name.clone(),
                Pool {
                    policy: pool.policy.clone(),
                    offers,
                    bootstrap,
                },
            )
        };
        settings.pools.iter().map(pool).collect()
    }

    /// How long each CI server of a checked configuration may take to hand out what it promised.
    pub fn settles(settings: &Settings) -> BTreeMap<EmitterName, Duration> {
        let emitters = settings.emitters.iter();
        let settle = emitters.map(|(name, emitter)| (name.clone(), emitter.facts.settle));
        settle.collect()
    }

    /// Makes the providers of a checked configuration.
    pub fn providers(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
    ) -> Result<BTreeMap<ProviderName, Arc<dyn Provider>>, PluginError> {
        let mut providers = BTreeMap::new();
        for (name, provider) in &settings.providers {
            let entry = registries.providers.require(&provider.kind)?;
            let context = ProviderContext {
                name: name.clone(),
                clock: clock.clone(),
            };
            providers.insert(name.clone(), (entry.provider)(&provider.config, &context)?);
        }
        Ok(providers)
    }

    /// Where each provider of a checked configuration stands.
    pub fn places(settings: &Settings) -> BTreeMap<ProviderName, String> {
        let providers = settings.providers.iter();
        let place = providers.map(|(name, provider)| (name.clone(), provider.place.clone()));
        place.collect()
    }

    /// Makes the control halves of a checked configuration.
    pub fn controls(
        settings: &Settings,
        registries: &Registries,
        clock: &Arc<dyn Clock>,
    ) -> Result<BTreeMap<EmitterName, Arc<dyn ExecutorControl>>, PluginError> {
        let mut controls = BTreeMap::new();
        for (name, emitter) in &settings.emitters {
            let entry = registries.emitters.require(&emitter.kind)?;
            let context = EmitterContext {
                upkeep: true,
                name: name.clone(),
                fleet: settings.fleet.clone(),
                pools: settings.serves_of(name),
                probe_timeout: emitter.timeout,
                clock: clock.clone(),
            };
            let made = (entry.control)(&emitter.config, &context)?;
            controls.extend(made.map(|control| (name.clone(), control)));
        }
        Ok(controls)
    }

    /// As [`Scaler::run_with`], with nobody to show anything to.
    pub async fn run(self, stop: CancellationToken, view: watch::Sender<FleetView>) {
        self.run_with(stop, view, None).await;
    }

    /// As [`Scaler::run_reloadable`], with a configuration that stays.
    pub async fn run_with(
        self,
        stop: CancellationToken,
        view: watch::Sender<FleetView>,
        api: Option<Api>,
    ) {
        let (_keep, changes) = watch::channel(None);
        self.run_reloadable(stop, view, api, changes).await;
    }

    /// Runs until `stop`; then finishes or hands over what is in flight and gives the lease back. Nothing is ever
    /// deleted because a scaler stops or starts. `view` gets the pools as of each tick, and `api` shows them. What `changes`
    /// brings is in force from the next tick on.
    pub async fn run_reloadable(
        self,
        stop: CancellationToken,
        view: watch::Sender<FleetView>,
        api: Option<Api>,
        changes: watch::Receiver<Option<Arc<Parts>>>,
    ) {
        if let Some(api) = &api {
            api.attach(&self.store, &self.holder);
        }
        self.metrics.scaler.watches(&engine::invariants::IDS);
        let listings = Listings::default();
        let installation =
            Installation::new(self.store.clone(), self.clock.clone(), self.holder.clone());
        let mut listers = Listers {
            fleet: self.id.clone(),
            clock: self.clock.clone(),
            timing: self.timing,
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            listings: listings.clone(),
            installation: Arc::new(installation),
            stop: stop.clone(),
            running: BTreeMap::new(),
            retiring: Retiring::new(),
            places: BTreeMap::new(),
            loops: JoinSet::new(),
        };
        listers.follow(&self.providers, &self.places);
        let (term, term_seen) = watch::channel(None);
        let (fenced, freed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let keeper = Arc::new(Keeper {
            store: self.store.clone(),
            clock: self.clock.clone(),
            holder: self.holder.clone(),
            timing: self.timing,
            listings: listings.clone(),
            metrics: self.metrics.clone(),
            condition: self.readiness.condition("lease"),
            term,
            fenced: fenced.clone(),
            freed: freed.clone(),
            api: api.clone(),
        });
        // the keeper outlives the ticks, so that the last actions still have their lease
        let keep = CancellationToken::new();
        // in a set, which ends with this future: a dropped scaler must not extend its lease for ever
        let mut keeping = JoinSet::new();
        keeping.spawn({
            let (keeper, keep) = (keeper.clone(), keep.clone());
            async move { keeper.run(keep).await }
        });
        let mut ticker = self.ticker(listers, term_seen, (fenced, freed), (view, changes));
        if let Some(api) = &api {
            api.tells(ticker.fleet.told.clone());
        }
        ticker.api = api;
        let grace = ticker.fleet.timing.grace;
        ticker.run(stop, grace).await;
        keep.cancel();
        while let Some(ended) = keeping.join_next().await {
            if let Err(failure) = ended {
                error!(error = %failure, "the lease loop broke");
            }
        }
        keeper.release().await;
    }

    fn ticker(
        self,
        listers: Listers,
        term: watch::Receiver<Option<crate::lease::Term>>,
        (fenced, freed): (Arc<Notify>, Arc<Notify>),
        (view, changes): (
            watch::Sender<FleetView>,
            watch::Receiver<Option<Arc<Parts>>>,
        ),
    ) -> Ticker {
        let condition = self.readiness.condition("store");
        let parts = Parts {
            config: self.config,
            pools: self.pools,
            limits: self.limits,
            providers: self.providers,
            places: self.places,
            controls: self.controls,
            settles: self.settles,
        };
        let fleet = Arc::new(Fleet {
            id: self.id,
            installation: self.installation,
            emitters: parts.emitters(),
            parts: Arc::new(parts),
            retiring: Arc::default(),
            store: self.store,
            clock: self.clock,
            metrics: self.metrics,
            timing: self.timing,
            listings: listers.listings.clone(),
            ledger: Ledger::default(),
            names: Names::default(),
            told: Told::default(),
        });
        Ticker {
            fleet,
            term,
            fenced,
            freed,
            condition,
            view,
            sequences: BTreeMap::new(),
            epoch: None,
            essences: BTreeMap::new(),
            actions: JoinSet::new(),
            acting: crate::acting::Acting::default(),
            permits: crate::permits::Permits::default(),
            said: String::new(),
            meter: crate::measure::Meter::default(),
            stages: crate::stages::Stages::default(),
            rival: None,
            sign: None,
            orphans: Orphans::default(),
            said_of_orphans: String::new(),
            held: crate::held::Held::default(),
            unseen: crate::unseen::Unseen::default(),
            unreadable: BTreeMap::new(),
            api: None,
            overlooked: None,
            changes,
            listers,
        }
    }
}
