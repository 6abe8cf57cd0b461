//! What one look does with what a server may answer: pages, second requests, odd items, limits.

mod support;

use model::{Cordon, ExecutorState, JobClass, Snapshot};
use ports::EmitterErrorKind as Kind;
use serde_json::{Value, json};
use support::{Asked, Reply, Server};

/// A look at a server with these keys below a common part.
async fn look(server: &Server, keys: &str) -> Result<Snapshot, ports::EmitterError> {
    support::probe(&support::config(keys, server)).await
}

/// One list of jobs with `id` and `state`.
const JOBS: &str = "jobs: [{ from: jobs, items: list, id: id, state: state, states: { ready: runnable, over: done, on: running, held: blocked, never: unrunnable } }]";

fn jobs_at(request: &str) -> String {
    format!("requests: {{ jobs: {{ path: /jobs, {request} }} }}\n{JOBS}")
}

fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.jobs.iter().map(|job| job.id.as_str()).collect()
}

/// Answers page after page of two jobs each, and says where the next one is in every way there is.
fn paged(pages: usize) -> impl Fn(&Asked) -> Reply {
    move |asked| {
        let page: usize = asked.parameter("page").parse().unwrap_or(1);
        let list: Vec<Value> = (0..2)
            .map(|n| json!({ "id": page * 10 + n, "state": "ready" }))
            .collect();
        let list = if page > pages { vec![] } else { list };
        let next = (page < pages).then(|| format!("/api/jobs?page={}", page + 1));
        let cursor = (page < pages).then(|| (page + 1).to_string());
        let link = next
            .clone()
            .map(|next| ("link", format!("<{next}>; rel=\"next\"")));
        Reply {
            headers: link.into_iter().collect(),
            ..Reply::ok(json!({
                "list": list, "total": pages * 2, "next": next, "cursor": cursor, "more": page < pages,
            }))
        }
    }
}

#[tokio::test]
async fn pages_are_walked_to_their_end_in_each_way() {
    for (pages, requests) in [
        ("link: true", 3),
        ("next: next, more: more", 3),
        ("cursor: { parameter: page, value: cursor }, more: more", 3),
        ("number: { parameter: page, items: list }", 4),
        ("number: { parameter: page, items: list }, more: more", 3),
    ] {
        let server = Server::start(paged(3)).await;
        let keys = jobs_at(&format!(
            "pages: {{ {pages} }}, complete: [{{ items: list, total: total }}]"
        ));
        let snapshot = look(&server, &keys).await.unwrap();
        assert_eq!(
            ids(&snapshot),
            ["10", "11", "20", "21", "30", "31"],
            "{pages}"
        );
        assert_eq!(snapshot.completeness.doubts(), &[] as &[String], "{pages}");
        assert_eq!(snapshot.cost.requests, requests, "{pages}");
    }
}

#[tokio::test]
async fn a_list_that_is_cut_is_never_taken_for_a_short_one() {
    for (request, words) in [
        ("pages: { link: true, most: 2 }", "more than 2 pages"),
        (
            "pages: { next: nowhere, more: more }",
            "says that there is more, and not where",
        ),
        (
            "pages: { next: next, more: nowhere }",
            "does not tell whether there is more",
        ),
        ("pages: { next: list }", "does not tell its next page"),
        (
            "pages: { number: { parameter: nothing, items: list } }",
            "gave the same page again",
        ),
        (
            "pages: { number: { parameter: page, items: nowhere } }",
            "has no list to count",
        ),
        (
            "complete: [{ items: list, total: total }]",
            "has 2 items and `total` says 6",
        ),
        (
            "complete: [{ items: list, total: nowhere }]",
            "gives nothing",
        ),
        (
            "complete: [{ items: nowhere, total: total }]",
            "`complete.items`",
        ),
    ] {
        let server = Server::start(paged(3)).await;
        let snapshot = look(&server, &jobs_at(request)).await.unwrap();
        let doubts = snapshot.completeness.doubts().join("; ");
        assert!(doubts.contains(words), "{request}: {doubts}");
        assert!(
            !snapshot.jobs.is_empty(),
            "what was seen is kept: {request}"
        );
    }
}

#[tokio::test]
async fn the_token_goes_to_no_other_server() {
    for elsewhere in [
        "http://other.example/api/jobs",
        "//other.example/x",
        "ftp://127.0.0.1/x",
    ] {
        let server =
            Server::start(move |_| Reply::ok(json!({ "list": [], "next": elsewhere }))).await;
        let snapshot = look(&server, &jobs_at("pages: { next: next }"))
            .await
            .unwrap();
        let doubts = snapshot.completeness.doubts().join("; ");
        assert!(doubts.contains("points to another server"), "{doubts}");
    }
}

