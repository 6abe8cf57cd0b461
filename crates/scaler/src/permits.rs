//! How many actions are carried out at once: a bound on sockets and memory; API rates are the adapters' business.
//!
//! A set for each pool and each thing that may hang alone. Creations that wait for one provider keep neither those of another
//! one waiting nor anything that leaves, and a provider that deletes nothing keeps no cordon waiting. A pool that is not
//! configured has its sets like any other: what is found in tags bounds nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Action;
use model::{PoolName, ProviderName};
use tokio::sync::Semaphore;

/// Actions of one pool at one place that are carried out at once.
const MAX_PARALLEL: usize = 64;

/// What an action waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// A provider makes machines.
    Creates(ProviderName),
    /// A provider deletes machines, or marks them.
    Deletes(ProviderName),
    /// The CI server of the pool is told, or read.
    Controls,
}

impl At {
    fn of(action: &Action) -> At {
        match action {
            Action::Create { provider, .. } => At::Creates(provider.clone()),
            Action::Delete { provider, .. } | Action::AskGuest { provider, .. } => {
                At::Deletes(provider.clone())
            }
            Action::Cordon { .. }
            | Action::Uncordon { .. }
            | Action::Verify { .. }
            | Action::RemoveExecutor { .. } => At::Controls,
        }
    }
}

/// The sets in which somebody works or waits.
#[derive(Debug, Default)]
pub(crate) struct Permits(BTreeMap<(PoolName, At), Arc<Semaphore>>);

impl Permits {
    /// The set of an action of this pool.
    pub(crate) fn of(&mut self, pool: &PoolName, action: &Action) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(MAX_PARALLEL));
        let key = (pool.clone(), At::of(action));
        self.0.entry(key).or_insert_with(new).clone()
    }

    /// Forgets the sets in which nobody works or waits: a new one is the same.
    pub(crate) fn tidy(&mut self) {
        self.0.retain(|_, permits| Arc::strong_count(permits) > 1);
    }
}

#[cfg(test)]
mod tests {
    use model::{BatchId, Epoch, ExecutorRef, OfferId};

    use super::*;

    fn create(at: &str) -> Action {
        let batch = BatchId {
            pool: "linux".parse().unwrap(),
            epoch: Epoch(7),
            sequence: 1,
        };
        let machine = "m".parse().unwrap();
        Action::Create {
            batch,
            count: 1,
            provider: at.parse().unwrap(),
            offer: OfferId { machine, index: 0 },
        }
    }

    fn uncordon() -> Action {
        Action::Uncordon {
            instance: "linux-7-1-0".parse().unwrap(),
            executor: ExecutorRef {
                emitter: "ci".parse().unwrap(),
                id: model::ExecutorId::new("1"),
            },
        }
    }

    #[test]
    fn what_hangs_at_one_place_keeps_nothing_else_waiting_and_every_pool_has_a_bound() {
        let mut permits = Permits::default();
        let pool: PoolName = "linux".parse().unwrap();
        let hang: Vec<_> = (0..MAX_PARALLEL)
            .map(|_| permits.of(&pool, &create("one")).try_acquire_owned())
            .collect();
        assert!(hang.iter().all(Result::is_ok));
        assert!(permits.of(&pool, &create("one")).try_acquire().is_err());
        assert!(permits.of(&pool, &create("two")).try_acquire().is_ok());
        assert!(permits.of(&pool, &uncordon()).try_acquire().is_ok());
        permits.tidy();
        assert_eq!(permits.0.len(), 1, "only what is used is kept");
        assert!(permits.of(&pool, &create("one")).try_acquire().is_err());
    }
}
