//! Properties over random worlds of several pools and many machines, in every state and with every doubt.
//!
//! The invariants are those of `engine::invariants`; the properties of the pure engine alone (E1, E2, E4) and the
//! isolation of pools are stated here.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use engine::{Action, LeaveWhy, Plan, invariants};
use model::rules::Condition;
use model::{
    Cordon, Directive, FailedBoots, Generation, Health, Histogram, InstanceState, Intent, Learned,
    LeaveStep, Policy, Recommendations, Reuse, RiseRow, RiseWindow, Rule, RuleKind, Share,
    StoredIntent, Tokens, Unneeded, Wanted,
};
use proptest::prelude::*;
use support::{EPOCH, World, executor_ref, now};

const STATES: [&str; 34] = [
    "requested",
    "pending",
    "booting",
    "idle",
    "idle",
    "busy",
    "busy",
    "taken",
    "taken-busy",
    "unreadable",
    "stuck",
    "lost",
    "stopped",
    "stopping",
    "odd",
    "absent",
    "unregistered",
    "paused",
    "cordoning",
    "settling",
    "settling-busy",
    "proven",
    "deleting",
    "lifted",
    "old-cordon",
    "old-settling",
    "gone",
    "vanished",
    "ghost",
    "asked",
    "asked-before",
    "asked-off",
    "deleted",
    "deleted-busy",
];
const TIMES: [&str; 6] = ["0s", "20s", "45s", "61s", "9m", "30m"];

/// Rules of every kind, some with conditions. It is Thursday, 12:00 UTC.
const RULES: [(&str, &str); 18] = [
    ("utilization", "80%"),
    ("utilization", "50%@Mon-Fri_08:00-19:00_UTC"),
    ("reserve", "3"),
    ("reserve", "25%"),
    ("reserve", "arrivals:16"),
    ("reserve", "2@Sat-Sun_00:00-24:00_UTC"),
    ("reserve", "4@queued>3"),
    ("reserve", "4@use<30%"),
    ("break-even", "0"),
    ("break-even", "3:20"),
    ("create", "3:1m"),
    ("stabilise", "2m"),
    ("limit", "2..6"),
    ("limit", "..3@Thu_12:00-13:00_UTC"),
    ("limit", "3..@queued>5"),
    ("memory", "2048:1"),
    ("load", "1500:2"),
    ("load", "1500:0@wait>10s"),
];

fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = prop::sample::select(&RULES[..]).prop_map(|(key, value)| support::rule(key, value));
    prop::collection::vec(one, 0..5)
}

prop_compose! {
    /// What the engine may remember, sensible or not.
    fn any_past()(
        learned in prop::collection::vec((0u32..15, 0u64..200), 0..40),
        wanted in prop::option::of((0u32..20, prop::collection::vec((0u32..20, 0u64..300), 0..5))),
        tokens in prop::option::of((0u64..4000, 0u64..60)),
    ) -> (Learned, Option<Recommendations>, Option<Tokens>) {
        let counts: Vec<u32> = learned.iter().map(|(count, _)| *count).collect();
        let row = RiseRow { windows: counts.iter().sum(), rises: Histogram { counts: counts.clone() } };
        let (demand, age) = learned.first().copied().unwrap_or_default();
        let learned = Learned {
            demand,
            unneeded: learned.iter().map(|(levels, age)| Unneeded { levels: *levels, since: support::ago(*age) }).collect(),
            gaps: Histogram { counts },
            rises: vec![vec![row; 4]; 2],
            window: Some(RiseWindow {
                since: support::ago(age), base: demand, peak: demand,
                activity: [300, 2000], active: [300, 2000], touched: support::ago(age),
            }),
            boots: learned.iter().map(|(_, seconds)| *seconds as u32).take(16).collect(),
            ..Learned::default()
        };
        let wanted = wanted.map(|(now, mut earlier)| {
            earlier.sort_unstable_by(|a, b| b.cmp(a));
            let mut ages: Vec<u64> = earlier.iter().map(|(_, age)| *age).collect();
            ages.sort_unstable_by(|a, b| b.cmp(a));
            let entry = |((machines, _), age): (&(u32, u64), u64)| Wanted { machines: *machines + now, until: support::ago(age) };
            Recommendations { now, earlier: earlier.iter().zip(ages).map(entry).collect() }
        });
        let tokens = tokens.map(|(milli, age)| Tokens { milli, at: support::ago(age) });
        (learned, wanted, tokens)
    }
}

