//! Looks at groups: their subgroups, what is hidden in them, and that a large one is not read through
//! at every probe.

use std::time::Duration;

use fake_gitlab::{Access, Fault, FaultKind, ProjectId, RunnerType, Scope};
use model::{JobClass, Snapshot};
use ports::EmitterErrorKind as Kind;
use serde_json::json;

mod support;
use support::World;

fn ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.jobs.iter().map(|job| job.id.to_string()).collect()
}

#[track_caller]
fn whole(snapshot: &Snapshot) {
    let completeness = &snapshot.completeness;
    assert!(completeness.is_complete(), "{completeness:?}");
}

#[track_caller]
fn doubted(snapshot: &Snapshot, words: &str) {
    let doubts = snapshot.completeness.doubts();
    assert!(
        doubts.iter().any(|doubt| doubt.contains(words)),
        "{doubts:?}"
    );
}

/// So many quiet projects that they take turns.
fn quiet(world: &World, count: usize) -> Vec<ProjectId> {
    let add = |number| {
        world
            .lock()
            .add_project(&format!("acme/quiet/p{number:03}"))
    };
    (0..count).map(add).collect()
}

#[tokio::test]
async fn a_group_is_its_projects_and_those_of_its_subgroups_and_no_others() {
    let world = World::group().await;
    let deep = world.lock().add_project("acme/mobile/ios");
    let alike = world.lock().add_project("acme-labs/app");
    let archived = world.lock().add_project("acme/old");
    world.lock().project_mut(archived).unwrap().archived = true;
    let jobs = [world.push_in(world.project), world.push_in(deep)];
    world.push_in(alike);
    world.push_in(archived);
    let emitter = world.emitter();
    let first = emitter.probe().await.unwrap();
    whole(&first);
    assert_eq!(ids(&first), jobs.map(|id| id.to_string()));
    // the list of projects, who we are and whether we are a member; then two projects, two lists of runners
    assert_eq!(first.cost.requests, 3 + 2 + 2);
    assert_eq!(emitter.probe().await.unwrap().cost.requests, 1 + 2 + 2);
}

#[tokio::test]
async fn what_a_group_hides_makes_the_look_partial_and_a_hidden_group_is_an_error() {
    let mut world = World::group().await;
    world.push(&["linux"]);
    let user = world.lock().add_user("guest", false);
    let project = world.project;
    world.lock().add_project("acme/hidden");
    world.lock().grant(user, project, Access::Maintainer);
    world.lock().add_token(user, "guest", &[Scope::ReadApi]);
    world.lock().add_group("secret");
    world.set("token", json!("guest"));
    let snapshot = world.emitter().probe().await.unwrap();
    assert_eq!(snapshot.jobs.len(), 1);
    doubted(&snapshot, "no member of group acme");
    // one group of two is hidden, then the only one
    world.set("scope", json!({ "groups": ["acme", "secret"] }));
    doubted(
        &world.emitter().probe().await.unwrap(),
        "projects of group secret",
    );
    world.set("scope", json!({ "groups": ["secret"] }));
    let error = world.emitter().probe().await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
}

#[tokio::test]
async fn a_project_without_ci_is_no_doubt_to_a_member_of_the_group() {
    let world = World::group().await;
    let wiki = world.lock().add_project("acme/wiki");
    world.lock().project_mut(wiki).unwrap().builds = false;
    world.push(&["linux"]);
    let snapshot = world.emitter().probe().await.unwrap();
    whole(&snapshot);
    assert_eq!(snapshot.jobs.len(), 1);
}

#[tokio::test]
async fn a_list_of_projects_that_fails_later_keeps_the_known_ones_and_says_so() {
    let world = World::group().await;
    world.push(&["linux"]);
    let emitter = world.emitter();
    whole(&emitter.probe().await.unwrap());
    for fault in [FaultKind::Html(500), FaultKind::Body("{}".to_owned())] {
        world.lock().inject(Fault::on("/api/v4/groups", 1, fault));
        let snapshot = emitter.probe().await.unwrap();
        assert_eq!(snapshot.jobs.len(), 1);
        doubted(&snapshot, "projects of group acme");
    }
    whole(&emitter.probe().await.unwrap());
}

