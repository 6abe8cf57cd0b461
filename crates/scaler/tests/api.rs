//! The API over the real loops in virtual time: what it shows, whom it lets change something, and what an order does.

mod support;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use expect_test::expect_file;
use scaler::Api;
use serde_json::{Value, json};
use support::{LINUX, PoolSetup, SECOND, Setup, Sim, World, shared, simulate};
use tower_service::Service as _;

const TOKEN: &str = "not-a-secret-but-long-enough";

/// The configuration that the simulated scaler has.
const CONFIG: &str = r#"
version: 1
fleet: acme
store: { kind: memory }
api: { token: not-a-secret-but-long-enough }
emitters: { ci: { kind: fake } }
providers: { sim: { kind: fake } }
machines: { m: { credential: shared, offers: [{ provider: sim }] } }
pools: { linux: { emitter: ci, serves: [{ tags: [linux] }], machine: m, max: 10 } }
"#;

fn api_of(sim: &Sim, config: &str) -> Api {
    let registries = service::registries();
    let folder = std::path::Path::new(".");
    let checked = config::check_text(config, "test.yaml", folder, &registries);
    let (settings, _) = checked.unwrap_or_else(|error| panic!("{error}"));
    Api::of(&settings, shared(&sim.clock))
}

/// The API of one scaler.
struct Asked {
    router: Router,
    running: support::Running,
}

fn shown(sim: &Sim, holder: &str) -> Asked {
    shown_with(sim, holder, CONFIG)
}

fn shown_with(sim: &Sim, holder: &str, config: &str) -> Asked {
    let api = api_of(sim, config);
    let running = sim.scaler_with(holder, sim.store.clone(), Some(api.clone()));
    Asked {
        router: api.routes(),
        running,
    }
}

impl Asked {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let answer = self.router.clone().call(request).await.expect("an answer");
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&body).into_owned();
        let value = serde_json::from_slice(&body).unwrap_or(Value::String(text));
        (status, value)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        self.send(request).await
    }

    async fn good(&self, path: &str) -> Value {
        let (status, value) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    async fn say(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.say_as(method, path, body.to_string(), Some(TOKEN))
            .await
    }

    async fn say_as(
        &self,
        method: &str,
        path: &str,
        body: String,
        token: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Body::from(body)).expect("a request"))
            .await
    }

    async fn order(&self, path: &str, more: Value) {
        let mut body = json!({ "who": "ann", "because": "the release", "for": "2h" });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let (status, answer) = self.say("POST", path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    }

    async fn codes(&self) -> Vec<String> {
        let plans = self.good("/api/v1/plans").await;
        let reasons = plans["plans"][0]["reasons"].as_array().expect("reasons");
        let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
        reasons.iter().map(code).collect()
    }
}

fn run(running: usize) -> impl Fn(&World) -> bool {
    move |world| world.running() == running
}

fn push(sim: &Sim, jobs: u32, seconds: u32) {
    for _ in 0..jobs {
        sim.world().push("ci", "linux", SECOND * seconds);
    }
}

#[test]
fn what_is_checked_in_is_the_document_of_these_types() {
    let document = serde_json::to_string_pretty(&scaler::api::document()).expect("JSON");
    expect_file!["../../../docs/api/openapi.json"].assert_eq(&format!("{document}\n"));
}

