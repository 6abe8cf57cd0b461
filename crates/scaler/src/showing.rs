//! What a tick leaves to whoever asks over the API, and what a replica that stands by looks at for them.
//!
//! Nothing here decides or begins anything but the end of orders that are over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{EmitterName, Overrides, PoolName, StoredOrders};
use ports::EmitterStatus;
use telemetry::chain;
use tracing::{debug, info};

use crate::former::Former;
use crate::keeping::Keeping;
use crate::looked::{Looked, PoolLooked};
use crate::observe::overlook;
use crate::tick::{Planned, Ticker};
use crate::unseen::Unseen;

impl Ticker {
    /// Without a term nothing is decided, and that is no trouble: whether the store answers, the lease loop says.
    /// What it knows it shows all the same.
    pub(crate) async fn stand_by(&mut self) {
        self.condition.ready();
        self.view
            .send_if_modified(|view| view.epoch.take().is_some());
        let now = self.fleet.clock.boottime();
        let due = self
            .overlooked
            .is_none_or(|last| now.saturating_sub(last) >= self.fleet.timing.sweep);
        if !due {
            return;
        }
        self.overlooked = Some(now);
        self.look_for_orphans();
        let Some(api) = self.api.clone() else {
            return;
        };
        match self.read().await {
            Ok(record) => {
                self.orphans.learn(&record);
                let now = self.fleet.clock.now();
                let mut looked = overlook(&self.fleet, record, now);
                self.held.judge(
                    &self.fleet,
                    &self.orphans,
                    &looked.overrides,
                    &Unseen::default(),
                    &Keeping::default(),
                );
                looked.waiting.clone_from(&self.held.waiting);
                looked.former = Former::of(&self.fleet, &self.orphans, &Unseen::default());
                api.looked(looked, &[]);
            }
            Err(error) => api.looked_in_vain(chain(&error).to_string()),
        }
    }

    /// Leaves what this tick saw and decided to whoever asks.
    pub(crate) fn show(
        &self,
        planned: Vec<Planned>,
        emitters: BTreeMap<EmitterName, EmitterStatus>,
        overrides: Overrides,
        now: Timestamp,
    ) {
        let Some(api) = &self.api else { return };
        let changed: Vec<PoolName> = planned
            .iter()
            .filter(|pool| pool.is_new)
            .map(|pool| pool.plan.pool.clone())
            .collect();
        let pools = planned.into_iter().map(|pool| {
            let name = pool.plan.pool.clone();
            let looked = PoolLooked {
                seen: pool.seen,
                supply: pool.supply,
                plan: Some(pool.plan),
            };
            (name, looked)
        });
        let looked = Looked {
            at: now,
            pools: pools.collect(),
            unreadable: self.unreadable.clone(),
            emitters,
            overrides,
            former: Former::of(&self.fleet, &self.orphans, &self.unseen),
            waiting: self.held.waiting.clone(),
        };
        api.looked(looked, &changed);
    }

    /// Forgets the orders that are over, and says so: of all replicas the one that ends an order says it.
    pub(crate) async fn end_orders(&self, stored: &StoredOrders) {
        for stored in stored.orders.iter().filter(|it| it.remaining.is_zero()) {
            let order = &stored.order;
            let id = order.what.id();
            match self.fleet.store.end_order(&id, true).await {
                Ok(true) => {
                    info!(id, order = %order.what, who = order.who, because = order.why, "override is over");
                }
                Ok(false) => {}
                Err(error) => {
                    // it holds no more; the next tick tries again
                    debug!(id, error = %chain(&error), "an override that is over was not removed");
                    return;
                }
            }
        }
    }
}
