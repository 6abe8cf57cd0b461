//! List, create and delete, in terms of calls and operations.
//!
//! Only what may be concluded from an answer lives here. The one thing that is asked again within a call is a
//! machine that is *busy* with an operation of LXD's own, for some seconds; otherwise the caller's next look at the
//! world is the retry.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, InstanceState, Listing, ProviderName};
use ports::{
    Call, Clock, Outcome, PluginError, Provider, ProviderContext, ProviderError, ProviderErrorKind,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Stamp};
use crate::config::{Config, Offer};
use crate::convert::{self, Seen};
use crate::error::{Failure, Fate, Meaning};

/// Calls about different machines in flight at once. Eight at a time created twenty machines in three seconds on two
/// cores; more only makes each of them slower.
const PARALLEL: usize = 4;
/// Longest time one operation is waited for: a first creation from a large image takes ten seconds on a slow pool, and
/// the scaler waits for a whole call for a minute.
const OPERATION_LIMIT: Duration = Duration::from_secs(45);
/// Longest time one console is waited for.
const CONSOLE_LIMIT: Duration = Duration::from_secs(20);
/// A machine that was killed is busy with LXD's own clean-up for about half a second.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// So often a busy machine is asked for again: five seconds in all.
const BUSY_TRIES: usize = 20;

const LIST: &str = "list machines";
const CREATE: &str = "create machines";
const RENEW: &str = "renew the time of machines";
const ASK: &str = "ask guests to end their agents";
const DELETE: &str = "delete machines";
const CONSOLE: &str = "read a console";

/// One daemon as a [`Provider`].
pub(crate) struct Daemon {
    name: ProviderName,
    clock: Arc<dyn Clock>,
    client: Client,
}

#[async_trait]
impl Provider for Daemon {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        // all of the project, sorted out here: a filter that a daemon understands differently would look like absence
        let asked = self
            .client
            .call(Method::GET, "instances", &[("recursion", "1")], None);
        let answer = asked.await.map_err(|failure| self.error(LIST, failure))?;
        let (rows, stamp) = match answer {
            Answer::Sync(Value::Array(rows), stamp) => (rows, stamp),
            Answer::Sync(..) | Answer::Operation(_) => {
                let failure = bad_answer("GET /1.0/instances answered no list");
                return Err(self.error(LIST, failure));
            }
        };
        let mut listing = Listing::default();
        // creation times are the daemon's, and its clock may differ from ours
        let now = stamp.at.unwrap_or_else(|| self.clock.now());
        for row in rows {
            // one row that cannot be read could be any machine of ours
            let seen: Seen = match serde_json::from_value(row) {
                Ok(seen) => seen,
                Err(error) => {
                    listing
                        .unknown
                        .push(format!("an instance that cannot be read: {error}"));
                    continue;
                }
            };
            if !seen.is_of(fleet) {
                continue;
            }
            match convert::instance(&seen, fleet, now) {
                Ok(instance) => listing.instances.push(instance),
                Err(why) => {
                    tracing::warn!(provider = %self.name, machine = %seen.name, why, "machine carries our fleet mark but cannot be read");
                }
            }
        }
        Ok(listing)
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        let names: Vec<InstanceName> = (0..batch.count)
            .map(|index| batch.batch.instance(index))
            .collect();
        let offer: Offer = match serde_json::from_value(batch.spec.clone()) {
            Ok(offer) => offer,
            Err(error) => {
                let words = format!("the offer cannot be read: {error}");
                let refused = |_| self.outcome(CREATE, invalid(words.clone()));
                return names.iter().map(refused).collect();
            }
        };
        let make = |name: InstanceName| {
            let offer = &offer;
            async move {
                match self.create_one(batch, &name, offer, call).await {
                    Ok(instance) => Outcome::Done(instance),
                    Err(failure) => self.outcome(CREATE, failure),
                }
            }
        };
        futures::stream::iter(names.into_iter().map(make))
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let delete = |instance: &Instance| {
            let instance = instance.clone();
            async move {
                match self.delete_one(&instance, call).await {
                    Ok(()) => Outcome::Done(instance.name.clone()),
                    Err(failure) => self.outcome(DELETE, failure),
                }
            }
        };
        futures::stream::iter(instances.iter().map(delete))
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        let path = format!("instances/{}/console", instance.id.as_str());
        let read = call.run(CONSOLE_LIMIT, self.client.bytes(&path)).await;
        match read.unwrap_or_else(|| Err(over())) {
            Ok(bytes) => Ok(ports::console_end(&bytes)),
            // a machine that is not there has no console, nor has one that never ran
            Err(failure) if failure.meaning == Meaning::Gone => Ok(None),
            Err(failure) => Err(self.error(CONSOLE, failure)),
        }
    }

    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let until = until.to_string();
        let mark = (convert::EXPIRES, until.as_str());
        self.mark_each(RENEW, instances, mark, call).await
    }

    async fn ask_guests(
        &self,
        instances: &[Instance],
        why: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let mark = (convert::DRAIN, why);
        self.mark_each(ASK, instances, mark, call).await
    }
}

