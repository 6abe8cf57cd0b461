//! TerminateInstances: idempotent, all or nothing over bad ids, zone by zone over protected ones.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::describe::{exist, state_node};
use crate::ec2::Ec2;
use crate::form::Form;
use crate::machine::{Ending, State};
use crate::wire::{Outcome, Refusal};
use crate::xml::{Node, list, text};

/// Ids per call (TerminateInstances reference: no more than 1000).
const IDS_MAX: usize = 1000;

/// Executes one TerminateInstances call.
pub(crate) fn terminate(ec2: &mut Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&[
        "Action",
        "Version",
        "DryRun",
        "InstanceId",
        "Force",
        "SkipOsShutdown",
    ])?;
    let ids = form.list("InstanceId");
    if ids.is_empty() {
        form.need("InstanceId")?;
    }
    if ids.len() > IDS_MAX {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            "Too many instance ids in one request",
        ));
    }
    // A machine that was only just launched may not be found yet, as the service's guide to eventual
    // consistency warns.
    exist(ec2, &ids, now)?;
    if form.flag("DryRun")? {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Refusal::new(412, "DryRunOperation", message));
    }
    if ec2.settings.throttling {
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        ec2.limits.instances("TerminateInstances", count, now)?;
    }
    let protected = |id: &String| ec2.machines.get(id).filter(|machine| machine.protected);
    let shut_zones: BTreeSet<String> = ids
        .iter()
        .filter_map(protected)
        .map(|machine| machine.zone.clone())
        .collect();
    let changes: Vec<(String, State, State)> = ids
        .iter()
        .filter_map(|id| end(ec2, id, &shut_zones, now))
        .collect();
    if !shut_zones.is_empty() {
        let message = "An instance may not be terminated. Modify its 'disableApiTermination' instance attribute.";
        return Err(Refusal::bad("OperationNotPermitted", message));
    }
    let items = changes.into_iter().map(|(id, before, after)| {
        vec![
            text("instanceId", id),
            state_node("currentState", after),
            state_node("previousState", before),
        ]
    });
    Ok(vec![list("instancesSet", items)])
}

fn end(
    ec2: &mut Ec2,
    id: &str,
    shut_zones: &BTreeSet<String>,
    now: Timestamp,
) -> Option<(String, State, State)> {
    let machine = ec2
        .machines
        .get_mut(id)
        .filter(|m| !shut_zones.contains(&m.zone))?;
    let before = machine.state(&ec2.settings, now);
    let reason = Ending {
        at: now,
        code: "Client.UserInitiatedShutdown".to_owned(),
        message: "User initiated shutdown".to_owned(),
        stops: false,
        at_once: false,
    };
    machine.end(reason, now);
    let after = if before == State::Terminated {
        State::Terminated
    } else {
        State::ShuttingDown
    };
    Some((id.to_owned(), before, after))
}
