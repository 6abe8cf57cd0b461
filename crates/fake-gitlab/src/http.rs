//! Requests and answers as plain data, so that the whole server can be driven without a socket.
//!
//! Not a general HTTP library: one value per header, bodies held in memory.

use std::time::Duration;

use serde_json::{Value, json};

/// One request as the server sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `DELETE`; upper case.
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
    /// A request without a token; `target` may carry a query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Self::default()
        }
    }

    /// The same request with a personal access token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.headers
            .push(("private-token".to_owned(), token.to_owned()));
        self
    }

    /// The same request with a JSON body.
    #[must_use]
    pub fn with_json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.headers
            .push(("content-type".to_owned(), "application/json".to_owned()));
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All query parameters, decoded, in the order sent.
    pub(crate) fn params(&self) -> Params {
        Params(
            url::form_urlencoded::parse(self.query.as_bytes())
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The body as a JSON object; form bodies are read as strings, since runners may send either.
    pub(crate) fn json(&self) -> Result<Value, Response> {
        let form = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if form {
            let pairs = url::form_urlencoded::parse(&self.body);
            return Ok(pairs
                .map(|(key, value)| (key.into_owned(), json!(value)))
                .collect());
        }
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) if value.is_object() => Ok(value),
            _ => Err(Response::error(
                400,
                "The request body is not a JSON object",
            )),
        }
    }
}

/// Decoded query parameters.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Values given as `name[]=a&name[]=b`, as `name=a`, or as `name=a,b`.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let bracketed = format!("{name}[]");
        let chosen = self
            .0
            .iter()
            .filter(|(key, _)| *key == bracketed || key == name);
        let parts = chosen.flat_map(|(_, value)| value.split(','));
        parts
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The parameters with one of them replaced or added, encoded again for a `Link` header.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let kept = self.0.iter().filter(|(key, _)| key != name);
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .append_pair(name, value)
            .finish()
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

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            ..Self::default()
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// `{"message": "403 Forbidden"}`, the form of GitLab's own refusals.
    pub(crate) fn refusal(status: u16, words: &str) -> Self {
        Self::json(status, &json!({ "message": format!("{status} {words}") }))
    }

    /// `{"error": …}`, the form of refused parameters.
    pub(crate) fn error(status: u16, words: &str) -> Self {
        Self::json(status, &json!({ "error": words }))
    }

    pub(crate) fn html(status: u16, words: &str) -> Self {
        let body =
            format!("<!DOCTYPE html><html><body><h1>{status}</h1><p>{words}</p></body></html>");
        Self {
            status,
            headers: vec![(
                "content-type".to_owned(),
                "text/html; charset=utf-8".to_owned(),
            )],
            body: body.into_bytes(),
            ..Self::default()
        }
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
