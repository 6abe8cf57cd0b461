//! What is asked of one machine: delete it, label it, read its console.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::{self, Need};
use crate::body;
use crate::gce::Gce;
use crate::machine::{Ending, Why};
use crate::operation::{self, Failure, Operation};
use crate::route::Asked;
use crate::show;
use crate::wire::{Outcome, Refusal};

/// What a serial port keeps ("Viewing serial port output").
const CONSOLE: usize = 1024 * 1024;

/// The id of a machine that is there, by name or id.
fn find(
    gce: &mut Gce,
    zone: &str,
    named: &str,
    permission: &'static str,
    now: Timestamp,
) -> Outcome<u64> {
    let path = format!(
        "projects/{}/zones/{zone}/instances/{named}",
        gce.settings.project
    );
    let needs = [Need::new(permission, &path)];
    gce.need(needs.to_vec());
    access::check(&needs, &gce.settings)?;
    let found = gce.standing(zone, named, now);
    found
        .map(|machine| machine.id)
        .ok_or_else(|| Refusal::not_found(&path))
}

pub(crate) fn get(gce: &mut Gce, zone: &str, named: &str, now: Timestamp) -> Outcome<Value> {
    let id = find(gce, zone, named, "compute.instances.get", now)?;
    let machine = &gce.machines[&id];
    // gone between two statements it cannot be: time is an argument
    let status = machine.status(&gce.settings, now).unwrap_or("TERMINATED");
    Ok(show::machine(machine, status, &gce.settings, now))
}

pub(crate) fn delete(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    named: &str,
    now: Timestamp,
) -> Outcome<Value> {
    let request_id = operation::request_id(asked.param("requestId"))?;
    let found = find(gce, zone, named, "compute.instances.delete", now);
    if let Some(known) = gce.repeated(request_id.as_deref(), now) {
        return Ok(known);
    }
    let id = found?;
    let failure = gce.ordered_failure();
    let settings = &gce.settings;
    let machine = &gce.machines[&id];
    let link = Some((id, machine.name.clone()));
    if machine.protected {
        let message = format!(
            "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion. Resource: {}'.",
            machine.name
        );
        return Err(Refusal::new(400, "invalidUsage", message));
    }
    let ending = machine.end_at(now).filter(|ending| !ending.stops);
    let operation = Operation {
        failure,
        request_id,
        ..gce.operation("delete", zone, link, settings.shutdown, now)
    };
    if operation.failure.is_none()
        && ending.is_none()
        && let Some(machine) = gce.machines.get_mut(&id)
    {
        machine.ending = Some(Ending {
            at: now,
            why: Why::Deleted,
            stops: false,
        });
    }
    Ok(gce.accept(operation, now))
}

pub(crate) fn set_labels(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    named: &str,
    sent: &Value,
    now: Timestamp,
) -> Outcome<Value> {
    let request_id = operation::request_id(asked.param("requestId"))?;
    let id = find(gce, zone, named, "compute.instances.setLabels", now)?;
    if let Some(known) = gce.repeated(request_id.as_deref(), now) {
        return Ok(known);
    }
    let labels = body::check_labels(&sent["labels"], "labels")?;
    let machine = &gce.machines[&id];
    let current = show::label_fingerprint(machine);
    if sent["labelFingerprint"].as_str() != Some(current.as_str()) {
        let message = "Labels fingerprint either invalid or resource labels have changed";
        return Err(Refusal::new(412, "conditionNotMet", message));
    }
    let link = Some((id, machine.name.clone()));
    let operation = Operation {
        request_id,
        ..gce.operation("setLabels", zone, link, gce.settings.shutdown, now)
    };
    if let Some(machine) = gce.machines.get_mut(&id) {
        machine.labels = labels;
        machine.label_changes += 1;
    }
    Ok(gce.accept(operation, now))
}

pub(crate) fn serial_port(
    gce: &mut Gce,
    asked: &Asked,
    zone: &str,
    named: &str,
    now: Timestamp,
) -> Outcome<Value> {
    let port = asked.number::<u32>("port")?.unwrap_or(1);
    if !(1..=4).contains(&port) {
        let why = "Must be between 1 and 4.";
        return Err(Refusal::field("port", &port.to_string(), why));
    }
    let start = asked.number::<i64>("start")?.unwrap_or_default();
    let permission = "compute.instances.getSerialPortOutput";
    let id = find(gce, zone, named, permission, now)?;
    let machine = &gce.machines[&id];
    let written = if port == 1 {
        machine.console.as_str()
    } else {
        ""
    };
    let oldest = written.len().saturating_sub(CONSOLE);
    let from = match usize::try_from(start) {
        Ok(start) => start.clamp(oldest, written.len()),
        Err(_) => {
            let back = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
            written.len().saturating_sub(back).max(oldest)
        }
    };
    let from = (from..=written.len()).find(|&from| written.is_char_boundary(from));
    let from = from.unwrap_or(written.len());
    let base = show::link(
        &gce.settings,
        &format!("zones/{zone}/instances/{}", machine.name),
    );
    Ok(json!({
        "kind": "compute#serialPortOutput",
        "selfLink": format!("{base}/serialPort"),
        "contents": &written[from..],
        "start": from.to_string(),
        "next": written.len().to_string(),
    }))
}

/// An error of an operation that a test ordered.
pub(crate) fn ordered(code: &str) -> Failure {
    let status = match code {
        code if code.contains("EXHAUSTED") => 503,
        code if code.contains("QUOTA") || code == "PERMISSIONS_ERROR" => 403,
        "RESOURCE_NOT_FOUND" => 404,
        "RESOURCE_ALREADY_EXISTS" => 409,
        "INTERNAL_ERROR" => 500,
        _ => 400,
    };
    Failure::new(status, code, "failed on order of the test")
}
