//! The plain policies against numbers that somebody else computed, and against numbers computed by hand.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use simulator::{BootTime, Choice, Dispatch, PoolSpec, Report, Settings, Trace, simulate};

/// Names the trace of the reference table, which is too large for the repository: see docs/simulate.md.
const TRACE: &str = "PARMANU_TEST_TRACE";

fn pools(trace: &Trace) -> Vec<PoolSpec> {
    let spec = |name: &String| PoolSpec {
        name: name.clone(),
        slots: 1,
        max: 10_000,
        boot: BootTime::always(60_000),
        max_jobs: None,
        dispatch: Dispatch::LastEmptyFirst,
        price: None,
    };
    trace.pools.iter().map(spec).collect()
}

fn run(trace: &Trace, choice: &Choice) -> Report {
    simulate(trace, &pools(trace), choice, &Settings::default())
}

fn timeout(idle_for: u64, every: Option<u64>) -> Choice {
    Choice::IdleTimeout {
        idle_for: idle_for * 1000,
        every: every.map(|every| every * 1000),
    }
}

fn near(what: &str, got: f64, expected: f64, tolerance: f64) {
    let off = if expected == 0.0 {
        got.abs()
    } else {
        (got / expected - 1.0).abs()
    };
    assert!(
        off <= tolerance,
        "{what}: {got}, expected {expected} within {tolerance}"
    );
}

/// policy, wait p50, p95, p99, mean, machine-hours, creates
type Row = (Choice, [f64; 4], f64, f64);

#[test]
fn the_reference_table_is_reproduced() {
    let Some(path) = std::env::var_os(TRACE) else {
        conformance::store::skip(
            "extended/simulator::reference",
            &format!("{TRACE} is not set"),
        );
        return;
    };
    let trace = Trace::read(std::fs::File::open(path).unwrap()).unwrap();
    let rows: [Row; 6] = [
        (
            Choice::OnePerJob,
            [60.0, 60.0, 60.0, 60.0],
            51_276.0,
            88_329.0,
        ),
        (
            timeout(60, None),
            [0.0, 60.0, 60.0, 17.4],
            51_014.0,
            31_274.0,
        ),
        (
            timeout(600, None),
            [0.0, 60.0, 60.0, 11.3],
            54_104.0,
            18_700.0,
        ),
        (
            timeout(600, Some(10)),
            [0.0, 67.0, 69.0, 12.4],
            54_077.0,
            18_591.0,
        ),
        (
            timeout(300, Some(30)),
            [0.0, 81.0, 89.0, 17.2],
            52_480.0,
            22_066.0,
        ),
        (
            timeout(1800, Some(3)),
            [0.0, 62.0, 63.0, 9.3],
            59_303.0,
            14_625.0,
        ),
    ];
    for (choice, waits, hours, creates) in rows {
        let all = run(&trace, &choice).all;
        let got = [all.wait.p50, all.wait.p95, all.wait.p99, all.wait.mean];
        for ((name, got), expected) in ["p50", "p95", "p99", "mean"]
            .into_iter()
            .zip(got)
            .zip(waits)
        {
            near(&format!("{choice}: wait {name}"), got, expected, 0.01);
        }
        near(
            &format!("{choice}: machine-hours"),
            all.machine_hours,
            hours,
            0.01,
        );
        near(
            &format!("{choice}: creates"),
            all.creates as f64,
            creates,
            0.02,
        );
        near("work", all.work_hours, 49_804.0, 0.0001);
        near("OPT0", all.optimum_hours, 50_440.0, 0.0001);
        assert_eq!((all.jobs, all.unfinished), (88_329, 0));
    }
}

/// Two jobs at 0 (100 s, 40 s), one at 130 (50 s), one at 1000 (10 s).
fn small() -> Trace {
    let rows = "submitted_at_s,duration_s,pool,parents\n0,100,a,\n0,40,a,\n130,50,a,\n1000,10,a,\n";
    Trace::read(rows.as_bytes()).unwrap()
}

