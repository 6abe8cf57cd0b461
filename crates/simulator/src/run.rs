//! One run: the worlds a trace falls into, each with its controllers, and the report.

use std::collections::BTreeMap;

use model::{FleetId, Policy};
use serde::Serialize;

use crate::driven::Driven;
use crate::measure::{Measures, Meter};
use crate::optimum::optimum;
use crate::plain::{IdleTimeout, Nobody, OnePerJob, Ticks};
use crate::world::{Controller, Machine, PoolSpec, Ran, World};
use crate::{Ms, Trace};

/// Who decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// One machine for each job.
    OnePerJob,
    /// As many machines as runnable jobs; a machine leaves after a fixed time without a job.
    IdleTimeout {
        /// The time.
        idle_for: Ms,
        /// Decides so often; `None` at every event.
        every: Option<Ms>,
    },
    /// The real engine.
    Engine {
        /// What to call it.
        name: String,
        /// The policy of each pool, by its name in the trace.
        pools: BTreeMap<String, EnginePool>,
    },
}

/// What the engine is asked with.
#[derive(Debug, Clone, PartialEq)]
pub struct EnginePool {
    /// The policy. The settle time in it is kept.
    pub policy: Policy,
    /// Probes, lists and plans so often.
    pub every: Ms,
}

/// What holds for the whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Decides what chance decides.
    pub seed: u64,
    /// Where fixed times of decision begin.
    pub phase: Ms,
    /// Owner id of the simulated machines.
    pub fleet: FleetId,
    /// Tests each plan of the engine against its invariants; what is broken stands in the report.
    pub check: bool,
    /// Leaves out ticks in which the engine could do nothing: faster, with the same results.
    pub skip: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            phase: BETWEEN_SECONDS,
            fleet: "simulated".parse().expect("a name"),
            check: false,
            skip: true,
        }
    }
}

/// Traces are rounded to seconds. Decisions that fall between two seconds have no ties with them: whether a job of the
/// same second is seen is then no question of the order of events. Where between is free, and moves the mean wait by up
/// to 2 %: earlier than a half the reference table of the trace in docs/simulate.md is missed on one side, later than
/// seven tenths on the other.
const BETWEEN_SECONDS: Ms = 650;

/// What one pool's machines and jobs did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Every machine that ever was.
    pub machines: Vec<Machine>,
    /// Every job that ran.
    pub ran: Vec<Ran>,
}

/// How one policy did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub policy: String,
    /// All pools together.
    pub all: Measures,
    /// Each pool.
    pub pools: BTreeMap<String, Measures>,
    /// What each pool's machines and jobs did, for whoever wants to count something else.
    #[serde(skip)]
    pub records: BTreeMap<String, Record>,
    /// Invariants that the engine's plans broke, where that was checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<String>,
}

/// Runs a trace under a policy. `pools` are the trace's, in its order.
pub fn simulate(trace: &Trace, pools: &[PoolSpec], choice: &Choice, settings: &Settings) -> Report {
    let mut pools = pools.to_vec();
    if *choice == Choice::OnePerJob {
        pools.iter_mut().for_each(|spec| spec.max_jobs = Some(1));
    }
    let controllers = |spec: &PoolSpec| controller(choice, spec, settings);
    simulate_with(trace, &pools, &choice.to_string(), controllers, settings)
}