#[tokio::test]
async fn a_first_page_that_fails_is_no_look() {
    for (status, kind) in [
        (401, Kind::Unauthorized),
        (403, Kind::Forbidden),
        (404, Kind::NotFound),
        (500, Kind::Unavailable),
    ] {
        let server = Server::start(move |_| Reply::status(status)).await;
        let failed = look(&server, &jobs_at("")).await.unwrap_err();
        assert_eq!(failed.kind, kind);
    }
    let server = Server::start(|_| Reply::ok(json!({ "list": [], "admin": false }))).await;
    let failed = look(&server, &jobs_at("expect: admin")).await.unwrap_err();
    assert_eq!(failed.kind, Kind::Forbidden);
    assert!(
        failed.message.contains("may not see everything"),
        "{failed}"
    );
}

#[tokio::test]
async fn nothing_under_the_name_of_a_list_is_not_an_empty_list() {
    for answer in [
        json!({}),
        json!({ "list": null }),
        json!({ "list": "none" }),
        json!([]),
        json!(null),
    ] {
        let server = Server::start(move |_| Reply::ok(answer.clone())).await;
        let snapshot = look(&server, &jobs_at("")).await.unwrap();
        assert!(!snapshot.completeness.is_complete(), "{snapshot:?}");
    }
}

#[tokio::test]
async fn no_item_is_lost_without_a_word() {
    let rows = json!([
        { "id": 1, "state": "ready" },
        { "id": 2, "state": "over" },
        { "id": 3, "state": "dreaming" },
        { "id": 4, "state": null },
        { "id": null, "state": "ready" },
        { "id": [5], "state": "ready" },
        { "id": 6, "state": "on" },
        { "id": 1, "state": "ready" },
        { "id": 7, "state": "ready" },
        { "id": 7, "state": "ready", "other": true },
        "no object",
    ]);
    let server = Server::start(move |_| Reply::ok(json!({ "list": rows }))).await;
    let snapshot = look(&server, &jobs_at("")).await.unwrap();
    assert_eq!(ids(&snapshot), ["1", "3", "4", "6", "7"]);
    for job in &snapshot.jobs {
        let fits = match job.id.as_str() {
            "1" | "7" => job.class == JobClass::Runnable,
            "6" => job.class == JobClass::Running { executor: None },
            // a word that nobody explained starts no machine
            _ => matches!(job.class, JobClass::Blocked { .. }),
        };
        assert!(fits, "{job:?}");
    }
    assert_eq!(
        snapshot.completeness.doubts(),
        [
            "jobs[0]: `id` gives array where a text is expected",
            "jobs[0]: an item has no id (3 times)",
            "jobs[0]: an item has no state",
            "jobs[0]: the state `dreaming` is not in `states`",
            "jobs[0]: two different items have the same id",
        ]
    );
}

#[tokio::test]
async fn no_doubt_repeats_the_secret() {
    let row = json!({ "id": 1, "state": support::TOKEN });
    let server = Server::start(move |_| Reply::ok(json!({ "list": [row] }))).await;
    let keys = format!("token: {{ secret: {} }}\n{}", support::TOKEN, jobs_at(""));
    let snapshot = look(&server, &keys).await.unwrap();
    let doubts = snapshot.completeness.doubts();
    assert!(
        !doubts.is_empty() && !doubts.join(";").contains(support::TOKEN),
        "{doubts:?}"
    );
}

const SECOND: &str = r"
requests:
  runs: { path: /runs }
  jobs:
    for_each: { of: [runs], items: list, with: { run: id, kind: kind }, most: 3 }
    path: /runs/{run}/jobs
    query: { kind: '{kind}' }
jobs: [{ from: jobs, items: list, id: id, is: runnable }]
";

#[tokio::test]
async fn second_requests_are_bounded_and_stay_in_their_place() {
    let runs = ["a", "b/../../admin", "a", "..", "", "c", "d"];
    let rows: Vec<Value> = runs
        .iter()
        .map(|id| json!({ "id": id, "kind": "x&y=z" }))
        .collect();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/api/runs" => Reply::ok(json!({ "list": rows })),
        path => Reply::ok(json!({ "list": [{ "id": path }] })),
    })
    .await;
    let snapshot = look(&server, SECOND).await.unwrap();
    let mut asked = server.asked();
    asked.sort();
    assert_eq!(
        asked,
        [
            "/runs",
            "/runs/a/jobs?kind=x&y=z",
            "/runs/b%2F..%2F..%2Fadmin/jobs?kind=x&y=z",
            "/runs/c/jobs?kind=x&y=z",
        ]
    );
    assert_eq!(snapshot.jobs.len(), 3);
    assert_eq!(
        snapshot.completeness.doubts(),
        [
            "requests.jobs.for_each.with: `id` gives nothing",
            "requests.jobs.for_each.with: gives a path that leads elsewhere",
            "requests.jobs: 1 items were not asked for, since `most` is 3",
        ]
    );
}

