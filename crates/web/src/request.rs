//! What is sent.

use ports::EmitterErrorKind;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use crate::Failure;

/// One request, not sent yet. Its `Debug` prints no secret: headers that carry one are marked as sensitive.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) login: Option<(String, SecretString)>,
    pub(crate) body: Option<Vec<u8>>,
    name: Option<String>,
    asks: bool,
    follows: bool,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            asks: method == Method::GET,
            method,
            url,
            headers: HeaderMap::new(),
            login: None,
            body: None,
            name: None,
            follows: false,
        }
    }

    /// A GET.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// What messages call it, instead of method and path. Must not contain a secret.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Changes nothing at the server although it is no GET, as a query of GraphQL: when its connection breaks, nothing
    /// may have happened.
    pub fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// A GET that follows some redirects, as long as they stay at this server. A write never does.
    pub fn following(mut self) -> Self {
        self.follows = self.method == Method::GET;
        self
    }

    /// With a header that may be seen by anyone.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a header that is never printed.
    ///
    /// # Errors
    ///
    /// Fails when no header can carry the secret.
    pub fn secret(mut self, name: HeaderName, secret: &SecretString) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(secret.expose_secret());
        let mut value = value.map_err(|_| {
            Failure::new(
                EmitterErrorKind::Config,
                "the token has characters no header can carry",
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With a user and password (HTTP basic authentication).
    pub fn login(mut self, user: &str, password: SecretString) -> Self {
        self.login = Some((user.to_owned(), password));
        self
    }

    /// With a body of JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a body as HTML forms send it.
    pub fn form(self, pairs: &[(&str, String)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        self.body("application/x-www-form-urlencoded", body)
    }

    fn body(mut self, content_type: &'static str, body: String) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(body.into_bytes());
        self
    }

    /// `GET /api/v4/runners/7`, for messages: without the query, which may say more than a log should.
    pub fn endpoint(&self) -> String {
        self.endpoint_at(&self.url)
    }

    pub(crate) fn endpoint_at(&self, url: &Url) -> String {
        let plain = || format!("{} {}", self.method, url.path());
        self.name.clone().unwrap_or_else(plain)
    }

    /// Whether it may have changed something when its answer is lost.
    pub(crate) fn writes(&self) -> bool {
        !self.asks
    }

    pub(crate) fn follows(&self) -> bool {
        self.follows
    }
}
