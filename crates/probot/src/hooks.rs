//! `POST /hooks/<emitter>`: somebody says that something changed, and the emitter is looked at sooner.
//!
//! A hook is a hint and nothing more: its body is thrown away unread, so that a forged one can cost one look at most, and a
//! lost one costs latency only. Hints of one emitter are put together, five looks a second at most ([`crate::poll`] keeps
//! that). The replica that gets a hook need not be the one that looks at the emitter, so every hint goes through the store
//! to all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::Settings;
use futures::StreamExt;
use model::EmitterName;
use ports::{Clock, SecretRef, Store, timeout};
use secrecy::ExposeSecret as _;
use service::{Arguments, Defaults, Service};
use telemetry::{Metrics, chain};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Least time between two hints of one emitter that are passed on, and between the starts of two looks because of hints.
pub(crate) const LEAST_BETWEEN: Duration = Duration::from_millis(200);
/// Hooks that are read at once; one beyond that is told to come again, and the usual look will see what it was about.
const AT_ONCE: usize = 64;
/// A longer body is cut off: GitLab's are a few kilobytes.
const LONGEST_BODY: usize = 1 << 20;
/// Longest time a body may take to come.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// A refused hook is said so often at most: whoever tries secrets must not fill a log.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Where senders put the secret, beside `Authorization`: GitLab's own header, and one that nothing else uses.
const HEADERS: [&str; 2] = ["x-gitlab-token", "x-parmanu-token"];

/// The hooks of one process.
#[derive(Clone)]
pub struct Hooks(Arc<Inner>);

struct Inner {
    /// The emitters that take hooks.
    taken: RwLock<BTreeMap<EmitterName, Taken>>,
    /// Told when others take hooks than before.
    changed: Notify,
    places: Semaphore,
    /// When it was last said that a hook of this emitter was refused.
    said: Mutex<BTreeMap<EmitterName, Duration>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// One emitter that takes hooks.
#[derive(Clone)]
struct Taken {
    secret: SecretRef,
    heard: Arc<Notify>,
}

/// The emitters of a configuration that have a secret for hooks. What was heard and not passed on stays heard.
fn taken(
    settings: &Settings,
    before: &BTreeMap<EmitterName, Taken>,
) -> BTreeMap<EmitterName, Taken> {
    let emitters = settings.emitters.iter();
    let taken = emitters.filter_map(|(name, emitter)| {
        let heard = before.get(name).map(|taken| taken.heard.clone());
        let taken = Taken {
            secret: emitter.hook.clone()?,
            heard: heard.unwrap_or_default(),
        };
        Some((name.clone(), taken))
    });
    taken.collect()
}

impl Hooks {
    /// The hooks of a checked configuration.
    pub fn of(settings: &Settings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Hooks(Arc::new(Inner {
            taken: RwLock::new(taken(settings, &BTreeMap::new())),
            changed: Notify::new(),
            places: Semaphore::new(AT_ONCE),
            said: Mutex::default(),
            metrics,
            clock,
        }))
    }

    /// Takes the hooks of another configuration from now on.
    pub fn configure(&self, settings: &Settings) {
        let new = taken(settings, &self.0.taken());
        *self.0.taken.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.0.changed.notify_one();
    }

    /// Starts a service that takes the hooks of its configuration.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub async fn start(
        arguments: &Arguments,
        defaults: Defaults,
    ) -> anyhow::Result<(Service, Hooks)> {
        let mut hooks = None;
        let service = Service::start_with(arguments, defaults, |base| {
            let (metrics, clock) = (base.metrics.clone(), base.clock.clone());
            let hooks = hooks.insert(Hooks::of(base.settings, metrics, clock));
            hooks.routes()
        })
        .await?;
        let hooks = hooks.context("the routes of a service are made once")?;
        Ok((service, hooks))
    }

    /// The route, to be merged with the service's own.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/hooks/{emitter}", post(take))
            .with_state(self.clone())
    }

    /// Passes hints on to all replicas until `stop`.
    pub(crate) async fn pass_on(self, store: Arc<dyn Store>, stop: CancellationToken) {
        loop {
            let taken = self.0.taken().clone();
            let forwards = taken
                .into_iter()
                .map(|(name, taken)| self.forward(&store, name, taken.heard));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.changed.notified() => {}
                _ = futures::future::join_all(forwards), if !self.0.taken().is_empty() => {}
            }
        }
    }

    /// Passes the hints of one emitter on.
    async fn forward(&self, store: &Arc<dyn Store>, name: EmitterName, heard: Arc<Notify>) {
        loop {
            heard.notified().await;
            if let Err(error) = store.hint(&name).await {
                // the store being away is said by the loop that writes to it
                debug!(emitter = %name, error = %chain(&error), "a hint is lost");
            }
            self.0.clock.sleep(LEAST_BETWEEN).await;
        }
    }
}

