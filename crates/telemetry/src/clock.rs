//! The machine's clocks, read here and nowhere else.
//!
//! Every other crate is given a [`ports::Clock`], so that the same code runs in virtual time; a lint
//! holds them to it.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use ports::Clock;
use rustix::time::{ClockId, clock_gettime};

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads clocks"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// `CLOCK_BOOTTIME`, which runs on while the host is suspended: `CLOCK_MONOTONIC`, behind
    /// `std::time::Instant`, does not, and a holder that slept would think its lease alive.
    fn boottime(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        // Neither part is ever negative on this clock; a kernel that says so gets zero.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanoseconds)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_takes_its_time_on_both_clocks() {
        let clock = SystemClock;
        let (wall, boot) = (clock.now(), clock.boottime());
        clock.sleep(Duration::from_millis(20)).await;
        assert!(clock.boottime() - boot >= Duration::from_millis(20));
        assert!(clock.now() > wall);
        assert!(
            wall.as_second() > 1_700_000_000,
            "{wall} is not a time of this century's machines"
        );
    }
}
