//! Workloads and the status of emitters.

use std::time::Duration;

use model::{Epoch, JobId, NamedJob, NamedState, Unmatched};
use ports::{EmitterStatus, FleetRecord, LeaseName, PoolRecord, StoreErrorKind};

use super::{
    LONG, LONGER_THAN_SHORT, SHORT, StoreHarness, emitter, look, pool, take, take_and_write,
    workload,
};

async fn read(harness: &dyn StoreHarness, pools: &[&str], emitters: &[&str]) -> FleetRecord {
    let pools: Vec<_> = pools.iter().map(|name| pool(name)).collect();
    let emitters: Vec<_> = emitters.iter().map(|name| emitter(name)).collect();
    let record = harness.store().read(&pools, &emitters).await;
    record.expect("the store answers")
}

/// Without it the scaler scales something else than what the CI server said.
pub async fn what_was_written_is_read(harness: &dyn StoreHarness) {
    let (linux, windows) = (
        workload("linux", "gitlab", 3),
        workload("windows", "gitlab", 0),
    );
    take_and_write(
        harness.store(),
        "gitlab",
        vec![linux.clone(), windows.clone()],
    )
    .await;
    let record = read(harness, &["linux", "windows"], &["gitlab"]).await;
    let of = |name: &str| &record.pools[&pool(name)].workloads[&emitter("gitlab")].workload;
    assert_eq!(of("linux"), &linux);
    assert_eq!(of("windows"), &windows);
    let status = &record.emitters[&emitter("gitlab")];
    assert!(
        status.last_good.is_some() && status.failure.is_none(),
        "{status:?}"
    );
}

/// Without it a slow look seems as fresh as a quick one, and a job that ended during it is still counted.
pub async fn an_age_counts_from_the_start_of_the_look(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let epoch = take(store, &lease, "prober", LONG, 0).await.epoch;
    let mut write = look("gitlab", epoch, vec![workload("linux", "gitlab", 1)]);
    write.elapsed = Duration::from_secs(9);
    store
        .put_workloads(&write)
        .await
        .expect("the holder may write");

    let record = read(harness, &["linux"], &["gitlab"]).await;
    let age = record.pools[&pool("linux")].workloads[&emitter("gitlab")].age;
    assert!(age >= write.elapsed && age < LONG, "{age:?}");
    harness.pass(SHORT).await;
    let record = read(harness, &["linux"], &["gitlab"]).await;
    let later = record.pools[&pool("linux")].workloads[&emitter("gitlab")].age;
    // A store counts whole milliseconds, so one may be lost at either end.
    assert!(
        later + Duration::from_millis(2) >= age + SHORT,
        "{later:?} after {age:?}"
    );
    let status = &record.emitters[&emitter("gitlab")];
    assert!(
        status.last_good.is_some_and(|age| age >= write.elapsed),
        "{status:?}"
    );
}

/// Without it one emitter of a pool hides the other's jobs, or old jobs are never forgotten.
pub async fn a_new_look_replaces_the_old_one_of_its_emitter_only(harness: &dyn StoreHarness) {
    let store = harness.store();
    let epoch = take_and_write(store, "gitlab", vec![workload("linux", "gitlab", 5)]).await;
    take_and_write(store, "jenkins", vec![workload("linux", "jenkins", 7)]).await;
    let again = look("gitlab", epoch, vec![workload("linux", "gitlab", 0)]);
    store
        .put_workloads(&again)
        .await
        .expect("the holder may write");
    let record = read(harness, &["linux"], &[]).await;
    let runnable = |name| {
        let stored = &record.pools[&pool("linux")].workloads[&emitter(name)];
        stored.workload.demand.runnable
    };
    assert_eq!((runnable("gitlab"), runnable("jenkins")), (0, 7));
}

/// Without it a caller must tell "nothing known" from "not answered".
pub async fn everything_asked_for_is_answered(harness: &dyn StoreHarness) {
    let record = read(harness, &["linux", "windows"], &["gitlab"]).await;
    let mut expected = FleetRecord::default();
    for name in ["linux", "windows"] {
        expected.pools.insert(pool(name), PoolRecord::default());
    }
    expected
        .emitters
        .insert(emitter("gitlab"), EmitterStatus::default());
    assert_eq!(record, expected);
    assert_eq!(read(harness, &[], &[]).await, FleetRecord::default());
}

/// Without it a prober that slept overwrites the newer look of its successor.
pub async fn a_stale_prober_writes_nothing(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let good = workload("linux", "gitlab", 1);
    let forged = vec![workload("linux", "gitlab", 9)];

    let never = look("gitlab", Epoch(1), forged.clone());
    let refused = store
        .put_workloads(&never)
        .await
        .expect_err("without a lease");
    assert_eq!(refused.kind, StoreErrorKind::Fenced, "{refused}");

    let old = take(store, &lease, "prober", SHORT, 0).await.epoch;
    harness.pass(LONGER_THAN_SHORT).await;
    let over = store
        .put_workloads(&look("gitlab", old, forged.clone()))
        .await;
    assert_eq!(
        over.expect_err("the term is over").kind,
        StoreErrorKind::Fenced
    );

    let new = take(store, &lease, "successor", LONG, 0).await.epoch;
    store
        .put_workloads(&look("gitlab", new, vec![good.clone()]))
        .await
        .expect("may write");
    for epoch in [old, Epoch(new.0 + 1)] {
        let refused = store
            .put_workloads(&look("gitlab", epoch, forged.clone()))
            .await;
        assert_eq!(
            refused.expect_err("not its term").kind,
            StoreErrorKind::Fenced
        );
        let refused = store.put_failure(&emitter("gitlab"), epoch, "stale").await;
        assert_eq!(
            refused.expect_err("not its term").kind,
            StoreErrorKind::Fenced
        );
    }
    let record = read(harness, &["linux"], &["gitlab"]).await;
    assert_eq!(
        record.pools[&pool("linux")].workloads[&emitter("gitlab")].workload,
        good
    );
    assert_eq!(record.emitters[&emitter("gitlab")].failure, None);
}

