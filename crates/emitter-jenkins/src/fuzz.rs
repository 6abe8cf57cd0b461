//! Any answer is read without a panic, and none makes work vanish. 256 cases of each; `PROPTEST_CASES` asks for more.

use std::collections::BTreeMap;

use model::{ExecutorState, FleetId};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::convert::{self, Nodes};
use crate::wire::{self, Computer, Item};
use crate::{mark, nodes, why};

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        any_words().prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    any_leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-zA-Z_]{0,8}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Texts like Jenkins' own, with something wrong in them.
fn any_words() -> impl Strategy<Value = String> {
    "(‘|’|; |is offline|’ is not accepting tasks| doesn’t have label |All nodes of label ‘|There are no nodes with the label ‘|Waiting for next available executor|on ‘|vm-1|parmanu-placeholder-acme-x|[a-z&|!()\"]{1,3}){0,8}"
}

/// A good row in which some values are replaced and some left out.
fn any_row(good: Value) -> impl Strategy<Value = Value> {
    let keys: Vec<String> = good
        .as_object()
        .map(|row| row.keys().cloned().collect())
        .unwrap_or_default();
    let change = (
        prop::sample::select(keys),
        prop::option::weighted(0.8, any_json()),
    );
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut row = good.clone();
        for (key, value) in changes {
            match value {
                Some(value) => row[&key] = value,
                None => drop(row.as_object_mut().and_then(|row| row.remove(&key))),
            }
        }
        row
    })
}

fn item() -> Value {
    json!({
        "_class": "hudson.model.Queue$BuildableItem", "id": 7, "why": "‘vm-1’ is offline", "blocked": false,
        "buildable": true, "pending": false, "inQueueSince": 1_795_319_996_026_i64, "timestamp": 1,
        "buildableStartMilliseconds": 1_795_319_996_041_i64,
        "task": { "_class": "hudson.model.FreeStyleProject", "name": "app", "url": "job/a/job/b/", "labelExpression": "linux" },
    })
}

fn computer() -> Value {
    json!({
        "_class": "hudson.slaves.SlaveComputer", "displayName": "vm-1", "description": "parmanu-fleet=acme session=1",
        "offline": false, "temporarilyOffline": false, "offlineCauseReason": "", "offlineCause": { "timestamp": 1 },
        "idle": false, "numExecutors": 1, "absoluteRemotePath": "/x", "assignedLabels": [{ "name": "linux" }],
        "executors": [{ "number": 0, "idle": false, "currentExecutable": { "url": "job/a/1/", "queueId": 6 } }],
        "oneOffExecutors": [{ "idle": true }],
        "monitorData": { "hudson.node_monitors.SwapSpaceMonitor": { "availablePhysicalMemory": 1 } },
    })
}

fn fleet() -> FleetId {
    "acme".parse().unwrap()
}

proptest! {
    #[test]
    fn every_item_of_the_queue_is_a_job_or_a_bad_row(rows in prop::collection::vec(prop_oneof![any_row(item()), any_json()], 0..6), nodes in prop::collection::vec(any_row(computer()), 0..3)) {
        let listed = rows.len();
        let (items, bad) = wire::rows::<Item>(&mut json!({ "items": rows }), "items").unwrap();
        prop_assert_eq!(items.len() + bad, listed);
        let (computers, _) = wire::rows::<Computer>(&mut json!({ "computer": nodes }), "computer").unwrap();
        for computers in [None, Some(&computers[..])] {
            let nodes = Nodes { computers, fleet: &fleet() };
            let mut remembered = BTreeMap::new();
            for _ in 0..2 {
                let jobs = convert::queued(&items, &nodes, &mut remembered);
                prop_assert_eq!(jobs.len(), items.len());
                prop_assert!(remembered.len() <= items.len());
            }
        }
    }

    #[test]
    fn a_computer_that_holds_anything_is_never_idle(rows in prop::collection::vec(prop_oneof![any_row(computer()), any_json()], 0..6)) {
        let listed = rows.len();
        let (computers, bad) = wire::rows::<Computer>(&mut json!({ "computer": rows }), "computer").unwrap();
        prop_assert_eq!(computers.len() + bad, listed);
        for computer in &computers {
            let one = std::slice::from_ref(computer);
            let held = computer.held();
            for executor in convert::executors(one, &fleet(), Some("1")) {
                let busy = matches!(executor.state, ExecutorState::Busy { .. });
                prop_assert!(busy || (held == 0 && computer.idle), "{:?}", computer);
                let slots = computer.executors.iter().filter(|slot| slot.idle != Some(true));
                prop_assert_eq!(convert::running(one).len(), slots.count());
            }
        }
    }

    #[test]
    fn a_list_that_is_none_is_told_apart_from_an_empty_one(mut body in any_json()) {
        let list = body.get("items").and_then(Value::as_array).map(Vec::len);
        let read = wire::rows::<Item>(&mut body, "items");
        prop_assert_eq!(read.map(|(rows, bad)| rows.len() + bad), list);
    }

    #[test]
    fn no_words_and_no_mark_panic(words in any_words(), text in "\\PC{0,40}", file in "(<argument>|</argument>|[0-9a-f]{32}|vm-1|\\PC){0,8}") {
        for text in [&words, &text] {
            why::read(text);
            mark::owner(text);
            mark::cordon(true, text, &fleet());
            mark::is_placeholder(&fleet(), text);
        }
        // a secret is only ever given out as one word
        if let Ok(secret) = nodes::secret(&file, "vm-1") {
            prop_assert!(secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
