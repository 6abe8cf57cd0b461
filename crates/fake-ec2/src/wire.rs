//! Requests, answers and refusals as plain data, free of any HTTP library.
//!
//! So that a simulation can pass them in memory. How an answer travels (late, cut off, not at all)
//! is part of the answer: [`Delivery`].

use std::time::Duration;

use crate::xml::{self, node, text};

/// One HTTP request, as the service sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `POST`, or `GET` with the parameters in the path's query.
    pub method: String,
    /// Path with its query, for example `/`.
    pub path: String,
    /// Header names (any case) and values.
    pub headers: Vec<(String, String)>,
    /// The form-encoded body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// One HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// The XML document.
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
    /// The connection closes without a byte of answer.
    Dropped,
    /// Only this many bytes of the body arrive, as if they were all.
    Cut(usize),
}

impl Response {
    pub(crate) fn xml(status: u16, body: String) -> Self {
        let kind = (
            "Content-Type".to_owned(),
            "text/xml;charset=UTF-8".to_owned(),
        );
        Self {
            status,
            headers: vec![kind],
            body,
            delivery: Delivery::Whole,
        }
    }

    /// The error code of a refusal, `None` for a success.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let (_, rest) = self.body.split_once("<Code>")?;
        rest.split_once("</Code>").map(|(code, _)| code)
    }
}

/// A request refused, with the code a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What every action gives.
pub(crate) type Outcome<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// A client error, status 400.
    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// `InvalidParameterValue`, the service's answer to most nonsense.
    pub(crate) fn value(value: &str, parameter: &str) -> Self {
        Self::bad(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {parameter} is invalid."),
        )
    }

    pub(crate) fn throttled() -> Self {
        Self::new(503, "RequestLimitExceeded", "Request limit exceeded.")
    }

    pub(crate) fn response(&self, request_id: &str) -> Response {
        let error = node(
            "Error",
            vec![text("Code", &self.code), text("Message", &self.message)],
        );
        let root = node(
            "Response",
            vec![node("Errors", vec![error]), text("RequestID", request_id)],
        );
        Response::xml(self.status, xml::bare(&root))
    }
}
