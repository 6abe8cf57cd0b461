//! Who may grow when not everybody can: one allocation over the whole fleet.
//!
//! Only growth is rationed. What exists stays, however far above a cap it is, and nothing here makes a machine leave.
//! Machines are granted one by one, each to the pool whose turn it is:
//!
//! 1. **minima**: pools below their minimum, the greater priority first;
//! 2. **claims**: each time a pool's oldest job has waited for `patience`, the pool has a claim to one machine more,
//!    before any priority counts. So no pool waits for ever behind a greater one that always wants more, as long as any
//!    machine is to be had at all;
//! 3. **the rest**: the greater priority first.
//!
//! Among claims the one that is overdue for longest is next. Within the other steps it is the pool with the fewest
//! machines for its weight (weighted max-min), then the one whose job has waited longest, then the first by name. A machine comes from the pool's first offer that every cap, quota and
//! budget has room for: growth is split over several offers where one reaches its cap.
//!
//! Integers only, and no order of a hash: the same asks are granted the same machines. The cost is O(n log n) for n
//! pools and machines granted; a pool that shares nothing scarce is granted what it asks at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use model::{FleetPolicy, GroupName, Money, OfferId, PoolName, ProviderName};
use serde::{Deserialize, Serialize};

use crate::budget::BudgetState;
use crate::offers::Rung;
use crate::reason::{CapOf, Reason};

/// Fractions of a machine per weight are compared in this many parts.
const PARTS: i64 = 1 << 20;

/// What one pool asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The pool.
    pub pool: PoolName,
    /// Its group.
    pub group: Option<GroupName>,
    /// Its priority.
    pub priority: i32,
    /// Its weight, 1 or more.
    pub weight: u32,
    /// Machines that work, or will work, for it.
    pub serving: u32,
    /// Machines to be made.
    pub count: u32,
    /// How many of these bring it to its minimum.
    pub to_min: u32,
    /// How long its oldest runnable job has waited.
    pub oldest_wait: Duration,
    /// Where they can be had, best first.
    pub rungs: Vec<Rung>,
    /// The lowest price among all its offers, to be had now or not.
    pub cheapest: Option<Money>,
}

/// What one pool gets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Grant {
    /// Machines by offer, in the order in which they are created.
    pub parts: Vec<Part>,
    /// What cut it, and what is said of it anyway.
    pub reasons: Vec<Reason>,
    /// What the pool's machines cost so far in the period of each budget, to be remembered.
    pub spend: BTreeMap<String, model::Spend>,
}

/// Machines from one offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The offer.
    pub offer: OfferId,
    /// How many.
    pub count: u32,
}

impl Grant {
    /// Machines granted in all.
    pub fn count(&self) -> u32 {
        self.parts.iter().map(|part| part.count).sum()
    }

    fn add(&mut self, offer: &OfferId) {
        match self.parts.iter_mut().find(|part| part.offer == *offer) {
            Some(part) => part.count += 1,
            None => self.parts.push(Part {
                offer: offer.clone(),
                count: 1,
            }),
        }
    }
}

/// What the fleet has before anything grows.
#[derive(Debug, Clone, Default)]
pub struct Held<'a> {
    /// Machines in any state.
    pub machines: u32,
    /// The same by provider.
    pub providers: BTreeMap<ProviderName, u32>,
    /// The same by group.
    pub groups: BTreeMap<GroupName, u32>,
    /// Quotas that were met lately: the cap, and what the provider said.
    pub quotas: BTreeMap<ProviderName, (u32, String)>,
    /// Budgets and what is left of them.
    pub budgets: Vec<BudgetState<'a>>,
}

/// Something that may run out: a cap, counted in machines, or a budget, counted in millionths.
struct Resource {
    what: CapOf,
    limit: u64,
    /// What existed before this allocation.
    before: u64,
    used: u64,
    /// From here on only a pool's cheapest offers are used.
    cheapest_from: u64,
}

/// One rung of an ask, with what one machine takes of which resource.
struct Step<'a> {
    rung: &'a Rung,
    room: u32,
    granted: u32,
    takes: Vec<(usize, u64)>,
    is_cheapest: bool,
}

