//! The wire: Buildbot's envelopes on the exchange that all emitters share.
//!
//! Knows nothing of jobs. It keeps no connection for later, since a request on an old one was now and then never
//! answered.

use std::sync::Arc;
use std::time::Duration;

use ports::{Clock, EmitterErrorKind, PluginError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use web::{Answer, Request, Settings};
pub(crate) use web::{Failure, Meter};

use crate::config::{BuildbotConfig, KIND};

/// Speaks to one master.
pub(crate) struct Client {
    web: web::Client,
}

impl Client {
    pub(crate) fn new(config: &BuildbotConfig, clock: Arc<dyn Clock>) -> Result<Self, PluginError> {
        let base = config.base().map_err(|message| PluginError {
            kind: KIND,
            message,
            source: None,
        })?;
        let limit = config.request_timeout();
        let settings = Settings {
            connect_timeout: limit.min(Duration::from_secs(5)),
            exchange_timeout: limit,
            keeps_connections: false,
            // a master has no limits of its own
            keeps_waits: false,
            ca_file: config.ca_file.clone(),
            advice,
            ..Settings::of(KIND)
        };
        Ok(Self {
            web: web::Client::new(base, clock, settings)?,
        })
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
        let request = Request::get(self.address(path, query)).named(&*endpoint);
        let answer = self.web.send(&request, meter).await?;
        let mut body = value(&answer)?;
        if answer.status != 200 {
            return Err(answer.failure());
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
        let request = Request::post(self.address(path, ""))
            .named(&*endpoint)
            .json(&body);
        let answer = self.web.send(&request, &Meter::default()).await?;
        let body = value(&answer)?;
        if matches!(answer.status, 401 | 403) {
            return Err(answer.failure());
        }
        if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
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
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.failure())
        }
    }

    fn address(&self, path: &str, query: &str) -> Url {
        let mut url = self.web.base().clone();
        url.set_path(&format!("{}api/v2/{path}", url.path()));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }
}

/// The JSON of an answer. An error may come as a page of text: then its status says what there is to say.
fn value(answer: &Answer) -> Result<Value, Failure> {
    if answer.status == 200 {
        answer.json()
    } else {
        Ok(answer.any_json().unwrap_or(Value::Null))
    }
}

/// What an operator of Buildbot can do about a status, where that is more than HTTP says.
fn advice(status: u16) -> Option<&'static str> {
    let words = match status {
        401 => "the master asks for a login",
        403 => "the master's `authz` forbids it",
        404 => "it is not there",
        500..=599 => "the master or a proxy before it is in trouble",
        400..=499 if !matches!(status, 409 | 429) => "the master does not understand this request",
        _ => return None,
    };
    Some(words)
}
