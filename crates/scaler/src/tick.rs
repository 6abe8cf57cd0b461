//! One pass: read, plan, check, commit, dispatch. Nothing in it waits for a CI server or a cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::{
    Action, FleetObservation, Grant, Observation, Plan, PoolPlan, Record, Sign, Supply, invariants,
};
use futures::StreamExt;
use jiff::Timestamp;
use model::{Epoch, Instance, Intent, IntentKey, Policy, PoolMemory, PoolName, ProviderName, Seen};
use ports::{PoolCommit, StoreError, StoreErrorKind, Wake};
use sha2::{Digest, Sha256};
use telemetry::{Condition, chain};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::act::{self, Job};
use crate::acting::{Acting, Acts};
use crate::api::Api;
use crate::held::{self, Held};
use crate::keeping::Keeping;
use crate::lease::Term;
use crate::ledger::{Changes, Update};
use crate::lister::{Listers, WANTED_FOR};
use crate::measure::{self, Meter};
use crate::observe::{Observed, observe};
use crate::orphans::Orphans;
use crate::permits::Permits;
use crate::run::{Fleet, Parts, Pool};
use crate::stages::Stages;
use crate::unseen::Unseen;
use crate::view::{FleetView, PoolView};

/// Two ticks are at least this far apart, however many hints come in: a burst of news is one piece of news.
const AT_LEAST: Duration = Duration::from_millis(100);

/// Inputs of a decision that are longer than this are recorded by their digest only: a pool's stream keeps a thousand
/// decisions, and a store is no archive. A pool of a few machines fits.
const MOST_INPUTS: usize = 8 * 1024;

/// Pools that are left alone are named in the log up to this number.
const MOST_SAID: usize = 20;

pub(crate) struct Ticker {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) fenced: Arc<Notify>,
    pub(crate) freed: Arc<Notify>,
    pub(crate) condition: Condition,
    pub(crate) view: watch::Sender<FleetView>,
    /// The next batch of each pool in this epoch.
    pub(crate) sequences: BTreeMap<PoolName, u32>,
    pub(crate) epoch: Option<Epoch>,
    /// What was decided last, to log a decision once.
    pub(crate) essences: BTreeMap<PoolName, (u32, Vec<String>, Vec<&'static str>)>,
    pub(crate) actions: JoinSet<()>,
    /// What each of them does.
    pub(crate) acting: Acting,
    pub(crate) permits: Permits,
    pub(crate) said: String,
    /// Since when the time of machines is counted.
    pub(crate) meter: Meter,
    pub(crate) stages: Stages,
    /// Who else acted for this fleet at the last tick.
    pub(crate) rival: Option<String>,
    /// The last renewal by somebody with another store.
    pub(crate) sign: Option<Sign>,
    /// Machines of pools that are not configured.
    pub(crate) orphans: Orphans,
    pub(crate) said_of_orphans: String,
    /// What of the fleet a configuration lets go, and waits for an operator.
    pub(crate) held: Held,
    /// Machines whose provider is not in the configuration any more.
    pub(crate) unseen: Unseen,
    /// Pools that were left alone at the last tick, and why.
    pub(crate) unreadable: BTreeMap<PoolName, String>,
    /// Who is shown what was seen.
    pub(crate) api: Option<Api>,
    /// When this replica last looked without acting, on the clock's boot time.
    pub(crate) overlooked: Option<Duration>,
    /// What the next configuration decides.
    pub(crate) changes: watch::Receiver<Option<Arc<Parts>>>,
    pub(crate) listers: Listers,
}

/// What each provider listed last.
type Listed = BTreeMap<ProviderName, Seen<Vec<Instance>>>;

/// One pool's part of a tick.
pub(crate) struct Planned {
    pub(crate) seen: Observation,
    pub(crate) supply: Supply,
    grant: Grant,
    pub(crate) plan: Plan,
    pub(crate) is_new: bool,
}

