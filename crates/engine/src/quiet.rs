//! For how long the same picture of the world leads to the same plan: nothing to do.
//!
//! A simulation asks at every virtual tick, and in most of them nothing has happened. Whoever sees the same machines,
//! jobs and executors again, looked at anew, need not plan before this moment. It errs on the early side: what is not
//! understood here is not quiet. That skipping changes no result is tested in the crate `simulator`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::rules::{IdleSlots, IdleTime, RuleKind};
use model::{Instance, Learned, Policy, PoolMemory, Recommendations, Seen};

use crate::leave::least_age;
use crate::rules::{IDLE_FOR, scale_in};
use crate::{Observation, Plan, boots, learn};

/// The next look, at the earliest.
const SOON: Duration = Duration::from_millis(1);

/// The first moment from `now` on at which the observation that led to `plan`, seen anew, may lead to one with actions
/// or to another memory that matters; `now` itself if that cannot be told.
pub fn quiet_until(seen: &Observation, policy: &Policy, plan: &Plan, now: Timestamp) -> Timestamp {
    if !is_plain(seen, policy, plan) {
        return now;
    }
    let (before, after) = (&seen.seen.memory.learned, &plan.memory.learned);
    let boot = learn::boot_time(after, &policy.boot);
    if boot != learn::boot_time(before, &policy.boot) {
        return now;
    }
    // what this look taught is known from the next one on
    let before = &*learn::settled(before, boot, now);
    let after = &*learn::settled(after, boot, later(now, SOON));
    let mut next = Next::after(now);
    next.consider_all(learn::next_window(&plan.memory.learned, boot, now));
    let instances = seen.listings.values().filter_map(Seen::any).flatten();
    consider_ages(instances, policy, &plan.memory, &mut next);
    let watched = || plan.memory.idle_since.values().copied();
    let wanted = || plan.memory.wanted.iter().flat_map(|wanted| &wanted.earlier);
    let mut has_scale_in = false;
    for rule in &policy.rules {
        let RuleKind::ScaleIn(scale_in) = &rule.rule else {
            continue;
        };
        has_scale_in = true;
        let is_paced = scale_in.at_most.is_some() || scale_in.at_most_share.is_some();
        if is_paced && !plan.memory.departures.is_empty() {
            return now;
        }
        match scale_in.idle {
            IdleTime::Fixed { idle_for } => {
                next.consider_all(watched().map(|since| later(since, idle_for)));
            }
            IdleTime::BreakEven {
                wait_to_idle,
                announced,
            } => {
                let worth = scale_in::worth(boot, wait_to_idle);
                let part = scale_in::least_part(wait_to_idle);
                let found = learn::idle_time(after, worth, part, now).time;
                if found != learn::idle_time(before, worth, part, now).time {
                    return now;
                }
                let idle_for = found.saturating_sub(announced);
                next.consider_all(wanted().map(|earlier| later(earlier.until, idle_for)));
            }
        }
    }
    if !has_scale_in {
        next.consider_all(watched().map(|since| later(since, IDLE_FOR)));
    }
    next.consider(learn::next_hour_class(now));
    let Some(horizon) = next.found else {
        return now;
    };
    reserves_change(before, after, seen, policy, boot, now, horizon)
}

