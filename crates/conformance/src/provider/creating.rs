//! Creations: named, marked, exactly once, and honest about what is not known.

use model::{ExecutorId, ExecutorRef};
use ports::{Outcome, ProviderErrorKind};

use super::{
    GIVEN_UP, ProviderHarness, Refusal, Shown, batch, call, create, ended_call, given_up_after,
    names, standing, standing_names,
};

/// Without it nobody knows whose a machine is: after a restart it is an orphan, and the machine that the CI server
/// knows by its name is another one at the cloud.
pub async fn created_machines_are_listed_with_their_marks(harness: &dyn ProviderHarness) -> Shown {
    let batch = batch(harness, 1, 3);
    let made = create(harness, &batch).await;
    let made_names: Vec<_> = made.iter().map(|machine| machine.name.clone()).collect();
    assert_eq!(
        made_names,
        names(&batch),
        "one outcome for each name, in order"
    );
    harness.settle().await;
    let listed = standing(harness).await;
    assert_eq!(listed.len(), made.len(), "{listed:?}");
    for machine in &made {
        let seen = &listed[&machine.name];
        assert_eq!(seen.id, machine.id);
        assert_eq!(seen.scope, machine.scope);
        assert_eq!(seen.owner.fleet, batch.fleet);
        assert_eq!(seen.owner.installation.as_ref(), Some(&batch.installation));
        assert_eq!(seen.offer.as_ref(), Some(&batch.offer));
        assert_eq!(seen.generation.as_ref(), Some(&batch.generation));
        assert_eq!(seen.executor, None);
    }
    Ok(())
}

/// Without it a runner that was registered for a machine and the machine never find each other, and both are paid for
/// until somebody looks.
pub async fn a_single_machine_carries_its_executor(harness: &dyn ProviderHarness) -> Shown {
    let mut batch = batch(harness, 1, 1);
    batch.executor = Some(ExecutorRef {
        emitter: "gitlab".parse().expect("the name of an emitter"),
        id: ExecutorId::new("4711"),
    });
    create(harness, &batch).await;
    harness.settle().await;
    let listed = standing(harness).await;
    assert_eq!(listed[&batch.batch.instance(0)].executor, batch.executor);
    Ok(())
}

/// Without it a caller that crashed after the call, and asks again, pays for two sets.
pub async fn the_same_batch_again_creates_nothing_new(harness: &dyn ProviderHarness) -> Shown {
    let batch = batch(harness, 1, 2);
    let first = create(harness, &batch).await;
    let at_once = create(harness, &batch).await;
    harness.settle().await;
    let later = create(harness, &batch).await;
    harness.settle().await;
    for again in [at_once, later] {
        let ids = |machines: &[model::Instance]| -> Vec<_> {
            machines.iter().map(|machine| machine.id.clone()).collect()
        };
        assert_eq!(ids(&again), ids(&first));
    }
    assert_eq!(standing_names(harness).await, names(&batch));
    Ok(())
}

/// Without it the second need of a pool is answered with the machines of the first.
pub async fn two_batches_of_a_pool_are_two_sets(harness: &dyn ProviderHarness) -> Shown {
    let (first, second) = (batch(harness, 1, 2), batch(harness, 2, 2));
    create(harness, &first).await;
    create(harness, &second).await;
    harness.settle().await;
    let mut wanted = names(&first);
    wanted.extend(names(&second));
    assert_eq!(standing_names(harness).await, wanted);
    Ok(())
}

/// Without it a creation whose answer was lost counts as failed, is made elsewhere once more, and the first machine
/// runs unseen.
pub async fn a_lost_reply_is_unknown_and_the_listing_finds_the_machines(
    harness: &dyn ProviderHarness,
) -> Shown {
    let batch = batch(harness, 1, 2);
    harness.lose_reply().await?;
    let outcomes = harness.provider().create(&batch, &call(harness)).await;
    assert_eq!(outcomes.len(), names(&batch).len());
    for outcome in &outcomes {
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    }
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names(&batch));
    Ok(())
}

/// Without it the first retry after a broken link doubles the machines.
pub async fn a_batch_asked_for_again_after_a_lost_reply_is_one_set(
    harness: &dyn ProviderHarness,
) -> Shown {
    let batch = batch(harness, 1, 2);
    harness.lose_reply().await?;
    harness.provider().create(&batch, &call(harness)).await;
    let made = create(harness, &batch).await;
    assert_eq!(made.len(), names(&batch).len());
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names(&batch));
    assert_eq!(harness.alive().await?, names(&batch).len());
    Ok(())
}

