//! Leases: one holder at a time, epochs that only grow.

use futures::future::join_all;
use model::Epoch;
use ports::{Acquired, Lease, LeaseName};

use super::{LONG, LONGER_THAN_SHORT, SHORT, StoreHarness, acquire, emitter, holder, take};

const SCALER: LeaseName = LeaseName::Scaler;

/// Without it two scalers act for one fleet at a time.
pub async fn a_free_lease_is_taken_and_a_held_one_is_not(harness: &dyn StoreHarness) {
    let store = harness.store();
    take(store, &SCALER, "first", LONG, 0).await;
    match acquire(store, &SCALER, "second", LONG, 0).await {
        Acquired::By { holder, remaining } => {
            assert_eq!(holder.as_str(), "first");
            assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");
        }
        Acquired::Held(_) => panic!("two holders"),
    }
}

/// Without it replicas that start together all lead.
pub async fn of_many_who_ask_at_once_one_gets_it(harness: &dyn StoreHarness) {
    let store = harness.store();
    let names: Vec<_> = (0..20).map(|number| format!("replica-{number}")).collect();
    let asked = names
        .iter()
        .map(|name| acquire(store, &SCALER, name, LONG, 0));
    let answers = join_all(asked).await;
    let held = answers
        .iter()
        .filter(|answer| matches!(answer, Acquired::Held(_)));
    assert_eq!(held.count(), 1, "{answers:?}");
}

/// Without it a holder that asks again fences off its own calls in flight.
pub async fn the_holder_extends_its_lease_in_the_same_epoch(harness: &dyn StoreHarness) {
    let store = harness.store();
    let first = take(store, &SCALER, "me", LONG, 0).await;
    let again = take(store, &SCALER, "me", LONG, 0).await;
    assert_eq!(first.epoch, again.epoch);
    assert!(again.remembered);
    let renewed = store.renew(&SCALER, &holder("me"), first.epoch, LONG).await;
    assert!(renewed.expect("the store answers"));
}

/// Without it a crashed holder blocks the fleet for ever, or a holder that slept goes on under a right it lost.
pub async fn a_lease_that_is_over_is_nobodys(harness: &dyn StoreHarness) {
    let store = harness.store();
    let first = take(store, &SCALER, "me", SHORT, 0).await;
    harness.pass(LONGER_THAN_SHORT).await;
    let renewed = store.renew(&SCALER, &holder("me"), first.epoch, LONG).await;
    assert!(
        !renewed.expect("the store answers"),
        "renewed what was over"
    );
    let mine = take(store, &SCALER, "me", SHORT, 0).await;
    assert!(
        mine.epoch > first.epoch,
        "a new term is a new epoch, for the same holder too"
    );
    harness.pass(LONGER_THAN_SHORT).await;
    let theirs = take(store, &SCALER, "other", LONG, 0).await;
    assert!(theirs.epoch > mine.epoch && theirs.remembered);
}

/// Without it every term ends after one time-to-live, however alive the holder is.
pub async fn a_renewed_lease_lives_longer(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = take(store, &SCALER, "me", SHORT * 10, 0).await;
    let renewed = store.renew(&SCALER, &holder("me"), lease.epoch, LONG).await;
    assert!(renewed.expect("the store answers"));
    harness.pass(SHORT * 11).await;
    let answer = acquire(store, &SCALER, "other", LONG, 0).await;
    assert!(matches!(answer, Acquired::By { .. }), "{answer:?}");
}

/// Without it every deployment waits for a time-to-live.
pub async fn a_released_lease_is_free_at_once(harness: &dyn StoreHarness) {
    let store = harness.store();
    let first = take(store, &SCALER, "me", LONG, 0).await;
    let released = store.release(&SCALER, &holder("me"), first.epoch).await;
    released.expect("the store answers");
    let next = take(store, &SCALER, "other", LONG, 0).await;
    assert!(next.epoch > first.epoch && next.remembered, "{next:?}");
    let again = store.release(&SCALER, &holder("me"), first.epoch).await;
    again.expect("not having it is success");
    let kept = store
        .renew(&SCALER, &holder("other"), next.epoch, LONG)
        .await;
    assert!(
        kept.expect("the store answers"),
        "a late release took another's lease"
    );
}

/// Without it an old process that wakes up takes the lease from the new one.
pub async fn only_the_holder_can_release_or_renew(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = take(store, &SCALER, "me", LONG, 0).await;
    let wrong = [("other", lease.epoch), ("me", Epoch(lease.epoch.0 - 1))];
    for (who, epoch) in wrong {
        let renewed = store.renew(&SCALER, &holder(who), epoch, LONG).await;
        assert!(!renewed.expect("the store answers"), "{who} in {epoch}");
        let released = store.release(&SCALER, &holder(who), epoch).await;
        released.expect("not having it is success");
    }
    let nobody = LeaseName::Emitter(emitter("nobody"));
    let renewed = store.renew(&nobody, &holder("me"), lease.epoch, LONG).await;
    assert!(
        !renewed.expect("the store answers"),
        "renewed what was never taken"
    );
    let kept = store.renew(&SCALER, &holder("me"), lease.epoch, LONG).await;
    assert!(kept.expect("the store answers"));
}

/// Without it a new holder's machines could carry an older epoch than those it finds.
pub async fn an_epoch_is_greater_than_every_earlier_one_and_the_floor(harness: &dyn StoreHarness) {
    let store = harness.store();
    // A floor in the year 2128, as a tag made under a wrong clock could carry.
    let floor = 5_000_000_000_000;
    let first = take(store, &SCALER, "me", LONG, floor).await;
    assert_eq!(first.epoch, Epoch(floor + 1));
    let released = store.release(&SCALER, &holder("me"), first.epoch).await;
    released.expect("the store answers");
    let second = take(store, &SCALER, "me", LONG, 0).await;
    assert_eq!(second.epoch, Epoch(floor + 2));
}

/// Without it a wiped store gives out epochs that are on machines already.
pub async fn an_epoch_grows_over_a_wipe(harness: &dyn StoreHarness) {
    let store = harness.store();
    let before = take(store, &SCALER, "me", LONG, 0).await;
    assert!(!before.remembered, "nothing was there to remember");
    harness.wipe().await;
    harness.pass(LONGER_THAN_SHORT).await;
    let after = take(store, &SCALER, "other", LONG, 0).await;
    let expected = Lease {
        epoch: after.epoch,
        remembered: false,
    };
    assert_eq!(after, expected);
    assert!(after.epoch > before.epoch);
}

/// Without it one emitter's prober stops another's.
pub async fn leases_do_not_touch_each_other(harness: &dyn StoreHarness) {
    let store = harness.store();
    // An emitter may be called like any other part of a key.
    for name in [
        LeaseName::Scaler,
        LeaseName::Emitter(emitter("scaler")),
        LeaseName::Emitter(emitter("lease")),
        LeaseName::Emitter(emitter("gitlab")),
    ] {
        let lease = take(store, &name, &format!("{name:?}"), LONG, 0).await;
        assert!(!lease.remembered);
    }
}
