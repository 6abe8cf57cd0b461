//! What the real controller refuses, the fake refuses.

use fake_jenkins::{Fault, FaultKind, Jenkins, Request, Response, Rights, Sight, Stage, Task};
use jiff::Timestamp;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn jenkins() -> Jenkins {
    let mut jenkins = Jenkins::new();
    jenkins.grant("bot", "t", Rights::ALL);
    jenkins
}

fn ask(jenkins: &mut Jenkins, method: &str, target: &str) -> Response {
    jenkins.handle(&Request::new(method, target).with_login("bot", "t"), NOW)
}

fn step(label: &str) -> Task {
    Task::Step {
        name: "team/pipe".to_owned(),
        run: 1,
        label: Some(label.to_owned()),
    }
}

fn why(jenkins: &mut Jenkins) -> String {
    let queue = ask(jenkins, "GET", "/queue/api/json?tree=items[why]").json_body();
    queue["items"][0]["why"].as_str().expect("words").to_owned()
}

#[test]
fn a_missing_right_is_forbidden_or_an_empty_list() {
    let mut jenkins = jenkins();
    jenkins.push(step("linux"), NOW);
    let nobody = jenkins.handle(&Request::new("GET", "/queue/api/json"), NOW);
    assert_eq!(nobody.status, 403);
    let wrong = Request::new("GET", "/queue/api/json").with_login("bot", "x");
    assert_eq!(jenkins.handle(&wrong, NOW).status, 401);
    let blind = Rights {
        job_read: false,
        ..Rights::READ
    };
    jenkins.grant("bot", "t", blind);
    let queue = ask(&mut jenkins, "GET", "/queue/api/json");
    assert_eq!(
        (
            queue.status,
            queue.json_body()["items"].as_array().unwrap().len()
        ),
        (200, 0)
    );
    for verb in ["changeOfflineCause", "toggleOffline", "doDelete"] {
        jenkins.add_node("vm-1", &["linux"], 1);
        let answer = ask(&mut jenkins, "POST", &format!("/computer/vm-1/{verb}"));
        assert_eq!(answer.status, 403, "{verb}");
    }
}

#[test]
fn a_toggle_toggles_and_a_restart_lifts_the_cordon_until_the_agent_is_back() {
    let mut jenkins = jenkins();
    jenkins.add_node("vm-1", &["linux"], 1);
    let secret = jenkins.secret("vm-1");
    assert!(!jenkins.connect("vm-1", "guessed"));
    assert!(jenkins.connect("vm-1", &secret));
    for offline in [true, false] {
        ask(&mut jenkins, "POST", "/computer/vm-1/toggleOffline");
        assert_eq!(jenkins.nodes["vm-1"].temporarily_offline, offline);
    }
    for _ in 0..2 {
        ask(
            &mut jenkins,
            "POST",
            "/computer/vm-1/changeOfflineCause?offlineMessage=x",
        );
        assert!(jenkins.nodes["vm-1"].temporarily_offline);
    }
    jenkins.restart();
    assert!(!jenkins.nodes["vm-1"].temporarily_offline);
    assert_eq!(jenkins.nodes["vm-1"].cause, None);
    jenkins.connect("vm-1", &secret);
    assert!(jenkins.nodes["vm-1"].temporarily_offline);
}

#[test]
fn the_words_of_why_follow_the_nodes() {
    let mut jenkins = jenkins();
    jenkins.push(step("linux"), NOW);
    assert_eq!(why(&mut jenkins), "Waiting for next available executor");
    jenkins.add_node("other", &["x"], 1);
    assert_eq!(
        why(&mut jenkins),
        "There are no nodes with the label ‘linux’"
    );
    jenkins.add_node("vm-1", &["linux"], 1);
    assert_eq!(why(&mut jenkins), "‘vm-1’ is offline");
    let secret = jenkins.secret("vm-1");
    jenkins.connect("vm-1", &secret);
    assert_eq!(
        why(&mut jenkins),
        "Waiting for next available executor on ‘vm-1’"
    );
    jenkins.add_node("vm-2", &["linux"], 1);
    assert_eq!(
        why(&mut jenkins),
        "Waiting for next available executor on ‘linux’"
    );
    jenkins.disconnect("vm-1", NOW);
    assert_eq!(why(&mut jenkins), "All nodes of label ‘linux’ are offline");
    jenkins.quieting = true;
    assert_eq!(why(&mut jenkins), "Jenkins is about to shut down");
}

