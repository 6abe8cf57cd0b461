//! `docs/adding-an-emitter.md`, the part "Without Rust", followed to the letter.

mod support;

use std::path::{Path, PathBuf};

use model::{Cordon, ExecutorState, JobClass};
use serde_json::Value;
use support::{Reply, Server, TOKEN};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect(path)
}

/// The pieces of the page that are written in this language, without their indentation.
fn pieces(page: &str, language: &str) -> Vec<String> {
    let fence = format!("   ```{language}\n");
    let pieces = page.split(&fence).skip(1).map(|rest| {
        let (piece, _) = rest.split_once("   ```\n").expect("a closed fence");
        let lines = piece
            .lines()
            .map(|line| line.strip_prefix("   ").unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    });
    pieces.collect()
}

#[tokio::test]
async fn the_page_leads_to_the_recipe_and_to_what_it_promises() {
    let page = read("docs/adding-an-emitter.md");
    let (_, page) = page.split_once("## Without Rust").expect("the part");
    let config: Value = serde_yaml::from_str(&pieces(page, "yaml").join("\n")).expect("YAML");
    let recipe: Value =
        serde_yaml::from_str(&read("config/emitters/woodpecker.yaml")).expect("YAML");
    assert_eq!(config, recipe["emitters"]["woodpecker"]);

    let answers = pieces(page, "json");
    let answers: Vec<Value> = answers
        .iter()
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect();
    let [queue, agents] = <[Value; 2]>::try_from(answers).expect("two answers");
    let server = Server::start(
        move |asked| match (asked.path.as_str(), asked.parameter("page")) {
            _ if asked.header("authorization") != format!("Bearer {TOKEN}") => Reply::status(401),
            ("/api/queue/info", _) => Reply::ok(queue.clone()),
            ("/api/agents", "1") => Reply::ok(agents.clone()),
            ("/api/agents", _) => Reply::ok(Value::Array(vec![])),
            _ => Reply::status(404),
        },
    )
    .await;
    let mut config = config;
    config.as_object_mut().expect("keys").remove("kind");
    config["url"] = server.url.clone().into();
    config["token"]["secret"] = TOKEN.into();
    let snapshot = support::probe(&config).await.expect("a look");
    assert!(snapshot.completeness.is_complete(), "{snapshot:#?}");
    let [running, waiting] = snapshot.jobs.as_slice() else {
        panic!("{snapshot:#?}");
    };
    assert!(matches!(running.class, JobClass::Running { .. }));
    assert_eq!(waiting.class, JobClass::Runnable);
    let [busy, paused] = snapshot.executors.as_slice() else {
        panic!("{snapshot:#?}");
    };
    assert_eq!(busy.name, "linux-1795531234567-1-0");
    assert_eq!(busy.fleet, "acme-ci".parse().ok());
    assert!(matches!(busy.state, ExecutorState::Busy { .. }));
    assert_eq!(paused.cordon, Cordon::Foreign);
}