struct Turn<'a> {
    ask: &'a Ask,
    steps: Vec<Step<'a>>,
    grant: Grant,
    granted: u32,
}

/// Grants machines to every pool, one grant for each ask in their order.
pub fn allocate(asks: &[Ask], policy: &FleetPolicy, held: &Held<'_>) -> Vec<Grant> {
    let mut resources = Resources::of(policy, held);
    let mut turns: Vec<Turn<'_>> = asks.iter().map(|ask| resources.turn(ask)).collect();
    let scarce = resources.scarce(&turns);
    let mut contended = Vec::new();
    for (index, turn) in turns.iter_mut().enumerate() {
        let shares = turn.steps.iter().flat_map(|step| &step.takes);
        if turn.ask.count == 0 || shares.clone().any(|(resource, _)| scarce[*resource]) {
            contended.push(index);
        } else {
            turn.take_all();
        }
    }
    contended.retain(|index| turns[*index].ask.count > 0);
    let mut classes: Vec<i32> = contended.iter().map(|i| turns[*i].ask.priority).collect();
    classes.sort_unstable_by_key(|class| Reverse(*class));
    classes.dedup();
    let of_class = |class: i32| {
        let mut those = contended.clone();
        those.retain(|index| asks[*index].priority == class);
        those
    };
    let by_class: Vec<Vec<usize>> = classes.into_iter().map(of_class).collect();
    for class in &by_class {
        resources.fill(&mut turns, class, |ask| ask.to_min, |turn| turn.level());
    }
    let (patience, overdue) = (policy.patience, |turn: &Turn<'_>| {
        turn.overdue(policy.patience)
    });
    resources.fill(&mut turns, &contended, |ask| claim(ask, patience), overdue);
    for class in &by_class {
        resources.fill(&mut turns, class, |ask| ask.count, |turn| turn.level());
    }
    let grants = turns.into_iter().map(|turn| resources.explained(turn));
    grants.collect()
}

/// Machines a pool has a claim to whatever its priority: one for each `patience` that its oldest job has waited, less
/// those it has.
fn claim(ask: &Ask, patience: Duration) -> u32 {
    let patience = patience.as_millis().max(1);
    let waits = u32::try_from(ask.oldest_wait.as_millis() / patience).unwrap_or(u32::MAX);
    waits.saturating_sub(ask.serving).min(ask.count)
}

impl Turn<'_> {
    /// Everything it asks for, from its offers in order: nothing it takes is scarce.
    fn take_all(&mut self) {
        let mut left = self.ask.count;
        for step in &mut self.steps {
            let count = left.min(step.room);
            if count > 0 {
                let offer = step.rung.offer.clone();
                self.grant.parts.push(Part { offer, count });
            }
            step.room -= count;
            step.granted = count;
            left -= count;
        }
        self.granted = self.ask.count - left;
    }

    /// Machines it would have with one more.
    fn with_one_more(&self) -> i64 {
        i64::from(self.ask.serving) + i64::from(self.granted) + 1
    }

    /// By machines for its weight.
    fn level(&self) -> i64 {
        self.with_one_more() * PARTS / i64::from(self.ask.weight.max(1))
    }

    /// By how long its next claim is overdue, in milliseconds; the longest is the least.
    fn overdue(&self, patience: Duration) -> i64 {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let due = millis(patience).saturating_mul(self.with_one_more());
        due.saturating_sub(millis(self.ask.oldest_wait))
    }
}

struct Resources<'a> {
    list: Vec<Resource>,
    fleet: Option<usize>,
    groups: BTreeMap<&'a GroupName, usize>,
    providers: BTreeMap<&'a ProviderName, Vec<usize>>,
    budgets: BTreeMap<&'a PoolName, Vec<(usize, &'a BudgetState<'a>)>>,
}

