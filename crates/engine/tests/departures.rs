//! Departures at their edges: what is asked for again and when, and what keeps a machine, an executor or a departure from
//! being given up on doubt.
//!
//! Each test here was written for a change of the code that the situations in words did not notice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, DeleteProof, Plan, invariants};
use model::{
    Cordon, ExecutorState, InstanceName, InstanceState, Intent, IntentKey, JobId, JobsRun,
    LeaveStep, StoredIntent,
};
use support::{EPOCH, World, executor_ref, now, span, stood_at};

/// The plan of a world; it breaks no invariant.
fn plan(world: &World) -> Plan {
    let seen = world.observation();
    let plan = engine::plan(&seen, &world.policy, now());
    let violations = invariants::check(&seen, &world.policy, &plan, now());
    assert!(violations.is_empty(), "{violations:?}\n{plan}");
    plan
}

fn planned(text: &str) -> Plan {
    plan(&World::parse(text))
}

/// One machine that is in this step of a departure since so long, with an executor only if that is said.
fn in_step(state: &str, step: LeaveStep, age: &str, has_executor: bool) -> World {
    let mut world = World::parse(&format!("max 9 | queued 0 | {state}"));
    let instance = world.instances[0].name.clone();
    let executor = has_executor.then(|| executor_ref(&instance));
    let intent = Intent::Leave {
        instance,
        executor,
        epoch: EPOCH,
        step,
    };
    let age = span(age);
    world.intents = vec![StoredIntent { intent, age }];
    world
}

fn words(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| action.as_str().to_owned())
        .collect()
}

fn steps(plan: &Plan) -> Vec<LeaveStep> {
    let steps = plan.put.iter().filter_map(|intent| match intent {
        Intent::Leave { step, .. } => Some(*step),
        Intent::Create { .. } => None,
    });
    steps.collect()
}

#[test]
fn a_cordon_that_the_look_shows_is_confirmed_at_once() {
    let mut world = in_step("idle 1h", LeaveStep::Cordoning, "1s", true);
    world.workload.executors[0].cordon = Cordon::Ours { epoch: EPOCH };
    let plan = plan(&world);
    assert!(plan.actions.is_empty(), "{plan}");
    assert_eq!(steps(&plan), [LeaveStep::Settling]);
}

#[test]
fn a_cordon_whose_answer_was_lost_is_set_again_after_half_a_minute() {
    for (age, expected) in [("29s", &[][..]), ("30s", &["cordon"])] {
        let plan = plan(&in_step("idle 1h", LeaveStep::Cordoning, age, true));
        assert_eq!(words(&plan), expected, "{age}: {plan}");
    }
}

#[test]
fn a_deletion_whose_answer_was_lost_is_asked_for_again_after_half_a_minute() {
    for (state, executor, proof) in [
        ("idle 1h", true, "ReadIdle"),
        ("stopped", true, "PoweredOff"),
        ("unregistered", false, "NeverRegistered"),
    ] {
        for (age, count) in [("29s", 0), ("30s", 1)] {
            let plan = plan(&in_step(state, LeaveStep::Deleting, age, executor));
            assert_eq!(plan.actions.len(), count, "{state} {age}: {plan}");
            for action in &plan.actions {
                let Action::Delete { proof: found, .. } = action else {
                    panic!("{action}")
                };
                assert!(
                    format!("{found:?}").starts_with(proof),
                    "{state}: {found:?}"
                );
            }
        }
    }
}

/// Nothing was ever registered for it: it is deleted when a whole look after the settle time shows nothing either.
#[test]
fn a_machine_that_never_registered_goes_after_one_more_look() {
    let deletes = |age: &str, partial: bool| {
        let mut world = in_step("unregistered", LeaveStep::Cordoning, age, false);
        if partial {
            world
                .workload
                .completeness
                .doubt("a page is missing".to_owned());
        }
        let plan = plan(&world);
        let proofs = plan.actions.iter().map(|action| match action {
            Action::Delete { proof, .. } => proof.clone(),
            other => panic!("{other}"),
        });
        proofs.collect::<Vec<_>>()
    };
    // the look is two seconds old
    assert!(deletes("61s", false).is_empty());
    assert_eq!(deletes("62s", false), [DeleteProof::NeverRegistered]);
    assert!(
        deletes("62s", true).is_empty(),
        "it may be on the missing page"
    );
    // a look from before may be the one by which it was given up: it may have joined since, and have a job
    let mut world = in_step("unregistered", LeaveStep::Cordoning, "90s", false);
    world.workload_age = 31;
    let held = plan(&world);
    assert!(held.actions.is_empty(), "{held}");
    world.workload_age = 30;
    assert_eq!(words(&plan(&world)), ["delete"]);
}

