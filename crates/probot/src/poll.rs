//! One emitter's loop: hold the lease, look, map, write, wait.

use std::sync::Arc;
use std::time::Duration;

use model::{EmitterName, Epoch, HolderId, Snapshot};
use ports::{
    Acquired, Clock, Emitter, EmitterError, EmitterErrorKind, LeaseName, Store, StoreError,
    StoreErrorKind, WorkloadWrite, timeout,
};
use service::{Pauses, caught};
use telemetry::{Condition, Metrics, chain};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::ahead::Durations;
use crate::mapping::{Mapped, Mapper, oldest_wait};
use crate::pace::{Ended, News, Pace, STORE_RETRY};
use crate::passed_over::PassedOver;

/// Jobs without a pool are named in the log up to this number.
const LOGGED_UNMATCHED: usize = 5;

/// One emitter and everything its loop needs.
pub struct Polled {
    /// Its name.
    pub name: EmitterName,
    /// The plugin.
    pub emitter: Arc<dyn Emitter>,
    /// Maps its jobs to pools.
    pub mapper: Mapper,
    /// Time between the starts of two looks.
    pub every: Duration,
    /// Longest time one look may take.
    pub timeout: Duration,
}

pub(crate) struct Poller {
    pub(crate) polled: Arc<Polled>,
    /// What takes the place of `polled` after a change of the configuration.
    changes: watch::Receiver<Arc<Polled>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) holder: HolderId,
    pub(crate) condition: Condition,
    /// Somebody says that the emitter should be looked at sooner.
    pub(crate) hint: Arc<Notify>,
    pace: Pace,
    durations: Durations,
    passed_over: PassedOver,
    /// What was logged last, so that a repeated line is logged once.
    said: String,
}

/// Shows the emitter and its pools to the metrics.
fn watches(metrics: &Metrics, polled: &Polled) {
    let pools = polled.mapper.names().map(model::PoolName::as_str);
    metrics.probot.watches(polled.name.as_str(), pools);
}

/// The wait after one turn.
struct Pause {
    length: Duration,
    /// From when on, by boot time, a hint may end the wait, if at all.
    hintable: Option<Duration>,
}

impl Pause {
    fn fixed(length: Duration) -> Self {
        Pause {
            length,
            hintable: None,
        }
    }
}

impl Poller {
    pub(crate) fn new(
        mut changes: watch::Receiver<Arc<Polled>>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        holder: HolderId,
        condition: Condition,
        hint: Arc<Notify>,
    ) -> Self {
        let polled = changes.borrow_and_update().clone();
        let pace = Pace::new(polled.every);
        watches(&metrics, &polled);
        Poller {
            polled,
            changes,
            store,
            clock,
            metrics,
            holder,
            condition,
            hint,
            pace,
            durations: Durations::default(),
            passed_over: PassedOver::default(),
            said: String::new(),
        }
    }

