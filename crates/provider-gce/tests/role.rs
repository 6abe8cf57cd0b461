//! The published role is what the calls need: nothing is missing, nothing superfluous.
//!
//! The calls are those of the whole suite, through Google's SDK, each case in a project of its own, and what an offer can
//! say beyond it. That nothing is missing every test of this crate shows: none of their projects gives more rights.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use conformance::provider::{ProviderHarness, Shown};
use ports::Call;
use serde_json::json;
use world::{ACT_AS, World, batch};

/// What the calls so far needed.
fn needed(world: &World) -> BTreeSet<&'static str> {
    let gce = world.gce();
    let calls = gce.log().iter();
    calls.flat_map(|call| call.needs.iter().copied()).collect()
}

#[tokio::test]
async fn the_published_role_is_what_the_suite_needs() {
    let mut all: BTreeSet<&'static str> = BTreeSet::new();
    macro_rules! run {
        ($($group:ident :: $case:ident),* $(,)?) => {
            $(
                let world = world::slow();
                let harness: &dyn ProviderHarness = &world;
                if harness.left_out(stringify!($case)).is_none() {
                    let shown: Shown = conformance::provider::$group::$case(harness).await;
                    shown.expect(stringify!($case));
                }
                all.extend(needed(&world));
            )*
        };
    }
    conformance::every_provider_case! { run, }
    // what an offer can say that the suite's does not
    let world = World::start(|_| {});
    let mut reachable = world::offer();
    reachable["external_ip"] = json!(true);
    let offers = [reachable, json!({"template": "ci-linux-v12"})];
    for (sequence, offer) in (0..).zip(offers) {
        let call = Call::within(world.clock.clone(), Duration::from_secs(600));
        let mut batch = batch(sequence, 1);
        batch.spec = offer;
        let outcomes = world.provider.create(&batch, &call).await;
        assert_eq!(outcomes[0].as_str(), "done", "{outcomes:?}");
    }
    all.extend(needed(&world));
    assert!(
        all.remove(ACT_AS),
        "it is given for one account, not by the role"
    );
    assert_eq!(world::role().collect::<BTreeSet<_>>(), all);
}
