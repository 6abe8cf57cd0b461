//! What went wrong in comparable systems, each as a world in which the same mistake would show.
//!
//! Every test here has been seen failing with its protection taken out of the code. What was taken out:
//!
//! | test | taken out | where |
//! |---|---|---|
//! | `a_failed_look_forgets_no_demand` | a partial look may grow | `trust.rs`, `Trust::of` |
//! | `machines_on_their_way_are_capacity` | `Booting` serves | `supply.rs`, `Phase::serves` |
//! | `offline_machines_count_against_max` | offline machines cost | `supply.rs`, `Supply::costing` |
//! | `a_request_that_is_never_fulfilled_ends` | two whole listings end a creation | `create.rs`, `never_made` |
//! | `idle_time_counts_from_the_last_job` | since the look that saw it idle | `decide.rs`, `remember` |
//! | `a_token_that_sees_nothing_prunes_nothing` | absent is not idle | `supply/look.rs`, `phase_without` |
//! | `what_an_earlier_term_cordoned_is_not_called_back` | own epoch only | `leave.rs`, `call_back` |
//! | `machines_above_a_reserve_stay_their_idle_time` | the idle time | `leave/begin.rs`, `may_leave` |
//! | `a_machine_that_was_just_ready_is_not_removed` | young machines stay | `leave/begin.rs`, `may_leave` |
//! | `an_idle_machine_is_cordoned_and_read_before_it_goes` | cordon first | `leave/begin.rs`, `begin_one` |
//! | `nothing_leaves_while_it_boots` | never joined is coming | `supply/look.rs`, `phase_with` |
//! | `one_odd_machine_stops_no_sweep` | an odd one is passed over | `leave/step.rs`, `carry_on` |
//! | `demand_above_max_is_served_as_room_comes` | as many as there is room for | `create.rs`, `growth` |
//! | `a_job_on_another_jobs_machine_leaves_none_without` | busy ones beside queued jobs | `demand.rs`, `machines_for` |
//! | `one_plan_makes_all_machines` | all that are short at once | `create.rs`, `create` |
//! | `a_throttled_offer_steps_aside` | a refusal is remembered | `offers.rs`, `learn` |
//! | `another_fleets_machine_is_no_orphan_of_ours` | the fleet's tag | `observation.rs`, `split` |
//!
//! Those that need the loop stand in the tests of `scaler`, under the same name of file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use engine::{Action, OfferNews, Plan, Reason, Refusal, RefusalKind, invariants};
use model::{BatchId, InstanceName, IntentKey, Missing};
use support::{World, ago, now, offer, span, stood_at};

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

fn created(plan: &Plan) -> u32 {
    let counts = plan.actions.iter().map(|action| match action {
        Action::Create { count, .. } => *count,
        _ => 0,
    });
    counts.sum()
}

/// What is done, without what is created.
fn done(plan: &Plan) -> Vec<&str> {
    let actions = plan.actions.iter().map(Action::as_str);
    actions.filter(|action| *action != "create").collect()
}

/// So many machines that are not among a world's own.
fn others(machines: u32) -> impl Iterator<Item = InstanceName> {
    let batch: BatchId = "linux-6-1".parse().unwrap();
    (0..machines).map(move |index| batch.instance(index))
}

/// A region is out of service while a scaler starts: the pool grows elsewhere, and what stood there counts against `max`. Nothing
/// grows where nobody remembers what stood there.
#[test]
fn a_provider_that_is_out_of_service_at_the_start_stops_no_other() {
    let mut world = World::parse("max 5 | queued 5 | no instances | listing never");
    world.policy.offers = vec![offer(0, "aws"), offer(1, "gcp")];
    let grown = |world: &World| {
        let plan = plan(world);
        let at_gcp = |action: &Action| match action {
            Action::Create {
                provider, count, ..
            } => {
                assert_eq!(provider.as_str(), "gcp", "{plan}");
                *count
            }
            _ => 0,
        };
        let count: u32 = plan.actions.iter().map(at_gcp).sum();
        (count, plan.to_string())
    };
    let (count, said) = grown(&world);
    assert_eq!(count, 0, "{said}");
    assert!(said.contains("connection refused"), "{said}");
    world.memory.listed = [stood_at("aws", others(3))].into();
    let (count, said) = grown(&world);
    assert_eq!(count, 2, "{said}");
    assert!(said.contains("3 machines of it at aws"), "{said}");
    // machines of an offer that was taken out stand where they stood
    let both = std::mem::replace(&mut world.policy.offers, vec![offer(1, "gcp")]);
    assert_eq!(grown(&world).0, 2);
    world.policy.offers = both;
    world.memory.listed = [stood_at("aws", others(0))].into();
    assert_eq!(grown(&world).0, 5);
    // a lost memory of what was begun still waits for every listing
    world.lost_at = Some(ago(1));
    assert_eq!(grown(&world).0, 0);
}