fn any_machine() -> impl Strategy<Value = String> {
    let foreign = Just("foreign 0s".to_owned());
    let ours = (
        prop::sample::select(&["", "", "", "changed-", "worn-", "changed-worn-"][..]),
        prop::sample::select(&STATES[..]),
        prop::sample::select(&TIMES[..]),
    );
    let words = |(past, state, time)| format!("{past}{state} {time}");
    prop_oneof![1 => foreign, 20 => ours.prop_map(words)]
}

prop_compose! {
    /// Machines of the worlds are half an hour old, and worn ones have run three jobs.
    fn any_reuse()(
        max_jobs in prop::option::weighted(0.3, 1u32..5), max_age in prop::option::weighted(0.3, 29u64..31),
        replace_changed in any::<bool>(), at_once in 1u32..100,
    ) -> Reuse {
        let max_age = max_age.map(|minutes| std::time::Duration::from_secs(60 * minutes));
        Reuse { max_jobs, max_age, replace_changed, at_once: Share::percent(at_once) }
    }
}

prop_compose! {
    fn any_pool(name: &'static str)(
        machines in prop::collection::vec(any_machine(), 0..14),
        queued in 0u32..12, slots in 1u32..4, min in 0u32..4, above in 0u32..12,
        idle in prop::sample::select(&["0s", "1m", "10m"][..]), pace in prop::option::of(1u32..4),
        age in prop_oneof![6 => Just(2u64), 1 => Just(59), 1 => Just(61), 1 => Just(4000)],
        partial in prop::bool::weighted(0.1), heard in prop::bool::weighted(0.9),
        mapped in prop::bool::weighted(0.95), shared in any::<bool>(), executors in 0u32..12,
        held in prop::bool::weighted(0.05), failed in 0u32..5,
        reuse in any_reuse(),
        (rules, past, health, running) in (any_rules(), any_past(), prop::option::of((0u64..4096, 0u32..3000)), 0u32..8),
    ) -> World {
        let mut world = World::empty(name);
        world.policy.slots = slots;
        world.policy.reuse = reuse;
        (world.policy.min, world.policy.max) = (min, min + above);
        world.scale_in().idle = model::rules::IdleTime::Fixed { idle_for: support::span(idle) };
        world.scale_in().at_most = pace;
        world.policy.rules.splice(0..0, rules);
        (world.memory.learned, world.memory.wanted, world.memory.tokens) = past;
        if shared {
            world.policy.bootstrap = model::Bootstrap::Shared;
        }
        match executors {
            0 => {
                let leave = match queued % 3 {
                    0 => model::UncontrolledLeave::ByThemselves,
                    1 => model::UncontrolledLeave::AskGuest,
                    _ => model::UncontrolledLeave::BestEffort,
                };
                world.policy.executors = model::ExecutorMode::ReadOnly { leave };
            }
            1 => {
                world.policy.executors = model::ExecutorMode::None;
                world.policy.emitter = None;
            }
            _ => {}
        }
        (world.workload.demand.runnable, world.workload.demand.running) = (queued, running);
        world.workload.demand.oldest_wait = (queued > 0).then(|| support::span("15s"));
        (world.workload_age, world.heard) = (age, heard);
        if partial {
            world.workload.completeness.doubt("page 2 failed");
        }
        if !mapped {
            world.workload.config = model::ConfigHash::new("other");
        }
        for (number, machine) in machines.iter().enumerate() {
            world.add_machine(machine, number as u32 + 1);
        }
        if let Some((mebibytes, load)) = health {
            let health = Health { memory_free: Some(mebibytes << 20), load_milli: Some(load) };
            world.workload.executors.iter_mut().for_each(|executor| executor.health = Some(health));
        }
        let failed = (0..failed).map(|i| format!("{name}-6-{i}-0").parse().unwrap());
        let failed = FailedBoots { machines: failed.collect(), last: support::ago(61) };
        world.memory.broken = [(Generation::new("now"), failed)].into();
        world.held = held.then(|| "registration refused".to_owned());
        world
    }
}

