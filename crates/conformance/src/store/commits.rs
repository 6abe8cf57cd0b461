//! What the scaler writes: memory, intents, decisions.

use std::time::Duration;

use jiff::Timestamp;
use model::{
    BatchId, EmitterName, Epoch, ExecutorId, ExecutorRef, Intent, LeaveStep, OfferId, PoolMemory,
    StoredIntent,
};
use ports::{FleetRecord, LeaseName, PoolCommit, PoolRecord, StoreErrorKind};

use super::{
    LONG, LONGER_THAN_SHORT, SHORT, StoreHarness, emitter, holder, look, pool, take,
    take_and_write, workload,
};

const SCALER: LeaseName = LeaseName::Scaler;
const NO_EMITTERS: &[EmitterName] = &[];

fn create(pool_name: &str, sequence: u32) -> Intent {
    Intent::Create {
        batch: BatchId {
            pool: pool(pool_name),
            epoch: Epoch(1_795_531_234_567),
            sequence,
        },
        count: 2,
        provider: "aws".parse().expect("the name of a provider"),
        offer: OfferId {
            machine: "linux-m".parse().expect("the name of a machine"),
            index: 0,
        },
        executor: None,
    }
}

fn leave(instance: &str, step: LeaveStep) -> Intent {
    Intent::Leave {
        instance: instance.parse().expect("the name of a machine"),
        executor: Some(ExecutorRef {
            emitter: emitter("gitlab"),
            id: ExecutorId::new("17"),
        }),
        epoch: Epoch(1_795_531_234_567),
        step,
    }
}

fn memory(instance: &str) -> PoolMemory {
    let mut memory = PoolMemory::default();
    let name = instance.parse().expect("the name of a machine");
    memory.idle_since.insert(name, Timestamp::UNIX_EPOCH);
    memory
}

fn commit(pool_name: &str) -> PoolCommit {
    PoolCommit {
        pool: pool(pool_name),
        memory: None,
        put: vec![],
        end: vec![],
        decision: None,
    }
}

async fn read(harness: &dyn StoreHarness, pools: &[&str]) -> FleetRecord {
    let pools: Vec<_> = pools.iter().map(|name| pool(name)).collect();
    let record = harness.store().read(&pools, NO_EMITTERS).await;
    record.expect("the store answers")
}

fn intents(record: &PoolRecord) -> Vec<Intent> {
    let mut intents: Vec<_> = record
        .intents
        .iter()
        .map(|stored| stored.intent.clone())
        .collect();
    intents.sort_by_key(Intent::key);
    intents
}

fn age_of(record: &PoolRecord, intent: &Intent) -> Duration {
    let same = |stored: &&StoredIntent| stored.intent.key() == intent.key();
    record
        .intents
        .iter()
        .find(same)
        .expect("the intent is stored")
        .age
}

/// Without it a new scaler does not know what was begun, and begins it again.
pub async fn what_was_committed_is_read(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let begun = [
        create("linux", 1),
        leave("linux-7-1-0", LeaveStep::Settling),
    ];
    let mut linux = commit("linux");
    linux.put = begun.to_vec();
    linux.memory = Some(memory("linux-7-1-0"));
    linux.decision = Some(serde_json::json!({ "want": 3, "why": "demand" }));
    let mut windows = commit("windows");
    windows.memory = Some(memory("windows-7-1-0"));
    store
        .commit(epoch, &[linux, windows, commit("idle")])
        .await
        .expect("the holder may write");

    let record = read(harness, &["linux", "windows", "idle"]).await;
    let of = |name| &record.pools[&pool(name)];
    assert_eq!(intents(of("linux")), begun);
    assert!(age_of(of("linux"), &begun[0]) < LONG);
    assert_eq!(of("linux").memory, Some(memory("linux-7-1-0")));
    assert_eq!(of("windows").memory, Some(memory("windows-7-1-0")));
    assert_eq!(of("idle"), &PoolRecord::default());
}

