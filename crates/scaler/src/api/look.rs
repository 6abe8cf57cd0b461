//! The routes that look. They answer from what was seen last and wait for nobody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use model::{InstanceName, PoolName};
use serde::Deserialize;

use super::{Api, Now, Refusal, document, former, shapes, show};
use crate::looked::Looked;

/// Decisions in one answer, unless fewer are asked for.
const MOST_SHOWN: usize = 100;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/openapi.json", get(|| async { Json(document()) }))
        .route("/api/v1/pools", get(pools))
        .route("/api/v1/pools/{name}", get(pool))
        .route("/api/v1/machines", get(machines))
        .route("/api/v1/machines/{name}", get(machine))
        .route("/api/v1/emitters", get(emitters))
        .route("/api/v1/plans", get(plans))
        .route("/api/v1/decisions", get(decisions))
        .route("/api/v1/jobs/{*id}", get(super::job::job))
        .route("/api/v1/overrides", get(overrides))
}

async fn pools(State(api): State<Api>) -> Json<shapes::Pools> {
    let now = api.now();
    let looked = now.looked.as_deref();
    Json(shapes::Pools {
        replica: show::replica(&api, &now),
        pools: show::pools(&api, &now),
        former_pools: looked.map_or_else(Vec::new, former::pools),
        former_providers: looked.map_or_else(Vec::new, former::providers),
    })
}

async fn pool(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<shapes::OnePool>, Refusal> {
    let name = configured(&api, &name)?;
    let now = api.now();
    let pool = show::pool(&api, &now, &name).ok_or_else(|| no_pool(&api, name.as_str()))?;
    let looked = now.looked.as_deref();
    Ok(Json(shapes::OnePool {
        replica: show::replica(&api, &now),
        pool,
        machines: looked.map_or_else(Vec::new, |looked| show::machines(looked, &name)),
        plan: looked.and_then(|looked| show::plan(&name, looked)),
        overrides: looked.map_or_else(Vec::new, |looked| {
            show::overrides(&api, &looked.overrides.of_pool(&name))
        }),
    }))
}

async fn machines(State(api): State<Api>) -> Json<shapes::Machines> {
    let now = api.now();
    let looked = now.looked.iter();
    let pools = looked.flat_map(|looked| looked.pools.keys().map(move |pool| (looked, pool)));
    Json(shapes::Machines {
        replica: show::replica(&api, &now),
        machines: pools
            .flat_map(|(looked, pool)| show::machines(looked, pool))
            .collect(),
    })
}

async fn machine(
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Json<shapes::OneMachine>, Refusal> {
    let name = machine_name(&text)?;
    let now = api.now();
    let looked = has_looked(&now)?;
    let console = api.console(&name);
    let machine = show::machine(looked, &name).ok_or_else(|| {
        let why = "it is gone, or was never made, or its pool is not configured";
        let mut error =
            format!("no machine {name} is known here: {why} (`parmanu doctor` lists all)");
        if let Some(console) = &console {
            error += &format!("; it never joined, and this is the end of its console:\n{console}");
        }
        Refusal::new(StatusCode::NOT_FOUND, error)
    })?;
    let (reasons, actions) = show::about(looked, &name);
    Ok(Json(shapes::OneMachine {
        replica: show::replica(&api, &now),
        drained_by: show::drained_by(looked, &name).map(show::one_override),
        console,
        machine,
        reasons,
        actions,
    }))
}

async fn emitters(State(api): State<Api>) -> Json<shapes::Emitters> {
    let now = api.now();
    Json(shapes::Emitters {
        replica: show::replica(&api, &now),
        emitters: show::emitters(&api, now.looked.as_deref()),
    })
}

async fn plans(State(api): State<Api>) -> Json<shapes::Plans> {
    let now = api.now();
    let looked = now.looked.iter();
    let plans = looked.flat_map(|looked| looked.pools.keys().map(move |pool| (looked, pool)));
    Json(shapes::Plans {
        replica: show::replica(&api, &now),
        plans: plans
            .filter_map(|(looked, pool)| show::plan(pool, looked))
            .collect(),
    })
}

/// Which decisions are meant.
#[derive(Debug, Deserialize)]
struct Which {
    /// Of this pool only.
    pool: Option<String>,
    /// So many at most.
    limit: Option<usize>,
}

async fn decisions(
    State(api): State<Api>,
    Query(which): Query<Which>,
) -> Result<Json<shapes::Decisions>, Refusal> {
    let pool = which.pool.map(|pool| configured(&api, &pool)).transpose()?;
    let now = api.now();
    let meant = |plan: &&shapes::Plan| pool.as_ref().is_none_or(|pool| plan.pool == pool.as_str());
    let limit = which.limit.unwrap_or(MOST_SHOWN);
    let decisions = now.decisions.iter().filter(meant).take(limit);
    Ok(Json(shapes::Decisions {
        replica: show::replica(&api, &now),
        decisions: decisions.cloned().collect(),
    }))
}

async fn overrides(State(api): State<Api>) -> Json<shapes::Overrides> {
    let now = api.now();
    Json(shown_overrides(&api, &now))
}

fn shown_overrides(api: &Api, now: &Now) -> shapes::Overrides {
    let overrides = now.looked.as_ref().map(|looked| &looked.overrides);
    shapes::Overrides {
        replica: show::replica(api, now),
        overrides: overrides.map_or_else(Vec::new, |it| show::overrides(api, it)),
        unreadable: overrides.map_or_else(Vec::new, |it| it.unreadable.clone()),
    }
}

pub(super) fn has_looked(now: &Now) -> Result<&Arc<Looked>, Refusal> {
    now.looked.as_ref().ok_or_else(|| {
        let why = now.trouble.as_deref().unwrap_or("it has just started");
        let error = format!("this replica has not seen the fleet yet: {why}; /readyz says more");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
    })
}

/// The pool of this name, if it is configured.
pub(super) fn configured(api: &Api, text: &str) -> Result<PoolName, Refusal> {
    let known = api.known();
    let mut pools = known.pools.keys();
    let found = pools.find(|name| name.as_str() == text);
    found.cloned().ok_or_else(|| no_pool(api, text))
}

fn no_pool(api: &Api, text: &str) -> Refusal {
    let configured = api.known();
    let known: Vec<&str> = configured.pools.keys().map(PoolName::as_str).collect();
    let known = known.join(", ");
    let shown: String = text.escape_debug().take(60).collect();
    let error = format!("there is no pool `{shown}`; the configuration has {known}");
    Refusal::new(StatusCode::NOT_FOUND, error)
}

/// A machine's name in a path.
pub(super) fn machine_name(text: &str) -> Result<InstanceName, Refusal> {
    text.parse().map_err(|error: model::IdError| {
        let shown: String = error.to_string().chars().take(300).collect();
        Refusal::new(StatusCode::NOT_FOUND, shown)
    })
}
