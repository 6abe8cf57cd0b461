//! One listing loop per provider: a provider that hangs or lies delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{Epoch, FleetId, Instance, InstanceState, Listing, PoolName, ProviderName, Seen};
use ports::{Call, Clock, Provider, ProviderError, timeout};
use service::{Pauses, caught};
use telemetry::{Condition, Metrics, Readiness, chain};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::ages::{Ages, Moment};
use crate::installation::Installation;
use crate::run::Timing;

/// What each provider listed last. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Listings {
    heard: Arc<Mutex<BTreeMap<ProviderName, Heard>>>,
    /// Pools whose machines are not told that they are wanted.
    unwanted: watch::Sender<BTreeSet<PoolName>>,
}

/// What one provider's loop writes, and how it is woken.
#[derive(Clone)]
struct Heard {
    seen: watch::Receiver<Seen<Vec<Instance>>>,
    again: Arc<Notify>,
}

impl Listings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProviderName, Heard>> {
        // each change is whole, so a panic of another thread left nothing half done
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets machines of these pools, and of no others, know no more that they are wanted.
    pub(crate) fn unwanted(&self, pools: BTreeSet<PoolName>) {
        self.unwanted.send_replace(pools);
    }

    /// Adds a provider, of which nothing is known yet; returns what its loop writes to and is woken by.
    pub(crate) fn add(
        &self,
        provider: &ProviderName,
    ) -> (watch::Sender<Seen<Vec<Instance>>>, Arc<Notify>) {
        let (sender, receiver) = watch::channel(Seen::Never { why: None });
        let again = Arc::new(Notify::new());
        let heard = Heard {
            seen: receiver,
            again: again.clone(),
        };
        self.lock().insert(provider.clone(), heard);
        (sender, again)
    }

    /// Forgets a provider; returns how many of its machines were known.
    pub(crate) fn remove(&self, provider: &ProviderName) -> usize {
        let removed = self.lock().remove(provider);
        removed.map_or(0, |heard| {
            let seen = heard.seen.borrow();
            let known = seen.any().into_iter().flatten();
            known.filter(|instance| !instance.state.is_gone()).count()
        })
    }

    /// What is known now. A listing that began before `since` is no whole one.
    pub(crate) fn since(&self, since: Timestamp) -> BTreeMap<ProviderName, Seen<Vec<Instance>>> {
        let dated = |seen: Seen<Vec<Instance>>| match seen {
            Seen::Complete { value, at } if at < since => Seen::Partial {
                value,
                at,
                why: vec!["it has not been listed since this scaler took over".to_owned()],
            },
            other => other,
        };
        self.lock()
            .iter()
            .map(|(name, heard)| (name.clone(), dated(heard.seen.borrow().clone())))
            .collect()
    }

    /// As [`Listings::since`]. One that is dated later than `now` is no whole one either: the wall clock was set back after it,
    /// and what it is older than cannot be told.
    pub(crate) fn between(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> BTreeMap<ProviderName, Seen<Vec<Instance>>> {
        let mut listings = self.since(since);
        for listing in listings.values_mut() {
            if let Seen::Complete { value, at } = listing
                && *at > now
            {
                *listing = Seen::Partial {
                    value: std::mem::take(value),
                    at: *at,
                    why: vec!["it has not been listed since the clock was set back".to_owned()],
                };
            }
        }
        listings
    }

    /// Asks a provider to be listed again soon.
    pub(crate) fn again(&self, provider: &ProviderName) {
        if let Some(heard) = self.lock().get(provider) {
            heard.again.notify_one();
        }
    }

    /// Asks every provider to be listed again soon.
    pub(crate) fn all_again(&self) {
        let heard = self.lock();
        heard.values().for_each(|heard| heard.again.notify_one());
    }

    /// Waits until every provider was heard or failed once, for at most `limit`.
    pub(crate) async fn first(&self, clock: &dyn Clock, limit: Duration) {
        let all: Vec<Heard> = self.lock().values().cloned().collect();
        let heard = all.into_iter().map(|Heard { mut seen, .. }| async move {
            let silent = |seen: &Seen<Vec<Instance>>| matches!(seen, Seen::Never { why: None });
            let _ = seen.wait_for(|seen| !silent(seen)).await;
        });
        let _ = timeout(clock, limit, futures::future::join_all(heard)).await;
    }

    /// The highest epoch among the machines that are known.
    pub(crate) fn highest_epoch(&self) -> Epoch {
        let heard = self.lock();
        let epochs = heard.values().filter_map(|heard| {
            let seen = heard.seen.borrow();
            seen.any()
                .into_iter()
                .flatten()
                .map(|instance| instance.name.batch.epoch)
                .max()
        });
        epochs.max().unwrap_or_default()
    }
}

/// The loops that list, one for each provider of the configuration in force.
pub(crate) struct Listers {
    pub(crate) fleet: FleetId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timing: Timing,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) listings: Listings,
    pub(crate) installation: Arc<Installation>,
    pub(crate) stop: CancellationToken,
    pub(crate) running: BTreeMap<ProviderName, (Arc<dyn Provider>, CancellationToken)>,
    pub(crate) loops: JoinSet<ProviderName>,
}