fn is_drain(what: &Directive) -> bool {
    !matches!(what, Directive::Pause { .. } | Directive::Pin { .. })
}

/// What operators may have ordered; mostly nothing.
fn any_orders() -> impl Strategy<Value = (bool, Vec<Directive>)> {
    let pool = prop::sample::select(&["linux", "linux-big", "mac"][..]);
    let order = (pool, 0u32..20, 0u8..5).prop_map(|(name, number, kind)| {
        let pool = name.parse().unwrap();
        let machines = number;
        match kind {
            0 => Directive::Pause { pool },
            1 => Directive::DrainZone {
                zone: if number < 10 { "zone-a" } else { "zone-b" }.to_owned(),
            },
            2 | 3 => Directive::DrainMachine {
                instance: format!("{name}-7-{number}-0").parse().unwrap(),
            },
            _ => Directive::Pin { pool, machines },
        }
    });
    let some = prop::collection::vec(order, 1..4);
    let orders = prop_oneof![2 => Just(vec![]), 1 => some];
    (prop::bool::weighted(0.05), orders)
}

prop_compose! {
    fn any_world()(
        mut worlds in (any_pool("linux"), any_pool("linux-big"), any_pool("mac")),
        listing in prop::sample::select(&["complete", "complete", "complete", "partial", "never", "old"][..]),
        lost in prop::option::weighted(0.1, 0u64..60),
        orders in any_orders(),
    ) -> Vec<World> {
        let unreadable = orders.0.then(|| "pause:linux".to_owned());
        worlds.0.overrides.unreadable.extend(unreadable);
        for order in orders.1 {
            for world in [&mut worlds.0, &mut worlds.1, &mut worlds.2] {
                if order.concerns(&world.policy.pool) {
                    world.order(order.clone());
                }
            }
        }
        worlds.0.listing = listing;
        worlds.0.lost_at = lost.map(support::ago);
        vec![worlds.0, worlds.1, worlds.2]
    }
}

fn plans(worlds: &[World]) -> Vec<Plan> {
    let fleet = World::together(worlds);
    let plan = |world: &World| {
        let seen = fleet.pool(&world.policy.pool).unwrap();
        engine::plan(&seen, &world.policy, now())
    };
    worlds.iter().map(plan).collect()
}

/// The world as it is right after a plan was carried out and every answer was heard.
fn carried_out(world: &mut World, plan: Plan) {
    world.memory = plan.memory;
    world.next_sequence = plan.next_sequence;
    world
        .intents
        .retain(|stored| !plan.end.contains(&stored.intent.key()));
    for intent in plan.put {
        put(world, intent);
    }
    for action in plan.actions {
        match action {
            Action::Create { .. } | Action::AskGuest { .. } => {}
            Action::Uncordon { instance, .. } => mark(world, &instance, Cordon::None),
            Action::Cordon { instance, .. } => {
                mark(world, &instance, Cordon::Ours { epoch: EPOCH });
                step(world, &instance, LeaveStep::Settling);
            }
            Action::Verify { instance, .. } => step(world, &instance, LeaveStep::ProvenOnce),
            Action::Delete { instance, .. } => {
                for listed in world.instances.iter_mut().filter(|i| i.name == instance) {
                    listed.state = InstanceState::Stopping;
                }
            }
            Action::RemoveExecutor { executor, .. } => {
                world
                    .workload
                    .executors
                    .retain(|seen| seen.id != executor.id);
            }
        }
    }
}

