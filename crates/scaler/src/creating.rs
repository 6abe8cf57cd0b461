//! One creation: its executor, its boot script, the call to the cloud, and what the answer means.

use std::time::Duration;

use engine::{Action, OfferNews, Refusal, RefusalKind};
use model::{CreateBatch, ExecutorRef, Instance, Intent, IntentKey, Policy, ProviderName};
use ports::{Call, EmitterErrorKind, Outcome, ProviderError, ProviderErrorKind, Registration};
use telemetry::chain;
use tracing::warn;

use crate::act::{Done, Job, PROVIDER_LIMIT, bounded, control, no_control, word};
use crate::ledger::Update;
use crate::run::{Fleet, Pool};
use crate::{bootstrap, drains};

/// After an answer that only an operator can change, it is asked again after this.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);
/// After an answer that time may change.
const SHORT_WAIT: Duration = Duration::from_secs(10);

pub(crate) async fn create(fleet: &Fleet, pool: &Pool, job: &Job, call: &Call) -> Done {
    let Action::Create {
        batch,
        count,
        provider: name,
        offer,
    } = &job.action
    else {
        return no_control();
    };
    let policy = &pool.policy;
    let end = || Update::End(IntentKey::Create(batch.clone()));
    let known = policy.offers.iter().find(|known| known.id == *offer);
    let (Some(provider), Some(spec), Some(known)) =
        (fleet.provider(name), pool.offers.get(offer), known)
    else {
        return Done::failed(format!("offer {offer} is not configured"), vec![end()]);
    };
    // asked before anything is prepared: an executor that is registered for nothing has to be removed again
    if let Some(wait) = provider.creations_wait() {
        let why = format!("the call rate of {name} is used up for {wait:?}; it was not asked");
        let news = OfferNews {
            offer: offer.clone(),
            provider: name.clone(),
            made: 0,
            refusal: Some(Refusal {
                kind: RefusalKind::Wait { wait },
                why: why.clone(),
            }),
        };
        let pool = batch.pool.clone();
        return Done::failed(why, vec![end(), Update::Offer { pool, news }]);
    }
    let registration = match register(fleet, pool, job, call).await {
        Ok(registration) => registration,
        Err((kind, why)) => {
            let why = format!("no executor could be registered: {why}");
            let wait = wait_after_refusal(kind);
            let held = Update::Held {
                pool: policy.pool.clone(),
                why: why.clone(),
                wait,
            };
            return Done::failed(why, vec![end(), held]);
        }
    };
    let template = pool.bootstrap.as_ref();
    let script = bootstrap::render(template, &fleet.id, batch, *count, registration.as_ref());
    let user_data = match script {
        Ok(user_data) => user_data,
        Err(error) => {
            remove_again(fleet, pool, registration.as_ref(), call).await;
            let why = format!("the boot script cannot be made: {error}");
            let wait = OPERATOR_WAIT;
            let held = Update::Held {
                pool: policy.pool.clone(),
                why: why.clone(),
                wait,
            };
            return Done::failed(why, vec![end(), held]);
        }
    };
    let executor = executor_ref(policy, registration.as_ref());
    let request = CreateBatch {
        fleet: fleet.id.clone(),
        installation: fleet.installation.clone(),
        batch: batch.clone(),
        count: *count,
        offer: offer.clone(),
        spec: drains::outside(spec, &job.overrides),
        generation: known.generation.clone(),
        attempt: 0,
        executor: executor.clone(),
        user_data,
    };
    if call.remaining().is_none() {
        remove_again(fleet, pool, registration.as_ref(), call).await;
        return Done::refused("the lease was over before the call", vec![end()]);
    }
    let outcomes = call
        .run(PROVIDER_LIMIT, provider.create(&request, call))
        .await;
    fleet.listings.again(name);
    let Some(outcomes) = outcomes else {
        fleet
            .metrics
            .scaler
            .called_provider(name.as_str(), "create", "unknown");
        let why = format!(
            "no answer within {PROVIDER_LIMIT:?} and the lease: they count as existing until a listing says otherwise"
        );
        return Done {
            outcome: "unknown",
            detail: why,
            updates: recorded(job, executor),
        };
    };
    let words = outcomes.iter().map(|outcome| word(Some(outcome)));
    let word = words.reduce(|all, one| if all == "done" { one } else { all });
    let done = judge(job, executor, outcomes);
    fleet
        .metrics
        .scaler
        .called_provider(name.as_str(), "create", word.unwrap_or("unknown"));
    if done.updates.contains(&end()) {
        remove_again(fleet, pool, registration.as_ref(), call).await;
    }
    done
}

