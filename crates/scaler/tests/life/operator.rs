//! Somebody who changes the configuration while builds run, and who orders what the rules would not do.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Directive, Order};
use ports::Store as _;

use crate::joining::Join;
use crate::setup::{AWS_ZONE, GCP_ZONE, Setup};
use crate::sim::{Running, SECOND, Sim};
use crate::world::BEDS;

/// What the pool is called after it was renamed.
const RENAMED: &str = "lin";

/// Longer than any life settles.
const TO_THE_END: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Operator {
    sim: Sim,
    /// Of his own, so that the faults of a seed stay what they are.
    rng: fastrand::Rng,
}

impl Operator {
    pub(crate) fn new(sim: &Sim) -> Self {
        Operator {
            sim: sim.clone(),
            rng: fastrand::Rng::with_seed(sim.setup.seed ^ 0x0b5),
        }
    }

    /// Does something now and then. Whoever runs reads a changed file, one replica a little after the other.
    pub(crate) async fn step(&mut self, scalers: &[Running], probots: &[Running]) {
        match self.rng.u32(0..5) {
            0 => {
                let setup = self.another(self.sim.configured());
                self.sim.configure(&setup);
                let (first, then) = match self.rng.bool() {
                    true => (scalers, probots),
                    false => (probots, scalers),
                };
                first.iter().for_each(|service| service.reads(&self.sim));
                let millis = self.rng.u64(0..3_000);
                self.sim.pass(Duration::from_millis(millis)).await;
                then.iter().for_each(|service| service.reads(&self.sim));
            }
            1 => {
                let lasts = SECOND * self.rng.u32(5..180);
                if let Some(what) = self.order() {
                    self.orders(what, lasts).await;
                }
            }
            _ => {}
        }
    }

    /// One line of the file is another.
    fn another(&mut self, mut setup: Setup) -> Setup {
        match self.rng.u32(0..8) {
            0..=2 => setup.image = 1 - setup.image,
            3 => {
                setup.max = self.rng.u32(0..=9);
                setup.min = self.rng.u32(0..=setup.max.min(2));
            }
            4 | 5 => {
                let gone = setup.beds.is_some().then_some(None);
                let names = [Some("linux"), Some(RENAMED), gone.unwrap_or(Some("linux"))];
                setup.pool = *self.rng.choice(&names).expect("one of them");
            }
            6 if setup.join != Join::AskGuest => {
                let clouds = [vec!["gcp", "aws"], vec!["aws", "gcp"], vec!["aws"]];
                setup
                    .clouds
                    .clone_from(self.rng.choice(&clouds).expect("one of them"));
            }
            _ if setup.beds.is_some() => setup.beds = Some(self.rng.u32(0..=3)),
            _ => {}
        }
        setup
    }

    fn pool(&mut self) -> model::PoolName {
        let name = self.rng.choice(["linux", "linux", RENAMED, BEDS]);
        name.expect("one of them").parse().expect("a name")
    }

    fn order(&mut self) -> Option<Directive> {
        let setup = self.sim.configured();
        Some(match self.rng.u32(0..8) {
            0 => Directive::Pause { pool: self.pool() },
            1 | 2 => Directive::Pin {
                pool: self.pool(),
                machines: self.rng.u32(0..8),
            },
            3 | 4 => {
                let alive = self.sim.world().alive();
                let name = self.rng.choice(&alive)?;
                let instance = name.parse().expect("a name");
                Directive::DrainMachine { instance }
            }
            5 => Directive::DrainImage {
                image: (*self.rng.choice(setup.images()).expect("one of them")).to_owned(),
            },
            6 => Directive::DrainZone {
                zone: (*self.rng.choice([AWS_ZONE, GCP_ZONE]).expect("one")).to_owned(),
            },
            _ => self.confirm(),
        })
    }

    /// Whatever the file lets go may go.
    fn confirm(&self) -> Directive {
        Directive::Confirm {
            config: self.sim.settings().hash.clone(),
            pools: ["linux", RENAMED, BEDS]
                .map(|name| name.parse().expect("a name"))
                .into(),
            providers: BTreeSet::new(),
        }
    }

    async fn orders(&self, what: Directive, lasts: Duration) {
        let order = Order {
            what,
            who: "ann".to_owned(),
            why: "a night like any other".to_owned(),
        };
        let put = self.sim.store.put_order(&order, lasts).await;
        put.expect("an order that is kept");
    }

    /// The file is what it was, but for image and offers, and what it lets go is confirmed. Orders end by themselves.
    pub(crate) async fn rests(&self, scalers: &[Running], probots: &[Running]) {
        let Setup { image, clouds, .. } = self.sim.configured();
        let before = self.sim.setup.clone();
        self.sim.configure(&Setup {
            image,
            clouds,
            ..before
        });
        let all = scalers.iter().chain(probots);
        all.for_each(|service| service.reads(&self.sim));
        self.orders(self.confirm(), TO_THE_END).await;
    }
}