impl<'a> Resources<'a> {
    fn of(policy: &'a FleetPolicy, held: &'a Held<'a>) -> Self {
        let mut all = Resources {
            list: Vec::new(),
            fleet: None,
            groups: BTreeMap::new(),
            providers: BTreeMap::new(),
            budgets: BTreeMap::new(),
        };
        if let Some(max) = policy.max {
            all.fleet = Some(all.cap(CapOf::Fleet, max, held.machines));
        }
        for (group, max) in &policy.groups {
            let used = held.groups.get(group).copied().unwrap_or_default();
            let index = all.cap(
                CapOf::Group {
                    group: group.clone(),
                },
                *max,
                used,
            );
            all.groups.insert(group, index);
        }
        for (provider, max) in &policy.providers {
            let used = held.providers.get(provider).copied().unwrap_or_default();
            let what = CapOf::Provider {
                provider: provider.clone(),
            };
            let index = all.cap(what, *max, used);
            all.providers.entry(provider).or_default().push(index);
        }
        for (provider, (cap, why)) in &held.quotas {
            let used = held.providers.get(provider).copied().unwrap_or_default();
            let what = CapOf::Quota {
                provider: provider.clone(),
                why: why.clone(),
            };
            let index = all.cap(what, *cap, used);
            all.providers.entry(provider).or_default().push(index);
        }
        for state in &held.budgets {
            let index = all.list.len();
            all.list.push(Resource {
                what: CapOf::Budget {
                    budget: state.budget.name.clone(),
                    currency: state.budget.currency.clone(),
                    per: state.budget.per,
                },
                limit: state.budget.limit.micros(),
                before: state.used().micros(),
                used: state.used().micros(),
                cheapest_from: state.budget.limit.share(state.budget.cheapest_at).micros(),
            });
            for pool in &state.budget.pools {
                all.budgets.entry(pool).or_default().push((index, state));
            }
        }
        all
    }

    fn cap(&mut self, what: CapOf, max: u32, used: u32) -> usize {
        self.list.push(Resource {
            what,
            limit: u64::from(max),
            before: u64::from(used),
            used: u64::from(used),
            cheapest_from: u64::MAX,
        });
        self.list.len() - 1
    }

