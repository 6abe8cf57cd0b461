//! The routes that change something: each writes or removes one override, and leaves a line for the audit.
//!
//! They are off without `api: { token: … }`. The token is compared in constant time, and whoever has none learns nothing
//! of which pools there are.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, post};
use model::{Directive, Order, Overrides};
use ports::{Store, StoreError, StoreErrorKind};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use telemetry::chain;
use tracing::{info, warn};

use super::look::{configured, has_looked, machine_name};
use super::{Api, Refusal, shapes, show};
use crate::held::{confirmed, forgotten};

/// Longest body: an order with the longest texts is below 4 KiB.
const LONGEST_BODY: usize = 16 * 1024;

/// A shorter token is guessed, or is no token.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn routes() -> Router<Api> {
    // the check stands before the body is read, so that nobody without the token can send one
    Router::new()
        .route("/api/v1/pools/{name}/pause", post(pause))
        .route("/api/v1/pools/{name}/resume", post(resume))
        .route("/api/v1/pools/{name}/pin", post(pin))
        .route("/api/v1/machines/{name}/drain", post(drain_machine))
        .route("/api/v1/drains", post(drain))
        .route("/api/v1/confirmations/{hash}", post(confirm))
        .route("/api/v1/overrides/{*id}", delete(remove))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}

/// Lets only those through who know the token.
pub(super) fn guarded(router: Router<Api>, api: &Api) -> Router<Api> {
    router.layer(from_fn_with_state(api.clone(), guard))
}

async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    match allowed(&api, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            if api.may_say_refused() {
                warn!(
                    path = request.uri().path(),
                    why = refusal.error,
                    "an order was refused"
                );
            }
            refusal.into_response()
        }
    }
}

