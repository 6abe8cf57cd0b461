//! Rows of running pipelines: the jobs that wait for other jobs, and for which.
//!
//! What cannot be told leaves a job without parents, which nobody counts ahead; it never becomes demand.

use std::collections::BTreeMap;

use model::{Job, JobClass, JobId};
use serde_json::Value;

use super::jobs::graphql_row;
use super::{next_cursor, number_of, text};

/// Parents that are named in the words of a wait; the others are counted.
const MOST_NAMED: usize = 3;

/// The jobs of a project's running pipelines that do not wait for a runner yet, from `project.pipelines`.
pub(crate) fn waiting(project: &Value) -> Vec<Job> {
    let pipelines = project["pipelines"]["nodes"].as_array();
    let pipelines = pipelines.into_iter().flatten();
    pipelines.flat_map(pipeline).collect()
}

fn pipeline(pipeline: &Value) -> Vec<Job> {
    let rows = pipeline["jobs"]["nodes"].as_array();
    let rows: Vec<Row<'_>> = rows.into_iter().flatten().filter_map(Row::of).collect();
    let stages = pipeline["stages"]["nodes"].as_array();
    let stages: BTreeMap<&str, usize> = stages
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(place, stage)| Some((text(stage, "name")?, place)))
        .collect();
    // a list that was cut may lack the very job that is waited for
    let whole = matches!(next_cursor(&pipeline["jobs"]), Ok(None))
        && matches!(next_cursor(&pipeline["stages"]), Ok(None));
    let jobs = rows.iter().filter_map(|row| {
        let mut job = graphql_row(row.row, None).ok()??;
        match &mut job.class {
            JobClass::Scheduled { .. } => {}
            JobClass::Blocked { by, parents } => {
                let waits_for = whole
                    .then(|| row.waits_for(&rows, &stages))
                    .flatten()
                    .unwrap_or_default();
                if let Some(words) = said(&waits_for) {
                    *by = words;
                }
                *parents = waits_for.iter().map(|row| row.id.clone()).collect();
            }
            JobClass::Runnable | JobClass::Running { .. } | JobClass::Unrunnable { .. } => {
                return None;
            }
        }
        Some(job)
    });
    jobs.collect()
}

/// A job of a pipeline that has not ended; a bridge is one, too.
struct Row<'a> {
    row: &'a Value,
    id: JobId,
    name: &'a str,
    stage: &'a str,
}

impl<'a> Row<'a> {
    fn of(row: &'a Value) -> Option<Self> {
        Some(Self {
            id: JobId::new(number_of(row.get("id")?)?),
            name: text(row, "name")?,
            stage: text(&row["stage"], "name")?,
            row,
        })
    }

    /// What this job waits for; `None` when nobody can tell.
    fn waits_for<'b>(
        &self,
        rows: &'b [Row<'a>],
        stages: &BTreeMap<&str, usize>,
    ) -> Option<Vec<&'b Row<'a>>> {
        if text(self.row, "status") != Some("CREATED") {
            return None;
        }
        let mut found: Vec<&Row<'_>> = match text(self.row, "schedulingType")? {
            // a job that is needed and not listed has ended
            "dag" => {
                let needs = self.row["needs"]["nodes"].as_array()?;
                if !matches!(next_cursor(&self.row["needs"]), Ok(None)) {
                    return None;
                }
                let needs: Option<Vec<&str>> =
                    needs.iter().map(|need| text(need, "name")).collect();
                let needs = needs?;
                rows.iter()
                    .filter(|row| needs.contains(&row.name))
                    .collect()
            }
            "stage" => {
                let own = stages.get(self.stage)?;
                let places: Option<Vec<&usize>> =
                    rows.iter().map(|row| stages.get(row.stage)).collect();
                rows.iter()
                    .zip(places?)
                    .filter(|(_, place)| *place < own)
                    .map(|(row, _)| row)
                    .collect()
            }
            _ => return None,
        };
        found.sort_by_key(|row| row.name);
        Some(found)
    }
}

