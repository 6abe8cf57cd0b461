//! Errors of Redis in the words of the port.
//!
//! The sort comes from what a caller can do: wait, call an operator, stop acting. Nothing here prints an address,
//! since a URL may carry a password.

use std::time::Duration;

use ports::{StoreError, StoreErrorKind};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What a failure says about the connection it happened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It broke, or nobody answers on it.
    Broken,
    /// Redis does not know us: the credentials are wrong or missing.
    Unauthenticated,
    /// Redis knows us, and does not allow this. Somebody else may be meant by now.
    Forbidden,
}

impl Trouble {
    /// What of a failure says something about its connection.
    pub(crate) fn of(error: &RedisError) -> Option<Self> {
        match (error.code(), error.kind()) {
            (Some("NOAUTH" | "WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
                Some(Trouble::Unauthenticated)
            }
            (_, ErrorKind::Server(ServerErrorKind::NoPerm)) => Some(Trouble::Forbidden),
            (_, ErrorKind::Io) => Some(Trouble::Broken),
            _ => None,
        }
    }
}

/// Turns an error of the client or the server into ours.
pub(crate) fn from_redis(operation: &'static str, error: RedisError) -> StoreError {
    let (kind, message) = sort(&error);
    let source = match kind {
        // Their text is the message already.
        StoreErrorKind::Fenced => None,
        StoreErrorKind::Unavailable
        | StoreErrorKind::Refused
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Config => Some(error.into()),
    };
    StoreError {
        kind,
        operation,
        message,
        source,
    }
}

/// The answer did not come in time.
pub(crate) fn too_slow(operation: &'static str, limit: Duration) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        operation,
        message: format!("no answer within {} ms", limit.as_millis()),
        source: None,
    }
}

fn sort(error: &RedisError) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Config, Corrupt, Fenced, Refused, Unavailable};
    let detail = error.detail().unwrap_or_default();
    // Codes that the client has no name for, those of our scripts among them.
    match error.code().unwrap_or_default() {
        "FENCED" => {
            return (Fenced, "the lease is over or held by somebody else".into());
        }
        "CORRUPT" => {
            let message = format!("not what this program writes: {detail}; delete it");
            return (Corrupt, message);
        }
        "TOOMANY" => {
            let message = format!("there are {} already: remove some", model::Order::MOST);
            return (Refused, message);
        }
        "WRONGTYPE" => return (Corrupt, "a key holds a value of another type".into()),
        "OOM" => return (Refused, "Redis is out of memory".into()),
        "MISCONF" => return (Refused, "Redis cannot save and refuses writes".into()),
        "NOREPLICAS" => {
            return (
                Refused,
                "Redis has too few replicas and refuses writes".into(),
            );
        }
        "WRONGPASS" | "NOAUTH" => return (Config, "Redis does not accept the credentials".into()),
        _ => {}
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => {
            (Refused, "this Redis is a read-only replica".into())
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            (Config, "the Redis user lacks a permission".into())
        }
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
        ) => (
            Config,
            "this is a Redis Cluster, which is not supported".into(),
        ),
        ErrorKind::AuthenticationFailed => (Config, "Redis does not accept the credentials".into()),
        ErrorKind::InvalidClientConfig => (Config, "the address of Redis is not usable".into()),
        ErrorKind::Parse => (
            Config,
            "what answers does not speak Redis's protocol".into(),
        ),
        ErrorKind::UnexpectedReturnType => (Corrupt, "an answer has another type".into()),
        _ if error.is_timeout() => (Unavailable, "Redis is too slow".into()),
        ErrorKind::Io => (Unavailable, "Redis cannot be reached".into()),
        _ => (Unavailable, "Redis did not do it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_server(code: &str, detail: &str) -> StoreError {
        let error = redis::make_extension_error(code.into(), Some(detail.into()));
        from_redis("try", error)
    }

    #[test]
    fn the_kind_tells_the_caller_what_to_do() {
        for (code, kind) in [
            ("FENCED", StoreErrorKind::Fenced),
            ("CORRUPT", StoreErrorKind::Corrupt),
            ("OOM", StoreErrorKind::Refused),
            ("TOOMANY", StoreErrorKind::Refused),
            ("MISCONF", StoreErrorKind::Refused),
            ("WRONGPASS", StoreErrorKind::Config),
            ("BUSY", StoreErrorKind::Unavailable),
        ] {
            assert_eq!(of_server(code, "detail").kind, kind, "{code}");
        }
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(
            from_redis("try", refused.into()).kind,
            StoreErrorKind::Unavailable
        );
    }

    #[test]
    fn a_corrupt_value_is_named_by_its_key() {
        let text = of_server("CORRUPT", "parmanu:v1:acme:scaler:lease").to_string();
        assert!(text.contains("parmanu:v1:acme:scaler:lease"), "{text}");
    }
}
