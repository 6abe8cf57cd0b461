//! `parmanu simulate`: a trace of jobs under a configuration, in virtual time.
//!
//! Here are the arguments, the mapping of the trace's pools to the configuration's, and the printing; what happens is in
//! the crate `simulator`. Nothing is connected to and nothing is read but the two files. Terms: docs/simulate.md.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use comfy_table::{CellAlignment, Table};
use model::words::counted;
use model::{ExecutorMode, Policy, Profile};
use serde::Serialize;
use simulator::{
    BootTime, Choice, Dispatch, EnginePool, Measures, Ms, PoolSpec, Report, Shape, Trace, simulate,
};

/// Version of the JSON.
const VERSION: u32 = 1;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The jobs: a CSV with the columns submitted_at_s,duration_s,pool,parents, sorted by the first.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "workload",
        conflicts_with = "workload"
    )]
    jobs: Option<PathBuf>,
    /// Jobs made up instead: dense, sparse, chained, bursty or steady.
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    workload: Option<Shape>,
    /// Days of made-up jobs.
    #[arg(long, default_value_t = 28, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// The configuration: a YAML file, or a directory of them.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// `TRACE=CONFIG`: the trace's pool is the configuration's pool of another name. May be repeated; `*=CONFIG` is for
    /// all others.
    #[arg(long = "map", value_name = "TRACE=CONFIG")]
    maps: Vec<String>,
    /// Others beside the configuration's own rules: economy, balanced and latency put the rules of that profile in their
    /// place; `baselines` are plain policies that are no engine.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    compare: Vec<String>,
    /// Probes and plans so often, instead of the emitter's `probe.every`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    every: Option<Duration>,
    /// The settle time of departures. The emitter's own one is waited for twice by every machine that leaves.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    settle: Duration,
    /// The time from creation to executor online, `60s` or `45s..90s`, instead of the machine's `boot.expect`.
    #[arg(long, value_name = "TIME", value_parser = boot)]
    boot: Option<BootTime>,
    /// Which free executor the CI server gives the next job to: last-empty-first, random or longest-idle.
    #[arg(long, default_value = "last-empty-first", value_parser = dispatch)]
    dispatch: Dispatch,
    /// Decides what chance decides.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For people, or for programs.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// The JSON.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    jobs: usize,
    pools: &'a [String],
    seed: u64,
    settle_s: f64,
    dispatch: Dispatch,
    runs: &'a [Report],
}

