//! A configuration that changes while the loops run: what it changes is in force, what it would let go at once waits for an
//! operator, and whatever it says no build is ended by it. The world judges every step (`support/world.rs`).

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{ConfigHash, Directive, Order};
use ports::Store as _;
use scaler::Parts;
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, simulate};
use tokio::sync::watch;

/// Runs of random changes without a word from outside.
const SEEDS: u64 = 6;

const MAC: PoolSetup = PoolSetup {
    name: "mac",
    ..LINUX
};

/// Both loops, of which scaler takes changes.
struct Reloaded {
    sim: Sim,
    changes: watch::Sender<Option<Arc<Parts>>>,
    _probot: Running,
    scaler: Running,
}

impl Reloaded {
    fn start(sim: &Sim) -> Self {
        let (changes, changed) = watch::channel(None);
        Reloaded {
            sim: sim.clone(),
            changes,
            _probot: sim.probot("p"),
            scaler: sim.scaler_reloaded("s", sim.store.clone(), None, changed),
        }
    }

    /// Another configuration is in force.
    fn take(&self, pools: Vec<PoolSetup>) {
        let mut sim = self.sim.clone();
        sim.setup.pools = pools;
        self.changes.send_replace(Some(Arc::new(sim.parts())));
    }

    /// Another configuration with another set of clouds is in force.
    fn take_setup(&self, change: impl FnOnce(&mut Setup)) {
        let mut sim = self.sim.clone();
        change(&mut sim.setup);
        self.changes.send_replace(Some(Arc::new(sim.parts())));
    }

    fn held(&self) -> usize {
        let text = self.scaler.metrics.exposition();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("parmanu_config_held_departures "));
        line.and_then(|number| number.parse().ok())
            .expect("a number")
    }

    async fn confirm(&self, config: &str, pool: &str) {
        self.confirm_all(config, &[pool]).await;
    }

    async fn confirm_all(&self, config: &str, pools: &[&str]) {
        let pools = pools.iter().map(|pool| pool.parse().expect("a name"));
        let order = Order {
            what: Directive::Confirm {
                config: ConfigHash::new(config),
                pools: pools.collect(),
                providers: BTreeSet::new(),
            },
            who: "ann".to_owned(),
            why: "the pool is not needed any more".to_owned(),
        };
        let put = self.sim.store.put_order(&order, SECOND * 3600).await;
        put.expect("an order that is kept");
    }
}

fn of(pools: Vec<PoolSetup>) -> Setup {
    Setup {
        pools,
        ..Setup::default()
    }
}

#[test]
fn a_changed_min_is_in_force_with_the_next_tick_and_in_the_same_term() {
    simulate(Setup::default(), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        sim.pass(SECOND * 20).await;
        let epoch = reloaded.scaler.view.borrow().epoch;
        assert!(epoch.is_some());
        reloaded.take(vec![PoolSetup { min: 3, ..LINUX }]);
        sim.until("three stand", SECOND * 30, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        assert_eq!(reloaded.scaler.view.borrow().epoch, epoch);
        reloaded.take(vec![PoolSetup { min: 1, ..LINUX }]);
        sim.until("two have left", SECOND * 600, |world| {
            world.alive("linux").len() == 1
        })
        .await;
        reloaded.scaler.stop().await;
    });
}

#[test]
fn the_machines_of_a_removed_pool_stay_until_they_are_confirmed_and_a_build_beyond_that() {
    let setup = of(vec![LINUX, PoolSetup { min: 8, ..MAC }]);
    simulate(setup, |sim| async move {
        let reloaded = Reloaded::start(&sim);
        sim.until("eight stand", SECOND * 60, |world| {
            world.alive("mac").len() == 8
        })
        .await;
        sim.world().push("ci", "mac", SECOND * 9000);
        sim.until("one builds", SECOND * 60, |world| world.running() == 1)
            .await;
        reloaded.take(vec![PoolSetup { min: 1, ..LINUX }]);
        sim.until("the rest is in force", SECOND * 60, |world| {
            world.alive("linux").len() == 1
        })
        .await;
        sim.pass(SECOND * 3600).await;
        assert_eq!(sim.world().alive("mac").len(), 8, "nobody confirmed it");
        assert_eq!(reloaded.held(), 8);
        reloaded.confirm("another", "mac").await;
        reloaded.confirm("c", "linux").await;
        sim.pass(SECOND * 1200).await;
        assert_eq!(
            sim.world().alive("mac").len(),
            8,
            "something else is confirmed"
        );
        reloaded.confirm("c", "mac").await;
        sim.until("the idle ones have left", SECOND * 900, |world| {
            world.alive("mac").len() == 1
        })
        .await;
        assert_eq!(reloaded.held(), 0);
        assert_eq!(sim.world().running(), 1, "it still builds");
        reloaded.scaler.stop().await;
    });
}

