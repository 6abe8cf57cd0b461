//! GitLab's forms of an answer.

use fake_server::Response;
use serde_json::{Value, json};

pub(crate) fn json(status: u16, body: &Value) -> Response {
    Response::of(status, "application/json", body.to_string())
}

/// `{"message": "403 Forbidden"}`, the form of GitLab's own refusals.
pub(crate) fn refusal(status: u16, words: &str) -> Response {
    json(status, &json!({ "message": format!("{status} {words}") }))
}

/// `{"error": …}`, the form of refused parameters.
pub(crate) fn error(status: u16, words: &str) -> Response {
    json(status, &json!({ "error": words }))
}

pub(crate) fn html(status: u16, words: &str) -> Response {
    let body = format!("<!DOCTYPE html><html><body><h1>{status}</h1><p>{words}</p></body></html>");
    Response::of(status, "text/html; charset=utf-8", body)
}
