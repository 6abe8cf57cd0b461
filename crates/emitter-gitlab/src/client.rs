//! The wire: one request, one bounded answer.
//!
//! Knows HTTP and GitLab's manners (tokens, pages, throttling), and nothing of jobs or runners. It
//! never retries: the next tick is the retry. It never follows a redirect to another host, since the
//! token would go with it, and never one of a write.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::SnapshotCost;
use ports::secret::SecretRef;
use ports::{Clock, EmitterErrorKind, PluginError};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::budget::{Budget, Purse, Spent};
use crate::config::KIND;
use crate::error::{Failure, of_status, quote};

/// Longest time to a connection. A host in reach answers in milliseconds; a longer wait would eat
/// the time of the whole probe.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one request and its answer. GitLab itself gives up after 30 s (GraphQL) or 60 s
/// (REST); an answer that late is of no use to a scaler.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer. A page of 100 jobs takes about 0.3 MiB over REST; this is far above, and small
/// enough for a handful at a time in a small container.
pub(crate) const LARGEST_BODY: usize = 16 << 20;
/// Redirects of a GET on the same host: a moved project takes one.
const MOST_REDIRECTS: usize = 3;
/// A server that asks for a longer wait is asked again after this, since its answer may have been
/// a mistake and an operator should not have to restart us.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

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

/// Speaks to one GitLab with one token.
pub(crate) struct Client {
    base: Url,
    token: SecretRef,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    /// How much may be asked; nobody counts for the control verbs.
    purse: Option<Purse>,
    /// Not before this moment of the clock's boot time: the server asked us to wait.
    closed_until: Mutex<Option<Duration>>,
}

/// One answer whose status was looked at by nobody yet.
pub(crate) struct Answer {
    /// `GET /api/v4/runners/7`, for messages.
    pub(crate) endpoint: String,
    pub(crate) status: u16,
    /// The query of the next page.
    pub(crate) next: Option<String>,
    retry_after: Option<Duration>,
    content_type: String,
    body: Vec<u8>,
}

impl Answer {
    /// The failure that the status means.
    pub(crate) fn failure(&self) -> Failure {
        of_status(&self.endpoint, self.status, self.retry_after)
    }

    /// The body of a good answer, as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(self.failure());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            // not the parser's error: it may quote the body
            Failure::bad_answer(format!(
                "{} answered {} with {} that is not JSON: is a proxy or a login page in between?",
                self.endpoint, self.status, self.content_type,
            ))
        })
    }

    /// Whether a refused parameter is named in the body; the body itself goes no further.
    pub(crate) fn refuses(&self, parameter: &str) -> bool {
        self.status == 400 && String::from_utf8_lossy(&self.body).contains(parameter)
    }
}

impl Client {
    pub(crate) fn new(
        base: Url,
        token: SecretRef,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PluginError> {
        let mut headers = HeaderMap::new();
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
        Ok(Self {
            base,
            token,
            http,
            clock,
            purse: None,
            closed_until: Mutex::new(None),
        })
    }

    /// The same client with a limit on its requests.
    pub(crate) fn within(mut self, budget: Budget) -> Self {
        self.purse = Some(Purse::of(budget));
        self
    }

    /// How many projects may be asked in a probe that begins now.
    pub(crate) fn room(&self) -> usize {
        let purse = self.purse.as_ref();
        purse.map_or(usize::MAX, |purse| purse.room(self.clock.boottime()))
    }

    /// A GET below `/api/v4`, with its query already encoded.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &str,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let token = self.token()?;
        let mut url = self.address(&format!("/api/v4{path}"), query);
        for _ in 0..=MOST_REDIRECTS {
            let (answer, location) = self.send(Method::GET, &url, None, &token, meter).await?;
            match location {
                Some(location) if (300..400).contains(&answer.status) => {
                    url = self.redirected(&url, &location, &answer.endpoint)?;
                }
                _ => return Ok(answer),
            }
        }
        Err(Failure::bad_answer(format!(
            "GET /api/v4{path} is redirected in a circle"
        )))
    }

