//! Every kind of answer has only what Jenkins exports of each class, with the types that were recorded: `exported.json`.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use fake_jenkins::{EXPORTED, Jenkins, Request, Rights, Sight, Stage, Task, unexported};
use fake_server::shape::Shapes;
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn schema() -> Shapes {
    Shapes::parse(EXPORTED).unwrap()
}

fn text(words: &str) -> Option<String> {
    Some(words.to_owned())
}

/// One item of every class, of every kind of task, and a node in every state.
fn world(old: bool) -> Jenkins {
    let mut jenkins = Jenkins::new();
    jenkins.old = old;
    jenkins.grant("bot", "t", Rights::ALL);
    jenkins.jobs.insert("team/app".to_owned());
    let name = || "team/app".to_owned();
    let step = |label: &str| Task::Step {
        name: name(),
        run: 7,
        label: text(label),
    };
    for node in ["idle", "busy", "step", "gone", "cordoned", "ghost"] {
        jenkins.add_node(node, &["linux"], 2);
        let secret = jenkins.secret(node);
        jenkins.connect(node, &secret);
    }
    jenkins.nodes.get_mut("idle").unwrap().memory_free = Some(1 << 30);
    jenkins.nodes.get_mut("busy").unwrap().one_offs = 1;
    for (task, node) in [
        (
            Task::Freestyle {
                name: name(),
                label: text("linux"),
            },
            "busy",
        ),
        (step("linux"), "step"),
        (step("linux"), "ghost"),
    ] {
        let item = jenkins.push(task, NOW);
        assert!(jenkins.start(item, node, NOW), "{node}");
    }
    jenkins.disconnect("gone", NOW);
    send(
        &mut jenkins,
        "POST",
        "/computer/cordoned/changeOfflineCause?offlineMessage=x",
    );
    send(&mut jenkins, "POST", "/computer/ghost/doDelete");
    for task in [
        Task::Freestyle {
            name: name(),
            label: text("linux && !arm"),
        },
        Task::Freestyle {
            name: name(),
            label: None,
        },
        Task::Matrix {
            name: name(),
            label: text("linux"),
        },
        Task::Pipeline { name: name() },
        step("windows"),
    ] {
        for stage in [
            Stage::Waiting(NOW),
            Stage::Blocked("Build #1 is already in progress".to_owned()),
            Stage::Buildable,
        ] {
            let item = jenkins.push(task.clone(), NOW);
            jenkins.item_mut(item).unwrap().stage = stage;
        }
    }
    let hidden = jenkins.push(
        Task::Freestyle {
            name: name(),
            label: None,
        },
        NOW,
    );
    jenkins.item_mut(hidden).unwrap().sight = Sight::Discoverable;
    jenkins
}

fn send(jenkins: &mut Jenkins, method: &str, target: &str) -> Value {
    let request = Request::new(method, target).with_login("bot", "t");
    jenkins.handle(&request, NOW).json_body()
}

const ANSWERS: [(&str, &str); 7] = [
    ("/api/json", "hudson.model.Hudson"),
    ("/queue/api/json", "hudson.model.Queue"),
    ("/computer/api/json", "hudson.model.ComputerSet"),
    ("/computer/idle/api/json", "Computer"),
    ("/computer/busy/api/json", "Computer"),
    ("/computer/gone/api/json", "Computer"),
    ("/computer/cordoned/api/json", "Computer"),
];

#[test]
fn every_answer_has_only_what_jenkins_exports() {
    let schema = schema();
    for old in [false, true] {
        let mut jenkins = world(old);
        for quieting in [false, true] {
            jenkins.quieting = quieting;
            for (target, class) in ANSWERS {
                let answer = send(&mut jenkins, "GET", target);
                assert!(answer.is_object(), "{target}");
                assert_eq!(schema.misfits(&json!(class), &answer), [""; 0], "{target}");
            }
        }
    }
}

#[test]
fn every_class_that_is_restated_is_shown() {
    let mut jenkins = world(false);
    let shown: Vec<String> = ANSWERS
        .iter()
        .map(|(target, _)| send(&mut jenkins, "GET", target).to_string())
        .collect();
    let shown = shown.concat();
    let schema: Value = serde_json::from_str(EXPORTED).unwrap();
    for class in schema
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.contains('.'))
    {
        assert!(shown.contains(&format!("\"{class}\"")), "{class}");
    }
}

#[test]
fn the_check_itself_tells_a_spoilt_answer() {
    let schema = schema();
    let mut jenkins = world(false);
    let right = send(&mut jenkins, "GET", "/queue/api/json");
    for (field, wrong) in [
        ("assignedLabel", json!("linux")),
        ("id", json!("7")),
        ("why", json!(null)),
        ("_class", json!("hudson.model.Queue$LeftItem")),
        ("task", json!({ "name": "app" })),
    ] {
        let mut spoilt = right.clone();
        spoilt["items"][0][field] = wrong;
        assert_eq!(
            schema.misfits(&json!("hudson.model.Queue"), &spoilt).len(),
            1,
            "{field}"
        );
    }
}

#[test]
fn a_tree_that_asks_for_what_is_not_exported_is_told() {
    let queue = |tree: &str| unexported(tree, "hudson.model.Queue");
    assert_eq!(
        queue("items[id,why,task[name,labelExpression]]{0,9}"),
        Ok(Vec::new())
    );
    let slip = queue("items[assignedLabel[name],task[name,nodes]]").unwrap();
    assert_eq!(
        slip,
        [
            "hudson.model.Queue.items.assignedLabel",
            "hudson.model.Queue.items.task.nodes"
        ]
    );
    assert!(queue("items[id").is_err());
}
