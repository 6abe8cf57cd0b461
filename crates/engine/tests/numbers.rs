//! Numbers at their edges: money to the millionth, grants to the machine, memories that are shared.
//!
//! The situations in words pass over these, since a sentence rounds. Each test here was written for a change of the code
//! that no other test noticed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use engine::{OfferNews, PoolPlan, Refusal, RefusalKind};
use model::{Budget, FleetPolicy, Money, OfferMemory, Period, QuotaMemory, Share, Spend};
use support::{World, ago, now, offer, plan_fleet, span};

fn money(text: &str) -> Money {
    Money::from_decimal(text.parse().unwrap()).unwrap()
}

/// A month's budget of these pools, in force since 12 hours: it is the first of January.
fn fleet(limit: &str, pools: &[&str]) -> FleetPolicy {
    FleetPolicy {
        budgets: vec![Budget {
            name: "monthly".into(),
            pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            limit: money(limit),
            currency: "USD".parse().unwrap(),
            per: Period::Month,
            zone: "UTC".into(),
            warn_at: Share::percent(80),
            cheapest_at: Share::percent(90),
            machine_life: span("1h"),
        }],
        ..FleetPolicy::default()
    }
}

fn counted(world: &mut World, amount: &str, rest: u64, seconds_ago: u64) {
    let spend = Spend {
        period: "2026-01-01T00:00:00Z".parse().unwrap(),
        amount: money(amount),
        rest,
        at: ago(seconds_ago),
        assumed: Money::ZERO,
    };
    world.memory.spend.insert("monthly".into(), spend);
}

fn priced(text: &str, prices: &[&str]) -> World {
    let mut world = World::parse(text);
    let offers = prices.iter().zip(0..).map(|(price, index)| {
        let mut offer = offer(index, "aws");
        offer.price = Some(money(price));
        offer
    });
    world.policy.offers = offers.collect();
    world
}

/// What one pool's plan remembers to have spent.
fn remembered(world: &World, fleet: &FleetPolicy) -> Spend {
    let plans = plan_fleet(std::slice::from_ref(world), fleet);
    plans[0].plan.memory.spend["monthly"].clone()
}

/// Two machines for a quarter of an hour at 0.20 an hour are 0.10; what is left of a millionth is kept.
#[test]
fn what_machines_cost_is_counted_to_the_millionth() {
    let fleet = fleet("100", &["linux"]);
    let mut world = priced("max 10 | queued 0 running 2 | busy x2", &["0.20"]);
    counted(&mut world, "1", 0, 900);
    let spend = remembered(&world, &fleet);
    assert_eq!(
        (spend.amount, spend.rest, spend.at),
        (money("1.10"), 0, now())
    );

    // a millionth an hour: eleven seconds are 11,000 of the 3,600,000 millisecond-millionths of one
    let mut world = priced("max 10 | queued 0 running 1 | busy", &["0.000001"]);
    counted(&mut world, "1", 3_590_000, 11);
    let spend = remembered(&world, &fleet);
    assert_eq!((spend.amount, spend.rest), (money("1.000001"), 1_000));
}

/// A machine that is younger than the last count costs what it has lived; one that is only asked for costs nothing yet.
#[test]
fn a_machine_costs_no_more_than_it_has_lived() {
    let fleet = fleet("100", &["linux"]);
    let mut world = priced(
        "max 10 | queued 1 running 0 | booting 3m, requested 1s",
        &["0.20"],
    );
    counted(&mut world, "1", 0, 3600);
    assert_eq!(remembered(&world, &fleet).amount, money("1.01"));
}

/// One machine of an offer that the configuration no longer names is paid at the dearest price that it does name.
#[test]
fn a_machine_of_an_unknown_offer_is_taken_for_the_dearest() {
    let fleet = fleet("100", &["linux"]);
    let mut world = priced("max 10 | queued 0 running 3 | busy x3", &["0.20", "0.60"]);
    world.instances[0].offer = Some(offer(0, "aws").id);
    world.instances[1].offer = Some(offer(0, "aws").id);
    world.instances[2].offer = Some(offer(7, "aws").id);
    world.instances[2].generation = None;
    counted(&mut world, "1", 0, 900);
    // twice 0.05 and 0.15
    assert_eq!(remembered(&world, &fleet).amount, money("1.25"));
}

