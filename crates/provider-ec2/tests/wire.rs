//! What the suite for every provider cannot ask: EC2's own traps, through the real SDK.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use fake_ec2::{Fault, Market, State};
use model::{
    BatchId, CreateBatch, Epoch, FleetId, InstallationId, Instance, InstanceState, OfferId,
    UserData,
};
use ports::{Call, CallEnd, Clock as _, Outcome, ProviderErrorKind};
use serde_json::json;
use world::{HandClock, TYPE, World, ZONES};

const CANARY: &str = "canary-boot-token";

fn fleet() -> FleetId {
    "acme".parse().expect("the name of a fleet")
}

fn batch(sequence: u32, count: u32) -> CreateBatch {
    CreateBatch {
        fleet: fleet(),
        installation: InstallationId::new("here"),
        batch: BatchId {
            pool: "linux".parse().expect("the name of a pool"),
            epoch: Epoch(7),
            sequence,
        },
        count,
        offer: OfferId {
            machine: "large".parse().expect("the name of a machine"),
            index: 0,
        },
        spec: world::offer(),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData(format!("#!/bin/sh\nregister {CANARY}\n")),
    }
}

impl World {
    fn call(&self) -> Call {
        Call::within(self.clock.clone(), Duration::from_secs(600))
    }

    async fn create(&self, batch: &CreateBatch) -> Vec<Outcome<Instance>> {
        let call = self.call();
        self.provider.create(batch, &call).await
    }

    async fn made(&self, batch: &CreateBatch) -> Vec<Instance> {
        let outcomes = self.create(batch).await.into_iter();
        let made = outcomes.map(|outcome| match outcome {
            Outcome::Done(machine) => machine,
            other => panic!("{other:?}"),
        });
        made.collect()
    }

    async fn listed(&self) -> Vec<Instance> {
        let listing = self.provider.list(&fleet()).await;
        let listing = listing.expect("a listing");
        assert!(listing.unknown.is_empty(), "{:?}", listing.unknown);
        listing.instances
    }

    async fn created_words(&self, batch: &CreateBatch) -> Vec<&'static str> {
        self.create(batch)
            .await
            .iter()
            .map(Outcome::as_str)
            .collect()
    }
}

#[tokio::test]
async fn a_launch_is_tagged_hardened_and_ends_with_its_guest() {
    let world = World::start(|_| {});
    let mut batch = batch(1, 1);
    batch.spec["volume"] = json!({"device": "/dev/xvda", "size_gib": 50, "encrypted": true});
    world.made(&batch).await;
    let ec2 = world.ec2();
    let machine = ec2.instances().next().unwrap();
    assert_eq!(
        (machine.http_tokens.as_str(), machine.hop_limit),
        ("required", 1)
    );
    assert_eq!(machine.on_shutdown, "terminate");
    assert_eq!(machine.tags["parmanu:fleet"], "acme");
    assert_eq!(machine.tags["parmanu:batch"], "linux-7-1");
    assert_eq!(machine.tags["Name"], "linux-7-1-0");
    assert_eq!(
        machine.volume_tags, machine.tags,
        "a volume left behind must be found too"
    );
    assert_eq!(machine.instance_profile.as_deref(), Some("ci-builder"));
    let sent = &ec2
        .log()
        .iter()
        .find(|call| call.action == "RunInstances")
        .unwrap()
        .parameters;
    assert_eq!(sent["MinCount"], "1");
    assert_eq!(sent["ClientToken"].len(), 64);
    assert_eq!(sent["BlockDeviceMapping.1.Ebs.Encrypted"], "true");
    assert_eq!(sent["BlockDeviceMapping.1.Ebs.DeleteOnTermination"], "true");
    assert_eq!(sent["MetadataOptions.InstanceMetadataTags"], "enabled");
}

#[tokio::test]
async fn a_public_address_moves_subnet_and_groups_to_the_interface() {
    let world = World::start(|_| {});
    let mut batch = batch(0, 1);
    batch.spec["public_address"] = json!(false);
    let made = world.made(&batch).await;
    assert_eq!(made[0].scope, "eu-central-1a");
    let ec2 = world.ec2();
    assert_eq!(
        ec2.instances().next().unwrap().security_groups,
        ["sg-00000000000000001"]
    );
}

#[tokio::test]
async fn a_spot_offer_is_bought_on_the_spot_market_and_its_loss_is_told() {
    let world = World::start(|_| {});
    let mut batch = batch(1, 1);
    batch.spec["market"] = json!("spot");
    let made = world.made(&batch).await;
    let now = world.clock.now();
    assert!(
        world.ec2().interrupt_spot(made[0].id.as_str(), now),
        "it is a spot machine"
    );
    let why = Some("Server.SpotInstanceTermination".to_owned());
    assert_eq!(world.listed().await[0].state, InstanceState::Gone { why });
}