#[test]
fn every_route_of_the_document_is_there_and_no_good_answer_has_a_field_that_is_not_in_it() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        push(&sim, 2, 3600);
        sim.until("both run", SECOND * 25, run(2)).await;
        sim.pass(SECOND * 10).await;
        let machine = sim.world().alive("linux")[0].to_string();
        let document = scaler::api::document();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let id = match path.as_str() {
                    path if path.contains("machines") => machine.as_str(),
                    path if path.contains("overrides") => "pause:linux",
                    path if path.contains("jobs") => "a/job/1",
                    _ => "linux",
                };
                let place = path.replace("{name}", id).replace("{id}", id);
                let place = match method.as_str() {
                    "delete" => format!("{place}?who=ann"),
                    _ => place,
                };
                let body = json!({ "who": "ann", "because": "b", "for": "1h" });
                let body = match (method.as_str(), path.as_str()) {
                    (_, path) if path.ends_with("pin") => {
                        json!({ "machines": 3, "who": "ann", "because": "b", "for": "1h" })
                    }
                    (_, path) if path.ends_with("resume") => json!({ "who": "ann" }),
                    (_, path) if path.ends_with("drains") => {
                        json!({ "zone": "z", "who": "ann", "because": "b", "for": "1h" })
                    }
                    ("get" | "delete", _) => Value::Null,
                    _ => body,
                };
                let (status, answer) = asked.say(&method.to_uppercase(), &place, body).await;
                // what the order before took back is not there any more, and nothing waits to be confirmed
                let gone = status == StatusCode::NOT_FOUND
                    && answer["error"]
                        .as_str()
                        .is_some_and(|it| it.contains("override") || it.contains("confirmation"));
                assert!(
                    status == StatusCode::OK || gone,
                    "{method} {place}: {status} {answer}"
                );
                let schema = match status {
                    StatusCode::OK => {
                        &operation["responses"]["200"]["content"]["application/json"]["schema"]
                    }
                    _ => continue,
                };
                fits(&document, schema, &answer, &format!("{method} {place}"));
            }
        }
    });
}

/// Every field of an answer is in its schema, and every field that must be there is.
fn fits(document: &Value, schema: &Value, answer: &Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .expect("a definition"),
        None => schema,
    };
    if let Some(any) = schema["anyOf"].as_array() {
        let not_null = any.iter().find(|it| it["type"] != "null").expect("a shape");
        if !answer.is_null() {
            fits(document, not_null, answer, place);
        }
        return;
    }
    match answer {
        Value::Object(fields) if schema["properties"].is_object() => {
            for (name, value) in fields {
                let known = &schema["properties"][name];
                assert!(!known.is_null(), "{place}: `{name}` is not in the document");
                fits(document, known, value, &format!("{place} {name}"));
            }
            for needed in schema["required"].as_array().into_iter().flatten() {
                let needed = needed.as_str().expect("a name");
                assert!(fields.contains_key(needed), "{place}: no `{needed}`");
            }
        }
        Value::Object(_) => assert_eq!(schema["type"], "object", "{place}"),
        Value::Array(values) => values
            .iter()
            .for_each(|value| fits(document, &schema["items"], value, place)),
        Value::String(_) => says(schema, "string", place),
        Value::Bool(_) => says(schema, "boolean", place),
        Value::Number(_) => says(schema, "integer", place),
        Value::Null => says(schema, "null", place),
    }
}

fn says(schema: &Value, kind: &str, place: &str) {
    let kinds = &schema["type"];
    let one_of = kinds
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|it| it == kind));
    let is_word = kind == "string" && (schema["enum"].is_array() || schema["oneOf"].is_array());
    assert!(
        kinds == kind || one_of || is_word,
        "{place}: {kind}, not {schema}"
    );
}

#[test]
fn it_shows_pools_machines_jobs_and_why() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        let (status, answer) = asked.get("/api/v1/jobs/1").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        push(&sim, 2, 3600);
        sim.until("both run", SECOND * 25, run(2)).await;
        sim.pass(SECOND * 10).await;

        let pools = asked.good("/api/v1/pools").await;
        assert_eq!(pools["replica"]["active"], true, "{pools}");
        assert_eq!(pools["replica"]["active_holder"], "s");
        assert_eq!(pools["replica"]["doubts"], json!([]));
        let pool = &pools["pools"][0];
        assert_eq!(
            (&pool["target"], &pool["running"], &pool["queued"]),
            (&json!(2), &json!(2), &json!(0))
        );
        assert_eq!(pool["phases"], json!({ "busy": 2 }));

        let machines = asked.good("/api/v1/machines").await;
        let machine = &machines["machines"][0];
        assert_eq!(machine["phase"], "busy", "{machine}");
        let job = machine["jobs"][0].as_str().expect("a job");
        let found = asked.good(&format!("/api/v1/jobs/{job}")).await;
        assert_eq!(
            (&found["jobs"][0]["state"], &found["jobs"][0]["executor"]),
            (&json!("running"), &machine["name"])
        );

        let name = machine["name"].as_str().expect("a name");
        let one = asked.good(&format!("/api/v1/machines/{name}")).await;
        assert_eq!(&one["machine"], machine);
        let (status, answer) = asked.get("/api/v1/machines/linux-1-1-0").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
        let (status, answer) = asked.get("/api/v1/pools/windows").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(
            answer["error"],
            "there is no pool `windows`; the configuration has linux"
        );

        let decisions = asked.good("/api/v1/decisions?pool=linux&limit=2").await;
        let decided = decisions["decisions"].as_array().expect("decisions");
        assert_eq!(decided.len(), 2, "{decisions}");
        assert!(
            decided[0]["at"].as_str() > decided[1]["at"].as_str(),
            "the newest first"
        );
        let emitters = asked.good("/api/v1/emitters").await;
        assert_eq!(emitters["emitters"][0]["pools"], json!(["linux"]));
        assert!(
            emitters["emitters"][0]["last_good_seconds"]
                .as_u64()
                .is_some_and(|it| it < 10)
        );
    });
}

