//! The routes that look. They answer from what was seen last and wait for nobody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use model::{ExecutorState, InstanceName, PoolName};
use serde::Deserialize;

use super::{Api, Now, Refusal, document, shapes, show};
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
        .route("/api/v1/jobs/{*id}", get(job))
        .route("/api/v1/overrides", get(overrides))
}

async fn pools(State(api): State<Api>) -> Json<shapes::Pools> {
    let now = api.now();
    Json(shapes::Pools {
        replica: show::replica(&api, &now),
        pools: show::pools(&api, &now),
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
    let machine = show::machine(looked, &name).ok_or_else(|| {
        let why = "it is gone, or was never made, or its pool is not configured";
        let error = format!("no machine {name} is known here: {why} (`parmanu doctor` lists all)");
        Refusal::new(StatusCode::NOT_FOUND, error)
    })?;
    let (reasons, actions) = show::about(looked, &name);
    Ok(Json(shapes::OneMachine {
        replica: show::replica(&api, &now),
        drained_by: show::drained_by(looked, &name).map(show::one_override),
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

async fn job(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<shapes::OneJob>, Refusal> {
    let now = api.now();
    let looked = has_looked(&now)?;
    let mut shown = shapes::OneJob {
        replica: show::replica(&api, &now),
        id: id.clone(),
        state: shapes::JobState::NotSeen,
        emitter: None,
        pool: None,
        executor: None,
        missing: Vec::new(),
        not_known: Vec::new(),
    };
    if !find_running(looked, &id, &mut shown) && !find_unmatched(looked, &id, &mut shown) {
        shown.not_known.push(
            "whether it waits, and for which pool: a workload counts waiting jobs and does not name them; `parmanu probe EMITTER` looks once and names each job with its pool and why"
                .to_owned(),
        );
        shown
            .not_known
            .push("whether it has ended: nothing is kept of jobs that are over".to_owned());
    }
    Ok(Json(shown))
}

fn find_running(looked: &Looked, id: &str, shown: &mut shapes::OneJob) -> bool {
    for (pool, seen) in &looked.pools {
        let Some(workload) = seen.seen.seen.workload.any() else {
            continue;
        };
        let runs = workload.executors.iter().find(|executor| {
            matches!(&executor.state, ExecutorState::Busy { jobs } if jobs.iter().any(|job| job.as_str() == id))
        });
        if let Some(executor) = runs {
            shown.state = shapes::JobState::Running;
            shown.emitter = Some(workload.emitter.to_string());
            shown.pool = Some(pool.to_string());
            shown.executor = Some(executor.name.clone());
            return true;
        }
    }
    false
}

/// Jobs that no pool takes are named `<project> <name> #<id>`.
fn find_unmatched(looked: &Looked, id: &str, shown: &mut shapes::OneJob) -> bool {
    for (emitter, status) in &looked.emitters {
        let named = |job: &str| job.rsplit_once('#').is_some_and(|(_, last)| last == id);
        if let Some(found) = status.unmatched.iter().find(|it| named(&it.job)) {
            shown.state = shapes::JobState::Unmatched;
            shown.emitter = Some(emitter.to_string());
            shown.pool = found.nearest.as_ref().map(ToString::to_string);
            shown.missing.clone_from(&found.missing);
            return true;
        }
    }
    let cut = looked
        .emitters
        .iter()
        .filter(|(_, status)| status.unmatched_total as usize > status.unmatched.len());
    for (emitter, status) in cut {
        shown.not_known.push(format!(
            "whether it is one of the {} jobs of {emitter} that no pool takes and that are not named one by one",
            status.unmatched_total as usize - status.unmatched.len()
        ));
    }
    false
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
