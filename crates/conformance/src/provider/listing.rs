//! Listings: complete or saying what is missing, and never of others' machines.

use std::collections::BTreeSet;

use model::FleetId;

use super::{
    ProviderHarness, Shown, all_done, batch, call, create, list, machines, names, names_of,
    standing, standing_names,
};

/// Without it a new fleet cannot tell "nothing yet" from "cannot see".
pub async fn an_empty_fleet_is_a_complete_and_empty_listing(
    harness: &dyn ProviderHarness,
) -> Shown {
    assert!(list(harness, &harness.fleet()).await.instances.is_empty());
    Ok(())
}

/// Without it the machines of the second page are created again at every tick.
pub async fn all_of_many_machines_are_listed_once(harness: &dyn ProviderHarness) -> Shown {
    // where every machine takes a call of its own, a dozen has to do
    let count = if harness.largest_batch() < 20 { 12 } else { 60 };
    let made = machines(harness, count).await;
    harness.settle().await;
    let listed = list(harness, &harness.fleet()).await.instances;
    let ids: BTreeSet<_> = listed.iter().map(|machine| &machine.id).collect();
    assert_eq!((listed.len(), ids.len()), (made.len(), made.len()));
    assert_eq!(standing_names(harness).await, names_of(&made));
    Ok(())
}

/// Without it the first sweep for orphans deletes somebody's database.
pub async fn a_foreign_machine_is_never_listed(harness: &dyn ProviderHarness) -> Shown {
    harness.foreign().await?;
    let batch = batch(harness, 1, 1);
    create(harness, &batch).await;
    harness.settle().await;
    let listed = list(harness, &harness.fleet()).await.instances;
    let listed: Vec<_> = listed.into_iter().map(|machine| machine.name).collect();
    assert_eq!(listed, names(&batch));
    assert_eq!(harness.alive().await?, 2, "and it was left alone");
    Ok(())
}

/// Without it two teams in one account delete each other's machines.
pub async fn two_fleets_stand_side_by_side(harness: &dyn ProviderHarness) -> Shown {
    let ours = batch(harness, 1, 2);
    let mut theirs = ours.clone();
    let other = format!("{}x", harness.fleet());
    theirs.fleet = other.parse::<FleetId>().expect("the name of a fleet");
    let mine = create(harness, &ours).await;
    let others = create(harness, &theirs).await;
    let ids: BTreeSet<_> = mine
        .iter()
        .chain(&others)
        .map(|machine| &machine.id)
        .collect();
    assert_eq!(
        ids.len(),
        2 * names(&ours).len(),
        "the same batch of another fleet is another batch"
    );
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names(&ours));
    all_done(harness.provider().delete(&mine, &call(harness)).await);
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    let left = list(harness, &theirs.fleet).await.instances;
    assert_eq!(left.len(), others.len());
    assert!(
        left.iter()
            .all(|machine| machine.owner.fleet == theirs.fleet && !machine.state.is_gone())
    );
    Ok(())
}

/// Without it a machine that is not listed yet is made once more, or one that is still listed is waited for.
pub async fn a_listing_that_lags_loses_nothing(harness: &dyn ProviderHarness) -> Shown {
    let batch = batch(harness, 1, 2);
    let made = create(harness, &batch).await;
    let early = standing_names(harness).await;
    assert!(
        early.iter().all(|name| names(&batch).contains(name)),
        "{early:?}"
    );
    harness.settle().await;
    assert_eq!(standing_names(harness).await, names(&batch));
    all_done(harness.provider().delete(&made, &call(harness)).await);
    let early = standing_names(harness).await;
    assert!(
        early.iter().all(|name| names(&batch).contains(name)),
        "{early:?}"
    );
    harness.settle().await;
    assert!(standing_names(harness).await.is_empty());
    Ok(())
}

/// Without it a zone that does not answer looks like a zone without machines, and all of them are made again.
pub async fn what_could_not_be_seen_is_named(harness: &dyn ProviderHarness) -> Shown {
    let batch = batch(harness, 1, 2);
    create(harness, &batch).await;
    harness.settle().await;
    harness.blind().await?;
    if let Ok(listing) = harness.provider().list(&harness.fleet()).await {
        assert!(
            !listing.unknown.is_empty(),
            "a short listing that looks complete"
        );
    }
    assert_eq!(
        standing_names(harness).await,
        names(&batch),
        "the next look sees all"
    );
    Ok(())
}

/// Without it a machine with two minutes to live takes the next job, and the job is lost with it.
pub async fn a_machine_that_is_taken_back_is_listed_with_the_notice(
    harness: &dyn ProviderHarness,
) -> Shown {
    let made = machines(harness, 2).await;
    harness.settle().await;
    harness.announce_end(&made[0]).await?;
    let listed = standing(harness).await;
    let notice = |machine: &model::Instance| listed[&machine.name].notice.is_some();
    assert_eq!((notice(&made[0]), notice(&made[1])), (true, false));
    Ok(())
}
