//! One look at Jenkins: the queue first, computers second, and last whether the user can see anything at all.
//!
//! An item that moves between the first two is counted twice, never not at all; builds of jobs carry their item's id, so
//! only a pipeline step can be counted twice, for one look. Without the queue there is no look; what else fails makes it
//! partial, with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{Completeness, EmitterName, FleetId, JobId, Snapshot};
use ports::{Clock, Emitter, EmitterError};

use crate::client::{Client, Meter, session};
use crate::convert::{self, Nodes};
use crate::error::Failure;
use crate::placeholders::{Kept, Placeholders};
use crate::wire::{self, Computer, Item, MOST_COMPUTERS, MOST_ITEMS};

/// Probes one controller.
pub(crate) struct JenkinsEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    /// `Some` when the placeholder nodes are ours to keep.
    pub(crate) keeps: Option<Placeholders>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
    /// The label of each queue item as far as it was ever told. An item keeps its id while its words change; the memory of
    /// an item goes with it, so it is as large as the queue.
    pub(crate) labels: Mutex<BTreeMap<u64, String>>,
}

#[async_trait]
impl Emitter for JenkinsEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let operation = "look at the queue and the nodes";
        let (clock, limit) = (self.clock.as_ref(), self.probe_timeout);
        web::look(clock, limit, &self.name, operation, self.look()).await
    }
}

impl JenkinsEmitter {
    async fn look(&self) -> Result<Snapshot, Failure> {
        let taken_at = self.clock.now();
        let meter = Meter::default();
        let mut seen = Completeness::Complete;
        let items = self.queue(&mut seen, &meter).await?;
        let computers = self.computers(&mut seen, &meter).await;
        let (computers, session) = computers
            .map_err(|failure| seen.doubt(format!("nodes: {}", failure.message)))
            .map_or((None, None), |(rows, session)| (Some(rows), session));
        self.sight(&mut seen, &meter).await;

        let nodes = Nodes {
            computers: computers.as_deref(),
            fleet: &self.fleet,
        };
        let mut jobs = {
            let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
            convert::queued(&items, &nodes, &mut labels)
        };
        let kept = match (&self.keeps, &computers) {
            (Some(placeholders), Some(computers)) => {
                Some(placeholders.keep(&self.client, computers).await)
            }
            _ => None,
        };
        if convert::any_unknown(&jobs) && nodes.any() != Some(true) {
            let mut words =
                "the labels of waiting jobs: Jenkins tells none while no node is registered"
                    .to_owned();
            match kept.unwrap_or_default() {
                Kept {
                    failed: Some(why), ..
                } => words.push_str(&format!("; a placeholder node could not be made: {why}")),
                Kept { made: 0, .. } => words
                    .push_str("; keep one permanent node, which may be offline, or give `manage`"),
                Kept { .. } => words.push_str("; placeholder nodes were made just now"),
            }
            seen.doubt(words);
        }
        let computers = computers.unwrap_or_default();
        // the newer word: it runs meanwhile
        let running = convert::running(&computers);
        let started: BTreeSet<&JobId> = running.iter().map(|job| &job.id).collect();
        jobs.retain(|job| !started.contains(&job.id));
        jobs.extend(running);
        let mut once = BTreeSet::new();
        jobs.retain(|job| once.insert(job.id.clone()));
        Ok(Snapshot {
            jobs,
            executors: convert::executors(&computers, &self.fleet, session.as_deref()),
            taken_at,
            completeness: seen,
            cost: meter.cost(),
        })
    }

    async fn queue(&self, seen: &mut Completeness, meter: &Meter) -> Result<Vec<Item>, Failure> {
        let answer = self
            .client
            .get(&["queue", "api", "json"], &wire::queue_tree(), meter)
            .await?;
        let mut body = answer.json()?;
        let hidden = body["discoverableItems"].as_array().map_or(0, Vec::len);
        let (items, bad) = wire::rows::<Item>(&mut body, "items").ok_or_else(|| {
            Failure::bad_answer(format!("{} answered no list of items", answer.endpoint))
        })?;
        if hidden > 0 {
            seen.doubt(format!(
                "{hidden} items of the queue show only their names: give the user Job/Read on all jobs"
            ));
        }
        if bad > 0 {
            seen.doubt(format!("{bad} items of the queue have another shape"));
        }
        if items.len() + bad >= MOST_ITEMS {
            seen.doubt(format!("the queue beyond {MOST_ITEMS} items"));
        }
        Ok(items)
    }

    async fn computers(
        &self,
        seen: &mut Completeness,
        meter: &Meter,
    ) -> Result<(Vec<Computer>, Option<String>), Failure> {
        let tree = wire::computers_tree();
        let answer = self
            .client
            .get(&["computer", "api", "json"], &tree, meter)
            .await?;
        let mut body = answer.json()?;
        let (rows, bad) = wire::rows::<Computer>(&mut body, "computer").ok_or_else(|| {
            Failure::bad_answer(format!("{} answered no list of computers", answer.endpoint))
        })?;
        if bad > 0 {
            seen.doubt(format!("{bad} computers have another shape"));
        }
        let mut rows = rows;
        let mut once = BTreeSet::new();
        let listed = rows.len();
        rows.retain(|node| once.insert(node.display_name.clone()));
        if rows.len() < listed {
            seen.doubt("a computer is listed twice, and the two may differ");
        }
        if listed + bad >= MOST_COMPUTERS {
            seen.doubt(format!("the computers beyond {MOST_COMPUTERS}"));
        }
        Ok((rows, session(&answer)))
    }

    /// A user without Job/Read gets an empty queue and status 200. That he sees one job proves little, and that he sees
    /// none proves enough.
    async fn sight(&self, seen: &mut Completeness, meter: &Meter) {
        let answered = self.client.get(&["api", "json"], wire::SIGHT, meter).await;
        match answered.and_then(|answer| answer.json()) {
            Err(failure) => seen.doubt(format!("rights: {}", failure.message)),
            Ok(body) if body["jobs"].as_array().is_none_or(Vec::is_empty) => seen.doubt(
                "not a single job: give the user Job/Read on all jobs (a Jenkins without any job has nothing to scale)",
            ),
            Ok(body) => {
                if body["quietingDown"] == true {
                    tracing::info!(emitter = %self.name, "jenkins is about to shut down");
                }
            }
        }
    }
}
