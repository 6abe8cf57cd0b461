//! The actuator: carries out what the engine named. The dull part: it chooses nothing and retries nothing.
//!
//! Every action is idempotent and has a deadline inside the lease it was planned under. What it learns goes to the
//! ledger. The one judgement here is the last strong read before a deletion, which must be *certainly idle and still
//! cordoned by us*; anything else sends the machine back to settling.

use std::sync::Arc;
use std::time::Duration;

use engine::{Action, DeleteProof, LeaveWhy, OfferNews, Refusal, RefusalKind};
use model::{
    Cordon, CreateBatch, ExecutorRef, Instance, InstanceName, Intent, IntentKey, LeaveStep,
    Overrides, Policy, ProviderName, Reading, Work,
};
use ports::{
    Call, EmitterError, EmitterErrorKind, ExecutorControl, Outcome, ProviderError,
    ProviderErrorKind, Registration,
};
use telemetry::chain;
use tracing::{debug, info, warn};

use crate::bootstrap;
use crate::consoles;
use crate::drains;
use crate::lease::Term;
use crate::ledger::Update;
use crate::refusals::{Meaning, Refusals};
use crate::run::{Fleet, Pool};

/// Longest time one control verb may take; a CI server that needs longer is asked again at a later tick.
const CONTROL_LIMIT: Duration = Duration::from_secs(20);
/// Longest time one creation or deletion may take: EC2 answers in seconds, and after a minute nobody waits for it any more.
const PROVIDER_LIMIT: Duration = Duration::from_secs(60);
/// After an answer that only an operator can change, it is asked again after this.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);
/// After an answer that time may change.
const SHORT_WAIT: Duration = Duration::from_secs(10);

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
struct Done {
    outcome: &'static str,
    detail: String,
    updates: Vec<Update>,
}

impl Done {
    fn ok(updates: Vec<Update>) -> Self {
        Done {
            outcome: "done",
            detail: String::new(),
            updates,
        }
    }
    fn failed(detail: impl Into<String>, updates: Vec<Update>) -> Self {
        Done {
            outcome: "failed",
            detail: detail.into(),
            updates,
        }
    }
    fn refused(detail: impl Into<String>, updates: Vec<Update>) -> Self {
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

fn control<'a>(fleet: &'a Fleet, pool: &Pool) -> Option<&'a Arc<dyn ExecutorControl>> {
    fleet.controls.get(pool.policy.emitter.as_ref()?)
}

fn no_control() -> Done {
    Done::refused(
        "there is no right to control executors of this pool's emitter",
        Vec::new(),
    )
}

/// Runs one control verb within its limit and the lease.
async fn bounded<T>(
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
fn stepped(job: &Job, to: LeaveStep) -> Vec<Update> {
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

fn ended(job: &Job) -> Vec<Update> {
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

/// Reads one executor; `Err` is what forbids the next step, and what to record.
async fn certainly_idle(
    fleet: &Fleet,
    pool: &Pool,
    executor: &ExecutorRef,
    job: &Job,
    call: &Call,
) -> Result<(), Done> {
    let control = control(fleet, pool).ok_or_else(no_control)?;
    let reading = match bounded(call, control.read(&executor.id)).await {
        Ok(reading) => reading,
        Err((_, why)) => {
            let why = format!("it could not be read, and unknown is busy: {why}");
            return Err(Done::refused(why, stepped(job, LeaveStep::Settling)));
        }
    };
    let why = match reading {
        Reading {
            cordon: Cordon::Ours { .. },
            work: Work::None,
        } => return Ok(()),
        Reading {
            cordon: Cordon::Foreign,
            ..
        } => {
            let why = "somebody else keeps it from taking jobs now";
            return Err(Done::refused(why, ended(job)));
        }
        Reading {
            work: Work::Unknown { why },
            ..
        } => {
            format!("it is not certainly idle, and unknown is busy: {why}")
        }
        Reading {
            work: Work::Jobs { count },
            ..
        } => {
            format!("it holds {count} jobs: they are left to finish")
        }
        Reading {
            cordon: Cordon::None,
            work: Work::None,
        } => {
            return Err(Done::refused("its cordon is gone", ended(job)));
        }
    };
    Err(Done::refused(why, stepped(job, LeaveStep::Settling)))
}

async fn verify(
    fleet: &Fleet,
    pool: &Pool,
    executor: &ExecutorRef,
    job: &Job,
    call: &Call,
) -> Done {
    match certainly_idle(fleet, pool, executor, job, call).await {
        Ok(()) => Done::ok(stepped(job, LeaveStep::ProvenOnce)),
        Err(done) => done,
    }
}

/// Lets the agent of a machine that is certainly idle go before the machine does. False when it may still be there; it is
/// cordoned, but the attempt took time.
async fn dismiss(fleet: &Fleet, pool: &Pool, executor: &ExecutorRef, call: &Call) -> bool {
    let Some(control) = control(fleet, pool) else {
        return false;
    };
    let dismissed = bounded(call, control.dismiss(&executor.id)).await;
    if let Err((_, why)) = &dismissed {
        debug!(pool = %pool.policy.pool, %executor, error = why, "an agent did not end by itself");
    }
    dismissed.is_ok()
}

/// How a call to a provider ended, as a metric tells it; without an answer in time nobody knows.
fn word<T>(outcome: Option<&Outcome<T>>) -> &'static str {
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

async fn delete(fleet: &Fleet, pool: &Pool, proof: &DeleteProof, job: &Job, call: &Call) -> Done {
    let Action::Delete { provider: name, .. } = &job.action else {
        return no_control();
    };
    let Some(instance) = &job.instance else {
        return Done::refused("it is not listed any more", Vec::new());
    };
    let Some(provider) = fleet.provider(name) else {
        return Done::failed(format!("provider {name} is not configured"), Vec::new());
    };
    if *proof == DeleteProof::LookedIdle {
        warn!(
            pool = %pool.policy.pool, instance = %instance.name,
            "deleted without a cordon (scale_in: best-effort): a job that it was given after the last look dies"
        );
    }
    if let DeleteProof::ReadIdle { executor } = proof {
        if let Err(done) = certainly_idle(fleet, pool, executor, job, call).await {
            return done;
        }
        // an agent that did not go may have been let free meanwhile: then the reading before proves nothing any more
        if !dismiss(fleet, pool, executor, call).await
            && let Err(done) = certainly_idle(fleet, pool, executor, job, call).await
        {
            return done;
        }
    }
    if call.remaining().is_none() {
        return Done::refused("the lease was over before the call", Vec::new());
    }
    let asked = provider.delete(std::slice::from_ref(instance), call);
    let outcome = call.run(PROVIDER_LIMIT, asked).await;
    let outcome = outcome.and_then(|outcomes| outcomes.into_iter().next());
    let word = word(outcome.as_ref());
    fleet
        .metrics
        .scaler
        .called_provider(name.as_str(), "delete", word);
    fleet.listings.again(name);
    match outcome {
        Some(Outcome::Done(_)) => Done::ok(Vec::new()),
        Some(Outcome::Failed(error)) if error.kind == ProviderErrorKind::NotFound => {
            Done::ok(Vec::new())
        }
        Some(Outcome::Failed(error) | Outcome::Unknown(error)) => {
            Done::failed(chain(&error).to_string(), Vec::new())
        }
        None => Done::failed(
            format!("no answer within {PROVIDER_LIMIT:?} and the lease"),
            Vec::new(),
        ),
    }
}

async fn create(fleet: &Fleet, pool: &Pool, job: &Job, call: &Call) -> Done {
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
