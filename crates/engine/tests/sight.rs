//! What is told of machines and looks from what is observed: phases, who belongs to whom, boots, and the edges of trust.
//!
//! Each test here was written for a change of the code that the situations in words did not notice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, LeaveWhy, Plan, Supply};
use model::{
    Cordon, ExecutorState, FailedBoots, FleetPolicy, Generation, InstanceState, Intent, JobId,
    LeaveStep, OfferMemory, StoredIntent,
};
use support::{EPOCH, World, ago, executor, executor_ref, instance, now, offer, plan_fleet, span};

fn supply(world: &World) -> Supply {
    Supply::of(&world.observation(), &world.policy, now())
}

fn phases(world: &World) -> Vec<&'static str> {
    let supply = supply(world);
    supply
        .machines
        .iter()
        .map(|machine| machine.phase.as_str())
        .collect()
}

fn plan(text: &str) -> Plan {
    World::parse(text).plan()
}

#[test]
fn each_state_has_its_word() {
    for (state, word) in [
        ("requested 1s", "requested"),
        ("pending 10s", "provisioning"),
        ("booting 10s", "booting"),
        // at its deadline it may still come, a moment later it is overdue
        ("booting 10m", "booting"),
        ("booting 601s", "stuck"),
        ("idle 1m", "idle"),
        ("busy", "busy"),
        ("unreadable", "busy"),
        ("settling 1s", "cordoned"),
        ("old-cordon", "cordoned"),
        ("paused", "foreign_cordon"),
        ("stopping", "deleting"),
        ("deleting 1s", "deleting"),
        ("stuck", "stuck"),
        ("lost", "lost"),
        ("stopped", "stopped"),
        ("odd", "unclear"),
        ("absent", "unclear"),
        ("unregistered", "stuck"),
    ] {
        let world = World::parse(&format!("max 9 | queued 0 | {state}"));
        assert_eq!(phases(&world), [word], "{state}");
    }
}

/// A machine that is powered off after its deletion was asked for is on its way out.
#[test]
fn a_stopped_machine_that_is_being_deleted_is_deleting() {
    let mut world = World::parse("max 9 | queued 0 | deleting 1s");
    world.instances[0].state = InstanceState::Stopped;
    assert_eq!(phases(&world), ["deleting"]);
}

/// Somebody paused it while it builds: it builds.
#[test]
fn a_paused_executor_with_a_job_is_busy() {
    let mut world = World::parse("max 9 | queued 0 running 1 | busy");
    world.workload.executors[0].cordon = Cordon::Foreign;
    assert_eq!(phases(&world), ["busy"]);
    assert_eq!(supply(&world).machines[0].free_slots, 0);
}

/// Pending machines without any executor in the look are provisioning, running ones boot.
#[test]
fn a_machine_without_an_executor_comes_up() {
    for (state, word) in [
        (InstanceState::Pending, "provisioning"),
        (InstanceState::Running, "booting"),
    ] {
        let mut world = World::parse("max 9 | queued 0 | absent");
        world.instances[0].created_at = Some(ago(10));
        world.instances[0].state = state.clone();
        assert_eq!(phases(&world), [word], "{state:?}");
    }
}

/// A machine finds its executor by its name alone, and by its tag alone.
#[test]
fn a_machine_and_its_executor_find_each_other() {
    let mut by_name = World::parse("max 9 | queued 0 | idle 1m");
    by_name.instances[0].executor = None;
    assert_eq!(phases(&by_name), ["idle"]);
    assert!(supply(&by_name).ghosts.is_empty());

    // the executor carries the name of another machine of ours, and the tag says whose it is
    let mut by_tag = World::parse("max 9 | queued 0 | idle 1m");
    by_tag.workload.executors[0].name = "linux-7-99-0".to_owned();
    assert_eq!(phases(&by_tag), ["idle"]);
    assert!(supply(&by_tag).ghosts.is_empty());
}

/// The runner of a machine that is only asked for is no ghost, and the machines are in order all the same.
#[test]
fn a_machine_that_is_asked_for_keeps_its_runner() {
    let world = World::parse("max 9 | queued 2 | requested 1s, idle 1m, requested 1s");
    let supply = supply(&world);
    assert!(supply.ghosts.is_empty(), "{:?}", supply.ghosts);
    let names: Vec<String> = supply
        .machines
        .iter()
        .map(|machine| machine.name.to_string())
        .collect();
    assert_eq!(names, ["linux-7-1-0", "linux-7-2-0", "linux-7-3-0"]);
    assert_eq!((supply.costing(), supply.serving()), (3, 3));
}

