//! Rows of jobs, from GraphQL and from REST, and the demand truth table.

use jiff::Timestamp;
use model::{ExecutorId, Job, JobClass, JobId, Requirement};
use serde_json::Value;

use super::{next_cursor, number_of, text, time, words};

/// One page of jobs.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<Job>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
    /// What could not be read.
    pub(crate) doubts: Vec<String>,
}

impl Page {
    fn add(&mut self, row: Result<Option<Job>, String>) {
        match row {
            Ok(job) => self.jobs.extend(job),
            Err(doubt) => self.doubts.push(doubt),
        }
    }
}

/// A page of a GraphQL `jobs` connection; `None` when it is not one.
pub(crate) fn pending_page(connection: &Value) -> Option<Page> {
    let rows = connection.get("nodes")?.as_array()?;
    let mut page = Page::default();
    for row in rows {
        page.add(graphql_row(row, None));
    }
    match next_cursor(connection) {
        Ok(next) => page.next = next,
        Err(doubt) => page.doubts.push(doubt),
    }
    Some(page)
}

/// The jobs of one runner, from a GraphQL `runner` with its `jobs`; `None` when it is not one.
pub(crate) fn runner_page_jobs(runner: &Value, executor: &ExecutorId) -> Option<Page> {
    let connection = runner.get("jobs")?;
    let rows = connection.get("nodes")?.as_array()?;
    let mut page = Page::default();
    for row in rows {
        page.add(graphql_row(row, Some(executor)));
    }
    match next_cursor(connection) {
        Ok(next) => page.next = next,
        Err(doubt) => page.doubts.push(doubt),
    }
    Some(page)
}

/// A page of `GET /projects/:id/jobs`; `None` when it is not a list.
pub(crate) fn project_page(body: &Value, project: &str, now: Timestamp) -> Option<Page> {
    let mut page = Page::default();
    for row in body.as_array()? {
        page.add(rest_row(row, project, now));
    }
    Some(page)
}

pub(super) fn graphql_row(
    row: &Value,
    executor: Option<&ExecutorId>,
) -> Result<Option<Job>, String> {
    // a bridge only starts another pipeline and never needs a runner; its tags are null
    if text(row, "kind") == Some("BRIDGE") {
        return Ok(None);
    }
    let id = row.get("id").and_then(number_of).ok_or("a job has no id")?;
    let status = text(row, "status").ok_or_else(|| format!("job {id} has no status"))?;
    let named = row["runner"]
        .get("id")
        .and_then(number_of)
        .map(ExecutorId::new);
    let Some(class) = class(&id, status, row, "scheduledAt", executor.cloned().or(named))? else {
        return Ok(None);
    };
    let labels = words(row, "tags").ok_or_else(|| format!("job {id} has no list of tags"))?;
    Ok(Some(Job {
        name: text(row, "name").unwrap_or("").to_owned(),
        project: row["project"]["fullPath"].as_str().unwrap_or("").to_owned(),
        requirement: requirement(labels, text(row, "refName"), None),
        queued_at: time(row, "queuedAt").or_else(|| time(row, "createdAt")),
        started_at: time(row, "startedAt"),
        expected: None,
        id: JobId::new(id),
        class,
    }))
}

fn rest_row(row: &Value, project: &str, now: Timestamp) -> Result<Option<Job>, String> {
    let id = row.get("id").and_then(number_of).ok_or("a job has no id")?;
    let status = text(row, "status").ok_or_else(|| format!("job {id} has no status"))?;
    let runner = row["runner"]
        .get("id")
        .and_then(number_of)
        .map(ExecutorId::new);
    let Some(class) = class(&id, status, row, "scheduled_at", runner)? else {
        return Ok(None);
    };
    let labels = words(row, "tag_list").ok_or_else(|| format!("job {id} has no list of tags"))?;
    let git_tag = row["tag"].as_bool();
    Ok(Some(Job {
        name: text(row, "name").unwrap_or("").to_owned(),
        project: project.to_owned(),
        requirement: requirement(labels, text(row, "ref"), git_tag),
        queued_at: queued_at(row, now).or_else(|| time(row, "created_at")),
        started_at: time(row, "started_at"),
        expected: None,
        id: JobId::new(id),
        class,
    }))
}

/// REST names no moment of queueing, only how long the job waited until it started, or until now.
fn queued_at(row: &Value, now: Timestamp) -> Option<Timestamp> {
    let until = time(row, "started_at").unwrap_or(now);
    let waited = row.get("queued_duration")?.as_f64()?;
    let waited = jiff::SignedDuration::try_from_secs_f64(waited).ok()?;
    until.checked_sub(waited).ok()
}

