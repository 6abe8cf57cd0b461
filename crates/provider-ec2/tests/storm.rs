//! Many random lives: capacity that comes and goes, faults of every kind, batches asked for again.
//!
//! The one question is `I5`: one intent makes at most one machine, whatever fails. Each life is repeatable by its
//! seed, which a failure names.

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use fake_ec2::{Fault, Market};
use model::{BatchId, CreateBatch, Epoch, InstallationId, InstanceName, OfferId, UserData};
use ports::{Call, Outcome};
use world::{TYPE, World, ZONES};

/// Longer than the listing lags and machines boot.
const SETTLED: Duration = Duration::from_secs(60);

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
        let refusal = |status, code: &str| Fault::Refuse {
            status,
            code: code.to_owned(),
        };
        Some(match self.below(14) {
            0 => Fault::Throttle,
            1 => Fault::InternalError,
            2 => Fault::WebPage,
            3 => Fault::DropBefore,
            4 | 5 => Fault::DropAfter,
            6 => Fault::Truncate,
            7 => refusal(500, "InsufficientInstanceCapacity"),
            8 => refusal(400, "VcpuLimitExceeded"),
            _ => return None,
        })
    }
}

fn batch(sequence: u32, attempt: u32) -> CreateBatch {
    CreateBatch {
        fleet: "acme".parse().expect("the name of a fleet"),
        installation: InstallationId::new("here"),
        batch: BatchId {
            pool: "linux".parse().expect("the name of a pool"),
            epoch: Epoch(7),
            sequence,
        },
        count: 1 + sequence,
        offer: OfferId {
            machine: "large".parse().expect("the name of a machine"),
            index: 0,
        },
        spec: world::offer(),
        generation: model::Generation::new("0f3c5a"),
        attempt,
        executor: None,
        user_data: UserData::default(),
    }
}

async fn names(world: &World, seed: u64) -> BTreeSet<InstanceName> {
    let listing = world
        .provider
        .list(&batch(0, 0).fleet)
        .await
        .expect("a listing");
    let names: Vec<_> = listing
        .instances
        .into_iter()
        .map(|machine| machine.name)
        .collect();
    let distinct: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(
        distinct.len(),
        names.len(),
        "seed {seed}: a name was made twice in {names:?}"
    );
    distinct
}

async fn live(seed: u64) {
    let world = World::start(|settings| {
        settings.boot = Duration::from_secs(10);
        settings.appears_after = Duration::from_secs(30);
    });
    let mut dice = Dice(seed);
    let mut attempts = [0; 3];
    let mut before = BTreeSet::new();
    for _ in 0..12 {
        for zone in ZONES {
            let room = dice.below(5);
            let room = u32::try_from(room).ok().filter(|room| *room < 4);
            world.ec2().set_capacity(TYPE, zone, Market::OnDemand, room);
        }
        for action in ["RunInstances", "DescribeInstances"] {
            if let Some(fault) = dice.fault() {
                let skip = u32::try_from(dice.below(2)).unwrap_or_default();
                world.ec2().fault_after(action, skip, 1, fault);
            }
        }
        let sequence = usize::try_from(dice.below(3)).unwrap_or_default();
        let asked = batch(
            u32::try_from(sequence).unwrap_or_default(),
            attempts[sequence],
        );
        let call = Call::within(world.clock.clone(), Duration::from_secs(600));
        let outcomes = world.provider.create(&asked, &call).await;
        world.ec2().clear_faults();
        world.clock.pass(SETTLED);
        let after = names(&world, seed).await;
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
        if !outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Done(_)))
        {
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