/// Of two executors with one name the busy one counts.
#[test]
fn of_two_executors_with_one_name_the_busy_one_counts() {
    for busy_first in [true, false] {
        let mut world = World::parse("max 9 | queued 0 | idle 1m");
        let jobs = vec![JobId::new("1")];
        let name = instance("linux", 1).name;
        let busy = executor(&name, ExecutorState::Busy { jobs });
        let place = if busy_first { 0 } else { 1 };
        world.workload.executors.insert(place, busy);
        assert_eq!(phases(&world), ["busy"]);
    }
}

/// Executors of others count with their own slots, and not while they take no jobs.
#[test]
fn executors_of_others_count_with_their_slots() {
    let mut world = World::parse("max 9 | queued 0 static 3 | no instances");
    world.workload.executors[0].slots = 4;
    world.workload.executors[1].cordon = Cordon::Foreign;
    world.workload.executors[2].state = ExecutorState::NeverJoined;
    let supply = supply(&world);
    assert_eq!(
        (
            supply.static_slots,
            supply.static_free,
            supply.static_executors
        ),
        (4, 4, 2)
    );
}

/// One job for five slots is 20 %: more than 15 and less than 25.
#[test]
fn utilization_is_jobs_for_all_slots() {
    for (condition, holds) in [
        ("use>15%", true),
        ("use>25%", false),
        ("use<25%", true),
        ("use<15%", false),
    ] {
        let plan = plan(&format!(
            "max 9 reserve 7@{condition} | queued 0 running 1 | busy, idle 1m x4"
        ));
        assert_eq!(plan.summary.target == 8, holds, "{condition}: {plan}");
    }
}

/// Boots teach the offer they came from: the first one its time, later ones a quarter of it; a machine that never came is
/// counted once.
#[test]
fn boots_teach_their_offer() {
    let id = offer(0, "aws").id;
    let mut world = World::parse("max 9 | queued 0 | idle 1s");
    world.instances[0].offer = Some(id.clone());
    world.instances[0].created_at = Some(ago(40));
    // it was not coming up before: nothing is learned of it
    assert!(world.plan().memory.offers.is_empty());
    world.memory.booting = [world.instances[0].name.clone()].into();
    let mut memory = world.plan().memory;
    assert_eq!(memory.offers[&id].boot_ms, 40_000);
    memory.booting = world.memory.booting.clone();
    world.memory = memory;
    world.instances[0].created_at = Some(ago(80));
    assert_eq!(world.plan().memory.offers[&id].boot_ms, 50_000);

    let mut world = World::parse("max 9 | queued 0 | stuck");
    world.instances[0].offer = Some(id.clone());
    world.memory = world.plan().memory;
    assert_eq!(world.memory.offers[&id].failed, 1);
    assert_eq!(
        world.plan().memory.offers[&id].failed,
        1,
        "one machine is one failure"
    );
}

/// An offer on trial gets no second machine while the first one comes, and one again when it is up.
#[test]
fn an_offer_on_trial_waits_for_its_machine() {
    for (state, made) in [("pending 5s", 0), ("requested 5s", 0), ("busy", 1)] {
        let mut world = World::parse(&format!("max 9 bootstrap shared | queued 5 | {state}"));
        let id = offer(0, "aws").id;
        for instance in &mut world.instances {
            instance.offer = Some(id.clone());
        }
        let trial = model::OfferMemory {
            until: Some(ago(1)),
            refusals: 1,
            ..Default::default()
        };
        world.memory.offers.insert(id, trial);
        let created: u32 = world
            .plan()
            .actions
            .iter()
            .map(|action| match action {
                engine::Action::Create { count, .. } => *count,
                _ => 0,
            })
            .sum();
        assert_eq!(created, made, "{state}");
    }
}

/// The workload is fresh at its very limit and old a moment later, and an old one says what was wrong with it.
#[test]
fn a_workload_is_fresh_up_to_its_limit() {
    assert!(
        !plan("max 9 | queued 0 age 60s | idle 1h")
            .actions
            .is_empty()
    );
    assert!(
        plan("max 9 | queued 0 age 61s | idle 1h")
            .actions
            .is_empty()
    );
    let said = plan("max 9 | queued 0 age 61s partial a_page_is_missing | idle 1h").to_string();
    assert!(said.contains("older than 1m (a page is missing)"), "{said}");
    let said = plan("max 9 | queued 0 age 61s | idle 1h").to_string();
    assert!(
        said.contains("older than 1m") && !said.contains("older than 1m ("),
        "{said}"
    );
}