/// A zone is out of service while another scaler takes over: it lists the rest, and has never seen what stands in that zone. What
/// its predecessor listed there counts; what is listed counts once, and what is listed as gone not at all.
#[test]
fn what_a_part_of_a_listing_does_not_show_counts_as_it_was_listed_last() {
    let mut world = World::parse("max 5 | queued 5 | idle 1m x2, gone | listing partial");
    let shown: Vec<InstanceName> = world.instances.iter().map(|it| it.name.clone()).collect();
    world.policy.offers = vec![offer(0, "aws"), offer(1, "gcp")];
    world.memory.listed = [stood_at("aws", others(2).chain(shown))].into();
    let made = plan(&world);
    assert_eq!(created(&made), 1, "{made}");
    assert!(
        made.to_string().contains("2 machines of it at aws"),
        "{made}"
    );
    world.listing = "whole";
    assert_eq!(created(&plan(&world)), 3);
}

/// A store was wiped, and a cloud of which the file knows no offer any more is not listed: what its machines' executors tell counts.
#[test]
fn an_executor_without_a_machine_counts_as_one_while_not_all_is_listed() {
    let mut world = World::parse("max 3 | queued 5 running 2 | busy x2 | listing partial");
    world.policy.offers = vec![offer(1, "gcp")];
    world.instances.clear();
    let made = plan(&world);
    assert_eq!(created(&made), 1, "{made}");
    assert!(
        made.to_string()
            .contains("2 executors of ours without a machine"),
        "{made}"
    );
    world.listing = "whole";
    assert_eq!(created(&plan(&world)), 3);
}

/// github-aws-runners/terraform-aws-github-runner #5105: an error while describing lost the demand for good.
#[test]
fn a_failed_look_forgets_no_demand() {
    let plan = planned("max 9 | queued 3 partial the_last_look_failed | no instances");
    assert_eq!(created(&plan), 3, "{plan}");
    // a provider that cannot be listed holds creations, says so, and forgets nothing
    let held = planned("max 9 | queued 3 | no instances | listing partial");
    assert_eq!(created(&held), 0, "{held}");
    let says = |reason: &Reason| matches!(reason, Reason::HeldByListing { .. });
    assert!(held.reasons.iter().any(says), "{held}");
    assert_eq!(held.summary.target, 3, "{held}");
}

/// jenkinsci/ec2-plugin #1149: 100 builds made 500 machines, since those that booted were not counted.
#[test]
fn machines_on_their_way_are_capacity() {
    for state in ["requested 5s", "pending 5s", "booting 30s"] {
        let plan = planned(&format!("max 50 | queued 5 | {state} x5"));
        assert_eq!(created(&plan), 0, "{state}: {plan}");
    }
}

/// jenkinsci/ec2-fleet-plugin #35: 96 machines were wanted and 142 came, since offline ones were not counted.
#[test]
fn offline_machines_count_against_max() {
    for state in ["lost", "stuck", "stopped", "settling 5s", "unreadable"] {
        let plan = planned(&format!("max 5 | queued 3 | {state} x5"));
        assert_eq!(created(&plan), 0, "{state}: {plan}");
    }
}

/// jenkinsci/ec2-plugin #2037: spot requests that nobody fulfilled were counted as capacity for ever.
#[test]
fn a_request_that_is_never_fulfilled_ends() {
    let mut world = World::parse("max 9 | queued 1 | requested 5m");
    let IntentKey::Create(batch) = world.intents[0].intent.key() else {
        panic!("a creation")
    };
    let (listings, last) = (1, ago(10));
    world
        .memory
        .missing
        .insert(batch.clone(), Missing { listings, last });
    let plan = plan(&world);
    assert_eq!(plan.end, [IntentKey::Create(batch)], "{plan}");
}