/// What is said of a pace or a share is said when it holds somebody back, and not when it is just enough.
#[test]
fn a_pace_that_is_just_enough_is_not_mentioned() {
    for (rule, idle, said) in [
        ("pace 2", 2, false),
        ("pace 2", 3, true),
        ("share 50%", 2, true),
        ("share 100%", 2, false),
    ] {
        let plan = planned(&format!("max 9 {rule} | queued 0 | idle 1h x{idle}"));
        let codes: Vec<&str> = plan.reasons.iter().map(engine::Reason::code).collect();
        let holds = codes
            .iter()
            .any(|code| matches!(*code, "scale_in_pace" | "leave_share"));
        assert_eq!(holds, said, "{rule} with {idle}: {plan}");
    }
}

/// Nodes that join no CI server have no executor to name.
#[test]
fn a_node_without_an_executor_leaves_all_the_same() {
    let mut world = World::parse("max 9 executors none | never | idle 1h");
    world.instances[0].executor = None;
    assert_eq!(words(&plan(&world)), ["delete"]);
}

/// Without the right to control executors nothing can be proven idle, but what is powered off runs nothing.
#[test]
fn a_read_only_pool_deletes_only_what_is_powered_off() {
    let begun = planned("max 9 executors read-only | queued 0 | stopped");
    assert_eq!(steps(&begun), [LeaveStep::Cordoning]);
    let mut world = in_step("stopped", LeaveStep::Cordoning, "20s", true);
    let uncontrolled = World::parse("max 9 executors read-only | queued 0 | stopped");
    world.policy = uncontrolled.policy;
    assert_eq!(words(&plan(&world)), ["delete"]);
    assert!(words(&planned("max 9 executors read-only | queued 0 | lost")).is_empty());
    assert!(words(&planned("max 9 executors read-only | queued 0 | stuck")).is_empty());
}

/// An agent may be idle while the cloud still calls its machine pending: what is not running is not judged.
#[test]
fn a_machine_that_is_not_running_does_not_begin_to_leave() {
    let mut world = World::parse("max 9 | queued 0 | idle 1h");
    assert_eq!(words(&plan(&world)), ["cordon"]);
    world.instances[0].state = InstanceState::Pending;
    assert!(words(&plan(&world)).is_empty());
    // and one on its way out is not called back
    let mut world = World::parse("max 9 | queued 1 | settling 10s");
    assert_eq!(words(&plan(&world))[0], "uncordon");
    world.instances[0].state = InstanceState::Pending;
    assert!(!words(&plan(&world)).contains(&"uncordon".to_owned()));
}

const DOUBTS: [&str; 4] = [
    "queued 0 partial a_page | GHOST",
    "queued 0 config other | GHOST",
    "queued 0 | GHOST | listing partial",
    "queued 0 | GHOST | listing old",
];

/// A ghost is removed after a time of watching; on any doubt of the look or of the listing it is watched on.
#[test]
fn a_ghost_is_not_removed_on_doubt() {
    assert_eq!(
        words(&planned("max 9 | queued 0 | ghost 10m")),
        ["remove_executor"]
    );
    for doubt in DOUBTS {
        let plan = planned(&format!("max 9 | {}", doubt.replace("GHOST", "ghost 10m")));
        assert!(plan.actions.is_empty(), "{doubt}: {plan}");
        assert_eq!(plan.memory.ghosts.len(), 1, "it is watched on: {doubt}");
    }
    assert!(
        planned("max 9 executors read-only | queued 0 | ghost 10m")
            .actions
            .is_empty()
    );
}

