//! One creation, from the offer to what became of each machine.
//!
//! The order matters: look up what an earlier try may have made, try one place after the other while the answer is a
//! plain "no room", and wait for each operation, because only it knows. What is not known at the end is said to be so.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use jiff::Timestamp;
use model::{CreateBatch, Instance, InstanceName};
use ports::{Call, ProviderErrorKind};

use crate::client::Place;
use crate::config::{Offer, is_name};
use crate::convert::{self, MAX_USER_DATA, Placement, label, request_id};
use crate::error::{Failure, Fate};
use crate::launch::Launch;
use crate::pace::Turn;
use crate::provider::{PARALLEL, Project};
use crate::read::Operation;

/// Machines that were made, and what to say of the others of the batch.
pub(crate) type Made = (BTreeMap<InstanceName, Instance>, Failure);

pub(crate) fn names(batch: &CreateBatch) -> impl Iterator<Item = InstanceName> + '_ {
    (0..batch.count).map(|index| batch.batch.instance(index))
}

impl Project {
    pub(crate) async fn create_once(
        &self,
        batch: &CreateBatch,
        call: &Call,
    ) -> Result<Made, Failure> {
        let offer = read(batch)?;
        let placements = convert::placements(&offer, self.client.config(), batch.batch.sequence);
        // Names and request ids count in one zone only. Where an earlier try may have gone elsewhere, ask what there is of
        // this batch before making any of it.
        if (placements.len() > 1 || batch.attempt > 0)
            && let Some(made) = self.look_up(batch, call).await?
        {
            return Ok(made);
        }
        let inherited = match &offer.template {
            Some(name) => self.client.template(name, call).await.map_err(of_offer)?,
            None => BTreeMap::new(),
        };
        let mut last = invalid("the provider names no zone");
        for placement in placements {
            let launch = Launch {
                project: &self.client.config().project,
                batch,
                offer: &offer,
                placement,
                inherited: &inherited,
            };
            match self.launch(launch, call).await {
                Ok(made) => return Ok(made),
                Err(failure) if failure.is_of_this_place() => last = failure,
                Err(failure) => return Err(of_offer(failure)),
            }
        }
        Err(last)
    }

    /// What exists of this batch already; `None` if nothing does.
    async fn look_up(&self, batch: &CreateBatch, call: &Call) -> Result<Option<Made>, Failure> {
        let text = batch.batch.to_string();
        let labels = [
            (label::FLEET, batch.fleet.as_str()),
            (label::BATCH, text.as_str()),
        ];
        if call.remaining().is_none() {
            return Err(crate::client::over());
        }
        let sweep = call
            .run(crate::provider::SWEEP_LIMIT, self.sweep(&labels))
            .await;
        let sweep = sweep.ok_or_else(crate::client::over)?;
        if let Some(mut failure) = sweep.failure {
            // only a question failed: this call has made nothing
            failure.fate = Fate::NotDone;
            return Err(failure);
        }
        // a zone that does not answer may be the one that has it
        if let Some(unseen) = sweep.unseen.first() {
            let message = format!("whether the batch was made before cannot be seen: {unseen}");
            return Err(Failure::new(
                ProviderErrorKind::Unavailable,
                Fate::NotDone,
                message,
            ));
        }
        let machines = self.read(&sweep.machines, &batch.fleet).into_iter();
        let made: BTreeMap<_, _> = machines
            .map(|machine| (machine.name.clone(), machine))
            .collect();
        if made.is_empty() {
            return Ok(None);
        }
        let message = "the batch was made before, and this machine is not in the listing";
        Ok(Some((made, doubt(message))))
    }

    /// One try in one place.
    async fn launch(&self, launch: Launch<'_>, call: &Call) -> Result<Made, Failure> {
        let Launch {
            batch, placement, ..
        } = launch;
        let id = request_id(&batch.token(&placement.scope()));
        let accepted = if batch.count == 1 {
            let template = launch.template();
            self.client
                .insert(placement.zone, launch.one(), template, &id, call)
                .await
        } else {
            self.client
                .bulk_insert(placement.zone, launch.many(), &id, call)
                .await
        };
        let operation = match accepted {
            Err(failure) if failure.is_taken() => {
                return self.standing(batch, placement, failure, call).await;
            }
            accepted => accepted?,
        };
        let ended = self.client.wait(placement.zone, operation, call).await;
        let ended = ended.map_err(|mut failure| {
            // the creation was accepted, whatever became of our question about it
            failure.fate = Fate::Unknown;
            failure
        })?;
        self.conclude(batch, placement, ended, call).await
    }

