//! The wire: one request with its envelope, and the wait for an operation.
//!
//! Knows HTTP and LXD's manners, and nothing of batches. It never retries, follows no redirect, and keeps no
//! connection for later: on a connection that the daemon has closed meanwhile a creation would end in doubt.

use std::time::Duration;

use jiff::Timestamp;
use ports::{PluginError, ProviderErrorKind};
use reqwest::header::{DATE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Certificate, Identity, Method};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::config::{Address, Config};
use crate::error::{Failure, Fate};

/// Longest time to a connection; a daemon in reach answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one answer beyond what an operation may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer: a listing repeats each boot script twice, so a thousand machines with 16 KiB each are half of it.
const LARGEST_BODY: usize = 64 << 20;

/// Speaks to one daemon.
pub(crate) struct Client {
    base: Url,
    project: Option<String>,
    http: reqwest::Client,
}

/// What stands around every answer of LXD.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    metadata: Value,
}

/// A good answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What was asked for, and what the daemon stamps its answers with.
    Sync(Value, Stamp),
    /// It is being done; the path of the operation.
    Operation(String),
}

/// What stands in the head of an answer.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    /// When it was given, by the daemon's own clock.
    pub(crate) at: Option<Timestamp>,
    /// Names this very state of the object (RFC 9110 §8.8.3).
    pub(crate) etag: Option<HeaderValue>,
}

impl Stamp {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            at: date(headers),
            etag: headers.get(ETAG).cloned(),
        }
    }
}

impl Client {
    pub(crate) fn new(config: &Config) -> Result<Self, PluginError> {
        let unusable = |message: String| PluginError {
            kind: "lxd",
            message,
            source: None,
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("parmanu/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none());
        let base = match config.address().map_err(unusable)? {
            Address::Unix(path) => {
                builder = builder.unix_socket(path);
                Url::parse("http://lxd/").map_err(|error| unusable(error.to_string()))?
            }
            Address::Https(url) => {
                builder = builder.identity(identity(config)?);
                if let Some(server) = &config.server_certificate {
                    let pem = secret("server_certificate", server)?;
                    let own = Certificate::from_pem(pem.as_bytes())
                        .map_err(|error| made("the server certificate cannot be read", error))?;
                    builder = builder.tls_certs_only([own]);
                }
                url
            }
        };
        let http = builder
            .build()
            .map_err(|error| made("the HTTP client could not be made", error))?;
        Ok(Self {
            base,
            project: config.project.clone(),
            http,
        })
    }

    /// One call below `/1.0`, within `limit` if that is shorter than the call's own.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        self.send(method, path, query, body, None, REQUEST_TIMEOUT)
            .await
    }

    /// What an endpoint answers that gives bytes instead of an envelope.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let method = Method::GET;
        let answer = self.exchange(method, path, &[], None, None, REQUEST_TIMEOUT);
        let raw = answer.await?;
        if raw.status == 200 {
            return Ok(raw.body);
        }
        judge(&raw.endpoint, raw.status, raw.stamp, &raw.body, false)?;
        Err(unclear("a refusal that is none"))
    }

    /// Changes parts of an object, if it still is as it was when it got this stamp.
    pub(crate) async fn amend(
        &self,
        path: &str,
        stamp: &Stamp,
        body: &Value,
    ) -> Result<Answer, Failure> {
        let etag = stamp.etag.as_ref();
        self.send(Method::PATCH, path, &[], Some(body), etag, REQUEST_TIMEOUT)
            .await
    }

    /// Waits for an operation, and gives its failure.
    pub(crate) async fn wait(&self, operation: &str, limit: Duration) -> Result<(), Failure> {
        // the path comes from the daemon: only its last part is taken over
        let id = operation.rsplit('/').next().unwrap_or_default();
        let path = format!("operations/{id}/wait");
        let seconds = limit.as_secs().max(1).to_string();
        let patience = limit.saturating_add(REQUEST_TIMEOUT);
        let query = [("timeout", seconds.as_str())];
        let asked = self.send(Method::GET, &path, &query, None, None, patience);
        let answer = asked.await.map_err(|mut failure| {
            // it was accepted; that its end could not be read says nothing of it (a daemon that was started anew
            // has forgotten its operations)
            failure.fate = Fate::Unknown;
            failure.kind = ProviderErrorKind::UnknownOutcome;
            failure.message = format!(
                "it was accepted, and how it ended is not known: {}",
                failure.message
            );
            failure
        })?;
        let Answer::Sync(state, _) = answer else {
            return Err(unclear("an operation that is an operation itself"));
        };
        match state["status_code"].as_u64() {
            Some(200) => Ok(()),
            Some(code) if code >= 400 => {
                let code = u16::try_from(code).unwrap_or(500);
                Err(Failure::said(
                    code,
                    state["err"].as_str().unwrap_or("no reason given"),
                ))
            }
            _ => Err(unclear("it was accepted and is still being done")),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        etag: Option<&HeaderValue>,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let writes = method != Method::GET;
        let raw = self.exchange(method, path, query, body, etag, patience);
        let Raw {
            endpoint,
            status,
            stamp,
            body,
        } = raw.await?;
        judge(&endpoint, status, stamp, &body, writes)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        etag: Option<&HeaderValue>,
        patience: Duration,
    ) -> Result<Raw, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("/1.0/{path}"));
        {
            let mut pairs = url.query_pairs_mut();
            pairs.extend_pairs(query);
            if let Some(project) = &self.project {
                pairs.append_pair("project", project);
            }
        }
        let writes = method != Method::GET;
        let endpoint = format!("{method} /1.0/{path}");
        let mut request = self.http.request(method, url).timeout(patience);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        let response = request
            .send()
            .await
            .map_err(|error| broken(&endpoint, writes, error))?;
        let status = response.status().as_u16();
        let stamp = Stamp::of(response.headers());
        let body = read(response, &endpoint, writes).await?;
        tracing::debug!(endpoint, status, bytes = body.len(), "lxd answered");
        Ok(Raw {
            endpoint,
            status,
            stamp,
            body,
        })
    }
}

