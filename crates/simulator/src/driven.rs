//! The real engine in the simulated world: it is fed what the scaler feeds it, and its plan is carried out at once.
//!
//! Each tick is a probe, a listing and a plan of the same moment. What an action learns is known at once, and the engine
//! is asked again in the same moment until it has nothing more to do, as the scaler ticks again on news. So with a
//! settle time of zero a departure from cordon to deletion takes no time; with another one it takes twice that, and is
//! paid. A cordoned machine takes no job meanwhile.
//!
//! Observations are kept and brought up to date with what changed since the tick before: to build them anew would take
//! longer than the engine does.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use engine::{Action, Observation, Plan, PoolSeen, invariants};
use jiff::{SignedDuration, Timestamp};
use model::{
    Completeness, ConfigHash, Cordon, Demand, EmitterName, Epoch, Executor, ExecutorId,
    ExecutorMode, ExecutorRef, ExecutorState, Instance, InstanceName, InstanceState, Intent,
    IntentKey, JobId, LeaveStep, OfferId, Owner, Policy, PoolMemory, PoolName, ProviderName,
    ProviderRef, Seen, StoredIntent, Workload,
};

use crate::Ms;
use crate::plain::Ticks;
use crate::run::Settings;
use crate::world::{Controller, Pool};

/// The engine is asked at most so often in one moment: a departure takes six questions.
const MAX_ROUNDS: usize = 12;

/// 2024-01-01T00:00:00Z, a Monday, as traces begin.
const FIRST_MOMENT: i64 = 1_704_067_200;

/// The term of the only scaler there is.
const EPOCH: Epoch = Epoch(1);

fn start() -> Timestamp {
    Timestamp::from_second(FIRST_MOMENT).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn moment(at: Ms) -> Timestamp {
    start() + SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX))
}

fn virtual_time(at: Timestamp) -> Ms {
    let since = model::age(start(), at).as_millis();
    Ms::try_from(since).unwrap_or(Ms::MAX)
}

/// The engine as the controller of one pool.
pub(crate) struct Driven {
    policy: Policy,
    ticks: Ticks,
    seen: Observation,
    /// Of each machine of the world: its provider and its places in the listing and among the executors.
    known: Vec<Known>,
    numbers: HashMap<InstanceName, usize>,
    written: BTreeMap<IntentKey, Ms>,
    /// Plans that broke an invariant, in words; none if all is well.
    violations: Vec<String>,
    check: bool,
    /// Machines whose guests were asked to end their agents, and have not yet.
    asked: Vec<usize>,
    /// The jobs at the last tick.
    saw: Saw,
    /// Nothing is to be done before this moment unless something happens.
    quiet_until: Ms,
    /// Whether ticks in which nothing can happen are left out.
    skip: bool,
}

/// Jobs of a pool by what they do. Which of them, and for how long, matters to no rule that is skipped over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Saw {
    queued: usize,
    running: u32,
    blocked: u32,
}

impl Saw {
    fn of(pool: &Pool) -> Saw {
        Saw {
            queued: pool.queue.len(),
            running: pool.running,
            blocked: pool.blocked,
        }
    }
}

struct Known {
    provider: ProviderName,
    listed: Option<usize>,
    registered: Option<usize>,
}

impl Driven {
    /// The settle time stands in the policy.
    pub(crate) fn new(mut policy: Policy, ticks: Ticks, settings: &Settings) -> Driven {
        // nodes that join no CI server have no jobs, so in a trace every pool has an emitter
        let emitter = policy.emitter.clone().or_else(|| "ci".parse().ok());
        policy.emitter.clone_from(&emitter);
        let listings = policy.offers.iter().map(|offer| {
            let nothing = Seen::Complete {
                value: Vec::new(),
                at: start(),
            };
            (offer.provider.clone(), nothing)
        });
        let workload = emitter.map(|emitter| workload(&policy.pool, emitter));
        let seen = Observation {
            fleet: settings.fleet.clone(),
            config: config(),
            epoch: EPOCH,
            listings: listings.collect(),
            seen: PoolSeen {
                workload: workload.map_or(Seen::Never { why: None }, |value| Seen::Complete {
                    value,
                    at: start(),
                }),
                intents: Vec::new(),
                memory: PoolMemory::default(),
                next_sequence: 0,
                creation_held: None,
                control_refused: None,
                cordon_refused: BTreeMap::new(),
                join_doubts: BTreeMap::new(),
                offer_news: Vec::new(),
            },
            intents_lost_at: None,
            unavailable: BTreeMap::new(),
            at_provider: BTreeMap::new(),
            spent: None,
            rival: None,
            overrides: model::Overrides::default(),
        };
        Driven {
            policy,
            ticks,
            seen,
            known: Vec::new(),
            numbers: HashMap::new(),
            written: BTreeMap::new(),
            violations: Vec::new(),
            check: settings.check,
            asked: Vec::new(),
            saw: Saw::default(),
            quiet_until: 0,
            skip: settings.skip,
        }
    }

