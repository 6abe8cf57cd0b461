//! The recipes below `config/emitters` against answers in the shape that each server's own description gives.
//!
//! The rows are written by us. Their shapes come from: the Swagger description of Woodpecker 3.17 (`/queue/info`,
//! `/agents`), the manual of Buildkite's agent API (`/v3/metrics`) and REST API (agents), and GitHub's OpenAPI description
//! (workflow runs, jobs, self-hosted runners).

mod support;

use std::path::Path;

use emitter_http::{HttpMatcher, Serves};
use model::{Cordon, ExecutorState, Job, JobClass, Snapshot};
use ports::Matcher as _;
use serde::Deserialize as _;
use serde_json::{Value, json};
use support::{Asked, Reply, Server, TOKEN};

/// A recipe and its only emitter's keys, moved to this server.
fn recipe(name: &str, server: &Server) -> (Value, Value) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../config/emitters/{name}.yaml"));
    let text = std::fs::read_to_string(file).expect("the recipe");
    let whole: Value = serde_yaml::from_str(&text).expect("YAML");
    let emitters = whole["emitters"].as_object().expect("emitters");
    let mut config = emitters.values().next().expect("an emitter").clone();
    let keys = config.as_object_mut().expect("keys");
    // they belong to everybody
    keys.remove("kind");
    keys.remove("probe");
    assert_eq!(support::problems(&config), Vec::<String>::new());
    config["url"] = server.url.clone().into();
    config["token"]["secret"] = TOKEN.into();
    for request in config["requests"]
        .as_object_mut()
        .expect("requests")
        .values_mut()
    {
        if request.get("url").is_some() {
            request["url"] = server.url.replace("/api", "/rest").into();
            request["token"]["secret"] = "the-other-token".into();
        }
    }
    (config, whole)
}

/// The ids of the jobs that the recipe's pool would run, by the recipe's own `serves`.
fn served(whole: &Value, snapshot: &Snapshot) -> Vec<String> {
    let pools = whole["pools"].as_object().expect("pools");
    let serves = pools.values().next().expect("a pool")["serves"].as_array();
    let serves = serves
        .expect("entries")
        .iter()
        .map(|entry| Serves::deserialize(entry).expect("labels"));
    let matcher = HttpMatcher::new(serves.collect());
    let fits = |job: &&Job| matcher.fit(job).is_yes();
    snapshot
        .jobs
        .iter()
        .filter(fits)
        .map(|job| job.id.to_string())
        .collect()
}

/// Whether every executor with a machine's name is known as one of ours.
fn finds_its_machines(snapshot: &Snapshot) -> bool {
    let mut machines = snapshot
        .executors
        .iter()
        .filter(|seen| seen.name.starts_with("linux-"));
    let ours = "acme-ci".parse().ok();
    machines.clone().count() > 0 && machines.all(|seen| seen.fleet == ours)
}

fn job<'a>(snapshot: &'a Snapshot, id: &str) -> &'a Job {
    let found = snapshot.jobs.iter().find(|job| job.id.as_str() == id);
    found.unwrap_or_else(|| panic!("no job {id} in {snapshot:#?}"))
}

/// What each executor does, in the order of their ids.
fn does(snapshot: &Snapshot) -> Vec<(&str, &'static str)> {
    let word = |state: &ExecutorState| match state {
        ExecutorState::NeverJoined => "never joined",
        ExecutorState::Idle { .. } => "idle",
        ExecutorState::Busy { jobs } if jobs.is_empty() => "busy",
        ExecutorState::Busy { .. } => "busy with a job",
        ExecutorState::Offline { .. } => "offline",
        ExecutorState::Unknown { .. } => "unknown",
    };
    let executors = snapshot.executors.iter();
    executors
        .map(|seen| (seen.name.as_str(), word(&seen.state)))
        .collect()
}

/// Seconds since 1970 at the time of the tests.
const NOW: i64 = 1_788_256_800;