    /// Runs until `stop`; gives the lease back then. A run that panics is begun again after a pause, under the configuration that
    /// is in force by then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut held = None;
        let mut pauses = Pauses::default();
        loop {
            let began = self.clock.boottime();
            let Err(why) = caught(self.poll_until(&stop, &mut held)).await else {
                break;
            };
            let pause = pauses.after(self.clock.boottime().saturating_sub(began));
            self.broke(&why, pause);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.clock.sleep(pause) => self.take_change(),
            }
        }
        if let Some(epoch) = held
            && let Err(error) = self.store.release(&self.lease(), &self.holder, epoch).await
        {
            debug!(emitter = %self.polled.name, error = %chain(&error), "lease not given back");
        }
    }

    fn broke(&self, why: &str, pause: Duration) {
        let name = self.polled.name.as_str();
        error!(
            emitter = name, error = why, again_in = ?pause,
            "THE LOOP THAT LOOKS AT THIS EMITTER BROKE: its pools hold until it is looked at again; please report this"
        );
        let none = Duration::ZERO;
        self.metrics.probot.probed(name, "panicked", none, 0, 0);
        self.condition
            .not_ready(format!("looking at it panicked: {why}"));
    }

    async fn poll_until(&mut self, stop: &CancellationToken, held: &mut Option<Epoch>) {
        loop {
            let pause = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                pause = self.turn(held) => pause,
            };
            let mut changes = self.changes.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = changes.changed() => {}
                () = self.rest(pause) => {}
            }
            self.take_change();
        }
    }

    /// Goes on with another configuration, if there is one; what was learned of the CI server stays.
    fn take_change(&mut self) {
        let polled = self.changes.borrow_and_update().clone();
        if Arc::ptr_eq(&polled, &self.polled) {
            return;
        }
        if polled.every != self.polled.every {
            self.pace = Pace::new(polled.every);
        }
        watches(&self.metrics, &polled);
        self.polled = polled;
    }

    /// Waits; a hint ends the wait, but not sooner than the pace allows.
    async fn rest(&self, pause: Pause) {
        let whole = self.clock.sleep(pause.length);
        let Some(soonest) = pause.hintable else {
            return whole.await;
        };
        let hinted = async {
            self.hint.notified().await;
            let rest = soonest.saturating_sub(self.clock.boottime());
            self.clock.sleep(rest).await;
        };
        tokio::select! {
            () = whole => {}
            () = hinted => debug!(emitter = %self.polled.name, "looks sooner, because of a hint"),
        }
    }

    fn lease(&self) -> LeaseName {
        LeaseName::Emitter(self.polled.name.clone())
    }

    /// Long enough for one whole look and the wait after a failed one; short enough that another replica takes over
    /// before workloads are stale.
    fn ttl(&self) -> Duration {
        self.polled.timeout + self.polled.every * 2
    }

    /// One turn; returns how long to wait before the next.
    async fn turn(&mut self, held: &mut Option<Epoch>) -> Pause {
        let lease = self.lease();
        match self
            .store
            .acquire(&lease, &self.holder, self.ttl(), Epoch(0))
            .await
        {
            Ok(Acquired::Held(granted)) => {
                if *held != Some(granted.epoch) {
                    info!(emitter = %self.polled.name, epoch = %granted.epoch, "this replica looks at the emitter");
                }
                *held = Some(granted.epoch);
            }
            Ok(Acquired::By { holder, remaining }) => {
                *held = None;
                self.condition.ready();
                self.say(format!("another replica looks at the emitter: {holder}"));
                let wait = remaining.min(self.polled.every);
                return Pause::fixed(wait.max(Duration::from_millis(50)));
            }
            Err(error) => {
                self.store_failed(&error);
                return Pause::fixed(STORE_RETRY);
            }
        }
        let Some(epoch) = *held else {
            return Pause::fixed(STORE_RETRY);
        };
        let began = self.clock.boottime();
        let ended = self.look(epoch, began).await;
        let took = self.clock.boottime().saturating_sub(began);
        if let Some(news) = self.pace.note(ended) {
            self.tell(news);
        }
        let length = self.pace.wait(ended, took, fastrand::f64());
        let soonest = self.pace.soonest(took);
        let hintable = soonest.map(|after| began.saturating_add(after));
        Pause { length, hintable }
    }

    fn tell(&self, news: News) {
        let name = self.polled.name.as_str();
        self.metrics.probot.breaker(name, self.pace.is_open());
        match news {
            News::Opened { failures } => {
                warn!(
                    emitter = name,
                    failures, "looks fail: asked once a minute until one succeeds"
                );
            }
            News::Closed { failures } => info!(emitter = name, failures, "answers again"),
        }
    }

    async fn look(&mut self, epoch: Epoch, began: Duration) -> Ended {
        let probe = timeout(
            &*self.clock,
            self.polled.timeout,
            self.polled.emitter.probe(),
        )
        .await;
        let name = self.polled.name.to_string();
        let took = self.clock.boottime().saturating_sub(began);
        let snapshot = match probe {
            Some(Ok(snapshot)) => self.without_passed_over(snapshot),
            Some(Err(error)) => {
                self.metrics
                    .probot
                    .probed(&name, error.kind.as_str(), took, 0, 0);
                return self.failed(epoch, &error).await;
            }
            None => {
                self.metrics.probot.probed(&name, "timed_out", took, 0, 0);
                let error = EmitterError {
                    kind: EmitterErrorKind::TimedOut,
                    emitter: self.polled.name.clone(),
                    operation: "answer in time",
                    message: format!("no whole look within {:?}", self.polled.timeout),
                    source: None,
                };
                return self.failed(epoch, &error).await;
            }
        };
        let outcome = if snapshot.completeness.is_complete() {
            "ok"
        } else {
            "partial"
        };
        let (requests, bytes) = (u64::from(snapshot.cost.requests), snapshot.cost.bytes);
        self.metrics
            .probot
            .probed(&name, outcome, took, requests, bytes);
        self.durations.observe(&snapshot);
        let now = self.clock.now();
        let mapped = self.polled.mapper.map(&snapshot, &self.durations, now);
        self.report(&snapshot.completeness, &mapped);
        let metrics = &self.metrics.probot;
        metrics.set_unmatched(&name, mapped.unmatched_total);
        for (pool, waited) in &mapped.waits {
            metrics.job_started(pool.as_str(), *waited);
        }
        let write = WorkloadWrite {
            emitter: self.polled.name.clone(),
            epoch,
            elapsed: self.clock.boottime().saturating_sub(began),
            workloads: mapped.workloads,
            unmatched: mapped.unmatched,
            unmatched_total: mapped.unmatched_total,
            named: mapped.named,
            left_over: mapped.left_over,
        };
        match self.store.put_workloads(&write).await {
            Ok(()) => {
                self.condition.ready();
                Ended::Well
            }
            Err(error) => {
                self.store_failed(&error);
                Ended::Unwritten
            }
        }
    }

    fn without_passed_over(&mut self, mut snapshot: Snapshot) -> Snapshot {
        for news in self.passed_over.judge(&self.polled.mapper, &mut snapshot) {
            self.metrics.probot.passed_over(news.pool.as_str());
            let (job, pool, beside) = (news.job, news.pool, news.beside.join(", "));
            warn!(
                emitter = %self.polled.name, job, %pool, idle = beside, not_counted_for_s = news.pause.as_secs(),
                "the CI server does not hand this job out although machines stand idle: no demand for a while"
            );
        }
        snapshot
    }

    async fn failed(&mut self, epoch: Epoch, error: &EmitterError) -> Ended {
        let why = chain(error).to_string();
        if self.is_new(format!("failed {why}")) {
            warn!(emitter = %self.polled.name, error = %why, "look failed: its pools hold");
        }
        self.condition.not_ready(why.clone());
        if let Err(error) = self.store.put_failure(&self.polled.name, epoch, &why).await {
            self.store_failed(&error);
        }
        Ended::Badly(error.kind)
    }

    fn store_failed(&mut self, error: &StoreError) {
        self.metrics.store_error();
        let why = chain(error).to_string();
        if error.kind != StoreErrorKind::Fenced {
            self.condition.not_ready(why.clone());
        }
        if self.is_new(format!("store {why}")) {
            warn!(emitter = %self.polled.name, error = %why, "workloads not written");
        }
    }

    /// One line when what was seen changes, and the reasons when it is not all there is.
    fn report(&mut self, completeness: &model::Completeness, mapped: &Mapped) {
        let row =
            |w: &model::Workload| format!("{}={}+{}", w.pool, w.demand.runnable, w.demand.running);
        let pools: Vec<String> = mapped.workloads.iter().map(row).collect();
        let pools = pools.join(" ");
        let doubts = completeness.doubts().join("; ");
        let text = format!("{pools} {doubts} {}", mapped.unmatched_total);
        if !self.is_new(text) {
            return;
        }
        let emitter = &self.polled.name;
        let oldest = oldest_wait(mapped).as_secs();
        info!(%emitter, queued_and_running = pools, oldest_wait_s = oldest, "workload changed");
        if !doubts.is_empty() {
            warn!(%emitter, why = doubts, "look is partial: its pools may grow but not shrink");
        }
        for job in mapped.unmatched.iter().take(LOGGED_UNMATCHED) {
            let nearest = job.nearest.as_ref().map_or("none", |pool| pool.as_str());
            let missing = job.missing.join(", ");
            info!(%emitter, job = job.job, nearest, missing, "no pool takes this job");
        }
    }

    fn say(&mut self, text: String) {
        if self.is_new(text.clone()) {
            info!(emitter = %self.polled.name, "{text}");
        }
    }

    fn is_new(&mut self, text: String) -> bool {
        let new = self.said != text;
        self.said = text;
        new
    }
}
