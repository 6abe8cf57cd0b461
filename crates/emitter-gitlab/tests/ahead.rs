//! What will wait for a runner soon: the jobs behind those that run.

mod support;

use fake_gitlab::{Fault, FaultKind, JobId, PipelineJob, RunnerId};
use model::{JobClass, Snapshot};
use ports::Clock as _;
use support::World;

const PIPELINE: [PipelineJob<'_>; 4] = [
    PipelineJob {
        name: "compile",
        stage: "build",
        tags: &["linux"],
        needs: None,
    },
    PipelineJob {
        name: "lint",
        stage: "build",
        tags: &["linux"],
        needs: None,
    },
    PipelineJob {
        name: "unit",
        stage: "test",
        tags: &["linux"],
        needs: Some(&["compile"]),
    },
    PipelineJob {
        name: "ship",
        stage: "deploy",
        tags: &["linux"],
        needs: None,
    },
];

async fn pipeline(world: &World) -> (Vec<JobId>, RunnerId) {
    let (_, runner, _) = world.machine(0).await;
    let now = world.clock.now();
    let ids = world.lock().push_pipeline(world.project, &PIPELINE, now);
    (ids, runner)
}

fn classes(snapshot: &Snapshot) -> Vec<String> {
    let line = |job: &model::Job| match &job.class {
        JobClass::Blocked { by, parents } => {
            let parents: Vec<&str> = parents.iter().map(model::JobId::as_str).collect();
            format!("{} after {by} {parents:?}", job.name)
        }
        JobClass::Running { .. } => format!("{} runs", job.name),
        JobClass::Runnable => format!("{} waits", job.name),
        other => format!("{} {other:?}", job.name),
    };
    snapshot.jobs.iter().map(line).collect()
}

#[tokio::test]
async fn jobs_behind_running_ones_are_seen_with_their_parents_at_every_scope() {
    for world in [
        World::instance().await,
        World::group().await,
        World::project().await,
    ] {
        let (ids, runner) = pipeline(&world).await;
        let emitter = world.emitter();
        let before = emitter.probe().await.unwrap();
        assert_eq!(classes(&before), ["compile waits", "lint waits"]);

        let now = world.clock.now();
        for id in &ids[..2] {
            assert!(world.lock().start_job(runner, *id, now));
        }
        let snapshot = emitter.probe().await.unwrap();
        assert_eq!(
            classes(&snapshot),
            [
                "compile runs",
                "lint runs",
                "unit after compile [\"1\"]",
                "ship after compile, lint, unit [\"1\", \"2\", \"3\"]",
            ]
        );
        assert!(snapshot.completeness.is_complete());

        assert!(world.lock().finish_job(ids[0], true, now));
        let snapshot = emitter.probe().await.unwrap();
        assert_eq!(
            classes(&snapshot),
            [
                "lint runs",
                "unit waits",
                "ship after lint, unit [\"2\", \"3\"]",
            ]
        );
    }
}

#[tokio::test]
async fn a_forecast_that_cannot_be_read_changes_nothing_else() {
    let world = World::project().await;
    let (ids, runner) = pipeline(&world).await;
    let emitter = world.emitter();
    let now = world.clock.now();
    assert!(world.lock().start_job(runner, ids[0], now));
    let whole = emitter.probe().await.unwrap();
    assert_eq!(whole.jobs.len(), 4);
    // of the requests to GraphQL the forecast is the last
    let others = whole.cost.requests - 2;
    let fault = Fault::on("/api/graphql", 1, FaultKind::Html(502)).after(others);
    world.lock().inject(fault);
    let poorer = emitter.probe().await.unwrap();
    assert!(world.lock().faults_spent());
    assert_eq!(classes(&poorer), ["compile runs", "lint waits"]);
    assert!(poorer.completeness.is_complete());
}

#[tokio::test]
async fn a_forecast_costs_one_request_for_a_project_with_a_running_job_and_none_without() {
    let world = World::instance().await;
    let (ids, runner) = pipeline(&world).await;
    let emitter = world.emitter();
    let quiet = emitter.probe().await.unwrap().cost.requests;
    assert!(world.lock().start_job(runner, ids[0], world.clock.now()));
    let busy = emitter.probe().await.unwrap().cost.requests;
    // and one for the jobs of the busy runner
    assert_eq!(busy, quiet + 2);
}
