//! One look: what the jobs need first, executors last.
//!
//! A job that moves between two requests is counted twice, never not at all. Without the first page of a list of jobs
//! there is no look; whatever else is missing makes it partial.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{EmitterName, PoolName, Snapshot};
use ports::{Clock, Emitter, EmitterError};
use web::{Failure, Meter};

use crate::config::HttpConfig;
use crate::convert;
use crate::doubts::Doubts;
use crate::fetch::{Answers, Fetcher};

/// Probes one server.
pub(crate) struct HttpEmitter {
    pub(crate) name: EmitterName,
    pub(crate) config: HttpConfig,
    pub(crate) pools: BTreeSet<PoolName>,
    pub(crate) fetcher: Fetcher,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
}

#[async_trait]
impl Emitter for HttpEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let (clock, limit) = (self.clock.as_ref(), self.probe_timeout);
        web::look(
            clock,
            limit,
            &self.name,
            "look at jobs and executors",
            self.look(),
        )
        .await
    }
}

impl HttpEmitter {
    async fn look(&self) -> Result<Snapshot, Failure> {
        let taken_at = self.clock.now();
        let meter = Meter::default();
        let mut answers = Answers::default();
        let mut doubts = Doubts::default();
        let secrets = self.fetcher.secrets()?;
        for jobs in &self.config.jobs {
            self.fetcher
                .fetch(&jobs.from, &mut answers, &mut doubts, &meter)
                .await?;
        }
        let jobs = convert::jobs(&self.config, &answers, &mut doubts);
        for executors in &self.config.executors {
            let fetched = self
                .fetcher
                .fetch(&executors.from, &mut answers, &mut doubts, &meter)
                .await;
            if let Err(failure) = fetched {
                doubts.add(failure.message);
            }
        }
        // what an agent said a moment ago is compared with now, not with the start of a long look
        let now = self.clock.now();
        let executors =
            convert::executors(&self.config, &self.pools, &answers, &jobs, now, &mut doubts);
        Ok(Snapshot {
            jobs,
            executors,
            taken_at,
            completeness: doubts.completeness(&secrets),
            cost: meter.cost(),
        })
    }
}
