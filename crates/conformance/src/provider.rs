//! What every provider must do.
//!
//! The cases are plain async functions over a [`ProviderHarness`]; [`provider_suite!`](crate::provider_suite) makes a
//! test of each. No case trusts a listing before [`ProviderHarness::settle`]: a cloud's list lags behind its answers.

pub mod creating;
pub mod deleting;
pub mod listing;
pub mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use model::{
    BatchId, CreateBatch, Epoch, FleetId, InstallationId, Instance, InstanceName, Listing, OfferId,
    ProviderRef, UserData,
};
use ports::{Call, Clock, Outcome, Provider};

/// A cloud, and what a test may do to it.
///
/// What an adapter cannot show it says with the reason; the cases that need it are then skipped by name.
#[async_trait]
pub trait ProviderHarness: Send + Sync {
    /// The provider.
    fn provider(&self) -> &dyn Provider;
    /// The clock that the provider was made with.
    fn clock(&self) -> Arc<dyn Clock>;
    /// An offer that it can serve, as its `Offer` type reads it.
    fn offer(&self) -> serde_json::Value;
    /// A fleet that nobody else uses; the same one each time.
    fn fleet(&self) -> FleetId;
    /// A well-formed id that no machine has.
    fn nobody(&self) -> ProviderRef;
    /// Machines that one creation may ask for.
    fn largest_batch(&self) -> u32 {
        u32::MAX
    }
    /// Lets time pass until listings tell what happened before.
    async fn settle(&self);
    /// The machines that exist in truth, whoever made them: not by the provider's listing.
    async fn alive(&self) -> Shown<usize>;
    /// Makes a machine that Parmanu did not make, and gives its id.
    async fn foreign(&self) -> Shown<ProviderRef>;
    /// The cloud, or the guest, says that this machine is taken back soon.
    async fn announce_end(&self, machine: &Instance) -> Shown {
        let _ = machine;
        Err("nobody announces the end of a machine here")
    }
    /// The next creation is carried out and its answer lost.
    async fn lose_reply(&self) -> Shown;
    /// There is room for so many more machines of the offer.
    async fn room(&self, machines: u32) -> Shown;
    /// The next listing cannot see a part of the machines, or none.
    async fn blind(&self) -> Shown;
    /// The next creation is refused like this and makes nothing.
    async fn refuse(&self, refusal: Refusal) -> Shown;
    /// Why a whole case makes no sense here, if so.
    fn left_out(&self, case: &str) -> Option<&'static str> {
        let _ = case;
        None
    }
}

/// What a harness or a case could do, or why it cannot be shown here.
pub type Shown<T = ()> = Result<T, &'static str>;

/// The ways in which a cloud says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many calls.
    Throttled,
    /// None left of this offer.
    OutOfCapacity,
    /// The account's quota is used up.
    OverQuota,
    /// Credentials or policy.
    Unauthorized,
    /// Something in the offer does not exist.
    BadRequest,
}

/// Makes a test of every case. Takes a function that gives a fresh [`ProviderHarness`], or `Err` with the reason why
/// there is none, for which every case is then skipped by name. `provider_suite!(start, extended)` is for a part that only the
/// extended run starts: without it the cases are left out on purpose.
#[macro_export]
macro_rules! provider_suite {
    ($start:path) => {
        $crate::every_provider_case! { $crate::provider_suite, @cases $start, missing; }
    };
    ($start:path, extended) => {
        $crate::every_provider_case! { $crate::provider_suite, @cases $start, left_out; }
    };
    (@cases $start:path, $absent:ident; $($group:ident :: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                match $start().await {
                    Ok(harness) => {
                        let harness: &dyn $crate::provider::ProviderHarness = &harness;
                        let shown = match harness.left_out(stringify!($case)) {
                            Some(why) => Err(why),
                            None => $crate::provider::$group::$case(harness).await,
                        };
                        if let Err(why) = shown {
                            $crate::provider::left_out(name, why);
                        }
                    }
                    Err(why) => {
                        let why: String = why;
                        $crate::provider::$absent(name, &why);
                    }
                }
            }
        )*
    };
}

/// Gives the names of all cases to a macro, for whoever wants to do something else with them than a test of each. What
/// follows the macro's name stands before them.
#[macro_export]
macro_rules! every_provider_case {
    ($macro:path, $($before:tt)*) => {
        $macro! {
            $($before)*
            creating::created_machines_are_listed_with_their_marks,
            creating::a_single_machine_carries_its_executor,
            creating::the_same_batch_again_creates_nothing_new,
            creating::two_batches_of_a_pool_are_two_sets,
            creating::a_lost_reply_is_unknown_and_the_listing_finds_the_machines,
            creating::a_batch_asked_for_again_after_a_lost_reply_is_one_set,
            creating::what_there_is_no_room_for_fails_and_the_rest_is_made,
            creating::a_refusal_says_what_can_be_done_and_makes_nothing,
            creating::an_offer_that_cannot_be_read_is_refused,
            creating::a_creation_after_its_lease_makes_nothing,
            creating::a_creation_given_up_at_any_moment_is_one_set_when_asked_for_again,
            deleting::a_deleted_machine_is_gone_and_deleting_it_again_is_success,
            deleting::deleting_what_never_was_is_success,
            deleting::one_bad_id_fails_no_other,
            deleting::a_deletion_after_its_lease_deletes_nothing,
            deleting::a_deletion_given_up_at_any_moment_can_be_asked_for_again,
            deleting::a_foreign_machine_is_never_deleted,
            listing::an_empty_fleet_is_a_complete_and_empty_listing,
            listing::all_of_many_machines_are_listed_once,
            listing::a_foreign_machine_is_never_listed,
            listing::two_fleets_stand_side_by_side,
            listing::a_listing_that_lags_loses_nothing,
            listing::what_could_not_be_seen_is_named,
            listing::a_machine_that_is_taken_back_is_listed_with_the_notice,
            telling::a_renewal_is_listed_to_the_microsecond,
            telling::a_renewal_reaches_every_machine_but_those_that_are_not_there,
            telling::a_console_is_read_or_said_to_be_none,
        }
    };
}

