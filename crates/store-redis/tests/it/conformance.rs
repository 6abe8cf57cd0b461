//! The Redis store keeps the promises of every store.

use std::time::Duration;

use async_trait::async_trait;
use conformance::store::StoreHarness;
use ports::Store;

use crate::shared::Fleet;

#[async_trait]
impl StoreHarness for Fleet {
    fn store(&self) -> &dyn Store {
        &self.store
    }
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
    async fn wipe(&self) {
        Fleet::wipe(self).await;
    }
}

async fn start() -> Result<Fleet, String> {
    Fleet::start().await
}

conformance::store_suite!(start);
