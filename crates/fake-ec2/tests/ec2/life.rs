//! Tokens, states over time, lag, capacity, quotas and throttling.

use std::time::Duration;

use fake_ec2::Market;

use crate::client::{TYPE, World, run, values};

const ZONE_A: (&str, &str) = ("Placement.AvailabilityZone", "eu-central-1a");
const ZONE_B: (&str, &str) = ("Placement.AvailabilityZone", "eu-central-1b");
const TOKEN: (&str, &str) = ("ClientToken", "token-1");

fn states(world: &mut World) -> Vec<String> {
    let response = world.call("DescribeInstances", &[]);
    values(&response, "name")
}

#[test]
fn the_same_token_gives_the_same_machines() {
    let mut world = World::new();
    let first = world.launch(3, &[TOKEN, ZONE_A]);
    assert_eq!(world.launch(3, &[TOKEN, ZONE_A]), first);
    assert_eq!(world.ec2.alive(world.now), 3);
}

#[test]
fn the_same_token_in_another_zone_launches_a_second_set() {
    let mut world = World::new();
    let first = world.launch(2, &[TOKEN, ZONE_A]);
    let second = world.launch(2, &[TOKEN, ZONE_B]);
    assert!(first.iter().all(|id| !second.contains(id)));
    assert_eq!(world.ec2.alive(world.now), 4);
}

#[test]
fn without_a_zone_a_token_counts_in_the_region() {
    let mut world = World::new();
    let first = world.launch(2, &[TOKEN]);
    assert_eq!(world.launch(2, &[TOKEN]), first);
}

#[test]
fn the_same_token_with_other_parameters_is_a_mismatch() {
    let mut world = World::new();
    world.launch(2, &[TOKEN, ZONE_A]);
    let other = run(3, &[TOKEN, ZONE_A]);
    assert_eq!(
        world.code("RunInstances", &other.borrow()),
        "IdempotentParameterMismatch"
    );
}

#[test]
fn a_token_dies_with_its_machines() {
    let mut world = World::new();
    let id = world.launch(1, &[TOKEN]).remove(0);
    world.call("TerminateInstances", &[("InstanceId.1", &id)]);
    let again = run(1, &[TOKEN]);
    assert_eq!(
        world.code("RunInstances", &again.borrow()),
        "IdempotentInstanceTerminated"
    );
}

#[test]
fn a_failed_launch_leaves_its_token_unused() {
    let mut world = World::new();
    world
        .ec2
        .set_capacity(TYPE, "eu-central-1a", Market::OnDemand, Some(0));
    let parameters = run(1, &[TOKEN, ZONE_A]);
    assert_eq!(
        world.code("RunInstances", &parameters.borrow()),
        "InsufficientInstanceCapacity"
    );
    world
        .ec2
        .set_capacity(TYPE, "eu-central-1a", Market::OnDemand, None);
    assert_eq!(world.code("RunInstances", &parameters.borrow()), "ok");
}

#[test]
fn a_machine_is_pending_then_running_then_shutting_down_then_terminated_then_unseen() {
    let mut world = World::with(|settings| {
        settings.boot = Duration::from_secs(20);
        settings.shutdown = Duration::from_secs(30);
    });
    let id = world.launch(1, &[]).remove(0);
    assert_eq!(states(&mut world), ["pending"]);
    world.pass(20);
    assert_eq!(states(&mut world), ["running"]);
    let ids = [("InstanceId.1", id.as_str())];
    let response = world.call("TerminateInstances", &ids);
    assert_eq!(values(&response, "name"), ["shutting-down", "running"]);
    assert_eq!(states(&mut world), ["shutting-down"]);
    world.pass(30);
    let response = world.call("DescribeInstances", &[]);
    assert_eq!(values(&response, "name"), ["terminated"]);
    assert!(
        response.body.contains("Client.UserInitiatedShutdown"),
        "{}",
        response.body
    );
    let response = world.call("TerminateInstances", &ids);
    assert_eq!(
        values(&response, "name"),
        ["terminated", "terminated"],
        "again is no error"
    );
    world.pass(3599);
    assert_eq!(states(&mut world), ["terminated"]);
    world.pass(1);
    assert!(states(&mut world).is_empty());
    assert_eq!(
        world.code("TerminateInstances", &ids),
        "InvalidInstanceID.NotFound"
    );
}

#[test]
fn a_launch_is_answered_as_pending_even_without_a_boot_time() {
    let mut world = World::new();
    let response = world.call("RunInstances", &run(1, &[]).borrow());
    assert_eq!(values(&response, "name"), ["pending"]);
    assert_eq!(states(&mut world), ["running"]);
}

