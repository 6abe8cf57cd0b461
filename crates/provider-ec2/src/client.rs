//! The wire: a handful of EC2 calls through the AWS SDK.
//!
//! [`Client::ask`] and [`Client::act`] are the two doors to the network, and each waits for the account's budget of calls
//! first. What a launch says is `launch`'s business, what a failure means is `broken`'s.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types as sdk;
use jiff::Timestamp;
use pacer::{Busy, Turn};
use ports::{Call, Clock, ProviderErrorKind};
use tokio::sync::OnceCell;

use crate::broken::failure;
use crate::budget::{Budget, Cost, PATIENCE};
use crate::config::{Config, ImageName};
use crate::connect::connect;
use crate::convert::Seen;
use crate::error::{Failure, Fate};
use crate::images::Found;
use crate::launch::{self, Launch};
use crate::leftovers::{Disk, disk};

/// Longest time for one request. EC2 answers in one or two seconds; a launch of a hundred machines has been
/// seen to take ten. A lease that ends earlier cuts it shorter.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Longest time for an act, the wait for its turn included.
const ACT_LIMIT: Duration = REQUEST_LIMIT.saturating_add(PATIENCE);

/// Machines per page: the largest EC2 gives, as every page costs a call.
const PAGE: i32 = 1000;

/// Disks per page, the largest EC2 gives.
const DISKS: i32 = 500;

/// Longest console that is read: EC2 keeps 64 KiB.
const CONSOLE: usize = 256 * 1024;

/// One account in one region.
pub(crate) struct Client {
    config: Config,
    clock: Arc<dyn Clock>,
    budget: Budget,
    sdk: OnceCell<aws_sdk_ec2::Client>,
}

/// One page of a listing.
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    pub(crate) next: Option<String>,
}

/// What is to be listed, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Names and values of EC2's filters; all must fit.
    pub(crate) filters: &'a [(&'a str, &'a [&'a str])],
    pub(crate) turn: Turn,
}

/// A spot machine that EC2 takes back, and the status of its request.
pub(crate) struct TakenBack {
    pub(crate) machine: String,
    pub(crate) status: String,
}

