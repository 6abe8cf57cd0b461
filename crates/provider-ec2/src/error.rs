//! EC2's error codes as the port's kinds, and whether a refused call may still have happened.
//!
//! Pure tables, without the SDK. The codes and their meanings are those of "Error codes for the Amazon EC2
//! API" (read 2026); the one that surprises is InsufficientInstanceCapacity, which comes with status 500 and
//! is nevertheless a plain "no".
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
    /// EC2's code, if EC2 answered.
    pub(crate) code: Option<String>,
    /// For the operator.
    pub(crate) message: String,
    pub(crate) source: Option<BoxError>,
}

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

    /// What EC2 answered: a code and a message, or neither when the answer was not EC2's (a proxy's page).
    pub(crate) fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let (kind, fate) = judge(status, code);
        let words = match (code, message) {
            (Some(code), Some(message)) => format!("{code}: {}", shortened(message)),
            (Some(code), None) => code.to_owned(),
            (None, _) => format!("an answer with status {status} that EC2 does not give"),
        };
        let message = hint(code).map_or_else(|| words.clone(), |hint| format!("{words} ({hint})"));
        Self {
            kind,
            fate,
            code: code.map(str::to_owned),
            message,
            source: None,
        }
    }

    /// The same failure once more; its source goes with the first.
    pub(crate) fn repeat(&mut self) -> Self {
        Self {
            kind: self.kind,
            fate: self.fate,
            code: self.code.clone(),
            message: self.message.clone(),
            source: self.source.take(),
        }
    }

    /// The same of a question: nothing can have happened.
    pub(crate) fn not_done(mut self) -> Self {
        self.fate = Fate::NotDone;
        self
    }

    /// Whether EC2 answered with this code.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether another type or place may do what this one cannot.
    pub(crate) fn is_of_this_place(&self) -> bool {
        self.kind == ProviderErrorKind::OutOfCapacity
    }

    /// Whether the image is not there (any more).
    pub(crate) fn is_of_the_image(&self) -> bool {
        self.is("InvalidAMIID.NotFound") || self.is("InvalidAMIID.Unavailable")
    }

    /// Whether the call fails because of one of the machines named in it, and the others could go without it.
    pub(crate) fn blames_one_id(&self) -> bool {
        let blaming = [
            "InvalidInstanceID.NotFound",
            "InvalidInstanceID.Malformed",
            "OperationNotPermitted",
            "IncorrectInstanceState",
        ];
        self.code
            .as_deref()
            .is_some_and(|code| blaming.contains(&code))
    }
}

fn judge(status: u16, code: Option<&str>) -> (ProviderErrorKind, Fate) {
    use ProviderErrorKind::{
        BadAnswer, InvalidRequest, NotFound, OutOfCapacity, QuotaExceeded, RateLimited,
        Unauthorized, Unavailable,
    };
    let Some(code) = code else {
        // not EC2's words: whatever stood between us may have passed the call on first
        return (
            if status >= 500 {
                Unavailable
            } else {
                BadAnswer
            },
            Fate::Unknown,
        );
    };
    let kind = match code {
        "RequestLimitExceeded" | "EC2ThrottledException" | "Throttling" | "ThrottlingException"
        | "RequestThrottled" => RateLimited { retry_after: None },
        // an internal error may strike after the machines were made
        "InternalError" | "InternalFailure" | "ServerInternal" | "ServiceUnavailable"
        | "Unavailable" => return (Unavailable, Fate::Unknown),
        "InsufficientInstanceCapacity" | "InsufficientCapacity" | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity" | "InsufficientVolumeCapacity"
        | "InsufficientAddressCapacity" | "InsufficientCapacityOnHost" | "UnfulfillableCapacity"
        | "ReservationCapacityExceeded" | "SpotMaxPriceTooLow"
        // the type is not offered in that zone: to the caller the same as none left
        | "Unsupported"
        // a subnet is a place too: taken for the account's quota it would stop every pool of the account
        | "InsufficientFreeAddressesInSubnet" => OutOfCapacity,
        "InstanceLimitExceeded" | "VcpuLimitExceeded" | "MaxSpotInstanceCountExceeded"
        | "VolumeLimitExceeded" | "AddressLimitExceeded" | "ResourceCountLimitExceeded" => {
            QuotaExceeded
        }
        "AuthFailure" | "UnauthorizedOperation" | "InvalidClientTokenId"
        | "SignatureDoesNotMatch" | "IncompleteSignature" | "RequestExpired" | "OptInRequired"
        | "PendingVerification" | "Blocked" | "TagPolicyViolation" | "MissingAuthenticationToken"
        | "ExpiredToken" | "UnrecognizedClientException" => Unauthorized,
        "InvalidInstanceID.NotFound" => NotFound,
        _ if status >= 500 => return (Unavailable, Fate::Unknown),
        _ if status == 401 || status == 403 => Unauthorized,
        _ => InvalidRequest,
    };
    (kind, Fate::NotDone)
}

