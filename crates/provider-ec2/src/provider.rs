//! List, create and delete, in terms of the three calls of `client`.
//!
//! Only what may be concluded from an answer lives here. No retry, no pause, no memory: the caller's next look
//! at the world is the retry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use ports::{Call, Clock, Outcome, Provider, ProviderContext, ProviderError, ProviderErrorKind};

use crate::client::{Client, over};
use crate::config::{Config, Offer};
use crate::convert::{self, MAX_USER_DATA, Placement, Seen, tag};
use crate::error::{Failure, Fate, ids_named};
use crate::launch::Launch;

/// Pages of one listing: a hundred thousand machines. A server that never stops paging must not hold a tick for
/// ever; what lies beyond is reported as not seen.
const MAX_PAGES: usize = 100;

/// Longest time for one listing. A page takes a second; a listing that takes minutes is older than what it tells,
/// and holds up the pools of all other providers.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// Ids per TerminateInstances call. AWS allows 1000 and fails all of them for one bad id; a hundred bounds what
/// one bad id costs to find.
const DELETE_CHUNK: usize = 100;

const LIST: &str = "list machines";
const CREATE: &str = "create machines";
const DELETE: &str = "delete machines";

/// One account as a [`Provider`].
pub(crate) struct Account {
    name: ProviderName,
    clock: Arc<dyn Clock>,
    client: Client,
}

impl Account {
    pub(crate) fn new(config: Config, context: &ProviderContext) -> Self {
        Self {
            name: context.name.clone(),
            clock: context.clock.clone(),
            client: Client::new(config, context.clock.clone()),
        }
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

    /// The same failure for many: the source goes with the first.
    fn outcome<T>(&self, operation: &'static str, failure: &mut Failure) -> Outcome<T> {
        let copy = repeat(failure);
        match copy.fate {
            Fate::NotDone => Outcome::Failed(self.error(operation, copy)),
            Fate::Unknown => Outcome::Unknown(self.error(operation, copy)),
        }
    }

    /// All machines with these tags, page by page. Gives what was read and, if not all was, why.
    async fn sweep(&self, tags: &[(&str, &str)]) -> (Vec<Seen>, Option<Failure>) {
        // a machine can stand on two pages when the fleet changes while it is read
        let mut found: BTreeMap<String, Seen> = BTreeMap::new();
        let mut token = None;
        let until = self.clock.boottime().saturating_add(SWEEP_LIMIT);
        for _ in 0..MAX_PAGES {
            let left = until.saturating_sub(self.clock.boottime());
            match self.client.page(tags, token, left).await {
                Ok(page) => {
                    found.extend(
                        page.machines
                            .into_iter()
                            .map(|seen| (seen.id.clone(), seen)),
                    );
                    token = page.next;
                }
                Err(failure) => return (found.into_values().collect(), Some(failure)),
            }
            if token.is_none() {
                return (found.into_values().collect(), None);
            }
        }
        let message = format!("more than {MAX_PAGES} pages");
        let failure = Failure::new(ProviderErrorKind::BadAnswer, Fate::NotDone, message);
        (found.into_values().collect(), Some(failure))
    }

    /// Machines of a sweep, in our terms. An odd one is reported and left out: it cannot be named, so nothing
    /// can be decided about it, and it must not stop the rest.
    fn read(&self, seen: &[Seen], fleet: &FleetId) -> Vec<Instance> {
        let machines = seen.iter().filter_map(|seen| {
            let read = convert::instance(seen, fleet, self.client.region());
            read.inspect_err(|why| {
                tracing::warn!(provider = %self.name, machine = %seen.id, why, "machine carries our fleet tag but cannot be read");
            })
            .ok()
        });
        machines.collect()
    }
}

#[async_trait]
impl Provider for Account {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let (seen, failure) = self.sweep(&[(tag::FLEET, fleet.as_str())]).await;
        let instances = self.read(&seen, fleet);
        match failure {
            None => Ok(Listing {
                instances,
                unknown: Vec::new(),
            }),
            Some(failure) if seen.is_empty() => Err(self.error(LIST, failure)),
            Some(failure) => {
                let unknown = format!("region {}: {}", self.client.region(), failure.message);
                Ok(Listing {
                    instances,
                    unknown: vec![unknown],
                })
            }
        }
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        match self.create_once(batch, call).await {
            Ok((mut made, mut rest)) => names(batch)
                .map(|name| match made.remove(&name) {
                    Some(machine) => Outcome::Done(machine),
                    None => self.outcome(CREATE, &mut rest),
                })
                .collect(),
            Err(mut failure) => names(batch)
                .map(|_| self.outcome(CREATE, &mut failure))
                .collect(),
        }
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let mut failures = BTreeMap::new();
        let ids: Vec<&str> = instances
            .iter()
            .map(|instance| instance.id.as_str())
            .collect();
        for chunk in ids.chunks(DELETE_CHUNK) {
            failures.extend(self.terminate(chunk, call).await);
        }
        let outcome = |instance: &Instance| match failures.get_mut(instance.id.as_str()) {
            Some(failure) => self.outcome(DELETE, failure),
            None => Outcome::Done(instance.name.clone()),
        };
        instances.iter().map(outcome).collect()
    }
}

