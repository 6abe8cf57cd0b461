//! Images by name, templates, notices, consoles and credentials, through the real SDK.

#[path = "world/mod.rs"]
mod world;

use std::time::Duration;

use fake_ec2::Image;
use model::{BatchId, CreateBatch, Epoch, InstallationId, Instance, OfferId, UserData};
use ports::{Call, Clock as _, Outcome, ProviderErrorKind};
use serde_json::{Value, json};
use world::{TYPE, World};

fn batch(sequence: u32, count: u32, spec: Value) -> CreateBatch {
    CreateBatch {
        fleet: "acme".parse().expect("the name of a fleet"),
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
        spec,
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData::default(),
    }
}

fn call(world: &World) -> Call {
    Call::within(world.clock.clone(), Duration::from_secs(600))
}

async fn made(world: &World, batch: &CreateBatch) -> Vec<Instance> {
    let outcomes = world.provider.create(batch, &call(world)).await;
    let made = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Done(machine) => machine,
        other => panic!("{other:?}"),
    });
    made.collect()
}

async fn refused(world: &World, spec: Value) -> (ProviderErrorKind, String) {
    let outcomes = world
        .provider
        .create(&batch(9, 1, spec), &call(world))
        .await;
    match outcomes.into_iter().next() {
        Some(Outcome::Failed(error)) => (error.kind, error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn images_used(world: &World) -> Vec<String> {
    let ec2 = world.ec2();
    let mut images: Vec<_> = ec2
        .instances()
        .map(|machine| machine.image.clone())
        .collect();
    images.sort();
    images
}

#[tokio::test]
async fn the_newest_image_of_a_name_is_used_and_looked_up_again_after_ten_minutes() {
    let world = World::start(|_| {});
    let spec = json!({"newest_image": {"name": "ci-linux-*", "owner": "self"}, "types": [TYPE]});
    made(&world, &batch(1, 1, spec.clone())).await;
    assert_eq!(images_used(&world), ["ami-00000000000000002"]);
    let newer = Image::own("ci-linux-3", "2026-03-05T10:00:00.000Z");
    let id = "ami-00000000000000003".to_owned();
    world.ec2().settings().images.insert(id, newer);
    made(&world, &batch(2, 1, spec.clone())).await;
    assert_eq!(
        world.ec2().calls("DescribeImages"),
        1,
        "asked once for both"
    );
    world.clock.pass(Duration::from_secs(600));
    made(&world, &batch(3, 1, spec)).await;
    assert_eq!(images_used(&world)[2], "ami-00000000000000003");
}

/// Prevents: whoever makes images takes the old one away, and for ten minutes no machine is made.
#[tokio::test]
async fn an_image_that_was_taken_away_is_looked_up_again_at_once() {
    let world = World::start(|_| {});
    let spec = json!({"newest_image": {"name": "ci-linux-*", "owner": "self"}, "types": [TYPE]});
    made(&world, &batch(1, 1, spec.clone())).await;
    let newer = Image::own("ci-linux-3", "2026-03-05T10:00:00.000Z");
    let id = "ami-00000000000000003".to_owned();
    world.ec2().settings().images.insert(id, newer);
    let old = "ami-00000000000000002";
    world.ec2().settings().images.remove(old);
    let (kind, _) = refused(&world, spec.clone()).await;
    assert_eq!(kind, ProviderErrorKind::InvalidRequest);
    made(&world, &batch(2, 1, spec)).await;
    assert_eq!(images_used(&world), [old, "ami-00000000000000003"]);
}

#[tokio::test]
async fn a_name_without_an_image_is_the_operators_to_mend() {
    let world = World::start(|_| {});
    let spec = json!({"newest_image": {"name": "windows-*", "owner": "self"}, "types": [TYPE]});
    let (kind, words) = refused(&world, spec).await;
    assert_eq!(kind, ProviderErrorKind::InvalidRequest);
    assert!(words.contains("`windows-*`"), "{words}");
    assert_eq!(world.ec2().calls("RunInstances"), 0);
}

#[tokio::test]
async fn an_image_may_stand_in_a_parameter() {
    let world = World::start(|_| {});
    let spec = json!({"image": "resolve:ssm:/ci/linux", "types": [TYPE]});
    made(&world, &batch(1, 1, spec)).await;
    assert_eq!(images_used(&world), ["ami-00000000000000002"]);
    let (kind, words) = refused(
        &world,
        json!({"image": "resolve:ssm:/ci/none", "types": [TYPE]}),
    )
    .await;
    assert_eq!(kind, ProviderErrorKind::InvalidRequest, "{words}");
}

#[tokio::test]
async fn a_launch_template_gives_what_the_offer_does_not_say() {
    let world = World::start(|_| {});
    for (sequence, template) in (1..).zip([
        json!({"template": "ci"}),
        json!({"template": "lt-00000000000000001", "version": "$Latest"}),
        json!({"template": "ci", "version": "3"}),
    ]) {
        let spec = json!({"launch_template": template, "types": [TYPE]});
        made(&world, &batch(sequence, 1, spec)).await;
    }
    assert_eq!(images_used(&world), vec!["ami-00000000000000001"; 3]);
    for template in [
        json!({"template": "none"}),
        json!({"template": "ci", "version": "9"}),
    ] {
        let (kind, words) = refused(
            &world,
            json!({"launch_template": template, "types": [TYPE]}),
        )
        .await;
        assert_eq!(kind, ProviderErrorKind::InvalidRequest, "{words}");
    }
}

/// Prevents: a spot machine takes a job in its last two minutes.
#[tokio::test]
async fn a_spot_interruption_is_seen_while_the_machine_still_runs() {
    let world = World::start(|_| {});
    let mut spec = world::offer();
    spec["market"] = json!("spot");
    let made = made(&world, &batch(1, 2, spec)).await;
    let id = made[1].id.as_str().to_owned();
    let now = world.clock.now();
    assert!(world.ec2().notify_spot(&id, now));
    let listed = world
        .provider
        .list(&made[0].owner.fleet)
        .await
        .expect("a listing");
    let notices: Vec<_> = listed
        .instances
        .iter()
        .map(|machine| {
            (
                machine.id.as_str() == id,
                machine.state.clone(),
                machine.notice.clone(),
            )
        })
        .collect();
    for (is_it, state, notice) in notices {
        assert_eq!(state, model::InstanceState::Running);
        assert_eq!(notice.is_some(), is_it, "{notice:?}");
    }
}

/// Prevents: one right that is missing blinds Parmanu to all machines.
#[tokio::test]
async fn a_listing_is_whole_where_interruptions_cannot_be_seen() {
    let world = World::start(|settings| {
        settings
            .denied
            .insert("DescribeSpotInstanceRequests".to_owned());
    });
    let mut spec = world::offer();
    spec["market"] = json!("spot");
    let made = made(&world, &batch(1, 2, spec)).await;
    let listed = world
        .provider
        .list(&made[0].owner.fleet)
        .await
        .expect("a listing");
    assert_eq!((listed.instances.len(), listed.unknown.len()), (2, 0));
}

/// Without a spot machine nobody pays a call to ask for interruptions.
#[tokio::test]
async fn interruptions_are_not_asked_for_without_spot_machines() {
    let world = World::start(|_| {});
    let made = made(&world, &batch(1, 2, world::offer())).await;
    world
        .provider
        .list(&made[0].owner.fleet)
        .await
        .expect("a listing");
    assert_eq!(world.ec2().calls("DescribeSpotInstanceRequests"), 0);
}

#[tokio::test]
async fn the_end_of_a_console_is_read() {
    let world = World::start(|settings| {
        settings.console = format!("{}kernel panic\n", "x".repeat(100_000));
    });
    let made = made(&world, &batch(1, 1, world::offer())).await;
    let console = world
        .provider
        .console(&made[0], &call(&world))
        .await
        .expect("a console");
    let console = console.expect("some output");
    assert_eq!(console.len(), ports::MAX_CONSOLE);
    assert!(console.ends_with("kernel panic\n"));
}

#[tokio::test]
async fn a_machine_that_somebody_took_out_of_the_fleet_stays() {
    let world = World::start(|_| {});
    let made = made(&world, &batch(1, 2, world::offer())).await;
    assert!(
        world
            .ec2()
            .retag(made[0].id.as_str(), "parmanu:fleet", "kept-for-debugging")
    );
    let outcomes = world.provider.delete(&made, &call(&world)).await;
    let words: Vec<_> = outcomes.iter().map(Outcome::as_str).collect();
    assert_eq!(words, ["failed", "done"]);
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn a_renewal_is_a_tag_that_the_guest_can_read() {
    let world = World::start(|_| {});
    let made = made(&world, &batch(1, 3, world::offer())).await;
    let until = world.clock.now() + Duration::from_secs(3600);
    world.provider.renew(&made, until, &call(&world)).await;
    assert_eq!(world.ec2().calls("CreateTags"), 1, "one call for all");
    let ec2 = world.ec2();
    let mut tags = ec2
        .instances()
        .map(|machine| machine.tags["parmanu:expires"].clone());
    assert!(tags.all(|tag| tag == until.to_string()));
}

#[tokio::test]
async fn a_guest_is_asked_by_a_tag_that_it_can_read() {
    let world = World::start(|_| {});
    let made = made(&world, &batch(1, 2, world::offer())).await;
    let asked = (world.provider)
        .ask_guests(&made[..1], "idle for long enough", &call(&world))
        .await;
    assert!(matches!(asked[..], [Outcome::Done(_)]), "{asked:?}");
    let ec2 = world.ec2();
    let tags = ec2
        .instances()
        .map(|machine| machine.tags.get("parmanu:drain").cloned());
    let mut tags: Vec<_> = tags.collect();
    tags.sort();
    assert_eq!(tags, [None, Some("idle for long enough".to_owned())]);
}

/// Prevents: a machine that is about to go is called back because the question for its notice failed once.
#[tokio::test]
async fn a_notice_stands_while_it_cannot_be_asked_for() {
    let world = World::start(|_| {});
    let mut spec = world::offer();
    spec["market"] = json!("spot");
    let made = made(&world, &batch(1, 1, spec)).await;
    let now = world.clock.now();
    assert!(world.ec2().notify_spot(made[0].id.as_str(), now));
    for fails in [false, true, true, false] {
        if fails {
            let fault = fake_ec2::Fault::InternalError;
            world.ec2().fault("DescribeSpotInstanceRequests", 1, fault);
        }
        let listed = world.provider.list(&made[0].owner.fleet).await;
        let listed = listed.expect("a listing").instances;
        assert!(listed[0].notice.is_some(), "{listed:?}");
    }
}

/// Prevents: an image whose second disk is kept fills the account with disks, and nobody hears of it.
#[tokio::test]
async fn a_disk_that_outlives_its_machine_is_told_of() {
    let world = World::start(|settings| {
        let image = settings.images.get_mut("ami-00000000000000001");
        image.expect("an image").kept_disk = Some(100);
    });
    let fleet = "acme".parse().expect("the name of a fleet");
    let left = async || world.provider.leftovers(&fleet).await.expect("a list");
    let spec = json!({"image": "ami-00000000000000001", "types": [TYPE]});
    let machines = made(&world, &batch(1, 7, spec)).await;
    assert_eq!(left().await, [], "as long as the machines hold them");
    let deleted = world.provider.delete(&machines, &call(&world)).await;
    assert!(
        deleted.iter().all(|it| matches!(it, Outcome::Done(_))),
        "{deleted:?}"
    );
    world.clock.pass(Duration::from_secs(600));
    let found = left().await;
    assert_eq!(found.len(), 7);
    let one = &found[0];
    assert_eq!(
        one.what,
        "a disk of 100 GiB in eu-central-1a, of a machine of linux-7-1"
    );
    assert!(one.created_at.is_some());
    assert_eq!(
        one.remove,
        format!(
            "aws ec2 delete-volume --region eu-central-1 --volume-id {}",
            one.id
        )
    );
    let other = "other".parse().expect("the name of a fleet");
    assert_eq!(world.provider.leftovers(&other).await.expect("a list"), []);
    world
        .ec2()
        .settings()
        .denied
        .insert("DescribeVolumes".to_owned());
    let refused = world
        .provider
        .leftovers(&fleet)
        .await
        .expect_err("no right");
    assert_eq!(refused.kind, ProviderErrorKind::Unauthorized);
}
