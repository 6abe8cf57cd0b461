//! How long a month takes: `cargo bench -p simulator --bench month`.
//!
//! Plays the trace that `PARMANU_TEST_TRACE` names, or four weeks of the made-up shapes, under each profile, and prints the
//! time of the processor, the questions asked of the engine being what it is spent on. What comes out of the runs is printed too, so
//! that a faster simulator is seen to be the same one. `month dense balanced` plays one shape under one profile once, for
//! a profiler.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark reads a clock and talks to a person"
)]

use std::time::Duration;

use model::Profile;
use simulator::{BootTime, Dispatch, PoolSpec, Settings, Shape, Trace, simulate};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BOOT, engine};

/// Time of the processor spent by this process: worlds are played in parallel.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn play(what: &str, trace: &Trace, profile: Profile) {
    let spec = |name: &String| PoolSpec {
        name: name.clone(),
        slots: 1,
        max: 1000,
        boot: BootTime::always(BOOT),
        max_jobs: None,
        dispatch: Dispatch::LastEmptyFirst,
        price: None,
    };
    let pools: Vec<PoolSpec> = trace.pools.iter().map(spec).collect();
    let choice = engine(&pools, &profile.rules(), 5, 0);
    let began = cpu();
    let all = simulate(trace, &pools, &choice, &Settings::default()).all;
    let took = cpu().saturating_sub(began);
    println!(
        "{what:<9} {:<9} {took:>9.2?}   {} jobs, mean wait {:.3} s, {:.2} machine-hours, {} creates",
        profile.name(),
        all.jobs,
        all.wait.mean,
        all.machine_hours,
        all.creates,
    );
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let named = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let profiles = || {
        Profile::ALL.into_iter().filter(|profile| {
            named(profile.name())
                || !Profile::ALL
                    .iter()
                    .any(|p| words.iter().any(|w| w == p.name()))
        })
    };
    if let Some(path) = std::env::var_os("PARMANU_TEST_TRACE") {
        let trace = Trace::read(std::fs::File::open(path).unwrap()).unwrap();
        profiles().for_each(|profile| play("trace", &trace, profile));
        return;
    }
    for shape in Shape::ALL.into_iter().filter(|shape| named(shape.name())) {
        let trace = shape.make(28, 1);
        profiles().for_each(|profile| play(shape.name(), &trace, profile));
    }
}