    /// Brings the observation up to this moment.
    fn observe(&mut self, pool: &mut Pool, now: Ms) {
        let at = moment(now);
        for number in std::mem::take(&mut pool.changed) {
            self.observe_machine(pool, number);
        }
        for listing in self.seen.listings.values_mut() {
            if let Seen::Complete { at: seen, .. } = listing {
                *seen = at;
            }
        }
        if let Seen::Complete { value, at: seen } = &mut self.seen.seen.workload {
            *seen = at;
            value.demand = Demand {
                runnable: u32::try_from(pool.queue.len()).unwrap_or(u32::MAX),
                running: pool.running,
                blocked: pool.blocked,
                oldest_wait: pool.oldest_wait(now).map(Duration::from_millis),
                ..Demand::default()
            };
        }
        for stored in &mut self.seen.seen.intents {
            let since = self
                .written
                .get(&stored.intent.key())
                .copied()
                .unwrap_or(now);
            stored.age = Duration::from_millis(now - since);
        }
    }

    fn observe_machine(&mut self, pool: &Pool, number: usize) {
        let machine = &pool.machines[number];
        let Some(known) = self.known.get_mut(number) else {
            return;
        };
        let listing = self.seen.listings.get_mut(&known.provider);
        if let (Some(listed), Some(Seen::Complete { value, .. })) = (known.listed, listing) {
            if machine.deleted.is_some() {
                known.listed = None;
                value.swap_remove(listed);
                if let Some(moved) = value
                    .get(listed)
                    .and_then(|moved| self.numbers.get(&moved.name))
                {
                    self.known[*moved].listed = Some(listed);
                }
            } else if machine.online.is_some() {
                value[listed].state = InstanceState::Running;
            }
        }
        let Some(registered) = self.known[number].registered else {
            return;
        };
        if let Seen::Complete { value, .. } = &mut self.seen.seen.workload {
            let executor = &mut value.executors[registered];
            executor.state = match (machine.deleted, machine.online, machine.jobs) {
                (Some(_), _, _) => ExecutorState::Offline { since: None },
                (None, None, _) => ExecutorState::NeverJoined,
                (None, Some(_), 0) => ExecutorState::Idle { since: None },
                (None, Some(_), jobs) => {
                    let job = |slot: u32| JobId::new(format!("{number}.{slot}"));
                    ExecutorState::Busy {
                        jobs: (0..jobs).map(job).collect(),
                    }
                }
            };
            executor.cordon = if machine.cordoned {
                Cordon::Ours { epoch: EPOCH }
            } else {
                Cordon::None
            };
        }
    }

    /// Lists a machine and registers its executor.
    fn made(&mut self, name: InstanceName, provider: &ProviderName, offer: &OfferId, now: Ms) {
        let executor = self.policy.emitter.clone().map(|emitter| ExecutorRef {
            emitter,
            id: ExecutorId::new(name.to_string()),
        });
        let listing = self.seen.listings.get_mut(provider);
        let mut known = Known {
            provider: provider.clone(),
            listed: None,
            registered: None,
        };
        if let Some(Seen::Complete { value, .. }) = listing {
            known.listed = Some(value.len());
            value.push(Instance {
                name: name.clone(),
                id: ProviderRef::new(name.to_string()),
                scope: "zone".to_owned(),
                state: InstanceState::Pending,
                created_at: Some(moment(now)),
                owner: Owner {
                    fleet: self.seen.fleet.clone(),
                    installation: None,
                },
                executor: executor.clone(),
                offer: Some(offer.clone()),
                notice: None,
                generation: None,
                expires: None,
            });
        }
        if let (Seen::Complete { value, .. }, Some(executor)) =
            (&mut self.seen.seen.workload, executor)
        {
            known.registered = Some(value.executors.len());
            value.executors.push(Executor {
                id: executor.id,
                name: name.to_string(),
                fleet: Some(self.seen.fleet.clone()),
                labels: Vec::new(),
                run_untagged: false,
                protected_only: false,
                slots: self.policy.slots,
                state: ExecutorState::NeverJoined,
                cordon: Cordon::None,
                health: None,
            });
        }
        self.numbers.insert(name, self.known.len());
        self.known.push(known);
    }

    fn put(&mut self, intent: Intent, now: Ms) {
        let key = intent.key();
        self.end(&key);
        self.written.insert(key, now);
        self.seen.seen.intents.push(StoredIntent {
            intent,
            age: Duration::ZERO,
        });
    }

    fn end(&mut self, key: &IntentKey) {
        if self.written.remove(key).is_some() {
            self.seen
                .seen
                .intents
                .retain(|stored| stored.intent.key() != *key);
        }
    }

    /// The departure of a machine in another step, as the actuator records it.
    fn step(&mut self, name: &InstanceName, to: LeaveStep, now: Ms) {
        let key = IntentKey::Leave(name.clone());
        let mut stored = self.seen.seen.intents.iter();
        let found = stored.find(|stored| stored.intent.key() == key);
        if let Some(Intent::Leave {
            instance,
            executor,
            epoch,
            ..
        }) = found.map(|s| s.intent.clone())
        {
            let intent = Intent::Leave {
                instance,
                executor,
                epoch,
                step: to,
            };
            self.put(intent, now);
        }
    }