#[tokio::test]
async fn a_second_request_that_fails_hides_its_jobs_and_no_others() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/api/runs" => {
            Reply::ok(json!({ "list": [{ "id": 1, "kind": "x" }, { "id": 2, "kind": "x" }] }))
        }
        "/api/runs/2/jobs" => Reply::status(404),
        _ => Reply::ok(json!({ "list": [{ "id": 10 }] })),
    })
    .await;
    let snapshot = look(&server, SECOND).await.unwrap();
    assert_eq!(ids(&snapshot), ["10"]);
    let doubts = snapshot.completeness.doubts();
    assert!(
        doubts.len() == 1 && doubts[0].contains("answered 404"),
        "{doubts:?}"
    );
}

#[tokio::test]
async fn a_probe_has_a_budget_of_requests() {
    let server = Server::start(paged(10)).await;
    let keys = format!("most_requests: 3\n{}", jobs_at("pages: { link: true }"));
    let snapshot = look(&server, &keys).await.unwrap();
    assert_eq!(snapshot.cost.requests, 3);
    let doubts = snapshot.completeness.doubts().join("; ");
    assert!(doubts.contains("the budget of 3 requests"), "{doubts}");
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_kept() {
    let server = Server::start(|_| Reply {
        headers: vec![("retry-after", "30".to_owned())],
        ..Reply::status(429)
    })
    .await;
    let emitter = support::emitter(&support::config(&jobs_at(""), &server));
    for _ in 0..3 {
        let kind = emitter.probe().await.unwrap_err().kind;
        assert!(
            matches!(
                kind,
                Kind::RateLimited {
                    retry_after: Some(_)
                }
            ),
            "{kind:?}"
        );
    }
    assert_eq!(server.asked().len(), 1);
}

const COUNTS: &str = r"
requests: { metrics: { path: /metrics } }
jobs: [{ from: metrics, items: queues, id: key, is: runnable, count: value, labels: key }]
";

#[tokio::test]
async fn counts_become_jobs_and_absurd_ones_are_cut() {
    let server = Server::start(|_| Reply::ok(json!({ "queues": { "gpu": 2, "cpu": 0, "odd": -1, "half": 0.5, "null": null, "all": 9_000_000_000_u64 } }))).await;
    let snapshot = look(&server, COUNTS).await.unwrap();
    assert_eq!(snapshot.jobs.len(), 100_000);
    let doubts = snapshot.completeness.doubts().join("; ");
    for words in [
        "9000000000 jobs, of which",
        "does not say how many",
        "below zero",
        "not whole",
    ] {
        assert!(doubts.contains(words), "{doubts}");
    }
    let server = Server::start(|_| Reply::ok(json!({ "queues": { "gpu": 2, "cpu": 0 } }))).await;
    let snapshot = look(&server, COUNTS).await.unwrap();
    assert_eq!(ids(&snapshot), ["gpu#1", "gpu#2"]);
    assert_eq!(snapshot.jobs[0].requirement.labels, ["gpu"]);
    assert!(snapshot.completeness.is_complete());
}

const EXECUTORS: &str = r"
requests: { jobs: { path: /jobs }, hosts: { path: /hosts } }
jobs: [{ from: jobs, id: id, is: running, executor: host }]
executors:
  - from: hosts
    id: id
    name: name
    slots: slots
    paused: paused
    busy_from_jobs: true
    last_contact: heard
    memory_free: free
    load: load
";

#[tokio::test]
async fn executors_are_seen_with_their_names_and_reports() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/api/jobs" => Reply::ok(json!([{ "id": 1, "host": 7 }])),
        _ => Reply::ok(json!([
            { "id": 7, "name": "linux-1-1-0", "slots": 2, "paused": false, "heard": support::NOW, "free": 1024, "load": 0.5 },
            { "id": 8, "name": "linux-1-1-1", "slots": 0, "paused": "perhaps", "heard": "whenever" },
            { "id": 9, "heard": support::NOW, "slots": 1, "paused": true },
            { "name": "nobody", "slots": 1, "paused": false },
        ])),
    })
    .await;
    let snapshot = look(&server, EXECUTORS).await.unwrap();
    let [busy, odd, idle] = snapshot.executors.as_slice() else {
        panic!("{snapshot:?}");
    };
    assert_eq!(
        (busy.name.as_str(), busy.slots, busy.cordon),
        ("linux-1-1-0", 2, Cordon::None)
    );
    assert_eq!(busy.fleet, None);
    assert!(matches!(&busy.state, ExecutorState::Busy { jobs } if jobs.len() == 1));
    let health = busy.health.unwrap();
    assert_eq!(
        (health.memory_free, health.load_milli),
        (Some(1024), Some(500))
    );
    // what cannot be read is busy, and what may be somebody's pause is one
    assert!(
        matches!(odd.state, ExecutorState::Unknown { .. }),
        "{odd:?}"
    );
    assert_eq!(
        (odd.slots, odd.cordon, odd.health),
        (1, Cordon::Foreign, None)
    );
    assert_eq!((idle.name.as_str(), idle.cordon), ("9", Cordon::Foreign));
    assert!(matches!(idle.state, ExecutorState::Idle { .. }));
    let doubts = snapshot.completeness.doubts().join("; ");
    assert!(
        doubts.contains("executors[0]: an item has no id"),
        "{doubts}"
    );
}

