//! The alert rules and the dashboard name only what Parmanu shows: metrics, labels, and the codes that labels can have.
//!
//! Whether the services really show them is judged in the end-to-end tests; whether the rules fire is played by promtool
//! (`cargo xtask test`, row `alerts`).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::Value;
use telemetry::metrics::catalogue::{ALL, Kind};

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The queries of the dashboard, those of its variables too.
fn asked() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/parmanu.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let panels = targets.flatten().map(|target| target["expr"].as_str());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables = variables.iter().map(|it| it["query"]["query"].as_str());
    let found: Vec<_> = panels
        .chain(variables)
        .flatten()
        .map(str::to_owned)
        .collect();
    assert!(found.len() > 25, "{found:?}");
    found
}

fn alerts() -> Vec<BTreeMap<String, Value>> {
    let rules: Value = serde_yaml::from_str(&read("deploy/prometheus/alerts.yaml")).unwrap();
    serde_json::from_value(rules["groups"][0]["rules"].clone()).unwrap()
}

fn text<'a>(rule: &'a BTreeMap<String, Value>, key: &str) -> &'a str {
    rule[key].as_str().unwrap()
}

/// Every series that a metric has in a scrape, with its labels.
fn series() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut known = BTreeMap::new();
    for entry in ALL {
        let labels: BTreeSet<&'static str> = entry.labels.iter().copied().collect();
        let name = format!("parmanu_{}", entry.name);
        if entry.kind == Kind::Histogram {
            known.insert(format!("{name}_sum"), labels.clone());
            known.insert(format!("{name}_count"), labels.clone());
        }
        known.insert(entry.series(), labels);
    }
    known
}

#[test]
fn every_metric_and_label_that_is_asked_for_exists() {
    let metric = Regex::new(r"(parmanu_[a-z_]+)(\{[^}]*\})?").unwrap();
    let label = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*""#).unwrap();
    let grouped = Regex::new(r"(?:by|on|ignoring)\s*\(([^)]*)\)").unwrap();
    let known = series();
    let alerts = alerts();
    let rules = alerts.iter().map(|rule| text(rule, "expr").to_owned());
    let mut named = BTreeSet::new();
    for query in rules.chain(asked()) {
        let mut here: BTreeSet<&str> = ["le", "instance"].into();
        for found in metric.captures_iter(&query) {
            let labels = known.get(&found[1]);
            let labels = labels.unwrap_or_else(|| panic!("{} in {query}", &found[1]));
            here.extend(labels);
            named.insert(found[1].to_owned());
            let matchers = found.get(2).map_or("", |found| found.as_str());
            for matcher in label.captures_iter(matchers) {
                assert!(labels.contains(&matcher[1]), "{} in {query}", &matcher[1]);
            }
        }
        for group in grouped.captures_iter(&query) {
            for name in group[1].split(',').map(str::trim) {
                assert!(here.contains(name), "{name} in {query}");
            }
        }
    }
    // a metric that nobody looks at is missing in the dashboard, or superfluous
    let unseen: Vec<String> = ALL
        .iter()
        .map(telemetry::metrics::catalogue::Entry::series)
        .filter(|series| !named.contains(series))
        .collect();
    assert!(
        unseen
            .iter()
            .all(|series| series.starts_with("parmanu_plan_total")),
        "{unseen:?}"
    );
}

/// A code that is never given makes an alert that never fires.
#[test]
fn the_codes_in_matchers_are_codes_of_the_source() {
    let phases: BTreeSet<&str> = engine::Phase::ALL.into();
    let engine = read("crates/engine/src/reason.rs");
    let code = Regex::new(r#"(phase|reason)=~?"([^"]*)""#).unwrap();
    let mut judged = 0;
    for rule in alerts() {
        for found in code.captures_iter(text(&rule, "expr")) {
            for one in found[2].split('|') {
                judged += 1;
                let known = match &found[1] {
                    "phase" => phases.contains(one),
                    _ => engine.contains(&format!("=> \"{one}\",")),
                };
                assert!(known, "{one} in {rule:?}");
            }
        }
    }
    assert!(judged > 4);
}

#[test]
fn every_alert_has_a_runbook_a_severity_and_a_case() {
    let runbooks = read("docs/runbooks.md");
    let cases = read("deploy/prometheus/alerts.test.yaml");
    let mut names = BTreeSet::new();
    for rule in alerts() {
        let name = text(&rule, "alert");
        assert!(names.insert(name.to_owned()), "{name} twice");
        assert!(runbooks.contains(&format!("\n## {name}\n")), "{name}");
        let link = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], link);
        let severity = &rule["labels"]["severity"];
        assert!(severity == "page" || severity == "ticket", "{name}");
        for case in ["fires", "is quiet"] {
            let case = format!("- name: {name} {case}\n");
            assert!(cases.contains(&case), "{case}");
        }
    }
    let headings = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("## Parmanu"));
    for heading in headings {
        let name = format!("Parmanu{heading}");
        assert!(names.contains(&name), "a runbook for no alert: {name}");
    }
}
