//! The alert rules and the queries of the dashboard, in the hands of Prometheus' own `promtool`.
//!
//! It checks the rules, plays the cases in which each fires and stays quiet, and parses what the dashboard asks. That the
//! metrics they name exist is for the tests in `tests/`, which scrape running services. No Grafana is asked: that the panels
//! look right is not shown here.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

const RULES: &str = "deploy/prometheus";
const DASHBOARD: &str = "deploy/grafana/parmanu.json";

/// Checks all of it; gives a line of words.
pub(crate) fn check(promtool: &Path, root: &Path) -> anyhow::Result<String> {
    let rules = root.join(RULES);
    let run = |arguments: &[&str], file: &Path| {
        let output = Command::new(promtool)
            .current_dir(&rules)
            .args(arguments)
            .arg(file)
            .output()
            .context("could not start promtool")?;
        if !output.status.success() {
            let (said, complained) = (output.stdout, output.stderr);
            let words = [said, complained].concat();
            bail!("promtool: {}", String::from_utf8_lossy(&words).trim());
        }
        anyhow::Ok(())
    };
    run(&["check", "rules"], Path::new("alerts.yaml"))?;
    run(&["test", "rules"], Path::new("alerts.test.yaml"))?;
    let queries = queries(root)?;
    let as_rules = tempfile::NamedTempFile::new().context("no temporary file")?;
    std::fs::write(as_rules.path(), recorded(&queries).to_string())?;
    run(&["check", "rules"], as_rules.path())?;
    Ok(format!(
        "rules and their cases, {} queries of the dashboard",
        queries.len()
    ))
}

/// Every query of the dashboard, with Grafana's variables filled in.
fn queries(root: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join(DASHBOARD))?;
    let dashboard: Value = serde_json::from_str(&text).context(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let filled = targets.filter_map(|target| {
        let query = target["expr"].as_str()?;
        let query = query.replace("$__rate_interval", "5m");
        Some(query.replace("$__range", "1h"))
    });
    let queries: Vec<String> = filled.collect();
    if queries.is_empty() {
        bail!("{DASHBOARD} asks nothing");
    }
    Ok(queries)
}

/// The queries as recording rules, which is what promtool parses. JSON is YAML.
fn recorded(queries: &[String]) -> Value {
    let rule = |(number, query): (usize, &String)| serde_json::json!({ "record": format!("query:{number}"), "expr": query });
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] })
}
