//! Rows of runners to executors.

use model::{Cordon, Executor, ExecutorId, ExecutorState, FleetId};
use serde_json::Value;

use super::{next_cursor, number_of, text, time, words};
use crate::mark;

/// One runner.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) executor: Executor,
    /// Jobs it holds by GitLab's own count.
    pub(crate) holds: u32,
}

/// One page of runners.
#[derive(Debug, Default)]
pub(crate) struct RunnerPage {
    pub(crate) runners: Vec<Runner>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
    /// What could not be read.
    pub(crate) doubts: Vec<String>,
}

/// A page of a GraphQL `runners` connection; `None` when it is not one.
pub(crate) fn runner_page(connection: &Value, fleet: &FleetId) -> Option<RunnerPage> {
    let rows = connection.get("nodes")?.as_array()?;
    let mut page = RunnerPage::default();
    for row in rows {
        match runner(row, fleet) {
            Ok(runner) => page.runners.push(runner),
            Err(doubt) => page.doubts.push(doubt),
        }
    }
    match next_cursor(connection) {
        Ok(next) => page.next = next,
        Err(doubt) => page.doubts.push(doubt),
    }
    Some(page)
}

fn runner(row: &Value, fleet: &FleetId) -> Result<Runner, String> {
    let id = row
        .get("id")
        .and_then(number_of)
        .ok_or("a runner has no id")?;
    let tags = words(row, "tagList").ok_or_else(|| format!("runner {id} has no list of tags"))?;
    let (owner, labels) = mark::split_tags(tags);
    let paused = row.get("paused").and_then(Value::as_bool);
    let paused = paused.ok_or_else(|| format!("runner {id} does not say whether it is paused"))?;
    let counted = row.get("jobCount").and_then(Value::as_u64);
    let counted = counted
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0);
    let state = state(row, counted);
    let busy = matches!(state, ExecutorState::Busy { .. });
    let holds = if busy { counted.max(1) } else { 0 };
    let executor = Executor {
        id: ExecutorId::new(id),
        name: text(row, "description").unwrap_or("").to_owned(),
        fleet: owner,
        labels,
        run_untagged: row
            .get("runUntagged")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        protected_only: text(row, "accessLevel") == Some("REF_PROTECTED"),
        health: None,
        // GitLab does not know how many jobs a machine takes (`concurrent` in its own file), so
        // no free slot is claimed beside a running job
        slots: 1,
        state,
        cordon: cordon(row, paused, fleet),
    };
    Ok(Runner { executor, holds })
}

fn cordon(row: &Value, paused: bool, fleet: &FleetId) -> Cordon {
    mark::cordon(paused, text(row, "maintenanceNote").unwrap_or(""), fleet)
}

/// Busy first: a runner out of contact may well be in the middle of a job.
fn state(row: &Value, counted: u32) -> ExecutorState {
    let busy = ExecutorState::Busy { jobs: Vec::new() };
    let since = time(row, "contactedAt");
    match (text(row, "jobExecutionStatus"), text(row, "status")) {
        _ if counted > 0 => busy,
        (Some("ACTIVE"), _) => busy,
        (Some("IDLE"), Some("ONLINE")) => ExecutorState::Idle { since: None },
        (Some("IDLE"), Some("NEVER_CONTACTED")) => ExecutorState::NeverJoined,
        (Some("IDLE"), Some("OFFLINE" | "STALE")) => ExecutorState::Offline { since },
        _ => ExecutorState::Unknown {
            why: "GitLab does not say whether it is in contact and whether it works".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use model::Epoch;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::convert::tests::any_json;

    fn fleet() -> FleetId {
        "acme-ci".parse().unwrap()
    }

    fn row() -> Value {
        json!({
            "id": "gid://gitlab/Ci::Runner/7", "description": "linux-1-1-0", "status": "ONLINE",
            "paused": false, "runUntagged": true, "accessLevel": "NOT_PROTECTED",
            "tagList": ["linux", "parmanu-fleet:acme-ci"], "jobExecutionStatus": "IDLE",
            "contactedAt": "2026-09-01T10:00:00Z", "maintenanceNote": null, "jobCount": 0,
        })
    }

    fn with(key: &str, value: Value) -> Runner {
        let mut row = row();
        row[key] = value;
        runner(&row, &fleet()).unwrap()
    }

    #[test]
    fn our_runner_is_known_by_its_tag_and_named_like_its_machine() {
        let executor = runner(&row(), &fleet()).unwrap().executor;
        assert_eq!(executor.fleet, Some(fleet()));
        assert_eq!(executor.name, "linux-1-1-0");
        assert_eq!(executor.labels, ["linux"]);
        assert_eq!(executor.state, ExecutorState::Idle { since: None });
    }

    #[test]
    fn doubt_about_a_runner_is_never_idle() {
        for value in [json!("ACTIVE"), Value::Null, json!("RESTING")] {
            let state = with("jobExecutionStatus", value.clone()).executor.state;
            assert!(!matches!(state, ExecutorState::Idle { .. }), "{value}");
        }
        let counted = with("jobCount", json!(2));
        assert_eq!((counted.holds, counted.executor.slots), (2, 1));
        assert!(matches!(counted.executor.state, ExecutorState::Busy { .. }));
        assert_eq!(
            with("status", json!("NEVER_CONTACTED")).executor.state,
            ExecutorState::NeverJoined
        );
        let busy_and_silent = {
            let mut row = row();
            row["status"] = json!("OFFLINE");
            row["jobExecutionStatus"] = json!("ACTIVE");
            runner(&row, &fleet()).unwrap()
        };
        assert!(matches!(
            busy_and_silent.executor.state,
            ExecutorState::Busy { .. }
        ));
    }

    #[test]
    fn a_pause_is_ours_only_with_our_mark() {
        assert_eq!(with("paused", json!(true)).executor.cordon, Cordon::Foreign);
        let mut row = row();
        row["paused"] = json!(true);
        row["maintenanceNote"] = json!(mark::cordoned("", &fleet(), Epoch(4)));
        let cordon = runner(&row, &fleet()).unwrap().executor.cordon;
        assert_eq!(cordon, Cordon::Ours { epoch: Epoch(4) });
    }

    #[test]
    fn a_broken_row_is_a_doubt() {
        let page = json!({ "nodes": [row(), {}], "pageInfo": { "hasNextPage": false } });
        let page = runner_page(&page, &fleet()).unwrap();
        assert_eq!((page.runners.len(), page.doubts.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_panic(value in any_json(), key in "[a-zA-Z]{1,20}") {
            let _ = runner_page(&value, &fleet());
            let mut row = row();
            row[key] = value;
            let _ = runner_page(&json!({ "nodes": [row], "pageInfo": {} }), &fleet());
        }
    }
}
