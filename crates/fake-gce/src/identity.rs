//! Where tokens come from, beside the keys that sign their own: the exchange of another identity provider's token (workload
//! identity federation) and the metadata server of a machine.
//!
//! Both are other services than Compute Engine, and stand here so that a client's whole way to its first call can be
//! walked. They give tokens of one hour, which are let in from then on.

use serde_json::{Value, json};

use crate::gce::Gce;
use crate::wire::{Request, Response};

/// The answer, if the request is for one of the two.
pub(crate) fn answer(gce: &mut Gce, request: &Request) -> Option<Response> {
    let path = request.path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("POST", "/v1/token") => Some(exchange(gce, request)),
        ("GET", path) if path.starts_with("/computeMetadata/v1/") => {
            Some(metadata(gce, request, path))
        }
        _ => None,
    }
}

/// Security Token Service, "method: token": OAuth 2.0 token exchange (RFC 8693).
fn exchange(gce: &mut Gce, request: &Request) -> Response {
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(&request.body)
            .into_owned()
            .collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let refuse = |why: &str| {
        let error = json!({"error": "invalid_grant", "error_description": why});
        Response::json(400, &error)
    };
    if field("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
        return refuse("the grant type is not a token exchange");
    }
    if !field("scope").contains("auth/compute") || field("audience").is_empty() {
        return refuse("scope and audience are needed");
    }
    if !gce.settings.subject_tokens.contains(field("subject_token")) {
        return refuse("the subject token is not from a trusted issuer");
    }
    let mut token = fresh(gce);
    token["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
    Response::json(200, &token)
}

/// "About VM metadata": refused without its header, so that a browser or a proxy cannot be made to ask.
fn metadata(gce: &mut Gce, request: &Request, path: &str) -> Response {
    if request.header("metadata-flavor") != Some("Google") {
        let error = json!({"error": "Missing required header \"Metadata-Flavor\": \"Google\""});
        return Response::json(403, &error);
    }
    match path {
        "/computeMetadata/v1/instance/service-accounts/default/token"
            if gce.settings.has_metadata_server =>
        {
            Response::json(200, &fresh(gce))
        }
        _ => Response::json(404, &json!({"error": "not found"})),
    }
}

fn fresh(gce: &mut Gce) -> Value {
    let token = format!("ya29.fake-{:016x}", gce.id());
    gce.settings.tokens.insert(token.clone());
    json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})
}