/// Spend changes with every tick and is written every ten seconds; a new period is written at once.
#[test]
fn spend_is_written_every_ten_seconds() {
    let fleet = fleet("100", &["linux"]);
    let mut world = priced("max 10 | queued 0 running 1 | busy", &["0.36"]);
    for (seconds, amount) in [(9, "1"), (10, "1.001"), (11, "1.0011")] {
        counted(&mut world, "1", 0, seconds);
        assert_eq!(
            remembered(&world, &fleet).amount,
            money(amount),
            "{seconds} s"
        );
    }
    // until 5 s ago it was December, as far as the memory knows: the new year's machines cost since midnight, not since then
    let december = Spend {
        period: "2025-12-01T00:00:00Z".parse().unwrap(),
        amount: money("90"),
        rest: 0,
        at: ago(5),
        assumed: money("1"),
    };
    world.memory.spend.insert("monthly".into(), december);
    let spend = remembered(&world, &fleet);
    assert_eq!(spend.period.to_string(), "2026-01-01T00:00:00Z");
    // half an hour of life
    assert_eq!((spend.amount, spend.assumed), (money("0.18"), Money::ZERO));
}

/// A clock that goes back counts nothing twice, and nothing backwards.
#[test]
fn a_clock_that_went_back_counts_nothing() {
    let fleet = fleet("100", &["linux"]);
    let mut world = priced("max 10 | queued 0 running 1 | busy", &["0.36"]);
    counted(&mut world, "1", 7, 0);
    let spend = world.memory.spend.get_mut("monthly").unwrap();
    spend.at = now() + jiff::SignedDuration::from_secs(60);
    let kept = spend.clone();
    assert_eq!(remembered(&world, &fleet), kept);
}

/// A pool of the budget that nothing can be read of may have spent its part of the line: 12 of 744 hours of 744.00, half of
/// it for each of two pools.
#[test]
fn a_pool_that_cannot_be_read_counts_with_its_part_of_the_line() {
    let fleet = fleet("744", &["linux", "mac"]);
    let mut world = priced(
        "max 10 bootstrap shared | queued 1 | no instances",
        &["0.20"],
    );
    counted(&mut world, "1", 0, 0);
    let plans = plan_fleet(&[world], &fleet);
    let words = plans[0].plan.to_string();
    assert!(words.contains("6.00 USD is assumed"), "{words}");
    // it is part of what the fullest budget's share is told from
    assert_eq!(plans[0].seen.spent, Some(Share::percent(0)));
}

/// A pool planned alone keeps what it remembers of money.
#[test]
fn a_pool_alone_forgets_no_money() {
    let mut world = priced("max 10 | queued 0 running 1 | busy", &["0.36"]);
    counted(&mut world, "1", 0, 3600);
    assert_eq!(world.plan().memory.spend, world.memory.spend);
}

/// The dearer offer is bought up to the very share of the budget from which on only the cheapest is.
#[test]
fn the_dearer_offer_is_bought_up_to_the_very_share() {
    let fleet = fleet("100", &["linux"]);
    for (already, from) in [("89.80", 0), ("89.800001", 1)] {
        let text = "max 10 bootstrap shared | queued 1 | no instances";
        let mut world = priced(text, &["0.20", "0.06"]);
        counted(&mut world, already, 0, 0);
        let plans = plan_fleet(&[world], &fleet);
        assert_eq!(parts(&plans[0]), [(from, 1)], "{already}");
    }
}

fn parts(planned: &PoolPlan) -> Vec<(u32, u32)> {
    let parts = planned.grant.parts.iter();
    parts.map(|part| (part.offer.index, part.count)).collect()
}

/// An offer that is not needed has no part in a grant.
#[test]
fn an_offer_that_is_not_needed_gets_no_part() {
    let world = World::parse("max 10 bootstrap shared offers 3 | queued 2 | no instances");
    let plans = plan_fleet(&[world], &FleetPolicy::default());
    assert_eq!(parts(&plans[0]), [(0, 2)]);
}