/// What the operator can do, where the code alone does not say it.
fn hint(code: Option<&str>) -> Option<&'static str> {
    Some(match code? {
        "RequestExpired" => "check this host's clock",
        "UnauthorizedOperation" => "see the policy in the provider's README",
        "VcpuLimitExceeded" | "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => {
            "raise the quota in AWS Service Quotas or lower the pool's max"
        }
        "InsufficientFreeAddressesInSubnet" => "the subnet is full: add another to the offer",
        "OperationNotPermitted" => "termination protection is on",
        _ => return None,
    })
}

/// UnauthorizedOperation carries kilobytes of encoded detail; a log line does not need it.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 400;
    let text = message
        .split(" Encoded authorization failure message")
        .next()
        .unwrap_or(message);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.trim().to_owned(),
    }
}

/// The instance ids that a NotFound message names.
pub(crate) fn ids_named(message: &str) -> Vec<&str> {
    let id = |word: &&str| {
        word.strip_prefix("i-")
            .is_some_and(|rest| rest.len() >= 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_tells_the_caller_what_to_do() {
        let rated = ProviderErrorKind::RateLimited { retry_after: None };
        for (status, code, kind, fate) in [
            (503, "RequestLimitExceeded", rated, Fate::NotDone),
            (
                500,
                "InsufficientInstanceCapacity",
                ProviderErrorKind::OutOfCapacity,
                Fate::NotDone,
            ),
            (
                400,
                "Unsupported",
                ProviderErrorKind::OutOfCapacity,
                Fate::NotDone,
            ),
            // one subnet is full, and the account's quota is not met: other offers of it go on growing
            (
                400,
                "InsufficientFreeAddressesInSubnet",
                ProviderErrorKind::OutOfCapacity,
                Fate::NotDone,
            ),
            (
                400,
                "VcpuLimitExceeded",
                ProviderErrorKind::QuotaExceeded,
                Fate::NotDone,
            ),
            (
                401,
                "AuthFailure",
                ProviderErrorKind::Unauthorized,
                Fate::NotDone,
            ),
            (
                403,
                "UnauthorizedOperation",
                ProviderErrorKind::Unauthorized,
                Fate::NotDone,
            ),
            (
                403,
                "SomethingNew",
                ProviderErrorKind::Unauthorized,
                Fate::NotDone,
            ),
            (
                400,
                "InvalidAMIID.NotFound",
                ProviderErrorKind::InvalidRequest,
                Fate::NotDone,
            ),
            (
                400,
                "SomethingNew",
                ProviderErrorKind::InvalidRequest,
                Fate::NotDone,
            ),
            (
                400,
                "InvalidInstanceID.NotFound",
                ProviderErrorKind::NotFound,
                Fate::NotDone,
            ),
            (
                500,
                "InternalError",
                ProviderErrorKind::Unavailable,
                Fate::Unknown,
            ),
            (
                500,
                "SomethingNew",
                ProviderErrorKind::Unavailable,
                Fate::Unknown,
            ),
        ] {
            let failure = Failure::answered(status, Some(code), None);
            assert_eq!(
                (failure.kind, failure.fate),
                (kind, fate),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn an_image_that_was_taken_away_is_told_apart() {
        for (code, wanted) in [
            ("InvalidAMIID.NotFound", true),
            ("InvalidAMIID.Unavailable", true),
            ("InvalidSubnetID.NotFound", false),
        ] {
            let failure = Failure::answered(400, Some(code), None);
            assert_eq!(failure.is_of_the_image(), wanted, "{code}");
        }
    }

    #[test]
    fn an_answer_that_is_not_ec2s_leaves_the_fate_unknown() {
        for (status, kind) in [
            (502, ProviderErrorKind::Unavailable),
            (403, ProviderErrorKind::BadAnswer),
        ] {
            let failure = Failure::answered(status, None, None);
            assert_eq!(
                (failure.kind, failure.fate),
                (kind, Fate::Unknown),
                "{status}"
            );
        }
    }

    #[test]
    fn an_encoded_message_is_left_out() {
        let long = format!(
            "You may not. Encoded authorization failure message: {}",
            "x".repeat(2000)
        );
        let failure = Failure::answered(403, Some("UnauthorizedOperation"), Some(&long));
        assert_eq!(
            failure.message,
            "UnauthorizedOperation: You may not. (see the policy in the provider's README)"
        );
    }

    #[test]
    fn ids_are_found_in_the_message() {
        let one = "The instance ID 'i-0123456789abcdef0' does not exist";
        assert_eq!(ids_named(one), ["i-0123456789abcdef0"]);
        let two = "The instance IDs 'i-0123456789abcdef0, i-12345678' do not exist";
        assert_eq!(ids_named(two), ["i-0123456789abcdef0", "i-12345678"]);
        assert!(ids_named("something else entirely, i-am sure").is_empty());
    }
}
