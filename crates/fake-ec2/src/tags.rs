//! Tags: at launch and afterwards, with the service's limits.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::describe::exist;
use crate::ec2::Ec2;
use crate::form::Form;
use crate::wire::{Outcome, Refusal};
use crate::xml::{Node, text};

/// Tags per resource, and characters per key and value (EC2 guide, "Tag restrictions").
const TAGS_MAX: usize = 50;
const KEY_MAX: usize = 128;
const VALUE_MAX: usize = 256;

/// The tags of a launch, by what they are for.
#[derive(Debug, Default)]
pub(crate) struct AtLaunch {
    pub(crate) instance: BTreeMap<String, String>,
    pub(crate) volume: BTreeMap<String, String>,
    pub(crate) spot: BTreeMap<String, String>,
}

/// Reads `TagSpecification.N` of a launch.
pub(crate) fn at_launch(form: &Form) -> Outcome<AtLaunch> {
    let mut found = AtLaunch::default();
    for specification in form.groups("TagSpecification") {
        let tags = read(&specification)?;
        match specification.need("ResourceType")? {
            "instance" => found.instance.extend(tags),
            "volume" => found.volume.extend(tags),
            "spot-instances-request" => found.spot.extend(tags),
            "network-interface" => {}
            other => {
                let message =
                    format!("'{other}' is not a valid taggable resource type for this operation.");
                return Err(Refusal::bad("InvalidParameterValue", message));
            }
        }
    }
    Ok(found)
}

/// Executes one CreateTags call: all resources or none.
pub(crate) fn create(ec2: &mut Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&["Action", "Version", "DryRun", "ResourceId", "Tag"])?;
    let ids = form.list("ResourceId");
    if ids.is_empty() {
        form.need("ResourceId")?;
    }
    let tags = read(form)?;
    exist(ec2, &ids, now)?;
    let too_many = ids
        .iter()
        .filter_map(|id| ec2.machines.get(id))
        .any(|machine| {
            let added = tags
                .keys()
                .filter(|key| !machine.tags.contains_key(*key))
                .count();
            machine.tags.len() + added > TAGS_MAX
        });
    if too_many {
        return Err(limit());
    }
    if form.flag("DryRun")? {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Refusal::new(412, "DryRunOperation", message));
    }
    for id in &ids {
        if let Some(machine) = ec2.machines.get_mut(id) {
            machine.tags.extend(tags.clone());
        }
    }
    Ok(vec![text("return", "true")])
}

fn read(form: &Form) -> Outcome<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in form.groups("Tag") {
        let key = tag.need("Key")?;
        let value = tag.get("Value").unwrap_or_default();
        if key.is_empty() || key.chars().count() > KEY_MAX || key.starts_with("aws:") {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("Tag key is invalid: '{key}'"),
            ));
        }
        if value.chars().count() > VALUE_MAX {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                "Tag value exceeds 256 characters",
            ));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("Duplicate tag key '{key}' specified.");
            return Err(Refusal::bad("InvalidParameterValue", message));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(limit());
    }
    Ok(tags)
}

fn limit() -> Refusal {
    Refusal::bad(
        "TagLimitExceeded",
        "The maximum number of tags for a resource has been reached.",
    )
}