#[tokio::test]
async fn a_large_group_is_not_read_through_at_every_probe_and_no_job_is_missed_for_long() {
    let world = World::group().await;
    let projects = quiet(&world, 90);
    let emitter = world.emitter();
    let first = emitter.probe().await.unwrap();
    whole(&first);
    assert_eq!(first.cost.requests, 3 + 91 + 2);
    // a schedule starts a pipeline, which is no push: found when the project has its turn
    let job = world.push_in(projects[70]);
    let mut found = None;
    for step in 1..=60 {
        world.clock.forward(Duration::from_secs(5));
        let snapshot = emitter.probe().await.unwrap();
        whole(&snapshot);
        assert!(
            snapshot.cost.requests < 12 || step == 60,
            "{}",
            snapshot.cost.requests
        );
        if !snapshot.jobs.is_empty() {
            assert_eq!(ids(&snapshot), [job.to_string()]);
            found.get_or_insert(step);
        } else {
            assert_eq!(found, None, "once found it is asked every time");
        }
    }
    assert!(found.is_some_and(|step| step <= 60), "within five minutes");
    // a push is seen at once
    world.push_in(projects[20]);
    let now = ports::Clock::now(&*world.clock);
    world.lock().set_activity("acme/quiet/p020", now);
    assert_eq!(emitter.probe().await.unwrap().jobs.len(), 2);
}

#[tokio::test]
async fn a_job_of_a_quiet_project_on_a_machine_of_ours_is_counted_at_once() {
    let world = World::group().await;
    let projects = quiet(&world, 90);
    let emitter = world.emitter();
    let (_, runner, token) = world.machine(0).await;
    assert_eq!(world.lock().runner(runner).unwrap().kind, RunnerType::Group);
    whole(&emitter.probe().await.unwrap());
    let job = world.push_in(projects[70]);
    assert_eq!(world.ask(&token), Some(job));
    world.clock.forward(Duration::from_secs(5));
    let snapshot = emitter.probe().await.unwrap();
    whole(&snapshot);
    let JobClass::Running {
        executor: Some(executor),
    } = &snapshot.jobs[0].class
    else {
        panic!("it runs")
    };
    assert_eq!(executor, &snapshot.executors[0].id);
    assert_eq!(snapshot.jobs[0].project, "acme/quiet/p070");
}

#[tokio::test]
async fn a_budget_that_is_used_up_makes_the_look_partial_with_the_reason() {
    let mut world = World::group().await;
    let projects = quiet(&world, 40);
    for project in &projects {
        world.push_in(*project);
    }
    world.set("budget", json!({ "per_probe": 30 }));
    let emitter = world.emitter();
    let first = emitter.probe().await.unwrap();
    assert!(first.cost.requests <= 30, "{}", first.cost.requests);
    doubted(&first, "were not looked at within");
    for _ in 0..4 {
        world.clock.forward(Duration::from_secs(5));
        let later = emitter.probe().await.unwrap();
        doubted(&later, "raise `budget`");
    }
    // a look that cannot even list the runners says which budget it was
    world.set("budget", json!({ "per_probe": 4 }));
    let small = world.emitter().probe().await.unwrap();
    doubted(&small, "the budget of 4 requests of one probe is used up");
    assert_eq!(small.cost.requests, 4);
    // the minute's budget: nothing is sent until there is room again
    world.set("budget", json!({ "per_minute": 1 }));
    let emitter = world.emitter();
    let before = world.lock().total_requests();
    let kind = emitter.probe().await.unwrap_err().kind;
    let wait = Some(Duration::from_secs(60));
    assert_eq!(kind, Kind::RateLimited { retry_after: wait });
    assert_eq!(world.lock().total_requests(), before + 1);
    world.clock.forward(Duration::from_secs(60));
    assert!(emitter.probe().await.is_err());
    assert_eq!(world.lock().total_requests(), before + 2);
}