fn put(world: &mut World, intent: Intent) {
    world
        .intents
        .retain(|stored| stored.intent.key() != intent.key());
    world.intents.push(StoredIntent {
        intent,
        age: std::time::Duration::ZERO,
    });
}

fn mark(world: &mut World, name: &model::InstanceName, cordon: Cordon) {
    let id = executor_ref(name).id;
    for executor in world.workload.executors.iter_mut().filter(|e| e.id == id) {
        executor.cordon = cordon;
    }
}

fn step(world: &mut World, name: &model::InstanceName, step: LeaveStep) {
    let found = world
        .intents
        .iter()
        .find_map(|stored| match &stored.intent {
            Intent::Leave {
                instance,
                executor,
                epoch,
                ..
            } if instance == name => Some(Intent::Leave {
                instance: instance.clone(),
                executor: executor.clone(),
                epoch: *epoch,
                step,
            }),
            _ => None,
        });
    if let Some(intent) = found {
        put(world, intent);
    }
}

/// Machines that serve once the plan is carried out.
fn serving_after(plan: &Plan) -> i64 {
    let change: i64 = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Create { count, .. } => i64::from(*count),
            Action::Uncordon { .. } => 1,
            Action::Cordon {
                why: LeaveWhy::Idle | LeaveWhy::Aged | LeaveWhy::Changed,
                ..
            } => -1,
            Action::Delete {
                proof: engine::DeleteProof::NoExecutor,
                ..
            } => -1,
            _ => 0,
        })
        .sum();
    i64::from(plan.summary.serving) + change
}

/// Whether machines of the pool are replaced although they are wanted.
fn replaces(policy: &Policy) -> bool {
    policy.reuse.max_age.is_some() || policy.reuse.replace_changed
}

