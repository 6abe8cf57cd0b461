//! What actions taught us since the last tick.
//!
//! Kept in this process only, until the next commit writes it. Losing it is safe: an intent that is not updated stays
//! as doubtful as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::OfferNews;
use jiff::Timestamp;
use model::{InstanceName, Intent, IntentKey, PoolName, StoredIntent, age};
use ports::Clock;
use tokio::sync::Notify;

use crate::refusals::Refusals;
use crate::sought::Sought;

/// How long it is remembered that a machine was called back: longer than any look is waited for.
const CALLED_BACK_KEPT: Duration = Duration::from_secs(600);

/// So long nothing begins about a machine or batch whose action panicked: it would most likely panic again.
const RESTS_FOR: Duration = Duration::from_secs(30);

/// News of offers that wait for a commit at most: while the store is away nothing is created, so they are few.
const MOST_NEWS: usize = 4096;

/// One thing an action learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// An intent is further than it was.
    Put(Intent),
    /// An intent ended.
    End(IntentKey),
    /// A machine was asked to take jobs again, with or without success.
    CalledBack {
        instance: InstanceName,
        at: Timestamp,
    },
    /// How a creation ended, for the memory of offers.
    Offer { pool: PoolName, news: OfferNews },
    /// Nothing can be created for a pool for a while.
    Held {
        pool: PoolName,
        why: String,
        wait: Duration,
    },
}

#[derive(Debug, Default)]
struct State {
    in_flight: BTreeSet<String>,
    /// Until when, by boot time, nothing begins about what an action broke at.
    resting: BTreeMap<String, Duration>,
    put: BTreeMap<IntentKey, Intent>,
    end: BTreeSet<IntentKey>,
    called_back: BTreeMap<InstanceName, Timestamp>,
    /// In the order in which they came, by their number.
    news: BTreeMap<u64, (PoolName, OfferNews)>,
    next_news: u64,
    held: BTreeMap<PoolName, (String, Duration)>,
    refusals: Refusals,
    sought: Sought,
}

/// Shared by the tick and the actions it began.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    state: Arc<Mutex<State>>,
    news: Arc<Notify>,
}

/// Intent changes of one pool that are to be written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) put: Vec<Intent>,
    pub(crate) end: Vec<IntentKey>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks an action as begun; `None` when one about the same machine or batch is still on its way, or broke a moment ago.
    /// `if_it_breaks` is what is learned should it panic.
    pub(crate) fn begin(
        &self,
        subject: &str,
        clock: &Arc<dyn Clock>,
        if_it_breaks: Vec<Update>,
    ) -> Option<Begun> {
        let now = clock.boottime();
        let mut state = self.lock();
        state.resting.retain(|_, until| *until > now);
        let free = !state.resting.contains_key(subject);
        (free && state.in_flight.insert(subject.to_owned())).then(|| Begun {
            ledger: self.clone(),
            clock: clock.clone(),
            subject: subject.to_owned(),
            updates: if_it_breaks,
            ended: false,
        })
    }

    /// An action ended and this is what it learned.
    fn finish(&self, subject: &str, updates: Vec<Update>, boottime: Duration) {
        let mut state = self.lock();
        state.in_flight.remove(subject);
        for update in updates {
            match update {
                Update::Put(intent) => {
                    state.end.remove(&intent.key());
                    state.put.insert(intent.key(), intent);
                }
                Update::End(key) => {
                    state.put.remove(&key);
                    state.end.insert(key);
                }
                Update::CalledBack { instance, at } => {
                    let old = |then: &Timestamp| age(*then, at) > CALLED_BACK_KEPT;
                    state.called_back.retain(|_, then| !old(then));
                    state.called_back.insert(instance, at);
                }
                Update::Offer { pool, news } => {
                    let number = state.next_news;
                    state.next_news += 1;
                    state.news.insert(number, (pool, news));
                    while state.news.len() > MOST_NEWS {
                        state.news.pop_first();
                    }
                }
                Update::Held { pool, why, wait } => {
                    state.held.insert(pool, (why, boottime + wait));
                }
            }
        }
        drop(state);
        self.news.notify_one();
    }

    /// Whether a look that began at this moment can show whether the machine was called back the last time.
    pub(crate) fn may_call_back(&self, instance: &InstanceName, look: Option<Timestamp>) -> bool {
        let state = self.lock();
        let last = state.called_back.get(instance);
        last.is_none_or(|last| look.is_some_and(|look| look > *last))
    }

    /// Completes when an action ended.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// How many actions are on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight.len()
    }

    /// Lays what was learned over a pool's stored intents. What concerns an intent that is no longer there is stale and
    /// dropped: a tick has ended it meanwhile.
    ///
    /// It takes what was learned at one moment and not what is known now, since what came in between is not yet
    /// [`Ledger::written`] afterwards and would be laid over a later state.
    pub(crate) fn overlay(
        &self,
        learned: &Learned,
        pool: &PoolName,
        stored: &mut Vec<StoredIntent>,
    ) -> Changes {
        let mut changes = Changes::default();
        for entry in stored.iter_mut() {
            let key = entry.intent.key();
            if let Some(intent) = learned.put.get(&key) {
                *entry = StoredIntent {
                    intent: intent.clone(),
                    age: Duration::ZERO,
                };
                changes.put.push(intent.clone());
            }
            if learned.end.contains(&key) {
                changes.end.push(key);
            }
        }
        stored.retain(|entry| !changes.end.contains(&entry.intent.key()));
        let state = self.lock();
        for entry in stored.iter_mut() {
            // while its call is on the way a creation does not age: a listing cannot show yet what was not answered
            if let Intent::Create { batch, .. } = &entry.intent
                && state.in_flight.contains(&batch.to_string())
            {
                entry.age = Duration::ZERO;
            }
        }
        debug_assert!(changes.put.iter().all(|intent| intent.pool() == pool));
        changes
    }

    /// What was learned up to an overlay is written, or was about intents that are gone.
    pub(crate) fn written(&self, learned: &Learned) {
        let mut state = self.lock();
        state
            .put
            .retain(|key, intent| learned.put.get(key) != Some(intent));
        state.end.retain(|key| !learned.end.contains(key));
        state
            .news
            .retain(|number, _| !learned.news.contains_key(number));
    }

    /// What is to be written, to be handed to [`Ledger::written`] afterwards.
    pub(crate) fn learned(&self) -> Learned {
        let state = self.lock();
        Learned {
            put: state.put.clone(),
            end: state.end.clone(),
            news: state.news.clone(),
        }
    }

    /// What the CI server refuses to have cordoned.
    pub(crate) fn refusals<T>(&self, look: impl FnOnce(&mut Refusals) -> T) -> T {
        look(&mut self.lock().refusals)
    }

    /// Machines of which it could not be proven that they have no executor.
    pub(crate) fn sought<T>(&self, look: impl FnOnce(&mut Sought) -> T) -> T {
        look(&mut self.lock().sought)
    }

    /// Why nothing can be created for a pool now, if so.
    pub(crate) fn held(&self, pool: &PoolName, boottime: Duration) -> Option<String> {
        let mut state = self.lock();
        state.held.retain(|_, (_, until)| *until > boottime);
        state.held.get(pool).map(|(why, _)| why.clone())
    }
}