impl Ticker {
    /// Ticks until `stop`, then lets what is in flight finish for at most `grace`.
    pub(crate) async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let mut wakes = self.fleet.store.wakes();
        loop {
            self.reap();
            self.take_change();
            let term = self.term.borrow_and_update().clone();
            match term {
                Some(term) => self.tick(&term).await,
                None => {
                    self.meter.rest();
                    self.stages.rest();
                    self.fleet.metrics.scaler.forget_pools();
                    self.stand_by().await;
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.fleet.clock.sleep(AT_LEAST) => {}
            }
            let ledger = self.fleet.ledger.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(wake) = wakes.next() => {
                    let stands_by = self.term.borrow().is_none();
                    if stands_by && wake == Wake::All {
                        self.freed.notify_one();
                    }
                }
                () = ledger.news() => {}
                () = ordered(self.api.as_ref()) => {}
                Ok(()) = self.term.changed() => {}
                Ok(()) = self.changes.changed() => self.changes.mark_changed(),
                () = self.listers.ended() => {}
                () = self.fleet.clock.sleep(self.fleet.timing.sweep) => {}
            }
        }
        self.finish(grace).await;
    }

    /// Lets go of the actions that have ended: all of them, since each turn reads the whole store. None is waited for here;
    /// the ledger's news wakes the loop when one ends, however it does.
    fn reap(&mut self) {
        while let Some(ended) = self.actions.try_join_next_with_id() {
            self.acting.note(&self.fleet.metrics, ended);
        }
        self.permits.tidy();
    }

    /// Goes on under another configuration, if there is one. What is in flight ends as it began; everything else is judged
    /// anew by the next tick.
    fn take_change(&mut self) {
        if !self.changes.has_changed().unwrap_or(false) {
            return;
        }
        let Some(parts) = self.changes.borrow_and_update().clone() else {
            return;
        };
        self.listers.follow(&parts.providers, &parts.places);
        self.fleet = Arc::new(Fleet {
            retiring: Arc::new(self.listers.retiring.clone()),
            ..self.fleet.with(parts)
        });
        // of pools that are gone nothing is shown any more, of the others the next tick shows all
        self.fleet.metrics.scaler.forget_pools();
        self.overlooked = None;
    }

    /// Looks at what providers of earlier configurations have left, and at what no provider lists. Returns what is planned with.
    fn look_for_unseen(&mut self, seen: &mut FleetObservation, now: Timestamp) {
        let forgotten = held::forgotten(&seen.overrides, &self.fleet.config);
        let memories = seen.pools.values().map(|pool| &pool.memory);
        let remembered = memories.flat_map(|memory| &memory.listed);
        let remembered = remembered.filter(|(_, last)| !last.machines.is_empty());
        let remembered = remembered.map(|(name, _)| name).collect();
        if self.listers.settle(&forgotten, &remembered) {
            let retiring = Arc::new(self.listers.retiring.clone());
            self.fleet = Arc::new(Fleet {
                retiring,
                ..(*self.fleet).clone()
            });
            seen.listings
                .retain(|name, _| self.fleet.provider(name).is_some());
        }
        self.unseen = Unseen::of(&self.fleet, seen, &forgotten);
        let keeping = Keeping::of(&self.fleet, seen, self.held.keeps(), now);
        let (fleet, orphans) = (&self.fleet, &self.orphans);
        self.held
            .judge(fleet, orphans, &seen.overrides, &self.unseen, &keeping);
        self.held.keep(seen, now);
        self.unseen.add_to(seen, now);
    }

    /// Waits for actions in flight and writes down what they learned; what does not end in time is taken over by the
    /// next scaler through its intent.
    async fn finish(mut self, grace: Duration) {
        let clock = self.fleet.clock.clone();
        let all = async {
            while let Some(ended) = self.actions.join_next_with_id().await {
                self.acting.note(&self.fleet.metrics, ended);
            }
        };
        if ports::timeout(&*clock, grace, all).await.is_none() {
            info!(
                in_flight = self.fleet.ledger.in_flight(),
                "handing over actions that did not end in time"
            );
        }
        let term = self.term.borrow().clone();
        if let Some(term) = term {
            let commits = self.learned_only(&term).await;
            if let Err(error) = self.fleet.store.commit(term.epoch, &commits).await {
                debug!(error = %chain(&error), "last intents not written");
            }
        }
    }

    async fn learned_only(&self, term: &Term) -> Vec<PoolCommit> {
        let learned = self.fleet.ledger.learned();
        let Ok(record) = self.read().await else {
            return Vec::new();
        };
        let now = self.fleet.clock.now();
        let observed = observe(
            &self.fleet,
            &self.orphans.pools,
            term,
            &learned,
            record,
            &self.sequences,
            now,
        );
        let commit = |(pool, changes): (PoolName, Changes)| PoolCommit {
            pool,
            memory: None,
            put: changes.put,
            end: changes.end,
            decision: None,
        };
        observed.changes.into_iter().map(commit).collect()
    }

    pub(crate) async fn read(&self) -> Result<ports::FleetRecord, StoreError> {
        let pools = self.fleet.pools.keys();
        let pools = pools.chain(self.orphans.pools.keys());
        // a set, since an orphan is among those that are found
        let pools: BTreeSet<PoolName> = pools.chain(&self.orphans.found).cloned().collect();
        let pools: Vec<PoolName> = pools.into_iter().collect();
        // pools that were removed may have been all that a CI server had
        let emitters = self.fleet.emitters.iter();
        let emitters: BTreeSet<_> = emitters.chain(self.fleet.settles.keys()).cloned().collect();
        let emitters: Vec<_> = emitters.into_iter().collect();
        self.fleet.store.read(&pools, &emitters).await
    }

    #[tracing::instrument(name = "scaler.tick", skip_all, fields(epoch = %term.epoch))]
    async fn tick(&mut self, term: &Term) {
        let began = self.fleet.clock.boottime();
        if self.epoch != Some(term.epoch) {
            self.epoch = Some(term.epoch);
            self.sequences.clear();
        }
        let learned = self.fleet.ledger.learned();
        self.look_for_orphans();
        self.report_orphans();
        let record = match self.read().await {
            Ok(record) => record,
            Err(error) => return self.store_failed(&error, "nothing is decided"),
        };
        self.orphans.learn(&record);
        let now = self.fleet.clock.now();
        let (emitters, orders) = (record.emitters.clone(), record.orders.clone());
        let mut observed = observe(
            &self.fleet,
            &self.orphans.pools,
            term,
            &learned,
            record,
            &self.sequences,
            now,
        );
        if observed.fleet.rival.is_none() {
            let sign = self.sign_of_a_rival(&observed.fleet.listings, now).await;
            observed.fleet.rival = sign;
        }
        let overrides = observed.fleet.overrides.clone();
        self.look_for_unseen(&mut observed.fleet, now);
        self.report_unreadable(&observed);
        self.fleet
            .names
            .see(&observed.fleet, &self.fleet.pools, term.epoch);
        let planned = self.plan(&mut observed, now);
        let commits = self.commits(&observed, &planned, now);
        if !commits.is_empty()
            && let Err(error) = self.fleet.store.commit(term.epoch, &commits).await
        {
            return self.store_failed(&error, "no action begins that is not recorded");
        }
        self.fleet.ledger.written(&learned);
        // not before the store has taken what was decided: who has lost the lease sees his own successor
        self.report_rival(observed.fleet.rival.as_deref());
        self.condition.ready();
        self.said.clear();
        for pool in planned.iter().filter(|pool| pool.is_new) {
            self.report(pool);
        }
        let boottime = self.fleet.clock.boottime();
        let gap = self.meter.tick(boottime);
        let machines = planned.iter().flat_map(|pool| &pool.supply.machines);
        for (machine, stage, took) in self.stages.tick(machines, boottime) {
            let pool = machine.pool().as_str();
            let metrics = &self.fleet.metrics.scaler;
            metrics.took(pool, stage.as_str(), took);
            debug!(%machine, stage = stage.as_str(), ?took, "a stage of a machine's way to its first job is over");
        }
        for pool in &planned {
            self.sequences
                .insert(pool.plan.pool.clone(), pool.plan.next_sequence);
            self.essences
                .insert(pool.plan.pool.clone(), pool.plan.essence());
            let policy = self.fleet.pools.get(&pool.plan.pool);
            let policy = policy.map(|pool| &pool.policy);
            measure::show(&self.fleet.metrics.scaler, pool, policy, gap, now);
            self.dispatch(term, pool);
        }
        let pools = planned
            .iter()
            .map(|pool| PoolView::of(&pool.plan, &pool.supply))
            .collect();
        self.view.send_replace(FleetView {
            epoch: Some(term.epoch),
            at: Some(now),
            pools,
        });
        self.show(planned, emitters, overrides, now);
        self.end_orders(&orders).await;
        let took = self.fleet.clock.boottime().saturating_sub(began);
        self.fleet.metrics.scaler.ticked(took);
    }

    /// Says once which pools are left alone because the store holds nonsense of them.
    fn report_unreadable(&mut self, observed: &Observed) {
        for (pool, why) in &observed.unreadable {
            if self.unreadable.get(pool) != Some(why) {
                error!(%pool, error = why, "nothing is decided for this pool: remove the value the store holds under the key");
            }
        }
        self.unreadable.clone_from(&observed.unreadable);
    }

    /// A pool, configured or not.
    fn pool(&self, name: &PoolName) -> Option<&Pool> {
        let configured = self.fleet.pools.get(name);
        configured.or_else(|| self.orphans.pools.get(name))
    }

    /// Looks for machines of pools that are not configured. Every replica does, since each tells machines that they are wanted.
    pub(crate) fn look_for_orphans(&mut self) {
        let now = self.fleet.clock.now();
        self.orphans = std::mem::take(&mut self.orphans).now(&self.fleet, now);
        self.fleet.listings.unwanted(self.orphans.unwanted(now));
    }

    /// Says once of which pools there are machines though they are not configured.
    fn report_orphans(&mut self) {
        let Orphans {
            pools,
            executors_only,
            left_alone,
            ..
        } = &self.orphans;
        let with_machines = pools.keys().filter(|it| !executors_only.contains(it));
        let leave = some_of(with_machines.map(ToString::to_string).collect());
        let executors = some_of(executors_only.iter().map(ToString::to_string).collect());
        let stay = left_alone.iter();
        let stay = some_of(stay.map(|(pool, why)| format!("{pool}: {why}")).collect());
        let said = format!("{leave} {stay} {executors}");
        if said != self.said_of_orphans {
            if !leave.is_empty() {
                warn!(
                    pools = leave,
                    "machines of pools that are not configured: they leave as they become idle"
                );
            }
            if !executors.is_empty() {
                warn!(
                    pools = executors,
                    "executors of pools that are not configured, and no machine of theirs is listed: those that are offline are removed"
                );
            }
            if !stay.is_empty() {
                warn!(
                    pools = stay,
                    "machines of pools that are not configured stay, since nobody can tell what they do or make them leave: delete them by hand, or configure their pools again; after a day their guests, where they have one, end them when they are idle"
                );
            }
            self.said_of_orphans = said;
        }
    }

    /// The last renewal by somebody with another store, in words, while it is taken for a sign. It is remembered, since our own
    /// renewal is written over his.
    async fn sign_of_a_rival(&mut self, listings: &Listed, now: Timestamp) -> Option<String> {
        let installation = self.listers.installation.clone();
        let seen = |ours| engine::renewed_by_another(listings, ours, WANTED_FOR, now);
        let known = match installation.known() {
            Some(known) => Some(known),
            None => installation.ask().await,
        };
        let last = self.sign.as_ref().map(|sign| sign.at);
        let is_news = |sign: &Sign| last.is_none_or(|last| sign.at > last);
        if known.and_then(seen).is_some_and(|sign| is_news(&sign)) {
            // a store that was wiped belongs to another id now, and what was not ours may be
            let asked = installation.ask().await.and_then(seen);
            self.sign = asked.filter(is_news).or(self.sign.take());
        }
        self.sign.take_if(|sign| !sign.holds(now));
        self.sign.as_ref().map(|sign| sign.what.clone())
    }

    /// Says loudly, and once, that somebody else acts for the fleet, and that he does no more.
    fn report_rival(&mut self, rival: Option<&str>) {
        match rival {
            Some(sign) if self.rival.as_deref() != Some(sign) => {
                let fleet = &self.fleet.id;
                error!(%fleet, sign, "ANOTHER INSTALLATION ACTS FOR THIS FLEET: nothing leaves until it has stopped for an hour; give one of the two another `fleet`");
            }
            None if self.rival.is_some() => {
                info!("no other installation acts for this fleet any more");
            }
            Some(_) | None => {}
        }
        self.rival = rival.map(str::to_owned);
    }

    fn store_failed(&mut self, error: &StoreError, so: &str) {
        self.fleet.metrics.store_error();
        if error.kind == StoreErrorKind::Fenced {
            self.fenced.notify_one();
        }
        let why = chain(error).to_string();
        if let Some(api) = &self.api {
            api.looked_in_vain(why.clone());
        }
        self.condition.not_ready(why.clone());
        if self.said != why {
            warn!(error = %why, so, "store failed: everything holds");
            self.said = why;
        }
    }

    fn plan(&self, observed: &mut Observed, now: Timestamp) -> Vec<Planned> {
        let mut split = observed.take_fleet().split();
        for (name, seen) in &mut split.pools {
            seen.intents_lost_at = observed.lost_at.get(name).copied().flatten();
        }
        let pools = self.fleet.pools.values().chain(self.orphans.pools.values());
        let policies: BTreeMap<&PoolName, Policy> = pools
            .map(|pool| (&pool.policy.pool, self.held.policy(&pool.policy)))
            .collect();
        let mut plans = engine::plan_fleet(split, policies.values(), &self.fleet.limits, now);
        self.judge_growth(&mut plans, now);
        let judged = plans.into_iter().filter_map(|planned| {
            let policy = policies.get(&planned.plan.pool)?;
            Some(self.judged(planned, policy, now))
        });
        judged.collect()
    }

    /// Caps and budgets of the fleet, looked at once more over all plans: if one is broken, nothing is created.
    fn judge_growth(&self, plans: &mut [PoolPlan], now: Timestamp) {
        let policy = |pool: &PoolName| self.pool(pool).map(|pool| &pool.policy);
        let violations = invariants::check_fleet(plans, policy, &self.fleet.limits, now);
        for violation in &violations {
            self.fleet.metrics.scaler.violated(violation.id);
            error!(%violation, "the plans together break an invariant: nothing is created; please report this");
        }
        if violations.is_empty() {
            return;
        }
        for planned in plans {
            let plan = &mut planned.plan;
            plan.actions
                .retain(|action| !matches!(action, Action::Create { .. }));
            plan.put
                .retain(|intent| !matches!(intent, Intent::Create { .. }));
        }
    }

    /// What must never happen is looked for once more in the finished plan; one that breaks it is not carried out.
    fn judged(&self, planned: PoolPlan, policy: &Policy, now: Timestamp) -> Planned {
        let PoolPlan {
            seen,
            supply,
            mut plan,
            grant,
        } = planned;
        let violations = invariants::check(&seen, policy, &plan, now);
        for violation in &violations {
            self.fleet.metrics.scaler.violated(violation.id);
            error!(pool = %plan.pool, %violation, "a plan breaks an invariant: it is not carried out; please report this");
        }
        if !violations.is_empty() {
            plan.actions.clear();
            plan.put.clear();
            plan.end.clear();
        }
        let is_new = self.essences.get(&plan.pool) != Some(&plan.essence());
        Planned {
            seen,
            supply,
            grant,
            plan,
            is_new,
        }
    }

    fn commits(&self, observed: &Observed, planned: &[Planned], now: Timestamp) -> Vec<PoolCommit> {
        let places = self.fleet.stands_at();
        let mut commits = Vec::new();
        for pool in planned {
            let Planned {
                seen, plan, is_new, ..
            } = pool;
            let changes = observed
                .changes
                .get(&plan.pool)
                .cloned()
                .unwrap_or_default();
            let ended = |intent: &Intent| plan.end.contains(&intent.key());
            let replaced = |intent: &Intent| plan.put.iter().any(|new| new.key() == intent.key());
            let learned = changes
                .put
                .into_iter()
                .filter(|i| !ended(i) && !replaced(i));
            let put: Vec<Intent> = learned.chain(plan.put.iter().cloned()).collect();
            let end: Vec<IntentKey> = changes.end.into_iter().chain(plan.end.clone()).collect();
            let listed = match self.pool(&plan.pool) {
                Some(pool) => self.unseen.remember(&places, &pool.policy, seen),
                None => seen.seen.memory.listed.clone(),
            };
            let memory = PoolMemory {
                intents_lost_at: seen.intents_lost_at,
                listed,
                keeps: self.held.keeps().get(&plan.pool).cloned(),
                ..plan.memory.clone()
            };
            let is_old = memory == seen.seen.memory && !observed.put_right.contains(&plan.pool);
            let memory = (!is_old).then_some(memory);
            let decision = is_new.then(|| {
                let (digest, inputs) = self.inputs(pool, now);
                serde_json::json!({
                    "digest": digest,
                    "inputs": inputs,
                    "summary": plan.summary,
                    "actions": plan.actions.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "reasons": plan.reasons,
                    "in_words": plan.reasons_in_words(),
                })
            });
            if put.is_empty() && end.is_empty() && memory.is_none() && decision.is_none() {
                continue;
            }
            commits.push(PoolCommit {
                pool: plan.pool.clone(),
                memory,
                put,
                end,
                decision,
            });
        }
        commits
    }

    /// What a plan rests on, for its record: a digest always, and the inputs themselves while they are small.
    fn inputs(&self, pool: &Planned, now: Timestamp) -> (String, Option<serde_json::Value>) {
        let Some(settings) = self.pool(&pool.plan.pool) else {
            return (String::new(), None);
        };
        let record = Record {
            now,
            seen: pool.seen.clone(),
            policy: self.held.policy(&settings.policy),
            grant: pool.grant.clone(),
        };
        let Ok(text) = serde_json::to_string(&record) else {
            return (String::new(), None);
        };
        let digest = Sha256::digest(text.as_bytes());
        let digest: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let small = text.len() <= MOST_INPUTS;
        (digest, small.then(|| serde_json::json!(record)))
    }

    /// One line when the plan changes, with its reasons in a sentence.
    fn report(&self, Planned { plan, .. }: &Planned) {
        let summary = &plan.summary;
        info!(
            pool = %plan.pool,
            target = summary.target,
            serving = summary.serving,
            queued = summary.queued,
            actions = plan.actions_in_words(),
            reasons = plan.reasons_in_words(),
            "plan changed"
        );
    }

    fn dispatch(&mut self, term: &Term, pool: &Planned) {
        for action in &pool.plan.actions {
            let subject = action.subject();
            if let Action::Uncordon { instance, .. } = action
                && !self
                    .fleet
                    .ledger
                    .may_call_back(instance, pool.seen.seen.workload.at())
            {
                // the look is older than the last call: asked again now, it would be asked at every tick until the next
                continue;
            }
            let intent = intent_of(action, pool);
            let ledger = &self.fleet.ledger;
            let doubted = doubted(intent.as_ref());
            let Some(begun) = ledger.begin(&subject, &self.fleet.clock, doubted) else {
                continue;
            };
            let job = Job {
                action: action.clone(),
                term: term.clone(),
                instance: listed(&pool.seen.listings, action),
                intent,
                unjoined: unjoined(action, pool),
                orphan: self.orphans.pools.get(&pool.plan.pool).cloned(),
                overrides: pool.seen.overrides.clone(),
            };
            let permits = self.permits.of(&pool.plan.pool, action);
            let fleet = self.fleet.clone();
            let (name, action) = (pool.plan.pool.clone(), action.as_str());
            let task = self.actions.spawn(async move {
                // nobody closes them: it always gets one
                let permit = permits.acquire_owned().await.ok();
                let updates = act::act(&fleet, job).await;
                drop(permit);
                begun.ended(updates);
            });
            let acts = Acts {
                pool: name,
                action,
                subject,
            };
            self.acting.insert(task.id(), acts);
        }
    }
}

