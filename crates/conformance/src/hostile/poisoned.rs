//! A server whose answers are good but for single values.
//!
//! The port's promise under test: what cannot be read makes a look partial or an error, and never smaller in silence; and
//! a read is idle only by an answer that is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{ExecutorId, ExecutorState, Job, JobClass, JobId, Snapshot};
use ports::{Clock, EmitterError, Found};

use super::distort::{Change, Distorter};
use super::server::Server;
use super::suffering::At;
use super::{PROBE_TIMEOUT, Plugin, RuntimeClock, VERB_TIMEOUT};
use crate::emitter::{EPOCH, EmitterHarness, Shown, cordon, instance, is_idle, machine};

/// More requests than this for one look are a flood: some lists of a hundred pages each.
const MOST_REQUESTS: usize = 1_000;

/// More rows than this are no answer of a server with two jobs.
const MOST_JOBS: usize = 25_000;

/// A server with a job that waits and one that runs on a cordoned executor, seen through somebody who changes its answers.
struct Scene {
    distorter: Distorter,
    _server: Server,
    plugin: Plugin,
    busy: ExecutorId,
    clock: Arc<dyn Clock>,
}

impl Scene {
    async fn of(harness: &dyn EmitterHarness, at: &At) -> Shown<Scene> {
        let url = harness.url()?;
        let busy = machine(harness, 0).await.executor;
        let running = harness.queue().await;
        harness.start(&running, &busy).await;
        cordon(harness, &busy, EPOCH).await;
        harness.queue().await;
        let distorter = Distorter::before(&url, harness.another_page());
        let server = Server::start(distorter.clone()).await;
        let clock = RuntimeClock::start();
        let plugin = at(server.url(), clock.clone());
        Ok(Scene {
            distorter,
            plugin,
            busy,
            clock,
            _server: server,
        })
    }

    async fn probe(&self, change: Change) -> Result<Snapshot, EmitterError> {
        self.distorter.begin(change);
        let probe = self.plugin.emitter.probe();
        let looked = ports::timeout(&*self.clock, PROBE_TIMEOUT * 2, probe).await;
        looked.expect("in time")
    }

    /// A look at changed answers; `None` when it does not claim to be whole.
    async fn look(&self, change: Change) -> Option<Snapshot> {
        let snapshot = self.probe(change).await.ok()?;
        snapshot.completeness.is_complete().then_some(snapshot)
    }

    /// What a look at good answers shows.
    async fn whole(&self) -> Snapshot {
        match self.probe(Change::None).await {
            Ok(seen) if seen.completeness.is_complete() => seen,
            other => panic!("a look at good answers is not whole: {other:?}"),
        }
    }

    /// Whether changed answers to the last question before a deletion would delete the busy machine.
    async fn would_delete(&self, asked: Asked, change: Change) -> bool {
        match asked {
            Asked::Read => self.read_is_idle(change).await,
            Asked::FindByName => self.finds_nothing(None, change).await,
            Asked::FindKnown => self.finds_nothing(Some(&self.busy), change).await,
        }
    }

    /// Which values delete it when they are changed.
    async fn deleted_by(&self, asked: Asked, change: fn(usize, usize) -> Change) -> Vec<String> {
        let mut wrong = Vec::new();
        for request in 0.. {
            for place in 0.. {
                let deleted = self.would_delete(asked, change(request, place)).await;
                let (requests, changed) = self.distorter.end();
                match changed {
                    Some(path) if deleted => wrong.push(format!("request {request}, {path}")),
                    Some(_) => {}
                    None if requests <= request => {
                        assert!(request > 0, "{asked:?} without a request");
                        return wrong;
                    }
                    None => break,
                }
            }
        }
        wrong
    }

    async fn finds_nothing(&self, known: Option<&ExecutorId>, change: Change) -> bool {
        self.distorter.begin(change);
        let Some(control) = &self.plugin.control else {
            return false;
        };
        let busy = instance(0);
        let find = ports::timeout(&*self.clock, VERB_TIMEOUT, control.find(&busy, known)).await;
        matches!(find.expect("in time"), Ok(Found::Absent))
    }