/// An offer on trial takes one machine and the next offer takes the others, where a cap is scarce as well as where none is.
#[test]
fn an_offer_on_trial_takes_one_machine() {
    for max in [None, Some(3)] {
        let mut world = World::parse("max 10 bootstrap shared offers 2 | queued 4 | no instances");
        let trial = OfferMemory {
            until: Some(ago(1)),
            refusals: 2,
            why: "no capacity".into(),
            ..OfferMemory::default()
        };
        world.memory.offers.insert(offer(0, "aws").id, trial);
        let fleet = FleetPolicy {
            max,
            ..FleetPolicy::default()
        };
        let plans = plan_fleet(&[world], &fleet);
        let rest = max.unwrap_or(4) - 1;
        assert_eq!(parts(&plans[0]), [(0, 1), (1, rest)], "cap {max:?}");
    }
}

fn pool(name: &str, text: &str) -> World {
    World::named(name, text)
}

fn granted(plans: &[PoolPlan]) -> Vec<u32> {
    let counts = |plan: &PoolPlan| plan.grant.parts.iter().map(|part| part.count).sum();
    plans.iter().map(counts).collect()
}

fn capped(max: u32, patience: &str) -> FleetPolicy {
    FleetPolicy {
        max: Some(max),
        patience: span(patience),
        ..FleetPolicy::default()
    }
}

/// From nothing the heavier pool is the first, although a job of the lighter one has waited longer.
#[test]
fn the_first_machine_goes_to_the_heavier_pool() {
    let worlds = [
        pool(
            "light",
            "max 9 weight 1 | queued 3 oldest 5m | no instances",
        ),
        pool(
            "heavy",
            "max 9 weight 3 | queued 3 oldest 1m | no instances",
        ),
    ];
    assert_eq!(granted(&plan_fleet(&worlds, &capped(1, "1h"))), [0, 1]);
}

/// Of two claims the one that is overdue for longer is met first, not the one of the oldest job: a pool with a machine has
/// had one for its first wait.
#[test]
fn the_claim_that_is_overdue_for_longer_is_met_first() {
    let worlds = [
        pool("has-one", "max 9 | queued 3 oldest 25m | busy"),
        pool("has-none", "max 9 | queued 3 oldest 24m | no instances"),
    ];
    assert_eq!(granted(&plan_fleet(&worlds, &capped(2, "10m"))), [0, 1]);
}

/// A cap over the fleet counts the machines of pools that the configuration does not name, once each, if they are not gone.
#[test]
fn machines_of_unknown_pools_count_against_the_cap() {
    let mut stray = pool("stray", "max 9 | queued 0 | busy x2, gone, busy");
    stray.configured = false;
    let split = World::together(&[
        stray.clone(),
        pool("linux", "max 9 | queued 9 | no instances"),
    ])
    .split();
    let linux = pool("linux", "max 9 | queued 9 | no instances");
    // once as the scaler does it, which asks the store for its own pools only, and once with the stray pool in the split
    let plans = engine::plan_fleet(split, [&linux.policy], &capped(5, "1h"), now());
    assert_eq!(granted(&plans), [2]);
    let fleet = FleetPolicy {
        providers: [("aws".parse().unwrap(), 4)].into(),
        ..FleetPolicy::default()
    };
    let split = World::together(&[stray, linux.clone()]).split();
    let plans = engine::plan_fleet(split, [&linux.policy], &fleet, now());
    assert_eq!(granted(&plans), [1]);
}

fn aside(world: &mut World, index: u32, seconds: i64, why: &str) {
    let until = now() + jiff::SignedDuration::from_secs(seconds);
    let memory = OfferMemory {
        until: Some(until),
        refusals: 1,
        why: why.into(),
        ..OfferMemory::default()
    };
    world.memory.offers.insert(offer(index, "aws").id, memory);
}

/// Of what several pools remember of one offer the longest time counts, for all of them and in whichever order they come.
#[test]
fn the_longest_time_aside_counts_for_every_pool() {
    for order in [[60, 300], [300, 60]] {
        let mut worlds = [
            pool("alpha", "max 9 bootstrap shared | queued 1 | no instances"),
            pool("beta", "max 9 bootstrap shared | queued 1 | no instances"),
            pool("gamma", "max 9 bootstrap shared | queued 1 | no instances"),
        ];
        aside(&mut worlds[0], 0, order[0], "first");
        aside(&mut worlds[1], 0, order[1], "second");
        for planned in plan_fleet(&worlds, &FleetPolicy::default()) {
            let unavailable = &planned.seen.unavailable[&offer(0, "aws").id];
            assert_eq!(unavailable.remaining, Duration::from_secs(300));
            let why = if order[0] == 300 { "first" } else { "second" };
            assert_eq!(unavailable.why, why);
        }
    }
}