impl Daemon {
    pub(crate) fn new(config: &Config, context: &ProviderContext) -> Result<Self, PluginError> {
        Ok(Self {
            name: context.name.clone(),
            clock: context.clock.clone(),
            client: Client::new(config)?,
        })
    }

    fn error(&self, operation: &'static str, failure: Failure) -> ProviderError {
        ProviderError {
            kind: failure.kind,
            provider: self.name.clone(),
            operation,
            message: failure.message,
            source: failure.source,
        }
    }

    fn outcome<T>(&self, operation: &'static str, failure: Failure) -> Outcome<T> {
        match failure.fate {
            Fate::NotDone => Outcome::Failed(self.error(operation, failure)),
            Fate::Unknown => Outcome::Unknown(self.error(operation, failure)),
        }
    }

    async fn create_one(
        &self,
        batch: &CreateBatch,
        name: &InstanceName,
        offer: &Offer,
        call: &Call,
    ) -> Result<Instance, Failure> {
        let body = convert::body(batch, name, offer, self.clock.now());
        let target = offer.target.as_deref().map(|target| ("target", target));
        let query: Vec<_> = target.into_iter().collect();
        match self.make(&query, &body, call).await {
            Ok(()) => {}
            Err(failure) if failure.meaning == Meaning::Exists => {
                let seen = self.look(name.to_string().as_str()).await;
                let seen = seen.map_err(|failure| doubtful(failure, "it exists already"))?;
                let Some(seen) = seen else {
                    let words = "it existed when it was to be created, and does not any more";
                    return Err(Failure::new(
                        ProviderErrorKind::UnknownOutcome,
                        Fate::Unknown,
                        words,
                    ));
                };
                let ours = convert::instance(&seen, &batch.fleet, self.clock.now());
                let Ok(ours) = ours else {
                    return Err(invalid(format!(
                        "an instance called {name} is there already and is not this fleet's; it is left alone"
                    )));
                };
                // whoever powered it off meant it; only what never ran is still to be started
                if !seen.is_stopped() || seen.was_started() {
                    return Ok(ours);
                }
            }
            Err(failure) => return Err(failure),
        }
        self.start(name, &batch.fleet, call).await
    }

    /// The call that creates. While an earlier try is still being carried out the name is busy, and then it exists.
    async fn make(&self, query: &[(&str, &str)], body: &Value, call: &Call) -> Result<(), Failure> {
        for _ in 1..BUSY_TRIES {
            match self
                .change(Method::POST, "instances", query, Some(body), call)
                .await
            {
                Err(failure) if failure.meaning == Meaning::Busy => {}
                answer => return answer,
            }
            self.clock.sleep(BUSY_PAUSE).await;
        }
        let words = "an earlier call still creates it";
        let kind = ProviderErrorKind::UnknownOutcome;
        Err(Failure::new(kind, Fate::Unknown, words))
    }

