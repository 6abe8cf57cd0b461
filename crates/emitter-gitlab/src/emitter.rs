//! One look at GitLab: demand first, executors second.
//!
//! A job that moves between the two is counted twice, never not at all. A page that failed makes the
//! look partial, with the reason; only a look that brought nothing at all is an error. "Cannot see"
//! is told apart from "nothing queued" in every look, since rights can be taken away at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use model::{EmitterName, FleetId, PoolName, Snapshot, Timestamp};
use ports::{Clock, Emitter, EmitterError, EmitterErrorKind};
use serde_json::Value;

use crate::client::{Client, Meter};
use crate::config::{Reach, Serves};
use crate::error::Failure;
use crate::protected::ProtectedRefs;
use crate::rights::{Wanted, explained};
use crate::roster::Roster;
use crate::sight::Sight;
use crate::supply::Owner;

/// Pages of one list. 100 pages are 10,000 jobs or runners; a list that does not end there is cut
/// and the look is partial, which holds every pool, so a runaway queue cannot eat our memory.
pub(crate) const MOST_PAGES: usize = 100;
/// Requests in flight at one server. GitLab serves a small number of workers; a scaler that takes
/// more of them than this is felt by people.
const PARALLEL: usize = 4;
/// Answers slower than this are felt by the server; the operator should probe less often.
const SLOW: Duration = Duration::from_secs(2);

/// Probes one GitLab.
pub(crate) struct GitLabEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) reach: Reach,
    pub(crate) pools: BTreeMap<PoolName, Vec<Serves>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
    /// False once the server has refused the word, which came in 17.0.
    pub(crate) knows_canceling: AtomicBool,
    pub(crate) protected_refs: ProtectedRefs,
    /// The projects of the scope, where it is not the instance.
    pub(crate) roster: Mutex<Roster>,
    /// The groups whose projects the token's user is proven to see all.
    pub(crate) member_of: Mutex<BTreeSet<String>>,
    /// Longest time until a quiet project is looked at again.
    pub(crate) rescan: Duration,
}

#[async_trait]
impl Emitter for GitLabEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let taken_at = self.clock.now();
        let began = self.clock.boottime();
        let meter = Meter::default();
        let look = async {
            match self.look(taken_at, &meter).await {
                Ok(sight) => Ok(sight),
                Err(failure) => {
                    let wanted = Wanted::to_look(&self.reach);
                    Err(explained(&self.client, wanted, failure).await)
                }
            }
        };
        let (clock, limit) = (self.clock.as_ref(), self.probe_timeout);
        let looked = web::look(clock, limit, &self.name, "look at jobs and runners", look).await;
        let took = self.clock.boottime().saturating_sub(began);
        if took > SLOW {
            let elapsed_ms = took.as_millis();
            tracing::warn!(emitter = %self.name, elapsed_ms, "gitlab is slow to answer, probe it less often");
        }
        Ok(looked?.into_snapshot(taken_at, meter.cost()))
    }
}

impl GitLabEmitter {
    async fn look(&self, now: Timestamp, meter: &Meter) -> Result<Sight, Failure> {
        let mut sight = Sight::new();
        match &self.reach {
            Reach::Instance => {
                self.pending(&mut sight, meter).await?;
                self.protection(&mut sight, meter).await;
                self.runners(&mut sight, &[Owner::Instance], meter).await;
                self.running(&mut sight, meter).await;
                self.ahead(&mut sight, meter).await;
            }
            Reach::Projects(paths) => {
                self.scanned(&mut sight, &[], now, meter).await?;
                self.protection(&mut sight, meter).await;
                let owners: Vec<_> = paths.iter().map(|path| Owner::Project(path)).collect();
                self.runners(&mut sight, &owners, meter).await;
                self.unseen(&mut sight, meter).await;
                self.ahead(&mut sight, meter).await;
            }
            Reach::Groups(paths) => {
                self.scanned(&mut sight, paths, now, meter).await?;
                self.protection(&mut sight, meter).await;
                let owners: Vec<_> = paths.iter().map(|path| Owner::Group(path)).collect();
                self.runners(&mut sight, &owners, meter).await;
                self.unseen(&mut sight, meter).await;
                self.ahead(&mut sight, meter).await;
            }
        }
        Ok(sight)
    }

    /// Asks with the states in which a job holds its runner; an old server does not know one of them.
    /// A pending job is among a runner's jobs while it waits for the runner to accept it.
    pub(crate) async fn ask(
        &self,
        query: impl Fn(&str) -> String,
        variables: &Value,
        meter: &Meter,
    ) -> Result<(Value, Vec<String>), Failure> {
        if self.knows_canceling.load(Ordering::Relaxed) {
            let answer = self
                .client
                .graphql(&query("PENDING, RUNNING, CANCELING"), variables, meter)
                .await?;
            if !answer.1.iter().any(|words| words.contains("CANCELING")) {
                return Ok(answer);
            }
            self.knows_canceling.store(false, Ordering::Relaxed);
        }
        self.client
            .graphql(&query("PENDING, RUNNING"), variables, meter)
            .await
    }
}

/// The failure of a GraphQL answer that lacks what was asked for.
pub(crate) fn refused(what: &str, errors: &[String]) -> Failure {
    match errors.first() {
        None => Failure::bad_answer(format!("GraphQL answered without {what}")),
        Some(words) if words.contains("permission") => {
            let message = format!("the token may not see {what}");
            Failure::new(EmitterErrorKind::Forbidden, message)
        }
        Some(words) => Failure::bad_answer(format!("GraphQL answered without {what}: {words}")),
    }
}

/// Waits for all of them, a few at a time, in order. Boxed, because the compiler cannot yet see that
/// futures which borrow from a closure's argument may be sent.
pub(crate) async fn few_at_a_time<T>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    futures::stream::iter(futures)
        .buffered(PARALLEL)
        .collect()
        .await
}
