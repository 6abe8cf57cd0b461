//! Leases: who holds what until when, and the newest epoch of each.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Epoch, HolderId};
use ports::{Acquired, Lease, LeaseName};

/// All leases. An entry stays when its lease is over, because the epoch must be remembered.
#[derive(Debug, Default)]
pub(crate) struct Leases(BTreeMap<LeaseName, Entry>);

#[derive(Debug)]
struct Entry {
    holder: HolderId,
    epoch: Epoch,
    /// On the store's clock; a lease that is over at this very moment is over.
    until: Duration,
}

impl Entry {
    fn alive(&self, now: Duration) -> bool {
        self.until > now
    }

    fn is(&self, holder: &HolderId, epoch: Epoch) -> bool {
        self.holder == *holder && self.epoch == epoch
    }
}

impl Leases {
    pub(crate) fn acquire(
        &mut self,
        lease: &LeaseName,
        holder: &HolderId,
        ttl: Duration,
        floor: Epoch,
        now: Duration,
        wall_ms: u64,
    ) -> Acquired {
        let until = now.saturating_add(ttl);
        let stored = match self.0.get_mut(lease) {
            Some(entry) if entry.alive(now) && entry.holder == *holder => {
                entry.until = until;
                let epoch = entry.epoch;
                return Acquired::Held(Lease {
                    epoch,
                    remembered: true,
                });
            }
            Some(entry) if entry.alive(now) => {
                let remaining = entry.until.saturating_sub(now);
                return Acquired::By {
                    holder: entry.holder.clone(),
                    remaining,
                };
            }
            Some(entry) => Some(entry.epoch),
            None => None,
        };
        let epoch = Epoch::next(stored.unwrap_or_default(), floor, wall_ms);
        self.0.insert(
            lease.clone(),
            Entry {
                holder: holder.clone(),
                epoch,
                until,
            },
        );
        Acquired::Held(Lease {
            epoch,
            remembered: stored.is_some(),
        })
    }

    pub(crate) fn renew(
        &mut self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
        now: Duration,
    ) -> bool {
        let entry = self.0.get_mut(lease);
        let mine = entry.filter(|entry| entry.alive(now) && entry.is(holder, epoch));
        match mine {
            Some(entry) => {
                entry.until = now.saturating_add(ttl);
                true
            }
            None => false,
        }
    }

    /// Whether it was the holder's to give back.
    pub(crate) fn release(
        &mut self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        now: Duration,
    ) -> bool {
        self.renew(lease, holder, epoch, Duration::ZERO, now)
    }

    pub(crate) fn holds_in(&self, lease: &LeaseName, epoch: Epoch, now: Duration) -> bool {
        let entry = self.0.get(lease);
        entry.is_some_and(|entry| entry.alive(now) && entry.epoch == epoch)
    }
}