    fn act(&mut self, action: &Action, pool: &mut Pool, now: Ms) {
        let number = |driven: &Driven, name: &InstanceName| driven.numbers.get(name).copied();
        match action {
            Action::Create {
                batch,
                count,
                provider,
                offer,
            } => {
                for index in 0..*count {
                    pool.create(now);
                    self.made(batch.instance(index), provider, offer, now);
                }
            }
            Action::Cordon { instance, .. } => {
                if let Some(number) = number(self, instance) {
                    pool.cordon(number, true);
                    self.step(instance, LeaveStep::Settling, now);
                }
            }
            Action::AskGuest { instance, .. } => {
                if let Some(number) = number(self, instance) {
                    pool.cordon(number, true);
                    self.asked.push(number);
                }
            }
            Action::Uncordon { instance, .. } => {
                if let Some(number) = number(self, instance) {
                    pool.cordon(number, false);
                }
            }
            Action::Verify { instance, .. } => {
                if let Some(number) = number(self, instance) {
                    let idle = pool.machines[number].jobs == 0;
                    let to = if idle {
                        LeaveStep::ProvenOnce
                    } else {
                        LeaveStep::Settling
                    };
                    self.step(instance, to, now);
                }
            }
            Action::Delete { instance, .. } => {
                if let Some(number) = number(self, instance)
                    && !pool.delete(number, now)
                {
                    self.step(instance, LeaveStep::Settling, now);
                }
            }
            Action::RemoveExecutor { instance, .. } => self.unregister(instance),
        }
    }

    fn unregister(&mut self, name: &InstanceName) {
        let Some(number) = self.numbers.get(name).copied() else {
            return;
        };
        let Some(registered) = self.known[number].registered.take() else {
            return;
        };
        if let Seen::Complete { value, .. } = &mut self.seen.seen.workload {
            value.executors.swap_remove(registered);
            let moved = value
                .executors
                .get(registered)
                .and_then(|moved| moved.name.parse().ok());
            let moved = moved.and_then(|name: InstanceName| self.numbers.get(&name).copied());
            if let Some(moved) = moved {
                self.known[moved].registered = Some(registered);
            }
        }
    }

    /// One question to the engine; whether anything came of it.
    fn round(&mut self, pool: &mut Pool, now: Ms) -> bool {
        self.asked
            .retain(|number| !pool.delete(*number, now) && pool.machines[*number].jobs > 0);
        self.observe(pool, now);
        let plan = engine::plan(&self.seen, &self.policy, moment(now));
        if self.skip {
            let quiet = engine::quiet_until(&self.seen, &self.policy, &plan, moment(now));
            self.quiet_until = virtual_time(quiet);
        }
        if self.check {
            let broken = invariants::check(&self.seen, &self.policy, &plan, moment(now));
            self.violations
                .extend(broken.iter().map(ToString::to_string));
        }
        let Plan {
            actions,
            put,
            end,
            memory,
            next_sequence,
            ..
        } = plan;
        let done = actions.is_empty() && put.is_empty() && end.is_empty();
        self.seen.seen.memory = memory;
        self.seen.seen.next_sequence = next_sequence;
        for key in &end {
            self.end(key);
        }
        for intent in put {
            self.put(intent, now);
        }
        for action in &actions {
            self.act(action, pool, now);
        }
        !done
    }
}

impl Controller for Driven {
    fn decide(&mut self, pool: &mut Pool, now: Ms) {
        for _ in 0..MAX_ROUNDS {
            if !self.round(pool, now) {
                break;
            }
        }
        self.ticks.last = Some(now);
        self.saw = Saw::of(pool);
    }

    fn violations(&self) -> &[String] {
        &self.violations
    }

    fn follows_events(&self) -> bool {
        false
    }

    fn wakes(&self, pool: &Pool) -> Option<Ms> {
        let now = pool.now();
        let settle = match self.policy.executors {
            ExecutorMode::Managed { settle } => {
                u64::try_from(settle.as_millis()).unwrap_or(Ms::MAX)
            }
            ExecutorMode::ReadOnly { .. } | ExecutorMode::None => 0,
        };
        let leaving = self
            .written
            .iter()
            .filter(|(key, _)| matches!(key, IntentKey::Leave(_)));
        let settled = leaving
            .map(|(_, since)| since + settle)
            .filter(|at| *at > now);
        // what happens in the pool is seen at the next tick
        let from = if self.skip && pool.changed.is_empty() && self.saw == Saw::of(pool) {
            now.max(self.quiet_until)
        } else {
            now
        };
        settled.chain([self.ticks.next(from)]).min()
    }
}

fn config() -> ConfigHash {
    ConfigHash::new("simulated")
}

fn workload(pool: &PoolName, emitter: EmitterName) -> Workload {
    Workload {
        version: Workload::VERSION,
        pool: pool.clone(),
        emitter,
        config: config(),
        demand: Demand::default(),
        executors: Vec::new(),
        completeness: Completeness::Complete,
    }
}
