//! `memory` and `load`: while the machines say that they are short, the pool does not shrink and keeps idle machines
//! beside the busy ones, so that the CI server has somewhere else to put the next job.
//!
//! Worked: 6 busy machines with 1.5 GiB free on average, `free_below: 2GiB`, `grow: 2`: 8 machines are wanted. They
//! take jobs, the average rises, and the rule lets go. It cannot run away: what it asks for depends on the busy machines,
//! not on how many there are. Machines that report nothing decide nothing; when none does, the rule says so.

use super::Situation;
use super::when::Facts;
use crate::reason::{Pressure, Reason};

/// Raises `wanted` while memory is short or the load is high.
pub(crate) fn raise(
    at: &Situation<'_>,
    facts: &Facts,
    mut wanted: u32,
    reasons: &mut Vec<Reason>,
) -> u32 {
    let busy = at.supply.count(|m| m.phase.is_busy());
    if busy == 0 {
        return wanted;
    }
    if let Some((rule, kind)) = at.rules.memory {
        let seen = facts.memory_free.map(|free| Pressure::Memory {
            free,
            least: kind.free_below,
        });
        let short = facts.memory_free.is_some_and(|free| free < kind.free_below);
        wanted = one(
            at,
            &rule.name,
            (seen, short),
            busy,
            kind.grow,
            wanted,
            reasons,
        );
    }
    if let Some((rule, kind)) = at.rules.load {
        let seen = facts.load_milli.map(|load| Pressure::Load {
            milli: load,
            most: kind.over_milli,
        });
        let high = facts.load_milli.is_some_and(|load| load > kind.over_milli);
        wanted = one(
            at,
            &rule.name,
            (seen, high),
            busy,
            kind.grow,
            wanted,
            reasons,
        );
    }
    wanted
}

fn one(
    at: &Situation<'_>,
    rule: &str,
    (seen, pressed): (Option<Pressure>, bool),
    busy: u32,
    grow: u32,
    wanted: u32,
    reasons: &mut Vec<Reason>,
) -> u32 {
    let rule = rule.to_owned();
    let Some(seen) = seen else {
        reasons.push(Reason::NoReports { rule });
        return wanted;
    };
    if !pressed {
        return wanted;
    }
    let raised = busy.saturating_add(grow).max(at.lasting()).max(wanted);
    reasons.push(Reason::Pressed {
        rule,
        seen,
        busy,
        wanted,
        raised,
    });
    raised
}
