//! One entry of `executors:`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jmespath::Rcvar;
use model::{
    Cordon, Executor, ExecutorId, ExecutorState, FleetId, Health, JobId, NameParts, PoolName,
};

use super::Place;
use crate::config::{ExecutorWord, ExecutorsConfig};
use crate::value;

/// When nobody says: agents report every few seconds, and some servers write that down once a minute only.
const OFFLINE_AFTER: Duration = Duration::from_secs(120);

/// The label that names the fleet, before `=` or `:`. Machine and executor find each other by name, and only where the
/// executor says whose it is.
const FLEET: &str = "parmanu-fleet";

/// What is known beside the executors.
pub(super) struct Seen<'a> {
    /// The pools that this emitter serves.
    pub(super) pools: &'a BTreeSet<PoolName>,
    /// The jobs that run, by the executor they name.
    pub(super) held: BTreeMap<ExecutorId, Vec<JobId>>,
    /// Whether nothing is missing so far. If something is, "no job names it" proves nothing.
    pub(super) all_jobs: bool,
    pub(super) now: Timestamp,
}

/// Adds the executors of these pages.
pub(super) fn read(
    entry: &ExecutorsConfig,
    mut place: Place<'_>,
    pages: &[Rcvar],
    seen: &Seen<'_>,
    found: &mut BTreeMap<ExecutorId, Executor>,
) {
    let mut ids = BTreeMap::new();
    for item in place.items(entry.items.as_ref(), pages) {
        let Some(id) = place.maybe("id", Some(&entry.id), &item, value::text) else {
            place.doubt("an item has no id");
            continue;
        };
        place.tell_apart(&mut ids, &id, &item);
        let id = ExecutorId::new(id);
        let executor = one(entry, &mut place, &item, id.clone(), seen);
        found.entry(id).or_insert(executor);
    }
}

fn one(
    entry: &ExecutorsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    id: ExecutorId,
    seen: &Seen<'_>,
) -> Executor {
    let name = place.maybe("name", entry.name.as_ref(), item, value::text);
    let labels = place.read("labels", entry.labels.as_ref(), item, value::texts);
    let unlabelled = place.maybe("unlabelled", entry.unlabelled.as_ref(), item, value::truth);
    let name = name.unwrap_or_else(|| id.to_string());
    let (fleet, labels) = split(labels.unwrap_or_default());
    if fleet.is_none() && is_named_like_ours(&name, seen.pools) {
        place.doubt(&format!(
            "an executor is named like a machine of ours and has no label `{FLEET}=…`, so its machine never seems to join"
        ));
    }
    Executor {
        name,
        fleet,
        labels,
        run_untagged: unlabelled.unwrap_or(false),
        protected_only: false,
        slots: slots(entry, place, item),
        state: state(entry, place, item, &id, seen),
        cordon: cordon(entry, place, item),
        health: health(entry, place, item),
        id,
    }
}

/// Takes the fleet's mark out of the labels.
fn split(labels: Vec<String>) -> (Option<FleetId>, Vec<String>) {
    let fleet = |label: &String| {
        let (key, fleet) = label.split_once(['=', ':'])?;
        (key == FLEET).then(|| fleet.parse().ok()).flatten()
    };
    let found = labels.iter().find_map(fleet);
    let rest = labels.into_iter().filter(|label| fleet(label).is_none());
    (found, rest.collect())
}

fn is_named_like_ours(name: &str, pools: &BTreeSet<PoolName>) -> bool {
    NameParts::of(name).is_some_and(|parts| pools.iter().any(|pool| pool.as_str() == parts.pool))
}

fn slots(entry: &ExecutorsConfig, place: &mut Place<'_>, item: &Rcvar) -> u32 {
    let Some(slots) = &entry.slots else { return 1 };
    let given = place.maybe("slots", Some(slots), item, value::whole);
    let given = given.and_then(|slots| u32::try_from(slots).ok());
    given.filter(|slots| *slots > 0).unwrap_or_else(|| {
        place.doubt("an executor does not say how many jobs it runs at a time");
        1
    })
}

/// What it does. A job that names it is the surest sign; a word that nobody explained is no sign at all.
fn state(
    entry: &ExecutorsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    id: &ExecutorId,
    seen: &Seen<'_>,
) -> ExecutorState {
    let word = match &entry.state {
        None => Ok(ExecutorWord::Idle),
        Some(state) => place.word(Some(state), &entry.states, item),
    };
    if let Some(jobs) = seen.held.get(id) {
        return ExecutorState::Busy { jobs: jobs.clone() };
    }
    let since = place.maybe("since", entry.since.as_ref(), item, value::moment);
    match word {
        Err(why) => ExecutorState::Unknown { why },
        Ok(ExecutorWord::Busy) => {
            let jobs = place.read("jobs", entry.jobs.as_ref(), item, value::texts);
            let jobs = jobs.unwrap_or_default().into_iter().map(JobId::new);
            ExecutorState::Busy {
                jobs: jobs.collect(),
            }
        }
        Ok(ExecutorWord::Offline) => ExecutorState::Offline { since },
        Ok(ExecutorWord::NeverJoined) => ExecutorState::NeverJoined,
        Ok(ExecutorWord::Idle) => idle(entry, place, item, since, seen),
    }
}

/// One that has no job, if it is in contact and that is certain.
fn idle(
    entry: &ExecutorsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    since: Option<Timestamp>,
    seen: &Seen<'_>,
) -> ExecutorState {
    if let Some(contact) = &entry.last_contact {
        match place.read("last_contact", Some(contact), item, value::moment) {
            None => {
                let why = "its last contact cannot be read".to_owned();
                return ExecutorState::Unknown { why };
            }
            Some(None) => return ExecutorState::NeverJoined,
            Some(Some(last)) => {
                let silent = Duration::try_from(seen.now.duration_since(last)).unwrap_or_default();
                let limit = entry.offline_after.map_or(OFFLINE_AFTER, |span| span.0);
                if silent > limit {
                    return ExecutorState::Offline { since: Some(last) };
                }
            }
        }
    }
    if entry.busy_from_jobs && !seen.all_jobs {
        let why = "no job names it, and not all jobs were seen".to_owned();
        return ExecutorState::Unknown { why };
    }
    ExecutorState::Idle { since }
}

fn cordon(entry: &ExecutorsConfig, place: &mut Place<'_>, item: &Rcvar) -> Cordon {
    let Some(paused) = &entry.paused else {
        return Cordon::None;
    };
    match place.read("paused", Some(paused), item, value::truth) {
        Some(Some(false) | None) => Cordon::None,
        // what may be somebody's pause is respected
        Some(Some(true)) | None => Cordon::Foreign,
    }
}

fn health(entry: &ExecutorsConfig, place: &mut Place<'_>, item: &Rcvar) -> Option<Health> {
    let memory = place.maybe(
        "memory_free",
        entry.memory_free.as_ref(),
        item,
        value::whole,
    );
    let load = place.maybe("load", entry.load.as_ref(), item, value::number);
    let health = Health {
        memory_free: memory,
        load_milli: load.map(|load| (load * 1000.0).round() as u32),
    };
    (health != Health::default()).then_some(health)
}
