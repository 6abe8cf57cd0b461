//! The verbs of a provider, in terms of the calls of `client`.
//!
//! Only what may be concluded from an answer lives here. No retry, no pause, no memory: the caller's next look
//! at the world is the retry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use pacer::Turn;
use ports::{
    Call, Clock, Leftover, Outcome, Provider, ProviderContext, ProviderError, ProviderErrorKind,
};

use crate::client::{Client, Wanted, over};
use crate::config::Config;
use crate::convert::{self, Seen, TAKEN_BACK, by_tag, tag};
use crate::each::{Deed, Went, each};
use crate::error::{Failure, Fate};
use crate::images::Images;

/// Pages of one listing: a hundred thousand machines. A server that never stops paging must not hold a tick for
/// ever; what lies beyond is reported as not seen.
const MAX_PAGES: usize = 100;

/// Longest time for one listing. A page takes a second; a listing that takes minutes is older than what it tells,
/// and holds up the pools of all other providers.
pub(crate) const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// Longest time for the notices of one listing. The scaler waits half a minute for a listing and creates and deletes nothing
/// without it: what spares a machine its last two minutes must not hold that up when the one API that tells it hangs.
const NOTICES_LIMIT: Duration = Duration::from_secs(5);

/// Ids per TerminateInstances call. AWS allows 1000 and fails all of them for one bad id; a hundred bounds what
/// one bad id costs to find.
const DELETE_CHUNK: usize = 100;

/// Ids per CreateTags call; AWS allows 1000.
const TAG_CHUNK: usize = 500;

/// Pages of spot requests: those of machines that are gone are listed for a while too.
const MAX_SPOT_PAGES: usize = 10;

const LIST: &str = "list machines";
const CREATE: &str = "create machines";
const DELETE: &str = "delete machines";
const RENEW: &str = "write until when machines are wanted";
const ASK: &str = "ask guests to end their agents";
const CONSOLE: &str = "read a console";
const LEFTOVERS: &str = "list disks that outlived their machines";

/// One account as a [`Provider`].
pub(crate) struct Account {
    name: ProviderName,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client: Client,
    pub(crate) images: Images,
    /// What the last look for interruptions told.
    notices: Mutex<Notices>,
}

impl Account {
    pub(crate) fn new(config: Config, context: &ProviderContext) -> Self {
        Self::with(Client::new(config, context.clock.clone()), context)
    }

