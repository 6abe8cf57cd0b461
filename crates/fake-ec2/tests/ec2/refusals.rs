//! What real EC2 refuses is refused here, with the same code.

use base64::Engine;

use crate::client::{World, headers, request, run};

#[test]
fn a_launch_with_something_that_does_not_exist_is_refused() {
    let long = "x".repeat(65);
    for (name, value, code) in [
        ("ImageId", "ami-0000000000000dead", "InvalidAMIID.NotFound"),
        ("ImageId", "debian", "InvalidAMIID.Malformed"),
        ("InstanceType", "m1.gigantic", "InvalidParameterValue"),
        (
            "Placement.AvailabilityZone",
            "eu-central-1x",
            "InvalidParameterValue",
        ),
        (
            "SubnetId",
            "subnet-0000000000000dead",
            "InvalidSubnetID.NotFound",
        ),
        (
            "SecurityGroupId.1",
            "sg-0000000000000dead",
            "InvalidGroup.NotFound",
        ),
        ("KeyName", "nobody", "InvalidKeyPair.NotFound"),
        ("IamInstanceProfile.Name", "nobody", "InvalidParameterValue"),
        (
            "LaunchTemplate.LaunchTemplateId",
            "lt-0dead",
            "InvalidLaunchTemplateId.NotFound",
        ),
        ("UserData", "!", "InvalidUserData.Malformed"),
        ("MinCount", "0", "InvalidParameterValue"),
        ("MinCount", "9", "InvalidParameterValue"),
        ("MinCount", "many", "InvalidParameterValue"),
        (
            "InstanceMarketOptions.MarketType",
            "barter",
            "InvalidParameterValue",
        ),
        (
            "InstanceInitiatedShutdownBehavior",
            "explode",
            "InvalidParameterValue",
        ),
        ("ClientToken", &long, "InvalidParameterValue"),
        (
            "TagSpecification.1.ResourceType",
            "moon",
            "InvalidParameterValue",
        ),
        ("Clienttoken", "x", "UnknownParameter"),
        ("DryRun", "true", "DryRunOperation"),
    ] {
        let mut world = World::new();
        let parameters = run(2, &[(name, value)]);
        assert_eq!(
            world.code("RunInstances", &parameters.borrow()),
            code,
            "{name}={value}"
        );
        assert_eq!(
            world.ec2.instances().count(),
            0,
            "{name}={value} made machines"
        );
    }
}

#[test]
fn a_launch_without_image_type_or_counts_is_refused() {
    for name in ["ImageId", "InstanceType", "MinCount", "MaxCount"] {
        let parameters = run(1, &[(name, "")]);
        assert_eq!(
            World::new().code("RunInstances", &parameters.borrow()),
            "MissingParameter"
        );
    }
}

#[test]
fn user_data_above_16_kilobytes_is_refused() {
    for (size, code) in [(16 * 1024, "ok"), (16 * 1024 + 1, "InvalidParameterValue")] {
        let data = base64::engine::general_purpose::STANDARD.encode(vec![b'x'; size]);
        let parameters = run(1, &[("UserData", &data)]);
        assert_eq!(
            World::new().code("RunInstances", &parameters.borrow()),
            code,
            "{size}"
        );
    }
}