/// Whether nothing is going on but jobs and machines, with rules whose dependence on time is known here.
fn is_plain(seen: &Observation, policy: &Policy, plan: &Plan) -> bool {
    let nothing_done = plan.actions.is_empty() && plan.put.is_empty() && plan.end.is_empty();
    let memory = &plan.memory;
    let nothing_ages = policy.reuse.max_jobs.is_none() && policy.reuse.max_age.is_none();
    let nothing_begun = nothing_ages
        && seen.seen.intents.is_empty()
        && memory.missing.is_empty()
        && memory.ghosts.is_empty()
        && memory.broken.is_empty();
    let Seen::Complete { value, .. } = &seen.seen.workload else {
        return false;
    };
    let nothing_doubted = memory.cliff.is_none()
        && memory.anomaly_since.is_none()
        && memory.quotas.is_empty()
        && memory.spend.is_empty()
        && (memory.offers.values()).all(|offer| offer.until.is_none() && offer.refusals == 0);
    let nothing_odd = value.demand.soon.is_empty()
        && seen.intents_lost_at.is_none()
        && seen.unavailable.is_empty()
        && seen.seen.creation_held.is_none()
        && seen.seen.control_refused.is_none()
        && seen.seen.cordon_refused.is_empty()
        && seen.seen.join_doubts.is_empty()
        && seen
            .listings
            .values()
            .all(|listing| matches!(listing, Seen::Complete { .. }));
    let known_rules = policy.rules.iter().all(|rule| {
        rule.when.is_always()
            && match &rule.rule {
                RuleKind::Pace(pace) => pace.create.is_none() && pace.stabilise.is_zero(),
                RuleKind::Reserve(_) | RuleKind::ScaleIn(_) | RuleKind::Utilization(_) => true,
                _ => false,
            }
    });
    // where entries would be put together it matters when the old ones are forgotten
    let wanted = memory.wanted.as_ref();
    let few = wanted.is_none_or(|wanted| wanted.earlier.len() < Recommendations::MOST / 2);
    nothing_done && nothing_begun && nothing_doubted && nothing_odd && known_rules && few
}

/// The earliest of some moments that is still to come.
struct Next {
    now: Timestamp,
    found: Option<Timestamp>,
}

impl Next {
    fn after(now: Timestamp) -> Self {
        Next { now, found: None }
    }

    fn consider(&mut self, at: Timestamp) {
        if at > self.now && self.found.is_none_or(|found| at < found) {
            self.found = Some(at);
        }
    }

    fn consider_all(&mut self, moments: impl IntoIterator<Item = Timestamp>) {
        for at in moments {
            self.consider(at);
        }
    }
}

/// When machines stop being young, and when they are overdue.
fn consider_ages<'a>(
    instances: impl Iterator<Item = &'a Instance>,
    policy: &Policy,
    memory: &PoolMemory,
    next: &mut Next,
) {
    const MOMENT: Duration = Duration::from_nanos(1);
    let offers = policy.offers.iter().map(|offer| Some(&offer.id));
    let least = offers.chain([None]).map(|offer| least_age(policy, offer));
    let offers = policy.offers.iter().map(Some);
    let mut ages: Vec<Duration> = offers
        .chain([None])
        .map(|offer| boots::deadline(policy, memory, offer))
        .collect();
    ages.extend(least);
    ages.sort_unstable();
    ages.dedup();
    let oldest = ages.last().copied().unwrap_or_default();
    for created in instances.filter_map(|instance| memory.exists_since(instance)) {
        // most machines are past all of them
        if model::age(created, next.now) > oldest {
            continue;
        }
        for age in &ages {
            let at = later(created, *age);
            next.consider(at);
            next.consider(later(at, MOMENT));
        }
    }
}

/// The first moment until the horizon at which a reserve is of another size; a fading activity only makes it smaller.
fn reserves_change(
    before: &Learned,
    after: &Learned,
    seen: &Observation,
    policy: &Policy,
    boot: Duration,
    now: Timestamp,
    horizon: Timestamp,
) -> Timestamp {
    let demand = seen.seen.workload.any().map(|workload| &workload.demand);
    let needed = demand.map_or(0, |demand| demand.running.saturating_add(demand.runnable));
    let mut first = horizon;
    for rule in &policy.rules {
        let RuleKind::Reserve(reserve) = &rule.rule else {
            continue;
        };
        let IdleSlots::Arrivals { wait_to_idle } = reserve.idle else {
            continue;
        };
        let slots =
            |learned: &Learned, at| learn::reserve(learned, needed, wait_to_idle, boot, at).slots;
        let here = slots(after, now);
        if here != slots(before, now) {
            return now;
        }
        let (mut same, mut other) = (now, first);
        if slots(after, other) == here {
            continue;
        }
        while age_ms(same, other) > 1 {
            let middle = later(same, Duration::from_millis(age_ms(same, other) / 2));
            if slots(after, middle) == here {
                same = middle;
            } else {
                other = middle;
            }
        }
        first = first.min(same);
    }
    first
}

fn age_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(model::age(from, to).as_millis()).unwrap_or(u64::MAX)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
