//! Virtual time: it stands still while anything can run, and then jumps to the next moment somebody waits for.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use ports::Clock;

/// A clock that only [`SimClock::advance`] moves.
#[derive(Default)]
pub(crate) struct SimClock(Mutex<State>);

#[derive(Default)]
struct State {
    now: Duration,
    next: u64,
    /// Who sleeps until when, in the order in which they lay down.
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl SimClock {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the first sleeper wants to be woken.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.lock()
            .sleepers
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    /// Moves time on and wakes whoever waited for it; returns whether there was anybody.
    pub(crate) fn advance(&self, to: Duration) -> bool {
        let woken: Vec<Waker> = {
            let mut state = self.lock();
            state.now = state.now.max(to);
            let now = state.now;
            let later = state.sleepers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut state.sleepers, later);
            due.into_values().collect()
        };
        let any = !woken.is_empty();
        woken.into_iter().for_each(Waker::wake);
        any
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).expect("a time") + self.boottime()
    }
    fn boottime(&self) -> Duration {
        self.lock().now
    }
    async fn sleep(&self, duration: Duration) {
        let key = {
            let mut state = self.lock();
            state.next += 1;
            (state.now.saturating_add(duration), state.next)
        };
        Sleep {
            clock: self,
            key,
            lies: false,
        }
        .await;
    }
}

struct Sleep<'a> {
    clock: &'a SimClock,
    key: (Duration, u64),
    lies: bool,
}

impl Future for Sleep<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        // even no time at all passes only when nobody else can run, so that no loop spins
        if self.lies && !state.sleepers.contains_key(&self.key) {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        drop(state);
        self.lies = true;
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.clock.lock().sleepers.remove(&self.key);
    }
}

/// The clock as the product takes it.
pub(crate) fn shared(clock: &Arc<SimClock>) -> Arc<dyn Clock> {
    clock.clone()
}
