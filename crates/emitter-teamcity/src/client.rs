//! The wire: TeamCity's manners (paths, token, locators) on the exchange that all emitters share.
//!
//! Knows nothing of builds or agents. It follows no redirect: where JSON was asked for, one is a login page.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ports::secret::SecretRef;
use ports::{Clock, EmitterErrorKind, PluginError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;
use web::{Answer, Method, Request, Settings, header};

pub(crate) use web::Meter;

use crate::config::KIND;
use crate::error::{Failure, advice};

/// Speaks to one server with one access token.
pub(crate) struct Client {
    web: web::Client,
    token: SecretRef,
}

impl Client {
    pub(crate) fn new(
        base: Url,
        token: SecretRef,
        ca_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PluginError> {
        let settings = Settings {
            advice,
            ca_file,
            ..Settings::of(KIND)
        };
        Ok(Self {
            web: web::Client::new(base, clock, settings)?,
            token,
        })
    }

    /// A GET below `/app/rest`, each segment of which is encoded.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let mut url = self.address(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Request::get(url), meter).await
    }

    /// A write with a JSON body.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let request = Request::new(method, self.address(path));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.send(request, meter).await
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.web.base().clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["app", "rest"]).extend(path);
        }
        url
    }

    async fn send(&self, request: Request, meter: &Meter) -> Result<Answer, Failure> {
        let token = self.token()?;
        let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
        let request = request.secret(header::AUTHORIZATION, &bearer)?;
        self.web.send(&request, meter).await
    }

    pub(crate) fn token(&self) -> Result<SecretString, Failure> {
        self.token.read().map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the token cannot be read").because(error)
        })
    }

    /// What a refusal means, with the server's own sentence in it.
    pub(crate) fn refusal(&self, answer: &Answer) -> Failure {
        let mut failure = answer.failure();
        if let Some(said) = self.said(answer) {
            failure.message.push_str(&format!(" (it says: {said})"));
        }
        failure
    }

    /// The server's own sentence in a refusal, as one line.
    pub(crate) fn said(&self, answer: &Answer) -> Option<String> {
        let body = answer.any_json().ok()?;
        let message = body["errors"][0]["message"].as_str()?;
        let token = self.token().ok()?;
        let said = web::quote(message, token.expose_secret());
        Some(said).filter(|said| !said.trim().is_empty())
    }
}

/// A value inside a locator. Letters that mean something there are sent in the server's own encoding; it knows no other
/// escape.
pub(crate) fn value(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("($base64:{})", URL_SAFE_NO_PAD.encode(text))
}
