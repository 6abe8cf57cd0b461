//! The rules in words, for named situations. Each names what it prevents: an incident of a comparable system, or a bill.
//!
//! It is Thursday, 12:00 UTC. `UPDATE_EXPECT=1 cargo test -p engine --test rules` writes the plans anew; read them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use expect_test::expect;
use support::check;

/// A scaler that divides by its executors never leaves zero (ec2-fleet #425).
#[test]
fn utilization_grows_from_zero_machines() {
    check(
        "utilization 80% | queued 1 | no instances",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        create linux-9-2: 1 machine at aws from linux-m/0
          demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
          utilization: 1 job held at 80% ask for 2 slots -> 1 to 2
          grows by 2 machines from linux-m/0
    "#]],
    );
}

#[test]
fn utilization_holds_the_total_workload_at_its_target() {
    check(
        "utilization 80% max 20 | queued 2 running 6 | busy x6",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 2 queued, 6 running; 6 machines with work, 0 slots free elsewhere, 1 slot per machine -> 8
              utilization: 8 jobs held at 80% ask for 10 slots -> 8 to 10
              grows by 4 machines from linux-m/0
        "#]],
    );
}

#[test]
fn utilization_counts_executors_of_others() {
    check(
        "utilization 50% | running 1 queued 0 static 2 | busy",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 2 slots free elsewhere, 1 slot per machine -> 1
              steady at 1 machine
        "#]],
    );
}

#[test]
fn utilization_never_lowers_what_jobs_need() {
    check(
        "utilization 100% max 20 | queued 4 running 1 | busy",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 4 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 5
              grows by 4 machines from linux-m/0
        "#]],
    );
}

#[test]
fn a_reserve_stands_beside_what_the_jobs_need() {
    check(
        "reserve 2 max 20 | queued 3 running 2 | busy x2",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        create linux-9-2: 1 machine at aws from linux-m/0
        create linux-9-3: 1 machine at aws from linux-m/0
        create linux-9-4: 1 machine at aws from linux-m/0
        create linux-9-5: 1 machine at aws from linux-m/0
          demand: 3 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
          reserve: 2 slots kept idle, as the rule says -> 5 to 7
          grows by 5 machines from linux-m/0
    "#]],
    );
}

/// Without it each tick would add to the bill (drone#129).
#[test]
fn a_reserve_is_met_by_idle_machines_that_are_there() {
    check(
        "reserve 2 | queued 0 running 1 | busy, idle 1m x2",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              reserve: 2 slots kept idle, as the rule says -> 1 to 3
              steady at 3 machines
        "#]],
    );
}

/// Scale-down while booting and booting nodes not counted: 5-6 times too many (ec2-plugin PR#1149).
#[test]
fn machines_that_boot_count_towards_the_reserve() {
    check(
        "reserve 2 | queued 0 running 1 | busy, booting 20s x2",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              reserve: 2 slots kept idle, as the rule says -> 1 to 3
              steady at 3 machines
        "#]],
    );
}

#[test]
fn a_share_of_busy_slots_rounds_up() {
    check(
        "reserve 10% max 40 | running 21 queued 0 | busy x21",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
              demand: 0 queued, 21 running; 21 machines with work, 0 slots free elsewhere, 1 slot per machine -> 21
              reserve: 3 slots kept idle, 10% of the busy ones -> 21 to 24
              grows by 3 machines from linux-m/0
        "#]],
    );
}

