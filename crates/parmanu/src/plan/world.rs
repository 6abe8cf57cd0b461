//! A world as an operator writes it down (docs/plan.md): jobs, machines and what steps aside, in YAML.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use config::Settings;
use engine::{FleetObservation, PoolSeen, Unavailable};
use jiff::{SignedDuration, Timestamp};
use model::{
    Cordon, Epoch, Executor, ExecutorId, ExecutorMode, ExecutorRef, ExecutorState, Instance,
    InstanceName, InstanceState, Intent, JobId, Money, OfferId, Owner, Policy, PoolMemory,
    PoolName, ProviderName, ProviderRef, Seen, Spend, StoredIntent, Workload,
};
use ports::units::Span;
use serde::Deserialize;

use super::orders::{self, Drains};

/// The machines of the world were made in this term, and the plan is made in the next.
const MADE_IN: Epoch = Epoch(1);
const PLANNED_IN: Epoch = Epoch(2);

/// More machines of one line are a mistyped number.
const MOST_MACHINES: u32 = 100_000;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct World {
    /// When it is; the time at which the plan is made, if not said.
    #[serde(default)]
    pub(crate) now: Option<Timestamp>,
    /// Pools by name; one that is not named here has no jobs and no machines.
    #[serde(default)]
    pools: BTreeMap<PoolName, Pool>,
    /// Offers that step aside, by machine description and place from 0, such as `linux-m/0`.
    #[serde(default)]
    unavailable: BTreeMap<String, String>,
    /// Offers whose time to step aside is over: one machine tries them.
    #[serde(default)]
    retry: BTreeMap<String, String>,
    /// Providers whose listing is not whole, and why.
    #[serde(default)]
    doubtful: BTreeMap<ProviderName, String>,
    /// What operators drain.
    #[serde(default)]
    drains: Drains,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pool {
    /// Jobs that wait for nothing but a machine.
    queued: u32,
    /// How long the oldest of them has waited.
    oldest_wait: Option<Span>,
    /// How old the last look at the CI server is.
    look_age: Option<Span>,
    /// What the last look could not see, if anything.
    look_misses: Option<String>,
    /// The CI server was never heard.
    never_heard: bool,
    /// Idle executors that are not ours.
    others: u32,
    /// Machines, each line for `count` alike ones.
    machines: Vec<Machine>,
    /// What was spent in the current period, by budget rule; nothing, if not said.
    spent: BTreeMap<String, f64>,
    /// An operator paused it.
    paused: bool,
    /// An operator pinned it at so many machines.
    pinned: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    state: State,
    #[serde(default = "one")]
    count: u32,
    /// How long it has been in that state.
    #[serde(default, rename = "for")]
    since: Option<Span>,
    /// How long it has existed; an hour longer than it has been in its state, if not said.
    #[serde(default)]
    age: Option<Span>,
    /// The place of its offer in the machine description, from 0.
    #[serde(default)]
    offer: u32,
    /// Where it stands.
    #[serde(default = "anywhere")]
    zone: String,
}

fn one() -> u32 {
    1
}

fn anywhere() -> String {
    "world".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Requested,
    Booting,
    Idle,
    Busy,
    Cordoned,
    Paused,
    Lost,
    Stuck,
    Stopped,
}

impl World {
    /// Reads a file.
    pub(crate) fn read(file: &std::path::Path) -> anyhow::Result<World> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        serde_yaml::from_str(&text).with_context(|| format!("{} is no world", file.display()))
    }

    /// What the engine would see.
    pub(crate) fn seen(
        &self,
        settings: &Settings,
        now: Timestamp,
    ) -> anyhow::Result<FleetObservation> {
        let mut fleet = FleetObservation {
            fleet: settings.fleet.clone(),
            config: settings.hash.clone(),
            epoch: PLANNED_IN,
            listings: BTreeMap::new(),
            pools: BTreeMap::new(),
            intents_lost_at: None,
            unavailable: BTreeMap::new(),
            rival: None,
            overrides: model::Overrides::default(),
        };
        for name in self.pools.keys() {
            if !settings.pools.contains_key(name) {
                bail!("the world has a pool `{name}` that the configuration does not have");
            }
        }
        let mut listed: BTreeMap<ProviderName, Vec<Instance>> = BTreeMap::new();
        let nothing = Pool::default();
        let mut ordered = Vec::new();
        for (name, pool) in &settings.pools {
            let world = self.pools.get(name).unwrap_or(&nothing);
            ordered.extend(orders::of_pool(name, world.paused, world.pinned));
            let seen = world
                .seen(settings, &pool.policy, &mut listed, now)
                .with_context(|| format!("pool {name}"))?;
            fleet.pools.insert(name.clone(), seen);
        }
        let there = |name: &InstanceName| listed.values().flatten().any(|it| it.name == *name);
        ordered.extend(self.drains.directives(there)?);
        fleet.overrides = orders::in_force(ordered, settings, now);
        for name in settings.providers.keys() {
            let (value, at) = (listed.remove(name).unwrap_or_default(), now);
            let listing = match self.doubtful.get(name) {
                None => Seen::Complete { value, at },
                Some(why) => Seen::Partial {
                    value,
                    at,
                    why: vec![why.clone()],
                },
            };
            fleet.listings.insert(name.clone(), listing);
        }
        let minute = Duration::from_secs(60);
        let aside = self
            .unavailable
            .iter()
            .map(|(offer, why)| (offer, why, minute));
        let over = self
            .retry
            .iter()
            .map(|(offer, why)| (offer, why, Duration::ZERO));
        for (offer, why, remaining) in aside.chain(over) {
            let id: OfferId = offer
                .parse()
                .with_context(|| format!("`{offer}` is no offer: write one such as linux-m/0"))?;
            let mut offers = settings.pools.values().flat_map(|pool| &pool.policy.offers);
            if !offers.any(|known| known.id == id) {
                bail!("the world has an offer `{offer}` that no pool has");
            }
            let why = why.clone();
            fleet.unavailable.insert(id, Unavailable { why, remaining });
        }
        Ok(fleet)
    }
}