/// The ref is kept as a fact, so that it can be looked up whether it is protected.
fn requirement(labels: Vec<String>, ref_name: Option<&str>, git_tag: Option<bool>) -> Requirement {
    let mut requirement = Requirement {
        labels,
        ..Requirement::default()
    };
    if let Some(name) = ref_name {
        let key = if git_tag == Some(true) {
            "git_tag"
        } else {
            "ref"
        };
        requirement
            .facts
            .insert(key.to_owned(), vec![name.to_owned()]);
    }
    requirement
}

/// The demand truth table. `None` for a job that has ended.
fn class(
    id: &str,
    status: &str,
    row: &Value,
    scheduled: &str,
    executor: Option<ExecutorId>,
) -> Result<Option<JobClass>, String> {
    let blocked = |by: &str| {
        Ok(Some(JobClass::Blocked {
            by: by.to_owned(),
            parents: Vec::new(),
        }))
    };
    match status.to_ascii_lowercase().as_str() {
        // given to a runner that has not yet said that it accepts (two-phase commit, 18.x)
        "pending" if executor.is_some() => Ok(Some(JobClass::Running { executor })),
        "pending" => Ok(Some(JobClass::Runnable)),
        // a job that is being cancelled holds its runner until the runner reports back
        "running" | "canceling" => Ok(Some(JobClass::Running { executor })),
        "created" => blocked("earlier stages or needs"),
        "waiting_for_resource" => blocked("its resource group"),
        "preparing" => blocked("its prerequisites"),
        "waiting_for_callback" => blocked("an outside service"),
        "manual" => blocked("a manual start"),
        "scheduled" => Ok(Some(match time(row, scheduled) {
            Some(at) => JobClass::Scheduled { at },
            None => JobClass::Blocked {
                by: "a delay of unknown end".to_owned(),
                parents: Vec::new(),
            },
        })),
        "success" | "failed" | "canceled" | "skipped" => Ok(None),
        _ => Err(format!("job {id} has a status that is not known here")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::convert::tests::any_json;

    fn graphql(status: &str) -> Value {
        json!({
            "id": "gid://gitlab/Ci::Build/43", "name": "build:linux", "status": status, "kind": "BUILD",
            "tags": ["linux"], "queuedAt": "2026-09-01T10:00:00Z", "scheduledAt": "2026-09-01T11:00:00Z",
            "refName": "main", "project": { "fullPath": "acme/app" },
        })
    }

    fn classes(status: &str) -> Option<JobClass> {
        graphql_row(&graphql(status), None)
            .unwrap()
            .map(|job| job.class)
    }

    #[test]
    fn only_pending_is_runnable_and_only_running_and_canceling_hold_a_runner() {
        assert_eq!(classes("PENDING"), Some(JobClass::Runnable));
        let mut promised = graphql("PENDING");
        promised["runner"] = json!({ "id": "gid://gitlab/Ci::Runner/7" });
        let held = JobClass::Running {
            executor: Some(ExecutorId::new("7")),
        };
        assert_eq!(graphql_row(&promised, None).unwrap().unwrap().class, held);
        for status in ["RUNNING", "CANCELING"] {
            assert_eq!(classes(status), Some(JobClass::Running { executor: None }));
        }
        for status in [
            "CREATED",
            "WAITING_FOR_RESOURCE",
            "PREPARING",
            "WAITING_FOR_CALLBACK",
            "MANUAL",
        ] {
            assert!(
                matches!(classes(status), Some(JobClass::Blocked { .. })),
                "{status}"
            );
        }
        assert!(matches!(
            classes("SCHEDULED"),
            Some(JobClass::Scheduled { .. })
        ));
        for status in ["SUCCESS", "FAILED", "CANCELED", "SKIPPED"] {
            assert_eq!(classes(status), None, "{status}");
        }
        assert!(graphql_row(&graphql("DREAMING"), None).is_err());
    }

    #[test]
    fn a_bridge_is_no_job_and_a_broken_row_is_a_doubt() {
        let mut bridge = graphql("PENDING");
        bridge["kind"] = json!("BRIDGE");
        bridge["tags"] = Value::Null;
        let broken = json!({ "id": "gid://gitlab/Ci::Build/44", "status": "PENDING" });
        let page = pending_page(&json!({
            "nodes": [graphql("PENDING"), bridge, broken],
            "pageInfo": { "hasNextPage": true, "endCursor": "x" },
        }));
        let page = page.unwrap();
        assert_eq!(page.jobs.len(), 1);
        assert_eq!(page.doubts, ["job 44 has no list of tags"]);
        assert_eq!(page.next.as_deref(), Some("x"));
    }

    #[test]
    fn a_page_that_does_not_say_whether_another_follows_is_a_doubt() {
        for info in [
            Value::Null,
            json!({}),
            json!({ "hasNextPage": true, "endCursor": null }),
        ] {
            let page = pending_page(&json!({ "nodes": [], "pageInfo": info })).unwrap();
            assert_eq!(page.doubts.len(), 1);
        }
        assert!(pending_page(&json!({ "nodes": null })).is_none());
    }

    #[test]
    fn a_rest_row_keeps_runner_tags_apart_from_git_tags() {
        let row = json!([{
            "id": 7, "status": "running", "name": "deploy", "tag": true, "ref": "v1", "tag_list": ["linux"],
            "created_at": "2026-09-01T09:00:00.000+02:00", "started_at": "2026-09-01T10:00:00.000Z",
            "queued_duration": 30.5, "runner": { "id": 3 },
        }]);
        let job = project_page(&row, "acme/app", Timestamp::UNIX_EPOCH)
            .unwrap()
            .jobs
            .remove(0);
        assert_eq!(job.requirement.labels, ["linux"]);
        assert_eq!(job.requirement.facts["git_tag"], ["v1"]);
        assert_eq!(
            job.queued_at,
            Some("2026-09-01T09:59:29.5Z".parse().unwrap())
        );
        assert_eq!(
            job.class,
            JobClass::Running {
                executor: Some(ExecutorId::new("3"))
            }
        );
    }

    #[test]
    fn the_tags_of_a_job_that_has_ended_matter_to_nobody() {
        // servers before 13 list project jobs without tags; in the shape of NARKOZ/gitlab: spec/fixtures/jobs.json
        let rows = json!([{ "id": 7, "status": "failed", "name": "rspec", "ref": "main", "runner": null }]);
        let page = project_page(&rows, "acme/app", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((page.jobs.len(), page.doubts.len()), (0, 0));
        let rows = json!([{ "id": 7, "status": "pending", "name": "rspec", "ref": "main", "runner": null }]);
        let page = project_page(&rows, "acme/app", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(page.doubts, ["job 7 has no list of tags"]);
    }

    #[test]
    fn a_page_reads_as_an_operator_would_read_it() {
        let page = pending_page(&json!({
            "pageInfo": { "hasNextPage": false, "endCursor": "eyJpZCI6IjQxIn0" },
            "nodes": [
                {
                    "id": "gid://gitlab/Ci::Build/43", "name": "build:linux", "status": "PENDING", "kind": "BUILD",
                    "tags": ["linux", "docker"], "createdAt": "2026-09-01T09:59:00Z", "queuedAt": "2026-09-01T10:00:00Z",
                    "scheduledAt": null, "refName": "main", "runner": null, "project": { "fullPath": "acme/app" },
                },
                {
                    "id": "gid://gitlab/Ci::Build/42", "name": "lint", "status": "PENDING", "kind": "BUILD", "tags": [],
                    "createdAt": "2026-09-01T09:58:00Z", "queuedAt": null, "scheduledAt": null, "refName": "topic",
                    "runner": { "id": "gid://gitlab/Ci::Runner/7" }, "project": { "fullPath": "acme/app" },
                },
                {
                    "id": "gid://gitlab/Ci::Bridge/41", "name": "deploy", "status": "PENDING", "kind": "BRIDGE",
                    "tags": null, "project": { "fullPath": "acme/app" },
                },
            ],
        }));
        let page = page.unwrap();
        let line = |job: &Job| {
            let at = job.queued_at.map(|at| at.to_string()).unwrap_or_default();
            let facts = &job.requirement.facts;
            let labels = &job.requirement.labels;
            format!(
                "{} {} {} {labels:?} {facts:?} since {at} {:?}\n",
                job.id, job.project, job.name, job.class
            )
        };
        let lines: String = page.jobs.iter().map(line).collect();
        expect![[r#"
            43 acme/app build:linux ["linux", "docker"] {"ref": ["main"]} since 2026-09-01T10:00:00Z Runnable
            42 acme/app lint [] {"ref": ["topic"]} since 2026-09-01T09:58:00Z Running { executor: Some("7") }
        "#]]
        .assert_eq(&lines);
        assert_eq!((page.next, page.doubts), (None, Vec::new()));
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in any_json()) {
            let executor = ExecutorId::new("1");
            let _ = (pending_page(&value), project_page(&value, "p", Timestamp::UNIX_EPOCH), runner_page_jobs(&value, &executor));
            let rows = json!({ "nodes": [value], "pageInfo": value });
            let _ = (pending_page(&rows), project_page(&rows["nodes"], "p", Timestamp::UNIX_EPOCH));
        }

        #[test]
        fn every_row_becomes_a_job_a_doubt_or_is_known_to_need_no_runner(value in any_json(), status in "[a-zA-Z_]{0,12}") {
            let mut row = graphql(&status);
            row["tags"] = value;
            let page = pending_page(&json!({ "nodes": [row.clone()], "pageInfo": { "hasNextPage": false } })).unwrap();
            let ended = ["success", "failed", "canceled", "skipped"].contains(&status.to_lowercase().as_str());
            prop_assert!(page.jobs.len() + page.doubts.len() == 1 || ended, "{row}");
        }
    }
}