/// Without it a step of a departure is thought to have settled before it began.
pub async fn an_intent_put_again_is_young_again(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let kept = create("linux", 1);
    let mut first = commit("linux");
    first.put = vec![kept.clone(), leave("linux-7-1-0", LeaveStep::Cordoning)];
    store
        .commit(epoch, &[first])
        .await
        .expect("the holder may write");
    // Long against the two round trips after it, whose time must stay below.
    let time = SHORT * 20;
    harness.pass(time).await;
    let moved = leave("linux-7-1-0", LeaveStep::Settling);
    let mut second = commit("linux");
    second.put = vec![moved.clone()];
    store
        .commit(epoch, &[second])
        .await
        .expect("the holder may write");
    let record = read(harness, &["linux"]).await;
    let linux = &record.pools[&pool("linux")];
    assert_eq!(intents(linux), [kept.clone(), moved.clone()]);
    assert!(
        age_of(linux, &kept) + Duration::from_millis(2) >= time,
        "{linux:?}"
    );
    assert!(age_of(linux, &moved) < time, "{linux:?}");
}

/// Without it what was done long ago is counted for ever.
pub async fn an_ended_intent_is_gone(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let (ended, kept) = (create("linux", 1), create("linux", 2));
    let mut first = commit("linux");
    first.put = vec![ended.clone(), kept.clone()];
    store
        .commit(epoch, &[first])
        .await
        .expect("the holder may write");
    let mut second = commit("linux");
    // One that is not there ends without complaint: the commit may be a repeated one.
    second.end = vec![ended.key(), create("linux", 99).key()];
    store
        .commit(epoch, &[second])
        .await
        .expect("the holder may write");
    let record = read(harness, &["linux"]).await;
    assert_eq!(intents(&record.pools[&pool("linux")]), [kept]);
}

/// Without it a cycle that changed nothing makes the engine forget.
pub async fn a_commit_without_memory_keeps_the_old_one(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let mut first = commit("linux");
    first.memory = Some(memory("linux-7-1-0"));
    store
        .commit(epoch, &[first])
        .await
        .expect("the holder may write");
    store
        .commit(epoch, &[commit("linux")])
        .await
        .expect("the holder may write");
    store
        .commit(epoch, &[])
        .await
        .expect("nothing to write is success");
    let record = read(harness, &["linux"]).await;
    assert_eq!(
        record.pools[&pool("linux")].memory,
        Some(memory("linux-7-1-0"))
    );
}

/// Without it a scaler that slept acts on, and its plan overwrites its successor's (I7).
pub async fn a_stale_scaler_writes_nothing_at_all(harness: &dyn StoreHarness) {
    let store = harness.store();
    let mut linux = commit("linux");
    linux.put = vec![create("linux", 1)];
    let mut windows = commit("windows");
    windows.memory = Some(memory("windows-7-1-0"));
    let pools = [linux, windows];

    let never = store
        .commit(Epoch(1), &pools)
        .await
        .expect_err("without a lease");
    assert_eq!(never.kind, StoreErrorKind::Fenced, "{never}");
    let old = take(store, &SCALER, "old", SHORT, 0).await.epoch;
    harness.pass(LONGER_THAN_SHORT).await;
    let over = store
        .commit(old, &pools)
        .await
        .expect_err("the term is over");
    assert_eq!(over.kind, StoreErrorKind::Fenced, "{over}");
    let new = take(store, &SCALER, "new", LONG, 0).await.epoch;
    for epoch in [old, Epoch(new.0 + 1)] {
        let refused = store.commit(epoch, &pools).await.expect_err("not its term");
        assert_eq!(refused.kind, StoreErrorKind::Fenced, "{refused}");
    }
    // The right of an emitter's prober is not the right of a scaler.
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let probing = take(store, &lease, "prober", LONG, 7_000_000_000_000)
        .await
        .epoch;
    let refused = store
        .commit(probing, &pools)
        .await
        .expect_err("another lease");
    assert_eq!(refused.kind, StoreErrorKind::Fenced, "{refused}");
    let record = read(harness, &["linux", "windows"]).await;
    for (name, record) in &record.pools {
        assert_eq!(record, &PoolRecord::default(), "{name}");
    }
}

