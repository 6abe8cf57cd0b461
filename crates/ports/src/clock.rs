//! Time as a port: only `main`, the demo and simulations make clocks.

use std::future::Future;
use std::sync::Arc;
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
/// A call checks [`Call::remaining`] right before it goes on the wire, after any wait for a rate limit, and gives up
/// when the time is over: what a holder begins must not take effect in the term of the next one.
#[derive(Clone)]
pub struct Call {
    clock: Arc<dyn Clock>,
    until: Duration,
}

impl Call {
    /// A right that ends at `until` of the clock's [`Clock::boottime`].
    pub fn until(clock: Arc<dyn Clock>, until: Duration) -> Self {
        Call { clock, until }
    }

    /// A right that ends `limit` from now.
    pub fn within(clock: Arc<dyn Clock>, limit: Duration) -> Self {
        let until = clock.boottime().saturating_add(limit);
        Call { clock, until }
    }

    /// The time left, `None` when it is over.
    pub fn remaining(&self) -> Option<Duration> {
        self.until
            .checked_sub(self.clock.boottime())
            .filter(|left| !left.is_zero())
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