    /// A write below `/api/v4`.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let token = self.token()?;
        let url = self.address(&format!("/api/v4{path}"), "");
        let (answer, _) = self
            .send(method, &url, body, &token, &Meter::default())
            .await?;
        Ok(answer)
    }

    /// A GraphQL query. Gives `data`, which may be partial, and the words of `errors`.
    pub(crate) async fn graphql(
        &self,
        query: &str,
        variables: &Value,
        meter: &Meter,
    ) -> Result<(Value, Vec<String>), Failure> {
        let token = self.token()?;
        let url = self.address("/api/graphql", "");
        let body = json!({ "query": query, "variables": variables });
        let (answer, _) = self
            .send(Method::POST, &url, Some(&body), &token, meter)
            .await?;
        let mut value = answer.json()?;
        let words = |error: &Value| {
            let message = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no message");
            quote(message, token.expose_secret())
        };
        let errors = value.get("errors").and_then(Value::as_array);
        let errors: Vec<String> = errors.into_iter().flatten().map(words).collect();
        let data = value
            .get_mut("data")
            .map(Value::take)
            .unwrap_or(Value::Null);
        if data.is_null() && errors.is_empty() {
            let message = format!(
                "{} answered without data and without errors",
                answer.endpoint
            );
            return Err(Failure::bad_answer(message));
        }
        Ok((data, errors))
    }

    fn token(&self) -> Result<SecretString, Failure> {
        self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })
    }

    fn address(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Where a redirect leads, if the token may go there.
    fn redirected(&self, from: &Url, location: &str, endpoint: &str) -> Result<Url, Failure> {
        let to = from.join(location).ok();
        let to = to.filter(|to| to.origin() == self.base.origin());
        to.ok_or_else(|| {
            Failure::bad_answer(format!(
                "{endpoint} is redirected to another host, where the token must not go: correct `url`"
            ))
        })
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        token: &SecretString,
        meter: &Meter,
    ) -> Result<(Answer, Option<String>), Failure> {
        let endpoint = format!("{method} {}", url.path());
        if let Some(wait) = self.closed_for() {
            let kind = EmitterErrorKind::RateLimited {
                retry_after: Some(wait),
            };
            let message = format!("{endpoint} is not sent: the server asked to wait");
            return Err(Failure::new(kind, message));
        }
        let in_probe = meter.cost().requests;
        let spent = |purse: &Purse| purse.take(in_probe, self.clock.boottime()).err();
        if let Some(spent) = self.purse.as_ref().and_then(spent) {
            return Err(over_budget(&endpoint, &spent));
        }
        let mut secret = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            Failure::new(
                EmitterErrorKind::Config,
                "the token has characters no header can carry",
            )
        })?;
        secret.set_sensitive(true);
        // a GraphQL query is a POST that changes nothing
        let writes = method != Method::GET && !url.path().ends_with("/graphql");
        let mut request = self
            .http
            .request(method, url.clone())
            .header("PRIVATE-TOKEN", secret);
        if let Some(body) = body {
            request = request.json(body);
        }
        meter.requests.fetch_add(1, Ordering::Relaxed);
        let began = self.clock.boottime();
        let response = request
            .send()
            .await
            .map_err(|error| broken(&endpoint, writes, error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let retry_after = self.obey(status, &headers);
        let body = read(response, &endpoint, writes, meter).await?;
        let took = self.clock.boottime().saturating_sub(began);
        tracing::debug!(
            endpoint,
            status = status.as_u16(),
            bytes = body.len(),
            elapsed_ms = took.as_millis(),
            "gitlab answered"
        );
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let answer = Answer {
            endpoint,
            status: status.as_u16(),
            next: text(header::LINK).and_then(|link| next_query(&link)),
            retry_after,
            content_type: text(header::CONTENT_TYPE).unwrap_or_else(|| "something".to_owned()),
            body,
        };
        Ok((answer, text(header::LOCATION)))
    }

    /// How long the server still wants us to wait.
    fn closed_for(&self) -> Option<Duration> {
        let until = *self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until?
            .checked_sub(self.clock.boottime())
            .filter(|rest| !rest.is_zero())
    }

    /// Keeps the wait that an answer asks for; gives it back when the answer is a refusal.
    fn obey(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        let refused = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let wait = if refused {
            wait_of(headers, self.clock.now().as_second())
        } else {
            // the last permitted request of the window: do not spend another one on a refusal
            (number(headers, "ratelimit-remaining") == Some(0))
                .then(|| reset_of(headers, self.clock.now().as_second()))
                .flatten()
        };
        let wait = wait.map(|wait| wait.min(LONGEST_WAIT))?;
        let until = self.clock.boottime().saturating_add(wait);
        *self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(until);
        refused.then_some(wait)
    }
}