impl Listers {
    /// Lists these providers and no others. One that is the same goes on; of one that is another nothing is known until it has
    /// been listed, and until then nothing leaves there.
    pub(crate) fn follow(&mut self, providers: &BTreeMap<ProviderName, Arc<dyn Provider>>) {
        let same = |name: &ProviderName, runs: &Arc<dyn Provider>| {
            let new = providers.get(name);
            new.is_some_and(|new| Arc::ptr_eq(new, runs))
        };
        let listings = &self.listings;
        self.running.retain(|name, (provider, stop)| {
            let stays = same(name, provider);
            if !stays {
                stop.cancel();
            }
            if !providers.contains_key(name) {
                let machines = listings.remove(name);
                warn!(provider = %name, machines, "this provider is no longer configured: its machines are not seen any more and go on costing: delete them there, or configure it again");
            }
            stays
        });
        for (name, provider) in providers {
            if !self.running.contains_key(name) {
                self.begin(name, provider);
            }
        }
    }

    fn begin(&mut self, name: &ProviderName, provider: &Arc<dyn Provider>) {
        let (seen, again) = self.listings.add(name);
        let lister = Lister {
            name: name.clone(),
            fleet: self.fleet.clone(),
            provider: provider.clone(),
            clock: self.clock.clone(),
            every: self.timing.list_every,
            limit: self.timing.list_limit,
            metrics: self.metrics.clone(),
            condition: self.readiness.condition(condition_of(name)),
            seen,
            again,
            installation: self.installation.clone(),
            unwanted: self.listings.unwanted.subscribe(),
        };
        let stop = self.stop.child_token();
        let (ends, of) = (stop.clone(), name.clone());
        self.loops.spawn(async move {
            lister.run(ends).await;
            of
        });
        let running = (provider.clone(), stop);
        self.running.insert(name.clone(), running);
    }

    /// Waits for the end of a loop, and forgets what it said of a provider that is not configured any more.
    pub(crate) async fn ended(&mut self) {
        match self.loops.join_next().await {
            Some(Ok(name)) if !self.running.contains_key(&name) => {
                self.readiness.forget(&condition_of(&name));
            }
            Some(Ok(_)) => {}
            // a panic is a bug of ours; readiness shows the silent one
            Some(Err(failure)) => error!(error = %failure, "the loop of one provider broke"),
            None => std::future::pending().await,
        }
    }
}

fn condition_of(provider: &ProviderName) -> String {
    format!("provider {provider}")
}

pub(crate) struct Lister {
    pub(crate) name: ProviderName,
    pub(crate) fleet: FleetId,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) every: Duration,
    pub(crate) limit: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) condition: Condition,
    pub(crate) seen: watch::Sender<Seen<Vec<Instance>>>,
    pub(crate) again: Arc<Notify>,
    pub(crate) installation: Arc<Installation>,
    /// Whose machines are not told that they are wanted.
    pub(crate) unwanted: watch::Receiver<BTreeSet<PoolName>>,
}

/// So often every machine is told that it is still wanted ...
const RENEW_EVERY: Duration = Duration::from_secs(900);
/// ... for the first time so long after the start: whatever stood while no scaler ran may be past its time, and is wanted
/// again. Not at once: a round may take as long as [`RENEW_LIMIT`], and a take-over waits for a listing.
const RENEW_FIRST: Duration = Duration::from_secs(60);
/// ... for so long: three renewals in a row may fail.
pub(crate) const WANTED_FOR: Duration = Duration::from_secs(3600);
/// Longest time one round of renewals may take: it delays the next listing.
const RENEW_LIMIT: Duration = Duration::from_secs(20);

/// Two listings are at least this far apart, however often one is asked for.
const AT_LEAST: Duration = Duration::from_millis(500);

