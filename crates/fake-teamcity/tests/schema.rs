//! Every kind of answer has the fields and types of the published schema, as far as it is restated in `schema.json`.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use fake_server::shape::Shapes;
use fake_teamcity::{Dependency, Request, Rights, TeamCity};
use jiff::Timestamp;
use serde_json::json;

fn now() -> Timestamp {
    "2026-09-01T10:00:00Z".parse().unwrap()
}

fn schema() -> Shapes {
    Shapes::parse(include_str!("schema.json")).unwrap()
}

#[test]
fn every_answer_has_the_shape_of_the_published_schema() {
    let mut server = TeamCity::new();
    let rights = Rights {
        licences: true,
        ..Rights::manager()
    };
    server.grant("t", rights);
    server.licences = Some(3);
    let pool = server.add_pool("Linux", &["App"]);
    server.pools.get_mut(&pool).unwrap().max_agents = Some(9);
    server.add_type("App_Build", "App", &[]);
    server.add_type("App_Test", "App", &[]).needs = vec![Dependency {
        on: "App_Build".to_owned(),
        same_agent: true,
    }];
    let agent = server.add_agent("a", pool, &[("os", "linux")], now());
    server.add_agent("idle", pool, &[], now());
    let build = server.push("App_Build", now());
    server.start(build, agent, now());
    server.builds.get_mut(&build).unwrap().estimate = Some(60);
    server.builds.get_mut(&build).unwrap().detached = true;
    server.push("App_Test", now());
    let cordon = json!({ "status": false, "comment": { "text": "x" }, "statusSwitchTime": "20260901T110000+0000" });
    let schema = schema();
    for (method, target, body, kind) in [
        (
            "PUT",
            format!("/app/rest/agents/id:{agent}/enabledInfo"),
            Some(cordon),
            "EnabledInfo",
        ),
        (
            "PUT",
            format!("/app/rest/agents/id:{agent}/authorizedInfo"),
            Some(json!({ "comment": { "text": "ours" } })),
            "AuthorizedInfo",
        ),
        (
            "PUT",
            format!("/app/rest/agents/id:{agent}/pool"),
            Some(json!({ "id": pool })),
            "AgentPool",
        ),
        (
            "POST",
            format!("/app/rest/agentPools/id:{pool}/authorizationTokens"),
            Some(json!({ "count": 1 })),
            "Items",
        ),
        (
            "GET",
            "/app/rest/buildQueue?locator=count:1".to_owned(),
            None,
            "Builds",
        ),
        ("GET", "/app/rest/buildQueue".to_owned(), None, "Builds"),
        (
            "GET",
            "/app/rest/builds?locator=running:true,defaultFilter:false".to_owned(),
            None,
            "Builds",
        ),
        (
            "GET",
            "/app/rest/agents?locator=defaultFilter:false,count:1".to_owned(),
            None,
            "Agents",
        ),
        (
            "GET",
            "/app/rest/agents?locator=defaultFilter:false".to_owned(),
            None,
            "Agents",
        ),
        ("GET", format!("/app/rest/agents/id:{agent}"), None, "Agent"),
        ("GET", "/app/rest/agentPools".to_owned(), None, "AgentPools"),
        ("GET", "/app/rest/projects".to_owned(), None, "Projects"),
        (
            "GET",
            "/app/rest/buildTypes/id:App_Test".to_owned(),
            None,
            "BuildType",
        ),
        ("GET", "/app/rest/server".to_owned(), None, "Server"),
        (
            "GET",
            "/app/rest/server/licensingData".to_owned(),
            None,
            "LicensingData",
        ),
        (
            "GET",
            "/app/rest/users/current/permissions".to_owned(),
            None,
            "PermissionAssignments",
        ),
        ("GET", "/app/rest/agents/id:999".to_owned(), None, "Errors"),
        (
            "DELETE",
            format!("/app/rest/agents/id:{agent}"),
            None,
            "Errors",
        ),
    ] {
        let mut request = Request::new(method, &target)
            .with_header("accept", "application/json")
            .with_bearer("t");
        if let Some(body) = body {
            request = request.with_json(&body);
        }
        let answer = server.handle(&request, now()).json_body();
        assert!(
            answer.as_object().is_some_and(|fields| !fields.is_empty()),
            "{target}"
        );
        let found = schema.misfits(&json!(kind), &answer);
        assert_eq!(found, [""; 0], "{method} {target}");
    }
}

#[test]
fn the_check_itself_tells_a_wrong_answer() {
    let schema = schema();
    for (kind, bad) in [
        ("Agent", json!({ "id": "1" })),
        ("Agent", json!({ "labels": [] })),
        ("Agents", json!({ "agent": { "id": 1 } })),
        (
            "Builds",
            json!({ "build": [{ "agent": { "connected": "true" } }] }),
        ),
    ] {
        assert_eq!(schema.misfits(&json!(kind), &bad).len(), 1, "{bad}");
    }
}
