//! Executors without a machine: a few are removed, many at once are rather machines that nobody lists.

mod support;

use engine::{Action, Plan};
use model::ExecutorState;
use support::World;

/// A pool with so many executors without a machine, watched for so long and in this state, and so many machines.
fn ghosts(many: usize, watched: &str, machines: usize, state: &ExecutorState) -> World {
    let ghost = format!("ghost {watched}");
    let ghosts = std::iter::repeat_n(ghost.as_str(), many);
    let all: Vec<&str> = ghosts
        .chain(std::iter::repeat_n("busy", machines))
        .collect();
    let mut world = World::parse(&format!(
        "max 99 | queued 0 running {machines} | {}",
        all.join(", ")
    ));
    for executor in &mut world.workload.executors[..many] {
        executor.state = state.clone();
    }
    world
}

fn removed(plan: &Plan) -> usize {
    let removal = |action: &&Action| matches!(action, Action::RemoveExecutor { .. });
    plan.actions.iter().filter(removal).count()
}

fn says(plan: &Plan) -> Option<String> {
    let mut said = plan.reasons.iter();
    let kept = said.find(|reason| reason.code() == "ghosts_kept");
    kept.map(ToString::to_string)
}

const OFFLINE: ExecutorState = ExecutorState::Offline { since: None };
const ONLINE: ExecutorState = ExecutorState::Idle { since: None };

/// A provider that is missing in the file: its machines run, and their executors are idle.
#[test]
fn executors_that_are_online_and_many_at_once_are_never_removed() {
    for watched in ["10m", "600m"] {
        let plan = ghosts(11, watched, 20, &ONLINE).plan();
        assert_eq!(removed(&plan), 0, "{plan}");
        assert_eq!(plan.memory.ghosts.len(), 11, "they are watched on");
        let said = says(&plan).expect("it is said");
        assert!(said.contains("11 executors"), "{said}");
    }
}

#[test]
fn what_is_offline_and_much_at_once_is_removed_after_an_hour_a_few_at_a_time() {
    let plan = ghosts(15, "60m", 20, &OFFLINE).plan();
    assert_eq!(removed(&plan), 0, "the provider's lag bound comes on top");
    let plan = ghosts(15, "63m", 20, &OFFLINE).plan();
    assert_eq!(removed(&plan), 10);
    assert!(
        says(&plan).is_some_and(|said| said.contains("5 executors")),
        "{plan}"
    );
}

#[test]
fn few_and_a_small_part_of_a_pool_are_removed_as_ever() {
    for state in [ONLINE, OFFLINE, ExecutorState::NeverJoined] {
        let few = ghosts(10, "10m", 0, &state).plan();
        assert_eq!(removed(&few), 10, "{few}");
        assert_eq!(says(&few), None);
        // twelve of forty are 30 per cent and no more
        let part = ghosts(12, "10m", 28, &state).plan();
        assert_eq!(removed(&part), 10, "ten at a time: {part}");
        assert!(
            says(&part).is_some_and(|said| said.contains("later")),
            "{part}"
        );
        let storm = ghosts(12, "10m", 27, &state).plan();
        assert_eq!(removed(&storm), 0, "{storm}");
    }
}

/// No offer says where the machines of a pool stood that is not configured any more. What the CI server hears of has one.
#[test]
fn of_a_pool_that_is_not_configured_only_what_is_offline_is_removed() {
    let busy = ExecutorState::Busy { jobs: Vec::new() };
    let unknown = ExecutorState::Unknown { why: "?".into() };
    for (state, goes) in [
        (OFFLINE, true),
        (ExecutorState::NeverJoined, true),
        (ONLINE, false),
        (busy, false),
        (unknown, false),
    ] {
        let mut world = ghosts(2, "600m", 0, &state);
        world.policy.offers.clear();
        let plan = world.plan();
        assert_eq!(
            removed(&plan),
            if goes { 2 } else { 0 },
            "{state:?}: {plan}"
        );
        let mut said = plan.reasons.iter();
        let online = said.find(|reason| reason.code() == "ghosts_online");
        let online = online.map(ToString::to_string);
        assert_eq!(online.is_some(), !goes, "{state:?}: {online:?}");
    }
}