async fn register(
    fleet: &Fleet,
    pool: &Pool,
    job: &Job,
    call: &Call,
) -> Result<Option<Registration>, (Option<EmitterErrorKind>, String)> {
    let Action::Create { batch, count, .. } = &job.action else {
        return Ok(None);
    };
    let managed = matches!(pool.policy.executors, model::ExecutorMode::Managed { .. });
    let single = pool.policy.bootstrap == model::Bootstrap::PerMachine && *count == 1;
    if !managed || !single {
        return Ok(None);
    }
    let Some(control) = control(fleet, pool) else {
        let why = "there is no right to register one".to_owned();
        return Err((Some(EmitterErrorKind::Forbidden), why));
    };
    let Some(emitter) = &pool.policy.emitter else {
        return Ok(None);
    };
    let request = fleet.names.request(emitter, batch.instance(0));
    let registered = bounded(call, control.register(&request)).await;
    registered.map(Some)
}

/// Removes an executor whose machine is certainly not made. A failure is no harm: the engine finds it as a ghost.
async fn remove_again(
    fleet: &Fleet,
    pool: &Pool,
    registration: Option<&Registration>,
    call: &Call,
) {
    let (Some(control), Some(registration)) = (control(fleet, pool), registration) else {
        return;
    };
    if let Err((_, why)) = bounded(call, control.remove(&registration.executor)).await {
        let executor = &registration.executor;
        warn!(pool = %pool.policy.pool, %executor, error = why, "executor without a machine stays for now");
    }
}

fn executor_ref(policy: &Policy, registration: Option<&Registration>) -> Option<ExecutorRef> {
    let emitter = policy.emitter.clone()?;
    registration.map(|registration| ExecutorRef {
        emitter,
        id: registration.executor.clone(),
    })
}

/// The creation with the executor that was registered for it. Written even when nothing is new, so that its age counts
/// from the answer: until then no listing can be expected to show it.
fn recorded(job: &Job, executor: Option<ExecutorRef>) -> Vec<Update> {
    match &job.intent {
        Some(Intent::Create {
            batch,
            count,
            provider,
            offer,
            ..
        }) => vec![Update::Put(Intent::Create {
            batch: batch.clone(),
            count: *count,
            provider: provider.clone(),
            offer: offer.clone(),
            executor,
        })],
        Some(Intent::Leave { .. }) | None => Vec::new(),
    }
}

