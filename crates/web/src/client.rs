//! The exchange: one request, one bounded answer, one deadline.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ports::{BoxError, Clock, EmitterErrorKind, PluginError};
use reqwest::Certificate;
use reqwest::header::{self, HeaderMap, HeaderValue};
use url::Url;

use crate::failure::{Advice, Failure, broken};
use crate::{Answer, Meter, Request, wait};

/// Longest time to a connection. A host in reach answers in milliseconds; a longer wait would eat the time of the whole
/// probe.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for one exchange, redirects included. GitLab itself gives up after 30 s (GraphQL) or 60 s (REST); an
/// answer that late is of no use to a scaler.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, unpacked. A page of 100 jobs takes about 0.3 MiB; this is far above, and small enough for a handful at
/// a time in a small container.
const LARGEST_BODY: usize = 16 << 20;
/// Redirects of a GET on the same host: a moved project takes one.
const MOST_REDIRECTS: usize = 3;
/// Largest file of certificates: the bundle of a whole operating system has 0.3 MiB.
const LARGEST_CA_FILE: u64 = 4 << 20;

/// Asked before each request that leaves, redirects included, with what it is and how many this look has sent already: an
/// emitter's own budget may refuse it.
pub type Toll = Box<dyn Fn(&str, u32) -> Result<(), Failure> + Send + Sync>;

/// How one client behaves. Start from [`Settings::of`].
pub struct Settings {
    /// The `kind:` of the plugin, for its errors.
    pub kind: &'static str,
    /// Longest time to a connection; 10 s unless said.
    pub connect_timeout: Duration,
    /// Longest time for one exchange, from the first name lookup to the last byte, redirects included; 30 s unless said.
    pub exchange_timeout: Duration,
    /// Largest body, unpacked; 16 MiB unless said.
    pub largest_body: usize,
    /// Whether connections are kept for the next request, as they are unless said.
    pub keeps_connections: bool,
    /// Whether a wait that the server asks for is kept: until it is over nothing more is sent, and a 503 that asks for
    /// one is a limit. It is unless said.
    pub keeps_waits: bool,
    /// Certificates (PEM) to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The emitter's words on a status.
    pub advice: Advice,
    /// The emitter's budget.
    pub toll: Option<Toll>,
}

impl Settings {
    /// What serves most emitters.
    pub fn of(kind: &'static str) -> Self {
        Self {
            kind,
            connect_timeout: CONNECT_TIMEOUT,
            exchange_timeout: EXCHANGE_TIMEOUT,
            largest_body: LARGEST_BODY,
            keeps_connections: true,
            keeps_waits: true,
            ca_file: None,
            advice: |_| None,
            toll: None,
        }
    }
}

/// Speaks to one server.
pub struct Client {
    base: Url,
    http: reqwest::Client,
    #[cfg(feature = "memory")]
    memory: Option<Arc<dyn crate::memory::Server>>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Not before this moment of the clock's boot time: the server asked us to wait.
    closed_until: Mutex<Option<Duration>>,
}

impl Client {
    /// A client for the server at `base`. Makes no request yet.
    ///
    /// # Errors
    ///
    /// Fails when the file of certificates cannot be used.
    pub fn new(base: Url, clock: Arc<dyn Clock>, settings: Settings) -> Result<Self, PluginError> {
        let kind = settings.kind;
        #[cfg(feature = "memory")]
        let memory = crate::memory::at(&base);
        #[cfg(feature = "memory")]
        let known = memory.as_ref().map(|_| crate::memory::unused_client());
        #[cfg(not(feature = "memory"))]
        let known = None;
        let http = known.map_or_else(|| build(&settings), Ok);
        let http = http.map_err(|(message, source)| PluginError {
            kind,
            message,
            source: Some(source),
        })?;
        Ok(Self {
            #[cfg(feature = "memory")]
            memory,
            base,
            http,
            clock,
            settings,
            closed_until: Mutex::new(None),
        })
    }

    /// Where the server is.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The address that `reference`, found in an answer of `from`, means, if it is at this very server: nothing that
    /// carries our token goes anywhere else.
    pub fn here(&self, from: &Url, reference: &str) -> Option<Url> {
        let to = from.join(reference).ok()?;
        (to.origin() == self.base.origin()).then_some(to)
    }

    /// Sends one request and reads its answer, bounded in bytes and, as a whole, in time.
    ///
    /// # Errors
    ///
    /// Fails when there is no whole answer. An answer with any status is an answer.
    pub async fn send(&self, request: &Request, meter: &Meter) -> Result<Answer, Failure> {
        let limit = self.settings.exchange_timeout;
        let sent = tokio::time::timeout(limit, self.follow(request, meter)).await;
        sent.unwrap_or_else(|late| {
            let message = format!("{}: no answer in time", request.endpoint());
            Err(Failure::new(EmitterErrorKind::TimedOut, message).because(late))
        })
    }