/// Machines that were made, and what to say of the others of the batch.
type Made = (BTreeMap<InstanceName, Instance>, Failure);

impl Account {
    async fn create_once(&self, batch: &CreateBatch, call: &Call) -> Result<Made, Failure> {
        if batch.count == 0 {
            return Err(invalid("a batch of no machines"));
        }
        let offer: Offer = serde_json::from_value(batch.spec.clone())
            .map_err(|error| invalid(format!("the offer cannot be read: {error}")))?;
        let user_data = encoded(&batch.user_data.0)?;
        let placements = convert::placements(&offer, batch.batch.sequence);
        // EC2's token answers a repeated call in its own zone only. Where an earlier try may have gone elsewhere,
        // ask what there is of this batch before launching any of it.
        if (placements.len() > 1 || batch.attempt > 0)
            && let Some(made) = self.look_up(batch, call).await?
        {
            return Ok(made);
        }
        let mut last = invalid("the offer names no machine type");
        for placement in placements {
            match self
                .launch(batch, &offer, placement, user_data.clone(), call)
                .await
            {
                Ok(made) => return Ok(made),
                Err(failure) if failure.is_of_this_place() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// What exists of this batch already; `None` if nothing does.
    async fn look_up(&self, batch: &CreateBatch, call: &Call) -> Result<Option<Made>, Failure> {
        let text = batch.batch.to_string();
        let tags = [
            (tag::FLEET, batch.fleet.as_str()),
            (tag::BATCH, text.as_str()),
        ];
        let sweep = call.run(SWEEP_LIMIT, self.sweep(&tags)).await;
        let (seen, failure) = sweep.ok_or_else(over)?;
        if let Some(mut failure) = failure {
            // only a question failed: this call has launched nothing
            failure.fate = Fate::NotDone;
            return Err(failure);
        }
        let machines = self.read(&seen, &batch.fleet).into_iter();
        let made: BTreeMap<_, _> = machines
            .map(|machine| (machine.name.clone(), machine))
            .collect();
        if made.is_empty() {
            return Ok(None);
        }
        let message = "the batch was launched before, and this machine is not in the listing";
        let kind = ProviderErrorKind::UnknownOutcome;
        Ok(Some((made, Failure::new(kind, Fate::Unknown, message))))
    }

    async fn launch(
        &self,
        batch: &CreateBatch,
        offer: &Offer,
        placement: Placement<'_>,
        user_data: Option<String>,
        call: &Call,
    ) -> Result<Made, Failure> {
        let launch = Launch {
            offer,
            placement,
            count: batch.count,
            token: batch.token(&placement.scope()),
            tags: convert::tags(batch, offer),
            user_data,
        };
        let answer = self.client.run(launch, call).await;
        let answer = match answer {
            // the batch was launched before, with other parameters or long ago: find what became of it
            Err(mut failure)
                if failure.is("IdempotentParameterMismatch")
                    || failure.is("IdempotentInstanceTerminated") =>
            {
                failure.fate = Fate::Unknown;
                return self.look_up(batch, call).await?.ok_or(failure);
            }
            answer => answer?,
        };
        let answered = answer.len();
        let made = convert::created(batch, offer, self.client.region(), answer);
        if made.is_empty() || made.len() < answered {
            let named = made.len();
            let message = format!(
                "EC2 answered with {answered} machines, {named} of them with names of their own"
            );
            return Err(Failure::new(
                ProviderErrorKind::BadAnswer,
                Fate::Unknown,
                message,
            ));
        }
        let message = format!(
            "{} in {} had room for {} of {} machines",
            placement.instance_type,
            placement.scope().rsplit('@').next().unwrap_or_default(),
            made.len(),
            batch.count
        );
        let rest = Failure::new(ProviderErrorKind::OutOfCapacity, Fate::NotDone, message);
        Ok((made, rest))
    }

    /// Terminates, and gives the failures by id. A call that fails because of one id is tried again without it.
    async fn terminate<'a>(&self, ids: &[&'a str], call: &Call) -> BTreeMap<&'a str, Failure> {
        let mut failures = BTreeMap::new();
        let mut open: Vec<Vec<&'a str>> = vec![ids.to_vec()];
        while let Some(ids) = open.pop() {
            let answer = self.client.terminate(&ids, call).await;
            match answer {
                Ok(()) => {}
                Err(failure) if failure.is("InvalidInstanceID.NotFound") => {
                    // what is not there any more is as good as deleted
                    let gone: BTreeSet<&str> = ids_named(&failure.message).into_iter().collect();
                    let rest: Vec<&str> = ids
                        .iter()
                        .copied()
                        .filter(|id| !gone.contains(id))
                        .collect();
                    if rest.len() < ids.len() {
                        open.extend((!rest.is_empty()).then_some(rest));
                    } else {
                        open.extend(halves(&ids));
                    }
                }
                Err(failure) if failure.blames_one_id() && ids.len() > 1 => {
                    open.extend(halves(&ids));
                }
                Err(mut failure) => {
                    let fail = |id| (id, repeat(&mut failure));
                    failures.extend(ids.into_iter().map(fail));
                }
            }
        }
        failures
    }
}

/// Two halves; nothing of a single id, which is then known to be the one.
fn halves<'a>(ids: &[&'a str]) -> Vec<Vec<&'a str>> {
    if ids.len() < 2 {
        return Vec::new();
    }
    let (first, second) = ids.split_at(ids.len() / 2);
    vec![first.to_vec(), second.to_vec()]
}

/// The same failure once more; its source goes with the first.
fn repeat(failure: &mut Failure) -> Failure {
    Failure {
        kind: failure.kind,
        fate: failure.fate,
        code: failure.code.clone(),
        message: failure.message.clone(),
        source: failure.source.take(),
    }
}

fn names(batch: &CreateBatch) -> impl Iterator<Item = InstanceName> + '_ {
    (0..batch.count).map(|index| batch.batch.instance(index))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
}

fn encoded(user_data: &str) -> Result<Option<String>, Failure> {
    if user_data.len() > MAX_USER_DATA {
        let message = format!(
            "the boot script has {} bytes; EC2 takes {MAX_USER_DATA}",
            user_data.len()
        );
        return Err(invalid(message));
    }
    let encode = || base64::engine::general_purpose::STANDARD.encode(user_data);
    Ok((!user_data.is_empty()).then(encode))
}
