//! What the suite for every provider cannot ask: Compute Engine's own traps, through Google's SDK.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use fake_gce::Fault;
use model::{CreateBatch, Epoch, Instance, InstanceState, UserData};
use ports::{Clock as _, Outcome, ProviderErrorKind};
use serde_json::json;
use world::{CANARY, TYPE, World, ZONES, batch};

#[tokio::test]
async fn one_machine_is_inserted_marked_and_read_back() {
    let world = World::start(|_| {});
    let batch = batch(1, 1);
    let made = world.made(&batch).await;
    let sent = world.sent("instances.insert");
    assert_eq!(sent.query["requestId"].len(), 36);
    assert_eq!(sent.body["name"], "linux-7-1-0");
    let listed = world.listed().await;
    assert_eq!(listed[0].executor, batch.executor);
    assert_eq!(listed[0].offer, Some(batch.offer));
    assert_eq!(listed[0].state, InstanceState::Running);
    assert_eq!(listed[0].created_at, made[0].created_at);
    let gce = world.gce();
    let machine = gce.machines().next().expect("a machine");
    assert_eq!(machine.labels["parmanu-pool"], "linux");
    assert_eq!(machine.metadata["startup-script"], batch.user_data.0);
    assert_eq!(machine.metadata["parmanu-executor"], "gitlab:42:Odd");
}

#[tokio::test]
async fn many_machines_are_one_call_and_one_operation() {
    let world = World::start(|settings| settings.creation = Duration::from_secs(20));
    let made = world.made(&batch(0, 60)).await;
    assert_eq!(made.len(), 60);
    let gce = world.gce();
    assert_eq!(gce.calls("instances.bulkInsert"), 1);
    assert_eq!(
        gce.calls("instances.insert") + gce.calls("instances.get"),
        0
    );
    assert_eq!(gce.calls("zoneOperations.wait"), 1);
}

#[tokio::test]
async fn a_full_zone_gives_way_to_the_next_and_then_to_the_next_type() {
    let world = World::start(|_| {});
    world.gce().set_capacity(TYPE, ZONES[0], Some(0));
    let made = world.made(&batch(0, 2)).await;
    assert!(made.iter().all(|machine| machine.scope == ZONES[1]));
    world.gce().set_capacity(TYPE, ZONES[1], Some(0));
    let mut other = batch(1, 1);
    other.spec["types"] = json!([TYPE, "n2-standard-8"]);
    world.made(&other).await;
    let kinds: BTreeSet<String> = world
        .gce()
        .machines()
        .map(|machine| machine.machine_type.clone())
        .collect();
    assert!(kinds.contains("n2-standard-8"), "{kinds:?}");
}

#[tokio::test]
async fn a_type_that_a_zone_does_not_have_is_tried_in_the_next() {
    let world = World::start(|settings| {
        let kind = settings.types.get_mut(TYPE).expect("the type");
        kind.not_in.insert(ZONES[0].to_owned());
    });
    let made = world.made(&batch(0, 1)).await;
    assert_eq!(made[0].scope, ZONES[1]);
}

#[tokio::test]
async fn a_bulk_made_in_part_is_told_by_name() {
    let world = World::start(|settings| settings.appears_after = Duration::from_secs(60));
    world.gce().set_capacity(TYPE, ZONES[0], Some(3));
    assert_eq!(
        world.words(&batch(0, 5)).await,
        ["done", "done", "done", "failed", "failed"]
    );
    assert_eq!(world.alive(), 3);
}

#[tokio::test]
async fn a_batch_made_in_the_second_zone_is_not_made_again_when_the_first_has_room() {
    let world = World::start(|_| {});
    world.gce().set_capacity(TYPE, ZONES[0], Some(0));
    world.made(&batch(0, 2)).await;
    world.gce().set_capacity(TYPE, ZONES[0], None);
    let mut again = batch(0, 2);
    again.attempt = 1;
    let made = world.made(&again).await;
    assert!(made.iter().all(|machine| machine.scope == ZONES[1]));
    assert_eq!(world.alive(), 2);
}

