//! The wire: Google's calls through Google's SDK.
//!
//! [`Client::ask`] and [`Client::act`] are the two doors to the network, where every call waits for its turn. What a
//! creation says is `launch`'s business, what a failure means is `broken`'s and `error`'s.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use google_cloud_compute::{Error, model as sdk};
use ports::{Call, Clock, ProviderErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::broken::failure;
use crate::config::Config;
use crate::connect::Session;
use crate::convert::Seen;
use crate::error::{Failure, Fate};
use crate::pace::{Pace, Quota, Turn};
use crate::read::{self, Operation, Page};

/// Longest time for one request. Google answers in a second or two; a bulk creation of a hundred has been seen to take
/// ten. A lease that ends earlier cuts it shorter.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Longest time for one wait, which Google answers after two minutes at the latest.
const WAIT_LIMIT: Duration = Duration::from_secs(130);

/// Pause after a wait that was answered early and without an end, as Google reserves the right to.
const EARLY_PAUSE: Duration = Duration::from_secs(1);

/// Longest time that a call waits for its turn. Who has to wait longer is told so, and does something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Machines per page: the most Google gives, as every page costs a call.
const PAGE: u32 = 500;

/// Where a machine is: the project is the client's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) zone: &'a str,
    pub(crate) name: &'a str,
}

/// One project.
pub(crate) struct Client {
    config: Config,
    clock: Arc<dyn Clock>,
    pace: Pace,
    session: Mutex<Option<Session>>,
}