    /// Whether a read of the busy executor by changed answers would delete its machine.
    async fn read_is_idle(&self, change: Change) -> bool {
        self.distorter.begin(change);
        let Some(control) = &self.plugin.control else {
            return false;
        };
        let read = ports::timeout(&*self.clock, VERB_TIMEOUT, control.read(&self.busy)).await;
        read.expect("in time")
            .is_ok_and(|reading| is_idle(&reading))
    }
}

/// Without it a server that changes its API, or a proxy that rewrites it, empties a pool.
pub async fn a_value_of_another_type_makes_no_look_smaller(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    no_look_is_smaller(harness, at, Change::Retype).await
}

/// Without it a value that a later version leaves out does.
pub async fn a_value_that_is_missing_makes_no_look_smaller(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    no_look_is_smaller(harness, at, Change::Drop).await
}

/// Without it a build dies of it.
pub async fn a_value_of_another_type_makes_no_read_idle(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    nothing_is_deleted(harness, at, &[Asked::Read], Change::Retype).await
}

/// Without it a build dies of a value that is left out.
pub async fn a_value_that_is_missing_makes_no_read_idle(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    nothing_is_deleted(harness, at, &[Asked::Read], Change::Drop).await
}

/// Without it a machine that joined late is deleted with its first build.
pub async fn a_value_of_another_type_hides_no_executor(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    nothing_is_deleted(harness, at, &FINDS, Change::Retype).await
}

/// Without it so is one whose server leaves a value out.
pub async fn a_value_that_is_missing_hides_no_executor(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    nothing_is_deleted(harness, at, &FINDS, Change::Drop).await
}

/// Without it a number that cannot be is a small one.
pub async fn negative_numbers_make_no_look_smaller(harness: &dyn EmitterHarness, at: &At) -> Shown {
    let scene = Scene::of(harness, at).await?;
    let whole = scene.whole().await;
    if let Some(seen) = scene.look(Change::Negative).await {
        assert_eq!(smaller(&whole, &seen), None);
    }
    assert!(!scene.read_is_idle(Change::Negative).await);
    Ok(())
}

/// Without it one number fills the memory: a runner that says it holds 10⁹ jobs.
pub async fn huge_numbers_are_believed_within_bounds(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    let scene = Scene::of(harness, at).await?;
    for number in [1_000_000_000, i64::MAX, i64::MIN] {
        let change = Change::Numbers(number);
        if let Some(seen) = scene.look(change).await {
            assert!(seen.jobs.len() <= MOST_JOBS, "{} jobs", seen.jobs.len());
        }
        assert!(!scene.read_is_idle(change).await, "{number}");
    }
    Ok(())
}

/// Without it a job that moves between two pages, and is on both, is served by two machines.
pub async fn rows_that_come_twice_are_seen_once(harness: &dyn EmitterHarness, at: &At) -> Shown {
    let scene = Scene::of(harness, at).await?;
    let whole = scene.whole().await;
    let Some(seen) = scene.look(Change::Twice).await else {
        return Ok(());
    };
    let jobs: BTreeSet<&JobId> = seen.jobs.iter().map(|job| &job.id).collect();
    assert_eq!(jobs.len(), seen.jobs.len(), "{:?}", seen.jobs);
    assert_eq!(jobs.len(), whole.jobs.len(), "{:?}", seen.jobs);
    let executors: BTreeSet<&ExecutorId> = seen.executors.iter().map(|seen| &seen.id).collect();
    assert_eq!(
        executors.len(),
        seen.executors.len(),
        "{:?}",
        seen.executors
    );
    Ok(())
}

/// Without it a connection that breaks in the middle of a list makes it a short one.
pub async fn half_an_answer_is_no_complete_look(harness: &dyn EmitterHarness, at: &At) -> Shown {
    let scene = Scene::of(harness, at).await?;
    scene.whole().await;
    let seen = scene.look(Change::Half).await;
    assert!(seen.is_none(), "{seen:?}");
    assert!(!scene.read_is_idle(Change::Half).await);
    Ok(())
}