#[tokio::test]
async fn nobody_is_idle_for_want_of_a_job_while_jobs_are_missing() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/api/jobs" => Reply::ok(json!([{ "host": 7 }])),
        _ => Reply::ok(json!([{ "id": 7, "slots": 1, "paused": false, "heard": support::NOW }])),
    })
    .await;
    let snapshot = look(&server, EXECUTORS).await.unwrap();
    assert!(
        matches!(snapshot.executors[0].state, ExecutorState::Unknown { .. }),
        "{snapshot:?}"
    );
}

#[tokio::test]
async fn executors_that_cannot_be_read_leave_the_jobs() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/api/jobs" => Reply::ok(json!([{ "id": 1, "host": 7 }])),
        _ => Reply::status(503),
    })
    .await;
    let snapshot = look(&server, EXECUTORS).await.unwrap();
    assert_eq!((snapshot.jobs.len(), snapshot.executors.len()), (1, 0));
    assert!(!snapshot.completeness.is_complete());
}

#[tokio::test]
async fn a_login_is_sent_as_such_and_to_its_own_server_only() {
    let keys = r"
login: { user: parmanu, password: never-print-me }
requests: { jobs: { path: /jobs }, hosts: { url: set below, path: /hosts } }
jobs: [{ from: jobs, id: id, is: running }]
executors: [{ from: hosts, id: id, state: state, states: { a: idle } }]
";
    let server = Server::start(|asked| {
        let expected = match asked.path.as_str() {
            "/api/jobs" => "Basic cGFybWFudTpuZXZlci1wcmludC1tZQ==",
            _ => "",
        };
        let right = asked.header("authorization") == expected;
        if right {
            Reply::ok(json!([]))
        } else {
            Reply::status(401)
        }
    })
    .await;
    let mut config = support::config(keys, &server);
    config["requests"]["hosts"]["url"] = server.url.replace("/api", "/rest").into();
    let snapshot = support::probe(&config).await.unwrap();
    assert!(snapshot.completeness.is_complete(), "{snapshot:?}");
}

#[tokio::test]
async fn a_machine_is_known_by_its_name_and_the_label_of_its_fleet() {
    let keys = r"
requests: { jobs: { path: /jobs }, hosts: { path: /hosts } }
jobs: [{ from: jobs, id: id, is: runnable }]
executors: [{ from: hosts, id: name, labels: labels, state: state, states: { idle: idle } }]
";
    for (name, labels, fleet, doubts) in [
        (
            "linux-1-1-0",
            json!(["a", "parmanu-fleet=acme-ci"]),
            Some("acme-ci"),
            0,
        ),
        (
            "linux-1-1-0",
            json!(["parmanu-fleet:other", "a"]),
            Some("other"),
            0,
        ),
        ("linux-1-1-0", json!(["a"]), None, 1),
        (
            "linux-1-1-0",
            json!(["a", "parmanu-fleet=NOT A FLEET"]),
            None,
            1,
        ),
        ("mac-1-1-0", json!(["a"]), None, 0),
        ("big-box", json!(["a"]), None, 0),
    ] {
        let row = json!({ "name": name, "labels": labels, "state": "idle" });
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/api/hosts" => Reply::ok(json!([row])),
            _ => Reply::ok(json!([])),
        })
        .await;
        let snapshot = look(&server, keys).await.unwrap();
        let executor = &snapshot.executors[0];
        assert_eq!(
            executor.fleet,
            fleet.map(|fleet| fleet.parse().unwrap()),
            "{labels}"
        );
        assert_eq!(
            snapshot.completeness.doubts().len(),
            doubts,
            "{labels}: {snapshot:?}"
        );
        assert!(executor.labels.contains(&"a".to_owned()), "{executor:?}");
    }
}