impl Client {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            pace: Pace::new(&config, &clock),
            config,
            clock,
            session: Mutex::new(None),
        }
    }

    /// How long a creation that was asked for now would wait for its turn, if that is longer than anybody waits.
    pub(crate) fn creations_wait(&self) -> Option<Duration> {
        let wait = self.pace.of(Quota::Changes).expected_wait(1, Turn::Create);
        Some(wait).filter(|wait| *wait > PATIENCE)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// One page of the machines of all zones that carry all of these labels.
    pub(crate) async fn page(
        &self,
        labels: &[(&str, &str)],
        token: Option<String>,
        limit: Duration,
    ) -> Result<Page, Failure> {
        let terms: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("(labels.{key}={value})"))
            .collect();
        let send = |session: Session| async move {
            let request = session.instances.aggregated_list();
            let request = request
                .set_project(&self.config.project)
                .set_filter(terms.join(" AND "))
                .set_max_results(PAGE);
            request.set_or_clear_page_token(token).send().await
        };
        let answer = self.ask(Quota::Lists, limit, send).await?;
        Ok(Page::of(&answer))
    }

    /// Accepts the creation of one machine.
    pub(crate) async fn insert(
        &self,
        zone: &str,
        body: Value,
        template: Option<String>,
        request_id: &str,
        call: &Call,
    ) -> Result<Operation, Failure> {
        let body: sdk::Instance = typed(body)?;
        let send = |session: Session| async move {
            let request = session.instances.insert().set_project(&self.config.project);
            let request = request.set_zone(zone).set_request_id(request_id);
            let request = request.set_or_clear_source_instance_template(template);
            request.set_body(body).send().await
        };
        let answer = self.act(Quota::Changes, Turn::Create, call, send).await?;
        Ok(Operation::of(&answer))
    }

    /// Accepts the creation of many machines.
    pub(crate) async fn bulk_insert(
        &self,
        zone: &str,
        body: Value,
        request_id: &str,
        call: &Call,
    ) -> Result<Operation, Failure> {
        let body: sdk::BulkInsertInstanceResource = typed(body)?;
        let send = |session: Session| async move {
            let request = session.instances.bulk_insert();
            let request = request.set_project(&self.config.project).set_zone(zone);
            request
                .set_request_id(request_id)
                .set_body(body)
                .send()
                .await
        };
        let answer = self.act(Quota::Changes, Turn::Create, call, send).await?;
        Ok(Operation::of(&answer))
    }

    /// Waits until an operation has ended, well or badly, as long as there is time.
    pub(crate) async fn wait(
        &self,
        zone: &str,
        operation: Operation,
        call: &Call,
    ) -> Result<Operation, Failure> {
        let mut seen = operation;
        while !seen.done {
            let name = seen.name.clone();
            let send = |session: Session| async move {
                let request = session.operations.wait().set_project(&self.config.project);
                request.set_zone(zone).set_operation(name).send().await
            };
            let answer = self.send(Quota::Operations, Turn::Create, WAIT_LIMIT, send);
            let answer = call.run(WAIT_LIMIT, answer).await;
            seen = Operation::of(&answer.ok_or_else(silence)??);
            if !seen.done {
                // not a word of how long: a moment, as long as the lease lasts
                let pause = call.run(EARLY_PAUSE * 2, self.clock.sleep(EARLY_PAUSE));
                pause.await.ok_or_else(silence)?;
            }
        }
        Ok(seen)
    }

    /// One machine by name, `None` if there is none.
    pub(crate) async fn get(
        &self,
        place: Place<'_>,
        turn: Turn,
        call: &Call,
    ) -> Result<Option<Seen>, Failure> {
        let send = |session: Session| async move {
            let request = session.instances.get().set_project(&self.config.project);
            let request = request.set_zone(place.zone).set_instance(place.name);
            request.send().await
        };
        match self.act(Quota::Reads, turn, call, send).await {
            Ok(machine) => Ok(Some(read::machine(&machine))),
            Err(failure) if failure.kind == ProviderErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The metadata items of an instance template.
    pub(crate) async fn template(
        &self,
        name: &str,
        call: &Call,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let send = |session: Session| async move {
            let request = session.templates.get().set_project(&self.config.project);
            request.set_instance_template(name).send().await
        };
        let template = self.act(Quota::Reads, Turn::Create, call, send).await?;
        let properties = template.properties.as_ref();
        let metadata = properties.and_then(|properties| properties.metadata.as_ref());
        Ok(read::items(metadata))
    }

    /// Accepts the deletion of a machine. It carries no request id: a name is used once, so a second deletion has nothing
    /// else to hit; and with the same id again Google answers with the first operation, also when that has failed.
    pub(crate) async fn delete(&self, place: Place<'_>, call: &Call) -> Result<(), Failure> {
        let send = |session: Session| async move {
            let request = session.instances.delete().set_project(&self.config.project);
            let request = request.set_zone(place.zone).set_instance(place.name);
            request.send().await
        };
        let answer = self.act(Quota::Changes, Turn::Delete, call, send).await;
        answer.map(drop)
    }

    /// Accepts other labels for a machine, as it was seen: Google refuses it if they have changed since.
    pub(crate) async fn set_labels(
        &self,
        place: Place<'_>,
        seen: Seen,
        call: &Call,
    ) -> Result<(), Failure> {
        let body = sdk::InstancesSetLabelsRequest::new()
            .set_labels(seen.labels)
            .set_label_fingerprint(seen.label_fingerprint);
        let send = |session: Session| async move {
            let request = session.instances.set_labels();
            let request = request.set_project(&self.config.project);
            let request = request.set_zone(place.zone).set_instance(place.name);
            request.set_body(body).send().await
        };
        let answer = self.act(Quota::Changes, Turn::Look, call, send).await;
        answer.map(drop)
    }

    /// The last bytes that the guest wrote to its first serial port.
    pub(crate) async fn console(
        &self,
        place: Place<'_>,
        bytes: i64,
        call: &Call,
    ) -> Result<String, Failure> {
        let send = |session: Session| async move {
            let request = session.instances.get_serial_port_output();
            let request = request.set_project(&self.config.project);
            let request = request.set_zone(place.zone).set_instance(place.name);
            // a negative start counts from the end
            request.set_port(1).set_start(-bytes).send().await
        };
        let output = self.act(Quota::Reads, Turn::Look, call, send).await?;
        Ok(output.contents.unwrap_or_default())
    }

    /// A question: it may take so long.
    async fn ask<T, F>(
        &self,
        quota: Quota,
        limit: Duration,
        send: impl FnOnce(Session) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let limit = limit.min(REQUEST_LIMIT);
        let answer = self.send(quota, Turn::Look, limit, send);
        let answer = ports::timeout(self.clock.as_ref(), limit, answer).await;
        answer.unwrap_or_else(|| Err(silence()))
    }

    /// An act: it is sent only while the lease lasts, and waited for no longer, extensions included.
    async fn act<T, F>(
        &self,
        quota: Quota,
        turn: Turn,
        call: &Call,
        send: impl FnOnce(Session) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if call.remaining().is_none() {
            return Err(over());
        }
        let sent = AtomicBool::new(false);
        let send = |session| {
            let sent = &sent;
            async move {
                // waiting for a turn takes time
                if call.remaining().is_none() {
                    return Err(over());
                }
                sent.store(true, Ordering::Relaxed);
                Ok(send(session).await)
            }
        };
        let answer = self.send_if(quota, turn, REQUEST_LIMIT, send);
        let answer = call.run(REQUEST_LIMIT, answer).await;
        // what was still waiting for its turn has not happened
        answer.unwrap_or_else(|| {
            Err(if sent.load(Ordering::Relaxed) {
                silence()
            } else {
                over()
            })
        })
    }

    async fn send<T, F>(
        &self,
        quota: Quota,
        turn: Turn,
        limit: Duration,
        send: impl FnOnce(Session) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let send = |session| async move { Ok(send(session).await) };
        self.send_if(quota, turn, limit, send).await
    }

    /// Takes a turn, signs and sends.
    async fn send_if<T, F>(
        &self,
        quota: Quota,
        turn: Turn,
        limit: Duration,
        send: impl FnOnce(Session) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Result<T, Error>, Failure>>,
    {
        let pacer = self.pace.of(quota);
        let turn = pacer.take(1, turn, PATIENCE.min(limit)).await;
        turn.map_err(|busy| {
            let kind = ProviderErrorKind::RateLimited {
                retry_after: Some(busy.retry_after),
            };
            Failure::new(kind, Fate::NotDone, busy.to_string())
        })?;
        let session = self.session().await?;
        let answer = send(session).await?.map_err(|error| failure(&error));
        answer.inspect_err(|failure| {
            if matches!(failure.kind, ProviderErrorKind::RateLimited { .. }) {
                pacer.refused();
            }
        })
    }

    async fn session(&self) -> Result<Session, Failure> {
        let mut kept = self.session.lock().await;
        let session = Session::current(&self.config, kept.clone()).await?;
        *kept = Some(session.clone());
        Ok(session)
    }
}

/// A body as the SDK's type.
fn typed<T: DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_json::from_value(body).map_err(|error| {
        let message = format!("the offer does not make a request: {error}");
        Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
    })
}

/// No answer in the time there was.
fn silence() -> Failure {
    let message = "no answer in time, or the lease ended first";
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
}

/// The right to act was over before anything was sent.
pub(crate) fn over() -> Failure {
    let message = "the lease was over before the request was sent";
    Failure::new(ProviderErrorKind::LeaseOver, Fate::NotDone, message)
}
