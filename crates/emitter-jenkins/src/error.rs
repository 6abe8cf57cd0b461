//! Jenkins' words for what can go wrong on the wire.

pub(crate) use web::Failure;

/// What an operator of Jenkins can do about a status, where that is more than HTTP says.
pub(crate) fn advice(status: u16) -> Option<&'static str> {
    let words = match status {
        401 => "user or API token is not valid: make a new token",
        403 => "the user lacks a permission: see the README of this emitter",
        404 => "it is not there, or hidden from this user",
        503 => "Jenkins is starting, or a proxy before it has lost it",
        500..=599 => "Jenkins or a proxy before it is in trouble",
        300..=399 => {
            "a redirect that is not followed: correct `url`, or let the API past the login page"
        }
        400..=499 if !matches!(status, 409 | 429) => {
            "Jenkins does not understand this request: see its version"
        }
        _ => return None,
    };
    Some(words)
}