#[test]
fn a_standby_answers_what_it_knows_and_says_who_acts() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let _active = sim.scaler_at_once("a").await;
        let asked = shown(&sim, "b");
        push(&sim, 2, 3600);
        sim.until("both run", SECOND * 25, run(2)).await;
        sim.pass(SECOND * 10).await;
        let answer = asked.good("/api/v1/pools/linux").await;
        let replica = &answer["replica"];
        assert_eq!(
            (&replica["active"], &replica["active_holder"]),
            (&json!(false), &json!("a"))
        );
        assert_eq!(
            replica["doubts"][0],
            "this replica stands by and plans nothing: a acts"
        );
        assert_eq!(answer["pool"]["phases"], json!({ "busy": 2 }), "{answer}");
        assert_eq!(
            (&answer["plan"], &answer["pool"]["target"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(answer["machines"].as_array().map(Vec::len), Some(2));
        // an order to a standby reaches the one that acts
        asked.order("/api/v1/pools/linux/pause", json!({})).await;
        push(&sim, 3, 60);
        sim.pass(SECOND * 60).await;
        assert_eq!(sim.world().all_alive(), 2, "the pool is paused");
    });
}

#[test]
fn verbs_are_off_without_a_token_in_the_configuration_and_refused_without_the_right_one() {
    simulate(Setup::default(), |sim| async move {
        let path = "/api/v1/pools/linux/pause";
        let body = || json!({ "who": "ann", "because": "b", "for": "1h" }).to_string();
        let off = shown_with(&sim, "off", &CONFIG.replace("api: {", "# api: {"));
        let (status, answer) = off.say_as("POST", path, body(), Some(TOKEN)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
        assert!(
            answer["error"]
                .as_str()
                .is_some_and(|it| it.contains("verbs are off")),
            "{answer}"
        );
        let short = shown_with(&sim, "short", &CONFIG.replace(TOKEN, "hunter2"));
        let (status, _) = short.say_as("POST", path, body(), Some("hunter2")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let asked = shown(&sim, "s");
        sim.pass(SECOND).await;
        for token in [
            None,
            Some(""),
            Some("wrong"),
            Some("not-a-secret-but-long-enoug"),
        ] {
            // a pool that does not exist is not told from one that does
            for path in [path, "/api/v1/pools/nowhere/pause", "/api/v1/drains"] {
                let (status, answer) = asked.say_as("POST", path, body(), token).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}: {answer}");
            }
            let remove = "/api/v1/overrides/pause:linux?who=ann";
            let (status, _) = asked.say_as("DELETE", remove, String::new(), token).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        let overrides = asked.good("/api/v1/overrides").await;
        assert_eq!(overrides["overrides"], json!([]));
        let (status, _) = asked.say_as("POST", path, body(), Some(TOKEN)).await;
        assert_eq!(status, StatusCode::OK);
    });
}

#[test]
fn what_is_not_an_order_is_refused_with_the_way_out() {
    simulate(Setup::default(), |sim| async move {
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 10).await;
        let with = |key: &str, value: Value| {
            let mut body = json!({ "who": "ann", "because": "b", "for": "1h" });
            body[key] = value;
            body
        };
        let pause = "/api/v1/pools/linux/pause";
        for (path, body, wanted, says) in [
            (pause, with("for", json!("169h")), 422, "7 days"),
            (pause, with("for", json!("0s")), 422, "a second"),
            (pause, with("for", json!(3600)), 422, "unit"),
            (pause, with("who", json!(" ")), 422, "`who` is empty"),
            (pause, with("because", json!("a\nb")), 422, "line breaks"),
            (pause, with("because", json!("b".repeat(501))), 422, "500"),
            (pause, with("ever", json!(true)), 422, "unknown field"),
            (pause, json!({ "who": "ann", "because": "b" }), 422, "`for`"),
            (
                pause,
                with("because", json!("b".repeat(20_000))),
                413,
                "length",
            ),
            (
                "/api/v1/pools/linux/pin",
                with("machines", json!(11)),
                422,
                "max 10",
            ),
            (
                "/api/v1/pools/windows/pin",
                with("machines", json!(1)),
                404,
                "linux",
            ),
            (
                "/api/v1/pools/linux/resume",
                json!({ "who": "ann" }),
                404,
                "no override",
            ),
            (
                "/api/v1/machines/nonsense/drain",
                with("who", json!("ann")),
                404,
                "not a machine name",
            ),
            (
                "/api/v1/machines/linux-1-1-0/drain",
                with("who", json!("ann")),
                404,
                "is gone",
            ),
            (
                "/api/v1/drains",
                with("who", json!("ann")),
                422,
                "exactly one",
            ),
            (
                "/api/v1/drains",
                with("zone", json!("")),
                422,
                "`zone` is empty",
            ),
        ] {
            let (status, answer) = asked.say("POST", path, body).await;
            assert_eq!(status.as_u16(), wanted, "{path}: {answer}");
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(
                error.contains(says),
                "{path}: {answer} says nothing of {says}"
            );
        }
    });
}

#[test]
fn a_paused_pool_stands_still_until_the_pause_is_over() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        push(&sim, 2, 30);
        sim.until("both run", SECOND * 25, run(2)).await;
        asked
            .order("/api/v1/pools/linux/pause", json!({ "for": "1h" }))
            .await;
        push(&sim, 5, 30);
        sim.pass(SECOND * 1800).await;
        assert_eq!(sim.world().all_alive(), 2, "nothing grows or shrinks");
        assert_eq!(sim.world().ever(), 2);
        assert!(asked.codes().await.contains(&"paused".to_owned()));
        let pool = asked.good("/api/v1/pools/linux").await;
        assert_eq!(
            (&pool["pool"]["paused"], &pool["overrides"][0]["id"]),
            (&json!(true), &json!("pause:linux"))
        );
        sim.until_settled(SECOND * 2400).await;
        let overrides = asked.good("/api/v1/overrides").await;
        assert_eq!(overrides["overrides"], json!([]));
        asked.running.stop().await;
    });
}

