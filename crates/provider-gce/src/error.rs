//! Google's words for what went wrong as the port's kinds, and whether a refused call may still have happened.
//!
//! Pure tables, without the SDK. A call fails in two places: at once, with a status and a *reason*, or minutes later in
//! its operation, with a *code*. The reasons are those of Google's older APIs, the codes those of "Troubleshoot resource
//! availability errors" and of the cluster autoscaler's classification; where the SDK drops a reason, the text decides.
#![cfg_attr(
    not(feature = "sdk"),
    allow(dead_code, reason = "called by the client only")
)]

pub(crate) use ports::Fate;
use ports::{BoxError, ProviderErrorKind};

/// A call that failed, in our terms.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ProviderErrorKind,
    pub(crate) fate: Fate,
    /// Google's reason or code, if Google answered.
    pub(crate) code: Option<String>,
    /// For the operator.
    pub(crate) message: String,
    pub(crate) source: Option<BoxError>,
}

const RATE_LIMITED: ProviderErrorKind = ProviderErrorKind::RateLimited { retry_after: None };

impl Failure {
    pub(crate) fn new(kind: ProviderErrorKind, fate: Fate, message: impl Into<String>) -> Self {
        Self {
            kind,
            fate,
            code: None,
            message: message.into(),
            source: None,
        }
    }

    /// A call refused at once: the HTTP status, the reason if it was given, and Google's words.
    pub(crate) fn refused(status: u16, reason: Option<&str>, message: &str) -> Self {
        let (kind, fate) = judge_refusal(status, reason, message);
        let words = match reason {
            Some(reason) => format!("{reason}: {}", shortened(message)),
            None => shortened(message),
        };
        Self::told(kind, fate, reason, words, message)
    }

    /// An answer that is not Google's: a proxy's page, say. Whatever stood between us may have passed the call on first.
    pub(crate) fn foreign(status: u16) -> Self {
        let kind = if status >= 500 {
            ProviderErrorKind::Unavailable
        } else {
            ProviderErrorKind::BadAnswer
        };
        let message = format!("an answer with status {status} that Google does not give");
        Self::new(kind, Fate::Unknown, message)
    }

    /// An operation that ended with an error.
    pub(crate) fn ended(code: &str, message: &str) -> Self {
        let (kind, fate) = judge_operation(code, message);
        let words = format!("{code}: {}", shortened(message));
        Self::told(kind, fate, Some(code), words, message)
    }

    fn told(
        kind: ProviderErrorKind,
        fate: Fate,
        code: Option<&str>,
        words: String,
        message: &str,
    ) -> Self {
        let hint = hint(kind, code.unwrap_or_default(), message);
        Self {
            kind,
            fate,
            code: code.map(str::to_owned),
            message: hint.map_or_else(|| words.clone(), |hint| format!("{words} ({hint})")),
            source: None,
        }
    }

    /// The same failure once more; its source goes with the first.
    pub(crate) fn again(&mut self) -> Self {
        Self {
            kind: self.kind,
            fate: self.fate,
            code: self.code.clone(),
            message: self.message.clone(),
            source: self.source.take(),
        }
    }

    /// Whether Google answered with this reason or code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the name is taken in its zone: by an earlier try of the same machine, nearly always.
    pub(crate) fn is_taken(&self) -> bool {
        self.is("alreadyExists") || self.is("RESOURCE_ALREADY_EXISTS")
    }

    /// Whether another type or zone may do what this one cannot. A type that a zone does not have is refused as a wrong
    /// word, and is right in the next zone.
    pub(crate) fn is_of_this_place(&self) -> bool {
        self.fate == Fate::NotDone
            && (self.kind == ProviderErrorKind::OutOfCapacity
                || (self.kind == ProviderErrorKind::InvalidRequest
                    && self.message.contains("machineType")))
    }
}

fn judge_refusal(status: u16, reason: Option<&str>, message: &str) -> (ProviderErrorKind, Fate) {
    use ProviderErrorKind::{InvalidRequest, NotFound, QuotaExceeded, Unauthorized, Unavailable};
    let reason = reason.unwrap_or_default();
    let kind = if is_rate(reason) || is_rate(message) || status == 429 {
        RATE_LIMITED
    } else if let Some(kind) = of_capacity(message) {
        kind
    } else if reason == "quotaExceeded" || (status == 403 && message.starts_with("Quota ")) {
        QuotaExceeded
    } else if reason == "resourceNotReady" {
        // still being made or ended: the next look tells more
        Unavailable
    } else {
        match status {
            401 | 403 => Unauthorized,
            404 => NotFound,
            // what broke there may have broken after the act
            500.. => return (Unavailable, Fate::Unknown),
            _ => InvalidRequest,
        }
    };
    (kind, Fate::NotDone)
}