    /// What an operation that has ended says of the machines.
    async fn conclude(
        &self,
        batch: &CreateBatch,
        placement: Placement<'_>,
        ended: Operation,
        call: &Call,
    ) -> Result<Made, Failure> {
        let made = ended.made.unwrap_or(u32::from(ended.error.is_none()));
        if ended.error.is_none() && made >= batch.count {
            let at = ended.inserted_at.as_deref().and_then(|at| at.parse().ok());
            let all = names(batch).map(|name| created(batch, name, placement, at));
            return Ok((all.collect(), doubt("it was made")));
        }
        let failure = match &ended.error {
            Some((code, message)) => Failure::ended(code, message),
            None => short_of(batch, placement, made),
        };
        if made == 0 && !failure.is_taken() {
            return Err(failure);
        }
        self.standing(batch, placement, failure, call).await
    }

    /// The machines of the batch that are there, asked for one by one: a get does not lag as a listing may. `failure` is
    /// what to say of those that are not.
    async fn standing(
        &self,
        batch: &CreateBatch,
        placement: Placement<'_>,
        failure: Failure,
        call: &Call,
    ) -> Result<Made, Failure> {
        let ask = |name: InstanceName| async move {
            let text = name.to_string();
            let place = Place {
                zone: placement.zone,
                name: &text,
            };
            self.client.get(place, Turn::Create, call).await
        };
        let asked = futures::stream::iter(names(batch).map(ask)).buffered(PARALLEL);
        let answers: Vec<_> = asked.collect().await;
        let mut made = BTreeMap::new();
        let mut rest = failure;
        for answer in answers {
            match answer {
                Ok(Some(seen)) => match convert::instance(&seen, &batch.fleet, self.now()) {
                    Ok(machine) => drop(made.insert(machine.name.clone(), machine)),
                    Err(why) => rest = foreign(&seen.name, placement.zone, &why),
                },
                Ok(None) if rest.is_taken() => {
                    rest = doubt("it existed when it was to be created, and does not any more");
                }
                Ok(None) => {}
                Err(mut broken) => {
                    broken.fate = Fate::Unknown;
                    rest = broken;
                }
            }
        }
        if made.is_empty() {
            return Err(rest);
        }
        Ok((made, rest))
    }
}

/// The offer of a batch, and whether the batch is one that can be asked for.
fn read(batch: &CreateBatch) -> Result<Offer, Failure> {
    if batch.count == 0 {
        return Err(invalid("a batch of no machines"));
    }
    let last = batch.batch.instance(batch.count - 1).to_string();
    if !is_name(&last) {
        let message = format!(
            "`{last}` is longer than the 63 characters that Google allows for a name: give the pool a shorter one"
        );
        return Err(invalid(message));
    }
    let size = batch.user_data.0.len();
    if size > MAX_USER_DATA {
        let message =
            format!("the boot script has {size} bytes; Compute Engine takes {MAX_USER_DATA}");
        return Err(invalid(message));
    }
    serde_json::from_value(batch.spec.clone())
        .map_err(|error| invalid(format!("the offer cannot be read: {error}")))
}

fn created(
    batch: &CreateBatch,
    name: InstanceName,
    placement: Placement<'_>,
    at: Option<Timestamp>,
) -> (InstanceName, Instance) {
    let machine = convert::created(batch, name.clone(), placement.zone, at);
    (name, machine)
}

/// What is missing while creating is wrong in the offer: an image, a network, a template.
fn of_offer(mut failure: Failure) -> Failure {
    if failure.kind == ProviderErrorKind::NotFound {
        failure.kind = ProviderErrorKind::InvalidRequest;
    }
    failure
}

fn short_of(batch: &CreateBatch, placement: Placement<'_>, made: u32) -> Failure {
    let message = format!(
        "{} in {} had room for {made} of {} machines",
        placement.machine_type.unwrap_or("the template's type"),
        placement.zone,
        batch.count
    );
    Failure::new(ProviderErrorKind::OutOfCapacity, Fate::NotDone, message)
}

/// The name belongs to a machine that is not of this batch; ours was not made.
fn foreign(name: &str, zone: &str, why: &str) -> Failure {
    let message = format!(
        "`{name}` in {zone} is the name of a machine that is not this fleet's: {why}. Two fleets with pools of one name need \
         projects of their own"
    );
    invalid(message)
}

fn doubt(message: &str) -> Failure {
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
}