#[test]
fn a_new_machine_is_missing_and_a_dead_one_lingers_for_a_while() {
    let mut world = World::with(|settings| {
        settings.appears_after = Duration::from_secs(10);
        settings.ends_unseen_for = Duration::from_secs(5);
    });
    let id = world.launch(1, &[]).remove(0);
    let ids = [("InstanceId.1", id.as_str())];
    assert!(world.list(&[]).is_empty());
    assert_eq!(
        world.code("DescribeInstances", &ids),
        "InvalidInstanceID.NotFound"
    );
    assert_eq!(
        world.code("TerminateInstances", &ids),
        "InvalidInstanceID.NotFound"
    );
    world.pass(10);
    assert_eq!(world.list(&[]), std::slice::from_ref(&id));
    world.call("TerminateInstances", &ids);
    assert_eq!(
        states(&mut world),
        ["running"],
        "the list has not heard yet"
    );
    assert_eq!(world.ec2.alive(world.now), 0, "but the machine is gone");
    world.pass(5);
    assert_eq!(states(&mut world), ["terminated"]);
}

#[test]
fn capacity_gives_what_there_is_between_min_and_max() {
    let mut world = World::new();
    world
        .ec2
        .set_capacity(TYPE, "eu-central-1a", Market::OnDemand, Some(3));
    assert_eq!(world.launch(2, &[ZONE_A]).len(), 2);
    assert_eq!(world.launch(5, &[ZONE_A]).len(), 1);
    let response = world.call("RunInstances", &run(5, &[ZONE_A]).borrow());
    assert_eq!(
        (response.status, response.code()),
        (500, Some("InsufficientInstanceCapacity"))
    );
    assert_eq!(
        world.launch(5, &[ZONE_B]).len(),
        5,
        "another zone is another matter"
    );
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    assert_eq!(
        world.launch(5, &[ZONE_A, spot]).len(),
        5,
        "and so is another market"
    );
}

#[test]
fn a_call_without_a_zone_goes_where_there_is_room() {
    let mut world = World::new();
    world
        .ec2
        .set_capacity(TYPE, "eu-central-1a", Market::OnDemand, Some(0));
    world.launch(1, &[]);
    assert_eq!(world.ec2.instances().next().unwrap().zone, "eu-central-1b");
}

#[test]
fn quotas_have_their_own_codes() {
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    let mut world = World::with(|settings| {
        settings.instance_limit = Some(3);
        settings.spot_limit = Some(1);
    });
    assert_eq!(world.launch(9, &[]).len(), 3);
    assert_eq!(
        world.code("RunInstances", &run(1, &[]).borrow()),
        "InstanceLimitExceeded"
    );
    world.launch(1, &[spot]);
    let code = world.code("RunInstances", &run(1, &[spot]).borrow());
    assert_eq!(code, "MaxSpotInstanceCountExceeded");

    let mut world = World::with(|settings| settings.vcpu_limit = Some(5));
    assert_eq!(
        world.launch(9, &[]).len(),
        2,
        "two of two CPUs each fit into five"
    );
    assert_eq!(
        world.code("RunInstances", &run(1, &[]).borrow()),
        "VcpuLimitExceeded"
    );
}

#[test]
fn throttling_counts_calls_and_instances() {
    let mut world = World::with(|settings| settings.throttling = true);
    for _ in 0..5 {
        world.launch(1, &[]);
    }
    let response = world.call("RunInstances", &run(1, &[]).borrow());
    assert_eq!(
        (response.status, response.code()),
        (503, Some("RequestLimitExceeded"))
    );
    world.pass(3);
    world.launch(900, &[]);
    let code = world.code("RunInstances", &run(900, &[]).borrow());
    assert_eq!(
        code, "RequestLimitExceeded",
        "the instances of both calls are too many"
    );
    let bare = (0..60)
        .filter(|_| world.code("DescribeInstances", &[]) == "ok")
        .count();
    assert_eq!(bare, 50, "bare describe calls have the small bucket");
    let paged = [("MaxResults", "5")];
    let paged = (0..120)
        .filter(|_| world.code("DescribeInstances", &paged) == "ok")
        .count();
    assert_eq!(paged, 100);
}

#[test]
fn pages_count_instances_and_cut_through_reservations() {
    let mut world = World::new();
    let mut wanted = world.launch(7, &[]);
    wanted.extend(world.launch(4, &[]));
    wanted.sort();
    let mut seen = Vec::new();
    let mut token: Option<String> = None;
    let mut sizes = Vec::new();
    loop {
        let mut parameters = vec![("MaxResults", "5")];
        parameters.extend(token.as_deref().map(|token| ("NextToken", token)));
        let response = world.call("DescribeInstances", &parameters);
        let page = values(&response, "instanceId");
        sizes.push(page.len());
        seen.extend(page);
        token = values(&response, "nextToken").pop();
        if token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [5, 5, 1]);
    assert_eq!(seen, wanted);
}

