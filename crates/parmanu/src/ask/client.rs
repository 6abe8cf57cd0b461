//! One exchange with a scaler's API, and what to do when there is none.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ports::EmitterErrorKind;
use scaler::api::shapes::Trouble;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Value;
use telemetry::SystemClock;
use url::Url;
use web::{Answer, Failure, Meter, Method, Request, Settings, header};

use super::{Asked, Author, NOT_FOUND};

/// A scaler answers from memory; whoever has waited for this long waits in vain.
const LIMIT: Duration = Duration::from_secs(10);

/// Speaks with one scaler.
pub(super) struct Client {
    http: web::Client,
    token: Option<SecretString>,
}

/// What came of a question.
pub(super) enum Found<T> {
    /// The answer.
    Answer(T),
    /// There is no such thing, in the scaler's words.
    Nothing(String),
}

impl<T> Found<T> {
    /// The answer; or what is not there is said, and this is the exit code.
    pub(super) fn or_say(self) -> Result<T, ExitCode> {
        match self {
            Found::Answer(answer) => Ok(answer),
            Found::Nothing(why) => {
                println!("{why}");
                Err(ExitCode::from(NOT_FOUND))
            }
        }
    }
}

impl Client {
    pub(super) fn new(asked: &Asked) -> anyhow::Result<Self> {
        let settings = Settings {
            connect_timeout: LIMIT / 2,
            exchange_timeout: LIMIT,
            keeps_waits: false,
            ..Settings::of("scaler")
        };
        let clock = Arc::new(SystemClock);
        Ok(Client {
            http: web::Client::new(asked.scaler.clone(), clock, settings)?,
            token: None,
        })
    }

    pub(super) fn with(asked: &Asked, author: &Author) -> anyhow::Result<Self> {
        let token = Some(author.token()?);
        let client = Client::new(asked)?;
        Ok(Client { token, ..client })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<Found<T>> {
        let request = Request::get(self.place(path)?);
        self.send(request).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> anyhow::Result<Found<T>> {
        let request = Request::post(self.place(path)?).json(body);
        self.send(request).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(
        &self,
        path: &[&str],
        who: &str,
    ) -> anyhow::Result<Found<T>> {
        let mut place = self.place(path)?;
        place.query_pairs_mut().append_pair("who", who);
        self.send(Request::new(Method::DELETE, place)).await
    }

    /// Below the address that was given; each part is written so that it stays one.
    fn place(&self, path: &[&str]) -> anyhow::Result<Url> {
        let mut place = self.http.base().clone();
        let parts = place.path_segments_mut();
        let mut parts =
            parts.map_err(|()| anyhow!("{} is no address of a server", self.http.base()))?;
        parts.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(parts);
        Ok(place)
    }

    async fn send<T: DeserializeOwned>(&self, mut request: Request) -> anyhow::Result<Found<T>> {
        if let Some(token) = &self.token {
            use secrecy::ExposeSecret as _;
            let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
            let with = request.secret(header::AUTHORIZATION, &bearer);
            request = with.map_err(|failure| anyhow!(failure.message))?;
        }
        let answer = self.http.send(&request, &Meter::default()).await;
        let answer = answer.map_err(|failure| self.away(failure))?;
        self.read(&request, &answer)
    }

    fn read<T: DeserializeOwned>(
        &self,
        request: &Request,
        answer: &Answer,
    ) -> anyhow::Result<Found<T>> {
        let base = self.http.base();
        let said = || -> Option<Trouble> { serde_json::from_value(answer.any_json().ok()?).ok() };
        if answer.is_good() {
            let value = answer.json().map_err(|failure| anyhow!(failure.message))?;
            let read = serde_json::from_value(value);
            let read = read.with_context(|| {
                format!("{base} answered {} with something else than this parmanu knows: is it a scaler, and of one release with it?", request.endpoint())
            });
            return read.map(Found::Answer);
        }
        match (answer.status, said()) {
            (404, Some(trouble)) => Ok(Found::Nothing(trouble.error)),
            (404, None) => Err(anyhow!(
                "{base} has no {}: it is no scaler, or an older one",
                request.endpoint()
            )),
            (_, Some(trouble)) => Err(anyhow!("scaler at {base} says: {}", trouble.error)),
            (status, None) => Err(anyhow!(
                "{base} answered {} with {status}: is a proxy in between?",
                request.endpoint()
            )),
        }
    }

    /// Nobody answers: what was tried, and what to do.
    fn away(&self, failure: Failure) -> anyhow::Error {
        let base = self.http.base();
        let advice = match failure.kind {
            EmitterErrorKind::Unreachable | EmitterErrorKind::TimedOut => {
                "\nIs it running, and is this its --listen (--scaler, PARMANU_SCALER)? It listens on loopback unless told otherwise.\nMeanwhile these look by themselves: `parmanu doctor` (every machine and executor), `parmanu plan` (what a tick would do), `parmanu probe EMITTER` (every job)."
            }
            _ => "",
        };
        let below = failure
            .source
            .map(|source| telemetry::chain(&*source).to_string());
        let below = below.map(|below| format!(": {below}")).unwrap_or_default();
        anyhow!(
            "no scaler answers at {base}: {}{below}{advice}",
            failure.message
        )
    }
}
