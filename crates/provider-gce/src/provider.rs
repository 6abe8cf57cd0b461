//! List, create, delete and read the console, in terms of the calls of `client`.
//!
//! Only what may be concluded from an answer lives here. No retry, no pause, no memory: the caller's next look at the
//! world is the retry. How machines are made is `create`'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use ports::provider::MAX_CONSOLE;
use ports::{Call, Clock, Outcome, Provider, ProviderContext, ProviderError, ProviderErrorKind};

use crate::client::{Client, Place};
use crate::config::Config;
use crate::convert::{self, Seen, label};
use crate::create::names;
use crate::error::{Failure, Fate};
use crate::pace::{Turn, at_the_full_minute};

/// Pages of one listing: fifty thousand machines. A server that never stops paging must not hold a tick for ever; what
/// lies beyond is reported as not seen.
const MAX_PAGES: usize = 100;

/// Longest time for one listing. A page takes a second; a listing that takes minutes is older than what it tells, and holds
/// up the pools of all other providers.
pub(crate) const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// Calls about single machines in flight at once. Google takes a second or two for each, so eight end a hundred machines
/// in half a minute; more would only use up the minute's quota sooner.
pub(crate) const PARALLEL: usize = 8;

const LIST: &str = "list machines";
const CREATE: &str = "create machines";
const DELETE: &str = "delete machines";
const CONSOLE: &str = "read the console of a machine";

/// One project as a [`Provider`].
pub(crate) struct Project {
    name: ProviderName,
    clock: Arc<dyn Clock>,
    pub(crate) client: Client,
}

/// What a listing over all zones found.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    pub(crate) machines: Vec<Seen>,
    /// What could not be seen although the calls went well.
    pub(crate) unseen: Vec<String>,
    /// Why the listing broke off, if it did.
    pub(crate) failure: Option<Failure>,
}

