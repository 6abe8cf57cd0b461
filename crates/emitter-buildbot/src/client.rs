//! The wire: one request, one bounded answer, one deadline.
//!
//! Knows HTTP and Buildbot's envelopes, and nothing of jobs. It never retries: the next tick is the retry. It keeps
//! no connection for later, since a request on an old one was now and then never answered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use model::{EmitterName, SnapshotCost};
use ports::{BoxError, EmitterError, EmitterErrorKind, PluginError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::config::{BuildbotConfig, KIND};

/// Largest answer: a row has 300 bytes, so this is fifty thousand requests that wait.
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

/// A failed call, before it is known what it was for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: EmitterErrorKind,
    pub(crate) message: String,
    pub(crate) source: Option<BoxError>,
}

impl Failure {
    pub(crate) fn new(kind: EmitterErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn into_error(self, emitter: &EmitterName, operation: &'static str) -> EmitterError {
        EmitterError {
            kind: self.kind,
            emitter: emitter.clone(),
            operation,
            message: self.message,
            source: self.source,
        }
    }
}

/// Speaks to one master.
pub(crate) struct Client {
    base: Url,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(config: &BuildbotConfig) -> Result<Self, PluginError> {
        let base = config.base().map_err(|message| PluginError {
            kind: KIND,
            message,
            source: None,
        })?;
        let limit = config.request_timeout();
        let http = reqwest::Client::builder()
            .user_agent(concat!("parmanu/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limit.min(Duration::from_secs(5)))
            .timeout(limit)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PluginError {
                kind: KIND,
                message: "the HTTP client could not be made".to_owned(),
                source: Some(Box::new(error)),
            })?;
        Ok(Self { base, http })
    }

    /// The rows under `key` of a GET below `/api/v2`.
    pub(crate) async fn rows<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
        key: &str,
        meter: &Meter,
    ) -> Result<Vec<T>, Failure> {
        let endpoint = format!("GET /api/v2/{path}");
        let url = self.address(path, query);
        let (status, mut body) = self
            .send(self.http.get(url), &endpoint, false, meter)
            .await?;
        if status != 200 {
            return Err(of_status(&endpoint, status));
        }
        let rows = body.get_mut(key).map(Value::take).unwrap_or(Value::Null);
        serde_json::from_value(rows).map_err(|error| Failure {
            kind: EmitterErrorKind::BadAnswer,
            message: format!("{endpoint} answered rows that are not Buildbot's"),
            source: Some(Box::new(error)),
        })
    }

    /// One control verb, by JSON-RPC.
    pub(crate) async fn act(&self, path: &str, method: &str, params: Value) -> Result<(), Failure> {
        let endpoint = format!("POST /api/v2/{path} {method}");
        let body = json!({ "id": 1, "jsonrpc": "2.0", "method": method, "params": params });
        let request = self.http.post(self.address(path, "")).json(&body);
        let (status, answer) = self
            .send(request, &endpoint, true, &Meter::default())
            .await?;
        if matches!(status, 401 | 403) {
            return Err(of_status(&endpoint, status));
        }
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let words = error["message"].as_str().unwrap_or("no reason given");
            let words: String = words
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            return Err(Failure::new(
                EmitterErrorKind::BadAnswer,
                format!("{endpoint} was refused: {words}"),
            ));
        }
        if status == 200 {
            Ok(())
        } else {
            Err(of_status(&endpoint, status))
        }
    }

    fn address(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}api/v2/{path}", self.base.path()));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        endpoint: &str,
        writes: bool,
        meter: &Meter,
    ) -> Result<(u16, Value), Failure> {
        meter.requests.fetch_add(1, Ordering::Relaxed);
        let sent = request.send().await;
        let mut response = sent.map_err(|error| broken(endpoint, writes, error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| broken(endpoint, writes, error))?
        {
            meter.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if body.len() + chunk.len() > LARGEST_BODY {
                let message = format!("{endpoint} answered more than {LARGEST_BODY} bytes");
                return Err(Failure::new(EmitterErrorKind::TooLarge, message));
            }
            body.extend_from_slice(&chunk);
        }
        tracing::debug!(endpoint, status, bytes = body.len(), "buildbot answered");
        let value = serde_json::from_slice(&body);
        // an error may come as a page of text: then its status says what there is to say
        let value = value.or_else(|error| {
            if status == 200 {
                Err(error)
            } else {
                Ok(Value::Null)
            }
        });
        let value = value.map_err(|_| {
            let message = format!("{endpoint} answered something that is not JSON: is a proxy or a login page in between?");
            Failure::new(EmitterErrorKind::BadAnswer, message)
        })?;
        Ok((status, value))
    }
}

/// The failure of a call that got no whole answer.
fn broken(endpoint: &str, writes: bool, error: reqwest::Error) -> Failure {
    let (kind, words) = if error.is_connect() {
        (
            EmitterErrorKind::Unreachable,
            "no connection: is the master up, and `url` right?",
        )
    } else if error.is_timeout() || writes {
        // a write may have been carried out, which only this kind says
        (EmitterErrorKind::TimedOut, "no whole answer in time")
    } else {
        (
            EmitterErrorKind::Unreachable,
            "the connection broke before the whole answer came",
        )
    };
    Failure {
        kind,
        message: format!("{endpoint}: {words}"),
        source: Some(Box::new(error.without_url())),
    }
}

fn of_status(endpoint: &str, status: u16) -> Failure {
    use EmitterErrorKind as Kind;
    let (kind, advice) = match status {
        401 => (Kind::Unauthorized, "the master asks for a login"),
        403 => (Kind::Forbidden, "the master's `authz` forbids it"),
        404 => (Kind::NotFound, "it is not there"),
        429 => (
            Kind::RateLimited { retry_after: None },
            "something asks to wait",
        ),
        500..=599 => (
            Kind::Unavailable,
            "the master or a proxy before it is in trouble",
        ),
        300..=399 => (
            Kind::BadAnswer,
            "a redirect that is not followed: correct `url`",
        ),
        _ => (
            Kind::BadAnswer,
            "the master does not understand this request",
        ),
    };
    Failure::new(kind, format!("{endpoint} answered {status}: {advice}"))
}
