//! `parmanu why pool|job|machine NAME`: what the scaler thinks, and on what it rests.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use scaler::api::shapes::{
    FoundJobs, Job, JobState, Machine, OneMachine, OnePool, Plan, Pool, Reason,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::status::{say_overrides, say_replica};
use super::{Asked, NOT_FOUND, code};
use crate::output::{Output, print_json};
use crate::tables::{in_words, table};

/// What is asked about.
#[derive(clap::Args)]
pub(crate) struct Why {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Subcommand)]
enum What {
    /// Why a pool has the size it has.
    Pool {
        /// The pool.
        name: String,
    },
    /// Why a job runs where it runs, or does not.
    Job {
        /// Its id, its name, `project/name`, or its address, as the CI server shows it.
        job: String,
    },
    /// Why a machine is there, and what becomes of it.
    Machine {
        /// The machine.
        name: String,
    },
}

impl Why {
    /// Exit code 0 for an answer, 3 for a doubtful one, 4 when there is no such thing, 1 when nobody answers.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.what {
            What::Pool { name } => {
                let doubts = |found: &OnePool| found.replica.doubts.len() + found.pool.doubts.len();
                let path = ["pools", name];
                self.say(&path, pool, |found| code(doubts(found))).await
            }
            What::Machine { name } => {
                let path = ["machines", name];
                let of = |found: &OneMachine| code(found.replica.doubts.len());
                self.say(&path, machine, of).await
            }
            What::Job { job } => {
                let of = |found: &FoundJobs| match found.jobs.is_empty() {
                    true => ExitCode::from(NOT_FOUND),
                    false => code(found.replica.doubts.len()),
                };
                self.say(&["jobs", job], jobs, of).await
            }
        }
    }

    async fn say<T: Serialize + DeserializeOwned>(
        &self,
        path: &[&str],
        words: impl FnOnce(&T) -> String,
        code: impl FnOnce(&T) -> ExitCode,
    ) -> anyhow::Result<ExitCode> {
        let client = Client::new(&self.asked)?;
        let found: T = match client.get(path).await?.or_say() {
            Ok(found) => found,
            Err(code) => return Ok(code),
        };
        match self.asked.output {
            Output::Json => print_json(&found)?,
            Output::Words => print!("{}", words(&found)),
        }
        Ok(code(&found))
    }
}

fn pool(found: &OnePool) -> String {
    let mut text = String::new();
    say_replica(&mut text, &found.replica);
    let pool = &found.pool;
    let _ = writeln!(
        text,
        "pool {}: {} serve, {} exist, min {}, max {}",
        pool.name, pool.serving, pool.costing, pool.min, pool.max
    );
    for doubt in &pool.doubts {
        let _ = writeln!(text, "  doubt: {doubt}");
    }
    match &found.plan {
        Some(plan) => say_plan(&mut text, plan, pool),
        None => {
            let _ = writeln!(
                text,
                "no plan here: ask the scaler that acts, or `parmanu plan`"
            );
        }
    }
    say_overrides(&mut text, &found.overrides, &[]);
    if !found.machines.is_empty() {
        let mut machines = table(["machine", "phase", "zone", "executor", "jobs", "note"]);
        for machine in &found.machines {
            machines.add_row(row(machine));
        }
        let _ = writeln!(text, "{machines}");
    }
    text
}

fn say_plan(text: &mut String, plan: &Plan, pool: &Pool) {
    // a queue that nobody has heard of is not an empty one
    let heard = match (pool.queued, pool.running) {
        (Some(queued), Some(running)) => format!("{queued} queued and {running} running"),
        _ => "a queue that was not heard".to_owned(),
    };
    let _ = writeln!(text, "wants {}, with {heard}, because:", plan.target);
    say_reasons(text, &plan.reasons);
    match plan.actions.is_empty() {
        true => {
            let _ = writeln!(text, "does nothing now");
        }
        false => {
            let _ = writeln!(text, "does:");
        }
    }
    for action in &plan.actions {
        let _ = writeln!(text, "  {action}");
    }
}

fn say_reasons(text: &mut String, reasons: &[Reason]) {
    for reason in reasons {
        let _ = writeln!(text, "  {}", reason.text);
    }
}

fn row(machine: &Machine) -> [String; 6] {
    let leaving = machine
        .leaving
        .as_ref()
        .map(|step| format!("leaves: {step}"));
    let notes: Vec<String> = machine.note.iter().cloned().chain(leaving).collect();
    [
        machine.name.clone(),
        machine.phase.clone(),
        machine.zone.clone().unwrap_or_default(),
        machine.executor.clone().unwrap_or_default(),
        machine.jobs.join(", "),
        notes.join("; "),
    ]
}

fn machine(found: &OneMachine) -> String {
    let mut text = String::new();
    say_replica(&mut text, &found.replica);
    let machine = &found.machine;
    let _ = writeln!(
        text,
        "machine {} of pool {}: {}",
        machine.name, machine.pool, machine.phase
    );
    let told = [
        ("note", machine.note.clone()),
        ("provider", Some(machine.provider.clone())),
        ("id", machine.id.clone()),
        ("zone", machine.zone.clone()),
        ("offer", machine.offer.clone()),
        ("created", machine.created_at.map(|at| at.to_string())),
        ("idle since", machine.idle_since.map(|at| at.to_string())),
        ("wanted until", machine.expires.map(|at| at.to_string())),
        ("executor", machine.executor.clone()),
        (
            "jobs",
            (!machine.jobs.is_empty()).then(|| machine.jobs.join(", ")),
        ),
        ("departure", machine.leaving.clone()),
    ];
    for (what, value) in told {
        if let Some(value) = value {
            let _ = writeln!(text, "  {what}: {value}");
        }
    }
    say_overrides(&mut text, found.drained_by.as_slice(), &[]);
    if !found.reasons.is_empty() {
        let _ = writeln!(text, "the last plan says of it:");
        say_reasons(&mut text, &found.reasons);
    } else if found.replica.active {
        let pool = &machine.pool;
        let _ = writeln!(
            text,
            "the last plan says nothing of it: it stays (`parmanu why pool {pool}`)"
        );
    }
    if let Some(console) = &found.console {
        let _ = writeln!(text, "it never joined; the end of its console:");
        for line in console.lines() {
            let _ = writeln!(text, "  | {line}");
        }
    }
    for action in &found.actions {
        let _ = writeln!(text, "does: {action}");
    }
    text
}

