//! Looks at a GitLab, good and bad. What cannot be seen is never a smaller number.

use std::time::Duration;

use fake_gitlab::{Access, Fault, FaultKind, JobKind, JobState, RateLimit, Scope};
use jiff::SignedDuration;
use model::{Cordon, ExecutorState, JobClass, Snapshot};
use ports::{EmitterError, EmitterErrorKind as Kind};
use serde_json::json;

mod support;
use support::{MANAGE, TOKEN, World};

fn runnable(snapshot: &Snapshot) -> usize {
    snapshot
        .jobs
        .iter()
        .filter(|job| job.class == JobClass::Runnable)
        .count()
}

fn running(snapshot: &Snapshot) -> usize {
    snapshot
        .jobs
        .iter()
        .filter(|job| matches!(job.class, JobClass::Running { .. }))
        .count()
}

/// The whole error chain, as it would be logged.
fn chain(error: &EmitterError) -> String {
    let mut text = error.to_string();
    let mut below: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    format!("{text} {error:?}")
}

async fn fails(world: &World, kind: Kind) -> String {
    let error = world.emitter().probe().await.expect_err("the look fails");
    assert_eq!(error.kind, kind, "{error}");
    let text = chain(&error);
    assert!(!text.contains(TOKEN) && !text.contains(MANAGE), "{text}");
    assert!(!text.contains("Whoops"), "a raw body: {text}");
    text
}

#[tokio::test]
async fn every_waiting_job_is_seen_with_its_tags_and_only_those() {
    let world = World::instance().await;
    for _ in 0..250 {
        world.push(&["linux"]);
    }
    let bridge = world.push(&["linux"]);
    world.lock().job_mut(bridge).unwrap().kind = JobKind::Bridge;
    for state in [
        JobState::Created,
        JobState::Manual,
        JobState::WaitingForResource,
    ] {
        let id = world.push(&["linux"]);
        world
            .lock()
            .set_waiting(id, state, "2026-09-01T10:00:00Z".parse().unwrap());
    }
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    assert_eq!((snapshot.jobs.len(), runnable(&snapshot)), (250, 250));
    let job = &snapshot.jobs[0];
    assert_eq!(
        (job.project.as_str(), job.requirement.labels.as_slice()),
        ("acme/app", &["linux".to_owned()][..])
    );
    assert_eq!(job.queued_at, Some("2026-09-01T10:00:00Z".parse().unwrap()));
    // three pages of jobs, and two short lists of runners
    assert_eq!(snapshot.cost.requests, 5);
    assert_eq!(
        u64::from(snapshot.cost.requests),
        world.lock().total_requests()
    );
    assert!(snapshot.cost.bytes > 10_000);
}

#[tokio::test]
async fn cannot_see_is_told_apart_from_nothing_queued() {
    let world = World::instance().await;
    let empty = world.emitter().probe().await.unwrap();
    assert!(empty.completeness.is_complete() && empty.jobs.is_empty());

    world.push(&["linux"]);
    let emitter = world.emitter();
    assert_eq!(runnable(&emitter.probe().await.unwrap()), 1);
    // the right is taken away while the process runs: not one job less, an error
    world.lock().revoke(world.admin);
    let error = emitter.probe().await.unwrap_err();
    assert_eq!(error.kind, Kind::Forbidden);
    assert!(error.message.contains("administrator"), "{error}");
}

#[tokio::test]
async fn a_bad_token_says_so() {
    let mut world = World::instance().await;
    world.set("token", json!("nonsense"));
    let text = fails(&world, Kind::Unauthorized).await;
    assert!(text.contains("POST /api/graphql answered 401"), "{text}");
    world.set("token", json!("${env:PARMANU_TEST_NO_SUCH_VARIABLE}"));
    let text = fails(&world, Kind::Config).await;
    assert!(text.contains("PARMANU_TEST_NO_SUCH_VARIABLE"), "{text}");
}

