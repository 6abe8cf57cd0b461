//! Between Buildbot's rows and ours. Pure.
//!
//! A *job* is a build request. Its id stays the same when its worker is lost and it is built again. A request is
//! claimed a moment before its build exists; it then counts as running somewhere.

use std::collections::BTreeMap;

use model::{
    Cordon, Executor, ExecutorId, ExecutorState, FleetId, Job, JobClass, JobId, Requirement,
    Timestamp,
};
use serde::Deserialize;

use crate::mark;

/// A request that is not complete.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    #[serde(rename = "buildrequestid")]
    pub(crate) id: u64,
    #[serde(rename = "builderid")]
    pub(crate) builder: u64,
    pub(crate) claimed: bool,
    pub(crate) complete: bool,
    #[serde(default)]
    pub(crate) submitted_at: Option<i64>,
}

/// A build that is not complete.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Build {
    #[serde(rename = "buildrequestid")]
    pub(crate) request: u64,
    #[serde(rename = "builderid")]
    pub(crate) builder: u64,
    #[serde(rename = "workerid")]
    pub(crate) worker: u64,
    pub(crate) complete: bool,
}

/// A builder.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Builder {
    #[serde(rename = "builderid")]
    pub(crate) id: u64,
    pub(crate) name: String,
    /// Empty for one that stands in no configuration any more, so a row without it must not be read as that.
    #[serde(rename = "masterids")]
    pub(crate) masters: Vec<u64>,
}

/// A worker: there because it is configured.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Worker {
    #[serde(rename = "workerid")]
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) configured_on: Vec<ConfiguredOn>,
    pub(crate) connected_to: Vec<ConnectedTo>,
    pub(crate) paused: bool,
    #[serde(default)]
    pub(crate) pause_reason: Option<String>,
    pub(crate) graceful: bool,
}

/// Where a worker may build.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConfiguredOn {
    #[serde(rename = "builderid")]
    pub(crate) builder: u64,
}

/// A master that a worker is connected to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConnectedTo {
    #[serde(rename = "masterid")]
    _master: u64,
}

impl Worker {
    pub(crate) fn executor_id(&self) -> ExecutorId {
        ExecutorId::new(self.id.to_string())
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.connected_to.is_empty()
    }

    /// Who keeps it from taking builds. The word `graceful` stays behind after a worker has gone, so it means
    /// something only while one is connected.
    pub(crate) fn cordon(&self, fleet: &FleetId) -> Cordon {
        let pause = mark::cordon(self.paused, self.pause_reason.as_deref(), fleet);
        if pause == Cordon::None && self.graceful && self.is_connected() {
            return Cordon::Foreign;
        }
        pause
    }

    /// The names of the builders it may build for.
    pub(crate) fn builders(&self, names: &BTreeMap<u64, Builder>) -> Vec<String> {
        let mut builders: Vec<String> = self
            .configured_on
            .iter()
            .filter_map(|on| names.get(&on.builder))
            .map(|builder| builder.name.clone())
            .collect();
        builders.sort();
        builders.dedup();
        builders
    }
}

/// The jobs of one look: requests were read first and builds second, so a request that moved on is in the second.
pub(crate) fn jobs(
    requests: &[Request],
    builds: &[Build],
    builders: &BTreeMap<u64, Builder>,
) -> Vec<Job> {
    let running: BTreeMap<u64, &Build> = builds
        .iter()
        .filter(|build| !build.complete)
        .map(|build| (build.request, build))
        .collect();
    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    for request in requests.iter().filter(|request| !request.complete) {
        let class = match running.get(&request.id) {
            Some(build) => running_on(build),
            None if request.claimed => JobClass::Running { executor: None },
            None => waiting(request.builder, builders),
        };
        let queued_at = request
            .submitted_at
            .and_then(|at| Timestamp::from_second(at).ok());
        jobs.insert(
            request.id,
            job(request.id, request.builder, queued_at, class, builders),
        );
    }
    for (id, build) in running {
        jobs.entry(id)
            .or_insert_with(|| job(id, build.builder, None, running_on(build), builders));
    }
    jobs.into_values().collect()
}

