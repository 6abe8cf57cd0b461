//! Properties of the allocation and of whole fleets, over random worlds of several pools that share caps, budgets and
//! offers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{
    Action, Ask, Grant, Held, OfferNews, PoolPlan, Reason, Refusal, RefusalKind, Rung, allocate,
};
use model::{Budget, FleetPolicy, Money, Period, Ranking, Share, Spend};
use proptest::prelude::*;
use support::{World, ago, offer, plan_fleet, span};

const POOLS: [&str; 5] = ["android", "linux", "linux-big", "mac", "windows"];
const GROUPS: [&str; 2] = ["builders", "testers"];
const PROVIDERS: [&str; 2] = ["aws", "gcp"];
const STATES: [&str; 16] = [
    "requested 5s",
    "booting 20s",
    "idle 30s",
    "idle 20m",
    "idle 20m",
    "busy",
    "busy",
    "unreadable",
    "stuck",
    "lost",
    "stopped",
    "paused",
    "settling 10s",
    "proven 61s",
    "deleting 5s",
    "old-cordon",
];

fn cents(n: u64) -> Money {
    Money::from_micros(n * 10_000)
}

fn any_news() -> impl Strategy<Value = Vec<OfferNews>> {
    let kind = prop_oneof![
        Just(RefusalKind::NoCapacity),
        Just(RefusalKind::Quota),
        Just(RefusalKind::Wait {
            wait: Duration::from_secs(10)
        })
    ];
    let one =
        (0u32..3, 0u32..3, prop::option::of(kind)).prop_map(|(index, made, kind)| OfferNews {
            offer: offer(index, "aws").id,
            provider: PROVIDERS[(index / 2) as usize].parse().unwrap(),
            made,
            refusal: kind.map(|kind| Refusal {
                kind,
                why: "no".into(),
            }),
        });
    prop::collection::vec(one, 0..3)
}

prop_compose! {
    fn any_pool(name: &'static str)(
        machines in prop::collection::vec(prop::sample::select(&STATES[..]), 0..10),
        queued in 0u32..12, slots in 1u32..3, min in 0u32..3, above in 0u32..12,
        waited in 0u64..4000, age in prop_oneof![8 => Just(2u64), 1 => Just(70)],
        partial in prop::bool::weighted(0.1), shared in any::<bool>(),
        group in prop::option::of(prop::sample::select(&GROUPS[..])),
        priority in 0i32..3, weight in 1u32..4, by_price in any::<bool>(),
        ceiling in prop::option::weighted(0.2, 1u64..30), share in prop::option::of(1u32..100),
        prices in prop::collection::vec(1u64..30, 1..4), news in any_news(),
        spent in prop::option::of(0u64..2000), believed in 0u32..20,
    ) -> World {
        let mut world = World::empty(name);
        world.policy.slots = slots;
        (world.policy.min, world.policy.max) = (min, min + above);
        if shared {
            world.policy.bootstrap = model::Bootstrap::Shared;
        }
        world.scale_in().idle = model::rules::IdleTime::Fixed { idle_for: span("1m") };
        world.scale_in().at_most_share = share.map(Share::percent);
        world.policy.standing = model::Standing {
            group: group.map(|group| group.parse().unwrap()),
            priority,
            weight,
            max_price: ceiling.map(cents),
            ranking: if by_price { Ranking::Price } else { Ranking::Listed },
        };
        let offers = prices.into_iter().zip(0..).map(|(price, index)| {
            let mut offer = offer(index, PROVIDERS[(index / 2) as usize]);
            offer.price = Some(cents(price));
            offer
        });
        world.policy.offers = offers.collect();
        world.workload.demand.runnable = queued;
        world.workload.demand.oldest_wait = (queued > 0).then(|| Duration::from_secs(waited));
        world.workload_age = age;
        if partial {
            world.workload.completeness.doubt("page 2 failed");
        }
        for (number, machine) in machines.iter().enumerate() {
            world.add_machine(machine, number as u32 + 1);
        }
        world.memory.believed_work = believed;
        world.news = news;
        if let Some(spent) = spent {
            let spend = Spend {
                period: "2026-01-01T12:00:00Z".parse().unwrap(),
                amount: cents(spent),
                rest: 0,
                at: ago(5),
                assumed: Money::ZERO,
            };
            world.memory.spend.insert("hourly".into(), spend);
        }
        world
    }
}

prop_compose! {
    fn any_worlds()(
        worlds in (any_pool(POOLS[0]), any_pool(POOLS[1]), any_pool(POOLS[2]), any_pool(POOLS[3]), any_pool(POOLS[4])),
        listing in prop::sample::select(&["complete", "complete", "complete", "partial"][..]),
        removed in prop::bool::weighted(0.2),
    ) -> Vec<World> {
        let mut worlds = vec![worlds.0, worlds.1, worlds.2, worlds.3, worlds.4];
        worlds[0].listing = listing;
        worlds[4].configured = !removed;
        worlds
    }
}