/// Simulates, and prints what came of it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (settings, report) = config::load(&arguments.config, &service::registries())?;
    // on standard error, so that JSON stays JSON
    if !report.0.is_empty() {
        use std::io::Write as _;
        write!(std::io::stderr(), "{report}")?;
    }
    let mut trace = read(arguments)?;
    let names = map(&trace.pools, &settings, &arguments.maps)?;
    trace.rename(|pool| names.get(pool).cloned().unwrap_or_default());
    let pools: Vec<(PoolSpec, EnginePool)> = trace
        .pools
        .iter()
        .map(|name| pool(name, &settings, arguments))
        .collect::<anyhow::Result<_>>()?;
    let specs: Vec<PoolSpec> = pools.iter().map(|(spec, _)| spec.clone()).collect();
    let how = simulator::Settings {
        seed: arguments.seed,
        fleet: settings.fleet,
        ..simulator::Settings::default()
    };
    let choices = choices(&pools, &arguments.compare)?;
    let runs: Vec<Report> = choices
        .iter()
        .map(|choice| simulate(&trace, &specs, choice, &how))
        .collect();
    match arguments.output {
        Output::Json => {
            let document = Document {
                version: VERSION,
                jobs: trace.jobs.len(),
                pools: &trace.pools,
                seed: arguments.seed,
                settle_s: arguments.settle.as_secs_f64(),
                dispatch: arguments.dispatch,
                runs: &runs,
            };
            println!("{}", serde_json::to_string_pretty(&document)?);
        }
        Output::Table => println!("{}", table(&runs)),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(arguments: &Arguments) -> anyhow::Result<Trace> {
    if let Some(shape) = arguments.workload {
        return Ok(shape.make(arguments.days, arguments.seed));
    }
    let path = arguments.jobs.as_ref().context("--jobs is missing")?;
    let file = std::fs::File::open(path);
    let file = file.with_context(|| format!("{} cannot be read", path.display()))?;
    Trace::read(std::io::BufReader::new(file)).with_context(|| path.display().to_string())
}

/// The configuration's pool of each pool of the trace.
fn map(
    pools: &[String],
    settings: &config::Settings,
    maps: &[String],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    for entry in maps {
        let (from, to) = entry.split_once('=').ok_or_else(|| {
            anyhow!(
                "--map {entry}: write TRACE=CONFIG, such as --map {}=linux",
                pools[0]
            )
        })?;
        ensure!(
            settings.pools.keys().any(|name| name.as_str() == to),
            "--map {entry}: the configuration has no pool `{to}`; its pools are {}",
            listed(settings.pools.keys().map(ToString::to_string)),
        );
        ensure!(
            from == "*" || pools.iter().any(|pool| pool == from),
            "--map {entry}: the trace has no pool `{from}`; its pools are {}",
            listed(pools.iter().cloned()),
        );
        given.insert(from, to.to_owned());
    }
    let mut names = BTreeMap::new();
    let mut missing = Vec::new();
    for pool in pools {
        let known = settings.pools.keys().any(|name| name.as_str() == pool);
        let other = given
            .get(pool.as_str())
            .or_else(|| (!known).then(|| given.get("*")).flatten());
        match other {
            Some(to) => drop(names.insert(pool.clone(), to.clone())),
            None if known => drop(names.insert(pool.clone(), pool.clone())),
            None => missing.push(format!("`{pool}`")),
        }
    }
    if missing.is_empty() {
        return Ok(names);
    }
    bail!(
        "the trace has the pools {}, which the configuration lacks; its pools are {}. Name the pool they are with --map TRACE=CONFIG, or all of them with --map '*=CONFIG'",
        listed(missing),
        listed(settings.pools.keys().map(ToString::to_string)),
    )
}

fn listed(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// What a pool is made of, and what the engine is asked with.
fn pool(
    name: &str,
    settings: &config::Settings,
    arguments: &Arguments,
) -> anyhow::Result<(PoolSpec, EnginePool)> {
    let found = settings
        .pools
        .iter()
        .find(|(known, _)| known.as_str() == name);
    let (_, pool) = found.with_context(|| format!("no pool {name}"))?;
    let emitter = pool.policy.emitter.as_ref();
    let emitter = emitter.and_then(|emitter| settings.emitters.get(emitter));
    let Some(emitter) = emitter else {
        bail!("pool {name} has no emitter, so no job of a trace can be its");
    };
    let every = arguments.every.unwrap_or(emitter.every);
    ensure!(
        every >= Duration::from_millis(100),
        "--every: 100ms at least"
    );
    let mut policy = pool.policy.clone();
    // a pool whose emitter may not control executors never shrinks, in the simulation as well
    if let ExecutorMode::Managed { settle } = &mut policy.executors {
        *settle = arguments.settle;
    }
    policy.trust.fresh_for = policy.trust.fresh_for.max(every * 2);
    let spec = PoolSpec {
        name: name.to_owned(),
        slots: policy.slots,
        max: policy.max,
        boot: arguments
            .boot
            .unwrap_or_else(|| BootTime::always(ms(policy.boot.expect))),
        max_jobs: None,
        dispatch: arguments.dispatch,
        price: policy
            .offers
            .first()
            .and_then(|offer| offer.price)
            .map(in_currency),
    };
    Ok((
        spec,
        EnginePool {
            policy,
            every: ms(every),
        },
    ))
}

fn choices(pools: &[(PoolSpec, EnginePool)], compare: &[String]) -> anyhow::Result<Vec<Choice>> {
    let engine = |name: &str, change: &dyn Fn(&mut Policy)| Choice::Engine {
        name: name.to_owned(),
        pools: pools
            .iter()
            .map(|(spec, pool)| {
                let mut pool = pool.clone();
                change(&mut pool.policy);
                (spec.name.clone(), pool)
            })
            .collect(),
    };
    let mut choices = vec![engine("the configuration", &|_| {})];
    for name in compare {
        let profile = Profile::ALL
            .into_iter()
            .find(|profile| profile.name() == name);
        match profile {
            Some(profile) => choices.push(engine(name, &|policy| policy.rules = profile.rules())),
            None if name == "baselines" => choices.extend(baselines()),
            None => bail!(
                "--compare {name}: known are {} and baselines",
                listed(Profile::ALL.map(|profile| profile.name().to_owned())),
            ),
        }
    }
    Ok(choices)
}

/// The plain policies of the reference table.
fn baselines() -> Vec<Choice> {
    let timeout = |idle_for: Ms, every: Option<Ms>| Choice::IdleTimeout {
        idle_for: idle_for * 1000,
        every: every.map(|every| every * 1000),
    };
    vec![
        Choice::OnePerJob,
        timeout(60, None),
        timeout(600, None),
        timeout(600, Some(10)),
        timeout(300, Some(30)),
        timeout(1800, Some(3)),
    ]
}

fn table(runs: &[Report]) -> String {
    let mut text = String::new();
    let Some(first) = runs.first() else {
        return text;
    };
    let mut names: Vec<Option<&String>> = first.pools.keys().map(Some).collect();
    names.push(None);
    // one pool is all of them
    if first.pools.len() == 1 {
        names.remove(0);
    }
    for name in names {
        let of = |run: &Report| match name {
            Some(name) => run.pools.get(name).cloned().unwrap_or_default(),
            None => run.all.clone(),
        };
        let all: Vec<(String, Measures)> = runs
            .iter()
            .map(|run| (run.policy.clone(), of(run)))
            .collect();
        let bound = &all[0].1;
        let title = name.map_or("all pools".to_owned(), |name| format!("pool {name}"));
        text += &format!(
            "{title}: {}, {:.0} hours of work; the clairvoyant optimum at zero wait is {:.0} machine-hours\n{}\n",
            counted(bound.jobs, "job"),
            bound.work_hours,
            bound.optimum_hours,
            measures(&all),
        );
    }
    text
}

fn measures(runs: &[(String, Measures)]) -> Table {
    let mut table = Table::new();
    let priced = runs.iter().any(|(_, measures)| measures.cost.is_some());
    let mut head = vec![
        "policy",
        "wait p50",
        "p95",
        "p99",
        "mean",
        "max (s)",
        "waited for boot",
        "machine-hours",
        "x optimum",
        "idle",
        "utilization",
        "creates",
        "useless",
    ];
    if priced {
        head.push("cost");
    }
    table
        .load_preset(comfy_table::presets::UTF8_FULL_CONDENSED)
        .set_header(head);
    for (name, m) in runs {
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let mut row = vec![
            name.clone(),
            format!("{:.1}", m.wait.p50),
            format!("{:.1}", m.wait.p95),
            format!("{:.1}", m.wait.p99),
            format!("{:.2}", m.wait.mean),
            format!("{:.0}", m.wait.max),
            percent(m.waited_for_boot),
            format!("{:.1}", m.machine_hours),
            format!("{:.4}", m.to_optimum),
            percent(m.idle),
            percent(m.utilization),
            m.creates.to_string(),
            m.useless.to_string(),
        ];
        if priced {
            row.push(m.cost.map_or("?".to_owned(), |cost| format!("{cost:.2}")));
        }
        if m.unfinished > 0 {
            row[0] += &format!(" ({} that never ran)", counted(m.unfinished, "job"));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ms(time: Duration) -> Ms {
    Ms::try_from(time.as_millis()).unwrap_or(Ms::MAX)
}

fn time(text: &str) -> Result<Duration, String> {
    let time: Option<jiff::SignedDuration> = text.parse().ok();
    let time = time.and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| format!("`{text}` is no time; write such as 10s or 1m30s"))
}

fn boot(text: &str) -> Result<BootTime, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (ms(time(least)?), ms(time(most)?));
    if least > most {
        return Err(format!("`{text}`: the shorter time comes first"));
    }
    Ok(BootTime { least, most })
}

fn shape(text: &str) -> Result<Shape, String> {
    let found = Shape::ALL.into_iter().find(|shape| shape.name() == text);
    found.ok_or_else(|| {
        format!(
            "`{text}`: known are {}",
            listed(Shape::ALL.map(|s| s.name().to_owned()))
        )
    })
}

fn dispatch(text: &str) -> Result<Dispatch, String> {
    let found = Dispatch::ALL
        .into_iter()
        .find(|dispatch| dispatch.name() == text);
    found.ok_or_else(|| {
        format!(
            "`{text}`: known are {}",
            listed(Dispatch::ALL.map(|d| d.name().to_owned()))
        )
    })
}

/// A price as a number, since a report of a simulation is no bill.
#[expect(
    clippy::cast_precision_loss,
    reason = "a machine-hour costs far less than 2^53 millionths"
)]
fn in_currency(price: model::Money) -> f64 {
    price.micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
version: 1
fleet: acme-ci
store: { kind: memory }
emitters:
  gitlab: { kind: gitlab, url: "https://gitlab.example.com", token: "${env:T}", manage_token: "${env:T}", scope: { instance: true }, probe: { every: 10s } }
providers:
  cloud: { kind: fake }
machines:
  small: { slots: 1, credential: shared, boot: { expect: 60s, timeout: 10m }, offers: [{ provider: cloud, price: 0.5 }] }
pools:
  linux: { emitter: gitlab, serves: [{ tags: [linux] }], machine: small, max: 50 }
"#;

    fn settings() -> config::Settings {
        let registries = service::registries();
        let checked = config::check_text(FILE, "test.yaml", std::path::Path::new("."), &registries);
        checked.unwrap_or_else(|error| panic!("{error}")).0
    }

    fn mapped(pools: &[&str], maps: &[&str]) -> Result<BTreeMap<String, String>, String> {
        let pools: Vec<String> = pools.iter().map(ToString::to_string).collect();
        let maps: Vec<String> = maps.iter().map(ToString::to_string).collect();
        map(&pools, &settings(), &maps).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pool_of_the_trace_that_the_file_lacks_is_named_with_the_way_out() {
        let error = mapped(&["linux", "mac"], &[]).unwrap_err();
        assert!(
            error.contains("`mac`") && error.contains("--map"),
            "{error}"
        );
        let error = mapped(&["mac"], &["mac=windows"]).unwrap_err();
        assert!(
            error.contains("no pool `windows`; its pools are linux"),
            "{error}"
        );
        let error = mapped(&["mac"], &["win=linux"]).unwrap_err();
        assert!(error.contains("the trace has no pool `win`"), "{error}");
    }

    #[test]
    fn pools_may_be_mapped_one_by_one_or_all_others_at_once() {
        assert_eq!(mapped(&["mac"], &["mac=linux"]).unwrap()["mac"], "linux");
        let all = mapped(&["linux", "a", "b"], &["*=linux"]).unwrap();
        assert!(all.values().all(|name| name == "linux"));
    }

    #[test]
    fn a_boot_is_one_time_or_a_span() {
        assert_eq!(boot("60s"), Ok(BootTime::always(60_000)));
        assert_eq!(
            boot("45s..90s"),
            Ok(BootTime {
                least: 45_000,
                most: 90_000
            })
        );
        assert!(boot("90s..45s").is_err() && boot("soon").is_err());
    }
}
