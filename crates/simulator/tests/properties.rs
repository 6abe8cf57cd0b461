//! What holds in every world: random small traces, random rules, plain policies and the engine.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::time::Duration;

use model::rules::{IdleSlots, IdleTime, Reserve, ScaleIn};
use model::{Profile, Rule, RuleKind};
use proptest::prelude::*;
use simulator::{BootTime, Choice, Dispatch, Job, PoolSpec, Report, Settings, Trace, simulate};

mod support;

use support::{BOOT, engine};

/// Up to 60 jobs of two pools within some hours, in bursts, some with parents.
fn traces() -> impl Strategy<Value = Trace> {
    let job = (
        0u64..1200,
        1u64..900,
        0u32..2,
        proptest::option::weighted(0.2, 0usize..60),
        1usize..6,
    );
    proptest::collection::vec(job, 1..20).prop_map(|rows| {
        let mut jobs: Vec<Job> = Vec::new();
        let mut at = 0;
        for (later, duration, pool, parent, times) in rows {
            at += later;
            for _ in 0..times {
                let parents = parent.filter(|parent| *parent < jobs.len());
                jobs.push(Job {
                    submitted: at * 1000,
                    duration: duration * 1000,
                    pool,
                    parents: parents.into_iter().map(|parent| parent as u32).collect(),
                });
            }
        }
        Trace {
            jobs,
            pools: vec!["a".into(), "b".into()],
        }
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let always = |kind: RuleKind| Rule::always(kind.name(), kind);
    let scale_in = |idle, at_most| {
        let per = Duration::from_secs(60);
        RuleKind::ScaleIn(ScaleIn {
            idle,
            at_most,
            at_most_share: None,
            per,
        })
    };
    let idle_time = prop_oneof![
        (0u64..1200).prop_map(|s| IdleTime::Fixed {
            idle_for: Duration::from_secs(s)
        }),
        (0u32..20).prop_map(|wait_to_idle| IdleTime::BreakEven {
            wait_to_idle,
            announced: Duration::ZERO
        }),
    ];
    let reserve = prop_oneof![
        (0u32..3).prop_map(|slots| IdleSlots::Fixed { slots }),
        (1u32..60).prop_map(|wait_to_idle| IdleSlots::Arrivals { wait_to_idle }),
    ];
    let own = (
        idle_time,
        proptest::option::of(1u32..4),
        proptest::option::of(reserve),
    );
    let own = own.prop_map(move |(idle, at_most, reserve)| {
        let reserve = reserve.map(|idle| {
            always(RuleKind::Reserve(Reserve {
                idle,
                at_most: Some(8),
            }))
        });
        reserve
            .into_iter()
            .chain([always(scale_in(idle, at_most))])
            .collect()
    });
    let profile = prop_oneof![
        Just(Profile::Economy),
        Just(Profile::Balanced),
        Just(Profile::Latency)
    ];
    prop_oneof![own, profile.prop_map(Profile::rules)]
}

fn dispatches() -> impl Strategy<Value = Dispatch> {
    proptest::sample::select(Dispatch::ALL.to_vec())
}

fn specs(slots: u32, max: u32, dispatch: Dispatch) -> Vec<PoolSpec> {
    let spec = |name: &str| PoolSpec {
        name: name.into(),
        slots,
        max,
        boot: BootTime::always(BOOT),
        max_jobs: None,
        dispatch,
        price: Some(0.5),
    };
    vec![spec("a"), spec("b")]
}

fn timeout(idle_for: u64, every: Option<u64>) -> Choice {
    Choice::IdleTimeout {
        idle_for: idle_for * 1000,
        every: every.map(|every| every * 1000),
    }
}

/// Every job ran once, not before it could, on a machine that was there, in a free slot; and the sums are the sums.
fn check(trace: &Trace, specs: &[PoolSpec], report: &Report) {
    let mut ran = BTreeSet::new();
    let mut ends = vec![0; trace.jobs.len()];
    for record in report.records.values() {
        for run in &record.ran {
            assert!(ran.insert(run.job), "job {} ran twice", run.job);
            ends[run.job as usize] = run.started + trace.jobs[run.job as usize].duration;
        }
    }
    assert_eq!(ran.len(), trace.jobs.len(), "every job runs");
    for spec in specs {
        let Some(record) = report.records.get(&spec.name) else {
            continue;
        };
        let mut moments: Vec<(u64, i64, usize)> = Vec::new();
        for run in &record.ran {
            let job = &trace.jobs[run.job as usize];
            let parents = job.parents.iter().map(|parent| ends[*parent as usize]);
            let runnable = parents.max().unwrap_or(0).max(job.submitted);
            assert_eq!(run.runnable, runnable);
            assert!(run.started >= runnable);
            let machine = &record.machines[run.machine];
            assert!(machine.online.unwrap() <= run.started);
            assert!(
                machine
                    .deleted
                    .is_none_or(|at| at >= ends[run.job as usize]),
                "a job is never killed"
            );
            moments.push((run.started, 1, run.machine));
            moments.push((ends[run.job as usize], -1, run.machine));
        }
        moments.sort_unstable();
        let mut jobs = vec![0i64; record.machines.len()];
        for (_, change, machine) in moments {
            jobs[machine] += change;
            assert!(
                jobs[machine] <= i64::from(spec.slots),
                "a slot runs one job"
            );
        }
        let measures = &report.pools[&spec.name];
        assert!(
            measures.peak_machines <= spec.max,
            "never more machines than max"
        );
        assert_eq!(measures.creates, record.machines.len());
        let billed: f64 = measures.machine_hours * f64::from(spec.slots);
        assert!(
            billed >= measures.work_hours - 1e-9,
            "paid for less than the work"
        );
        assert_eq!(measures.cost, Some(0.5 * measures.machine_hours));
    }
    let sum: f64 = report.pools.values().map(|pool| pool.machine_hours).sum();
    assert!((report.all.machine_hours - sum).abs() < 1e-9);
    assert_eq!(report.violations, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn plain_policies_conserve_work(
        trace in traces(), slots in 1u32..4, max in 1u32..12, dispatch in dispatches(),
        idle_for in 0u64..900, every in proptest::option::of(1u64..40),
    ) {
        let specs = specs(slots, max, dispatch);
        let report = simulate(&trace, &specs, &timeout(idle_for, every), &Settings::default());
        check(&trace, &specs, &report);
        let report = simulate(&trace, &specs, &Choice::OnePerJob, &Settings::default());
        check(&trace, &specs, &report);
    }

    #[test]
    fn the_engine_conserves_work_and_breaks_no_invariant(
        trace in traces(), slots in 1u32..4, max in 1u32..12, dispatch in dispatches(), rules in rules(),
        every in 1u64..20, settle in prop_oneof![Just(0u64), 1u64..40],
    ) {
        let specs = specs(slots, max, dispatch);
        let settings = Settings { check: true, ..Settings::default() };
        let report = simulate(&trace, &specs, &engine(&specs, &rules, every, settle), &settings);
        check(&trace, &specs, &report);
    }

    #[test]
    fn ticks_left_out_change_nothing(
        trace in traces(), slots in 1u32..3, max in 1u32..30, dispatch in dispatches(), rules in rules(),
        every in 1u64..20,
    ) {
        let specs = specs(slots, max, dispatch);
        let choice = engine(&specs, &rules, every, 0);
        let run = |skip| simulate(&trace, &specs, &choice, &Settings { skip, ..Settings::default() });
        prop_assert_eq!(run(true), run(false));
    }

    #[test]
    fn no_policy_without_waits_is_cheaper_than_the_optimum(trace in traces(), warm in 0u64..900) {
        // so many machines from the start that no job waits: the fixed fleet, cut to what it is used for
        let specs = specs(1, 100, Dispatch::LastEmptyFirst);
        let report = simulate(&trace, &specs, &timeout(warm, None), &Settings::default());
        for (name, record) in &report.records {
            // the same jobs, each at the moment it could run, without its wait: what these machines would have cost
            let measures = &report.pools[name];
            if measures.waited == 0.0 {
                prop_assert!(measures.machine_hours >= measures.optimum_hours - 1e-9);
            }
            // whatever waits, work is paid
            let boots = record.machines.len() as f64 * BOOT as f64 / 3_600_000.0;
            prop_assert!(measures.machine_hours + 1e-9 >= measures.work_hours + boots);
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes(trace in traces(), seed in 0u64..9, rules in rules()) {
        let mut specs = specs(1, 20, Dispatch::Random);
        specs.iter_mut().for_each(|spec| spec.boot = BootTime { least: 30_000, most: 90_000 });
        let choice = engine(&specs, &rules, 5, 0);
        let settings = Settings { seed, ..Settings::default() };
        let bytes = || serde_json::to_string(&simulate(&trace, &specs, &choice, &settings)).unwrap();
        prop_assert_eq!(bytes(), bytes());
    }
}
