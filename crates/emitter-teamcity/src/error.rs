//! TeamCity's words for what can go wrong on the wire.

use ports::EmitterErrorKind;
pub(crate) use web::Failure;

/// What an operator of TeamCity can do about a status, where that is more than HTTP says.
pub(crate) fn advice(status: u16) -> Option<&'static str> {
    let words = match status {
        401 => "the access token is not valid: make a new one",
        403 => "the token lacks a permission: see deploy/teamcity",
        503 => "TeamCity is starting, or a proxy before it has lost it",
        500..=599 => "TeamCity or a proxy before it is in trouble, or it refuses",
        300..=399 => {
            "a redirect that is not followed: correct `url`, or let the API past the login page"
        }
        400..=499 if !matches!(status, 404 | 409 | 429) => {
            "TeamCity does not understand this request: see its version"
        }
        _ => return None,
    };
    Some(words)
}

/// A refusal because of what is there.
pub(crate) fn conflict(message: impl Into<String>) -> Failure {
    Failure::new(EmitterErrorKind::Conflict, message)
}

/// One line of somebody else's text, short enough for a log.
pub(crate) fn line(text: &str) -> String {
    web::quote(text, "")
}
