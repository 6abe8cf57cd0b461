//! What every store must do.
//!
//! The cases are plain async functions over a [`StoreHarness`]; [`store_suite!`](crate::store_suite) makes
//! a test of each. Time is the harness's: a store with an injected clock moves it, a real server is waited for, so
//! the times that must pass are short and the times that must not have passed are long.

pub mod commits;
pub mod installation;
pub mod leases;
pub mod orders;
pub mod wakes;
pub mod workloads;

use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    Completeness, ConfigHash, Cordon, Demand, EmitterName, Epoch, Executor, ExecutorId,
    ExecutorState, HolderId, PoolName, Workload,
};
use ports::{Acquired, Lease, LeaseName, Store, WorkloadWrite};

/// A store that is empty at the start, and what a test may do to it.
#[async_trait]
pub trait StoreHarness: Send + Sync {
    /// The store.
    fn store(&self) -> &dyn Store;
    /// Lets time pass on the store's clock.
    async fn pass(&self, time: Duration);
    /// Loses everything, as a wiped server does.
    async fn wipe(&self);
}

/// Long enough not to be over while a test runs, however busy the machine is.
pub const LONG: Duration = Duration::from_secs(600);

/// Short enough to be waited for on the real clock.
pub const SHORT: Duration = Duration::from_millis(60);

/// After this a lease of [`SHORT`] is over.
pub const LONGER_THAN_SHORT: Duration = Duration::from_millis(90);

/// Notes that a test could not run: by name and with the reason, on standard error and in the file that the
/// variable `PARMANU_TEST_SKIPS` names, from which `cargo xtask test` makes its table.
pub fn skip(name: &str, why: &str) {
    let line = format!("{name}\t{why}\n");
    let _ = std::io::stderr().write_all(format!("skipped {line}").as_bytes());
    if let Some(path) = std::env::var_os("PARMANU_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path);
        // One write per line, so that tests in several processes do not mix their lines.
        let noted = file.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(noted.is_ok(), "could not note a skipped test in {path:?}");
    }
}

/// Makes a test of every case. Takes a function that gives a fresh [`StoreHarness`], or `Err` with the reason why
/// there is none, for which every case is then skipped by name.
#[macro_export]
macro_rules! store_suite {
    ($start:path) => {
        $crate::store_suite! { @cases $start;
            leases::a_free_lease_is_taken_and_a_held_one_is_not,
            leases::of_many_who_ask_at_once_one_gets_it,
            leases::the_holder_extends_its_lease_in_the_same_epoch,
            leases::a_lease_that_is_over_is_nobodys,
            leases::a_renewed_lease_lives_longer,
            leases::a_released_lease_is_free_at_once,
            leases::only_the_holder_can_release_or_renew,
            leases::an_epoch_is_greater_than_every_earlier_one_and_the_floor,
            leases::an_epoch_grows_over_a_wipe,
            leases::leases_do_not_touch_each_other,
            workloads::what_was_written_is_read,
            workloads::an_age_counts_from_the_start_of_the_look,
            workloads::a_new_look_replaces_the_old_one_of_its_emitter_only,
            workloads::everything_asked_for_is_answered,
            workloads::a_stale_prober_writes_nothing,
            workloads::a_failure_leaves_the_last_good_look,
            workloads::a_failure_before_any_good_look_is_told,
            workloads::pools_left_over_are_told_of_the_last_good_look,
            workloads::odd_text_survives,
            commits::what_was_committed_is_read,
            commits::an_intent_put_again_is_young_again,
            commits::an_ended_intent_is_gone,
            commits::a_commit_without_memory_keeps_the_old_one,
            commits::a_stale_scaler_writes_nothing_at_all,
            commits::the_same_commit_twice_is_one,
            commits::names_that_look_like_keys_do_not_collide,
            commits::a_wipe_loses_everything_and_fences_everybody,
            orders::an_order_is_read_with_its_time_and_a_second_one_takes_its_place,
            orders::an_order_that_is_over_is_told_until_somebody_ends_it,
            orders::of_many_who_end_an_order_one_is_told,
            orders::one_that_holds_does_not_go_when_it_is_ended_as_over,
            orders::odd_names_and_words_survive,
            orders::there_is_a_bound,
            orders::a_wipe_forgets_orders,
            installation::the_first_id_that_is_proposed_is_kept,
            installation::a_wipe_makes_room_for_another_id,
            wakes::the_first_hint_is_to_look_at_everything,
            wakes::a_change_wakes_and_no_change_does_not,
            wakes::every_listener_hears_every_change,
            wakes::a_scaler_that_gives_its_lease_back_wakes_all,
            wakes::a_hint_is_heard_by_every_replica,
        }
    };
    (@cases $start:path; $($group:ident :: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                match $start().await {
                    Ok(harness) => $crate::store::$group::$case(&harness).await,
                    Err(why) => {
                        let why: String = why;
                        $crate::store::skip(concat!(module_path!(), "::", stringify!($case)), &why);
                    }
                }
            }
        )*
    };
}

