//! Growing: how many machines, in which batches; and when a creation is settled. From which offer: `offers.rs`; who may
//! grow when not everybody can: `allocate.rs`.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    BatchId, Bootstrap, ExecutorMode, InstanceName, Intent, IntentKey, Missing, OfferPolicy,
    Policy, Seen, StoredIntent, age,
};

use crate::allocate::Grant;
use crate::leave::Context;
use crate::offers::{self, Rung};
use crate::reason::{Reason, in_words};
use crate::rules::pace;
use crate::trust::{Unseen, is_unknown, listing_doubt};
use crate::{Action, Observation, Plan};

/// The lag bound of a provider that the configuration does not name any more: long, because nothing is lost by waiting.
const UNKNOWN_LAG: Duration = Duration::from_secs(120);

/// How far a pool may grow by itself, before it is known what the fleet grants.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Machines to be made.
    pub(crate) count: u32,
    /// Where they can be had, best first.
    pub(crate) rungs: Vec<Rung>,
}

/// How many of `short` machines may be made, and where; each step that cuts it says so.
pub(crate) fn growth(context: &Context<'_>, short: u32, plan: &mut Plan) -> Growth {
    let Context {
        seen,
        policy,
        supply,
        now,
        ..
    } = context;
    let unseen = Unseen::of(seen, supply);
    let room = policy
        .max
        .saturating_sub(supply.costing().saturating_add(unseen.count()));
    let count = short.min(room);
    if short > 0 {
        plan.reasons.extend(unseen.reasons());
    }
    if count == 0 {
        return Growth::default();
    }
    if let Some(why) = &seen.seen.creation_held {
        plan.reasons.push(Reason::CreationHeld {
            why: why.clone(),
            short: count,
        });
        return Growth::default();
    }
    if let Some(reason) = blind(seen, policy, *now) {
        plan.reasons.push(reason);
        return Growth::default();
    }
    let rungs = offers::ladder(seen, policy, &plan.memory, supply, *now, &mut plan.reasons);
    if rungs.is_empty() {
        plan.reasons.push(Reason::NoOffer { short: count });
        return Growth::default();
    }
    // its tokens are taken for what is really created
    match pace::allowed(&context.rules, count, plan) {
        0 => Growth::default(),
        count => Growth { count, rungs },
    }
}

/// Creates what is granted, but never more than the pool itself may grow; returns how many machines.
pub(crate) fn create(
    context: &Context<'_>,
    growth: &Growth,
    grant: &Grant,
    plan: &mut Plan,
) -> u32 {
    let policy = context.policy;
    let single = policy.bootstrap == Bootstrap::PerMachine
        && matches!(policy.executors, ExecutorMode::Managed { .. });
    let mut allowed = growth.count;
    for part in &grant.parts {
        let count = part.count.min(allowed);
        let known = |offer: &&OfferPolicy| offer.id == part.offer;
        let Some(offer) = policy.offers.iter().find(known).filter(|_| count > 0) else {
            continue;
        };
        allowed -= count;
        plan.reasons.push(Reason::Grows {
            count,
            offer: offer.id.clone(),
        });
        let batch_limit = if single { 1 } else { offer.batch_limit.max(1) };
        let mut left = count;
        while left > 0 {
            let size = left.min(batch_limit);
            one_batch(context, offer, size, plan);
            left -= size;
        }
    }
    let created = growth.count - allowed;
    pace::take(&context.rules, created, plan);
    created
}

fn one_batch(context: &Context<'_>, offer: &OfferPolicy, count: u32, plan: &mut Plan) {
    let batch = BatchId {
        pool: context.policy.pool.clone(),
        epoch: context.seen.epoch,
        sequence: plan.next_sequence,
    };
    plan.next_sequence += 1;
    plan.put.push(Intent::Create {
        batch: batch.clone(),
        count,
        provider: offer.provider.clone(),
        offer: offer.id.clone(),
        executor: None,
    });
    plan.actions.push(Action::Create {
        batch,
        count,
        provider: offer.provider.clone(),
        offer: offer.id.clone(),
    });
}

/// Whether machines may exist that nothing here knows of: at a provider that was never listed and of which nothing remembers
/// what stood there, or where creations may have been forgotten.
fn blind(seen: &Observation, policy: &Policy, now: Timestamp) -> Option<Reason> {
    for offer in &policy.offers {
        let listing = seen.listings.get(&offer.provider);
        if is_unknown(seen, &offer.provider) {
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

/// Ends the intents of creations that a listing shows, or that two complete listings after the provider's lag bound do
/// not show.
pub(crate) fn settle(seen: &Observation, policy: &Policy, plan: &mut Plan, now: Timestamp) {
    // at most ticks nothing is being created, and then nobody asks for it
    let listed = LazyCell::new(|| -> HashSet<&InstanceName> {
        let listings = seen.listings.values().filter_map(Seen::any);
        listings.flatten().map(|instance| &instance.name).collect()
    });
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
