//! REST.

use fake_server::shape::Shapes;
use serde_json::{Value, json};

use crate::World;

fn schema() -> Shapes {
    Shapes::parse(include_str!("rest.json")).unwrap()
}

/// Method, target, body, status, and the shape of the answer to an administrator.
fn exchanges(world: &World) -> Vec<(&'static str, String, Value, u16, Value)> {
    let (project, runner) = (world.project, world.runner);
    let token = world.gitlab.runner(runner).unwrap().token.clone();
    let jobs = format!("/api/v4/projects/{project}/jobs");
    let mine = format!("/api/v4/runners/{runner}");
    let get = |target: &str, kind| ("GET", target.to_owned(), Value::Null, 200, kind);
    let refused = |method, target: &str, body, status, kind: &str| {
        (method, target.to_owned(), body, status, json!(kind))
    };
    vec![
        get("/api/v4/user", json!("User")),
        get("/api/v4/version", json!("Version")),
        get("/api/v4/personal_access_tokens/self", json!("Token")),
        get("/api/v4/projects/acme%2Fapp", json!("Project")),
        get(&jobs, json!(["Job"])),
        get(
            &format!("{jobs}?scope[]=pending&per_page=1&pagination=keyset"),
            json!(["Job"]),
        ),
        get(
            &format!("/api/v4/projects/{project}/runners"),
            json!(["Runner"]),
        ),
        get(
            &format!("/api/v4/projects/{project}/protected_branches"),
            json!(["ProtectedRef"]),
        ),
        get("/api/v4/groups/acme", json!("Group")),
        get("/api/v4/groups/acme/projects", json!(["ProjectOfGroup"])),
        get("/api/v4/groups/acme/members/all/2", json!("Member")),
        get("/api/v4/runners/all", json!(["Runner"])),
        get(&mine, json!("RunnerDetails")),
        get(&format!("{mine}/jobs"), json!(["JobBasicWithProject"])),
        get(&format!("{mine}/managers"), json!(["RunnerManager"])),
        (
            "PUT",
            mine.clone(),
            json!({ "paused": true }),
            200,
            json!("RunnerDetails"),
        ),
        (
            "PUT",
            mine.clone(),
            json!({ "paused": false, "maintenance_note": "" }),
            200,
            json!("RunnerDetails"),
        ),
        (
            "POST",
            "/api/v4/user/runners".to_owned(),
            json!({ "runner_type": "instance_type" }),
            201,
            json!("RunnerRegistrationDetails"),
        ),
        (
            "POST",
            "/api/v4/runners/verify".to_owned(),
            json!({ "token": token }),
            200,
            json!("RunnerRegistrationDetails"),
        ),
        (
            "POST",
            "/api/v4/jobs/request".to_owned(),
            json!({ "token": token }),
            201,
            json!("JobRequest"),
        ),
        refused(
            "POST",
            "/api/v4/user/runners",
            json!({ "runner_type": "odd" }),
            400,
            "Error",
        ),
        refused(
            "POST",
            "/api/v4/user/runners",
            json!({ "runner_type": "instance_type", "run_untagged": false }),
            400,
            "Message",
        ),
        refused(
            "POST",
            "/api/v4/jobs/request",
            json!({ "token": "guessed" }),
            403,
            "Message",
        ),
        refused("GET", "/api/v4/runners/999", Value::Null, 404, "Message"),
        refused(
            "GET",
            "/api/v4/projects/acme%2Fother",
            Value::Null,
            404,
            "Message",
        ),
        refused(
            "GET",
            &format!("{jobs}?scope[]=asleep"),
            Value::Null,
            400,
            "Error",
        ),
        refused(
            "GET",
            &format!("{jobs}?pagination=keyset&sort=asc"),
            Value::Null,
            405,
            "Error",
        ),
        refused("GET", "/api/v4/nothing", Value::Null, 404, "Error"),
    ]
}

#[test]
fn every_answer_has_the_shape_of_the_published_schema() {
    let mut world = World::new();
    let schema = schema();
    for (method, target, body, status, kind) in exchanges(&world) {
        let answer = world.send("root", method, &target, &body);
        assert_eq!(answer.status, status, "{method} {target}");
        let body = answer.json_body();
        let some = match &body {
            Value::Array(rows) => !rows.is_empty(),
            body => body.as_object().is_some_and(|fields| !fields.is_empty()),
        };
        assert!(some, "{method} {target} shows nothing");
        assert_eq!(schema.misfits(&kind, &body), [""; 0], "{method} {target}");
    }
}

#[test]
fn every_state_of_a_job_and_a_runner_is_shown_in_the_words_of_the_schema() {
    let mut world = World::new();
    let schema = schema();
    let jobs = format!("/api/v4/projects/{}/jobs", world.project);
    let jobs = world.send("root", "GET", &jobs, &Value::Null).json_body();
    let mut states: Vec<&str> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["status"].as_str().unwrap())
        .collect();
    states.sort_unstable();
    states.dedup();
    assert_eq!(
        states.len(),
        12,
        "all but skipped, which is never shown here: {states:?}"
    );
    let runner = format!("/api/v4/runners/{}", world.runner);
    for (hours, status) in [(0, "online"), (3, "offline"), (200, "stale")] {
        world.wait(hours);
        let shown = world.send("root", "GET", &runner, &Value::Null).json_body();
        assert_eq!(shown["status"], status);
        assert_eq!(schema.misfits(&json!("RunnerDetails"), &shown), [""; 0]);
    }
}

#[test]
fn what_is_refused_for_want_of_rights_has_the_published_form() {
    let mut world = World::new();
    let schema = schema();
    let pause = json!({ "paused": true });
    for (token, method, target, body, status, kind) in [
        ("nobody", "GET", "/api/v4/user", Value::Null, 401, "Message"),
        (
            "reader",
            "POST",
            "/api/v4/user/runners",
            json!({ "runner_type": "instance_type" }),
            403,
            "Error",
        ),
        ("reader", "PUT", "/api/v4/runners/1", pause, 403, "Error"),
        (
            "reader",
            "GET",
            "/api/v4/runners/all",
            Value::Null,
            403,
            "Message",
        ),
        (
            "reader",
            "GET",
            "/api/v4/runners/1/managers",
            Value::Null,
            403,
            "Error",
        ),
    ] {
        let answer = world.send(token, method, target, &body);
        assert_eq!(answer.status, status, "{token} {target}");
        assert_eq!(
            schema.misfits(&json!(kind), &answer.json_body()),
            [""; 0],
            "{token} {target}"
        );
    }
}

#[test]
fn the_check_itself_tells_a_spoilt_answer() {
    let mut world = World::new();
    let schema = schema();
    let jobs = format!("/api/v4/projects/{}/jobs", world.project);
    let right = world.send("root", "GET", &jobs, &Value::Null).json_body();
    for (field, wrong) in [
        ("id", json!("7")),
        ("status", json!("PENDING")),
        ("tag_list", json!("linux")),
        ("created_at", json!(1_788_256_740)),
        ("stuck", json!(true)),
        ("runner", json!(7)),
    ] {
        let mut spoilt = right.clone();
        spoilt[0][field] = wrong;
        assert_eq!(schema.misfits(&json!(["Job"]), &spoilt).len(), 1, "{field}");
    }
}