/// Runs a trace under controllers of one's own, one for each pool.
pub fn simulate_with(
    trace: &Trace,
    pools: &[PoolSpec],
    name: &str,
    controller: impl Fn(&PoolSpec) -> Box<dyn Controller> + Sync,
    settings: &Settings,
) -> Report {
    let groups = groups(trace);
    let play = |group: &Vec<u32>| play(trace, pools, group, &controller, settings);
    // worlds of their own do not wait for one another; their results are put together in the trace's order
    let played: Vec<Vec<Played>> = std::thread::scope(|scope| {
        let threads: Vec<_> = groups
            .iter()
            .map(|group| scope.spawn(|| play(group)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let played: Vec<Played> = played.into_iter().flatten().collect();
    let parts: Vec<(&Measures, &Meter)> = played
        .iter()
        .map(|pool| (&pool.measures, &pool.meter))
        .collect();
    Report {
        policy: name.to_owned(),
        all: Measures::together(&parts),
        violations: played
            .iter()
            .flat_map(|pool| pool.violations.clone())
            .collect(),
        records: played
            .iter()
            .map(|pool| (pool.name.clone(), pool.record.clone()))
            .collect(),
        pools: played
            .into_iter()
            .map(|pool| (pool.name, pool.measures))
            .collect(),
    }
}

/// What came of one pool.
struct Played {
    name: String,
    measures: Measures,
    meter: Meter,
    record: Record,
    violations: Vec<String>,
}

/// Runs one world.
fn play(
    trace: &Trace,
    pools: &[PoolSpec],
    group: &[u32],
    controller: &(impl Fn(&PoolSpec) -> Box<dyn Controller> + Sync),
    settings: &Settings,
) -> Vec<Played> {
    let spec = |pool: &u32| (*pool, pools[*pool as usize].clone());
    let specs: Vec<(u32, PoolSpec)> = group.iter().map(spec).collect();
    let mut controllers: Vec<Box<dyn Controller>> =
        specs.iter().map(|(_, spec)| controller(spec)).collect();
    let mut world = World::new(trace, specs, settings.seed);
    world.run(&mut controllers);
    let played = group.iter().zip(world.pools).zip(controllers);
    played
        .map(|((number, mut pool), controller)| {
            let mine = || trace.jobs.iter().filter(|job| job.pool == *number);
            pool.meter.set_work(mine().map(|job| job.duration).sum());
            let boot = (pool.spec.boot.least + pool.spec.boot.most) / 2;
            let bound = optimum(trace, *number, pool.spec.slots, boot);
            Played {
                name: trace.pools[*number as usize].clone(),
                measures: pool.meter.measures(mine().count(), bound),
                meter: pool.meter,
                record: Record {
                    machines: pool.machines,
                    ran: pool.ran,
                },
                violations: controller.violations().to_vec(),
            }
        })
        .collect()
}

fn controller(choice: &Choice, spec: &PoolSpec, settings: &Settings) -> Box<dyn Controller> {
    match choice {
        Choice::OnePerJob => Box::new(OnePerJob),
        Choice::Engine { pools, .. } => match pools.get(&spec.name) {
            Some(EnginePool { policy, every }) => {
                let ticks = Ticks::new(*every, settings.phase);
                Box::new(Driven::new(policy.clone(), ticks, settings))
            }
            None => Box::new(Nobody),
        },
        Choice::IdleTimeout { idle_for, every } => Box::new(IdleTimeout {
            idle_for: *idle_for,
            ticks: every.map(|every| Ticks::new(every, settings.phase)),
        }),
    }
}

/// Pools that jobs of one trace join by parents in another pool are one world; the others are worlds of their own.
fn groups(trace: &Trace) -> Vec<Vec<u32>> {
    let mut group: Vec<u32> = (0u32..).zip(&trace.pools).map(|(at, _)| at).collect();
    for job in &trace.jobs {
        for parent in &job.parents {
            let (a, b) = (
                group[job.pool as usize],
                group[trace.jobs[*parent as usize].pool as usize],
            );
            if a != b {
                group
                    .iter_mut()
                    .filter(|at| **at == b)
                    .for_each(|at| *at = a);
            }
        }
    }
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pool, group) in (0u32..).zip(group) {
        groups.entry(group).or_default().push(pool);
    }
    groups.into_values().collect()
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Choice::Engine { name, .. } => f.write_str(name),
            Choice::OnePerJob => f.write_str("event driven, one machine per job"),
            Choice::IdleTimeout {
                idle_for,
                every: None,
            } => {
                write!(f, "event driven, idle timeout {} s", idle_for / 1000)
            }
            Choice::IdleTimeout {
                idle_for,
                every: Some(every),
            } => {
                let (every, idle_for) = (every / 1000, idle_for / 1000);
                write!(f, "decisions every {every} s, idle timeout {idle_for} s")
            }
        }
    }
}
