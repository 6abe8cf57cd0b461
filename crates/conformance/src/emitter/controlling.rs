//! Control verbs: repeatable, one-way across epochs, never idle by mistake.

use model::{Cordon, ExecutorId, Work};
use ports::{Contact, EmitterError, Found};

use super::{
    EPOCH, EmitterHarness, LATER, Shown, cordon, instance, is_idle, look, machine, read, refused,
    register, seen,
};

/// Without it a registration whose answer was lost leaves an executor that nobody finds, and whose credential works.
pub async fn a_second_registration_of_a_name_is_found_by_the_name(
    harness: &dyn EmitterHarness,
) -> Shown {
    let first = register(harness, 0).await;
    let second = register(harness, 0).await;
    let name = instance(0).to_string();
    let executors = look(harness).await.executors;
    assert!(executors.iter().any(|seen| seen.id == second.executor));
    for executor in &executors {
        assert_eq!(executor.name, name, "{executor:?}");
        assert_eq!(executor.fleet, Some(harness.fleet()), "{executor:?}");
        let known = executor.id == first.executor || executor.id == second.executor;
        assert!(known, "nobody was told of {executor:?}");
    }
    for executor in executors {
        let removed = harness.control().remove(&executor.id).await;
        assert!(removed.is_ok(), "{removed:?}");
    }
    assert_eq!(look(harness).await.executors, []);
    Ok(())
}

/// Without it a retry after a lost answer undoes the cordon or fails for ever.
pub async fn a_cordon_asked_for_twice_is_one(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    for _ in 0..2 {
        cordon(harness, &executor, EPOCH).await;
        let reading = read(harness, &executor).await;
        assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
    }
    Ok(())
}

/// Without it beginning a departure kills a build.
pub async fn a_cordon_leaves_running_jobs_alone(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    let job = harness.queue().await;
    harness.start(&job, &executor).await;
    cordon(harness, &executor, EPOCH).await;
    let jobs = look(harness).await.jobs;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(read(harness, &executor).await.work, Work::Jobs { count: 1 });
    harness.finish(&job).await;
    assert!(is_idle(&read(harness, &executor).await));
    Ok(())
}

/// Without it a later scaler makes an earlier one's cordon its own and may lift it, while the deletion that rests on it
/// is still on its way.
pub async fn a_later_epoch_keeps_the_first_mark(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    cordon(harness, &executor, EPOCH).await;
    cordon(harness, &executor, LATER).await;
    let reading = read(harness, &executor).await;
    assert_eq!(reading.cordon, Cordon::Ours { epoch: EPOCH });
    Ok(())
}

/// Without it a machine that was called back never works again.
pub async fn an_uncordon_lifts_the_cordon_of_its_own_epoch(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    cordon(harness, &executor, EPOCH).await;
    for _ in 0..2 {
        let lifted = harness.control().uncordon(&executor, EPOCH).await;
        assert!(lifted.is_ok(), "{lifted:?}");
        assert_eq!(read(harness, &executor).await.cordon, Cordon::None);
        assert_eq!(seen(harness, &executor).await.cordon, Cordon::None);
    }
    Ok(())
}

/// Without it a build is given to a machine that another scaler is about to delete.
pub async fn an_uncordon_refuses_the_cordon_of_another_epoch(
    harness: &dyn EmitterHarness,
) -> Shown {
    for (index, (mark, other)) in (0..).zip([(EPOCH, LATER), (LATER, EPOCH)]) {
        let executor = machine(harness, index).await.executor;
        cordon(harness, &executor, mark).await;
        refused(harness.control().uncordon(&executor, other).await);
        let reading = read(harness, &executor).await;
        assert_eq!(reading.cordon, Cordon::Ours { epoch: mark });
    }
    Ok(())
}

/// Without it we end what an operator began, or delete the machine that he looks at.
pub async fn a_pause_of_somebody_else_is_refused_and_stays(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    harness.pause(&executor).await?;
    refused(harness.control().cordon(&executor, EPOCH).await);
    refused(harness.control().uncordon(&executor, EPOCH).await);
    assert_eq!(read(harness, &executor).await.cordon, Cordon::Foreign);
    assert_eq!(seen(harness, &executor).await.cordon, Cordon::Foreign);
    Ok(())
}

/// Without it a mistake in a name stops the executors of somebody else.
pub async fn a_foreign_executor_is_never_touched(harness: &dyn EmitterHarness) -> Shown {
    let stranger = harness.foreign().await?;
    assert!(harness.control().cordon(&stranger, EPOCH).await.is_err());
    assert!(harness.control().remove(&stranger).await.is_err());
    for executor in look(harness).await.executors {
        assert_eq!(
            (executor.id, executor.cordon),
            (stranger.clone(), Cordon::None)
        );
    }
    if let Ok(reading) = harness.control().read(&stranger).await {
        assert!(!is_idle(&reading), "{reading:?}");
    }
    Ok(())
}

/// Without it an executor that is hidden, renamed or not there yet counts as idle, and its machine is deleted.
pub async fn an_executor_that_is_not_there_is_unknown(harness: &dyn EmitterHarness) -> Shown {
    let reading = read(harness, &harness.nobody()).await;
    assert!(matches!(reading.work, Work::Unknown { .. }), "{reading:?}");
    Ok(())
}

/// Without it no machine ever leaves.
pub async fn an_idle_executor_is_certainly_idle(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    // somebody else's work is not its own
    let other = machine(harness, 1).await.executor;
    let job = harness.queue().await;
    harness.start(&job, &other).await;
    harness.queue().await;
    cordon(harness, &executor, EPOCH).await;
    assert!(is_idle(&read(harness, &executor).await));
    Ok(())
}

