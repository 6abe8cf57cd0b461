//! The control verbs. What is not certain is busy, and no build dies.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use fake_gitlab::{Access, Fault, FaultKind, JobId, RunnerType, Scope};
use model::{Cordon, Epoch, ExecutorId, Reading, Work};
use ports::{EmitterErrorKind as Kind, ExecutorControl};
use serde_json::json;

mod support;
use support::{EPOCH, MANAGE, TOKEN, World, register};

async fn read(control: &dyn ExecutorControl, executor: &ExecutorId) -> Reading {
    control.read(executor).await.unwrap()
}

fn idle(epoch: Epoch) -> Reading {
    Reading {
        cordon: Cordon::Ours { epoch },
        work: Work::None,
    }
}

#[tokio::test]
async fn a_runner_is_made_for_one_machine() {
    let world = World::instance().await;
    let made = world.control().register(&register(3)).await.unwrap();
    let token = support::secret(&made);
    assert!(token.starts_with("glrt-"));
    assert!(!format!("{made:?}").contains(&token));
    assert!(
        matches!(&made.credentials["url"], ports::Credential::Plain(url) if *url == world.server.url())
    );
    let gitlab = world.lock();
    let runner = gitlab.runners().next().unwrap();
    assert_eq!(runner.id.to_string(), made.executor.as_str());
    assert_eq!(runner.description, "linux-7-1-3");
    assert_eq!(runner.tags, ["docker", "linux", "parmanu-fleet:acme-ci"]);
    assert_eq!(
        (runner.kind, runner.run_untagged, runner.ref_protected),
        (RunnerType::Instance, false, false)
    );
}

#[tokio::test]
async fn the_pools_entries_become_the_runners_rules() {
    let mut world = World::project().await;
    world.pool(json!([{ "tags": ["linux"], "protected": true }, { "run_untagged": true, "protected": true }]));
    world.control().register(&register(0)).await.unwrap();
    let gitlab = world.lock();
    let runner = gitlab.runners().next().unwrap();
    assert_eq!(
        (runner.kind, runner.projects.as_slice()),
        (RunnerType::Project, &[world.project][..])
    );
    assert!(runner.run_untagged && runner.ref_protected && runner.locked);
}

#[tokio::test]
async fn a_missing_right_to_register_is_said() {
    let mut world = World::instance().await;
    world.set("manage_token", json!(TOKEN));
    let error = world.control().register(&register(0)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Forbidden);
    assert!(
        error
            .to_string()
            .contains("POST /api/v4/user/runners answered 403"),
        "{error}"
    );
    assert!(!error.to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_cordon_is_marked_repeatable_and_lifted_only_in_its_own_epoch() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    let control = world.control();
    for _ in 0..2 {
        control.cordon(&executor, EPOCH).await.unwrap();
        assert!(world.lock().runner(runner).unwrap().paused);
        assert_eq!(read(&*control, &executor).await, idle(EPOCH));
    }
    // a newer epoch leaves the older mark: else it could lift what is one-way
    control.cordon(&executor, Epoch(8)).await.unwrap();
    assert_eq!(read(&*control, &executor).await, idle(EPOCH));
    assert_eq!(
        control
            .uncordon(&executor, Epoch(8))
            .await
            .unwrap_err()
            .kind,
        Kind::Conflict
    );
    for _ in 0..2 {
        control.uncordon(&executor, EPOCH).await.unwrap();
        assert!(!world.lock().runner(runner).unwrap().paused);
    }
    assert_eq!(read(&*control, &executor).await.cordon, Cordon::None);
}

#[tokio::test]
async fn an_operators_pause_and_note_are_left_alone() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    let control = world.control();
    world.lock().runner_mut(runner).unwrap().maintenance_note = Some("ask ops".to_owned());
    control.cordon(&executor, EPOCH).await.unwrap();
    control.uncordon(&executor, EPOCH).await.unwrap();
    assert_eq!(
        world
            .lock()
            .runner(runner)
            .unwrap()
            .maintenance_note
            .as_deref(),
        Some("ask ops")
    );
    world.lock().runner_mut(runner).unwrap().paused = true;
    assert_eq!(read(&*control, &executor).await.cordon, Cordon::Foreign);
    assert_eq!(
        control.cordon(&executor, EPOCH).await.unwrap_err().kind,
        Kind::Conflict
    );
    assert_eq!(
        control.uncordon(&executor, EPOCH).await.unwrap_err().kind,
        Kind::Conflict
    );
}

