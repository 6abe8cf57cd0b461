//! One entry of `jobs:`.

use std::collections::BTreeMap;

use jmespath::Rcvar;
use model::{ExecutorId, Job, JobClass, JobId, Requirement};

use super::{MOST, Place};
use crate::config::{Class, JobsConfig};
use crate::value;

/// Why a job that only the server's pause keeps waiting is no demand.
const PAUSED: &str = "the server is paused and starts nothing";

/// Adds the jobs of these pages.
pub(super) fn read(
    entry: &JobsConfig,
    mut place: Place<'_>,
    pages: &[Rcvar],
    found: &mut BTreeMap<JobId, Job>,
) {
    let mut ids = BTreeMap::new();
    for page in pages {
        let paused = place.maybe("paused", entry.paused.as_ref(), page, value::truth);
        if entry.paused.is_some() && paused.is_none() {
            place.doubt("`paused` does not tell whether the server is paused");
        }
        for item in place.items(entry.items.as_ref(), std::slice::from_ref(page)) {
            let Some(id) = place.maybe("id", Some(&entry.id), &item, value::text) else {
                place.doubt("an item has no id");
                continue;
            };
            place.tell_apart(&mut ids, &id, &item);
            if let Some(job) = one(entry, &mut place, &item, &id, paused == Some(true)) {
                add(entry, &mut place, &item, job, found);
            }
        }
    }
}

/// The job of one item; none for one that is over.
fn one(
    entry: &JobsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    id: &str,
    paused: bool,
) -> Option<Job> {
    let class = class(entry, place, item, paused)?;
    let name = place.maybe("name", entry.name.as_ref(), item, value::text);
    let project = place.maybe("project", entry.project.as_ref(), item, value::text);
    Some(Job {
        id: JobId::new(id),
        name: name.unwrap_or_else(|| id.to_owned()),
        project: project.unwrap_or_default(),
        requirement: requirement(entry, place, item),
        queued_at: place.maybe("queued_at", entry.queued_at.as_ref(), item, value::moment),
        started_at: place.maybe("started_at", entry.started_at.as_ref(), item, value::moment),
        expected: place.maybe("expected", entry.expected.as_ref(), item, value::seconds),
        class,
    })
}

fn requirement(entry: &JobsConfig, place: &mut Place<'_>, item: &Rcvar) -> Requirement {
    let labels = place.read("labels", entry.labels.as_ref(), item, value::texts);
    let cpu = place.maybe("cpu", entry.cpu.as_ref(), item, value::number);
    Requirement {
        labels: labels.unwrap_or_default(),
        // a float that is too large becomes the largest whole number, which no pool serves
        cpu_milli: cpu.map(|cpu| (cpu * 1000.0).ceil() as u32),
        memory: place.maybe("memory", entry.memory.as_ref(), item, value::whole),
        ..Requirement::default()
    }
}

/// Where it stands; nothing when it is over. A word that nobody explained is no demand: it may mean anything, and the
/// doubt that it leaves keeps every machine.
fn class(
    entry: &JobsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    paused: bool,
) -> Option<JobClass> {
    let blocked = |by: String| JobClass::Blocked {
        by,
        parents: Vec::new(),
    };
    let class = match entry.is {
        Some(class) => class,
        None => match place.word(entry.state.as_ref(), &entry.states, item) {
            Ok(class) => class,
            Err(words) => return Some(blocked(words)),
        },
    };
    let mut reason = |otherwise: &str| {
        let key = entry.reason.as_ref().or(entry.state.as_ref());
        let words = place.maybe("reason", key, item, value::text);
        words.map_or_else(|| otherwise.to_owned(), |words| web::quote(&words, ""))
    };
    Some(match class {
        Class::Done => return None,
        Class::Runnable if paused => blocked(PAUSED.to_owned()),
        Class::Runnable => JobClass::Runnable,
        Class::Running => {
            let executor = place.maybe("executor", entry.executor.as_ref(), item, value::text);
            JobClass::Running {
                executor: executor.map(ExecutorId::new),
            }
        }
        Class::Scheduled => {
            match place.maybe("starts_at", entry.starts_at.as_ref(), item, value::moment) {
                Some(at) => JobClass::Scheduled { at },
                None => {
                    place.doubt("a scheduled job has no start");
                    blocked("the server does not say when it starts".to_owned())
                }
            }
        }
        Class::Blocked => {
            let by = reason("something else");
            let parents = place.read("parents", entry.parents.as_ref(), item, value::texts);
            let parents = parents.unwrap_or_default();
            JobClass::Blocked {
                by,
                parents: parents.into_iter().map(JobId::new).collect(),
            }
        }
        Class::Unrunnable => JobClass::Unrunnable {
            why: reason("the server says that it cannot run"),
        },
    })
}

/// Adds a job, or as many as the item stands for.
fn add(
    entry: &JobsConfig,
    place: &mut Place<'_>,
    item: &Rcvar,
    job: Job,
    found: &mut BTreeMap<JobId, Job>,
) {
    let Some(count) = &entry.count else {
        return insert(place, job, found);
    };
    let Some(count) = place.maybe("count", Some(count), item, value::whole) else {
        place.doubt("an item does not say how many jobs it stands for");
        return;
    };
    let room = MOST.saturating_sub(found.len()) as u64;
    if count > room {
        place.doubt(&format!("{count} jobs, of which {room} are counted"));
    }
    for number in 1..=count.min(room) {
        let id = JobId::new(format!("{}#{number}", job.id));
        insert(place, Job { id, ..job.clone() }, found);
    }
}

/// A job that is listed twice has moved meanwhile: then it runs, since nothing runs and waits again.
fn insert(place: &mut Place<'_>, job: Job, found: &mut BTreeMap<JobId, Job>) {
    let runs = matches!(job.class, JobClass::Running { .. });
    if found.contains_key(&job.id) {
        if runs {
            found.insert(job.id.clone(), job);
        }
    } else if found.len() < MOST {
        found.insert(job.id.clone(), job);
    } else {
        place.doubt(&format!("more than {MOST} jobs"));
    }
}