/// Without it a build dies.
pub async fn a_running_job_is_work(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    cordon(harness, &executor, EPOCH).await;
    let job = harness.queue().await;
    harness.start(&job, &executor).await;
    assert_eq!(read(harness, &executor).await.work, Work::Jobs { count: 1 });
    Ok(())
}

/// Without it a build dies that was given to the machine and not begun yet.
pub async fn a_promised_job_is_work(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    let job = harness.queue().await;
    harness.promise(&job, &executor).await?;
    cordon(harness, &executor, EPOCH).await;
    let reading = read(harness, &executor).await;
    assert_ne!(reading.work, Work::None, "{reading:?}");
    Ok(())
}

/// Without it the second read, a settle time after the first, is worth nothing.
pub async fn a_job_handed_out_after_the_cordon_is_work(harness: &dyn EmitterHarness) -> Shown {
    let registration = machine(harness, 0).await;
    let executor = &registration.executor;
    harness.ask(&registration).await?;
    cordon(harness, executor, EPOCH).await;
    let _too_early = read(harness, executor).await;
    harness.queue().await;
    harness.answer(&registration).await?;
    assert_eq!(read(harness, executor).await.work, Work::Jobs { count: 1 });
    Ok(())
}

/// Without it a server that is down has idle executors only.
pub async fn a_read_that_fails_is_never_idle(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    cordon(harness, &executor, EPOCH).await;
    harness.fail().await?;
    if let Ok(reading) = harness.control().read(&executor).await {
        assert!(!is_idle(&reading), "{reading:?}");
    }
    Ok(())
}

/// Without it a build that the token may not see dies.
pub async fn a_read_without_rights_is_never_idle(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    let job = harness.queue().await;
    harness.start(&job, &executor).await;
    cordon(harness, &executor, EPOCH).await;
    harness.hide().await?;
    if let Ok(reading) = harness.control().read(&executor).await {
        assert!(!is_idle(&reading), "{reading:?}");
    }
    Ok(())
}

/// What is said of machine number `index` when it is about to be deleted.
async fn find(
    harness: &dyn EmitterHarness,
    index: u32,
    known: Option<&ExecutorId>,
) -> Result<Found, EmitterError> {
    harness.control().find(&instance(index), known).await
}

/// Whether an answer would have a machine deleted that no look showed an executor of.
fn is_absent(found: &Result<Found, EmitterError>) -> bool {
    matches!(found, Ok(Found::Absent))
}

/// Without it the first build of a machine that joined late, between the last look and the deletion, dies.
pub async fn an_executor_that_joined_a_moment_ago_is_found(harness: &dyn EmitterHarness) -> Shown {
    // whatever is kept from look to look is kept now, and knows nothing of it
    look(harness).await;
    assert!(is_absent(&find(harness, 0, None).await));
    let executor = machine(harness, 0).await.executor;
    for known in [None, Some(&executor)] {
        match find(harness, 0, known).await {
            Ok(Found::There {
                executor: found,
                contact: Contact::Live | Contact::Untold,
            }) => assert_eq!(found, executor),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// Without it no machine whose agent never started is ever deleted.
pub async fn an_executor_that_never_was_is_absent(harness: &dyn EmitterHarness) -> Shown {
    let found = find(harness, 9, None).await;
    assert!(is_absent(&found), "{found:?}");
    Ok(())
}

/// Without it a CI server that is down has no executors, and every machine that boots is deleted.
pub async fn a_search_that_fails_is_no_absence(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    harness.fail().await?;
    for known in [None, Some(&executor)] {
        let found = find(harness, 0, known).await;
        assert!(!is_absent(&found), "{found:?}");
    }
    Ok(())
}

/// Without it a machine goes with its build as soon as somebody takes a right from the token.
pub async fn a_search_without_rights_is_no_absence(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    harness.hide().await?;
    for known in [None, Some(&executor)] {
        let found = find(harness, 0, known).await;
        assert!(!is_absent(&found), "{found:?}");
    }
    Ok(())
}

/// Without it clearing away stops at the first executor that somebody else removed.
pub async fn removing_what_is_not_there_is_success(harness: &dyn EmitterHarness) -> Shown {
    let executor = register(harness, 0).await.executor;
    for gone in [&executor, &executor, &harness.nobody()] {
        let removed = harness.control().remove(gone).await;
        assert!(removed.is_ok(), "{removed:?}");
    }
    Ok(())
}

/// Without it the build of a machine that the cloud lists no more, and that runs all the same, loses its executor.
pub async fn an_executor_with_a_job_is_not_removed(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    let job = harness.queue().await;
    harness.start(&job, &executor).await;
    refused(harness.control().remove(&executor).await);
    assert_eq!(seen(harness, &executor).await.id, executor);
    assert_eq!(look(harness).await.jobs.len(), 1);
    harness.finish(&job).await;
    assert_eq!(look(harness).await.jobs, []);
    Ok(())
}

/// Without it the list of executors grows with every machine that ever was.
pub async fn a_removed_executor_is_seen_no_more(harness: &dyn EmitterHarness) -> Shown {
    let executor = machine(harness, 0).await.executor;
    machine(harness, 1).await;
    let removed = harness.control().remove(&executor).await;
    assert!(removed.is_ok(), "{removed:?}");
    let left: Vec<String> = look(harness)
        .await
        .executors
        .into_iter()
        .map(|executor| executor.name)
        .collect();
    assert_eq!(left, [instance(1).to_string()]);
    Ok(())
}