/// And one of which nobody can tell: unknown is busy, without a machine too.
#[test]
fn a_ghost_that_may_run_a_job_is_left_alone() {
    let states = [
        ExecutorState::Busy {
            jobs: vec![JobId::new("1")],
        },
        ExecutorState::Unknown { why: "503".into() },
    ];
    for state in states {
        let mut world = World::parse("max 9 | queued 0 running 1 | ghost 10m");
        world.workload.executors[0].state = state;
        let plan = plan(&world);
        assert!(
            plan.actions.is_empty() && plan.memory.ghosts.is_empty(),
            "{plan}"
        );
    }
}

/// Two executors of one name, as an agent that was set up twice: the one that may run a job is believed.
#[test]
fn of_two_executors_with_one_name_the_busier_is_believed() {
    let idle = ExecutorState::Idle { since: None };
    let unknown = ExecutorState::Unknown { why: "503".into() };
    let busy = ExecutorState::Busy {
        jobs: vec![JobId::new("1")],
    };
    for (one, other) in [(&idle, &unknown), (&idle, &busy), (&unknown, &busy)] {
        for [first, second] in [[one, other], [other, one]] {
            let mut world = World::parse("max 9 | queued 0 | idle 2h");
            world.workload.executors[0].state = first.clone();
            let mut again = world.workload.executors[0].clone();
            again.state = second.clone();
            world.workload.executors.push(again);
            let plan = plan(&world);
            assert!(words(&plan).is_empty(), "{first:?} {second:?}: {plan}");
        }
    }
}

/// A provider that shows a machine as powered off for a moment, as while it restarts it, is asked once more.
#[test]
fn a_machine_that_is_powered_off_goes_when_it_was_seen_so_twice() {
    let begun = planned("max 9 | queued 0 | stopped");
    assert_eq!(steps(&begun), [LeaveStep::Cordoning]);
    assert!(begun.actions.is_empty(), "{begun}");
    for (age, listing, expected) in [
        ("0s", "complete", &[][..]),
        ("20s", "complete", &["delete"]),
        ("20s", "partial", &[]),
        ("20s", "old", &[]),
    ] {
        let mut world = in_step("stopped", LeaveStep::Cordoning, age, true);
        world.listing = listing;
        let plan = plan(&world);
        assert_eq!(words(&plan), expected, "{age} {listing}: {plan}");
    }
}

/// It was on its way up again. Where no executor can be controlled nobody would ever end a departure that waits for a cordon: the
/// machine would serve no more in our eyes, and be paid for ever.
#[test]
fn one_that_was_powered_off_and_runs_again_stays() {
    for way in ["read-only", "best-effort"] {
        let mut world = in_step("busy", LeaveStep::Cordoning, "20s", true);
        let policy = format!("max 9 executors {way} | queued 0 | busy");
        world.policy = World::parse(&policy).policy;
        let name = world.instances[0].name.clone();
        let plan = plan(&world);
        assert!(words(&plan).is_empty(), "{way}: {plan}");
        assert_eq!(plan.end, [IntentKey::Leave(name)], "{way}: {plan}");
    }
    // idle, it goes on leaving as such a pool lets machines go, or stays where they go by themselves
    for (way, expected) in [("read-only", &[][..]), ("best-effort", &["delete"])] {
        let mut world = in_step("idle", LeaveStep::Cordoning, "20s", true);
        let policy = format!("max 9 executors {way} | queued 0 | idle");
        world.policy = World::parse(&policy).policy;
        assert_eq!(words(&plan(&world)), expected, "{way}");
    }
}

/// Somebody paused it and switched it off to have a look at it: what somebody else keeps from jobs is never touched.
#[test]
fn a_machine_that_somebody_paused_and_switched_off_stays() {
    let mut world = World::parse("max 9 | queued 0 | stopped");
    world.workload.executors[0].cordon = Cordon::Foreign;
    let held = plan(&world);
    assert!(held.actions.is_empty() && held.put.is_empty(), "{held}");
    let mut world = in_step("stopped", LeaveStep::Cordoning, "20s", true);
    world.workload.executors[0].cordon = Cordon::Foreign;
    let held = plan(&world);
    assert!(held.actions.is_empty(), "{held}");
}

