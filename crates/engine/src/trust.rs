//! How far each part of an observation may be trusted: doubt holds or raises a pool, never shrinks it.

use std::time::Duration;

use jiff::Timestamp;
use model::{OnStale, Policy, ProviderName, Seen, Workload, age};

use crate::Observation;
use crate::reason::{Reason, in_words};

/// A listing older than this proves nothing any more. The lister runs every few seconds and its own failures make the
/// listing partial; this bound is for a lister that hangs.
pub(crate) const LISTING_FRESH: Duration = Duration::from_secs(60);

/// What may be done on the strength of this observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Why the workload allows no machine to leave, if so.
    pub(crate) no_shrink: Option<String>,
    /// Whether the workload is fresh enough to grow from (its counts are a lower bound at least).
    pub(crate) may_grow: bool,
}

impl Trust {
    pub(crate) fn of(seen: &Observation, policy: &Policy, now: Timestamp) -> Trust {
        if policy.emitter.is_none() {
            return Trust {
                no_shrink: None,
                may_grow: true,
            };
        }
        let limit = policy.trust.fresh_for;
        match &seen.seen.workload {
            Seen::Never { why } => Trust {
                no_shrink: Some(match why {
                    Some(why) => format!("no workload has been heard yet: {why}"),
                    None => "no workload has been heard yet".to_owned(),
                }),
                may_grow: false,
            },
            Seen::Complete { at, .. } | Seen::Partial { at, .. } if age(*at, now) > limit => {
                Trust {
                    no_shrink: Some(format!(
                        "the workload is older than {}{}",
                        in_words(limit),
                        doubts(&seen.seen.workload)
                    )),
                    may_grow: false,
                }
            }
            Seen::Partial { value, why, .. } => Trust {
                no_shrink: Some(format!("the workload is partial: {}", why.join("; "))),
                may_grow: mapped_alike(value, seen),
            },
            Seen::Complete { value, .. } if !mapped_alike(value, seen) => Trust {
                no_shrink: Some(
                    "probot mapped the workload with another configuration than the scaler's"
                        .to_owned(),
                ),
                may_grow: true,
            },
            Seen::Complete { .. } => Trust {
                no_shrink: None,
                may_grow: true,
            },
        }
    }
}

fn mapped_alike(workload: &Workload, seen: &Observation) -> bool {
    workload.config == seen.config
}

fn doubts(workload: &Seen<Workload>) -> String {
    match workload {
        Seen::Partial { why, .. } if !why.is_empty() => format!(" ({})", why.join("; ")),
        Seen::Partial { .. } | Seen::Complete { .. } | Seen::Never { .. } => String::new(),
    }
}

/// The machines to keep while the workload is not trusted, beside those there are.
pub(crate) fn at_least_on_doubt(policy: &Policy) -> u32 {
    match policy.trust.on_stale {
        OnStale::Hold => 0,
        OnStale::AtLeast(machines) => machines,
    }
}

/// Why a provider's listing proves no absence, if so.
pub(crate) fn listing_doubt(
    seen: &Observation,
    provider: &ProviderName,
    now: Timestamp,
) -> Option<String> {
    match seen.listings.get(provider) {
        None | Some(Seen::Never { why: None }) => Some("it has not been listed yet".to_owned()),
        Some(Seen::Never { why: Some(why) }) => Some(format!("it has not been listed yet: {why}")),
        Some(Seen::Partial { why, .. }) => Some(why.join("; ")),
        Some(Seen::Complete { at, .. }) if age(*at, now) > LISTING_FRESH => Some(format!(
            "its last listing is older than {}",
            in_words(LISTING_FRESH)
        )),
        Some(Seen::Complete { .. }) => None,
    }
}

/// The reason a pool may not shrink, for the plan.
pub(crate) fn held(why: &str) -> Reason {
    Reason::HeldByWorkload {
        why: why.to_owned(),
    }
}
