//! Takes the strong read away: whoever reads one executor is told that it is idle and cordoned by us, whatever is true.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Cordon, EmitterName, Epoch, ExecutorId, Reading, Work};
use ports::{EmitterError, ExecutorControl, Register, Registration};

pub(crate) struct Liar(Arc<dyn ExecutorControl>);

impl Liar {
    pub(crate) fn between(
        (name, honest): (EmitterName, Arc<dyn ExecutorControl>),
    ) -> (EmitterName, Arc<dyn ExecutorControl>) {
        (name, Arc::new(Liar(honest)))
    }
}

#[async_trait]
impl ExecutorControl for Liar {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.0.register(request).await
    }
    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.0.cordon(executor, epoch).await
    }
    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.0.uncordon(executor, epoch).await
    }
    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        self.0.read(executor).await?;
        Ok(Reading {
            cordon: Cordon::Ours { epoch: Epoch(0) },
            work: Work::None,
        })
    }
    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.0.remove(executor).await
    }
}
