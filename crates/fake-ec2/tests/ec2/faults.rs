//! Faults on order strike when and how they were ordered.

use std::time::Duration;

use fake_ec2::{Delivery, Fault};

use crate::client::{World, run};

#[test]
fn faults_before_execution_make_nothing_and_faults_after_it_make_machines() {
    let code = "VcpuLimitExceeded".to_owned();
    for (fault, status, made, delivery) in [
        (Fault::Throttle, 503, 0, Delivery::Whole),
        (Fault::InternalError, 500, 0, Delivery::Whole),
        (Fault::Unavailable, 503, 0, Delivery::Whole),
        (Fault::WebPage, 502, 0, Delivery::Whole),
        (Fault::Refuse { status: 400, code }, 400, 0, Delivery::Whole),
        (Fault::DropBefore, 500, 0, Delivery::Dropped),
        (Fault::DropAfter, 200, 1, Delivery::Dropped),
        (
            Fault::Delay(Duration::from_secs(3)),
            200,
            1,
            Delivery::After(Duration::from_secs(3)),
        ),
    ] {
        let mut world = World::new();
        world.ec2.fault("RunInstances", 1, fault.clone());
        let response = world.call("RunInstances", &run(1, &[]).borrow());
        assert_eq!(
            (response.status, response.delivery),
            (status, delivery),
            "{fault:?}"
        );
        assert_eq!(world.ec2.instances().count(), made, "{fault:?}");
        assert_eq!(
            world.code("RunInstances", &run(1, &[]).borrow()),
            "ok",
            "once only"
        );
        assert_eq!(world.ec2.calls("RunInstances"), 2);
    }
}

#[test]
fn a_fault_can_wait_for_the_third_call_of_its_action() {
    let mut world = World::new();
    world
        .ec2
        .fault_after("DescribeInstances", 2, 1, Fault::Throttle);
    world.launch(1, &[]);
    let codes: Vec<_> = (0..4)
        .map(|_| world.code("DescribeInstances", &[]))
        .collect();
    assert_eq!(codes, ["ok", "ok", "RequestLimitExceeded", "ok"]);
}

#[test]
fn the_log_holds_what_was_sent_and_what_came_of_it() {
    let mut world = World::new();
    world.launch(1, &[("ClientToken", "t")]);
    world.code("DescribeInstances", &[("MaxResults", "1")]);
    let log = world.ec2.log();
    assert_eq!(log[0].parameters["ClientToken"], "t");
    assert_eq!(log[0].code, None);
    assert_eq!(log[1].code.as_deref(), Some("InvalidParameterValue"));
}
