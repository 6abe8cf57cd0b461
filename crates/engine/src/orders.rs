//! What operators ordered of a pool's size, after the rules and before anybody is granted anything.
//!
//! A pause keeps the pool as it is: nothing is made, nothing begins to leave, and what was leaving waits. A pin puts
//! another number in the place of what the jobs and rules want; machines that are too many leave as always, so no order
//! ends a build. Drains are carried out in `retire.rs` and
//! `offers.rs`: they are about machines, not about a number.

use jiff::{Timestamp, Unit};
use model::{Override, Policy, Seen};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::retire;
use crate::trust::Trust;
use crate::{Observation, Plan};

/// Who ordered something, for the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBy {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
    /// Until when.
    pub until: Timestamp,
}

impl OrderedBy {
    pub(crate) fn of(order: &Override) -> Self {
        // its end is reckoned anew with each tick and differs by milliseconds
        let until = order.until.round(Unit::Second).unwrap_or(order.until);
        OrderedBy {
            who: order.order.who.clone(),
            why: order.order.why.clone(),
            until,
        }
    }
}

impl std::fmt::Display for OrderedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by {} until {}: {}", self.who, self.until, self.why)
    }
}

impl Trust {
    /// The same, if an order of which nobody knows what it says keeps every machine.
    pub(crate) fn with_orders(mut self, seen: &Observation) -> Trust {
        if let ([first, ..], None) = (&seen.overrides.unreadable[..], &self.no_shrink) {
            self.no_shrink = Some("an override cannot be read".to_owned());
            self.said = Some(Reason::OverrideUnreadable { why: first.clone() });
        }
        self
    }
}

/// Says which drains concern machines of the pool.
pub(crate) fn say_drains(seen: &Observation, policy: &Policy, plan: &mut Plan) {
    let listed = || seen.listings.values().filter_map(Seen::any).flatten();
    for order in &seen.overrides.in_force {
        let of_it = |instance: &&model::Instance| {
            !instance.state.is_gone() && retire::drained(seen, policy, instance) == Some(order)
        };
        let machines = u32::try_from(listed().filter(of_it).count()).unwrap_or(u32::MAX);
        if machines > 0 {
            plan.reasons.push(Reason::Draining {
                what: order.order.what.to_string(),
                by: OrderedBy::of(order),
                machines,
            });
        }
    }
}

/// The machines wanted with what is ordered; a pause is noted as a doubt, so that no departure goes on.
pub(crate) fn apply(
    seen: &Observation,
    policy: &Policy,
    serving: u32,
    wanted: u32,
    trust: &mut Trust,
    plan: &mut Plan,
) -> u32 {
    if let Some(pause) = seen.overrides.pause(&policy.pool) {
        let by = OrderedBy::of(pause);
        trust.no_shrink = Some("the pool is paused".to_owned());
        plan.reasons.push(Reason::Paused {
            by,
            wanted,
            keep: serving,
        });
        return serving;
    }
    let Some((pin, machines)) = seen.overrides.pin(&policy.pool) else {
        return wanted;
    };
    // doubt never shrinks a pool, not even by an order: an operator who sees more than we do can end the doubt
    let least = trust.no_shrink.as_ref().map_or(0, |_| serving);
    let pinned = machines.min(policy.max).max(least);
    plan.reasons.push(Reason::Pinned {
        by: OrderedBy::of(pin),
        machines,
        wanted,
        pinned,
    });
    pinned
}
