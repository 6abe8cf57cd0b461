//! Whatever a server answers, nothing panics and no row is lost without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Job, JobClass, JobId, Requirement};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chain::{self, SameAgent};
use crate::matcher::{AWAITS, CAN, CANARY, CANNOT};
use crate::oracle::{Kind, Oracle};
use crate::wire::{self, Agent, Build, Pool, Rows};
use crate::{client, mark, reason};

/// Any JSON of some depth whose keys are often those that are read.
fn any_json() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "id",
        "name",
        "buildTypeId",
        "composite",
        "waitReason",
        "buildType",
        "agent",
        "snapshot-dependencies",
        "build",
        "state",
        "connected",
        "authorized",
        "enabledInfo",
        "status",
        "comment",
        "text",
        "pool",
        "projects",
        "project",
        "queuedDate",
        "snapshot-dependency",
        "properties",
        "property",
        "value",
        "source-buildType",
        "running-info",
        "nextHref",
        "count",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("run-build-on-the-same-agent")),
        Just(json!("20260901T100000+0000")),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let key = prop::sample::select(KEYS).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Good rows and bad ones are all there are.
fn counted<T: for<'a> serde::Deserialize<'a>>(rows: &[Value]) -> Vec<T> {
    let mut read = Rows::<T>::default();
    for row in rows {
        read.add(row.clone());
    }
    assert_eq!(read.good.len() + read.bad, rows.len());
    assert!(read.at.chars().count() <= 201);
    read.good
}

/// Builds in any relation to one another, circles too.
fn any_builds(ids: std::ops::Range<u64>) -> impl Strategy<Value = Vec<Build>> {
    let need = (0_u64..12, any::<bool>()).prop_map(|(id, ended)| {
        let state = if ended { "finished" } else { "queued" };
        json!({ "id": id, "buildTypeId": format!("T{id}"), "state": state, "agent": { "name": format!("a{}", id % 3) } })
    });
    let build = (
        ids,
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(need, 0..4),
        0..3_u8,
    );
    let build = build.prop_map(|(id, composite, detached, needs, words)| {
        let reason = [None, Some("Build dependencies have not been built yet"), Some("?")];
        json!({
            "id": id, "buildTypeId": format!("T{id}"), "composite": composite && id % 3 == 0, "detachedFromAgent": detached,
            "waitReason": reason[usize::from(words)], "snapshot-dependencies": { "build": needs },
        })
    });
    prop::collection::vec(build, 0..12).prop_map(|rows| {
        let mut once = BTreeSet::new();
        let rows = rows
            .into_iter()
            .filter(|row| once.insert(row["id"].as_u64()));
        rows.map(|row| serde_json::from_value(row).unwrap())
            .collect()
    })
}

fn any_bonds() -> impl Strategy<Value = SameAgent> {
    let pair = (0_u64..12, 0_u64..12);
    prop::collection::vec(pair, 0..12).prop_map(|pairs| {
        let mut bonds = SameAgent::new();
        for (of, on) in pairs {
            bonds
                .entry(format!("T{of}"))
                .or_default()
                .insert(format!("T{on}"));
        }
        bonds
    })
}

