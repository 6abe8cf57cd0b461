//! Every condition below, at and above its bound, and on a fact that nobody knows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use engine::rules::when::{Facts, holds};
use model::Share;
use model::rules::{Condition, When};
use support::now;

fn unknown() -> Facts {
    Facts {
        now: now(),
        queued: None,
        oldest_wait: None,
        workload: None,
        spent: None,
        memory_free: None,
        load_milli: None,
    }
}

/// The same number for every fact; of the workload so many jobs for a hundred slots, so that it is a percentage.
fn all(number: u32) -> Facts {
    Facts {
        queued: Some(number),
        oldest_wait: Some(Duration::from_secs(number.into())),
        workload: Some((number, 100)),
        spent: Some(Share::percent(number)),
        memory_free: Some(number.into()),
        load_milli: Some(number),
        ..unknown()
    }
}

/// A bound of 50 from above and from below, for each fact.
fn pairs() -> Vec<(Condition, Condition)> {
    let (jobs, bytes, milli) = (50, 50, 50);
    let (time, share) = (Duration::from_secs(50), Share::percent(50));
    vec![
        (
            Condition::QueuedOver { jobs },
            Condition::QueuedUnder { jobs },
        ),
        (
            Condition::OldestWaitOver { time },
            Condition::OldestWaitUnder { time },
        ),
        (
            Condition::UtilizationOver { share },
            Condition::UtilizationUnder { share },
        ),
        (
            Condition::SpendOver { share },
            Condition::SpendUnder { share },
        ),
        (
            Condition::MemoryAbove { bytes },
            Condition::MemoryBelow { bytes },
        ),
        (
            Condition::LoadOver { milli },
            Condition::LoadUnder { milli },
        ),
    ]
}

fn is_met(condition: &Condition, facts: &Facts) -> bool {
    let all = vec![condition.clone()];
    holds(&When { all }, facts)
}

#[test]
fn over_and_under_leave_the_bound_itself_to_neither() {
    for (over, under) in pairs() {
        for (number, expected) in [
            (49, (false, true)),
            (50, (false, false)),
            (51, (true, false)),
        ] {
            let facts = all(number);
            let found = (is_met(&over, &facts), is_met(&under, &facts));
            assert_eq!(found, expected, "{over:?} and {under:?} at {number}");
        }
    }
}

/// No data is not zero: neither a condition nor its opposite holds.
#[test]
fn what_is_not_known_satisfies_nothing() {
    for (over, under) in pairs() {
        assert!(
            !is_met(&over, &unknown()) && !is_met(&under, &unknown()),
            "{over:?}"
        );
    }
}

/// Work on no executor at all is more than any share.
#[test]
fn work_from_zero_is_over_any_share() {
    let facts = Facts {
        workload: Some((1, 0)),
        ..unknown()
    };
    let share = Share::percent(100);
    assert!(is_met(&Condition::UtilizationOver { share }, &facts));
    let idle = Facts {
        workload: Some((0, 0)),
        ..unknown()
    };
    assert!(!is_met(&Condition::UtilizationOver { share }, &idle));
}
