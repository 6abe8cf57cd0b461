//! The LXD plugin keeps the promises of every provider, against a real LXD.

#[path = "world/mod.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conformance::provider::{ProviderHarness, Refusal, Shown};
use model::{FleetId, Instance, ProviderRef};
use ports::{Clock, Provider};
use serde_json::{Value, json};
use world::{Cut, World};

async fn start() -> Result<World, String> {
    World::start().await
}

#[async_trait]
impl ProviderHarness for World {
    fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }
    fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }
    fn offer(&self) -> Value {
        world::offer()
    }
    fn fleet(&self) -> FleetId {
        "acme".parse().expect("the name of a fleet")
    }
    fn nobody(&self) -> ProviderRef {
        ProviderRef::new("nobody-1-1-1")
    }
    fn largest_batch(&self) -> u32 {
        // a machine is a call of its own; that many at once are enough to see
        8
    }
    async fn settle(&self) {
        // an operation that was cut off is still being done
        self.clock.sleep(Duration::from_millis(500)).await;
    }
    async fn alive(&self) -> Shown<usize> {
        Ok(self.names().await.len())
    }
    async fn announce_end(&self, machine: &Instance) -> Shown {
        let path = format!("/1.0/instances/{}", machine.id.as_str());
        let body = json!({ "config": { "user.parmanu-notice": "its host is to be restarted" } });
        self.change("PATCH", &path, Some(&body)).await;
        Ok(())
    }
    async fn foreign(&self) -> Shown<ProviderRef> {
        let mut body = world::offer();
        body["name"] = json!("database");
        body["source"] = json!({ "type": "image", "alias": body["image"] });
        self.change("POST", "/1.0/instances", Some(&body)).await;
        assert_eq!(self.names().await, ["database"]);
        Ok(ProviderRef::new("database"))
    }
    async fn lose_reply(&self) -> Shown {
        self.cut(Cut {
            begins: "POST /1.0/instances?",
            heard: true,
            times: 2,
        });
        Ok(())
    }
    async fn room(&self, _: u32) -> Shown {
        Err(
            "what LXD can be short of in a test is a quota, which is another kind; see tests/refusals.rs",
        )
    }
    async fn blind(&self) -> Shown {
        self.cut(Cut {
            begins: "GET /1.0/instances?",
            heard: false,
            times: 1,
        });
        Ok(())
    }
    async fn refuse(&self, _: Refusal) -> Shown {
        Err("a daemon on a socket throttles nobody and knows everybody; see tests/refusals.rs")
    }
    fn left_out(&self, case: &str) -> Option<&'static str> {
        (case == "two_fleets_stand_side_by_side").then_some(
            "a name exists once in a project of LXD, so an equally named batch of another fleet is refused; see \
             tests/refusals.rs",
        )
    }
}

conformance::provider_suite!(start);