#[test]
fn a_pause_that_is_taken_back_is_over_at_once() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 10).await;
        asked.order("/api/v1/pools/linux/pause", json!({})).await;
        push(&sim, 2, 30);
        sim.pass(SECOND * 60).await;
        assert_eq!(sim.world().ever(), 0);
        let by = json!({ "who": "bob" });
        let (status, answer) = asked.say("POST", "/api/v1/pools/linux/resume", by).await;
        assert_eq!((status, &answer["overrides"]), (StatusCode::OK, &json!([])));
        sim.until("both run", SECOND * 30, run(2)).await;
        sim.until_settled(SECOND * 240).await;
    });
}

/// Whoever has one of forty waiting jobs in hand learns what keeps it, or that it is one of those that are not named.
#[test]
fn a_job_that_waits_is_found_by_what_a_person_has_in_hand() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        push(&sim, 40, 3600);
        // the pool is full, and the others wait
        sim.until("ten run", SECOND * 60, run(10)).await;
        sim.pass(SECOND * 10).await;
        let all = asked.good("/api/v1/jobs/fake/project").await;
        let jobs = all["jobs"].as_array().expect("jobs");
        let of = |state: &str| jobs.iter().filter(|job| job["state"] == state).count();
        assert_eq!((of("runnable"), of("running")), (10, 10), "{all}");

        // by its id, its address, and its name with the id
        let waiting = jobs.iter().find(|job| job["state"] == "runnable");
        let id = waiting.expect("one that waits")["id"]
            .as_str()
            .expect("an id");
        let address = format!("https:%2F%2Fci.example.com%2Fa%2F-%2Fjobs%2F{id}%3Ftab%3Dlog");
        for way in [id, &address, &format!("Fake/Project%20job-{id}%20%23{id}")] {
            let found = asked.good(&format!("/api/v1/jobs/{way}")).await;
            let job = &found["jobs"][0];
            assert_eq!(
                (&job["id"], &job["state"]),
                (&json!(id), &json!("runnable"))
            );
            assert_eq!(job["pool"], "linux", "{found}");
            assert!(
                job["waited_seconds"].as_u64().is_some_and(|it| it > 5),
                "{found}"
            );
            // and what its pool does about it
            let pool = &found["pools"][0];
            assert_eq!(pool["pool"]["max"], 10, "{found}");
            let reasons = pool["plan"]["reasons"].as_array().expect("reasons");
            assert!(reasons.iter().any(|it| it["code"] == "ceiling"), "{found}");
            assert_eq!(found["not_known"], json!([]));
        }

        // twenty of forty are named, and the answer does not pretend to know the others
        let unknown = asked.good("/api/v1/jobs/no/such").await;
        assert_eq!(unknown["jobs"], json!([]), "{unknown}");
        let open = unknown["not_known"][0].as_str().expect("what is open");
        assert!(open.contains("one of 20 jobs of ci"), "{open}");
        assert!(open.contains("parmanu probe ci"), "{open}");
    });
}