fn woodpecker(asked: &Asked) -> Reply {
    if asked.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::status(401);
    }
    let task = |id: &str, labels: Value, agent: u32, dependencies: Value| {
        json!({
            "id": id, "name": "test", "pid": 1, "pipeline_id": 7, "pipeline_number": 3, "repo_id": 12,
            "created": NOW - 60, "labels": labels, "agent_id": agent, "dependencies": dependencies, "run_on": null,
        })
    };
    let agent = |id: u32, name: &str, contact: i64, no_schedule: bool, labels: Value| {
        json!({
            "id": id, "name": name, "platform": "linux/amd64", "backend": "docker", "capacity": i32::from(contact > 0) * 2,
            "created": NOW - 9000, "updated": NOW, "last_contact": contact, "last_work": 0, "no_schedule": no_schedule,
            "custom_labels": labels, "org_id": -1, "owner_id": -1, "version": "3.17.0", "token": "never-in-a-snapshot",
        })
    };
    let ours = json!({ "parmanu-fleet": "acme-ci" });
    match (asked.path.as_str(), asked.parameter("page")) {
        ("/api/queue/info", _) => Reply::ok(json!({
            "pending": [
                task("31", json!({ "repo": "acme/app", "org-id": "4", "platform": "linux/amd64", "hint": "" }), 0, json!([])),
                task("32", json!({ "repo": "acme/app", "org-id": "4", "platform": "linux/arm64" }), 0, json!([])),
            ],
            "waiting_on_deps": [task("33", json!({ "repo": "acme/app" }), 0, json!(["30", "31"]))],
            "running": [task("30", json!({ "repo": "acme/app" }), 1, json!([]))],
            "stats": { "worker_count": 2, "pending_count": 2, "waiting_on_deps_count": 1, "running_count": 1 },
            "paused": false,
        })),
        ("/api/agents", "1") => Reply::ok(json!([
            agent(1, "linux-1795531234567-1-0", NOW - 5, false, ours.clone()),
            agent(
                2,
                "linux-1795531234567-1-1",
                NOW - 5,
                true,
                json!({ "gpu": "yes", "parmanu-fleet": "acme-ci" })
            ),
            agent(3, "linux-1795531234567-1-2", NOW - 600, false, ours.clone()),
            agent(4, "linux-1795531234567-1-3", 0, false, ours),
            agent(5, "big-box", NOW - 5, false, json!(null)),
        ])),
        ("/api/agents", "2") => Reply::ok(json!([])),
        _ => Reply::status(404),
    }
}

#[tokio::test]
async fn woodpecker_queue_and_agents() {
    let server = Server::start(woodpecker).await;
    let (config, whole) = recipe("woodpecker", &server);
    let snapshot = support::probe(&config).await.expect("a look");
    assert_eq!(snapshot.completeness.doubts(), &[] as &[String]);
    assert_eq!(
        server.asked(),
        [
            "/queue/info",
            "/agents?page=1&perPage=50",
            "/agents?page=2&perPage=50"
        ]
    );
    assert_eq!(snapshot.cost.requests, 3);

    assert!(finds_its_machines(&snapshot));
    assert_eq!(snapshot.jobs.len(), 4);
    assert_eq!(served(&whole, &snapshot), ["30", "31", "33"]);
    let waiting = job(&snapshot, "31");
    assert_eq!(waiting.class, JobClass::Runnable);
    assert_eq!(
        waiting.requirement.labels,
        ["org-id=4", "platform=linux/amd64", "repo=acme/app"]
    );
    assert_eq!(waiting.queued_at.map(|at| at.as_second()), Some(NOW - 60));
    let running = JobClass::Running {
        executor: Some(model::ExecutorId::new("1")),
    };
    assert_eq!(job(&snapshot, "30").class, running);
    let JobClass::Blocked { parents, .. } = &job(&snapshot, "33").class else {
        panic!("{snapshot:#?}");
    };
    assert_eq!(
        parents.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        ["30", "31"]
    );

    assert_eq!(
        does(&snapshot),
        [
            ("linux-1795531234567-1-0", "busy with a job"),
            ("linux-1795531234567-1-1", "idle"),
            ("linux-1795531234567-1-2", "offline"),
            ("linux-1795531234567-1-3", "never joined"),
            ("big-box", "idle"),
        ]
    );
    let cordons: Vec<_> = snapshot.executors.iter().map(|seen| seen.cordon).collect();
    assert_eq!(
        cordons,
        [
            Cordon::None,
            Cordon::Foreign,
            Cordon::None,
            Cordon::None,
            Cordon::None
        ]
    );
    let serves = Serves::deserialize(&whole["pools"]["linux"]["serves"][0]).expect("labels");
    let matcher = HttpMatcher::new(vec![serves]);
    assert!(
        snapshot
            .executors
            .iter()
            .all(|seen| matcher.is_served_by(seen))
    );
}