fn judge_operation(code: &str, message: &str) -> (ProviderErrorKind, Fate) {
    use ProviderErrorKind::{InvalidRequest, NotFound, QuotaExceeded, Unauthorized, Unavailable};
    let kind = if is_rate(code) || is_rate(message) {
        RATE_LIMITED
    } else if let Some(kind) = of_capacity(code).or_else(|| of_capacity(message)) {
        kind
    } else if code.contains("QUOTA") || code.starts_with("IP_SPACE_EXHAUSTED") {
        QuotaExceeded
    } else {
        match code {
            "PERMISSIONS_ERROR" | "FORBIDDEN" => Unauthorized,
            "CONDITION_NOT_MET" if message.contains("Constraint ") => Unauthorized,
            "RESOURCE_NOT_FOUND" => NotFound,
            "RESOURCE_NOT_READY" | "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" => Unavailable,
            "RESOURCE_ALREADY_EXISTS"
            | "CONDITION_NOT_MET"
            | "INVALID_USAGE"
            | "INVALID_FIELD_VALUE"
            | "INVALID_ARGUMENT"
            | "BAD_REQUEST"
            | "UNSUPPORTED_OPERATION" => InvalidRequest,
            // an internal error, or a code of a later day: the machine may be there
            _ => return (Unavailable, Fate::Unknown),
        }
    };
    (kind, Fate::NotDone)
}

