use model::{InstanceState, OfferId, UserData};
use ports::ProviderErrorKind;
use serde_json::json;

use super::*;
use crate::error::Fate;
use crate::wire::ChangeReply;

fn fleet() -> FleetId {
    "acme".parse().unwrap()
}

fn provider() -> ProviderName {
    "dc2".parse().unwrap()
}

fn name(index: u32) -> InstanceName {
    format!("linux-7-1-{index}").parse().unwrap()
}

fn machine(change: impl Fn(&mut Value)) -> Machine {
    let mut value = json!({
        "name": "linux-7-1-0", "id": "4711", "scope": "host-3", "state": "running",
        "created_at": "2026-11-24T16:34:34Z", "a later field": true,
        "tags": {
            "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1", "parmanu-installation": "i-1",
            "parmanu-offer": "small/0", "parmanu-executor": "gitlab:7", "owner": "somebody",
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn said(text: &str) -> Said {
    Said {
        reply: text.as_bytes().to_vec(),
        words: Words::default(),
    }
}

fn broken<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> Failure {
    reply::<T>(&said(text)).expect_err(text)
}

#[test]
fn a_machine_is_read_back_from_its_tags() {
    let read = instance(machine(|_| {}), &fleet(), &provider()).unwrap();
    assert_eq!((read.name, read.id.as_str()), (name(0), "4711"));
    assert_eq!(read.scope, "host-3");
    assert_eq!(read.state, InstanceState::Running);
    assert_eq!(read.owner.installation, Some(InstallationId::new("i-1")));
    assert_eq!(read.executor, "gitlab:7".parse().ok());
    assert_eq!(read.offer, "small/0".parse().ok());
    let bare = machine(|value| {
        value["scope"] = Value::Null;
        value["tags"] = json!({ "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1" });
    });
    let read = instance(bare, &fleet(), &provider()).unwrap();
    assert_eq!(read.scope, "dc2");
    assert_eq!((read.executor, read.offer), (None, None));
}

#[test]
fn what_the_batch_says_comes_back_from_its_tags() {
    let batch = CreateBatch {
        fleet: fleet(),
        installation: InstallationId::new("i-1"),
        batch: "linux-7-1".parse().unwrap(),
        count: 1,
        offer: "small/0".parse::<OfferId>().unwrap(),
        spec: Value::Null,
        generation: model::Generation::new("0f3c5a"),
        attempt: 0,
        executor: "gitlab:7".parse().ok(),
        user_data: UserData::default(),
    };
    let now = "2026-11-24T16:34:34Z".parse().unwrap();
    let tags = tags(&batch, now);
    assert_eq!(tags["parmanu-expires"], "2026-11-24T17:34:34Z");
    let made = machine(|value| value["tags"] = json!(tags));
    let read = instance(made, &fleet(), &provider()).unwrap();
    assert_eq!(read.owner.fleet, batch.fleet);
    assert_eq!(read.owner.installation, Some(batch.installation));
    assert_eq!(
        (read.offer, read.executor),
        (Some(batch.offer), batch.executor)
    );
    assert_eq!(read.expires, "2026-11-24T17:34:34Z".parse().ok());
    let odd = machine(|value| value["tags"]["parmanu-expires"] = json!("tomorrow"));
    let read = instance(odd, &fleet(), &provider()).unwrap();
    assert_eq!(read.expires, None, "what is no time is no mark");
}

#[test]
fn what_is_not_ours_or_odd_is_not_read() {
    let other = "other".parse().unwrap();
    assert_eq!(
        instance(machine(|_| {}), &other, &provider()),
        Err(Odd::Foreign)
    );
    let bare = machine(|value| value["tags"] = json!({}));
    assert_eq!(instance(bare, &fleet(), &provider()), Err(Odd::Foreign));
    let long = "x".repeat(LONGEST_ID + 1);
    for (key, value) in [
        ("name", "web"),
        ("name", "linux-7-2-0"),
        ("id", ""),
        ("id", &long),
    ] {
        let odd = machine(|machine| machine[key] = json!(value));
        let read = instance(odd, &fleet(), &provider());
        assert!(matches!(read, Err(Odd::Unreadable(_))), "{key}: {read:?}");
    }
}

#[test]
fn a_state_that_we_do_not_know_is_said_as_it_is() {
    let paused = machine(|value| value["state"] = json!("paused"));
    let read = instance(paused, &fleet(), &provider()).unwrap();
    assert_eq!(
        read.state,
        InstanceState::Unknown {
            what: "paused".to_owned()
        }
    );
    assert_eq!(target(&read).state, "paused");
}

#[test]
fn a_listing_drops_others_machines_and_keeps_what_could_not_be_seen() {
    let reply: ListReply = reply(&said(
        &json!({ "version": 1, "unknown": ["host-4 does not answer"], "machines": [
            { "name": "linux-7-1-0", "id": "1", "state": "running",
              "tags": { "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1" } },
            { "name": "linux-7-1-0", "id": "1", "state": "running",
              "tags": { "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1" } },
            { "name": "linux-7-1-0", "id": "2", "state": "running",
              "tags": { "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1" } },
            { "name": "db1", "id": "3", "state": "running", "tags": {} },
            { "name": "db2", "id": "4", "state": "running", "tags": { "parmanu-fleet": "other" } },
            { "name": "renamed", "id": "5", "state": "running",
              "tags": { "parmanu-fleet": "acme", "parmanu-batch": "linux-7-1" } },
        ] })
        .to_string(),
    ))
    .unwrap();
    let (listing, odd) = listing(reply, &fleet(), &provider(), &Words::default());
    let ids = listing.instances.iter().map(|machine| machine.id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(listing.unknown, ["host-4 does not answer"]);
    assert_eq!(odd.foreign, Some((2, "db1".to_owned())));
    assert_eq!(odd.unreadable.len(), 1);
}

#[test]
fn what_could_not_be_seen_is_never_dropped_however_much_it_is() {
    let parts = |count: usize| vec!["host".to_owned(); count];
    let words = Words::default();
    assert_eq!(unseen(&parts(0), &words), [""; 0]);
    assert_eq!(unseen(&parts(MOST_UNKNOWN), &words).len(), MOST_UNKNOWN);
    let many = unseen(&parts(MOST_UNKNOWN + 7), &words);
    assert_eq!(many.len(), MOST_UNKNOWN + 1);
    assert_eq!(many.last().unwrap(), "and 7 more");
}

#[test]
fn a_reply_that_is_none_says_what_is_wrong_with_it() {
    for (text, words) in [
        ("", "no reply"),
        (" \n", "no reply"),
        ("made it", "not one JSON reply"),
        (
            r#"{"version":1,"machines":[]} {"version":1}"#,
            "not one JSON",
        ),
        (r#"{"machines":[]}"#, "no `version`"),
        (r#"{"version":2,"machines":[]}"#, "version 2"),
        (r#"{"version":"1","machines":[]}"#, "version \"1\""),
        (r#"{"version":1}"#, "wrong at `.`"),
        (r#"{"version":1,"machines":{}}"#, "wrong at `machines`"),
        (
            r#"{"version":1,"machines":[{"name":"a","id":7,"state":"running","tags":{}}]}"#,
            "wrong at `machines[0].id`",
        ),
        (
            r#"{"version":1,"error":{"kind":"out_of_coffee","message":"x"}}"#,
            "wrong at `error.kind`",
        ),
        ("[]", "no `version`"),
        ("[1]", "wrong at"),
        (r#""done""#, "not one JSON reply"),
    ] {
        let failure = broken::<ListReply>(text);
        assert_eq!(failure.kind, ProviderErrorKind::BadAnswer, "{text}");
        assert_eq!(failure.fate, Fate::Unknown, "{text}");
        assert!(failure.message.contains(words), "{text}: {failure:?}");
    }
}

#[test]
fn a_refusal_of_the_whole_request_is_believed() {
    for (kind, fate) in [
        ("quota_exceeded", Fate::NotDone),
        ("unknown_outcome", Fate::Unknown),
    ] {
        let text = json!({ "version": 1, "error": { "kind": kind, "message": "all is full" } });
        let failure = broken::<ChangeReply>(&text.to_string());
        assert_eq!((failure.kind.as_str(), failure.fate), (kind, fate));
        assert_eq!(failure.message, "all is full");
    }
    let text = json!({ "version": 1, "error": {
        "kind": "rate_limited", "message": "slowly", "retry_after_seconds": 7,
    } });
    let retry_after = Some(std::time::Duration::from_secs(7));
    assert_eq!(
        broken::<ChangeReply>(&text.to_string()).kind,
        ProviderErrorKind::RateLimited { retry_after }
    );
}

fn changed(outcomes: &Value) -> Result<Vec<Result<Row, Failure>>, Failure> {
    let outcomes = serde_json::from_value(outcomes.clone()).unwrap();
    rows(outcomes, &[name(0), name(1)], &Words::default())
}

#[test]
fn rows_come_in_the_order_of_the_names_and_what_is_missing_is_unknown() {
    let both = json!([
        { "name": "linux-7-1-1", "outcome": "done" },
        { "name": "linux-7-1-0", "outcome": "failed",
          "error": { "kind": "out_of_capacity", "message": "no room" } },
    ]);
    let mut found = changed(&both).unwrap();
    assert!(done(found.remove(1).unwrap(), &Words::default()).is_ok());
    let failed = done(found.remove(0).unwrap(), &Words::default()).unwrap_err();
    assert_eq!(failed.kind, ProviderErrorKind::OutOfCapacity);
    assert_eq!(failed.fate, Fate::NotDone);

    let one = json!([{ "name": "linux-7-1-0", "outcome": "done" }]);
    let found = changed(&one).unwrap();
    assert!(found[0].is_ok());
    assert_eq!(found[1].as_ref().unwrap_err().fate, Fate::Unknown);
}

#[test]
fn a_reply_that_speaks_twice_of_a_machine_is_not_believed_about_it() {
    let twice = json!([
        { "name": "linux-7-1-0", "outcome": "done" },
        { "name": "linux-7-1-0", "outcome": "failed" },
        { "name": "linux-7-1-1", "outcome": "done" },
    ]);
    let found = changed(&twice).unwrap();
    assert_eq!(found[0].as_ref().unwrap_err().fate, Fate::Unknown);
    assert!(found[1].is_ok());
}

#[test]
fn a_reply_about_a_machine_that_was_not_asked_about_is_refused_as_a_whole() {
    let stranger = json!([
        { "name": "linux-7-1-0", "outcome": "done" },
        { "name": "linux-7-1-1", "outcome": "done" },
        { "name": "linux-7-1-2", "outcome": "done" },
    ]);
    let failure = changed(&stranger).unwrap_err();
    assert_eq!(failure.fate, Fate::Unknown);
    assert!(failure.message.contains("linux-7-1-2"), "{failure:?}");
}

#[test]
fn an_outcome_without_its_reason_is_unknown() {
    for outcome in ["failed", "unknown"] {
        let row = json!({ "name": "linux-7-1-0", "outcome": outcome });
        let row = serde_json::from_value(row).unwrap();
        let failure = done(row, &Words::default()).unwrap_err();
        assert_eq!(failure.fate, Fate::Unknown, "{outcome}");
        assert_eq!(failure.kind, ProviderErrorKind::BadAnswer);
    }
}

#[test]
fn a_machine_that_was_made_is_the_one_that_was_asked_for() {
    let created = |machine, index| {
        created(machine, &name(index), &fleet(), &provider()).map(|made| made.name)
    };
    assert_eq!(created(Some(machine(|_| {})), 0).unwrap(), name(0));
    let untagged = machine(|value| value["tags"] = json!({}));
    for (machine, index) in [(None, 0), (Some(machine(|_| {})), 1), (Some(untagged), 0)] {
        assert_eq!(created(machine, index).unwrap_err().fate, Fate::Unknown);
    }
}

/// What authors of programs copy. Examples of requests are compared with what is sent, those of replies are read.
#[test]
fn the_examples_in_the_documentation_are_what_is_sent_and_understood() {
    use crate::wire::{Ask, ConsoleReply, DescribeReply, Request};

    let text = include_str!("../../../docs/providers/command.md");
    let blocks = text.split("```json\n").skip(1);
    let blocks: Vec<Value> = blocks
        .map(|rest| serde_json::from_str(rest.split("```").next().unwrap()).expect(rest))
        .collect();
    let batch = CreateBatch {
        fleet: fleet(),
        installation: InstallationId::new("5f1d7a6b2c3e4f50"),
        batch: "linux-1795531234567-1".parse().unwrap(),
        count: 1,
        offer: "linux-m/0".parse().unwrap(),
        spec: Value::Null,
        generation: model::Generation::new("a8e80c4d7e5c12b8"),
        attempt: 0,
        executor: "gitlab:4711".parse().ok(),
        user_data: UserData("#!/bin/sh\n…".to_owned()),
    };
    let offer = json!({ "spec": { "image": "debian-ci.qcow2", "memory_mib": 8192, "cpus": 4 } });
    let offer = serde_json::from_value(offer).unwrap();
    let now = "2026-11-24T16:34:34Z".parse().unwrap();
    let name = batch.batch.instance(0);
    let mut creation = creation(&batch, std::slice::from_ref(&name), offer, now);
    assert_eq!(creation.token.len(), 64);
    creation.token = "aee1bd5e7c8c1b1f0d1c9c5f0a3f2a0b7b1e6d5c4b3a29180706f5e4d3c2b1a0".to_owned();
    let fleet_name = || "acme".to_owned();
    let machine = Target {
        name: name.to_string(),
        id: "9c2b1f6e-4f0c-4a55-8a5e-0c3a1d5f7b21".to_owned(),
        scope: "host-3".to_owned(),
        state: "running".to_owned(),
    };
    for (seconds, ask) in [
        (10, Ask::Describe {}),
        (
            25,
            Ask::List {
                fleet: fleet_name(),
            },
        ),
        (55, Ask::Create(creation)),
        (
            55,
            Ask::Delete {
                fleet: fleet_name(),
                machines: vec![machine.clone()],
            },
        ),
        (
            15,
            Ask::Renew {
                fleet: fleet_name(),
                machines: vec![machine.clone()],
                until: "2026-11-24T18:34:34.271828Z".to_owned(),
            },
        ),
        (
            15,
            Ask::Console {
                fleet: fleet_name(),
                machine,
            },
        ),
    ] {
        let request = Request {
            version: VERSION,
            seconds,
            ask,
        };
        let request = serde_json::to_value(request).unwrap();
        assert!(
            blocks.contains(&request),
            "{request:#} is not in the documentation"
        );
    }
    let mut read = 0;
    for block in blocks.iter().filter(|block| block.get("verb").is_none()) {
        let said = said(&block.to_string());
        let understood = match block {
            _ if block.get("error").is_some() => {
                matches!(reply::<ListReply>(&said), Err(failure) if failure.fate == Fate::NotDone)
            }
            _ if block.get("machines").is_some() => {
                let (listing, odd) = listing(
                    reply(&said).unwrap(),
                    &fleet(),
                    &provider(),
                    &Words::default(),
                );
                listing.instances.len() == 1 && odd == Oddities::default()
            }
            _ if block.get("outcomes").is_some() => {
                let reply: ChangeReply = reply(&said).unwrap();
                let rows = rows(
                    reply.outcomes,
                    std::slice::from_ref(&name),
                    &Words::default(),
                );
                match done(rows.unwrap().remove(0).unwrap(), &Words::default()) {
                    Ok(machine) => created(machine, &name, &fleet(), &provider()).is_ok(),
                    Err(failure) => failure.fate == Fate::NotDone,
                }
            }
            _ if block.get("verbs").is_some() => reply::<DescribeReply>(&said).is_ok(),
            _ => reply::<ConsoleReply>(&said).unwrap().console.is_some(),
        };
        assert!(understood, "{block:#} is not understood");
        read += 1;
    }
    assert_eq!(read, 6, "one reply of each kind, and an error");
}