fn jobs(found: &FoundJobs) -> String {
    let mut text = String::new();
    say_replica(&mut text, &found.replica);
    if found.jobs.is_empty() {
        let _ = writeln!(text, "no job {} is known here", found.asked);
    }
    for job in &found.jobs {
        say_job(&mut text, job);
    }
    for it in &found.pools {
        let pool = &it.pool;
        let _ = writeln!(
            text,
            "pool {}: {} serve, {} exist, max {}",
            pool.name, pool.serving, pool.costing, pool.max
        );
        for doubt in &pool.doubts {
            let _ = writeln!(text, "  doubt: {doubt}");
        }
        match &it.plan {
            Some(plan) => say_plan(&mut text, plan, pool),
            None => {
                let _ = writeln!(text, "no plan here: ask the scaler that acts");
            }
        }
    }
    for unknown in &found.not_known {
        let _ = writeln!(text, "not known here: {unknown}");
    }
    text
}

fn say_job(text: &mut String, job: &Job) {
    let names = [job.project.as_deref(), job.name.as_deref()];
    let names: Vec<&str> = names
        .into_iter()
        .flatten()
        .filter(|it| !it.is_empty())
        .collect();
    let called = match names.is_empty() {
        true => String::new(),
        false => format!(" ({})", names.join(" ")),
    };
    let pool = job.pool.as_deref().unwrap_or("no pool");
    let why = job.why.as_deref();
    let stands = match job.state {
        JobState::Running => match &job.executor {
            Some(executor) => format!("runs on {executor}, in pool {pool}"),
            None => format!("runs, and counts for {pool}"),
        },
        JobState::Runnable => format!("waits for an executor of pool {pool}"),
        JobState::Scheduled => format!("is not due yet; then it counts for {pool}"),
        JobState::Blocked => format!("waits for something else: {}", why.unwrap_or("not said")),
        JobState::Unrunnable => {
            format!(
                "cannot run, and is no demand: {}",
                why.unwrap_or("not said")
            )
        }
        JobState::Unmatched => match &job.nearest {
            Some(nearest) => format!(
                "fits no pool; {nearest} comes nearest and lacks: {}",
                job.missing.join(", ")
            ),
            None => "fits no pool".to_owned(),
        },
    };
    let _ = writeln!(text, "job {}{called} of {} {stands}", job.id, job.emitter);
    if job.state == JobState::Scheduled
        && let Some(why) = why
    {
        let _ = writeln!(text, "  {why}");
    }
    if matches!(job.state, JobState::Blocked | JobState::Unrunnable)
        && let Some(pool) = &job.pool
    {
        let _ = writeln!(text, "  when it can run it counts for {pool}");
    }
    if let Some(waited) = job.waited_seconds {
        let waited = std::time::Duration::from_secs(waited);
        let _ = writeln!(text, "  it has waited for {}", in_words(waited));
    }
    if let Some(ago) = job.seen_seconds_ago {
        let ago = std::time::Duration::from_secs(ago);
        let _ = writeln!(text, "  seen {} ago", in_words(ago));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_job_is_told_with_what_keeps_it() {
        let job = |state, why: Option<&str>, pool: Option<&str>| {
            let job = Job {
                id: "4711".to_owned(),
                name: Some("build".to_owned()),
                project: Some("acme/app".to_owned()),
                emitter: "gitlab".to_owned(),
                state,
                why: why.map(str::to_owned),
                pool: pool.map(str::to_owned),
                nearest: Some("linux".to_owned()),
                missing: vec!["tag macos".to_owned()],
                executor: None,
                waited_seconds: Some(754),
                seen_seconds_ago: None,
            };
            let mut text = String::new();
            say_job(&mut text, &job);
            text
        };
        let told = [
            job(JobState::Runnable, None, Some("linux")),
            job(JobState::Unrunnable, Some("no minutes"), Some("linux")),
            job(JobState::Blocked, None, None),
            job(
                JobState::Scheduled,
                Some("it is to begin at noon"),
                Some("mac"),
            ),
            job(JobState::Unmatched, None, None),
            job(JobState::Running, None, Some("mac")),
        ];
        expect![[r#"
            job 4711 (acme/app build) of gitlab waits for an executor of pool linux
              it has waited for 12m 34s
            job 4711 (acme/app build) of gitlab cannot run, and is no demand: no minutes
              when it can run it counts for linux
              it has waited for 12m 34s
            job 4711 (acme/app build) of gitlab waits for something else: not said
              it has waited for 12m 34s
            job 4711 (acme/app build) of gitlab is not due yet; then it counts for mac
              it is to begin at noon
              it has waited for 12m 34s
            job 4711 (acme/app build) of gitlab fits no pool; linux comes nearest and lacks: tag macos
              it has waited for 12m 34s
            job 4711 (acme/app build) of gitlab runs, and counts for mac
              it has waited for 12m 34s
        "#]].assert_eq(&told.concat());
    }
}
