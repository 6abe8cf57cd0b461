//! The wire: three EC2 calls through the AWS SDK.
//!
//! [`Client::ask`] and [`Client::act`] are the two doors to the network, and so the place where a rate limiter would stand. What a
//! launch says is `launch`'s business, what a failure means is `broken`'s.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types as sdk;
use jiff::Timestamp;
use ports::{Call, Clock, ProviderErrorKind};
use tokio::sync::OnceCell;

use crate::broken::failure;
use crate::config::Config;
use crate::connect::connect;
use crate::convert::Seen;
use crate::error::{Failure, Fate};
use crate::launch::{self, Launch};

/// Longest time for one request. EC2 answers in one or two seconds; a launch of a hundred machines has been
/// seen to take ten. A lease that ends earlier cuts it shorter.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Machines per page: the largest EC2 gives, as every page costs a call.
const PAGE: i32 = 1000;

/// One account in one region.
pub(crate) struct Client {
    config: Config,
    clock: Arc<dyn Clock>,
    sdk: OnceCell<aws_sdk_ec2::Client>,
}

/// One page of a listing.
pub(crate) struct Page {
    pub(crate) machines: Vec<Seen>,
    pub(crate) next: Option<String>,
}

impl Client {
    pub(crate) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            clock,
            sdk: OnceCell::new(),
        }
    }

    pub(crate) fn region(&self) -> &str {
        &self.config.region
    }

    /// One page of the machines that carry all of these tags.
    pub(crate) async fn page(
        &self,
        tags: &[(&str, &str)],
        token: Option<String>,
        limit: Duration,
    ) -> Result<Page, Failure> {
        // With a filter AND a page size the call draws on the larger of EC2's two buckets.
        let filters = tags.iter().map(|(key, value)| {
            sdk::Filter::builder()
                .name(format!("tag:{key}"))
                .values(*value)
                .build()
        });
        let request = self.sdk().await.describe_instances();
        let request = request
            .set_filters(Some(filters.collect()))
            .max_results(PAGE);
        let answer = self
            .ask(limit, request.set_next_token(token).send())
            .await?;
        let machines = answer
            .reservations()
            .iter()
            .flat_map(|r| r.instances())
            .map(seen)
            .collect();
        // EC2 ends a listing with no token or an empty one
        let next = answer
            .next_token()
            .filter(|token| !token.is_empty())
            .map(str::to_owned);
        Ok(Page { machines, next })
    }

    /// Launches machines: all of them, or as many as there are, at least one.
    pub(crate) async fn run(&self, launch: Launch<'_>, call: &Call) -> Result<Vec<Seen>, Failure> {
        let request = self.sdk().await.run_instances();
        let answer = self
            .act(call, launch::request(request, launch).send())
            .await?;
        Ok(answer.instances().iter().map(seen).collect())
    }

    /// Terminates machines: all of them or, if one id is bad, none.
    pub(crate) async fn terminate(&self, ids: &[&str], call: &Call) -> Result<(), Failure> {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        let request = self
            .sdk()
            .await
            .terminate_instances()
            .set_instance_ids(Some(ids));
        self.act(call, request.send()).await.map(drop)
    }

    /// A question: it may take so long.
    async fn ask<T, E>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = limit.min(REQUEST_LIMIT);
        let answer = ports::timeout(self.clock.as_ref(), limit, request).await;
        answer.map_or_else(
            || Err(silence()),
            |answer| answer.map_err(|error| failure(&error)),
        )
    }

    /// An act: it is sent only while the lease lasts, and waited for no longer, extensions included.
    async fn act<T, E>(
        &self,
        call: &Call,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if call.remaining().is_none() {
            return Err(over());
        }
        let answer = call.run(REQUEST_LIMIT, request).await;
        answer.map_or_else(
            || Err(silence()),
            |answer| answer.map_err(|error| failure(&error)),
        )
    }

    async fn sdk(&self) -> &aws_sdk_ec2::Client {
        self.sdk.get_or_init(|| connect(&self.config)).await
    }
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
