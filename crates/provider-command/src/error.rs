//! A run that failed, in our terms, and whether it may have had an effect.

use std::time::Duration;

use model::ProviderName;
pub(crate) use ports::Fate;
use ports::{BoxError, Outcome, ProviderError, ProviderErrorKind};

use crate::wire::{Kind, Refusal};
use crate::words::Words;

/// A call that failed, in our terms.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ProviderErrorKind,
    pub(crate) fate: Fate,
    /// For the operator.
    pub(crate) message: String,
    pub(crate) source: Option<BoxError>,
}

impl Failure {
    pub(crate) fn new(kind: ProviderErrorKind, fate: Fate, message: impl Into<String>) -> Self {
        Self {
            kind,
            fate,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A reply that is not what the contract says. The program ran, so what it did is not known.
    pub(crate) fn bad_answer(message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::BadAnswer, Fate::Unknown, message)
    }

    /// The program's own words: it says that nothing happened, unless it says that it does not know.
    pub(crate) fn said(refusal: &Refusal, words: &Words) -> Self {
        let kind = kind_of(refusal);
        let fate = match kind {
            ProviderErrorKind::UnknownOutcome => Fate::Unknown,
            _ => Fate::NotDone,
        };
        Self::new(kind, fate, words.fit(&refusal.message))
    }

    pub(crate) fn into_error(
        self,
        provider: &ProviderName,
        operation: &'static str,
    ) -> ProviderError {
        ProviderError {
            kind: self.kind,
            provider: provider.clone(),
            operation,
            message: self.message,
            source: self.source,
        }
    }

    pub(crate) fn into_outcome<T>(
        self,
        provider: &ProviderName,
        operation: &'static str,
    ) -> Outcome<T> {
        match self.fate {
            Fate::NotDone => Outcome::Failed(self.into_error(provider, operation)),
            Fate::Unknown => Outcome::Unknown(self.into_error(provider, operation)),
        }
    }

    /// The same for a look: it changes nothing, so there is nothing that may have happened.
    pub(crate) fn of_a_look(mut self) -> Self {
        if self.kind == ProviderErrorKind::UnknownOutcome {
            self.kind = ProviderErrorKind::Unavailable;
        }
        self.fate = Fate::NotDone;
        self
    }

    /// The same for one more machine of a call. The source stays with the original.
    pub(crate) fn again(&self) -> Self {
        let message = match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        };
        Self::new(self.kind, self.fate, message)
    }
}

/// Longest pause that a program may ask for; a mistyped one must not stop a pool for days.
const LONGEST_RETRY_AFTER: u64 = 3600;

fn kind_of(refusal: &Refusal) -> ProviderErrorKind {
    use ProviderErrorKind as Port;
    match refusal.kind {
        Kind::RateLimited => {
            let seconds = refusal.retry_after_seconds;
            let seconds = seconds.map(|seconds| seconds.min(LONGEST_RETRY_AFTER));
            Port::RateLimited {
                retry_after: seconds.map(Duration::from_secs),
            }
        }
        Kind::OutOfCapacity => Port::OutOfCapacity,
        Kind::QuotaExceeded => Port::QuotaExceeded,
        Kind::Unauthorized => Port::Unauthorized,
        Kind::InvalidRequest => Port::InvalidRequest,
        Kind::NotFound => Port::NotFound,
        Kind::Unreachable => Port::Unreachable,
        Kind::Unavailable => Port::Unavailable,
        Kind::UnknownOutcome => Port::UnknownOutcome,
        Kind::LeaseOver => Port::LeaseOver,
        Kind::BadAnswer => Port::BadAnswer,
    }
}
