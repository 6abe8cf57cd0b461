//! The term of the active scaler: taken, kept, lost, given back.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Epoch, HolderId};
use ports::{Acquired, Call, CallEnd, Clock, LeaseName, Store};
use telemetry::{Condition, Metrics, chain};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api::{Api, Standing};
use crate::lister::Listings;
use crate::run::Timing;

/// The right to act, as it stands now.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    /// Our epoch.
    pub(crate) epoch: Epoch,
    /// When it began, on the clock's boot time.
    pub(crate) began: Duration,
    /// When it ends if it is not extended, on the clock's boot time. Counted from before the request was sent.
    pub(crate) until: Duration,
    /// When the calls made under it end: as long as it is extended, they go on.
    pub(crate) ends: Arc<CallEnd>,
    /// Whether the store remembered an earlier term. If not, intents of calls in flight may have been lost.
    pub(crate) remembered: bool,
    /// When it was taken, on the clock's wall time, as listings are dated.
    pub(crate) taken_at: Timestamp,
    /// When every call of an earlier holder was over: none outlives its lease.
    pub(crate) alone_since: Timestamp,
}

impl Term {
    /// The right to make one call within this term.
    pub(crate) fn call(&self, clock: &Arc<dyn Clock>) -> Call {
        Call::ending(clock.clone(), self.ends.clone())
    }
}

pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) holder: HolderId,
    pub(crate) timing: Timing,
    pub(crate) listings: Listings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) condition: Condition,
    pub(crate) term: watch::Sender<Option<Term>>,
    /// Told when a write was fenced: the term is over whatever the timer says.
    pub(crate) fenced: Arc<tokio::sync::Notify>,
    /// Told when the lease may have become free: it is asked for at once.
    pub(crate) freed: Arc<tokio::sync::Notify>,
    /// Told who acts for the fleet.
    pub(crate) api: Option<Api>,
}

impl Keeper {
    /// Keeps the term until `stop`. The lease is given back by [`Keeper::release`], after the last action.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        // the highest epoch among the machines counts, so each provider is heard first, if it answers soon
        self.listings.first(&*self.clock, self.timing.lease).await;
        let mut said = String::new();
        loop {
            let pause = self.turn(&mut said).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.fenced.notified() => self.drop_term("another scaler has taken over"),
                () = self.freed.notified() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    async fn turn(&self, said: &mut String) -> Duration {
        let sent_at = self.clock.boottime();
        let renew_every = self.timing.lease / 3;
        let floor = self.listings.highest_epoch();
        let asked = self
            .store
            .acquire(&LeaseName::Scaler, &self.holder, self.timing.lease, floor)
            .await;
        match asked {
            Ok(Acquired::Held(lease)) => {
                self.condition.ready();
                said.clear();
                self.held(lease.epoch, lease.remembered, sent_at + self.timing.lease);
                self.stands(Standing::Active(lease.epoch));
                renew_every
            }
            Ok(Acquired::By { holder, remaining }) => {
                self.condition.ready();
                self.drop_term("another scaler has the lease");
                self.stands(Standing::Standby(holder.clone()));
                let text = format!("standing by for {holder}");
                if *said != text {
                    info!(active = %holder, "standing by");
                    *said = text;
                }
                remaining.min(renew_every).max(Duration::from_millis(50))
            }
            Err(error) => {
                self.metrics.store_error();
                let why = chain(&error).to_string();
                self.condition.not_ready(why.clone());
                if *said != why {
                    warn!(error = %why, "lease not extended");
                    *said = why;
                }
                let now = self.clock.boottime();
                let over = self.term.borrow().as_ref().is_some_and(|t| t.until <= now);
                if over {
                    self.drop_term("the lease ran out while the store was away");
                }
                self.timing.store_retry
            }
        }
    }

    fn held(&self, epoch: Epoch, remembered: bool, until: Duration) {
        let before = self.term.borrow().clone();
        let same = before.as_ref().filter(|term| term.epoch == epoch);
        if same.is_none() {
            self.listings.all_again();
            info!(%epoch, remembered, "this scaler is active");
            if !remembered {
                warn!(
                    %epoch,
                    "the store knew of no earlier scaler: it is new or was wiped, so nothing is created until each provider's listing can show what was in flight"
                );
            }
        }
        self.metrics.scaler.set_lease(Some(epoch.0));
        let began = same.map_or_else(|| self.clock.boottime(), |term| term.began);
        // told anew at each renewal: were the wall clock set back since, no listing would be of this term for as long
        let ago = self.clock.boottime().saturating_sub(began);
        let now = self.clock.now();
        let taken_at = now.checked_sub(ago).unwrap_or(now);
        let remembered = same.map_or(remembered, |term| term.remembered);
        let ends = same.map_or_else(|| CallEnd::at(until), |term| term.ends.clone());
        ends.set(until);
        self.term.send_replace(Some(Term {
            epoch,
            began,
            until,
            ends,
            remembered,
            taken_at,
            alone_since: taken_at + self.timing.lease,
        }));
    }

    fn stands(&self, standing: Standing) {
        if let Some(api) = &self.api {
            api.stands(standing);
        }
    }

    fn drop_term(&self, why: &str) {
        if let Some(term) = self.term.send_replace(None) {
            self.stands(Standing::Unknown);
            // calls on their way are given up: their fate is unknown, and the next holder counts it
            term.ends.set(Duration::ZERO);
            warn!(why, "this scaler is no longer active");
            self.metrics.scaler.set_lease(None);
        }
    }

    /// Gives the lease back, so that a standby takes over at once.
    pub(crate) async fn release(&self) {
        let Some(term) = self.term.send_replace(None) else {
            return;
        };
        let released = self
            .store
            .release(&LeaseName::Scaler, &self.holder, term.epoch)
            .await;
        if let Err(error) = released {
            debug!(error = %chain(&error), "lease not given back: it runs out by itself");
        }
    }
}