prop_compose! {
    fn any_fleet()(
        max in prop::option::of(0u32..60),
        providers in prop::collection::vec(prop::option::of(0u32..40), 2),
        groups in prop::collection::vec(prop::option::of(0u32..30), 2),
        budget in prop::option::of((1u64..6000, 1usize..5, 0u32..100, 0u32..100, 1u64..120)),
    ) -> FleetPolicy {
        let named = |names: &[&'static str], caps: Vec<Option<u32>>| -> Vec<(&'static str, u32)> {
            names.iter().zip(caps).filter_map(|(name, cap)| Some((*name, cap?))).collect()
        };
        let budgets = budget.into_iter().map(|(limit, pools, warn_at, cheapest_at, minutes)| Budget {
            name: "hourly".into(),
            pools: POOLS[..pools].iter().map(|pool| pool.parse().unwrap()).collect(),
            limit: cents(limit),
            currency: "USD".parse().unwrap(),
            per: Period::Hour,
            zone: "UTC".into(),
            warn_at: Share::percent(warn_at),
            cheapest_at: Share::percent(cheapest_at),
            machine_life: Duration::from_secs(minutes * 60),
        });
        FleetPolicy {
            max,
            providers: named(&PROVIDERS, providers).into_iter().map(|(n, cap)| (n.parse().unwrap(), cap)).collect(),
            groups: named(&GROUPS, groups).into_iter().map(|(n, cap)| (n.parse().unwrap(), cap)).collect(),
            budgets: budgets.collect(),
            patience: FleetPolicy::PATIENCE,
        }
    }
}

fn created(plan: &PoolPlan) -> u32 {
    let counts = plan.plan.actions.iter().map(|action| match action {
        Action::Create { count, .. } => *count,
        _ => 0,
    });
    counts.sum()
}

fn leaves(plan: &PoolPlan) -> Vec<&Action> {
    let leaving = plan.plan.actions.iter();
    leaving
        .filter(|action| !matches!(action, Action::Create { .. }))
        .collect()
}

prop_compose! {
    fn any_ask(number: usize)(
        priority in 0i32..3, weight in 1u32..5, serving in 0u32..6, count in 0u32..9, to_min in 0u32..3,
        waited in 0u64..4000,
    ) -> Ask {
        Ask {
            pool: POOLS[number].parse().unwrap(),
            group: None,
            priority,
            weight,
            serving,
            count,
            to_min: to_min.min(count),
            oldest_wait: Duration::from_secs(waited),
            rungs: vec![Rung { offer: offer(0, "aws").id, provider: "aws".parse().unwrap(), price: None, room: u32::MAX }],
            cheapest: None,
        }
    }
}

fn any_asks() -> impl Strategy<Value = Vec<Ask>> {
    (any_ask(0), any_ask(1), any_ask(2), any_ask(3), any_ask(4))
        .prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e])
}

fn patience() -> u64 {
    FleetPolicy::PATIENCE.as_secs()
}

fn claim(ask: &Ask) -> u32 {
    let waits = (ask.oldest_wait.as_secs() / patience()) as u32;
    waits.saturating_sub(ask.serving).min(ask.count)
}

/// What a pool gets before priorities count.
fn first(ask: &Ask) -> u32 {
    ask.to_min.max(claim(ask))
}

