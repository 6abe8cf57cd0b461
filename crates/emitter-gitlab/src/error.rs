//! GitLab's words for what can go wrong on the wire.

pub(crate) use web::{Failure, quote};

/// What an operator of GitLab can do about a status, where that is more than HTTP says.
pub(crate) fn advice(status: u16) -> Option<&'static str> {
    (status == 403)
        .then_some("the token may not do this: see the rights in the README of this emitter")
}