/// A departure ends when its machine is certainly gone, and not because nobody could look.
#[test]
fn a_departure_is_not_given_up_on_doubt() {
    let ended = |text: &str| planned(text).end.len();
    assert_eq!(ended("max 9 | queued 0 | vanished 2m"), 1);
    for doubt in DOUBTS {
        let text = format!("max 9 | {}", doubt.replace("GHOST", "vanished 2m"));
        assert_eq!(ended(&text), 0, "{doubt}");
    }
}

/// The removal of an executor whose machine is gone is asked for again after half a minute.
#[test]
fn a_removal_whose_answer_was_lost_is_asked_for_again() {
    for (step, age, expected) in [
        (LeaveStep::Deleting, "1s", &["remove_executor"][..]),
        (LeaveStep::Removing, "29s", &[]),
        (LeaveStep::Removing, "30s", &["remove_executor"]),
    ] {
        let mut world = in_step("gone", step, age, true);
        world.workload.executors[0].state = ExecutorState::Offline { since: None };
        let plan = plan(&world);
        assert_eq!(words(&plan), expected, "{step:?} {age}: {plan}");
        assert!(plan.end.is_empty(), "it ends when the executor is gone");
    }
    let mut world = in_step("gone", LeaveStep::Removing, "1s", true);
    world.workload.executors.clear();
    let name = world.instances[0].name.clone();
    assert_eq!(plan(&world).end, [IntentKey::Leave(name)]);
}

/// Machines of pools that are not asked for are counted if they are alive, and a provider without any is not named.
#[test]
fn strays_are_counted_if_they_are_alive() {
    let strays = |machines: &str| {
        let stray = World::named("stray", &format!("max 9 | queued 0 | {machines}"));
        let mut fleet = World::together(&[World::parse("max 9 | queued 0 | busy"), stray]);
        fleet.pools.remove(&"stray".parse().unwrap());
        let strays = fleet.split().strays;
        strays
            .into_iter()
            .map(|(provider, count)| (provider.to_string(), count))
            .collect::<Vec<_>>()
    };
    assert_eq!(strays("busy x2, gone"), [("aws".to_owned(), 2)]);
    assert!(strays("gone x2").is_empty());
}

/// That other machines are listed says nothing of this one; that it is listed as gone does, though the listing is not whole.
#[test]
fn a_machine_is_gone_by_its_own_row() {
    let partial = planned("max 9 | queued 0 running 1 | vanished 2m, busy | listing partial");
    assert!(partial.end.is_empty(), "{partial}");
    let listed = planned("max 9 | queued 0 | gone 2m | listing partial");
    assert_eq!(words(&listed), ["remove_executor"], "{listed}");
}

/// A world whose first machine its provider takes back.
fn taken_back(text: &str) -> World {
    let mut world = World::parse(text);
    world.instances[0].notice = Some("spot interruption".to_owned());
    world
}

/// Prevents: a job starts on a machine that is gone two minutes later, and nothing stands ready for its second try.
#[test]
fn a_machine_that_is_taken_back_gets_no_new_job_and_another_takes_its_place() {
    assert_eq!(
        words(&plan(&taken_back("min 1 max 9 | queued 0 | idle 1m"))),
        ["create", "cordon"]
    );
    let queued = plan(&taken_back("max 9 | queued 1 | idle 1m"));
    assert_eq!(words(&queued), ["create", "cordon"]);
    let why = "serves no longer, since its provider takes it back: spot interruption";
    assert!(queued.to_string().contains(why), "{queued}");
}

