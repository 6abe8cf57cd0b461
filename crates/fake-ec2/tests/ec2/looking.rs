//! Images, spot requests, consoles, templates and parameters: what is shown, and what is refused.

use fake_ec2::Image;

use crate::client::{IMAGE, World, values};

#[test]
fn images_are_found_by_name_state_and_owner() {
    let mut world = World::new();
    let settings = world.ec2.settings();
    let mut unfinished = Image::own("ci-linux-9", "2026-09-01T00:00:00.000Z");
    unfinished.available = false;
    settings
        .images
        .insert("ami-00000000000000009".to_owned(), unfinished);
    let mut theirs = Image::own("ci-linux-8", "2026-08-01T00:00:00.000Z");
    theirs.owner = "123456789012".to_owned();
    settings
        .images
        .insert("ami-00000000000000008".to_owned(), theirs);
    let mut found = |owner: &str, state: &str| {
        let response = world.call(
            "DescribeImages",
            &[
                ("Owner.1", owner),
                ("Filter.1.Name", "name"),
                ("Filter.1.Value.1", "ci-linux-*"),
                ("Filter.2.Name", "state"),
                ("Filter.2.Value.1", state),
            ],
        );
        values(&response, "imageId")
    };
    assert_eq!(found("self", "available"), [IMAGE, "ami-00000000000000002"]);
    assert_eq!(found("self", "pending"), ["ami-00000000000000009"]);
    assert_eq!(
        found("123456789012", "available"),
        ["ami-00000000000000008"]
    );
    assert_eq!(
        world.code("DescribeImages", &[("Owner.1", "me")]),
        "InvalidUserID.Malformed"
    );
    let odd = [("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")];
    assert_eq!(world.code("DescribeImages", &odd), "InvalidParameterValue");
}

#[test]
fn a_spot_interruption_is_told_two_minutes_ahead() {
    let mut world = World::new();
    let spot = [
        ("InstanceMarketOptions.MarketType", "spot"),
        ("TagSpecification.1.ResourceType", "spot-instances-request"),
        ("TagSpecification.1.Tag.1.Key", "fleet"),
        ("TagSpecification.1.Tag.1.Value", "acme"),
    ];
    let ids = world.launch(2, &spot);
    let ended = [
        ("Filter.1.Name", "tag:fleet"),
        ("Filter.1.Value.1", "acme"),
        ("Filter.2.Name", "status-code"),
        ("Filter.2.Value.1", "instance-terminated-no-capacity"),
    ];
    let told = |world: &mut World| {
        values(
            &world.call("DescribeSpotInstanceRequests", &ended),
            "instanceId",
        )
    };
    assert!(told(&mut world).is_empty());
    let now = world.now;
    assert!(world.ec2.notify_spot(&ids[0], now));
    assert_eq!(told(&mut world), [ids[0].as_str()]);
    world.pass(119);
    assert_eq!(world.ec2.alive(world.now), 2, "it runs on for two minutes");
    world.pass(1);
    assert_eq!(world.ec2.alive(world.now), 1);
    let odd = [("MaxResults", "4")];
    assert_eq!(
        world.code("DescribeSpotInstanceRequests", &odd),
        "InvalidParameterValue"
    );
}

#[test]
fn spot_requests_are_paged() {
    let mut world = World::new();
    let ids = world.launch(12, &[("InstanceMarketOptions.MarketType", "spot")]);
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let mut page = vec![("MaxResults", "5")];
        if !token.is_empty() {
            page.push(("NextToken", token.as_str()));
        }
        let response = world.call("DescribeSpotInstanceRequests", &page);
        found.extend(values(&response, "instanceId"));
        match values(&response, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    found.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(found, ids);
}

#[test]
fn a_console_is_there_once_the_machine_has_started() {
    let mut world = World::with(|settings| settings.boot = std::time::Duration::from_secs(10));
    let ids = world.launch(1, &[]);
    let ask = [("InstanceId", ids[0].as_str()), ("Latest", "true")];
    assert!(values(&world.call("GetConsoleOutput", &ask), "output").is_empty());
    world.pass(10);
    assert_eq!(
        values(&world.call("GetConsoleOutput", &ask), "output").len(),
        1
    );
    let nobody = [("InstanceId", "i-0000000000000dead")];
    assert_eq!(
        world.code("GetConsoleOutput", &nobody),
        "InvalidInstanceID.NotFound"
    );
}

#[test]
fn templates_and_parameters_that_do_not_exist_are_refused() {
    let mut world = World::new();
    let template = |key: &'static str, value: &'static str| {
        vec![("ImageId", ""), ("InstanceType", ""), (key, value)]
    };
    assert_eq!(
        world
            .launch(1, &template("LaunchTemplate.LaunchTemplateName", "ci"))
            .len(),
        1
    );
    for (extra, code) in [
        (
            template("LaunchTemplate.LaunchTemplateName", "none"),
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            template("LaunchTemplate.LaunchTemplateId", "lt-0000000000000dead"),
            "InvalidLaunchTemplateId.NotFound",
        ),
        (
            vec![("ImageId", "resolve:ssm:/none")],
            "InvalidParameterValue",
        ),
        (
            vec![
                ("LaunchTemplate.LaunchTemplateName", "ci"),
                ("LaunchTemplate.Version", "4"),
            ],
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
    ] {
        let parameters = crate::client::run(1, &extra);
        assert_eq!(
            world.code("RunInstances", &parameters.borrow()),
            code,
            "{extra:?}"
        );
    }
    assert_eq!(
        world
            .launch(1, &[("ImageId", "resolve:ssm:/ci/linux")])
            .len(),
        1
    );
}