/// A pool scaled to zero must stay there.
#[test]
fn a_share_of_nothing_keeps_nothing() {
    check(
        "reserve 10% | queued 0 | no instances",
        expect![[r#"
        nothing to do
          demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
          steady at 0 machines
    "#]],
    );
}

#[test]
fn an_hour_of_the_office_keeps_machines_warm() {
    check(
        "reserve 2@Mon-Fri_08:00-19:00_UTC | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              reserve: 2 slots kept idle, as the rule says -> 0 to 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// No period matches: busy instances died (gitlab#552226). Here something with a name always holds.
#[test]
fn outside_the_office_the_next_rule_of_the_kind_holds() {
    check(
        "reserve 4@Mon-Fri_08:00-09:00_UTC reserve 1 | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              reserve: 1 slot kept idle, as the rule says -> 0 to 1
              grows by 1 machine from linux-m/0
        "#]],
    );
}

#[test]
fn the_first_rule_that_holds_wins() {
    check(
        "reserve 3@Thu_12:00-13:00_UTC reserve 1@Mon-Fri_08:00-19:00_UTC | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              reserve: 3 slots kept idle, as the rule says -> 0 to 3
              grows by 3 machines from linux-m/0
        "#]],
    );
}

/// Weekend to weekday switch strands or kills (gitlab-runner#38291).
#[test]
fn a_window_that_closes_drains_no_busy_machine() {
    check(
        "reserve 4@Mon-Fri_08:00-12:00_UTC | running 4 queued 0 | busy x4",
        expect![[r#"
            nothing to do
              demand: 0 queued, 4 running; 4 machines with work, 0 slots free elsewhere, 1 slot per machine -> 4
              steady at 4 machines
        "#]],
    );
}

/// Noon in London is half past five in the afternoon in Kolkata.
#[test]
fn a_schedule_is_civil_time_of_its_own_zone() {
    check(
        "reserve 2@Mon-Fri_17:00-18:00_Asia/Kolkata | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              reserve: 2 slots kept idle, as the rule says -> 0 to 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn a_queue_is_a_condition() {
    check(
        "reserve 3@queued>4 max 20 | queued 5 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
            create linux-9-5: 1 machine at aws from linux-m/0
            create linux-9-6: 1 machine at aws from linux-m/0
            create linux-9-7: 1 machine at aws from linux-m/0
            create linux-9-8: 1 machine at aws from linux-m/0
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              reserve: 3 slots kept idle, as the rule says -> 5 to 8
              grows by 8 machines from linux-m/0
        "#]],
    );
}

/// GitLab only counts such violations as a metric; ARC#3953 waited 30 to 60 minutes.
#[test]
fn a_long_wait_is_a_condition() {
    check(
        "reserve 3@wait>30s | queued 1 oldest 40s | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              reserve: 3 slots kept idle, as the rule says -> 1 to 4
              grows by 4 machines from linux-m/0
        "#]],
    );
}

/// The look is 20 s old: 15 s became 35 s.
#[test]
fn a_wait_goes_on_between_two_looks() {
    check(
        "reserve 3@wait>30s | queued 1 oldest 15s age 20s | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              reserve: 3 slots kept idle, as the rule says -> 1 to 4
              grows by 4 machines from linux-m/0
        "#]],
    );
}

#[test]
fn all_conditions_must_hold() {
    check(
        "reserve 3@queued>4&use>90% | queued 2 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 2 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn any_holds_when_one_does() {
    check(
        "reserve 3@queued>4~use>90% | queued 1 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              reserve: 3 slots kept idle, as the rule says -> 1 to 4
              grows by 4 machines from linux-m/0
        "#]],
    );
}

/// Fallback gaps (keda#8056): machines that say nothing are neither short of memory nor well.
#[test]
fn no_data_is_not_zero_for_a_condition() {
    check(
        "reserve 3@free<1024 | running 1 queued 0 | busy",
        expect![[r#"
        nothing to do
          demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
          steady at 1 machine
    "#]],
    );
}

/// At rest, 40 of 200 windows rose by 2: more than 1 in 16.
#[test]
fn arrivals_keep_what_this_pool_has_shown_to_need() {
    check(
        "reserve arrivals:16 | queued 0 | no instances | rises 200:40:3",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              reserve: 2 slots kept idle, by the rises within 1m in 200 windows at such an activity -> 0 to 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// 2 of 200 windows: less than 1 in 16. A fixed warm pool would cost all night.
#[test]
fn rare_arrivals_keep_nothing() {
    check(
        "reserve arrivals:16 | queued 0 | no instances | rises 200:2:3",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

/// One rise in two windows proves nothing.
#[test]
fn a_few_windows_earn_no_reserve_yet() {
    check(
        "reserve arrivals:16 | queued 0 | no instances | rises 2:1:3",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

/// An empty store must not become a bill.
#[test]
fn a_lost_memory_keeps_no_reserve() {
    check(
        "reserve arrivals:16 | queued 0 | no instances",
        expect![[r#"
        nothing to do
          demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
          steady at 0 machines
    "#]],
    );
}

/// (1 + 1) boot of 60 s; it was wanted until 90 s ago.
#[test]
fn break_even_keeps_a_level_for_what_its_return_saves() {
    check(
        "break-even 1 | queued 0 running 1 | busy, idle 90s x2 | wanted 3:90s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              break-even: what was needed less than 2m ago is kept, its return saves 2m -> 1 to 3
              steady at 3 machines
        "#]],
    );
}

#[test]
fn break_even_lets_a_level_go_after_that() {
    check(
        "break-even 1 | queued 0 running 1 | busy, idle 130s x2 | wanted 3:130s",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

/// The CI server spreads its jobs, so that each machine was busy a moment ago: the level still leaves.
#[test]
fn break_even_goes_by_levels_not_by_machines() {
    check(
        "break-even 0 | queued 0 running 1 | busy, idle 5s x2 | wanted 3:70s",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

/// 100 gaps of 64 to 96 s: 96 s cost less than 60 s and a boot.
#[test]
fn break_even_learns_to_wait_longer_where_demand_comes_back() {
    check(
        "break-even 1 | queued 0 running 1 | busy, idle 160s x2 | wanted 3:160s, gaps 100:15",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              break-even: what was needed less than 3m 12s ago is kept, learned from 100 gaps, a return saves 2m -> 1 to 3
              steady at 3 machines
        "#]],
    );
}

/// 100 gaps of an hour: it waits an eighth of a boot time, not less: nine times the least cost at worst.
#[test]
fn break_even_learns_to_let_go_where_demand_stays_away() {
    check(
        "break-even 0 | queued 0 running 1 | busy, idle 40s x2 | wanted 3:40s, gaps 100:24",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

#[test]
fn announced_work_shortens_the_wait() {
    check(
        "break-even 0:30 | queued 0 running 1 | busy, idle 40s x2 | wanted 3:40s",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

/// Three boots of 30 s instead of the expected minute.
#[test]
fn break_even_reckons_with_the_boots_it_saw() {
    check(
        "break-even 0 | queued 0 running 1 | busy, idle 40s x2 | wanted 3:40s, boots 30+30+31",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

/// Removed 5 s after it was ready (ARC#4000).
#[test]
fn a_machine_that_has_just_come_up_is_not_thrown_away() {
    check(
        "break-even 0 | queued 0 running 0 | idle 0s | wanted 1:70s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              1 machine more than wanted, none idle for 1s
        "#]],
    );
}

/// Buildkite#51 loses its cooldown with every restart.
#[test]
fn a_lost_memory_keeps_machines_as_if_they_had_been_wanted_until_now() {
    check(
        "break-even 1 | queued 0 running 1 | busy, idle 90s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              break-even: what was needed less than 2m ago is kept, its return saves 2m -> 1 to 2
              steady at 2 machines
        "#]],
    );
}

/// Flapping between two sizes pays a boot each time (nomad GH-845).
#[test]
fn a_lower_target_is_believed_after_its_window() {
    check(
        "stabilise 2m idle 0s | queued 0 running 1 | busy, idle 5m x3 | wanted 4:90s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              stabilise: the greatest number wanted within 2m is kept -> 1 to 4
              steady at 4 machines
        "#]],
    );
}

#[test]
fn after_its_window_a_lower_target_is_believed() {
    check(
        "stabilise 2m idle 0s | queued 0 running 1 | busy, idle 5m x3 | wanted 4:130s",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
            cordon linux-7-4-0: idle for long enough
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
              linux-7-4-0 begins to leave: idle for long enough
        "#]],
    );
}

#[test]
fn nothing_is_averaged_on_the_way_up() {
    check(
        "stabilise 10m max 20 | queued 9 running 1 | busy | wanted 1:30s",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
            create linux-9-5: 1 machine at aws from linux-m/0
            create linux-9-6: 1 machine at aws from linux-m/0
            create linux-9-7: 1 machine at aws from linux-m/0
            create linux-9-8: 1 machine at aws from linux-m/0
            create linux-9-9: 1 machine at aws from linux-m/0
              demand: 9 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 10
              grows by 9 machines from linux-m/0
        "#]],
    );
}

/// A ready-command that fails created machines faster than jobs are taken (GitLab 17.0).
#[test]
fn creations_keep_their_pace() {
    check(
        "create 4:1m max 20 | queued 9 | no instances",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        create linux-9-2: 1 machine at aws from linux-m/0
        create linux-9-3: 1 machine at aws from linux-m/0
        create linux-9-4: 1 machine at aws from linux-m/0
          demand: 9 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 9
          create: at most 4 creations at once and 4 per 1m -> 9 to 4
          grows by 4 machines from linux-m/0
    "#]],
    );
}

/// 15 s of a minute: a quarter of 8.
#[test]
fn the_bucket_fills_with_time() {
    check(
        "create 8:1m max 20 | queued 9 | no instances | tokens 0:15s",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 9 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 9
              create: at most 8 creations at once and 8 per 1m -> 9 to 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn an_empty_bucket_says_so() {
    check(
        "create 4:1m max 20 | queued 3 | no instances | tokens 0:1s",
        expect![[r#"
            nothing to do
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              create: at most 4 creations at once and 4 per 1m -> 3 to 0
        "#]],
    );
}

#[test]
fn calling_a_machine_back_needs_no_token() {
    check(
        "create 4:1m | queued 1 | settling 20s | tokens 0:1s",
        expect![[r#"
            uncordon linux-7-1-0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              1 machine called back from leaving
        "#]],
    );
}

#[test]
fn a_limit_raises_the_floor_on_time() {
    check(
        "limit 2..@Mon-Fri_08:00-19:00_UTC | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              limit: min 2 and max 10 in the place of 0 and 10
              floor: 0 -> 2 (min)
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// Time-based max was asked for since (tf-runner#4600).
#[test]
fn a_limit_lowers_the_ceiling_on_time() {
    check(
        "limit ..2@Mon-Fri_08:00-19:00_UTC | queued 5 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              limit: min 0 and max 2 in the place of 0 and 10
              grows by 2 machines from linux-m/0
              ceiling: 5 -> 2 (max 2, 0 machines now, serving or not)
        "#]],
    );
}

/// Lowering max was not enforced, or killed (ec2-fleet #157).
#[test]
fn a_lower_ceiling_kills_no_job() {
    check(
        "limit ..1 | queued 2 running 3 | busy x3",
        expect![[r#"
        nothing to do
          demand: 2 queued, 3 running; 3 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
          limit: min 0 and max 1 in the place of 0 and 10
          ceiling: 5 -> 1 (max 1, 3 machines now, serving or not)
          2 machines more than wanted, none idle for 10m
    "#]],
    );
}

#[test]
fn a_limit_that_does_not_hold_changes_nothing() {
    check(
        "limit 2..4@Sat-Sun_00:00-24:00_UTC | queued 0 | no instances",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

#[test]
fn short_memory_keeps_room_beside_the_busy() {
    check(
        "memory 2048:2 max 20 | queued 0 running 2 | busy x2 | free 1536",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              memory: 1536 MiB of memory free on average, 2048 MiB asked for; 2 machines busy -> 2 to 4
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn enough_memory_changes_nothing() {
    check(
        "memory 2048:2 max 20 | queued 0 running 2 | busy x2 | free 4096",
        expect![[r#"
            nothing to do
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              steady at 2 machines
        "#]],
    );
}

#[test]
fn machines_that_report_nothing_decide_nothing() {
    check(
        "memory 2048:2 | queued 0 running 2 | busy x2",
        expect![[r#"
        nothing to do
          demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
          memory: no busy executor reports what it asks, so it changes nothing
          steady at 2 machines
    "#]],
    );
}

/// It asks for busy + 1, whatever there is: no tick adds to the one before (CA's runaway test).
#[test]
fn a_high_load_cannot_run_away() {
    check(
        "load 1500:1 max 20 | queued 0 running 2 | busy x2, booting 10s | load 2500",
        expect![[r#"
            nothing to do
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              load: load 2.5 on average, at most 1.5 asked for; 2 machines busy -> 2 to 3
              steady at 3 machines
        "#]],
    );
}

#[test]
fn jobs_of_a_chain_that_is_about_to_go_on_count_ahead() {
    check(
        "min 0 | queued 0 running 1 soon 3:45s | busy",
        expect![[r#"
        create linux-9-1: 1 machine at aws from linux-m/0
        create linux-9-2: 1 machine at aws from linux-m/0
        create linux-9-3: 1 machine at aws from linux-m/0
          demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
          ahead: 3 more jobs runnable within 1m -> 1 to 4
          grows by 3 machines from linux-m/0
    "#]],
    );
}

/// Phantom jobs that never become runnable scaled for ever (buildkite-agent-metrics#31).
#[test]
fn jobs_later_than_a_boot_do_not_count_yet() {
    check(
        "min 0 | queued 0 running 1 soon 3:5m | busy",
        expect![[r#"
        nothing to do
          demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
          steady at 1 machine
    "#]],
    );
}

/// The parent's own machine is busy now and counted once.
#[test]
fn jobs_ahead_take_the_machine_that_gets_free() {
    check(
        "slots 2 | queued 0 running 1 soon 1:20s | busy",
        expect![[r#"
        nothing to do
          demand: 0 queued, 1 running; 1 machine with work, 1 slot free elsewhere, 2 slots per machine -> 1
          steady at 1 machine
    "#]],
    );
}

/// Empty page, fleet gone (pytorch#65978).
#[test]
fn doubt_keeps_what_the_rules_would_let_go() {
    check(
        "break-even 0 | queued 0 partial page_2_failed | idle 90s x3 | wanted 3:400s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              no machine may leave: the workload is partial: page 2 failed
              the pool keeps 3 machines until its emitter is heard
              steady at 3 machines
        "#]],
    );
}

#[test]
fn economy_keeps_no_reserve() {
    check(
        "profile economy | queued 0 running 1 | busy | rises 200:40:3",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              steady at 1 machine
        "#]],
    );
}

#[test]
fn balanced_keeps_what_arrives() {
    check(
        "profile balanced | queued 0 running 1 | busy | rises 200:40:3",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              balanced.reserve: 2 slots kept idle, by the rises within 1m in 200 windows at such an activity -> 1 to 3
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// 8 of 200 windows: more than 1 in 64, less than 1 in 16.
#[test]
fn latency_keeps_more_for_rarer_arrivals() {
    check(
        "profile latency | queued 0 running 1 | busy | rises 200:8:3",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              latency.reserve: 2 slots kept idle, by the rises within 1m in 200 windows at such an activity -> 1 to 3
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn balanced_pays_nothing_for_as_rare_arrivals() {
    check(
        "profile balanced | queued 0 running 1 | busy | rises 200:8:3",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              steady at 1 machine
        "#]],
    );
}
