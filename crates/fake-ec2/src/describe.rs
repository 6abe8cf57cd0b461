//! DescribeInstances: filters, pages counted in instances, and the XML of a machine.

use jiff::Timestamp;

use crate::ec2::Ec2;
use crate::filter;
use crate::form::Form;
use crate::launch::well_formed;
use crate::machine::{Machine, Market, State};
use crate::settings::Settings;
use crate::wire::{Outcome, Refusal};
use crate::xml::{Node, list, node, text};

/// The account id in answers.
const OWNER: &str = "000000000000";

/// Smallest and largest page (DescribeInstances reference).
const PAGE: std::ops::RangeInclusive<u32> = 5..=1000;

/// Executes one DescribeInstances call.
pub(crate) fn instances(ec2: &Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    form.only(&[
        "Action",
        "Version",
        "DryRun",
        "Filter",
        "InstanceId",
        "MaxResults",
        "NextToken",
        "IncludeManagedResources",
    ])?;
    let ids = form.list("InstanceId");
    let page = form.number("MaxResults")?;
    if let Some(size) = page.filter(|size| !PAGE.contains(size)) {
        return Err(Refusal::value(&size.to_string(), "maxResults"));
    }
    if page.is_some() && !ids.is_empty() {
        let message = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(Refusal::bad("InvalidParameterCombination", message));
    }
    let filters = filter::read(form)?;
    if form.flag("DryRun")? {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Refusal::new(412, "DryRunOperation", message));
    }
    exist(ec2, &ids, now)?;
    let start = form.get("NextToken").map(read_token).transpose()?;

    // in the order of ids, so that a page begins after the last id of the one before
    let wanted = ec2
        .machines
        .values()
        .filter(|machine| ids.is_empty() || ids.contains(&machine.id))
        .filter(|machine| start.as_ref().is_none_or(|start| machine.id > *start))
        .filter_map(|machine| Some((machine, machine.shown(&ec2.settings, now)?)))
        .filter(|(machine, state)| filters.iter().all(|filter| filter.passes(machine, *state)));
    let size = page.map_or(usize::MAX, |size| size as usize);
    let mut found: Vec<_> = wanted.take(size.saturating_add(1)).collect();
    let more = found.len() > size;
    found.truncate(size);

    let next = more.then(|| found.last()).flatten();
    let token = next.map(|(last, _)| text("nextToken", write_token(&last.id)));
    let mut children = vec![reservations(&found, &ec2.settings, now)];
    children.extend(token);
    Ok(children)
}

/// Refuses ids that are malformed or shown to nobody: one bad id fails the whole call.
pub(crate) fn exist(ec2: &Ec2, ids: &[String], now: Timestamp) -> Outcome<()> {
    if let Some(id) = ids.iter().find(|id| !well_formed(id, "i-")) {
        let message = format!("Invalid id: \"{id}\"");
        return Err(Refusal::bad("InvalidInstanceID.Malformed", message));
    }
    let unseen = |id: &&String| {
        let shown = ec2
            .machines
            .get(*id)
            .and_then(|machine| machine.shown(&ec2.settings, now));
        shown.is_none()
    };
    let missing: Vec<&str> = ids.iter().filter(unseen).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = if missing.len() == 1 {
        format!("The instance ID '{}' does not exist", missing[0])
    } else {
        format!("The instance IDs '{}' do not exist", missing.join(", "))
    };
    Err(Refusal::bad("InvalidInstanceID.NotFound", message))
}

/// One reservation with these machines in their true state: the answer to RunInstances.
pub(crate) fn reservation(ec2: &Ec2, ids: &[String], now: Timestamp) -> Vec<Node> {
    let machines: Vec<(&Machine, State)> = ids
        .iter()
        .filter_map(|id| ec2.machines.get(id))
        .map(|machine| (machine, machine.state(&ec2.settings, now)))
        .map(|(machine, state)| {
            // a launch is always answered as pending, however fast the machine starts
            let fresh = machine.launched_at == now && state == State::Running;
            (machine, if fresh { State::Pending } else { state })
        })
        .collect();
    let id = machines
        .first()
        .map_or("", |(machine, _)| &machine.reservation);
    one_reservation(id, &machines, &ec2.settings, now)
}

