//! A little JSON server that a test scripts, and the real plugin against it, on a clock that stands still.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use emitter_http::Http;
use jiff::Timestamp;
use model::Snapshot;
use ports::strict::Problems;
use ports::{Clock, Emitter, EmitterContext, EmitterError, EmitterRegistry};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The secret that must be found nowhere.
pub(crate) const TOKEN: &str = "never-print-me";

/// When every test takes place.
pub(crate) const NOW: &str = "2026-09-01T10:00:00Z";

/// A clock that stands still; only a probe's time limit needs it to move.
pub(crate) struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn boottime(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// What a test answers.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body,
            headers: vec![],
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::ok(Value::Null)
        }
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let answer = Arc::new(answer);
        let app = axum::Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let asked = read(&request);
                let reply = answer(&asked);
                log.lock().unwrap().push(asked);
                let status = StatusCode::from_u16(reply.status).unwrap();
                let mut response = (status, Json(reply.body)).into_response();
                for (name, value) in reply.headers {
                    response.headers_mut().append(name, value.parse().unwrap());
                }
                response
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, task }
    }

    /// `METHOD-less` paths with their queries, in the order they came.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let line = |asked: &Asked| {
            let query = asked.query.iter().map(|(k, v)| format!("{k}={v}"));
            let query = query.collect::<Vec<_>>().join("&");
            let path = asked.path.strip_prefix("/api").unwrap_or(&asked.path);
            match query.is_empty() {
                true => path.to_owned(),
                false => format!("{path}?{query}"),
            }
        };
        asked.iter().map(line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(request: &Request) -> Asked {
    assert_eq!(request.method(), "GET", "the emitter only looks");
    let query = request.uri().query().unwrap_or("");
    let query = axum::extract::Query::<BTreeMap<String, String>>::try_from_uri(
        &format!("/?{query}").parse().unwrap(),
    );
    Asked {
        path: request.uri().path().to_owned(),
        query: query.unwrap().0,
        headers: request.headers().clone(),
    }
}

/// What `check` says of an emitter's keys, one line each.
pub(crate) fn problems(config: &Value) -> Vec<String> {
    let registry = EmitterRegistry::default().with::<Http>();
    let mut problems = Problems::default();
    (registry.get("http").unwrap().check)(config, &mut problems);
    let line = |problem: &ports::strict::Problem| {
        let path = problem.path.iter().map(|step| match step {
            ports::strict::Step::Key(key) => key.clone(),
            ports::strict::Step::Index(index) => index.to_string(),
        });
        format!(
            "{}: {}",
            path.collect::<Vec<_>>().join("."),
            problem.message
        )
    };
    problems.0.iter().map(line).collect()
}

pub(crate) fn context() -> EmitterContext {
    EmitterContext {
        upkeep: true,
        name: "ci".parse().unwrap(),
        fleet: "acme-ci".parse().unwrap(),
        pools: BTreeMap::from([("linux".parse().unwrap(), vec![])]),
        probe_timeout: Duration::from_secs(20),
        clock: Arc::new(Still),
    }
}

pub(crate) fn emitter(config: &Value) -> Arc<dyn Emitter> {
    let context = context();
    let registry = EmitterRegistry::default().with::<Http>();
    let entry = registry.get("http").unwrap();
    assert!((entry.control)(config, &context).unwrap().is_none());
    (entry.emitter)(config, &context).unwrap()
}

/// One look with this configuration.
pub(crate) async fn probe(config: &Value) -> Result<Snapshot, EmitterError> {
    emitter(config).probe().await
}

/// An emitter's entry as YAML, at this server.
pub(crate) fn config(yaml: &str, server: &Server) -> Value {
    let mut config: Value = serde_yaml::from_str(yaml).unwrap();
    config["url"] = server.url.clone().into();
    config
}
