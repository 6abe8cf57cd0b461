//! The actuator: carries out what the engine named. The dull part: it chooses nothing and retries nothing.
//!
//! Every action is idempotent and has a deadline inside the lease it was planned under. What it learns goes to the
//! ledger. The judgements right before a deletion are in [`crate::deleting`], creations in [`crate::creating`].

use std::sync::Arc;
use std::time::Duration;

use engine::{Action, LeaveWhy};
use model::{ExecutorRef, Instance, InstanceName, Intent, LeaveStep, Overrides, ProviderName};
use ports::{Call, EmitterError, EmitterErrorKind, ExecutorControl, Outcome};
use telemetry::chain;
use tracing::{info, warn};

use crate::consoles;
use crate::creating::create;
use crate::deleting::{delete, verify};
use crate::lease::Term;
use crate::ledger::Update;
use crate::refusals::{Meaning, Refusals};
use crate::run::{Fleet, Pool};

/// Longest time one control verb may take; a CI server that needs longer is asked again at a later tick.
const CONTROL_LIMIT: Duration = Duration::from_secs(20);
/// Longest time one creation or deletion may take: EC2 answers in seconds, and after a minute nobody waits for it any more.
pub(crate) const PROVIDER_LIMIT: Duration = Duration::from_secs(60);

/// One action with all it needs.
pub(crate) struct Job {
    pub(crate) action: Action,
    pub(crate) term: Term,
    /// The machine as it was listed, where there is one.
    pub(crate) instance: Option<Instance>,
    /// The departure or creation as it is recorded now.
    pub(crate) intent: Option<Intent>,
    /// The machine with its provider, if it never joined and its console is wanted before it goes.
    pub(crate) unjoined: Option<(ProviderName, Instance)>,
    /// Its pool, if that is not configured.
    pub(crate) orphan: Option<Pool>,
    /// What operators ordered of the pool.
    pub(crate) overrides: Overrides,
}

/// How an action ended, for the audit line and the metric.
pub(crate) struct Done {
    pub(crate) outcome: &'static str,
    pub(crate) detail: String,
    pub(crate) updates: Vec<Update>,
}

impl Done {
    pub(crate) fn ok(updates: Vec<Update>) -> Self {
        Done {
            outcome: "done",
            detail: String::new(),
            updates,
        }
    }
    pub(crate) fn failed(detail: impl Into<String>, updates: Vec<Update>) -> Self {
        Done {
            outcome: "failed",
            detail: detail.into(),
            updates,
        }
    }
    pub(crate) fn refused(detail: impl Into<String>, updates: Vec<Update>) -> Self {
        Done {
            outcome: "refused",
            detail: detail.into(),
            updates,
        }
    }
}

/// Carries one action out and writes its audit line.
pub(crate) async fn act(fleet: &Fleet, job: Job) -> Vec<Update> {
    let action = job.action.as_str();
    let subject = job.action.subject();
    let (words, epoch) = (job.action.to_string(), job.term.epoch);
    let pool = pool_of(&job.action);
    if let Some((provider, machine)) = &job.unjoined {
        consoles::tell(fleet, provider, machine, &job.term.call(&fleet.clock)).await;
    }
    let orphan = job.orphan.clone();
    let done = match fleet.pools.get(&pool).or(orphan.as_ref()) {
        Some(settings) => carry_out(fleet, settings, job).await,
        None => Done::failed("its pool is not configured", Vec::new()),
    };
    fleet
        .metrics
        .scaler
        .acted(pool.as_str(), action, done.outcome);
    if done.outcome == "done" {
        info!(%pool, instance = subject, %epoch, action = words, "done");
    } else {
        let outcome = done.outcome;
        warn!(%pool, instance = subject, %epoch, action = words, outcome, error = done.detail, "not done");
    }
    done.updates
}

fn pool_of(action: &Action) -> model::PoolName {
    match action {
        Action::Create { batch, .. } => batch.pool.clone(),
        Action::Uncordon { instance, .. }
        | Action::Cordon { instance, .. }
        | Action::AskGuest { instance, .. }
        | Action::Verify { instance, .. }
        | Action::Delete { instance, .. }
        | Action::RemoveExecutor { instance, .. } => instance.pool().clone(),
    }
}

async fn carry_out(fleet: &Fleet, pool: &Pool, job: Job) -> Done {
    let call = job.term.call(&fleet.clock);
    if call.remaining().is_none() {
        return Done::refused("the lease was over before it began", Vec::new());
    }
    match &job.action {
        Action::Create { .. } => create(fleet, pool, &job, &call).await,
        Action::Cordon {
            instance, executor, ..
        } => cordon(fleet, pool, instance, executor, &job, &call).await,
        Action::AskGuest { provider, why, .. } => {
            ask_guest(fleet, provider, *why, &job, &call).await
        }
        Action::Uncordon { instance, executor } => {
            let Some(control) = control(fleet, pool) else {
                return no_control();
            };
            let verb = control.uncordon(&executor.id, job.term.epoch);
            let outcome = bounded(&call, verb).await;
            let (instance, at) = (instance.clone(), fleet.clock.now());
            let called = vec![Update::CalledBack { instance, at }];
            match outcome {
                Ok(()) => Done::ok(called),
                Err(why) => Done::failed(why.1, called),
            }
        }
        Action::Verify { executor, .. } => verify(fleet, pool, executor, &job, &call).await,
        Action::Delete { proof, .. } => delete(fleet, pool, proof, &job, &call).await,
        Action::RemoveExecutor { executor, .. } => {
            let Some(control) = control(fleet, pool) else {
                return no_control();
            };
            match bounded(&call, control.remove(&executor.id)).await {
                Ok(()) => Done::ok(Vec::new()),
                Err(why) => Done::failed(why.1, Vec::new()),
            }
        }
    }
}