#[tokio::test]
async fn woodpecker_says_that_its_queue_is_paused_or_empty_or_cut() {
    let empty = json!({ "pending_count": 0, "waiting_on_deps_count": 0, "running_count": 0 });
    let cut = json!({ "pending_count": 1, "waiting_on_deps_count": 0, "running_count": 0 });
    for (stats, rows, complete) in [
        (empty, json!(null), true),
        (cut.clone(), json!(null), false),
        (cut, json!([{ "id": "1" }]), true),
    ] {
        let is_listed = rows.is_array();
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/api/queue/info" => Reply::ok(json!({
                "pending": rows, "waiting_on_deps": null, "running": null, "stats": stats, "paused": true,
            })),
            _ => Reply::ok(json!([])),
        })
        .await;
        let snapshot = support::probe(&recipe("woodpecker", &server).0)
            .await
            .expect("a look");
        assert_eq!(
            snapshot.completeness.is_complete(),
            complete,
            "{snapshot:?}"
        );
        assert_eq!(snapshot.jobs.len(), usize::from(is_listed));
        for job in &snapshot.jobs {
            assert!(
                matches!(job.class, JobClass::Blocked { .. }),
                "a paused queue starts nothing: {job:?}"
            );
        }
    }
}

fn buildkite(asked: &Asked) -> Reply {
    let agent = |id: &str, state: &str, job: Value| {
        json!({
            "id": format!("0b461f65-e7be-4c80-888a-ef11d81fd97{id}"), "name": format!("linux-1795531234567-1-{id}"),
            "connection_state": state, "queue": "linux", "meta_data": ["queue=linux", "parmanu-fleet=acme-ci"],
            "job": job, "last_job_finished_at": null, "connected_at": "2026-09-01T09:00:00.000Z",
        })
    };
    let running = json!({ "id": "cd164055-9649-452b-8d8e-28fe67370a1e", "type": "script", "agent_query_rules": ["queue=linux"] });
    match (
        asked.path.as_str(),
        asked.header("authorization"),
        asked.parameter("page"),
    ) {
        ("/api/metrics", "Token never-print-me", _) => Reply::ok(json!({
            "agents": { "idle": 1, "busy": 1, "total": 2, "queues": { "linux": { "idle": 1, "busy": 1, "total": 2 } } },
            "jobs": {
                "scheduled": 3, "running": 1, "waiting": 2, "total": 6,
                "queues": {
                    "linux": { "scheduled": 2, "running": 1, "waiting": 2, "total": 5 },
                    "mac": { "scheduled": 1, "running": 0, "waiting": 0, "total": 1 },
                },
            },
            "organization": { "slug": "acme" },
        })),
        ("/rest/organizations/acme/agents", "Bearer the-other-token", "") => Reply {
            headers: vec![(
                "link",
                r#"</rest/organizations/acme/agents?page=2&per_page=100>; rel="next""#.to_owned(),
            )],
            ..Reply::ok(json!([
                agent("0", "connected", running),
                agent("1", "connected", json!(null))
            ]))
        },
        ("/rest/organizations/acme/agents", "Bearer the-other-token", "2") => Reply::ok(json!([
            agent("2", "stopping", json!(null)),
            agent("3", "hibernating", json!(null))
        ])),
        _ => Reply::status(401),
    }
}

#[tokio::test]
async fn buildkite_counts_and_agents() {
    let server = Server::start(buildkite).await;
    let (config, whole) = recipe("buildkite", &server);
    let snapshot = support::probe(&config).await.expect("a look");
    assert_eq!(snapshot.cost.requests, 3);
    assert!(finds_its_machines(&snapshot));
    let ids: Vec<&str> = snapshot.jobs.iter().map(|job| job.id.as_str()).collect();
    let linux = ["running/linux#1", "scheduled/linux#1", "scheduled/linux#2"];
    assert_eq!(
        ids,
        [
            linux[0],
            linux[1],
            linux[2],
            "scheduled/mac#1",
            "waiting/linux#1",
            "waiting/linux#2"
        ]
    );
    assert_eq!(job(&snapshot, linux[1]).class, JobClass::Runnable);
    assert_eq!(
        job(&snapshot, linux[0]).class,
        JobClass::Running { executor: None }
    );
    assert!(matches!(
        job(&snapshot, "waiting/linux#1").class,
        JobClass::Blocked { .. }
    ));
    assert_eq!(
        served(&whole, &snapshot),
        [&linux[..], &["waiting/linux#1", "waiting/linux#2"]].concat()
    );

    assert_eq!(
        does(&snapshot),
        [
            ("linux-1795531234567-1-0", "busy with a job"),
            ("linux-1795531234567-1-1", "idle"),
            ("linux-1795531234567-1-2", "busy"),
            ("linux-1795531234567-1-3", "unknown"),
        ]
    );
    // a word that the recipe does not know is busy, and is said
    let doubts = snapshot.completeness.doubts();
    assert_eq!(
        doubts,
        ["executors[0]: the state `hibernating` is not in `states`"]
    );
}