impl Lister {
    /// Lists until `stop`. A run that panics is begun again after a pause; until then what was seen last is no whole listing.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pauses = Pauses::default();
        loop {
            let began = self.clock.boottime();
            let Err(why) = caught(self.list_until(&stop)).await else {
                return;
            };
            let pause = pauses.after(self.clock.boottime().saturating_sub(began));
            self.broke(&why, pause);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    fn broke(&self, why: &str, pause: Duration) {
        error!(
            provider = %self.name, error = why, again_in = ?pause,
            "THE LOOP THAT LISTS THIS PROVIDER BROKE: nothing is created or deleted there until it is listed again; please report this"
        );
        let metrics = &self.metrics.scaler;
        metrics.called_provider(self.name.as_str(), "list", "panicked");
        self.condition
            .not_ready(self.failed(format!("listing it panicked: {why}")));
    }

    async fn list_until(&self, stop: &CancellationToken) {
        let mut said = String::new();
        let mut ages = Ages::default();
        let mut renew_at = self.clock.boottime() + RENEW_FIRST;
        loop {
            let asked = Moment {
                wall: self.clock.now(),
                boottime: self.clock.boottime(),
            };
            let list = timeout(&*self.clock, self.limit, self.provider.list(&self.fleet));
            let listed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                listed = list => listed,
            };
            let listed = listed.map(|listed| {
                listed.map(|mut listing| {
                    let is_whole = listing.unknown.is_empty();
                    ages.put_right(&mut listing.instances, is_whole, asked);
                    listing
                })
            });
            let text = self.publish(listed, asked.wall);
            if said != text {
                if text.is_empty() {
                    info!(provider = %self.name, "the whole listing is seen again");
                } else {
                    warn!(provider = %self.name, why = text, "listing is not whole: nothing is created or deleted there");
                }
                said = text;
            }
            // in a listing that is not whole what is seen is wanted too
            if self.clock.boottime() >= renew_at {
                renew_at = self.clock.boottime() + RENEW_EVERY;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = self.renew() => {}
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.clock.sleep(AT_LEAST) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.again.notified() => {}
                () = self.clock.sleep(self.every.saturating_sub(AT_LEAST)) => {}
            }
        }
    }

    /// Tells the machines of the last listing that they are wanted, but for those of pools that were left alone for long. Every
    /// replica does, whether it is the active one or not: it can only make a machine live longer.
    async fn renew(&self) {
        let seen = self.seen.borrow().clone();
        let unwanted = self.unwanted.borrow().clone();
        let alive = seen.any().into_iter().flatten();
        let alive: Vec<Instance> = alive
            .filter(|i| !unwanted.contains(i.pool()))
            .filter(|i| {
                !matches!(
                    i.state,
                    InstanceState::Gone { .. } | InstanceState::Stopping
                )
            })
            .cloned()
            .collect();
        if alive.is_empty() {
            return;
        }
        let now = self.clock.now();
        let until = now.checked_add(WANTED_FOR).unwrap_or(now);
        let signature = self.installation.ask().await;
        let until = signature.map_or(until, |signature| signature.sign(until));
        let call = Call::within(self.clock.clone(), RENEW_LIMIT);
        let renewed = call
            .run(RENEW_LIMIT, self.provider.renew(&alive, until, &call))
            .await;
        let failed = match &renewed {
            Some(outcomes) => outcomes.iter().filter(|o| o.as_str() != "done").count(),
            None => alive.len(),
        };
        let outcome = if failed == 0 { "ok" } else { "failed" };
        let metrics = &self.metrics.scaler;
        metrics.called_provider(self.name.as_str(), "renew", outcome);
        if failed > 0 {
            warn!(provider = %self.name, failed, of = alive.len(), "machines were not told that they are still wanted; it is tried again");
        }
    }

    /// Publishes one listing; returns what is wrong with it, in words.
    fn publish(&self, listed: Option<Result<Listing, ProviderError>>, at: Timestamp) -> String {
        let name = self.name.as_str();
        let (why, outcome) = match listed {
            Some(Ok(listing)) if listing.unknown.is_empty() => {
                self.metrics.scaler.called_provider(name, "list", "ok");
                self.condition.ready();
                let value = listing.instances;
                self.seen.send_replace(Seen::Complete { value, at });
                return String::new();
            }
            Some(Ok(listing)) => {
                let why = listing.unknown;
                let value = self.with_last_known(listing.instances);
                self.seen.send_replace(Seen::Partial {
                    value,
                    at,
                    why: why.clone(),
                });
                (why.join("; "), "partial")
            }
            Some(Err(error)) => (self.failed(chain(&error).to_string()), error.kind.as_str()),
            None => (
                self.failed(format!("no listing within {:?}", self.limit)),
                "timed_out",
            ),
        };
        self.metrics.scaler.called_provider(name, "list", outcome);
        self.condition.not_ready(why.clone());
        why
    }

    /// Machines that were known before and are not in a partial listing are still counted.
    fn with_last_known(&self, mut instances: Vec<Instance>) -> Vec<Instance> {
        let last = self.seen.borrow();
        for known in last.any().into_iter().flatten() {
            if !instances.iter().any(|instance| instance.name == known.name) {
                instances.push(known.clone());
            }
        }
        instances
    }

    fn failed(&self, why: String) -> String {
        let last = self.seen.borrow().clone();
        let reasons = vec![why.clone()];
        self.seen.send_replace(match last {
            Seen::Complete { value, at } | Seen::Partial { value, at, .. } => Seen::Partial {
                value,
                at,
                why: reasons,
            },
            Seen::Never { .. } => Seen::Never {
                why: Some(why.clone()),
            },
        });
        why
    }
}