/// It is told from what there is and not from what was read before.
#[test]
fn a_scaler_that_starts_with_another_file_holds_the_same_and_so_it_does_with_a_wiped_store() {
    let setup = of(vec![LINUX, PoolSetup { min: 8, ..MAC }]);
    simulate(setup, |sim| async move {
        let before = Reloaded::start(&sim);
        sim.until("eight stand", SECOND * 60, |world| {
            world.alive("mac").len() == 8
        })
        .await;
        before.scaler.stop().await;
        let mut other = sim.clone();
        other.setup.pools.pop();
        let after = Reloaded::start(&other);
        sim.pass(SECOND * 1800).await;
        sim.store.wipe();
        sim.pass(SECOND * 1800).await;
        assert_eq!(sim.world().alive("mac").len(), 8);
        assert_eq!(after.held(), 8);
        after.scaler.stop().await;
    });
}

#[test]
fn a_max_below_what_runs_ends_no_build_and_makes_no_machine() {
    simulate(Setup::default(), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        for _ in 0..30 {
            sim.world().push("ci", "linux", SECOND * 400);
        }
        sim.until("ten build", SECOND * 60, |world| world.running() == 10)
            .await;
        let ever = sim.world().ever();
        reloaded.take(vec![PoolSetup { max: 2, ..LINUX }]);
        sim.pass(SECOND * 300).await;
        assert_eq!(reloaded.held(), 8);
        sim.until("all is built", SECOND * 1500, |world| {
            world.open_jobs() == 0
        })
        .await;
        assert_eq!(
            sim.world().ever(),
            ever,
            "nothing was made beyond the new max"
        );
        sim.until("they leave by the pool's own rule", SECOND * 900, |world| {
            world.alive("linux").is_empty()
        })
        .await;
        assert_eq!(reloaded.held(), 0);
        reloaded.scaler.stop().await;
    });
}

#[test]
fn a_pool_that_comes_back_is_itself_again() {
    simulate(
        of(vec![LINUX, PoolSetup { min: 2, ..MAC }]),
        |sim| async move {
            let reloaded = Reloaded::start(&sim);
            let both = sim.setup.pools.clone();
            sim.until("two stand", SECOND * 60, |world| {
                world.alive("mac").len() == 2
            })
            .await;
            sim.pass(SECOND * 700).await;
            reloaded.take(vec![LINUX]);
            sim.pass(SECOND * 10).await;
            reloaded.take(both);
            sim.until("two stand", SECOND * 600, |world| {
                world.alive("mac").len() == 2
            })
            .await;
            sim.pass(SECOND * 900).await;
            assert_eq!(sim.world().alive("mac").len(), 2);
            reloaded.scaler.stop().await;
        },
    );
}

/// Eight machines that a `min` keeps, a build on one of them.
async fn eight(sim: &Sim, min: u32) {
    for _ in min..8 {
        sim.world().push("ci", "linux", SECOND * 60);
    }
    sim.until("eight stand", SECOND * 120, |world| {
        world.alive("linux").len() == 8
    })
    .await;
}

#[test]
fn a_min_that_lets_many_go_waits_for_a_confirmation_and_a_restart_changes_nothing() {
    let setup = of(vec![PoolSetup { min: 8, ..LINUX }]);
    simulate(setup, |sim| async move {
        let reloaded = Reloaded::start(&sim);
        eight(&sim, 8).await;
        sim.pass(SECOND * 60).await;
        reloaded.take(vec![PoolSetup { min: 1, ..LINUX }]);
        sim.pass(SECOND * 1200).await;
        assert_eq!(sim.world().alive("linux").len(), 8);
        assert_eq!(reloaded.held(), 7);
        reloaded.scaler.stop().await;
        let mut other = sim.clone();
        other.setup.pools = vec![PoolSetup { min: 1, ..LINUX }];
        let again = Reloaded::start(&other);
        sim.pass(SECOND * 1200).await;
        assert_eq!(sim.world().alive("linux").len(), 8);
        again.confirm("c", "linux").await;
        sim.until("seven have left", SECOND * 600, |world| {
            world.alive("linux").len() == 1
        })
        .await;
        assert_eq!(again.held(), 0);
        again.scaler.stop().await;
    });
}