#[tokio::test]
async fn buildkite_without_queues_is_no_look() {
    let server = Server::start(|_| Reply::ok(json!({ "jobs": { "scheduled": 5 } }))).await;
    let looked = support::probe(&recipe("buildkite", &server).0).await;
    assert!(looked.is_err(), "{looked:?}");
}

fn github(asked: &Asked) -> Reply {
    if asked.header("x-github-api-version") != "2022-11-28"
        || asked.header("accept") != "application/vnd.github+json"
    {
        return Reply::status(400);
    }
    let job = |id: u32, status: &str, runner: Value, labels: Value| {
        json!({
            "id": id, "run_id": 1, "name": "build", "status": status, "conclusion": null, "labels": labels,
            "created_at": "2026-09-01T09:59:00Z", "started_at": "2026-09-01T09:59:30Z", "runner_id": runner, "runner_name": null,
        })
    };
    let linux = json!(["self-hosted", "linux", "x64"]);
    let runner = |id: u32, name: &str, status: &str, busy: bool| {
        let labels = ["self-hosted", "Linux", "X64", "parmanu-fleet=acme-ci"]
            .map(|name| json!({ "name": name, "type": "read-only" }));
        json!({ "id": id, "name": name, "os": "linux", "status": status, "busy": busy, "ephemeral": true, "labels": labels })
    };
    match (asked.path.as_str(), asked.parameter("status")) {
        // run 2 moved from one list to the other while they were read
        ("/api/repos/acme/app/actions/runs", "queued") => {
            Reply::ok(json!({ "total_count": 2, "workflow_runs": [{ "id": 2 }, { "id": 3 }] }))
        }
        ("/api/repos/acme/app/actions/runs", "in_progress") => {
            Reply::ok(json!({ "total_count": 2, "workflow_runs": [{ "id": 1 }, { "id": 2 }] }))
        }
        ("/api/repos/acme/app/actions/runs/1/jobs", _) => {
            Reply::ok(json!({ "total_count": 3, "jobs": [
            job(10, "completed", json!(5), linux.clone()), job(11, "in_progress", json!(6), linux.clone()), job(12, "queued", json!(null), linux),
        ] }))
        }
        ("/api/repos/acme/app/actions/runs/2/jobs", _) => {
            Reply::ok(json!({ "total_count": 2, "jobs": [
            job(20, "queued", json!(null), json!(["ubuntu-latest"])), job(21, "waiting", json!(null), linux),
        ] }))
        }
        ("/api/repos/acme/app/actions/runs/3/jobs", _) => Reply::status(404),
        ("/api/repos/acme/app/actions/runners", _) => {
            Reply::ok(json!({ "total_count": 3, "runners": [
            runner(6, "linux-1795531234567-1-0", "online", true), runner(7, "linux-1795531234567-1-1", "online", false),
            runner(8, "linux-1795531234567-1-2", "offline", false),
        ] }))
        }
        _ => Reply::status(404),
    }
}

#[tokio::test]
async fn github_runs_and_then_their_jobs() {
    let server = Server::start(github).await;
    let (config, whole) = recipe("github-actions", &server);
    let snapshot = support::probe(&config).await.expect("a look");
    assert_eq!(snapshot.cost.requests, 6, "{:?}", server.asked());
    assert!(finds_its_machines(&snapshot));
    // a run that is hidden or gone is not empty
    let doubts = snapshot.completeness.doubts();
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert!(doubts[0].contains("runs/3/jobs answered 404"), "{doubts:?}");

    let ids: Vec<&str> = snapshot.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["11", "12", "20", "21"]);
    assert_eq!(served(&whole, &snapshot), ["11", "12", "21"]);
    assert_eq!(job(&snapshot, "12").class, JobClass::Runnable);
    assert_eq!(job(&snapshot, "12").started_at, None);
    assert!(job(&snapshot, "11").started_at.is_some());
    assert!(matches!(&job(&snapshot, "21").class, JobClass::Blocked { by, .. } if by == "waiting"));
    assert_eq!(
        does(&snapshot),
        [
            ("linux-1795531234567-1-0", "busy with a job"),
            ("linux-1795531234567-1-1", "idle"),
            ("linux-1795531234567-1-2", "offline"),
        ]
    );
}
