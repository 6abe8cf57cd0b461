//! What can go wrong on the wire, and how it becomes the port's error.
//!
//! Messages name the endpoint, the status and what to do. They never carry a token or a raw body: a body may be a page of
//! a proxy, or may repeat what we sent.

use std::time::Duration;

use model::EmitterName;
use ports::{BoxError, Clock, EmitterError, EmitterErrorKind};

/// A failed call, before it is known what it was for.
#[derive(Debug)]
pub struct Failure {
    /// For code.
    pub kind: EmitterErrorKind,
    /// Endpoint, status and what to do.
    pub message: String,
    /// What lies below, if anything.
    pub source: Option<BoxError>,
}

impl Failure {
    /// A failure with nothing below it.
    pub fn new(kind: EmitterErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// An answer that is not what the contract says.
    pub fn bad_answer(message: impl Into<String>) -> Self {
        Self::new(EmitterErrorKind::BadAnswer, message)
    }

    /// The same failure with what lies below it.
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The port's error, for what was tried (a verb phrase, "list pending jobs").
    pub fn into_error(self, emitter: &EmitterName, operation: &'static str) -> EmitterError {
        EmitterError {
            kind: self.kind,
            emitter: emitter.clone(),
            operation,
            message: self.message,
            source: self.source,
        }
    }
}

/// One look of an emitter, of which `operation` is the verb phrase, for at most `limit` of its clock.
///
/// # Errors
///
/// Fails as the look fails, and when the time is over.
pub async fn look<T>(
    clock: &dyn Clock,
    limit: Duration,
    emitter: &EmitterName,
    operation: &'static str,
    look: impl Future<Output = Result<T, Failure>>,
) -> Result<T, EmitterError> {
    let looked = ports::timeout(clock, limit, look).await;
    let looked = looked.unwrap_or_else(|| {
        let message = format!(
            "the probe took more than {limit:?}: raise `probe.timeout`, or let it see less"
        );
        Err(Failure::new(EmitterErrorKind::TimedOut, message))
    });
    looked.map_err(|failure| failure.into_error(emitter, operation))
}

/// An emitter's own words on a status, where it can tell its operator more than HTTP can.
pub type Advice = fn(u16) -> Option<&'static str>;

/// The failure that an HTTP status means, with what to do about it.
///
/// `retry_after` is the wait that the answer asked for; a 503 that asks for one is a limit, not an outage.
pub fn of_status(
    endpoint: &str,
    status: u16,
    retry_after: Option<Duration>,
    advice: Advice,
) -> Failure {
    use EmitterErrorKind as Kind;
    let (kind, words) = match status {
        401 => (
            Kind::Unauthorized,
            "the token is not valid or has expired: make a new one",
        ),
        403 => (Kind::Forbidden, "the token may not do this"),
        404 => (Kind::NotFound, "it is not there, or hidden from this token"),
        409 => (
            Kind::Conflict,
            "the server refuses because of what is there now",
        ),
        429 => (Kind::RateLimited { retry_after }, "the server asks to wait"),
        503 if retry_after.is_some() => (
            Kind::RateLimited { retry_after },
            "the server is down for now and asks to wait",
        ),
        500..=599 => (
            Kind::Unavailable,
            "the server or a proxy before it is in trouble",
        ),
        300..=399 => (
            Kind::BadAnswer,
            "a redirect that is not followed: correct `url`",
        ),
        _ => (
            Kind::BadAnswer,
            "the server does not understand this request: see its version",
        ),
    };
    let words = advice(status).unwrap_or(words);
    Failure::new(kind, format!("{endpoint} answered {status}: {words}"))
}

/// The failure of a call that got no whole answer. `writes` says whether the call may have changed something.
pub(crate) fn broken(endpoint: &str, writes: bool, error: reqwest::Error) -> Failure {
    let (kind, words) = if error.is_connect() {
        (
            EmitterErrorKind::Unreachable,
            "no connection: is the server up, and `url` right?",
        )
    } else if error.is_timeout() {
        (EmitterErrorKind::TimedOut, "no answer in time")
    } else {
        return lost(endpoint, writes).because(error.without_url());
    };
    Failure::new(kind, format!("{endpoint}: {words}")).because(error.without_url())
}

/// The failure of a call that was sent and whose connection broke then.
pub(crate) fn lost(endpoint: &str, writes: bool) -> Failure {
    let (kind, words) = if writes {
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
    Failure::new(kind, format!("{endpoint}: {words}"))
}

/// Words of the server, fit for a log line: one line, short, and without the secret.
pub fn quote(words: &str, secret: &str) -> String {
    const LONGEST: usize = 200;
    if !secret.is_empty() && words.contains(secret) {
        return "(words that repeat the token)".to_owned();
    }
    let line = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut quoted: String = line.take(LONGEST).collect();
    if words.chars().count() > LONGEST {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_server_are_cut_and_never_repeat_the_token() {
        assert_eq!(quote("a\nb", "glpat-1"), "a b");
        assert_eq!(quote(&"x".repeat(300), "glpat-1").chars().count(), 201);
        assert!(!quote("bad token glpat-1", "glpat-1").contains("glpat-1"));
    }

    #[test]
    fn a_status_says_what_the_caller_can_do() {
        let kind = |status| of_status("GET /x", status, None, |_| None).kind;
        assert_eq!(kind(401), EmitterErrorKind::Unauthorized);
        assert_eq!(kind(403), EmitterErrorKind::Forbidden);
        assert_eq!(kind(404), EmitterErrorKind::NotFound);
        assert_eq!(kind(409), EmitterErrorKind::Conflict);
        assert_eq!(
            kind(429),
            EmitterErrorKind::RateLimited { retry_after: None }
        );
        assert_eq!(kind(502), EmitterErrorKind::Unavailable);
        assert_eq!(kind(503), EmitterErrorKind::Unavailable);
        assert_eq!(kind(302), EmitterErrorKind::BadAnswer);
        assert_eq!(kind(400), EmitterErrorKind::BadAnswer);
        let wait = Some(Duration::from_secs(5));
        let kind = of_status("GET /x", 503, wait, |_| None).kind;
        assert_eq!(kind, EmitterErrorKind::RateLimited { retry_after: wait });
    }

    #[test]
    fn an_emitter_has_its_own_words_and_never_its_own_kind() {
        let advice: Advice = |status| (status == 401).then_some("ask the owner of the farm");
        let failure = of_status("GET /x", 401, None, advice);
        assert_eq!(failure.kind, EmitterErrorKind::Unauthorized);
        assert_eq!(
            failure.message,
            "GET /x answered 401: ask the owner of the farm"
        );
    }
}