#[test]
fn what_a_machine_printed_that_never_joined_is_told_when_it_is_gone() {
    simulate(Setup::default(), |sim| async move {
        sim.world().join = SECOND * 100_000;
        let asked = shown(&sim, "one");
        let _probot = sim.probot("probot");
        push(&sim, 1, 10);
        // the boot's time-out, the look after it, and the deletion
        sim.pass(SECOND * 900).await;
        assert!(!sim.cloud("sim").deletions().is_empty());
        let name = sim.cloud("sim").consoles()[0].to_string();
        let (status, answer) = asked.get(&format!("/api/v1/machines/{name}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");
        let error = answer["error"].as_str().expect("words");
        // its name is long enough to be taken for a secret
        let printed = "the end of its console:\n[    0.0] linux… boots";
        assert!(error.contains(printed), "{error}");
    });
}

#[test]
fn a_pin_is_kept_without_jobs_and_never_ends_one() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 10).await;
        let pin = "/api/v1/pools/linux/pin";
        asked.order(pin, json!({ "machines": 3 })).await;
        let three = |world: &World| world.all_alive() == 3;
        sim.until("three machines", SECOND * 60, three).await;
        sim.pass(SECOND * 600).await;
        assert_eq!(sim.world().all_alive(), 3);
        assert_eq!(sim.world().ever(), 3);
        push(&sim, 3, 300);
        sim.until("all three run", SECOND * 30, run(3)).await;
        asked.order(pin, json!({ "machines": 0 })).await;
        sim.pass(SECOND * 120).await;
        assert_eq!(sim.world().running(), 3, "a pin ends no job");
        let gone = |world: &World| world.all_alive() == 0;
        sim.until("they leave when they are done", SECOND * 600, gone)
            .await;
    });
}

