//! Plans in words, for named situations. Each is a line an operator would accept; most name what hurt users of other
//! systems (orphaned machines, busy machines killed, bursts answered twice, shrinking on an empty page).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use expect_test::expect;
use support::{World, check};

/// Sized from the CI server's queue: a runner manager that counts only what it has accepted stays small before 300 jobs
/// (gitlab-runner#38294).
#[test]
fn a_queue_makes_machines() {
    check(
        "min 0 max 10 | queued 3 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              grows by 3 machines from linux-m/0
        "#]],
    );
}

/// 96 needed became 142 (ec2-fleet#76), and an allocation above its max stopped all scaling (buildkite elastic#734): cut, and said.
#[test]
fn a_burst_is_cut_at_the_ceiling() {
    check(
        "min 0 max 4 slots 1 | queued 9 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
              demand: 9 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 9
              grows by 4 machines from linux-m/0
              ceiling: 9 -> 4 (max 4, 0 machines now, serving or not)
        "#]],
    );
}

/// One slot left on each of many machines and yet new ones: 5 to 6 times too many (ec2-plugin PR#1149).
#[test]
fn slots_are_filled_before_machines_are_made() {
    check(
        "slots 4 | queued 9 running 1 | busy",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 9 queued, 1 running; 1 machine with work, 3 slots free elsewhere, 4 slots per machine -> 3
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn nothing_queued_and_nothing_there_is_steady() {
    check(
        "min 0 max 4 | queued 0 | no instances",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

/// A minimum that is counted with failed runners in it is never met (ARC#3619).
#[test]
fn the_minimum_is_kept_without_any_job() {
    check(
        "min 2 max 4 | queued 0 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 2 (min)
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// The fallback did not fire while nothing was to be had (keda#7239).
#[test]
fn the_minimum_is_kept_though_no_workload_was_ever_heard() {
    check(
        "min 2 max 4 | never | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              floor: 0 -> 2 (min)
              no machine may leave: no workload has been heard yet
              grows by 2 machines from linux-m/0
        "#]],
    );
}

/// What boots is capacity: 100 builds became 500 to 600 nodes (ec2-plugin PR#1149).
#[test]
fn booting_machines_count_so_that_a_burst_is_not_answered_twice() {
    check(
        "max 10 | queued 3 | pending 5s, booting 20s, requested 1s",
        expect![[r#"
            nothing to do
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              steady at 3 machines
        "#]],
    );
}

/// One machine after the other: 100 jobs took 5 hours (ec2-plugin#252), 15 jobs as many calls (azure plugin#11).
#[test]
fn a_shared_bootstrap_starts_a_whole_batch_in_one_call() {
    check(
        "max 50 bootstrap shared batch 20 | queued 45 | no instances",
        expect![[r#"
            create linux-9-1: 20 machines at aws from linux-m/0
            create linux-9-2: 20 machines at aws from linux-m/0
            create linux-9-3: 5 machines at aws from linux-m/0
              demand: 45 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 45
              grows by 45 machines from linux-m/0
        "#]],
    );
}

/// Static agents were not seen, so a machine was bought beside an idle one (woodpecker autoscaler#172).
#[test]
fn idle_machines_of_others_take_jobs_first() {
    check(
        "max 10 | queued 3 static 2 | no instances",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 3 queued, 0 running; 0 machines with work, 2 slots free elsewhere, 1 slot per machine -> 1
              grows by 1 machine from linux-m/0
        "#]],
    );
}

/// Check, then terminate: a job that came in between was killed 13 s into a deployment (tf-runner#5085).
#[test]
fn a_machine_idle_for_long_enough_begins_to_leave_by_a_cordon() {
    check(
        "max 10 idle 10m | queued 0 | idle 12m, idle 3m, busy",
        expect![[r#"
            cordon linux-7-1-0: idle for long enough
              demand: 0 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-1-0 begins to leave: idle for long enough
        "#]],
    );
}

/// Idle since 1970: what had never worked left at once (woodpecker `LastWork == 0`).
#[test]
fn an_idle_machine_stays_until_its_time() {
    check(
        "max 10 idle 10m | queued 0 | idle 9m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              1 machine more than wanted, none idle for 10m
        "#]],
    );
}

#[test]
fn the_longest_idle_leaves_first_and_the_minimum_stays() {
    check(
        "min 1 max 10 | queued 0 | idle 11m, idle 30m, idle 20m",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              floor: 0 -> 1 (min)
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

#[test]
fn a_cordoned_machine_settles_before_it_is_read() {
    check(
        "max 10 | queued 0 | settling 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: cordoned, it settles for 1m
              steady at 0 machines
        "#]],
    );
}

/// The busy check came before the de-registration only (tf-runner PR#5086).
#[test]
fn a_settled_machine_is_read() {
    check(
        "max 10 | queued 0 | settling 61s",
        expect![[r#"
            verify linux-7-1-0: read its executor
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: settled for 1m
        "#]],
    );
}

/// A list that omitted runners made them idle; its users asked for a second validation (tf-runner#3589).
#[test]
fn one_read_is_not_enough() {
    check(
        "max 10 | queued 0 | proven 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: read idle once, it is read again after 1m
              steady at 0 machines
        "#]],
    );
}

#[test]
fn two_reads_a_settle_time_apart_allow_the_deletion() {
    check(
        "max 10 | queued 0 | proven 61s",
        expect![[r#"
            delete linux-7-1-0 at aws: cordoned, settled, read idle once; read again first
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: its deletion is asked for
        "#]],
    );
}

/// A pod bound between the check and the disruption: CI jobs killed (karpenter#701).
#[test]
fn a_job_that_slipped_in_is_left_to_finish() {
    check(
        "max 10 | queued 0 running 1 | settling-busy 10s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: it runs a job, which is left to finish
              steady at 0 machines
        "#]],
    );
}

/// An agent stopped in the middle of its build (TW-70193).
#[test]
fn a_machine_that_settled_long_ago_is_not_read_while_its_job_runs() {
    check(
        "max 10 | queued 0 running 1 | settling-busy 20m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: it runs a job, which is left to finish
              steady at 0 machines
        "#]],
    );
}

/// A drain that could not be cancelled when the demand came back (nomad-autoscaler#521).
#[test]
fn returning_demand_calls_a_machine_back_before_a_new_one_is_made() {
    check(
        "max 10 | queued 2 | settling 61s",
        expect![[r#"
            uncordon linux-7-1-0
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 2 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              1 machine called back from leaving
              grows by 1 machine from linux-m/0
        "#]],
    );
}

/// A job handed to a machine that was about to die (fleeting aws#52).
#[test]
fn a_machine_whose_deletion_was_asked_for_is_not_called_back() {
    check(
        "max 10 | queued 1 | deleting 5s",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              grows by 1 machine from linux-m/0
              linux-7-1-0 is leaving: its deletion was asked for
        "#]],
    );
}

/// Two managers of one fleet, and one pruned what the other had filled (gitlab-runner!6810).
#[test]
fn a_cordon_of_an_earlier_epoch_is_one_way() {
    check(
        "max 10 | queued 1 | old-settling 10s",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              grows by 1 machine from linux-m/0
              linux-7-1-0 is leaving: cordoned, it settles for 1m
        "#]],
    );
}

/// A crash between drain and terminate left dangling nodes (nomad-autoscaler#410).
#[test]
fn a_departure_of_an_earlier_epoch_is_taken_over() {
    check(
        "max 10 | queued 0 | old-cordon",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 was cordoned in epoch 7: its departure is taken over
              steady at 0 machines
        "#]],
    );
}

/// Suspended nodes that somebody else kept, taken for the plugin's own (ec2-fleet#248).
#[test]
fn an_operators_pause_is_his() {
    check(
        "max 10 | queued 1 | paused",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              grows by 1 machine from linux-m/0
              linux-7-1-0 is left alone: somebody else keeps it from taking jobs
        "#]],
    );
}

/// A draining agent that was wanted back could not be reactivated (woodpecker autoscaler#157).
#[test]
fn a_cordon_that_somebody_lifted_ends_the_departure() {
    check(
        "max 10 | queued 0 | lifted 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: its cordon was lifted, so it stays
              1 machine more than wanted, none idle for 10m
        "#]],
    );
}

/// A metric outage scaled in, where it should have been held (nomad-autoscaler#622).
#[test]
fn a_stale_workload_holds_the_pool() {
    check(
        "max 10 | queued 0 age 70s | idle 30m x3",
        expect![[r#"
            nothing to do
              no machine may leave: the workload is older than 1m
              the pool keeps 3 machines until its emitter is heard
              steady at 3 machines
        "#]],
    );
}

/// Demand remembered for ever: reservations without an end (ARC#1547).
#[test]
fn a_stale_workload_makes_no_machine_either() {
    check(
        "max 10 | queued 9 age 70s | idle 30m",
        expect![[r#"
            nothing to do
              no machine may leave: the workload is older than 1m
              the pool keeps 1 machine until its emitter is heard
              steady at 1 machine
        "#]],
    );
}

/// A rate limit shortened the list, and scale-down killed runners CI-wide (pytorch#65978).
#[test]
fn a_partial_workload_may_raise_but_not_shrink() {
    check(
        "max 10 | queued 2 partial page_2_failed | idle 30m",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 2 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              no machine may leave: the workload is partial: page 2 failed
              grows by 1 machine from linux-m/0
        "#]],
    );
}

/// Empty was taken for zero (keda#7411).
#[test]
fn an_empty_list_for_lack_of_rights_holds_the_pool() {
    check(
        "max 10 | queued 0 partial the_token_is_not_an_administrator's | idle 30m x2",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              no machine may leave: the workload is partial: the token is not an administrator's
              the pool keeps 2 machines until its emitter is heard
              steady at 2 machines
        "#]],
    );
}

/// The meaning of the number changed and busy agents looked surplus (keda#8185).
#[test]
fn a_workload_mapped_with_another_configuration_does_not_shrink_the_pool() {
    check(
        "max 10 | queued 0 config old | idle 30m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              no machine may leave: probot mapped the workload with another configuration than the scaler's
              the pool keeps 1 machine until its emitter is heard
              steady at 1 machine
        "#]],
    );
}

/// After a restart fresh agents were deleted (google-compute-engine-plugin#144).
#[test]
fn a_pool_that_was_never_heard_keeps_what_it_has() {
    check(
        "max 10 | never | idle 30m x2",
        expect![[r#"
            nothing to do
              no machine may leave: no workload has been heard yet
              linux-7-1-0 is left alone: its executor could not be looked for
              linux-7-2-0 is left alone: its executor could not be looked for
              steady at 0 machines
        "#]],
    );
}

/// Users asked for a size that holds while the metric is gone (nomad-autoscaler#622).
#[test]
fn a_pool_may_be_told_to_keep_a_size_while_nothing_is_heard() {
    check(
        "max 10 keep 3 | never | idle 30m",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
              no machine may leave: no workload has been heard yet
              the pool keeps 3 machines until its emitter is heard
              grows by 3 machines from linux-m/0
              linux-7-1-0 is left alone: its executor could not be looked for
        "#]],
    );
}

/// The nodes were drained before anybody knew whether they might go (nomad-autoscaler#911).
#[test]
fn departures_wait_while_the_workload_is_doubtful() {
    check(
        "max 10 | queued 0 partial page_2_failed | proven 61s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              no machine may leave: the workload is partial: page 2 failed
              linux-7-1-0 is leaving: it waits, since the workload is partial: page 2 failed
              steady at 0 machines
        "#]],
    );
}

/// Only the first page of runners was read; the others counted as orphans and were terminated (tf-runner#167).
#[test]
fn a_partial_listing_creates_and_deletes_nothing() {
    check(
        "max 10 | queued 5 | proven 61s, busy | listing partial",
        expect![[r#"
            uncordon linux-7-1-0
              demand: 5 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 6
              1 machine called back from leaving
              nothing is created or deleted at aws: zone-b does not answer
              4 machines short, but no offer is left to create from
        "#]],
    );
}

/// A listing that lagged behind: machines leaked and were counted at the cap (ec2-plugin#414).
#[test]
fn an_old_listing_creates_and_deletes_nothing() {
    check(
        "max 10 | queued 5 | proven 61s | listing old",
        expect![[r#"
            uncordon linux-7-1-0
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              1 machine called back from leaving
              nothing is created or deleted at aws: its last listing is older than 1m
              4 machines short, but no offer is left to create from
        "#]],
    );
}

#[test]
fn a_provider_never_listed_creates_nothing() {
    check(
        "max 10 | queued 5 | no instances | listing never",
        expect![[r#"
            nothing to do
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              nothing is created or deleted at aws: it has not been listed yet: connection refused
        "#]],
    );
}

/// What was on its way when the process died was made a second time, and nobody knew of the first (gitlab-runner!6754).
#[test]
fn after_a_wipe_nothing_is_created_until_a_listing_can_show_what_was_in_flight() {
    check(
        "max 10 | queued 5 | busy | lost 10s",
        expect![[r#"
            nothing to do
              demand: 5 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 6
              creations in flight may have been forgotten: nothing is created until a listing 30s later can show them
        "#]],
    );
}

#[test]
fn a_listing_from_before_a_wipe_shows_nothing_however_short_the_lag() {
    let mut world = World::parse("max 10 | queued 5 | | lost 0s");
    world.policy.offers[0].listing_lag = std::time::Duration::ZERO;
    let plan = world.plan();
    assert_eq!(plan.actions, [], "{plan}");
}

#[test]
fn after_the_lag_bound_a_wiped_store_is_no_hindrance() {
    check(
        "max 10 | queued 5 | busy | lost 40s",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
            create linux-9-4: 1 machine at aws from linux-m/0
            create linux-9-5: 1 machine at aws from linux-m/0
              demand: 5 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 6
              grows by 5 machines from linux-m/0
        "#]],
    );
}

/// Draining machines were not counted: over the limit (azure-agent#62).
#[test]
fn everything_not_confirmed_gone_counts_against_max() {
    check(
        "max 4 | queued 9 | deleting 5s, stuck, paused, requested 10s",
        expect![[r#"
            cordon linux-7-2-0: it never joined within the boot deadline
              demand: 9 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 9
              ceiling: 9 -> 1 (max 4, 4 machines now, serving or not)
              linux-7-1-0 is leaving: its deletion was asked for
              linux-7-3-0 is left alone: somebody else keeps it from taking jobs
              linux-7-2-0 begins to leave: it never joined within the boot deadline
        "#]],
    );
}

/// Lowering max was not enforced (ec2-fleet#157), elsewhere it killed.
#[test]
fn a_lower_max_lets_idle_machines_leave_and_kills_nothing() {
    check(
        "max 1 | queued 0 running 2 | busy x2, idle 30m",
        expect![[r#"
            cordon linux-7-3-0: idle for long enough
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              ceiling: 2 -> 1 (max 1, 3 machines now, serving or not)
              linux-7-3-0 begins to leave: idle for long enough
        "#]],
    );
}

/// A launch without a deadline stays for ever, and 20 % of machines never register (tf-runner#3493).
#[test]
fn a_machine_that_never_joined_is_replaced_and_leaves() {
    check(
        "max 10 | queued 1 | stuck",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            cordon linux-7-1-0: it never joined within the boot deadline
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              grows by 1 machine from linux-m/0
              linux-7-1-0 begins to leave: it never joined within the boot deadline
        "#]],
    );
}

/// A broken image made machines faster than jobs could be taken (gitlab-runner!4843; karpenter aws#2011).
#[test]
fn after_three_failed_boots_one_canary_is_tried_at_a_time() {
    check(
        "max 10 | queued 5 | no instances | failed-boots 3",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              the last 3 machines from linux-m/0 never joined: one at a time until one does
              grows by 1 machine from linux-m/0
        "#]],
    );
}

/// Starvation or endless creation, whichever way the errored machine is counted (drone#16).
#[test]
fn a_canary_on_its_way_is_waited_for() {
    check(
        "max 10 | queued 5 | booting 20s | failed-boots 3",
        expect![[r#"
            nothing to do
              demand: 5 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 5
              the last 3 machines from linux-m/0 never joined: one at a time until one does
              4 machines short, but no offer is left to create from
        "#]],
    );
}

/// Offline agents counted as capacity while jobs waited for hours (agent-scaler#39).
#[test]
fn a_lost_machine_is_no_capacity_and_leaves_by_the_same_path() {
    check(
        "max 10 | queued 0 | lost",
        expect![[r#"
            cordon linux-7-1-0: its executor went offline
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 begins to leave: its executor went offline
        "#]],
    );
}

#[test]
fn a_powered_off_machine_is_deleted_without_a_read() {
    check(
        "max 10 | queued 0 | stopped",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 begins to leave: it is powered off
              steady at 0 machines
        "#]],
    );
}

/// 404 was read as not busy (tf-runner `scale-down.ts`; #3802).
#[test]
fn an_executor_that_is_absent_is_not_idle() {
    check(
        "max 10 | queued 0 | absent",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is left alone: its executor is not to be found at the CI server, and absent is not idle
              steady at 0 machines
        "#]],
    );
}

/// Fresh agents were deleted as not found, since a listing lagged (woodpecker autoscaler#396).
#[test]
fn a_machine_that_never_registered_is_looked_for_once_more() {
    check(
        "max 10 | queued 0 | unregistered",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 begins to leave: it never joined within the boot deadline
              steady at 0 machines
        "#]],
    );
}

/// The API omitted the runner, and it counted as idle (tf-runner#4391).
#[test]
fn an_executor_that_cannot_be_read_is_busy() {
    check(
        "max 10 | queued 0 | unreadable",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-1-0 is left alone: 503
              steady at 1 machine
        "#]],
    );
}

/// One machine in an invalid state stopped the reaping of all (garm#635).
#[test]
fn a_machine_in_an_unknown_state_is_counted_and_left_alone() {
    check(
        "max 1 | queued 1 | odd",
        expect![[r#"
            nothing to do
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              ceiling: 1 -> 0 (max 1, 1 machine now, serving or not)
              linux-7-1-0 is left alone: the provider calls its state `rebooting`
        "#]],
    );
}

/// Zombie nodes stayed behind at the controller (google-compute-engine-plugin#471).
#[test]
fn the_executor_of_a_machine_that_is_gone_is_removed() {
    check(
        "max 10 | queued 0 | gone 10s",
        expect![[r#"
            remove executor linux-7-1-0: its machine is gone
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              executor linux-7-1-0 has no machine any more: it is removed
        "#]],
    );
}

#[test]
fn a_departure_ends_when_nothing_is_left_of_it() {
    check(
        "max 10 | queued 0 | vanished 10s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: it is gone
              steady at 0 machines
        "#]],
    );
}

/// A registration seen before its machine was listed looked like an orphan (woodpecker autoscaler#396).
#[test]
fn an_executor_without_a_machine_is_watched_before_it_is_removed() {
    check(
        "max 10 | queued 0 | ghost 30s",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

/// Ghost nodes for ever (ec2-fleet#322).
#[test]
fn an_executor_without_a_machine_is_removed_in_the_end() {
    check(
        "max 10 | queued 0 | ghost 5m",
        expect![[r#"
            remove executor linux-7-1-0: its machine is gone
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              executor linux-7-1-0 has no machine any more: it is removed
        "#]],
    );
}

/// A cleaner deleted the live machines of another controller (google-compute-engine-plugin#157).
#[test]
fn machines_of_another_fleet_are_not_seen() {
    check(
        "max 10 | queued 0 | foreign, foreign",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 2 slots free elsewhere, 1 slot per machine -> 0
              steady at 0 machines
        "#]],
    );
}

/// A healthy fleet fell by 18 % at once for an idle count (taskscaler#20).
#[test]
fn the_pace_of_scale_in_is_kept() {
    check(
        "max 10 pace 2 | queued 0 | idle 30m x5 | left 1",
        expect![[r#"
            cordon linux-7-1-0: idle for long enough
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              pace: at most 2 begin to leave per 1m, 4 wait
              linux-7-1-0 begins to leave: idle for long enough
        "#]],
    );
}

/// The first template had no capacity and the event was lost; the job waited for ever (tf-runner#2925).
#[test]
fn an_offer_without_capacity_steps_aside_for_the_next() {
    check(
        "max 10 offers 2 | queued 1 | no instances | aside 0",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/1
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              offer linux-m/0 steps aside: no capacity in zone-a
              grows by 1 machine from linux-m/1
        "#]],
    );
}

/// The quota error was hidden, and nobody knew why jobs waited (azure-agent#100).
#[test]
fn without_an_offer_the_shortage_is_said() {
    check(
        "max 10 | queued 2 | no instances | aside 0",
        expect![[r#"
            nothing to do
              demand: 2 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              offer linux-m/0 steps aside: no capacity in zone-a
              2 machines short, but no offer is left to create from
        "#]],
    );
}

/// Machines were bought that no runner could register on: a failing ready command made them faster than jobs
/// (gitlab-runner 17.0).
#[test]
fn a_refused_registration_holds_creations() {
    check(
        "max 10 | queued 2 | no instances | held no executor could be registered",
        expect![[r#"
            nothing to do
              demand: 2 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              2 machines short, but nothing can be created now: no executor could be registered
        "#]],
    );
}

#[test]
fn a_read_only_pool_grows_but_never_shrinks_by_us() {
    check(
        "max 10 executors read-only | queued 0 | idle 30m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              1 machine more than wanted, but there is no right to control executors here: machines leave by themselves only (or with `scale_in`)
        "#]],
    );
}

/// With `scale_in: ask-guest` the machine's own guest lets it go, one build after the other.
#[test]
fn a_pool_that_cannot_cordon_asks_the_guests_of_what_is_too_much() {
    check(
        "max 10 executors ask-guest idle 10m | queued 1 | idle 30m, idle 12m, idle 1m, busy, stuck, lost",
        expect![[r#"
            ask the guest of linux-7-5-0 to end its agent and power off: it never joined within the boot deadline
            ask the guest of linux-7-6-0 to end its agent and power off: its executor went offline
            ask the guest of linux-7-1-0 to end its agent and power off: idle for long enough
            ask the guest of linux-7-2-0 to end its agent and power off: idle for long enough
              demand: 1 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 2
              linux-7-5-0 begins to leave: it never joined within the boot deadline
              linux-7-6-0 begins to leave: its executor went offline
              linux-7-1-0 begins to leave: idle for long enough
              linux-7-2-0 begins to leave: idle for long enough
        "#]],
    );
    check(
        "max 10 executors ask-guest idle 10m | queued 1 | asked 5m, asked 2h, asked-before 5m, asked-off 5m, idle 1m",
        expect![[r#"
            ask the guest of linux-7-2-0 to end its agent and power off: idle for long enough
            ask the guest of linux-7-3-0 to end its agent and power off: idle for long enough
            delete linux-7-4-0 at aws: it is powered off
              demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-1-0 is leaving: its guest ends the agent after its build and powers off
              linux-7-2-0 is leaving: its guest was asked to end the agent 2h ago and it runs on (has its boot script `guest.sh.j2`?); it is asked again
              linux-7-3-0 is leaving: its guest is asked once more, since the scaler that did may have died
              linux-7-4-0 is leaving: its deletion is asked for
        "#]],
    );
}

/// A deletion on the word of a look is what an operator has to ask for, and then the look must be young.
#[test]
fn best_effort_deletes_what_a_young_look_shows_idle_and_nothing_else() {
    check(
        "max 10 executors best-effort idle 10m | queued 1 | idle 30m, idle 12m, idle 1m, busy, stuck, lost, paused, unreadable",
        expect![[r#"
            delete linux-7-1-0 at aws: a look showed it idle, and it may have got a job since (scale_in: best-effort)
            delete linux-7-2-0 at aws: a look showed it idle, and it may have got a job since (scale_in: best-effort)
              demand: 1 queued, 0 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              linux-7-7-0 is left alone: somebody else keeps it from taking jobs
              linux-7-8-0 is left alone: 503
              linux-7-1-0 begins to leave: idle for long enough
              linux-7-1-0 is leaving: its deletion is asked for
              linux-7-2-0 begins to leave: idle for long enough
              linux-7-2-0 is leaving: its deletion is asked for
        "#]],
    );
    check(
        "max 10 executors best-effort idle 10m | queued 0 age 11s | idle 30m",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              1 machine more than wanted, and a look of the last 10s must show which are idle (scale_in: best-effort)
        "#]],
    );
    check(
        "max 10 executors best-effort idle 10m | queued 0 | deleted 10s, deleted 1m, deleted-busy 1m, stopped",
        expect![[r#"
            delete linux-7-2-0 at aws: a look showed it idle, and it may have got a job since (scale_in: best-effort)
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 is leaving: its deletion was asked for
              linux-7-2-0 is leaving: its deletion is asked for
              linux-7-3-0 is leaving: its deletion came to nothing, so it stays for now
              linux-7-4-0 begins to leave: it is powered off
        "#]],
    );
}

/// A token that was meant to manage and may not: the pool serves on, and says what is missing.
#[test]
fn a_pool_whose_cordons_are_refused_grows_and_lets_nothing_begin_to_leave() {
    check(
        "max 10 | queued 0 | idle 30m, lost | refused the token lacks the scope manage_runner",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              read-only for now, 1 machine more than wanted: no executor can be cordoned, so no machine begins to leave: the token lacks the scope manage_runner
        "#]],
    );
    check(
        "max 10 | queued 3 | idle 30m | refused the token lacks the scope manage_runner",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              grows by 2 machines from linux-m/0
              read-only for now: no executor can be cordoned, so no machine begins to leave: the token lacks the scope manage_runner
        "#]],
    );
    check(
        "max 10 | queued 0 | stopped | refused the token lacks the scope manage_runner",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 begins to leave: it is powered off
              read-only for now: no executor can be cordoned, so no machine begins to leave: the token lacks the scope manage_runner
              steady at 0 machines
        "#]],
    );
}

/// One executor that is locked kept all others of its pool from leaving, for ever: it was the longest idle, and was asked for
/// first each time.
#[test]
fn an_executor_whose_cordon_is_refused_keeps_no_other() {
    check(
        "max 10 | queued 0 | idle 40m, idle 30m | odd 403 Forbidden",
        expect![[r#"
            cordon linux-7-2-0: idle for long enough
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              linux-7-1-0 stays, since the CI server refuses to keep it from new jobs: 403 Forbidden
              linux-7-2-0 begins to leave: idle for long enough
        "#]],
    );
    // it is not replaced for its age, and not counted as one that ran its jobs: nothing could come of it
    check(
        "max 10 max-age 10m | queued 0 running 1 | busy | odd 403 Forbidden",
        expect![[r#"
            nothing to do
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              linux-7-1-0 stays, since the CI server refuses to keep it from new jobs: 403 Forbidden
              steady at 1 machine
        "#]],
    );
}

/// Servers that nothing counted any more, and a big bill (drone#129).
#[test]
fn nodes_that_join_no_server_leave_when_they_are_too_many() {
    check(
        "max 10 executors none idle 10m | never | idle 30m",
        expect![[r#"
            delete linux-7-1-0 at aws: it joins no CI server
              linux-7-1-0 begins to leave: idle for long enough
              linux-7-1-0 is leaving: its deletion is asked for
        "#]],
    );
}

/// Planned nodes without a time stamp were waited for, for ever, from zero (ec2-fleet#425).
#[test]
fn a_creation_that_two_listings_do_not_show_was_never_made() {
    let mut world = World::parse("max 10 | queued 1 | requested 5m");
    let first = world.plan();
    assert!(
        first.end.is_empty() && first.actions.is_empty(),
        "one listing is not enough: {first}"
    );
    world.memory = first.memory;
    let same = world.plan();
    assert!(same.end.is_empty(), "the same listing counts once: {same}");
    world.memory = same.memory;
    for missing in world.memory.missing.values_mut() {
        missing.last = support::ago(10);
    }
    let second = world.plan();
    assert_eq!(second.end.len(), 1);
    expect![[r#"
        nothing to do
          creation linux-7-1 is settled: two complete listings more than 30s later do not show it, so it was never made
          demand: 1 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 1
          steady at 1 machine
    "#]]
    .assert_eq(&second.to_string());
}

/// Given up too early and made again: duplicates (garm#79).
#[test]
fn a_creation_is_not_given_up_within_the_lag_bound() {
    let mut world = World::parse("max 10 | queued 1 | requested 20s");
    for _ in 0..3 {
        let plan = world.plan();
        assert!(plan.end.is_empty() && plan.actions.is_empty(), "{plan}");
        world.memory = plan.memory;
    }
}

#[test]
fn every_plan_is_explained_in_one_sentence() {
    let plan = World::parse("max 4 | queued 9 | busy").plan();
    assert_eq!(
        plan.reasons_in_words(),
        "demand: 9 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 10; \
         grows by 3 machines from linux-m/0; ceiling: 10 -> 4 (max 4, 1 machine now, serving or not)"
    );
}

#[test]
fn what_is_said_of_many_machines_is_said_once() {
    let plan = World::parse("max 9 | queued 0 | proven 61s x5, paused, settling 5s").plan();
    expect!["delete 5 (linux-7-1-0, linux-7-2-0, linux-7-3-0 and 2 more)"]
        .assert_eq(&plan.actions_in_words());
    expect!["demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0; leaving: its deletion is asked for (linux-7-1-0, linux-7-2-0, linux-7-3-0 and 2 more); left alone: somebody else keeps them from taking jobs (linux-7-6-0); leaving: cordoned, it settles for 1m (linux-7-7-0)"].assert_eq(&plan.reasons_in_words());
}
