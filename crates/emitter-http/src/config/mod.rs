//! What an operator writes: the keys of an emitter of kind `http`, and one entry of `serves:`.

mod check;
mod mapping;
mod requests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ports::secret::SecretRef;
use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

pub use mapping::{Class, ExecutorWord, ExecutorsConfig, JobsConfig};
pub use requests::{
    CompleteConfig, CursorPages, ForEachConfig, NumberPages, PagesConfig, RequestConfig,
};

/// The value of `kind:`.
pub(crate) const KIND: &str = "http";

/// Requests in one probe, if the configuration does not say. Queue, running jobs and executors take a handful; a hundred
/// second requests fit.
const MOST_REQUESTS: NonZeroU32 = NonZeroU32::new(200).expect("not zero");

/// Longest time one request may take, if the configuration does not say.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The keys of an emitter of kind `http`. It looks and never touches anything.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address that all paths stand below, such as `https://ci.example.com/api`.
    pub url: String,
    /// A secret that is sent with each request.
    #[serde(default)]
    pub token: Option<TokenConfig>,
    /// A user and password that are sent with each request, instead of `token`.
    #[serde(default)]
    pub login: Option<LoginConfig>,
    /// Further headers of each request. Not for secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A file of certificates (PEM) to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// What is asked, by names of your choice. Only what `jobs` and `executors` name is sent.
    pub requests: BTreeMap<String, RequestConfig>,
    /// Where the jobs are found in the answers.
    pub jobs: Vec<JobsConfig>,
    /// Where the executors are found in the answers. Without it nothing is known of them.
    #[serde(default)]
    pub executors: Vec<ExecutorsConfig>,
    /// Most requests of one probe; 200. What they do not reach makes the look partial.
    #[serde(default)]
    pub most_requests: Option<NonZeroU32>,
    /// Longest time one request may take; 30s.
    #[serde(default)]
    pub request_timeout: Option<Span>,
}

/// A secret in a header.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The secret.
    pub secret: SecretRef,
    /// The header; `Authorization`.
    #[serde(default)]
    pub header: Option<String>,
    /// What stands before the secret, with its space; `"Bearer "`.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// HTTP basic authentication.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The user.
    pub user: String,
    /// His password.
    pub password: SecretRef,
}

/// One entry of a pool's `serves:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serves {
    /// What the pool's machines offer: a job fits when each of its labels is among them. `key=*` offers any value of
    /// `key`.
    pub labels: Vec<String>,
    /// Jobs without labels, too.
    #[serde(default)]
    pub unlabelled: bool,
    /// Labels are the same in capitals and small letters, as they are for GitHub.
    #[serde(default)]
    pub ignore_case: bool,
}

impl HttpConfig {
    pub(crate) fn most_requests(&self) -> u32 {
        self.most_requests.unwrap_or(MOST_REQUESTS).get()
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout.map_or(REQUEST_TIMEOUT, |span| span.0)
    }
}

/// An address, with a path that ends in a slash.
pub(crate) fn base(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let mut url = parsed.ok_or_else(|| {
        // it may hold a password
        "that is not an address such as https://ci.example.com/api, without login and query"
            .to_owned()
    })?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}
