//! The wire: one request, one bounded answer.
//!
//! Knows HTTP and Jenkins' manners, and nothing of items or nodes. It never retries and follows no redirect: the token
//! would go with it, and where JSON was asked for a redirect is a login page. It shares its shape with the clients of the
//! other emitters; they will have one home.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use model::SnapshotCost;
use ports::secret::SecretRef;
use ports::{Clock, EmitterErrorKind, PluginError};
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use url::Url;

use crate::config::KIND;
use crate::error::{Failure, of_status};

/// Longest time to a connection. A host in reach answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one request and its answer. A queue of thousands takes a second; an answer as late as this is of no use.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer after decompression. 150 items took 60 KB where it was measured, so this holds 40,000.
pub(crate) const LARGEST_BODY: usize = 16 << 20;

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

/// Speaks to one controller as one user.
pub(crate) struct Client {
    base: Url,
    user: String,
    token: SecretRef,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
}

/// One answer whose status was looked at by nobody yet.
pub(crate) struct Answer {
    /// `GET /queue/api/json`, for messages.
    pub(crate) endpoint: String,
    pub(crate) status: u16,
    /// Changes with each start of the controller.
    pub(crate) session: Option<String>,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    pub(crate) fn failure(&self) -> Failure {
        of_status(&self.endpoint, self.status, self.retry_after)
    }

    /// The body of a good answer as text.
    pub(crate) fn text(&self) -> Result<String, Failure> {
        if self.status != 200 {
            return Err(self.failure());
        }
        String::from_utf8(self.body.clone())
            .map_err(|_| Failure::bad_answer(format!("{} answered no text", self.endpoint)))
    }

    /// The body of a good answer, as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if self.status != 200 {
            return Err(self.failure());
        }
        // not the parser's error: it may quote the body
        serde_json::from_slice(&self.body).map_err(|_| {
            Failure::bad_answer(format!(
                "{} answered 200 with something that is not JSON: is a proxy or a login page in between?",
                self.endpoint,
            ))
        })
    }
}

impl Client {
    pub(crate) fn new(
        base: Url,
        user: String,
        token: SecretRef,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PluginError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // `why` is written in the language of the request
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
        Ok(Self {
            base,
            user,
            token,
            http,
            clock,
        })
    }

    /// A GET of this path, each segment of which is encoded.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        tree: &str,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let query: &[(&str, &str)] = if tree.is_empty() {
            &[]
        } else {
            &[("tree", tree)]
        };
        let url = self.address(path, query)?;
        self.send(Method::GET, url, None, meter).await
    }

    /// A POST. Jenkins answers what it has carried out with a redirect to a page.
    pub(crate) async fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        form: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let url = self.address(path, query)?;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        self.send(Method::POST, url, Some(body), &Meter::default())
            .await
    }

    fn address(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        // a segment of dots would be another path
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            let words = "that is not the name of a node";
            return Err(Failure::new(EmitterErrorKind::NotFound, words));
        }
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        form: Option<String>,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let token = self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })?;
        let endpoint = format!("{method} {}", url.path());
        let writes = method != Method::GET;
        let mut request = self
            .http
            .request(method, url)
            .basic_auth(&self.user, Some(token.expose_secret()));
        if let Some(form) = form {
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form);
        }
        meter.requests.fetch_add(1, Ordering::Relaxed);
        let began = self.clock.boottime();
        let response = request
            .send()
            .await
            .map_err(|error| broken(&endpoint, writes, error))?;
        let status = response.status().as_u16();
        let text = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let session = text("x-jenkins-session").filter(|text| is_word(text));
        let retry_after = text("retry-after").and_then(|text| text.parse().ok());
        let body = read(response, &endpoint, writes, meter).await?;
        let took = self.clock.boottime().saturating_sub(began);
        tracing::debug!(
            endpoint,
            status,
            bytes = body.len(),
            elapsed_ms = took.as_millis(),
            "jenkins answered"
        );
        Ok(Answer {
            endpoint,
            status,
            session,
            retry_after: retry_after.map(Duration::from_secs),
            body,
        })
    }
}

/// It is written into a description, so nothing but a word may come through.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
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