/// What the outcomes of one creation mean: a machine that was certainly not made frees its place at once, one whose fate
/// is unknown keeps it. Of a machine that the answer does not speak of nothing is known.
fn judge(job: &Job, executor: Option<ExecutorRef>, outcomes: Vec<Outcome<Instance>>) -> Done {
    let Action::Create {
        batch,
        count,
        offer,
        provider,
    } = &job.action
    else {
        return no_control();
    };
    let answers = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
    let (mut kept, mut made, mut unknown) = (0, 0, 0);
    let mut refusal: Option<ProviderError> = None;
    let mut doubt: Option<ProviderError> = None;
    for (index, outcome) in (1..).zip(outcomes) {
        match outcome {
            Outcome::Done(_) => (kept, made) = (index, made + 1),
            Outcome::Unknown(error) => {
                (kept, unknown) = (index, unknown + 1);
                doubt = doubt.or(Some(error));
            }
            Outcome::Failed(error) => refusal = refusal.or(Some(error)),
        }
    }
    let missing = count.saturating_sub(answers);
    if missing > 0 {
        (kept, unknown) = (*count, unknown + missing);
        doubt = doubt.or_else(|| Some(not_spoken_of(provider, answers)));
    }
    let mut updates = match kept {
        0 => vec![Update::End(IntentKey::Create(batch.clone()))],
        // names behind the last one that may exist were certainly not made
        kept if kept < *count => vec![Update::Put(Intent::Create {
            batch: batch.clone(),
            count: kept,
            provider: provider.clone(),
            offer: offer.clone(),
            executor,
        })],
        _ => recorded(job, executor),
    };
    updates.push(Update::Offer {
        pool: batch.pool.clone(),
        news: OfferNews {
            offer: offer.clone(),
            provider: provider.clone(),
            made,
            refusal: refusal.as_ref().and_then(|error| {
                let why = chain(error).to_string();
                refusal_kind(error.kind).map(|kind| Refusal { kind, why })
            }),
        },
    });
    match (&refusal, &doubt) {
        (_, Some(error)) => Done {
            outcome: "unknown",
            detail: format!("{unknown} of {count}: {}", chain(error)),
            updates,
        },
        (Some(error), None) => Done::failed(chain(error).to_string(), updates),
        (None, None) => Done::ok(updates),
    }
}

/// The doubt about machines that were asked for and are not in the answer: a defect of the provider's plugin.
fn not_spoken_of(provider: &ProviderName, answers: u32) -> ProviderError {
    ProviderError {
        kind: ProviderErrorKind::UnknownOutcome,
        provider: provider.clone(),
        operation: "create machines",
        message: format!("the answer speaks of {answers} machines only; please report this"),
        source: None,
    }
}

/// How long a pool waits after a CI server registered no executor: what time may heal is asked again soon.
fn wait_after_refusal(kind: Option<EmitterErrorKind>) -> Duration {
    match kind {
        Some(EmitterErrorKind::RateLimited { retry_after }) => retry_after.unwrap_or(SHORT_WAIT),
        Some(
            EmitterErrorKind::Unauthorized
            | EmitterErrorKind::Forbidden
            | EmitterErrorKind::Config
            | EmitterErrorKind::NotFound,
        ) => OPERATOR_WAIT,
        // what is there now (every name in use, an earlier creation not settled) changes by itself
        Some(EmitterErrorKind::Conflict) => SHORT_WAIT,
        Some(
            EmitterErrorKind::Unreachable
            | EmitterErrorKind::TimedOut
            | EmitterErrorKind::Unavailable
            | EmitterErrorKind::BadAnswer
            | EmitterErrorKind::TooLarge,
        )
        | None => SHORT_WAIT,
    }
}

/// What the memory of offers is to learn of a refusal; nothing of one that is our own.
fn refusal_kind(kind: ProviderErrorKind) -> Option<RefusalKind> {
    let wait = match kind {
        ProviderErrorKind::LeaseOver => return None,
        ProviderErrorKind::OutOfCapacity => return Some(RefusalKind::NoCapacity),
        ProviderErrorKind::QuotaExceeded => return Some(RefusalKind::Quota),
        ProviderErrorKind::RateLimited { retry_after } => retry_after.unwrap_or(SHORT_WAIT),
        ProviderErrorKind::Unauthorized | ProviderErrorKind::InvalidRequest => OPERATOR_WAIT,
        ProviderErrorKind::NotFound
        | ProviderErrorKind::Unreachable
        | ProviderErrorKind::Unavailable
        | ProviderErrorKind::UnknownOutcome
        | ProviderErrorKind::BadAnswer => SHORT_WAIT,
    };
    Some(RefusalKind::Wait { wait })
}
