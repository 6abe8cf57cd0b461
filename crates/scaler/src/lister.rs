//! One listing loop per provider: a provider that hangs or lies delays no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    Epoch, FleetId, Instance, InstanceName, InstanceState, Listing, PoolName, ProviderName, Seen,
};
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

    /// Forgets a provider.
    pub(crate) fn remove(&self, provider: &ProviderName) {
        self.lock().remove(provider);
    }

    /// What one provider said last.
    fn last(&self, provider: &ProviderName) -> Seen<Vec<Instance>> {
        let heard = self.lock();
        let seen = heard.get(provider).map(|heard| heard.seen.borrow().clone());
        seen.unwrap_or(Seen::Never { why: None })
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
    /// Those of the running that the configuration does not name any more, or that stood where they stand no more.
    pub(crate) retiring: Retiring,
    pub(crate) places: BTreeMap<ProviderName, String>,
    pub(crate) loops: JoinSet<ProviderName>,
}

/// Providers of earlier configurations, by the name under which they are listed now.
pub(crate) type Retiring = BTreeMap<ProviderName, Retired>;

/// A provider that an earlier configuration named. It is listed until nothing of ours is left there: what is not listed is
/// not counted, and its executor would be taken for one without a machine.
#[derive(Clone)]
pub(crate) struct Retired {
    pub(crate) provider: Arc<dyn Provider>,
    /// Where it stands, in words.
    pub(crate) place: String,
    /// What it was called.
    pub(crate) was: ProviderName,
    since: Timestamp,
}

impl Retired {
    /// Whether a whole listing of it could be there by now.
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        model::age(self.since, now) >= LATE
    }
}

/// A call that was on its way when a provider was retired has shown what it made after this: the longest one takes a minute,
/// and EC2's listing lags by up to two.
const LATE: Duration = Duration::from_secs(180);