proptest! {
    #[test]
    fn every_row_is_good_or_counted_as_bad(rows in prop::collection::vec(any_json(), 0..6)) {
        counted::<Build>(&rows);
        counted::<Pool>(&rows);
        for agent in counted::<Agent>(&rows) {
            let fleet = "acme".parse().unwrap();
            // somebody else's agent is left out only if it may run nothing
            let shown = crate::convert::executor(&agent, &fleet, Default::default(), &Default::default(), Vec::new());
            let left_out = shown.is_none();
            prop_assert!(!left_out || (!agent.authorized && agent.build.is_none()));
        }
        for row in &rows {
            wire::same_agent(row);
        }
    }

    #[test]
    fn every_build_of_the_queue_is_placed_once_or_runs_or_is_composite(
        queued in any_builds(0..12), running in any_builds(4..16), bonds in any_bonds(),
    ) {
        let chains = chain::place(&queued, &running, &bonds);
        let runs: BTreeSet<u64> = running.iter().map(|build| build.id).collect();
        let placed: Vec<u64> = chains.placed.iter().map(|placed| placed.build.id).collect();
        let wanted: Vec<u64> = queued.iter().filter(|b| !b.composite && !runs.contains(&b.id)).map(|b| b.id).collect();
        prop_assert_eq!(placed, wanted);
        // a build is no parent of itself, and what is a parent still needs an agent
        for placed in &chains.placed {
            if let model::JobClass::Blocked { parents, .. } = &placed.class {
                for parent in parents {
                    let open = queued.iter().chain(&running).find(|b| b.id.to_string() == parent.as_str());
                    let open = open.filter(|b| runs.contains(&b.id) || !b.composite);
                    prop_assert!(open.is_some());
                }
            }
            let own = format!("T{}", placed.build.id);
            prop_assert!(placed.types.contains(&own));
        }
    }

    #[test]
    fn every_kind_has_one_canary_at_most_and_every_job_one_word_on_each_kind(
        samples in prop::collection::vec(prop::collection::btree_set(0_u64..4, 0..3), 1..4),
        answers in prop::collection::vec((0_u8..4, prop::collection::btree_set(0_u64..4, 0..4), 0_u64..9000), 0..8),
        queue in prop::collection::vec((0_u8..4, any::<bool>()), 0..12),
        now in 0_u64..20_000,
    ) {
        let kinds: Vec<Kind> = samples.into_iter().enumerate().map(|(of, samples)| {
            let projects = (of != 2).then(|| ["App".to_owned()].into());
            Kind { key: format!("K{of}"), samples, projects }
        }).collect();
        let mut oracle = Oracle::default();
        for (of_type, agents, at) in answers {
            // samples of then are not those of now
            let then: Vec<Kind> = kinds.iter().cloned().map(|mut kind| {
                kind.samples.insert(at % 5);
                kind
            }).collect();
            oracle.learn(&format!("T{of_type}"), agents, &then, Duration::from_secs(at));
        }
        let mut jobs: Vec<_> = queue.iter().enumerate().map(|(id, (of_type, waits))| {
            let class = if *waits { JobClass::Runnable } else { JobClass::Unrunnable { why: String::new() } };
            let job = Job {
                id: JobId::new(id.to_string()), name: String::new(), project: "App".to_owned(), requirement: Requirement::default(),
                queued_at: None, started_at: None, expected: None, class,
            };
            (job, BTreeSet::from([format!("T{of_type}")]))
        }).collect();
        oracle.tell(&mut jobs, &kinds, Duration::from_secs(now));
        for kind in &kinds {
            let says = |job: &Job, fact: &str| job.requirement.facts.get(fact).is_some_and(|keys| keys.contains(&kind.key));
            let canaries: Vec<&Job> = jobs.iter().map(|(job, _)| job).filter(|job| says(job, CANARY)).collect();
            prop_assert!(canaries.len() <= 1);
            prop_assert!(canaries.is_empty() || kind.samples.is_empty());
            for (job, _) in &jobs {
                let words = [CAN, CANNOT, CANARY, AWAITS].iter().filter(|fact| says(job, fact)).count();
                prop_assert!(words == 1 || (words == 0 && !kind.samples.is_empty()), "{:?}", job);
                prop_assert!(!says(job, CANARY) || job.class == JobClass::Runnable);
            }
            // where somebody waits of whom nothing is known anywhere, one brings the first machine
            let lost = jobs.iter().any(|(job, _)| {
                job.class == JobClass::Runnable && job.requirement.facts.len() == 1 && says(job, AWAITS)
            });
            prop_assert!(!lost || jobs.iter().any(|(job, _)| job.requirement.facts.contains_key(CANARY)));
        }
        for (job, _) in &jobs {
            let brings = job.requirement.facts.get(CANARY).map_or(0, Vec::len);
            prop_assert!(brings <= 1);
        }
    }

    #[test]
    fn any_words_are_read(text in ".{0,300}") {
        reason::read(Some(&text));
        wire::time(Some(&text));
        let fleet = "acme".parse().unwrap();
        mark::cordon(false, &text, &fleet);
        mark::owner(&text);
        prop_assert_eq!(mark::shown_key(&text, &"t".into(), &fleet, "a", jiff::Timestamp::UNIX_EPOCH), mark::Shown::NoKey);
        let value = client::value(&text);
        let safe = value.strip_prefix("($base64:").and_then(|rest| rest.strip_suffix(')')).unwrap_or(&value);
        prop_assert!(!safe.contains([':', ',', '(', ')', '$', '/', '?', '#']));
    }
}
