//! The verbs of the port, in terms of runs of the program.
//!
//! A run is the whole call: nothing is tried twice, and what a run did not say it did not do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use ports::{
    Call, Clock, MAX_CONSOLE, Outcome, Provider, ProviderContext, ProviderError, ProviderErrorKind,
    timeout,
};
use tokio::sync::{OnceCell, Semaphore};

use crate::BATCH_LIMIT;
use crate::config::{Config, Offer, Timeouts};
use crate::convert;
use crate::error::{Failure, Fate};
use crate::program::{Program, Progress, Said, not_sent};
use crate::wire::{
    Ask, ChangeReply, ConsoleReply, DescribeReply, ListReply, Request, VERSION, Verb,
};

/// Runs at once that change something, if the configuration does not say: what is behind a program is mostly one host.
const PARALLEL: u32 = 4;
/// Runs at once that only look: one listing, and one console beside it.
const LOOKS: usize = 2;

/// Machines that one run is asked to renew. A mark costs a program a moment, and all of them are renewed in one round of twenty
/// seconds, one run at a time: with a process for every few of them a thousand machines would not be.
const RENEWED_AT_ONCE: usize = 100;

const LIST: &str = "list machines";
const CREATE: &str = "create machines";
const DELETE: &str = "delete machines";
const RENEW: &str = "renew the time of machines";
const CONSOLE: &str = "read a machine's console";

/// A program as a [`Provider`].
pub(crate) struct Driver {
    name: ProviderName,
    clock: Arc<dyn Clock>,
    program: Program,
    timeouts: Timeouts,
    batch_limit: usize,
    parallel: usize,
    changes: Semaphore,
    /// One at a time, and never in the way of creations and deletions: nobody waits for them.
    renewals: Semaphore,
    looks: Semaphore,
    /// The verbs it knows. A property of the program, not of any machine; a change of the program is seen at the next start.
    verbs: OnceCell<Vec<String>>,
}

#[async_trait]
impl Provider for Driver {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let ask = Ask::List {
            fleet: fleet.to_string(),
        };
        let listed = self.listed(ask, fleet).await;
        listed.map_err(|failure| failure.of_a_look().into_error(&self.name, LIST))
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        let names: Vec<InstanceName> = (0..batch.count)
            .map(|index| batch.batch.instance(index))
            .collect();
        let offer: Offer = match serde_json::from_value(batch.spec.clone()) {
            Ok(offer) => offer,
            Err(error) => {
                let message = format!("the offer cannot be read: {error}");
                let failure = not_sent(ProviderErrorKind::InvalidRequest, message);
                return self.all(&failure, &names, CREATE);
            }
        };
        let creation = convert::creation(batch, &names, offer, self.clock.now());
        let made = self
            .change(Verb::Create, Ask::Create(creation), &names, call)
            .await;
        let take = |name: &InstanceName, machine| {
            convert::created(machine, name, &batch.fleet, &self.name)
        };
        self.outcomes(made, &names, CREATE, take)
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let ask = |fleet, machines| Ask::Delete { fleet, machines };
        let runs = runs(instances, self.batch_limit);
        self.each(Verb::Delete, DELETE, runs, ask, call).await
    }

    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        let read = async {
            if !self.knows(Verb::Console).await? {
                return Ok(None);
            }
            let ask = Ask::Console {
                fleet: instance.owner.fleet.to_string(),
                machine: convert::target(instance),
            };
            let said = self
                .ask(Verb::Console, ask, &self.looks, Some(call))
                .await?;
            let reply: ConsoleReply = convert::reply(&said)?;
            let printed = reply.console.filter(|text| !text.is_empty());
            Ok(printed.map(|text| end_of(&text).to_owned()))
        };
        let read: Result<_, Failure> = read.await;
        read.map_err(|failure| failure.of_a_look().into_error(&self.name, CONSOLE))
    }

    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let names = || instances.iter().map(|machine| machine.name.clone());
        match self.knows(Verb::Renew).await {
            Ok(true) => {}
            Ok(false) => return names().map(Outcome::Done).collect(),
            Err(failure) => return self.all(&failure, &names().collect::<Vec<_>>(), RENEW),
        }
        let until = until.to_string();
        let ask = |fleet, machines| Ask::Renew {
            fleet,
            machines,
            until: until.clone(),
        };
        let runs = runs(instances, RENEWED_AT_ONCE);
        self.each(Verb::Renew, RENEW, runs, ask, call).await
    }
}

