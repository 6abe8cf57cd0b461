//! What a real LXD refuses, and what becomes of what it leaves behind.

#[path = "world/mod.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use model::{
    BatchId, CreateBatch, Epoch, FleetId, InstallationId, Instance, InstanceState, OfferId,
    UserData,
};
use ports::{Call, Outcome, ProviderErrorKind};
use serde_json::{Value, json};
use world::{Cut, RealClock, World};

fn batch(sequence: u32, spec: Value) -> CreateBatch {
    CreateBatch {
        fleet: fleet("acme"),
        installation: InstallationId::new("installation-1"),
        batch: BatchId {
            pool: "linux".parse().expect("a pool"),
            epoch: Epoch(1_795_531_234_567),
            sequence,
        },
        count: 1,
        offer: OfferId {
            machine: "small".parse().expect("a machine"),
            index: 0,
        },
        spec,
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData("#!/bin/sh\n".to_owned()),
    }
}

fn fleet(name: &str) -> FleetId {
    name.parse().expect("a fleet")
}

fn call() -> Call {
    Call::within(Arc::new(RealClock), Duration::from_secs(60))
}

/// The world, or nothing when there is no LXD, with the skip noted.
async fn world(test: &str) -> Option<World> {
    match World::start().await {
        Ok(world) => Some(world),
        Err(why) => {
            conformance::provider::missing(&format!("provider-lxd::refusals::{test}"), &why);
            None
        }
    }
}

async fn create(world: &World, batch: &CreateBatch) -> Outcome<Instance> {
    let outcomes = world.provider.create(batch, &call()).await;
    outcomes.into_iter().next().expect("one outcome")
}

async fn refused(world: &World, batch: &CreateBatch) -> ProviderErrorKind {
    match create(world, batch).await {
        Outcome::Failed(error) => error.kind,
        other => panic!("{other:?}"),
    }
}