/// Four jobs that become one in one look are doubted, four that become two are not, and of three nothing is said.
#[test]
fn a_cliff_is_more_than_half_of_four() {
    for (before, now, doubted) in [
        (4, 1, true),
        (4, 2, false),
        (5, 2, true),
        (3, 0, false),
        (9, 4, true),
        (10, 5, false),
    ] {
        let mut world = World::parse(&format!("max 20 | queued {now} | idle 1h x9"));
        world.memory.believed_work = before;
        let cliff = world.plan().memory.cliff.is_some();
        assert_eq!(cliff, doubted, "{before} to {now}");
    }
}

/// Three of five offline are most, two of two are chance, and half is not most.
#[test]
fn a_mass_anomaly_is_three_and_more_than_half() {
    for (lost, idle, doubted) in [(3, 2, true), (2, 0, false), (3, 3, false), (4, 3, true)] {
        let plan = plan(&format!(
            "max 20 | queued 0 | lost x{lost}, idle 1m x{idle}"
        ));
        assert_eq!(
            plan.memory.anomaly_since.is_some(),
            doubted,
            "{lost} and {idle}"
        );
    }
}

/// A listing is fresh for a minute.
#[test]
fn a_listing_is_fresh_for_a_minute() {
    let mut world = World::parse("max 9 | queued 0 | idle 1h");
    for (age, leaves) in [(60, true), (61, false)] {
        let mut seen = world.observation();
        for listing in seen.listings.values_mut() {
            if let model::Seen::Complete { at, .. } = listing {
                *at = ago(age);
            }
        }
        let plan = engine::plan(&seen, &world.policy, now());
        assert_eq!(!plan.actions.is_empty(), leaves, "{age} s");
    }
    // and so for what was begun before it
    let name = world.instances[0].name.clone();
    let executor = Some(executor_ref(&name));
    let intent = Intent::Leave {
        instance: name,
        executor,
        epoch: EPOCH,
        step: LeaveStep::Settling,
    };
    world.intents = vec![StoredIntent {
        intent,
        age: span("1h"),
    }];
    world.workload.executors[0].cordon = Cordon::Ours { epoch: EPOCH };
    world.listing = "old";
    assert!(world.plan().actions.is_empty());
}

/// A machine that ends by itself before it joins is a failed boot as much as one that hangs: a boot script that powers off
/// when it fails would else be started for ever.
#[test]
fn a_machine_that_ends_before_it_joins_is_a_failed_boot() {
    for state in [
        InstanceState::Stopped,
        InstanceState::Stopping,
        InstanceState::Gone { why: None },
    ] {
        let failed = |launched: bool, departing: bool| {
            let text = if departing {
                "cordoning 1s"
            } else {
                "booting 20s"
            };
            let mut world = World::parse(&format!("max 9 | queued 1 | {text}"));
            world.instances[0].state = state.clone();
            if launched {
                world.memory.launched = [world.instances[0].name.clone()].into();
            }
            let memory = world.plan().memory;
            memory
                .broken
                .values()
                .map(|failed| failed.machines.len())
                .sum::<usize>()
        };
        assert_eq!(failed(true, false), 1, "{state:?}");
        assert_eq!(failed(false, false), 0, "{state:?}: it may have joined");
        assert_eq!(
            failed(true, true),
            u32::from(state == InstanceState::Stopped) as usize,
            "{state:?}: we let it go"
        );
    }
}

/// The breaker is of what machines are made from: another image begins anew, and another offer goes on.
#[test]
fn a_broken_image_holds_its_own_offer_only() {
    let made = |generations: [&str; 2]| {
        let mut world = World::parse("max 9 offers 2 | queued 4 | no instances | failed-boots 5");
        for (offer, generation) in world.policy.offers.iter_mut().zip(generations) {
            offer.generation = Generation::new(generation);
        }
        let plan = world.plan();
        let made = |index: u32| {
            let creations = plan.actions.iter().map(move |action| match action {
                Action::Create { count, offer, .. } if offer.index == index => *count,
                _ => 0,
            });
            creations.sum::<u32>()
        };
        (made(0), made(1))
    };
    // five failures ask for four minutes, and it was five minutes ago
    assert_eq!(made(["now", "now"]), (1, 1));
    assert_eq!(made(["now", "other"]), (1, 3));
    assert_eq!(made(["other", "now"]), (4, 0));
    assert_eq!(made(["other", "another"]), (4, 0));
}