/// Without it one failed request empties a pool, or nobody learns why a pool is held.
pub async fn a_failure_leaves_the_last_good_look(harness: &dyn StoreHarness) {
    let store = harness.store();
    let good = workload("linux", "gitlab", 4);
    let epoch = take_and_write(store, "gitlab", vec![good.clone()]).await;
    let noted = store
        .put_failure(&emitter("gitlab"), epoch, "502 from \"the proxy\"\n")
        .await;
    noted.expect("the holder may write");
    let record = read(harness, &["linux"], &["gitlab"]).await;
    assert_eq!(
        record.pools[&pool("linux")].workloads[&emitter("gitlab")].workload,
        good
    );
    let status = &record.emitters[&emitter("gitlab")];
    assert!(status.last_good.is_some());
    let failure = status.failure.as_ref().expect("the failure is noted");
    assert_eq!(failure.why, "502 from \"the proxy\"\n");
    assert!(failure.age < LONG);

    store
        .put_workloads(&look("gitlab", epoch, vec![good]))
        .await
        .expect("may write");
    let record = read(harness, &["linux"], &["gitlab"]).await;
    assert_eq!(
        record.emitters[&emitter("gitlab")].failure,
        None,
        "a good look ends it"
    );
}

/// Without it a wrong token at the first start looks like an emitter that nobody probes.
pub async fn a_failure_before_any_good_look_is_told(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let epoch = take(store, &lease, "prober", LONG, 0).await.epoch;
    let noted = store.put_failure(&emitter("gitlab"), epoch, "401").await;
    noted.expect("the holder may write");
    let record = read(harness, &[], &["gitlab"]).await;
    let status = &record.emitters[&emitter("gitlab")];
    assert_eq!(status.last_good, None);
    assert_eq!(
        status.failure.as_ref().map(|failure| failure.why.as_str()),
        Some("401")
    );
}

/// Without it nobody would ever remove the executors of a pool that was taken out of the configuration; and what was said of a
/// pool that is configured again would let its executors go.
pub async fn pools_left_over_are_told_of_the_last_good_look(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let epoch = take(store, &lease, "prober", LONG, 0).await.epoch;
    let mut write = look("gitlab", epoch, vec![workload("mac", "gitlab", 1)]);
    let told = async |what: &str| {
        let record = read(harness, &[], &["gitlab", "jenkins"]).await;
        let of_others = &record.emitters[&emitter("jenkins")].left_over;
        assert!(of_others.is_empty(), "{what}: {of_others:?}");
        record.emitters[&emitter("gitlab")].left_over.clone()
    };
    assert!(told("before any look").await.is_empty());
    for left_over in [vec!["mac", "windows"], vec!["mac"], vec![]] {
        write.left_over = left_over.into_iter().map(pool).collect();
        let put = store.put_workloads(&write).await;
        put.expect("the holder may write");
        assert_eq!(told("a look").await, write.left_over);
        let noted = store.put_failure(&write.emitter, epoch, "502").await;
        noted.expect("the holder may note a failure");
        assert_eq!(told("a look that failed").await, write.left_over);
    }
}

/// Without it a project's name breaks the format: names come from people and are data, whatever is in them.
pub async fn odd_text_survives(harness: &dyn StoreHarness) {
    let store = harness.store();
    let lease = LeaseName::Emitter(emitter("gitlab"));
    let epoch = take(store, &lease, "prober", LONG, 0).await.epoch;
    let odd = "\"}, %1 %% \\ \u{0} \u{1f980} \r\n\t]]--".to_owned();
    let mut work = workload("linux", "gitlab", 1);
    work.executors[0].labels = vec![odd.clone(), String::new()];
    let mut write = look("gitlab", epoch, vec![work.clone()]);
    write.unmatched = vec![Unmatched {
        job: odd.clone(),
        nearest: Some(pool("linux")),
        missing: vec![odd.clone()],
    }];
    write.named = vec![NamedJob {
        id: JobId::new(odd.clone()),
        project: odd.clone(),
        name: odd.clone(),
        pool: Some(pool("linux")),
        state: NamedState::Unrunnable,
        why: Some(odd),
        waited_s: Some(u64::MAX),
    }];
    write.unmatched_total = u32::MAX;
    // Twice, since the second write meets what the first one stored.
    for _ in 0..2 {
        store
            .put_workloads(&write)
            .await
            .expect("the holder may write");
    }
    let record = read(harness, &["linux"], &["gitlab"]).await;
    assert_eq!(
        record.pools[&pool("linux")].workloads[&emitter("gitlab")].workload,
        work
    );
    let status = &record.emitters[&emitter("gitlab")];
    assert_eq!(status.unmatched, write.unmatched);
    assert_eq!(status.unmatched_total, u32::MAX);
    assert_eq!(status.named, write.named);
}