/// gitlab-org/gitlab-runner #30953: the idle time was counted from the creation of a machine.
#[test]
fn idle_time_counts_from_the_last_job() {
    // created half an hour ago, idle for a minute: ten are asked for
    let plan = planned("max 9 idle 10m | queued 0 | idle 1m x2");
    assert!(done(&plan).is_empty(), "{plan}");
    // one whose job ended right now begins anew
    let mut world = World::parse("max 9 idle 10m | queued 0 | idle");
    world.memory.idle_since.clear();
    let after = self::plan(&world);
    assert_eq!(after.memory.idle_since.values().max(), Some(&now()));
}

/// gitlab-org/gitlab-runner #39380: after its token was rotated a runner took itself for a new owner and removed machines
/// with jobs on them.
#[test]
fn a_token_that_sees_nothing_prunes_nothing() {
    let mut world = World::parse("max 2 | queued 2 | absent x2");
    for instance in &mut world.instances {
        instance.owner.installation = Some(model::InstallationId::new("before the rotation"));
    }
    let plan = plan(&world);
    assert!(plan.actions.is_empty(), "{plan}");
    assert_eq!(plan.summary.costing, 2);
}

/// gitlab-org/gitlab-runner #38716: a second manager that was left over deleted what the first one used. Nobody may use
/// again what an earlier term meant to delete.
#[test]
fn what_an_earlier_term_cordoned_is_not_called_back() {
    let plan = planned("max 9 | queued 1 | old-settling 5s");
    assert_eq!(created(&plan), 1, "{plan}");
    assert!(!done(&plan).contains(&"uncordon"), "{plan}");
    let own = planned("max 9 | queued 1 | settling 5s");
    assert_eq!(done(&own), ["uncordon"], "{own}");
}

/// gitlab-org/fleeting/taskscaler #20: whatever was above the idle count was deleted at once, and made again.
#[test]
fn machines_above_a_reserve_stay_their_idle_time() {
    let plan = planned("max 9 reserve 2 idle 10m | queued 0 | idle 9m x6");
    assert!(done(&plan).is_empty(), "{plan}");
    let later = planned("max 9 reserve 2 idle 10m | queued 0 | idle 11m x6");
    assert_eq!(done(&later).len(), 4, "{later}");
}

/// actions/actions-runner-controller #4000: a runner was removed as idle five seconds after it was ready.
#[test]
fn a_machine_that_was_just_ready_is_not_removed() {
    let mut world = World::parse("max 9 idle 0s | queued 0 | idle 5s");
    world.instances[0].created_at = Some(ago(50));
    let plan = plan(&world);
    assert!(done(&plan).is_empty(), "{plan}");
    // an old machine with the same idle time leaves, so it is its youth that keeps it
    let old = planned("max 9 idle 0s | queued 0 | idle 5s");
    assert_eq!(done(&old), ["cordon"], "{old}");
}

/// actions/actions-runner-controller #4000 once more: idle in one look is not idle at the moment of the deletion.
#[test]
fn an_idle_machine_is_cordoned_and_read_before_it_goes() {
    for (state, next) in [
        ("idle 1h", "cordon"),
        ("settling 61s", "verify"),
        ("proven 61s", "delete"),
    ] {
        let plan = planned(&format!("max 9 | queued 0 | {state}"));
        assert_eq!(done(&plan), [next], "{state}: {plan}");
    }
    for state in ["settling 59s", "proven 59s", "settling-busy 61s"] {
        let plan = planned(&format!("max 9 | queued 0 | {state}"));
        assert!(done(&plan).is_empty(), "{state}: {plan}");
    }
}

/// actions/actions-runner-controller #3581: scaling down took runners that were still starting.
#[test]
fn nothing_leaves_while_it_boots() {
    for state in ["requested 4m", "pending 4m", "booting 4m"] {
        let mut world = World::parse(&format!("max 9 idle 1m | queued 0 | {state} x3"));
        let names = world.instances.iter().map(|i| (i.name.clone(), ago(240)));
        world.memory.idle_since = names.collect();
        let plan = plan(&world);
        assert!(done(&plan).is_empty(), "{state}: {plan}");
    }
}