#[test]
fn filters_find_by_tag_key_token_state_and_id() {
    let mut world = World::new();
    let tag = |key, value| {
        [
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", key),
            ("TagSpecification.1.Tag.1.Value", value),
        ]
    };
    let red = world.launch(1, &tag("colour", "red")).remove(0);
    let blue = world.launch(1, &tag("colour", "blue")).remove(0);
    let plain = world.launch(1, &[TOKEN]).remove(0);
    world.call("TerminateInstances", &[("InstanceId.1", &blue)]);
    for (name, value, wanted) in [
        ("tag:colour", "red", vec![&red]),
        ("tag:colour", "r*", vec![&red]),
        ("tag:shape", "red", vec![]),
        ("client-token", "token-1", vec![&plain]),
        ("instance-id", red.as_str(), vec![&red]),
        ("instance-id", "i-0000000000000dead", vec![]),
        ("instance-state-name", "terminated", vec![&blue]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        assert_eq!(
            world.list(&filter).iter().collect::<Vec<_>>(),
            wanted,
            "{name}={value}"
        );
    }
    let both = [
        ("Filter.1.Name", "tag-key"),
        ("Filter.1.Value.1", "colour"),
        ("Filter.2.Name", "instance-state-name"),
        ("Filter.2.Value.1", "pending"),
        ("Filter.2.Value.2", "running"),
    ];
    assert_eq!(world.list(&both), [red]);
}

#[test]
fn tags_added_later_are_listed() {
    let mut world = World::new();
    let id = world.launch(1, &[]).remove(0);
    let tag = [
        ("ResourceId.1", id.as_str()),
        ("Tag.1.Key", "k"),
        ("Tag.1.Value", "a<b"),
    ];
    assert_eq!(world.code("CreateTags", &tag), "ok");
    let response = world.call("DescribeInstances", &[]);
    assert_eq!(values(&response, "value"), ["a&lt;b"]);
}

#[test]
fn a_launch_can_fail_after_it_was_accepted() {
    let mut world = World::with(|settings| settings.boot = Duration::from_secs(20));
    world
        .ec2
        .fail_launch(1, "Client.VolumeLimitExceeded", "Volume limit exceeded");
    world.launch(1, &[]);
    assert_eq!(states(&mut world), ["pending"]);
    world.pass(10);
    let response = world.call("DescribeInstances", &[]);
    assert_eq!(values(&response, "name"), ["terminated"]);
    assert!(
        response
            .body
            .contains("<code>Client.VolumeLimitExceeded</code>"),
        "{}",
        response.body
    );
}

#[test]
fn a_spot_machine_can_be_taken_back_and_an_on_demand_one_cannot() {
    let mut world = World::new();
    let spot = world
        .launch(1, &[("InstanceMarketOptions.MarketType", "spot")])
        .remove(0);
    let bought = world.launch(1, &[]).remove(0);
    assert!(world.ec2.interrupt_spot(&spot, world.now));
    assert!(!world.ec2.interrupt_spot(&bought, world.now));
    let response = world.call("DescribeInstances", &[("InstanceId.1", &spot)]);
    assert!(
        response
            .body
            .contains("<code>Server.SpotInstanceTermination</code>")
    );
    assert!(
        response
            .body
            .contains("<instanceLifecycle>spot</instanceLifecycle>")
    );
}

#[test]
fn a_power_off_stops_by_default_and_terminates_if_asked() {
    let mut world = World::new();
    let stops = world.launch(1, &[]).remove(0);
    let ends = [("InstanceInitiatedShutdownBehavior", "terminate")];
    let ends = world.launch(1, &ends).remove(0);
    for id in [&stops, &ends] {
        assert!(world.ec2.power_off(id, world.now));
    }
    for (id, state) in [(&stops, "stopped"), (&ends, "terminated")] {
        let response = world.call("DescribeInstances", &[("InstanceId.1", id)]);
        assert_eq!(values(&response, "name"), [state]);
    }
    assert_eq!(
        world.ec2.alive(world.now),
        1,
        "a stopped machine still costs its volume"
    );
}

#[test]
fn what_is_long_gone_is_forgotten() {
    let mut world = World::new();
    let id = world.launch(1, &[TOKEN]).remove(0);
    world.call("TerminateInstances", &[("InstanceId.1", &id)]);
    world.pass(86_400);
    assert_ne!(world.launch(1, &[TOKEN]), [id]);
    assert_eq!(world.ec2.instances().count(), 1);
}