#[test]
fn deleting_a_busy_node_kills_its_build_and_leaves_a_ghost() {
    let mut jenkins = jenkins();
    jenkins.add_node("vm-1", &["linux"], 1);
    let secret = jenkins.secret("vm-1");
    jenkins.connect("vm-1", &secret);
    let id = jenkins.push(step("linux"), NOW);
    jenkins.dispatch(NOW);
    assert!(jenkins.items.is_empty());
    assert_eq!(
        ask(&mut jenkins, "POST", "/computer/vm-1/doDelete").status,
        302
    );
    assert_eq!((jenkins.ended[0].item, jenkins.ended[0].whole), (id, false));
    assert_eq!(
        ask(&mut jenkins, "GET", "/computer/vm-1/api/json").status,
        500
    );
    jenkins.clear_ghosts();
    assert_eq!(
        ask(&mut jenkins, "GET", "/computer/vm-1/api/json").status,
        404
    );
}

#[test]
fn a_cordoned_node_is_handed_nothing_but_what_was_under_way() {
    let mut jenkins = jenkins();
    jenkins.add_node("vm-1", &["linux"], 1);
    let secret = jenkins.secret("vm-1");
    jenkins.connect("vm-1", &secret);
    ask(
        &mut jenkins,
        "POST",
        "/computer/vm-1/changeOfflineCause?offlineMessage=x",
    );
    let id = jenkins.push(step("linux&&!windows"), NOW);
    jenkins.dispatch(NOW);
    assert_eq!(jenkins.items.len(), 1);
    assert_eq!(jenkins.hand_out_late("vm-1", NOW), Some(id));
    assert!(jenkins.finish(id));
}

#[test]
fn start_up_is_a_page_and_hidden_items_are_stubs_or_nothing() {
    let mut jenkins = jenkins();
    jenkins.starting = true;
    assert_eq!(ask(&mut jenkins, "GET", "/queue/api/json").status, 503);
    jenkins.starting = false;
    let id = jenkins.push(
        Task::Freestyle {
            name: "a".to_owned(),
            label: None,
        },
        NOW,
    );
    jenkins.item_mut(id).unwrap().sight = Sight::Discoverable;
    jenkins.item_mut(id).unwrap().stage = Stage::Waiting(NOW);
    let queue = ask(&mut jenkins, "GET", "/queue/api/json").json_body();
    assert_eq!(queue["items"].as_array().unwrap().len(), 0);
    assert_eq!(queue["discoverableItems"][0]["task"]["name"], "a");
    jenkins.inject(Fault::on("/queue", 1, FaultKind::Html(502)));
    assert_eq!(ask(&mut jenkins, "GET", "/queue/api/json").status, 502);
}

#[test]
fn a_name_is_taken_once_and_bad_forms_are_errors() {
    let mut jenkins = jenkins();
    let mut create = |fields: &[(&str, &str)]| {
        let request = Request::new("POST", "/computer/doCreateItem").with_login("bot", "t");
        jenkins.handle(&request.with_form(fields), NOW).status
    };
    let kind = ("type", "hudson.slaves.DumbSlave");
    let good = [("name", "vm-1"), kind, ("json", "{}")];
    assert_eq!(create(&good), 302);
    assert_eq!(create(&good), 400);
    assert_eq!(create(&[("name", "vm-2"), ("json", "{}")]), 400);
    assert_eq!(create(&[("name", "vm-2"), kind, ("json", "{")]), 500);
    assert_eq!(
        create(&[("name", "vm-2"), ("type", "x"), ("json", "{}")]),
        500
    );
}
