//! What can go wrong on the wire, and how it becomes the port's error.
//!
//! Messages name the endpoint, the status and what to do. They never carry a token or a raw body; of a refusal the
//! server's own sentence is quoted, cut to a line.

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

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(EmitterErrorKind::Conflict, message)
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

/// The failure that an HTTP status means, with what to do about it and what the server says.
pub(crate) fn of_status(
    endpoint: &str,
    status: u16,
    retry_after: Option<Duration>,
    said: Option<&str>,
) -> Failure {
    use EmitterErrorKind as Kind;
    let (kind, advice) = match status {
        401 => (
            Kind::Unauthorized,
            "the access token is not valid: make a new one",
        ),
        403 => (
            Kind::Forbidden,
            "the token lacks a permission: see the role in deploy/teamcity",
        ),
        404 => (Kind::NotFound, "it is not there, or hidden from this token"),
        406 => (
            Kind::BadAnswer,
            "the server does not have this address: see its version",
        ),
        429 => (Kind::RateLimited { retry_after }, "the server asks to wait"),
        503 => (
            Kind::Unavailable,
            "TeamCity is starting, or a proxy before it has lost it",
        ),
        500..=599 => (
            Kind::Unavailable,
            "TeamCity or a proxy before it is in trouble",
        ),
        300..=399 => (
            Kind::BadAnswer,
            "a redirect that is not followed: correct `url`, or let the API past the login page",
        ),
        _ => (
            Kind::BadAnswer,
            "TeamCity does not understand this request: see its version",
        ),
    };
    let mut message = format!("{endpoint} answered {status}: {advice}");
    if let Some(said) = said {
        message.push_str(&format!(" (it says: {said})"));
    }
    Failure::new(kind, message)
}

/// One line of somebody else's text, short enough for a log.
pub(crate) fn line(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut clean: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}