/// Too many calls, or too many operations at once: in either place, and in the words of three generations of Google's front
/// door.
fn is_rate(text: &str) -> bool {
    [
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
        "Rate Limit Exceeded",
        "Quota exceeded for quota metric",
        "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
        "concurrent operations quota",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// No machine of the kind here and now: the pool of a zone or a reservation is empty.
fn of_capacity(text: &str) -> Option<ProviderErrorKind> {
    let empty = [
        "RESOURCE_POOL_EXHAUSTED",
        "INSUFFICIENT_CAPACITY",
        "does not have enough resources available",
        "does not have available resources for the request",
        "are fully consumed",
        "does not exist in zone",
    ];
    let empty = empty.iter().any(|words| text.contains(words));
    empty.then_some(ProviderErrorKind::OutOfCapacity)
}

/// What the operator can do, where the words alone do not say it.
fn hint(kind: ProviderErrorKind, code: &str, message: &str) -> Option<&'static str> {
    Some(match kind {
        ProviderErrorKind::Unauthorized if message.contains("Constraint ") => {
            "an organization policy forbids what the offer asks for"
        }
        ProviderErrorKind::Unauthorized if message.contains("actAs") => {
            "let Parmanu use the offer's service account: roles/iam.serviceAccountUser on that account"
        }
        ProviderErrorKind::Unauthorized if code == "authError" => {
            "check the credentials of this provider, and this host's clock"
        }
        ProviderErrorKind::Unauthorized => "see the role in deploy/gce/parmanu-role.yaml",
        ProviderErrorKind::QuotaExceeded if code.starts_with("IP_SPACE_EXHAUSTED") => {
            "the subnet is full: widen it or name another"
        }
        ProviderErrorKind::QuotaExceeded => {
            "raise the quota of the project or lower the pool's max"
        }
        _ => return None,
    })
}

/// Google's longest messages carry whole addresses and tables.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 400;
    let message = message.trim();
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_tells_the_caller_what_to_do() {
        use ProviderErrorKind::{
            InvalidRequest, NotFound, OutOfCapacity, QuotaExceeded, Unauthorized, Unavailable,
        };
        let front_door =
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service";
        let cpus = "Quota 'CPUS' exceeded.  Limit: 24.0 in region us-central1.";
        for (status, reason, message, kind, fate) in [
            (
                403,
                Some("rateLimitExceeded"),
                "x",
                RATE_LIMITED,
                Fate::NotDone,
            ),
            (
                403,
                Some("RATE_LIMIT_EXCEEDED"),
                "x",
                RATE_LIMITED,
                Fate::NotDone,
            ),
            (403, None, front_door, RATE_LIMITED, Fate::NotDone),
            (429, None, "x", RATE_LIMITED, Fate::NotDone),
            (
                403,
                Some("quotaExceeded"),
                cpus,
                QuotaExceeded,
                Fate::NotDone,
            ),
            (403, None, cpus, QuotaExceeded, Fate::NotDone),
            (
                403,
                Some("forbidden"),
                "Required 'x'",
                Unauthorized,
                Fate::NotDone,
            ),
            (401, Some("authError"), "x", Unauthorized, Fate::NotDone),
            (404, Some("notFound"), "x", NotFound, Fate::NotDone),
            (400, Some("invalid"), "x", InvalidRequest, Fate::NotDone),
            (
                400,
                Some("resourceNotReady"),
                "x",
                Unavailable,
                Fate::NotDone,
            ),
            (
                400,
                Some("invalid"),
                "Machine type with name 'e9-small' does not exist in zone 'z'.",
                OutOfCapacity,
                Fate::NotDone,
            ),
            (
                409,
                Some("alreadyExists"),
                "x",
                InvalidRequest,
                Fate::NotDone,
            ),
            (
                412,
                Some("conditionNotMet"),
                "x",
                InvalidRequest,
                Fate::NotDone,
            ),
            (503, Some("backendError"), "x", Unavailable, Fate::Unknown),
            (500, None, "x", Unavailable, Fate::Unknown),
        ] {
            let failure = Failure::refused(status, reason, message);
            assert_eq!(
                (failure.kind, failure.fate),
                (kind, fate),
                "{status} {reason:?} {message}"
            );
        }
    }

    #[test]
    fn every_end_of_an_operation_tells_the_caller_what_to_do() {
        use ProviderErrorKind::{
            InvalidRequest, OutOfCapacity, QuotaExceeded, Unauthorized, Unavailable,
        };
        for (code, message, kind, fate) in [
            (
                "ZONE_RESOURCE_POOL_EXHAUSTED",
                "",
                OutOfCapacity,
                Fate::NotDone,
            ),
            (
                "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
                "",
                OutOfCapacity,
                Fate::NotDone,
            ),
            (
                "INVALID_USAGE",
                "Specified reservation x does not have available resources for the request.",
                OutOfCapacity,
                Fate::NotDone,
            ),
            ("QUOTA_EXCEEDED", "", QuotaExceeded, Fate::NotDone),
            (
                "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED",
                "",
                RATE_LIMITED,
                Fate::NotDone,
            ),
            (
                "IP_SPACE_EXHAUSTED_WITH_DETAILS",
                "",
                QuotaExceeded,
                Fate::NotDone,
            ),
            ("PERMISSIONS_ERROR", "", Unauthorized, Fate::NotDone),
            (
                "CONDITION_NOT_MET",
                "Constraint constraints/compute.vmExternalIpAccess violated",
                Unauthorized,
                Fate::NotDone,
            ),
            ("INVALID_FIELD_VALUE", "", InvalidRequest, Fate::NotDone),
            ("INTERNAL_ERROR", "", Unavailable, Fate::Unknown),
            ("SOMETHING_NEW", "", Unavailable, Fate::Unknown),
        ] {
            let failure = Failure::ended(code, message);
            assert_eq!(
                (failure.kind, failure.fate),
                (kind, fate),
                "{code} {message}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_not_googles_leaves_the_fate_unknown() {
        for (status, kind) in [
            (502, ProviderErrorKind::Unavailable),
            (403, ProviderErrorKind::BadAnswer),
        ] {
            let failure = Failure::foreign(status);
            assert_eq!(
                (failure.kind, failure.fate),
                (kind, Fate::Unknown),
                "{status}"
            );
        }
    }

    #[test]
    fn a_type_that_a_zone_lacks_is_tried_in_the_next_and_a_wrong_image_is_not() {
        let kind = "Invalid value for field 'resource.machineType': 'zones/z/machineTypes/t'.";
        assert!(Failure::refused(400, Some("invalid"), kind).is_of_this_place());
        assert!(Failure::ended("ZONE_RESOURCE_POOL_EXHAUSTED", "").is_of_this_place());
        let image =
            "Invalid value for field 'resource.disks[0].initializeParams.sourceImage': 'x'.";
        assert!(!Failure::refused(400, Some("invalid"), image).is_of_this_place());
        assert!(!Failure::ended("QUOTA_EXCEEDED", "").is_of_this_place());
    }

    #[test]
    fn words_for_the_operator_say_what_to_do() {
        let failure = Failure::refused(
            403,
            Some("forbidden"),
            "Required 'compute.instances.create' permission",
        );
        assert_eq!(
            failure.message,
            "forbidden: Required 'compute.instances.create' permission (see the role in deploy/gce/parmanu-role.yaml)"
        );
        assert!(
            Failure::ended("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.")
                .message
                .ends_with("pool's max)")
        );
        assert!(
            Failure::refused(400, None, &"x".repeat(2000))
                .message
                .chars()
                .count()
                < 410
        );
    }
}