/// Its job may end before the machine does; and the next job is not to be lost with it.
#[test]
fn a_busy_machine_that_is_taken_back_is_cordoned_and_never_deleted() {
    let world = taken_back("max 9 | queued 0 running 1 | busy");
    assert_eq!(words(&plan(&world)), ["cordon"]);
    let mut settled = taken_back("max 9 | queued 0 running 1 | busy");
    let instance = settled.instances[0].name.clone();
    let intent = Intent::Leave {
        executor: Some(executor_ref(&instance)),
        instance,
        epoch: EPOCH,
        step: LeaveStep::Settling,
    };
    let age = span("1h");
    settled.intents = vec![StoredIntent { intent, age }];
    settled.workload.executors[0].cordon = Cordon::Ours { epoch: EPOCH };
    assert!(words(&plan(&settled)).is_empty());
}

/// Called back, it would take the very job that is waiting, and lose it.
#[test]
fn a_machine_that_is_taken_back_is_not_called_back() {
    let world = World::parse("max 9 | queued 1 | settling 10s");
    assert_eq!(words(&plan(&world)), ["uncordon"]);
    let world = taken_back("max 9 | queued 1 | settling 10s");
    assert_eq!(words(&plan(&world)), ["create"]);
}

/// A machine that is still booting, or that joins no CI server, is left to its provider: it is replaced, not deleted.
#[test]
fn without_an_executor_a_machine_that_is_taken_back_is_only_replaced() {
    let mut world = taken_back("max 9 | queued 1 | booting 1m");
    world.instances[0].executor = None;
    world.workload.executors.clear();
    assert_eq!(words(&plan(&world)), ["create"]);
    let mut world = taken_back("min 1 max 9 executors none | never | idle 1h");
    world.instances[0].executor = None;
    assert_eq!(words(&plan(&world)), ["create"]);
}

/// The same world in a pool that joins no CI server.
fn without_executors(text: &str) -> World {
    let mut world = World::parse(text);
    for instance in &mut world.instances {
        instance.executor = None;
        let since = now() - jiff::SignedDuration::from_hours(1);
        world.memory.idle_since.insert(instance.name.clone(), since);
    }
    world.workload.executors.clear();
    world
}

/// Prevents: a notice that comes to nothing (a mark that nobody takes off, maintenance that was put off) is a machine that is
/// paid for ever, beside the one that took its place.
#[test]
fn without_an_executor_a_machine_that_is_taken_back_goes_when_another_serves_in_its_place() {
    let pool = "min 1 max 9 executors none | never";
    let replaced = without_executors(&format!("{pool} | taken, idle 1h"));
    assert_eq!(words(&plan(&replaced)), ["delete"]);
    let on_its_way = without_executors(&format!("{pool} | taken, pending 1m"));
    assert!(words(&plan(&on_its_way)).is_empty());
    let on_doubt = without_executors(&format!("{pool} | taken, idle 1h | listing partial"));
    assert!(words(&plan(&on_doubt)).is_empty());
    let fresh = "min 1 max 9 idle 2h executors none | never | taken, idle 1h";
    assert!(words(&plan(&without_executors(fresh))).is_empty());
}

/// Prevents: while a machine that is taken back has not joined yet, its executor is cordoned in vain and its departure given up
/// in turns, tick by tick.
#[test]
fn a_machine_that_is_taken_back_before_its_executor_is_seen_is_only_replaced() {
    let mut world = taken_back("max 9 | queued 1 | booting 1m");
    world.workload.executors.clear();
    assert_eq!(words(&plan(&world)), ["create"]);
    let instance = world.instances[0].name.clone();
    let intent = Intent::Leave {
        executor: Some(executor_ref(&instance)),
        instance,
        epoch: EPOCH,
        step: LeaveStep::Settling,
    };
    let age = span("1s");
    world.intents = vec![StoredIntent { intent, age }];
    let plan = plan(&world);
    assert!(plan.end.is_empty(), "nobody lifted a cordon: {plan}");
}

/// Prevents: with a token that may not cordon, machines that never registered anywhere are paid for ever although there is
/// nothing to cordon.
#[test]
fn where_cordons_are_refused_a_machine_without_an_executor_may_leave() {
    let begun = |text: &str| plan(&World::parse(text)).put.len();
    assert_eq!(begun("max 9 | queued 0 | unregistered | refused 403"), 1);
    assert_eq!(begun("max 9 | queued 0 | stuck | refused 403"), 0);
}

