//! `scale-in`: how long idleness lasts before a machine leaves.
//!
//! `idle_for: 10m` goes by each machine's own idle clock. `break-even` goes by levels of the target: while one machine
//! less is wanted than before, the next rise takes it back, so how long a *level* stays unneeded is the idle gap that
//! has to be paid or not, whichever machine the CI server happens to leave idle (docs/adr/0011). The level is kept for
//! a time `τ`, then any machine that is idle leaves.
//!
//! Worked: a boot takes Δ = 60 s, a job's wait is worth 1 idle machine: the end of a gap saves B = (1 + 1) · 60 s =
//! 120 s of machine. With too few gaps seen τ = B: whatever comes, at most twice of what somebody who knew the future
//! would pay. With enough of them τ is the one in B/2 … 2B for which those gaps would have been cheapest: at most three
//! times in the worst case, and the least on what this pool really does. Where waits are worth nothing (`wait_to_idle: 0`)
//! it may be as short as B/8: at most nine times. `announced: 30s`: all work is known 30 s ahead
//! and counted as demand, so 30 s less are waited out (at most 2 − ¼ of the least cost).

use std::time::Duration;

use model::rules::IdleTime;

use super::{Situation, greatest_within};
use crate::Plan;
use crate::learn;
use crate::reason::Reason;

/// What the end of a gap saves, as time of one idle machine: the boot, and the job's wait for it.
pub(crate) fn worth(boot: Duration, wait_to_idle: u32) -> Duration {
    boot.saturating_mul(wait_to_idle.saturating_add(1))
}

/// Where a job's wait is worth something, a level is kept for at least half of what its return saves. Where only money
/// counts, for an eighth: with a half a pool whose jobs come alone would pay half a boot more for each of them (8 % in
/// all), with less there is hardly more to save.
pub(crate) fn least_part(wait_to_idle: u32) -> u64 {
    if wait_to_idle == 0 { 8 } else { 2 }
}

/// Machines kept because their level was needed a short time ago.
pub(crate) fn keep(at: &Situation<'_>, wanted: u32, plan: &mut Plan) -> u32 {
    let Some((rule, kind)) = at.rules.scale_in else {
        return wanted;
    };
    let IdleTime::BreakEven {
        wait_to_idle,
        announced,
    } = kind.idle
    else {
        return wanted;
    };
    let worth = worth(at.boot, wait_to_idle);
    let found = learn::idle_time(at.known, worth, least_part(wait_to_idle), at.now);
    let idle_for = found.time.saturating_sub(announced);
    let greatest = greatest_within(plan, idle_for, at.now);
    let kept = greatest.min(at.lasting());
    if kept <= wanted {
        return wanted;
    }
    plan.reasons.push(Reason::Kept {
        rule: rule.name.clone(),
        idle_for,
        worth,
        gaps: found.gaps,
        wanted,
        kept,
    });
    kept
}
