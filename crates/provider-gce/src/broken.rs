//! What an error of the SDK means: what can be done, and whether the call may have taken effect.
//!
//! Google's own refusals are `error`'s tables; here are the calls that met no answer, or none that can be read.

use google_cloud_compute::Error;
use google_cloud_gax::error::rpc::StatusDetails;
use ports::ProviderErrorKind;

use crate::error::{Failure, Fate};

/// Reads an error of the SDK.
pub(crate) fn failure(error: &Error) -> Failure {
    let told = error.status().map(|status| {
        let reason = status.details.iter().find_map(|detail| match detail {
            StatusDetails::ErrorInfo(info) if !info.reason.is_empty() => Some(info.reason.as_str()),
            _ => None,
        });
        Failure::refused(
            error.http_status_code().unwrap_or_default(),
            reason,
            &status.message,
        )
    });
    if let Some(told) = told {
        return told;
    }
    let words = Words::of(error);
    let mut failure = if error.is_authentication() {
        unsigned(&words)
    } else if error.is_connect() {
        let message = format!("no connection: {}", words.last());
        Failure::new(ProviderErrorKind::Unreachable, Fate::NotDone, message)
    } else if error.is_binding() || error.is_serialization() {
        let message = format!("the request could not be made: {}", words.last());
        Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
    } else if let Some(status) = error.http_status_code().filter(|status| *status >= 400) {
        // the body is a web page that is not ours to print
        return Failure::foreign(status);
    } else if error.is_deserialization() {
        let message = format!("an answer that cannot be read: {}", words.last());
        Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
    } else {
        let message = format!("the link broke: {}", words.last());
        Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
    };
    failure.source = Some(Box::new(words));
    failure
}

/// A request that could not be signed, and so was never sent.
fn unsigned(words: &Words) -> Failure {
    let message = format!("no Google credentials: {}", words.last());
    Failure::new(ProviderErrorKind::Unauthorized, Fate::NotDone, message)
}

/// The words of an error and its sources, without the errors themselves: their `Debug` prints the whole answer, and what
/// may stand in an answer is not ours to decide.
#[derive(Debug)]
pub(crate) struct Words {
    words: String,
    source: Option<Box<Words>>,
}

impl Words {
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let source = error.source().map(|source| Box::new(Self::of(source)));
        Self {
            words: error.to_string(),
            source,
        }
    }

    /// The deepest words, which are the most telling.
    pub(crate) fn last(&self) -> &str {
        let source = self.source.as_ref();
        source.map_or(&self.words, |source| source.last())
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Words {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_deref();
        source.map(|source| source as &(dyn std::error::Error + 'static))
    }
}
