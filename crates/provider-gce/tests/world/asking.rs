//! Batches to ask for, and short ways of asking.

use std::time::Duration;

use model::{
    BatchId, CreateBatch, Epoch, ExecutorId, ExecutorRef, FleetId, InstallationId, Instance,
    OfferId, UserData,
};
use ports::{Call, Outcome, ProviderError};

use super::World;

pub(crate) const CANARY: &str = "canary-boot-token";

pub(crate) fn fleet() -> FleetId {
    "acme".parse().expect("the name of a fleet")
}

pub(crate) fn batch(sequence: u32, count: u32) -> CreateBatch {
    CreateBatch {
        fleet: fleet(),
        installation: InstallationId::new("here"),
        batch: BatchId {
            pool: "linux".parse().expect("the name of a pool"),
            epoch: Epoch(7),
            sequence,
        },
        count,
        offer: OfferId {
            machine: "large".parse().expect("the name of a machine"),
            index: 0,
        },
        spec: super::offer(),
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: (count == 1).then(|| ExecutorRef {
            emitter: "gitlab".parse().expect("the name of an emitter"),
            id: ExecutorId::new("42:Odd"),
        }),
        user_data: UserData(format!("#!/bin/sh\nregister {CANARY}\n")),
    }
}

impl World {
    pub(crate) fn call(&self) -> Call {
        Call::within(self.clock.clone(), Duration::from_secs(600))
    }

    pub(crate) async fn create(&self, batch: &CreateBatch) -> Vec<Outcome<Instance>> {
        self.provider.create(batch, &self.call()).await
    }

    pub(crate) async fn made(&self, batch: &CreateBatch) -> Vec<Instance> {
        let outcomes = self.create(batch).await.into_iter();
        let made = outcomes.map(|outcome| match outcome {
            Outcome::Done(machine) => machine,
            other => panic!("{other:?}"),
        });
        made.collect()
    }

    pub(crate) async fn listed(&self) -> Vec<Instance> {
        let listing = self.provider.list(&fleet()).await.expect("a listing");
        assert!(listing.unknown.is_empty(), "{:?}", listing.unknown);
        listing.instances
    }

    pub(crate) async fn unseen(&self) -> Vec<String> {
        let listing = self.provider.list(&fleet()).await;
        listing.expect("a listing").unknown
    }

    pub(crate) async fn words(&self, batch: &CreateBatch) -> Vec<&'static str> {
        let outcomes = self.create(batch).await;
        outcomes.iter().map(Outcome::as_str).collect()
    }

    pub(crate) async fn error(&self, batch: &CreateBatch) -> ProviderError {
        match self.create(batch).await.into_iter().next() {
            Some(Outcome::Failed(error) | Outcome::Unknown(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The body of the last call of a method.
    pub(crate) fn sent(&self, method: &str) -> fake_gce::Call {
        let gce = self.gce();
        let call = gce.log().iter().rev().find(|call| call.method == method);
        call.expect("such a call").clone()
    }
}