/// A pool that the store says more of keeps the longer time, and takes the longer one that a memory says.
#[test]
fn what_the_store_says_of_an_offer_is_not_shortened() {
    for (remembered, counts) in [(60, 120), (300, 300)] {
        let mut world = pool("linux", "max 9 | queued 1 | no instances | aside 0");
        aside(&mut world, 0, remembered, "remembered");
        let plans = plan_fleet(&[world], &FleetPolicy::default());
        let unavailable = &plans[0].seen.unavailable[&offer(0, "aws").id];
        assert_eq!(unavailable.remaining, Duration::from_secs(counts));
    }
}

/// Of two quotas that pools remember of one provider the smaller one is the cap.
#[test]
fn the_smaller_quota_is_the_cap() {
    for caps in [[3, 5], [5, 3]] {
        let mut worlds = [
            pool("alpha", "max 9 | queued 9 | no instances"),
            pool("beta", "max 9 | queued 0 | no instances"),
        ];
        for (world, cap) in worlds.iter_mut().zip(caps) {
            let quota = QuotaMemory {
                cap,
                until: now() + jiff::SignedDuration::from_secs(60),
                refusals: 1,
                why: format!("at most {cap}"),
            };
            world.memory.quotas.insert("aws".parse().unwrap(), quota);
        }
        assert_eq!(
            granted(&plan_fleet(&worlds, &FleetPolicy::default())),
            [3, 0]
        );
    }
}

/// News of an offer is heard by the pools that remember the offer or its provider's quota, and by no other; nobody hears his
/// own twice.
#[test]
fn news_is_heard_by_those_who_remember_the_offer() {
    let news = OfferNews {
        offer: offer(0, "aws").id,
        provider: "aws".parse().unwrap(),
        made: 0,
        refusal: Some(Refusal {
            kind: RefusalKind::NoCapacity,
            why: "no capacity".into(),
        }),
    };
    let mut worlds = [
        pool("met-it", "max 9 | queued 0 | no instances"),
        pool("knows-offer", "max 9 | queued 0 | no instances"),
        pool("knows-quota", "max 9 | queued 0 | no instances"),
        pool("knows-none", "max 9 | queued 0 | no instances"),
    ];
    worlds[0].news = vec![news];
    aside(&mut worlds[0], 0, 1, "before");
    aside(&mut worlds[1], 0, 1, "before");
    let quota = QuotaMemory {
        cap: 9,
        until: ago(1),
        refusals: 1,
        why: "at most 9".into(),
    };
    worlds[2]
        .memory
        .quotas
        .insert("aws".parse().unwrap(), quota);
    let mut plans = plan_fleet(&worlds, &FleetPolicy::default());
    plans.sort_by(|a, b| a.plan.pool.cmp(&b.plan.pool));
    let heard: Vec<(String, usize)> = plans
        .iter()
        .map(|plan| (plan.plan.pool.to_string(), plan.seen.seen.offer_news.len()))
        .collect();
    let expected = [
        ("knows-none", 0),
        ("knows-offer", 1),
        ("knows-quota", 1),
        ("met-it", 1),
    ];
    assert_eq!(heard, expected.map(|(pool, news)| (pool.to_owned(), news)));
}

/// Of machines that never came a hundred names are kept, and more change nothing.
#[test]
fn a_hundred_failed_boots_are_remembered() {
    for (known, kept) in [(98, 99), (99, 100), (100, 100)] {
        let world = World::parse(&format!("max 9 | queued 0 | stuck | failed-boots {known}"));
        let memory = world.plan().memory;
        let failed = &memory.broken[&model::Generation::new("now")];
        assert_eq!(failed.machines.len(), kept, "{known}");
    }
}