/// How the machines of one run fared, or why nothing is known of any.
type Changed = Result<Vec<Result<Option<crate::wire::Machine>, Failure>>, Failure>;

impl Driver {
    pub(crate) fn new(config: Config, context: &ProviderContext) -> Self {
        let parallel = config.parallel.unwrap_or(PARALLEL) as usize;
        Self {
            name: context.name.clone(),
            clock: context.clock.clone(),
            program: Program {
                provider: context.name.clone(),
                clock: context.clock.clone(),
                arguments: config.program,
                env: config.env,
            },
            timeouts: config.timeout,
            batch_limit: config.batch_limit.unwrap_or(BATCH_LIMIT) as usize,
            parallel,
            changes: Semaphore::new(parallel),
            renewals: Semaphore::new(1),
            looks: Semaphore::new(LOOKS),
            verbs: OnceCell::new(),
        }
    }

    async fn listed(&self, ask: Ask, fleet: &FleetId) -> Result<Listing, Failure> {
        let said = self.ask(Verb::List, ask, &self.looks, None).await?;
        let reply: ListReply = convert::reply(&said)?;
        let (listing, odd) = convert::listing(reply, fleet, &self.name, &said.words);
        let provider = &self.name;
        if let Some((count, example)) = odd.foreign {
            tracing::warn!(%provider, count, example, "program lists machines without our fleet's tag: dropped");
        }
        for (machine, why) in odd.unreadable {
            tracing::warn!(%provider, machine, why, "machine carries our fleet's tag but cannot be read");
        }
        Ok(self.with_marks_that_count(listing).await)
    }

    /// Without the marks of a program that cannot renew them: they are those of the creation, and are over though the
    /// machine is wanted. So are those of a program of which that is not known.
    async fn with_marks_that_count(&self, mut listing: Listing) -> Listing {
        let marked = listing.instances.iter().any(|i| i.expires.is_some());
        if marked && !self.knows(Verb::Renew).await.unwrap_or(false) {
            for instance in &mut listing.instances {
                instance.expires = None;
            }
        }
        listing
    }

    /// Whether the program knows an optional verb; it is asked once.
    async fn knows(&self, verb: Verb) -> Result<bool, Failure> {
        let verbs = self.verbs.get_or_try_init(|| async {
            let asked = self.ask(Verb::Describe, Ask::Describe {}, &self.looks, None);
            let reply: Result<DescribeReply, Failure> = convert::reply(&asked.await?);
            Ok(reply?.verbs)
        });
        let verbs = verbs.await.map_err(Failure::of_a_look)?;
        Ok(verbs.iter().any(|known| known == verb.as_str()))
    }

    /// One verb over machines as listed, in several runs.
    async fn each(
        &self,
        verb: Verb,
        operation: &'static str,
        runs: impl Iterator<Item = &[Instance]>,
        ask: impl Fn(String, Vec<crate::wire::Target>) -> Ask,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let run = |machines: &[Instance]| {
            let fleet = machines.first().map(|first| first.owner.fleet.to_string());
            let targets = machines.iter().map(convert::target).collect();
            let ask = ask(fleet.unwrap_or_default(), targets);
            let names: Vec<_> = machines
                .iter()
                .map(|machine| machine.name.clone())
                .collect();
            async move {
                let changed = self.change(verb, ask, &names, call).await;
                let take = |name: &InstanceName, _| Ok(name.clone());
                self.outcomes(changed, &names, operation, take)
            }
        };
        // collected first: a borrowed iterator would make the future one of a single lifetime
        let runs: Vec<_> = runs.map(run).collect();
        let done: Vec<Vec<_>> = futures::stream::iter(runs)
            .buffered(self.parallel)
            .collect()
            .await;
        done.into_iter().flatten().collect()
    }

