//! Servers in this process, reached without a socket: for tests that run the real emitters in virtual time.
//!
//! A socket takes real time, and while its bytes are on their way nobody can tell whether virtual time may pass. So a
//! client whose address a test has put a [`Server`] at hands its requests to it, on the thread that made the client.
//! Everything else stays as it is on the wire: what is sent is the finished request, and what comes back goes through
//! the same limits.
//!
//! Only with the feature `memory`, which no program turns on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use url::Url;

use crate::Failure;
use crate::client::default_headers;
use crate::failure::lost;

/// One request as it would go over the wire.
#[derive(Debug, Clone)]
pub struct Sent {
    /// `GET`, `POST`, `PUT`, `DELETE`.
    pub method: String,
    /// Where to.
    pub url: Url,
    /// Headers, names in lower case; those that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body, empty if there is none.
    pub body: Vec<u8>,
}

/// One answer as it came over the wire.
#[derive(Debug, Clone)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Who answers.
#[async_trait]
pub trait Server: Send + Sync {
    /// Answers one request; `None` when the connection breaks before the whole answer.
    async fn answer(&self, sent: Sent) -> Option<Received>;
}

thread_local! {
    static SERVERS: RefCell<BTreeMap<String, Arc<dyn Server>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Puts a server at this address, for clients that this thread makes from now on.
pub fn serve(base: &Url, server: Arc<dyn Server>) {
    let origin = base.origin().ascii_serialization();
    SERVERS.with_borrow_mut(|servers| servers.insert(origin, server));
}

/// The server at an address, if one was put there.
pub(crate) fn at(base: &Url) -> Option<Arc<dyn Server>> {
    let origin = base.origin().ascii_serialization();
    SERVERS.with_borrow(|servers| servers.get(&origin).cloned())
}

/// A client of the wire that only makes requests and never sends one. One for each thread, since making it reads all the
/// roots of trust of the system.
pub(crate) fn unused_client() -> reqwest::Client {
    thread_local! {
        static CLIENT: reqwest::Client = reqwest::Client::new();
    }
    CLIENT.with(reqwest::Client::clone)
}

/// Hands a request over and gives the answer in the form of one from the wire.
pub(crate) async fn exchange(
    server: &dyn Server,
    request: reqwest::Request,
    endpoint: &str,
    writes: bool,
) -> Result<reqwest::Response, Failure> {
    let body = request.body().and_then(reqwest::Body::as_bytes);
    let sent = Sent {
        method: request.method().as_str().to_owned(),
        url: request.url().clone(),
        headers: texts(&with_defaults(request.headers())),
        body: body.unwrap_or_default().to_vec(),
    };
    let received = server.answer(sent).await;
    let received = received.ok_or_else(|| lost(endpoint, writes))?;
    let mut answer = http::Response::builder().status(received.status);
    for (name, value) in &received.headers {
        answer = answer.header(name, value);
    }
    let answer = answer.body(received.body);
    let answer = answer.map_err(|error| {
        Failure::bad_answer(format!("{endpoint}: no answer of HTTP")).because(error)
    })?;
    Ok(answer.into())
}

fn with_defaults(own: &HeaderMap) -> HeaderMap {
    let mut headers = default_headers();
    headers.extend(own.clone());
    headers
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let texts = headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    texts.collect()
}
