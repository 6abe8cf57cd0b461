//! DescribeVolumes: the disks that outlived their machines.
//!
//! Only those: the disk of a machine that lives is not modelled.

use jiff::Timestamp;

use crate::ec2::Ec2;
use crate::filter;
use crate::form::Form;
use crate::machine::{Machine, State};
use crate::page::Page;
use crate::wire::Outcome;
use crate::xml::{Node, list, text};

/// Smallest and largest page (DescribeVolumes reference: 5 to 500).
const PAGE: std::ops::RangeInclusive<u32> = 5..=500;

/// Executes one DescribeVolumes call.
pub(crate) fn volumes(ec2: &Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&[
        "Action",
        "Version",
        "DryRun",
        "Filter",
        "MaxResults",
        "NextToken",
        "VolumeId",
    ])?;
    let page = Page::of(form, &PAGE)?;
    let filters = filter::plain(form)?;
    let mut found = Vec::new();
    let ended = ec2.machines.values().filter(|machine| {
        machine.id.as_str() > page.after && machine.state(&ec2.settings, now) == State::Terminated
    });
    for machine in ended {
        let image = ec2.settings.images.get(&machine.image);
        let Some(size) = image.and_then(|image| image.kept_disk) else {
            continue;
        };
        let mut passes = true;
        for filter in &filters {
            passes &= match (filter.tag(), filter.name.as_str()) {
                (Some(key), _) => {
                    let tag = machine.volume_tags.get(key);
                    tag.is_some_and(|tag| filter.passes(tag))
                }
                (None, "status") => filter.passes("available"),
                _ => return Err(filter.invalid()),
            };
        }
        if passes {
            found.push((machine, size));
        }
    }
    let next = page.cut(&mut found, |(machine, _)| &machine.id);
    let mut answer = vec![list(
        "volumeSet",
        found.into_iter().map(|(machine, size)| one(machine, size)),
    )];
    answer.extend(next);
    Ok(answer)
}

fn one(machine: &Machine, size: u32) -> Vec<Node> {
    let tags = machine.volume_tags.iter();
    let tags = tags.map(|(key, value)| vec![text("key", key), text("value", value)]);
    vec![
        text("volumeId", machine.id.replacen("i-", "vol-", 1)),
        text("size", size.to_string()),
        text("status", "available"),
        text("availabilityZone", &machine.zone),
        text("createTime", machine.launched_at.to_string()),
        list("tagSet", tags),
    ]
}
