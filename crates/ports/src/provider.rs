//! One cloud account: list, create, delete.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::strict::Problems;
use crate::{BoxError, Call, Clock, PluginError};

/// One cloud account. Implementations keep no memory between calls: the cloud is the truth.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Lists every machine tagged as this fleet's, in any state, in one sweep for all pools. What could not be seen (a
    /// zone that does not answer, a page that failed) is named in `unknown`, never left out: the engine acts on
    /// absence. Machines of others are never listed.
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError>;

    /// Creates the machines of one batch, one outcome for each of its names, in order. The same batch again creates
    /// nothing new. Partial success is an answer, not an error. A call whose fate is not known is
    /// [`Outcome::Unknown`], and is not retried here.
    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>>;

    /// Asks for deletion of machines as listed, one outcome for each, in order. One already gone is success; one bad
    /// id does not fail the others.
    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>>;

    /// What a machine printed while it booted, as far as the cloud keeps it: the end of it, at most
    /// [`MAX_CONSOLE`] bytes. `None` where the cloud keeps nothing, or has nothing yet. Asked of a machine that never
    /// joined, before it goes, so that somebody can find out why.
    async fn console(
        &self,
        instance: &Instance,
        call: &Call,
    ) -> Result<Option<String>, ProviderError> {
        let _ = (instance, call);
        Ok(None)
    }

    /// How long a creation that was asked for now would have to wait for the account's own call rate, if that is longer
    /// than [`Provider::create`] waits: it would be refused without having been sent. Whoever must prepare a creation
    /// asks first.
    fn creations_wait(&self) -> Option<Duration> {
        None
    }

    /// Writes on machines as listed until when they are wanted, one outcome for each, in order. Whatever clears up after
    /// a Parmanu that is gone for good reads it; nobody else does, and a machine past its time is not deleted for that. A
    /// provider without such a mark has nothing to do.
    async fn renew(
        &self,
        instances: &[Instance],
        until: Timestamp,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let _ = (until, call);
        let done = |instance: &Instance| Outcome::Done(instance.name.clone());
        instances.iter().map(done).collect()
    }

    /// Writes on machines as listed that their guests are to end the agent after its build and to power off
    /// (docs/guest.md), one outcome for each, in order. `why` is for the guest's console. Written again it changes
    /// nothing, and it cannot be taken back. A provider without such a mark answers nothing, and says so in
    /// [`ProviderFacts::asks_guests`].
    async fn ask_guests(
        &self,
        instances: &[Instance],
        why: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        let _ = (instances, why, call);
        Vec::new()
    }

    /// What machines of the fleet left behind that costs although nothing holds it any more, oldest first and at most
    /// [`MAX_LEFTOVERS`]. For an operator: somebody may have wanted to keep it, so nobody but him removes it. Empty where a
    /// machine takes all with it.
    async fn leftovers(&self, fleet: &FleetId) -> Result<Vec<Leftover>, ProviderError> {
        let _ = fleet;
        Ok(Vec::new())
    }
}

/// Most leftovers that are told of: who has as many knows what to do.
pub const MAX_LEFTOVERS: usize = 1000;

/// Something that outlived its machine, such as a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The provider's name of it.
    pub id: String,
    /// What it is and of which machines, in words.
    pub what: String,
    /// When it was made, where the provider says so.
    pub created_at: Option<Timestamp>,
    /// What an operator types or does to be rid of it.
    pub remove: String,
}

/// Most bytes of a console that are kept: the end tells why a boot failed.
pub const MAX_CONSOLE: usize = 64 * 1024;

/// The end of what a machine printed, as text of at most [`MAX_CONSOLE`] bytes; `None` if it printed nothing but blanks.
/// What is no UTF-8 is marked as such.
pub fn console_end(printed: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&printed[printed.len().saturating_sub(MAX_CONSOLE)..]);
    // a mark takes more bytes than what it stands for
    let mut start = text.len().saturating_sub(MAX_CONSOLE);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    (!end.trim().is_empty()).then(|| end.to_owned())
}

/// How one machine of a call fared.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The cloud says yes.
    Done(T),
    /// The cloud says no: nothing happened.
    Failed(ProviderError),
    /// Nobody knows: counts as existing until a listing proves otherwise.
    Unknown(ProviderError),
}

impl<T> Outcome<T> {
    /// A stable word for logs and metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done(_) => "done",
            Outcome::Failed(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        }
    }
}

/// Whether a call that failed may have taken effect: what makes a failure [`Outcome::Failed`] or [`Outcome::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing happened.
    NotDone,
    /// It may have happened.
    Unknown,
}