/// Leaves out the rules whose conditions depend on more than the time.
fn by_the_clock_only(worlds: &mut [World]) {
    let is_clock = |condition: &Condition| matches!(condition, Condition::Schedule(_));
    for world in worlds {
        let rules = &mut world.policy.rules;
        rules.retain(|rule| rule.when.all.iter().all(is_clock));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// I1, I2, I5, I6, I13, I14 and E3, judged from the observation.
    #[test]
    fn no_plan_breaks_an_invariant(worlds in any_world()) {
        let fleet = World::together(&worlds);
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            let seen = fleet.pool(&world.policy.pool).unwrap();
            let violations = invariants::check(&seen, &world.policy, &plan, now());
            prop_assert!(violations.is_empty(), "{violations:?}\n{plan}");
        }
    }

    /// A pause is one: nothing is made, called back or brought one step nearer to its end, and every plan says so. A pin
    /// is within max, and what nobody can read lets no machine go.
    #[test]
    fn orders_are_obeyed_and_said(worlds in any_world()) {
        let fleet = World::together(&worlds);
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            let pool = &world.policy.pool;
            let says = |code: &str| plan.reasons.iter().any(|reason| reason.code() == code);
            let paused = fleet.overrides.pause(pool).is_some();
            prop_assert_eq!(says("paused"), paused, "{}", &plan);
            prop_assert!(!paused || plan.actions.is_empty(), "{}", &plan);
            let pin = fleet.overrides.pin(pool).filter(|_| !paused);
            prop_assert_eq!(says("pinned"), pin.is_some(), "{}", &plan);
            // without a limit rule the max is the pool's own
            let limited = world.policy.rules.iter().any(|rule| matches!(rule.rule, RuleKind::Limit(_)));
            if let Some((_, machines)) = pin.filter(|_| !limited) {
                let pinned = machines.min(world.policy.max);
                let target = plan.summary.target;
                let exact = target == pinned || target == plan.summary.serving.max(pinned);
                // others stand in for machines that are to be replaced
                let stands_in = target > pinned && says("replacing");
                prop_assert!(exact || stands_in, "{}", &plan);
            }
            let forgetful = fleet.overrides.unreadable.is_empty();
            prop_assert!(forgetful || serving_after(&plan) >= i64::from(plan.summary.serving), "{}", &plan);
        }
    }

    /// E1: planning again on the planned world does nothing. The bound: while the same rules are in force. A condition
    /// such as `utilization_over` may begin to hold by the very machines that a plan makes. Where machines are replaced,
    /// each plan that was carried out may let the next one leave, and no more plans have actions than there are machines.
    #[test]
    fn a_carried_out_plan_leaves_nothing_to_do(mut worlds in any_world()) {
        by_the_clock_only(&mut worlds);
        for round in 0.. {
            let first = plans(&worlds);
            let words: Vec<String> = first.iter().map(ToString::to_string).collect();
            for (world, plan) in worlds.iter_mut().zip(first) {
                carried_out(world, plan);
            }
            let mut at_rest = true;
            for ((world, again), words) in worlds.iter().zip(plans(&worlds)).zip(words) {
                let rest = again.actions.is_empty();
                at_rest &= rest;
                let drains = world.overrides.in_force.iter().any(|it| is_drain(&it.order.what));
                let may = (drains || replaces(&world.policy)) && round <= world.instances.len();
                prop_assert!(rest || may, "round {round}, first:\n{words}\nagain:\n{again}");
            }
            if at_rest {
                break;
            }
        }
    }

    /// E2: more queued work never means fewer machines. The bound: while the same rules are in force. An operator may
    /// write that fewer are wanted when more is queued (`limit` with `queued_over`), and is obeyed.
    #[test]
    fn more_queued_work_never_means_fewer_machines(mut worlds in any_world(), more in 1u32..6) {
        by_the_clock_only(&mut worlds);
        let fewer = plans(&worlds);
        for world in &mut worlds {
            world.workload.demand.runnable += more;
        }
        for (less, more) in fewer.iter().zip(plans(&worlds)) {
            prop_assert!(serving_after(&more) >= serving_after(less), "{less}\n{more}");
        }
    }

    /// E4: equal inputs give byte-equal plans, whatever else is in the fleet.
    #[test]
    fn a_plan_depends_on_its_own_pool_alone(worlds in any_world()) {
        for (world, together) in worlds.iter().zip(plans(&worlds)) {
            let mut alone = world.clone();
            (alone.listing, alone.lost_at) = (worlds[0].listing, worlds[0].lost_at);
            alone.overrides.unreadable.clone_from(&worlds[0].overrides.unreadable);
            let alone = alone.plan();
            let bytes = serde_json::to_string(&alone).unwrap();
            prop_assert_eq!(&bytes, &serde_json::to_string(&together).unwrap());
        }
    }

    /// I6: on doubt a pool aims at no less than what serves now.
    #[test]
    fn doubt_never_lowers_the_target(mut worlds in any_world()) {
        for world in &mut worlds {
            world.workload.completeness.doubt("a page was cut");
        }
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            if world.policy.emitter.is_some() {
                prop_assert!(plan.summary.target >= plan.summary.serving.min(plan.summary.target.max(plan.summary.serving)), "{plan}");
                prop_assert!(serving_after(&plan) >= i64::from(plan.summary.serving), "{plan}");
            }
        }
    }

    /// Rules that raise only raise, and a fixed reserve by no more than it says: with it a pool aims at no less than
    /// without, and at no more than so many slots more.
    #[test]
    fn a_reserve_raises_by_what_it_says_and_never_lowers(mut worlds in any_world(), slots in 1u32..9) {
        for world in &mut worlds {
            world.policy.rules.retain(|rule| !matches!(rule.rule, RuleKind::Reserve(_)));
        }
        let without = plans(&worlds);
        for world in &mut worlds {
            world.policy.rules.insert(0, support::rule("reserve", &slots.to_string()));
        }
        for ((world, without), with) in worlds.iter().zip(&without).zip(plans(&worlds)) {
            let (less, more) = (without.summary.target, with.summary.target);
            prop_assert!(more >= less, "{without}\n{with}");
            prop_assert!(more <= less + slots.div_ceil(world.policy.slots), "{without}\n{with}");
        }
    }

    /// What was wanted within the window is kept, as far as it is there, is not to be replaced, and is within max.
    #[test]
    fn a_pool_keeps_what_was_wanted_within_the_window(mut worlds in any_world()) {
        for world in &mut worlds {
            // a pin goes before every rule
            world.overrides.in_force.clear();
            (world.policy.reuse.max_age, world.policy.reuse.replace_changed) = (None, false);
            world.policy.rules.retain(|rule| !matches!(rule.rule, RuleKind::Pace(_)));
            world.policy.rules.insert(0, support::rule("stabilise", "2m"));
        }
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            let Some(wanted) = &world.memory.wanted else { continue };
            let wanted = wanted.greatest_within(support::span("2m"), now());
            let trusted = world.heard && world.workload_age < 60 && world.policy.emitter.is_some()
                && world.workload.completeness.is_complete() && world.workload.config.as_str() == "c";
            let limited = world.policy.rules.iter().any(|rule| matches!(rule.rule, RuleKind::Limit(_)));
            if trusted && !limited {
                let kept = wanted.min(plan.summary.serving).min(world.policy.max);
                prop_assert!(plan.summary.target >= kept, "wanted {wanted}\n{plan}");
            }
        }
    }

    /// However often it is asked, a pool creates no more than its bucket holds and what flowed in since.
    #[test]
    fn creations_keep_their_pace_over_many_ticks(
        mut worlds in any_world(), burst in 1u32..6, steps in prop::collection::vec(0i64..7, 1..8),
    ) {
        for world in &mut worlds {
            world.policy.rules.retain(|rule| !matches!(rule.rule, RuleKind::Pace(_)));
            world.policy.rules.insert(0, support::rule("create", &format!("{burst}:1m")));
            world.memory.tokens = None;
        }
        let mut created = vec![0u64; worlds.len()];
        let mut elapsed = 0;
        for step in steps {
            elapsed += step;
            let fleet = World::together(&worlds);
            for (world, created) in worlds.iter_mut().zip(&mut created) {
                let seen = fleet.pool(&world.policy.pool).unwrap();
                let plan = engine::plan(&seen, &world.policy, now() + jiff::SignedDuration::from_secs(elapsed));
                for action in &plan.actions {
                    if let Action::Create { count, .. } = action {
                        *created += u64::from(*count);
                    }
                }
                // nothing is carried out, so that it is asked for again; the memory goes on
                world.memory = plan.memory;
            }
        }
        let most = u64::from(burst) + u64::from(burst) * elapsed.unsigned_abs() / 60;
        prop_assert!(created.iter().all(|created| *created <= most), "{created:?}, at most {most}");
    }

    /// Whatever is remembered, the memory that comes back is bounded, and a second look at the same moment changes it
    /// no more: a pool at rest writes nothing. The bound is that of E1.
    #[test]
    fn a_pool_at_rest_writes_nothing(mut worlds in any_world()) {
        by_the_clock_only(&mut worlds);
        let rounds = 2 + worlds.iter().filter(|w| replaces(&w.policy)).map(|w| w.instances.len()).sum::<usize>();
        for _ in 0..rounds {
            for (world, plan) in worlds.clone().iter().zip(plans(&worlds)) {
                let kept = plan.memory.wanted.as_ref().map_or(0, |wanted| wanted.earlier.len());
                prop_assert!(kept <= Recommendations::MOST && plan.memory.learned.unneeded.len() <= 64);
                let place = worlds.iter().position(|w| w.policy.pool == world.policy.pool).unwrap();
                carried_out(&mut worlds[place], plan);
            }
        }
        for (world, plan) in worlds.iter().zip(plans(&worlds)) {
            prop_assert_eq!(&plan.memory.learned, &world.memory.learned);
            prop_assert_eq!(&plan.memory.wanted, &world.memory.wanted);
            prop_assert_eq!(&plan.memory.tokens, &world.memory.tokens);
        }
    }
}
