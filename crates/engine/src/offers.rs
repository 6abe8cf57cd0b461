//! The capacity ladder: from which offers a pool may grow now, in which order, and what was learned of them.
//!
//! An offer that gave nothing steps aside, each time in a row for longer. When its time is over one machine tries it,
//! and only its success lets the others follow: a zone that is dry must not be asked for a hundred machines every three
//! minutes. The next offer takes over at once, since an answer of a provider wakes the next tick.
//!
//! What is remembered stands in the memory of the pool that was refused, and every pool reads that of all: an offer is
//! named by its machine description, so pools of one description learn from each other, over every take-over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    Generation, Money, OfferId, OfferMemory, OfferPolicy, Policy, PoolMemory, ProviderName,
    QuotaMemory, Ranking, age,
};

use crate::observation::{OfferNews, RefusalKind};
use crate::orders::OrderedBy;
use crate::reason::Reason;
use crate::supply::{Phase, Supply};
use crate::trust::listing_doubt;
use crate::{Observation, Unavailable, boots};

/// An offer without capacity steps aside for this long at first: what comparable systems keep such an answer for
/// (Karpenter: 3 minutes). Shorter asks a dry zone for ever, longer misses what comes back.
const NO_CAPACITY: Duration = Duration::from_secs(180);
/// A quota is raised by people, or falls as other machines leave.
const QUOTA: Duration = Duration::from_secs(300);
/// The longest back-off, the same as in cluster-autoscaler: after it a recovered offer is found within half an hour.
const LONGEST: Duration = PoolMemory::LONGEST_ASIDE;
/// The longest back-off after a failure that says nothing of capacity (an API that is away, credentials that were wrong):
/// who repairs it must not wait for half an hour.
const LONGEST_TROUBLE: Duration = Duration::from_secs(120);
/// More refusals in a row than double anything.
const MANY: u32 = 16;
/// Machines of an offer remembered before both counters are halved.
const LATELY: u32 = 32;
/// So many machines say something of an offer: of fewer, half can fail by chance.
const ENOUGH: u32 = 4;
/// Longest text of a provider that is remembered: memory is bounded.
const WORDS: usize = 200;
/// Offers and quotas remembered at most; a machine description rarely has ten.
const MOST: usize = 64;

/// One place a pool may grow from now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// The offer.
    pub offer: OfferId,
    /// Its provider.
    pub provider: ProviderName,
    /// Its price per machine-hour, if stated.
    pub price: Option<Money>,
    /// Machines it may be asked for now.
    pub room: u32,
}

/// Lets what was learned of an offer follow what its machines are made from: an offer that moved in its list takes it along,
/// and one that became another (an image, a type, a boot script) begins anew.
pub(crate) fn follow(memory: &mut PoolMemory, policy: &Policy) {
    let home = |id: &OfferId, known: &OfferMemory| {
        let home = made_from(policy, known.made_from.as_ref(), Some(id));
        home.map(|home| (home.id.clone(), home.generation.clone()))
    };
    let mut moved = Vec::new();
    memory.offers.retain(|id, known| match home(id, known) {
        Some((home, generation)) if home == *id => {
            known.made_from.get_or_insert(generation);
            true
        }
        Some((home, _)) => {
            moved.push((home, std::mem::take(known)));
            false
        }
        None => false,
    });
    for (home, known) in moved {
        memory.offers.entry(home).or_insert(known);
    }
}

/// The offer of which a machine is made: by what it is made from, since a place in a list may have become another's; where
/// that is not known by its place.
pub(crate) fn made_from<'p>(
    policy: &'p Policy,
    generation: Option<&Generation>,
    id: Option<&OfferId>,
) -> Option<&'p OfferPolicy> {
    let alike = |offer: &&OfferPolicy| generation.is_none_or(|made| offer.generation == *made);
    let mut alike = policy.offers.iter().filter(alike);
    let at_place = alike.clone().find(|offer| Some(&offer.id) == id);
    at_place.or_else(|| alike.next().filter(|_| generation.is_some()))
}

