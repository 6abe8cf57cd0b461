//! What the server refuses, hides and does by itself.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::{Arc, Mutex};

use fake_teamcity::{
    Dependency, Fault, FaultKind, Request, Rights, Server, Sight, State, TeamCity,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const TOKEN: &str = "a-token";

fn now() -> Timestamp {
    "2026-09-01T10:00:00Z".parse().unwrap()
}

fn world() -> (TeamCity, u64) {
    let mut server = TeamCity::new();
    server.grant(TOKEN, Rights::manager());
    let pool = server.add_pool("Linux", &["App"]);
    server.add_type("App_Build", "App", &[("os", "linux")]);
    (server, pool)
}

fn send(server: &mut TeamCity, method: &str, target: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = Request::new(method, target)
        .with_header("accept", "application/json")
        .with_bearer(TOKEN);
    if let Some(body) = body {
        request = request.with_json(&body);
    }
    let answer = server.handle(&request, now());
    (answer.status, answer.json_body())
}

fn get(server: &mut TeamCity, target: &str) -> (u16, Value) {
    send(server, "GET", target, None)
}

fn ids(rows: &Value) -> Vec<u64> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[test]
fn nobody_is_let_in_without_a_token_and_nobody_gets_json_unasked() {
    let (mut server, _) = world();
    let mut request = Request::new("GET", "/app/rest/agents");
    assert_eq!(server.handle(&request, now()).status, 401);
    request = request.with_bearer(TOKEN);
    let answer = server.handle(&request, now());
    assert!(answer.body.starts_with(b"<?xml"));
    server.starting = true;
    assert_eq!(
        server.handle(&request.with_bearer(TOKEN), now()).status,
        503
    );
}

#[test]
fn the_default_filter_hides_new_agents_and_the_compatible_one_hides_absent_ones() {
    let (mut server, pool) = world();
    let good = server.add_agent("good", pool, &[("os", "linux")], now());
    let fresh = server.join("fresh", &[("os", "linux")], None, now());
    server.agents.get_mut(&fresh).unwrap().pool = pool;
    let off = server.add_agent("off", pool, &[("os", "linux")], now());
    server.agents.get_mut(&off).unwrap().connected = false;
    let mut seen = |locator: &str| {
        let (status, body) = get(&mut server, &format!("/app/rest/agents?locator={locator}"));
        assert_eq!(status, 200, "{body}");
        ids(&body["agent"])
    };
    assert_eq!(seen("count:9"), [good, off]);
    assert_eq!(seen("defaultFilter:false"), [good, fresh, off]);
    assert_eq!(seen("compatible:(buildType:(id:App_Build))"), [good]);
    let all = "compatible:(buildType:(id:App_Build)),defaultFilter:false";
    assert_eq!(seen(all), [good, fresh, off]);
    let build = server.push("App_Build", now());
    // of one build only those that could take it now, whatever the filter says
    let target =
        format!("/app/rest/agents?locator=compatible:(build:(id:{build})),defaultFilter:false");
    assert_eq!(ids(&get(&mut server, &target).1["agent"]), [good]);
}

#[test]
fn what_may_not_be_seen_is_missing_or_404_or_403() {
    let (mut server, pool) = world();
    let agent = server.add_agent("a", pool, &[("os", "linux")], now());
    let build = server.push("App_Build", now());
    server.start(build, agent, now());
    server.push("App_Build", now());
    let blind = Rights {
        projects: Sight::Projects([].into()),
        ..Rights::viewer()
    };
    server.grant(TOKEN, blind);
    let (status, body) = get(&mut server, "/app/rest/buildQueue");
    assert_eq!((status, &body["build"]), (200, &json!([])));
    let (status, body) = get(&mut server, "/app/rest/agents?locator=pool:(id:77)");
    assert_eq!(status, 404);
    assert!(
        body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("Nothing is found by locator")
    );
    assert_eq!(get(&mut server, "/app/rest/buildTypes/id:App_Build").0, 404);
    let target = "/app/rest/buildQueue?locator=project:(id:App)";
    assert_eq!(get(&mut server, target).0, 403);
    // that it builds is told, and what is not
    let (_, shown) = get(&mut server, &format!("/app/rest/agents/id:{agent}"));
    assert_eq!(shown["build"], json!({ "id": build }));
    server.grant(
        TOKEN,
        Rights {
            view_agents: false,
            ..Rights::viewer()
        },
    );
    let (_, shown) = get(&mut server, &format!("/app/rest/agents/id:{agent}"));
    assert!(shown.get("enabledInfo").is_none() && shown.get("idleSinceTime").is_none());
    let enable = json!({ "status": false });
    let target = format!("/app/rest/agents/id:{agent}/enabledInfo");
    assert_eq!(send(&mut server, "PUT", &target, Some(enable)).0, 403);
}

#[test]
fn a_page_names_the_next_and_rows_move_between_them() {
    let (mut server, pool) = world();
    let queued: Vec<u64> = (0..4).map(|_| server.push("App_Build", now())).collect();
    let (_, first) = get(
        &mut server,
        "/app/rest/buildQueue?locator=count:2&fields=count,nextHref,build(id)",
    );
    assert_eq!(ids(&first["build"]), queued[..2]);
    let agent = server.add_agent("a", pool, &[("os", "linux")], now());
    server.start(queued[0], agent, now());
    let next = first["nextHref"].as_str().unwrap().to_owned();
    let (_, second) = get(&mut server, &next);
    // the third one slipped to a place that was read already
    assert_eq!(ids(&second["build"]), queued[3..]);
    assert!(second.get("nextHref").is_none());
    // a full page names a next one, though there may be nothing on it
    let (_, last) = get(&mut server, "/app/rest/buildQueue?locator=count:3");
    let next = last["nextHref"].as_str().unwrap().to_owned();
    assert_eq!(
        get(&mut server, &next),
        (200, json!({ "build": [], "count": 0 }))
    );
}

#[test]
fn locators_and_fields_that_make_no_sense_are_refused() {
    let (mut server, _) = world();
    for target in [
        "/app/rest/agents?locator=label:linux",
        "/app/rest/agents?locator=pool:(id:0",
        "/app/rest/agents?locator=connected:maybe",
        "/app/rest/buildQueue?fields=build(id",
    ] {
        let (status, body) = get(&mut server, target);
        assert_eq!(status, 400, "{target}");
        assert!(body["errors"][0]["message"].is_string());
    }
    assert_eq!(get(&mut server, "/app/rest/nothing").0, 404);
}

#[test]
fn a_licence_and_a_place_in_the_pool_are_needed() {
    let (mut server, pool) = world();
    server.licences = Some(1);
    let first = server.join("a", &[], None, now());
    let second = server.join("b", &[], None, now());
    let authorise = |server: &mut TeamCity, id: u64| {
        let body = json!({ "status": true, "comment": { "text": "x" } });
        let target = format!("/app/rest/agents/id:{id}/authorizedInfo");
        send(server, "PUT", &target, Some(body))
    };
    assert_eq!(authorise(&mut server, first).0, 200);
    let (status, body) = authorise(&mut server, second);
    assert_eq!(status, 500);
    assert!(
        body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("licenses")
    );
    assert_eq!(get(&mut server, "/app/rest/server/licensingData").0, 403);
    server.licences = None;
    assert_eq!(authorise(&mut server, second).0, 200);
    server.pools.get_mut(&pool).unwrap().max_agents = Some(1);
    let mut into = |id: u64| {
        let target = format!("/app/rest/agents/id:{id}/pool");
        send(&mut server, "PUT", &target, Some(json!({ "id": pool }))).0
    };
    assert_eq!((into(first), into(second)), (200, 500));
}

#[test]
fn a_one_time_token_works_once_and_not_for_ever() {
    let (mut server, pool) = world();
    let target = format!("/app/rest/agentPools/id:{pool}/authorizationTokens");
    let body = json!({ "count": 2, "timeToLiveSeconds": 60 });
    let (_, made) = send(&mut server, "POST", &target, Some(body.clone()));
    let tokens: Vec<String> = serde_json::from_value(made["item"].clone()).unwrap();
    let good = server.join("a", &[], Some(&tokens[0]), now());
    let again = server.join("b", &[], Some(&tokens[0]), now());
    let late = now() + SignedDuration::from_secs(61);
    let late = server.join("c", &[], Some(&tokens[1]), late);
    let state = |id: u64| (server.agents[&id].authorized, server.agents[&id].pool);
    assert_eq!(
        [state(good), state(again), state(late)],
        [(true, pool), (false, 0), (false, 0)]
    );
    server.makes_tokens = false;
    assert_eq!(send(&mut server, "POST", &target, Some(body)).0, 404);
}

#[test]
fn a_cordon_with_an_end_ends_by_itself_and_a_person_beats_it() {
    let (mut server, pool) = world();
    let agent = server.add_agent("a", pool, &[("os", "linux")], now());
    let target = format!("/app/rest/agents/id:{agent}/enabledInfo");
    let body = json!({ "status": false, "statusSwitchTime": "20260901T110000+0000" });
    assert_eq!(send(&mut server, "PUT", &target, Some(body)).0, 200);
    assert_eq!(send(&mut server, "PUT", &target, Some(json!({}))).0, 400);
    let build = server.push("App_Build", now());
    server.dispatch(now());
    assert_eq!(server.builds[&build].state, State::Queued);
    // chosen by hand, it starts on the disabled agent
    let chosen = server.push("App_Build", now());
    server.builds.get_mut(&chosen).unwrap().only_on = Some(agent);
    server.dispatch(now());
    assert_eq!(server.builds[&chosen].agent, Some(agent));
    assert!(server.finish(chosen));
    server.dispatch(now() + SignedDuration::from_hours(1));
    assert_eq!(server.builds[&build].agent, Some(agent));
}

#[test]
fn a_chain_runs_in_order_its_composite_on_no_agent_and_its_group_on_one() {
    let (mut server, pool) = world();
    for (id, on) in [("App_Test", "App_Build"), ("App_All", "App_Test")] {
        let made = server.add_type(id, "App", &[("os", "linux")]);
        made.needs.push(Dependency {
            on: on.to_owned(),
            same_agent: id == "App_Test",
        });
        made.composite = id == "App_All";
    }
    let agents = ["a", "b"].map(|name| server.add_agent(name, pool, &[("os", "linux")], now()));
    let all = server.push("App_All", now());
    let test = server.builds[&all].needs[0];
    let build = server.builds[&test].needs[0];
    assert_eq!(server.builds[&test].state, State::Queued);
    server.dispatch(now());
    assert_eq!(server.builds[&build].agent, Some(agents[0]));
    assert_eq!(server.builds[&test].state, State::Queued);
    server.finish(build);
    // another build takes the agent, and the member of the group waits for it though the other agent is free
    let other = server.push("App_Build", now());
    server.start(other, agents[0], now());
    server.dispatch(now());
    assert_eq!(server.builds[&test].state, State::Queued);
    server.finish(other);
    server.dispatch(now());
    assert_eq!(server.builds[&test].agent, Some(agents[0]));
    server.finish(test);
    server.dispatch(now());
    server.dispatch(now());
    assert_eq!(
        (server.builds[&all].state.clone(), server.builds[&all].agent),
        (State::Finished, None)
    );
}

#[test]
fn an_agent_that_is_there_cannot_be_deleted_and_a_dead_one_loses_its_build() {
    let (mut server, pool) = world();
    let agent = server.add_agent("a", pool, &[("os", "linux")], now());
    let build = server.push("App_Build", now());
    server.dispatch(now());
    let target = format!("/app/rest/agents/id:{agent}");
    assert_eq!(send(&mut server, "DELETE", &target, None).0, 500);
    server.kill(agent);
    assert_eq!(send(&mut server, "DELETE", &target, None).0, 204);
    assert_eq!(send(&mut server, "DELETE", &target, None).0, 404);
    let ended = server
        .ended
        .iter()
        .find(|ended| ended.build == build)
        .unwrap();
    assert!(!ended.whole);
}

#[tokio::test]
async fn it_is_served_over_a_socket_with_its_faults() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut server, _) = world();
    server.inject(Fault::on("/app/rest/server", 1, FaultKind::Throttled(7)));
    let shared = Arc::new(Mutex::new(server));
    let running = Server::start(shared, now).await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(running.address())
        .await
        .unwrap();
    let request = b"GET /app/rest/server HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 7"),
        "{answer}"
    );
}
