//! What every emitter must do, both halves of it.
//!
//! The cases are plain async functions over an [`EmitterHarness`]; [`emitter_suite!`](crate::emitter_suite) makes a test
//! of each. They rest on the truth of the CI server, which only the harness can change.

pub mod controlling;
pub mod looking;

use async_trait::async_trait;
use model::{
    Cordon, Epoch, Executor, ExecutorId, FleetId, InstanceName, JobId, Reading, Snapshot, Work,
};
use ports::{Emitter, EmitterErrorKind, ExecutorControl, Register, Registration};

use crate::hostile::AnotherPage;
pub use crate::provider::Shown;

/// A CI server with one pool, without jobs and executors at the start, and what a test may do to it.
///
/// What an adapter cannot show it says with the reason; the cases that need it are then skipped by name.
#[async_trait]
pub trait EmitterHarness: Send + Sync {
    /// The looking half.
    fn emitter(&self) -> &dyn Emitter;
    /// The control half.
    fn control(&self) -> &dyn ExecutorControl;
    /// Whose mark the executors carry.
    fn fleet(&self) -> FleetId;
    /// A well-formed id that no executor has.
    fn nobody(&self) -> ExecutorId;
    /// Queues a job that the pool's executors may take.
    async fn queue(&self) -> JobId;
    /// The machine behind a registration comes up.
    async fn join(&self, registration: &Registration);
    /// The job runs on this executor from now on.
    async fn start(&self, job: &JobId, executor: &ExecutorId);
    /// A running job ends well.
    async fn finish(&self, job: &JobId);
    /// The job is given to this executor, which has not begun with it.
    async fn promise(&self, job: &JobId, executor: &ExecutorId) -> Shown;
    /// The executor asks for a job, and is answered by [`EmitterHarness::answer`].
    async fn ask(&self, registration: &Registration) -> Shown;
    /// The open request is answered with whatever is queued, whatever happened meanwhile.
    async fn answer(&self, registration: &Registration) -> Shown;
    /// Every request fails from now on.
    async fn fail(&self) -> Shown;
    /// The next look gets its first page and not the rest. There is more than one page of jobs.
    async fn lose_a_page(&self) -> Shown;
    /// The right to see the jobs is taken away.
    async fn hide(&self) -> Shown;
    /// One more job waits, which the token may not see; the others it still sees.
    async fn hide_some(&self) -> Shown {
        Err("its rights are all or none")
    }
    /// Somebody else keeps the executor from taking jobs.
    async fn pause(&self, executor: &ExecutorId) -> Shown;
    /// An executor that Parmanu did not register.
    async fn foreign(&self) -> Shown<ExecutorId>;
    /// Where the CI server answers, for the cases of [`crate::hostile`] that change its answers.
    fn url(&self) -> Shown<String> {
        Err("the address of its server is not told")
    }
    /// How its answers say that another page follows; `None` where every list is one page.
    fn another_page(&self) -> Option<AnotherPage> {
        None
    }
    /// Why a whole case makes no sense here, if so.
    fn left_out(&self, case: &str) -> Option<&'static str> {
        let _ = case;
        None
    }
}

