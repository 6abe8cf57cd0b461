//! One creation: what may exist of the batch already, then one place after the other.
//!
//! Exactly one set of machines, whatever fails: each try carries a token of its own that EC2 answers with the same
//! machines, and where an earlier try may have gone elsewhere the batch is looked up by its tag first.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use model::{CreateBatch, Instance, InstanceName};
use pacer::Turn;
use ports::{Call, ProviderErrorKind};

use crate::client::{REQUEST_LIMIT, Wanted, over};
use crate::config::Offer;
use crate::convert::{self, MAX_USER_DATA, by_tag, tag};
use crate::error::{Failure, Fate};
use crate::launch::Launch;
use crate::provider::Account;

/// Longest time for all of one creation: the scaler gives it up after a minute, and what it gives up counts as existing
/// until two listings say otherwise, although the last try was perhaps never sent.
const CREATE_LIMIT: Duration = Duration::from_secs(55);
/// Longest time for the question what there is of a batch already; it is one page.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for the turn of such a question.
const QUESTION_PATIENCE: Duration = Duration::from_secs(5);

/// Machines that were made, and what to say of the others of the batch.
pub(crate) type Made = (BTreeMap<InstanceName, Instance>, Failure);

impl Account {
    pub(crate) async fn create_once(
        &self,
        batch: &CreateBatch,
        call: &Call,
    ) -> Result<Made, Failure> {
        if batch.count == 0 {
            return Err(invalid("a batch of no machines"));
        }
        let offer: Offer = serde_json::from_value(batch.spec.clone())
            .map_err(|error| invalid(format!("the offer cannot be read: {error}")))?;
        let user_data = encoded(&batch.user_data.0)?;
        let until = self.clock.boottime().saturating_add(CREATE_LIMIT);
        let left = || until.saturating_sub(self.clock.boottime());
        let image = self.image(&offer, call).await?;
        let placements = convert::placements(&offer, batch.batch.sequence);
        // EC2's token answers a repeated call in its own zone only. Where an earlier try may have gone elsewhere,
        // ask what there is of this batch before launching any of it.
        if (placements.len() > 1 || batch.attempt > 0)
            && let Some(made) = self.look_up(batch, call).await?
        {
            return Ok(made);
        }
        let mut last = invalid("the offer names no machine type");
        for (tried, placement) in placements.into_iter().enumerate() {
            // the first may wait for its turn as long as it likes; another is begun only while an answer can come in time
            if tried > 0 && left() < REQUEST_LIMIT {
                break;
            }
            let launch = Launch {
                offer: &offer,
                placement,
                image: image.as_deref(),
                count: batch.count,
                token: batch.token(&placement.scope()),
                tags: convert::tags(batch, &offer),
                user_data: user_data.clone(),
            };
            match self.launch(batch, launch, call, left()).await {
                Ok(made) => return Ok(made),
                Err(failure) if failure.is_of_this_place() => last = failure,
                Err(failure) => {
                    // whoever makes images takes the old ones away, and not in ten minutes
                    if let Some(name) = offer.newest_image.as_ref()
                        && failure.is_of_the_image()
                    {
                        self.images.forget(name);
                    }
                    return Err(failure);
                }
            }
        }
        Err(last)
    }

    /// What exists of this batch already; `None` if nothing does.
    async fn look_up(&self, batch: &CreateBatch, call: &Call) -> Result<Option<Made>, Failure> {
        let (fleet, text) = (batch.fleet.as_str(), batch.batch.to_string());
        let (of_fleet, of_batch) = (by_tag(tag::FLEET), by_tag(tag::BATCH));
        let wanted = Wanted {
            filters: &[(&of_fleet, &[fleet]), (&of_batch, &[&text])],
            turn: Turn::Create,
        };
        let sweep = call.run(QUESTION_LIMIT, self.sweep(wanted)).await;
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

    /// The image that machines of this offer are made from now; none if its launch template has one.
    async fn image(&self, offer: &Offer, call: &Call) -> Result<Option<String>, Failure> {
        let Some(name) = &offer.newest_image else {
            return Ok(offer.image.clone());
        };
        let now = self.clock.boottime();
        if let Some(known) = self.images.known(name, now) {
            return Ok(Some(known));
        }
        let limit = REQUEST_LIMIT.saturating_add(QUESTION_PATIENCE);
        let found = self.client.images(name, call, limit).await?;
        self.images.newest(name, found, now).map(Some)
    }

    async fn launch(
        &self,
        batch: &CreateBatch,
        launch: Launch<'_>,
        call: &Call,
        limit: Duration,
    ) -> Result<Made, Failure> {
        let (offer, placement) = (launch.offer, launch.placement);
        let answer = self.client.run(launch, call, limit).await;
        let answer = match answer {
            // the batch was launched before, with other parameters or long ago: find what became of it
            Err(mut failure)
                if failure.is("IdempotentParameterMismatch")
                    || failure.is("IdempotentInstanceTerminated") =>
            {
                failure.fate = Fate::Unknown;
                let found = self.look_up(batch, call).await.map_err(|mut unseen| {
                    // that the question failed does not undo the launch
                    unseen.fate = Fate::Unknown;
                    unseen
                });
                return found?.ok_or(failure);
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
