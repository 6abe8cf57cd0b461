//! TeamCity's forms of an answer.

use fake_server::{Request, Response};
use serde_json::{Value, json};

/// The body of a request that must be JSON and say so.
pub(crate) fn read_json(request: &Request) -> Result<Value, Response> {
    let kind = request.header("content-type").unwrap_or("");
    if !kind.starts_with("application/json") {
        return Err(refusal(
            415,
            "Unsupported Media Type",
            "javax.ws.rs.NotSupportedException",
            "HTTP 415 Unsupported Media Type",
        ));
    }
    serde_json::from_slice(&request.body).map_err(|_| bad_request("Cannot read the body."))
}

pub(crate) fn json(body: &Value) -> Response {
    Response::of(200, "application/json", body.to_string())
        .with_header("cache-control", "no-store")
        .with_header("teamcity-node-id", "MAIN_SERVER")
}

pub(crate) fn html(status: u16, words: &str) -> Response {
    let body = format!("<!DOCTYPE html><html><head><title>{words}</title></head></html>");
    Response::of(status, "text/html;charset=UTF-8", body)
}

/// The form of every refusal of the REST plugin.
pub(crate) fn refusal(status: u16, reason: &str, class: &str, message: &str) -> Response {
    let body = json!({ "errors": [{
        "message": message,
        "additionalMessage": format!("{class}: {message}."),
        "statusText": format!("Responding with error, status code: {status} ({reason})."),
        "stackTrace": null,
    }]});
    Response::of(status, "application/json", body.to_string())
}

pub(crate) fn bad_request(message: &str) -> Response {
    let class = "jetbrains.buildServer.server.rest.errors.BadRequestException";
    refusal(400, "Bad Request", class, message)
}

pub(crate) fn not_found(message: &str) -> Response {
    let class = "jetbrains.buildServer.server.rest.errors.NotFoundException";
    refusal(404, "Not Found", class, message)
}

pub(crate) fn forbidden(message: &str) -> Response {
    let class = "jetbrains.buildServer.serverSide.auth.AccessDeniedException";
    refusal(403, "Forbidden", class, message)
}

pub(crate) fn conflict(message: &str) -> Response {
    let class = "jetbrains.buildServer.server.rest.errors.OperationException";
    refusal(500, "Internal Server Error", class, message)
}
