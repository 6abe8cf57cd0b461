//! Answers in the shape of recorded ones, through the readers. What a list holds is read whole, and refusals mean what they
//! should.

use serde_json::Value;

use crate::error::advice;
use crate::wire::{Agent, Build, Rows};

fn exchanges() -> Vec<Value> {
    let text = include_str!("../tests/fixtures/exchanges.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["exchanges"].as_array().unwrap().clone()
}

fn read<T: for<'a> serde::Deserialize<'a>>(body: &Value, list: &str, name: &str) -> usize {
    let rows = body[list]
        .as_array()
        .unwrap_or_else(|| panic!("{name} has no list"));
    let mut read = Rows::<T>::default();
    for row in rows {
        read.add(row.clone());
    }
    assert_eq!(
        (read.bad, read.good.len()),
        (0, rows.len()),
        "{name} at {}",
        read.at
    );
    read.good.len()
}

#[test]
fn what_was_recorded_is_read_whole_and_refusals_mean_what_they_should() {
    let (mut builds, mut agents, mut refusals) = (0, 0, 0);
    for exchange in exchanges() {
        let name = exchange["name"].as_str().unwrap();
        // the recording calls it so
        let path = exchange["path"]
            .as_str()
            .or(exchange["request"]["path"].as_str())
            .unwrap();
        let path = path.split('?').next().unwrap();
        let (status, body) = (exchange["status"].as_u64().unwrap(), &exchange["response"]);
        if status != 200 {
            let status = u16::try_from(status).unwrap();
            let failure = web::of_status("GET /x", status, None, advice);
            if let Some(kind) = exchange["kind"].as_str() {
                assert_eq!(failure.kind.as_str(), kind, "{name}");
            }
            assert!(body["errors"][0]["message"].is_string(), "{name}");
            refusals += 1;
            continue;
        }
        match path {
            "/app/rest/buildQueue" | "/app/rest/builds" => {
                builds += read::<Build>(body, "build", name);
            }
            "/app/rest/agents" => agents += read::<Agent>(body, "agent", name),
            one if one.starts_with("/app/rest/agents/") => {
                let agent: Agent = serde_json::from_value(body.clone()).unwrap();
                // this token saw no details: nothing may rest on what is not there
                assert!(agent.enabled_info.is_none() && !agent.is_enabled());
                agents += 1;
            }
            one if one.starts_with("/app/rest/builds/") => {
                let build: Build = serde_json::from_value(body.clone()).unwrap();
                assert!(build.id > 0, "{name}");
                builds += 1;
            }
            _ => {}
        }
    }
    assert!(
        builds >= 2 && agents >= 2 && refusals >= 4,
        "{builds} {agents} {refusals}"
    );
}
