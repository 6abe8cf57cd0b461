//! Whoever can write to Redis can write nonsense. It must be an error that names the key, never a panic, never a zero.

use std::time::Duration;

use model::{Epoch, HolderId, PoolMemory};
use ports::{Acquired, LeaseName, PoolCommit, PoolRecord, Store, StoreErrorKind, WorkloadWrite};

use crate::fleet_or_skip;
use crate::formats::{create, named, pause, unmatched, workload};
use crate::shared::Fleet;

const LONG: Duration = Duration::from_secs(600);

async fn take(fleet: &Fleet, lease: &LeaseName) -> Epoch {
    let taken = fleet
        .store
        .acquire(lease, &HolderId::new("me"), LONG, Epoch(0))
        .await;
    match taken.expect("the store answers") {
        Acquired::Held(lease) => lease.epoch,
        Acquired::By { holder, .. } => panic!("held by {holder}"),
    }
}

/// Uses every verb, so that every key is there.
async fn fill(fleet: &Fleet) -> Epoch {
    let gitlab = LeaseName::Emitter("gitlab".parse().unwrap());
    let probing = take(fleet, &gitlab).await;
    let write = WorkloadWrite {
        emitter: "gitlab".parse().unwrap(),
        epoch: probing,
        elapsed: Duration::from_millis(250),
        workloads: vec![workload()],
        unmatched: vec![unmatched()],
        unmatched_total: 1,
        named: vec![named()],
        left_over: ["mac".parse().unwrap()].into(),
    };
    fleet.store.put_workloads(&write).await.unwrap();
    fleet
        .store
        .put_failure(&write.emitter, probing, "502")
        .await
        .unwrap();
    let epoch = take(fleet, &LeaseName::Scaler).await;
    fleet.store.commit(epoch, &[commit("linux")]).await.unwrap();
    fleet.store.put_order(&pause(), LONG).await.unwrap();
    epoch
}

fn commit(pool: &str) -> PoolCommit {
    PoolCommit {
        pool: pool.parse().unwrap(),
        memory: Some(PoolMemory::default()),
        put: vec![create(pool)],
        end: vec![],
        decision: Some(serde_json::json!({ "want": 1 })),
    }
}

/// What the store says of a value that is not ours, read beside a pool that is whole.
async fn read_error(fleet: &Fleet) -> String {
    let pools = ["linux".parse().unwrap(), "whole".parse().unwrap()];
    let emitters = ["gitlab".parse().unwrap()];
    let record = fleet.store.read(&pools, &emitters).await.unwrap();
    assert_eq!(
        record.pools[&pools[1]],
        PoolRecord::default(),
        "the other pool is read"
    );
    let pool = record.pools[&pools[0]].unreadable.clone();
    let failure = record.emitters[&emitters[0]].failure.clone();
    let words = pool.or(failure.map(|failure| failure.why));
    words.expect("nonsense was read")
}

#[tokio::test]
async fn no_key_lives_for_ever() {
    let fleet = fleet_or_skip!("no_key_lives_for_ever");
    fill(&fleet).await;
    let mut keys = fleet.keys().await;
    keys.sort();
    let names: Vec<_> = keys
        .iter()
        .map(|key| key.replace(&fleet.prefix, ""))
        .collect();
    assert_eq!(
        names,
        [
            "emitter:gitlab:lease",
            "emitter:gitlab:status",
            "linux:decisions",
            "linux:intents",
            "linux:memory",
            "linux:workload",
            "overrides",
            "scaler:lease",
        ]
    );
    for key in keys {
        let left: i64 = fleet.run(&["PTTL", &key]).await;
        assert!(left > 86_400_000, "{key} lives for {left} ms");
    }
}

