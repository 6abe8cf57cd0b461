//! Hand-made fleets, each with one thing that is wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{
    BatchId, Completeness, Cordon, Epoch, Executor, ExecutorId, ExecutorRef, ExecutorState,
    Generation, InstallationId, Instance, InstanceState, Intent, LeaveStep, Listing, Owner,
    ProviderRef, Snapshot, SnapshotCost, StoredIntent,
};
use ports::{FleetRecord, PoolRecord};

use super::examine::examine;
use super::look::Seen;
use super::report::{Problem, Report};
use super::words;

const HOUR: Duration = Duration::from_secs(3600);

/// The file behind it all: what a pool is, is config's business.
const FILE: &str = r#"
version: 1
fleet: acme
store: { kind: memory }
emitters: { ci: { kind: fake } }
providers: { a: { kind: fake }, b: { kind: fake } }
machines: { m: { boot: { timeout: 10m }, offers: [{ provider: a }] } }
pools: { linux: { emitter: ci, serves: [{ tags: [linux] }], machine: m, max: 9 } }
"#;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn hours_ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

/// A fleet that is well: one machine, idle, with its executor.
fn well() -> Seen {
    let registries = service::registries();
    let folder = std::path::Path::new(".");
    let checked = config::check_text(FILE, "test.yaml", folder, &registries);
    let (settings, _) = checked.unwrap_or_else(|error| panic!("{error}"));
    let policy = settings.pools[&"linux".parse().unwrap()].policy.clone();
    let generation = policy.offers[0].generation.clone();
    let listing = Listing {
        instances: vec![machine("linux-7-1-0", generation)],
        unknown: vec![],
    };
    let look = Snapshot {
        jobs: vec![],
        executors: vec![executor(
            "1",
            "linux-7-1-0",
            ExecutorState::Idle { since: None },
        )],
        taken_at: now(),
        completeness: Completeness::Complete,
        cost: SnapshotCost::default(),
    };
    Seen {
        places: scaler::Scaler::places(&settings),
        servers: scaler::CiServers {
            settles: scaler::Scaler::settles(&settings),
            controlled: ["ci".parse().unwrap()].into(),
        },
        fleet: settings.fleet,
        at: now(),
        pools: BTreeMap::from([(policy.pool.clone(), policy)]),
        listings: BTreeMap::from([
            ("a".parse().unwrap(), Ok(listing)),
            ("b".parse().unwrap(), Ok(Listing::default())),
        ]),
        leftovers: BTreeMap::from([("a".parse().unwrap(), Ok(vec![]))]),
        looks: BTreeMap::from([("ci".parse().unwrap(), Ok(look))]),
        record: Some(Ok(FleetRecord::default())),
    }
}

fn machine(name: &str, generation: Generation) -> Instance {
    Instance {
        name: name.parse().unwrap(),
        id: ProviderRef::new("i-1"),
        scope: "zone-a".to_owned(),
        state: InstanceState::Running,
        created_at: Some(hours_ago(2)),
        owner: Owner {
            fleet: "acme".parse().unwrap(),
            installation: Some(InstallationId::new("one")),
        },
        executor: Some(reference()),
        offer: "m/0".parse().ok(),
        generation: Some(generation),
        notice: None,
        expires: Some(now() + SignedDuration::from_hours(1)),
    }
}

fn reference() -> ExecutorRef {
    ExecutorRef {
        emitter: "ci".parse().unwrap(),
        id: ExecutorId::new("1"),
    }
}

fn executor(id: &str, name: &str, state: ExecutorState) -> Executor {
    Executor {
        id: ExecutorId::new(id),
        name: name.to_owned(),
        fleet: "acme".parse().ok(),
        labels: vec![],
        run_untagged: false,
        protected_only: false,
        slots: 1,
        state,
        cordon: Cordon::None,
        health: None,
    }
}

impl Seen {
    fn listing(&mut self, provider: &str) -> &mut Listing {
        let listing = self.listings.get_mut(&provider.parse().unwrap()).unwrap();
        listing.as_mut().unwrap()
    }

    fn machine(&mut self) -> &mut Instance {
        &mut self.listing("a").instances[0]
    }

    fn look(&mut self) -> &mut Snapshot {
        self.looks
            .get_mut(&"ci".parse().unwrap())
            .unwrap()
            .as_mut()
            .unwrap()
    }

