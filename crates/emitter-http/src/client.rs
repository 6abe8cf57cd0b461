//! The wire: the operator's headers and secrets on the exchange that all emitters share.

use std::sync::Arc;

use ports::{Clock, EmitterErrorKind, PluginError};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use web::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use web::{Answer, Failure, Meter, Request, Settings};

use crate::config::{HttpConfig, KIND, LoginConfig, RequestConfig, TokenConfig, base};

/// Bytes of all answers of one probe, unpacked. In memory a value takes some times its text, and all are held until the
/// look is made.
const MOST_BYTES: u64 = 64 << 20;

/// Speaks to one server with one secret.
pub(crate) struct Client {
    web: web::Client,
    secret: Option<Secret>,
    headers: HeaderMap,
}

/// How the secret is sent.
enum Secret {
    Token(TokenConfig),
    Login(LoginConfig),
}

impl Client {
    /// The client of one request, or of all that have no server and secret of their own.
    pub(crate) fn new(
        config: &HttpConfig,
        request: Option<&RequestConfig>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PluginError> {
        let unusable = |message: String| PluginError {
            kind: KIND,
            message,
            source: None,
        };
        let most = config.most_requests();
        let settings = Settings {
            exchange_timeout: config.request_timeout(),
            ca_file: config.ca_file.clone(),
            toll: Some(Box::new(move |endpoint, sent| within(most, endpoint, sent))),
            ..Settings::of(KIND)
        };
        let elsewhere = request.and_then(|request| request.url.as_deref());
        let base = base(elsewhere.unwrap_or(&config.url)).map_err(unusable)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let pair = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or_else(|| unusable(format!("header {name} is none")))?;
            headers.insert(name, value);
        }
        let own = request.and_then(|request| request.token.clone());
        let secret = match (own, elsewhere) {
            (Some(token), _) => Some(Secret::Token(token)),
            (None, Some(_)) => None,
            (None, None) => {
                let login = config.login.clone().map(Secret::Login);
                config.token.clone().map(Secret::Token).or(login)
            }
        };
        Ok(Self {
            web: web::Client::new(base, clock, settings)?,
            secret,
            headers,
        })
    }

    /// Where all paths stand below.
    pub(crate) fn base(&self) -> &Url {
        self.web.base()
    }

    /// What `reference` in an answer of `from` means, if it is at this server.
    pub(crate) fn here(&self, from: &Url, reference: &str) -> Option<Url> {
        self.web.here(from, reference)
    }

    /// The secret as it is now, which nothing may repeat.
    pub(crate) fn secret(&self) -> Result<Option<SecretString>, Failure> {
        let secret = self.secret.as_ref().map(|secret| match secret {
            Secret::Token(token) => &token.secret,
            Secret::Login(login) => &login.password,
        });
        let read = secret.map(|secret| secret.read()).transpose();
        read.map_err(|error| {
            Failure::new(EmitterErrorKind::Config, "the secret cannot be read").because(error)
        })
    }

    pub(crate) async fn get(&self, url: Url, meter: &Meter) -> Result<Answer, Failure> {
        let mut request = Request::get(url).following();
        for (name, value) in &self.headers {
            request = request.header(name.clone(), value.clone());
        }
        if let Some(secret) = self.secret()? {
            request = self.signed(request, secret)?;
        }
        if meter.cost().bytes > MOST_BYTES {
            let message = format!(
                "{} is not sent: the answers of this probe have more than {MOST_BYTES} bytes; ask for fewer fields",
                request.endpoint()
            );
            return Err(Failure::new(EmitterErrorKind::TooLarge, message));
        }
        self.web.send(&request, meter).await
    }

    fn signed(&self, request: Request, secret: SecretString) -> Result<Request, Failure> {
        let token = match &self.secret {
            None => return Ok(request),
            Some(Secret::Login(login)) => return Ok(request.login(&login.user, secret)),
            Some(Secret::Token(token)) => token,
        };
        let name = match &token.header {
            None => AUTHORIZATION,
            Some(name) => HeaderName::try_from(name).map_err(|_| {
                Failure::new(EmitterErrorKind::Config, "`token.header` is no header")
            })?,
        };
        let prefix = token.prefix.as_deref().unwrap_or("Bearer ");
        let value = format!("{prefix}{}", secret.expose_secret());
        request.secret(name, &value.into())
    }
}

fn within(most: u32, endpoint: &str, sent: u32) -> Result<(), Failure> {
    if sent < most {
        return Ok(());
    }
    let message = format!(
        "{endpoint} is not sent: the budget of {most} requests of one probe is used up; raise `most_requests`, or ask \
         for less"
    );
    let kind = EmitterErrorKind::RateLimited { retry_after: None };
    Err(Failure::new(kind, message))
}