/// Without it a commit whose answer was lost cannot be repeated.
pub async fn the_same_commit_twice_is_one(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let mut linux = commit("linux");
    linux.put = vec![create("linux", 2)];
    linux.end = vec![create("linux", 1).key()];
    linux.memory = Some(memory("linux-7-1-0"));
    for _ in 0..2 {
        store
            .commit(epoch, &[linux.clone()])
            .await
            .expect("the holder may write");
    }
    let record = read(harness, &["linux"]).await;
    let record = &record.pools[&pool("linux")];
    assert_eq!(intents(record), [create("linux", 2)]);
    assert_eq!(record.memory, linux.memory);
}

/// Without it an operator's choice of a name reads or writes another's data.
pub async fn names_that_look_like_keys_do_not_collide(harness: &dyn StoreHarness) {
    let store = harness.store();
    let names = [
        "scaler", "emitter", "lease", "workload", "offers", "wake", "intents",
    ];
    let epoch = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let commits: Vec<_> = names
        .iter()
        .map(|name| {
            let mut commit = commit(name);
            commit.put = vec![create(name, 1)];
            commit.memory = Some(memory(&format!("{name}-7-1-0")));
            commit.decision = Some(serde_json::json!({}));
            commit
        })
        .collect();
    for name in names {
        take_and_write(store, name, vec![workload(name, name, 1)]).await;
    }
    store
        .commit(epoch, &commits)
        .await
        .expect("the holder may write");
    let emitters: Vec<_> = names.iter().map(|name| emitter(name)).collect();
    let pools: Vec<_> = names.iter().map(|name| pool(name)).collect();
    let record = store
        .read(&pools, &emitters)
        .await
        .expect("the store answers");
    for name in names {
        let record = &record.pools[&pool(name)];
        assert_eq!(intents(record), [create(name, 1)]);
        assert_eq!(record.memory, Some(memory(&format!("{name}-7-1-0"))));
        assert_eq!(record.workloads.len(), 1, "{name}");
        assert_eq!(
            record.workloads[&emitter(name)].workload,
            workload(name, name, 1)
        );
    }
    let kept = store.renew(&SCALER, &holder("me"), epoch, LONG).await;
    assert!(kept.expect("the store answers"));
}

/// Without it a wiped store leaves halves behind, or lets holders of before write into the emptiness.
pub async fn a_wipe_loses_everything_and_fences_everybody(harness: &dyn StoreHarness) {
    let store = harness.store();
    let scaler = take(store, &SCALER, "me", LONG, 0).await.epoch;
    let prober = take_and_write(store, "gitlab", vec![workload("linux", "gitlab", 3)]).await;
    let mut linux = commit("linux");
    linux.put = vec![create("linux", 1)];
    store
        .commit(scaler, &[linux.clone()])
        .await
        .expect("the holder may write");
    harness.wipe().await;

    let record = read(harness, &["linux"]).await;
    assert_eq!(record.pools[&pool("linux")], PoolRecord::default());
    let refused = store
        .commit(scaler, &[linux])
        .await
        .expect_err("the lease is gone");
    assert_eq!(refused.kind, StoreErrorKind::Fenced, "{refused}");
    let write = look("gitlab", prober, vec![workload("linux", "gitlab", 3)]);
    let refused = store
        .put_workloads(&write)
        .await
        .expect_err("the lease is gone");
    assert_eq!(refused.kind, StoreErrorKind::Fenced, "{refused}");
    let renewed = store.renew(&SCALER, &holder("me"), scaler, LONG).await;
    assert!(!renewed.expect("the store answers"));
}
