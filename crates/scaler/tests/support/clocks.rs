//! A host whose wall clock is set while everything else in the world goes on: by a time server, by whoever restores a snapshot
//! of it or wakes it. What counts durations there does not notice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use ports::Clock;

use super::SimClock;

/// The clocks of one host.
pub(crate) struct SetOff {
    time: Arc<SimClock>,
    wall: Mutex<SignedDuration>,
}

impl SetOff {
    pub(crate) fn of(time: &Arc<SimClock>) -> Self {
        SetOff {
            time: time.clone(),
            wall: Mutex::default(),
        }
    }

    /// Sets the wall clock so far forward, or back, of what it shows.
    pub(crate) fn set(&self, by: SignedDuration) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

#[async_trait]
impl Clock for SetOff {
    fn now(&self) -> Timestamp {
        self.time.now() + *self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn boottime(&self) -> Duration {
        self.time.boottime()
    }
    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}
