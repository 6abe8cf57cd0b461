//! Properties over random worlds of several pools and many machines, in every state and with every doubt.
//!
//! The invariants are those of `engine::invariants`; the properties of the pure engine alone (E1, E2, E4) and the
//! isolation of pools are stated here.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, Plan, invariants};
use model::{Cordon, InstanceState, Intent, LeaveStep, StoredIntent};
use proptest::prelude::*;
use support::{EPOCH, World, executor_ref, now};

const STATES: [&str; 27] = [
    "requested",
    "pending",
    "booting",
    "idle",
    "idle",
    "busy",
    "busy",
    "unreadable",
    "stuck",
    "lost",
    "stopped",
    "stopping",
    "odd",
    "absent",
    "unregistered",
    "paused",
    "cordoning",
    "settling",
    "settling-busy",
    "proven",
    "deleting",
    "lifted",
    "old-cordon",
    "old-settling",
    "gone",
    "vanished",
    "ghost",
];
const TIMES: [&str; 6] = ["0s", "20s", "45s", "61s", "9m", "30m"];

fn any_machine() -> impl Strategy<Value = String> {
    let foreign = Just("foreign 0s".to_owned());
    let ours = (
        prop::sample::select(&STATES[..]),
        prop::sample::select(&TIMES[..]),
    );
    prop_oneof![1 => foreign, 20 => ours.prop_map(|(state, time)| format!("{state} {time}"))]
}

prop_compose! {
    fn any_pool(name: &'static str)(
        machines in prop::collection::vec(any_machine(), 0..14),
        queued in 0u32..12, slots in 1u32..4, min in 0u32..4, above in 0u32..12,
        idle in prop::sample::select(&["0s", "1m", "10m"][..]), pace in prop::option::of(1u32..4),
        age in prop_oneof![6 => Just(2u64), 1 => Just(59), 1 => Just(61), 1 => Just(4000)],
        partial in prop::bool::weighted(0.1), heard in prop::bool::weighted(0.9),
        mapped in prop::bool::weighted(0.95), shared in any::<bool>(), executors in 0u32..12,
        held in prop::bool::weighted(0.05), failed in 0u32..5,
    ) -> World {
        let mut world = World::empty(name);
        world.policy.slots = slots;
        (world.policy.min, world.policy.max) = (min, min + above);
        world.scale_in().idle = model::rules::IdleTime::Fixed { idle_for: support::span(idle) };
        world.scale_in().at_most = pace;
        if shared {
            world.policy.bootstrap = model::Bootstrap::Shared;
        }
        match executors {
            0 => world.policy.executors = model::ExecutorMode::ReadOnly,
            1 => {
                world.policy.executors = model::ExecutorMode::None;
                world.policy.emitter = None;
            }
            _ => {}
        }
        world.workload.demand.runnable = queued;
        (world.workload_age, world.heard) = (age, heard);
        if partial {
            world.workload.completeness.doubt("page 2 failed");
        }
        if !mapped {
            world.workload.config = model::ConfigHash::new("other");
        }
        for (number, machine) in machines.iter().enumerate() {
            world.add_machine(machine, number as u32 + 1);
        }
        let failed = (0..failed).map(|i| format!("{name}-6-{i}-0").parse().unwrap());
        world.memory.failed_boots = failed.collect();
        world.held = held.then(|| "registration refused".to_owned());
        world
    }
}

prop_compose! {
    fn any_world()(
        mut worlds in (any_pool("linux"), any_pool("linux-big"), any_pool("mac")),
        listing in prop::sample::select(&["complete", "complete", "complete", "partial", "never", "old"][..]),
        lost in prop::option::weighted(0.1, 0u64..60),
    ) -> Vec<World> {
        worlds.0.listing = listing;
        worlds.0.lost_at = lost.map(support::ago);
        vec![worlds.0, worlds.1, worlds.2]
    }
}

fn plans(worlds: &[World]) -> Vec<Plan> {
    let fleet = World::together(worlds);
    let plan = |world: &World| {
        let seen = fleet.pool(&world.policy.pool).unwrap();
        engine::plan(&seen, &world.policy, now())
    };
    worlds.iter().map(plan).collect()
}