#[test]
fn one_machine_per_job_pays_every_boot_and_waits_for_each() {
    let all = run(&small(), &Choice::OnePerJob).all;
    assert_eq!(all.wait.mean, 60.0);
    assert_eq!((all.creates, all.useless, all.peak_machines), (4, 0, 2));
    // 200 s of work and four boots
    near("machine time", all.machine_hours * 3600.0, 440.0, 1e-9);
    assert_eq!((all.waited, all.waited_for_boot), (1.0, 1.0));
}

#[test]
fn an_idle_timeout_by_hand() {
    let all = run(&small(), &timeout(60, None)).all;
    // two boots until 60; the first job ends at 160, the second at 100. The third comes at 130, takes the machine that
    // became empty at 100 and ends at 180. The machines leave at 220 and 240. The last job waits for a third machine,
    // runs from 1060 to 1070, and that one leaves at 1130.
    near(
        "machine time",
        all.machine_hours * 3600.0,
        220.0 + 240.0 + 130.0,
        1e-9,
    );
    assert_eq!((all.creates, all.useless), (3, 0));
    near(
        "mean wait",
        all.wait.mean,
        (60.0 + 60.0 + 0.0 + 60.0) / 4.0,
        1e-9,
    );
    assert_eq!((all.wait.p50, all.wait.max), (60.0, 60.0));
    assert_eq!(all.waited_for_boot, 0.75);
    // online from 60 to 220, from 60 to 240 and from 1060 to 1130
    near("utilization", all.utilization, 200.0 / 410.0, 1e-9);
    near("idle", all.idle, 390.0 / 590.0, 1e-9);
    // levels: 0-100, and 0-40 with 130-180 after a gap of... the machine that became empty last at 130 is the first
    // one, empty for 30 s; then a gap of 820 s
    near(
        "OPT0",
        all.optimum_hours * 3600.0,
        200.0 + 2.0 * 60.0 + 30.0 + 60.0,
        1e-9,
    );
}

#[test]
fn decisions_at_fixed_times_wait_for_the_next_one() {
    let trace = Trace::read("submitted_at_s,duration_s,pool\n3,100,a\n".as_bytes()).unwrap();
    let settings = Settings {
        phase: 0,
        ..Settings::default()
    };
    let all = simulate(&trace, &pools(&trace), &timeout(60, Some(10)), &settings).all;
    // decided at 10, online at 70, done at 170, empty for 60 s at 230
    assert_eq!(all.wait.max, 67.0);
    near("machine time", all.machine_hours * 3600.0, 220.0, 1e-9);
}

#[test]
fn a_child_waits_for_its_parent_and_its_wait_begins_there() {
    let rows = "submitted_at_s,duration_s,pool,parents\n0,100,a,\n0,10,b,0\n";
    let trace = Trace::read(rows.as_bytes()).unwrap();
    let report = run(&trace, &timeout(60, None));
    // the parent runs from 60 to 160, and only then a machine is made for the child
    assert_eq!(report.pools["b"].wait.max, 60.0);
    near(
        "b",
        report.pools["b"].machine_hours * 3600.0,
        60.0 + 10.0 + 60.0,
        1e-9,
    );
}

#[test]
fn a_machine_of_two_slots_runs_two_jobs() {
    let trace =
        Trace::read("submitted_at_s,duration_s,pool\n0,100,a\n0,100,a\n".as_bytes()).unwrap();
    let mut pools = pools(&trace);
    pools[0].slots = 2;
    let all = simulate(&trace, &pools, &timeout(60, None), &Settings::default()).all;
    assert_eq!(all.creates, 1);
    near("utilization", all.utilization, 200.0 / (160.0 * 2.0), 1e-9);
}

#[test]
fn a_pool_that_may_have_no_machine_is_given_up() {
    let mut pools = pools(&small());
    pools[0].max = 0;
    let all = simulate(
        &small(),
        &pools,
        &timeout(60, Some(10)),
        &Settings::default(),
    )
    .all;
    assert_eq!(all.unfinished, 4);
}
