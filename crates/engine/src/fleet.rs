//! The whole fleet in one tick: each pool by itself, then one allocation over all, then each pool's plan.
//!
//! What one pool learned of offers, quotas and money is read by all of them here; everything a pool's plan rests on is
//! then written into its observation and its grant, so that [`crate::plan_granted`] gives the same plan again from these
//! alone.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{FleetPolicy, OfferId, Policy, PoolName, ProviderName, age};
use serde::{Deserialize, Serialize};

use crate::allocate::{Ask, Grant, Held, allocate};
use crate::budget::{self, BudgetState};
use crate::decide::{Case, Wish};
use crate::observation::{OfferNews, Split};
use crate::offers;
use crate::supply::Supply;
use crate::trust::Unseen;
use crate::{Observation, Plan, Unavailable};

/// What was decided for one pool, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolPlan {
    /// All that was known of it.
    pub seen: Observation,
    /// Its machines.
    pub supply: Supply,
    /// What the fleet grants it.
    pub grant: Grant,
    /// What it does next.
    pub plan: Plan,
}

/// All that a plan rests on. [`Record::replay`] gives the byte-identical plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was made.
    pub now: Timestamp,
    /// What was known.
    pub seen: Observation,
    /// The pool's limits and rules.
    pub policy: Policy,
    /// What the fleet granted.
    pub grant: Grant,
}

impl Record {
    /// Makes the plan again.
    pub fn replay(&self) -> Plan {
        crate::plan_granted(&self.seen, &self.policy, &self.grant, self.now)
    }
}

/// Decides what every pool does next, with what the pools share.
///
/// Pure, like [`crate::plan`]. Pools without a policy are left alone; their machines count against the caps.
pub fn plan_fleet<'a>(
    split: Split,
    policies: impl IntoIterator<Item = &'a Policy>,
    fleet: &FleetPolicy,
    now: Timestamp,
) -> Vec<PoolPlan> {
    let Split {
        mut pools,
        mut strays,
    } = split;
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for policy in policies {
        if let Some(mut seen) = pools.remove(&policy.pool) {
            offers::follow(&mut seen.seen.memory, policy);
            let supply = Supply::of(&seen, policy, now);
            entries.push(Entry {
                seen,
                policy,
                supply,
            });
        }
    }
    for seen in pools.into_values() {
        for (provider, listing) in &seen.listings {
            let alive = listing
                .any()
                .into_iter()
                .flatten()
                .filter(|i| !i.state.is_gone());
            *strays.entry(provider.clone()).or_default() += count(alive.count());
        }
    }
    let mut held = counted(&entries, strays);
    share_news(&mut entries, &held.providers);
    let quotas = share_offers(&mut entries, now);
    held.quotas = quotas;
    let spends = count_money(&mut entries, fleet, &mut held, now);

    let (cases, begun): (Vec<Case<'_>>, Vec<Plan>) = entries
        .iter()
        .map(|entry| Case::of(&entry.seen, entry.policy, &entry.supply, now))
        .unzip();
    let wishes = cases.iter().zip(begun);
    let wishes: Vec<Wish<'_>> = wishes.map(|(case, plan)| Wish::of(case, plan)).collect();
    let asks: Vec<Ask> = wishes.iter().map(Wish::ask).collect();
    let mut grants = allocate(&asks, fleet, &held);
    for (grant, spend) in grants.iter_mut().zip(spends) {
        grant.spend = spend;
    }
    let plans: Vec<Plan> = wishes
        .into_iter()
        .zip(&grants)
        .map(|(wish, grant)| wish.granted(grant))
        .collect();
    entries
        .into_iter()
        .zip(grants)
        .zip(plans)
        .map(|((entry, grant), plan)| PoolPlan {
            seen: entry.seen,
            supply: entry.supply,
            grant,
            plan,
        })
        .collect()
}

struct Entry<'a> {
    seen: Observation,
    policy: &'a Policy,
    supply: Supply,
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn counted<'a>(entries: &[Entry<'_>], strays: BTreeMap<ProviderName, u32>) -> Held<'a> {
    let mut held = Held {
        machines: strays.values().sum(),
        providers: strays,
        ..Held::default()
    };
    for entry in entries {
        let unseen = Unseen::of(&entry.seen, &entry.supply).count();
        let costing = entry.supply.costing().saturating_add(unseen);
        held.machines = held.machines.saturating_add(costing);
        if let Some(group) = &entry.policy.standing.group {
            *held.groups.entry(group.clone()).or_default() += costing;
        }
        for machine in &entry.supply.machines {
            match held.providers.get_mut(&machine.provider) {
                Some(there) => *there += 1,
                None => {
                    held.providers.insert(machine.provider.clone(), 1);
                }
            }
        }
    }
    held
}