/// `compile, lint, docs and 4 more`.
fn said(rows: &[&Row<'_>]) -> Option<String> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.truncate(MOST_NAMED);
    let more = rows.len() - names.len();
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::convert::tests::any_json;

    /// In the shape of the types `Pipeline` and `CiJob` of GitLab's GraphQL schema, with values of our own.
    fn row(id: u64, name: &str, stage: &str, status: &str, needs: Option<&[&str]>) -> Value {
        let nodes: Vec<Value> = needs
            .unwrap_or_default()
            .iter()
            .map(|name| json!({ "name": name }))
            .collect();
        json!({
            "id": format!("gid://gitlab/Ci::Build/{id}"), "name": name, "status": status, "kind": "BUILD",
            "tags": ["linux"], "createdAt": "2026-09-01T10:00:00Z", "queuedAt": null, "scheduledAt": null,
            "refName": "main", "runner": null, "project": { "fullPath": "acme/app" },
            "stage": { "name": stage },
            "schedulingType": if needs.is_some() { "dag" } else { "stage" },
            "needs": { "nodes": nodes, "pageInfo": { "hasNextPage": false, "endCursor": null } },
        })
    }

    fn project(jobs: &[Value], more: bool) -> Value {
        let stages = ["build", "test", "deploy"].map(|name| json!({ "name": name }));
        let end = json!({ "hasNextPage": false, "endCursor": null });
        json!({ "pipelines": { "nodes": [{
            "stages": { "nodes": stages, "pageInfo": end },
            "jobs": { "nodes": jobs, "pageInfo": { "hasNextPage": more, "endCursor": "x" } },
        }] } })
    }

    fn read(project: &Value) -> Vec<(String, String, Vec<String>)> {
        let jobs = waiting(project).into_iter();
        jobs.map(|job| match job.class {
            JobClass::Blocked { by, parents } => {
                let parents = parents.iter().map(ToString::to_string).collect();
                (job.name, by, parents)
            }
            other => (job.name, format!("{other:?}"), Vec::new()),
        })
        .collect()
    }

    fn line(name: &str, by: &str, parents: &[&str]) -> (String, String, Vec<String>) {
        let parents = parents.iter().map(|id| (*id).to_owned()).collect();
        (name.to_owned(), by.to_owned(), parents)
    }

    #[test]
    fn a_job_waits_for_what_it_needs_or_for_the_earlier_stages() {
        let jobs = [
            row(1, "compile", "build", "RUNNING", None),
            row(2, "lint", "build", "PENDING", None),
            row(3, "unit", "test", "CREATED", Some(&["compile", "gone"])),
            row(4, "system", "test", "CREATED", None),
            row(5, "ship", "deploy", "CREATED", None),
            row(6, "docs", "deploy", "WAITING_FOR_RESOURCE", None),
        ];
        assert_eq!(
            read(&project(&jobs, false)),
            [
                line("unit", "compile", &["1"]),
                line("system", "compile, lint", &["1", "2"]),
                line(
                    "ship",
                    "compile, lint, system and 1 more",
                    &["1", "2", "4", "3"]
                ),
                line("docs", "its resource group", &[]),
            ]
        );
    }

    #[test]
    fn what_nobody_can_tell_has_no_parents() {
        let running = row(1, "compile", "build", "RUNNING", None);
        let waits = row(2, "unit", "test", "CREATED", None);
        let told = [running.clone(), waits.clone()];
        assert_eq!(read(&project(&told, true))[0].2, [""; 0], "a list was cut");
        for key in ["schedulingType", "stage"] {
            let mut bad = waits.clone();
            bad[key] = Value::Null;
            let found = read(&project(&[running.clone(), bad], false));
            assert!(
                found.iter().all(|(_, _, parents)| parents.is_empty()),
                "{key}"
            );
        }
        let mut dag = row(2, "unit", "test", "CREATED", Some(&["compile"]));
        dag["needs"]["pageInfo"]["hasNextPage"] = json!(true);
        assert_eq!(read(&project(&[running, dag], false))[0].2, [""; 0]);
    }

    #[test]
    fn a_bridge_is_waited_for_and_is_no_job() {
        let mut bridge = row(1, "other", "build", "RUNNING", None);
        bridge["kind"] = json!("BRIDGE");
        let waits = row(2, "unit", "test", "CREATED", None);
        let mut waiting_bridge = row(3, "more", "test", "CREATED", None);
        waiting_bridge["kind"] = json!("BRIDGE");
        let found = read(&project(&[bridge, waits, waiting_bridge], false));
        assert_eq!(found, [line("unit", "other", &["1"])]);
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic_and_gives_no_demand(value in any_json()) {
            let mut odd = row(2, "unit", "test", "CREATED", None);
            odd["needs"] = value.clone();
            let rows = json!({ "jobs": { "nodes": [value, odd] }, "stages": value });
            let nodes = json!({ "pipelines": { "nodes": [value, rows] } });
            for job in waiting(&value).into_iter().chain(waiting(&nodes)) {
                let waits = matches!(job.class, JobClass::Blocked { .. } | JobClass::Scheduled { .. });
                prop_assert!(waits, "{job:?}");
            }
        }
    }
}
