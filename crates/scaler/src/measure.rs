//! What a tick shows in the metrics of its pools. Decides nothing.
//!
//! Time and money are added up between two ticks of one replica: what nobody watched (a change of the active scaler, a
//! pause) is not in them, so they are a little less than what was paid, never more.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::{Action, Machine, Phase, Reason};
use jiff::Timestamp;
use model::{Policy, age};
use telemetry::metrics::ScalerMetrics;

use crate::tick::Planned;

/// A gap between two ticks that is longer than this was a pause, of which nothing is known.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// Since when time is counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<Duration>,
}

impl Meter {
    /// The time since the last tick, by the boot clock; nothing after a pause.
    pub(crate) fn tick(&mut self, boottime: Duration) -> Duration {
        let last = self.last.replace(boottime).unwrap_or(boottime);
        let gap = boottime.saturating_sub(last);
        if gap > LONGEST_GAP {
            return Duration::ZERO;
        }
        gap
    }

    /// This replica does not act any more.
    pub(crate) fn rest(&mut self) {
        self.last = None;
    }
}

/// Shows one pool as it stands, `gap` after it was shown last. Of a pool that is not configured there is no policy.
pub(crate) fn show(
    metrics: &ScalerMetrics,
    planned: &Planned,
    policy: Option<&Policy>,
    gap: Duration,
    now: Timestamp,
) {
    let Planned {
        seen, supply, plan, ..
    } = planned;
    let pool = plan.pool.as_str();
    let count = |phase: &'static str| {
        let is = |machine: &&Machine| machine.phase.as_str() == phase;
        (phase, supply.machines.iter().filter(is).count() as u64)
    };
    metrics.set_machines(pool, &Phase::ALL.map(count));
    metrics.set_target(pool, u64::from(plan.summary.target));
    if let Some(policy) = policy {
        metrics.set_max(pool, policy.max);
    }
    let reasons: BTreeSet<&'static str> = plan.reasons.iter().map(Reason::code).collect();
    metrics.set_reasons(pool, &reasons);
    if planned.is_new {
        for reason in &plan.reasons {
            metrics.planned(pool, reason.code());
        }
    }
    if let Some(workload) = seen.seen.workload.any() {
        let demand = &workload.demand;
        let jobs = [
            ("runnable", u64::from(demand.runnable)),
            ("running", u64::from(demand.running)),
            ("scheduled", u64::from(demand.scheduled)),
            ("blocked", u64::from(demand.blocked)),
            ("unrunnable", u64::from(demand.unrunnable)),
        ];
        metrics.set_jobs(pool, &jobs);
    }
    if let Some(at) = seen.seen.workload.at() {
        let old = age(at, now);
        let waited = oldest_wait(planned, old);
        metrics.set_look(pool, waited.unwrap_or_default(), old);
        let creates = |action: &&Action| matches!(action, Action::Create { .. });
        if let (Some(waited), Some(_)) = (waited, plan.actions.iter().find(creates)) {
            metrics.create_asked(pool, waited);
        }
    }
    for machine in &supply.machines {
        let created = machine.listed.and_then(|listed| listed.created_at);
        let came = seen.seen.memory.booting.contains(&machine.name) && is_up(&machine.phase);
        if let (true, Some(created)) = (came, created) {
            metrics.joined(pool, age(created, now));
        }
    }
    spend(metrics, planned, policy, gap);
}

fn is_up(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Idle { .. } | Phase::Busy { unknown: None } | Phase::Spent { .. }
    )
}

fn oldest_wait(planned: &Planned, look_age: Duration) -> Option<Duration> {
    let workload = planned.seen.seen.workload.any()?;
    Some(workload.demand.oldest_wait?.saturating_add(look_age))
}

fn spend(metrics: &ScalerMetrics, planned: &Planned, policy: Option<&Policy>, gap: Duration) {
    let pool = planned.plan.pool.as_str();
    for usage in USES {
        let those = planned.supply.machines.iter();
        let those = those.filter(|machine| used_for(&machine.phase) == Some(usage));
        let (mut seconds, mut money) = (0.0, 0.0);
        for machine in those {
            seconds += gap.as_secs_f64();
            let offers = policy.map(|policy| policy.offers.iter());
            let mut offers = offers.into_iter().flatten();
            let offer = offers.find(|offer| Some(&offer.id) == machine.offer.as_ref());
            // micros below 2^53 are exact
            let price = offer.and_then(|offer| offer.price);
            money += price.map_or(0.0, |price| price.micros() as f64 / 1e6 / 3600.0);
        }
        if seconds > 0.0 {
            metrics.spent(pool, usage, seconds, money * gap.as_secs_f64());
        }
    }
}

const USES: [&str; 4] = ["busy", "idle", "coming", "leaving"];

/// What a machine is good for while it costs money; one that is only asked for costs nothing yet.
fn used_for(phase: &Phase) -> Option<&'static str> {
    match phase {
        Phase::Requested => None,
        Phase::Busy { .. }
        | Phase::Spent { busy: true }
        | Phase::Cordoned { busy: true, .. }
        | Phase::Preempted { busy: true, .. } => Some("busy"),
        Phase::Idle { .. } => Some("idle"),
        Phase::Provisioning | Phase::Booting => Some("coming"),
        Phase::Spent { busy: false }
        | Phase::Cordoned { busy: false, .. }
        | Phase::Preempted { busy: false, .. }
        | Phase::ForeignCordon
        | Phase::Deleting
        | Phase::Stuck
        | Phase::Lost
        | Phase::Stopped
        | Phase::Unclear { .. } => Some("leaving"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_between_ticks_and_not_over_pauses() {
        let at = Duration::from_secs;
        let mut meter = Meter::default();
        let gaps = [100, 101, 103, 903, 904].map(|now| meter.tick(at(now)).as_secs());
        assert_eq!(gaps, [0, 1, 2, 0, 1]);
        meter.rest();
        assert_eq!(meter.tick(at(905)), Duration::ZERO);
    }
}