impl Project {
    pub(crate) fn new(config: Config, context: &ProviderContext) -> Self {
        Self {
            name: context.name.clone(),
            clock: context.clock.clone(),
            client: Client::new(config, context.clock.clone()),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn error(&self, operation: &'static str, failure: Failure) -> ProviderError {
        ProviderError {
            kind: at_the_full_minute(failure.kind, &self.name, self.now()),
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

    /// All machines with these labels, page by page.
    pub(crate) async fn sweep(&self, labels: &[(&str, &str)]) -> Sweep {
        // a machine can stand on two pages when the fleet changes while it is read
        let mut found: BTreeMap<(String, String), Seen> = BTreeMap::new();
        let mut sweep = Sweep::default();
        let mut heard: BTreeSet<String> = BTreeSet::new();
        let mut token = None;
        let until = self.clock.boottime().saturating_add(SWEEP_LIMIT);
        for page in 0.. {
            if page == MAX_PAGES {
                let message = format!("more than {MAX_PAGES} pages");
                let failure = Failure::new(ProviderErrorKind::BadAnswer, Fate::NotDone, message);
                sweep.failure = Some(failure);
                break;
            }
            let left = until.saturating_sub(self.clock.boottime());
            match self.client.page(labels, token, left).await {
                Ok(page) => {
                    let machines = page.machines.into_iter();
                    found.extend(
                        machines.map(|seen| ((seen.zone.clone(), seen.name.clone()), seen)),
                    );
                    sweep.unseen.extend(page.warned);
                    heard.extend(page.heard);
                    token = page.next;
                }
                Err(failure) => {
                    sweep.failure = Some(failure);
                    break;
                }
            }
            if token.is_none() {
                break;
            }
        }
        if sweep.failure.is_none() {
            self.miss(&heard, &mut sweep.unseen);
        }
        sweep.unseen.sort();
        sweep.unseen.dedup();
        sweep.machines = found.into_values().collect();
        sweep
    }

    /// Names the zones of which nothing was heard and nothing is said yet. A zone that a listing leaves out without a word
    /// is not an empty one: an empty one says so.
    fn miss(&self, heard: &BTreeSet<String>, unseen: &mut Vec<String>) {
        for zone in &self.client.config().zones {
            let told = |unseen: &String| unseen.contains(&format!("zones/{zone}:"));
            if !heard.contains(zone) && !unseen.iter().any(told) {
                unseen.push(format!(
                    "zones/{zone}: the listing does not mention it; is its name right?"
                ));
            }
        }
    }

    /// Machines of a sweep, in our terms. An odd one is reported and left out: it cannot be named, so nothing can be decided
    /// about it, and it must not stop the rest.
    pub(crate) fn read(&self, seen: &[Seen], fleet: &FleetId) -> Vec<Instance> {
        let machines = seen.iter().filter_map(|seen| {
            let read = convert::instance(seen, fleet, self.now());
            read.inspect_err(|why| {
                tracing::warn!(provider = %self.name, machine = %seen.name, why, "machine carries our fleet label but cannot be read");
            })
            .ok()
        });
        machines.collect()
    }

    async fn delete_one(&self, instance: &Instance, call: &Call) -> Outcome<InstanceName> {
        match self.delete_ours(instance, call).await {
            Ok(()) => Outcome::Done(instance.name.clone()),
            // what is not there any more is as good as deleted
            Err(failure) if failure.kind == ProviderErrorKind::NotFound => {
                Outcome::Done(instance.name.clone())
            }
            Err(failure) => self.outcome(DELETE, failure),
        }
    }

    /// Deletes a machine that carries our mark at this moment. Google's policies know no labels, so what keeps us from a
    /// machine that somebody took the mark off is to look; a look is drawn from a quota of its own.
    async fn delete_ours(&self, instance: &Instance, call: &Call) -> Result<(), Failure> {
        let place = Place {
            zone: &instance.scope,
            name: instance.id.as_str(),
        };
        let looked = self.client.get(place, Turn::Delete, call).await;
        let seen = looked.map_err(|mut failure| {
            // only a question failed
            failure.fate = Fate::NotDone;
            failure
        })?;
        let Some(seen) = seen else { return Ok(()) };
        let ours = seen.labels.get(label::FLEET).map(String::as_str);
        if ours != Some(instance.owner.fleet.as_str()) {
            let message = format!(
                "`{}` does not carry the label of fleet {}, so it is left alone",
                seen.name, instance.owner.fleet
            );
            let kind = ProviderErrorKind::InvalidRequest;
            return Err(Failure::new(kind, Fate::NotDone, message));
        }
        self.client.delete(place, call).await
    }
}

#[async_trait]
impl Provider for Project {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let mut sweep = self.sweep(&[(label::FLEET, fleet.as_str())]).await;
        let instances = self.read(&sweep.machines, fleet);
        match sweep.failure {
            Some(failure) if sweep.machines.is_empty() => return Err(self.error(LIST, failure)),
            Some(failure) => {
                let project = &self.client.config().project;
                let what = format!("project {project}: {}", failure.message);
                sweep.unseen.push(what);
            }
            None => {}
        }
        Ok(Listing {
            instances,
            unknown: sweep.unseen,
        })
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        let (mut made, mut rest) = match self.create_once(batch, call).await {
            Ok(made) => made,
            Err(failure) => (BTreeMap::new(), failure),
        };
        names(batch)
            .map(|name| match made.remove(&name) {
                Some(machine) => Outcome::Done(machine),
                None => self.outcome(CREATE, rest.again()),
            })
            .collect()
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let deletions = instances
            .iter()
            .map(|instance| self.delete_one(instance, call));
        let deletions: Vec<_> = deletions.collect();
        futures::stream::iter(deletions)
            .buffered(PARALLEL)
            .collect()
            .await
    }

    fn creations_wait(&self) -> Option<Duration> {
        self.client.creations_wait()
    }

    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        let place = Place {
            zone: &instance.scope,
            name: instance.id.as_str(),
        };
        let bytes = i64::try_from(MAX_CONSOLE).unwrap_or(i64::MAX);
        match self.client.console(place, bytes, call).await {
            Ok(text) => Ok(tail(text).filter(|text| !text.is_empty())),
            Err(failure) if failure.kind == ProviderErrorKind::NotFound => Ok(None),
            Err(failure) => Err(self.error(CONSOLE, failure)),
        }
    }
}

/// The end of a console that a server gave too much of.
fn tail(text: String) -> Option<String> {
    let from = text.len().saturating_sub(MAX_CONSOLE);
    let from = (from..=text.len()).find(|&from| text.is_char_boundary(from))?;
    Some(text[from..].to_owned())
}