#[tokio::test]
async fn a_name_that_another_fleet_has_is_refused_and_never_taken() {
    let world = World::start(|_| {});
    for count in [1, 2] {
        let mut theirs = batch(count, count);
        theirs.fleet = "others".parse().expect("the name of a fleet");
        world.made(&theirs).await;
        let error = world.error(&batch(count, count)).await;
        assert_eq!(error.kind, ProviderErrorKind::InvalidRequest, "{error}");
        assert!(error.message.contains("not this fleet's"), "{error}");
    }
    assert_eq!(world.alive(), 3);
}

#[tokio::test]
async fn a_name_that_is_still_being_made_is_found_in_the_operation() {
    let world = World::start(|settings| settings.creation = Duration::from_secs(30));
    let mut batch = batch(0, 1);
    batch.spec["zones"] = json!([ZONES[0]]);
    // another token for the same name, as after a configuration that was changed under a lost answer
    world.gce().fault("instances.insert", 1, Fault::DropAfter);
    assert_eq!(world.words(&batch).await, ["unknown"]);
    batch.offer.index = 1;
    let made = world.made(&batch).await;
    assert_eq!(made[0].name, batch.batch.instance(0));
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn a_spot_machine_that_is_taken_back_says_so_and_leaves_nothing() {
    let world = World::start(|settings| settings.shutdown = Duration::from_secs(30));
    let mut batch = batch(1, 1);
    batch.spec["market"] = json!("spot");
    world.made(&batch).await;
    let now = world.clock.now();
    assert!(
        world.gce().preempt("linux-7-1-0", now),
        "it is a spot machine"
    );
    let listed = world.listed().await;
    assert_eq!(listed[0].state, InstanceState::Stopping);
    assert_eq!(listed[0].notice.as_deref(), Some("Instance was preempted."));
    world.clock.pass(Duration::from_secs(30));
    assert!(world.listed().await.is_empty());
    let now = world.clock.now();
    assert_eq!(world.gce().left_disks(now), 0);
}

#[tokio::test]
async fn google_ends_a_machine_whose_time_is_over() {
    let world = World::start(|_| {});
    let mut batch = batch(1, 2);
    batch.spec["max_run_duration"] = json!("48h");
    batch.spec["longest_job"] = json!("6h");
    world.made(&batch).await;
    let told = async || {
        let listed = world.listed().await.into_iter();
        listed.filter_map(|it| it.notice).collect::<Vec<_>>()
    };
    // no job begins that could not end in time
    let last = Duration::from_secs(42 * 3600 - 600);
    world.clock.pass(last - Duration::from_secs(1));
    assert_eq!(told().await, [""; 0]);
    world.clock.pass(Duration::from_secs(1));
    let said = told().await;
    assert!(
        said.len() == 2 && said[0].contains("max_run_duration"),
        "{said:?}"
    );
    world.clock.pass(Duration::from_secs(6 * 3600 + 600 - 1));
    assert_eq!(world.listed().await.len(), 2);
    world.clock.pass(Duration::from_secs(1));
    assert!(world.listed().await.is_empty());
    let now = world.clock.now();
    assert_eq!(world.gce().left_disks(now), 0);
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_stopped_and_can_be_deleted() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 1)).await;
    let now = world.clock.now();
    assert!(world.gce().power_off("linux-7-0-0", now));
    assert_eq!(world.listed().await[0].state, InstanceState::Stopped);
    let outcomes = world.provider.delete(&made, &world.call()).await;
    assert_eq!(outcomes[0].as_str(), "done");
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn a_template_keeps_its_metadata_and_labels() {
    let world = World::start(|_| {});
    for (sequence, count) in [(0, 1), (1, 2)] {
        let mut batch = batch(sequence, count);
        batch.spec = json!({"template": "ci-linux-v12", "zones": [ZONES[0]]});
        world.made(&batch).await;
    }
    let gce = world.gce();
    for machine in gce.machines() {
        assert_eq!(machine.metadata["enable-oslogin"], "TRUE", "the template's");
        assert!(machine.metadata["startup-script"].contains(CANARY));
        assert_eq!(machine.labels["cost-centre"], "ci", "the template's");
        assert_eq!(machine.labels["parmanu-fleet"], "acme");
        assert_eq!(machine.machine_type, "e2-standard-4");
    }
}