impl Client {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let budget = Budget::new(&clock);
        Self {
            config,
            clock,
            budget,
            sdk: OnceCell::new(),
        }
    }

    /// The same with a client of the SDK that a test has made.
    #[cfg(test)]
    pub(crate) fn with_sdk(self, sdk: aws_sdk_ec2::Client) -> Self {
        let sdk = OnceCell::new_with(Some(sdk));
        Self { sdk, ..self }
    }

    /// How long a launch that was asked for now would wait for its turn, if that is longer than anybody waits.
    pub(crate) fn launches_wait(&self) -> Option<Duration> {
        Some(self.budget.wait(Cost::Launch(1))).filter(|wait| *wait > PATIENCE)
    }

    pub(crate) fn region(&self) -> &str {
        &self.config.region
    }

    /// One page of the machines that are wanted.
    pub(crate) async fn page(
        &self,
        wanted: Wanted<'_>,
        token: Option<String>,
        limit: Duration,
    ) -> Result<Page<Seen>, Failure> {
        // With a filter AND a page size the call draws on the larger of EC2's two buckets.
        let request = self.sdk().await.describe_instances();
        let request = request
            .set_filters(Some(filters(wanted.filters)))
            .max_results(PAGE)
            .set_next_token(token);
        let answer = self
            .ask(Cost::List(wanted.turn), limit, request.send())
            .await?;
        let machines = answer.reservations().iter().flat_map(|r| r.instances());
        Ok(Page {
            rows: machines.map(seen).collect(),
            next: next(answer.next_token()),
        })
    }

    /// One page of the spot requests that are wanted.
    pub(crate) async fn taken_back(
        &self,
        wanted: Wanted<'_>,
        token: Option<String>,
        limit: Duration,
    ) -> Result<Page<TakenBack>, Failure> {
        let request = self.sdk().await.describe_spot_instance_requests();
        let request = request
            .set_filters(Some(filters(wanted.filters)))
            .max_results(PAGE)
            .set_next_token(token);
        let answer = self.ask(Cost::Spot, limit, request.send()).await?;
        let rows = answer
            .spot_instance_requests()
            .iter()
            .filter_map(|request| {
                Some(TakenBack {
                    machine: request.instance_id()?.to_owned(),
                    status: request.status()?.code()?.to_owned(),
                })
            });
        Ok(Page {
            rows: rows.collect(),
            next: next(answer.next_token()),
        })
    }

    /// One page of the disks that are wanted.
    pub(crate) async fn disks(
        &self,
        wanted: &[(&str, &[&str])],
        token: Option<String>,
        limit: Duration,
    ) -> Result<Page<Disk>, Failure> {
        let request = self.sdk().await.describe_volumes();
        let request = request
            .set_filters(Some(filters(wanted)))
            .max_results(DISKS)
            .set_next_token(token);
        let answer = self.ask(Cost::Disks, limit, request.send()).await?;
        let rows = answer.volumes().iter().filter_map(disk);
        Ok(Page {
            rows: rows.collect(),
            next: next(answer.next_token()),
        })
    }

    /// The images of a name that machines can be made from. They fit one answer: a name with more images than that is
    /// refused, since the newest may be among those that are not shown.
    pub(crate) async fn images(
        &self,
        name: &ImageName,
        call: &Call,
        limit: Duration,
    ) -> Result<Vec<Found>, Failure> {
        let wanted = [
            ("name", &[name.name.as_str()][..]),
            ("state", &["available"]),
        ];
        let request = self.sdk().await.describe_images();
        let request = request
            .owners(&name.owner)
            .set_filters(Some(filters(&wanted)))
            .max_results(PAGE);
        let answer = self.act(Cost::Images, call, limit, request.send()).await;
        // only a question was asked
        let answer = answer.map_err(Failure::not_done)?;
        if next(answer.next_token()).is_some() {
            let message = format!("more than {PAGE} images are called `{}`", name.name);
            let kind = ProviderErrorKind::InvalidRequest;
            return Err(Failure::new(kind, Fate::NotDone, message));
        }
        let found = answer.images().iter().filter_map(|image| {
            Some(Found {
                id: image.image_id()?.to_owned(),
                created: image.creation_date()?.to_owned(),
            })
        });
        Ok(found.collect())
    }

    /// What a machine printed, in base64. The latest output is to be had of newer machine types only.
    pub(crate) async fn console(
        &self,
        id: &str,
        latest: bool,
        call: &Call,
    ) -> Result<Option<String>, Failure> {
        let request = self.sdk().await.get_console_output().instance_id(id);
        let request = request.set_latest(latest.then_some(true));
        let answer = self
            .act(Cost::Console, call, ACT_LIMIT, request.send())
            .await;
        let answer = answer.map_err(Failure::not_done)?;
        let output = answer.output().filter(|output| output.len() <= CONSOLE);
        Ok(output.map(str::to_owned))
    }

    /// Sets a tag on machines: on all of them or, if one id is bad, on none.
    pub(crate) async fn tag(
        &self,
        ids: &[&str],
        tag: (&str, &str),
        call: &Call,
    ) -> Result<(), Failure> {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        let tag = sdk::Tag::builder().key(tag.0).value(tag.1).build();
        let request = self.sdk().await.create_tags();
        let request = request.set_resources(Some(ids)).tags(tag);
        self.act(Cost::Tag, call, ACT_LIMIT, request.send())
            .await
            .map(drop)
    }

    /// Launches machines: all of them, or as many as there are, at least one.
    /// Within `limit`, the wait for its turn included; nothing is sent when the turn leaves no time for an answer.
    pub(crate) async fn run(
        &self,
        launch: Launch<'_>,
        call: &Call,
        limit: Duration,
    ) -> Result<Vec<Seen>, Failure> {
        let request = self.sdk().await.run_instances();
        let cost = Cost::Launch(launch.count);
        let answer = self
            .act(cost, call, limit, launch::request(request, launch).send())
            .await?;
        Ok(answer.instances().iter().map(seen).collect())
    }

    /// Terminates machines: all of them or, if one id is bad, none.
    pub(crate) async fn terminate(&self, ids: &[&str], call: &Call) -> Result<(), Failure> {
        let cost = Cost::End(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        let request = self.sdk().await.terminate_instances();
        let request = request.set_instance_ids(Some(ids));
        self.act(cost, call, ACT_LIMIT, request.send())
            .await
            .map(drop)
    }

    /// A question: it may take so long, the wait for its turn included.
    async fn ask<T, E>(
        &self,
        cost: Cost,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let until = self.clock.boottime().saturating_add(limit);
        self.budget
            .take(cost, limit.min(PATIENCE))
            .await
            .map_err(busy)?;
        let left = until.saturating_sub(self.clock.boottime());
        let answer = ports::timeout(&*self.clock, left.min(REQUEST_LIMIT), request).await;
        self.heard(cost, answer)
    }

    /// An act: it is sent only while the lease lasts and while `limit` leaves time for its answer, and waited for no longer
    /// than the lease, extensions included.
    async fn act<T, E>(
        &self,
        cost: Cost,
        call: &Call,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let patience = PATIENCE.min(limit.saturating_sub(REQUEST_LIMIT));
        let turn = call.run(ACT_LIMIT, self.budget.take(cost, patience)).await;
        turn.ok_or_else(over)?.map_err(busy)?;
        // the wait may have outlasted the lease
        if call.remaining().is_none() {
            return Err(over());
        }
        let answer = call.run(REQUEST_LIMIT, request).await;
        self.heard(cost, answer)
    }

    /// What came of a request that was sent; `None` if nothing came.
    fn heard<T, E>(&self, cost: Cost, answer: Option<Result<T, SdkError<E>>>) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let mut failure = match answer {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => failure(&error),
            None => return Err(silence()),
        };
        if let ProviderErrorKind::RateLimited { retry_after } = &mut failure.kind {
            self.budget.refused(cost);
            *retry_after = Some(self.budget.wait(cost));
        }
        Err(failure)
    }

    async fn sdk(&self) -> &aws_sdk_ec2::Client {
        self.sdk.get_or_init(|| connect(&self.config)).await
    }
}

