//! Pools whose machines join no CI server (`executor: none`): storage ahead of scheduled jobs, test beds. Nobody tells how
//! many of them are needed and which of them work: rules with schedules size them, and one that runs is ready.
//!
//! It is Thursday, 12:00 UTC. `UPDATE_EXPECT=1 cargo test -p engine --test no_executor` writes the plans anew; read them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use expect_test::expect;
use support::check;

#[test]
fn a_window_that_opens_makes_the_machines_it_names_though_nothing_was_ever_heard() {
    check(
        "min 0 max 3 executors none limit 3..@Thu_12:00-13:00_UTC | never | no instances",
        expect![[r#"
            create linux-9-1: 3 machines at aws from linux-m/0
              limit: min 3 and max 3 in the place of 0 and 3
              floor: 0 -> 3 (min)
              grows by 3 machines from linux-m/0
        "#]],
    );
}

#[test]
fn a_machine_that_runs_is_ready_and_stays_while_the_window_is_open() {
    check(
        "min 0 max 3 executors none idle 10m limit 3..@Thu_12:00-13:00_UTC | never | idle 1h x2, pending 1m",
        expect![[r#"
            nothing to do
              limit: min 3 and max 3 in the place of 0 and 3
              floor: 0 -> 3 (min)
              steady at 3 machines
        "#]],
    );
}

/// They count as idle from the moment they run, so a window longer than the idle time leaves nothing to wait for.
#[test]
fn when_the_window_has_closed_they_leave_unless_they_came_up_just_now() {
    let world = |idle| {
        format!(
            "min 0 max 3 executors none idle 30m limit 3..@Thu_10:00-12:00_UTC | never | {idle}"
        )
    };
    check(
        &world("idle 2m x3"),
        expect![[r#"
        nothing to do
          3 machines more than wanted, none idle for 30m
    "#]],
    );
    check(
        &world("idle 2h x3"),
        expect![[r#"
        delete linux-7-1-0 at aws: it joins no CI server
        delete linux-7-2-0 at aws: it joins no CI server
        delete linux-7-3-0 at aws: it joins no CI server
          linux-7-1-0 begins to leave: idle for long enough
          linux-7-1-0 is leaving: its deletion is asked for
          linux-7-2-0 begins to leave: idle for long enough
          linux-7-2-0 is leaving: its deletion is asked for
          linux-7-3-0 begins to leave: idle for long enough
          linux-7-3-0 is leaving: its deletion is asked for
    "#]],
    );
}

#[test]
fn of_too_many_only_those_that_are_too_many_leave() {
    check(
        "min 0 max 3 executors none idle 10m limit 1..@Thu_12:00-13:00_UTC | never | idle 1h x3",
        expect![[r#"
            delete linux-7-1-0 at aws: it joins no CI server
            delete linux-7-2-0 at aws: it joins no CI server
              limit: min 1 and max 3 in the place of 0 and 3
              floor: 0 -> 1 (min)
              linux-7-1-0 begins to leave: idle for long enough
              linux-7-1-0 is leaving: its deletion is asked for
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-2-0 is leaving: its deletion is asked for
        "#]],
    );
}

/// A launch that never comes about would be waited for, for ever (ec2-fleet#425).
#[test]
fn one_that_does_not_run_in_time_is_replaced() {
    check(
        "min 2 max 3 executors none idle 10m | never | pending 1h, idle 1h",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            delete linux-7-1-0 at aws: it joins no CI server
              floor: 0 -> 2 (min)
              grows by 1 machine from linux-m/0
              linux-7-1-0 begins to leave: it never joined within the boot deadline
              linux-7-1-0 is leaving: its deletion is asked for
        "#]],
    );
}

#[test]
fn one_that_is_powered_off_is_replaced() {
    check(
        "min 2 max 3 executors none idle 10m | never | stopped, idle 1h",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              floor: 0 -> 2 (min)
              grows by 1 machine from linux-m/0
              linux-7-1-0 begins to leave: it is powered off
        "#]],
    );
}

#[test]
fn one_that_is_too_old_leaves_when_another_runs() {
    let world =
        |more| format!("min 1 max 2 executors none idle 10m max-age 20m | never | idle 1h{more}");
    check(
        &world(""),
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              floor: 0 -> 1 (min)
              grows by 1 machine from linux-m/0
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; 1 more than wanted must be up first
        "#]],
    );
    check(
        &world(", pending 1m"),
        expect![[r#"
            nothing to do
              floor: 0 -> 1 (min)
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; 1 more than wanted must be up first
              steady at 2 machines
        "#]],
    );
    check(
        &world(", booting 5m"),
        expect![[r#"
            delete linux-7-1-0 at aws: it joins no CI server
              floor: 0 -> 1 (min)
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
              linux-7-1-0 begins to leave: it is as old as its machines grow (reuse.max_age)
              linux-7-1-0 is leaving: its deletion is asked for
        "#]],
    );
}

#[test]
fn what_the_cloud_does_not_list_completely_goes_nowhere() {
    check(
        "min 0 max 3 executors none idle 10m | never | idle 1h x3 | listing partial",
        expect![[r#"
            nothing to do
              3 machines more than wanted, none idle for 10m
        "#]],
    );
}
