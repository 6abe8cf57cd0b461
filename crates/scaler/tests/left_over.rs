//! Executors of a pool that is not configured any more and that no machine stands for: nothing but probot tells of them.
//!
//! What is offline goes, after a time of watching and when everything was seen; what the CI server hears of has a machine
//! somewhere and stays.

mod support;

use std::time::Duration;

use model::InstanceName;
use ports::ExecutorControl as _;
use provider_fake::Fault;
use support::{LINUX, PoolSetup, Running, SECOND, Setup, Sim, World, simulate};

const MAC: PoolSetup = PoolSetup {
    name: "mac",
    provider: "sim-b",
    ..LINUX
};

/// As long as a pool without a configuration is watched, and its executors beyond that.
const WATCHED: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(200);

fn name(index: u32) -> InstanceName {
    format!("mac-7-1-{index}").parse().expect("a name")
}

/// Of two pools one was removed, and its provider is still in the file. It has left so many executors, the first of which
/// is online.
fn removed(offline: u32, online: bool, life: impl AsyncFnOnce(&Sim)) {
    let linux = PoolSetup { min: 1, ..LINUX };
    let setup = Setup {
        pools: vec![linux, MAC],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let ci = sim.ci("ci");
        for index in u32::from(!online)..=offline {
            ci.enrol(&name(index));
            if index > 0 {
                ci.vanish(&name(index));
            }
        }
        let mut after = sim.clone();
        after.setup.pools.pop();
        life(&after).await;
    });
}

fn start(sim: &Sim) -> (Running, Running) {
    (sim.probot("p"), sim.scaler("s"))
}

fn left(world: &World) -> usize {
    let executors = world.executors().into_iter();
    executors.filter(|it| it.name.starts_with("mac-")).count()
}

fn all_gone(world: &World) -> bool {
    left(world) == 0
}

#[test]
fn what_is_offline_goes_after_it_was_watched() {
    removed(3, false, async |sim| {
        let _loops = start(sim);
        sim.pass(WATCHED).await;
        assert_eq!(left(&sim.world()), 3, "a configuration may be on its way");
        sim.until("they are gone", SOON, all_gone).await;
        sim.until_settled(SOON).await;
    });
}

#[test]
fn what_is_online_stays_until_nobody_hears_of_it() {
    removed(2, true, async |sim| {
        let _loops = start(sim);
        sim.until("the others are gone", WATCHED + SOON, |world| {
            left(world) == 1
        })
        .await;
        sim.pass(SECOND * 7200).await;
        assert_eq!(left(&sim.world()), 1);
        sim.ci("ci").vanish(&name(0));
        sim.until("it is gone", SOON, all_gone).await;
    });
}

#[test]
fn a_pool_that_comes_back_keeps_what_is_its() {
    removed(1, true, async |sim| {
        let loops = start(sim);
        sim.pass(WATCHED - SECOND * 5).await;
        drop(loops);
        let mut back = sim.clone();
        back.setup.pools.push(PoolSetup { min: 2, ..MAC });
        let _loops = start(&back);
        sim.until("it has its machines", SECOND * 60, |world| {
            world.alive("mac").len() == 2
        })
        .await;
        // what has no machine is an executor without one like any other, now that the pool says where its machines are
        back.until_settled(SECOND * 300).await;
        assert_eq!(sim.world().alive("mac").len(), 2);
    });
}

#[test]
fn a_store_that_is_wiped_forgets_nobody() {
    for after in [5, 300, 640] {
        removed(2, false, async |sim| {
            let _loops = start(sim);
            sim.pass(SECOND * after).await;
            sim.store.wipe();
            sim.until("they are gone", WATCHED + SOON * 2, all_gone)
                .await;
        });
    }
}