/// Lets every pool that remembers an offer or a quota hear what other pools met there.
fn share_news(entries: &mut [Entry<'_>], at_provider: &BTreeMap<ProviderName, u32>) {
    let all: Vec<(PoolName, OfferNews)> = entries
        .iter()
        .flat_map(|entry| {
            let pool = entry.policy.pool.clone();
            let news = entry.seen.seen.offer_news.iter();
            news.map(move |news| (pool.clone(), news.clone()))
        })
        .collect();
    if all.is_empty() {
        return;
    }
    for entry in entries {
        let memory = &entry.seen.seen.memory;
        let concerns = |(pool, news): &&(PoolName, OfferNews)| {
            *pool != entry.policy.pool
                && (memory.offers.contains_key(&news.offer)
                    || memory.quotas.contains_key(&news.provider))
        };
        let heard: Vec<OfferNews> = all
            .iter()
            .filter(concerns)
            .map(|(_, n)| n.clone())
            .collect();
        entry.seen.seen.offer_news.extend(heard);
        if !entry.seen.seen.offer_news.is_empty() {
            entry.seen.at_provider.clone_from(at_provider);
        }
    }
}

/// Writes into every observation which offers step aside in the memory of any pool; returns the quotas in any of them.
fn share_offers(
    entries: &mut [Entry<'_>],
    now: Timestamp,
) -> BTreeMap<ProviderName, (u32, String)> {
    let mut shared: BTreeMap<OfferId, Unavailable> = BTreeMap::new();
    let mut quotas: BTreeMap<ProviderName, (u32, String)> = BTreeMap::new();
    for entry in entries.iter() {
        let seen = &entry.seen.seen;
        let learned = (!seen.offer_news.is_empty()).then(|| {
            let mut memory = seen.memory.clone();
            offers::learn(&mut memory, &seen.offer_news, &entry.seen.at_provider, now);
            memory
        });
        let memory = learned.as_ref().unwrap_or(&seen.memory);
        for (offer, unavailable) in offers::aside(memory, now) {
            let known = shared.get(offer);
            if known.is_none_or(|known| known.remaining < unavailable.remaining) {
                shared.insert(offer.clone(), unavailable);
            }
        }
        for (provider, quota) in &memory.quotas {
            // when its time is over one more than there were may be tried
            let over = quota.until <= now;
            let cap = quota.cap.saturating_add(u32::from(over));
            let known = quotas.get(provider);
            if known.is_none_or(|(known, _)| cap < *known) {
                quotas.insert(provider.clone(), (cap, quota.why.clone()));
            }
        }
    }
    if shared.is_empty() {
        return quotas;
    }
    for entry in entries {
        for offer in &entry.policy.offers {
            if let Some(unavailable) = shared.get(&offer.id) {
                let known = entry.seen.unavailable.get(&offer.id);
                if known.is_none_or(|known| known.remaining < unavailable.remaining) {
                    entry
                        .seen
                        .unavailable
                        .insert(offer.id.clone(), unavailable.clone());
                }
            }
        }
    }
    quotas
}

/// Counts what is spent and promised of every budget; returns for each pool the spend that is worth remembering.
fn count_money<'a>(
    entries: &mut [Entry<'_>],
    fleet: &'a FleetPolicy,
    held: &mut Held<'a>,
    now: Timestamp,
) -> Vec<BTreeMap<String, model::Spend>> {
    let mut remembered = vec![BTreeMap::new(); entries.len()];
    let places: BTreeMap<PoolName, usize> = match fleet.budgets.is_empty() {
        true => BTreeMap::new(),
        false => entries
            .iter()
            .enumerate()
            .map(|(i, e)| (e.policy.pool.clone(), i))
            .collect(),
    };
    for budget in &fleet.budgets {
        let mut state = BudgetState::new(budget);
        for pool in &budget.pools {
            let Some(index) = places.get(pool).copied() else {
                state.add_unknown(now);
                continue;
            };
            let Entry {
                seen,
                policy,
                supply,
            } = &entries[index];
            let memory = &seen.seen.memory;
            let spend = budget::spend(memory, budget, supply, policy, now);
            state.add(&spend, supply, policy, now);
            if budget::worth_writing(memory, budget, &spend) {
                remembered[index].insert(budget.name.clone(), spend);
            } else if let Some(known) = memory.spend.get(&budget.name) {
                remembered[index].insert(budget.name.clone(), known.clone());
            }
        }
        let part = budget::part(state.used(), budget.limit);
        for index in budget.pools.iter().filter_map(|pool| places.get(pool)) {
            let known = &mut entries[*index].seen.spent;
            *known = (*known).max(Some(part));
        }
        held.budgets.push(state);
    }
    remembered
}

/// How long the oldest runnable job has waited by now.
pub(crate) fn oldest_wait(seen: &Observation, now: Timestamp) -> Duration {
    let workload = &seen.seen.workload;
    let waited = workload
        .any()
        .and_then(|workload| workload.demand.oldest_wait);
    let since = workload.at().map_or(Duration::ZERO, |at| age(at, now));
    waited.map_or(Duration::ZERO, |waited| waited.saturating_add(since))
}
