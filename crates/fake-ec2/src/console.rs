//! GetConsoleOutput: what a machine printed while it booted.

use base64::Engine;
use jiff::Timestamp;

use crate::describe::exist;
use crate::ec2::Ec2;
use crate::form::Form;
use crate::machine::State;
use crate::wire::Outcome;
use crate::xml::{Node, text};

/// Executes one GetConsoleOutput call. A machine that has not started yet has no output.
pub(crate) fn output(ec2: &Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&["Action", "Version", "DryRun", "InstanceId", "Latest"])?;
    form.flag("Latest")?;
    let id = form.need("InstanceId")?.to_owned();
    exist(ec2, std::slice::from_ref(&id), now)?;
    let started =
        |machine: &&crate::machine::Machine| machine.state(&ec2.settings, now) != State::Pending;
    let machine = ec2.machines.get(&id).filter(started);
    let output = machine.map(|_| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&ec2.settings.console);
        text("output", encoded)
    });
    let mut answer = vec![text("instanceId", &id), text("timestamp", now.to_string())];
    answer.extend(output);
    Ok(answer)
}