#[test]
fn nothing_goes_while_the_ci_server_or_a_provider_is_not_heard() {
    removed(2, false, async |sim| {
        let _loops = start(sim);
        sim.pass(SECOND * 30).await;
        let (ci, cloud) = ("ci", sim.cloud("sim"));
        sim.world().trouble(ci, Some("502"), None);
        sim.pass(WATCHED + SOON).await;
        assert_eq!(left(&sim.world()), 2, "the CI server fails");
        sim.world()
            .trouble(ci, None, Some("the token sees nothing"));
        sim.pass(SOON).await;
        assert_eq!(left(&sim.world()), 2, "it shows a part");
        cloud.listings(Some(Fault::FailList));
        // the last whole listing is over by then
        sim.pass(SECOND * 15).await;
        sim.world().trouble(ci, None, None);
        sim.pass(SOON).await;
        assert_eq!(left(&sim.world()), 2, "a provider is not listed");
        cloud.listings(None);
        sim.until("they are gone", SOON, all_gone).await;
    });
}

/// Their provider was taken out of the file together with the pool, while no scaler ran: nobody lists the machines, and a
/// build may run there although the CI server has lost sight of it.
#[test]
fn what_has_a_machine_where_nobody_looks_any_more_stays() {
    let mac = PoolSetup { min: 2, ..MAC };
    let setup = Setup {
        pools: vec![LINUX, mac],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let before = start(&sim);
        sim.until("both stand", SECOND * 60, |world| {
            world.alive("mac").len() == 2 && world.executors().len() == 2
        })
        .await;
        sim.pass(SECOND * 10).await;
        drop(before);
        let names = sim.world().alive("mac");
        names.iter().for_each(|name| sim.ci("ci").vanish(name));
        let mut after = sim.clone();
        after.setup.pools.pop();
        after.setup.removed = Some("sim-b");
        let _loops = start(&after);
        sim.pass(WATCHED * 4).await;
        assert_eq!(left(&sim.world()), 2);
    });
}

/// Somebody else acts for this fleet: what looks left over may be his.
#[test]
fn nothing_goes_while_another_installation_acts_for_the_fleet() {
    removed(2, false, async |sim| {
        let _loops = start(sim);
        sim.until("one stands", SECOND * 60, |world| {
            world.alive("linux").len() == 1
        })
        .await;
        let theirs = sim.elsewhere();
        let _theirs = theirs.scaler("t");
        sim.pass(WATCHED * 3).await;
        assert_eq!(left(&sim.world()), 2);
    });
}

/// Machines of a removed pool that are powered off, and of which no executor is left: no look has a word of the pool any more,
/// and nobody can say by name whether one joined. They go all the same; one that runs stays.
#[test]
fn a_machine_that_is_powered_off_goes_though_nobody_tells_of_its_pool() {
    let mac = PoolSetup { min: 3, ..MAC };
    let setup = Setup {
        pools: vec![PoolSetup { min: 1, ..LINUX }, mac],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        // none ever joins
        sim.world().join = SECOND * 1_000_000;
        let before = start(&sim);
        sim.until("all stand", SECOND * 60, |world| {
            world.alive("mac").len() == 3
        })
        .await;
        sim.pass(SECOND * 10).await;
        drop(before);
        let names = sim.world().alive("mac");
        let executors = sim.world().executors().into_iter();
        let of_mac: Vec<_> = executors.filter(|it| it.name.starts_with("mac-")).collect();
        for executor in of_mac {
            let removed = sim.ci("ci").remove(&executor.id).await;
            removed.expect("a fake that removes");
        }
        sim.ci("ci").hide_names(Some("one runner for all of them"));
        let cloud = sim.cloud("sim-b");
        names[1..].iter().for_each(|name| cloud.power_off(name));
        let mut after = sim.clone();
        after.setup.pools.pop();
        let _loops = start(&after);
        sim.until("those that are off are gone", WATCHED + SOON, |world| {
            world.alive("mac").len() == 1
        })
        .await;
        sim.pass(WATCHED).await;
        assert_eq!(sim.world().alive("mac"), names[..1]);
    });
}
