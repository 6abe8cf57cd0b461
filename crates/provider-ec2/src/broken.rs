//! What an error of the SDK means: what can be done, and whether the call may have taken effect.
//!
//! EC2's own refusals are `error`'s tables; here are the calls that met no answer, or none that can be read.

use std::error::Error as _;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use ports::ProviderErrorKind;

use crate::error::{Failure, Fate};

/// Reads an error of the SDK.
pub(crate) fn failure<E>(error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let chain = Chain::of(error);
    let mut failure = match error {
        SdkError::ServiceError(answer) => {
            let told = answer.err();
            Failure::answered(answer.raw().status().as_u16(), told.code(), told.message())
        }
        SdkError::ConstructionFailure(_) => {
            let message = format!("the request could not be made: {}", chain.last());
            Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
        }
        SdkError::DispatchFailure(_) => dispatch(error, &chain),
        SdkError::ResponseError(_) => {
            let message = format!("an answer that cannot be read: {}", chain.last());
            Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
        }
        // SdkError may grow: what is not known may have happened
        _ => {
            let message = "no answer in time".to_owned();
            Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
        }
    };
    failure.source = Some(Box::new(chain));
    failure
}

/// A request that met no answer: surely not sent if there were no credentials to sign it with or no connection
/// to send it on, and of unknown fate otherwise.
fn dispatch<E: std::error::Error + 'static>(error: &SdkError<E>, chain: &Chain) -> Failure {
    let mut sources = std::iter::successors(error.source(), |&error| error.source());
    let unsigned = sources.clone().any(|error| error.is::<CredentialsError>());
    if unsigned {
        let message = format!("no AWS credentials: {}", chain.last());
        return Failure::new(ProviderErrorKind::Unauthorized, Fate::NotDone, message);
    }
    let never_connected = sources.any(|error| {
        let refused = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
            use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind())
        });
        // the resolver's and the connect timer's error types are private; their words are not
        let text = error.to_string();
        refused || text.contains("dns error") || text.contains("HTTP connect")
    });
    if never_connected {
        let message = format!("no connection: {}", chain.last());
        return Failure::new(ProviderErrorKind::Unreachable, Fate::NotDone, message);
    }
    let message = format!("the link broke: {}", chain.last());
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
}

/// The words of an SDK error and its sources, without the errors themselves: their `Debug` prints the whole
/// answer, and what may stand in an answer is not ours to decide.
#[derive(Debug)]
struct Chain {
    words: String,
    source: Option<Box<Chain>>,
}

impl Chain {
    fn of(error: &dyn std::error::Error) -> Self {
        let source = error.source().map(|source| Box::new(Self::of(source)));
        Self {
            words: error.to_string(),
            source,
        }
    }

    /// The deepest words, which are the most telling.
    fn last(&self) -> &str {
        self.source
            .as_ref()
            .map_or(&self.words, |source| source.last())
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}
