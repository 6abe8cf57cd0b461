//! Executors of ours without a machine, a creation or a departure, and when they are removed from the CI server: after a time of
//! watching, a few at a time, and not while they are suspiciously many.
//!
//! One such executor is left behind by a machine that somebody deleted. Many at once rather tell that machines are not seen: a
//! provider that is missing in the file, another account behind its name. An executor that the CI server hears of has a machine
//! behind it; so in such a storm none of these is removed, however long it lasts, and those that are offline only after an
//! hour. Nothing is lost by waiting: an executor costs nothing.
//!
//! Of a pool that is not configured any more nothing here says where its machines stood. So there too whatever the CI server
//! hears of stays, be it a single one, and is named.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ExecutorRef, InstanceName, Intent};

use crate::leave::Context;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::supply::Ghost;
use model::age;

/// Beyond the provider's lag bound, how long an executor without a machine is watched before it is removed: a machine
/// whose intent was lost must have the time to show up.
const GRACE: Duration = Duration::from_secs(60);

/// More than so many at once ...
const MANY: usize = 10;

/// ... which are more than this part of the pool's own executors, in per cent, are no accident of single machines.
const SHARE: usize = 30;

/// How long they are watched then, if they are offline.
const STORM_GRACE: Duration = Duration::from_secs(3600);

/// So many are removed in one tick at most: a mistake of ours is seen before it is complete.
const AT_ONCE: usize = 10;

/// Removes executors of ours that no machine, creation or departure explains. `looked`: the look shows the whole pool.
pub(crate) fn remove(context: &Context<'_>, looked: bool, plan: &mut Plan) {
    let Context {
        seen,
        policy,
        supply,
        now,
        ..
    } = context;
    let lag = policy.offers.iter().map(|offer| offer.listing_lag).max();
    let lag = lag.unwrap_or_default();
    let is_departing = |ghost: &&Ghost| {
        seen.seen.intents.iter().any(
            |stored| matches!(&stored.intent, Intent::Leave { instance, .. } if *instance == ghost.instance),
        )
    };
    let ghosts: Vec<&Ghost> = supply
        .ghosts
        .iter()
        .filter(|ghost| !ghost.busy && !is_departing(ghost))
        .collect();
    let ours = supply
        .machines
        .iter()
        .filter(|machine| machine.agent.is_some());
    let ours = ours.count() + supply.ghosts.len();
    let is_storm = ghosts.len() > MANY && ghosts.len() * 100 > ours * SHARE;
    let grace = if is_storm { STORM_GRACE } else { GRACE };
    // no offer of it is left, so its machines may stand where nobody lists
    let elsewhere = policy.offers.is_empty();
    let online: Vec<InstanceName> = supply
        .ghosts
        .iter()
        .filter(|ghost| elsewhere && (ghost.online || ghost.busy) && !is_departing(ghost))
        .map(|ghost| ghost.instance.clone())
        .collect();
    let (mut watched, mut removed, mut later) = (BTreeMap::new(), 0, 0_u32);
    for ghost in ghosts {
        let name = &ghost.instance;
        let first = *plan.memory.ghosts.get(name).unwrap_or(now);
        watched.insert(name.clone(), first);
        let proven = looked && context.is_gone(name) && context.settle().is_some();
        let Some(emitter) = policy.emitter.clone().filter(|_| proven) else {
            continue;
        };
        let stays = ghost.online && (is_storm || elsewhere);
        let due = age(first, *now) >= lag + grace && !stays;
        if !due || removed >= AT_ONCE {
            later += u32::from(due || is_storm);
            continue;
        }
        removed += 1;
        let id = ghost.executor.clone();
        context.remove(name, &ExecutorRef { emitter, id }, plan);
        // asked for again only after another time of watching
        watched.insert(name.clone(), *now);
    }
    plan.memory.ghosts = watched;
    if let Some(first) = online.first() {
        plan.reasons.push(Reason::GhostsOnline {
            executors: u32::try_from(online.len()).unwrap_or(u32::MAX),
            first: first.clone(),
        });
    }
    if later > 0 {
        plan.reasons.push(Reason::GhostsKept {
            executors: later,
            storm: is_storm,
        });
    }
}