/// The world as it is right after a plan was carried out and every answer was heard.
fn carried_out(world: &mut World, plan: Plan) {
    world.memory = plan.memory;
    world
        .intents
        .retain(|stored| !plan.end.contains(&stored.intent.key()));
    for intent in plan.put {
        put(world, intent);
    }
    for action in plan.actions {
        match action {
            Action::Create { .. } => {}
            Action::Uncordon { instance, .. } => mark(world, &instance, Cordon::None),
            Action::Cordon { instance, .. } => {
                mark(world, &instance, Cordon::Ours { epoch: EPOCH });
                step(world, &instance, LeaveStep::Settling);
            }
            Action::Verify { instance, .. } => step(world, &instance, LeaveStep::ProvenOnce),
            Action::Delete { instance, .. } => {
                for listed in world.instances.iter_mut().filter(|i| i.name == instance) {
                    listed.state = InstanceState::Stopping;
                }
            }
            Action::RemoveExecutor { executor, .. } => {
                world
                    .workload
                    .executors
                    .retain(|seen| seen.id != executor.id);
            }
        }
    }
}

fn put(world: &mut World, intent: Intent) {
    world
        .intents
        .retain(|stored| stored.intent.key() != intent.key());
    world.intents.push(StoredIntent {
        intent,
        age: std::time::Duration::ZERO,
    });
}

fn mark(world: &mut World, name: &model::InstanceName, cordon: Cordon) {
    let id = executor_ref(name).id;
    for executor in world.workload.executors.iter_mut().filter(|e| e.id == id) {
        executor.cordon = cordon;
    }
}

fn step(world: &mut World, name: &model::InstanceName, step: LeaveStep) {
    let found = world
        .intents
        .iter()
        .find_map(|stored| match &stored.intent {
            Intent::Leave {
                instance,
                executor,
                epoch,
                ..
            } if instance == name => Some(Intent::Leave {
                instance: instance.clone(),
                executor: executor.clone(),
                epoch: *epoch,
                step,
            }),
            _ => None,
        });
    if let Some(intent) = found {
        put(world, intent);
    }
}

/// Machines that serve once the plan is carried out.
fn serving_after(plan: &Plan) -> i64 {
    let change: i64 = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Create { count, .. } => i64::from(*count),
            Action::Uncordon { .. } => 1,
            Action::Cordon {
                why: engine::LeaveWhy::Idle,
                ..
            } => -1,
            Action::Delete {
                proof: engine::DeleteProof::NoExecutor,
                ..
            } => -1,
            _ => 0,
        })
        .sum();
    i64::from(plan.summary.serving) + change
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// I1, I2, I5, I6, I13, I14 and E3, judged from the observation.
    #[test]
    fn no_plan_breaks_an_invariant(worlds in any_world()) {
        let fleet = World::together(&worlds);
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            let seen = fleet.pool(&world.policy.pool).unwrap();
            let violations = invariants::check(&seen, &world.policy, &plan, now());
            prop_assert!(violations.is_empty(), "{violations:?}\n{plan}");
        }
    }

    /// E1: planning again on the planned world does nothing.
    #[test]
    fn a_carried_out_plan_leaves_nothing_to_do(mut worlds in any_world()) {
        let first = plans(&worlds);
        let words: Vec<String> = first.iter().map(ToString::to_string).collect();
        for (world, plan) in worlds.iter_mut().zip(first) {
            carried_out(world, plan);
        }
        for (again, words) in plans(&worlds).iter().zip(words) {
            prop_assert!(again.actions.is_empty(), "first:\n{words}\nagain:\n{again}");
        }
    }

    /// E2: more queued work never means fewer machines.
    #[test]
    fn more_queued_work_never_means_fewer_machines(mut worlds in any_world(), more in 1u32..6) {
        let fewer = plans(&worlds);
        for world in &mut worlds {
            world.workload.demand.runnable += more;
        }
        for (less, more) in fewer.iter().zip(plans(&worlds)) {
            prop_assert!(serving_after(&more) >= serving_after(less), "{less}\n{more}");
        }
    }

    /// E4: equal inputs give byte-equal plans, whatever else is in the fleet.
    #[test]
    fn a_plan_depends_on_its_own_pool_alone(worlds in any_world()) {
        for (world, together) in worlds.iter().zip(plans(&worlds)) {
            let mut alone = world.clone();
            (alone.listing, alone.lost_at) = (worlds[0].listing, worlds[0].lost_at);
            let alone = alone.plan();
            let bytes = serde_json::to_string(&alone).unwrap();
            prop_assert_eq!(&bytes, &serde_json::to_string(&together).unwrap());
        }
    }

    /// I6: on doubt a pool aims at no less than what serves now.
    #[test]
    fn doubt_never_lowers_the_target(mut worlds in any_world()) {
        for world in &mut worlds {
            world.workload.completeness.doubt("a page was cut");
        }
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            if world.policy.emitter.is_some() {
                prop_assert!(plan.summary.target >= plan.summary.serving.min(plan.summary.target.max(plan.summary.serving)), "{plan}");
                prop_assert!(serving_after(&plan) >= i64::from(plan.summary.serving), "{plan}");
            }
        }
    }
}