    fn intent(&mut self, intent: Intent, age: Duration) {
        let pool = PoolRecord {
            intents: vec![StoredIntent { intent, age }],
            ..PoolRecord::default()
        };
        let record = self.record.as_mut().unwrap().as_mut().unwrap();
        record.pools.insert("linux".parse().unwrap(), pool);
    }
}

fn codes(problems: &[Problem]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

/// What is wrong with the machines, the executors and the fleet, after a change of a fleet that is well.
fn after(
    change: impl FnOnce(&mut Seen),
) -> (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>) {
    let report = report(change);
    let machines = report.machines.iter().flat_map(|row| codes(&row.problems));
    let executors = report.executors.iter().flat_map(|row| codes(&row.problems));
    (
        machines.collect(),
        executors.collect(),
        codes(&report.problems),
    )
}

fn report(change: impl FnOnce(&mut Seen)) -> Report {
    let mut seen = well();
    change(&mut seen);
    examine(&seen)
}

fn of_machine(change: impl FnOnce(&mut Seen)) -> Vec<&'static str> {
    let (machines, executors, fleet) = after(change);
    assert_eq!(
        (executors, fleet),
        (vec![], vec![]),
        "only the machine is wrong"
    );
    machines
}

#[test]
fn nothing_is_wrong_with_a_fleet_that_is_well() {
    let report = report(|_| {});
    assert_eq!(
        (report.wrong(), report.not_seen.len()),
        (0, 0),
        "{report:?}"
    );
    assert_eq!(report.machines[0].executor.as_deref(), Some("ci:1, idle"));
    assert_eq!(report.executors[0].machine.as_deref(), Some("linux-7-1-0"));
    let text = words::of(&report, false);
    assert!(text.contains("made 2h ago in term 7; idle"), "{text}");
}

#[test]
fn a_machine_of_no_pool_is_an_orphan() {
    let all = after(|seen| seen.pools.clear());
    assert_eq!(all, (vec!["orphan"], vec![], vec!["former_pool"]));
}

#[test]
fn one_name_at_two_providers_is_told_of_both() {
    let doubled = |seen: &mut Seen| {
        let twin = seen.machine().clone();
        seen.listing("b").instances.push(twin);
    };
    assert_eq!(of_machine(doubled), ["duplicate", "duplicate"]);
}

#[test]
fn a_machine_without_an_executor_is_missed_once_it_is_old_enough() {
    let without = |seen: &mut Seen| seen.look().executors.clear();
    assert_eq!(of_machine(without), ["no_executor"]);
    let young = |seen: &mut Seen| {
        without(seen);
        seen.machine().created_at = Some(now() - SignedDuration::from_mins(5));
    };
    assert_eq!(of_machine(young), Vec::<&str>::new());
    // and never by a look that did not see everything
    let partial = |seen: &mut Seen| {
        without(seen);
        seen.look().completeness.doubt("page 2 failed");
    };
    assert_eq!(of_machine(partial), Vec::<&str>::new());
}

#[test]
fn executors_that_are_offline_or_never_came_are_told() {
    for (state, code) in [
        (ExecutorState::Offline { since: None }, "executor_offline"),
        (ExecutorState::NeverJoined, "never_joined"),
    ] {
        let change = |seen: &mut Seen| seen.look().executors[0].state = state;
        assert_eq!(of_machine(change), [code]);
    }
}

#[test]
fn cordons_that_nobody_carries_on_are_told() {
    let foreign = |seen: &mut Seen| seen.look().executors[0].cordon = Cordon::Foreign;
    assert_eq!(of_machine(foreign), ["foreign_cordon"]);
    let ours = |seen: &mut Seen| seen.look().executors[0].cordon = Cordon::Ours { epoch: Epoch(7) };
    assert_eq!(of_machine(ours), ["forgotten_cordon"]);
    // without the store nobody knows what was begun
    let unread = |seen: &mut Seen| {
        ours(seen);
        seen.record = None;
    };
    assert_eq!(of_machine(unread), Vec::<&str>::new());
}

#[test]
fn a_deletion_that_does_not_end_is_told() {
    let leave = |age: Duration| {
        move |seen: &mut Seen| {
            let intent = Intent::Leave {
                instance: "linux-7-1-0".parse().unwrap(),
                executor: Some(reference()),
                epoch: Epoch(7),
                step: LeaveStep::Deleting,
            };
            seen.intent(intent, age);
        }
    };
    assert_eq!(of_machine(leave(HOUR)), ["stuck_deletion"]);
    assert_eq!(of_machine(leave(HOUR / 60)), Vec::<&str>::new());
}