/// Brings the memory of offers up to what creations met since it was written. `at_provider` are the fleet's machines
/// there, the cap that a quota is taken for.
pub(crate) fn learn(
    memory: &mut PoolMemory,
    news: &[OfferNews],
    at_provider: &BTreeMap<ProviderName, u32>,
    now: Timestamp,
) {
    for entry in news {
        let offer = memory.offers.entry(entry.offer.clone()).or_default();
        offer.made = offer.made.saturating_add(entry.made);
        fade(offer);
        let there = at_provider
            .get(&entry.provider)
            .copied()
            .unwrap_or_default();
        // more machines than it was taken for: it was raised
        memory.quotas.retain(|provider, quota| {
            *provider != entry.provider || entry.made == 0 || there <= quota.cap
        });
        let Some(refusal) = &entry.refusal else {
            // an outcome that nobody knows teaches nothing
            if entry.made == 0 {
                continue;
            }
            (offer.until, offer.refusals) = (None, 0);
            offer.why.clear();
            continue;
        };
        if refusal.kind == RefusalKind::Quota {
            met_quota(memory, entry, there, &refusal.why, now);
            continue;
        }
        match refusal.kind {
            RefusalKind::NoCapacity | RefusalKind::Quota => {
                step_aside(offer, NO_CAPACITY, LONGEST, &refusal.why, now);
            }
            RefusalKind::Wait { wait } => {
                step_aside(offer, wait, LONGEST_TROUBLE, &refusal.why, now);
            }
        }
    }
    // what is long over is no news any more
    memory
        .quotas
        .retain(|_, quota| age(quota.until, now) < LONGEST);
    while memory.offers.len() > MOST {
        memory.offers.pop_first();
    }
    while memory.quotas.len() > MOST {
        memory.quotas.pop_first();
    }
}

/// Its machines go elsewhere for a while, for longer each time in a row.
fn step_aside(
    offer: &mut OfferMemory,
    first: Duration,
    longest: Duration,
    why: &str,
    now: Timestamp,
) {
    // what was asked before it stepped aside is answered by the same refusal
    if offer.until.is_some_and(|until| until > now) {
        return;
    }
    offer.refusals = offer.refusals.saturating_add(1).min(MANY);
    offer.until = Some(after(now, longer(first, offer.refusals, longest)));
    offer.why = line(why);
}

/// An offer whose machine is taken back before it joined has no capacity, whatever it answered: asked again at once, it would
/// give the next one that is paid for and serves nobody. The image is not to blame, so no breaker counts it. Called before
/// `launched` is brought up to this tick, which is how each machine counts once.
pub(crate) fn learn_taken_back(
    memory: &mut PoolMemory,
    supply: &Supply,
    policy: &Policy,
    now: Timestamp,
) {
    for machine in &supply.machines {
        if let Phase::Preempted { notice, .. } = &machine.phase
            && memory.launched.contains(&machine.name)
            && let Some(known) = machine.made_from(policy)
        {
            let why = format!("a machine of it was taken back before it joined: {notice}");
            let offer = memory.offers.entry(known.id.clone()).or_default();
            step_aside(offer, NO_CAPACITY, LONGEST, &why, now);
        }
    }
}

fn met_quota(memory: &mut PoolMemory, entry: &OfferNews, cap: u32, why: &str, now: Timestamp) {
    let before = memory.quotas.get(&entry.provider);
    if before.is_some_and(|quota| quota.until > now) {
        return;
    }
    let refusals = before.map_or(1, |quota| quota.refusals.saturating_add(1).min(MANY));
    let until = after(now, longer(QUOTA, refusals, LONGEST));
    let why = line(why);
    memory.quotas.insert(
        entry.provider.clone(),
        QuotaMemory {
            cap,
            until,
            refusals,
            why,
        },
    );
}

/// Counts machines that never joined, by their offers, and learns from those that did.
pub(crate) fn learn_boots(
    memory: &mut PoolMemory,
    supply: &Supply,
    policy: &Policy,
    failed: &[OfferId],
    now: Timestamp,
) {
    for id in failed {
        let offer = memory.offers.entry(id.clone()).or_default();
        offer.failed = offer.failed.saturating_add(1);
        fade(offer);
    }
    for machine in &supply.machines {
        let Some(known) = machine.made_from(policy) else {
            continue;
        };
        let created = machine.listed.and_then(|listed| listed.created_at);
        match &machine.phase {
            Phase::Idle { .. } | Phase::Busy { unknown: None } | Phase::Spent { .. }
                if memory.booting.contains(&machine.name) =>
            {
                let Some(created) = created else { continue };
                let offer = memory.offers.entry(known.id.clone()).or_default();
                let took = u64::try_from(age(created, now).as_millis()).unwrap_or(u64::MAX);
                // one odd boot moves it by a quarter
                offer.boot_ms = match offer.boot_ms {
                    0 => took.max(1),
                    known => (known.saturating_mul(3).saturating_add(took) / 4).max(1),
                };
            }
            _ => {}
        }
    }
}

fn fade(offer: &mut OfferMemory) {
    while offer.made.max(offer.failed) > LATELY {
        offer.made /= 2;
        offer.failed /= 2;
    }
}

/// Twice as long for each refusal more, up to the longest; one that is longer anyway stays.
fn longer(first: Duration, refusals: u32, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << refusals.saturating_sub(1).min(MANY));
    doubled.min(longest.max(first))
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn line(text: &str) -> String {
    text.chars().take(WORDS).collect()
}

