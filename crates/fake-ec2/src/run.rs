//! RunInstances: tokens, quotas, capacity, and the machines that come of it.

use jiff::Timestamp;

use crate::describe;
use crate::ec2::Ec2;
use crate::form::Form;
use crate::launch::{self, Launch};
use crate::machine::{Ending, Machine, Market, State, after};
use crate::wire::{Outcome, Refusal};
use crate::xml::Node;

/// What a token made the first time.
#[derive(Debug, Clone)]
pub(crate) struct Launched {
    /// The parameters of that call; the same token with others is refused.
    request: Form,
    /// The machines it made.
    pub(crate) ids: Vec<String>,
}

/// Executes one RunInstances call.
pub(crate) fn run(ec2: &mut Ec2, form: &Form, now: Timestamp) -> Outcome<Vec<Node>> {
    let launch = launch::read(form, &ec2.settings)?;
    // With a zone or subnet in the request the token counts in that zone only: the same token in
    // another zone launches a second set. Without one it counts in the region.
    let key = launch
        .token
        .clone()
        .map(|token| (token, launch.zone.clone()));
    if let Some(before) = key.as_ref().and_then(|key| ec2.tokens.get(key)).cloned() {
        let ids = repeated(ec2, &before, form, now)?;
        return Ok(describe::reservation(ec2, &ids, now));
    }
    if launch.dry_run {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Refusal::new(412, "DryRunOperation", message));
    }
    if ec2.settings.throttling {
        ec2.limits.instances("RunInstances", launch.max, now)?;
    }
    let allowed = quota(ec2, &launch, now)?;
    let (zone, room) = capacity(ec2, &launch, now)?;
    let count = launch.max.min(allowed).min(room);
    let ids = start(ec2, &launch, &zone, count, now);
    if let Some(key) = key {
        ec2.tokens.insert(
            key,
            Launched {
                request: form.clone(),
                ids: ids.clone(),
            },
        );
    }
    Ok(describe::reservation(ec2, &ids, now))
}

fn repeated(ec2: &Ec2, before: &Launched, form: &Form, now: Timestamp) -> Outcome<Vec<String>> {
    if before.request != *form {
        let message = "Arguments on this idempotent request are inconsistent with arguments used in \
                       previous request(s).";
        return Err(Refusal::bad("IdempotentParameterMismatch", message));
    }
    let alive = |id: &String| {
        let state = ec2
            .machines
            .get(id)
            .map(|machine| machine.state(&ec2.settings, now));
        !matches!(state, None | Some(State::Terminated))
    };
    if !before.ids.iter().any(alive) {
        let message = "The request has the same client token as a previous request, whose instance \
                       has been terminated.";
        return Err(Refusal::bad("IdempotentInstanceTerminated", message));
    }
    Ok(before.ids.clone())
}

/// How many machines the account's limits still allow, at least `min`.
fn quota(ec2: &Ec2, launch: &Launch, now: Timestamp) -> Outcome<u32> {
    let settings = &ec2.settings;
    let of_market = |market: Market| {
        ec2.machines.values().filter(move |machine| {
            machine.market == market
                && matches!(
                    machine.state(settings, now),
                    State::Pending | State::Running
                )
        })
    };
    let vcpus = |kind: &str| settings.types.get(kind).map_or(1, |kind| kind.vcpus);
    let left =
        |limit: u32, used: usize| limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));

    let mut allowed = u32::MAX;
    let mut check = |room: u32, code: &str| {
        allowed = allowed.min(room);
        if room >= launch.min {
            return Ok(());
        }
        let message = format!(
            "You have requested more instances ({}) than your current limit allows.",
            launch.min
        );
        Err(Refusal::bad(code, message))
    };
    match launch.market {
        Market::Spot => {
            if let Some(limit) = settings.spot_limit {
                check(
                    left(limit, of_market(Market::Spot).count()),
                    "MaxSpotInstanceCountExceeded",
                )?;
            }
        }
        Market::OnDemand => {
            if let Some(limit) = settings.instance_limit {
                check(
                    left(limit, of_market(Market::OnDemand).count()),
                    "InstanceLimitExceeded",
                )?;
            }
            if let Some(limit) = settings.vcpu_limit {
                let used: u32 = of_market(Market::OnDemand)
                    .map(|m| vcpus(&m.instance_type))
                    .sum();
                let room = limit.saturating_sub(used) / vcpus(&launch.instance_type).max(1);
                check(room, "VcpuLimitExceeded")?;
            }
        }
    }
    Ok(allowed)
}

/// The zone and the room in it. A call that names no zone gets the first one with room enough.
fn capacity(ec2: &Ec2, launch: &Launch, now: Timestamp) -> Outcome<(String, u32)> {
    let zones = launch
        .zone
        .as_ref()
        .map_or(ec2.settings.zones.as_slice(), std::slice::from_ref);
    let offered = |zone: &&String| {
        let kind = ec2.settings.types.get(&launch.instance_type);
        kind.is_some_and(|kind| !kind.not_in.contains(*zone))
    };
    let room = zones
        .iter()
        .filter(offered)
        .map(|zone| (zone.clone(), room(ec2, launch, zone, now)))
        .find(|(_, room)| *room >= launch.min);
    room.ok_or_else(|| {
        let kind = &launch.instance_type;
        let zone = launch.zone.as_deref().unwrap_or("any zone of the region");
        let message = format!(
            "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone})."
        );
        // a server error by status, and yet nothing a retry mends
        Refusal::new(500, "InsufficientInstanceCapacity", message)
    })
}

fn room(ec2: &Ec2, launch: &Launch, zone: &str, now: Timestamp) -> u32 {
    let key = (launch.instance_type.clone(), zone.to_owned(), launch.market);
    let Some(&total) = ec2.capacity.get(&key) else {
        return u32::MAX;
    };
    let alike = |machine: &&Machine| {
        machine.instance_type == launch.instance_type
            && machine.zone == zone
            && machine.market == launch.market
            && machine.occupies(&ec2.settings, now)
    };
    let used = ec2.machines.values().filter(alike).count();
    total.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
}

fn start(ec2: &mut Ec2, launch: &Launch, zone: &str, count: u32, now: Timestamp) -> Vec<String> {
    let reservation = ec2.id("r");
    let mut ids = Vec::new();
    for launch_index in 0..count {
        let id = ec2.id("i");
        let ending = ec2.doomed.pop().map(|(code, message)| Ending {
            // half of the boot time: a caller sees it pending first
            at: after(now, ec2.settings.boot / 2),
            code,
            message,
            stops: false,
            at_once: true,
        });
        let machine = Machine {
            id: id.clone(),
            reservation: reservation.clone(),
            launch_index,
            image: launch.image.clone(),
            instance_type: launch.instance_type.clone(),
            zone: zone.to_owned(),
            subnet: launch.subnet.clone(),
            market: launch.market,
            client_token: launch.token.clone(),
            tags: launch.tags.clone(),
            volume_tags: launch.volume_tags.clone(),
            spot_tags: launch.spot_tags.clone(),
            security_groups: launch.security_groups.clone(),
            key_name: launch.key_name.clone(),
            instance_profile: launch.instance_profile.clone(),
            user_data: launch.user_data.clone(),
            http_tokens: launch.http_tokens.clone(),
            hop_limit: launch.hop_limit,
            on_shutdown: launch.on_shutdown.clone(),
            protected: launch.protected,
            launched_at: now,
            ending,
        };
        ec2.machines.insert(id.clone(), machine);
        ids.push(id);
    }
    ids
}
