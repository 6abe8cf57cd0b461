//! What is Buildbot's own: leased names, a worker that is killed, one that is let go.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use model::{Cordon, Epoch, ExecutorId, ExecutorState, JobClass, Work};
use ports::{EmitterErrorKind, Register};
use world::{BUILDER, World, alive, machine};

const EPOCH: Epoch = Epoch(7);

/// The world, or nothing when a part is missing, with the skip noted.
async fn world(test: &str) -> Option<World> {
    match World::start().await {
        Ok(world) => Some(world),
        Err(why) => {
            conformance::store::skip(&format!("emitter-buildbot::master::{test}"), &why);
            None
        }
    }
}

fn register(sequence: u32, taken: &[&ExecutorId]) -> Register {
    let mut request = Register::of(machine(sequence));
    request.taken = taken
        .iter()
        .map(|id| (*id).clone())
        .collect::<BTreeSet<_>>();
    request
}

#[tokio::test]
async fn a_name_is_leased_to_one_machine_and_given_back() {
    let Some(world) = world("names").await else {
        return;
    };
    let first = world.control();
    let one = first.register(&register(1, &[])).await.expect("a name");
    let two = first.register(&register(2, &[])).await.expect("a name");
    assert_ne!(one.executor, two.executor);
    // a scaler that was started anew knows by tags and intents who has what
    let second = world.control();
    let taken = [&one.executor, &two.executor];
    if let Ok(three) = second.register(&register(3, &taken)).await {
        assert!(!taken.contains(&&three.executor));
    }
    let mut unsettled = register(4, &taken);
    unsettled.unsettled = vec!["linux-6-1-0".parse().expect("a name")];
    let refused = second.register(&unsettled).await.expect_err("a doubt");
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);

    let look = world.emitter().probe().await.expect("a look");
    let seen = look.executors.iter().find(|seen| seen.id == one.executor);
    let seen = seen.expect("the worker");
    assert_eq!(seen.state, ExecutorState::NeverJoined);
    assert_eq!(seen.labels, [BUILDER]);
    assert_eq!(seen.fleet, None, "a name carries nobody's mark");
    for _ in 0..2 {
        first.remove(&one.executor).await.expect("given back");
    }
}

/// What every other promise about a lost machine rests on.
#[tokio::test]
async fn the_build_of_a_worker_that_is_killed_is_demand_again() {
    let Some(world) = world("killed").await else {
        return;
    };
    let (emitter, control) = (world.emitter(), world.control());
    let lost = control.register(&register(1, &[])).await.expect("a name");
    world.join(&lost).await;
    let job = world.queue().await;
    world
        .until("it builds", || async {
            world.worker_of(&job).await.as_ref() == Some(&lost.executor)
        })
        .await;
    let class = |look: &model::Snapshot| {
        let jobs: Vec<_> = look
            .jobs
            .iter()
            .map(|job| (job.id.clone(), job.class.clone()))
            .collect();
        let [(id, class)] = &jobs[..] else {
            panic!("{jobs:?}");
        };
        assert_eq!(*id, job, "it keeps its number");
        class.clone()
    };
    let look = emitter.probe().await.expect("a look");
    let executor = Some(lost.executor.clone());
    assert_eq!(class(&look), JobClass::Running { executor });
    assert_eq!(alive(&look), BTreeSet::from([&lost.executor]));

    world.kill(&lost.executor);
    world
        .until("it waits again", || async {
            let look = emitter.probe().await.expect("a look");
            class(&look) == JobClass::Runnable && alive(&look).is_empty()
        })
        .await;
    let next = register(2, &[&lost.executor]);
    let next = control.register(&next).await.expect("another name");
    world.join(&next).await;
    world
        .until("it builds elsewhere", || async {
            world.worker_of(&job).await.as_ref() == Some(&next.executor)
        })
        .await;
    world.finish(&job).await;
}

#[tokio::test]
async fn a_worker_is_let_go_only_when_it_is_cordoned_and_ends_by_itself() {
    let Some(world) = world("let go").await else {
        return;
    };
    let control = world.control();
    let lease = control.register(&register(1, &[])).await.expect("a name");
    let worker = &lease.executor;
    world.join(&lease).await;
    let refused = control
        .dismiss(worker)
        .await
        .expect_err("it may get a build");
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);
    assert!(world.is_connected(worker).await);

    control.cordon(worker, EPOCH).await.expect("a pause");
    control.dismiss(worker).await.expect("it goes");
    assert!(!world.is_connected(worker).await);
    world
        .until("its process ends", || async { world.has_ended(worker) })
        .await;
    control.dismiss(worker).await.expect("gone is success");
    // what the master remembers of the stop is nobody's cordon, and the name can be used again
    let reading = control.read(worker).await.expect("a reading");
    assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
    assert_eq!(reading.work, Work::None);
    control.remove(worker).await.expect("given back");
    let again = control.register(&register(2, &[])).await.expect("a name");
    world.join(&again).await;
}

#[tokio::test]
async fn a_name_that_is_still_connected_is_not_given_back() {
    let Some(world) = world("still connected").await else {
        return;
    };
    let control = world.control();
    let lease = control.register(&register(1, &[])).await.expect("a name");
    world.join(&lease).await;
    let refused = control
        .remove(&lease.executor)
        .await
        .expect_err("it is there");
    assert_eq!(refused.kind, EmitterErrorKind::Conflict);
    world.kill(&lease.executor);
    world
        .until("it is gone", || async {
            control.remove(&lease.executor).await.is_ok()
        })
        .await;
}
