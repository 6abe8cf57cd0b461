//! Requests and answers as plain data, so that the whole server can be driven without a socket.
//!
//! Not a general HTTP library: one value per header, bodies held in memory.

use std::time::Duration;

use serde_json::{Value, json};

/// One request as the server sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `PUT`, `POST`, `DELETE`; upper case.
    pub method: String,
    /// The path as sent, still percent-encoded, without the query.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: String,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request for JSON without a token; `target` may carry a query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: vec![("accept".to_owned(), "application/json".to_owned())],
            body: Vec::new(),
        }
    }

    /// The same request with an access token.
    #[must_use]
    pub fn by(mut self, token: &str) -> Self {
        let words = format!("Bearer {token}");
        self.headers.push(("authorization".to_owned(), words));
        self
    }

    /// The same request with a JSON body.
    #[must_use]
    pub fn with_json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        let kind = "application/json".to_owned();
        self.headers.push(("content-type".to_owned(), kind));
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// One parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) fn json(&self) -> Result<Value, Response> {
        let kind = self.header("content-type").unwrap_or("");
        if !kind.starts_with("application/json") {
            return Err(Response::refusal(
                415,
                "Unsupported Media Type",
                "javax.ws.rs.NotSupportedException",
                "HTTP 415 Unsupported Media Type",
            ));
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| Response::bad_request("Cannot read the body."))
    }
}

/// How the bytes of an answer travel; anything but `Whole` is a fault a test asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// As it should be.
    #[default]
    Whole,
    /// `Content-Length` promises the whole body, half of it is sent, then the connection closes.
    Cut,
    /// The request was carried out, and the connection closes before a byte of the body is sent.
    Lost,
    /// Whole, but only after this long.
    Late(Duration),
}

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Vec<u8>,
    /// How the answer travels.
    pub transport: Transport,
}

impl Response {
    /// The body as JSON, or `null` when it is none.
    pub fn json_body(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn of(status: u16, kind: &str, body: String) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: body.into_bytes(),
            ..Self::default()
        }
    }

    pub(crate) fn json(body: &Value) -> Self {
        Self::of(200, "application/json", body.to_string())
            .with_header("cache-control", "no-store")
            .with_header("teamcity-node-id", "MAIN_SERVER")
    }

    pub(crate) fn html(status: u16, words: &str) -> Self {
        let body = format!("<!DOCTYPE html><html><head><title>{words}</title></head></html>");
        Self::of(status, "text/html;charset=UTF-8", body)
    }

    /// The form of every refusal of the REST plugin.
    pub(crate) fn refusal(status: u16, reason: &str, class: &str, message: &str) -> Self {
        let body = json!({ "errors": [{
            "message": message,
            "additionalMessage": format!("{class}: {message}."),
            "statusText": format!("Responding with error, status code: {status} ({reason})."),
            "stackTrace": null,
        }]});
        Self::of(status, "application/json", body.to_string())
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        let class = "jetbrains.buildServer.server.rest.errors.BadRequestException";
        Self::refusal(400, "Bad Request", class, message)
    }

    pub(crate) fn not_found(message: &str) -> Self {
        let class = "jetbrains.buildServer.server.rest.errors.NotFoundException";
        Self::refusal(404, "Not Found", class, message)
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        let class = "jetbrains.buildServer.serverSide.auth.AccessDeniedException";
        Self::refusal(403, "Forbidden", class, message)
    }

    pub(crate) fn conflict(message: &str) -> Self {
        let class = "jetbrains.buildServer.server.rest.errors.OperationException";
        Self::refusal(500, "Internal Server Error", class, message)
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
