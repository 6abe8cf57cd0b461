//! The EC2 plugin keeps the promises of every provider: against our fake, and against moto, a server that we did
//! not write, for what moto can show.

#[path = "world/mod.rs"]
mod world;

mod on_the_fake {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use conformance::provider::{ProviderHarness, Refusal, Shown};
    use fake_ec2::{Fault, Market, Request};
    use model::{FleetId, ProviderRef};
    use ports::{Clock, Provider};
    use serde_json::Value;

    use super::world::{self, TYPE, World, ZONES};

    /// How long the fake's listing lags behind, both ways.
    const LAG: Duration = Duration::from_secs(30);

    async fn start() -> Result<World, String> {
        Ok(World::start(|settings| {
            settings.appears_after = LAG;
            settings.ends_unseen_for = LAG;
            settings.boot = Duration::from_secs(10);
            settings.shutdown = Duration::from_secs(10);
        }))
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
            ProviderRef::new("i-0000000000000dead")
        }
        async fn settle(&self) {
            self.clock.pass(LAG * 2);
        }
        async fn alive(&self) -> Shown<usize> {
            Ok(World::alive(self))
        }
        async fn foreign(&self) -> Shown {
            let form = "Action=RunInstances&Version=2016-11-15&ImageId=ami-00000000000000002&\
                        InstanceType=m7i.xlarge&MinCount=1&MaxCount=1&\
                        TagSpecification.1.ResourceType=instance&\
                        TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=database";
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAFAKEFAKEFAKEFAKE/20260101/eu-central-1/ec2/aws4_request, \
                 SignedHeaders=host, Signature={}",
                "0".repeat(64)
            );
            let headers = [
                ("authorization", authorization.as_str()),
                ("x-amz-date", "20260101T000000Z"),
            ];
            let request = Request {
                method: "POST".to_owned(),
                path: "/".to_owned(),
                headers: headers
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                body: form.as_bytes().to_vec(),
            };
            let now = self.clock.now();
            let response = self.ec2().handle(&request, now);
            assert_eq!(response.status, 200, "{}", response.body);
            Ok(())
        }
        async fn lose_reply(&self) -> Shown {
            self.ec2().fault("RunInstances", 1, Fault::DropAfter);
            Ok(())
        }
        async fn room(&self, machines: u32) -> Shown {
            let mut ec2 = self.ec2();
            for (zone, room) in ZONES.into_iter().zip([machines, 0]) {
                ec2.set_capacity(TYPE, zone, Market::OnDemand, Some(room));
            }
            Ok(())
        }
        async fn blind(&self) -> Shown {
            self.ec2()
                .fault("DescribeInstances", 1, Fault::InternalError);
            Ok(())
        }
        async fn refuse(&self, refusal: Refusal) -> Shown {
            let (times, status, code) = match refusal {
                Refusal::Throttled => (1, 503, "RequestLimitExceeded"),
                // once for each place of the offer
                Refusal::OutOfCapacity => (2, 500, "InsufficientInstanceCapacity"),
                Refusal::OverQuota => (1, 400, "VcpuLimitExceeded"),
                Refusal::Unauthorized => (1, 403, "UnauthorizedOperation"),
                Refusal::BadRequest => (1, 400, "InvalidAMIID.NotFound"),
            };
            let fault = Fault::Refuse {
                status,
                code: code.to_owned(),
            };
            self.ec2().fault("RunInstances", times, fault);
            Ok(())
        }
    }

    conformance::provider_suite!(start);
}

mod on_moto {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use conformance::provider::{ProviderHarness, Refusal, Shown};
    use model::{FleetId, ProviderRef};
    use ports::{Clock, Provider};
    use serde_json::{Value, json};

    use super::world::{self, HandClock};

    const URL: &str = "PARMANU_TEST_MOTO_URL";

    /// One moto serves all tests at once, so each has a fleet of its own.
    struct Moto {
        fleet: FleetId,
        clock: Arc<HandClock>,
        provider: Arc<dyn Provider>,
    }

    async fn start() -> Result<Moto, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var(URL).map_err(|_| format!("{URL} is not set"))?;
        let clock = HandClock::new();
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let fleet = format!("t{}-{number}", std::process::id());
        Ok(Moto {
            fleet: fleet.parse().expect("the name of a fleet"),
            provider: world::provider(&world::account(&url), clock.clone()),
            clock,
        })
    }

    #[async_trait]
    impl ProviderHarness for Moto {
        fn provider(&self) -> &dyn Provider {
            self.provider.as_ref()
        }
        fn clock(&self) -> Arc<dyn Clock> {
            self.clock.clone()
        }
        fn offer(&self) -> Value {
            json!({
                "image": "ami-12345678",
                "types": ["m5.large", "m5.xlarge"],
                "zones": ["eu-central-1a", "eu-central-1b"],
            })
        }
        fn fleet(&self) -> FleetId {
            self.fleet.clone()
        }
        fn nobody(&self) -> ProviderRef {
            ProviderRef::new("i-0000000000000dead")
        }
        fn largest_batch(&self) -> u32 {
            // moto launches MinCount machines, and ours is 1
            1
        }
        async fn settle(&self) {
            // moto does not lag
        }
        async fn alive(&self) -> Shown<usize> {
            Err("moto has no view of its truth beside its listing")
        }
        async fn foreign(&self) -> Shown {
            Err("the plugin is the only client of moto here, and makes no foreign machines")
        }
        async fn lose_reply(&self) -> Shown {
            Err("moto loses no replies")
        }
        async fn room(&self, _: u32) -> Shown {
            Err("moto never lacks capacity")
        }
        async fn blind(&self) -> Shown {
            Err("moto never fails to list")
        }
        async fn refuse(&self, _: Refusal) -> Shown {
            Err("moto knows no capacity, quota or throttling codes")
        }
    }

    conformance::provider_suite!(start);
}