/// Each failure more doubles the time until the next machine tries.
#[test]
fn a_broken_image_is_tried_ever_more_rarely() {
    let waits = |failures: u32, since: u64| {
        let mut world = World::parse(&format!(
            "max 9 | queued 4 | no instances | failed-boots {failures}"
        ));
        for failed in world.memory.broken.values_mut() {
            failed.last = ago(since);
        }
        world.plan().actions.is_empty()
    };
    for (failures, wait) in [(3, 60), (4, 120), (5, 240), (8, 1800), (99, 1800)] {
        assert!(waits(failures, wait - 1), "{failures}");
        assert!(!waits(failures, wait), "{failures}");
    }
    assert!(!waits(2, 0));
}

/// What boots of an offer taught follows what its machines are made from: to its new place when another is put before it,
/// and not to the image that takes its place.
#[test]
fn what_boots_taught_follows_the_image_and_not_the_place() {
    let learned = OfferMemory {
        made_from: Some(Generation::new("now")),
        made: 9,
        boot_ms: 40_000,
        ..OfferMemory::default()
    };
    let after = |generations: [&str; 2]| {
        let mut world = World::parse("max 9 | queued 0 | idle 1s");
        let offers = (0..2).map(|place| offer(place, "aws")).zip(generations);
        world.policy.offers = offers
            .map(|(offer, generation)| model::OfferPolicy {
                generation: Generation::new(generation),
                ..offer
            })
            .collect();
        world
            .memory
            .offers
            .insert(offer(0, "aws").id, learned.clone());
        let plans = plan_fleet(std::slice::from_ref(&world), &FleetPolicy::default());
        let known = plans[0].plan.memory.offers.clone();
        let boots = |place| known.get(&offer(place, "aws").id).map(|it| it.boot_ms);
        (boots(0), boots(1))
    };
    assert_eq!(after(["now", "other"]), (Some(40_000), None), "as it was");
    assert_eq!(
        after(["new", "now"]),
        (None, Some(40_000)),
        "another was put before it"
    );
    assert_eq!(
        after(["new", "other"]),
        (None, None),
        "its image was changed"
    );
}

/// A machine of the image before, or one whose offer has another image since, has the whole time of the configuration.
#[test]
fn a_machine_that_nothing_makes_any_more_has_the_whole_time() {
    let is_stuck = |generation: &str| {
        let mut world = World::parse("max 9 | queued 1 | booting 300s");
        let id = offer(0, "aws").id;
        world.instances[0].offer = Some(id.clone());
        world.instances[0].generation = Some(Generation::new(generation));
        let learned = OfferMemory {
            made_from: Some(Generation::new("now")),
            made: 9,
            boot_ms: 40_000,
            ..OfferMemory::default()
        };
        world.memory.offers.insert(id, learned);
        world.plan().to_string().contains("never joined")
    };
    assert!(is_stuck("now"));
    assert!(!is_stuck("before"));
}

/// The deadline is four times what boots of the offer took, never more than the configuration says, and is not believed
/// while machines fail.
#[test]
fn the_boot_deadline_is_learned() {
    let is_stuck = |made: u32, boot: u64, failures: u32, age: u64| {
        let mut world = World::parse(&format!("max 9 | queued 1 | booting {age}s"));
        let id = offer(0, "aws").id;
        world.instances[0].offer = Some(id.clone());
        let learned = OfferMemory {
            made,
            boot_ms: boot * 1000,
            ..OfferMemory::default()
        };
        world.memory.offers.insert(id, learned);
        let machines = (0..failures).map(|i| format!("linux-6-{i}-0").parse().unwrap());
        let failed = FailedBoots {
            machines: machines.collect(),
            last: ago(0),
        };
        if failures > 0 {
            world.memory.broken = [(Generation::new("now"), failed)].into();
        }
        let plan = world.plan();
        plan.actions.iter().any(|action| {
            matches!(
                action,
                Action::Cordon {
                    why: LeaveWhy::Stuck,
                    ..
                }
            )
        })
    };
    let deadline = |made, boot, failures| {
        (1..900)
            .find(|age| is_stuck(made, boot, failures, *age))
            .map(|age| age - 1)
    };
    assert_eq!(deadline(3, 40, 0), Some(600), "too few have joined");
    assert_eq!(deadline(4, 40, 0), Some(160));
    assert_eq!(
        deadline(4, 5, 0),
        Some(120),
        "twice what is expected at least"
    );
    assert_eq!(deadline(4, 40, 1), Some(320));
    assert_eq!(deadline(4, 40, 2), Some(600));
    assert_eq!(deadline(4, 400, 0), Some(600));
}
