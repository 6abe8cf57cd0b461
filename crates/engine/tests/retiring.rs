//! Machines that leave although they are wanted: single-use ones, old ones, and those made from what is not configured any
//! more. None of it costs a build its machine, nor a queue its capacity.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, LeaveWhy};
use expect_test::expect;
use support::{World, ago, check, now};

/// The machines that begin to leave by a cordon, and why.
fn leaving(world: &World) -> Vec<(String, LeaveWhy)> {
    let plan = engine::plan(&world.observation(), &world.policy, now());
    let cordons = plan.actions.iter().filter_map(|action| match action {
        Action::Cordon { instance, why, .. } => Some((instance.to_string(), *why)),
        _ => None,
    });
    cordons.collect()
}

fn created(world: &World) -> usize {
    let plan = engine::plan(&world.observation(), &world.policy, now());
    let creations = plan.actions.iter();
    creations
        .filter(|action| matches!(action, Action::Create { .. }))
        .count()
}

/// The job that runs is left to finish, and no second one can be handed out behind it.
#[test]
fn a_single_use_machine_is_kept_from_new_jobs_while_its_only_one_runs() {
    check(
        "jobs 1 max 9 | queued 1 running 1 | busy",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        cordon linux-7-1-0: it has run the jobs it may run (reuse.max_jobs)
          demand: 1 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 2
          grows by 1 machine from linux-m/0
          linux-7-1-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
    "#]],
    );
}

/// Job A's machine taken by job B, and none made for A (terraform-aws-github-runner#4262, #933).
#[test]
fn a_used_machine_is_no_room_for_the_next_job() {
    check(
        "jobs 1 max 9 | queued 1 | worn-idle 1h",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        cordon linux-7-1-0: it has run the jobs it may run (reuse.max_jobs)
          demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
          grows by 1 machine from linux-m/0
          linux-7-1-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
    "#]],
    );
}

#[test]
fn a_single_use_machine_that_still_runs_is_not_deleted() {
    check(
        "jobs 1 max 9 | queued 0 running 1 | settling-busy 10m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-1-0 is leaving: it runs a job, which is left to finish
              steady at 1 machine
        "#]],
    );
}