#[test]
fn what_waits_is_shown_with_a_hash_and_goes_when_exactly_that_is_confirmed() {
    let mac = PoolSetup {
        name: "mac",
        min: 8,
        ..LINUX
    };
    let setup = Setup {
        pools: vec![LINUX, mac],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let _probot = sim.probot("p");
        let before = sim.scaler("before");
        sim.until("eight stand", SECOND * 60, |world| {
            world.alive("mac").len() == 8
        })
        .await;
        before.stop().await;
        let mut after = sim.clone();
        after.setup.pools.pop();
        let asked = shown(&after, "after");
        sim.pass(SECOND * 1200).await;
        let waiting = asked.good("/api/v1/pools").await["replica"].clone();
        let doubts = waiting["doubts"].to_string();
        let waiting = &waiting["waiting"];
        assert_eq!(waiting["machines"], 8, "{waiting}");
        assert_eq!(waiting["pools"][0]["pool"], "mac");
        let hash = waiting["hash"].as_str().expect("a hash");
        assert!(
            doubts.contains(&format!("parmanu confirm {hash}")),
            "{doubts}"
        );
        let order = json!({ "who": "ann", "because": "it moved", "for": "24h" });
        let (status, answer) = asked
            .say("POST", "/api/v1/confirmations/000000000000", order.clone())
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
        let path = format!("/api/v1/confirmations/{hash}");
        let (status, _) = asked.say_as("POST", &path, order.to_string(), None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        sim.pass(SECOND * 600).await;
        assert_eq!(sim.world().alive("mac").len(), 8, "nothing was confirmed");
        let (status, answer) = asked.say("POST", &path, order).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        sim.until("they have left", SECOND * 900, |world| {
            world.alive("mac").is_empty()
        })
        .await;
        assert_eq!(
            asked.good("/api/v1/pools").await["replica"]["waiting"],
            Value::Null
        );
    });
}

#[test]
fn a_wiped_store_forgets_a_pause() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 10).await;
        asked.order("/api/v1/pools/linux/pause", json!({})).await;
        push(&sim, 1, 30);
        sim.pass(SECOND * 60).await;
        assert_eq!(sim.world().ever(), 0);
        sim.store.wipe();
        sim.until("it runs", SECOND * 60, run(1)).await;
        sim.until_settled(SECOND * 240).await;
    });
}

#[test]
fn a_drained_machine_leaves_after_its_job_and_another_stands_in_first() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 10).await;
        let pin = json!({ "machines": 2 });
        asked.order("/api/v1/pools/linux/pin", pin).await;
        push(&sim, 2, 120);
        sim.until("both run", SECOND * 60, run(2)).await;
        let drained = sim.world().alive("linux")[0].clone();
        let path = format!("/api/v1/machines/{drained}");
        asked.order(&format!("{path}/drain"), json!({})).await;
        let third = |world: &World| world.all_alive() == 3;
        sim.until("another stands in", SECOND * 60, third).await;
        assert_eq!(sim.world().running(), 2, "its job goes on");
        let shown = asked.good(&path).await;
        let id = format!("drain-machine:{drained}");
        assert_eq!(shown["drained_by"]["id"], id, "{shown}");
        let gone = move |world: &World| !world.alive("linux").contains(&drained);
        sim.until("it leaves", SECOND * 400, gone).await;
        assert_eq!(sim.world().all_alive(), 2);
        assert_eq!(sim.world().ended(emitter_fake::JobEnd::Done), 2);
        asked.running.stop().await;
    });
}

#[test]
fn a_drained_zone_empties_and_says_so_in_every_plan() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        push(&sim, 2, 60);
        sim.until("both run", SECOND * 60, run(2)).await;
        let zone = json!({ "zone": "simulated", "for": "30m" });
        asked.order("/api/v1/drains", zone).await;
        sim.pass(SECOND * 20).await;
        assert!(asked.codes().await.contains(&"draining".to_owned()));
        sim.until_settled(SECOND * 600).await;
        assert_eq!(sim.world().ended(emitter_fake::JobEnd::Done), 2);
    });
}

