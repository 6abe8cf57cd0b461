//! Who may call: the form of the signature, the access key, the age of the request, the policy.
//!
//! The signature's value is not computed: the caller is somebody else's SDK, and what is worth
//! testing is how our code takes a refusal.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::settings::Settings;
use crate::wire::{Outcome, Refusal, Request};

/// Refuses a request that real EC2 would not let in.
pub(crate) fn check(request: &Request, settings: &Settings, now: Timestamp) -> Outcome<()> {
    let header = request.header("authorization").ok_or_else(failure)?;
    let fields = header
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or_else(failure)?;
    let field = |name: &str| {
        let found = fields
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name));
        found
            .and_then(|rest| rest.strip_prefix('='))
            .ok_or_else(failure)
    };
    let signed: Vec<&str> = field("SignedHeaders")?.split(';').collect();
    let signature = field("Signature")?;
    let hex = signature.len() == 64 && signature.bytes().all(|b| b.is_ascii_hexdigit());
    let scope: Vec<&str> = field("Credential")?.split('/').collect();
    let [key, day, region, "ec2", "aws4_request"] = scope[..] else {
        return Err(failure());
    };
    let stamp = request.header("x-amz-date").ok_or_else(failure)?;
    let known = settings.access_keys.contains(key) && region == settings.region;
    if !hex || !known || !signed.contains(&"host") || !stamp.starts_with(day) {
        return Err(failure());
    }
    fresh(stamp, settings, now)
}

fn fresh(stamp: &str, settings: &Settings, now: Timestamp) -> Outcome<()> {
    let Some(allowed) = settings.clock_skew else {
        return Ok(());
    };
    let signed_at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map_err(|_| failure())?
        .timestamp();
    if signed_at.duration_since(now).unsigned_abs() > allowed {
        return Err(Refusal::bad("RequestExpired", "Request has expired."));
    }
    Ok(())
}

/// Refuses an action the account's policy denies.
pub(crate) fn allowed(action: &str, settings: &Settings) -> Outcome<()> {
    if settings.denied.contains(action) {
        let message = "You are not authorized to perform this operation.";
        return Err(Refusal::new(403, "UnauthorizedOperation", message));
    }
    Ok(())
}

fn failure() -> Refusal {
    let message = "AWS was not able to validate the provided access credentials";
    Refusal::new(401, "AuthFailure", message)
}
