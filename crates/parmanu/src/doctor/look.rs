//! One look at everything, each part bounded in time; what fails is kept as words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use config::{Settings, StoreSettings};
use futures::future::join_all;
use jiff::Timestamp;
use model::{EmitterName, FleetId, Listing, NameParts, Policy, PoolName, ProviderName, Snapshot};
use ports::{Clock, FleetRecord, Leftover, Provider, Store, timeout};
use probot::{Polled, Probot};
use scaler::{CiServers, Scaler};
use telemetry::chain;

/// Longest time one provider's listing may take: whoever asks at 3 a.m. waits for a slow cloud, but not for ever.
const LIST_LIMIT: Duration = Duration::from_secs(60);

/// Machines and executors of which the pools' records are read at most: a fleet has ten thousand.
const MOST_NAMED: usize = 100_000;

/// Everything that was seen.
pub(super) struct Seen {
    pub(super) fleet: FleetId,
    pub(super) at: Timestamp,
    pub(super) pools: BTreeMap<PoolName, Policy>,
    /// The configured providers, and where each stands.
    pub(super) places: BTreeMap<ProviderName, String>,
    pub(super) servers: CiServers,
    pub(super) listings: BTreeMap<ProviderName, Result<Listing, String>>,
    /// What outlived its machine.
    pub(super) leftovers: BTreeMap<ProviderName, Result<Vec<Leftover>, String>>,
    pub(super) looks: BTreeMap<EmitterName, Result<Snapshot, String>>,
    /// `None` where the store lives in another process and cannot be read from here.
    pub(super) record: Option<Result<FleetRecord, String>>,
}

impl Seen {
    /// Whether not one listing and not one look came.
    pub(super) fn saw_nothing(&self) -> bool {
        let listed = self.listings.values().any(Result::is_ok);
        !listed && !self.looks.values().any(Result::is_ok)
    }
}

/// Looks at providers, CI servers and the store at once.
pub(super) async fn look(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<Seen> {
    let registries = service::registries();
    let providers = Scaler::providers(settings, &registries, clock)?;
    let mut emitters = BTreeMap::new();
    for name in settings.emitters.keys() {
        // without upkeep: its look only reads
        if let Some(polled) = Probot::emitter(settings, &registries, clock, name, false)? {
            emitters.insert(name.clone(), polled);
        }
    }
    let listings = join_all(providers.into_iter().map(|(name, provider)| async move {
        let listing = list(&*provider, &settings.fleet, &**clock);
        let left = leftovers(&*provider, &settings.fleet, &**clock);
        let (listing, left) = tokio::join!(listing, left);
        ((name.clone(), listing), (name, left))
    }));
    let looks = join_all(emitters.into_iter().map(|(name, polled)| async move {
        let look = probe(&polled, &**clock).await;
        (name, look)
    }));
    let (listings, looks) = tokio::join!(listings, looks);
    let (listings, leftovers) = listings.into_iter().unzip();
    let looks = looks.into_iter().collect();
    let mut pools = named(&settings.fleet, &listings, &looks);
    pools.extend(settings.pools.keys().cloned());
    let record = read(settings, clock, pools).await;
    let emitters = settings.emitters.iter();
    let manages = emitters.filter(|(_, emitter)| emitter.facts.manages);
    let policy =
        |(name, pool): (&PoolName, &config::PoolSettings)| (name.clone(), pool.policy.clone());
    Ok(Seen {
        fleet: settings.fleet.clone(),
        at: clock.now(),
        pools: settings.pools.iter().map(policy).collect(),
        places: Scaler::places(settings),
        servers: CiServers {
            settles: Scaler::settles(settings),
            controlled: manages.map(|(name, _)| name.clone()).collect(),
        },
        listings,
        leftovers,
        looks,
        record,
    })
}

/// The pools that machines and executors of the fleet name, configured or not.
fn named(
    fleet: &FleetId,
    listings: &BTreeMap<ProviderName, Result<Listing, String>>,
    looks: &BTreeMap<EmitterName, Result<Snapshot, String>>,
) -> BTreeSet<PoolName> {
    let machines = listings
        .values()
        .flatten()
        .flat_map(|listing| &listing.instances);
    let machines = machines.map(|machine| machine.pool().clone());
    let executors = looks.values().flatten().flat_map(|look| &look.executors);
    let ours = executors.filter(|executor| executor.fleet.as_ref() == Some(fleet));
    let executors = ours.filter_map(|executor| NameParts::of(&executor.name)?.pool.parse().ok());
    // a name is anybody's to choose: of more than a fleet has nothing is read
    machines.chain(executors).take(MOST_NAMED).collect()
}

async fn list(
    provider: &dyn Provider,
    fleet: &FleetId,
    clock: &dyn Clock,
) -> Result<Listing, String> {
    match timeout(clock, LIST_LIMIT, provider.list(fleet)).await {
        Some(listing) => listing.map_err(|error| chain(&error).to_string()),
        None => Err(format!("no listing within {LIST_LIMIT:?}")),
    }
}

async fn leftovers(
    provider: &dyn Provider,
    fleet: &FleetId,
    clock: &dyn Clock,
) -> Result<Vec<Leftover>, String> {
    match timeout(clock, LIST_LIMIT, provider.leftovers(fleet)).await {
        Some(left) => left.map_err(|error| chain(&error).to_string()),
        None => Err(format!("no list within {LIST_LIMIT:?}")),
    }
}

async fn probe(polled: &Polled, clock: &dyn Clock) -> Result<Snapshot, String> {
    match timeout(clock, polled.timeout, polled.emitter.probe()).await {
        Some(look) => look.map_err(|error| chain(&error).to_string()),
        None => Err(format!("no look within {:?}", polled.timeout)),
    }
}

async fn read(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    pools: BTreeSet<PoolName>,
) -> Option<Result<FleetRecord, String>> {
    let StoreSettings::Redis(address) = &settings.store else {
        return None;
    };
    let store: Arc<dyn Store> = match plugins::store(Some(address), &settings.fleet, clock.clone())
    {
        Ok(store) => store,
        Err(error) => return Some(Err(format!("{error:#}"))),
    };
    let pools: Vec<PoolName> = pools.into_iter().collect();
    let emitters: Vec<EmitterName> = settings.emitters.keys().cloned().collect();
    let record = store.read(&pools, &emitters).await;
    Some(record.map_err(|error| chain(&error).to_string()))
}