impl Listers {
    /// Lists these providers, and of those before them the ones that may still have machines of ours. One that is the same goes
    /// on; of one that is another nothing is known until it has been listed, and until then nothing leaves there.
    pub(crate) fn follow(
        &mut self,
        providers: &BTreeMap<ProviderName, Arc<dyn Provider>>,
        places: &BTreeMap<ProviderName, String>,
    ) {
        let same = |name: &ProviderName, runs: &Arc<dyn Provider>| {
            let new = providers.get(name);
            new.is_some_and(|new| Arc::ptr_eq(new, runs))
        };
        let ends: Vec<ProviderName> = self
            .running
            .iter()
            .filter(|(name, (provider, _))| !same(name, provider))
            // one that retires already goes on, unless its name is wanted
            .filter(|(name, _)| !self.retiring.contains_key(name) || providers.contains_key(name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ends {
            self.retire(&name, providers);
        }
        self.places.clone_from(places);
        for (name, provider) in providers {
            if !self.running.contains_key(name) {
                let condition = self.readiness.condition(condition_of(name));
                let unknown = Seen::Never { why: None };
                self.begin(name, provider, condition, unknown);
            }
        }
    }

    /// Goes on listing a provider that the configuration does not name any more, under a name that is free.
    fn retire(
        &mut self,
        name: &ProviderName,
        providers: &BTreeMap<ProviderName, Arc<dyn Provider>>,
    ) {
        let Some((provider, stop)) = self.running.remove(name) else {
            return;
        };
        stop.cancel();
        let last = self.listings.last(name);
        self.listings.remove(name);
        let retired = self.retiring.remove(name).unwrap_or_else(|| Retired {
            provider: provider.clone(),
            place: self.places.get(name).cloned().unwrap_or_default(),
            was: name.clone(),
            since: self.clock.now(),
        });
        let taken =
            |name: &ProviderName| providers.contains_key(name) || self.running.contains_key(name);
        let name = earlier(&retired.was, taken);
        warn!(
            provider = %retired.was, listed_as = %name, place = retired.place, machines = alive(&last).count(),
            "this provider is not in the configuration any more, or stands somewhere else: it is listed until its machines have left"
        );
        // it is no condition of being ready: whoever removed it may have taken its credentials away as well
        let condition = Readiness::default().condition(condition_of(&name));
        self.begin(&name, &provider, condition, last);
        self.retiring.insert(name, retired);
    }

    /// Ends what has retired: nothing of ours is left there, which the pools remember too, or the provider that has its name
    /// now is the same place. Says whether that changed anything.
    pub(crate) fn settle(
        &mut self,
        forgotten: &BTreeSet<ProviderName>,
        remembered: &BTreeSet<&ProviderName>,
    ) -> bool {
        let over = |name: &ProviderName, retired: &Retired| {
            let last = self.listings.last(name);
            let late = |at: &Timestamp| model::age(retired.since, *at) >= LATE;
            let is_empty = matches!(&last, Seen::Complete { at, .. } if late(at))
                && alive(&last).next().is_none()
                && !remembered.contains(name);
            is_empty || forgotten.contains(name) || self.is_succeeded(retired, &last)
        };
        let mut ended = self.retiring.clone();
        ended.retain(|name, retired| over(name, retired));
        for (name, retired) in &ended {
            info!(provider = %retired.was, listed_as = %name, "a provider that was removed or stands somewhere else is not listed any more");
            self.retiring.remove(name);
            if let Some((_, stop)) = self.running.remove(name) {
                stop.cancel();
            }
            self.listings.remove(name);
        }
        !ended.is_empty()
    }

    /// Whether the provider that has the name now shows all that was there before, as with other credentials for one account.
    fn is_succeeded(&self, retired: &Retired, last: &Seen<Vec<Instance>>) -> bool {
        if self.retiring.contains_key(&retired.was) || !self.running.contains_key(&retired.was) {
            return false;
        }
        let Seen::Complete { value, at } = self.listings.last(&retired.was) else {
            return false;
        };
        let place = self.places.get(&retired.was);
        let same = place.is_some_and(|place| !place.is_empty() && *place == retired.place);
        let in_time = at > retired.since && (same || model::age(retired.since, at) >= LATE);
        let listed: BTreeSet<&InstanceName> = value.iter().map(|machine| &machine.name).collect();
        in_time && alive(last).all(|machine| listed.contains(&machine.name))
    }

    fn begin(
        &mut self,
        name: &ProviderName,
        provider: &Arc<dyn Provider>,
        condition: Condition,
        known: Seen<Vec<Instance>>,
    ) {
        let (seen, again) = self.listings.add(name);
        seen.send_replace(known);
        let lister = Lister {
            name: name.clone(),
            fleet: self.fleet.clone(),
            provider: provider.clone(),
            clock: self.clock.clone(),
            every: self.timing.list_every,
            limit: self.timing.list_limit,
            metrics: self.metrics.clone(),
            condition,
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
            Some(Ok(name))
                if !self.running.contains_key(&name) || self.retiring.contains_key(&name) =>
            {
                self.readiness.forget(&condition_of(&name));
            }
            Some(Ok(_)) => {}
            // a panic is a bug of ours; readiness shows the silent one
            Some(Err(failure)) => error!(error = %failure, "the loop of one provider broke"),
            None => std::future::pending().await,
        }
    }
}

/// Machines of a listing that are not gone.
pub(crate) fn alive(seen: &Seen<Vec<Instance>>) -> impl Iterator<Item = &Instance> {
    let known = seen.any().into_iter().flatten();
    known.filter(|machine| !machine.state.is_gone())
}

/// The name itself, or one made from it, that is not taken.
pub(crate) fn earlier(name: &ProviderName, taken: impl Fn(&ProviderName) -> bool) -> ProviderName {
    if !taken(name) {
        return name.clone();
    }
    // a name is at most 30 bytes long
    let base: String = name.as_str().chars().take(20).collect();
    let numbered = (1_u32..).map(|number| format!("{base}-before-{number}").parse());
    let free = numbered.flatten().find(|name| !taken(name));
    free.unwrap_or_else(|| name.clone())
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
