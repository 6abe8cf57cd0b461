//! How far each part of an observation may be trusted: doubt holds or raises a pool, never shrinks it.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    Instance, InstanceName, OnStale, Policy, PoolMemory, ProviderName, Seen, Workload, age,
};

use crate::reason::{Reason, in_words};
use crate::supply::{Phase, Supply};
use crate::{Observation, Plan};

/// A listing older than this proves nothing any more. The lister runs every few seconds and its own failures make the
/// listing partial; this bound is for a lister that hangs.
pub(crate) const LISTING_FRESH: Duration = Duration::from_secs(60);

/// A pool with fewer jobs than this is not busy: of three short ones, two end between two looks on any day.
const BUSY: u32 = 4;

/// Fewer executors than this are offline by chance.
const MASS: u32 = 3;

/// How long most executors may be offline before they are taken at their word: longer than a CI server's restart or a
/// switch that is replaced, shorter than the patience of whoever pays for dead machines.
const ANOMALY: SignedDuration = SignedDuration::from_mins(10);

/// What may be done on the strength of this observation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trust {
    /// Why the workload allows no machine to leave, if so.
    pub(crate) no_shrink: Option<String>,
    /// The reason to be said of it, where it has a code of its own.
    pub(crate) said: Option<Reason>,
    /// Whether the workload is fresh enough to grow from (its counts are a lower bound at least).
    pub(crate) may_grow: bool,
}

impl Trust {
    pub(crate) fn of(seen: &Observation, policy: &Policy, now: Timestamp) -> Trust {
        if policy.emitter.is_none() {
            return Trust {
                no_shrink: None,
                said: None,
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
                said: None,
                may_grow: false,
            },
            Seen::Complete { at, .. } | Seen::Partial { at, .. } if age(*at, now) > limit => {
                Trust {
                    no_shrink: Some(format!(
                        "the workload is older than {}{}",
                        in_words(limit),
                        doubts(&seen.seen.workload)
                    )),
                    said: None,
                    may_grow: false,
                }
            }
            Seen::Partial { value, why, .. } => Trust {
                no_shrink: Some(format!("the workload is partial: {}", why.join("; "))),
                said: None,
                may_grow: mapped_alike(value, seen),
            },
            Seen::Complete { value, .. } if !mapped_alike(value, seen) => Trust {
                no_shrink: Some(
                    "probot mapped the workload with another configuration than the scaler's"
                        .to_owned(),
                ),
                said: None,
                may_grow: true,
            },
            Seen::Complete { .. } => Trust {
                no_shrink: None,
                said: None,
                may_grow: true,
            },
        }
    }
}

impl Trust {
    /// The same with the doubts of common sense: what is whole and fresh may still be wrong.
    ///
    /// They hold the pool for a bounded time only: one more look, or [`ANOMALY`]. A doubt without an end would keep
    /// machines that are really dead for ever.
    pub(crate) fn with_sense(
        mut self,
        seen: &Observation,
        policy: &Policy,
        supply: &Supply,
        plan: &mut Plan,
        now: Timestamp,
    ) -> Trust {
        let cliff = cliff(seen, policy, supply, &mut plan.memory, now);
        let anomaly = mass_anomaly(supply, &mut plan.memory, now);
        if let Some(what) = &seen.rival {
            self.no_shrink = Some("somebody else acts for this fleet".to_owned());
            self.said = Some(Reason::Rival { what: what.clone() });
            return self;
        }
        if self.no_shrink.is_some() {
            return self;
        }
        if let Some(reason) = anomaly {
            self.no_shrink = Some("most executors are offline at once".to_owned());
            self.said = Some(reason);
        } else if let Some(reason) = cliff {
            self.no_shrink = Some("most of the work was gone in one look".to_owned());
            self.said = Some(reason);
        }
        self
    }
}

/// Most of a busy pool's work is gone in one look. A filter that changed, a page that was lost without a word, or a
/// server that restarts looks like this; jobs that really ended are still gone in the next look.
fn cliff(
    seen: &Observation,
    policy: &Policy,
    supply: &Supply,
    memory: &mut PoolMemory,
    now: Timestamp,
) -> Option<Reason> {
    let workload = &seen.seen.workload;
    let work = workload
        .any()
        .map(|w| w.demand.running.saturating_add(w.demand.runnable))?;
    let before = memory.believed_work;
    let Some(look) = workload
        .complete_within(policy.trust.fresh_for, now)
        .and(workload.at())
    else {
        // a lower bound at best: it raises what is believed, and never lowers it
        memory.believed_work = before.max(work);
        return None;
    };
    let fell = before >= BUSY && u64::from(work) * 2 < u64::from(before);
    match memory.cliff {
        _ if !fell => {}
        Some(first) if look > first => {}
        first => {
            memory.cliff = first.or(Some(look));
            let keep = supply.serving();
            return Some(Reason::Cliff { before, work, keep });
        }
    }
    (memory.believed_work, memory.cliff) = (work, None);
    None
}

