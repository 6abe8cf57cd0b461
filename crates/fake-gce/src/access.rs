//! Who may call: the token, and the permissions that the project's policy gives.
//!
//! A token's signature is not checked, only who signed it: the caller is somebody else's SDK, and what is worth testing
//! is how our code takes a refusal.

use base64::Engine as _;
use serde_json::Value;

use crate::settings::Settings;
use crate::wire::{Outcome, Refusal, Request};

/// Refuses a caller whom nobody knows; gives who it is.
pub(crate) fn caller(request: &Request, settings: &Settings) -> Outcome<String> {
    let Some(header) = request.header("authorization") else {
        if settings.anonymous {
            return Ok("anonymous".to_owned());
        }
        let message = "Request is missing required authentication credential. Expected OAuth 2 access token, login \
                       cookie or other valid authentication credential.";
        return Err(Refusal::new(401, "required", message));
    };
    let token = header.strip_prefix("Bearer ").ok_or_else(invalid)?;
    if settings.tokens.contains(token) {
        return Ok(token.to_owned());
    }
    let signer = signer(token).ok_or_else(invalid)?;
    if !settings.callers.contains(&signer) {
        return Err(invalid());
    }
    Ok(signer)
}

/// Who signed a JSON Web Token.
fn signer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

fn invalid() -> Refusal {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
                   other valid authentication credential.";
    Refusal::new(401, "authError", message)
}

/// One permission that a call needs, and the resource it is needed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) permission: &'static str,
    pub(crate) resource: String,
}

impl Need {
    pub(crate) fn new(permission: &'static str, resource: impl Into<String>) -> Self {
        Self {
            permission,
            resource: resource.into(),
        }
    }
}

/// Refuses what the policy does not allow.
pub(crate) fn check(needs: &[Need], settings: &Settings) -> Outcome<()> {
    let Some(granted) = &settings.granted else {
        return Ok(());
    };
    match needs.iter().find(|need| !granted.contains(need.permission)) {
        None => Ok(()),
        Some(Need {
            permission,
            resource,
        }) => {
            let message = format!("Required '{permission}' permission for '{resource}'");
            Err(Refusal::new(403, "forbidden", message))
        }
    }
}