impl Pool {
    fn seen(
        &self,
        settings: &Settings,
        policy: &Policy,
        listed: &mut BTreeMap<ProviderName, Vec<Instance>>,
        now: Timestamp,
    ) -> anyhow::Result<PoolSeen> {
        let mut made = Made {
            fleet: settings.fleet.clone(),
            policy,
            now,
            number: 0,
            executors: Vec::new(),
            intents: Vec::new(),
            memory: PoolMemory::default(),
        };
        for machine in &self.machines {
            if machine.count > MOST_MACHINES {
                bail!("{} machines are more than {MOST_MACHINES}", machine.count);
            }
            for _ in 0..machine.count {
                if let Some((provider, instance)) = made.add(machine)? {
                    listed.entry(provider).or_default().push(instance);
                }
            }
        }
        for number in 0..self.others {
            made.executors.push(Executor {
                fleet: None,
                ..executor(
                    &format!("other-{number}"),
                    ExecutorState::Idle { since: None },
                )
            });
        }
        self.spend(settings, policy, &mut made.memory, now)?;
        let busy = |executor: &&Executor| matches!(executor.state, ExecutorState::Busy { .. });
        let running = made.executors.iter().filter(busy).count();
        let mut workload = Workload {
            version: Workload::VERSION,
            pool: policy.pool.clone(),
            emitter: match &policy.emitter {
                Some(emitter) => emitter.clone(),
                None => "none".parse()?,
            },
            config: settings.hash.clone(),
            demand: model::Demand {
                runnable: self.queued,
                running: u32::try_from(running).unwrap_or(u32::MAX),
                oldest_wait: self.oldest_wait.map(|wait| wait.0),
                ..model::Demand::default()
            },
            executors: made.executors,
            completeness: model::Completeness::Complete,
        };
        if let Some(why) = &self.look_misses {
            workload.completeness.doubt(why.clone());
        }
        let at = ago(now, self.look_age.map_or(Duration::ZERO, |age| age.0));
        let doubts = workload.completeness.doubts().to_vec();
        let workload = match policy.emitter.is_none() || self.never_heard {
            true => Seen::Never { why: None },
            false if doubts.is_empty() => Seen::Complete {
                value: workload,
                at,
            },
            false => Seen::Partial {
                value: workload,
                at,
                why: doubts,
            },
        };
        Ok(PoolSeen {
            workload,
            intents: made.intents,
            memory: made.memory,
            next_sequence: 1,
            creation_held: None,
            control_refused: None,
            cordon_refused: BTreeMap::new(),
            join_doubts: BTreeMap::new(),
            offer_news: Vec::new(),
        })
    }

    /// A budget of which the world says nothing has nothing spent yet: it is no loss.
    fn spend(
        &self,
        settings: &Settings,
        policy: &Policy,
        memory: &mut PoolMemory,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let budgets = &settings.limits.budgets;
        for budget in budgets.iter().filter(|b| b.pools.contains(&policy.pool)) {
            let of_rule = |(rule, _): &(&String, &f64)| budget.is_of(rule);
            let amount = self
                .spent
                .iter()
                .find(of_rule)
                .map_or(Some(Money::ZERO), |(_, amount)| {
                    Money::from_decimal(*amount)
                });
            let spend = Spend {
                period: engine::period_of(budget, now).0,
                amount: amount.context("what was spent is zero or more")?,
                rest: 0,
                at: now,
                assumed: Money::ZERO,
            };
            memory.spend.insert(budget.name.clone(), spend);
        }
        for rule in self.spent.keys() {
            if !budgets
                .iter()
                .any(|budget| budget.is_of(rule) && budget.pools.contains(&policy.pool))
            {
                bail!("no budget `{rule}` counts this pool");
            }
        }
        Ok(())
    }
}

