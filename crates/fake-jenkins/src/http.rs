//! Requests and answers as plain data, so that the whole server can be driven without a socket.
//!
//! Not a general HTTP library: one value per header, bodies held in memory.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One request as the server sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST`; upper case.
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
    /// A request without a user; `target` may carry a query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Self::default()
        }
    }

    /// The same request with the API token of a user.
    #[must_use]
    pub fn by(mut self, user: &str, token: &str) -> Self {
        let words = STANDARD.encode(format!("{user}:{token}"));
        self.headers
            .push(("authorization".to_owned(), format!("Basic {words}")));
        self
    }

    /// The same request with a form as its body.
    #[must_use]
    pub fn with_form(mut self, fields: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.body = form.into_bytes();
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// User and token, if the request carries any.
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let words = self.header("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(words).ok()?).ok()?;
        let (user, token) = text.split_once(':')?;
        Some((user.to_owned(), token.to_owned()))
    }

    /// One parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        of_form(self.query.as_bytes(), name)
    }

    /// One field of the form in the body.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        of_form(&self.body, name)
    }
}

fn of_form(text: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(text)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
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
        Self::of(200, "application/json;charset=utf-8", body.to_string())
    }

    /// Jetty's and Jenkins' refusals are pages, whatever was asked for.
    pub(crate) fn html(status: u16, words: &str) -> Self {
        let body = format!("<html><head><title>Error {status} {words}</title></head></html>");
        Self::of(status, "text/html;charset=utf-8", body)
    }

    /// What a form is answered with when it was carried out.
    pub(crate) fn found(location: &str) -> Self {
        Self {
            status: 302,
            ..Self::default()
        }
        .with_header("location", location)
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}
