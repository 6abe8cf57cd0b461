//! The fake project as the suite for every provider uses it.

use std::sync::Arc;
use std::time::Duration;

use super::{TYPE, World, ZONES, offer};
use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use fake_gce::{Fault, Request};
use model::{FleetId, Instance, ProviderRef};
use ports::{Clock, Provider};
use serde_json::{Value, json};

/// How long the fake's listing lags behind, both ways.
pub(crate) const LAG: Duration = Duration::from_secs(30);

/// Both ways in which machines are made.
const CREATIONS: [&str; 2] = ["instances.insert", "instances.bulkInsert"];

#[async_trait]
impl ProviderHarness for World {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        let mut offer = offer();
        // what may be taken back or moved by force is told of it
        offer["market"] = json!("spot");
        offer
    }
    fn fleet(&self) -> FleetId {
        "acme".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("linux-m-1-1-99")
    }
    async fn settle(&self) {
        self.clock.pass(LAG * 2);
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(World::alive(self))
    }
    async fn announce_end(&self, machine: &Instance) -> Shown {
        let now = self.clock.now();
        let there = self.gce().announce_maintenance(machine.id.as_str(), now);
        assert!(there, "the machine is there");
        Ok(())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let body = json!({
            "name": "database",
            "machineType": format!("zones/{}/machineTypes/{TYPE}", ZONES[0]),
            "disks": [{"boot": true, "initializeParams": {"sourceImage": "global/images/family/ci-linux"}}],
            "networkInterfaces": [{"network": "global/networks/default"}],
            "labels": {"team": "data"},
        });
        let request = Request {
            method: "POST".to_owned(),
            path: format!("/compute/v1/projects/acme-ci/zones/{}/instances", ZONES[0]),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        };
        let now = self.clock.now();
        let mut gce = self.gce();
        gce.settings().anonymous = true;
        let response = gce.handle(&request, now);
        gce.settings().anonymous = false;
        assert_eq!(response.status, 200, "{}", response.body);
        Ok(ProviderRef::new("database"))
    }
    async fn lose_reply(&self) -> Shown {
        for method in CREATIONS {
            self.gce().fault(method, 1, Fault::DropAfter);
        }
        Ok(())
    }
    async fn room(&self, machines: u32) -> Shown {
        let mut gce = self.gce();
        for (zone, room) in ZONES.into_iter().zip([0, machines]) {
            gce.set_capacity(TYPE, zone, Some(room));
        }
        Ok(())
    }
    async fn blind(&self) -> Shown {
        self.gce()
            .fault("instances.aggregatedList", 1, Fault::BackendError);
        Ok(())
    }
    async fn refuse(&self, refusal: Refusal) -> Shown {
        let at_once = |status, reason: &str| Fault::Refuse {
            status,
            reason: reason.to_owned(),
        };
        let later = |code: &str| Fault::Operation {
            code: code.to_owned(),
        };
        let (times, fault) = match refusal {
            Refusal::Throttled => (1, Fault::Throttle),
            // once for each place of the offer
            Refusal::OutOfCapacity => (2, later("ZONE_RESOURCE_POOL_EXHAUSTED")),
            Refusal::OverQuota => (1, later("QUOTA_EXCEEDED")),
            Refusal::Unauthorized => (1, at_once(403, "forbidden")),
            Refusal::BadRequest => (1, at_once(404, "notFound")),
        };
        // a refusal before this one may have been for too many calls, which is over at the full minute
        self.clock.pass(Duration::from_secs(60));
        let mut gce = self.gce();
        gce.clear_faults();
        for method in CREATIONS {
            gce.fault(method, times, fault.clone());
        }
        Ok(())
    }
    fn left_out(&self, case: &str) -> Option<&'static str> {
        (case == "two_fleets_stand_side_by_side").then_some(
            "a name exists once in a zone of a project, so an equally named batch of another fleet is refused; see \
             tests/wire.rs",
        )
    }
}

/// A project that is as slow as a real one.
pub(crate) fn slow() -> World {
    World::start(|settings| {
        settings.appears_after = LAG;
        settings.ends_unseen_for = LAG;
        settings.queue = Duration::from_secs(1);
        settings.creation = Duration::from_secs(10);
        settings.shutdown = Duration::from_secs(10);
    })
}
