//! What an operator orders, in words an operator would accept.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use expect_test::expect;
use model::{Directive, Generation, OfferId};
use support::{World, check, offer};

#[test]
fn a_paused_pool_does_not_grow() {
    check(
        "min 0 max 10 | queued 3 | busy | paused",
        expect![[r#"
            nothing to do
              demand: 3 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 4
              paused by ann until 2026-01-01T13:00:00Z: the release; it keeps 1 machine, 4 would be wanted
              steady at 1 machine
        "#]],
    );
}

#[test]
fn a_paused_pool_does_not_shrink_and_what_was_leaving_waits() {
    check(
        "min 0 | queued 0 | idle 30m x2, settling 2m, stuck 20m, stopped | paused",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              paused by ann until 2026-01-01T13:00:00Z: the release; it keeps 2 machines, 0 would be wanted
              linux-7-3-0 is leaving: it waits, since the pool is paused
              steady at 2 machines
        "#]],
    );
}

#[test]
fn a_paused_pool_may_lie_below_its_min() {
    check(
        "min 4 max 10 | queued 0 | busy | paused",
        expect![[r#"
        nothing to do
          demand: 0 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
          floor: 1 -> 4 (min)
          paused by ann until 2026-01-01T13:00:00Z: the release; it keeps 1 machine, 4 would be wanted
          steady at 1 machine
    "#]],
    );
}

#[test]
fn a_pin_makes_machines_nobody_asked_for() {
    check(
        "min 0 max 10 | queued 0 | no instances | pinned 2",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              pinned at 2 by ann until 2026-01-01T13:00:00Z: the release: 0 -> 2
              grows by 2 machines from linux-m/0
        "#]],
    );
}

#[test]
fn a_pin_is_cut_at_the_max() {
    check(
        "min 0 max 3 | queued 0 | busy x3 | pinned 50",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 3 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              pinned at 50 by ann until 2026-01-01T13:00:00Z: the release: 3 -> 3
              steady at 3 machines
        "#]],
    );
}

#[test]
fn a_pin_below_what_is_there_takes_idle_machines_only() {
    check(
        "min 2 max 10 | queued 5 running 2 | busy x2, idle 30m x2 | pinned 0",
        expect![[r#"
            cordon linux-7-3-0: idle for long enough
            cordon linux-7-4-0: idle for long enough
              demand: 5 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 7
              pinned at 0 by ann until 2026-01-01T13:00:00Z: the release: 7 -> 0
              linux-7-3-0 begins to leave: idle for long enough
              linux-7-4-0 begins to leave: idle for long enough
        "#]],
    );
}

#[test]
fn a_pin_shrinks_nothing_while_the_workload_is_in_doubt() {
    check(
        "min 0 max 10 | queued 0 age 5m | idle 30m x3 | pinned 1",
        expect![[r#"
            nothing to do
              no machine may leave: the workload is older than 1m
              the pool keeps 3 machines until its emitter is heard
              pinned at 1 by ann until 2026-01-01T13:00:00Z: the release: 3 -> 3
              steady at 3 machines
        "#]],
    );
}

#[test]
fn a_pause_goes_before_a_pin() {
    check(
        "min 0 max 10 | queued 3 | idle 30m | pinned 5, paused",
        expect![[r#"
            nothing to do
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              paused by ann until 2026-01-01T13:00:00Z: the release; it keeps 1 machine, 3 would be wanted
              steady at 1 machine
        "#]],
    );
}

#[test]
fn what_cannot_be_read_lets_the_pool_grow_and_no_machine_go() {
    check(
        "min 0 max 10 | queued 4 | busy, idle 30m | override unreadable",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
            create linux-9-2: 1 machine at aws from linux-m/0
            create linux-9-3: 1 machine at aws from linux-m/0
              demand: 4 queued, 0 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 5
              no machine may leave: an override cannot be read: pause:linux
              grows by 3 machines from linux-m/0
        "#]],
    );
    check(
        "min 0 max 10 | queued 0 | idle 30m x2 | override unreadable",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              no machine may leave: an override cannot be read: pause:linux
              steady at 2 machines
        "#]],
    );
}

#[test]
fn a_drained_machine_that_is_needed_is_replaced_first() {
    check(
        "min 0 max 10 | queued 0 running 2 | busy x2 | drained linux-7-1-0",
        expect![[r#"
            create linux-9-1: 1 machine at aws from linux-m/0
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              drain machine linux-7-1-0 by ann until 2026-01-01T13:00:00Z: the release; 1 machine left
              grows by 1 machine from linux-m/0
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; 1 more than wanted must be up first
        "#]],
    );
    check(
        "min 0 max 10 | queued 0 running 2 | busy x2, idle 5s | drained linux-7-1-0",
        expect![[r#"
            cordon linux-7-1-0: an operator drains it
              demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
              drain machine linux-7-1-0 by ann until 2026-01-01T13:00:00Z: the release; 1 machine left
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
              linux-7-1-0 begins to leave: an operator drains it
        "#]],
    );
}

#[test]
fn a_drained_machine_that_nobody_needs_goes_without_waiting() {
    check(
        "min 0 max 10 | queued 0 | idle 5s | drained linux-7-1-0",
        expect![[r#"
            cordon linux-7-1-0: an operator drains it
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              drain machine linux-7-1-0 by ann until 2026-01-01T13:00:00Z: the release; 1 machine left
              1 machine to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
              linux-7-1-0 begins to leave: an operator drains it
        "#]],
    );
}

#[test]
fn a_drained_machine_of_a_paused_pool_stays() {
    check(
        "min 0 max 10 | queued 0 | idle 30m | drained linux-7-1-0, paused",
        expect![[r#"
            nothing to do
              demand: 0 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 0
              drain machine linux-7-1-0 by ann until 2026-01-01T13:00:00Z: the release; 1 machine left
              paused by ann until 2026-01-01T13:00:00Z: the release; it keeps 1 machine, 0 would be wanted
              steady at 1 machine
        "#]],
    );
}

#[test]
fn of_a_drained_image_nothing_is_made() {
    check(
        "min 0 max 10 | queued 3 | idle 5s x2 | drained offer",
        expect![[r#"
            nothing to do
              demand: 3 queued, 0 running; 0 machines with work, 0 slots free elsewhere, 1 slot per machine -> 3
              nothing is made from linux-m/0, which is drained by ann until 2026-01-01T13:00:00Z: the release
              1 machine short, but no offer is left to create from
        "#]],
    );
}

#[test]
fn a_drained_zone_empties_after_the_jobs_there() {
    check(
        "min 0 max 10 | queued 0 running 1 | busy, idle 5s | drained zone",
        expect![[r#"
            cordon linux-7-2-0: an operator drains it
              demand: 0 queued, 1 running; 1 machine with work, 0 slots free elsewhere, 1 slot per machine -> 1
              drain zone zone-a by ann until 2026-01-01T13:00:00Z: the release; 2 machines left
              2 machines to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
              linux-7-2-0 begins to leave: an operator drains it
        "#]],
    );
}

/// A machine of the second offer, marked with the place that the offer had when it was made, while the image of one offer is
/// drained.
fn made_from_the_second(place: u32, drained: u32) -> String {
    let mut world = World::parse("min 1 max 10 | queued 0 running 1 | busy, idle 5s");
    let id = |index| -> OfferId { offer(index, "aws").id };
    let offers = &mut world.policy.offers;
    *offers = vec![offer(0, "aws"), offer(1, "aws")];
    offers[1].generation = Generation::new("second");
    for instance in &mut world.instances {
        instance.offer = Some(id(place));
        instance.generation = Some(Generation::new("second"));
    }
    let image = "ami-1".to_owned();
    world.order(Directive::DrainImage { image });
    let order = world.overrides.in_force.last_mut().unwrap();
    order.offers.insert(id(drained));
    world.plan().to_string()
}

/// An offer was put in before it since: a place in a list is no identity.
#[test]
fn a_drained_image_is_that_of_the_offer_a_machine_was_made_from_wherever_it_stands_now() {
    for place in [0, 1] {
        let other = made_from_the_second(place, 0);
        assert!(!other.contains("an operator drains it"), "{place}: {other}");
        let own = made_from_the_second(place, 1);
        assert!(own.contains("an operator drains it"), "{place}: {own}");
    }
}
