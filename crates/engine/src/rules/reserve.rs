//! `reserve`: idle slots kept ready beyond what the jobs need.
//!
//! Worked, a number: 3 runnable jobs, 2 machines busy, `idle: 4`, one slot per machine: 2 + 3 + 4 = 9 machines. A share
//! of busy: 21 running jobs at 10% keep 3 slots. Arrivals: see `learn::reserve`; with `wait_to_idle: 16` one more slot
//! is kept while, by what this pool has shown at such an activity, it is needed within a boot time in more than 1 of 16
//! cases.

use model::rules::IdleSlots;

use super::Situation;
use crate::learn;
use crate::reason::{Reason, ReserveBy};

/// Raises `wanted` so that beside `open` slots for jobs the reserve is there.
pub(crate) fn raise(at: &Situation<'_>, open: u32, wanted: u32, reasons: &mut Vec<Reason>) -> u32 {
    let (Some((rule, kind)), Some(workload)) = (at.rules.reserve, at.workload()) else {
        return wanted;
    };
    let (asked, by) = match kind.idle {
        IdleSlots::Fixed { slots } => (slots, ReserveBy::Number),
        IdleSlots::ShareOfBusy { share } => (
            share.of(workload.demand.running),
            ReserveBy::Share { share },
        ),
        IdleSlots::Arrivals { wait_to_idle } => {
            let needed = workload
                .demand
                .running
                .saturating_add(workload.demand.runnable);
            let found = learn::reserve(at.known, needed, wait_to_idle, at.boot, at.now);
            let (windows, within) = (found.windows, at.boot);
            (found.slots, ReserveBy::Arrivals { windows, within })
        }
    };
    let idle = kind.at_most.map_or(asked, |most| asked.min(most));
    let raised = at.machines_for(open.saturating_add(idle));
    if raised <= wanted {
        return wanted;
    }
    reasons.push(Reason::Reserve {
        rule: rule.name.clone(),
        idle,
        by,
        wanted,
        raised,
    });
    raised
}
