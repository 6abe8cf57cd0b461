//! Many random lives: capacity that comes and goes, faults of every kind, batches asked for again.
//!
//! The one question is `I5`: one intent makes at most one machine, whatever fails. Each life is repeatable by its seed,
//! which a failure names.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use fake_gce::Fault;
use model::InstanceName;
use ports::{Call, Outcome};
use world::{TYPE, World, ZONES, batch};

/// Longer than the listing lags, machines boot and a minute's quota is used up.
const SETTLED: Duration = Duration::from_secs(120);

/// The methods that a creation calls.
const METHODS: [&str; 5] = [
    "instances.insert",
    "instances.bulkInsert",
    "instances.aggregatedList",
    "instances.get",
    "zoneOperations.wait",
];

/// A small generator of numbers, so that a life is its seed and nothing else.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn fault(&mut self) -> Option<Fault> {
        let ends = |code: &str| Fault::Operation {
            code: code.to_owned(),
        };
        Some(match self.below(20) {
            0 => Fault::BackendError,
            1 => Fault::WebPage,
            2 => Fault::DropBefore,
            3 | 4 => Fault::DropAfter,
            5 => Fault::Truncate,
            6 => ends("ZONE_RESOURCE_POOL_EXHAUSTED"),
            7 => ends("QUOTA_EXCEEDED"),
            8 => ends("INTERNAL_ERROR"),
            9 => Fault::Refuse {
                status: 403,
                reason: "forbidden".to_owned(),
            },
            _ => return None,
        })
    }
}

/// The truth: names of the machines there are. No name may stand in two zones.
fn names(world: &World, seed: u64) -> BTreeSet<InstanceName> {
    let names: Vec<InstanceName> = world
        .gce()
        .machines()
        .map(|machine| machine.name.parse().expect("a name of ours"))
        .collect();
    let distinct: BTreeSet<_> = names.iter().cloned().collect();
    let twice = distinct.len() != names.len();
    assert!(!twice, "seed {seed}: a name was made twice in {names:?}");
    distinct
}

async fn live(seed: u64) {
    let world = World::start(|settings| {
        settings.creation = Duration::from_secs(10);
        settings.appears_after = Duration::from_secs(30);
    });
    let mut dice = Dice(seed);
    let mut attempts = [0; 3];
    let mut before = BTreeSet::new();
    for _ in 0..12 {
        for zone in ZONES {
            let room = u32::try_from(dice.below(5)).ok().filter(|room| *room < 4);
            world.gce().set_capacity(TYPE, zone, room);
        }
        for method in METHODS {
            if let Some(fault) = dice.fault() {
                let skip = u32::try_from(dice.below(2)).unwrap_or_default();
                world.gce().fault_after(method, skip, 1, fault);
            }
        }
        let sequence = usize::try_from(dice.below(3)).unwrap_or_default();
        let number = u32::try_from(sequence).unwrap_or_default();
        let mut asked = batch(number, 1 + number);
        asked.attempt = attempts[sequence];
        let call = Call::within(world.clock.clone(), Duration::from_secs(600));
        let outcomes = world.provider.create(&asked, &call).await;
        world.gce().clear_faults();
        world.clock.pass(SETTLED);
        let after = names(&world, seed);
        for (index, outcome) in (0..).zip(&outcomes) {
            let name = asked.batch.instance(index);
            match outcome {
                Outcome::Done(machine) => {
                    assert_eq!(machine.name, name, "seed {seed}");
                    assert!(
                        after.contains(&name),
                        "seed {seed}: {name} done and not there"
                    );
                }
                Outcome::Failed(error) => {
                    let made = after.contains(&name) && !before.contains(&name);
                    assert!(!made, "seed {seed}: {name} failed and is there: {error:?}");
                }
                Outcome::Unknown(_) => {}
            }
        }
        let done = |outcome: &Outcome<_>| matches!(outcome, Outcome::Done(_));
        if !outcomes.iter().any(done) {
            attempts[sequence] += 1;
        }
        before = after;
    }
}

#[tokio::test]
async fn whatever_fails_no_name_is_made_twice_and_no_answer_lies() {
    for seed in 0..40 {
        live(seed).await;
    }
}