#[tokio::test]
async fn a_launch_that_dies_while_pending_is_gone_with_its_reason() {
    let world = World::start(|settings| settings.boot = Duration::from_secs(20));
    world
        .ec2()
        .fail_launch(1, "Client.VolumeLimitExceeded", "Volume limit exceeded");
    world.made(&batch(1, 1)).await;
    world.clock.pass(Duration::from_secs(15));
    let why = Some("Client.VolumeLimitExceeded".to_owned());
    assert_eq!(world.listed().await[0].state, InstanceState::Gone { why });
}

#[tokio::test]
async fn a_full_zone_gives_way_to_the_next() {
    let world = World::start(|_| {});
    world
        .ec2()
        .set_capacity(TYPE, ZONES[0], Market::OnDemand, Some(0));
    let made = world.made(&batch(0, 2)).await;
    assert!(made.iter().all(|machine| machine.scope == ZONES[1]));
    assert_eq!(world.ec2().calls("RunInstances"), 2);
}

#[tokio::test]
async fn a_full_subnet_gives_way_to_the_next() {
    let world = World::start(|_| {});
    let code = "InsufficientFreeAddressesInSubnet".to_owned();
    let full = Fault::Refuse { status: 400, code };
    world.ec2().fault("RunInstances", 1, full.clone());
    assert_eq!(world.created_words(&batch(0, 2)).await, ["done", "done"]);
    world.ec2().fault("RunInstances", 2, full);
    match &world.create(&batch(1, 1)).await[..] {
        [Outcome::Failed(error)] => assert_eq!(error.kind, ProviderErrorKind::OutOfCapacity),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn twenty_batches_at_once_are_twenty_batches() {
    let world = World::start(|_| {});
    let batches: Vec<_> = (0..20).map(|sequence| batch(sequence, 3)).collect();
    let creations = batches.iter().map(|batch| world.made(batch));
    let made = futures::future::join_all(creations).await;
    assert!(
        made.iter()
            .zip(&batches)
            .all(|(made, batch)| made[0].name.batch == batch.batch)
    );
    assert_eq!(world.listed().await.len(), 60);
}

#[tokio::test]
async fn an_empty_batch_asks_for_nothing() {
    let world = World::start(|_| {});
    assert!(world.create(&batch(0, 0)).await.is_empty());
    assert_eq!(world.ec2().calls("RunInstances"), 0);
}

#[tokio::test]
async fn a_batch_made_in_the_second_zone_is_not_made_again_when_the_first_has_room() {
    let world = World::start(|_| {});
    world
        .ec2()
        .set_capacity(TYPE, ZONES[0], Market::OnDemand, Some(0));
    let first = world.made(&batch(0, 2)).await;
    world
        .ec2()
        .set_capacity(TYPE, ZONES[0], Market::OnDemand, None);
    assert_eq!(world.made(&batch(0, 2)).await, first_as_listed(&first));
    assert_eq!(world.alive(), 2);
}

/// The same machines a moment later: running.
fn first_as_listed(made: &[Instance]) -> Vec<Instance> {
    let running = made.iter().cloned().map(|mut machine| {
        machine.state = InstanceState::Running;
        machine
    });
    running.collect()
}

#[tokio::test]
async fn another_attempt_of_a_batch_finds_what_the_first_one_made() {
    let world = World::start(|_| {});
    let mut batch = batch(0, 2);
    batch.spec["subnets"] = json!(["subnet-0000000000000000a"]);
    world.ec2().fault("RunInstances", 1, Fault::DropAfter);
    assert_eq!(world.created_words(&batch).await, ["unknown", "unknown"]);
    batch.attempt = 1;
    assert_eq!(world.created_words(&batch).await, ["done", "done"]);
    assert_eq!(
        world.alive(),
        2,
        "the other attempt's token would have made two more"
    );
}

#[tokio::test]
async fn the_same_batch_with_another_boot_script_makes_no_second_set() {
    let world = World::start(|settings| settings.appears_after = Duration::from_secs(30));
    let mut batch = batch(0, 2);
    world.made(&batch).await;
    batch.user_data = UserData("changed".to_owned());
    assert_eq!(world.created_words(&batch).await, ["unknown", "unknown"]);
    world.clock.pass(Duration::from_secs(30));
    assert_eq!(world.created_words(&batch).await, ["done", "done"]);
    assert_eq!(world.alive(), 2);
}

#[tokio::test]
async fn whatever_leaves_the_outcome_open_is_unknown_and_whatever_does_not_is_failed() {
    let known = |status, code: &str| Fault::Refuse {
        status,
        code: code.to_owned(),
    };
    for (fault, word, kind) in [
        (
            Fault::DropBefore,
            "unknown",
            ProviderErrorKind::UnknownOutcome,
        ),
        (
            Fault::DropAfter,
            "unknown",
            ProviderErrorKind::UnknownOutcome,
        ),
        (
            Fault::Truncate,
            "unknown",
            ProviderErrorKind::UnknownOutcome,
        ),
        (
            Fault::InternalError,
            "unknown",
            ProviderErrorKind::Unavailable,
        ),
        (Fault::WebPage, "unknown", ProviderErrorKind::Unavailable),
        (
            Fault::Throttle,
            "failed",
            ProviderErrorKind::RateLimited { retry_after: None },
        ),
        (
            known(400, "InvalidKeyPair.NotFound"),
            "failed",
            ProviderErrorKind::InvalidRequest,
        ),
        (
            known(401, "AuthFailure"),
            "failed",
            ProviderErrorKind::Unauthorized,
        ),
    ] {
        let world = World::start(|_| {});
        world.ec2().fault("RunInstances", 1, fault.clone());
        let outcomes = world.create(&batch(0, 2)).await;
        assert_eq!(
            world.ec2().calls("RunInstances"),
            1,
            "{fault:?}: no retry here"
        );
        for outcome in outcomes {
            assert_eq!(outcome.as_str(), word, "{fault:?}");
            let (Outcome::Failed(error) | Outcome::Unknown(error)) = outcome else {
                continue;
            };
            match (error.kind, kind) {
                (
                    ProviderErrorKind::RateLimited { retry_after },
                    ProviderErrorKind::RateLimited { .. },
                ) => assert!(retry_after.is_some(), "it is known when there is a turn"),
                (found, kind) => assert_eq!(found, kind, "{fault:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_after_the_lease_is_unknown() {
    let world = World::start(|_| {});
    world
        .ec2()
        .fault("RunInstances", 1, Fault::Delay(Duration::from_secs(300)));
    let call = Call::within(world.clock.clone(), Duration::from_secs(5));
    let batch = batch(0, 1);
    let create = world.provider.create(&batch, &call);
    let time_passes = async {
        while world.ec2().calls("RunInstances") == 0 {
            tokio::task::yield_now().await;
        }
        world.clock.pass(Duration::from_secs(5));
    };
    let (outcomes, ()) = tokio::join!(create, time_passes);
    assert_eq!(outcomes[0].as_str(), "unknown");
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn a_launch_goes_on_while_its_lease_is_extended() {
    let world = World::start(|_| {});
    let late = Duration::from_millis(300);
    world.ec2().fault("RunInstances", 1, Fault::Delay(late));
    let ends = CallEnd::at(Duration::from_secs(5));
    let call = Call::ending(world.clock.clone(), ends.clone());
    let batch = batch(0, 1);
    let create = world.provider.create(&batch, &call);
    let time_passes = async {
        while world.ec2().calls("RunInstances") == 0 {
            tokio::task::yield_now().await;
        }
        ends.set(Duration::from_secs(10));
        world.clock.pass(Duration::from_secs(6));
    };
    let (outcomes, ()) = tokio::join!(create, time_passes);
    assert_eq!(outcomes[0].as_str(), "done");
}

#[tokio::test]
async fn nobody_listening_is_unreachable_and_nothing_was_sent() {
    let clock = HandClock::new();
    let world = World::start(|_| {});
    let url = world.server.url();
    world.server.stop().await;
    let provider = world::provider(&world::account(&url), clock.clone());
    let call = Call::within(clock, Duration::from_secs(600));
    let mut batch = batch(0, 1);
    batch.spec["subnets"] = json!([]);
    match &provider.create(&batch, &call).await[..] {
        [Outcome::Failed(error)] => {
            assert_eq!(error.kind, ProviderErrorKind::Unreachable, "{error:?}");
            assert!(error.message.contains("refused"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_that_cannot_be_read_are_unauthorized_and_nothing_was_sent() {
    let world = World::start(|_| {});
    let mut config = world::account(&world.server.url());
    config["credentials"]["keys"]["secret"] = json!("${env:PARMANU_NO_SUCH_VARIABLE}");
    let provider = world::provider(&config, world.clock.clone());
    let error = provider.list(&fleet()).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Unauthorized, "{error:?}");
    assert!(
        error.message.contains("PARMANU_NO_SUCH_VARIABLE"),
        "{error}"
    );
}

#[tokio::test]
async fn a_boot_script_that_is_too_long_is_refused_before_the_call() {
    let world = World::start(|_| {});
    let mut batch = batch(0, 1);
    batch.user_data = UserData("x".repeat(16 * 1024 + 1));
    assert_eq!(world.created_words(&batch).await, ["failed"]);
    assert_eq!(world.ec2().calls("RunInstances"), 0);
}

#[tokio::test]
async fn a_listing_pages_on_and_says_when_a_page_is_lost() {
    let world = World::start(|_| {});
    for sequence in 0..3 {
        world.made(&batch(sequence, 400)).await;
        // a thousand at once is what an account may start; two more each second
        world.clock.pass(Duration::from_secs(200));
    }
    assert_eq!(world.listed().await.len(), 1200);
    let sent = world.ec2().log().last().unwrap().parameters.clone();
    assert_eq!(sent["MaxResults"], "1000");
    assert_eq!(sent["Filter.1.Name"], "tag:parmanu:fleet");
    for fault in [
        Fault::Throttle,
        Fault::DropBefore,
        Fault::Truncate,
        Fault::WebPage,
    ] {
        world
            .ec2()
            .fault_after("DescribeInstances", 1, 1, fault.clone());
        let listing = world.provider.list(&fleet()).await.unwrap();
        assert_eq!(
            listing.instances.len(),
            1000,
            "{fault:?}: the first page was read"
        );
        assert_eq!(
            listing.unknown.len(),
            1,
            "{fault:?}: and the second is named"
        );
        assert!(
            listing.unknown[0].starts_with("region eu-central-1: "),
            "{:?}",
            listing.unknown
        );
    }
}

#[tokio::test]
async fn a_protected_machine_is_named_and_the_others_end() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 5)).await;
    world.ec2().protect(made[1].id.as_str());
    let outcomes = world.provider.delete(&made, &world.call()).await;
    let words: Vec<_> = outcomes.iter().map(Outcome::as_str).collect();
    assert_eq!(words, ["done", "failed", "done", "done", "done"]);
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn a_deletion_without_an_answer_is_unknown() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 2)).await;
    world.ec2().fault("TerminateInstances", 1, Fault::DropAfter);
    let outcomes = world.provider.delete(&made, &world.call()).await;
    assert!(
        outcomes.iter().all(|outcome| outcome.as_str() == "unknown"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn many_machines_are_deleted_in_few_calls() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 250)).await;
    let outcomes = world.provider.delete(&made, &world.call()).await;
    assert_eq!(outcomes.len(), 250);
    assert_eq!(
        (world.alive(), world.ec2().calls("TerminateInstances")),
        (0, 3)
    );
}

#[tokio::test]
async fn a_machine_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 2)).await;
    world.ec2().retag(
        made[0].id.as_str(),
        "parmanu:batch",
        "somebody changed this",
    );
    assert_eq!(world.listed().await.len(), 1);
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_gone() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 1)).await;
    let now = world.clock.now();
    world.ec2().power_off(made[0].id.as_str(), now);
    assert!(world.listed().await[0].state.is_gone());
    assert_eq!(world.alive(), 0);
    let settings = fake_ec2::Settings::default();
    let truth = world
        .ec2()
        .instances()
        .next()
        .map(|machine| machine.state(&settings, now));
    assert_eq!(truth, Some(State::Terminated));
}

/// Every error that a fault can cause, in every form in which it may be printed.
#[tokio::test]
async fn no_error_prints_a_credential_or_a_boot_script() {
    let refused = Fault::Refuse {
        status: 400,
        code: "InvalidUserData.Malformed".to_owned(),
    };
    let faults = [
        Fault::Throttle,
        Fault::InternalError,
        Fault::WebPage,
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::Truncate,
        refused,
    ];
    let mut printed = BTreeSet::new();
    for fault in faults {
        let world = World::start(|_| {});
        world.ec2().fault("RunInstances", 1, fault);
        for outcome in world.create(&batch(0, 1)).await {
            let (Outcome::Failed(error) | Outcome::Unknown(error)) = outcome else {
                continue;
            };
            let mut text = format!("{error} {error:?}");
            let mut source = error.source();
            while let Some(error) = source {
                text.push_str(&format!(" {error} {error:?}"));
                source = error.source();
            }
            printed.insert(text);
        }
    }
    assert!(printed.len() >= 6, "the faults did cause errors");
    for text in &printed {
        for secret in [CANARY, "canary-secret", "AKIAFAKE", "Credential="] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
