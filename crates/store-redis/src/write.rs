//! The verbs that write, each one script.

use std::time::Duration;

use model::{EmitterName, Epoch, Order};
use ports::{LeaseName, PoolCommit, StoreError, WorkloadWrite};

use crate::keys::{KEEP_DECISIONS, KEEP_OVERRIDES, KEEP_POOL, KEEP_WORKLOADS, MOST_DECISIONS};
use crate::{RedisStore, format, ms, scripts};

impl RedisStore {
    pub(crate) async fn write_workloads(&self, write: &WorkloadWrite) -> Result<(), StoreError> {
        let mut script = scripts::PUT_WORKLOADS.prepare_invoke();
        script
            .key(self.keys.lease(&LeaseName::Emitter(write.emitter.clone())))
            .key(self.keys.status(&write.emitter))
            .arg(write.epoch.0)
            .arg(write.emitter.as_str())
            .arg(ms(write.elapsed))
            .arg(format::report(write)?)
            .arg(ms(KEEP_WORKLOADS))
            .arg(self.keys.wake());
        for workload in &write.workloads {
            script
                .key(self.keys.workload(&workload.pool))
                .arg(workload.pool.as_str())
                .arg(format::digest(workload)?)
                .arg(format::json(workload)?);
        }
        let mut line = self.link.line();
        self.call(
            "write workloads",
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }

    pub(crate) async fn write_failure(
        &self,
        emitter: &EmitterName,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), StoreError> {
        let mut script = scripts::PUT_FAILURE.prepare_invoke();
        script
            .key(self.keys.lease(&LeaseName::Emitter(emitter.clone())))
            .key(self.keys.status(emitter))
            .arg(epoch.0)
            .arg(format::failure(why)?)
            .arg(ms(KEEP_WORKLOADS));
        let mut line = self.link.line();
        self.call(
            "note a failed look",
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }

    pub(crate) async fn write_commit(
        &self,
        epoch: Epoch,
        commits: &[PoolCommit],
    ) -> Result<(), StoreError> {
        let mut script = scripts::COMMIT.prepare_invoke();
        script
            .key(self.keys.lease(&LeaseName::Scaler))
            .arg(epoch.0)
            .arg(ms(KEEP_POOL))
            .arg(ms(KEEP_DECISIONS))
            .arg(MOST_DECISIONS);
        for commit in commits {
            script
                .key(self.keys.intents(&commit.pool))
                .key(self.keys.memory(&commit.pool))
                .key(self.keys.decisions(&commit.pool))
                .arg(commit.end.len())
                .arg(commit.put.len())
                .arg(u8::from(commit.memory.is_some()))
                .arg(u8::from(commit.decision.is_some()));
            for key in &commit.end {
                script.arg(format::intent_field(key));
            }
            for intent in &commit.put {
                script
                    .arg(format::intent_field(&intent.key()))
                    .arg(format::json(intent)?);
            }
            if let Some(memory) = &commit.memory {
                script.arg(format::json(memory)?);
            }
            if let Some(decision) = &commit.decision {
                script.arg(format::json(decision)?);
            }
        }
        let mut line = self.link.line();
        self.call(
            "commit a cycle",
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }

    pub(crate) async fn write_order(
        &self,
        order: &Order,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let mut script = scripts::PUT_ORDER.key(self.keys.overrides());
        script
            .arg(order.what.id())
            .arg(ms(lasts))
            .arg(format::json(order)?)
            .arg(Order::MOST)
            .arg(ms(KEEP_OVERRIDES));
        let mut line = self.link.line();
        self.call(
            "keep an override",
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }

    pub(crate) async fn remove_order(
        &self,
        id: &str,
        only_if_over: bool,
    ) -> Result<bool, StoreError> {
        let mut script = scripts::END_ORDER.key(self.keys.overrides());
        script.arg(id).arg(u8::from(only_if_over));
        let mut line = self.link.line();
        self.call(
            "end an override",
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }
}
