//! `limit`: other limits than the pool's own `min` and `max`, while its conditions hold.
//!
//! Worked: `min: 0, max: 80` and `limit { min: 5, max: 20, when: Sat-Sun }`: on a Saturday the pool has 5 to 20
//! machines. When a window closes nothing is drained by force: busy machines beyond the new max finish their jobs, and
//! idle ones leave as the scale-in rule says.

use std::borrow::Cow;

use jiff::Timestamp;
use model::Policy;
use model::rules::{Rule, RuleKind};

use super::when::{Facts, holds};
use crate::Observation;
use crate::reason::Reason;
use crate::supply::Supply;

/// The policy with the limits in force, and the reason if they are not its own.
pub(crate) fn apply<'a>(policy: &'a Policy, facts: &Facts) -> (Cow<'a, Policy>, Option<Reason>) {
    let found = policy.rules.iter().find_map(|rule| match &rule.rule {
        RuleKind::Limit(limit) if holds(&rule.when, facts) => Some((rule, limit)),
        _ => None,
    });
    let Some((rule, limit)) = found else {
        return (Cow::Borrowed(policy), None);
    };
    let max = limit.max.unwrap_or(policy.max);
    // a rule that names only one of the two must not contradict the other
    let min = limit.min.unwrap_or(policy.min).min(max);
    if (min, max) == (policy.min, policy.max) {
        return (Cow::Borrowed(policy), None);
    }
    let reason = Reason::Limited {
        rule: rule.name.clone(),
        from: (policy.min, policy.max),
        to: (min, max),
    };
    let limited = Policy {
        min,
        max,
        ..policy.clone()
    };
    (Cow::Owned(limited), Some(reason))
}

/// The (min, max) in force, for whoever judges a plan.
pub(crate) fn in_force(seen: &Observation, policy: &Policy, now: Timestamp) -> (u32, u32) {
    let limits = |rule: &Rule| matches!(rule.rule, RuleKind::Limit(_));
    if !policy.rules.iter().any(limits) {
        return (policy.min, policy.max);
    }
    let supply = Supply::of(seen, policy, now);
    let facts = Facts::of(seen, policy, &supply, now);
    let (policy, _) = apply(policy, &facts);
    (policy.min, policy.max)
}