/// Makes a test of every case. Takes a function that gives a fresh [`EmitterHarness`], or `Err` with the reason why
/// there is none, for which every case is then skipped by name.
#[macro_export]
macro_rules! emitter_suite {
    ($start:path) => {
        $crate::emitter_suite! { @cases $start;
            looking::an_empty_server_is_a_complete_and_empty_look,
            looking::every_open_job_is_seen_once,
            looking::a_job_that_is_done_is_seen_no_more,
            looking::an_executor_is_seen_with_its_name_and_mark,
            looking::an_executor_with_a_job_is_busy,
            looking::a_cordon_is_seen_with_its_epoch,
            looking::a_foreign_executor_carries_no_mark,
            looking::a_server_that_fails_is_no_complete_look,
            looking::a_page_that_fails_is_no_complete_look,
            looking::a_look_without_rights_is_no_complete_look,
            looking::a_look_that_jobs_are_hidden_from_is_no_complete_look,
            looking::a_moment_is_read_in_the_servers_own_format,
            controlling::a_second_registration_of_a_name_is_found_by_the_name,
            controlling::a_cordon_asked_for_twice_is_one,
            controlling::a_cordon_leaves_running_jobs_alone,
            controlling::a_later_epoch_keeps_the_first_mark,
            controlling::an_uncordon_lifts_the_cordon_of_its_own_epoch,
            controlling::an_uncordon_refuses_the_cordon_of_another_epoch,
            controlling::a_pause_of_somebody_else_is_refused_and_stays,
            controlling::a_foreign_executor_is_never_touched,
            controlling::an_executor_that_is_not_there_is_unknown,
            controlling::an_idle_executor_is_certainly_idle,
            controlling::a_running_job_is_work,
            controlling::a_promised_job_is_work,
            controlling::a_job_handed_out_after_the_cordon_is_work,
            controlling::a_read_that_fails_is_never_idle,
            controlling::a_read_without_rights_is_never_idle,
            controlling::an_executor_that_joined_a_moment_ago_is_found,
            controlling::an_executor_that_never_was_is_absent,
            controlling::a_search_that_fails_is_no_absence,
            controlling::a_search_without_rights_is_no_absence,
            controlling::removing_what_is_not_there_is_success,
            controlling::an_executor_with_a_job_is_not_removed,
            controlling::a_removed_executor_is_seen_no_more,
        }
    };
    (@cases $start:path; $($group:ident :: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                match $start().await {
                    Ok(harness) => {
                        let harness: &dyn $crate::emitter::EmitterHarness = &harness;
                        let shown = match harness.left_out(stringify!($case)) {
                            Some(why) => Err(why),
                            None => $crate::emitter::$group::$case(harness).await,
                        };
                        if let Err(why) = shown {
                            $crate::provider::left_out(name, why);
                        }
                    }
                    Err(why) => {
                        let why: String = why;
                        $crate::store::skip(name, &why);
                    }
                }
            }
        )*
    };
}

/// The epoch that the cases act in.
pub(crate) const EPOCH: Epoch = Epoch(1_795_531_234_567);

/// A later one.
const LATER: Epoch = Epoch(1_795_531_234_568);

/// The name of machine number `index` of the pool `linux`.
pub(crate) fn instance(index: u32) -> InstanceName {
    let name = format!("linux-{EPOCH}-1-{index}");
    name.parse().expect("the name of a machine")
}

/// Registers an executor for machine number `index`.
async fn register(harness: &dyn EmitterHarness, index: u32) -> Registration {
    let request = Register::of(instance(index));
    let registered = harness.control().register(&request).await;
    registered.unwrap_or_else(|error| panic!("no executor was registered: {error:?}"))
}

/// A machine that is up.
pub(crate) async fn machine(harness: &dyn EmitterHarness, index: u32) -> Registration {
    let registration = register(harness, index).await;
    harness.join(&registration).await;
    registration
}

/// Looks and expects everything to be seen.
async fn look(harness: &dyn EmitterHarness) -> Snapshot {
    let looked = harness.emitter().probe().await;
    let snapshot = looked.unwrap_or_else(|error| panic!("the look failed: {error:?}"));
    let doubts = snapshot.completeness.doubts();
    assert!(doubts.is_empty(), "not seen: {doubts:?}");
    snapshot
}

/// The executor of this id as a whole look shows it.
async fn seen(harness: &dyn EmitterHarness, executor: &ExecutorId) -> Executor {
    let mut executors = look(harness).await.executors.into_iter();
    let found = executors.find(|seen| seen.id == *executor);
    found.unwrap_or_else(|| panic!("executor {executor} is not in the look"))
}

/// The strong read, which is expected to be answered.
async fn read(harness: &dyn EmitterHarness, executor: &ExecutorId) -> Reading {
    let reading = harness.control().read(executor).await;
    reading.unwrap_or_else(|error| panic!("executor {executor} was not read: {error:?}"))
}

pub(crate) async fn cordon(harness: &dyn EmitterHarness, executor: &ExecutorId, epoch: Epoch) {
    let done = harness.control().cordon(executor, epoch).await;
    done.unwrap_or_else(|error| panic!("executor {executor} was not cordoned: {error:?}"));
}

/// Expects a refusal because of what is there.
fn refused(done: Result<(), ports::EmitterError>) {
    match done {
        Err(error) if error.kind == EmitterErrorKind::Conflict => {}
        other => panic!("expected a conflict, got {other:?}"),
    }
}

/// Whether a reading allows a deletion.
pub(crate) fn is_idle(reading: &Reading) -> bool {
    matches!(reading.cordon, Cordon::Ours { .. }) && reading.work == Work::None
}