/// At TeamCity an agent is made by the machine that joins: a tag names one that may never have been. Taken for one that is
/// only not seen, the machine of a broken image would stay and cost for ever, and be replaced until `max`.
#[test]
fn a_machine_whose_executor_was_never_made_goes_after_one_more_look() {
    let mut world = World::parse("max 9 | queued 0 | absent");
    world.policy.executors_appear = true;
    // nobody saw it come up: it may have joined, and absent is not idle
    let alone = plan(&world);
    assert!(alone.actions.is_empty() && alone.put.is_empty(), "{alone}");
    world.memory.booting = [world.instances[0].name.clone()].into();
    let begun = plan(&world);
    assert_eq!(steps(&begun), [LeaveStep::Cordoning]);
    assert!(
        begun.actions.is_empty(),
        "there is nothing to cordon: {begun}"
    );
    world.memory = begun.memory.clone();
    let deletes = |age: &str, change: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        let intent = begun.put[0].clone();
        let age = span(age);
        world.intents = vec![StoredIntent { intent, age }];
        change(&mut world);
        let plan = plan(&world);
        let proofs = plan.actions.iter().filter_map(|action| match action {
            Action::Delete { proof, .. } => Some(proof.clone()),
            _ => None,
        });
        proofs.collect::<Vec<_>>()
    };
    assert!(deletes("61s", &|_| {}).is_empty());
    assert_eq!(deletes("62s", &|_| {}), [DeleteProof::NeverRegistered]);
    let partial = |world: &mut World| world.workload.completeness.doubt("a page is missing");
    assert!(deletes("62s", &partial).is_empty());
    // it came after all
    let joined = |world: &mut World| {
        let name = world.instances[0].name.clone();
        let idle = ExecutorState::Idle { since: None };
        world
            .workload
            .executors
            .push(support::executor(&name, idle));
    };
    assert!(deletes("62s", &joined).is_empty());
    // where registration makes the executor, one that is absent was removed, and may still run a job
    let registered = |world: &mut World| world.policy.executors_appear = false;
    assert!(deletes("62s", &registered).is_empty());
}

/// While nobody can look where a machine stands, what is known of it is kept; but for its never having joined, when the look
/// shows its executor. Once everything is listed and shows none, all of it is forgotten; and so is a machine of another place
/// at once, or a provider that stays away would make the memory grow.
#[test]
fn what_is_known_of_a_machine_is_kept_while_it_is_not_listed() {
    let mut world = World::parse("max 9 jobs 1 | queued 0 | absent");
    world.policy.executors_appear = true;
    let name = world.instances[0].name.clone();
    let used = JobsRun::default();
    world.instances.clear();
    world.memory.booting = [name.clone()].into();
    world.memory.jobs = [(name.clone(), used.clone())].into();
    world.memory.listed = [stood_at("aws", [name.clone()])].into();
    let elsewhere: InstanceName = "linux-7-9-0".parse().unwrap();
    world.memory.booting.insert(elsewhere.clone());
    world.memory.jobs.insert(elsewhere, used.clone());
    for listing in ["never", "partial"] {
        world.listing = listing;
        let memory = plan(&world).memory;
        assert!(memory.booting.iter().eq([&name]), "{listing}");
        assert!(memory.jobs.iter().eq([(&name, &used)]), "{listing}");
        let mut joined = world.clone();
        let idle = ExecutorState::Idle { since: None };
        joined
            .workload
            .executors
            .push(support::executor(&name, idle));
        let memory = plan(&joined).memory;
        assert!(memory.booting.is_empty(), "{listing}");
        assert_eq!(memory.jobs.get(&name), Some(&used), "{listing}");
    }
    world.listing = "whole";
    let memory = plan(&world).memory;
    assert!(memory.booting.is_empty() && memory.jobs.is_empty());
}