/// What a provider plugin is made with, beside its own configuration.
#[derive(Clone)]
pub struct ProviderContext {
    /// Its name in the configuration.
    pub name: ProviderName,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What the rest of the system must know of a configured provider without asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderFacts {
    /// How long its listing may lag behind its own answers: a machine created this long ago and still missing from
    /// two complete listings was never made.
    pub listing_lag: Duration,
    /// Machines one creation call may ask for.
    pub batch_limit: u32,
    /// The shortest time a machine is billed for: to end it sooner saves nothing, and the next job would wait for a
    /// boot. Zero where nothing is billed.
    pub least_billed: Duration,
    /// Whether it can write a mark that a machine reads of itself, as [`Provider::ask_guests`] needs it.
    pub asks_guests: bool,
}

/// A provider as a plugin: one crate, and one line in the crate `plugins`.
pub trait ProviderPlugin: 'static {
    /// The value of `kind:` in YAML; lowercase, stable forever.
    const KIND: &'static str;
    /// Its keys in `providers:`, beside `kind`. Denies unknown fields.
    type Config: DeserializeOwned + JsonSchema;
    /// Its keys in an offer, beside `provider` and `price` which belong to everybody. Denies unknown fields.
    type Offer: DeserializeOwned + JsonSchema;

    /// The keys of [`ProviderPlugin::Config`] that say where its machines are (account, region, endpoint), as JSON pointers
    /// (RFC 6901). A provider with other values in them is another place, and what it does not list may still run where it
    /// stood before. No secret: the values are recorded and shown. Empty where the provider's name alone says it.
    const PLACE: &'static [&'static str] = &[];

    /// What must be known without asking it.
    fn facts(config: &Self::Config) -> ProviderFacts;
    /// Finds what is wrong with the account beyond the types. Paths are relative to the provider's entry.
    fn check(config: &Self::Config, problems: &mut Problems);
    /// Finds what is wrong with an offer beyond the types. Paths are relative to the offer.
    fn check_offer(config: &Self::Config, offer: &Self::Offer, problems: &mut Problems);
    /// What a machine of this offer cost somewhere and at some time, in a sentence, from a table that ships with the
    /// program: for the message that asks an operator for a `price`. Nothing is ever reckoned with it.
    fn price_hint(config: &Self::Config, offer: &Self::Offer) -> Option<String> {
        let _ = (config, offer);
        None
    }
    /// For how long a machine of this offer takes jobs, where its provider ends it by itself after some time, whatever it
    /// runs. From then on a listing gives it a [notice](Instance::notice). `None` where nobody but us ends a machine for its
    /// age.
    fn serves_for(config: &Self::Config, offer: &Self::Offer) -> Option<Duration> {
        let _ = (config, offer);
        None
    }
    /// The provider. Makes no request yet.
    fn provider(
        config: Self::Config,
        context: &ProviderContext,
    ) -> Result<Arc<dyn Provider>, PluginError>;
}

/// Why a cloud did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{provider} could not {operation}: {message}")]
pub struct ProviderError {
    /// For code.
    pub kind: ProviderErrorKind,
    /// The provider.
    pub provider: ProviderName,
    /// What was tried, as a verb phrase ("create machines").
    pub operation: &'static str,
    /// The cloud's code and words, and what to do; never a credential or user data.
    pub message: String,
    /// What lies below, if anything.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderErrorKind {
    /// The API asks to wait; the same request may be sent later.
    RateLimited {
        /// How long, if it says.
        retry_after: Option<Duration>,
    },
    /// No machine of this offer is to be had here now: try the next offer, remember for minutes.
    OutOfCapacity,
    /// The account's quota is used up: stop growing, tell the operator.
    QuotaExceeded,
    /// Credentials or policy: an operator has to act.
    Unauthorized,
    /// The offer or the request is wrong (no such image, subnet, type): an operator has to act.
    InvalidRequest,
    /// The machine is not there (or not visible yet).
    NotFound,
    /// Nobody answered, before anything was sent.
    Unreachable,
    /// The API answers with an error of its own.
    Unavailable,
    /// No answer in time, or the link broke: it may have happened.
    UnknownOutcome,
    /// The right to act was over before the call went out: nothing was sent.
    LeaseOver,
    /// The answer is not what the contract says.
    BadAnswer,
}

impl ProviderErrorKind {
    /// A stable word for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderErrorKind::RateLimited { .. } => "rate_limited",
            ProviderErrorKind::OutOfCapacity => "out_of_capacity",
            ProviderErrorKind::QuotaExceeded => "quota_exceeded",
            ProviderErrorKind::Unauthorized => "unauthorized",
            ProviderErrorKind::InvalidRequest => "invalid_request",
            ProviderErrorKind::NotFound => "not_found",
            ProviderErrorKind::Unreachable => "unreachable",
            ProviderErrorKind::Unavailable => "unavailable",
            ProviderErrorKind::UnknownOutcome => "unknown_outcome",
            ProviderErrorKind::LeaseOver => "lease_over",
            ProviderErrorKind::BadAnswer => "bad_answer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_console_keeps_to_its_bound_whatever_was_printed() {
        assert_eq!(console_end(b"panic\n").as_deref(), Some("panic\n"));
        assert_eq!(console_end(b" \n"), None);
        let odd = [0xff; MAX_CONSOLE + 7];
        let end = console_end(&odd).unwrap();
        assert!(end.len() <= MAX_CONSOLE && end.len() > MAX_CONSOLE - 3);
        let long = [vec![b'x'; MAX_CONSOLE], b"the end".to_vec()].concat();
        assert!(console_end(&long).unwrap().ends_with("the end"));
    }
}