fn reservations(found: &[(&Machine, State)], settings: &Settings, now: Timestamp) -> Node {
    let mut groups: Vec<(&str, Vec<(&Machine, State)>)> = Vec::new();
    for &(machine, state) in found {
        match groups.iter_mut().find(|(id, _)| *id == machine.reservation) {
            Some((_, members)) => members.push((machine, state)),
            None => groups.push((&machine.reservation, vec![(machine, state)])),
        }
    }
    let items = groups
        .iter()
        .map(|(id, members)| one_reservation(id, members, settings, now));
    list("reservationSet", items)
}

fn one_reservation(
    id: &str,
    members: &[(&Machine, State)],
    settings: &Settings,
    now: Timestamp,
) -> Vec<Node> {
    vec![
        text("reservationId", id),
        text("ownerId", OWNER),
        list("groupSet", []),
        list(
            "instancesSet",
            members
                .iter()
                .map(|(machine, state)| one(machine, *state, settings, now)),
        ),
    ]
}

fn one(machine: &Machine, state: State, settings: &Settings, now: Timestamp) -> Vec<Node> {
    let mut nodes = vec![
        text("instanceId", &machine.id),
        text("imageId", &machine.image),
        state_node("instanceState", state),
        text("amiLaunchIndex", machine.launch_index.to_string()),
        text("instanceType", &machine.instance_type),
        text("launchTime", format!("{:.3}", machine.launched_at)),
        node(
            "placement",
            vec![
                text("availabilityZone", &machine.zone),
                text("tenancy", "default"),
            ],
        ),
        node("monitoring", vec![text("state", "disabled")]),
        list(
            "groupSet",
            machine
                .security_groups
                .iter()
                .map(|id| vec![text("groupId", id)]),
        ),
        text(
            "clientToken",
            machine.client_token.as_deref().unwrap_or_default(),
        ),
        list("tagSet", tag_items(machine)),
        node(
            "metadataOptions",
            vec![
                text("httpTokens", &machine.http_tokens),
                text("httpPutResponseHopLimit", machine.hop_limit.to_string()),
                text("httpEndpoint", "enabled"),
            ],
        ),
    ];
    let optional = [
        ("subnetId", &machine.subnet),
        ("keyName", &machine.key_name),
    ];
    nodes.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some(text(name, value.as_ref()?))),
    );
    if let Some(profile) = &machine.instance_profile {
        let arn = format!("arn:aws:iam::{OWNER}:instance-profile/{profile}");
        nodes.push(node("iamInstanceProfile", vec![text("arn", arn)]));
    }
    if machine.market == Market::Spot {
        nodes.push(text("instanceLifecycle", "spot"));
        nodes.push(text(
            "spotInstanceRequestId",
            machine.id.replacen("i-", "sir-", 1),
        ));
    }
    if state != State::Terminated && state != State::Pending {
        nodes.push(text("privateIpAddress", address(&machine.id)));
    }
    let ended = machine.ending.as_ref().filter(|ending| ending.at <= now);
    if let Some(ending) = ended.filter(|_| machine.state(settings, now) == state) {
        let message = format!("{}: {}", ending.code, ending.message);
        nodes.push(text("reason", &message));
        nodes.push(node(
            "stateReason",
            vec![text("code", &ending.code), text("message", message)],
        ));
    }
    nodes
}

/// A state as answers write it.
pub(crate) fn state_node(name: &'static str, state: State) -> Node {
    node(
        name,
        vec![
            text("code", state.code().to_string()),
            text("name", state.name()),
        ],
    )
}

fn tag_items(machine: &Machine) -> impl Iterator<Item = Vec<Node>> {
    machine
        .tags
        .iter()
        .map(|(key, value)| vec![text("key", key), text("value", value)])
}

/// A private address made of the id's last digits; not unique, nothing here routes.
fn address(id: &str) -> String {
    let tail = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
    let bits = u32::from_str_radix(tail, 16).unwrap_or_default();
    format!("10.{}.{}.{}", bits >> 16, (bits >> 8) & 255, bits & 255)
}

/// Page tokens are opaque to callers; here they hold the last id of the page.
fn write_token(last: &str) -> String {
    format!("page-after:{last}")
}

fn read_token(token: &str) -> Outcome<String> {
    let known = token.strip_prefix("page-after:").map(str::to_owned);
    known.ok_or_else(|| Refusal::bad("InvalidParameterValue", "Unable to parse pagination token"))
}
