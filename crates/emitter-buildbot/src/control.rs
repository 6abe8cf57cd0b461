//! The control half: leases names, pauses workers, and reads one worker strongly.
//!
//! A cordon is a *pause* and not a graceful stop, since a stop cannot be taken back. Once the worker is certainly idle
//! it is asked to stop gracefully, and then its machine is deleted.
//!
//! **Certain idle** is: paused; no build that is not complete on this worker; and no request of its builders that is
//! claimed and has no build yet, since that one may be on its way to this very worker. The order of the reads is
//! part of it: the pause first, then what is claimed, then what builds, so that a request which moves on is seen in
//! one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{
    Cordon, EmitterName, Epoch, ExecutorId, FleetId, InstanceName, PoolName, Reading, Work,
};
use ports::{
    Clock, Contact, Credential, EmitterError, EmitterErrorKind, ExecutorControl, Found, Register,
    Registration, SecretRef,
};
use secrecy::SecretString;
use serde_json::json;

use crate::client::{Client, Failure, Meter};
use crate::config::{Manage, Serves};
use crate::convert::{Build, Builder, Request, Worker};
use crate::emitter::{BUILDS, REQUESTS, WORKERS, builders};
use crate::leases::Leases;
use crate::mark;
use crate::matcher::serves_all;

/// How long a worker may take to go after it was asked to: an idle one needs 0.6 s.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks whether it has gone.
const STOP_LOOK: Duration = Duration::from_millis(250);

/// Controls the workers of one master.
pub(crate) struct BuildbotControl {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) manage: Manage,
    pub(crate) pools: BTreeMap<PoolName, Vec<Serves>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leases: Mutex<Leases>,
}

#[async_trait]
impl ExecutorControl for BuildbotControl {
    async fn register(&self, request: &Register) -> Result<Registration, EmitterError> {
        self.lease(request)
            .await
            .map_err(|failure| failure.into_error(&self.name, "lease a worker name"))
    }

    async fn cordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.pause(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "pause a worker"))
    }

    async fn uncordon(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), EmitterError> {
        self.resume(executor, epoch)
            .await
            .map_err(|failure| failure.into_error(&self.name, "let a worker take builds again"))
    }

    async fn read(&self, executor: &ExecutorId) -> Result<Reading, EmitterError> {
        use EmitterErrorKind as Kind;
        match self.certain(executor).await {
            Ok(reading) => Ok(reading),
            // an operator mends these; the caller has to know which
            Err(failure) if matches!(failure.kind, Kind::Unauthorized | Kind::Config) => {
                Err(failure.into_error(&self.name, "read a worker"))
            }
            Err(failure) => Ok(Reading {
                cordon: Cordon::None,
                work: Work::Unknown {
                    why: failure.message,
                },
            }),
        }
    }

    async fn dismiss(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.stop(executor)
            .await
            .map_err(|failure| failure.into_error(&self.name, "stop a worker gracefully"))
    }

    async fn find(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, EmitterError> {
        self.seek(instance, known)
            .await
            .map_err(|failure| failure.into_error(&self.name, "look for a worker"))
    }

    async fn remove(&self, executor: &ExecutorId) -> Result<(), EmitterError> {
        self.free(executor)
            .await
            .map_err(|failure| failure.into_error(&self.name, "give a worker name back"))
    }
}