pub(crate) fn control<'a>(fleet: &'a Fleet, pool: &Pool) -> Option<&'a Arc<dyn ExecutorControl>> {
    fleet.controls.get(pool.policy.emitter.as_ref()?)
}

pub(crate) fn no_control() -> Done {
    Done::refused(
        "there is no right to control executors of this pool's emitter",
        Vec::new(),
    )
}

/// Runs one control verb within its limit and the lease.
pub(crate) async fn bounded<T>(
    call: &Call,
    verb: impl Future<Output = Result<T, EmitterError>>,
) -> Result<T, (Option<EmitterErrorKind>, String)> {
    if call.remaining().is_none() {
        return Err((None, "the lease was over before the call".to_owned()));
    }
    match call.run(CONTROL_LIMIT, verb).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err((Some(error.kind), chain(&error).to_string())),
        None => Err((
            Some(EmitterErrorKind::TimedOut),
            format!("no answer within {CONTROL_LIMIT:?} and the lease"),
        )),
    }
}

/// The departure of this job in another step.
pub(crate) fn stepped(job: &Job, to: LeaveStep) -> Vec<Update> {
    match &job.intent {
        Some(Intent::Leave {
            instance,
            executor,
            epoch,
            ..
        }) => vec![Update::Put(Intent::Leave {
            instance: instance.clone(),
            executor: executor.clone(),
            epoch: *epoch,
            step: to,
        })],
        Some(Intent::Create { .. }) | None => Vec::new(),
    }
}

pub(crate) fn ended(job: &Job) -> Vec<Update> {
    job.intent
        .iter()
        .map(|intent| Update::End(intent.key()))
        .collect()
}

async fn cordon(
    fleet: &Fleet,
    pool: &Pool,
    instance: &InstanceName,
    executor: &ExecutorRef,
    job: &Job,
    call: &Call,
) -> Done {
    let Some(control) = control(fleet, pool) else {
        return no_control();
    };
    let name = &pool.policy.pool;
    match bounded(call, control.cordon(&executor.id, job.term.epoch)).await {
        Ok(()) => {
            let granted = |refusals: &mut Refusals| refusals.grant(name, instance);
            if fleet.ledger.refusals(granted) {
                info!(pool = %name, "its executors can be cordoned again");
            }
            Done::ok(stepped(job, LeaveStep::Settling))
        }
        Err((Some(EmitterErrorKind::Conflict), why)) => Done::refused(why, ended(job)),
        Err((Some(EmitterErrorKind::Forbidden | EmitterErrorKind::Unauthorized), why)) => {
            let now = fleet.clock.boottime();
            let refused = |refusals: &mut Refusals| refusals.refuse(name, instance, &why, now);
            match fleet.ledger.refusals(refused) {
                Meaning::Pool => {
                    warn!(pool = %name, error = why, "read-only for now: no machine with an executor begins to leave");
                }
                Meaning::Machine => {
                    warn!(pool = %name, %instance, error = why, "its executor cannot be cordoned, those of others can");
                }
                Meaning::Nothing => {}
            }
            // the machine serves on
            Done::refused(why, ended(job))
        }
        Err((_, why)) => Done::failed(why, Vec::new()),
    }
}

/// How a call to a provider ended, as a metric tells it; without an answer in time nobody knows.
pub(crate) fn word<T>(outcome: Option<&Outcome<T>>) -> &'static str {
    match outcome {
        Some(Outcome::Done(_)) => "done",
        Some(Outcome::Failed(error)) => error.kind.as_str(),
        Some(Outcome::Unknown(_)) | None => "unknown",
    }
}

/// Writes the mark that a machine's guest looks for. What did not certainly succeed is asked for again.
async fn ask_guest(
    fleet: &Fleet,
    name: &ProviderName,
    why: LeaveWhy,
    job: &Job,
    call: &Call,
) -> Done {
    let Some(instance) = &job.instance else {
        return Done::refused("it is not listed any more", ended(job));
    };
    let Some(provider) = fleet.provider(name) else {
        return Done::failed(format!("provider {name} is not configured"), ended(job));
    };
    let why = why.to_string();
    let asked = provider.ask_guests(std::slice::from_ref(instance), &why, call);
    let outcome = call.run(CONTROL_LIMIT, asked).await;
    let outcome = outcome.and_then(|outcomes| outcomes.into_iter().next());
    let word = word(outcome.as_ref());
    let metrics = &fleet.metrics.scaler;
    metrics.called_provider(name.as_str(), "ask_guests", word);
    match outcome {
        Some(Outcome::Done(_)) => Done::ok(Vec::new()),
        Some(Outcome::Failed(error) | Outcome::Unknown(error)) => {
            Done::failed(chain(&error).to_string(), ended(job))
        }
        None => Done::failed(
            "it did not answer in time, or knows no such mark",
            ended(job),
        ),
    }
}
