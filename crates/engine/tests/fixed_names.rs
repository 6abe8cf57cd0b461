//! CI servers that fix the names of their executors (Buildbot): machine and executor are joined by the reference in the
//! machine's tag or in an intent, and by nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, Phase, Supply, plan};
use model::{
    Cordon, Epoch, Executor, ExecutorId, ExecutorRef, ExecutorState, Intent, LeaveStep,
    StoredIntent,
};
use support::{EPOCH, World, instance, now, span};

fn worker(number: u32, state: ExecutorState) -> Executor {
    Executor {
        id: ExecutorId::new(number.to_string()),
        name: format!("worker-{number}"),
        fleet: None,
        labels: vec!["linux".to_owned()],
        run_untagged: false,
        protected_only: false,
        health: None,
        slots: 1,
        state,
        cordon: Cordon::None,
    }
}

fn reference(number: u32) -> Option<ExecutorRef> {
    Some(ExecutorRef {
        emitter: "ci".parse().unwrap(),
        id: ExecutorId::new(number.to_string()),
    })
}

/// A machine that runs, with the name of this worker in its tag.
fn with_machine(world: &mut World, number: u32, created: u64) {
    let mut machine = instance("linux", number);
    machine.executor = reference(number);
    machine.created_at = Some(support::ago(created));
    world.instances.push(machine);
}

fn supply(world: &World) -> Supply {
    Supply::of(&world.observation(), &world.policy, now())
}

#[test]
fn names_that_are_only_configured_are_no_capacity_no_machines_and_no_ghosts() {
    let mut world = World::parse("max 10 | queued 2 | no instances");
    for number in 1..=20 {
        let executor = worker(number, ExecutorState::NeverJoined);
        world.workload.executors.push(executor);
    }
    let supply = supply(&world);
    assert_eq!((supply.static_executors, supply.static_free), (0, 0));
    assert!(supply.ghosts.is_empty() && supply.machines.is_empty());
    let plan = plan(&world.observation(), &world.policy, now());
    assert_eq!(plan.actions.len(), 2, "{plan}");
}

#[test]
fn a_worker_that_a_tag_names_is_the_machines_executor() {
    let mut world = World::parse("max 10 | queued 0 | no instances");
    with_machine(&mut world, 1, 1800);
    with_machine(&mut world, 2, 20);
    with_machine(&mut world, 3, 1800);
    let job = vec![model::JobId::new("7")];
    let states = [
        ExecutorState::Busy { jobs: job },
        ExecutorState::NeverJoined,
        ExecutorState::NeverJoined,
        ExecutorState::Idle { since: None },
    ];
    for (number, state) in (1..).zip(states) {
        world.workload.executors.push(worker(number, state));
    }
    let supply = supply(&world);
    let phases: Vec<_> = supply.machines.iter().map(|m| m.phase.clone()).collect();
    let busy = Phase::Busy { unknown: None };
    assert_eq!(phases, [busy, Phase::Booting, Phase::Stuck]);
    assert_eq!(supply.machines[0].executor_ref, reference(1));
    assert_eq!(supply.static_executors, 1, "the fourth is somebody else's");
}

#[test]
fn a_worker_that_an_intent_names_belongs_to_the_machine_that_is_coming() {
    let mut world = World::parse("max 10 | queued 1 | no instances");
    let intent = Intent::Create {
        batch: "linux-9-1".parse().unwrap(),
        count: 1,
        provider: "aws".parse().unwrap(),
        offer: support::offer(0, "aws").id,
        executor: reference(1),
    };
    let age = span("5s");
    world.intents.push(StoredIntent { intent, age });
    let idle = ExecutorState::Idle { since: None };
    world.workload.executors.push(worker(1, idle));
    let supply = supply(&world);
    assert_eq!(supply.machines.len(), 1);
    assert_eq!(supply.static_free, 0, "it is not counted twice");
}

#[test]
fn a_worker_named_by_another_emitters_reference_stays_foreign() {
    let mut world = World::parse("max 10 | queued 0 | no instances");
    with_machine(&mut world, 1, 1800);
    world.instances[0].executor.as_mut().unwrap().emitter = "other".parse().unwrap();
    let idle = ExecutorState::Idle { since: None };
    world.workload.executors.push(worker(1, idle));
    assert_eq!(supply(&world).static_executors, 1);
}

fn departed(cordon: Cordon) -> World {
    let mut world = World::parse("max 10 | queued 0 | no instances");
    let intent = Intent::Leave {
        instance: instance("linux", 1).name,
        executor: reference(1),
        epoch: EPOCH,
        step: LeaveStep::Deleting,
    };
    let age = span("5s");
    world.intents.push(StoredIntent { intent, age });
    let mut worker = worker(1, ExecutorState::NeverJoined);
    worker.cordon = cordon;
    world.workload.executors.push(worker);
    world
}

#[test]
fn a_name_that_is_still_cordoned_after_its_machine_went_is_given_back() {
    let world = departed(Cordon::Ours { epoch: Epoch(9) });
    let plan = plan(&world.observation(), &world.policy, now());
    let [Action::RemoveExecutor { executor, .. }] = &plan.actions[..] else {
        panic!("{plan}");
    };
    assert_eq!(Some(executor.clone()), reference(1));
}

#[test]
fn a_name_without_a_mark_ends_the_departure_of_its_machine() {
    let world = departed(Cordon::None);
    let plan = plan(&world.observation(), &world.policy, now());
    assert!(plan.actions.is_empty(), "{plan}");
    assert_eq!(plan.end.len(), 1, "{plan}");
}
