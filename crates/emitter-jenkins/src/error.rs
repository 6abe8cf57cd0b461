//! What can go wrong on the wire, and how it becomes the port's error.
//!
//! Messages name the endpoint, the status and what to do. They never carry a token or a raw body.

use std::time::Duration;

use model::EmitterName;
use ports::{BoxError, EmitterError, EmitterErrorKind};

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

    pub(crate) fn bad_answer(message: impl Into<String>) -> Self {
        Self::new(EmitterErrorKind::BadAnswer, message)
    }

    pub(crate) fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
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

/// The failure that an HTTP status means, with what to do about it.
pub(crate) fn of_status(endpoint: &str, status: u16, retry_after: Option<Duration>) -> Failure {
    use EmitterErrorKind as Kind;
    let (kind, advice) = match status {
        401 => (
            Kind::Unauthorized,
            "user or API token is not valid: make a new token",
        ),
        403 => (
            Kind::Forbidden,
            "the user lacks a permission: see the README of this emitter",
        ),
        404 => (Kind::NotFound, "it is not there, or hidden from this user"),
        429 => (Kind::RateLimited { retry_after }, "the server asks to wait"),
        503 => (
            Kind::Unavailable,
            "Jenkins is starting, or a proxy before it has lost it",
        ),
        500..=599 => (
            Kind::Unavailable,
            "Jenkins or a proxy before it is in trouble",
        ),
        300..=399 => (
            Kind::BadAnswer,
            "a redirect that is not followed: correct `url`, or let the API past the login page",
        ),
        _ => (
            Kind::BadAnswer,
            "Jenkins does not understand this request: see its version",
        ),
    };
    Failure::new(kind, format!("{endpoint} answered {status}: {advice}"))
}
