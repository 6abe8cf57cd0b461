//! Looks: everything, each thing once, with its marks; and no doubt that looks like a small number.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use model::{Cordon, ExecutorState, JobClass, JobId};

use super::{EPOCH, EmitterHarness, Shown, cordon, instance, look, machine, register, seen};

/// A server's clock may differ from ours, but not by this.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Without it "nothing to do" is never certain, and no machine ever leaves.
pub async fn an_empty_server_is_a_complete_and_empty_look(harness: &dyn EmitterHarness) -> Shown {
    let snapshot = look(harness).await;
    assert_eq!(snapshot.jobs, []);
    assert_eq!(snapshot.executors, []);
    Ok(())
}

/// Without it a job that is listed twice, as waiting and as running, is served by two machines.
pub async fn every_open_job_is_seen_once(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    let mut queued = BTreeSet::new();
    for _ in 0..3 {
        queued.insert(harness.queue().await);
    }
    let running = harness.queue().await;
    harness.start(&running, &registration.executor).await;
    let snapshot = look(harness).await;
    let ids: BTreeSet<&JobId> = snapshot.jobs.iter().map(|job| &job.id).collect();
    assert_eq!(ids.len(), snapshot.jobs.len(), "a job is listed twice");
    assert_eq!(ids.len(), 4);
    for job in &snapshot.jobs {
        let expected = if job.id == running {
            JobClass::Running {
                executor: Some(registration.executor.clone()),
            }
        } else {
            assert!(queued.contains(&job.id), "{job:?}");
            JobClass::Runnable
        };
        assert_eq!(job.class, expected, "{job:?}");
    }
    Ok(())
}

/// Without it finished work keeps machines, for ever.
pub async fn a_job_that_is_done_is_seen_no_more(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    let job = harness.queue().await;
    harness.start(&job, &registration.executor).await;
    harness.finish(&job).await;
    assert_eq!(look(harness).await.jobs, []);
    let executor = seen(harness, &registration.executor).await;
    assert!(
        matches!(executor.state, ExecutorState::Idle { .. }),
        "{executor:?}"
    );
    Ok(())
}

/// Without it a machine and its executor never find each other, and each is a leak of its own.
pub async fn an_executor_is_seen_with_its_name_and_mark(harness: &dyn EmitterHarness) -> Shown {
    let registration = register(harness, 3).await;
    let executor = seen(harness, &registration.executor).await;
    assert_eq!(executor.name, instance(3).to_string());
    assert_eq!(executor.fleet, Some(harness.fleet()));
    assert_eq!(executor.cordon, Cordon::None);
    assert_eq!(executor.state, ExecutorState::NeverJoined);
    harness.join(&registration).await;
    let executor = seen(harness, &registration.executor).await;
    assert!(
        matches!(executor.state, ExecutorState::Idle { .. }),
        "{executor:?}"
    );
    Ok(())
}

/// Without it a machine with a build on it is chosen to leave.
pub async fn an_executor_with_a_job_is_busy(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    let job = harness.queue().await;
    harness.start(&job, &registration.executor).await;
    for cordoned in [false, true] {
        if cordoned {
            cordon(harness, &registration.executor, EPOCH).await;
        }
        let executor = seen(harness, &registration.executor).await;
        let busy = matches!(&executor.state, ExecutorState::Busy { .. });
        // the job itself says so as well, and either is enough
        let said = look(harness).await.jobs.iter().any(|job| {
            matches!(&job.class, JobClass::Running { executor: Some(on) } if *on == executor.id)
        });
        assert!(busy || said, "{executor:?}");
    }
    Ok(())
}

/// Without it a restarted scaler does not know which departures are its own, and lifts what is one-way.
pub async fn a_cordon_is_seen_with_its_epoch(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    cordon(harness, &registration.executor, EPOCH).await;
    let executor = seen(harness, &registration.executor).await;
    assert_eq!(executor.cordon, Cordon::Ours { epoch: EPOCH });
    Ok(())
}

/// Without it an executor that somebody else looks after is taken for one of ours.
pub async fn a_foreign_executor_carries_no_mark(harness: &dyn EmitterHarness) -> Shown {
    let stranger = harness.foreign().await?;
    // a look may leave out what serves none of our pools
    for executor in look(harness).await.executors {
        assert_eq!(executor.id, stranger);
        assert_ne!(executor.fleet, Some(harness.fleet()));
    }
    Ok(())
}

/// Without it a server that is down looks like one without work, and every pool shrinks.
pub async fn a_server_that_fails_is_no_complete_look(harness: &dyn EmitterHarness) -> Shown {
    harness.queue().await;
    harness.fail().await?;
    if let Ok(snapshot) = harness.emitter().probe().await {
        assert!(!snapshot.completeness.is_complete(), "{snapshot:?}");
    }
    Ok(())
}

/// Without it the jobs of the pages that failed are not counted, and their machines leave.
pub async fn a_page_that_fails_is_no_complete_look(harness: &dyn EmitterHarness) -> Shown {
    harness.lose_a_page().await?;
    if let Ok(snapshot) = harness.emitter().probe().await {
        assert!(
            !snapshot.completeness.is_complete(),
            "{} jobs and no doubt",
            snapshot.jobs.len()
        );
    }
    Ok(())
}

/// Without it a token that lost its rights empties the pools.
pub async fn a_look_without_rights_is_no_complete_look(harness: &dyn EmitterHarness) -> Shown {
    harness.queue().await;
    assert_eq!(look(harness).await.jobs.len(), 1);
    harness.hide().await?;
    if let Ok(snapshot) = harness.emitter().probe().await {
        assert!(!snapshot.completeness.is_complete(), "{snapshot:?}");
    }
    Ok(())
}

/// Without it waits are counted from 1970 or from the year 58000, since every server writes its moments in another way.
pub async fn a_moment_is_read_in_the_servers_own_format(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    let running = harness.queue().await;
    harness.start(&running, &registration.executor).await;
    let waiting = harness.queue().await;
    let snapshot = look(harness).await;
    let near = |at: Timestamp| at.duration_since(snapshot.taken_at).abs() < HOUR;
    for job in &snapshot.jobs {
        assert!(job.queued_at.is_none_or(near), "{job:?}");
        assert!(job.started_at.is_none_or(near), "{job:?}");
        assert!(job.id != waiting || job.queued_at.is_some(), "{job:?}");
    }
    Ok(())
}

/// Without it a token that lost half of its rights halves the pools.
pub async fn a_look_that_jobs_are_hidden_from_is_no_complete_look(
    harness: &dyn EmitterHarness,
) -> Shown {
    harness.queue().await;
    assert_eq!(look(harness).await.jobs.len(), 1);
    harness.hide_some().await?;
    if let Ok(snapshot) = harness.emitter().probe().await {
        assert!(!snapshot.completeness.is_complete(), "{snapshot:?}");
    }
    Ok(())
}