#[tokio::test]
async fn runners_without_our_mark_are_never_touched() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    world.lock().runner_mut(runner).unwrap().tags = vec!["linux".to_owned()];
    let control = world.control();
    assert_eq!(
        control.cordon(&executor, EPOCH).await.unwrap_err().kind,
        Kind::Conflict
    );
    assert_eq!(
        control.remove(&executor).await.unwrap_err().kind,
        Kind::Conflict
    );
    assert!(matches!(
        read(&*control, &executor).await.work,
        Work::Unknown { .. }
    ));
    assert!(world.lock().runner(runner).is_some());
}

#[tokio::test]
async fn running_and_canceling_jobs_are_work() {
    let world = World::instance().await;
    let (executor, _, token) = world.machine(0).await;
    let job = world.push(&["linux"]);
    world.ask(&token);
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    assert_eq!(
        read(&*control, &executor).await.work,
        Work::Jobs { count: 1 }
    );
    let now = "2026-09-01T10:00:01Z".parse().unwrap();
    world.lock().cancel_job(job, now);
    assert_eq!(
        read(&*control, &executor).await.work,
        Work::Jobs { count: 1 }
    );
    world.lock().finish_job(job, false, now);
    assert_eq!(read(&*control, &executor).await, idle(EPOCH));
}

#[tokio::test]
async fn a_job_that_the_runner_has_not_accepted_yet_is_work() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    let job = world.push(&["linux"]);
    assert!(world.lock().promise_job(runner, job));
    assert_eq!(
        read(&*control, &executor).await.work,
        Work::Jobs { count: 1 }
    );
}

#[tokio::test]
async fn a_job_handed_out_after_the_cordon_is_found_by_the_second_read() {
    let world = World::instance().await;
    let (executor, runner, token) = world.machine(0).await;
    let control = world.control();
    let now = "2026-09-01T10:00:00Z".parse().unwrap();
    let begun = world.lock().begin_job_request(&token, "s_1", now).unwrap();
    control.cordon(&executor, EPOCH).await.unwrap();
    assert_eq!(
        read(&*control, &executor).await,
        idle(EPOCH),
        "the first read is too early"
    );
    let job = world.push(&["linux"]);
    assert_eq!(world.lock().finish_job_request(&begun, now), Some(job));
    assert_eq!(
        read(&*control, &executor).await.work,
        Work::Jobs { count: 1 }
    );
    // so the machine stays until its build is done, and only then goes
    world.lock().finish_job(job, true, now);
    assert_eq!(read(&*control, &executor).await, idle(EPOCH));
    world.lock().lose_machine(runner, now);
    control.remove(&executor).await.unwrap();
    world.nobody_was_killed();
    assert_eq!(world.lock().job(JobId(job.0)).unwrap().runs.len(), 1);
}