/// One pool of the world while it is made.
struct Made<'a> {
    fleet: model::FleetId,
    policy: &'a Policy,
    now: Timestamp,
    number: u32,
    executors: Vec<Executor>,
    intents: Vec<StoredIntent>,
    memory: PoolMemory,
}

impl Made<'_> {
    /// Adds one machine; returns what its provider lists.
    fn add(&mut self, machine: &Machine) -> anyhow::Result<Option<(ProviderName, Instance)>> {
        self.number += 1;
        let place = usize::try_from(machine.offer)?;
        let Some(offer) = self.policy.offers.get(place) else {
            bail!(
                "there is no offer {place}: the machine has {}, counted from 0",
                self.policy.offers.len()
            );
        };
        let name = InstanceName {
            batch: model::BatchId {
                pool: self.policy.pool.clone(),
                epoch: MADE_IN,
                sequence: self.number,
            },
            index: 0,
        };
        let joins = self.policy.executors != ExecutorMode::None;
        let since = machine.since.map_or(Duration::ZERO, |time| time.0);
        let young = matches!(machine.state, State::Requested | State::Booting);
        let hour = Duration::from_secs(3600);
        let age = machine
            .age
            .map_or(if young { since } else { since + hour }, |age| age.0);
        if machine.state == State::Requested {
            let intent = Intent::Create {
                batch: name.batch,
                count: 1,
                provider: offer.provider.clone(),
                offer: offer.id.clone(),
                executor: None,
            };
            self.intents.push(StoredIntent { intent, age });
            return Ok(None);
        }
        let state = match machine.state {
            State::Requested | State::Booting | State::Stuck => ExecutorState::NeverJoined,
            State::Idle | State::Cordoned | State::Paused | State::Stopped => {
                ExecutorState::Idle { since: None }
            }
            State::Busy => ExecutorState::Busy {
                jobs: vec![JobId::new(format!("job-{}", self.number))],
            },
            State::Lost => ExecutorState::Offline { since: None },
        };
        let mut seen = executor(&name.to_string(), state);
        seen.fleet = Some(self.fleet.clone());
        seen.slots = self.policy.slots;
        seen.cordon = match machine.state {
            State::Cordoned => Cordon::Ours { epoch: PLANNED_IN },
            State::Paused => Cordon::Foreign,
            _ => Cordon::None,
        };
        let reference = self.policy.emitter.as_ref().map(|emitter| ExecutorRef {
            emitter: emitter.clone(),
            id: seen.id.clone(),
        });
        match machine.state {
            State::Idle => {
                let since = ago(self.now, since);
                self.memory.idle_since.insert(name.clone(), since);
            }
            State::Cordoned => self.intents.push(StoredIntent {
                intent: Intent::Leave {
                    instance: name.clone(),
                    executor: reference.clone(),
                    epoch: PLANNED_IN,
                    step: model::LeaveStep::Settling,
                },
                age: since,
            }),
            _ => {}
        }
        if joins {
            self.executors.push(seen);
        }
        // one that is stuck has existed for longer than it may take to boot
        let age = match machine.state {
            State::Stuck => age.max(self.policy.boot.timeout + Duration::from_secs(1)),
            _ => age,
        };
        let instance = Instance {
            id: ProviderRef::new(name.to_string()),
            name,
            scope: machine.zone.clone(),
            state: match machine.state {
                State::Stopped => InstanceState::Stopped,
                _ => InstanceState::Running,
            },
            created_at: Some(ago(self.now, age)),
            owner: Owner {
                fleet: self.fleet.clone(),
                installation: None,
            },
            executor: reference.filter(|_| joins),
            offer: Some(offer.id.clone()),
            notice: None,
            generation: None,
            expires: None,
        };
        Ok(Some((offer.provider.clone(), instance)))
    }
}

fn executor(name: &str, state: ExecutorState) -> Executor {
    Executor {
        id: ExecutorId::new(name),
        name: name.to_owned(),
        fleet: None,
        labels: Vec::new(),
        run_untagged: false,
        protected_only: false,
        slots: 1,
        state,
        cordon: Cordon::None,
        health: None,
    }
}

fn ago(now: Timestamp, time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    now.checked_sub(time).unwrap_or(Timestamp::MIN)
}
