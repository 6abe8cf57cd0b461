//! The SDK's clients, set up from the configuration, and set up anew when the credentials behind it change.
//!
//! The SDK's own retries are off: a creation that is sent twice hides the answer that got lost, and who retries at all is
//! decided elsewhere.

use google_cloud_auth::credentials::{self, Credentials as Signer};
use google_cloud_compute::client::{InstanceTemplates, Instances, ZoneOperations};
use google_cloud_gax::retry_policy::NeverRetry;
use ports::ProviderErrorKind;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::broken::Words;
use crate::config::{Config, Credentials};
use crate::error::{Failure, Fate};

/// What tokens are good for: Compute Engine and nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/compute";

/// The clients of one set of credentials.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Tells the credentials apart without keeping them.
    digest: [u8; 32],
    pub(crate) instances: Instances,
    pub(crate) operations: ZoneOperations,
    pub(crate) templates: InstanceTemplates,
}

impl Session {
    /// The clients for the credentials as they are now: `known`, if nothing has changed. A file is read each time, which
    /// is cheaper than a call by far, so that a rotated key counts from the next call on.
    pub(crate) async fn current(config: &Config, known: Option<Self>) -> Result<Self, Failure> {
        let text = match &config.credentials {
            None => None,
            Some(Credentials::ServiceAccount(secret) | Credentials::WorkloadIdentity(secret)) => {
                let read = secret.read();
                Some(read.map_err(|error| unsigned(error.to_string()))?)
            }
        };
        let text = text.as_ref().map(|text| text.expose_secret());
        let digest: [u8; 32] = Sha256::digest(text.unwrap_or_default()).into();
        match known {
            Some(known) if known.digest == digest => Ok(known),
            _ => Self::new(config, signer(config, text)?, digest).await,
        }
    }

    async fn new(config: &Config, signer: Signer, digest: [u8; 32]) -> Result<Self, Failure> {
        // one client type for each service, all built alike
        macro_rules! client {
            ($service:ident) => {{
                let mut builder = $service::builder()
                    .with_credentials(signer.clone())
                    .with_retry_policy(NeverRetry);
                if let Some(url) = &config.endpoint {
                    builder = builder.with_endpoint(url);
                }
                builder.build().await.map_err(|error| not_made(&error))?
            }};
        }
        Ok(Self {
            digest,
            instances: client!(Instances),
            operations: client!(ZoneOperations),
            templates: client!(InstanceTemplates),
        })
    }
}

/// Who signs the calls.
fn signer(config: &Config, text: Option<&str>) -> Result<Signer, Failure> {
    let document = || {
        // the error of a parser may quote what it read
        serde_json::from_str(text.unwrap_or_default())
            .map_err(|_| unsigned("the credentials are not the JSON that Google gives"))
    };
    let built = match &config.credentials {
        None => credentials::mds::Builder::default()
            .with_scopes([SCOPE])
            .build(),
        Some(Credentials::ServiceAccount(_)) => {
            let scopes = credentials::service_account::AccessSpecifier::from_scopes([SCOPE]);
            credentials::service_account::Builder::new(document()?)
                .with_access_specifier(scopes)
                .build()
        }
        Some(Credentials::WorkloadIdentity(_)) => {
            credentials::external_account::Builder::new(document()?)
                .with_scopes([SCOPE])
                .build()
        }
    };
    built.map_err(|error| unsigned(Words::of(&error).last()))
}

/// There is nothing to sign a call with, so none was sent.
fn unsigned(why: impl std::fmt::Display) -> Failure {
    let message = format!("no Google credentials: {why}");
    Failure::new(ProviderErrorKind::Unauthorized, Fate::NotDone, message)
}

fn not_made(error: &dyn std::error::Error) -> Failure {
    let message = format!("no client could be made: {}", Words::of(error).last());
    Failure::new(ProviderErrorKind::InvalidRequest, Fate::NotDone, message)
}