/// An answer as it came.
struct Raw {
    endpoint: String,
    status: u16,
    stamp: Stamp,
    body: Vec<u8>,
}

/// What an envelope says.
fn judge(
    endpoint: &str,
    status: u16,
    stamp: Stamp,
    body: &[u8],
    writes: bool,
) -> Result<Answer, Failure> {
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    let Some(envelope) = envelope else {
        // not LXD's words: whatever stood between us may have passed the call on first
        let fate = if writes { Fate::Unknown } else { Fate::NotDone };
        let message = format!("{endpoint} answered {status} with something that is not LXD's");
        return Err(Failure::new(ProviderErrorKind::BadAnswer, fate, message));
    };
    match envelope.kind.as_str() {
        "sync" => Ok(Answer::Sync(envelope.metadata, stamp)),
        "async" => Ok(Answer::Operation(envelope.operation)),
        _ => {
            let code = if envelope.error_code == 0 {
                status
            } else {
                envelope.error_code
            };
            Err(Failure::said(code, &envelope.error))
        }
    }
}

/// The `Date` of an answer (RFC 9110 §5.6.7), which is a date of RFC 2822.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp())
}

fn unclear(words: &str) -> Failure {
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, words)
}

fn identity(config: &Config) -> Result<Identity, PluginError> {
    let (Some(certificate), Some(key)) = (&config.client_certificate, &config.client_key) else {
        return Err(PluginError {
            kind: "lxd",
            message: "over https it needs `client_certificate` and `client_key`".to_owned(),
            source: None,
        });
    };
    let pem = format!(
        "{}\n{}",
        secret("client_certificate", certificate)?,
        secret("client_key", key)?
    );
    Identity::from_pem(pem.as_bytes())
        .map_err(|error| made("the client certificate or its key cannot be read", error))
}

fn secret(key: &str, secret: &ports::SecretRef) -> Result<String, PluginError> {
    let text = secret
        .read()
        .map_err(|error| made(&format!("`{key}` cannot be read"), error))?;
    Ok(text.expose_secret().to_owned())
}

fn made(message: &str, source: impl Into<ports::BoxError>) -> PluginError {
    PluginError {
        kind: "lxd",
        message: message.to_owned(),
        source: Some(source.into()),
    }
}

/// The failure of a call that got no whole answer.
fn broken(endpoint: &str, writes: bool, error: reqwest::Error) -> Failure {
    use ProviderErrorKind as Kind;
    let (kind, fate, words) = if error.is_connect() {
        (
            Kind::Unreachable,
            Fate::NotDone,
            "no connection: is the daemon up, and `url` right?",
        )
    } else if writes {
        (
            Kind::UnknownOutcome,
            Fate::Unknown,
            "no whole answer: it may have happened",
        )
    } else {
        (Kind::Unreachable, Fate::NotDone, "no whole answer")
    };
    Failure::new(kind, fate, format!("{endpoint}: {words}")).because(error.without_url())
}

async fn read(
    mut response: reqwest::Response,
    endpoint: &str,
    writes: bool,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| broken(endpoint, writes, error))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > LARGEST_BODY {
            let fate = if writes { Fate::Unknown } else { Fate::NotDone };
            let message = format!("{endpoint} answered more than {LARGEST_BODY} bytes");
            return Err(Failure::new(ProviderErrorKind::BadAnswer, fate, message));
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_clock_is_read_from_its_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(DATE, "Tue, 24 Nov 2026 18:29:44 GMT".parse().unwrap());
        let at = date(&headers).unwrap();
        assert_eq!(at.to_string(), "2026-11-24T18:29:44Z");
    }
}
