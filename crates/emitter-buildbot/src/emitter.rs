//! One look at Buildbot: demand first, workers last.
//!
//! A request that moves between two reads is counted twice, never not at all. A read that failed makes the look
//! partial, with the reason; without the requests or the names of the builders there is no look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Completeness, EmitterName, FleetId, Snapshot};
use ports::{Clock, Emitter, EmitterError};

use crate::client::{Client, Failure, Meter};
use crate::convert::{self, Build, Builder, Request, Worker};

/// Fields of the requests. What is filtered by must be among them.
pub(crate) const REQUESTS: &str = "complete=false&field=buildrequestid&field=builderid&field=claimed&field=complete&field=submitted_at";
/// Fields of the builds.
pub(crate) const BUILDS: &str = "complete=false&field=buildid&field=buildrequestid&field=builderid&field=workerid&field=complete";
/// Fields of the builders.
const BUILDERS: &str = "field=builderid&field=name&field=masterids";
/// Fields of the workers: what a worker says of itself is left out.
pub(crate) const WORKERS: &str = "field=workerid&field=name&field=configured_on&field=connected_to&field=paused&field=pause_reason&field=graceful";

/// Probes one master.
pub(crate) struct BuildbotEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
}

#[async_trait]
impl Emitter for BuildbotEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let (clock, limit) = (self.clock.as_ref(), self.probe_timeout);
        web::look(
            clock,
            limit,
            &self.name,
            "look at requests and workers",
            self.look(),
        )
        .await
    }
}

impl BuildbotEmitter {
    async fn look(&self) -> Result<Snapshot, Failure> {
        let taken_at = self.clock.now();
        let meter = Meter::default();
        let mut completeness = Completeness::Complete;
        let requests: Vec<Request> = self
            .client
            .rows("buildrequests", REQUESTS, "buildrequests", &meter)
            .await?;
        let builds: Result<Vec<Build>, Failure> =
            self.client.rows("builds", BUILDS, "builds", &meter).await;
        if let Err(failure) = &builds {
            completeness.doubt(format!("running builds: {}", failure.message));
        }
        let builders = builders(&self.client, &meter).await?;
        let workers: Result<Vec<Worker>, Failure> = self
            .client
            .rows("workers", WORKERS, "workers", &meter)
            .await;
        if let Err(failure) = &workers {
            completeness.doubt(format!("workers: {}", failure.message));
        }
        let builds = builds.ok();
        let mut workers = workers.unwrap_or_default();
        let listed = workers.len();
        let mut once = BTreeSet::new();
        workers.retain(|worker| once.insert(worker.id));
        if workers.len() < listed {
            completeness.doubt("a worker is listed twice, and the two may differ");
        }
        let executors = workers
            .iter()
            .filter_map(|worker| {
                convert::executor(worker, builds.as_deref(), &builders, &self.fleet)
            })
            .collect();
        Ok(Snapshot {
            jobs: convert::jobs(&requests, builds.as_deref().unwrap_or_default(), &builders),
            executors,
            taken_at,
            completeness,
            cost: meter.cost(),
        })
    }
}

/// The builders by their id.
pub(crate) async fn builders(
    client: &Client,
    meter: &Meter,
) -> Result<BTreeMap<u64, Builder>, Failure> {
    let rows: Vec<Builder> = client.rows("builders", BUILDERS, "builders", meter).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
