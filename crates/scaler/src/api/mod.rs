//! `/api/v1`: what this replica knows, and the few verbs with which an operator overrules the rules for a while.
//!
//! Looking needs no token and never waits: every answer is made from what the last tick (of the active replica) or the last
//! look (of a standby) left, and says which replica it is, whether that acts, and since when it has not looked. Verbs need
//! the token of `api: { token: … }`; they write an override into the store and nothing else, so any replica takes them, and
//! the one that acts reads them with its next tick. There is no TLS here: what stands before the service has it.
//!
//! - `shapes.rs` is what scripts rely on, `show.rs` makes it, `document.rs` describes it as OpenAPI;
//! - `look.rs` has the routes that look, `order.rs` those that change something.

mod document;
mod former;
mod job;
mod look;
mod order;
pub mod shapes;
mod show;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use config::Settings;
use jiff::Timestamp;
use model::{EmitterName, Epoch, HolderId, InstanceName, PoolName};
use ports::{Clock, SecretRef, Store};
use service::{Arguments, Defaults, Service};
use tokio::sync::Notify;

use crate::consoles::Told;
use crate::looked::Looked;
pub use document::document;

/// Plans that changed, kept in this process: of a fleet with ten pools that are busy, some hours. The store keeps more.
const MOST_DECISIONS: usize = 1000;

/// A refused verb is said so often at most.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The API of one process. Clones are the same one.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    fleet: String,
    known: RwLock<Arc<Known>>,
    clock: Arc<dyn Clock>,
    /// Known once the loop runs.
    store: OnceLock<(Arc<dyn Store>, HolderId)>,
    now: Mutex<Now>,
    /// Told when an order was given or taken back here.
    ordered: Notify,
    /// What machines printed that never joined. Known once the loop runs.
    told: OnceLock<Told>,
}

/// What the configuration in force says.
struct Known {
    config: String,
    /// Limits and CI server of each configured pool.
    pools: BTreeMap<PoolName, Facts>,
    token: Option<SecretRef>,
}

impl Known {
    fn of(settings: &Settings) -> Self {
        let facts = |(name, pool): (&PoolName, &config::PoolSettings)| {
            let policy = &pool.policy;
            let facts = Facts {
                emitter: policy.emitter.clone(),
                min: policy.min,
                max: policy.max,
            };
            (name.clone(), facts)
        };
        Known {
            config: settings.hash.as_str().to_owned(),
            pools: settings.pools.iter().map(facts).collect(),
            token: settings.api_token.clone(),
        }
    }
}

struct Facts {
    emitter: Option<EmitterName>,
    min: u32,
    max: u32,
}

#[derive(Default)]
struct Now {
    standing: Standing,
    looked: Option<Arc<Looked>>,
    /// Why the last look failed.
    trouble: Option<String>,
    /// Why the files hold a configuration that is not in force.
    config_stale: Option<String>,
    decisions: VecDeque<shapes::Plan>,
    /// When it was last said that a verb was refused, on the clock's boot time.
    refused: Option<Duration>,
}

/// Who acts for the fleet, as far as this replica knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// The lease has not been asked for yet, or the store did not answer.
    #[default]
    Unknown,
    /// This one.
    Active(Epoch),
    /// Another one.
    Standby(HolderId),
}

impl Api {
    /// The API of a checked configuration.
    pub fn of(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        Api(Arc::new(Inner {
            fleet: settings.fleet.to_string(),
            known: RwLock::new(Arc::new(Known::of(settings))),
            clock,
            store: OnceLock::new(),
            now: Mutex::default(),
            ordered: Notify::new(),
            told: OnceLock::new(),
        }))
    }

    /// Where the loop leaves what machines printed that never joined.
    pub(crate) fn tells(&self, told: Told) {
        // a second loop would be another process
        let _ = self.0.told.set(told);
    }

    /// The end of what a machine printed that never joined.
    fn console(&self, machine: &InstanceName) -> Option<String> {
        self.0.told.get()?.of(machine)
    }

    /// Starts a service that shows what its loop sees.
    ///
    /// # Errors
    ///
    /// As [`Service::start`].
    pub async fn start(
        arguments: &Arguments,
        defaults: Defaults,
    ) -> anyhow::Result<(Service, Api)> {
        let mut api = None;
        let service = Service::start_with(arguments, defaults, |base| {
            let made = api.insert(Api::of(base.settings, base.clock.clone()));
            made.routes()
        })
        .await?;
        Ok((
            service,
            api.context("the routes of a service are made once")?,
        ))
    }

    /// The routes, to be merged with the service's own.
    pub fn routes(&self) -> Router {
        let verbs = order::guarded(order::routes(), self);
        look::routes().merge(verbs).with_state(self.clone())
    }

    /// Shows and checks by another configuration from now on.
    pub(crate) fn configure(&self, settings: &Settings) {
        let new = Arc::new(Known::of(settings));
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Shows why the files hold a configuration that is not in force; `None` when they hold the one that is.
    pub(crate) fn config_stale(&self, why: Option<&str>) {
        self.now().config_stale = why.map(str::to_owned);
    }

    fn known(&self) -> Arc<Known> {
        // the one change is an assignment, so a panic of another thread left nothing half done
        let known = self.0.known.read();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn attach(&self, store: &Arc<dyn Store>, holder: &HolderId) {
        // a second loop on one API would be an error of the program; the first one is shown then
        let _ = self.0.store.set((store.clone(), holder.clone()));
    }

    pub(crate) fn stands(&self, standing: Standing) {
        self.now().standing = standing;
    }

    pub(crate) fn looked(&self, looked: Looked, changed: &[PoolName]) {
        let looked = Arc::new(looked);
        let decided = changed
            .iter()
            .filter_map(|pool| show::plan(pool, &looked))
            .collect::<Vec<_>>();
        let mut now = self.now();
        now.looked = Some(looked);
        now.trouble = None;
        for plan in decided {
            if now.decisions.len() == MOST_DECISIONS {
                now.decisions.pop_back();
            }
            now.decisions.push_front(plan);
        }
    }

    pub(crate) fn looked_in_vain(&self, why: String) {
        self.now().trouble = Some(why);
    }

    /// Completes when an order was given or taken back here: the next tick need not wait for the sweep.
    pub(crate) async fn ordered(&self) {
        self.0.ordered.notified().await;
    }

    /// Whether it is time to say once more that a verb was refused: whoever tries tokens must not fill a log.
    fn may_say_refused(&self) -> bool {
        let at = self.0.clock.boottime();
        let mut now = self.now();
        let may = now
            .refused
            .is_none_or(|last| at.saturating_sub(last) >= SAID_EVERY);
        if may {
            now.refused = Some(at);
        }
        may
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // each change is one assignment, so a panic of another thread left nothing half done
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> Timestamp {
        self.0.clock.now()
    }
}

/// An answer that is not a good one.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let error = error.into();
        Refusal { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.error;
        (self.status, Json(shapes::Trouble { error })).into_response()
    }
}