impl Inner {
    fn taken(&self) -> RwLockReadGuard<'_, BTreeMap<EmitterName, Taken>> {
        // the one change is an assignment, so a panic of another thread left nothing half done
        self.taken.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to say once more that a hook of this emitter was refused; the metric counts them all.
    fn may_say(&self, emitter: &EmitterName) -> bool {
        let now = self.clock.boottime();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.get(emitter);
        let may = last.is_none_or(|last| now.saturating_sub(*last) >= SAID_EVERY);
        if may {
            said.insert(emitter.clone(), now);
        }
        may
    }
}

async fn take(
    State(Hooks(hooks)): State<Hooks>,
    Path(emitter): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let known = emitter.parse::<EmitterName>().ok().and_then(|name| {
        let taken = hooks.taken().get(&name)?.clone();
        Some((name, taken))
    });
    let label = known.as_ref().map_or("unknown", |(name, _)| name.as_str());
    let (outcome, status) = match hooks.places.try_acquire() {
        Err(_) => ("busy", StatusCode::SERVICE_UNAVAILABLE),
        // whoever has no secret learns nothing of which emitters there are
        Ok(_) if !opens(known.as_ref().map(|(_, taken)| &taken.secret), &headers) => {
            ("refused", StatusCode::UNAUTHORIZED)
        }
        Ok(_place) => match drain(body, &*hooks.clock).await {
            true => ("accepted", StatusCode::ACCEPTED),
            false => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
        },
    };
    hooks.metrics.probot.hooked(label, outcome);
    match (outcome, &known) {
        ("accepted", Some((_, taken))) => taken.heard.notify_one(),
        ("refused", Some((name, _))) if hooks.may_say(name) => {
            warn!(emitter = %name, "a hook without the right secret was refused: compare `hook: {{ secret }}` with the sender's");
        }
        ("refused", None) => {
            debug!("a hook for an emitter without `hook: {{ secret }}` was refused");
        }
        _ => {}
    }
    status
}

/// Whether the headers hold the secret. Takes as long for a wrong one as for the right one, and for an emitter that does
/// not exist.
fn opens(secret: Option<&SecretRef>, headers: &HeaderMap) -> bool {
    let secret = secret.and_then(|secret| match secret.read() {
        Ok(secret) => Some(secret),
        Err(error) => {
            warn!(error = %chain(&error), "the secret of a hook cannot be read");
            None
        }
    });
    let expected = secret.as_ref().map(|secret| secret.expose_secret());
    let right = expected.unwrap_or_default().as_bytes();
    let given = given(headers).unwrap_or_default();
    let same = service::is_secret(&given, right);
    same && expected.is_some_and(|expected| !expected.is_empty())
}

fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    let own = HEADERS.iter().find_map(|name| headers.get(*name));
    if let Some(value) = own {
        return Some(value.as_bytes().to_vec());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let after = |scheme: &str| {
        let (start, rest) = value.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(rest)
    };
    if let Some(token) = after("Bearer ") {
        return Some(token.to_vec());
    }
    // TeamCity knows no other way; the user's name says nothing
    let login = STANDARD.decode(after("Basic ")?).ok()?;
    let colon = login.iter().position(|byte| *byte == b':')?;
    Some(login[colon + 1..].to_vec())
}

/// Reads a body to its end and keeps nothing of it: a sender whose connection breaks in the middle takes the hook for
/// failed. `false` when it is too long or too slow.
async fn drain(body: Body, clock: &dyn Clock) -> bool {
    let mut chunks = body.into_data_stream();
    let read = async {
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            // one that breaks off has come all the same
            let Ok(chunk) = chunk else { return true };
            length += chunk.len();
            if length > LONGEST_BODY {
                return false;
            }
        }
        true
    };
    timeout(clock, BODY_LIMIT, read).await.unwrap_or(false)
}