async fn made(world: &World, batch: &CreateBatch) -> Instance {
    match create(world, batch).await {
        Outcome::Done(instance) => instance,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_quota_that_answers_500_is_a_quota() {
    let Some(world) = world("quota").await else {
        return;
    };
    world.limit("limits.instances", "0").await;
    assert_eq!(
        refused(&world, &batch(1, world::offer())).await,
        ProviderErrorKind::QuotaExceeded
    );
    assert_eq!(world.names().await, [""; 0]);
}

#[tokio::test]
async fn a_full_project_refuses_and_keeps_what_it_has() {
    let Some(world) = world("full project").await else {
        return;
    };
    world.limit("limits.instances", "1").await;
    made(&world, &batch(1, world::offer())).await;
    assert_eq!(
        refused(&world, &batch(2, world::offer())).await,
        ProviderErrorKind::QuotaExceeded
    );
    assert_eq!(world.names().await.len(), 1);
}

#[tokio::test]
async fn an_image_or_a_storage_pool_that_is_not_there_is_the_offers_fault() {
    let Some(world) = world("image").await else {
        return;
    };
    let mut offer = world::offer();
    offer["image"] = json!("no-such-image");
    assert_eq!(
        refused(&world, &batch(1, offer)).await,
        ProviderErrorKind::InvalidRequest
    );
    let mut offer = world::offer();
    offer["devices"]["root"]["pool"] = json!("no-such-pool");
    assert_eq!(
        refused(&world, &batch(2, offer)).await,
        ProviderErrorKind::InvalidRequest
    );
    assert_eq!(world.names().await, [""; 0]);
}

#[tokio::test]
async fn a_machine_that_cannot_be_started_is_deleted_again() {
    let Some(world) = world("start").await else {
        return;
    };
    let mut offer = world::offer();
    offer["devices"]["eth0"] = json!({ "type": "nic", "nictype": "macvlan", "parent": "nowhere" });
    match create(&world, &batch(1, offer)).await {
        Outcome::Failed(error) => {
            assert!(error.message.contains("did not start"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.names().await, [""; 0], "nothing is left behind");
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_refused_and_left_alone() {
    let Some(world) = world("name").await else {
        return;
    };
    let ours = batch(1, world::offer());
    let mut theirs = ours.clone();
    theirs.fleet = fleet("other");
    let machine = made(&world, &theirs).await;
    assert_eq!(
        refused(&world, &ours).await,
        ProviderErrorKind::InvalidRequest
    );
    let mut claimed = machine.clone();
    claimed.owner.fleet = fleet("acme");
    let outcomes = world.provider.delete(&[claimed], &call()).await;
    assert!(matches!(outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
    let listing = world.provider.list(&fleet("other")).await.expect("a list");
    assert_eq!(listing.instances.len(), 1);
    assert!(listing.unknown.is_empty());
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_is_unknown_and_the_same_batch_again_is_one_machine() {
    let Some(world) = world("start lost").await else {
        return;
    };
    world.cut(Cut {
        begins: "PUT /1.0/instances/",
        heard: false,
        times: 1,
    });
    let batch = batch(1, world::offer());
    let outcome = create(&world, &batch).await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    let listing = world.provider.list(&fleet("acme")).await.expect("a list");
    assert_eq!(listing.instances[0].state, InstanceState::Pending);
    assert_eq!(made(&world, &batch).await.state, InstanceState::Running);
    assert_eq!(world.names().await.len(), 1);
}

#[tokio::test]
async fn a_machine_that_powered_off_is_stopped_and_not_started_again() {
    let Some(world) = world("stopped").await else {
        return;
    };
    let batch = batch(1, world::offer());
    let machine = made(&world, &batch).await;
    let path = format!("/1.0/instances/{}/state", machine.id);
    let stop = json!({ "action": "stop", "force": true, "timeout": 20 });
    world.change("PUT", &path, Some(&stop)).await;
    let listing = world.provider.list(&fleet("acme")).await.expect("a list");
    assert_eq!(listing.instances[0].state, InstanceState::Stopped);
    assert_eq!(made(&world, &batch).await.state, InstanceState::Stopped);
}

#[tokio::test]
async fn a_machine_says_until_when_it_is_wanted_and_is_renewed() {
    let Some(world) = world("renewed").await else {
        return;
    };
    let machine = made(&world, &batch(1, world::offer())).await;
    let path = format!("/1.0/instances/{}", machine.id);
    let expires = async || {
        let answer = world.ask("GET", &path, None).await;
        let text = answer["metadata"]["config"]["user.parmanu-expires"].clone();
        let text = text.as_str().expect("a mark").to_owned();
        text.parse::<model::Timestamp>().expect("a time")
    };
    let first = expires().await;
    let later = first + Duration::from_secs(60);
    let mut stranger = machine.clone();
    stranger.owner.fleet = fleet("other");
    let outcomes = world
        .provider
        .renew(&[machine, stranger], later, &call())
        .await;
    assert!(
        matches!(outcomes[..], [Outcome::Done(_), Outcome::Failed(_)]),
        "{outcomes:?}"
    );
    assert_eq!(expires().await, later);
    let listing = world.provider.list(&fleet("acme")).await.expect("a list");
    assert_eq!(listing.instances[0].expires, Some(later));
}

#[tokio::test]
async fn a_guest_is_asked_by_a_mark_that_it_can_read() {
    let Some(world) = world("asked").await else {
        return;
    };
    let machine = made(&world, &batch(1, world::offer())).await;
    let path = format!("/1.0/instances/{}", machine.id);
    for _ in 0..2 {
        let asked = (world.provider)
            .ask_guests(std::slice::from_ref(&machine), "too many", &call())
            .await;
        assert!(matches!(asked[..], [Outcome::Done(_)]), "{asked:?}");
        let answer = world.ask("GET", &path, None).await;
        assert_eq!(
            answer["metadata"]["config"]["user.parmanu-drain"],
            "too many"
        );
    }
}

/// It may have got a build since it was listed.
#[tokio::test]
async fn a_machine_that_runs_is_not_deleted_for_having_been_listed_as_stopped() {
    let Some(world) = world("runs again").await else {
        return;
    };
    let mut machine = made(&world, &batch(1, world::offer())).await;
    machine.state = InstanceState::Stopped;
    let outcomes = world.provider.delete(&[machine], &call()).await;
    assert!(matches!(outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
    let listing = world.provider.list(&fleet("acme")).await.expect("a list");
    assert_eq!(listing.instances[0].state, InstanceState::Running);
}

#[tokio::test]
async fn a_machine_that_is_being_stopped_at_this_moment_is_deleted_all_the_same() {
    let Some(world) = world("busy").await else {
        return;
    };
    let machine = made(&world, &batch(1, world::offer())).await;
    let path = format!("/1.0/instances/{}/state", machine.id);
    let stop = json!({ "action": "stop", "force": true, "timeout": 20 });
    // accepted, and not waited for
    world.ask("PUT", &path, Some(&stop)).await;
    let outcomes = world.provider.delete(&[machine], &call()).await;
    assert!(matches!(outcomes[0], Outcome::Done(_)), "{outcomes:?}");
    assert_eq!(world.names().await, [""; 0]);
}

#[tokio::test]
async fn a_daemon_that_is_away_is_an_error_and_never_an_empty_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(RealClock);
    let provider = world::provider(&folder.path().join("nobody"), "default", clock);
    let error = provider.list(&fleet("acme")).await.expect_err("no daemon");
    assert_eq!(error.kind, ProviderErrorKind::Unreachable);
    let outcomes = provider.create(&batch(1, world::offer()), &call()).await;
    assert!(
        matches!(&outcomes[0], Outcome::Failed(error) if error.kind == ProviderErrorKind::Unreachable),
        "nothing was sent: {outcomes:?}"
    );
}
