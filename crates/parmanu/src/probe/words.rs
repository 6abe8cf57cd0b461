//! What one look found, in tables for a person.

use std::fmt::Write;

use jiff::Timestamp;
use model::{Cordon, Executor, ExecutorState, JobClass, Requirement, age};

use super::found::{Found, FoundJob, Says};
use crate::tables::{headline, in_words, table};

pub(super) fn of(found: &Found, rows: usize) -> String {
    let mut text = String::new();
    let whole = if found.complete {
        "a whole"
    } else {
        "a PARTIAL"
    };
    let _ = writeln!(
        text,
        "emitter {}: {whole} look in {} ms, {} requests, {} bytes",
        found.emitter, found.took_ms, found.cost.requests, found.cost.bytes,
    );
    for doubt in &found.doubts {
        let _ = writeln!(text, "  not seen: {doubt}");
    }
    if !found.complete {
        let _ = writeln!(
            text,
            "  until a look is whole its pools may grow, but no machine leaves"
        );
    }
    pools(&mut text, found);
    jobs(&mut text, found, rows);
    executors(&mut text, found, rows);
    text
}

fn pools(text: &mut String, found: &Found) {
    headline(text, "pools", found.pools.len(), usize::MAX);
    if found.pools.is_empty() {
        let _ = writeln!(text, "no pool of the configuration uses this emitter");
        return;
    }
    let mut table = table([
        "pool",
        "runnable",
        "running",
        "scheduled",
        "blocked",
        "unrunnable",
        "oldest wait",
        "executors",
    ]);
    for pool in &found.pools {
        let demand = &pool.demand;
        table.add_row([
            pool.pool.to_string(),
            demand.runnable.to_string(),
            demand.running.to_string(),
            demand.scheduled.to_string(),
            demand.blocked.to_string(),
            demand.unrunnable.to_string(),
            demand.oldest_wait.map(in_words).unwrap_or_default(),
            pool.executors.to_string(),
        ]);
    }
    let _ = writeln!(text, "{table}");
    if found.unmatched > 0 {
        let _ = writeln!(text, "{} runnable, and no pool takes them", found.unmatched);
    }
}

fn jobs(text: &mut String, found: &Found, rows: usize) {
    headline(text, "jobs", found.jobs.len(), rows);
    if found.jobs.is_empty() {
        return;
    }
    let taken_at = found.taken_at;
    let mut table = table(["job", "asks for", "state", "pool", "why"]);
    for found in found.jobs.iter().take(rows) {
        let job = &found.job;
        table.add_row([
            format!("{} {} #{}", job.project, job.name, job.id),
            asks(&job.requirement),
            state(&job.class, job.queued_at, taken_at),
            found
                .pool
                .as_ref()
                .map_or("none".to_owned(), ToString::to_string),
            why(found),
        ]);
    }
    let _ = writeln!(text, "{table}");
}

fn asks(requirement: &Requirement) -> String {
    let mut asks = requirement.labels.clone();
    asks.extend(requirement.expression.clone());
    if requirement.protected == Some(true) {
        asks.push("protected".to_owned());
    }
    if let Some(milli) = requirement.cpu_milli {
        asks.push(format!("{} processors", f64::from(milli) / 1000.0));
    }
    if let Some(bytes) = requirement.memory {
        asks.push(format!("{} MiB", bytes >> 20));
    }
    for (fact, values) in &requirement.facts {
        asks.push(format!("{fact}: {}", values.join(" ")));
    }
    match asks.is_empty() {
        true => "nothing".to_owned(),
        false => asks.join(", "),
    }
}

fn state(class: &JobClass, queued_at: Option<Timestamp>, taken_at: Timestamp) -> String {
    match class {
        JobClass::Runnable => match queued_at {
            Some(since) => format!("runnable since {}", in_words(age(since, taken_at))),
            None => "runnable".to_owned(),
        },
        JobClass::Running {
            executor: Some(executor),
        } => format!("runs on {executor}"),
        JobClass::Running { executor: None } => "runs".to_owned(),
        JobClass::Scheduled { at } => format!("scheduled for {at}"),
        JobClass::Blocked { by, .. } => format!("blocked: {by}"),
        JobClass::Unrunnable { why } => format!("cannot run: {why}"),
    }
}

/// Why a job counts where it does: what its pool and the losing ones say.
fn why(found: &FoundJob) -> String {
    let fitting = |says: &&Says| says.fits && Some(&says.pool) != found.pool.as_ref();
    let losers: Vec<&str> = found
        .candidates
        .iter()
        .filter(fitting)
        .map(|says| says.pool.as_str())
        .collect();
    match &found.pool {
        Some(_) if found.held => "an executor of the pool holds it".to_owned(),
        Some(_) if losers.is_empty() => "the only pool that takes it".to_owned(),
        Some(_) => format!("asked before {}", losers.join(", ")),
        None => {
            let nearest = found
                .candidates
                .iter()
                .min_by_key(|says| says.missing.len());
            nearest.map_or("no pool uses this emitter".to_owned(), |says| {
                format!("nearest is {}: {}", says.pool, says.missing.join(", "))
            })
        }
    }
}

fn executors(text: &mut String, found: &Found, rows: usize) {
    headline(text, "executors", found.executors.len(), rows);
    if found.executors.is_empty() {
        return;
    }
    let mut table = table([
        "executor",
        "id",
        "pool",
        "whose",
        "does",
        "takes jobs",
        "slots",
    ]);
    for found in found.executors.iter().take(rows) {
        let executor = &found.executor;
        let fleet = executor.fleet.as_ref();
        table.add_row([
            executor.name.clone(),
            executor.id.to_string(),
            found
                .pool
                .as_ref()
                .map_or("none".to_owned(), ToString::to_string),
            fleet.map_or("not Parmanu's".to_owned(), |fleet| format!("fleet {fleet}")),
            does(executor),
            takes_jobs(executor.cordon),
            executor.slots.to_string(),
        ]);
    }
    let _ = writeln!(text, "{table}");
}

fn does(executor: &Executor) -> String {
    match &executor.state {
        ExecutorState::NeverJoined => "never joined".to_owned(),
        ExecutorState::Idle { .. } => "idle".to_owned(),
        ExecutorState::Busy { jobs } if jobs.is_empty() => "busy".to_owned(),
        ExecutorState::Busy { jobs } => {
            let jobs: Vec<&str> = jobs.iter().map(|job| job.as_str()).collect();
            format!("runs {}", jobs.join(", "))
        }
        ExecutorState::Offline { .. } => "offline".to_owned(),
        ExecutorState::Unknown { why } => format!("not to be told, taken for busy: {why}"),
    }
}

fn takes_jobs(cordon: Cordon) -> String {
    match cordon {
        Cordon::None => "yes".to_owned(),
        Cordon::Ours { epoch } => format!("no: cordoned by the scaler of epoch {epoch}"),
        Cordon::Foreign => "no: paused by somebody else".to_owned(),
    }
}