pub(crate) fn pool(name: &str) -> PoolName {
    name.parse().expect("the name of a pool")
}

pub(crate) fn emitter(name: &str) -> EmitterName {
    name.parse().expect("the name of an emitter")
}

pub(crate) fn holder(name: &str) -> HolderId {
    HolderId::new(name)
}

/// Takes a lease that must be free.
pub(crate) async fn take(
    store: &dyn Store,
    lease: &LeaseName,
    who: &str,
    ttl: Duration,
    floor: u64,
) -> Lease {
    match acquire(store, lease, who, ttl, floor).await {
        Acquired::Held(lease) => lease,
        Acquired::By { holder, .. } => panic!("{lease:?} is held by {holder}"),
    }
}

pub(crate) async fn acquire(
    store: &dyn Store,
    lease: &LeaseName,
    who: &str,
    ttl: Duration,
    floor: u64,
) -> Acquired {
    let asked = store.acquire(lease, &holder(who), ttl, Epoch(floor)).await;
    asked.expect("the store answers")
}

/// The workload of a pool with this many runnable jobs and one executor.
pub(crate) fn workload(pool_name: &str, emitter_name: &str, runnable: u32) -> Workload {
    Workload {
        version: Workload::VERSION,
        pool: pool(pool_name),
        emitter: emitter(emitter_name),
        config: ConfigHash::new("c0ffee"),
        demand: Demand {
            runnable,
            running: 1,
            oldest_wait: Some(Duration::from_millis(1_500)),
            soon: Vec::new(),
            ..Demand::default()
        },
        executors: vec![Executor {
            id: ExecutorId::new("17"),
            name: "linux-1795531234567-1-0".into(),
            fleet: None,
            labels: vec!["linux".into()],
            run_untagged: true,
            protected_only: false,
            health: None,
            slots: 2,
            state: ExecutorState::Idle { since: None },
            cordon: Cordon::Ours {
                epoch: Epoch(1_795_531_234_567),
            },
        }],
        completeness: Completeness::Partial {
            why: vec!["page 2 failed".into()],
        },
    }
}

/// One look of an emitter.
pub(crate) fn look(emitter_name: &str, epoch: Epoch, workloads: Vec<Workload>) -> WorkloadWrite {
    WorkloadWrite {
        emitter: emitter(emitter_name),
        epoch,
        elapsed: Duration::ZERO,
        workloads,
        unmatched: vec![],
        unmatched_total: 0,
        named: vec![],
        left_over: [].into(),
    }
}

/// Takes the lease of an emitter and writes one look.
pub(crate) async fn take_and_write(
    store: &dyn Store,
    emitter_name: &str,
    workloads: Vec<Workload>,
) -> Epoch {
    let lease = LeaseName::Emitter(emitter(emitter_name));
    let epoch = take(store, &lease, "prober", LONG, 0).await.epoch;
    let written = store
        .put_workloads(&look(emitter_name, epoch, workloads))
        .await;
    written.expect("the holder may write");
    epoch
}