/// What comes up is remembered, so that its boot is measured when it is up.
#[test]
fn machines_that_come_up_are_remembered_and_measured() {
    let world = World::parse("max 9 | queued 1 | booting 30s, pending 5s, busy, idle 1m");
    let booting = world.plan().memory.booting;
    let names: Vec<String> = booting.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["linux-7-1-0", "linux-7-2-0"]);
    let mut up = World::parse("max 9 | queued 0 running 1 | busy, idle 1m");
    up.memory.booting = [up.instances[0].name.clone()].into();
    assert_eq!(up.plan().memory.learned.boots, [1800]);
}

/// A machine leaves no sooner than its provider bills, and no sooner than it boots; one of an offer that is not configured
/// any more as the dearest of those that are.
#[test]
fn a_machine_leaves_no_sooner_than_it_is_billed() {
    let leaves = |offer_of_it: u32, age: u64| {
        let mut world = World::parse("max 9 idle 1s offers 2 | queued 0 | idle 10s");
        world.policy.boot.expect = span("5s");
        world.policy.offers[0].least_billed = Duration::ZERO;
        world.policy.offers[1].least_billed = span("30s");
        world.instances[0].offer = Some(offer(offer_of_it, "aws").id);
        world.instances[0].generation = None;
        world.instances[0].created_at = Some(ago(age));
        !world.plan().actions.is_empty()
    };
    let cases = [
        (0, 4, false),
        (0, 5, true),
        (1, 29, false),
        (1, 30, true),
        (7, 29, false),
        (7, 30, true),
    ];
    for (offer, age, goes) in cases {
        assert_eq!(leaves(offer, age), goes, "offer {offer} at {age} s");
    }
}

/// What is too dear for a pool is not what its cheapest offer is told from, and what it can afford is.
#[test]
fn the_cheapest_offer_is_one_that_the_pool_may_buy() {
    let fleet = fleet("100", &["linux"]);
    for (prices, from) in [(&["0.20"][..], 0), (&["0.25", "0.20"], 1)] {
        let mut world = priced("max 10 bootstrap shared | queued 1 | no instances", prices);
        world.policy.standing.max_price = Some(money("0.22"));
        counted(&mut world, "91", 0, 0);
        assert_eq!(
            parts(&plan_fleet(&[world], &fleet)[0]),
            [(from, 1)],
            "{prices:?}"
        );
    }
}

/// A price at the ceiling is within it.
#[test]
fn an_offer_at_the_price_ceiling_is_bought() {
    for (price, bought) in [("0.22", 1), ("0.220001", 0)] {
        let mut world = priced(
            "max 10 bootstrap shared | queued 1 | no instances",
            &[price],
        );
        world.policy.standing.max_price = Some(money("0.22"));
        let plans = plan_fleet(&[world], &FleetPolicy::default());
        assert_eq!(granted(&plans), [bought], "{price}");
    }
}

/// An offer of which half of at least four machines never joined comes after the others.
#[test]
fn an_offer_whose_machines_do_not_join_comes_last() {
    for (made, failed, first) in [(8, 4, 1), (8, 3, 0), (3, 3, 0), (4, 2, 1)] {
        let mut world = World::parse("max 10 bootstrap shared offers 2 | queued 1 | no instances");
        let known = OfferMemory {
            made,
            failed,
            ..OfferMemory::default()
        };
        world.memory.offers.insert(offer(0, "aws").id, known);
        let plans = plan_fleet(&[world], &FleetPolicy::default());
        assert_eq!(parts(&plans[0]), [(first, 1)], "{failed} of {made}");
    }
}

/// Just as much free memory as asked for is enough, and just as much load as allowed is not too much.
#[test]
fn pressure_begins_beyond_its_bound() {
    for (rule, report, grows) in [
        ("memory 2048:2", "free 2048", false),
        ("memory 2048:2", "free 2047", true),
        ("load 1500:2", "load 1500", false),
        ("load 1500:2", "load 1501", true),
    ] {
        let world = World::parse(&format!(
            "max 9 {rule} | queued 0 running 3 | busy x3 | {report}"
        ));
        assert_eq!(
            world.plan().summary.target == 5,
            grows,
            "{rule}, {report}: {}",
            world.plan()
        );
    }
}
