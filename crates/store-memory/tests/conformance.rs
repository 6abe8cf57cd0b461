//! The memory store keeps the promises of every store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use conformance::store::StoreHarness;
use jiff::Timestamp;
use ports::{Clock, Store};
use store_memory::MemoryStore;

/// A clock that moves only when it is told to.
struct ManualClock(Mutex<Duration>);

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_531_234).expect("a time") + self.boottime()
    }
    fn boottime(&self) -> Duration {
        *self.0.lock().expect("nobody panics with it")
    }
    async fn sleep(&self, duration: Duration) {
        *self.0.lock().expect("nobody panics with it") += duration;
    }
}

struct Harness {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

#[async_trait]
impl StoreHarness for Harness {
    fn store(&self) -> &dyn Store {
        &self.store
    }
    async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
    async fn wipe(&self) {
        self.store.wipe();
    }
}

async fn start() -> Result<Harness, String> {
    let clock = Arc::new(ManualClock(Mutex::default()));
    let store = MemoryStore::new(clock.clone());
    Ok(Harness { clock, store })
}

conformance::store_suite!(start);