#[tokio::test]
async fn overrides_that_are_not_ours_are_named_and_hide_no_other() {
    let fleet = fleet_or_skip!("overrides_that_are_not_ours_are_named");
    fill(&fleet).await;
    let key = fleet.key("overrides");
    for (field, value) in [("pause:mac", "{}"), ("pin:mac", "\u{0}"), ("odd", "[]")] {
        fleet.run::<()>(&["HSET", &key, field, value]).await;
    }
    let orders = fleet.store.read(&[], &[]).await.unwrap().orders;
    assert_eq!((orders.orders.len(), orders.unreadable.len()), (1, 3));
    for (said, field) in orders
        .unreadable
        .iter()
        .zip(["odd", "pause:mac", "pin:mac"])
    {
        assert!(said.contains(&key) && said.contains(field), "{said}");
    }
    // nobody knows until when it holds, so it is not taken for over
    let ended = fleet.store.end_order("pause:mac", true).await;
    let error = ended.expect_err("it is no order of ours");
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error:?}");
    assert!(fleet.store.end_order("pause:mac", false).await.unwrap());

    fleet.run::<()>(&["SET", &key, "text"]).await;
    let orders = fleet.store.read(&[], &[]).await.unwrap().orders;
    assert_eq!((orders.orders.len(), orders.unreadable.len()), (0, 1));
    let put = fleet.store.put_order(&pause(), LONG).await;
    assert_eq!(put.expect_err("not a hash").kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_nothing_is_written() {
    let fleet = fleet_or_skip!("a_key_of_another_type_is_named");
    for name in [
        "linux:workload",
        "linux:intents",
        "linux:memory",
        "emitter:gitlab:status",
    ] {
        let epoch = fill(&fleet).await;
        let key = fleet.key(name);
        fleet.run::<()>(&["DEL", &key]).await;
        fleet.run::<()>(&["LPUSH", &key, "nonsense"]).await;
        let text = read_error(&fleet).await;
        assert!(text.contains(&key), "{text}");
        if ["linux:intents", "linux:memory"].contains(&name) {
            let pools = [commit("windows"), commit("linux")];
            let error = fleet
                .store
                .commit(epoch, &pools)
                .await
                .expect_err("it was written");
            assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error:?}");
            assert!(error.to_string().contains(&key), "{error}");
            let other: bool = fleet.run(&["EXISTS", &fleet.key("windows:memory")]).await;
            assert!(!other, "half of a commit was written");
        }
        fleet.wipe().await;
    }
}

#[tokio::test]
async fn a_value_that_is_not_ours_is_named() {
    let fleet = fleet_or_skip!("a_value_that_is_not_ours_is_named");
    fill(&fleet).await;
    let nonsense = [
        "",
        "0",
        "null",
        "[]",
        "{}",
        "{\"looked_at_ms\":1e999}",
        "{\"written_at_ms\":0}",
    ];
    for (name, field) in [
        ("linux:workload", "gitlab"),
        ("linux:workload", "NOT A NAME"),
        ("linux:intents", "create:linux-1795531234567-1"),
        ("linux:intents", "what"),
        ("emitter:gitlab:status", "good"),
        ("emitter:gitlab:status", "failure"),
    ] {
        let key = fleet.key(name);
        for value in nonsense {
            fleet.run::<()>(&["HSET", &key, field, value]).await;
            let text = read_error(&fleet).await;
            assert!(text.contains(&key) && text.contains(field), "{text}");
        }
        fleet.wipe().await;
        fill(&fleet).await;
    }
    // A workload of another pool, copied to this one, would have its jobs served twice.
    let key = fleet.key("linux:workload");
    let copy: String = fleet.run(&["HGET", &key, "gitlab"]).await;
    fleet
        .run::<()>(&[
            "HSET",
            &key,
            "gitlab",
            &copy.replace("\"linux\"", "\"windows\""),
        ])
        .await;
    assert!(read_error(&fleet).await.contains(&key));
    let newer = copy.replace("\"version\":1", "\"version\":2");
    fleet.run::<()>(&["HSET", &key, "gitlab", &newer]).await;
    assert!(read_error(&fleet).await.contains("newer version"));
}

#[tokio::test]
async fn memory_that_cannot_be_read_is_as_good_as_none() {
    let fleet = fleet_or_skip!("memory_that_cannot_be_read_is_as_good_as_none");
    fill(&fleet).await;
    let pools = ["linux".parse().unwrap()];
    for value in ["", "nonsense", "{\"version\":99}", "{\"missing\":7}"] {
        fleet
            .run::<()>(&["SET", &fleet.key("linux:memory"), value])
            .await;
        let record = fleet.store.read(&pools, &[]).await.unwrap();
        assert_eq!(record.pools[&pools[0]].memory, None, "{value}");
    }
}

