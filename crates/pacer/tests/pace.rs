//! The pace in virtual time, as those who wait see it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use pacer::{Bucket, Busy, Pacer, Turn};
use ports::Clock;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const PATIENT: Duration = Duration::from_secs(3600);

/// Tokio's paused time, which jumps to the next moment somebody waits for.
struct Paused(tokio::time::Instant);

impl Paused {
    fn clock() -> Arc<dyn Clock> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the virtual clock of these tests"
        )]
        Arc::new(Paused(tokio::time::Instant::now()))
    }
}

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.boottime()
    }
    fn boottime(&self) -> Duration {
        self.0.elapsed()
    }
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn launches() -> Bucket {
    Bucket {
        burst: 5,
        per_second: 2.0,
    }
}

/// Takes one token after another in tasks of their own; gives when each had its own, in whole and half seconds.
async fn taken(pacer: &Arc<Pacer>, clock: &Arc<dyn Clock>, calls: usize) -> Vec<f64> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..calls {
        let (pacer, clock, times) = (pacer.clone(), clock.clone(), times.clone());
        tasks.spawn(async move {
            pacer.take(1, Turn::Create, PATIENT).await.unwrap();
            let halves = (clock.boottime().as_secs_f64() * 2.0).round();
            times.lock().unwrap().push(halves / 2.0);
        });
    }
    tasks.join_all().await;
    Arc::into_inner(times).unwrap().into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_rest_as_fast_as_the_bucket_fills() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock.clone(), launches()));
    let times = taken(&pacer, &clock, 9).await;
    assert_eq!(times, [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_overtakes_creations_and_a_look_lets_them_pass() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock, launches()));
    pacer.take(5, Turn::Create, PATIENT).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for turn in [Turn::Look, Turn::Create, Turn::Create, Turn::Delete] {
        let (pacer, order) = (pacer.clone(), order.clone());
        tasks.spawn(async move {
            pacer.take(1, turn, PATIENT).await.unwrap();
            order.lock().unwrap().push(turn);
        });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    let order = order.lock().unwrap();
    assert_eq!(
        *order,
        [Turn::Delete, Turn::Create, Turn::Create, Turn::Look]
    );
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_told_at_once_for_how_long() {
    let clock = Paused::clock();
    let pacer = Pacer::new(clock.clone(), launches());
    pacer.take(5, Turn::Create, PATIENT).await.unwrap();
    let refused = pacer.take(5, Turn::Create, SECOND).await.unwrap_err();
    assert_eq!(clock.boottime(), Duration::ZERO, "it did not wait for it");
    assert!(refused.retry_after >= SECOND * 5 / 2, "{refused:?}");
    assert!(refused.retry_after < SECOND * 3, "{refused:?}");
    // and took nothing: after that time there is enough
    tokio::time::sleep(refused.retry_after).await;
    pacer.take(5, Turn::Create, Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_overtaken_beyond_its_patience_gives_up() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock.clone(), launches()));
    pacer.take(5, Turn::Create, PATIENT).await.unwrap();
    let look = tokio::spawn({
        let pacer = pacer.clone();
        async move { pacer.take(1, Turn::Look, SECOND).await }
    });
    tokio::task::yield_now().await;
    pacer.take(5, Turn::Delete, PATIENT).await.unwrap();
    assert!(matches!(look.await.unwrap(), Err(Busy { .. })));
}

/// Prevents: a tick that is given up leaves tokens taken, or a place in the line that nobody leaves.
#[tokio::test(start_paused = true)]
async fn who_is_dropped_takes_nothing_and_holds_nobody_up() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock.clone(), launches()));
    pacer.take(5, Turn::Create, PATIENT).await.unwrap();
    let first = tokio::spawn({
        let pacer = pacer.clone();
        async move { pacer.take(4, Turn::Create, PATIENT).await }
    });
    tokio::task::yield_now().await;
    let second = tokio::spawn({
        let pacer = pacer.clone();
        async move { pacer.take(1, Turn::Create, PATIENT).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    second.await.unwrap().unwrap();
    assert!(clock.boottime() < SECOND, "{:?}", clock.boottime());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_slows_down_and_the_pace_comes_back() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock.clone(), launches()));
    pacer.refused();
    let wait = pacer.expected_wait(1, Turn::Create);
    assert!(wait >= SECOND, "half the pace, from empty: {wait:?}");
    tokio::time::sleep(SECOND * 120).await;
    pacer.take(5, Turn::Create, Duration::ZERO).await.unwrap();
    let wait = pacer.expected_wait(1, Turn::Create);
    assert!(wait <= SECOND * 6 / 10, "the whole pace again: {wait:?}");
}

/// Prevents: one moment in which another tool used the account up counts as often as there were calls on their way, and the
/// pace falls to a sixteenth.
#[tokio::test(start_paused = true)]
async fn calls_that_were_on_their_way_together_are_refused_once() {
    let clock = Paused::clock();
    let pacer = Arc::new(Pacer::new(clock.clone(), launches()));
    pacer.take(5, Turn::Create, PATIENT).await.unwrap();
    for _ in 0..5 {
        pacer.refused();
    }
    let wait = pacer.expected_wait(1, Turn::Create);
    assert!(wait <= SECOND * 11 / 10, "half the pace: {wait:?}");
    // what was let through since says something new
    pacer.take(1, Turn::Create, PATIENT).await.unwrap();
    pacer.refused();
    let wait = pacer.expected_wait(1, Turn::Create);
    assert!(wait > SECOND * 3 / 2, "and half again: {wait:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_the_bucket_holds_waits_for_a_full_one() {
    let clock = Paused::clock();
    let pacer = Pacer::new(clock.clone(), launches());
    pacer.take(1, Turn::Create, PATIENT).await.unwrap();
    pacer.take(1000, Turn::Create, PATIENT).await.unwrap();
    assert!(clock.boottime() < SECOND);
    assert!(pacer.expected_wait(5, Turn::Create) > SECOND * 2);
}

proptest! {
    /// A server that counts by the same rule never refuses what was let through, however calls come.
    #[test]
    fn what_is_let_through_is_never_more_than_the_server_counts(
        burst in 1u32..20, per_second in 1u32..30,
        calls in prop::collection::vec((0u64..3000, 1u32..6, 0usize..3), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        let spent: Vec<(f64, u32)> = runtime.block_on(async {
            let clock = Paused::clock();
            let bucket = Bucket { burst, per_second: f64::from(per_second) };
            let pacer = Arc::new(Pacer::new(clock.clone(), bucket));
            let spent = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = tokio::task::JoinSet::new();
            for (millis, amount, turn) in calls {
                let (pacer, clock, spent) = (pacer.clone(), clock.clone(), spent.clone());
                let turn = [Turn::Delete, Turn::Create, Turn::Look][turn];
                tasks.spawn(async move {
                    clock.sleep(Duration::from_millis(millis)).await;
                    let amount = amount.min(burst);
                    if pacer.take(amount, turn, SECOND * 9).await.is_ok() {
                        spent.lock().unwrap().push((clock.boottime().as_secs_f64(), amount));
                    }
                });
            }
            tasks.join_all().await;
            Arc::into_inner(spent).unwrap().into_inner().unwrap()
        });
        let (mut tokens, mut at) = (f64::from(burst), 0.0);
        for (now, amount) in spent {
            tokens = (tokens + (now - at) * f64::from(per_second)).min(f64::from(burst));
            at = now;
            tokens -= f64::from(amount);
            prop_assert!(tokens > -1e-3, "the server would refuse: {tokens}");
        }
    }
}