#[test]
fn a_shorter_idle_time_lets_many_go_no_sooner_than_the_old_one_did() {
    let long = PoolSetup {
        idle_for: SECOND * 3600,
        ..LINUX
    };
    simulate(of(vec![long]), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        eight(&sim, 0).await;
        sim.until("all is built", SECOND * 600, |world| world.open_jobs() == 0)
            .await;
        reloaded.take(vec![LINUX]);
        sim.pass(SECOND * 1800).await;
        assert_eq!(sim.world().alive("linux").len(), 8, "the old hour holds");
        assert_eq!(reloaded.held(), 8);
        sim.until("the hour is over", SECOND * 2400, |world| {
            world.alive("linux").is_empty()
        })
        .await;
        sim.pass(SECOND * 60).await;
        assert_eq!(reloaded.held(), 0);
        // and from now on the new one is in force
        eight(&sim, 0).await;
        sim.until("they leave soon", SECOND * 600, |world| {
            world.alive("linux").is_empty()
        })
        .await;
        reloaded.scaler.stop().await;
    });
}

/// A pool at another cloud, whose machines of the one before are to be replaced.
const MOVED: PoolSetup = PoolSetup {
    provider: "sim-b",
    min: 3,
    ..LINUX
};

/// A pool of three, and a cloud beside it that a second pool has brought in.
fn two_clouds() -> Setup {
    of(vec![
        PoolSetup { min: 3, ..LINUX },
        PoolSetup {
            provider: "sim-b",
            ..MAC
        },
    ])
}

fn standing_at(sim: &Sim, cloud: &str) -> usize {
    sim.cloud(cloud).machines().len()
}

#[test]
fn a_removed_provider_is_listed_until_its_machines_have_left_and_a_build_there_goes_on() {
    simulate(two_clouds(), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        sim.until("three stand", SECOND * 60, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        sim.world().push("ci", "linux", SECOND * 2000);
        sim.until("one builds", SECOND * 60, |world| world.running() == 1)
            .await;
        reloaded.take_setup(|setup| {
            setup.pools[0] = MOVED;
            setup.removed = Some("sim");
        });
        sim.pass(SECOND * 1200).await;
        assert_eq!(standing_at(&sim, "sim"), 1, "the one that builds");
        assert_eq!(sim.world().running(), 1);
        assert_eq!(standing_at(&sim, "sim-b"), 3, "two and the build's place");
        sim.pass(SECOND * 1500).await;
        assert_eq!(standing_at(&sim, "sim"), 0, "it left after its build");
        assert_eq!(reloaded.held(), 0);
        assert_eq!(sim.world().executors().len(), 3);
        let calls = sim.cloud("sim").list_calls();
        sim.pass(SECOND * 600).await;
        assert_eq!(
            sim.cloud("sim").list_calls(),
            calls,
            "nobody asks it any more"
        );
        reloaded.scaler.stop().await;
    });
}

/// The name of a provider is no place.
#[test]
fn a_provider_that_stands_somewhere_else_is_listed_where_it_stood_too() {
    simulate(two_clouds(), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        sim.until("three stand", SECOND * 60, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        reloaded.take_setup(|setup| setup.moved = Some(("sim", "sim-b")));
        sim.pass(SECOND * 1200).await;
        assert_eq!(
            sim.world().executors().len(),
            3,
            "no executor was taken for a ghost"
        );
        assert_eq!(
            sim.world().alive("linux").len(),
            3,
            "the same are the pool's"
        );
        reloaded.scaler.stop().await;
    });
}

