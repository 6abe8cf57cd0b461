//! The last steps of a departure: the strong reads, the last question, and the deletion.
//!
//! Nothing lies between the judgement and the call to the cloud. A machine with an executor goes when that is *certainly idle
//! and still cordoned by us* in this very moment; one that no look showed an executor of goes when the CI server, asked now,
//! knows none. Anything else keeps it.

use engine::{Action, DeleteProof};
use model::{Cordon, ExecutorRef, Instance, Intent, LeaveStep, Reading, Work};
use ports::{Call, Contact, Found, Outcome, ProviderErrorKind};
use telemetry::chain;
use tracing::{debug, info, warn};

use crate::act::{Done, Job, PROVIDER_LIMIT, bounded, control, ended, no_control, stepped, word};
use crate::run::{Fleet, Pool};

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

pub(crate) async fn verify(
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

/// Asks the CI server once more, and now, for the executor of a machine that goes without a strong read. One that joined
/// since the last look has perhaps a build already.
///
/// Of a machine that is powered off by two listings an executor is left behind; only one whose connection is alive says that
/// it was started again.
async fn nobody_joined(
    fleet: &Fleet,
    pool: &Pool,
    proof: &DeleteProof,
    instance: &Instance,
    job: &Job,
    call: &Call,
) -> Result<(), Done> {
    let is_off = *proof == DeleteProof::PoweredOff;
    let Some(control) = control(fleet, pool) else {
        // nobody can be asked, nor anything be cordoned there
        return if is_off { Ok(()) } else { Err(no_control()) };
    };
    let begun = match &job.intent {
        Some(Intent::Leave { executor, .. }) => executor.as_ref(),
        Some(Intent::Create { .. }) | None => None,
    };
    let named = begun.or(instance.executor.as_ref());
    let named = named.filter(|named| pool.policy.emitter.as_ref() == Some(&named.emitter));
    let find = control.find(&instance.name, named.map(|named| &named.id));
    let (why, updates) = match bounded(call, find).await {
        Ok(Found::Absent) => return Ok(()),
        Ok(Found::There { contact, .. }) if is_off && contact != Contact::Live => return Ok(()),
        // of a pool that is not configured nobody may ever be able to tell; that nothing runs there two listings have said
        Ok(Found::Unknown { .. }) if is_off && job.orphan.is_some() => return Ok(()),
        Ok(Found::There { executor, .. }) if is_off => (
            format!("it is powered off, and its executor {executor} is connected"),
            stepped(job, LeaveStep::Cordoning),
        ),
        // the next look shows it, and what it does
        Ok(Found::There { executor, .. }) => (
            format!(
                "it joined after all, as {executor}: found by its name right before the deletion"
            ),
            ended(job),
        ),
        Ok(Found::Unknown { why }) | Err((_, why)) => (
            format!("whether it joined could not be told right before the deletion: {why}"),
            stepped(job, LeaveStep::Cordoning),
        ),
    };
    let now = fleet.clock.boottime();
    let doubt = why.clone();
    let wait = fleet
        .ledger
        .sought(|all| all.doubt(&instance.name, doubt, now));
    info!(pool = %pool.policy.pool, instance = %instance.name, why, ?wait, "a machine is not deleted");
    Err(Done::refused(why, updates))
}

pub(crate) async fn delete(
    fleet: &Fleet,
    pool: &Pool,
    proof: &DeleteProof,
    job: &Job,
    call: &Call,
) -> Done {
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
    if proof.rests_on_absence()
        && let Err(done) = nobody_joined(fleet, pool, proof, instance, job, call).await
    {
        return done;
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