/// Notes a case that was skipped for want of its part.
pub fn missing(name: &str, why: &str) {
    crate::store::skip(name, why);
}

/// Notes a case that an adapter cannot show by its nature. The prefix tells the report that it was left out on
/// purpose, which is no failure; a part that is missing is one.
pub fn left_out(name: &str, why: &str) {
    crate::store::skip(&format!("extended/{name}"), why);
}

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

/// The right to act for as long as the test takes.
fn call(harness: &dyn ProviderHarness) -> Call {
    Call::within(harness.clock(), LONG)
}

/// The right to act, which has just ended.
fn ended_call(harness: &dyn ProviderHarness) -> Call {
    Call::within(harness.clock(), Duration::ZERO)
}

/// A batch of the harness's fleet, of so many machines or as many as one may have.
fn batch(harness: &dyn ProviderHarness, sequence: u32, count: u32) -> CreateBatch {
    CreateBatch {
        fleet: harness.fleet(),
        installation: InstallationId::new("installation-1"),
        batch: BatchId {
            pool: "linux-m".parse().expect("the name of a pool"),
            epoch: Epoch(1_795_531_234_567),
            sequence,
        },
        count: count.min(harness.largest_batch()),
        offer: OfferId {
            machine: "large".parse().expect("the name of a machine"),
            index: 1,
        },
        spec: harness.offer(),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: None,
        user_data: UserData("#!/bin/sh\necho hello\n".to_owned()),
    }
}

/// The names a batch must give, in order.
fn names(batch: &CreateBatch) -> Vec<InstanceName> {
    (0..batch.count)
        .map(|index| batch.batch.instance(index))
        .collect()
}

/// Creates and expects every machine to be made.
async fn create(harness: &dyn ProviderHarness, batch: &CreateBatch) -> Vec<Instance> {
    let outcomes = harness.provider().create(batch, &call(harness)).await;
    let made = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Done(machine) => machine,
        Outcome::Failed(error) | Outcome::Unknown(error) => {
            panic!("{} was not made: {error:?}", batch.batch)
        }
    });
    made.collect()
}

/// So many machines, in as few batches as may be, in the order of their names.
async fn machines(harness: &dyn ProviderHarness, count: u32) -> Vec<Instance> {
    let mut made = Vec::new();
    for sequence in 1.. {
        let left = count - u32::try_from(made.len()).expect("a small number");
        if left == 0 {
            break;
        }
        made.extend(create(harness, &batch(harness, sequence, left)).await);
    }
    made
}

/// The names of these machines, sorted.
fn names_of(machines: &[Instance]) -> Vec<InstanceName> {
    let mut names: Vec<_> = machines
        .iter()
        .map(|machine| machine.name.clone())
        .collect();
    names.sort();
    names
}

/// Lists and expects everything to be seen.
async fn list(harness: &dyn ProviderHarness, fleet: &FleetId) -> Listing {
    let listing = harness.provider().list(fleet).await;
    let listing = listing.unwrap_or_else(|error| panic!("the fleet was not listed: {error:?}"));
    assert!(
        listing.unknown.is_empty(),
        "not seen: {:?}",
        listing.unknown
    );
    listing
}

/// The machines of the harness's fleet that a listing shows and that are not on their way out, by name.
async fn standing(harness: &dyn ProviderHarness) -> BTreeMap<InstanceName, Instance> {
    use model::InstanceState::{Gone, Stopping};
    let machines = list(harness, &harness.fleet()).await.instances.into_iter();
    machines
        .filter(|machine| !matches!(machine.state, Gone { .. } | Stopping))
        .map(|machine| (machine.name.clone(), machine))
        .collect()
}

/// The names of [`standing`].
async fn standing_names(harness: &dyn ProviderHarness) -> Vec<InstanceName> {
    standing(harness).await.into_keys().collect()
}

/// A machine that was never made, as a listing would show it.
fn never_made(harness: &dyn ProviderHarness, like: &Instance) -> Instance {
    let mut ghost = like.clone();
    ghost.id = harness.nobody();
    ghost.name.index += 100;
    ghost
}

/// What comes of a future that is dropped after so many polls, if it has not come by then.
async fn given_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// How often an action is polled before it is given up: before anything is sent, and at several moments after.
const GIVEN_UP: [u32; 5] = [0, 1, 2, 4, 8];

/// Expects each outcome to be a success.
fn all_done<T: std::fmt::Debug>(outcomes: Vec<Outcome<T>>) -> Vec<T> {
    let done = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Done(value) => value,
        Outcome::Failed(error) | Outcome::Unknown(error) => panic!("not done: {error:?}"),
    });
    done.collect()
}