/// Without it a zone that has three of five machines left gives none, or gives three that nobody counts.
pub async fn what_there_is_no_room_for_fails_and_the_rest_is_made(
    harness: &dyn ProviderHarness,
) -> Shown {
    let batch = batch(harness, 1, 5);
    if batch.count < 5 {
        return Err("its batches are too small to be met in part");
    }
    harness.room(3).await?;
    let outcomes = harness.provider().create(&batch, &call(harness)).await;
    assert_eq!(outcomes.len(), 5, "one outcome for each name");
    let mut made = Vec::new();
    for (outcome, name) in outcomes.into_iter().zip(names(&batch)) {
        match outcome {
            Outcome::Done(machine) => {
                assert_eq!(
                    machine.name, name,
                    "outcomes come in the order of their names"
                );
                made.push(name);
            }
            Outcome::Failed(error) => {
                assert_eq!(error.kind, ProviderErrorKind::OutOfCapacity, "{error:?}");
            }
            Outcome::Unknown(error) => panic!("the cloud did say: {error:?}"),
        }
    }
    assert_eq!(made.len(), 3);
    harness.settle().await;
    assert_eq!(standing_names(harness).await, made);
    Ok(())
}

/// Without it a full zone is hammered like a throttled one, and a wrong image is tried for ever.
pub async fn a_refusal_says_what_can_be_done_and_makes_nothing(
    harness: &dyn ProviderHarness,
) -> Shown {
    let expected: [(Refusal, fn(ProviderErrorKind) -> bool); 5] = [
        (Refusal::Throttled, |kind| {
            matches!(kind, ProviderErrorKind::RateLimited { .. })
        }),
        (Refusal::OutOfCapacity, |kind| {
            kind == ProviderErrorKind::OutOfCapacity
        }),
        (Refusal::OverQuota, |kind| {
            kind == ProviderErrorKind::QuotaExceeded
        }),
        (Refusal::Unauthorized, |kind| {
            kind == ProviderErrorKind::Unauthorized
        }),
        (Refusal::BadRequest, |kind| {
            kind == ProviderErrorKind::InvalidRequest
        }),
    ];
    for (sequence, (refusal, fits)) in (1..).zip(expected) {
        let batch = batch(harness, sequence, 2);
        harness.refuse(refusal).await?;
        let outcomes = harness.provider().create(&batch, &call(harness)).await;
        assert_eq!(outcomes.len(), names(&batch).len());
        for outcome in outcomes {
            match outcome {
                Outcome::Failed(error) => assert!(fits(error.kind), "{refusal:?}: {error:?}"),
                other => panic!("{refusal:?} became {other:?}"),
            }
        }
    }
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    Ok(())
}

/// Without it one broken offer stops the loop for every pool.
pub async fn an_offer_that_cannot_be_read_is_refused(harness: &dyn ProviderHarness) -> Shown {
    let mut batch = batch(harness, 1, 2);
    batch.spec = serde_json::json!({"no such key": 1});
    let outcomes = harness.provider().create(&batch, &call(harness)).await;
    assert_eq!(outcomes.len(), names(&batch).len());
    for outcome in outcomes {
        match outcome {
            Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::InvalidRequest),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

/// Without it a scaler that lost its lease creates beside the one that has it now.
pub async fn a_creation_after_its_lease_makes_nothing(harness: &dyn ProviderHarness) -> Shown {
    let batch = batch(harness, 1, 2);
    let outcomes = harness
        .provider()
        .create(&batch, &ended_call(harness))
        .await;
    assert_eq!(outcomes.len(), names(&batch).len());
    for outcome in outcomes {
        match outcome {
            Outcome::Failed(error) => assert_eq!(error.kind, ProviderErrorKind::LeaseOver),
            other => panic!("{other:?}"),
        }
    }
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    Ok(())
}

/// Without it a scaler that is stopped in the middle of a wave leaves machines behind that its successor makes again.
pub async fn a_creation_given_up_at_any_moment_is_one_set_when_asked_for_again(
    harness: &dyn ProviderHarness,
) -> Shown {
    let mut wanted = Vec::new();
    for (sequence, polls) in (1..).zip(GIVEN_UP) {
        let mut batch = batch(harness, sequence, 2);
        given_up_after(polls, harness.provider().create(&batch, &call(harness))).await;
        harness.settle().await;
        // whoever comes after knows that somebody was here before
        batch.attempt = 1;
        create(harness, &batch).await;
        harness.settle().await;
        wanted.extend(names(&batch));
        assert_eq!(
            standing_names(harness).await,
            wanted,
            "given up after {polls} polls"
        );
    }
    if let Ok(alive) = harness.alive().await {
        assert_eq!(alive, wanted.len());
    }
    Ok(())
}