    pub(crate) fn with(client: Client, context: &ProviderContext) -> Self {
        Self {
            name: context.name.clone(),
            clock: context.clock.clone(),
            client,
            images: Images::default(),
            notices: Mutex::default(),
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
        let copy = failure.repeat();
        match copy.fate {
            Fate::NotDone => Outcome::Failed(self.error(operation, copy)),
            Fate::Unknown => Outcome::Unknown(self.error(operation, copy)),
        }
    }

    /// All machines that are wanted, page by page. Gives what was read and, if not all was, why.
    pub(crate) async fn sweep(&self, wanted: Wanted<'_>) -> (Vec<Seen>, Option<Failure>) {
        // a machine can stand on two pages when the fleet changes while it is read
        let mut found: BTreeMap<String, Seen> = BTreeMap::new();
        let mut token = None;
        let until = self.clock.boottime().saturating_add(SWEEP_LIMIT);
        for _ in 0..MAX_PAGES {
            let left = until.saturating_sub(self.clock.boottime());
            match self.client.page(wanted, token, left).await {
                Ok(page) => {
                    found.extend(page.rows.into_iter().map(|seen| (seen.id.clone(), seen)));
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
    pub(crate) fn read(&self, seen: &[Seen], fleet: &FleetId) -> Vec<Instance> {
        let machines = seen.iter().filter_map(|seen| {
            let read = convert::instance(seen, fleet, self.client.region());
            read.inspect_err(|why| {
                tracing::warn!(provider = %self.name, machine = %seen.id, why, "machine carries our fleet tag but cannot be read");
            })
            .ok()
        });
        machines.collect()
    }

    /// Writes one tag on each machine.
    async fn tag_each(
        &self,
        operation: &'static str,
        instances: &[Instance],
        (key, value): (&'static str, &str),
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let mut failures = BTreeMap::new();
        let ids: Vec<&str> = instances
            .iter()
            .map(|instance| instance.id.as_str())
            .collect();
        for chunk in ids.chunks(TAG_CHUNK) {
            let deed = Deed::Tag(key, value);
            let Went {
                gone,
                failures: failed,
            } = each(&self.client, deed, chunk, call).await;
            failures.extend(failed);
            failures.extend(gone.into_iter().map(|id| (id, not_there())));
        }
        let outcome = |instance: &Instance| match failures.get_mut(instance.id.as_str()) {
            Some(failure) => self.outcome(operation, failure),
            None => Outcome::Done(instance.name.clone()),
        };
        instances.iter().map(outcome).collect()
    }

    /// Which of the fleet's machines EC2 is about to take back, each with the word for it. Nothing depends on it but
    /// that a machine serves on for its last two minutes, so a failure is said once and stops nothing.
    async fn notices(&self, fleet: &FleetId) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let of_fleet = by_tag(tag::FLEET);
        let wanted = Wanted {
            filters: &[(&of_fleet, &[fleet.as_str()]), ("status-code", TAKEN_BACK)],
            turn: Turn::Look,
        };
        let until = self.clock.boottime().saturating_add(NOTICES_LIMIT);
        let mut token = None;
        let mut failed = None;
        for _ in 0..MAX_SPOT_PAGES {
            let left = until.saturating_sub(self.clock.boottime());
            match self.client.taken_back(wanted, token, left).await {
                Ok(page) => {
                    found.extend(page.rows.into_iter().map(|row| (row.machine, row.status)));
                    token = page.next;
                }
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
            if token.is_none() {
                break;
            }
        }
        let mut last = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let was_blind = std::mem::replace(&mut last.is_blind, failed.is_some());
        if let Some(failure) = &failed
            && !was_blind
        {
            let error = &failure.message;
            tracing::warn!(provider = %self.name, %error, "spot interruptions cannot be seen: machines serve until they vanish");
        }
        if failed.is_some() {
            // a notice is never taken back, and a machine that had one must not serve again for a question that failed
            found.extend(last.known.clone());
        }
        last.known.clone_from(&found);
        found
    }

    /// Which of these machines do not carry the fleet's tag (any more). One that EC2 does not show is not among them.
    async fn foreign(
        &self,
        instances: &[Instance],
        call: &Call,
    ) -> Result<BTreeSet<String>, Failure> {
        let ids: Vec<&str> = instances
            .iter()
            .map(|instance| instance.id.as_str())
            .collect();
        let wanted = Wanted {
            filters: &[("instance-id", &ids)],
            turn: Turn::Delete,
        };
        let sweep = call.run(SWEEP_LIMIT, self.sweep(wanted)).await;
        let (seen, failure) = sweep.ok_or_else(over)?;
        if let Some(failure) = failure {
            return Err(failure.not_done());
        }
        let fleets: BTreeMap<&str, &FleetId> = instances
            .iter()
            .map(|instance| (instance.id.as_str(), &instance.owner.fleet))
            .collect();
        let is_foreign = |seen: &Seen| {
            let fleet = fleets.get(seen.id.as_str()).map(|fleet| fleet.as_str());
            seen.tags.get(tag::FLEET).map(String::as_str) != fleet
        };
        let foreign = seen.into_iter().filter(is_foreign);
        Ok(foreign.map(|seen| seen.id).collect())
    }

    /// Terminates those that are ours, and gives the failures by id.
    async fn terminate(&self, instances: &[Instance], call: &Call) -> BTreeMap<String, Failure> {
        let ids = || instances.iter().map(|instance| instance.id.as_str());
        // asked only while the lease lasts, as the deletion itself
        let foreign = match call.remaining() {
            Some(_) => self.foreign(instances, call).await,
            None => Err(over()),
        };
        let foreign = match foreign {
            Ok(foreign) => foreign,
            Err(mut failure) => {
                return ids().map(|id| (id.to_owned(), failure.repeat())).collect();
            }
        };
        let ours: Vec<&str> = ids().filter(|id| !foreign.contains(*id)).collect();
        let mut failures: BTreeMap<String, Failure> = BTreeMap::new();
        if !ours.is_empty() {
            // what is not there any more is as good as deleted
            let failed = each(&self.client, Deed::End, &ours, call).await.failures;
            failures.extend(
                failed
                    .into_iter()
                    .map(|(id, failure)| (id.to_owned(), failure)),
            );
        }
        failures.extend(foreign.into_iter().map(|id| (id, not_ours())));
        failures
    }
}

/// A cache, not a memory: losing it costs what one look tells.
#[derive(Debug, Default)]
struct Notices {
    /// Of which machines, and the word for each.
    known: BTreeMap<String, String>,
    /// Whether the last look failed, so that it is said once.
    is_blind: bool,
}

fn not_ours() -> Failure {
    let message =
        "it does not carry the tag of its fleet any more, so it is somebody else's and stays";
    Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
}

#[async_trait]
impl Provider for Account {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let of_fleet = by_tag(tag::FLEET);
        let wanted = Wanted {
            filters: &[(&of_fleet, &[fleet.as_str()])],
            turn: Turn::Look,
        };
        let (seen, failure) = self.sweep(wanted).await;
        let mut instances = self.read(&seen, fleet);
        if seen.iter().any(Seen::is_running_spot) {
            let mut notices = self.notices(fleet).await;
            for machine in &mut instances {
                let notice = notices.remove(machine.id.as_str());
                machine.notice = notice
                    .map(|code| format!("spot interruption ({code})"))
                    .or(machine.notice.take());
            }
        }
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
        for chunk in instances.chunks(DELETE_CHUNK) {
            failures.extend(self.terminate(chunk, call).await);
        }
        let outcome = |instance: &Instance| match failures.get_mut(instance.id.as_str()) {
            Some(failure) => self.outcome(DELETE, failure),
            None => Outcome::Done(instance.name.clone()),
        };
        instances.iter().map(outcome).collect()
    }

    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let until = until.to_string();
        self.tag_each(RENEW, instances, (tag::EXPIRES, &until), call)
            .await
    }

    async fn ask_guests(
        &self,
        instances: &[Instance],
        why: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        self.tag_each(ASK, instances, (tag::DRAIN, why), call).await
    }

    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        let id = instance.id.as_str();
        let output = match self.client.console(id, true, call).await {
            // older machine types keep the output of the boot only
            Err(failure) if failure.is("UnsupportedOperation") => {
                self.client.console(id, false, call).await
            }
            answer => answer,
        };
        let output = output.map_err(|failure| self.error(CONSOLE, failure))?;
        Ok(output.and_then(|encoded| console(&encoded)))
    }

    fn creations_wait(&self) -> Option<Duration> {
        self.client.launches_wait()
    }

    async fn leftovers(&self, fleet: &FleetId) -> Result<Vec<Leftover>, ProviderError> {
        let left = self.disks_left(fleet).await;
        left.map_err(|failure| self.error(LEFTOVERS, failure))
    }
}

fn not_there() -> Failure {
    let message = "EC2 does not know the machine, or not yet";
    Failure::new(ProviderErrorKind::NotFound, Fate::NotDone, message)
}

/// The end of an output, as text; none of what is no base64.
fn console(encoded: &str) -> Option<String> {
    let decode = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
    ports::console_end(&decode.ok()?)
}

fn names(batch: &CreateBatch) -> impl Iterator<Item = InstanceName> + '_ {
    (0..batch.count).map(|index| batch.batch.instance(index))
}
