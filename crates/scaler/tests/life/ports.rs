//! The ways from the loops to the fakes: HTTP to the CI server, and the port of a provider. A call that was sent arrives,
//! whether or not anybody is left to hear its answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{CreateBatch, FleetId, Instance, InstanceName, Listing, ProviderName};
use ports::{Call, Clock, Outcome, Provider, ProviderError, ProviderErrorKind};
use web::memory::{Received, Sent, Server};

use crate::cloud::Fared;
use crate::gate::Gate;
use crate::world::World;

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Half of a way, of a random length.
fn half(world: &Shared) -> Duration {
    let mut world = lock(world);
    let most = u64::try_from(world.weather.latency.as_millis()).unwrap_or(u64::MAX) / 2;
    Duration::from_millis(world.rng.u64(0..=most))
}

async fn travel(world: &Shared, clock: &Arc<dyn Clock>) {
    let half = half(world);
    if !half.is_zero() {
        clock.sleep(half).await;
    }
}

/// Sends a call on its way.
async fn sent<T: Send + 'static>(
    world: Shared,
    clock: Arc<dyn Clock>,
    work: impl FnOnce(&mut World) -> T + Send + 'static,
) -> T {
    let on_its_way = tokio::spawn(async move {
        travel(&world, &clock).await;
        let answer = work(&mut lock(&world));
        travel(&world, &clock).await;
        answer
    });
    on_its_way.await.expect("a call that arrives")
}

/// HTTP to the CI server, through one scaler's gate or that of nobody.
pub(crate) struct Wire {
    pub(crate) of_scaler: bool,
    pub(crate) world: Shared,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Gate,
}

#[async_trait]
impl Server for Wire {
    async fn answer(&self, request: Sent) -> Option<Received> {
        self.gate.cross().await;
        let clock = self.clock.clone();
        let now = self.clock.clone();
        let of_scaler = self.of_scaler;
        let answered = sent(self.world.clone(), clock, move |world| {
            let request = fake_server::Request {
                method: request.method,
                path: request.url.path().to_owned(),
                query: request.url.query().unwrap_or_default().to_owned(),
                headers: request.headers,
                body: request.body,
            };
            if world.down {
                return Some(fake_server::Response::of(503, "text/html", "down"));
            }
            let answer = if of_scaler {
                world.answer_scaler(&request)
            } else {
                world.ci.answer(&request, now.now())
            };
            let lost = world.rng.u32(0..1000) < world.weather.lost;
            (!lost).then_some(answer)
        });
        let answered = answered.await;
        self.gate.cross().await;
        let answer = answered?;
        Some(Received {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        })
    }
}

/// A cloud as the port knows it.
pub(crate) struct CloudPort {
    pub(crate) name: ProviderName,
    pub(crate) world: Shared,
    pub(crate) clock: Arc<dyn Clock>,
}

impl CloudPort {
    fn error(&self, kind: ProviderErrorKind, why: impl Into<String>) -> ProviderError {
        ProviderError {
            kind,
            provider: self.name.clone(),
            operation: "carry out a call",
            message: why.into(),
            source: None,
        }
    }

    fn outcome<T>(&self, fared: Fared<T>) -> Outcome<T> {
        match fared {
            Fared::Whole(value) => Outcome::Done(value),
            Fared::Refused(kind, why) => Outcome::Failed(self.error(kind, why)),
            Fared::Lost => Outcome::Unknown(self.error(ProviderErrorKind::UnknownOutcome, "lost")),
        }
    }

    async fn deleted(&self, name: ProviderName, target: Instance) -> Fared<()> {
        let (world, clock) = (self.world.clone(), self.clock.clone());
        let takes = {
            let mut world = lock(&world);
            world.deletions_asked += 1;
            world.deletion_takes
        };
        // as every call, it arrives whatever becomes of whoever sent it
        let on_its_way = tokio::spawn(async move {
            let at = clock.boottime();
            if !takes.is_zero() {
                clock.sleep(takes).await;
            }
            sent(world, clock, move |world| world.delete(&name, &target, at)).await
        });
        on_its_way.await.expect("a call that arrives")
    }

    fn late<T>(&self) -> Outcome<T> {
        Outcome::Failed(self.error(ProviderErrorKind::LeaseOver, "the lease is over"))
    }
}

#[async_trait]
impl Provider for CloudPort {
    async fn list(&self, fleet: &FleetId) -> Result<Listing, ProviderError> {
        let (name, fleet, clock) = (self.name.clone(), fleet.clone(), self.clock.clone());
        let listed = sent(self.world.clone(), self.clock.clone(), move |world| {
            let cloud = world.clouds.get_mut(&name).expect("a cloud");
            cloud.list(&fleet, clock.now())
        });
        match listed.await {
            Fared::Whole(listing) => Ok(listing),
            Fared::Refused(kind, why) => Err(self.error(kind, why)),
            Fared::Lost => Err(self.error(ProviderErrorKind::Unreachable, "lost")),
        }
    }

    async fn create(&self, batch: &CreateBatch, call: &Call) -> Vec<Outcome<Instance>> {
        if call.remaining().is_none() {
            return vec![self.late()];
        }
        lock(&self.world).on_the_way.insert(batch.batch.to_string());
        let batch_size = batch.count;
        let (name, batch) = (self.name.clone(), batch.clone());
        let made = sent(self.world.clone(), self.clock.clone(), move |world| {
            world.on_the_way.remove(&batch.batch.to_string());
            world.create(&name, &batch)
        });
        let all = 0..batch_size;
        match made.await {
            Fared::Whole(made) => made.into_iter().map(Outcome::Done).collect(),
            Fared::Refused(kind, why) => all
                .map(|_| self.outcome(Fared::Refused(kind, why.clone())))
                .collect(),
            Fared::Lost => all.map(|_| self.outcome(Fared::Lost)).collect(),
        }
    }

    async fn ask_guests(
        &self,
        instances: &[Instance],
        _: &str,
        call: &Call,
    ) -> Vec<Outcome<InstanceName>> {
        if call.remaining().is_none() {
            return instances.iter().map(|_| self.late()).collect();
        }
        let names: Vec<InstanceName> = instances.iter().map(|it| it.name.clone()).collect();
        let asked = sent(self.world.clone(), self.clock.clone(), move |world| {
            names.iter().for_each(|name| world.asks_to_leave(name));
            names
        });
        asked.await.into_iter().map(Outcome::Done).collect()
    }

    async fn delete(&self, instances: &[Instance], call: &Call) -> Vec<Outcome<InstanceName>> {
        let mut outcomes = Vec::new();
        for instance in instances {
            if call.remaining().is_none() {
                outcomes.push(self.late());
                continue;
            }
            let (name, target) = (self.name.clone(), instance.clone());
            let gone = self.deleted(name, target);
            outcomes.push(match self.outcome(gone.await) {
                Outcome::Done(()) => Outcome::Done(instance.name.clone()),
                Outcome::Failed(error) => Outcome::Failed(error),
                Outcome::Unknown(error) => Outcome::Unknown(error),
            });
        }
        outcomes
    }
}
