//! `utilization`: total workload = (active executors + idle builds) / executors, held at a target.
//!
//! Worked: 6 running and 2 runnable jobs at a target of 80% ask for 8 / 0.8 = 10 slots. With 2 slots per machine that
//! is 5 machines. From zero machines 1 runnable job asks for 1 / 0.8, rounded up to 2 slots: numerator and denominator
//! are kept apart, so nothing is divided by the number of executors there are.

use model::Share;

use super::Situation;
use crate::reason::Reason;

/// Raises `wanted` so that the total workload is at most the target.
pub(crate) fn raise(at: &Situation<'_>, wanted: u32, reasons: &mut Vec<Reason>) -> u32 {
    let (Some((rule, kind)), Some(workload)) = (at.rules.utilization, at.workload()) else {
        return wanted;
    };
    let demand = &workload.demand;
    let needed = demand.running.saturating_add(demand.runnable);
    let slots = slots_at(needed, kind.target);
    let ours = slots.saturating_sub(at.supply.static_slots);
    let raised = ours.div_ceil(at.policy.slots.max(1));
    if raised <= wanted {
        return wanted;
    }
    reasons.push(Reason::Utilization {
        rule: rule.name.clone(),
        needed,
        target: kind.target,
        slots,
        wanted,
        raised,
    });
    raised
}

/// Slots that hold this work at the target.
fn slots_at(needed: u32, target: Share) -> u32 {
    let slots = (u64::from(needed) * 1000).div_ceil(u64::from(target.permille.max(1)));
    u32::try_from(slots).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_spread_over_more_slots_than_it_needs() {
        assert_eq!(slots_at(8, Share::percent(80)), 10);
        assert_eq!(slots_at(1, Share::percent(80)), 2);
        assert_eq!(slots_at(0, Share::percent(80)), 0);
        assert_eq!(slots_at(7, Share::percent(100)), 7);
        assert_eq!(slots_at(u32::MAX, Share::percent(1)), u32::MAX);
    }
}
