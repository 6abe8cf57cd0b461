//! The SDK's client, set up from the configuration.
//!
//! Its own retries are off: a retried RunInstances hides the answer that got lost, and who retries at all is decided
//! elsewhere.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_ec2::config::Region;
use secrecy::ExposeSecret;

use crate::client::REQUEST_LIMIT;
use crate::config::{Config, Credentials, Keys};
use crate::whole::WholeAnswers;

/// Longest time to get a connection, so that a host that drops packets is told apart early.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A client of the account. Asks nobody for anything yet; credentials are fetched by the first call.
pub(crate) async fn connect(config: &Config) -> aws_sdk_ec2::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_timeout(REQUEST_LIMIT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    loader = match &config.credentials {
        None => loader,
        Some(Credentials::Profile(name)) => loader.profile_name(name),
        Some(Credentials::Keys(keys)) => loader.credentials_provider(Rotating(keys.clone())),
    };
    if let Some(url) = &config.endpoint {
        loader = loader.endpoint_url(url);
    }
    let loaded = loader.load().await;
    let config = aws_sdk_ec2::config::Builder::from(&loaded).interceptor(WholeAnswers);
    aws_sdk_ec2::Client::from_conf(config.build())
}

/// Keys by reference, read again whenever the SDK's cache of them runs out (a quarter of an hour).
#[derive(Debug)]
struct Rotating(Keys);

impl Rotating {
    fn read(&self) -> provider::Result {
        let read = |secret: &ports::SecretRef| {
            secret
                .read()
                .map_err(|error| CredentialsError::invalid_configuration(Box::new(error)))
        };
        let id = read(&self.0.id)?;
        let secret = read(&self.0.secret)?;
        let session = self.0.session.as_ref().map(read).transpose()?;
        Ok(aws_credential_types::Credentials::new(
            id.expose_secret(),
            secret.expose_secret(),
            session.map(|session| session.expose_secret().to_owned()),
            None,
            "parmanu configuration",
        ))
    }
}

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.read())
    }
}
