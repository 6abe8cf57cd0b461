//! Takes strong reads away: whoever reads one executor is told that it is idle and cordoned by us, whatever is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use model::{Cordon, Epoch, ExecutorId, InstanceName, Reading, Work};
use ports::{EmitterError, ExecutorControl, Found, Register, Registration};

/// Which reads are lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lies {
    None,
    /// The second, the fourth, and so on.
    EachOther,
    All,
}

pub(crate) struct Liar {
    honest: Arc<dyn ExecutorControl>,
    lies: Lies,
    last_was_true: AtomicBool,
}

impl Liar {
    pub(crate) fn between(
        honest: Arc<dyn ExecutorControl>,
        lies: Lies,
    ) -> Arc<dyn ExecutorControl> {
        let last_was_true = AtomicBool::new(false);
        Arc::new(Liar {
            honest,
            lies,
            last_was_true,
        })
    }
}

#[async_trait]
impl ExecutorControl for Liar {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.honest.register(request).await
    }
    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.honest.cordon(executor, epoch).await
    }
    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.honest.uncordon(executor, epoch).await
    }
    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        let truth = self.honest.read(executor).await?;
        let last_was_true = self.last_was_true.fetch_xor(true, Ordering::Relaxed);
        if self.lies == Lies::None || self.lies == Lies::EachOther && !last_was_true {
            return Ok(truth);
        }
        Ok(Reading {
            cordon: Cordon::Ours { epoch: Epoch(0) },
            work: Work::None,
        })
    }
    async fn find(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError> {
        self.honest.find(instance, known).await
    }
    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.honest.remove(executor).await
    }
}