/// Most executors are offline at once.
fn mass_anomaly(supply: &Supply, memory: &mut PoolMemory, now: Timestamp) -> Option<Reason> {
    let offline = supply.count(|machine| machine.phase == Phase::Lost);
    let joined = supply.count(|machine| {
        matches!(
            machine.phase,
            Phase::Lost
                | Phase::Idle { .. }
                | Phase::Busy { .. }
                | Phase::Cordoned { .. }
                | Phase::Preempted { .. }
        )
    });
    if offline < MASS || u64::from(offline) * 2 <= u64::from(joined) {
        memory.anomaly_since = None;
        return None;
    }
    let since = *memory.anomaly_since.get_or_insert(now);
    let until = since.checked_add(ANOMALY).unwrap_or(Timestamp::MAX);
    (now < until).then_some(Reason::MassAnomaly {
        offline,
        joined,
        until,
        keep: supply.serving(),
    })
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

/// Whether nobody knows what stands at a provider: it was not listed since this scaler began, and nothing remembers what was
/// listed there before.
pub(crate) fn is_unknown(seen: &Observation, provider: &ProviderName) -> bool {
    let listing = seen.listings.get(provider);
    listing.is_none_or(|listing| matches!(listing, Seen::Never { .. }))
        && !seen.seen.memory.listed.contains_key(provider)
}

fn is_whole(listing: &Seen<Vec<Instance>>) -> bool {
    matches!(listing, Seen::Complete { .. })
}

/// Whether every provider's listing is whole.
pub(crate) fn all_listed(seen: &Observation) -> bool {
    seen.listings.values().all(is_whole)
}

/// Machines of a pool that stand where nobody can look, as far as that is remembered or their executors tell it. Each counts
/// like one that is listed.
#[derive(Debug, Default)]
pub(crate) struct Unseen<'a> {
    /// Those that a provider listed last, where it is not listed whole now.
    remembered: BTreeMap<&'a ProviderName, BTreeSet<&'a InstanceName>>,
    /// Other executors of ours without a machine, while not every machine is listed: there may be a machine behind each, at the
    /// place of a former offer for instance, of which a store that was wiped remembers nothing.
    executors: u32,
}

impl<'a> Unseen<'a> {
    pub(crate) fn of(seen: &'a Observation, supply: &Supply) -> Unseen<'a> {
        let memory = &seen.seen.memory.listed;
        let hidden = memory
            .iter()
            .filter(|(provider, _)| !seen.listings.get(*provider).is_some_and(is_whole));
        let mut unseen = Unseen::default();
        let mut all = BTreeSet::new();
        let shown = LazyCell::new(|| -> HashSet<&InstanceName> {
            let listed = seen.listings.values().filter_map(Seen::any).flatten();
            listed.map(|instance| &instance.name).collect()
        });
        for (provider, last) in hidden {
            // one of another zone, one that was called elsewhere meanwhile, and one whose creation is still open count once
            let missing = last.machines.iter().filter(|name| {
                !shown.contains(*name) && supply.machine(name).is_none() && all.insert(*name)
            });
            let missing: BTreeSet<&InstanceName> = missing.collect();
            if !missing.is_empty() {
                unseen.remembered.insert(provider, missing);
            }
        }
        if !all_listed(seen) {
            let others = supply.ghosts.iter();
            // one whose machine is listed as gone has none
            let others = others
                .filter(|ghost| !all.contains(&ghost.instance) && !shown.contains(&ghost.instance));
            unseen.executors = number(others.count());
        }
        unseen
    }

    /// Those of which a name is remembered.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a InstanceName> {
        self.remembered.values().flatten().copied()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        let remembered = self.remembered.values().map(|names| number(names.len()));
        remembered.sum::<u32>().saturating_add(self.executors)
    }

    /// What of it counts, for the plan.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Reason> {
        let remembered = self.remembered.iter();
        let remembered = remembered.map(|(provider, names)| Reason::CountedUnseen {
            provider: (*provider).clone(),
            machines: number(names.len()),
        });
        let executors = Some(self.executors).filter(|executors| *executors > 0);
        remembered.chain(executors.map(|executors| Reason::CountedHidden { executors }))
    }
}

fn number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

/// The reason a pool may not shrink, for the plan.
pub(crate) fn held(why: &str) -> Reason {
    Reason::HeldByWorkload {
        why: why.to_owned(),
    }
}
