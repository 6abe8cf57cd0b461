//! `parmanu plan` as an operator runs it, and the recipes: each plans as its comment promises.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::{Expect, expect};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../config")
        .join(name)
}

fn run(config: &Path, world: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parmanu"));
    command
        .env_remove("REDIS_URL")
        .arg("plan")
        .arg("--config")
        .arg(config);
    if let Some(world) = world {
        command.arg("--world").arg(world);
    }
    command.output().unwrap()
}

fn plan(recipe: &str, world: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.yaml");
    std::fs::write(&file, world).unwrap();
    let output = run(&config(recipe), Some(&file));
    let said = String::from_utf8(output.stdout).unwrap();
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{trouble}");
    said
}

/// The last line: what it comes to.
fn in_all(recipe: &str, world: &str, expected: Expect) {
    let said = plan(recipe, world);
    let last = said.lines().last().unwrap_or_default();
    expected.assert_eq(last);
}

/// How many machines are created from each offer.
fn created(said: &str) -> Vec<(String, u32)> {
    let mut offers: Vec<(String, u32)> = Vec::new();
    for line in said.lines() {
        let Some(rest) = line.trim().strip_prefix("grows by ") else {
            continue;
        };
        let (count, offer) = rest.split_once(" from ").unwrap();
        let count = count.split(' ').next().unwrap().parse().unwrap();
        offers.push((offer.to_owned(), count));
    }
    offers
}

fn from(offers: &[(&str, u32)]) -> Vec<(String, u32)> {
    offers
        .iter()
        .map(|(offer, n)| ((*offer).to_owned(), *n))
        .collect()
}