/// What one pool's memory says of offers that step aside, or that one machine may try.
pub(crate) fn aside(
    memory: &PoolMemory,
    now: Timestamp,
) -> impl Iterator<Item = (&OfferId, Unavailable)> {
    memory.offers.iter().filter_map(move |(id, offer)| {
        let until = offer.until?;
        let remaining = age(now, until);
        let why = offer.why.clone();
        (offer.refusals > 0).then_some((id, Unavailable { why, remaining }))
    })
}

/// The offers a pool may grow from now, best first, and why others are not among them.
pub(crate) fn ladder(
    seen: &Observation,
    policy: &Policy,
    memory: &PoolMemory,
    supply: &Supply,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) -> Vec<Rung> {
    let own: BTreeMap<&OfferId, Unavailable> = aside(memory, now).collect();
    let mut doubted = BTreeSet::new();
    let mut rungs = Vec::new();
    for offer in ranked(policy, memory) {
        if let Some(reason) = too_dear(offer, policy) {
            reasons.push(reason);
            continue;
        }
        if let Some(order) = seen.overrides.drained_offer(&offer.id) {
            reasons.push(Reason::OfferDrained {
                offer: offer.id.clone(),
                by: OrderedBy::of(order),
            });
            continue;
        }
        let mut room = u32::MAX;
        let both = [own.get(&offer.id), seen.unavailable.get(&offer.id)];
        // the later end of the two counts
        let aside = both.into_iter().flatten().max_by_key(|u| u.remaining);
        if let Some(unavailable) = aside {
            let id = offer.id.clone();
            if unavailable.remaining > Duration::ZERO {
                let why = unavailable.why.clone();
                reasons.push(Reason::OfferUnavailable { offer: id, why });
                continue;
            }
            let trying = supply.count(|machine| {
                machine.offer.as_ref() == Some(&offer.id)
                    && matches!(machine.phase, Phase::Requested | Phase::Provisioning)
            });
            reasons.push(Reason::OfferCanary { offer: id });
            room = 1u32.saturating_sub(trying);
        }
        if let Some(open) = boots::open(memory, offer, now) {
            let id = offer.id.clone();
            let of_it = |known: &Option<OfferId>| known.as_ref().is_none_or(|known| *known == id);
            let trying = supply.count(|m| m.phase.is_coming() && of_it(&m.offer));
            let may = u32::from(open.wait.is_zero()).saturating_sub(trying);
            reasons.push(Reason::BootBreaker {
                failures: open.failures,
                offer: offer.id.clone(),
                wait: open.wait,
            });
            room = room.min(may);
        }
        if let Some(why) = listing_doubt(seen, &offer.provider, now) {
            if doubted.insert(&offer.provider) {
                let provider = offer.provider.clone();
                reasons.push(Reason::HeldByListing { provider, why });
            }
            continue;
        }
        if room > 0 {
            rungs.push(Rung {
                offer: offer.id.clone(),
                provider: offer.provider.clone(),
                price: offer.price,
                room,
            });
        }
    }
    rungs
}

fn too_dear(offer: &OfferPolicy, policy: &Policy) -> Option<Reason> {
    let max = policy.standing.max_price?;
    let dear = offer.price.is_none_or(|price| price > max);
    dear.then(|| Reason::TooDear {
        offer: offer.id.clone(),
        price: offer.price,
        max,
    })
}

/// The pool's offers in the order in which they are tried.
fn ranked<'a>(policy: &'a Policy, memory: &PoolMemory) -> Vec<&'a OfferPolicy> {
    let mut offers: Vec<&OfferPolicy> = policy.offers.iter().collect();
    let nothing = OfferMemory::default();
    // stable: the place in the configuration decides between equals
    offers.sort_by_cached_key(|offer| {
        let known = memory.offers.get(&offer.id).unwrap_or(&nothing);
        let unhealthy = known.made.max(known.failed) >= ENOUGH && known.failed * 2 >= known.made;
        match policy.standing.ranking {
            Ranking::Listed => (unhealthy, 0, 0),
            Ranking::Price => (unhealthy, per_joined(offer, known), known.boot_ms),
        }
    });
    offers
}

/// The price of one machine-hour that works: machines that never join cost as much. One without a price is the dearest.
fn per_joined(offer: &OfferPolicy, known: &OfferMemory) -> u64 {
    let Some(price) = offer.price else {
        return u64::MAX;
    };
    let joined = known.made.saturating_sub(known.failed);
    let price = u128::from(price.micros()) * u128::from(known.made + 1) / u128::from(joined + 1);
    u64::try_from(price).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests;
