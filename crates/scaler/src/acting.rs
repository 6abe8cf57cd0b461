//! What each action that was begun is about, so that one that panics is named.
//!
//! A panic is a bug. What it leaves behind is the ledger's business ([`crate::ledger::Begun`]); here it is said.

use std::collections::HashMap;

use model::PoolName;
use telemetry::Metrics;
use tokio::task::{Id, JoinError};
use tracing::error;

/// One action.
pub(crate) struct Acts {
    pub(crate) pool: PoolName,
    pub(crate) action: &'static str,
    /// Its machine or batch.
    pub(crate) subject: String,
}

/// The actions on their way, by their tasks.
#[derive(Default)]
pub(crate) struct Acting(HashMap<Id, Acts>);

impl Acting {
    pub(crate) fn insert(&mut self, task: Id, acts: Acts) {
        self.0.insert(task, acts);
    }

    /// An action ended; one that panicked is counted and said.
    pub(crate) fn note(&mut self, metrics: &Metrics, ended: Result<(Id, ()), JoinError>) {
        let task = match &ended {
            Ok((task, ())) => *task,
            Err(failure) => failure.id(),
        };
        let (acts, Err(failure)) = (self.0.remove(&task), ended) else {
            return;
        };
        let Some(Acts {
            pool,
            action,
            subject,
        }) = acts
        else {
            return;
        };
        metrics.scaler.acted(pool.as_str(), action, "panicked");
        error!(
            %pool, instance = subject, action, error = %failure,
            "AN ACTION BROKE: what became of its call is not known, and it is begun again after a while; please report this"
        );
    }
}