#[test]
fn what_the_cloud_says_of_a_machine_is_looked_at() {
    let state = |state: InstanceState| move |seen: &mut Seen| seen.machine().state = state;
    assert_eq!(of_machine(state(InstanceState::Stopped)), ["stopped"]);
    let what = "hibernating".to_owned();
    assert_eq!(
        of_machine(state(InstanceState::Unknown { what })),
        ["unknown_state"]
    );
    let old = |seen: &mut Seen| seen.machine().generation = Some(Generation::new("before"));
    assert_eq!(of_machine(old), ["old_image"]);
    let expired = |seen: &mut Seen| seen.machine().expires = Some(hours_ago(1));
    assert_eq!(of_machine(expired), ["expired"]);
    let ahead = |seen: &mut Seen| seen.machine().created_at = Some(hours_ago(-1));
    assert_eq!(of_machine(ahead), ["clock"]);
}

#[test]
fn an_executor_without_a_machine_is_a_ghost_where_all_was_listed() {
    let gone = |seen: &mut Seen| seen.listing("a").instances.clear();
    assert_eq!(after(gone), (vec![], vec!["ghost"], vec![]));
    let half = |seen: &mut Seen| {
        gone(seen);
        seen.listing("b")
            .unknown
            .push("zone-b does not answer".to_owned());
    };
    assert_eq!(after(half), (vec![], vec![], vec![]));
    // one that is being made has an executor before it has a machine
    let coming = |seen: &mut Seen| {
        gone(seen);
        seen.intent(creation(), HOUR / 60);
    };
    assert_eq!(after(coming), (vec![], vec![], vec![]));
}

fn creation() -> Intent {
    Intent::Create {
        batch: BatchId {
            pool: "linux".parse().unwrap(),
            epoch: Epoch(7),
            sequence: 1,
        },
        count: 1,
        provider: "a".parse().unwrap(),
        offer: "m/0".parse().unwrap(),
        executor: None,
    }
}

#[test]
fn what_concerns_no_single_machine_is_told_too() {
    let lost = |seen: &mut Seen| {
        seen.listing("a").instances.clear();
        seen.look().executors.clear();
        seen.intent(creation(), HOUR);
    };
    assert_eq!(after(lost), (vec![], vec![], vec!["lost_creation"]));
    let two = |seen: &mut Seen| {
        let mut other = seen.machine().clone();
        other.name = "linux-7-2-0".parse().unwrap();
        other.owner.installation = Some(InstallationId::new("two"));
        other.executor = None;
        seen.look().executors.push(executor(
            "2",
            "linux-7-2-0",
            ExecutorState::Idle { since: None },
        ));
        seen.listing("b").instances.push(other);
    };
    assert_eq!(after(two), (vec![], vec![], vec!["two_installations"]));
}

#[test]
fn what_outlived_its_machine_is_told_with_what_removes_it_once_it_is_old_enough() {
    let disk = |created_at| ports::Leftover {
        id: "vol-1".to_owned(),
        what: "a disk of 100 GiB in zone-a, of a machine of linux-7-1".to_owned(),
        created_at,
        remove: "aws ec2 delete-volume --volume-id vol-1".to_owned(),
    };
    let left = |created_at| {
        report(|seen: &mut Seen| {
            let left = Ok(vec![disk(created_at)]);
            seen.leftovers.insert("a".parse().unwrap(), left);
        })
    };
    assert_eq!(left(Some(now())).problems, []);
    for created_at in [Some(hours_ago(1)), None] {
        let problems = left(created_at).problems;
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].code, "leftover");
        assert!(
            problems[0].what.contains("a disk of 100 GiB"),
            "{problems:?}"
        );
        assert!(
            problems[0]
                .advice
                .contains("delete-volume --volume-id vol-1")
        );
    }
}