/// The failure of a request that our own budget does not allow.
fn over_budget(endpoint: &str, spent: &Spent) -> Failure {
    let (retry_after, what) = match spent {
        Spent::Probe(most) => (None, format!("{most} requests of one probe")),
        Spent::Minute(most, wait) => (Some(*wait), format!("{most} requests of one minute")),
    };
    let message = format!(
        "{endpoint} is not sent: the budget of {what} is used up; raise `budget`, narrow the scope or \
         probe less often"
    );
    Failure::new(EmitterErrorKind::RateLimited { retry_after }, message)
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

/// The query of the `rel="next"` link. Only the query: GitLab writes its public address there, and
/// we may have come by another one.
fn next_query(link: &str) -> Option<String> {
    let parts = link
        .split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>'));
    let (url, _) = parts
        .into_iter()
        .find(|(_, rest)| rest.contains("rel=\"next\""))?;
    url.split_once('?')
        .map(|(_, query)| query.to_owned())
        .filter(|query| !query.is_empty())
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The wait of a refusal: `Retry-After` in seconds or, from a proxy, as a date; else the moment the
/// window ends.
fn wait_of(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let seconds = number(headers, "retry-after").and_then(|seconds| u64::try_from(seconds).ok());
    let date = || {
        let text = headers.get("retry-after")?.to_str().ok()?;
        let at = jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text.trim())
            .ok()?;
        u64::try_from(at.as_second().checked_sub(now)?).ok()
    };
    seconds
        .or_else(date)
        .map(Duration::from_secs)
        .or_else(|| reset_of(headers, now))
}

/// Time until `RateLimit-Reset`, which GitLab gives in epoch seconds.
fn reset_of(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let left = number(headers, "ratelimit-reset")?.checked_sub(now)?;
    u64::try_from(left).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_query_of_the_link() {
        let link = r#"<https://g/api/v4/x?page=1>; rel="first", <https://g/api/v4/x?cursor=a%3D&per_page=2>; rel="next""#;
        assert_eq!(next_query(link).as_deref(), Some("cursor=a%3D&per_page=2"));
        for link in [
            "",
            "<https://g/x>; rel=\"next\"",
            "<https://g/x?a=b>; rel=\"last\"",
            "rel=\"next\"",
        ] {
            assert_eq!(next_query(link), None, "{link}");
        }
    }

    #[test]
    fn the_wait_is_read_from_either_header() {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-reset", HeaderValue::from_static("1030"));
        assert_eq!(wait_of(&headers, 1000), Some(Duration::from_secs(30)));
        assert_eq!(wait_of(&headers, 2000), None);
        headers.insert("retry-after", HeaderValue::from_static("5"));
        assert_eq!(wait_of(&headers, 1000), Some(Duration::from_secs(5)));
        headers.insert("retry-after", HeaderValue::from_static("-5"));
        assert_eq!(wait_of(&headers, 1000), Some(Duration::from_secs(30)));
    }
}