/// Prevents: where executors may only be read, the one that a deleted machine leaves behind is asked to be removed every half
/// minute for ever, and each time refused.
#[test]
fn an_executor_that_may_only_be_read_is_left_to_its_server() {
    let mut world = World::parse("max 9 executors best-effort | queued 0 | idle 30m");
    let name = world.instances.remove(0).name;
    let intent = Intent::Leave {
        instance: name.clone(),
        executor: Some(executor_ref(&name)),
        epoch: EPOCH,
        step: LeaveStep::Deleting,
    };
    let age = span("1m");
    world.intents = vec![StoredIntent { intent, age }];
    let over = plan(&world);
    assert_eq!(over.end, [IntentKey::Leave(name)], "{over}");
    assert!(over.actions.is_empty(), "{over}");
}

/// Seed 350 of the simulated lives found it: whatever hides for a while that a machine is on its way up (a notice that comes
/// to nothing, a CI server that is down when its time is over, a state that means nothing to us), it was still never seen to
/// join. Forgotten, it would be one that may have joined, and be paid for ever.
#[test]
fn a_machine_that_never_joined_is_known_as_such_whatever_came_between() {
    let mut coming = World::parse("max 9 | queued 0 | absent");
    coming.policy.executors_appear = true;
    coming.instances[0].created_at = Some(support::ago(30));
    let name = coming.instances[0].name.clone();
    coming.memory = plan(&coming).memory;
    assert!(coming.memory.booting.contains(&name));
    let old = Some(support::ago(9_000));
    let between: [(&str, &dyn Fn(&mut World)); 5] = [
        ("a notice", &|world| {
            world.instances[0].notice = Some("spot".into());
        }),
        ("a look with a hole", &|world| {
            world.instances[0].created_at = old;
            world.workload.completeness.doubt("a page is missing");
        }),
        ("a listing that is old", &|world| {
            world.instances[0].created_at = old;
            world.listing = "old";
        }),
        ("a strange state", &|world| {
            let what = "rebooting".into();
            world.instances[0].state = InstanceState::Unknown { what };
        }),
        ("a scaler that has not listed it yet", &|world| {
            let name = world.instances[0].name.clone();
            world.memory.listed = [stood_at("aws", [name])].into();
            world.instances.clear();
            world.listing = "never";
        }),
    ];
    for (what, change) in between {
        let mut then = coming.clone();
        change(&mut then);
        let mut after = coming.clone();
        after.memory = plan(&then).memory;
        after.instances[0].created_at = old;
        assert_eq!(steps(&plan(&after)), [LeaveStep::Cordoning], "{what}");
    }
    // it came, and its agent is hidden since: absent is not idle
    let mut joined = coming.clone();
    let idle = ExecutorState::Idle { since: None };
    let agent = support::executor(&name, idle);
    joined.workload.executors.push(agent);
    let mut after = coming.clone();
    after.memory = plan(&joined).memory;
    after.instances[0].created_at = old;
    assert!(steps(&plan(&after)).is_empty());
}

/// Seed 526 of the simulated lives found it: an agent that came up just as its machine, which had never joined, was deleted. The
/// departure named no executor, so nothing removed the agent; and as long as it stood, nothing watched the agent either.
#[test]
fn an_executor_that_came_up_in_the_last_moment_is_watched_and_removed() {
    let mut world = in_step("idle", LeaveStep::Deleting, "40s", false);
    let name = world.instances[0].name.clone();
    world.instances.clear();
    let ended = plan(&world);
    assert_eq!(ended.end, [IntentKey::Leave(name.clone())], "{ended}");
    world.intents.clear();
    world.memory = plan(&world).memory;
    assert!(world.memory.ghosts.contains_key(&name));
    let watched = world.memory.ghosts.get_mut(&name).unwrap();
    *watched = support::ago(200);
    let removes = plan(&world);
    let is_removal = |action: &Action| matches!(action, Action::RemoveExecutor { .. });
    assert!(removes.actions.iter().any(is_removal), "{removes}");
}