#[tokio::test]
async fn doubt_is_unknown_and_never_idle() {
    let world = World::instance().await;
    let (executor, _, _) = world.machine(0).await;
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    for path in ["/api/v4/runners/1", "/api/v4/runners/1/jobs"] {
        for kind in [
            FaultKind::Html(500),
            FaultKind::Html(404),
            FaultKind::Html(200),
            FaultKind::CutBody,
            FaultKind::LostAnswer,
            FaultKind::Body("{}".to_owned()),
            FaultKind::Body("null".to_owned()),
            FaultKind::Padding(17 << 20),
            FaultKind::Redirect(302, "https://elsewhere.test/".to_owned()),
        ] {
            world.lock().inject(Fault::on(path, 1, kind.clone()));
            let reading = read(&*control, &executor).await;
            assert!(
                matches!(reading.work, Work::Unknown { .. }),
                "{path} {kind:?}: {reading:?}"
            );
            assert!(!format!("{reading:?}").contains(MANAGE));
            world.lock().clear_faults();
        }
    }
    for gone in ["99", "not-a-number", "1/jobs"] {
        let reading = read(&*control, &ExecutorId::new(gone)).await;
        assert!(
            matches!(reading.work, Work::Unknown { .. }),
            "{gone}: {reading:?}"
        );
    }
    world
        .lock()
        .inject(Fault::on("/api/v4/runners", 1, FaultKind::Throttled(5)));
    assert!(matches!(
        control.read(&executor).await.unwrap_err().kind,
        Kind::RateLimited { .. }
    ));
}

#[tokio::test]
async fn a_token_that_may_not_see_the_jobs_never_calls_a_runner_idle() {
    let mut world = World::instance().await;
    let (executor, _, token) = world.machine(0).await;
    let hidden = world.lock().add_project("acme/hidden");
    let now = "2026-09-01T10:00:00Z".parse().unwrap();
    world
        .lock()
        .push_job(hidden, "build", &["linux"], "main", now);
    world.ask(&token);
    // may read the one project, and the runner runs a job of the other
    let reader = world.lock().add_user("reader", false);
    let project = world.project;
    world.lock().grant(reader, project, Access::Reporter);
    world.lock().add_token(reader, "reader", &[Scope::Api]);
    world.set("manage_token", json!("reader"));
    let reading = read(&*world.control(), &executor).await;
    assert!(matches!(reading.work, Work::Unknown { .. }), "{reading:?}");
}

#[tokio::test]
async fn an_old_server_without_canceling_can_still_be_read() {
    let world = World::instance().await;
    let (executor, _, _) = world.machine(0).await;
    world.lock().set_without_canceling(true);
    let control = world.control();
    control.cordon(&executor, EPOCH).await.unwrap();
    for _ in 0..2 {
        assert_eq!(read(&*control, &executor).await, idle(EPOCH));
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_may_have_happened_and_can_be_repeated() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    let control = world.control();
    let lost = |method| Fault::on("/api/v4", 1, FaultKind::LostAnswer).method(method);
    world.lock().inject(lost("PUT"));
    assert_eq!(
        control.cordon(&executor, EPOCH).await.unwrap_err().kind,
        Kind::TimedOut
    );
    assert!(world.lock().runner(runner).unwrap().paused);
    control.cordon(&executor, EPOCH).await.unwrap();
    world.lock().inject(lost("DELETE"));
    assert_eq!(
        control.remove(&executor).await.unwrap_err().kind,
        Kind::TimedOut
    );
    control.remove(&executor).await.unwrap();
    world.lock().inject(lost("POST"));
    assert_eq!(
        control.register(&register(1)).await.unwrap_err().kind,
        Kind::TimedOut
    );
    let gitlab = world.lock();
    let ghost = gitlab.runners().next().unwrap();
    assert_eq!(
        ghost.description, "linux-7-1-1",
        "found by its name, and removed as a ghost"
    );
}

#[tokio::test]
async fn removing_twice_is_removing_once() {
    let world = World::instance().await;
    let (executor, runner, _) = world.machine(0).await;
    let control = world.control();
    control.remove(&executor).await.unwrap();
    assert!(world.lock().runner(runner).is_none());
    control.remove(&executor).await.unwrap();
}

#[tokio::test]
async fn a_pause_that_the_server_does_not_confirm_is_no_cordon() {
    let world = World::instance().await;
    let (executor, _, _) = world.machine(0).await;
    let answer = FaultKind::Body(json!({ "id": 1, "paused": false }).to_string());
    world
        .lock()
        .inject(Fault::on("/api/v4/runners/1", 1, answer).method("PUT"));
    let error = world.control().cordon(&executor, EPOCH).await.unwrap_err();
    assert_eq!(error.kind, Kind::BadAnswer);
}
