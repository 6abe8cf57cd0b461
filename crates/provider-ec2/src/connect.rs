//! The SDK's client, set up from the configuration.
//!
//! Its own retries are off: a retried RunInstances hides the answer that got lost, and who retries at all is decided
//! elsewhere.

use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_ec2::config::Region;
use ports::SecretRef;
use secrecy::{ExposeSecret, SecretString};

use crate::client::REQUEST_LIMIT;
use crate::config::{AssumeRole, Config, Credentials, Keys, WebIdentity};
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
        .timeout_config(timeouts.clone());
    loader = match &config.credentials {
        None => loader,
        Some(Credentials::Profile(name)) => loader.profile_name(name),
        Some(Credentials::Keys(keys)) => loader.credentials_provider(Rotating(keys.clone())),
        Some(Credentials::AssumeRole(role)) => {
            let role = assumed(role, config, timeouts.clone()).await;
            loader.credentials_provider(role)
        }
        Some(Credentials::WebIdentity(identity)) => {
            let identity = by_token(identity, config, timeouts.clone()).await;
            loader.credentials_provider(identity)
        }
    };
    if let Some(url) = &config.endpoint {
        loader = loader.endpoint_url(url);
    }
    let loaded = loader.load().await;
    let config = aws_sdk_ec2::config::Builder::from(&loaded).interceptor(WholeAnswers);
    aws_sdk_ec2::Client::from_conf(config.build())
}

/// How sessions of a role are called in the account's audit log.
const SESSION: &str = "parmanu";

/// What calls to the token service are made with.
async fn sts(config: &Config, timeouts: TimeoutConfig, keys: Option<&Keys>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .timeout_config(timeouts);
    if let Some(keys) = keys {
        loader = loader.credentials_provider(Rotating(keys.clone()));
    }
    if let Some(url) = &config.sts_endpoint {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// A role, assumed anew before each of its sessions ends.
async fn assumed(role: &AssumeRole, config: &Config, timeouts: TimeoutConfig) -> Assumed {
    Assumed {
        role: role.clone(),
        sts: sts(config, timeouts, role.keys.as_ref()).await,
    }
}

/// Read at each renewal, so that a rotated external id counts without a restart.
#[derive(Debug)]
struct Assumed {
    role: AssumeRole,
    sts: SdkConfig,
}

impl ProvideCredentials for Assumed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let mut builder = AssumeRoleProvider::builder(&self.role.role)
                .session_name(SESSION)
                .configure(&self.sts);
            if let Some(id) = &self.role.external_id {
                builder = builder.external_id(read(id)?.expose_secret());
            }
            builder.build().await.provide_credentials().await
        })
    }
}

/// A role for a token in a file, which is read at each renewal: whoever issues tokens rotates them.
async fn by_token(identity: &WebIdentity, config: &Config, timeouts: TimeoutConfig) -> ByToken {
    ByToken {
        identity: identity.clone(),
        sts: aws_sdk_sts::Client::new(&sts(config, timeouts, None).await),
    }
}

#[derive(Debug)]
struct ByToken {
    identity: WebIdentity,
    sts: aws_sdk_sts::Client,
}

impl ByToken {
    async fn assume(&self) -> provider::Result {
        let file = &self.identity.token_file;
        let token = tokio::fs::read_to_string(file).await.map_err(|error| {
            let message = format!("the token file {} cannot be read: {error}", file.display());
            CredentialsError::invalid_configuration(message)
        })?;
        let request = self.sts.assume_role_with_web_identity();
        let request = request
            .role_arn(&self.identity.role)
            .role_session_name(SESSION)
            .web_identity_token(token.trim());
        let answer = request
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let given = answer.credentials().ok_or_else(|| {
            CredentialsError::unhandled("the token service answered without credentials")
        })?;
        let expires = SystemTime::try_from(*given.expiration());
        Ok(aws_credential_types::Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            Some(expires.map_err(CredentialsError::unhandled)?),
            "parmanu web identity",
        ))
    }
}

impl ProvideCredentials for ByToken {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.assume())
    }
}

fn read(secret: &SecretRef) -> Result<SecretString, CredentialsError> {
    secret
        .read()
        .map_err(|error| CredentialsError::invalid_configuration(Box::new(error)))
}

/// Keys by reference, read again whenever the SDK's cache of them runs out (a quarter of an hour).
#[derive(Debug)]
struct Rotating(Keys);

impl Rotating {
    fn read(&self) -> provider::Result {
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