#[tokio::test]
async fn a_broken_lease_is_named_and_never_taken() {
    let fleet = fleet_or_skip!("a_broken_lease_is_named");
    let key = fleet.key("scaler:lease");
    let me = HolderId::new("me");
    for fields in [
        ["epoch", "nonsense"],
        ["epoch", "99999999999999999999"],
        ["until_ms", "soon"],
        ["ttl_ms", ""],
    ] {
        let epoch = take(&fleet, &LeaseName::Scaler).await;
        fleet.run::<()>(&["HSET", &key, fields[0], fields[1]]).await;
        let error = fleet
            .store
            .acquire(&LeaseName::Scaler, &me, LONG, Epoch(0))
            .await;
        let error = error.expect_err("a broken lease was taken");
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error:?}");
        assert!(error.to_string().contains(&key), "{error}");
        if fields[0] != "ttl_ms" {
            let error = fleet
                .store
                .commit(epoch, &[])
                .await
                .expect_err("written under it");
            let kinds = [StoreErrorKind::Corrupt, StoreErrorKind::Fenced];
            assert!(kinds.contains(&error.kind), "{error:?}");
        }
        fleet.wipe().await;
    }
    fleet.run::<()>(&["SET", &key, "nonsense"]).await;
    let error = fleet
        .store
        .acquire(&LeaseName::Scaler, &me, LONG, Epoch(0))
        .await;
    assert_eq!(error.expect_err("taken").kind, StoreErrorKind::Corrupt);
    let error = fleet
        .store
        .renew(&LeaseName::Scaler, &me, Epoch(1), LONG)
        .await;
    assert_eq!(error.expect_err("renewed").kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_clock_that_went_back_does_not_make_a_lease_last_for_hours() {
    let fleet = fleet_or_skip!("a_clock_that_went_back");
    let key = fleet.key("scaler:lease");
    let short = Duration::from_millis(50);
    let first = HolderId::new("first");
    fleet
        .store
        .acquire(&LeaseName::Scaler, &first, short, Epoch(0))
        .await
        .unwrap();
    let till: i64 = fleet.run(&["HGET", &key, "until_ms"]).await;
    let hours_later = (till + 7_200_000).to_string();
    fleet
        .run::<()>(&["HSET", &key, "until_ms", &hours_later])
        .await;
    let other = HolderId::new("other");
    let asked = fleet
        .store
        .acquire(&LeaseName::Scaler, &other, LONG, Epoch(0))
        .await
        .unwrap();
    assert!(
        matches!(asked, Acquired::By { remaining, .. } if remaining <= short),
        "{asked:?}"
    );
    tokio::time::sleep(short * 2).await;
    let asked = fleet
        .store
        .acquire(&LeaseName::Scaler, &other, LONG, Epoch(0))
        .await
        .unwrap();
    assert!(matches!(asked, Acquired::Held(_)), "{asked:?}");
}

#[tokio::test]
async fn a_forged_epoch_on_a_machine_is_refused() {
    let fleet = fleet_or_skip!("a_forged_epoch_on_a_machine_is_refused");
    let me = HolderId::new("me");
    let asked = fleet
        .store
        .acquire(&LeaseName::Scaler, &me, LONG, Epoch(u64::MAX))
        .await;
    assert_eq!(
        asked.expect_err("it was believed").kind,
        StoreErrorKind::Refused
    );
}

#[tokio::test]
async fn two_fleets_on_one_server_do_not_see_each_other() {
    let fleet = fleet_or_skip!("two_fleets_on_one_server");
    let other = fleet_or_skip!("two_fleets_on_one_server");
    fill(&fleet).await;
    let pools = ["linux".parse().unwrap()];
    let record = other.store.read(&pools, &[]).await.unwrap();
    assert_eq!(record.pools[&pools[0]], ports::PoolRecord::default());
    take(&other, &LeaseName::Scaler).await;
}

#[tokio::test]
async fn decisions_are_kept_in_order_and_capped() {
    let fleet = fleet_or_skip!("decisions_are_kept_in_order_and_capped");
    let epoch = take(&fleet, &LeaseName::Scaler).await;
    for number in 0..1_300 {
        let mut commit = commit("linux");
        commit.put.clear();
        commit.memory = None;
        commit.decision = Some(serde_json::json!({ "number": number }));
        fleet.store.commit(epoch, &[commit]).await.unwrap();
    }
    let key = fleet.key("linux:decisions");
    let kept: usize = fleet.run(&["XLEN", &key]).await;
    // Redis trims whole blocks of a hundred.
    assert!((1_000..1_200).contains(&kept), "{kept}");
    type Entries = Vec<(String, Vec<(String, String)>)>;
    let last: Entries = fleet
        .run(&["XREVRANGE", &key, "+", "-", "COUNT", "1"])
        .await;
    assert_eq!(
        last[0].1,
        [("decision".to_owned(), "{\"number\":1299}".to_owned())]
    );
}