impl BuildbotControl {
    fn leases(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The builders' names, by their numbers, and all workers.
    async fn workers(&self) -> Result<(BTreeMap<u64, Builder>, Vec<Worker>), Failure> {
        let meter = Meter::default();
        let names = builders(&self.client, &meter).await?;
        let workers = self.client.rows("workers", WORKERS, "workers", &meter);
        Ok((names, workers.await?))
    }

    async fn lease(&self, request: &Register) -> Result<Registration, Failure> {
        if let Some(machine) = request.unsettled.first() {
            let words = format!(
                "{machine} was begun by an earlier scaler and may have a name that is not known; names are handed out \
                 again once it is settled"
            );
            return Err(Failure::new(EmitterErrorKind::Conflict, words));
        }
        let (names, workers) = self.workers().await?;
        let free: Vec<&Worker> = self.candidates(request.instance.pool(), &workers, |worker| {
            worker.builders(&names)
        })?;
        let ids: Vec<ExecutorId> = free.iter().map(|worker| worker.executor_id()).collect();
        let now = self.clock.boottime();
        let taken = self
            .leases()
            .take(&request.instance, &ids, &request.taken, now);
        let chosen = taken.and_then(|id| workers.iter().find(|worker| worker.executor_id() == id));
        let Some(worker) = chosen else {
            return Err(no_name(request.instance.pool()));
        };
        match self.ready(worker, &request.instance).await {
            Ok(registration) => Ok(registration),
            Err(failure) => {
                self.leases().give_back(&worker.executor_id());
                Err(failure)
            }
        }
    }

    /// The names of a pool that no machine stands behind, in the order of their numbers.
    fn candidates<'a>(
        &self,
        pool: &PoolName,
        workers: &'a [Worker],
        builders: impl Fn(&Worker) -> Vec<String>,
    ) -> Result<Vec<&'a Worker>, Failure> {
        let entries = self.pools.get(pool).filter(|entries| !entries.is_empty());
        let entries = entries.ok_or_else(|| config(format!("pool {pool} has no `serves` here")))?;
        let mut of_pool: Vec<&Worker> = Vec::new();
        let mut shared = BTreeSet::new();
        for worker in workers {
            let builders = builders(worker);
            if !entries.iter().all(|entry| serves_all(entry, &builders)) {
                continue;
            }
            let other = self.pools.iter().find(|(other, entries)| {
                *other != pool && entries.iter().any(|entry| serves_all(entry, &builders))
            });
            match other {
                Some((other, _)) => {
                    shared.insert(other);
                }
                None => of_pool.push(worker),
            }
        }
        if of_pool.is_empty() {
            return Err(config(match shared.first() {
                Some(other) => format!(
                    "every worker name of pool {pool} serves pool {other} too: give each pool worker names of its own"
                ),
                None => format!(
                    "no worker name is configured on all builders of pool {pool}: a machine must be able to build for \
                     each of them, so make two pools, or add names to the master's configuration"
                ),
            }));
        }
        of_pool.sort_by_key(|worker| worker.id);
        // a leftover pause of ours is lifted; somebody else's means that he wants the name for himself
        of_pool.retain(|worker| {
            !worker.is_connected() && worker.cordon(&self.fleet) != Cordon::Foreign
        });
        Ok(of_pool)
    }

    async fn ready(
        &self,
        worker: &Worker,
        instance: &InstanceName,
    ) -> Result<Registration, Failure> {
        let password = self.password(&worker.name)?;
        if worker.paused {
            let place = format!("workers/{}", worker.id);
            self.client.act(&place, "unpause", json!({})).await?;
        }
        tracing::debug!(%instance, worker = worker.name, "worker name leased");
        let credentials = [
            ("master", Credential::Plain(self.manage.master.clone())),
            ("name", Credential::Plain(worker.name.clone())),
            ("password", Credential::Secret(password)),
        ];
        Ok(Registration {
            executor: worker.executor_id(),
            credentials: credentials
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        })
    }

    fn password(&self, worker: &str) -> Result<SecretString, Failure> {
        let secret = match (&self.manage.password, &self.manage.passwords) {
            (Some(secret), _) => secret.clone(),
            // a name becomes a file name: nothing of it may lead elsewhere
            (None, Some(_)) if worker.contains('/') || worker.starts_with('.') => {
                return Err(config(format!(
                    "the worker name `{worker}` cannot be a file name"
                )));
            }
            (None, Some(folder)) => SecretRef::File(folder.join(worker)),
            (None, None) => return Err(config("there is no password for workers".to_owned())),
        };
        secret.read().map_err(|error| Failure {
            kind: EmitterErrorKind::Config,
            message: format!("the password of worker {worker} cannot be read"),
            source: Some(Box::new(error)),
        })
    }

    async fn pause(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let (place, worker) = self.worker(executor).await?;
        match worker.cordon(&self.fleet) {
            // an older epoch's mark stays: with ours on it we could lift what is one-way
            Cordon::Ours { .. } => Ok(()),
            Cordon::Foreign => Err(conflict(
                &worker,
                "was paused or is being stopped by somebody else: that is left alone",
            )),
            Cordon::None => {
                let reason = mark::reason(&self.fleet, epoch);
                self.client
                    .act(&place, "pause", json!({ "reason": reason }))
                    .await
            }
        }
    }

    async fn resume(&self, executor: &ExecutorId, epoch: Epoch) -> Result<(), Failure> {
        let (place, worker) = self.worker(executor).await?;
        match worker.cordon(&self.fleet) {
            Cordon::None => Ok(()),
            Cordon::Ours { epoch: marked } if marked == epoch => {
                self.client.act(&place, "unpause", json!({})).await
            }
            Cordon::Ours { .. } => Err(conflict(
                &worker,
                "was paused in another epoch, and that is one-way",
            )),
            Cordon::Foreign => Err(conflict(&worker, "was paused by somebody else")),
        }
    }

    async fn certain(&self, executor: &ExecutorId) -> Result<Reading, Failure> {
        let (_, worker) = self.worker(executor).await?;
        let cordon = worker.cordon(&self.fleet);
        let meter = Meter::default();
        let requests: Vec<Request> = self
            .client
            .rows("buildrequests", REQUESTS, "buildrequests", &meter)
            .await?;
        let builds: Vec<Build> = self.client.rows("builds", BUILDS, "builds", &meter).await?;
        Ok(Reading {
            cordon,
            work: work(&worker, &requests, &builds),
        })
    }

    /// The master tells the worker to end once it has nothing to do. Only for one that we paused: a graceful stop cannot
    /// be taken back.
    async fn stop(&self, executor: &ExecutorId) -> Result<(), Failure> {
        let (place, worker) = self.worker(executor).await?;
        if !matches!(worker.cordon(&self.fleet), Cordon::Ours { .. }) {
            return Err(conflict(&worker, "is not paused by this fleet"));
        }
        if !worker.is_connected() {
            return Ok(());
        }
        self.client.act(&place, "stop", json!({})).await?;
        let start = self.clock.boottime();
        while self.clock.boottime().saturating_sub(start) < STOP_LIMIT {
            self.clock.sleep(STOP_LOOK).await;
            let (_, worker) = self.worker(executor).await?;
            if !worker.is_connected() {
                return Ok(());
            }
        }
        Err(conflict(
            &worker,
            "is still connected after it was asked to stop",
        ))
    }

    /// Names are fixed, and which one a machine has is told by its tag or by the lease of this process. Of one without either
    /// it is certain that no worker is its own only while no worker of its pool is connected.
    async fn seek(
        &self,
        instance: &InstanceName,
        known: Option<&ExecutorId>,
    ) -> Result<Found, Failure> {
        let (names, workers) = self.workers().await?;
        let known = known.cloned().or_else(|| self.leases().of(instance));
        if let Some(id) = known {
            let found = workers.iter().find(|worker| worker.executor_id() == id);
            let contact = match found {
                Some(worker) if worker.is_connected() => Contact::Live,
                // it is configured, whatever stands behind it
                Some(_) => Contact::Away,
                None => return Ok(Found::Absent),
            };
            let executor = id;
            return Ok(Found::There { executor, contact });
        }
        let entries = self.pools.get(instance.pool());
        let may_be = |worker: &&Worker| {
            let on = worker.builders(&names);
            let serves = |entries: &Vec<Serves>| entries.iter().any(|entry| serves_all(entry, &on));
            worker.is_connected() && entries.is_none_or(serves)
        };
        Ok(match workers.iter().find(may_be) {
            None => Found::Absent,
            Some(worker) => Found::Unknown {
                why: format!(
                    "worker {} is connected, and nothing tells which machine it is: worker names stand in the master's \
                     configuration",
                    worker.name
                ),
            },
        })
    }

    /// Gives a name back: its machine is gone, or was never made.
    async fn free(&self, executor: &ExecutorId) -> Result<(), Failure> {
        let (place, worker) = match self.worker(executor).await {
            Ok(found) => found,
            Err(failure) if failure.kind == EmitterErrorKind::NotFound => {
                self.leases().give_back(executor);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        // unpaused now, a build would go to a connection with nothing behind it
        if worker.is_connected() {
            return Err(conflict(&worker, "is still connected"));
        }
        if matches!(worker.cordon(&self.fleet), Cordon::Ours { .. }) {
            self.client.act(&place, "unpause", json!({})).await?;
        }
        self.leases().give_back(executor);
        Ok(())
    }

    async fn worker(&self, executor: &ExecutorId) -> Result<(String, Worker), Failure> {
        // as a number, so that nothing else ever becomes part of a path
        let id: u64 = executor.as_str().parse().map_err(|_| {
            let words = format!("`{executor}` is not the id of a worker");
            Failure::new(EmitterErrorKind::NotFound, words)
        })?;
        let place = format!("workers/{id}");
        let rows: Vec<Worker> = self
            .client
            .rows(&place, WORKERS, "workers", &Meter::default())
            .await?;
        let found = rows.into_iter().find(|worker| worker.id == id);
        let worker = found.ok_or_else(|| {
            let words = format!("GET /api/v2/{place} answered another worker");
            Failure::new(EmitterErrorKind::BadAnswer, words)
        })?;
        Ok((place, worker))
    }
}

/// What a worker holds, by requests that were read before the builds.
fn work(worker: &Worker, requests: &[Request], builds: &[Build]) -> Work {
    let held = builds
        .iter()
        .filter(|build| build.worker == worker.id && !build.complete)
        .count();
    if held > 0 {
        return Work::Jobs {
            count: u32::try_from(held).unwrap_or(u32::MAX),
        };
    }
    let on_its_way = requests.iter().find(|request| {
        request.claimed
            && !request.complete
            && worker
                .configured_on
                .iter()
                .any(|on| on.builder == request.builder)
            && !builds.iter().any(|build| build.request == request.id)
    });
    match on_its_way {
        Some(request) => Work::Unknown {
            why: format!(
                "request {} is claimed and has no build yet: it may be on its way to {}",
                request.id, worker.name
            ),
        },
        None => Work::None,
    }
}

fn no_name(pool: &PoolName) -> Failure {
    let words = format!(
        "every worker name of pool {pool} is in use: add names to the master's configuration, at least as many as the \
         pool's `max`"
    );
    Failure::new(EmitterErrorKind::Conflict, words)
}

fn config(words: String) -> Failure {
    Failure::new(EmitterErrorKind::Config, words)
}

fn conflict(worker: &Worker, words: &str) -> Failure {
    let words = format!("worker {} {words}", worker.name);
    Failure::new(EmitterErrorKind::Conflict, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Worker {
        serde_json::from_value(json!({
            "workerid": 4, "name": "linux-1", "paused": true, "graceful": false,
            "configured_on": [{ "builderid": 2, "masterid": 1 }],
            "connected_to": [{ "masterid": 1 }],
        }))
        .unwrap()
    }

    fn claimed(id: u64, builder: u64) -> Request {
        serde_json::from_value(json!({
            "buildrequestid": id, "builderid": builder, "claimed": true, "complete": false,
        }))
        .unwrap()
    }

    fn build(request: u64, worker: u64) -> Build {
        serde_json::from_value(json!({
            "buildrequestid": request, "builderid": 2, "workerid": worker, "complete": false,
        }))
        .unwrap()
    }

    #[test]
    fn a_worker_is_certainly_idle_only_when_no_claimed_request_may_be_on_its_way_to_it() {
        let worker = worker();
        assert_eq!(work(&worker, &[], &[]), Work::None);
        assert_eq!(
            work(&worker, &[claimed(1, 2)], &[build(1, 4)]),
            Work::Jobs { count: 1 }
        );
        assert_eq!(
            work(&worker, &[claimed(1, 2)], &[build(1, 5)]),
            Work::None,
            "it is elsewhere"
        );
        assert_eq!(
            work(&worker, &[claimed(1, 9)], &[]),
            Work::None,
            "it cannot come here"
        );
        assert!(matches!(
            work(&worker, &[claimed(1, 2)], &[]),
            Work::Unknown { .. }
        ));
    }
}
