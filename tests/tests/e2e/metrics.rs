//! Two services at work, scraped: every metric that dashboard and alerts may name is there, and moves when something happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fake_gitlab::{Fault, FaultKind};
use telemetry::metrics::Service;
use telemetry::metrics::catalogue::{ALL, Entry, Kind};

use crate::shop::{Shop, TOKEN, skip_without_parts};

/// What is there and stands still: what was built, what must never happen, and what takes ten minutes.
const RESTS: [&str; 3] = ["build", "invariant_violations", "jobs_passed_over"];

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

/// Six machines that a configuration lets go wait for an operator, and one that cannot be used is not taken.
async fn files_change(shop: &Shop, scrapes: &mut Scrapes) {
    shop.hang_up().await;
    let scaler = shop.scaler_port();
    let good = shop.configure("max: 25, precedence: 1", "max: 0, precedence: 1");
    let held = "parmanu_config_held_departures";
    shop.until_metric(scaler, held, |held| held == 6.0).await;
    scrapes.take(shop).await;
    shop.restore(&good);
    shop.until_metric(scaler, held, |held| held == 0.0).await;
    let good = shop.configure("max: 25, precedence: 1", "maxx: 25, precedence: 1");
    let stale = "parmanu_config_stale";
    shop.until_metric(scaler, stale, |stale| stale == 1.0).await;
    scrapes.take(shop).await;
    shop.restore(&good);
    shop.until_metric(scaler, stale, |stale| stale == 0.0).await;
}

/// GitLab answers nothing but errors, and then Redis nothing at all.
async fn others_fail(shop: &Shop, scrapes: &mut Scrapes) {
    let open = "parmanu_probe_breaker_open";
    let fault = Fault::on("/", u32::MAX, FaultKind::Html(500));
    shop.gitlab().inject(fault);
    shop.until_metric(shop.probot_port(), open, |open| open == 1.0)
        .await;
    scrapes.take(shop).await;
    shop.gitlab().clear_faults();
    shop.until_metric(shop.probot_port(), open, |open| open == 0.0)
        .await;
    shop.freeze_redis(true);
    for port in [shop.probot_port(), shop.scaler_port()] {
        let failed = "parmanu_store_errors_total";
        shop.until_metric(port, failed, |failed| failed > 0.0).await;
    }
    scrapes.take(shop).await;
    shop.freeze_redis(false);
    let leader = "parmanu_leader";
    shop.until_metric(shop.scaler_port(), leader, |leader| leader == 1.0)
        .await;
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
    shop.push(6, &["linux"]);
    shop.push(1, &["no pool has this"]);
    shop.until(60, "machines run", |seen| seen.running("linux") == 6)
        .await;
    scrapes.take(&shop).await;
    files_change(&shop, &mut scrapes).await;
    others_fail(&shop, &mut scrapes).await;
    assert_eq!(shop.hook(None).await, 401);
    assert_eq!(shop.hook(Some(TOKEN)).await, 202);
    shop.let_jobs_run();
    shop.until(60, "the jobs are done", |seen| seen.done == 6)
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
