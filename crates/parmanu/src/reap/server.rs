//! One CI server, as far as reaping needs it: every question bounded in time, every failure in words.

use std::sync::Arc;
use std::time::Duration;

use model::{Cordon, ExecutorId, Reading, Snapshot, Work};
use ports::{Clock, Emitter, EmitterError, ExecutorControl, timeout};
use telemetry::chain;

/// Longest time one control verb may take, as the scaler has it.
const CONTROL_LIMIT: Duration = Duration::from_secs(20);

/// A CI server of the configuration.
pub(super) struct Server {
    pub(super) emitter: Arc<dyn Emitter>,
    /// `None` where the configuration gives no right to control executors.
    pub(super) control: Option<Arc<dyn ExecutorControl>>,
    /// Longest time it may take to hand out a job that it promised.
    pub(super) settle: Duration,
    /// Longest time one look may take.
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Server {
    /// Fails without the right to control executors: then nothing can be proven.
    pub(super) fn control(&self) -> Result<&Arc<dyn ExecutorControl>, String> {
        let none = || "the configuration gives no right to control its executor".to_owned();
        self.control.as_ref().ok_or_else(none)
    }

    /// A whole look: only in such a one an executor that is not seen does not exist.
    pub(super) async fn look(&self) -> Result<Snapshot, String> {
        match timeout(&*self.clock, self.timeout, self.emitter.probe()).await {
            Some(Ok(snapshot)) if snapshot.completeness.is_complete() => Ok(snapshot),
            Some(Ok(snapshot)) => Err(format!(
                "the look is partial: {}",
                snapshot.completeness.doubts().join("; ")
            )),
            Some(Err(error)) => Err(chain(&error).to_string()),
            None => Err(format!("no whole look within {:?}", self.timeout)),
        }
    }

    /// Runs one control verb within its limit.
    pub(super) async fn bounded<T>(
        &self,
        verb: impl Future<Output = Result<T, EmitterError>>,
    ) -> Result<T, String> {
        match timeout(&*self.clock, CONTROL_LIMIT, verb).await {
            Some(done) => done.map_err(|error| chain(&error).to_string()),
            None => Err(format!("no answer within {CONTROL_LIMIT:?}")),
        }
    }

    async fn read(&self, executor: &ExecutorId) -> Result<Reading, String> {
        let read = self.bounded(self.control()?.read(executor)).await;
        read.map_err(|why| format!("it could not be read, and unknown is busy: {why}"))
    }

    /// Whether it certainly holds no job. Says what forbids to think so.
    pub(super) async fn idle(&self, executor: &ExecutorId) -> Result<Reading, String> {
        let reading = self.read(executor).await?;
        match &reading.work {
            Work::None => Ok(reading),
            Work::Jobs { count } => Err(format!("it holds {count} jobs: they are left to finish")),
            Work::Unknown { why } => Err(format!(
                "it is not certainly idle, and unknown is busy: {why}"
            )),
        }
    }

    /// Whether it certainly holds no job and can get none: kept from new ones by a cordon of ours.
    pub(super) async fn idle_for_good(&self, executor: &ExecutorId) -> Result<(), String> {
        match self.idle(executor).await?.cordon {
            Cordon::Ours { .. } => Ok(()),
            Cordon::Foreign => Err("somebody else keeps it from taking jobs".to_owned()),
            Cordon::None => Err("its cordon is gone".to_owned()),
        }
    }
}