#[test]
fn the_sample_world_is_planned_in_words() {
    let said = run(
        &config("minimal.yaml"),
        Some(&config("worlds/busy-morning.yaml")),
    );
    expect![[r#"
        pool linux: 5 queued, 2 running; 4 serving of 4 that cost money -> 6
          create linux-2-1: 1 machine at aws from linux/0
          create linux-2-2: 1 machine at aws from linux/0
            demand: 5 queued, 2 running; 2 machines with work, 1 slot free elsewhere, 1 slot per machine -> 6
            grows by 2 machines from linux/0
        in all: 2 to create, 0 to call back, 0 to begin or go on leaving; nothing was done
    "#]].assert_eq(&String::from_utf8(said.stdout).unwrap());
}

#[test]
fn a_world_that_is_mistyped_is_refused_with_the_word() {
    for (world, word) in [
        ("pools: { lynux: { queued: 1 } }", "lynux"),
        ("pools: { linux: { qeued: 1 } }", "qeued"),
        (
            "pools: { linux: { machines: [{ state: sleeping }] } }",
            "sleeping",
        ),
        (
            "pools: { linux: { machines: [{ state: idle, offer: 7 }] } }",
            "no offer 7",
        ),
        ("unavailable: { linux/9: gone }", "linux/9"),
        ("drains: { machines: [linux-1-1-0] }", "linux-1-1-0"),
        ("drains: { machines: [web] }", "web"),
        ("drains: { zone: [a] }", "zone"),
        ("pools: { linux: { pinned: many } }", "many"),
        (
            "pools: { linux: { spent: { monthly: 3 } } }",
            "no budget `monthly`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("world.yaml");
        std::fs::write(&file, world).unwrap();
        let output = run(&config("minimal.yaml"), Some(&file));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(word),
            "{world}: {said}"
        );
    }
}

const ORDERS: &str = "now: 2026-03-02T08:00:00Z\npools: { linux: { queued: 5, machines: [{ state: busy, count: 2 }, { state: idle, for: 2h, zone: b }] } }\n";

#[test]
fn a_paused_pool_of_a_world_stands_still_and_says_why() {
    let world = ORDERS.replace("queued: 5", "queued: 5, paused: true");
    let said = plan("minimal.yaml", &world);
    expect![[r#"
        pool linux: 5 queued, 2 running; 3 serving of 3 that cost money -> 3
          nothing to do
            demand: 5 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 7
            paused by the world until 2026-03-02T09:00:00Z: its file says so; it keeps 3 machines, 7 would be wanted
            steady at 3 machines
        in all: 0 to create, 0 to call back, 0 to begin or go on leaving; nothing was done
    "#]].assert_eq(&said);
}

#[test]
fn a_pinned_pool_of_a_world_has_that_size_whatever_waits() {
    let world = ORDERS.replace("queued: 5", "queued: 5, pinned: 4");
    let said = plan("minimal.yaml", &world);
    expect![[r#"
        pool linux: 5 queued, 2 running; 3 serving of 3 that cost money -> 4
          create linux-2-1: 1 machine at aws from linux/0
            demand: 5 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 7
            pinned at 4 by the world until 2026-03-02T09:00:00Z: its file says so: 7 -> 4
            grows by 1 machine from linux/0
        in all: 1 to create, 0 to call back, 0 to begin or go on leaving; nothing was done
    "#]].assert_eq(&said);
}

#[test]
fn what_a_world_drains_leaves_when_it_is_idle_and_nothing_is_made_of_it() {
    for (drains, expected) in [
        (
            "drains: { machines: [linux-1-3-0] }",
            expect![[r#"
            pool linux: 0 queued, 2 running; 3 serving of 3 that cost money -> 3
              cordon linux-1-3-0: an operator drains it
                demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
                drain machine linux-1-3-0 by the world until 2026-03-02T09:00:00Z: its file says so; 1 machine left
                1 machine to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
                linux-1-3-0 begins to leave: an operator drains it
            in all: 0 to create, 0 to call back, 1 to begin or go on leaving; nothing was done
        "#]],
        ),
        (
            "drains: { zones: [b] }",
            expect![[r#"
            pool linux: 0 queued, 2 running; 3 serving of 3 that cost money -> 3
              cordon linux-1-3-0: an operator drains it
                demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
                drain zone b by the world until 2026-03-02T09:00:00Z: its file says so; 1 machine left
                1 machine to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
                linux-1-3-0 begins to leave: an operator drains it
            in all: 0 to create, 0 to call back, 1 to begin or go on leaving; nothing was done
        "#]],
        ),
        (
            "drains: { images: [ami-0123456789abcdef0] }",
            expect![[r#"
                pool linux: 0 queued, 2 running; 3 serving of 3 that cost money -> 3
                  cordon linux-1-3-0: an operator drains it
                    demand: 0 queued, 2 running; 2 machines with work, 0 slots free elsewhere, 1 slot per machine -> 2
                    drain image ami-0123456789abcdef0 by the world until 2026-03-02T09:00:00Z: its file says so; 3 machines left
                    3 machines to be replaced (too old, changed or drained), 1 more may leave at once; up to 1 now
                    linux-1-3-0 begins to leave: an operator drains it
                in all: 0 to create, 0 to call back, 1 to begin or go on leaving; nothing was done
            "#]],
        ),
    ] {
        let world = ORDERS.replace("queued: 5", "queued: 0");
        expected.assert_eq(&plan("minimal.yaml", &format!("{world}{drains}\n")));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_as_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "version: 1\nflet: acme\n").unwrap();
    let output = run(&file, None);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("did you mean `fleet`?"), "{said}");
}

#[test]
fn without_a_world_and_without_a_store_it_says_what_to_do() {
    let output = run(&config("minimal.yaml"), None);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("REDIS_URL") || said.contains("--world"),
        "{said}"
    );
}

#[test]
fn scale_to_zero() {
    let recipe = "recipes/scale-to-zero.yaml";
    in_all(
        recipe,
        "{}",
        expect![
            "in all: 0 to create, 0 to call back, 0 to begin or go on leaving; nothing was done"
        ],
    );
    in_all(
        recipe,
        "pools: { linux: { queued: 3 } }",
        expect![
            "in all: 3 to create, 0 to call back, 0 to begin or go on leaving; nothing was done"
        ],
    );
    let world =
        "pools: { linux: { machines: [{ state: idle, for: 6m }, { state: idle, for: 4m }] } }";
    in_all(
        recipe,
        world,
        expect![
            "in all: 0 to create, 0 to call back, 1 to begin or go on leaving; nothing was done"
        ],
    );
}

#[test]
fn spot_with_fallback() {
    let recipe = "recipes/spot-with-fallback.yaml";
    let said = plan(recipe, "pools: { linux: { queued: 4 } }");
    assert_eq!(created(&said), from(&[("linux/0", 4)]), "{said}");
    let world = "pools: { linux: { queued: 4 } }\nunavailable: { linux/0: no capacity }";
    let said = plan(recipe, world);
    assert_eq!(created(&said), from(&[("linux/1", 4)]), "{said}");
    let world = "pools: { linux: { queued: 4 } }\nretry: { linux/0: no capacity }";
    let said = plan(recipe, world);
    assert_eq!(
        created(&said),
        from(&[("linux/0", 1), ("linux/1", 3)]),
        "{said}"
    );
}

#[test]
fn two_regions() {
    let recipe = "recipes/two-regions.yaml";
    let said = plan(recipe, "pools: { linux: { queued: 6 } }");
    assert_eq!(created(&said), from(&[("linux/0", 6)]), "{said}");
    let world = "pools: { linux: { queued: 6, machines: [{ state: busy, count: 47 }] } }";
    let said = plan(recipe, world);
    assert_eq!(
        created(&said),
        from(&[("linux/0", 3), ("linux/1", 3)]),
        "{said}"
    );
    let world = "pools: { linux: { queued: 6 } }\ndoubtful: { frankfurt: connection refused }";
    let said = plan(recipe, world);
    assert_eq!(created(&said), from(&[("linux/1", 6)]), "{said}");
}

#[test]
fn cost_cap() {
    let recipe = "recipes/cost-cap.yaml";
    let world = |spent: &str, queued: u32| {
        format!(
            "now: 2026-03-20T12:00:00Z\nunavailable: {{ linux/0: no capacity }}\npools:\n  release: {{ queued: 2 }}\n  tests: {{ queued: {queued}, spent: {{ monthly: {spent} }} }}"
        )
    };
    let said = plan(recipe, &world("100", 3));
    assert_eq!(
        created(&said),
        from(&[("linux/1", 2), ("linux/1", 3)]),
        "{said}"
    );
    let said = plan(recipe, &world("365", 3));
    assert_eq!(created(&said), [], "{said}");
    let said = plan(recipe, &world("365", 3).replace("linux/0: no capacity", ""));
    assert_eq!(
        created(&said),
        from(&[("linux/0", 2), ("linux/0", 3)]),
        "{said}"
    );
    let said = plan(
        recipe,
        &world("399.95", 3).replace("linux/0: no capacity", ""),
    );
    assert_eq!(created(&said), [], "{said}");
    let said = plan(
        recipe,
        &world("399.70", 30).replace("linux/0: no capacity", ""),
    );
    assert_eq!(
        created(&said),
        from(&[("linux/0", 2), ("linux/0", 2)]),
        "{said}"
    );
}

/// Machines made or called for in all, by the last line.
fn count(recipe: &str, world: &str) -> (u32, u32) {
    let said = plan(recipe, world);
    let last = said.lines().last().unwrap();
    let number = |before: &str| {
        let (head, _) = last.split_once(before).unwrap();
        head.rsplit([' ', ':'])
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    (number(" to create"), number(" to begin or go on leaving"))
}

// Berlin is one hour ahead of UTC in January; the fifth is a Monday.
const MONDAY_AT_TEN: &str = "now: 2026-01-05T09:00:00Z";
const MONDAY_EVENING: &str = "now: 2026-01-05T19:00:00Z";
const SUNDAY_AT_TEN: &str = "now: 2026-01-04T09:00:00Z";

#[test]
fn office_hours() {
    let recipe = "recipes/office-hours.yaml";
    let two_jobs = format!("{MONDAY_AT_TEN}\npools: {{ linux: {{ queued: 2 }} }}");
    let one_job = format!("{MONDAY_EVENING}\npools: {{ linux: {{ queued: 1 }} }}");
    assert_eq!(count(recipe, MONDAY_AT_TEN), (4, 0));
    assert_eq!(count(recipe, &two_jobs), (6, 0));
    assert_eq!(count(recipe, MONDAY_EVENING), (0, 0));
    assert_eq!(count(recipe, SUNDAY_AT_TEN), (0, 0));
    assert_eq!(count(recipe, &one_job), (1, 0));
}

#[test]
fn nightly_burst() {
    let recipe = "recipes/nightly-burst.yaml";
    assert_eq!(count(recipe, "now: 2026-01-05T00:55:00Z"), (20, 0));
    let jobs = "pools: { linux: { queued: 90 } }";
    assert_eq!(
        count(recipe, &format!("now: 2026-01-05T01:10:00Z\n{jobs}")),
        (100, 0)
    );
    assert_eq!(
        count(recipe, &format!("now: 2026-01-05T11:00:00Z\n{jobs}")),
        (25, 0)
    );
}

#[test]
fn windows() {
    let recipe = "recipes/windows.yaml";
    assert_eq!(count(recipe, MONDAY_AT_TEN), (2, 0));
    let machines = |what: &str| {
        format!("{MONDAY_EVENING}\npools: {{ windows: {{ queued: 1, machines: [{what}] }} }}")
    };
    assert_eq!(
        count(recipe, &machines("{ state: booting, for: 20m }")),
        (0, 0)
    );
    assert_eq!(
        count(
            recipe,
            &machines("{ state: busy }, { state: idle, for: 30m }, { state: idle, for: 20m }")
        ),
        (0, 0)
    );
    assert_eq!(
        count(
            recipe,
            &machines("{ state: busy }, { state: idle, for: 61m }, { state: idle, for: 20m }")
        ),
        (0, 1)
    );
}

#[test]
fn storage_nodes_ahead_of_scheduled_jobs() {
    let recipe = "recipes/storage-nodes.yaml";
    assert_eq!(count(recipe, "now: 2026-01-05T00:00:00Z"), (0, 0));
    assert_eq!(count(recipe, "now: 2026-01-05T00:35:00Z"), (3, 0));
    let nodes = "pools: { linux: { queued: 2 }, storage: { machines: [{ state: idle, for: 4h, count: 3 }] } }";
    assert_eq!(
        count(recipe, &format!("now: 2026-01-05T04:30:00Z\n{nodes}")),
        (2, 3)
    );
    assert_eq!(
        count(recipe, &format!("now: 2026-01-05T02:30:00Z\n{nodes}")),
        (2, 0)
    );
}

#[test]
fn test_beds_of_working_days() {
    let recipe = "recipes/test-beds.yaml";
    assert_eq!(count(recipe, "now: 2026-01-05T09:00:00Z"), (6, 0));
    assert_eq!(count(recipe, "now: 2026-01-04T09:00:00Z"), (1, 0));
    let beds = "pools: { beds: { machines: [{ state: idle, for: 13h, count: 6 }] } }";
    let at = |now: &str| count(recipe, &format!("now: {now}\n{beds}"));
    assert_eq!(at("2026-01-05T18:00:00Z"), (0, 0));
    assert_eq!(at("2026-01-05T20:00:00Z"), (0, 5));
}