/// An action on its way. However it ends, nothing waits for it afterwards: one that panics, or is dropped with its loop, ends
/// too, and what became of its call is not known.
pub(crate) struct Begun {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    subject: String,
    updates: Vec<Update>,
    ended: bool,
}

impl Begun {
    /// It ended and this is what it learned.
    pub(crate) fn ended(mut self, updates: Vec<Update>) {
        self.updates = updates;
        self.ended = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let now = self.clock.boottime();
        if !self.ended {
            let until = now + RESTS_FOR;
            let mut state = self.ledger.lock();
            state.resting.insert(self.subject.clone(), until);
        }
        let updates = std::mem::take(&mut self.updates);
        self.ledger.finish(&self.subject, updates, now);
    }
}

/// What was learned at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learned {
    put: BTreeMap<IntentKey, Intent>,
    end: BTreeSet<IntentKey>,
    news: BTreeMap<u64, (PoolName, OfferNews)>,
}

impl Learned {
    /// How creations of one pool ended.
    pub(crate) fn news_of(&self, pool: &PoolName) -> Vec<OfferNews> {
        let of_pool = self.news.values().filter(|(other, _)| other == pool);
        of_pool.map(|(_, news)| news.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::LeaveStep;

    use super::*;

    fn leave(step: LeaveStep) -> Intent {
        Intent::Leave {
            instance: "linux-7-1-0".parse().unwrap(),
            executor: None,
            epoch: model::Epoch(7),
            step,
        }
    }

    fn stored(intent: Intent) -> Vec<StoredIntent> {
        let age = Duration::from_secs(100);
        vec![StoredIntent { intent, age }]
    }

    #[test]
    fn what_came_in_after_the_moment_is_laid_over_the_next_tick_only() {
        let ledger = Ledger::default();
        let pool: PoolName = "linux".parse().unwrap();
        let learned = ledger.learned();
        let settling = leave(LeaveStep::Settling);
        ledger.finish("x", vec![Update::Put(settling.clone())], Duration::ZERO);
        let mut intents = stored(leave(LeaveStep::Cordoning));
        let changes = ledger.overlay(&learned, &pool, &mut intents);
        assert_eq!(changes, Changes::default());
        ledger.written(&learned);

        let learned = ledger.learned();
        let changes = ledger.overlay(&learned, &pool, &mut intents);
        assert_eq!(changes.put, [settling]);
        assert_eq!(intents[0].age, Duration::ZERO);
        ledger.written(&learned);

        // and never again: a later step is not turned back
        let mut intents = stored(leave(LeaveStep::ProvenOnce));
        ledger.overlay(&ledger.learned(), &pool, &mut intents);
        assert_eq!(intents, stored(leave(LeaveStep::ProvenOnce)));
    }
}