    /// Starts a machine that was created a moment ago; one that cannot be started is deleted again.
    async fn start(
        &self,
        name: &InstanceName,
        fleet: &FleetId,
        call: &Call,
    ) -> Result<Instance, Failure> {
        let place = format!("instances/{name}/state");
        let body = json!({ "action": "start", "timeout": OPERATION_LIMIT.as_secs() });
        let started = self
            .change(Method::PUT, &place, &[], Some(&body), call)
            .await;
        match started {
            Ok(()) => {}
            Err(failure) if failure.meaning == Meaning::Already => {}
            Err(mut failure) => {
                failure.message = format!("it was created and did not start: {}", failure.message);
                // whether it is there at all is known only when it was deleted again
                if failure.fate == Fate::NotDone
                    && failure.meaning != Meaning::Busy
                    && self.erase(&name.to_string(), true, call).await.is_ok()
                {
                    return Err(failure);
                }
                failure.fate = Fate::Unknown;
                return Err(failure);
            }
        }
        let seen = self.look(&name.to_string()).await;
        let seen = seen.map_err(|failure| doubtful(failure, "it was started"))?;
        let read = seen.ok_or_else(|| "it is not there any more".to_owned());
        read.and_then(|seen| convert::instance(&seen, fleet, self.clock.now()))
            .map_err(|why| {
                let words = format!("it was started, and then: {why}");
                Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, words)
            })
    }

    async fn delete_one(&self, instance: &Instance, call: &Call) -> Result<(), Failure> {
        if call.remaining().is_none() {
            return Err(over());
        }
        let id = instance.id.as_str();
        let Some(seen) = self.look(id).await? else {
            return Ok(());
        };
        if !seen.is_of(&instance.owner.fleet) || seen.name != instance.name.to_string() {
            return Err(invalid(format!(
                "the instance {id} is not this fleet's machine {}; it is left alone",
                instance.name
            )));
        }
        // what was deleted because it was powered off may have been started meanwhile and run a build
        let may_stop = instance.state != InstanceState::Stopped;
        self.erase(id, may_stop, call).await
    }

    /// An operator may be changing the machine at this moment: what he writes is not overwritten with what it was.
    /// Writes one mark on each machine.
    async fn mark_each(
        &self,
        operation: &'static str,
        instances: &[Instance],
        mark: (&str, &str),
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let write = |instance: &Instance| {
            let instance = instance.clone();
            async move {
                match self.mark_one(&instance, mark, call).await {
                    Ok(()) => Outcome::Done(instance.name.clone()),
                    Err(failure) => self.outcome(operation, failure),
                }
            }
        };
        futures::stream::iter(instances.iter().map(write))
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn mark_one(
        &self,
        instance: &Instance,
        (key, value): (&str, &str),
        call: &Call,
    ) -> Result<(), Failure> {
        if call.remaining().is_none() {
            return Err(over());
        }
        let id = instance.id.as_str();
        let Some((seen, stamp)) = self.look_closely(id).await? else {
            return Ok(());
        };
        if !seen.is_of(&instance.owner.fleet) || seen.name != instance.name.to_string() {
            return Err(invalid(format!(
                "the instance {id} is not this fleet's any more"
            )));
        }
        let body = json!({ "config": { key: value } });
        let place = format!("instances/{id}");
        match self.client.amend(&place, &stamp, &body).await? {
            Answer::Sync(..) => Ok(()),
            Answer::Operation(operation) => self.client.wait(&operation, OPERATION_LIMIT).await,
        }
    }

    /// Deletes it, and stops by force what runs, where it may. What is gone already is success.
    async fn erase(&self, id: &str, may_stop: bool, call: &Call) -> Result<(), Failure> {
        let place = format!("instances/{id}");
        let state = format!("{place}/state");
        let stop = json!({ "action": "stop", "force": true, "timeout": OPERATION_LIMIT.as_secs() });
        let mut last = None;
        for _ in 0..BUSY_TRIES {
            let deleted = self.change(Method::DELETE, &place, &[], None, call).await;
            let failure = match deleted {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match failure.meaning {
                Meaning::Gone => return Ok(()),
                Meaning::Runs if !may_stop => {
                    return Err(Failure::new(
                        ProviderErrorKind::Unavailable,
                        Fate::NotDone,
                        format!(
                            "{id} was powered off when it was listed, and runs now: it is left alone"
                        ),
                    ));
                }
                Meaning::Runs => {
                    let stopped = self
                        .change(Method::PUT, &state, &[], Some(&stop), call)
                        .await;
                    match stopped {
                        Ok(()) => continue,
                        Err(failure) => match failure.meaning {
                            // an ephemeral one is gone once it stands still
                            Meaning::Gone => return Ok(()),
                            Meaning::Already => {}
                            Meaning::Busy => last = Some(failure),
                            _ => return Err(failure),
                        },
                    }
                }
                Meaning::Busy => last = Some(failure),
                _ => return Err(failure),
            }
            self.clock.sleep(BUSY_PAUSE).await;
        }
        Err(last.unwrap_or_else(|| {
            let words = "it was stopped and runs again";
            Failure::new(ProviderErrorKind::Unavailable, Fate::NotDone, words)
        }))
    }

    /// One change, to the end of its operation.
    async fn change(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        call: &Call,
    ) -> Result<(), Failure> {
        if call.remaining().is_none() {
            return Err(over());
        }
        match self.client.call(method, path, query, body).await? {
            Answer::Sync(_, _) => Ok(()),
            Answer::Operation(operation) => self.client.wait(&operation, OPERATION_LIMIT).await,
        }
    }

    /// One instance; `None` when it is certainly not there.
    async fn look(&self, id: &str) -> Result<Option<Seen>, Failure> {
        let looked = self.look_closely(id).await?;
        Ok(looked.map(|(seen, _)| seen))
    }

    /// The same, with the stamp of its present state.
    async fn look_closely(&self, id: &str) -> Result<Option<(Seen, Stamp)>, Failure> {
        let place = format!("instances/{id}");
        match self.client.call(Method::GET, &place, &[], None).await {
            Ok(Answer::Sync(value, stamp)) => serde_json::from_value(value)
                .map(|seen| Some((seen, stamp)))
                .map_err(|error| bad_answer("an instance that cannot be read").because(error)),
            Ok(Answer::Operation(_)) => Err(bad_answer("a question became an operation")),
            Err(failure) if failure.meaning == Meaning::Gone => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

fn doubtful(mut failure: Failure, what: &str) -> Failure {
    failure.fate = Fate::Unknown;
    failure.message = format!("{what}, and could not be read: {}", failure.message);
    failure
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
}

fn bad_answer(message: &str) -> Failure {
    Failure::new(ProviderErrorKind::BadAnswer, Fate::NotDone, message)
}

fn over() -> Failure {
    let message = "the right to act was over before the call: nothing was sent";
    Failure::new(ProviderErrorKind::LeaseOver, Fate::NotDone, message)
}