    async fn change(&self, verb: Verb, ask: Ask, names: &[InstanceName], call: &Call) -> Changed {
        let slots = match verb {
            Verb::Renew => &self.renewals,
            _ => &self.changes,
        };
        let said = self.ask(verb, ask, slots, Some(call)).await?;
        let reply: ChangeReply = convert::reply(&said)?;
        let rows = convert::rows(reply.outcomes, names, &said.words)?;
        let fared = rows.into_iter().map(|row| {
            match row.and_then(|row| convert::done(row, &said.words)) {
                // whoever is certain that it is not there has deleted it
                Err(failure)
                    if verb == Verb::Delete && failure.kind == ProviderErrorKind::NotFound =>
                {
                    Ok(None)
                }
                fared => fared,
            }
        });
        Ok(fared.collect())
    }

    fn outcomes<T>(
        &self,
        changed: Changed,
        names: &[InstanceName],
        operation: &'static str,
        take: impl Fn(&InstanceName, Option<crate::wire::Machine>) -> Result<T, Failure>,
    ) -> Vec<Outcome<T>> {
        let rows = match changed {
            Ok(rows) => rows,
            Err(failure) => return self.all(&failure, names, operation),
        };
        let outcome = |(name, fared): (&InstanceName, Result<Option<_>, Failure>)| match fared
            .and_then(|machine| take(name, machine))
        {
            Ok(value) => Outcome::Done(value),
            Err(failure) => failure.into_outcome(&self.name, operation),
        };
        names.iter().zip(rows).map(outcome).collect()
    }

    /// The same outcome for every machine.
    fn all<T>(
        &self,
        failure: &Failure,
        names: &[InstanceName],
        operation: &'static str,
    ) -> Vec<Outcome<T>> {
        let one = |_| failure.again().into_outcome(&self.name, operation);
        names.iter().map(one).collect()
    }

    /// One run, within its time-out and within the right to act, where it needs one.
    async fn ask(
        &self,
        verb: Verb,
        ask: Ask,
        slots: &Semaphore,
        call: Option<&Call>,
    ) -> Result<Said, Failure> {
        let limit = self.timeouts.of(verb);
        let latest = self.clock.boottime().saturating_add(limit);
        let progress = Progress::default();
        let run = async {
            // never closed, so the wait ends with a slot
            let _slot = slots.acquire().await;
            let left = latest.saturating_sub(self.clock.boottime());
            let left = match call {
                Some(call) => left.min(call.remaining().ok_or_else(over)?),
                None => left,
            };
            let request = Request {
                version: VERSION,
                seconds: left.as_secs().max(1),
                ask,
            };
            let request = serde_json::to_vec(&request).map_err(|error| {
                let message = "the request could not be written";
                not_sent(ProviderErrorKind::InvalidRequest, message).because(error)
            })?;
            self.program.run(verb.as_str(), &request, &progress).await
        };
        let said = match call {
            Some(call) => call.run(limit, run).await,
            None => timeout(&*self.clock, limit, run).await,
        };
        said.unwrap_or_else(|| Err(given_up(limit, call, &progress)))
    }
}

/// The machines of each run: of one fleet, and no more than one run may have.
fn runs(instances: &[Instance], most: usize) -> impl Iterator<Item = &[Instance]> {
    instances
        .chunk_by(|one, next| one.owner.fleet == next.owner.fleet)
        .flat_map(move |of_fleet| of_fleet.chunks(most))
}

fn over() -> Failure {
    let message = "the right to act was over before the program was started: nothing was sent";
    not_sent(ProviderErrorKind::LeaseOver, message)
}

/// What is known of a run that was given up.
fn given_up(limit: Duration, call: Option<&Call>, progress: &Progress) -> Failure {
    let over_now = call.is_some_and(|call| call.remaining().is_none());
    match (progress.begun(), over_now) {
        (false, true) => over(),
        (false, false) => not_sent(
            ProviderErrorKind::Unavailable,
            format!(
                "no turn came within {limit:?}: earlier runs are still going on; see `parallel` and `timeout`"
            ),
        ),
        (true, over_now) => {
            let why = if over_now {
                "the right to act ended meanwhile".to_owned()
            } else {
                format!("there was no reply within {limit:?}")
            };
            let message = format!("{why}, so it was ended{}", progress.last_words());
            Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
        }
    }
}

/// The last part of a text that may be kept.
fn end_of(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_CONSOLE);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_console_is_kept_whole() {
        assert_eq!(end_of("short"), "short");
        let text = "ä".repeat(MAX_CONSOLE);
        let end = end_of(&text);
        assert!(end.len() <= MAX_CONSOLE && text.ends_with(end) && !end.is_empty());
    }
}