fn allowed(api: &Api, headers: &HeaderMap) -> Result<(), Refusal> {
    let known = api.known();
    let Some(token) = &known.token else {
        let error = "verbs are off: give the configuration `api: { token: \"${file:…}\" }`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    };
    let token = token.read().map_err(|error| {
        let why = chain(&error).to_string();
        warn!(
            error = why,
            "the token of the API cannot be read: every verb is refused"
        );
        Refusal::new(
            StatusCode::FORBIDDEN,
            "scaler cannot read the token of `api:`; its log says why",
        )
    })?;
    let right = token.expose_secret();
    if right.len() < SHORTEST_TOKEN {
        warn!(
            "the token of the API has fewer than {SHORTEST_TOKEN} characters: every verb is refused"
        );
        let error =
            format!("the token of `api:` is too short: give it {SHORTEST_TOKEN} characters");
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let given = given.and_then(bearer);
    let same = service::is_secret(given.unwrap_or_default(), right.as_bytes());
    match (same, given) {
        (true, Some(_)) => Ok(()),
        (_, None) => Err(unauthorized(
            "this verb needs `Authorization: Bearer` with the token of `api:`",
        )),
        (false, Some(_)) => Err(unauthorized("this is not the token of `api:`")),
    }
}

fn unauthorized(error: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, error)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

type Body = Result<Bytes, BytesRejection>;
type Answer = Result<Json<shapes::Overrides>, Refusal>;

async fn pause(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    let shapes::Ordered {
        who,
        because,
        lasts,
    } = read(body)?;
    let pool = configured(&api, &name)?;
    give(&api, Directive::Pause { pool }, who, because, lasts.0).await
}

async fn pin(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    let order: shapes::Pinned = read(body)?;
    let pool = configured(&api, &name)?;
    let max = api.known().pools.get(&pool).map_or(0, |facts| facts.max);
    if order.machines > max {
        let error = format!(
            "a pin stays within max: {pool} has max {max}, not {}",
            order.machines
        );
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    let what = Directive::Pin {
        pool,
        machines: order.machines,
    };
    give(&api, what, order.who, order.because, order.lasts.0).await
}

async fn drain_machine(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    let shapes::Ordered {
        who,
        because,
        lasts,
    } = read(body)?;
    let instance = machine_name(&name)?;
    configured(&api, instance.pool().as_str())?;
    let known = api.now().looked.clone();
    let known = known.is_none_or(|looked| show::machine(&looked, &instance).is_some());
    if !known {
        let error = format!("no machine {instance} is known here: it is gone, or was never made");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    }
    give(
        &api,
        Directive::DrainMachine { instance },
        who,
        because,
        lasts.0,
    )
    .await
}

async fn drain(State(api): State<Api>, body: Body) -> Answer {
    let order: shapes::Drained = read(body)?;
    let what = match (order.image, order.zone) {
        (Some(image), None) => Directive::DrainImage {
            image: checked("image", image, Order::LONGEST_NAME)?,
        },
        (None, Some(zone)) => Directive::DrainZone {
            zone: checked("zone", zone, Order::LONGEST_NAME)?,
        },
        _ => return Err(unprocessable("give exactly one of `image` and `zone`")),
    };
    give(&api, what, order.who, order.because, order.lasts.0).await
}

/// Lets go what waits, if it is what the hash was shown for.
async fn confirm(State(api): State<Api>, Path(hash): Path<String>, body: Body) -> Answer {
    let shapes::Ordered {
        who,
        because,
        lasts,
    } = read(body)?;
    let looked = has_looked(&api.now())?.clone();
    let Some(waiting) = &looked.waiting else {
        let error = "nothing waits for a confirmation here";
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    };
    if waiting.hash != hash {
        let error = format!(
            "what waits is another change now, {}: {}; look at it and confirm that",
            waiting.hash,
            waiting.in_words()
        );
        return Err(Refusal::new(StatusCode::CONFLICT, error));
    }
    // what was confirmed of the same configuration before stays so
    let mut pools = confirmed(&looked.overrides, &waiting.config);
    pools.extend(waiting.pools.keys().cloned());
    let mut providers = forgotten(&looked.overrides, &waiting.config);
    providers.extend(waiting.providers.keys().cloned());
    let what = Directive::Confirm {
        config: waiting.config.clone(),
        pools,
        providers,
    };
    give(&api, what, who, because, lasts.0).await
}

async fn resume(State(api): State<Api>, Path(name): Path<String>, body: Body) -> Answer {
    let by: shapes::By = read(body)?;
    let pool = configured(&api, &name)?;
    end(&api, &Directive::Pause { pool }.id(), by.who).await
}

async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(by): Query<shapes::By>,
) -> Answer {
    end(&api, &id, by.who).await
}

/// Writes one order down.
async fn give(api: &Api, what: Directive, who: String, why: String, lasts: Duration) -> Answer {
    let order = Order {
        what,
        who: checked("who", who, Order::LONGEST_WHO)?,
        why: checked("because", why, Order::LONGEST_WHY)?,
    };
    if lasts < Duration::from_secs(1) {
        return Err(unprocessable("an override holds for a second at least"));
    }
    if lasts > Order::LONGEST {
        let error = "an override holds for 7 days at most: what is meant for longer belongs into the configuration";
        return Err(unprocessable(error));
    }
    let store = store(api)?;
    store.put_order(&order, lasts).await.map_err(failed)?;
    let id = order.what.id();
    let seconds = lasts.as_secs();
    info!(id, order = %order.what, who = order.who, because = order.why, seconds, "override set");
    now_in_force(api, &*store).await
}

async fn end(api: &Api, id: &str, who: String) -> Answer {
    let who = checked("who", who, Order::LONGEST_WHO)?;
    let store = store(api)?;
    if !store.end_order(id, false).await.map_err(failed)? {
        let shown: String = id.escape_debug().take(Order::LONGEST_NAME).collect();
        let error = format!("there is no override `{shown}`: GET /api/v1/overrides lists them");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    }
    info!(id, who, "override removed");
    now_in_force(api, &*store).await
}

/// What the store holds after a change: the next tick reads the same.
async fn now_in_force(api: &Api, store: &dyn Store) -> Answer {
    api.0.ordered.notify_one();
    let record = store.read(&[], &[]).await.map_err(failed)?;
    let overrides = Overrides::of(&record.orders, api.time());
    let replica = show::replica(api, &api.now());
    Ok(Json(shapes::Overrides {
        replica,
        overrides: show::overrides(api, &overrides),
        unreadable: overrides.unreadable,
    }))
}

fn store(api: &Api) -> Result<Arc<dyn Store>, Refusal> {
    let store = api.0.store.get().map(|(store, _)| store.clone());
    store.ok_or_else(|| {
        let error = "scaler is only starting: try again";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })
}

fn failed(error: StoreError) -> Refusal {
    let status = match error.kind {
        StoreErrorKind::Refused => StatusCode::CONFLICT,
        StoreErrorKind::Unavailable
        | StoreErrorKind::Fenced
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Config => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::new(status, chain(&error).to_string())
}

fn unprocessable(error: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error)
}

/// A text that goes into the store, the log and every plan: there, one line, and not too long.
fn checked(key: &str, text: String, longest: usize) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(unprocessable(format!("`{key}` is empty")));
    }
    if text.chars().count() > longest {
        return Err(unprocessable(format!(
            "`{key}` has more than {longest} characters"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(unprocessable(format!(
            "`{key}` has line breaks or other control characters"
        )));
    }
    Ok(text.to_owned())
}

fn read<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| unprocessable(format!("the body is not what is expected: {error}")))
}
