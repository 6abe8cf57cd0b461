//! How soon a waiting job becomes a creation on the wire, by poll and by hook, and what both services cost with many pools, empty
//! and full: the real programs as processes, a real Redis, a fake GitLab, and a cloud that is this very program, all on loopback.
//!
//! ```sh
//! cargo build --release -p probot -p scaler --no-default-features && cargo bench -p parmanu --bench reaction
//! ```
//!
//! With the name of a part behind `--` that part alone: `few`, `empty` or `filled`.
//!
//! Times are from the moment at which the job can be seen at GitLab to the moment at which the cloud is asked to create. They are of
//! this machine and its load; what they are made of is in docs/performance.md. The fake GitLab and the cloud run beside what is
//! measured, and share the processor with it.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]
#![expect(clippy::print_stdout, reason = "it reports")]

mod cloud;
mod life;
mod process;
mod stage;

use std::time::Duration;

use ports::Clock as _;
use telemetry::SystemClock;

use crate::cloud::lock;
use crate::life::{Life, Load};
use crate::stage::{Fleet, Stage, until};

/// Jobs whose way is timed, each in a pool of its own.
const ROUNDS: usize = 20;
/// Pools of the parts with many.
const POOLS: usize = 1000;
/// How their names begin where they keep machines.
const FILLED: char = 'f';
/// Machines that each of them keeps.
const MACHINES: usize = 3;
/// A tenth of the machines is busy, and ten jobs begin and end in a second: each lasts for half a minute. More of them would make the
/// fake slow, which forgets no job.
const LOAD: Load = Load {
    running: POOLS * MACHINES / 10,
    per_beat: 1,
};
/// How long their cost is watched, after both services have settled: some listings of the cloud are in it.
const WATCHED: Duration = Duration::from_secs(60);
/// How long they have for settling.
const SETTLES: Duration = Duration::from_secs(30);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, address] = &arguments[..]
        && flag == "--cloud"
    {
        return cloud::pass_on(address);
    }
    // cargo asks every bench to list its tests
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let parts = ["few", "empty", "filled"];
    let named = |part: &str| arguments.iter().any(|argument| argument == part);
    let all = !parts.into_iter().any(named);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        if all || named("few") {
            few().await;
        }
        if all || named("empty") {
            empty().await;
        }
        if all || named("filled") {
            filled().await;
        }
    });
}

/// Both ways to a reaction, with as many pools as there are jobs.
async fn few() {
    let pools = |every| Fleet {
        empty: 2 * ROUNDS + 1,
        filled: 0,
        machines: 0,
        every,
    };
    let stage = Stage::open(pools("1s")).await;
    report(
        "few pools, by poll (every second)",
        react(&stage, 0..ROUNDS, false).await,
    );
    drop(stage);
    let stage = Stage::open(pools("60s")).await;
    report("few pools, by hook", react(&stage, 0..ROUNDS, true).await);
}

/// What looking costs where there is nothing to see.
async fn empty() {
    let pools = Fleet {
        empty: POOLS,
        filled: 0,
        machines: 0,
        every: "1s",
    };
    let stage = Stage::open(pools).await;
    cost(&stage, &format!("{POOLS} empty pools")).await;
}

/// Pools that are filled from nothing, what keeping them costs while jobs come and go, and both ways to a reaction among them.
async fn filled() {
    let pools = Fleet {
        empty: 2 * ROUNDS + 1,
        filled: POOLS,
        machines: MACHINES,
        every: "1s",
    };
    let began = SystemClock.boottime();
    let stage = Stage::open(pools).await;
    let life = Life::begin(stage.gitlab.clone(), stage.cloud.clone());
    let all = POOLS * MACHINES;
    until(Duration::from_secs(900), || life.joined() == all).await;
    let took = SystemClock.boottime().saturating_sub(began);
    println!(
        "{all} machines of {POOLS} pools from nothing: {} s",
        took.as_secs()
    );
    tokio::time::sleep(SETTLES).await;
    cost(&stage, &format!("{POOLS} pools with {all} idle machines")).await;
    life.works(LOAD);
    cost(
        &stage,
        &format!(
            "the same, {} busy, {} jobs a second",
            LOAD.running,
            LOAD.per_beat * 10
        ),
    )
    .await;
    assert_eq!(
        lock(&stage.cloud).machines(),
        all,
        "no machine came or went"
    );
    let (poll, hook) = (0..ROUNDS, ROUNDS..2 * ROUNDS);
    report(
        "among them, by poll (every second)",
        react(&stage, poll, false).await,
    );
    report("among them, by hook", react(&stage, hook, true).await);
}

/// The time from each job to its creation, in these pools.
async fn react(stage: &Stage, pools: std::ops::Range<usize>, by_hook: bool) -> Vec<Duration> {
    if pools.start == 0 {
        // over an empty store nothing is made until the cloud's listing can show what was in flight: once, and not timed
        stage.time_of(2 * ROUNDS, by_hook).await;
    }
    let mut times = Vec::new();
    for pool in pools {
        // not in step with the poll
        tokio::time::sleep(Duration::from_millis(1000 + 137 * (pool as u64 % 8))).await;
        times.push(stage.time_of(pool, by_hook).await);
    }
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
    println!(
        "job visible to creation on the wire, {what}: median {} ms, 9 of 10 within {} ms, all within {} ms",
        at(50),
        at(90),
        at(100)
    );
}

/// What both services and the store need, and how often they looked meanwhile.
async fn cost(stage: &Stage, what: &str) {
    tokio::time::sleep(SETTLES).await;
    let processes = [
        ("probot", &stage.probot),
        ("scaler", &stage.scaler),
        ("redis", &stage.redis),
    ];
    let used = || processes.map(|(_, process)| process.used());
    let (before, counted) = (used(), stage.metrics());
    tokio::time::sleep(WATCHED).await;
    let (after, counts) = (used(), stage.metrics());
    for (at, (name, process)) in processes.into_iter().enumerate() {
        let share = after[at].saturating_sub(before[at]).as_secs_f64() / WATCHED.as_secs_f64();
        println!(
            "{what}: {name} {} MiB resident, {:.1} % of one core",
            process.resident_mib(),
            share * 100.0
        );
    }
    let grew = |name: &str| {
        let sum = |counts: &std::collections::BTreeMap<String, f64>| -> f64 {
            let lines = counts.iter().filter(|(line, _)| line.starts_with(name));
            lines.map(|(_, value)| value).sum()
        };
        sum(&counts) - sum(&counted)
    };
    let each = |name: &str| {
        let times = grew(&format!("{name}_count"));
        (times, grew(&format!("{name}_sum")) / times * 1000.0)
    };
    let (looks, look) = each("parmanu_probe_duration_seconds");
    let (ticks, tick) = each("parmanu_tick_duration_seconds");
    let whole = grew("parmanu_probe_total{emitter=\"gitlab\",outcome=\"ok\"");
    println!(
        "{what}: in {} s {looks} looks ({whole} whole) of {look:.0} ms, {ticks} ticks of {tick:.0} ms",
        WATCHED.as_secs()
    );
}
