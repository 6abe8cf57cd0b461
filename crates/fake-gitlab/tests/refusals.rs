//! What the real server refuses, this one refuses.
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use fake_gitlab::{
    Access, Ending, Fault, FaultKind, GitLab, JobKind, JobState, ProjectId, RateLimit, Request,
    Response, RunnerId, Scope,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

struct World {
    gitlab: GitLab,
    project: ProjectId,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut gitlab = GitLab::new();
        let project = gitlab.add_project("acme/app");
        let root = gitlab.add_user("root", true);
        let owner = gitlab.add_user("owner", false);
        let reader = gitlab.add_user("reader", false);
        gitlab.add_user("stranger", false);
        gitlab.grant(owner, project, Access::Maintainer);
        gitlab.grant(reader, project, Access::Reporter);
        for (user, name) in [(1, "root"), (2, "owner"), (3, "reader"), (4, "stranger")] {
            gitlab.add_token(user, &format!("{name}-api"), &[Scope::Api]);
        }
        gitlab.add_token(root, "root-read", &[Scope::ReadApi]);
        gitlab.add_token(root, "root-create", &[Scope::CreateRunner]);
        gitlab.add_token(root, "root-manage", &[Scope::ManageRunner]);
        Self {
            gitlab,
            project,
            now: "2026-09-01T10:00:00Z".parse().unwrap(),
        }
    }

    fn send(&mut self, token: &str, method: &str, target: &str, body: &Value) -> Response {
        let mut request = Request::new(method, target).with_header("private-token", token);
        if !body.is_null() {
            request = request.with_json(body);
        }
        self.gitlab.handle(&request, self.now)
    }

    fn get(&mut self, token: &str, target: &str) -> Response {
        self.send(token, "GET", target, &Value::Null)
    }

    fn graphql(&mut self, token: &str, query: &str) -> Value {
        let answer = self.send(token, "POST", "/api/graphql", &json!({ "query": query }));
        assert_eq!(answer.status, 200);
        answer.json_body()
    }

    fn runner(&mut self, body: &Value) -> (RunnerId, String) {
        let made = self.send("root-create", "POST", "/api/v4/user/runners", body);
        assert_eq!(made.status, 201, "{}", made.json_body());
        let body = made.json_body();
        (
            RunnerId(body["id"].as_u64().unwrap()),
            body["token"].as_str().unwrap().to_owned(),
        )
    }

    fn linux_runner(&mut self) -> (RunnerId, String) {
        self.runner(&json!({ "runner_type": "instance_type", "tag_list": ["linux", "docker"], "run_untagged": false }))
    }

    fn push(&mut self, tags: &[&str]) -> fake_gitlab::JobId {
        self.gitlab
            .push_job(self.project, "build", tags, "main", self.now)
    }
}

const TOO_COMPLEX: &str = "{ jobs(first: 100) { nodes { runner { jobs(first: 100) { nodes { runner { jobs(first: 100) { nodes { runner { jobs(first: 100) { nodes { runner { managers(first: 100) { nodes { id systemId status contactedAt } } } } } } } } } } } } } } } }";

const JOBS: &str = "{ jobs(statuses: [PENDING], first: 100) { pageInfo { hasNextPage endCursor } nodes { id tags kind stuck } } }";

#[test]
fn a_bad_token_is_401_in_both_dialects() {
    let mut world = World::new();
    let rest = world.get("nonsense", "/api/v4/user");
    assert_eq!(
        (rest.status, rest.json_body()),
        (401, json!({ "message": "401 Unauthorized" }))
    );
    let graphql = world.send(
        "nonsense",
        "POST",
        "/api/graphql",
        &json!({ "query": JOBS }),
    );
    assert_eq!(graphql.status, 401);
    assert_eq!(
        graphql.json_body(),
        json!({ "errors": [{ "message": "Invalid token" }] })
    );
}

#[test]
fn only_an_administrator_is_told_so_and_sees_all_jobs() {
    let mut world = World::new();
    world.push(&["linux"]);
    assert_eq!(
        world.get("root-read", "/api/v4/user").json_body()["is_admin"],
        json!(true)
    );
    assert_eq!(
        world
            .get("owner-api", "/api/v4/user")
            .json_body()
            .get("is_admin"),
        None
    );
    let seen = world.graphql("root-read", JOBS);
    assert_eq!(seen["data"]["jobs"]["nodes"].as_array().unwrap().len(), 1);
    // the trap: an empty list and not one word of an error
    let hidden = world.graphql("owner-api", JOBS);
    assert_eq!(
        hidden,
        json!({ "data": { "jobs": { "pageInfo": { "hasNextPage": false, "endCursor": null }, "nodes": [] } } })
    );
}