/// Without it ten thousand pages hold the emitter up and flood the server.
pub async fn pages_without_end_are_no_complete_look(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    no_end(harness, at, Change::AnotherPage).await
}

/// Without it a server that forgets the cursor does.
pub async fn a_page_that_names_itself_is_no_complete_look(
    harness: &dyn EmitterHarness,
    at: &At,
) -> Shown {
    no_end(harness, at, Change::SamePage).await
}

async fn no_end(harness: &dyn EmitterHarness, at: &At, change: Change) -> Shown {
    if harness.another_page().is_none() {
        return Err("it answers every list in one page");
    }
    let scene = Scene::of(harness, at).await?;
    scene.whole().await;
    let seen = scene.look(change).await;
    assert!(seen.is_none(), "{seen:?}");
    let (looked, _) = scene.distorter.end();
    assert!(!scene.read_is_idle(change).await);
    let (read, _) = scene.distorter.end();
    assert!(
        looked.max(read) <= MOST_REQUESTS,
        "{looked} and {read} requests"
    );
    Ok(())
}

/// Changes each value of each answer of a look, one at a time.
async fn no_look_is_smaller(
    harness: &dyn EmitterHarness,
    at: &At,
    change: fn(usize, usize) -> Change,
) -> Shown {
    let scene = Scene::of(harness, at).await?;
    let whole = scene.whole().await;
    let mut wrong = Vec::new();
    let mut changes = 0;
    for request in 0.. {
        for place in 0.. {
            let seen = scene.look(change(request, place)).await;
            let (requests, changed) = scene.distorter.end();
            let Some(path) = changed else {
                // no such value in this answer; or no such request
                if requests <= request {
                    assert!(changes > 20, "only {changes} values were changed");
                    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
                    return Ok(());
                }
                break;
            };
            changes += 1;
            let lost = seen.and_then(|seen| smaller(&whole, &seen));
            wrong.extend(lost.map(|lost| format!("request {request}, {path}: {lost}")));
        }
    }
    Ok(())
}

/// What is asked last before a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Read,
    FindByName,
    FindKnown,
}

const FINDS: [Asked; 2] = [Asked::FindByName, Asked::FindKnown];

/// Changes each value of each answer to these questions, one at a time.
async fn nothing_is_deleted(
    harness: &dyn EmitterHarness,
    at: &At,
    questions: &[Asked],
    change: fn(usize, usize) -> Change,
) -> Shown {
    let scene = Scene::of(harness, at).await?;
    if scene.plugin.control.is_none() {
        return Err("it has no control half");
    }
    for asked in questions {
        let wrong = scene.deleted_by(*asked, change).await;
        assert!(wrong.is_empty(), "{asked:?}: by {}", wrong.join("\n"));
    }
    Ok(())
}

/// What a look has lost that claims to be whole: demand, or an executor, or that it is busy.
fn smaller(whole: &Snapshot, seen: &Snapshot) -> Option<String> {
    let is_demand = |job: &&Job| matches!(job.class, JobClass::Runnable | JobClass::Running { .. });
    let demand: BTreeSet<&JobId> = seen
        .jobs
        .iter()
        .filter(is_demand)
        .map(|job| &job.id)
        .collect();
    let lost = whole
        .jobs
        .iter()
        .filter(is_demand)
        .find(|job| !demand.contains(&job.id));
    if let Some(job) = lost {
        // under another id it is still demand
        if demand.len() < whole.jobs.iter().filter(is_demand).count() {
            return Some(format!("job {} is no demand any more", job.id));
        }
    }
    let states: BTreeMap<&ExecutorId, &ExecutorState> = seen
        .executors
        .iter()
        .map(|executor| (&executor.id, &executor.state))
        .collect();
    whole.executors.iter().find_map(
        |executor| match (&executor.state, states.get(&executor.id)) {
            (_, None) => Some(format!("executor {} is gone", executor.id)),
            (ExecutorState::Busy { .. }, Some(ExecutorState::Idle { .. })) => {
                Some(format!("executor {} is idle", executor.id))
            }
            _ => None,
        },
    )
}
