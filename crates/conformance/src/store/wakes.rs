//! Wake-ups: hints, never the truth.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use model::{EmitterName, Epoch, HolderId};
use ports::{Acquired, LeaseName, Wake};

use super::{StoreHarness, look, pool, take_and_write, workload};

/// The next hint. Ten seconds on the real clock mean that it will not come.
async fn next(wakes: &mut BoxStream<'static, Wake>) -> Wake {
    let hint = tokio::time::timeout(Duration::from_secs(10), wakes.next()).await;
    hint.expect("a hint comes").expect("the hints never end")
}

/// Without it what changed between the last read and the subscription waits for the slow sweep.
pub async fn the_first_hint_is_to_look_at_everything(harness: &dyn StoreHarness) {
    let mut wakes = harness.store().wakes();
    assert_eq!(next(&mut wakes).await, Wake::All);
    harness.store().ping().await.expect("the store answers");
}

/// Without it a new job waits for the slow sweep, or every look of every emitter wakes the scaler.
pub async fn a_change_wakes_and_no_change_does_not(harness: &dyn StoreHarness) {
    let store = harness.store();
    let mut wakes = store.wakes();
    assert_eq!(next(&mut wakes).await, Wake::All);
    let (mut linux, mut windows) = (
        workload("linux", "gitlab", 1),
        workload("windows", "gitlab", 1),
    );
    let epoch = take_and_write(store, "gitlab", vec![linux.clone(), windows.clone()]).await;
    let mut first = [next(&mut wakes).await, next(&mut wakes).await];
    first.sort_by_key(|wake| format!("{wake:?}"));
    assert_eq!(
        first,
        [Wake::Pool(pool("linux")), Wake::Pool(pool("windows"))]
    );

    // The same jobs a little later: they waited longer, which is no news.
    linux.demand.oldest_wait = Some(Duration::from_secs(60));
    let same = look("gitlab", epoch, vec![linux.clone(), windows.clone()]);
    store
        .put_workloads(&same)
        .await
        .expect("the holder may write");
    windows.demand.runnable = 2;
    let changed = look("gitlab", epoch, vec![linux.clone(), windows.clone()]);
    store
        .put_workloads(&changed)
        .await
        .expect("the holder may write");
    assert_eq!(next(&mut wakes).await, Wake::Pool(pool("windows")));
    linux.executors.clear();
    let changed = look("gitlab", epoch, vec![linux, windows]);
    store
        .put_workloads(&changed)
        .await
        .expect("the holder may write");
    assert_eq!(next(&mut wakes).await, Wake::Pool(pool("linux")));
}

/// Without it a standby scaler that takes over listens to nothing.
pub async fn every_listener_hears_every_change(harness: &dyn StoreHarness) {
    let store = harness.store();
    let (mut one, mut two) = (store.wakes(), store.wakes());
    assert_eq!(next(&mut one).await, Wake::All);
    assert_eq!(next(&mut two).await, Wake::All);
    take_and_write(store, "gitlab", vec![workload("linux", "gitlab", 1)]).await;
    for wakes in [&mut one, &mut two] {
        assert_eq!(next(wakes).await, Wake::Pool(pool("linux")));
    }
}

/// Without it a planned restart of the scaler costs seconds until the standby asks again.
pub async fn a_scaler_that_gives_its_lease_back_wakes_all(harness: &dyn StoreHarness) {
    let store = harness.store();
    let (holder, other) = (HolderId::new("a"), HolderId::new("b"));
    let ttl = Duration::from_secs(60);
    let taken = store.acquire(&LeaseName::Scaler, &holder, ttl, Epoch(0));
    let Ok(Acquired::Held(lease)) = taken.await else {
        panic!("the lease is free");
    };
    let mut wakes = store.wakes();
    assert_eq!(next(&mut wakes).await, Wake::All);
    // what is not the holder's to give back is no news
    let release = |holder| store.release(&LeaseName::Scaler, holder, lease.epoch);
    release(&other).await.expect("not having it is success");
    take_and_write(store, "gitlab", vec![workload("linux", "gitlab", 1)]).await;
    assert_eq!(next(&mut wakes).await, Wake::Pool(pool("linux")));
    release(&holder).await.expect("the holder may");
    assert_eq!(next(&mut wakes).await, Wake::All);
}

/// Without it a hook that reaches one replica is lost while another one looks at the emitter.
pub async fn a_hint_is_heard_by_every_replica(harness: &dyn StoreHarness) {
    let store = harness.store();
    let (mut first, mut second) = (store.hints(), store.hints());
    let gitlab: EmitterName = "gitlab".parse().expect("a name");
    // a hint before the subscription is lost, which is allowed: so it is sent until it is heard
    for hints in [&mut first, &mut second] {
        let heard = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                store
                    .hint(&gitlab)
                    .await
                    .expect("the store passes hints on");
                let next = tokio::time::timeout(Duration::from_millis(100), hints.next()).await;
                if let Ok(heard) = next {
                    return heard.expect("the hints never end");
                }
            }
        });
        assert_eq!(heard.await.expect("a hint is heard"), gitlab);
    }
}
