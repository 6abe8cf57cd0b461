//! Jenkins' forms of an answer.

use fake_server::Response;
use serde_json::Value;

pub(crate) fn json(body: &Value) -> Response {
    Response::of(200, "application/json;charset=utf-8", body.to_string())
}

/// Jetty's and Jenkins' refusals are pages, whatever was asked for.
pub(crate) fn html(status: u16, words: &str) -> Response {
    let body = format!("<html><head><title>Error {status} {words}</title></head></html>");
    Response::of(status, "text/html;charset=utf-8", body)
}

/// What a form is answered with when it was carried out.
pub(crate) fn found(location: &str) -> Response {
    Response::empty(302).with_header("location", location)
}
