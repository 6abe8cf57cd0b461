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

#[cfg(test)]
mod tests {
    use super::*;

    fn within(schedule: &str, zone: &str, moment: &str) -> bool {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        is_within(&schedule, moment.parse().unwrap())
    }

    /// The same office hours before, on, and after the days on which clocks change.
    #[test]
    fn office_hours_follow_the_clock_on_the_wall() {
        let office = "Mon-Fri 08:00-19:00";
        for (zone, moment, expected) in [
            // Berlin: summer time began on Sunday, 29 March 2026
            ("Europe/Berlin", "2026-03-27T06:59:59Z", false),
            ("Europe/Berlin", "2026-03-27T07:00:00Z", true),
            ("Europe/Berlin", "2026-03-30T05:59:59Z", false),
            ("Europe/Berlin", "2026-03-30T06:00:00Z", true),
            // ... and ended on Sunday, 25 October 2026
            ("Europe/Berlin", "2026-10-26T06:59:59Z", false),
            ("Europe/Berlin", "2026-10-26T07:00:00Z", true),
            // New York changes on other days: 8 March and 1 November 2026
            ("America/New_York", "2026-03-06T13:00:00Z", true),
            ("America/New_York", "2026-03-06T12:59:59Z", false),
            ("America/New_York", "2026-03-09T12:00:00Z", true),
            ("America/New_York", "2026-11-02T12:59:59Z", false),
            // Kolkata is half an hour off and never changes
            ("Asia/Kolkata", "2026-07-01T02:30:00Z", true),
            ("Asia/Kolkata", "2026-07-01T02:29:59Z", false),
            ("Asia/Kolkata", "2026-01-01T13:29:59Z", true),
            ("Asia/Kolkata", "2026-01-01T13:30:00Z", false),
            // Lord Howe changes by half an hour; Apia is a day ahead of its neighbours
            ("Australia/Lord_Howe", "2026-01-01T21:00:00Z", true),
            ("Pacific/Apia", "2026-01-04T19:00:00Z", true),
            ("Pacific/Apia", "2026-01-02T19:00:00Z", false),
        ] {
            assert_eq!(within(office, zone, moment), expected, "{zone} {moment}");
        }
    }

    /// An hour that is skipped holds at no moment, one that comes twice holds both times.
    #[test]
    fn the_hour_of_the_change_is_skipped_or_comes_twice() {
        let night = "Sun 02:00-03:00";
        for (moment, expected) in [
            ("2026-03-29T00:59:59Z", false), // 01:59:59
            ("2026-03-29T01:00:00Z", false), // 03:00:00
            ("2026-10-25T00:00:00Z", true),  // 02:00:00 for the first time
            ("2026-10-25T01:30:00Z", true),  // 02:30:00 for the second time
            ("2026-10-25T02:00:00Z", false), // 03:00:00
        ] {
            assert_eq!(within(night, "Europe/Berlin", moment), expected, "{moment}");
        }
        // a range over that hour holds throughout
        let around = "Sat 22:00-06:00";
        for moment in [
            "2026-03-29T00:59:59Z",
            "2026-03-29T01:00:00Z",
            "2026-10-25T01:30:00Z",
        ] {
            assert!(within(around, "Europe/Berlin", moment), "{moment}");
        }
    }

    #[test]
    fn nights_over_midnight_and_over_the_end_of_the_week_are_whole() {
        for (moment, expected) in [
            ("2026-01-03T21:59:59Z", false), // Saturday
            ("2026-01-04T22:00:00Z", true),  // Sunday
            ("2026-01-05T05:59:59Z", true),  // Monday
            ("2026-01-05T06:00:00Z", false),
        ] {
            assert_eq!(
                within("Sun 22:00-06:00", "UTC", moment),
                expected,
                "{moment}"
            );
        }
    }

    #[test]
    fn a_zone_that_is_not_known_holds_at_no_time() {
        assert!(!within(
            "Mon-Sun 00:00-24:00",
            "Mars/Olympus",
            "2026-01-05T05:59:59Z"
        ));
    }

    #[test]
    fn the_total_workload_is_compared_without_dividing() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let share = Share::percent(80);
        assert_eq!(compare((1, 0), share), Greater);
        assert_eq!(compare((0, 0), share), Equal);
        assert_eq!(compare((4, 5), share), Equal);
        assert_eq!(compare((3, 5), share), Less);
        assert_eq!(compare((u32::MAX, u32::MAX), share), Greater);
    }

    #[test]
    fn a_mean_of_nothing_is_nothing() {
        assert_eq!(mean([].into_iter()), None);
        assert_eq!(mean([1, 2].into_iter()), Some(1));
        assert_eq!(mean([u64::MAX, u64::MAX].into_iter()), Some(u64::MAX));
    }
}
