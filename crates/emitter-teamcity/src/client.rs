//! The wire: one request, one bounded answer.
//!
//! Knows HTTP and TeamCity's manners, and nothing of builds or agents. It never retries and follows no redirect: the token
//! would go with it, and where JSON was asked for a redirect is a login page. It shares its shape with the clients of the
//! other emitters; they will have one home.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::SnapshotCost;
use ports::secret::SecretRef;
use ports::{EmitterErrorKind, PluginError};
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use crate::config::KIND;
use crate::error::{Failure, line, of_status};

/// Longest time to a connection. A host in reach answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one request and its answer. An answer as late as this is of no use.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer after decompression. A queued build with five dependencies takes about 1 KB, so a page of a thousand
/// takes a sixteenth of this.
const LARGEST_BODY: usize = 16 << 20;

/// Requests and bytes of one look.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU32,
    bytes: AtomicU64,
}

impl Meter {
    pub(crate) fn cost(&self) -> SnapshotCost {
        SnapshotCost {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Speaks to one server with one access token.
pub(crate) struct Client {
    base: Url,
    token: SecretRef,
    http: reqwest::Client,
}

/// One answer whose status was looked at by nobody yet.
pub(crate) struct Answer {
    /// `GET /app/rest/buildQueue`, for messages.
    pub(crate) endpoint: String,
    pub(crate) status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    pub(crate) fn failure(&self) -> Failure {
        let said = self.said();
        of_status(
            &self.endpoint,
            self.status,
            self.retry_after,
            said.as_deref(),
        )
    }

    /// The server's own sentence in a refusal, as one line.
    pub(crate) fn said(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let message = body["errors"][0]["message"].as_str()?;
        Some(line(message)).filter(|line| !line.trim().is_empty())
    }

    /// The body of a good answer, as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if !self.is_good() {
            return Err(self.failure());
        }
        // not the parser's error: it may quote the body
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::bad_answer(format!(
                "{} answered {} with something that is not JSON: is a proxy or a login page in between?",
                self.endpoint, self.status,
            ))
        })
    }

    /// Whether a write was carried out.
    pub(crate) fn done(&self) -> Result<(), Failure> {
        if self.is_good() {
            return Ok(());
        }
        Err(self.failure())
    }
}

impl Client {
    pub(crate) fn new(base: Url, token: SecretRef) -> Result<Self, PluginError> {
        let mut headers = HeaderMap::new();
        // without it TeamCity answers in XML
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
        let http = reqwest::Client::builder()
            .user_agent(concat!("parmanu/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PluginError {
                kind: KIND,
                message: "the HTTP client could not be made".to_owned(),
                source: Some(Box::new(error)),
            })?;
        Ok(Self { base, token, http })
    }

    /// A GET below `/app/rest`, each segment of which is encoded.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        self.send(Method::GET, path, query, None, meter).await
    }

    /// A write with a JSON body.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        self.send(method, path, &[], body, meter).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let token = self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })?;
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["app", "rest"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let endpoint = format!("{method} /app/rest/{}", path.join("/"));
        let writes = method != Method::GET;
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        meter.requests.fetch_add(1, Ordering::Relaxed);
        let response = request
            .send()
            .await
            .map_err(|error| broken(&endpoint, writes, error))?;
        let status = response.status().as_u16();
        let wait = response.headers().get(header::RETRY_AFTER);
        let retry_after = wait.and_then(|text| text.to_str().ok()?.parse().ok());
        let body = read(response, &endpoint, writes, meter).await?;
        tracing::debug!(endpoint, status, bytes = body.len(), "teamcity answered");
        Ok(Answer {
            endpoint,
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body,
        })
    }
}

/// A value inside a locator. Letters that mean something there are sent in the server's own encoding; it knows no other
/// escape.
pub(crate) fn value(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("($base64:{})", URL_SAFE_NO_PAD.encode(text))
}

/// The failure of a call that got no whole answer.
fn broken(endpoint: &str, writes: bool, error: reqwest::Error) -> Failure {
    let (kind, words) = if error.is_connect() {
        (
            EmitterErrorKind::Unreachable,
            "no connection: is the server up, and `url` right?",
        )
    } else if error.is_timeout() {
        (EmitterErrorKind::TimedOut, "no answer in time")
    } else if writes {
        // it may have been carried out, which only this kind says
        (
            EmitterErrorKind::TimedOut,
            "the connection broke before the answer",
        )
    } else {
        (
            EmitterErrorKind::Unreachable,
            "the connection broke before the whole answer came",
        )
    };
    Failure::new(kind, format!("{endpoint}: {words}")).because(error.without_url())
}

async fn read(
    mut response: reqwest::Response,
    endpoint: &str,
    writes: bool,
    meter: &Meter,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| broken(endpoint, writes, error))?;
        let Some(chunk) = chunk else { return Ok(body) };
        meter.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if body.len() + chunk.len() > LARGEST_BODY {
            let message = format!("{endpoint} answered more than {LARGEST_BODY} bytes");
            return Err(Failure::new(EmitterErrorKind::TooLarge, message));
        }
        body.extend_from_slice(&chunk);
    }
}
