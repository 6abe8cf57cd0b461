//! One run: the worlds a trace falls into, each with its controllers, and the report.

use std::collections::BTreeMap;

use model::{FleetId, Policy};
use serde::Serialize;

use crate::driven::Driven;
use crate::measure::{Measures, Meter};
use crate::optimum::optimum;
use crate::plain::{IdleTimeout, Nobody, OnePerJob, Ticks};
use crate::world::{Controller, PoolSpec, World};
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
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            phase: BETWEEN_SECONDS,
            fleet: "simulated".parse().expect("a name"),
            check: false,
        }
    }
}

/// Traces are rounded to seconds. Decisions that fall between two seconds have no ties with them: whether a job of the
/// same second is seen is then no question of the order of events. Where between is free, and moves the mean wait by up
/// to 2 %: earlier than a half the reference table of the trace in docs/simulate.md is missed on one side, later than
/// seven tenths on the other.
const BETWEEN_SECONDS: Ms = 650;

/// How one policy did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub policy: String,
    /// All pools together.
    pub all: Measures,
    /// Each pool.
    pub pools: BTreeMap<String, Measures>,
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
    controller: impl Fn(&PoolSpec) -> Box<dyn Controller>,
    settings: &Settings,
) -> Report {
    let mut violations = Vec::new();
    let mut meters: Vec<(String, Measures, Meter)> = Vec::new();
    for group in groups(trace) {
        let spec = |pool: &u32| (*pool, pools[*pool as usize].clone());
        let specs: Vec<(u32, PoolSpec)> = group.iter().map(spec).collect();
        let mut controllers: Vec<Box<dyn Controller>> =
            specs.iter().map(|(_, spec)| controller(spec)).collect();
        let mut world = World::new(trace, specs, settings.seed);
        world.run(&mut controllers);
        violations.extend(
            controllers
                .iter()
                .flat_map(|controller| controller.violations())
                .cloned(),
        );
        for (number, mut pool) in group.iter().zip(world.pools) {
            let mine = || trace.jobs.iter().filter(|job| job.pool == *number);
            pool.meter.set_work(mine().map(|job| job.duration).sum());
            let boot = (pool.spec.boot.least + pool.spec.boot.most) / 2;
            let bound = optimum(trace, *number, pool.spec.slots, boot);
            let measures = pool.meter.measures(mine().count(), bound);
            meters.push((trace.pools[*number as usize].clone(), measures, pool.meter));
        }
    }
    let parts: Vec<(&Measures, &Meter)> = meters.iter().map(|(_, m, meter)| (m, meter)).collect();
    Report {
        policy: name.to_owned(),
        all: Measures::together(&parts),
        pools: meters.into_iter().map(|(name, m, _)| (name, m)).collect(),
        violations,
    }
}

fn controller(choice: &Choice, spec: &PoolSpec, settings: &Settings) -> Box<dyn Controller> {
    match choice {
        Choice::OnePerJob => Box::new(OnePerJob),
        Choice::Engine { pools, .. } => match pools.get(&spec.name) {
            Some(EnginePool { policy, every }) => {
                let ticks = Ticks::new(*every, settings.phase);
                Box::new(Driven::new(
                    &settings.fleet,
                    policy.clone(),
                    ticks,
                    settings.check,
                ))
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