#[test]
fn an_order_to_the_scaler_that_acts_does_not_wait_for_the_sweep() {
    simulate(Setup::default(), |sim| async move {
        let _probot = sim.probot("p");
        let asked = shown(&sim, "s");
        sim.pass(SECOND * 12).await;
        for (verb, is_paused) in [("pause", true), ("resume", false)] {
            let path = format!("/api/v1/pools/linux/{verb}");
            let body = match is_paused {
                true => json!({ "who": "ann", "because": "b", "for": "1h" }),
                false => json!({ "who": "ann" }),
            };
            let (status, answer) = asked.say("POST", &path, body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            sim.pass(SECOND / 2).await;
            let says = asked.codes().await.contains(&"paused".to_owned());
            assert_eq!(says, is_paused, "after {verb}");
        }
    });
}

/// Two pools, each at its own provider; `change` is what the file says then.
fn former(change: fn(&mut Setup), life: impl AsyncFnOnce(&Sim, &Asked)) {
    let mac = PoolSetup {
        name: "mac",
        min: 2,
        provider: "sim-b",
        ..LINUX
    };
    let setup = Setup {
        pools: vec![PoolSetup { min: 1, ..LINUX }, mac],
        ..Setup::default()
    };
    simulate(setup, |sim| async move {
        let before = (sim.probot("p"), sim.scaler("before"));
        sim.until("all stand", SECOND * 60, |world| {
            world.executors().len() == 3
        })
        .await;
        sim.pass(SECOND * 10).await;
        drop(before);
        let mut after = sim.clone();
        after.setup.pools.pop();
        change(&mut after.setup);
        let _probot = after.probot("q");
        let asked = shown(&after, "after");
        sim.pass(SECOND * 30).await;
        life(&after, &asked).await;
    });
}

#[test]
fn a_pool_that_was_removed_is_shown_with_what_becomes_of_it_until_nothing_is_left() {
    former(
        |_| {},
        async |sim, asked| {
            let left = async || asked.good("/api/v1/pools").await["former_pools"].clone();
            let pools = left().await;
            assert_eq!(
                (&pools[0]["name"], &pools[0]["machines"]),
                (&json!("mac"), &json!(2))
            );
            assert_eq!(pools[0]["stays"], false);
            let what = pools[0]["what"].as_str().expect("words");
            assert!(what.contains("ten minutes"), "{what}");
            sim.pass(SECOND * 580).await;
            let pools = left().await;
            let what = pools[0]["what"].as_str().expect("words");
            assert!(what.contains("leave as they become idle"), "{what}");
            assert_eq!(
                (&pools[0]["emitter"], &pools[0]["executors"]),
                (&json!("ci"), &json!(2))
            );
            assert_ne!(pools[0]["reasons"], json!([]));
            sim.until("they have left", SECOND * 600, |world| {
                world.alive("mac").is_empty() && world.executors().len() == 1
            })
            .await;
            sim.pass(SECOND * 700).await;
            assert_eq!(left().await, json!([]));
        },
    );
}

#[test]
fn executors_of_a_pool_that_was_removed_are_shown_and_say_why_they_stay() {
    former(
        |_| {},
        async |sim, asked| {
            let names = sim.world().alive("mac");
            for name in &names {
                sim.world().kill(name);
            }
            sim.pass(SECOND * 5).await;
            // somebody else's cloud has them
            names.iter().for_each(|name| sim.ci("ci").join(name));
            sim.pass(SECOND * 1300).await;
            let pools = asked.good("/api/v1/pools").await["former_pools"].clone();
            assert_eq!(pools[0]["machines"], 0, "{pools}");
            assert_eq!(pools[0]["executors"], 2);
            let what = pools[0]["what"].as_str().expect("words");
            assert!(what.contains("when they are offline"), "{what}");
            let reasons = pools[0]["reasons"].to_string();
            assert!(reasons.contains("ghosts_online"), "{reasons}");
        },
    );
}

#[test]
fn a_pool_that_is_left_alone_says_why() {
    former(
        // what could be controlled cannot be any more
        |setup| setup.pools[0].uncontrolled = Some(model::UncontrolledLeave::AskGuest),
        async |sim, asked| {
            sim.pass(SECOND * 700).await;
            let pools = asked.good("/api/v1/pools").await["former_pools"].clone();
            assert_eq!(pools[0]["stays"], true, "{pools}");
            let what = pools[0]["what"].as_str().expect("words");
            assert!(
                what.contains("executors of ci cannot be controlled"),
                "{what}"
            );
        },
    );
}

#[test]
fn a_provider_that_left_the_file_is_shown_while_machines_stood_there() {
    former(
        |setup| {
            setup.removed = Some("sim-b");
            setup.pools.push(PoolSetup {
                name: "mac",
                max: 2,
                ..LINUX
            });
        },
        async |sim, asked| {
            let shown = asked.good("/api/v1/pools").await["former_providers"].clone();
            assert_eq!(shown[0]["was"], "sim-b", "{shown}");
            assert_eq!(
                (&shown[0]["machines"], &shown[0]["listed"]),
                (&json!(2), &json!(false))
            );
            assert_eq!(sim.world().alive("mac").len(), 2);
        },
    );
}