/// A cordon that never came: by the time it would be asked for once more a job is there, and whoever begins to leave is idle.
/// What has to leave whatever it does is cordoned all the same.
#[test]
fn a_machine_that_got_a_job_instead_of_its_cordon_serves_on() {
    for state in ["busy 100s", "unreadable 100s"] {
        let held = plan(&in_step(state, LeaveStep::Cordoning, "29s", true));
        assert!(words(&held).is_empty() && held.end.is_empty(), "{held}");
        let world = in_step(state, LeaveStep::Cordoning, "30s", true);
        let name = world.instances[0].name.clone();
        let plan = plan(&world);
        assert!(words(&plan).is_empty(), "{state}: {plan}");
        assert_eq!(plan.end, [IntentKey::Leave(name)], "{state}: {plan}");
    }
    let mut world = in_step("busy 100s", LeaveStep::Cordoning, "30s", true);
    world.instances[0].notice = Some("spot".into());
    assert_eq!(words(&plan(&world)), ["cordon"]);
}

/// A machine that joined right before its deletion, or of which that could not be told, is named and left for a while; what has
/// an executor to read, or joins no CI server, is deleted all the same.
#[test]
fn what_may_have_joined_right_before_its_deletion_is_not_deleted_for_now() {
    let name: model::InstanceName = "linux-7-1-0".parse().unwrap();
    for (state, step, executor, held) in [
        ("unregistered", LeaveStep::Cordoning, false, true),
        ("unregistered", LeaveStep::Deleting, false, true),
        ("stopped", LeaveStep::Cordoning, true, true),
        ("stopped", LeaveStep::Deleting, false, true),
        ("idle 1h", LeaveStep::Deleting, true, false),
    ] {
        let mut world = in_step(state, step, "62s", executor);
        assert_eq!(words(&plan(&world)), ["delete"], "{state} {step:?}");
        world.join_doubts.insert(name.clone(), "503".to_owned());
        let plan = plan(&world);
        let expected: &[&str] = if held { &[] } else { &["delete"] };
        assert_eq!(words(&plan), expected, "{state} {step:?}: {plan}");
        let said = plan
            .to_string()
            .contains("linux-7-1-0 is not deleted for now: 503");
        assert_eq!(said, held, "{plan}");
    }
}

/// It is not given up again and again either, until the next look has shown what was found.
#[test]
fn what_was_found_right_before_its_deletion_does_not_begin_to_leave_at_once() {
    for state in ["unregistered", "stopped"] {
        let mut world = World::parse(&format!("max 10 | queued 0 | {state}"));
        assert_eq!(steps(&plan(&world)), [LeaveStep::Cordoning], "{state}");
        let name = "linux-7-1-0".parse().unwrap();
        world.join_doubts.insert(name, "found".to_owned());
        let held = plan(&world);
        assert!(held.put.is_empty() && held.actions.is_empty(), "{held}");
        assert!(
            held.to_string().contains("is not deleted for now: found"),
            "{held}"
        );
    }
}

/// `kind: command` need not tell when a machine was created. It is then as old as it has been listed, and never for ever too young.
#[test]
fn a_machine_of_unknown_age_leaves_like_any_other_once_it_was_listed_for_long_enough() {
    for (state, leaves) in [
        ("idle 1h", "idle for long enough"),
        ("absent", "it never joined"),
    ] {
        let mut world = World::parse(&format!("max 9 | queued 0 | {state}"));
        world.policy.executors_appear = true;
        world.instances[0].created_at = None;
        let name = world.instances[0].name.clone();
        let first = plan(&world);
        assert!(first.put.is_empty(), "{state}: it may be young: {first}");
        assert_eq!(
            first.memory.first_listed.get(&name),
            Some(&now()),
            "{state}"
        );
        let held = world.memory.idle_since.clone();
        world.memory = first.memory;
        world.memory.idle_since.extend(held);
        // a listing with a hole forgets nothing
        let mut hidden = world.clone();
        hidden.listing = "never";
        assert_eq!(plan(&hidden).memory.first_listed, world.memory.first_listed);
        let long_ago = support::ago(9_000);
        world.memory.first_listed.insert(name.clone(), long_ago);
        let then = plan(&world);
        assert_eq!(
            then.memory.first_listed.get(&name),
            Some(&long_ago),
            "{state}"
        );
        assert!(then.to_string().contains(leaves), "{state}: {then}");
        // and what is gone is forgotten
        world.instances.clear();
        assert!(plan(&world).memory.first_listed.is_empty(), "{state}");
    }
}
