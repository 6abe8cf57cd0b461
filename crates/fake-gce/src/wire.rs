//! Requests, answers and refusals as plain data, free of any HTTP library.
//!
//! So that a simulation can pass them in memory. How an answer travels (late, cut off, not at all) is part of the
//! answer: [`Delivery`].

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// One HTTP request, as the service sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// Header names (any case) and values.
    pub headers: Vec<(String, String)>,
    /// The JSON body, if any.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The document.
    pub body: String,
    /// How the answer reaches the caller, if at all.
    pub delivery: Delivery,
}

/// What the network does to an answer. Whoever carries the answer must honor it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Sent at once.
    Whole,
    /// Sent after this long; the request itself was executed before the wait.
    After(Duration),
    /// The request is a wait: it is to be [handled again](crate::Gce::handle_again) at this time, and that answer is sent.
    Again(Timestamp),
    /// The connection closes without a byte of answer.
    Dropped,
    /// Only this many bytes of the body arrive, as if they were all.
    Cut(usize),
}

impl Response {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json; charset=UTF-8",
            body: body.to_string(),
            delivery: Delivery::Whole,
        }
    }

    /// The reason of a refusal, `None` for a success.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        if self.status < 400 {
            return None;
        }
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let reason = body["error"]["errors"][0]["reason"].as_str();
        Some(reason.unwrap_or("(none)").to_owned())
    }
}

/// A request refused at once, in the shape of Google's older APIs: the reason is a word in `errors`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What every method gives.
pub(crate) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(status: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// The service's answer to a value it does not take.
    pub(crate) fn field(field: &str, value: &str, why: &str) -> Self {
        let message = format!("Invalid value for field '{field}': '{value}'. {why}");
        Self::new(400, "invalid", message)
    }

    pub(crate) fn not_found(resource: &str) -> Self {
        Self::new(
            404,
            "notFound",
            format!("The resource '{resource}' was not found"),
        )
    }

    pub(crate) fn exists(resource: &str) -> Self {
        let message = format!("The resource '{resource}' already exists");
        Self::new(409, "alreadyExists", message)
    }

    pub(crate) fn rate_limited(metric: &str) -> Self {
        let message = format!(
            "Quota exceeded for quota metric '{metric}' and limit '{metric} per minute' of service \
             'compute.googleapis.com' for consumer 'project_number:1047682936103'."
        );
        Self::new(403, "rateLimitExceeded", message)
    }

    pub(crate) fn response(&self) -> Response {
        let domain = match self.reason.as_str() {
            "rateLimitExceeded" | "quotaExceeded" => "usageLimits",
            _ => "global",
        };
        let mut item = json!({"message": self.message, "domain": domain, "reason": self.reason});
        if self.status == 401 {
            item["location"] = json!("Authorization");
            item["locationType"] = json!("header");
        }
        let mut error = json!({"code": self.status, "message": self.message, "errors": [item]});
        if self.reason == "rateLimitExceeded" {
            // the one refusal that Google's newer front door answers, in its own shape beside the old one
            error["status"] = json!("PERMISSION_DENIED");
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {"service": "compute.googleapis.com"},
            }]);
        }
        Response::json(self.status, &json!({ "error": error }))
    }
}
