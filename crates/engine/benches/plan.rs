//! How long a tick's decisions take, on one core: `cargo bench -p engine --bench plan`.
//!
//! Plain on purpose: a few repetitions of whole ticks say more than a million of one function, and the numbers are read
//! by people. Each pool has 100 jobs and 10 machines, of which one in two is busy, and an emitter that lists its
//! executors; one pool in four wants to grow, one in four to shrink.
//!
//! Allocations and instructions are counted by valgrind, since a counting allocator needs `unsafe`, which this workspace
//! forbids: `plan once 1000` plans one tick of 1 000 pools, `plan world 1000` only makes its inputs, and the difference of
//! the two under `valgrind --tool=dhat` or `--tool=callgrind` is the plan (docs/performance.md has the lines).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark reads a clock and talks to a person"
)]

use std::time::Duration;

use engine::{FleetObservation, plan_fleet};
use model::{Bootstrap, FleetPolicy, Policy};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{World, now};

fn pool(number: usize) -> World {
    let mut world = World::empty(&format!("pool-{number}"));
    world.policy.max = 200;
    world.policy.bootstrap = Bootstrap::Shared;
    world.policy.standing.priority = i32::try_from(number % 3).unwrap();
    world.workload.demand.runnable = if number.is_multiple_of(4) { 95 } else { 0 };
    world.workload.demand.running = 5;
    world.workload.demand.oldest_wait = Some(Duration::from_secs(number as u64 % 1000));
    let idle = if number % 4 == 1 {
        "idle 20m"
    } else {
        "idle 1m"
    };
    for machine in 1..=10 {
        world.add_machine(if machine <= 5 { "busy" } else { idle }, machine);
    }
    world
}

fn fleet(pools: usize) -> (FleetObservation, Vec<Policy>) {
    let worlds: Vec<World> = (0..pools).map(pool).collect();
    let policies = worlds.iter().map(|world| world.policy.clone()).collect();
    (World::together(&worlds), policies)
}

/// Time of the processor spent by this thread, so that what else the machine does is not measured.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// The median of a few runs, each on inputs of its own.
fn measure(what: &str, runs: usize, mut run: impl FnMut() -> (Duration, String)) {
    let mut times = Vec::new();
    let mut said = String::new();
    for _ in 0..runs {
        let (took, result) = run();
        times.push(took);
        said = result;
    }
    times.sort();
    let (least, median) = (times[0], times[times.len() / 2]);
    println!("{what:<58} median {median:>10.2?}   least {least:>10.2?}   {said}");
}

fn tick(pools: usize, limits: &FleetPolicy, what: &str) {
    let (seen, policies) = fleet(pools);
    measure(&format!("{pools} pools, {what}"), 7, || {
        let seen = seen.clone();
        let began = cpu();
        let plans = plan_fleet(seen.split(), &policies, limits, now());
        let took = cpu().saturating_sub(began);
        let actions: usize = plans.iter().map(|plan| plan.plan.actions.len()).sum();
        (took, format!("{actions} actions"))
    });
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse::<usize>().ok();
    match (
        words.first().map(String::as_str),
        words.get(1).and_then(number),
    ) {
        (Some("once"), Some(pools)) => {
            let (seen, policies) = fleet(pools);
            let plans = plan_fleet(seen.split(), &policies, &FleetPolicy::default(), now());
            println!("{} plans", plans.len());
        }
        (Some("world"), Some(pools)) => println!("{} pools", fleet(pools).1.len()),
        _ => all(),
    }
}

fn all() {
    let (seen, policies) = fleet(1);
    let one = seen.split().pools.into_values().next().unwrap();
    measure("1 pool alone, 100 times", 7, || {
        let began = cpu();
        for _ in 0..100 {
            let _ = std::hint::black_box(engine::plan(&one, &policies[0], now()));
        }
        (cpu().saturating_sub(began), String::new())
    });
    for pools in [1_000, 10_000] {
        let machines = u32::try_from(pools * 10).unwrap();
        tick(pools, &FleetPolicy::default(), "nothing shared");
        let limits = FleetPolicy {
            max: Some(machines + machines / 2),
            ..FleetPolicy::default()
        };
        tick(pools, &limits, "a fleet cap that is scarce");
    }
}
