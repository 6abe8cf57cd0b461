//! A clock that runs faster than the wall's.
#![expect(
    clippy::disallowed_methods,
    reason = "the demo is a main that makes a clock of its own"
)]

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use ports::Clock;

/// Virtual time: `speed` seconds for each real one.
#[derive(Debug, Clone)]
pub(crate) struct FastClock {
    began: Instant,
    base: Timestamp,
    speed: u32,
}

impl FastClock {
    /// Starts now.
    pub(crate) fn new(speed: u32) -> Self {
        FastClock {
            began: Instant::now(),
            base: Timestamp::now(),
            speed: speed.max(1),
        }
    }

    /// Sleeps on the wall's clock.
    pub(crate) async fn real_sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[async_trait]
impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.boottime()).unwrap_or_default();
        self.base.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn boottime(&self) -> Duration {
        self.began.elapsed() * self.speed
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / self.speed).await;
    }
}
