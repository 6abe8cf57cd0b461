//! The world as it is: what the store holds and the providers list, read and not touched.
//!
//! What is handed out here cannot act: [`ReadOnly`] keeps the provider to itself and can do nothing but list, and of
//! the store only its `read` is called.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use config::{Settings, StoreSettings};
use engine::{FleetObservation, PoolSeen};
use jiff::Timestamp;
use model::{Epoch, FleetId, Instance, Listing, Overrides, PoolName, ProviderName, Seen};
use ports::{Clock, FleetRecord, Provider, Store, timeout};
use telemetry::{SystemClock, chain};

/// Longest time one provider's listing may take.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// A provider that can be listed and nothing else.
struct ReadOnly(Arc<dyn Provider>);

impl ReadOnly {
    async fn list(
        &self,
        clock: &dyn Clock,
        fleet: &FleetId,
        now: Timestamp,
    ) -> Seen<Vec<Instance>> {
        match timeout(clock, LIST_LIMIT, self.0.list(fleet)).await {
            Some(Ok(Listing { instances, unknown })) if unknown.is_empty() => Seen::Complete {
                value: instances,
                at: now,
            },
            Some(Ok(Listing { instances, unknown })) => Seen::Partial {
                value: instances,
                at: now,
                why: unknown,
            },
            Some(Err(error)) => Seen::Never {
                why: Some(chain(&error).to_string()),
            },
            None => Seen::Never {
                why: Some(format!("no listing within {LIST_LIMIT:?}")),
            },
        }
    }
}

/// A store that can be read and nothing else.
struct Reader(Arc<dyn Store>);

impl Reader {
    async fn read(&self, settings: &Settings) -> anyhow::Result<FleetRecord> {
        let pools: Vec<PoolName> = settings.pools.keys().cloned().collect();
        let emitters: Vec<_> = settings.emitters.keys().cloned().collect();
        let record = self.0.read(&pools, &emitters).await;
        record.context("the store cannot be read; with --world the plan needs none")
    }
}

/// Reads the world at this moment.
pub(crate) async fn read(settings: &Settings, now: Timestamp) -> anyhow::Result<FleetObservation> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let StoreSettings::Redis(address) = &settings.store else {
        anyhow::bail!(
            "a store in memory cannot be read from here: describe the world with --world"
        );
    };
    let store = Reader(plugins::store(
        Some(address),
        &settings.fleet,
        clock.clone(),
    )?);
    let record = store.read(settings).await?;
    let mut overrides = Overrides::of(&record.orders, now);
    scaler::drains::resolve(
        &mut overrides,
        settings.pools.values().flat_map(|pool| &pool.offers),
    );
    let registries = service::registries();
    let providers = scaler::Scaler::providers(settings, &registries, &clock)?;
    let listed = providers.into_iter().map(|(name, provider)| {
        let (provider, clock) = (ReadOnly(provider), clock.clone());
        async move { (name, provider.list(&*clock, &settings.fleet, now).await) }
    });
    let mut listings: BTreeMap<ProviderName, Seen<Vec<Instance>>> = BTreeMap::new();
    for listing in listed {
        let (name, seen) = listing.await;
        listings.insert(name, seen);
    }
    let newest = listings.values().filter_map(Seen::any).flatten();
    let newest = newest.map(|instance| instance.name.batch.epoch).max();
    Ok(FleetObservation {
        fleet: settings.fleet.clone(),
        config: settings.hash.clone(),
        epoch: Epoch(newest.unwrap_or_default().0.saturating_add(1)),
        listings,
        overrides,
        pools: pools(settings, record, now),
        intents_lost_at: None,
        unavailable: BTreeMap::new(),
        rival: None,
    })
}

/// The pools whose record can be read. The plan of a running scaler may differ where it knows of calls in flight.
fn pools(
    settings: &Settings,
    mut record: FleetRecord,
    now: Timestamp,
) -> BTreeMap<PoolName, PoolSeen> {
    let mut pools = BTreeMap::new();
    for (name, pool) in &settings.pools {
        let stored = record.pools.remove(name).unwrap_or_default();
        if stored.unreadable.is_some() {
            continue;
        }
        let emitter = pool.policy.emitter.as_ref();
        let mut workload = emitter.map_or(Seen::Never { why: None }, |emitter| {
            scaler::workload_of(&record, &stored, emitter, now)
        });
        // a new file has another hash than the one the jobs were mapped with: the plan is asked for the new one
        if let Seen::Complete { value, .. } | Seen::Partial { value, .. } = &mut workload {
            value.config.clone_from(&settings.hash);
        }
        let seen = PoolSeen {
            workload,
            intents: stored.intents,
            memory: stored.memory.unwrap_or_default(),
            next_sequence: 1,
            creation_held: None,
            control_refused: None,
            cordon_refused: BTreeMap::new(),
            join_doubts: BTreeMap::new(),
            offer_news: Vec::new(),
        };
        pools.insert(name.clone(), seen);
    }
    pools
}