fn with_room(asks: &[Ask], room: u32) -> Vec<Grant> {
    let serving: u32 = asks.iter().map(|ask| ask.serving).sum();
    let policy = FleetPolicy {
        max: Some(serving + room),
        ..FleetPolicy::default()
    };
    let held = Held {
        machines: serving,
        ..Held::default()
    };
    allocate(asks, &policy, &held)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// I1 to I6, I13, I14 and E3 for each pool, I2 and I3 for all together, and the byte-identical replay of each plan:
    /// they are checked in `plan_fleet` of the support. And what is not granted has a reason (I10).
    #[test]
    fn no_fleet_plan_breaks_an_invariant(worlds in any_worlds(), fleet in any_fleet()) {
        for (world, plan) in worlds.iter().zip(plan_fleet(&worlds, &fleet)) {
            let said = plan.plan.reasons.iter().any(|reason| matches!(
                reason,
                Reason::Ceiling { .. } | Reason::Capped { .. } | Reason::BudgetHolds { .. } | Reason::BudgetCheapest { .. }
                    | Reason::OfferCanary { .. } | Reason::NoOffer { .. } | Reason::HeldByListing { .. }
                    | Reason::BootBreaker { .. }
            ));
            let missing = plan.plan.summary.target > plan.plan.summary.serving + created(&plan);
            let called_back = plan.plan.reasons.iter().any(|r| matches!(r, Reason::CalledBack { .. }));
            prop_assert!(!missing || said || called_back, "{}", plan.plan);
            prop_assert!(created(&plan) <= plan.plan.summary.target.saturating_sub(plan.plan.summary.serving), "asked for n, woke at most n\n{}", plan.plan);
            prop_assert!(world.configured);
        }
    }

    /// Allocation makes no machine leave: with caps and budgets of nothing the same machines leave as without any.
    #[test]
    fn no_cap_makes_a_machine_leave(worlds in any_worlds(), fleet in any_fleet()) {
        let tight = FleetPolicy { max: Some(0), ..fleet };
        let capped = plan_fleet(&worlds, &tight);
        let free = plan_fleet(&worlds, &FleetPolicy::default());
        for (capped, free) in capped.iter().zip(&free) {
            prop_assert_eq!(leaves(capped), leaves(free));
            prop_assert_eq!(created(capped), 0);
        }
    }

    /// E4 over the fleet: the same worlds give the same plans.
    #[test]
    fn equal_fleets_give_equal_plans(worlds in any_worlds(), fleet in any_fleet()) {
        let bytes = |plans: Vec<PoolPlan>| {
            let plans: Vec<String> = plans.iter().map(|p| serde_json::to_string(&p.plan).unwrap()).collect();
            plans
        };
        prop_assert_eq!(bytes(plan_fleet(&worlds, &fleet)), bytes(plan_fleet(&worlds, &fleet)));
    }

    /// E2 under shared caps: a pool that asks for more never gets less.
    #[test]
    fn a_pool_that_asks_for_more_never_gets_less(asks in any_asks(), room in 0u32..20, who in 0usize..5, more in 1u32..5) {
        let less = with_room(&asks, room);
        let mut greedy = asks;
        greedy[who].count += more;
        let more = with_room(&greedy, room);
        prop_assert!(more[who].count() >= less[who].count());
    }

    /// Nothing is left over while anybody wants it, and nobody gets more than it asked for.
    #[test]
    fn what_there_is_is_given_away(asks in any_asks(), room in 0u32..30) {
        let grants = with_room(&asks, room);
        let wanted: u32 = asks.iter().map(|ask| ask.count).sum();
        let granted: u32 = grants.iter().map(Grant::count).sum();
        prop_assert_eq!(granted, wanted.min(room));
        for (ask, grant) in asks.iter().zip(&grants) {
            prop_assert!(grant.count() <= ask.count);
            prop_assert_eq!(grant.count() == ask.count, grant.reasons.is_empty());
        }
    }

    /// No starvation: every claim is met, whatever the priorities, as long as minima and claims fit into what there is;
    /// and nobody gets more than those while a claim is open.
    #[test]
    fn no_claim_waits_behind_a_priority(asks in any_asks(), room in 0u32..20) {
        let grants = with_room(&asks, room);
        let all: u32 = asks.iter().map(first).sum();
        for (ask, grant) in asks.iter().zip(&grants) {
            if all <= room {
                prop_assert!(grant.count() >= first(ask), "{ask:?} {grant:?}");
            }
            let open = asks.iter().zip(&grants).any(|(other, got)| got.count() < claim(other));
            prop_assert!(!open || grant.count() <= first(ask), "{ask:?} {grant:?}");
        }
    }

    /// A smaller priority gets more than its minimum and its claim only when every greater one has all it asked for.
    #[test]
    fn the_rest_goes_by_priority(asks in any_asks(), room in 0u32..20) {
        let grants = with_room(&asks, room);
        for (ask, grant) in asks.iter().zip(&grants) {
            let greater = asks.iter().zip(&grants).filter(|(other, _)| other.priority > ask.priority);
            let hungry = greater.into_iter().any(|(other, got)| got.count() < other.count);
            prop_assert!(!hungry || grant.count() <= first(ask));
        }
    }

    /// Weighted max-min: within a priority nobody is raised above the level of one that still wants.
    #[test]
    fn within_a_priority_the_lowest_is_raised_first(asks in any_asks(), room in 0u32..20) {
        let grants = with_room(&asks, room);
        for (ask, grant) in asks.iter().zip(&grants) {
            for (other, got) in asks.iter().zip(&grants) {
                let hungry = other.priority == ask.priority && got.count() < other.count;
                if hungry && grant.count() > first(ask) {
                    // the last machine of this one went to it rather than one more to the other
                    let mine = u64::from(ask.serving + grant.count()) * u64::from(other.weight);
                    let its = u64::from(other.serving + got.count() + 1) * u64::from(ask.weight);
                    prop_assert!(mine <= its + u64::from(ask.weight.max(other.weight)), "{ask:?} {grant:?} {other:?} {got:?}");
                }
            }
        }
    }

    /// A pool that waits long enough gets a machine whatever the others are: from tick to tick its claim grows by one
    /// for each `patience`, until it is more than all others' first rights can hold back.
    #[test]
    fn nobody_waits_for_ever(asks in any_asks(), who in 0usize..5, room in 1u32..6) {
        let mut asks = asks;
        asks[who].count = asks[who].count.max(1);
        // the others have their minima: what they want is for jobs, however great their priority
        for ask in &mut asks {
            ask.to_min = 0;
        }
        let mut served = BTreeMap::new();
        for turn in 0u64..40 {
            asks[who].oldest_wait = Duration::from_secs(patience() * turn);
            let got = with_room(&asks, room)[who].count();
            served.insert(turn, got);
        }
        prop_assert!(served.values().any(|got| *got > 0), "{served:?}");
    }
}