#[tokio::test]
async fn a_first_page_that_fails_is_an_error_of_the_right_kind() {
    let world = World::instance().await;
    world.push(&["linux"]);
    for (fault, kind) in [
        (FaultKind::Html(500), Kind::Unavailable),
        (FaultKind::Html(502), Kind::Unavailable),
        (FaultKind::Html(200), Kind::BadAnswer),
        (FaultKind::Html(404), Kind::NotFound),
        (FaultKind::CutBody, Kind::Unreachable),
        (FaultKind::LostAnswer, Kind::Unreachable),
        (FaultKind::Body("[]".to_owned()), Kind::BadAnswer),
        (FaultKind::Body("{}".to_owned()), Kind::BadAnswer),
        (
            FaultKind::Body(r#"{"data":{"jobs":null}}"#.to_owned()),
            Kind::BadAnswer,
        ),
        (
            FaultKind::Body(r#"{"errors":[{"message":"Timeout"}]}"#.to_owned()),
            Kind::BadAnswer,
        ),
        (
            FaultKind::Redirect(302, "https://elsewhere.test/".to_owned()),
            Kind::BadAnswer,
        ),
        (FaultKind::Padding(17 << 20), Kind::TooLarge),
    ] {
        world
            .lock()
            .inject(Fault::on("/api/graphql", 1, fault.clone()));
        let text = fails(&world, kind).await;
        assert!(world.lock().faults_spent(), "{fault:?}: {text}");
    }
    assert_eq!(runnable(&world.emitter().probe().await.unwrap()), 1);
}

#[tokio::test]
async fn a_later_page_that_fails_makes_the_look_partial() {
    let world = World::instance().await;
    for _ in 0..150 {
        world.push(&["linux"]);
    }
    for fault in [
        FaultKind::Html(503),
        FaultKind::CutBody,
        FaultKind::Body("{}".to_owned()),
    ] {
        world
            .lock()
            .inject(Fault::on("/api/graphql", 1, fault).after(1));
        let snapshot = world.emitter().probe().await.unwrap();
        assert_eq!(runnable(&snapshot), 100);
        assert!(snapshot.completeness.doubts()[0].starts_with("page 2 of the pending jobs"));
    }
}

#[tokio::test]
async fn runners_that_cannot_be_read_make_the_look_partial() {
    let world = World::instance().await;
    world.push(&["linux"]);
    world
        .lock()
        .inject(Fault::on("/api/graphql", 1, FaultKind::Html(500)).after(1));
    let snapshot = world.emitter().probe().await.unwrap();
    assert_eq!(runnable(&snapshot), 1);
    assert!(
        snapshot.completeness.doubts()[0].contains("runners"),
        "{:?}",
        snapshot.completeness
    );
}

#[tokio::test]
async fn a_throttled_emitter_sends_nothing_until_the_wait_is_over() {
    let world = World::instance().await;
    let emitter = world.emitter();
    world
        .lock()
        .inject(Fault::on("/api/graphql", 1, FaultKind::Throttled(30)));
    let wait = |rest| Kind::RateLimited {
        retry_after: Some(Duration::from_secs(rest)),
    };
    assert_eq!(emitter.probe().await.unwrap_err().kind, wait(30));
    world.clock.forward(Duration::from_secs(10));
    assert_eq!(emitter.probe().await.unwrap_err().kind, wait(20));
    assert_eq!(world.lock().total_requests(), 1);
    world.clock.forward(Duration::from_secs(20));
    assert!(emitter.probe().await.is_ok());
}

#[tokio::test]
async fn the_last_permitted_request_is_not_followed_by_one_too_many() {
    let world = World::instance().await;
    world.push(&["linux"]);
    world
        .lock()
        .set_rate_limit(Some(RateLimit::new(1, SignedDuration::from_secs(60))));
    let emitter = world.emitter();
    let snapshot = emitter.probe().await.unwrap();
    assert_eq!(runnable(&snapshot), 1);
    assert!(!snapshot.completeness.is_complete());
    assert_eq!(
        world.lock().total_requests(),
        1,
        "nothing was sent to be refused"
    );
    world.clock.forward(Duration::from_secs(60));
    world.lock().set_rate_limit(None);
    assert!(emitter.probe().await.unwrap().completeness.is_complete());
}

#[tokio::test]
async fn a_look_that_takes_too_long_ends() {
    let world = World::instance().await;
    let hour = Duration::from_secs(3600);
    world
        .lock()
        .inject(Fault::on("/api/graphql", 1, FaultKind::Delay(hour)));
    let emitter = world.emitter();
    let look = tokio::spawn(async move { emitter.probe().await });
    while world.lock().total_requests() == 0 {
        tokio::task::yield_now().await;
    }
    world.clock.forward(Duration::from_secs(20));
    assert_eq!(look.await.unwrap().unwrap_err().kind, Kind::TimedOut);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let mut world = World::instance().await;
    // a port that was free a moment ago, and nothing listens on it
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    world.set("url", json!(format!("http://127.0.0.1:{port}")));
    let text = fails(&world, Kind::Unreachable).await;
    assert!(text.contains("is the server up"), "{text}");
}

#[tokio::test]
async fn machines_are_known_by_their_mark_and_shown_as_they_are() {
    let world = World::instance().await;
    let (_, _, _) = world.machine(0).await;
    let (_, _, idle) = world.machine(1).await;
    let (_, _, busy) = world.machine(2).await;
    let (paused, _, _) = world.machine(3).await;
    world.ask(&idle);
    let job = world.push(&["linux"]);
    assert_eq!(world.ask(&busy), Some(job));
    world
        .control()
        .cordon(&paused, support::EPOCH)
        .await
        .unwrap();
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    let [new, idle, busy, paused] = snapshot.executors.as_slice() else {
        panic!("four runners")
    };
    assert_eq!(new.name, "linux-7-1-0");
    assert!(
        snapshot
            .executors
            .iter()
            .all(|executor| executor.fleet == Some("acme-ci".parse().unwrap()))
    );
    assert_eq!(new.labels, ["docker", "linux"]);
    assert_eq!(new.state, ExecutorState::NeverJoined);
    assert_eq!(idle.state, ExecutorState::Idle { since: None });
    let id = model::JobId::new(job.to_string());
    assert_eq!(busy.state, ExecutorState::Busy { jobs: vec![id] });
    assert_eq!(
        paused.cordon,
        Cordon::Ours {
            epoch: support::EPOCH
        }
    );
    assert_eq!((runnable(&snapshot), running(&snapshot)), (0, 1));
    assert_eq!(
        snapshot.jobs[0].requirement.labels,
        ["linux"],
        "the job's own tags"
    );
}

#[tokio::test]
async fn a_canceling_job_still_holds_its_runner_and_old_servers_do_not_know_the_word() {
    let world = World::instance().await;
    let (_, _, token) = world.machine(0).await;
    let job = world.push(&["linux"]);
    world.ask(&token);
    world
        .lock()
        .cancel_job(job, "2026-09-01T10:00:01Z".parse().unwrap());
    assert_eq!(running(&world.emitter().probe().await.unwrap()), 1);

    world.lock().set_without_canceling(true);
    world
        .lock()
        .finish_job(job, false, "2026-09-01T10:00:02Z".parse().unwrap());
    let next = world.push(&["linux"]);
    assert_eq!(world.ask(&token), Some(next));
    let emitter = world.emitter();
    for _ in 0..2 {
        let snapshot = emitter.probe().await.unwrap();
        assert!(
            snapshot.completeness.is_complete(),
            "{:?}",
            snapshot.completeness
        );
        assert_eq!(running(&snapshot), 1);
    }
}

#[tokio::test]
async fn many_busy_machines_are_counted_though_not_all_are_named() {
    let world = World::instance().await;
    let now = "2026-09-01T10:00:00Z".parse().unwrap();
    for index in 0..30 {
        let (_, runner, token) = world.machine(index).await;
        world.ask(&token);
        for _ in 0..2 {
            let job = world.push(&["linux"]);
            assert!(world.lock().start_job(runner, job, now));
        }
    }
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    assert_eq!(running(&snapshot), 60);
    assert!(
        snapshot
            .executors
            .iter()
            .all(|executor| executor.slots == 2)
    );
    let jobs = |executor: &model::Executor| match &executor.state {
        ExecutorState::Busy { jobs } => jobs.len(),
        _ => 0,
    };
    assert!(
        snapshot
            .executors
            .iter()
            .all(|executor| jobs(executor) == 2)
    );
    // one page of jobs, two lists of runners, twenty runners asked by name, and what will wait in their project
    assert_eq!(snapshot.cost.requests, 24);
}

#[tokio::test]
async fn a_project_is_read_without_the_administrator() {
    let world = World::project().await;
    let (_, _, token) = world.machine(0).await;
    let first = world.push(&["linux"]);
    assert_eq!(world.ask(&token), Some(first));
    for _ in 0..120 {
        world.push(&["linux"]);
    }
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    assert_eq!((runnable(&snapshot), running(&snapshot)), (120, 1));
    let id = model::JobId::new(first.to_string());
    assert_eq!(
        snapshot.executors[0].state,
        ExecutorState::Busy { jobs: vec![id] }
    );
    // two pages of jobs, two lists of runners, and what will wait in the project where a job runs
    assert_eq!(snapshot.cost.requests, 5);
}

#[tokio::test]
async fn one_hidden_project_makes_the_look_partial_and_all_of_them_an_error() {
    let mut world = World::project().await;
    world.lock().add_project("acme/hidden");
    world.push(&["linux"]);
    world.set("scope", json!({ "projects": ["acme/app", "acme/hidden"] }));
    let snapshot = world.emitter().probe().await.unwrap();
    assert_eq!(runnable(&snapshot), 1);
    assert!(snapshot.completeness.doubts()[0].contains("acme/hidden"));
    world.set("scope", json!({ "projects": ["acme/hidden"] }));
    fails(&world, Kind::NotFound).await;
}

#[tokio::test]
async fn a_guest_is_refused_and_a_reporter_sees_jobs_but_no_runners() {
    let mut world = World::project().await;
    world.push(&["linux"]);
    for (name, access) in [("guest", Access::Guest), ("reporter", Access::Reporter)] {
        let user = world.lock().add_user(name, false);
        let project = world.project;
        world.lock().grant(user, project, access);
        world.lock().add_token(user, name, &[Scope::ReadApi]);
    }
    world.set("token", json!("guest"));
    fails(&world, Kind::Forbidden).await;
    world.set("token", json!("reporter"));
    let snapshot = world.emitter().probe().await.unwrap();
    assert_eq!(runnable(&snapshot), 1);
    assert!(
        snapshot.completeness.doubts()[0].contains("Maintainer"),
        "{:?}",
        snapshot.completeness
    );
}

#[tokio::test]
async fn a_moved_project_is_followed_on_the_same_host_only() {
    let mut world = World::project().await;
    world.push(&["linux"]);
    let project = world.project;
    world.lock().project_mut(project).unwrap().old_path = Some("old/app".to_owned());
    world.set("scope", json!({ "projects": ["old/app"] }));
    let snapshot = world.emitter().probe().await.unwrap();
    assert_eq!(runnable(&snapshot), 1);
    assert!(
        snapshot.completeness.doubts()[0].contains("has moved"),
        "{:?}",
        snapshot.completeness
    );
    let away = FaultKind::Redirect(301, "http://elsewhere.test/api/v4/x".to_owned());
    world.lock().inject(Fault::on("/api/v4/projects", 1, away));
    let text = fails(&world, Kind::BadAnswer).await;
    assert!(text.contains("another host"), "{text}");
    let circle = FaultKind::Redirect(301, "/api/v4/projects/1/jobs".to_owned());
    world
        .lock()
        .inject(Fault::on("/api/v4/projects", 9, circle));
    fails(&world, Kind::BadAnswer).await;
}

#[tokio::test]
async fn a_server_that_repeats_a_page_is_not_asked_for_ever() {
    let world = World::instance().await;
    let page = json!({ "data": {
        "any": { "nodes": [{ "id": "gid://gitlab/Ci::Build/1" }] },
        "jobs": { "nodes": [], "pageInfo": { "hasNextPage": true, "endCursor": "again" } },
    } });
    world.lock().inject(Fault::on(
        "/api/graphql",
        100,
        FaultKind::Body(page.to_string()),
    ));
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(snapshot.completeness.doubts()[0].contains("same page"));
    assert!(snapshot.cost.requests < 10);
}

#[tokio::test]
async fn protected_refs_are_looked_up_once_and_only_for_pools_that_ask() {
    for mut world in [World::instance().await, World::project().await] {
        world.push(&["linux"]);
        let topic = world.push(&["linux"]);
        world.lock().job_mut(topic).unwrap().ref_name = "topic".to_owned();
        let protected = |snapshot: &Snapshot| {
            snapshot
                .jobs
                .iter()
                .map(|job| job.requirement.protected)
                .collect::<Vec<_>>()
        };
        let unasked = world.emitter().probe().await.unwrap();
        assert_eq!(protected(&unasked), [None, None]);
        world.pool(json!([{ "tags": ["linux"], "protected": true }]));
        let emitter = world.emitter();
        let first = emitter.probe().await.unwrap();
        assert_eq!(protected(&first), [Some(true), Some(false)]);
        let second = emitter.probe().await.unwrap();
        assert_eq!(protected(&second), [Some(true), Some(false)]);
        assert_eq!(first.cost.requests, second.cost.requests + 2);
        // rules that cannot be read leave the question open, and the job in
        world.clock.forward(Duration::from_secs(301));
        world.lock().inject(Fault::on(
            "/api/v4/projects/acme%2Fapp/protected",
            1,
            FaultKind::Html(500),
        ));
        let open = emitter.probe().await.unwrap();
        assert_eq!(protected(&open), [None, None]);
    }
}

#[tokio::test]
async fn a_runner_that_is_busy_with_jobs_nobody_shows_offers_no_slot() {
    let world = World::project().await;
    let (_, runner, token) = world.machine(0).await;
    world.ask(&token);
    // a runner of an operator, without our mark, busy with two jobs of a project out of scope
    let hidden = world.lock().add_project("acme/hidden");
    let now = "2026-09-01T10:00:00Z".parse().unwrap();
    world
        .lock()
        .runner_mut(runner)
        .unwrap()
        .tags
        .retain(|tag| !tag.starts_with("parmanu"));
    for _ in 0..2 {
        let job = world
            .lock()
            .push_job(hidden, "build", &["linux"], "main", now);
        assert!(world.lock().start_job(runner, job, now));
    }
    let snapshot = world.emitter().probe().await.unwrap();
    let [runner] = snapshot.executors.as_slice() else {
        panic!("one runner")
    };
    assert_eq!((runner.fleet.as_ref(), runner.slots), (None, 1));
    assert_eq!(runner.state, ExecutorState::Busy { jobs: vec![] });
}

#[tokio::test]
async fn a_promised_job_keeps_its_machine_busy_and_wants_no_other() {
    for world in [World::instance().await, World::project().await] {
        let (_, runner, token) = world.machine(0).await;
        world.ask(&token);
        let job = world.push(&["linux"]);
        assert!(world.lock().promise_job(runner, job));
        let snapshot = world.emitter().probe().await.unwrap();
        assert!(
            snapshot.completeness.is_complete(),
            "{:?}",
            snapshot.completeness
        );
        assert_eq!((runnable(&snapshot), running(&snapshot)), (0, 1));
        let id = model::JobId::new(job.to_string());
        assert_eq!(
            snapshot.executors[0].state,
            ExecutorState::Busy { jobs: vec![id] }
        );
    }
}

/// A list for each set of tags would cost a request each: a hundred pools looked at every ten seconds would use up GitLab's
/// limit, be partial at every look, and never shrink.
#[tokio::test]
async fn many_pools_cost_no_more_requests_than_all_runners_do() {
    let mut world = World::instance().await;
    let sets: Vec<_> = (0..100)
        .map(|i| json!({ "tags": [format!("team-{i}")] }))
        .collect();
    world.pool(json!(sets));
    let (ours, _, _) = world.machine(0).await;
    let snapshot = world.emitter().probe().await.unwrap();
    assert!(
        snapshot.completeness.is_complete(),
        "{:?}",
        snapshot.completeness
    );
    assert!(
        snapshot
            .executors
            .iter()
            .any(|executor| executor.id == ours)
    );
    assert!(snapshot.cost.requests < 10, "{}", snapshot.cost.requests);
}
