//! The catalogue against a scrape in which every metric has a series, and the page that is made from it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use expect_test::expect_file;
use telemetry::Metrics;
use telemetry::metrics::catalogue::{ALL, Entry};
use telemetry::metrics::{Reloaded, Service};

const A_WHILE: Duration = Duration::from_millis(15);

fn filled(service: Service) -> Metrics {
    let metrics = Metrics::new(service);
    let probot = &metrics.probot;
    probot.probed("gitlab", "ok", A_WHILE, 3, 4096);
    probot.hooked("gitlab", "accepted");
    probot.breaker("gitlab", false);
    probot.set_unmatched("gitlab", 1);
    probot.passed_over("linux");
    probot.job_started("linux", A_WHILE);
    let scaler = &metrics.scaler;
    scaler.set_jobs("linux", &[("runnable", 2)]);
    scaler.set_machines("linux", &[("idle", 1)]);
    scaler.set_reasons("linux", &BTreeSet::from(["demand"]));
    scaler.set_target("linux", 3);
    scaler.set_max("linux", 10);
    scaler.set_look("linux", A_WHILE, A_WHILE);
    scaler.create_asked("linux", A_WHILE);
    scaler.joined("linux", A_WHILE);
    scaler.took("linux", "booting", A_WHILE);
    scaler.spent("linux", "idle", 60.0, 0.01);
    scaler.planned("linux", "demand");
    scaler.acted("linux", "create", "done");
    scaler.called_provider("aws", "list", "ok");
    scaler.ticked(A_WHILE);
    scaler.set_lease(Some(7));
    scaler.set_held(0);
    scaler.watches(&["I1"]);
    metrics.store_error();
    metrics.reloaded(Reloaded::Invalid);
    metrics
}

/// Kind, help and labels of each metric of a scrape.
fn scraped(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            last = name.to_owned();
            // the format ends each help text with a full stop
            found.entry(last.clone()).or_default().1 = help.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            found.entry(name.to_owned()).or_default().0 = kind.to_owned();
        } else if let Some((_, rest)) = line.split_once('{') {
            let (labels, _) = rest.split_once('}').unwrap();
            let names = labels
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0));
            let names = names.filter(|name| *name != "le").map(str::to_owned);
            found.get_mut(&last).unwrap().2.extend(names);
        }
    }
    found
}

fn is_of(entry: &Entry, service: Service) -> bool {
    service == Service::Both || entry.service == Service::Both || entry.service == service
}

#[test]
fn a_scrape_shows_what_the_catalogue_says_and_nothing_else() {
    for service in [Service::Probot, Service::Scaler, Service::Both] {
        let text = filled(service).exposition();
        let scraped = scraped(&text);
        let entries = ALL.iter().filter(|entry| is_of(entry, service));
        let expected = entries.map(|entry| {
            let labels: BTreeSet<String> = entry.labels.iter().map(|l| (*l).to_owned()).collect();
            let (kind, help) = (entry.kind.as_str().to_owned(), entry.help.to_owned());
            (format!("parmanu_{}", entry.name), (kind, help, labels))
        });
        assert_eq!(scraped, expected.collect(), "{text}");
        for entry in ALL.iter().filter(|entry| is_of(entry, service)) {
            let series = entry.series();
            assert!(
                text.lines().any(|line| line.starts_with(&series)),
                "{series} is not in\n{text}"
            );
        }
    }
}

/// `UPDATE_EXPECT=1 cargo test -p telemetry --test catalogue` writes it anew.
#[test]
fn the_page_is_the_one_of_this_catalogue() {
    let mut page = include_str!("metrics-head.txt").to_owned();
    for entry in ALL {
        let labels: Vec<String> = entry
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let who = match entry.service {
            Service::Probot => "probot",
            Service::Scaler => "scaler",
            Service::Both => "both",
        };
        let more = match entry.more {
            "" => String::new(),
            more => format!(". {}", more.trim_end_matches('.')),
        };
        writeln!(
            page,
            "| `{}` | {} | {who} | {} | {}{more} |",
            entry.series().trim_end_matches("_bucket"),
            entry.kind.as_str(),
            labels.join(", "),
            entry.help,
        )
        .unwrap();
    }
    expect_file!["../../../docs/metrics.md"].assert_eq(&page);
}
