//! Machines that never join: by when one must have joined, what the last failures in a row forbid, and who tries next.
//!
//! All of it is kept per pool and per *generation*, which is what a machine was made from. A broken image opens the breaker
//! for its own offer only, other offers of the pool go on, and a new image starts with a clean slate. While the breaker is
//! open one machine at a time tries, each after a longer wait: a broken image must not become a bill, nor one that was
//! repaired elsewhere (its mirror, its network) wait for an operator.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    FailedBoots, Generation, InstanceName, Intent, OfferId, OfferPolicy, Policy, PoolMemory, Seen,
    age,
};

use crate::Observation;
use crate::offers;
use crate::supply::{Phase, Supply};

/// So many machines in a row may fail to join before the pool tries one at a time: fewer would stop a pool for one
/// flaky boot, more turn a broken image into a bill.
const BREAKER_FAILURES: usize = 3;

/// The wait before the first canary; each failure more doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait: what was repaired is found within half an hour, as with offers that step aside.
const LONGEST_WAIT: Duration = Duration::from_secs(1800);

/// Names of failed machines remembered at most; the breaker needs three.
const MAX_FAILED: usize = 100;

/// So many machines of an offer must have joined before its usual boot time says anything of the next one.
const ENOUGH: u32 = 4;
/// A machine that takes so many times as long as usual will not come any more. Boots are measured by probes, and a cold
/// cache or a busy disk doubles a boot.
const TIMES_AS_LONG: u32 = 4;
/// No machine is given up sooner, whatever was learned.
const AT_LEAST: Duration = Duration::from_secs(60);

/// How long a machine of this offer may take to join: learned from those that did, at most `boot.timeout`, which is also
/// for one that no offer makes any more. Each failure in a row doubles it, so that boots which became slower for good are not
/// given up for ever.
pub(crate) fn deadline(
    policy: &Policy,
    memory: &PoolMemory,
    offer: Option<&OfferPolicy>,
) -> Duration {
    let most = policy.boot.timeout;
    let learned = offer.and_then(|offer| Some((offer, memory.offers.get(&offer.id)?)));
    let Some((offer, learned)) = learned else {
        return most;
    };
    if learned.boot_ms == 0 || learned.made.saturating_sub(learned.failed) < ENOUGH {
        return most;
    }
    let usual = Duration::from_millis(learned.boot_ms).saturating_mul(TIMES_AS_LONG);
    let least = policy.boot.expect.saturating_mul(2).max(AT_LEAST);
    let failures = failures(memory, &offer.generation).min(16);
    usual.max(least).saturating_mul(1 << failures).min(most)
}

fn failures(memory: &PoolMemory, generation: &Generation) -> usize {
    let known = memory.broken.get(generation);
    known.map_or(0, |known| known.machines.len())
}

/// What an open breaker says of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    /// Failures in a row.
    pub(crate) failures: u32,
    /// Time until the next machine may try.
    pub(crate) wait: Duration,
}

/// The breaker of an offer, if it is open.
pub(crate) fn open(memory: &PoolMemory, offer: &OfferPolicy, now: Timestamp) -> Option<Open> {
    let failed = memory.broken.get(&offer.generation)?;
    let beyond = failed.machines.len().checked_sub(BREAKER_FAILURES)?;
    let doubled = FIRST_WAIT
        .saturating_mul(1 << beyond.min(16))
        .min(LONGEST_WAIT);
    let doubled = SignedDuration::try_from(doubled).unwrap_or(SignedDuration::MAX);
    let next = failed.last.checked_add(doubled).unwrap_or(Timestamp::MAX);
    Some(Open {
        failures: u32::try_from(failed.machines.len()).unwrap_or(u32::MAX),
        wait: age(now, next),
    })
}

/// Brings the memory up to this tick; returns the offers of machines that failed now, one for each.
pub(crate) fn remember(
    memory: &mut PoolMemory,
    seen: &Observation,
    supply: &Supply,
    policy: &Policy,
    now: Timestamp,
) -> Vec<OfferId> {
    let current =
        |generation: &Generation| policy.offers.iter().any(|o| o.generation == *generation);
    memory.broken.retain(|generation, _| current(generation));
    let mut launched = BTreeSet::new();
    let mut failed = Vec::new();
    for machine in &supply.machines {
        let name = &machine.name;
        let was_launched = memory.launched.contains(name);
        let ended = match &machine.phase {
            Phase::Provisioning | Phase::Booting => {
                launched.insert(name.clone());
                false
            }
            Phase::Stuck => true,
            // it ended by itself, or somebody else ended it, before it joined
            Phase::Stopped => was_launched,
            Phase::Deleting => was_launched && machine.leaving.is_none(),
            Phase::Idle { .. } | Phase::Busy { unknown: None } | Phase::Spent { .. } => {
                if memory.booting.contains(name)
                    && let Some(made) = &machine.generation
                {
                    memory.broken.remove(made);
                }
                false
            }
            _ => false,
        };
        if ended {
            failed.push((name, machine.made_from(policy)));
        }
    }
    if !memory.launched.is_empty() {
        let listed = seen.listings.values().filter_map(Seen::any).flatten();
        let gone = listed.filter(|instance| instance.state.is_gone());
        let gone = gone.filter(|instance| memory.launched.contains(&instance.name));
        // one that we let go is no failure of its own
        let gone = gone.filter(|instance| !is_departing(seen, &instance.name));
        failed.extend(gone.map(|gone| {
            let (made, offer) = (gone.generation.as_ref(), gone.offer.as_ref());
            (&gone.name, offers::made_from(policy, made, offer))
        }));
    }
    let mut new = Vec::new();
    for (name, offer) in failed {
        // of what is made from nothing that is configured nothing is learned
        let Some(offer) = offer else { continue };
        let known = memory
            .broken
            .entry(offer.generation.clone())
            .or_insert_with(|| FailedBoots {
                machines: BTreeSet::new(),
                last: now,
            });
        if known.machines.len() < MAX_FAILED && known.machines.insert(name.clone()) {
            known.last = now;
            new.push(offer.id.clone());
        }
    }
    memory.launched = launched;
    new
}

fn is_departing(seen: &Observation, name: &InstanceName) -> bool {
    seen.seen
        .intents
        .iter()
        .any(|stored| matches!(&stored.intent, Intent::Leave { instance, .. } if instance == name))
}