/// The account's own call rate is used up; nothing was sent.
fn busy(busy: Busy) -> Failure {
    let retry_after = Some(busy.retry_after);
    let kind = ProviderErrorKind::RateLimited { retry_after };
    let message = format!("{busy}, and was not asked");
    Failure::new(kind, Fate::NotDone, message)
}

fn filters(wanted: &[(&str, &[&str])]) -> Vec<sdk::Filter> {
    let filter = |(name, values): &(&str, &[&str])| {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        let filter = sdk::Filter::builder().name(*name);
        filter.set_values(Some(values)).build()
    };
    wanted.iter().map(filter).collect()
}

/// EC2 ends a listing with no token or an empty one.
fn next(token: Option<&str>) -> Option<String> {
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}

/// No answer in the time there was.
fn silence() -> Failure {
    let message = "no answer in time, or the lease ended first";
    Failure::new(ProviderErrorKind::UnknownOutcome, Fate::Unknown, message)
}

/// The right to act was over before anything was sent.
pub(crate) fn over() -> Failure {
    let message = "the lease was over before the request was sent";
    Failure::new(ProviderErrorKind::LeaseOver, Fate::NotDone, message)
}

fn seen(machine: &sdk::Instance) -> Seen {
    let tags = machine.tags().iter();
    let launched = machine
        .launch_time()
        .and_then(|time| Timestamp::from_second(time.secs()).ok());
    let state = machine.state().and_then(|state| state.name());
    let index = machine
        .ami_launch_index()
        .and_then(|index| u32::try_from(index).ok());
    Seen {
        id: machine.instance_id().unwrap_or_default().to_owned(),
        launch_index: index,
        state: state.map(|name| name.as_str().to_owned()),
        reason: machine
            .state_reason()
            .and_then(|reason| reason.code())
            .map(str::to_owned),
        is_spot: machine.instance_lifecycle() == Some(&sdk::InstanceLifecycleType::Spot),
        zone: machine
            .placement()
            .and_then(|place| place.availability_zone())
            .map(str::to_owned),
        launched_at: launched,
        tags: tags
            .filter_map(|tag| {
                Some((
                    tag.key()?.to_owned(),
                    tag.value().unwrap_or_default().to_owned(),
                ))
            })
            .collect(),
    }
}