    fn turn<'b>(&self, ask: &'b Ask) -> Turn<'b> {
        let budgets = self.budgets.get(&ask.pool);
        let group = ask.group.as_ref().and_then(|group| self.groups.get(group));
        let step = |rung: &'b Rung| {
            let providers = self.providers.get(&rung.provider);
            let caps = self
                .fleet
                .iter()
                .chain(group)
                .chain(providers.into_iter().flatten());
            let mut takes: Vec<(usize, u64)> = caps.map(|index| (*index, 1)).collect();
            for (index, state) in budgets.into_iter().flatten() {
                takes.push((*index, state.cost_of(rung.price).micros()));
            }
            Step {
                rung,
                room: rung.room,
                granted: 0,
                takes,
                is_cheapest: rung.price.is_some() && rung.price <= ask.cheapest,
            }
        };
        Turn {
            ask,
            steps: ask.rungs.iter().map(step).collect(),
            grant: Grant::default(),
            granted: 0,
        }
    }

    /// Which resources could run out, or reach the point where only the cheapest is bought, if every ask took the most
    /// it can of each.
    fn scarce(&self, turns: &[Turn<'_>]) -> Vec<bool> {
        let mut asked = vec![0u64; self.list.len()];
        for turn in turns {
            let mut most: BTreeMap<usize, u64> = BTreeMap::new();
            for (resource, cost) in turn.steps.iter().flat_map(|step| &step.takes) {
                let known = most.entry(*resource).or_default();
                *known = (*known).max(*cost);
            }
            for (resource, cost) in most {
                let all = cost.saturating_mul(u64::from(turn.ask.count));
                asked[resource] = asked[resource].saturating_add(all);
            }
        }
        let scarce = |(resource, asked): (&Resource, u64)| {
            let end = resource.used.saturating_add(asked);
            end > resource.limit || end >= resource.cheapest_from
        };
        self.list.iter().zip(asked).map(scarce).collect()
    }

    /// Grants machines one by one to these pools until each has `goal` of them or nothing is left for it. Next is
    /// always the pool of the least `rank`, then the one whose job has waited longest, then the first.
    fn fill(
        &mut self,
        turns: &mut [Turn<'_>],
        those: &[usize],
        goal: impl Fn(&Ask) -> u32,
        rank: impl Fn(&Turn<'_>) -> i64,
    ) {
        let wants = |turn: &Turn<'_>| turn.granted < goal(turn.ask).min(turn.ask.count);
        let place = |turn: &Turn<'_>, index: usize| {
            Reverse((rank(turn), Reverse(turn.ask.oldest_wait), index))
        };
        let mut next: BinaryHeap<_> = those
            .iter()
            .filter(|index| wants(&turns[**index]))
            .map(|index| place(&turns[*index], *index))
            .collect();
        while let Some(Reverse((_, _, index))) = next.pop() {
            let turn = &mut turns[index];
            if self.grant_one(turn) && wants(turn) {
                next.push(place(turn, index));
            }
        }
    }

    fn grant_one(&mut self, turn: &mut Turn<'_>) -> bool {
        let free = |step: &Step<'_>| step.room > 0 && self.first_missing(step).is_none();
        let Some(place) = turn.steps.iter().position(free) else {
            return false;
        };
        let step = &mut turn.steps[place];
        step.room -= 1;
        step.granted += 1;
        for (resource, cost) in &step.takes {
            let resource = &mut self.list[*resource];
            resource.used = resource.used.saturating_add(*cost);
        }
        turn.granted += 1;
        turn.grant.add(&step.rung.offer);
        true
    }

    /// The first resource that has no room for one machine of this offer.
    fn first_missing(&self, step: &Step<'_>) -> Option<(usize, u64)> {
        let missing = |(index, cost): &&(usize, u64)| {
            let resource = &self.list[*index];
            let end = resource.used.saturating_add(*cost);
            end > resource.limit || (!step.is_cheapest && end > resource.cheapest_from)
        };
        step.takes.iter().find(missing).copied()
    }

    /// The grant, and every resource that was in the way: of what is missing, or of a better offer.
    fn explained(&self, turn: Turn<'_>) -> Grant {
        let mut grant = turn.grant;
        for (_, state) in self.budgets.get(&turn.ask.pool).into_iter().flatten() {
            grant.reasons.extend(state.said());
        }
        let last = turn.steps.iter().rposition(|step| step.granted > 0);
        let passed_over = match turn.granted < turn.ask.count {
            true => turn.steps.len(),
            false => last.unwrap_or_default(),
        };
        let mut named: BTreeMap<usize, u64> = BTreeMap::new();
        for step in turn.steps[..passed_over]
            .iter()
            .filter(|step| step.room > 0)
        {
            if let Some((index, cost)) = self.first_missing(step) {
                let known = named.entry(index).or_insert(cost);
                *known = (*known).min(cost);
            }
        }
        for (index, cost) in named {
            let takes = |step: &&Step<'_>| step.takes.iter().any(|(taken, _)| *taken == index);
            let granted = turn.steps.iter().filter(takes).map(|step| step.granted);
            grant
                .reasons
                .push(self.in_the_way(index, cost, turn.ask.count, granted.sum()));
        }
        grant
    }

    /// Why a resource let only `granted` of `wanted` machines through, the next of which would take `cost` of it.
    fn in_the_way(&self, index: usize, cost: u64, wanted: u32, granted: u32) -> Reason {
        let resource = &self.list[index];
        let CapOf::Budget {
            budget,
            currency,
            per,
        } = &resource.what
        else {
            return Reason::Capped {
                of: resource.what.clone(),
                limit: u32::try_from(resource.limit).unwrap_or(u32::MAX),
                there: u32::try_from(resource.before).unwrap_or(u32::MAX),
                wanted,
                granted,
            };
        };
        let used = Money::from_micros(resource.used);
        let limit = Money::from_micros(resource.limit);
        let (budget, currency, per) = (budget.clone(), currency.clone(), *per);
        match resource.used.saturating_add(cost) <= resource.limit {
            true => Reason::BudgetCheapest {
                budget,
                used,
                limit,
                currency,
                per,
            },
            false => Reason::BudgetHolds {
                budget,
                used,
                limit,
                currency,
                per,
                wanted,
                granted,
            },
        }
    }
}
