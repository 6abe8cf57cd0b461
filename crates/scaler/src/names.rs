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
        let emitter_of = |pool: &PoolName| {
            let policy = &pools.get(pool)?.policy;
            let managed = matches!(policy.executors, ExecutorMode::Managed { .. });
            policy.emitter.clone().filter(|_| managed)
        };
        let spoken = spoken(seen, emitter_of, epoch);
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

/// `emitter_of` tells the CI server of a pool whose executors we register.
fn spoken(
    seen: &FleetObservation,
    emitter_of: impl Fn(&PoolName) -> Option<EmitterName>,
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
                    let name = batch.instance(0);
                    if let (Some(emitter), false) = (emitter_of(pool), known.contains(&name)) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::PoolSeen;
    use model::{
        ConfigHash, Instance, InstanceState, Intent, LeaveStep, OfferId, Owner, PoolMemory,
        ProviderRef, StoredIntent, Timestamp,
    };

    use super::*;

    const EPOCH: Epoch = Epoch(9);

    fn worker(number: u32) -> Option<ExecutorRef> {
        Some(ExecutorRef {
            emitter: "ci".parse().unwrap(),
            id: ExecutorId::new(number.to_string()),
        })
    }

    fn machine(name: &str, executor: Option<ExecutorRef>, state: InstanceState) -> Instance {
        Instance {
            name: name.parse().unwrap(),
            id: ProviderRef::new(name),
            scope: "rack".to_owned(),
            state,
            created_at: None,
            owner: Owner {
                fleet: "acme".parse().unwrap(),
                installation: None,
            },
            executor,
            offer: None,
            notice: None,
            generation: None,
            expires: None,
        }
    }

    fn creation(batch: &str, executor: Option<ExecutorRef>) -> Intent {
        Intent::Create {
            batch: batch.parse().unwrap(),
            count: 1,
            provider: "rack".parse().unwrap(),
            offer: OfferId {
                machine: "small".parse().unwrap(),
                index: 0,
            },
            executor,
        }
    }

    fn seen(machines: Vec<Instance>, intents: Vec<Intent>) -> FleetObservation {
        let stored = |intent| StoredIntent {
            intent,
            age: Duration::from_secs(5),
        };
        let pool = PoolSeen {
            workload: Seen::Never { why: None },
            intents: intents.into_iter().map(stored).collect(),
            memory: PoolMemory::default(),
            next_sequence: 0,
            creation_held: None,
            control_refused: None,
            cordon_refused: BTreeMap::new(),
            join_doubts: BTreeMap::new(),
            offer_news: Default::default(),
        };
        let listing = Seen::Complete {
            value: machines,
            at: Timestamp::UNIX_EPOCH,
        };
        FleetObservation {
            fleet: "acme".parse().unwrap(),
            config: ConfigHash::new("c"),
            epoch: EPOCH,
            listings: [("rack".parse().unwrap(), listing)].into(),
            pools: [("linux".parse().unwrap(), pool)].into(),
            intents_lost_at: None,
            unavailable: BTreeMap::new(),
            rival: None,
            overrides: model::Overrides::default(),
        }
    }

    /// What is known at the CI server `ci`, which serves every pool.
    fn at_ci(seen: &FleetObservation) -> Spoken {
        let ci: EmitterName = "ci".parse().unwrap();
        let all = spoken(seen, |_| Some(ci.clone()), EPOCH);
        all.get(&ci).cloned().unwrap_or_default()
    }

    fn ids(numbers: &[u32]) -> BTreeSet<ExecutorId> {
        let id = |number: &u32| ExecutorId::new(number.to_string());
        numbers.iter().map(id).collect()
    }

    #[test]
    fn taken_is_what_a_tag_or_an_intent_names() {
        let machines = vec![
            machine("linux-9-1-0", worker(1), InstanceState::Running),
            machine("linux-9-2-0", worker(2), InstanceState::Stopped),
            machine("linux-9-3-0", worker(3), InstanceState::Gone { why: None }),
            machine("linux-9-4-0", None, InstanceState::Running),
        ];
        let leave = Intent::Leave {
            instance: "linux-8-7-0".parse().unwrap(),
            executor: worker(5),
            epoch: EPOCH,
            step: LeaveStep::Removing,
        };
        let intents = vec![creation("linux-9-5", worker(4)), leave];
        let spoken = at_ci(&seen(machines, intents));
        assert_eq!(spoken.taken, ids(&[1, 2, 4, 5]));
        assert!(spoken.unsettled.is_empty());
    }

    #[test]
    fn a_creation_of_an_earlier_term_is_unsettled_until_it_is_listed() {
        let intents = || vec![creation("linux-8-1", None), creation("linux-9-1", None)];
        let names = at_ci(&seen(Vec::new(), intents())).unsettled;
        assert_eq!(
            names,
            ["linux-8-1-0".parse().unwrap()],
            "not those of this term"
        );
        let listed = machine("linux-8-1-0", worker(1), InstanceState::Running);
        assert!(at_ci(&seen(vec![listed], intents())).unsettled.is_empty());
    }

    #[test]
    fn a_pool_whose_executors_are_not_registered_leaves_nothing_unsettled() {
        let seen = seen(Vec::new(), vec![creation("linux-8-1", None)]);
        assert!(spoken(&seen, |_| None, EPOCH).is_empty());
    }
}