/// An agent that runs one job and goes is what single use means; it is no sign of a broken network.
#[test]
fn agents_that_went_with_their_only_job_are_no_anomaly() {
    check(
        "jobs 1 max 9 | queued 0 | worn-lost 1m x4",
        expect![[r#"
        cordon linux-7-1-0: it has run the jobs it may run (reuse.max_jobs)
        cordon linux-7-2-0: it has run the jobs it may run (reuse.max_jobs)
        cordon linux-7-3-0: it has run the jobs it may run (reuse.max_jobs)
        cordon linux-7-4-0: it has run the jobs it may run (reuse.max_jobs)
          demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
          linux-7-1-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
          linux-7-2-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
          linux-7-3-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
          linux-7-4-0 begins to leave: it has run the jobs it may run (reuse.max_jobs)
    "#]],
    );
}

/// Where nobody may cordon, a used machine serves on, and no capacity is invented.
#[test]
fn without_the_right_to_cordon_a_used_machine_serves_on() {
    check(
        "jobs 1 max 9 executors read-only | queued 1 | worn-idle 1h",
        expect![[r#"
            nothing to do
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              steady at 1 machine
        "#]],
    );
}

/// The other is made first.
#[test]
fn an_old_machine_serves_until_another_is_up() {
    check(
        "min 2 max 9 max-age 20m | queued 0 | idle 1h x2",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 2 (min)
              grows by 1 machine from linux-m/0
              2 machines to be replaced (too old, changed or drained), 1 more may leave at once; 1 more than wanted must be up first
        "#]],
    );
    check(
        "min 2 max 9 max-age 20m | queued 0 | idle 1h x2, booting 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 2 (min)
              2 machines to be replaced (too old, changed or drained), 1 more may leave at once; 1 more than wanted must be up first
              steady at 3 machines
        "#]],
    );
}

#[test]
fn when_there_is_no_room_for_another_one_old_machine_goes_first() {
    check(
        "min 2 max 2 max-age 20m | queued 0 | idle 1h x2",
        expect![[r#"
            cordon linux-7-1-0: it is as old as its machines grow (reuse.max_age)
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 2 (min)
              2 machines to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
              linux-7-1-0 begins to leave: it is as old as its machines grow (reuse.max_age)
        "#]],
    );
    check(
        "min 2 max 2 max-age 20m | queued 0 | idle 1h, settling 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 2 (min)
              ceiling: 2 -> 1 (max 2, 2 machines now, serving or not)
              linux-7-2-0 is leaving: cordoned, it settles for 1m
              1 machine to be replaced (too old, changed or drained), 0 more may leave at once; those on their way out are waited for
        "#]],
    );
}

/// One tries the new image; a broken one costs one machine and no capacity.
#[test]
fn a_change_is_tried_by_one_machine() {
    let old = "min 10 max 20 replace 50% | queued 0 | changed-idle 1h x10";
    let world = World::parse(old);
    assert_eq!((created(&world), leaving(&world)), (1, vec![]));
    let world = World::parse(&format!("{old}, booting 30s"));
    assert_eq!((created(&world), leaving(&world)), (0, vec![]));
    // it never joined: it goes, and no old one does for it
    let world = World::parse(&format!("{old}, stuck"));
    let gone: Vec<LeaveWhy> = leaving(&world).into_iter().map(|(_, why)| why).collect();
    assert_eq!((created(&world), gone), (1, vec![LeaveWhy::Stuck]));
}

/// With one new machine up, half of the pool may be on its way out, one for each that stands in.
#[test]
fn when_one_has_joined_the_others_follow_within_the_budget() {
    check(
        "min 4 max 20 replace 50% | queued 0 | changed-idle 1h x4, idle 1m",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            cordon linux-7-1-0: its image, boot script or registration is not what is configured now
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 4 (min)
              grows by 2 machines from linux-m/0
              4 machines to be replaced (too old, changed or drained), 3 more may leave at once; up to 1 now
              linux-7-1-0 begins to leave: its image, boot script or registration is not what is configured now
        "#]],
    );
}

/// Kept busy for ever, a machine would never be replaced if only idle ones were.
#[test]
fn a_busy_machine_that_is_due_finishes_what_it_runs_and_takes_no_more() {
    let mut world = World::parse("max 9 max-age 20m | queued 0 running 2 | busy x2, idle 1m");
    world.instances[2].created_at = Some(ago(300));
    let busy = ("linux-7-1-0".to_owned(), LeaveWhy::Aged);
    assert_eq!((created(&world), leaving(&world)), (0, vec![busy]));
    let world = World::parse("max 9 max-age 20m | queued 0 running 1 | settling-busy 9m, idle 1m");
    let plan = engine::plan(&world.observation(), &world.policy, now());
    assert!(plan.actions.is_empty(), "{plan}");
}

/// What an earlier version made says nothing of what it was made from, and an upgrade replaces no fleet.
#[test]
fn of_a_machine_that_does_not_say_what_it_was_made_from_nothing_is_concluded() {
    let mut world = World::parse("min 3 max 9 replace 100% | queued 0 | idle 1h x3");
    for instance in &mut world.instances {
        instance.generation = None;
    }
    assert_eq!((created(&world), leaving(&world)), (0, vec![]));
}

#[test]
fn nothing_is_replaced_on_doubt() {
    for world in [
        "min 3 max 9 replace 100% | queued 0 age 5m | changed-idle 1h x3, idle 1h",
        "min 3 max 9 replace 100% | queued 0 | changed-idle 1h x3, idle 1h | listing partial",
        "min 3 max 9 replace 100% | queued 0 | changed-idle 1h x3, idle 1h | refused forbidden",
    ] {
        let world = World::parse(world);
        assert_eq!((created(&world), leaving(&world)), (0, vec![]));
    }
}

/// Surplus machines that are due anyway go before those that are not.
#[test]
fn what_is_due_leaves_first_when_there_are_too_many() {
    let world = World::parse(
        "max 9 idle 1m pace 1 replace 1% | queued 0 | idle 2h, changed-idle 20m, idle 3h",
    );
    let mut leaving = leaving(&world).into_iter();
    assert_eq!(
        leaving.next(),
        Some(("linux-7-2-0".to_owned(), LeaveWhy::Changed))
    );
}

/// Whoever stands in is not kept beside the machine that is due: each tick would make one more.
#[test]
fn what_stands_in_is_not_kept_for_what_it_was() {
    for rules in ["break-even 3", "stabilise 10m"] {
        let text =
            format!("max 9 max-age 20m {rules} | queued 0 | idle 1h x3, booting 5s | wanted 7:10s");
        let plan = engine::plan(
            &World::parse(&text).observation(),
            &World::parse(&text).policy,
            now(),
        );
        assert_eq!(created(&World::parse(&text)), 0, "{plan}");
    }
}