#[test]
fn a_network_interface_excludes_groups_at_the_top() {
    let interface = [
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SubnetId", "subnet-0000000000000000b"),
        (
            "NetworkInterface.1.SecurityGroupId.1",
            "sg-00000000000000001",
        ),
    ];
    let mut world = World::new();
    let id = world.launch(1, &interface).remove(0);
    let machine = world
        .ec2
        .instances()
        .find(|machine| machine.id == id)
        .unwrap();
    assert_eq!(machine.zone, "eu-central-1b");
    let mut both = interface.to_vec();
    both.push(("SecurityGroupId.1", "sg-00000000000000001"));
    let code = world.code("RunInstances", &run(1, &both).borrow());
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn a_type_not_offered_in_the_zone_is_unsupported() {
    let mut world = World::with(|settings| {
        let kind = settings.types.get_mut("m7i.large").unwrap();
        kind.not_in.insert("eu-central-1c".to_owned());
    });
    let there = run(1, &[("Placement.AvailabilityZone", "eu-central-1c")]);
    assert_eq!(world.code("RunInstances", &there.borrow()), "Unsupported");
    assert_eq!(world.code("RunInstances", &run(1, &[]).borrow()), "ok");
}

#[test]
fn a_call_without_a_proper_signature_is_refused() {
    let mut world = World::new();
    let good = request("DescribeInstances", &[]);
    assert_eq!(world.send(&good).status, 200);

    let mut unsigned = good.clone();
    unsigned.headers.retain(|(name, _)| name != "Authorization");
    let mut stranger = good.clone();
    stranger.headers = headers("AKIASTRANGER");
    let spoil = |from: &str, to: &str| {
        let mut spoilt = good.clone();
        spoilt
            .headers
            .iter_mut()
            .for_each(|(_, value)| *value = value.replace(from, to));
        spoilt
    };
    for odd in [
        unsigned,
        stranger,
        spoil("/eu-central-1/", "/us-east-1/"),
        spoil("/ec2/", "/s3/"),
        spoil("Signature=abab", "Signature=zzzz"),
        spoil("AWS4-HMAC-SHA256", "Bearer"),
        spoil(";host;", ";"),
        spoil("20260301T", "20260302T"),
    ] {
        let response = world.send(&odd);
        assert_eq!(
            (response.status, response.code()),
            (401, Some("AuthFailure")),
            "{odd:?}"
        );
    }
}

#[test]
fn a_request_from_another_time_has_expired() {
    let skew = std::time::Duration::from_secs(15 * 60);
    let mut world = World::with(|settings| settings.clock_skew = Some(skew));
    assert_eq!(world.code("DescribeInstances", &[]), "ok");
    world.pass(16 * 60);
    assert_eq!(world.code("DescribeInstances", &[]), "RequestExpired");
}

#[test]
fn a_denied_action_is_unauthorized_and_does_nothing() {
    let mut world = World::with(|settings| {
        settings.denied.insert("RunInstances".to_owned());
    });
    let response = world.call("RunInstances", &run(1, &[]).borrow());
    assert_eq!(
        (response.status, response.code()),
        (403, Some("UnauthorizedOperation"))
    );
    assert_eq!(world.ec2.instances().count(), 0);
    assert_eq!(world.code("DescribeInstances", &[]), "ok");
}

#[test]
fn odd_describe_calls_are_refused() {
    let mut world = World::new();
    let id = world.launch(1, &[]).remove(0);
    let by_id = ("InstanceId.1", id.as_str());
    for (parameters, code) in [
        (vec![("MaxResults", "4")], "InvalidParameterValue"),
        (vec![("MaxResults", "1001")], "InvalidParameterValue"),
        (
            vec![by_id, ("MaxResults", "5")],
            "InvalidParameterCombination",
        ),
        (
            vec![by_id, ("InstanceId.2", "i-0000000000000dead")],
            "InvalidInstanceID.NotFound",
        ),
        (
            vec![by_id, ("InstanceId.2", "foo")],
            "InvalidInstanceID.Malformed",
        ),
        (
            vec![("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")],
            "InvalidParameterValue",
        ),
        (vec![("Filter.1.Name", "tag-key")], "InvalidParameterValue"),
        (vec![("NextToken", "garbage")], "InvalidParameterValue"),
        (vec![("MaxResult", "5")], "UnknownParameter"),
        (vec![("DryRun", "true")], "DryRunOperation"),
    ] {
        assert_eq!(
            world.code("DescribeInstances", &parameters),
            code,
            "{parameters:?}"
        );
    }
}

#[test]
fn one_bad_id_terminates_none() {
    for (bad, code) in [
        ("i-0000000000000dead", "InvalidInstanceID.NotFound"),
        ("foo", "InvalidInstanceID.Malformed"),
    ] {
        let mut world = World::new();
        let id = world.launch(1, &[]).remove(0);
        let ids = [("InstanceId.1", id.as_str()), ("InstanceId.2", bad)];
        assert_eq!(world.code("TerminateInstances", &ids), code);
        assert_eq!(world.ec2.alive(world.now), 1);
    }
}

#[test]
fn termination_protection_saves_its_zone_only() {
    let mut world = World::new();
    let place = |zone| [("Placement.AvailabilityZone", zone)];
    let shielded = [("DisableApiTermination", "true"), place("eu-central-1a")[0]];
    let shielded = world.launch(1, &shielded).remove(0);
    let beside = world.launch(1, &place("eu-central-1a")).remove(0);
    let elsewhere = world.launch(1, &place("eu-central-1b")).remove(0);
    let ids = [
        ("InstanceId.1", &*shielded),
        ("InstanceId.2", &*beside),
        ("InstanceId.3", &*elsewhere),
    ];
    assert_eq!(
        world.code("TerminateInstances", &ids),
        "OperationNotPermitted"
    );
    let ended: Vec<_> = world
        .ec2
        .instances()
        .filter(|m| m.ending.is_some())
        .map(|m| m.id.clone())
        .collect();
    assert_eq!(ended, [elsewhere]);
}

#[test]
fn tags_have_limits() {
    let key = "k".repeat(129);
    let value = "v".repeat(257);
    for (pair, code) in [
        (("aws:name", "x"), "InvalidParameterValue"),
        ((key.as_str(), "x"), "InvalidParameterValue"),
        (("k", value.as_str()), "InvalidParameterValue"),
        (("k", "v"), "ok"),
    ] {
        let mut world = World::new();
        let id = world.launch(1, &[]).remove(0);
        let parameters = [
            ("ResourceId.1", id.as_str()),
            ("Tag.1.Key", pair.0),
            ("Tag.1.Value", pair.1),
        ];
        assert_eq!(world.code("CreateTags", &parameters), code, "{pair:?}");
    }
}

#[test]
fn unknown_actions_and_versions_are_refused() {
    let mut world = World::new();
    assert_eq!(world.code("MakeCoffee", &[]), "InvalidAction");
    let mut old = request("DescribeInstances", &[]);
    old.body = b"Action=DescribeInstances&Version=2006-06-26".to_vec();
    assert_eq!(world.send(&old).code(), Some("NoSuchVersion"));
}
