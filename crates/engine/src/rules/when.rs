//! Whether the conditions of a rule hold.
//!
//! A fact that is not known satisfies neither a condition nor its opposite: on missing data a rule is simply not in
//! force, and the next one of its kind is. Schedules are civil time in their own zone. The zones are those that jiff
//! brings with it, so that a decision does not depend on the machine it is made on.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::rules::{Condition, Schedule, Share, When};
use model::{ExecutorState, Policy, age};

use crate::Observation;
use crate::supply::Supply;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The time zone of this name; `None` if the database has none.
pub fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// What conditions are asked about.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The moment.
    pub now: Timestamp,
    /// Runnable jobs, if a workload was heard.
    pub queued: Option<u32>,
    /// How long the oldest of them has waited by now.
    pub oldest_wait: Option<Duration>,
    /// Total workload: (running and runnable jobs, slots of all executors), apart, so that it works from zero.
    pub workload: Option<(u32, u32)>,
    /// Free memory in bytes, on average over the busy executors that report.
    pub memory_free: Option<u64>,
    /// Load per processor in thousandths, likewise.
    pub load_milli: Option<u32>,
}

impl Facts {
    /// The facts of one pool.
    pub fn of(seen: &Observation, policy: &Policy, supply: &Supply, now: Timestamp) -> Facts {
        let workload = seen.seen.workload.any();
        let demand = workload.map(|workload| &workload.demand);
        let since_look = seen
            .seen
            .workload
            .at()
            .map_or(Duration::ZERO, |at| age(at, now));
        let executors = workload.map_or(&[][..], |workload| &workload.executors);
        let reports = || {
            let busy = |state: &ExecutorState| matches!(state, ExecutorState::Busy { .. });
            let busy = executors.iter().filter(move |e| busy(&e.state));
            busy.filter_map(|executor| executor.health)
        };
        Facts {
            now,
            queued: demand.map(|demand| demand.runnable),
            oldest_wait: demand.map(|demand| match demand.oldest_wait {
                Some(wait) => wait.saturating_add(since_look),
                None => Duration::ZERO,
            }),
            workload: demand.map(|demand| {
                let needed = demand.running.saturating_add(demand.runnable);
                (needed, supply.slots(policy))
            }),
            memory_free: mean(reports().filter_map(|health| health.memory_free)),
            load_milli: mean(reports().filter_map(|h| h.load_milli.map(u64::from)))
                .and_then(|mean| u32::try_from(mean).ok()),
        }
    }
}

/// The mean, rounded down; `None` of nothing: no report is not zero.
fn mean(values: impl Iterator<Item = u64>) -> Option<u64> {
    let (mut sum, mut count) = (0u128, 0u128);
    for value in values {
        (sum, count) = (sum + u128::from(value), count + 1);
    }
    u64::try_from(sum.checked_div(count)?).ok()
}

/// Whether all conditions hold.
pub fn holds(when: &When, facts: &Facts) -> bool {
    when.all.iter().all(|condition| is_met(condition, facts))
}

fn is_met(condition: &Condition, facts: &Facts) -> bool {
    match condition {
        Condition::Schedule(schedule) => is_within(schedule, facts.now),
        Condition::QueuedOver { jobs } => facts.queued.is_some_and(|n| n > *jobs),
        Condition::QueuedUnder { jobs } => facts.queued.is_some_and(|n| n < *jobs),
        Condition::OldestWaitOver { time } => facts.oldest_wait.is_some_and(|wait| wait > *time),
        Condition::OldestWaitUnder { time } => facts.oldest_wait.is_some_and(|wait| wait < *time),
        Condition::UtilizationOver { share } => {
            facts.workload.is_some_and(|w| compare(w, *share).is_gt())
        }
        Condition::UtilizationUnder { share } => {
            facts.workload.is_some_and(|w| compare(w, *share).is_lt())
        }
        Condition::MemoryBelow { bytes } => facts.memory_free.is_some_and(|free| free < *bytes),
        Condition::MemoryAbove { bytes } => facts.memory_free.is_some_and(|free| free > *bytes),
        Condition::LoadOver { milli } => facts.load_milli.is_some_and(|load| load > *milli),
        Condition::LoadUnder { milli } => facts.load_milli.is_some_and(|load| load < *milli),
        Condition::Any { any } => any.iter().any(|when| holds(when, facts)),
    }
}

/// The total workload against a share of the executors, without dividing: work on no executor is more than any share.
fn compare((needed, slots): (u32, u32), share: Share) -> std::cmp::Ordering {
    let needed = u64::from(needed) * 1000;
    needed.cmp(&(u64::from(slots) * u64::from(share.permille)))
}

/// Whether a moment lies in a schedule. A zone that is not known holds at no time; `check` refuses it.
pub fn is_within(schedule: &Schedule, now: Timestamp) -> bool {
    let Some(zone) = zone(&schedule.zone) else {
        return false;
    };
    let local = now.to_zoned(zone);
    let day = local.weekday().to_monday_zero_offset();
    let minute = i32::from(day) * 1440 + i32::from(local.hour()) * 60 + i32::from(local.minute());
    u16::try_from(minute).is_ok_and(|minute| schedule.contains(minute))
}
