//! Time as a port: only `main`, the demo and simulations make clocks.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// A source of time. The real one reads the machine's clocks; others run faster or in virtual time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Wall time. For log lines and for comparing with times that a server stated; never for leases.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment, never going back and still running while the host is suspended, so that a
    /// holder which slept knows that its lease is over.
    fn boottime(&self) -> Duration;

    /// Completes after `duration` of this clock.
    async fn sleep(&self, duration: Duration);
}

/// Runs `future` for at most `limit` of `clock`; `None` when the time is over.
pub async fn timeout<T>(
    clock: &dyn Clock,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = clock.sleep(limit) => None,
    }
}

/// The right to make one call with a side effect, which ends with the lease it was made under.
///
/// A call checks [`Call::remaining`] right before it goes on the wire, after any wait for a rate limit, and is given up
/// when the time is over: what a holder begins must not take effect in the term of the next one. While the lease is
/// extended, so is the right.
#[derive(Clone)]
pub struct Call {
    clock: Arc<dyn Clock>,
    ends: Arc<CallEnd>,
}

/// When the calls of one term end, on the clock's [`Clock::boottime`]; moved by whoever keeps the lease.
#[derive(Debug, Default)]
pub struct CallEnd(AtomicU64);

impl CallEnd {
    /// Calls end at this boot time.
    pub fn at(boottime: Duration) -> Arc<Self> {
        let end = CallEnd::default();
        end.set(boottime);
        Arc::new(end)
    }

    /// Calls end at this boot time from now on.
    pub fn set(&self, boottime: Duration) {
        let micros = u64::try_from(boottime.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Release);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Acquire))
    }
}

impl Call {
    /// A right that ends when `ends` says, which may be moved meanwhile.
    pub fn ending(clock: Arc<dyn Clock>, ends: Arc<CallEnd>) -> Self {
        Call { clock, ends }
    }

    /// A right that ends `limit` from now.
    pub fn within(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        let ends = CallEnd::at(clock.boottime().saturating_add(limit));
        Call { clock, ends }
    }

    /// The time left as things stand, `None` when it is over.
    pub fn remaining(&self) -> Option<Duration> {
        self.ends
            .get()
            .checked_sub(self.clock.boottime())
            .filter(|left| !left.is_zero())
    }

    /// Runs `future` for at most `limit` and not beyond the right; `None` when it was given up.
    pub async fn run<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let latest = self.clock.boottime().saturating_add(limit);
        let mut future = std::pin::pin!(future);
        loop {
            let left = latest.checked_sub(self.clock.boottime())?;
            let left = left.min(self.remaining()?);
            // asleep no longer than the right lasts as things stand; it may have been extended by then
            if let Some(value) = timeout(&*self.clock, left, &mut future).await {
                return Some(value);
            }
            if self.clock.boottime() >= latest {
                return None;
            }
        }
    }

    /// The clock it is measured on.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("remaining", &self.remaining())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Virtual time that a test moves by hand.
    struct Virtual(tokio::sync::watch::Sender<Duration>);

    #[async_trait]
    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn boottime(&self) -> Duration {
            *self.0.borrow()
        }
        async fn sleep(&self, duration: Duration) {
            let until = self.boottime() + duration;
            let mut time = self.0.subscribe();
            time.wait_for(|now| *now >= until).await.unwrap();
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs `future` while ten seconds pass in steps of a tenth; `at_half` happens after half a second.
    async fn while_time_passes<T>(
        clock: &Virtual,
        at_half: impl Fn(),
        future: impl Future<Output = T>,
    ) -> T {
        let pass = async {
            for step in 1..=100u32 {
                tokio::task::yield_now().await;
                clock.0.send_replace(SECOND * step / 10);
                if step == 5 {
                    at_half();
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            value = future => value,
            () = pass => unreachable!("time stands still after ten seconds"),
        }
    }

    fn virtual_clock() -> Arc<Virtual> {
        Arc::new(Virtual(tokio::sync::watch::Sender::new(Duration::ZERO)))
    }

    #[tokio::test]
    async fn a_call_is_given_up_when_the_lease_ends() {
        let clock = virtual_clock();
        let call = Call::within(clock.clone(), SECOND);
        let run = call.run(SECOND * 9, clock.sleep(SECOND * 2));
        assert_eq!(while_time_passes(&clock, || {}, run).await, None);
        assert_eq!(call.remaining(), None);
    }

    #[tokio::test]
    async fn a_call_goes_on_while_the_lease_is_extended() {
        let clock = virtual_clock();
        let ends = CallEnd::at(SECOND);
        let call = Call::ending(clock.clone(), ends.clone());
        let run = call.run(SECOND * 9, clock.sleep(SECOND * 2));
        let extend = || ends.set(SECOND * 5);
        assert_eq!(while_time_passes(&clock, extend, run).await, Some(()));
    }

    #[tokio::test]
    async fn a_call_has_its_own_limit_too() {
        let clock = virtual_clock();
        let call = Call::within(clock.clone(), SECOND * 60);
        let run = call.run(SECOND, clock.sleep(SECOND * 2));
        assert_eq!(while_time_passes(&clock, || {}, run).await, None);
    }
}