#[test]
fn unknown_fields_arguments_and_words_are_errors_even_over_nothing() {
    let mut world = World::new();
    for query in [
        "{ jobs { nodes { id colour } } }",
        "{ jobs(tagList: [\"a\"]) { nodes { id } } }",
        "{ jobs(statuses: [pending]) { nodes { id } } }",
        "{ jobs { count } }",
        "{ jobs }",
        TOO_COMPLEX,
    ] {
        let answer = world.graphql("root-api", query);
        assert!(
            answer["errors"][0]["message"].is_string(),
            "{query}: {answer}"
        );
        assert_eq!(answer.get("data"), None, "{query}");
    }
}

#[test]
fn jobs_are_paged_newest_first_by_cursor() {
    let mut world = World::new();
    for _ in 0..5 {
        world.push(&[]);
    }
    let mut after = String::new();
    let mut ids = Vec::new();
    loop {
        let query = format!(
            "{{ jobs(statuses: PENDING, first: 2 {after}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ id }} }} }}"
        );
        let page = world.graphql("root-read", &query)["data"]["jobs"].clone();
        ids.extend(
            page["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["id"].clone()),
        );
        if page["pageInfo"]["hasNextPage"] == json!(false) {
            break;
        }
        after = format!("after: {}", page["pageInfo"]["endCursor"]);
    }
    let wanted: Vec<_> = (1..=5)
        .rev()
        .map(|id| json!(format!("gid://gitlab/Ci::Build/{id}")))
        .collect();
    assert_eq!(ids, wanted);
}

#[test]
fn keyset_pages_follow_the_link_and_only_downwards() {
    let mut world = World::new();
    for _ in 0..3 {
        world.push(&["linux"]);
    }
    let target =
        "/api/v4/projects/acme%2Fapp/jobs?scope[]=pending&per_page=2&pagination=keyset&order_by=id";
    let first = world.get("reader-api", target);
    assert_eq!(first.json_body().as_array().unwrap().len(), 2);
    assert_eq!(first.json_body()[0]["tag_list"], json!(["linux"]));
    assert_eq!(first.header("x-total"), None);
    let link = first.header("link").unwrap();
    let next = link
        .trim_start_matches("<http://gitlab.test")
        .split('>')
        .next()
        .unwrap();
    let second = world.get("reader-api", next);
    assert_eq!(second.json_body().as_array().unwrap().len(), 1);
    assert_eq!(second.header("link"), None);
    assert_eq!(
        world
            .get("reader-api", &format!("{target}&sort=asc"))
            .status,
        405
    );
    assert_eq!(
        world
            .get("reader-api", "/api/v4/projects/1/jobs?scope[]=queued")
            .status,
        400
    );
}

#[test]
fn hidden_projects_are_404_and_rights_are_403() {
    let mut world = World::new();
    for (token, target, status) in [
        ("stranger-api", "/api/v4/projects/1/jobs", 404),
        ("reader-api", "/api/v4/projects/1/jobs", 200),
        ("reader-api", "/api/v4/projects/1/runners", 403),
        ("owner-api", "/api/v4/projects/1/runners", 200),
        ("owner-api", "/api/v4/runners/all", 403),
        ("root-read", "/api/v4/runners/all?tag_list=linux", 200),
        ("root-create", "/api/v4/user", 403),
        ("root-read", "/api/v4/groups/1", 404),
    ] {
        assert_eq!(world.get(token, target).status, status, "{token} {target}");
    }
}

#[test]
fn runners_are_made_changed_and_deleted_only_with_the_right() {
    let mut world = World::new();
    let instance = json!({ "runner_type": "instance_type", "tag_list": ["linux"] });
    for (token, body, status) in [
        ("owner-api", instance.clone(), 403),
        ("root-read", instance.clone(), 403),
        ("root-create", instance, 201),
        (
            "owner-api",
            json!({ "runner_type": "project_type", "project_id": 1 }),
            201,
        ),
        (
            "reader-api",
            json!({ "runner_type": "project_type", "project_id": 1 }),
            403,
        ),
        (
            "root-create",
            json!({ "runner_type": "instance_type", "run_untagged": false }),
            400,
        ),
        ("root-create", json!({}), 400),
    ] {
        assert_eq!(
            world
                .send(token, "POST", "/api/v4/user/runners", &body)
                .status,
            status,
            "{body}"
        );
    }
    let pause = json!({ "paused": true, "maintenance_note": "why" });
    for (token, status) in [
        ("owner-api", 403),
        ("root-create", 403),
        ("root-read", 403),
        ("root-manage", 200),
    ] {
        assert_eq!(
            world.send(token, "PUT", "/api/v4/runners/1", &pause).status,
            status,
            "{token}"
        );
    }
    assert_eq!(
        world.get("root-manage", "/api/v4/runners/1").json_body()["maintenance_note"],
        json!("why")
    );
    assert_eq!(
        world
            .send("owner-api", "DELETE", "/api/v4/runners/1", &Value::Null)
            .status,
        403
    );
    assert_eq!(
        world
            .send("root-manage", "DELETE", "/api/v4/runners/1", &Value::Null)
            .status,
        204
    );
    assert_eq!(
        world
            .send("root-manage", "DELETE", "/api/v4/runners/1", &Value::Null)
            .status,
        404
    );
}

#[test]
fn jobs_go_to_runners_by_the_matching_rule_oldest_first() {
    let mut world = World::new();
    let (id, token) = world.linux_runner();
    let untagged = world.push(&[]);
    let windows = world.push(&["windows"]);
    let old = world.push(&["linux"]);
    let new = world.push(&["linux", "docker"]);
    let bridge = world.push(&["linux"]);
    world.gitlab.job_mut(bridge).unwrap().kind = JobKind::Bridge;
    let now = world.now;
    assert_eq!(world.gitlab.request_job(&token, now), Some(old));
    assert_eq!(world.gitlab.request_job(&token, now), Some(new));
    assert_eq!(world.gitlab.request_job(&token, now), None);
    assert_eq!(world.gitlab.job(untagged).unwrap().state, JobState::Pending);
    assert_eq!(world.gitlab.job(windows).unwrap().state, JobState::Pending);
    world.gitlab.runner_mut(id).unwrap().run_untagged = true;
    world.gitlab.runner_mut(id).unwrap().ref_protected = true;
    world.gitlab.job_mut(untagged).unwrap().ref_name = "topic".to_owned();
    assert_eq!(
        world.gitlab.request_job(&token, now),
        None,
        "topic is not protected"
    );
    world
        .gitlab
        .project_mut(world.project)
        .unwrap()
        .protected_branches
        .push("to*c".to_owned());
    assert_eq!(world.gitlab.request_job(&token, now), Some(untagged));
}

#[test]
fn a_paused_runner_gets_nothing_but_a_request_begun_before_the_pause_may() {
    let mut world = World::new();
    let (id, token) = world.linux_runner();
    let job = world.push(&["linux"]);
    let now = world.now;
    let begun = world.gitlab.begin_job_request(&token, "s_1", now).unwrap();
    world.send(
        "root-manage",
        "PUT",
        &format!("/api/v4/runners/{id}"),
        &json!({ "paused": true }),
    );
    let body = json!({ "token": token, "system_id": "s_1" });
    assert_eq!(
        world.send("", "POST", "/api/v4/jobs/request", &body).status,
        204
    );
    assert_eq!(world.gitlab.finish_job_request(&begun, now), Some(job));
    assert_eq!(
        world
            .send(
                "",
                "POST",
                "/api/v4/jobs/request",
                &json!({ "token": "no" })
            )
            .status,
        403
    );
}

#[test]
fn a_runner_reports_and_cannot_report_twice() {
    let mut world = World::new();
    let (_, token) = world.linux_runner();
    let job = world.push(&["linux"]);
    let taken = world.send(
        "",
        "POST",
        "/api/v4/jobs/request",
        &json!({ "token": token }),
    );
    assert_eq!(taken.status, 201);
    let job_token = taken.json_body()["token"].clone();
    let target = format!("/api/v4/jobs/{job}");
    let report = json!({ "token": job_token, "state": "success" });
    let forged = json!({ "token": "x", "state": "success" });
    assert_eq!(world.send("", "PUT", &target, &forged).status, 403);
    assert_eq!(world.send("", "PUT", &target, &report).status, 200);
    assert_eq!(world.send("", "PUT", &target, &report).status, 403);
    assert!(
        world
            .gitlab
            .job(job)
            .unwrap()
            .runs
            .iter()
            .all(|run| run.ended.unwrap().1 == Ending::Success)
    );
}

#[test]
fn a_canceling_job_still_holds_its_runner() {
    let mut world = World::new();
    let (id, token) = world.linux_runner();
    let job = world.push(&["linux"]);
    let now = world.now;
    world.gitlab.request_job(&token, now);
    assert!(world.gitlab.cancel_job(job, now));
    let jobs = format!("/api/v4/runners/{id}/jobs?status=");
    let canceling = world
        .get("root-read", &format!("{jobs}canceling"))
        .json_body();
    assert_eq!(canceling[0]["id"], json!(job.0));
    assert_eq!(
        canceling[0].get("tag_list"),
        None,
        "rows of a runner carry no tags"
    );
    assert_eq!(
        world
            .get("root-read", &format!("{jobs}running"))
            .json_body(),
        json!([])
    );
    assert!(world.gitlab.finish_job(job, false, now));
    assert_eq!(world.gitlab.job(job).unwrap().state, JobState::Canceled);
    world.gitlab.set_without_canceling(true);
    assert_eq!(
        world.get("root-read", &format!("{jobs}canceling")).status,
        400
    );
}

#[test]
fn deleting_a_busy_runner_kills_its_build() {
    let mut world = World::new();
    let (id, token) = world.linux_runner();
    let job = world.push(&["linux"]);
    let now = world.now;
    world.gitlab.request_job(&token, now);
    world.send(
        "root-manage",
        "DELETE",
        &format!("/api/v4/runners/{id}"),
        &Value::Null,
    );
    assert_eq!(
        world.gitlab.killed().map(|job| job.id).collect::<Vec<_>>(),
        [job]
    );
    assert_eq!(
        world.gitlab.job(job).unwrap().failure_reason,
        Some("runner_system_failure")
    );
}

#[test]
fn faults_are_used_up_in_order_and_requests_are_counted() {
    let mut world = World::new();
    world
        .gitlab
        .inject(Fault::on("/api/v4/user", 2, FaultKind::Html(502)).after(1));
    let statuses: Vec<u16> = (0..4)
        .map(|_| world.get("root-read", "/api/v4/user").status)
        .collect();
    assert_eq!(statuses, [200, 502, 502, 200]);
    world.get("root-read", "/api/v4/projects/acme%2Fapp/jobs");
    assert_eq!(world.gitlab.requests()["GET /api/v4/user"], 4);
    assert_eq!(world.gitlab.requests()["GET /api/v4/projects/:id/jobs"], 1);
}

#[test]
fn the_rate_limit_answers_429_until_the_window_ends() {
    let mut world = World::new();
    world
        .gitlab
        .set_rate_limit(Some(RateLimit::new(1, SignedDuration::from_secs(60))));
    assert_eq!(world.get("root-read", "/api/v4/user").status, 200);
    let throttled = world.get("root-read", "/api/v4/user");
    assert_eq!(
        (throttled.status, throttled.header("retry-after")),
        (429, Some("60"))
    );
    world.now += SignedDuration::from_secs(60);
    assert_eq!(world.get("root-read", "/api/v4/user").status, 200);
}

#[test]
fn a_moved_project_is_a_redirect() {
    let mut world = World::new();
    world.gitlab.project_mut(world.project).unwrap().old_path = Some("old/app".to_owned());
    let moved = world.get("reader-api", "/api/v4/projects/old%2Fapp/jobs?per_page=5");
    assert_eq!(moved.status, 301);
    assert_eq!(
        moved.header("location"),
        Some("http://gitlab.test/api/v4/projects/1/jobs?per_page=5")
    );
}

#[test]
fn a_promised_job_is_still_pending_and_nobody_elses() {
    let mut world = World::new();
    let (id, token) = world.linux_runner();
    let job = world.push(&["linux"]);
    let body = json!({ "token": token, "info": { "features": { "two_phase_job_commit": true } } });
    let taken = world.send("", "POST", "/api/v4/jobs/request", &body);
    assert_eq!(taken.status, 201);
    assert_eq!(world.gitlab.job(job).unwrap().state, JobState::Pending);
    let now = world.now;
    assert_eq!(world.gitlab.request_job(&token, now), None);
    let shown = world.get(
        "root-read",
        &format!("/api/v4/runners/{id}/jobs?status=pending"),
    );
    assert_eq!(shown.json_body()[0]["id"], json!(job.0));
    let details = world
        .get("root-read", &format!("/api/v4/runners/{id}"))
        .json_body();
    assert_eq!(details["job_execution_status"], json!("idle"));
    let target = format!("/api/v4/jobs/{job}");
    for (state, status) in [
        ("pending", 200),
        ("success", 400),
        ("running", 200),
        ("success", 200),
    ] {
        let report = json!({ "token": taken.json_body()["token"], "state": state });
        assert_eq!(
            world.send("", "PUT", &target, &report).status,
            status,
            "{state}"
        );
    }
    assert_eq!(world.gitlab.job(job).unwrap().state, JobState::Success);
}
