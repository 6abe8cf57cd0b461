//! The executors of the fleet's CI servers: whose they are, and which stand for no machine. Pure.

use model::{Cordon, EmitterName, Executor, ExecutorState, InstanceName};

use super::examine::Fleet;
use super::report::{ExecutorRow, Problem};

/// Every executor that was seen, ours first.
pub(super) fn rows(fleet: &Fleet<'_>) -> Vec<ExecutorRow> {
    let mut rows = Vec::new();
    for (emitter, look) in &fleet.seen.looks {
        let executors = look.iter().flat_map(|look| &look.executors);
        rows.extend(executors.map(|executor| row(fleet, emitter, executor)));
    }
    rows.sort_by(|a, b| (!a.ours, &a.emitter, &a.name).cmp(&(!b.ours, &b.emitter, &b.name)));
    rows
}

fn row(fleet: &Fleet<'_>, emitter: &EmitterName, executor: &Executor) -> ExecutorRow {
    let machine = fleet.machine_of(emitter, executor);
    let marked = executor.fleet.as_ref() == Some(&fleet.seen.fleet);
    let ours = marked || machine.is_some();
    let mut problems = Vec::new();
    if marked && machine.is_none() {
        problems.extend(ghost(fleet, executor));
    }
    ExecutorRow {
        emitter: emitter.to_string(),
        id: executor.id.to_string(),
        name: executor.name.clone(),
        state: state(executor),
        ours,
        machine: machine.map(|machine| machine.name.to_string()),
        why: match (ours, machine) {
            (_, Some(machine)) => format!("stands for {} of pool {}", machine.name, machine.pool()),
            (true, None) => "registered for a machine".to_owned(),
            (false, None) => "not ours: counted as capacity, never touched".to_owned(),
        },
        problems,
    }
}

/// An executor of ours whose machine is not listed, where that proves something.
fn ghost(fleet: &Fleet<'_>, executor: &Executor) -> Option<Problem> {
    let name = executor.name.parse::<InstanceName>().ok();
    let coming = name.as_ref().is_some_and(|name| fleet.creates(name));
    // a name that a CI server fixes (Buildbot) is kept for the next machine
    let is_free = name.is_none() && executor.cordon == Cordon::None;
    if !fleet.all_listed() || coming || is_free {
        return None;
    }
    let busy = matches!(executor.state, ExecutorState::Busy { .. });
    let former = name
        .as_ref()
        .is_some_and(|name| fleet.policy(name).is_none());
    let advice = match busy {
        true => {
            "it runs a job, so its machine runs somewhere: at another provider or region, or under another fleet's tag?"
        }
        false if former && is_heard_of(executor) => {
            "its pool is not configured and the CI server hears of it, so its machine runs somewhere: scaler leaves it until it is offline. Stop that machine, or put its provider back into the configuration"
        }
        false if former => {
            "its pool is not configured: an active scaler removes it after ten minutes; without one, remove it at the CI server"
        }
        false => {
            "an active scaler removes it after watching it for a while; without one, remove it at the CI server"
        }
    };
    Some(Problem::new(
        "ghost",
        "no provider lists its machine",
        advice,
    ))
}

/// Whether there is an agent behind it, as far as the CI server tells.
pub(super) fn is_heard_of(executor: &Executor) -> bool {
    match executor.state {
        ExecutorState::Idle { .. } | ExecutorState::Busy { .. } | ExecutorState::Unknown { .. } => {
            true
        }
        ExecutorState::NeverJoined | ExecutorState::Offline { .. } => false,
    }
}

/// What an executor does, and whether it is kept from jobs.
pub(super) fn state(executor: &Executor) -> String {
    let does = match &executor.state {
        ExecutorState::NeverJoined => "never joined".to_owned(),
        ExecutorState::Idle { .. } => "idle".to_owned(),
        ExecutorState::Busy { .. } => "busy".to_owned(),
        ExecutorState::Offline { .. } => "offline".to_owned(),
        ExecutorState::Unknown { why } => format!("unknown: {why}"),
    };
    match executor.cordon {
        Cordon::None => does,
        Cordon::Ours { epoch } => format!("{does}, cordoned by us in term {epoch}"),
        Cordon::Foreign => format!("{does}, cordoned by somebody else"),
    }
}
