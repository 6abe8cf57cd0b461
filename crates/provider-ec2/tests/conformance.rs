//! The EC2 plugin keeps the promises of every provider: against our fake, and against moto, a server that we did
//! not write, for what moto can show.

#[path = "world/mod.rs"]
mod world;

mod on_the_fake {
    use std::time::Duration;

    use super::world::{LAG, World};

    async fn start() -> Result<World, String> {
        Ok(World::start(|settings| {
            settings.appears_after = LAG;
            settings.ends_unseen_for = LAG;
            settings.boot = Duration::from_secs(10);
            settings.shutdown = Duration::from_secs(10);
        }))
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
            provider: world::patient(&world::account(&url), &clock),
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
        fn left_out(&self, case: &str) -> Option<&'static str> {
            (case == "a_creation_given_up_at_any_moment_is_one_set_when_asked_for_again").then_some(
                "moto carries out what was cut off whenever it likes, and knows no tokens that would make it one",
            )
        }
        async fn alive(&self) -> Shown<usize> {
            Err("moto has no view of its truth beside its listing")
        }
        async fn foreign(&self) -> Shown<ProviderRef> {
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
