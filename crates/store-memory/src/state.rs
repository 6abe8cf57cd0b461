//! Everything that is not a lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{
    EmitterName, InstallationId, Intent, IntentKey, NamedJob, Order, PoolMemory, PoolName,
    StoredIntent, StoredOrder, StoredOrders, StoredWorkload, Unmatched, Workload,
};
use ports::{EmitterStatus, FleetRecord, PoolCommit, PoolRecord, ProbeFailure, WorkloadWrite};

use crate::leases::Leases;

/// Decisions kept for each pool: at one change a minute, which is busy, most of a day.
const DECISIONS: usize = 1000;

/// A value and when it was written, on the store's clock.
#[derive(Debug)]
struct Dated<T> {
    value: T,
    written: Duration,
    /// How old the value was when it was written.
    age: Duration,
}

impl<T> Dated<T> {
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.written).saturating_add(self.age)
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) leases: Leases,
    pub(crate) installation: Option<InstallationId>,
    pools: BTreeMap<PoolName, Pool>,
    emitters: BTreeMap<EmitterName, Emitter>,
    orders: BTreeMap<String, Ordered>,
}

/// An order, and from when to when it holds, on the store's clock.
#[derive(Debug)]
struct Ordered {
    order: Order,
    since: Duration,
    until: Duration,
}

#[derive(Debug, Default)]
struct Pool {
    workloads: BTreeMap<EmitterName, Dated<Workload>>,
    intents: BTreeMap<IntentKey, Dated<Intent>>,
    memory: Option<PoolMemory>,
    decisions: VecDeque<serde_json::Value>,
}

/// What the last good look told beside the workloads.
#[derive(Debug, Clone, Default)]
struct Told {
    unmatched: Vec<Unmatched>,
    unmatched_total: u32,
    named: Vec<NamedJob>,
    left_over: BTreeSet<PoolName>,
}

#[derive(Debug, Default)]
struct Emitter {
    good: Option<Dated<Told>>,
    failure: Option<Dated<String>>,
}

impl State {
    /// Returns the pools whose demand or executors changed.
    pub(crate) fn put_workloads(&mut self, write: &WorkloadWrite, now: Duration) -> Vec<PoolName> {
        let mut changed = vec![];
        for workload in &write.workloads {
            let pool = self.pools.entry(workload.pool.clone()).or_default();
            let dated = Dated {
                value: workload.clone(),
                written: now,
                age: write.elapsed,
            };
            let old = pool.workloads.insert(write.emitter.clone(), dated);
            if old.is_none_or(|old| differs(&old.value, workload)) {
                changed.push(workload.pool.clone());
            }
        }
        let value = Told {
            unmatched: write.unmatched.clone(),
            unmatched_total: write.unmatched_total,
            named: write.named.clone(),
            left_over: write.left_over.clone(),
        };
        let good = Some(Dated {
            value,
            written: now,
            age: write.elapsed,
        });
        self.emitters.insert(
            write.emitter.clone(),
            Emitter {
                good,
                failure: None,
            },
        );
        changed
    }

    pub(crate) fn put_failure(&mut self, emitter: &EmitterName, why: &str, now: Duration) {
        let failure = Dated {
            value: why.to_owned(),
            written: now,
            age: Duration::ZERO,
        };
        self.emitters.entry(emitter.clone()).or_default().failure = Some(failure);
    }

    pub(crate) fn read(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
        now: Duration,
    ) -> FleetRecord {
        let pool = |name: &PoolName| self.pools.get(name).map(|pool| pool.record(now));
        let emitter = |name: &EmitterName| self.emitters.get(name).map(|it| it.status(now));
        FleetRecord {
            pools: pools
                .iter()
                .map(|name| (name.clone(), pool(name).unwrap_or_default()))
                .collect(),
            emitters: emitters
                .iter()
                .map(|name| (name.clone(), emitter(name).unwrap_or_default()))
                .collect(),
            orders: StoredOrders {
                orders: self.orders.values().map(|it| it.stored(now)).collect(),
                unreadable: Vec::new(),
            },
        }
    }

    /// `false` when there are too many others.
    pub(crate) fn put_order(&mut self, order: &Order, lasts: Duration, now: Duration) -> bool {
        let id = order.what.id();
        if !self.orders.contains_key(&id) && self.orders.len() >= Order::MOST {
            return false;
        }
        let ordered = Ordered {
            order: order.clone(),
            since: now,
            until: now.saturating_add(lasts),
        };
        self.orders.insert(id, ordered);
        true
    }

    pub(crate) fn end_order(&mut self, id: &str, only_if_over: bool, now: Duration) -> bool {
        let found = self.orders.get(id);
        let ends = found.is_some_and(|it| !only_if_over || it.until <= now);
        if ends {
            self.orders.remove(id);
        }
        ends
    }

    pub(crate) fn commit(&mut self, commits: &[PoolCommit], now: Duration) {
        for commit in commits {
            let pool = self.pools.entry(commit.pool.clone()).or_default();
            for key in &commit.end {
                pool.intents.remove(key);
            }
            for intent in &commit.put {
                let dated = Dated {
                    value: intent.clone(),
                    written: now,
                    age: Duration::ZERO,
                };
                pool.intents.insert(intent.key(), dated);
            }
            if let Some(memory) = &commit.memory {
                pool.memory = Some(memory.clone());
            }
            if let Some(decision) = &commit.decision {
                if pool.decisions.len() == DECISIONS {
                    pool.decisions.pop_front();
                }
                pool.decisions.push_back(decision.clone());
            }
        }
    }

    pub(crate) fn decisions(&self, pool: &PoolName) -> Vec<serde_json::Value> {
        let pool = self.pools.get(pool);
        pool.map(|pool| pool.decisions.iter().cloned().collect())
            .unwrap_or_default()
    }
}

impl Ordered {
    fn stored(&self, now: Duration) -> StoredOrder {
        StoredOrder {
            order: self.order.clone(),
            age: now.saturating_sub(self.since),
            remaining: self.until.saturating_sub(now),
        }
    }
}

impl Pool {
    fn record(&self, now: Duration) -> PoolRecord {
        let workload = |(emitter, dated): (&EmitterName, &Dated<Workload>)| {
            let stored = StoredWorkload {
                workload: dated.value.clone(),
                age: dated.age(now),
            };
            (emitter.clone(), stored)
        };
        let intent = |dated: &Dated<Intent>| StoredIntent {
            intent: dated.value.clone(),
            age: dated.age(now),
        };
        PoolRecord {
            workloads: self.workloads.iter().map(workload).collect(),
            intents: self.intents.values().map(intent).collect(),
            memory: self.memory.clone(),
            unreadable: None,
        }
    }
}

impl Emitter {
    fn status(&self, now: Duration) -> EmitterStatus {
        let told = self
            .good
            .as_ref()
            .map(|dated| dated.value.clone())
            .unwrap_or_default();
        EmitterStatus {
            last_good: self.good.as_ref().map(|dated| dated.age(now)),
            failure: self.failure.as_ref().map(|dated| ProbeFailure {
                why: dated.value.clone(),
                age: dated.age(now),
            }),
            unmatched: told.unmatched,
            unmatched_total: told.unmatched_total,
            named: told.named,
            left_over: told.left_over,
        }
    }
}

/// Whether two looks differ in something that the scaler would act on. That the same job waited longer is no news.
fn differs(old: &Workload, new: &Workload) -> bool {
    let demand = |workload: &Workload| {
        let mut demand = workload.demand.clone();
        demand.oldest_wait = None;
        demand
    };
    demand(old) != demand(new) || old.executors != new.executors
}