/// Another token is no other place: one whole listing tells.
#[test]
fn other_credentials_for_the_same_place_leave_nothing_behind() {
    simulate(two_clouds(), |sim| async move {
        let reloaded = Reloaded::start(&sim);
        sim.until("three stand", SECOND * 60, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        reloaded.take_setup(|_| {});
        sim.pass(SECOND * 60).await;
        let calls = sim.cloud("sim").list_calls();
        sim.pass(SECOND * 600).await;
        let asked = sim.cloud("sim").list_calls() - calls;
        assert!(asked <= 600 / 5 + 1, "asked {asked} times by one loop");
        assert_eq!(sim.world().alive("linux").len(), 3);
        reloaded.scaler.stop().await;
    });
}

/// Starts with a file in which a provider is missing, or stands somewhere else, that had three machines.
fn restarted(change: impl FnOnce(&mut Setup) + 'static, beyond: usize) {
    simulate(two_clouds(), move |sim| async move {
        let before = Reloaded::start(&sim);
        sim.until("three stand", SECOND * 60, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        before.scaler.stop().await;
        let mut other = sim.clone();
        change(&mut other.setup);
        let after = Reloaded::start(&other);
        for _ in 0..12 {
            sim.world().push("ci", "linux", SECOND * 1500);
        }
        sim.pass(SECOND * 1200).await;
        assert_eq!(standing_at(&sim, "sim"), 3);
        assert_eq!(sim.world().executors().len(), 3 + beyond, "none is a ghost");
        assert_eq!(standing_at(&sim, "sim-b"), beyond, "`max` counts all ten");
        assert_eq!(after.held(), 3);
        // it is put back
        after.scaler.stop().await;
        let back = Reloaded::start(&sim);
        sim.pass(SECOND * 60).await;
        assert_eq!(back.held(), 0);
        back.scaler.stop().await;
    });
}

#[test]
fn machines_of_a_provider_that_is_missing_after_a_restart_count_and_keep_their_executors() {
    let change = |setup: &mut Setup| {
        setup.pools[0] = MOVED;
        setup.removed = Some("sim");
    };
    restarted(change, 7);
}

#[test]
fn machines_where_a_provider_stood_before_a_restart_count_and_keep_their_executors() {
    restarted(|setup| setup.moved = Some(("sim", "sim-b")), 7);
}

#[test]
fn what_nobody_lists_is_gone_when_an_operator_says_so() {
    simulate(two_clouds(), |sim| async move {
        let before = Reloaded::start(&sim);
        sim.until("three stand", SECOND * 60, |world| {
            world.alive("linux").len() == 3
        })
        .await;
        before.scaler.stop().await;
        let standing = sim.world().alive("linux");
        for name in standing {
            sim.cloud("sim").kill(&name);
        }
        let mut other = sim.clone();
        other.setup.pools[0] = MOVED;
        other.setup.removed = Some("sim");
        let after = Reloaded::start(&other);
        sim.pass(SECOND * 600).await;
        assert_eq!(after.held(), 3);
        let order = Order {
            what: Directive::Confirm {
                config: ConfigHash::new("c"),
                pools: BTreeSet::new(),
                providers: ["sim".parse().expect("a name")].into(),
            },
            who: "ann".to_owned(),
            why: "the account was closed".to_owned(),
        };
        let put = sim.store.put_order(&order, SECOND * 600).await;
        put.expect("an order that is kept");
        sim.pass(SECOND * 1200).await;
        assert_eq!(after.held(), 0, "and it stays so when the order is over");
        assert_eq!(sim.world().executors().len(), 3);
        after.scaler.stop().await;
    });
}

/// `PARMANU_TEST_SEEDS` makes more runs, `PARMANU_TEST_SEED` replays one.
#[test]
fn whatever_is_changed_while_they_run_no_build_is_ended_and_all_ends_well() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    match number("PARMANU_TEST_SEED") {
        Some(seed) => run(seed),
        None => (1..=number("PARMANU_TEST_SEEDS").unwrap_or(SEEDS)).for_each(run),
    }
}

fn run(seed: u64) {
    let setup = Setup {
        seed,
        ..of(vec![LINUX, MAC])
    };
    simulate(setup, |sim| async move {
        let reloaded = Reloaded::start(&sim);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.u32(10..30) {
            for tag in ["linux", "mac"] {
                for _ in 0..rng.u32(0..4) {
                    let length = SECOND * rng.u32(5..900);
                    sim.world().push("ci", tag, length);
                }
            }
            let mut pools = vec![LINUX, MAC];
            if rng.u8(0..3) == 0 {
                pools.swap_remove(rng.usize(0..2));
            }
            for pool in &mut pools {
                pool.max = rng.u32(0..=10);
                pool.min = rng.u32(0..=pool.max);
            }
            reloaded.take(pools);
            let millis = rng.u64(0..700_000);
            sim.pass(Duration::from_millis(millis)).await;
        }
        reloaded.take(vec![LINUX, MAC]);
        reloaded.confirm_all("c", &["linux", "mac"]).await;
        let work = sim.world().work_left();
        sim.until_settled(SECOND * 1800 + work).await;
        reloaded.scaler.stop().await;
    });
}
