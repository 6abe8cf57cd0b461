//! Deletions: of exactly the machines named, once or often.

use ports::{Outcome, ProviderErrorKind};

use super::{
    GIVEN_UP, ProviderHarness, Shown, all_done, call, ended_call, given_up_after, machines,
    names_of, never_made, standing, standing_names,
};

/// Without it a deletion that was asked for twice is an error for ever, and its intent never ends.
pub async fn a_deleted_machine_is_gone_and_deleting_it_again_is_success(
    harness: &dyn ProviderHarness,
) -> Shown {
    let made = machines(harness, 3).await;
    harness.settle().await;
    let (doomed, left) = made.split_at(2);
    let deleted = all_done(harness.provider().delete(doomed, &call(harness)).await);
    assert_eq!(deleted, names_of(doomed), "one outcome for each, in order");
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names_of(left));
    all_done(harness.provider().delete(doomed, &call(harness)).await);
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names_of(left));
    // nor did they leave a disk, where their image does not ask for it
    let leftovers = harness.provider().leftovers(&harness.fleet()).await;
    assert_eq!(leftovers.expect("a list of what is left"), []);
    Ok(())
}

/// Without it a machine that somebody deleted by hand blocks the pool that still counts it.
pub async fn deleting_what_never_was_is_success(harness: &dyn ProviderHarness) -> Shown {
    let made = machines(harness, 1).await;
    harness.settle().await;
    let ghost = [never_made(harness, &made[0])];
    all_done(harness.provider().delete(&ghost, &call(harness)).await);
    assert_eq!(standing(harness).await.len(), 1);
    Ok(())
}

/// Without it one machine that vanished keeps a hundred others running.
pub async fn one_bad_id_fails_no_other(harness: &dyn ProviderHarness) -> Shown {
    let mut doomed = machines(harness, 4).await;
    harness.settle().await;
    doomed.insert(2, never_made(harness, &doomed[0]));
    let outcomes = harness.provider().delete(&doomed, &call(harness)).await;
    assert_eq!(outcomes.len(), 5);
    all_done(outcomes);
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    Ok(())
}

/// Without it a scaler that lost its lease deletes a machine on which the next one has let a job start.
pub async fn a_deletion_after_its_lease_deletes_nothing(harness: &dyn ProviderHarness) -> Shown {
    let made = machines(harness, 2).await;
    harness.settle().await;
    let outcomes = harness.provider().delete(&made, &ended_call(harness)).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        match outcome {
            Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::LeaseOver),
            other => panic!("{other:?}"),
        }
    }
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names_of(&made));
    Ok(())
}

/// Without it a deletion that was cut off is asked for in vain for ever.
pub async fn a_deletion_given_up_at_any_moment_can_be_asked_for_again(
    harness: &dyn ProviderHarness,
) -> Shown {
    let made = machines(harness, 5).await;
    harness.settle().await;
    for (machine, polls) in made.iter().zip(GIVEN_UP) {
        let doomed = std::slice::from_ref(machine);
        given_up_after(polls, harness.provider().delete(doomed, &call(harness))).await;
    }
    harness.settle().await;
    all_done(harness.provider().delete(&made, &call(harness)).await);
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    Ok(())
}

/// Without it a bug, or somebody who keeps a machine for himself by taking our mark off it, costs a machine that is not
/// ours.
pub async fn a_foreign_machine_is_never_deleted(harness: &dyn ProviderHarness) -> Shown {
    let foreign = harness.foreign().await?;
    let made = machines(harness, 2).await;
    harness.settle().await;
    let before = harness.alive().await?;
    let mut mistaken = made[0].clone();
    mistaken.id = foreign;
    let asked = [made[1].clone(), mistaken];
    let outcomes = harness.provider().delete(&asked, &call(harness)).await;
    assert!(matches!(outcomes[0], Outcome::Done(_)), "{outcomes:?}");
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names_of(&made[..1]));
    assert_eq!(harness.alive().await?, before - 1, "{outcomes:?}");
    Ok(())
}