#[test]
fn what_was_not_seen_is_named() {
    let report = report(|seen| {
        let down = |why: &str| why.to_owned();
        seen.listings.insert("a".parse().unwrap(), Err(down("502")));
        seen.leftovers
            .insert("a".parse().unwrap(), Err(down("no right")));
        seen.looks
            .insert("ci".parse().unwrap(), Err(down("no look within 30s")));
        seen.record = Some(Err(down("Redis cannot be reached")));
    });
    assert_eq!(
        report.not_seen,
        [
            "no machine of a: 502",
            "what machines of a left behind: no right",
            "no executor of ci: no look within 30s",
            "what was begun (the store): Redis cannot be reached",
        ]
    );
    assert_eq!(report.wrong(), 0);
}

/// What is said of a pool that is not configured, after a change.
fn former(change: impl FnOnce(&mut Seen)) -> String {
    let report = report(|seen| {
        seen.pools.clear();
        change(seen);
    });
    let mut problems = report.problems.iter();
    let found = problems.find(|problem| problem.code == "former_pool");
    let found = found.unwrap_or_else(|| panic!("{report:?}"));
    format!("{}: {}", found.what, found.advice)
}

fn remembered(seen: &mut Seen, memory: model::PoolMemory) {
    let pool = PoolRecord {
        memory: Some(memory),
        ..PoolRecord::default()
    };
    let record = seen.record.as_mut().unwrap().as_mut().unwrap();
    record.pools.insert("linux".parse().unwrap(), pool);
}

#[test]
fn a_pool_that_is_not_configured_is_told_with_what_becomes_of_it() {
    let said = former(|_| {});
    assert!(
        said.contains("linux is not configured, and has 1 machine and 1 executor"),
        "{said}"
    );
    assert!(said.contains("leave as they become idle"), "{said}");
    let said = former(|seen| seen.servers.controlled.clear());
    assert!(said.contains("without scaler's memory"), "{said}");
    let untagged = |seen: &mut Seen| {
        seen.machine().executor = None;
        seen.look().executors[0].name = "linux-7-1-0".to_owned();
        let joins = model::Joins {
            emitter: "ci".parse().ok(),
            uncontrolled: Some(model::UncontrolledLeave::ByThemselves),
            since: hours_ago(5),
        };
        let memory = model::PoolMemory {
            joins: Some(joins),
            ..model::PoolMemory::default()
        };
        remembered(seen, memory);
    };
    let said = former(untagged);
    assert!(
        said.contains("let machines leave by themselves only"),
        "{said}"
    );
}

#[test]
fn executors_of_a_pool_that_is_not_configured_are_told_by_whether_they_go() {
    let only_executors = |state: ExecutorState| {
        move |seen: &mut Seen| {
            seen.listing("a").instances.clear();
            seen.look().executors[0].state = state;
        }
    };
    let offline = ExecutorState::Offline { since: None };
    let said = former(only_executors(offline.clone()));
    assert!(
        said.contains("offline (1)") && said.contains("0 that the CI server hears of"),
        "{said}"
    );
    let online = ExecutorState::Idle { since: None };
    let said = former(only_executors(online.clone()));
    assert!(
        said.contains("offline (0)") && said.contains("1 that the CI server hears of"),
        "{said}"
    );
    for (state, words) in [
        (offline, "removes it after ten minutes"),
        (online, "leaves it until it is offline"),
    ] {
        let report = report(|seen| {
            seen.pools.clear();
            only_executors(state)(seen);
        });
        let ghost = &report.executors[0].problems[0];
        assert_eq!(ghost.code, "ghost");
        assert!(ghost.advice.contains(words), "{ghost:?}");
    }
}

#[test]
fn a_provider_that_left_the_file_is_told_while_its_machines_are_not_listed_elsewhere() {
    let had = |provider: &str, name: &str| {
        let last = model::LastListed {
            place: "eu-west-1".to_owned(),
            machines: [name.parse().unwrap()].into(),
        };
        let memory = model::PoolMemory {
            listed: [(provider.parse().unwrap(), last)].into(),
            ..model::PoolMemory::default()
        };
        move |seen: &mut Seen| remembered(seen, memory)
    };
    let (_, _, fleet) = after(had("old", "linux-7-9-0"));
    assert_eq!(fleet, ["former_provider"]);
    // another one lists it, or it is configured and does not say where it stands
    assert_eq!(after(had("old", "linux-7-1-0")).2, Vec::<&str>::new());
    let silent = |seen: &mut Seen| {
        seen.places.values_mut().for_each(String::clear);
        had("a", "linux-7-9-0")(seen);
    };
    assert_eq!(after(silent).2, Vec::<&str>::new());
}
