//! Which executors are spoken for, for CI servers that fix their names.
//!
//! Written at every tick from the listings and the intents, read by an action at the moment it registers. The adapter
//! itself remembers what it handed out and nobody can see yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use engine::FleetObservation;
use model::{
    EmitterName, Epoch, ExecutorId, ExecutorMode, ExecutorRef, InstanceName, Intent, PoolName, Seen,
};
use ports::Register;

use crate::run::Pool;

/// What is known of one CI server's executors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Spoken {
    taken: BTreeSet<ExecutorId>,
    unsettled: Vec<InstanceName>,
}

/// Shared by the tick and the actions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<EmitterName, Spoken>>>);

impl Names {
    /// Takes over what one tick observed.
    pub(crate) fn see(
        &self,
        seen: &FleetObservation,
        pools: &BTreeMap<PoolName, Pool>,
        epoch: Epoch,
    ) {
        let spoken = spoken(seen, pools, epoch);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spoken;
    }

    /// The request for one machine's executor, as things stand now.
    pub(crate) fn request(&self, emitter: &EmitterName, instance: InstanceName) -> Register {
        let spoken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spoken = spoken.get(emitter).cloned().unwrap_or_default();
        Register {
            instance,
            taken: spoken.taken,
            unsettled: spoken.unsettled,
        }
    }
}

fn spoken(
    seen: &FleetObservation,
    pools: &BTreeMap<PoolName, Pool>,
    epoch: Epoch,
) -> BTreeMap<EmitterName, Spoken> {
    let mut all: BTreeMap<EmitterName, Spoken> = BTreeMap::new();
    let mut take = |reference: &ExecutorRef| {
        let spoken = all.entry(reference.emitter.clone()).or_default();
        spoken.taken.insert(reference.id.clone());
    };
    let listed = || seen.listings.values().filter_map(Seen::any).flatten();
    listed()
        .filter(|instance| !instance.state.is_gone())
        .filter_map(|instance| instance.executor.as_ref())
        .for_each(&mut take);
    let known: BTreeSet<&InstanceName> = listed().map(|instance| &instance.name).collect();
    let mut unsettled: Vec<(EmitterName, InstanceName)> = Vec::new();
    for (pool, recorded) in &seen.pools {
        for stored in &recorded.intents {
            match &stored.intent {
                Intent::Create {
                    executor: Some(executor),
                    ..
                }
                | Intent::Leave {
                    executor: Some(executor),
                    ..
                } => take(executor),
                // begun by an earlier term, which may have died between the registration and its record
                Intent::Create {
                    batch,
                    executor: None,
                    ..
                } if batch.epoch != epoch => {
                    let policy = pools.get(pool).map(|pool| &pool.policy);
                    let managed = policy
                        .filter(|policy| matches!(policy.executors, ExecutorMode::Managed { .. }));
                    let emitter = managed.and_then(|policy| policy.emitter.clone());
                    let name = batch.instance(0);
                    if let (Some(emitter), false) = (emitter, known.contains(&name)) {
                        unsettled.push((emitter, name));
                    }
                }
                Intent::Create { .. } | Intent::Leave { .. } => {}
            }
        }
    }
    for (emitter, name) in unsettled {
        all.entry(emitter).or_default().unsettled.push(name);
    }
    all
}
