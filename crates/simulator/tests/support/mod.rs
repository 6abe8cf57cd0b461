//! What the tests and the bench of this crate ask the engine with.

use std::time::Duration;

use model::{
    Boot, Bootstrap, ExecutorMode, OfferId, OfferPolicy, OnStale, Policy, Rule, WorkloadTrust,
};
use simulator::{Choice, EnginePool, PoolSpec};

/// Time to boot, in virtual milliseconds.
pub(crate) const BOOT: u64 = 60_000;

/// The real engine over these pools, with one set of rules for all of them.
pub(crate) fn engine(specs: &[PoolSpec], rules: &[Rule], every: u64, settle: u64) -> Choice {
    let pool = |spec: &PoolSpec| EnginePool {
        every: every * 1000,
        policy: Policy {
            standing: Default::default(),
            pool: spec.name.parse().unwrap(),
            emitter: Some("ci".parse().unwrap()),
            slots: spec.slots,
            min: 0,
            max: spec.max,
            boot: Boot {
                expect: Duration::from_millis(BOOT),
                timeout: Duration::from_secs(600),
            },
            executors: ExecutorMode::Managed {
                settle: Duration::from_secs(settle),
            },
            executors_appear: false,
            reuse: model::Reuse::default(),
            bootstrap: Bootstrap::Shared,
            offers: vec![OfferPolicy {
                id: OfferId {
                    machine: "small".parse().unwrap(),
                    index: 0,
                },
                provider: "cloud".parse().unwrap(),
                generation: model::Generation::new("now"),
                price: None,
                listing_lag: Duration::from_secs(30),
                batch_limit: 100,
                least_billed: Duration::from_secs(60),
            }],
            trust: WorkloadTrust {
                fresh_for: Duration::from_secs(60),
                on_stale: OnStale::Hold,
            },
            rules: rules.to_vec(),
        },
    };
    Choice::Engine {
        name: "engine".into(),
        pools: specs
            .iter()
            .map(|spec| (spec.name.clone(), pool(spec)))
            .collect(),
    }
}