#[tokio::test]
async fn a_template_that_is_not_there_is_wrong_in_the_offer() {
    let world = World::start(|_| {});
    let mut batch = batch(0, 1);
    batch.spec = json!({"template": "ci-linux-v99"});
    let error = world.error(&batch).await;
    assert_eq!(error.kind, ProviderErrorKind::InvalidRequest);
    assert!(error.message.contains("ci-linux-v99"), "{error}");
}

#[tokio::test]
async fn a_protected_machine_is_named_and_the_others_end() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 5)).await;
    let now = world.clock.now();
    assert!(world.gce().protect(made[1].id.as_str(), now));
    let outcomes = world.provider.delete(&made, &world.call()).await;
    let words: Vec<_> = outcomes.iter().map(Outcome::as_str).collect();
    assert_eq!(words, ["done", "failed", "done", "done", "done"]);
    assert_eq!(world.alive(), 1);
}

#[tokio::test]
async fn a_machine_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 2)).await;
    let now = world.clock.now();
    world.gce().relabel(
        made[0].id.as_str(),
        "parmanu-batch",
        "somebody-changed-this",
        now,
    );
    assert_eq!(world.listed().await.len(), 1);
}

#[tokio::test]
async fn the_end_of_a_console_is_read_and_no_more() {
    let world = World::start(|_| {});
    let made = world.made(&batch(0, 1)).await;
    let now = world.clock.now();
    let boot = "ä".repeat(100_000);
    world.gce().print(made[0].id.as_str(), &boot, now);
    world
        .gce()
        .print(made[0].id.as_str(), "panic: no root\n", now);
    let text = world.provider.console(&made[0], &world.call()).await;
    let text = text.expect("an answer").expect("a console");
    assert!(text.ends_with("ä".repeat(9).as_str()) || text.ends_with("panic: no root\n"));
    assert!(text.len() <= ports::MAX_CONSOLE && text.len() > ports::MAX_CONSOLE - 4);
    let mut gone = made[0].clone();
    gone.id = model::ProviderRef::new("linux-7-0-9");
    assert!(matches!(
        world.provider.console(&gone, &world.call()).await,
        Ok(None)
    ));
}

#[tokio::test]
async fn a_boot_script_that_is_too_long_is_refused_before_the_call() {
    let world = World::start(|_| {});
    let mut batch = batch(0, 1);
    batch.user_data = UserData("x".repeat(256 * 1024 + 1));
    assert_eq!(world.words(&batch).await, ["failed"]);
    assert_eq!(world.gce().calls("instances.insert"), 0);
    batch.user_data.0.pop();
    assert_eq!(world.words(&batch).await, ["done"]);
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused_before_the_call() {
    let world = World::start(|_| {});
    let mut batch = batch(u32::MAX, 1);
    batch.batch.pool = "a23456789012345678901234567890".parse().expect("a pool");
    batch.batch.epoch = Epoch(u64::MAX);
    let error = world.error(&batch).await;
    assert_eq!(error.kind, ProviderErrorKind::InvalidRequest);
    assert!(error.message.contains("shorter"), "{error}");
    assert!(world.gce().log().is_empty());
}

#[tokio::test]
async fn an_empty_batch_asks_for_nothing() {
    let world = World::start(|_| {});
    assert!(world.create(&batch(0, 0)).await.is_empty());
    assert!(world.gce().log().is_empty());
}

#[tokio::test]
async fn twenty_batches_at_once_are_twenty_batches() {
    let world = World::start(|_| {});
    let batches: Vec<_> = (0..20).map(|sequence| batch(sequence, 3)).collect();
    let made = futures::future::join_all(batches.iter().map(|batch| world.made(batch))).await;
    let own = |(made, batch): (&Vec<Instance>, &CreateBatch)| made[0].name.batch == batch.batch;
    assert!(made.iter().zip(&batches).all(own));
    assert_eq!(world.listed().await.len(), 60);
}