/// What is said of many, so far as a line of a log holds it.
fn some_of(mut said: Vec<String>) -> String {
    let more = said.len().saturating_sub(MOST_SAID);
    said.truncate(MOST_SAID);
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    said.join("; ")
}

/// Completes when an operator said something here; never where nobody can.
async fn ordered(api: Option<&Api>) {
    match api {
        Some(api) => api.ordered().await,
        None => std::future::pending().await,
    }
}

/// The machine that its provider is asked about, exactly as it listed it.
fn listed(
    listings: &BTreeMap<ProviderName, Seen<Vec<Instance>>>,
    action: &Action,
) -> Option<Instance> {
    let (Action::Delete {
        instance, provider, ..
    }
    | Action::AskGuest {
        instance, provider, ..
    }) = action
    else {
        return None;
    };
    let list = listings.get(provider)?.any()?;
    list.iter().find(|listed| listed.name == *instance).cloned()
}

/// The machine of an action that lets go of one which never joined.
fn unjoined(action: &Action, pool: &Planned) -> Option<(ProviderName, Instance)> {
    let (Action::Cordon { instance, .. }
    | Action::AskGuest { instance, .. }
    | Action::Delete { instance, .. }) = action
    else {
        return None;
    };
    let mut broken = pool.plan.memory.broken.values();
    if !broken.any(|failed| failed.machines.contains(instance)) {
        return None;
    }
    let listings = pool.seen.listings.iter();
    let mut all = listings.flat_map(|(provider, listing)| {
        let list = listing.any().into_iter().flatten();
        list.map(move |machine| (provider, machine))
    });
    let found = all.find(|(_, machine)| machine.name == *instance);
    found.map(|(provider, machine)| (provider.clone(), machine.clone()))
}

/// What an action has learned that broke on its way: a creation may have been made, and counts as one whose answer is only now
/// given up. Of anything else the record stays as it is.
fn doubted(intent: Option<&Intent>) -> Vec<Update> {
    let creation = intent.filter(|intent| matches!(intent, Intent::Create { .. }));
    creation.cloned().map(Update::Put).into_iter().collect()
}

/// The intent behind an action, as it is recorded after this tick's commit.
fn intent_of(action: &Action, pool: &Planned) -> Option<Intent> {
    let key = match action {
        Action::Create { batch, .. } => IntentKey::Create(batch.clone()),
        Action::Uncordon { instance, .. }
        | Action::Cordon { instance, .. }
        | Action::AskGuest { instance, .. }
        | Action::Verify { instance, .. }
        | Action::Delete { instance, .. }
        | Action::RemoveExecutor { instance, .. } => IntentKey::Leave(instance.clone()),
    };
    let put = pool.plan.put.iter().find(|intent| intent.key() == key);
    let stored = pool.seen.seen.intents.iter().map(|stored| &stored.intent);
    put.or_else(|| stored.into_iter().find(|intent| intent.key() == key))
        .cloned()
}