fn running_on(build: &Build) -> JobClass {
    JobClass::Running {
        executor: Some(ExecutorId::new(build.worker.to_string())),
    }
}

fn waiting(builder: u64, builders: &BTreeMap<u64, Builder>) -> JobClass {
    match builders.get(&builder) {
        Some(builder) if !builder.masters.is_empty() => JobClass::Runnable,
        Some(_) => JobClass::Unrunnable {
            why: "no master has its builder any more".to_owned(),
        },
        None => JobClass::Unrunnable {
            why: "its builder is not known".to_owned(),
        },
    }
}

fn job(
    id: u64,
    builder: u64,
    queued_at: Option<Timestamp>,
    class: JobClass,
    builders: &BTreeMap<u64, Builder>,
) -> Job {
    let name = builders
        .get(&builder)
        .map_or_else(|| format!("builder #{builder}"), |b| b.name.clone());
    Job {
        id: JobId::new(id.to_string()),
        name: name.clone(),
        project: "buildbot".to_owned(),
        requirement: Requirement {
            labels: vec![name],
            ..Requirement::default()
        },
        queued_at,
        started_at: None,
        expected: None,
        class,
    }
}

/// A worker as an executor; `None` for a name that is no longer configured and has nothing behind it. `builds` is
/// `None` when the builds could not be read: then whatever is connected may be busy.
pub(crate) fn executor(
    worker: &Worker,
    builds: Option<&[Build]>,
    builders: &BTreeMap<u64, Builder>,
    fleet: &FleetId,
) -> Option<Executor> {
    let mut held: Vec<JobId> = builds
        .into_iter()
        .flatten()
        .filter(|build| build.worker == worker.id && !build.complete)
        .map(|build| JobId::new(build.request.to_string()))
        .collect();
    held.sort();
    held.dedup();
    let state = match (held.is_empty(), worker.is_connected(), builds) {
        (false, _, _) => ExecutorState::Busy { jobs: held },
        (true, true, Some(_)) => ExecutorState::Idle { since: None },
        (true, true, None) => ExecutorState::Unknown {
            why: "the running builds could not be read".to_owned(),
        },
        // whether a machine ever stood behind the name is not told; its boot deadline decides
        (true, false, _) => ExecutorState::NeverJoined,
    };
    if state == ExecutorState::NeverJoined && worker.configured_on.is_empty() {
        return None;
    }
    Some(Executor {
        id: worker.executor_id(),
        name: worker.name.clone(),
        fleet: None,
        labels: worker.builders(builders),
        run_untagged: false,
        protected_only: false,
        health: None,
        slots: 1,
        state,
        cordon: worker.cordon(fleet),
    })
}

#[cfg(test)]
mod tests {
    use model::Epoch;
    use serde_json::{Value, json};

    use super::*;

    fn builders() -> BTreeMap<u64, Builder> {
        let rows = json!([
            { "builderid": 1, "name": "windows", "masterids": [1] },
            { "builderid": 2, "name": "linux", "masterids": [1] },
            { "builderid": 3, "name": "gone", "masterids": [] },
        ]);
        let rows: Vec<Builder> = serde_json::from_value(rows).unwrap();
        rows.into_iter().map(|row| (row.id, row)).collect()
    }

    fn request(id: u64, builder: u64, claimed: bool) -> Request {
        serde_json::from_value(json!({
            "buildrequestid": id, "builderid": builder, "claimed": claimed, "complete": false,
            "submitted_at": 1_795_319_791, "results": -1, "properties": null,
        }))
        .unwrap()
    }

    fn build(request: u64, worker: u64) -> Build {
        serde_json::from_value(json!({
            "buildid": 9, "buildrequestid": request, "builderid": 2, "workerid": worker, "complete": false,
        }))
        .unwrap()
    }

