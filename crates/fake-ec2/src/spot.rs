//! DescribeSpotInstanceRequests: which spot machines are about to be taken back.
//!
//! A machine that ends when it is interrupted has the status `instance-terminated-no-capacity` from the moment of the
//! notice, and runs on for two minutes (EC2 user guide, "Spot request status").

use jiff::Timestamp;

use crate::ec2::Ec2;
use crate::filter;
use crate::form::Form;
use crate::machine::{Machine, Market, after};
use crate::page::Page;
use crate::settings::Settings;
use crate::wire::Outcome;
use crate::xml::{Node, list, node, text};

/// Smallest and largest page (DescribeSpotInstanceRequests reference).
const PAGE: std::ops::RangeInclusive<u32> = 5..=1000;

/// Executes one DescribeSpotInstanceRequests call.
pub(crate) fn requests(ec2: &Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&[
        "Action",
        "Version",
        "DryRun",
        "Filter",
        "MaxResults",
        "NextToken",
        "SpotInstanceRequestId",
    ])?;
    let page = Page::of(form, &PAGE)?;
    let filters = filter::plain(form)?;
    let mut found = Vec::new();
    let spot = ec2
        .machines
        .values()
        .filter(|machine| machine.market == Market::Spot);
    for machine in spot.filter(|machine| machine.id.as_str() > page.after) {
        let (state, code) = status(machine, &ec2.settings, now);
        let mut passes = true;
        for filter in &filters {
            passes &= match (filter.tag(), filter.name.as_str()) {
                (Some(key), _) => machine
                    .spot_tags
                    .get(key)
                    .is_some_and(|tag| filter.passes(tag)),
                (None, "status-code") => filter.passes(code),
                (None, "state") => filter.passes(state),
                (None, "instance-id") => filter.passes(&machine.id),
                _ => return Err(filter.invalid()),
            };
        }
        if passes {
            found.push((machine, state, code));
        }
    }
    let next = page.cut(&mut found, |(machine, ..)| &machine.id);
    let mut answer = vec![list(
        "spotInstanceRequestSet",
        found
            .into_iter()
            .map(|(machine, state, code)| one(machine, state, code)),
    )];
    answer.extend(next);
    Ok(answer)
}

fn one(machine: &Machine, state: &'static str, code: &'static str) -> Vec<Node> {
    let tags = machine.spot_tags.iter();
    let tags = tags.map(|(key, value)| vec![text("key", key), text("value", value)]);
    vec![
        text(
            "spotInstanceRequestId",
            machine.id.replacen("i-", "sir-", 1),
        ),
        text("instanceId", &machine.id),
        text("type", "one-time"),
        text("state", state),
        node("status", vec![text("code", code), text("message", code)]),
        list("tagSet", tags),
    ]
}

/// State and status of the request behind a machine.
fn status(machine: &Machine, settings: &Settings, now: Timestamp) -> (&'static str, &'static str) {
    match &machine.ending {
        Some(ending) if ending.code == "Server.SpotInstanceTermination" => {
            // known ahead of the end
            if after(now, settings.spot_notice) >= ending.at {
                ("closed", "instance-terminated-no-capacity")
            } else {
                ("active", "fulfilled")
            }
        }
        Some(ending) if ending.at <= now => ("closed", "instance-terminated-by-user"),
        Some(_) | None => ("active", "fulfilled"),
    }
}