    async fn follow(&self, request: &Request, meter: &Meter) -> Result<Answer, Failure> {
        let mut url = request.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.exchange(request, &url, meter).await?;
            let moved = request.follows() && (300..400).contains(&answer.status);
            let location = answer.header(header::LOCATION.as_str());
            let Some(location) = location.filter(|_| moved) else {
                return Ok(answer);
            };
            url = self.here(&url, location).ok_or_else(|| {
                Failure::bad_answer(format!(
                    "{} is redirected to another host, where the token must not go: correct `url`",
                    answer.endpoint
                ))
            })?;
        }
        let message = format!("{} is redirected in a circle", request.endpoint());
        Err(Failure::bad_answer(message))
    }

    async fn exchange(
        &self,
        request: &Request,
        url: &Url,
        meter: &Meter,
    ) -> Result<Answer, Failure> {
        let endpoint = request.endpoint_at(url);
        self.may_send(&endpoint, meter)?;
        meter.request();
        let began = self.clock.boottime();
        let response = self.start(request, url, &endpoint).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let retry_after = self.obey(status, &headers);
        let body = self.read(response, &endpoint, request, meter).await?;
        tracing::debug!(
            kind = self.settings.kind,
            endpoint,
            status,
            bytes = body.len(),
            elapsed_ms = self.clock.boottime().saturating_sub(began).as_millis(),
            "server answered"
        );
        Ok(Answer {
            endpoint,
            status,
            retry_after,
            url: url.clone(),
            headers,
            body,
            advice: self.settings.advice,
        })
    }

    async fn start(
        &self,
        request: &Request,
        url: &Url,
        endpoint: &str,
    ) -> Result<reqwest::Response, Failure> {
        let mut sent = self
            .http
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some((user, password)) = &request.login {
            use secrecy::ExposeSecret as _;
            sent = sent.basic_auth(user, Some(password.expose_secret()));
        }
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        let failed = |error| broken(endpoint, request.writes(), error);
        let sent = sent.build().map_err(failed)?;
        #[cfg(feature = "memory")]
        if let Some(server) = &self.memory {
            return crate::memory::exchange(&**server, sent, endpoint, request.writes()).await;
        }
        self.http.execute(sent).await.map_err(failed)
    }

    /// Reads the body chunk by chunk. Chunks are unpacked before they are counted, so that an answer which grows a
    /// thousandfold stops at the same bound as one which is long.
    async fn read(
        &self,
        mut response: reqwest::Response,
        endpoint: &str,
        request: &Request,
        meter: &Meter,
    ) -> Result<Vec<u8>, Failure> {
        let most = self.settings.largest_body;
        let mut body = Vec::new();
        loop {
            let chunk = response.chunk().await;
            let chunk = chunk.map_err(|error| broken(endpoint, request.writes(), error))?;
            let Some(chunk) = chunk else { return Ok(body) };
            meter.bytes(chunk.len());
            if body.len() + chunk.len() > most {
                let message = format!("{endpoint} answered more than {most} bytes");
                return Err(Failure::new(EmitterErrorKind::TooLarge, message));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn may_send(&self, endpoint: &str, meter: &Meter) -> Result<(), Failure> {
        if let Some(wait) = self.closed_for() {
            let kind = EmitterErrorKind::RateLimited {
                retry_after: Some(wait),
            };
            let message = format!("{endpoint} is not sent: the server asked to wait");
            return Err(Failure::new(kind, message));
        }
        match &self.settings.toll {
            Some(toll) => toll(endpoint, meter.cost().requests),
            None => Ok(()),
        }
    }

    /// How long the server still wants us to wait.
    fn closed_for(&self) -> Option<Duration> {
        let until = *self
            .closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until?
            .checked_sub(self.clock.boottime())
            .filter(|rest| !rest.is_zero())
    }

    /// Keeps the wait that an answer asks for; gives it back when the answer is a refusal.
    fn obey(&self, status: u16, headers: &HeaderMap) -> Option<Duration> {
        let wait = wait::asked(status, headers, self.clock.now().as_second())?;
        if self.settings.keeps_waits {
            let until = self.clock.boottime().saturating_add(wait);
            *self
                .closed_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
        let refused = status == 429 || (status == 503 && self.settings.keeps_waits);
        refused.then_some(wait)
    }
}

/// What every request says, unless it says otherwise itself.
pub(crate) fn default_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    // some servers write their reasons in the language of the request
    headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    headers
}

fn build(settings: &Settings) -> Result<reqwest::Client, (String, BoxError)> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("parmanu/", env!("CARGO_PKG_VERSION")))
        .default_headers(default_headers())
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none());
    if !settings.keeps_connections {
        builder = builder.pool_max_idle_per_host(0);
    }
    if let Some(path) = &settings.ca_file {
        let trusted = certificates(path).map_err(|source| {
            let what = format!("the certificates in {} cannot be used", path.display());
            (what, source)
        })?;
        builder = builder.tls_certs_merge(trusted);
    }
    builder
        .build()
        .map_err(|error| ("the HTTP client could not be made".to_owned(), error.into()))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, BoxError> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    std::fs::File::open(path)?
        .take(LARGEST_CA_FILE)
        .read_to_end(&mut pem)?;
    let found = Certificate::from_pem_bundle(&pem)?;
    if found.is_empty() {
        return Err("no certificate in PEM form is in it".into());
    }
    Ok(found)
}