    fn worker(change: impl Fn(&mut Value)) -> Worker {
        let mut value = json!({
            "workerid": 4, "name": "linux-1", "paused": false, "pause_reason": null, "graceful": false,
            "configured_on": [{ "builderid": 2, "masterid": 1 }],
            "connected_to": [{ "masterid": 1 }],
            "workerinfo": {},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn fleet() -> FleetId {
        "acme".parse().unwrap()
    }

    fn class_of(jobs: &[Job], id: &str) -> JobClass {
        let job = jobs.iter().find(|job| job.id.as_str() == id).unwrap();
        job.class.clone()
    }

    #[test]
    fn a_request_is_runnable_until_it_is_claimed_and_then_runs() {
        let requests = [
            request(1, 2, false),
            request(2, 2, true),
            request(3, 2, true),
            request(4, 3, false),
        ];
        let builds = [build(3, 4)];
        let jobs = jobs(&requests, &builds, &builders());
        let on = |id: u64| JobClass::Running {
            executor: Some(ExecutorId::new(id.to_string())),
        };
        assert_eq!(class_of(&jobs, "1"), JobClass::Runnable);
        assert_eq!(class_of(&jobs, "2"), JobClass::Running { executor: None });
        assert_eq!(class_of(&jobs, "3"), on(4));
        assert!(matches!(class_of(&jobs, "4"), JobClass::Unrunnable { .. }));
        assert_eq!(jobs[0].requirement.labels, ["linux"]);
    }

    #[test]
    fn a_request_that_moves_on_between_the_two_reads_is_counted_once() {
        // waiting in the first read and building in the second; and one that is only in the second
        let jobs = jobs(
            &[request(1, 2, false)],
            &[build(1, 4), build(7, 5)],
            &builders(),
        );
        assert_eq!(jobs.len(), 2);
        assert!(
            jobs.iter()
                .all(|job| matches!(job.class, JobClass::Running { executor: Some(_) }))
        );
    }

    #[test]
    fn a_request_whose_worker_was_lost_is_demand_again() {
        // the build ended with RETRY and is complete; the request is not claimed any more
        let mut lost = build(1, 4);
        lost.complete = true;
        let jobs = jobs(&[request(1, 2, false)], &[lost], &builders());
        assert_eq!(class_of(&jobs, "1"), JobClass::Runnable);
    }

    #[test]
    fn what_is_only_configured_never_joined() {
        let idle = worker(|_| {});
        let away = worker(|value| value["connected_to"] = json!([]));
        let removed = worker(|value| {
            value["connected_to"] = json!([]);
            value["configured_on"] = json!([]);
        });
        let state = |worker: &Worker, builds: Option<&[Build]>| {
            executor(worker, builds, &builders(), &fleet()).map(|executor| executor.state)
        };
        assert_eq!(
            state(&idle, Some(&[])),
            Some(ExecutorState::Idle { since: None })
        );
        assert_eq!(state(&away, Some(&[])), Some(ExecutorState::NeverJoined));
        assert_eq!(state(&removed, Some(&[])), None);
        let busy = ExecutorState::Busy {
            jobs: vec![JobId::new("1")],
        };
        assert_eq!(state(&idle, Some(&[build(1, 4)])), Some(busy.clone()));
        assert_eq!(
            state(&away, Some(&[build(1, 4)])),
            Some(busy),
            "unknown is busy"
        );
        assert!(matches!(
            state(&idle, None),
            Some(ExecutorState::Unknown { .. })
        ));
    }

    #[test]
    fn a_graceful_stop_is_a_cordon_only_while_the_worker_is_there() {
        let stopping = worker(|value| value["graceful"] = json!(true));
        assert_eq!(stopping.cordon(&fleet()), Cordon::Foreign);
        let gone = worker(|value| {
            value["graceful"] = json!(true);
            value["connected_to"] = json!([]);
        });
        assert_eq!(gone.cordon(&fleet()), Cordon::None);
        let ours = worker(|value| {
            value["paused"] = json!(true);
            value["pause_reason"] = json!("parmanu-cordon: fleet=acme epoch=7");
        });
        assert_eq!(ours.cordon(&fleet()), Cordon::Ours { epoch: Epoch(7) });
    }
}
