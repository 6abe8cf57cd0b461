//! Two services at work, scraped: every metric that dashboard and alerts may name is there, and moves when something happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use telemetry::metrics::Service;
use telemetry::metrics::catalogue::{ALL, Entry, Kind};

use crate::shop::{Shop, TOKEN, skip_without_parts};

/// What is there and stands still while all is well.
const RESTS: [&str; 9] = [
    "build",
    "config_held_departures",
    "config_reloads",
    "config_stale",
    "invariant_violations",
    "jobs_passed_over",
    "pool_max_machines",
    "probe_breaker_open",
    "store_errors",
];

/// What each metric showed so far: all its series together, of a histogram how often something was observed. Nothing, where what
/// it counts had not happened yet.
#[derive(Default)]
struct Scrapes(BTreeMap<&'static str, BTreeSet<String>>);

impl Scrapes {
    async fn take(&mut self, shop: &Shop) {
        let probot = shop.scrape(shop.probot_port()).await;
        let scaler = shop.scrape(shop.scaler_port()).await;
        for entry in ALL {
            let text = if entry.service == Service::Probot {
                &probot
            } else {
                &scaler
            };
            let shown = self.0.entry(entry.name).or_default();
            shown.insert(series_of(entry, text));
        }
    }
}

fn series_of(entry: &Entry, text: &str) -> String {
    let name = match entry.kind {
        Kind::Histogram => format!("parmanu_{}_count", entry.name),
        Kind::Counter | Kind::Gauge | Kind::Info => entry.series(),
    };
    let is_of = |line: &&str| {
        let rest = line.strip_prefix(&name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let mut lines: Vec<&str> = text.lines().filter(is_of).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_shown_and_moves_when_something_happens() {
    let Some(parts) = skip_without_parts("e2e::metrics") else {
        return;
    };
    let mut shop = Shop::open(parts, "metrics").await;
    let mut scrapes = Scrapes::default();
    shop.start_probot();
    shop.start_scaler();
    shop.until_ticks(2.0).await;
    scrapes.take(&shop).await;
    shop.push(3, &["linux"]);
    shop.push(1, &["no pool has this"]);
    shop.until(60, "machines run", |seen| seen.running("linux") == 3)
        .await;
    scrapes.take(&shop).await;
    assert_eq!(shop.hook(None).await, 401);
    assert_eq!(shop.hook(Some(TOKEN)).await, 202);
    shop.let_jobs_run();
    shop.until(60, "the jobs are done", |seen| seen.done == 3)
        .await;
    for _ in 0..5 {
        scrapes.take(&shop).await;
        shop.pass(Duration::from_millis(700)).await;
    }
    shop.until(90, "the machines are gone", |seen| seen.alive() == 0)
        .await;
    scrapes.take(&shop).await;
    let never = |values: &BTreeSet<String>| values.iter().all(String::is_empty);
    let missing = scrapes.0.iter().filter(|(_, values)| never(values));
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    assert_eq!(missing, Vec::<&str>::new(), "never shown");
    let still: Vec<&str> = scrapes
        .0
        .iter()
        .filter(|(_, values)| values.len() < 2)
        .map(|(name, _)| *name)
        .filter(|name| !RESTS.contains(name) && !["leader", "epoch"].contains(name))
        .collect();
    assert_eq!(still, Vec::<&str>::new(), "never moved");
    assert_eq!(shop.metric(shop.scaler_port(), "parmanu_leader").await, 1.0);
    let broken = "parmanu_invariant_violations_total";
    assert_eq!(shop.metric(shop.scaler_port(), broken).await, 0.0);
    shop.nothing_was_killed();
    shop.stop_gracefully().await;
}
