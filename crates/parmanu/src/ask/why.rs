//! `parmanu why pool|job|machine NAME`: what the scaler thinks, and on what it rests.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use scaler::api::shapes::{JobState, Machine, OneJob, OneMachine, OnePool, Plan, Pool, Reason};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::status::{say_overrides, say_replica};
use super::{Asked, NOT_FOUND, code};
use crate::output::{Output, print_json};
use crate::tables::table;

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
        /// Its id, as the CI server shows it.
        id: String,
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
            What::Job { id } => {
                let path: Vec<&str> = ["jobs"].into_iter().chain(id.split('/')).collect();
                let of = |found: &OneJob| match found.state {
                    JobState::NotSeen => ExitCode::from(NOT_FOUND),
                    JobState::Running | JobState::Unmatched => code(found.replica.doubts.len()),
                };
                self.say(&path, job, of).await
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
    for action in &found.actions {
        let _ = writeln!(text, "does: {action}");
    }
    text
}

fn job(found: &OneJob) -> String {
    let mut text = String::new();
    say_replica(&mut text, &found.replica);
    let emitter = found.emitter.as_deref().unwrap_or("its CI server");
    let pool = found.pool.as_deref().unwrap_or("no pool");
    let id = &found.id;
    let _ = match found.state {
        JobState::Running => {
            let on = found.executor.as_deref().unwrap_or("an executor");
            writeln!(text, "job {id} of {emitter} runs on {on}, in pool {pool}")
        }
        JobState::Unmatched => writeln!(
            text,
            "job {id} of {emitter} fits no pool; {pool} comes nearest and lacks: {}",
            found.missing.join(", ")
        ),
        JobState::NotSeen => writeln!(text, "job {id} was not seen on any executor"),
    };
    for unknown in &found.not_known {
        let _ = writeln!(text, "  not known here: {unknown}");
    }
    text
}
