//! Growing: how many machines, in which batches, from which offer; and when a creation is settled.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use model::{
    BatchId, Bootstrap, ExecutorMode, InstanceName, Intent, IntentKey, Missing, OfferPolicy,
    Policy, Seen, StoredIntent, age,
};

use crate::leave::Context;
use crate::reason::{Reason, in_words};
use crate::rules::pace;
use crate::trust::listing_doubt;
use crate::{Action, Observation, Plan};

/// The lag bound of a provider that the configuration does not name any more: long, because nothing is lost by waiting.
const UNKNOWN_LAG: Duration = Duration::from_secs(120);

/// So many machines in a row may fail to join before the pool tries one at a time: fewer would stop a pool for one
/// flaky boot, more turn a broken image into a bill.
const BREAKER_FAILURES: usize = 3;

/// Creates up to `short` machines; returns how many.
pub(crate) fn grow(context: &Context<'_>, short: u32, plan: &mut Plan) -> u32 {
    let Context {
        seen,
        policy,
        supply,
        ..
    } = context;
    let room = policy.max.saturating_sub(supply.costing());
    let mut count = short.min(room);
    if count == 0 {
        return 0;
    }
    if let Some(why) = &seen.seen.creation_held {
        plan.reasons.push(Reason::CreationHeld {
            why: why.clone(),
            short: count,
        });
        return 0;
    }
    if let Some(reason) = blind(seen, policy, context.now) {
        plan.reasons.push(reason);
        return 0;
    }
    let failures = plan.memory.failed_boots.len();
    if failures >= BREAKER_FAILURES {
        let canary = 1u32.saturating_sub(supply.count(|m| m.phase.is_coming()));
        if canary < count {
            let failures = u32::try_from(failures).unwrap_or(u32::MAX);
            plan.reasons.push(Reason::BootBreaker {
                failures,
                short: count,
            });
            count = canary;
        }
        if count == 0 {
            return 0;
        }
    }
    let Some(offer) = choose_offer(seen, policy, context.now, plan) else {
        plan.reasons.push(Reason::NoOffer { short: count });
        return 0;
    };
    count = pace::allow(context.rules, count, plan);
    if count == 0 {
        return 0;
    }
    plan.reasons.push(Reason::Grows {
        count,
        offer: offer.id.clone(),
    });
    let single = policy.bootstrap == Bootstrap::PerMachine
        && matches!(policy.executors, ExecutorMode::Managed { .. });
    let batch_limit = if single { 1 } else { offer.batch_limit.max(1) };
    let mut left = count;
    while left > 0 {
        let size = left.min(batch_limit);
        let sequence = plan.next_sequence;
        let batch = BatchId {
            pool: policy.pool.clone(),
            epoch: seen.epoch,
            sequence,
        };
        plan.next_sequence += 1;
        plan.put.push(Intent::Create {
            batch: batch.clone(),
            count: size,
            provider: offer.provider.clone(),
            offer: offer.id.clone(),
            executor: None,
        });
        plan.actions.push(Action::Create {
            batch,
            count: size,
            provider: offer.provider.clone(),
            offer: offer.id.clone(),
        });
        left -= size;
    }
    count
}

/// Whether machines may exist that nothing here knows of.
fn blind(seen: &Observation, policy: &Policy, now: Timestamp) -> Option<Reason> {
    for offer in &policy.offers {
        let listing = seen.listings.get(&offer.provider);
        if listing.is_none_or(|listing| matches!(listing, Seen::Never { .. })) {
            let why = listing_doubt(seen, &offer.provider, now).unwrap_or_default();
            return Some(Reason::HeldByListing {
                provider: offer.provider.clone(),
                why,
            });
        }
        let Some(lost_at) = seen.intents_lost_at else {
            continue;
        };
        let shown = match listing {
            // one that is older than the loss shows nothing, however short the lag
            Some(Seen::Complete { at, .. }) => {
                *at >= lost_at && age(lost_at, *at) >= offer.listing_lag
            }
            Some(Seen::Partial { .. } | Seen::Never { .. }) | None => false,
        };
        if !shown {
            return Some(Reason::HeldAfterLoss {
                lag: offer.listing_lag,
            });
        }
    }
    None
}

/// The first offer that neither steps aside nor stands at a provider whose listing proves nothing now.
fn choose_offer<'a>(
    seen: &Observation,
    policy: &'a Policy,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<&'a OfferPolicy> {
    let mut doubted = BTreeSet::new();
    for offer in &policy.offers {
        if let Some(unavailable) = seen.unavailable.get(&offer.id) {
            let (offer, why) = (offer.id.clone(), unavailable.why.clone());
            plan.reasons.push(Reason::OfferUnavailable { offer, why });
        } else if let Some(why) = listing_doubt(seen, &offer.provider, now) {
            if doubted.insert(&offer.provider) {
                let provider = offer.provider.clone();
                plan.reasons.push(Reason::HeldByListing { provider, why });
            }
        } else {
            return Some(offer);
        }
    }
    None
}

/// Ends the intents of creations that a listing shows, or that two complete listings after the provider's lag bound do
/// not show.
pub(crate) fn settle(seen: &Observation, policy: &Policy, plan: &mut Plan, now: Timestamp) {
    let listed: BTreeSet<&InstanceName> = seen
        .listings
        .values()
        .filter_map(Seen::any)
        .flatten()
        .map(|instance| &instance.name)
        .collect();
    let mut open = BTreeSet::new();
    for stored in &seen.seen.intents {
        let Intent::Create { batch, count, .. } = &stored.intent else {
            continue;
        };
        let all = (0..*count).all(|index| listed.contains(&batch.instance(index)));
        let how = if all {
            Some("the provider lists it".to_owned())
        } else {
            never_made(seen, policy, stored, plan, now)
        };
        if let Some(how) = how {
            plan.end.push(IntentKey::Create(batch.clone()));
            plan.reasons.push(Reason::CreationSettled {
                batch: batch.to_string(),
                how,
            });
        } else {
            open.insert(batch.clone());
        }
    }
    plan.memory.missing.retain(|batch, _| open.contains(batch));
}

/// Counts one more complete listing without the batch; after the second one it was never made.
fn never_made(
    seen: &Observation,
    policy: &Policy,
    stored: &StoredIntent,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<String> {
    let Intent::Create {
        batch,
        provider,
        offer,
        ..
    } = &stored.intent
    else {
        return None;
    };
    let lag = policy
        .offers
        .iter()
        .find(|known| known.id == *offer)
        .map_or(UNKNOWN_LAG, |known| known.listing_lag);
    let Some(Seen::Complete { at, .. }) = seen.listings.get(provider) else {
        return None;
    };
    // the look must have begun after the lag bound, not merely be read after it
    if stored.age.saturating_sub(age(*at, now)) <= lag {
        return None;
    }
    let missing = plan
        .memory
        .missing
        .entry(batch.clone())
        .and_modify(|missing| {
            if missing.last < *at {
                *missing = Missing {
                    listings: missing.listings + 1,
                    last: *at,
                };
            }
        })
        .or_insert(Missing {
            listings: 1,
            last: *at,
        });
    (missing.listings >= 2).then(|| {
        format!(
            "two complete listings more than {} later do not show it, so it was never made",
            in_words(lag)
        )
    })
}