/// github-aws-runners/terraform-aws-github-runner #4786: one 404 ended the whole pass over the orphans.
#[test]
fn one_odd_machine_stops_no_sweep() {
    let world = World::parse("max 9 | queued 0 | odd, absent, unreadable, settling 61s, ghost 9m");
    let plan = plan(&world);
    assert_eq!(done(&plan), ["verify", "remove_executor"], "{plan}");
}

/// github-aws-runners/terraform-aws-github-runner #3105: what was asked for while the maximum was reached was lost.
#[test]
fn demand_above_max_is_served_as_room_comes() {
    let full = planned("max 3 | queued 5 running 3 | busy x3");
    assert_eq!(created(&full), 0, "{full}");
    let says = |reason: &Reason| matches!(reason, Reason::Ceiling { wanted: 8, .. });
    assert!(full.reasons.iter().any(says), "{full}");
    // one place is free, and two more would be wanted: as one leaves that still costs
    for room in ["busy x2", "busy, settling-busy 5s"] {
        let room = planned(&format!("max 3 | queued 5 running 2 | {room}"));
        assert_eq!(created(&room), 1, "{room}");
    }
}

/// github-aws-runners/terraform-aws-github-runner #4262 and #933: job B took the machine that was made for job A, and for
/// A there never was one.
#[test]
fn a_job_on_another_jobs_machine_leaves_none_without() {
    // A is queued; its machine runs B, which had none of its own
    let plan = planned("max 9 | queued 1 running 1 | busy");
    assert_eq!(created(&plan), 1, "{plan}");
    let two = planned("max 9 | queued 2 running 3 | busy x3");
    assert_eq!(created(&two), 2, "{two}");
}

/// github-aws-runners/terraform-aws-github-runner #3824: machines were made one after the other.
#[test]
fn one_plan_makes_all_machines() {
    let plan = planned("max 100 | queued 40 | no instances");
    assert_eq!((created(&plan), plan.actions.len()), (40, 40), "{plan}");
}

/// CloudSnorkel/cdk-github-runners #192: `RequestLimitExceeded` was answered by asking again, without an end.
#[test]
fn a_throttled_offer_steps_aside() {
    let mut world = World::parse("max 9 | queued 3 | no instances");
    let wait = span("30s");
    world.news = vec![refused(wait)];
    let first = plan(&world);
    assert_eq!(created(&first), 0, "{first}");
    // every further refusal makes the wait longer
    let until = |plan: &Plan| plan.memory.offers[&offer(0, "aws").id].until.unwrap();
    let waits = model::age(now(), until(&first));
    assert!(waits >= wait, "{waits:?}");
    world.memory = first.memory;
    for known in world.memory.offers.values_mut() {
        known.until = Some(ago(1));
    }
    let second = plan(&world);
    assert!(model::age(now(), until(&second)) > waits, "{second}");
}

fn refused(wait: Duration) -> OfferNews {
    OfferNews {
        offer: offer(0, "aws").id,
        provider: "aws".parse().unwrap(),
        made: 0,
        refusal: Some(Refusal {
            kind: RefusalKind::Wait { wait },
            why: "RequestLimitExceeded".to_owned(),
        }),
    }
}

/// jenkinsci/ec2-plugin #1101: of two controllers one took the machines of the other for its own orphans.
#[test]
fn another_fleets_machine_is_no_orphan_of_ours() {
    for state in ["idle 1h", "stuck", "stopped", "unregistered"] {
        let mut world = World::parse(&format!("max 1 | queued 1 | {state}"));
        world.instances[0].owner.fleet = "other".parse().unwrap();
        for executor in &mut world.workload.executors {
            executor.fleet = Some("other".parse().unwrap());
            executor.slots = 0;
        }
        let plan = plan(&world);
        assert!(done(&plan).is_empty(), "{state}: {plan}");
        assert_eq!(plan.summary.costing, 0, "{state}: {plan}");
    }
}
