//! The fake's promises, asked for with hand-built requests in virtual time: no SDK and no socket between test and wire.

use std::time::Duration;

use fake_gce::{Delivery, Fault, Gce, Rates, Request, Settings};
use jiff::Timestamp;
use serde_json::{Value, json};

const A: &str = "europe-west3-a";
const B: &str = "europe-west3-b";
const ID: &str = "11111111-1111-4111-8111-111111111111";

/// A project, the time in it, and how to ask it.
struct Project {
    gce: Gce,
    now: Timestamp,
}

impl Project {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            anonymous: true,
            ..Settings::default()
        };
        change(&mut settings);
        Self {
            gce: Gce::new(settings),
            now: Timestamp::from_second(1_795_531_260).expect("a time"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Status and document of one call below the project.
    fn ask(&mut self, method: &str, below: &str, body: &Value) -> (u16, Value) {
        let request = Request {
            method: method.to_owned(),
            path: format!("/compute/v1/projects/acme-ci/{below}"),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        };
        let mut response = self.gce.handle(&request, self.now);
        if let Delivery::Again(at) = response.delivery {
            self.now = at;
            response = self.gce.handle_again(&request, self.now);
        }
        let document = serde_json::from_str(&response.body).expect("JSON");
        (response.status, document)
    }

    fn get(&mut self, below: &str) -> (u16, Value) {
        self.ask("GET", below, &Value::Null)
    }

    fn insert(&mut self, zone: &str, query: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", &format!("zones/{zone}/instances{query}"), body)
    }

    /// Makes a machine and gives its operation when that has ended.
    fn made(&mut self, zone: &str, body: &Value) -> Value {
        let (status, operation) = self.insert(zone, "", body);
        assert_eq!(status, 200, "{operation}");
        self.ended(zone, &operation)
    }

    fn ended(&mut self, zone: &str, operation: &Value) -> Value {
        let name = operation["name"].as_str().expect("a name");
        let wait = format!("zones/{zone}/operations/{name}/wait");
        let (status, operation) = self.ask("POST", &wait, &Value::Null);
        assert_eq!((status, operation["status"].as_str()), (200, Some("DONE")));
        operation
    }

    fn status(&mut self, zone: &str, name: &str) -> Option<String> {
        let (_, machine) = self.get(&format!("zones/{zone}/instances/{name}"));
        machine["status"].as_str().map(str::to_owned)
    }
}

fn machine(zone: &str, name: &str) -> Value {
    json!({
        "name": name,
        "machineType": format!("zones/{zone}/machineTypes/e2-standard-4"),
        "disks": [{"boot": true, "autoDelete": true, "initializeParams": {
            "sourceImage": "global/images/family/ci-linux",
        }}],
        "networkInterfaces": [{"network": "global/networks/default"}],
        "labels": {"fleet": "acme"},
    })
}

fn reason(answer: &(u16, Value)) -> (u16, &str) {
    let reason = answer.1["error"]["errors"][0]["reason"].as_str();
    (answer.0, reason.unwrap_or("none"))
}

#[test]
fn an_operation_waits_runs_and_is_done_and_its_machine_boots_meanwhile() {
    let mut project = Project::new(|settings| {
        settings.queue = Duration::from_secs(2);
        settings.creation = Duration::from_secs(10);
    });
    let (_, operation) = project.insert(A, "", &machine(A, "vm"));
    let path = format!(
        "zones/{A}/operations/{}",
        operation["name"].as_str().expect("a name")
    );
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (_, operation) = project.get(&path);
        let status = operation["status"].as_str().expect("a status").to_owned();
        seen.push((status, project.status(A, "vm").expect("a machine")));
        project.pass(4);
    }
    let seen: Vec<(&str, &str)> = seen.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("PENDING", "PROVISIONING"),
            ("RUNNING", "PROVISIONING"),
            ("RUNNING", "STAGING"),
            ("DONE", "RUNNING"),
        ]
    );
}

#[test]
fn a_wait_ends_after_two_minutes_with_an_operation_that_is_not_done() {
    let mut project = Project::new(|settings| settings.creation = Duration::from_secs(300));
    let (_, operation) = project.insert(A, "", &machine(A, "vm"));
    let began = project.now;
    let name = operation["name"].as_str().expect("a name");
    let wait = format!("zones/{A}/operations/{name}/wait");
    for minutes in [2, 4] {
        let (_, seen) = project.ask("POST", &wait, &Value::Null);
        assert_eq!(seen["status"], "RUNNING");
        assert_eq!(project.now, began + Duration::from_secs(60 * minutes));
    }
    let (_, seen) = project.ask("POST", &wait, &Value::Null);
    assert_eq!(seen["status"], "DONE");
    assert_eq!(project.now, began + Duration::from_secs(300));
}

#[test]
fn a_request_id_is_one_operation_whatever_it_says_the_second_time() {
    let mut project = Project::new(|_| {});
    let query = format!("?requestId={ID}");
    let (_, first) = project.insert(A, &query, &machine(A, "vm"));
    let (_, second) = project.insert(A, &query, &machine(A, "other"));
    assert_eq!(first["name"], second["name"]);
    assert_eq!(project.gce.alive(project.now), 1);
    for bad in ["00000000-0000-0000-0000-000000000000", "1234", "nonsense"] {
        let answer = project.insert(A, &format!("?requestId={bad}"), &machine(A, "vm2"));
        assert_eq!(reason(&answer), (400, "invalid"), "{bad}");
    }
}

#[test]
fn a_name_is_taken_in_its_zone_only_and_free_again_after_its_machine() {
    let mut project = Project::new(|_| {});
    project.made(A, &machine(A, "vm"));
    let answer = project.insert(A, "", &machine(A, "vm"));
    assert_eq!(reason(&answer), (409, "alreadyExists"));
    project.made(B, &machine(B, "vm"));
    assert_eq!(
        project
            .ask("DELETE", &format!("zones/{A}/instances/vm"), &Value::Null)
            .0,
        200
    );
    let answer = project.get(&format!("zones/{A}/instances/vm"));
    assert_eq!(reason(&answer), (404, "notFound"));
    project.made(A, &machine(A, "vm"));
}

#[test]
fn no_room_and_no_quota_are_found_in_the_operation_only() {
    let mut project = Project::new(|settings| settings.cpu_quota = Some(6));
    project.gce.set_capacity("e2-standard-4", B, Some(0));
    let full = project.made(B, &machine(B, "vm"));
    let error = &full["error"]["errors"][0];
    assert_eq!(error["code"], "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS");
    assert_eq!(full["httpErrorStatusCode"], 503);
    project.made(A, &machine(A, "vm"));
    let over = project.made(A, &machine(A, "vm2"));
    let error = &over["error"]["errors"][0];
    assert_eq!(error["code"], "QUOTA_EXCEEDED");
    assert_eq!(error["errorDetails"][0]["quotaInfo"]["limit"], 6.0);
    assert_eq!(project.gce.alive(project.now), 1);
}

#[test]
fn a_bulk_is_made_in_part_or_below_its_least_not_at_all() {
    let bulk = |least: &str| {
        let mut properties = machine(A, "x");
        properties.as_object_mut().expect("fields").remove("name");
        properties["machineType"] = json!("e2-standard-4");
        json!({
            "count": "5", "minCount": least, "instanceProperties": properties,
            "perInstanceProperties": {"a": {}, "b": {}, "c": {}, "d": {}, "e": {}},
        })
    };
    for (least, made) in [("4", 0), ("1", 3)] {
        let mut project = Project::new(|_| {});
        project.gce.set_capacity("e2-standard-4", A, Some(3));
        let path = format!("zones/{A}/instances/bulkInsert");
        let (status, operation) = project.ask("POST", &path, &bulk(least));
        assert_eq!(status, 200, "{operation}");
        let ended = project.ended(A, &operation);
        let scope = format!("zones/{A}");
        let metadata = &ended["instancesBulkInsertOperationMetadata"]["perLocationStatus"][&scope];
        assert_eq!(metadata["createdVmCount"], made, "{ended}");
        assert_eq!(ended.get("error").is_some(), made == 0);
        assert_eq!(project.gce.alive(project.now), made);
    }
}

#[test]
fn what_the_real_service_refuses_is_refused() {
    let changed = |path: &str, value: Value| {
        let mut body = machine(A, "vm");
        *body.pointer_mut(path).expect("a field") = value;
        body
    };
    let with = |key: &str, value: Value| {
        let mut body = machine(A, "vm");
        body[key] = value;
        body
    };
    let spot = |more: Value| {
        let mut scheduling = json!({"provisioningModel": "SPOT"});
        scheduling
            .as_object_mut()
            .expect("fields")
            .extend(more.as_object().cloned().expect("fields"));
        scheduling
    };
    for (body, expected) in [
        (changed("/name", json!("VM_1")), (400, "invalid")),
        (changed("/name", json!("a".repeat(64))), (400, "invalid")),
        (
            changed("/machineType", json!("e2-standard-4")),
            (400, "invalid"),
        ),
        (
            changed(
                "/machineType",
                json!(format!("zones/{B}/machineTypes/e2-standard-4")),
            ),
            (400, "invalid"),
        ),
        (changed("/disks", json!([])), (400, "invalid")),
        (
            changed(
                "/disks/0/initializeParams/sourceImage",
                json!("global/images/none"),
            ),
            (404, "notFound"),
        ),
        (changed("/networkInterfaces", json!([])), (400, "invalid")),
        (
            changed(
                "/networkInterfaces/0/network",
                json!("global/networks/none"),
            ),
            (404, "notFound"),
        ),
        (changed("/labels", json!({"Fleet": "x"})), (400, "invalid")),
        (
            changed("/labels", json!({"fleet": "a/b"})),
            (400, "invalid"),
        ),
        (with("colour", json!("red")), (400, "invalid")),
        (
            with("scheduling", spot(json!({"automaticRestart": true}))),
            (400, "invalid"),
        ),
        (
            with("scheduling", json!({"instanceTerminationAction": "DELETE"})),
            (400, "badRequest"),
        ),
        (
            with("scheduling", json!({"maxRunDuration": {"seconds": "60"}})),
            (400, "invalid"),
        ),
        (
            with(
                "scheduling",
                json!({"maxRunDuration": {"seconds": "1"}, "instanceTerminationAction": "STOP"}),
            ),
            (400, "invalid"),
        ),
        (
            with(
                "serviceAccounts",
                json!([{"email": "x@y", "scopes": ["z"]}]),
            ),
            (400, "invalid"),
        ),
        (
            with(
                "metadata",
                json!({"items": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}),
            ),
            (400, "invalid"),
        ),
        (
            with(
                "metadata",
                json!({"items": [{"key": "a", "value": "x".repeat(262_145)}]}),
            ),
            (413, "uploadTooLarge"),
        ),
    ] {
        let mut project = Project::new(|_| {});
        let answer = project.insert(A, "", &body);
        assert_eq!(reason(&answer), expected, "{body}");
        assert_eq!(project.gce.alive(project.now), 0);
    }
    let mut project = Project::new(|_| {});
    assert_eq!(
        reason(&project.get("zones/mars-a/instances")),
        (400, "invalid")
    );
    assert_eq!(
        reason(&project.get(&format!("zones/{A}/instances?colour=red"))),
        (400, "invalid")
    );
    assert_eq!(
        project
            .get(&format!("zones/{A}/instances?%24alt=json&%24apiVersion=1"))
            .0,
        200
    );
}

#[test]
fn who_is_not_known_or_may_not_is_told_so() {
    let mut project = Project::new(|settings| settings.anonymous = false);
    assert_eq!(
        reason(&project.get(&format!("zones/{A}/instances"))),
        (401, "required")
    );
    let mut project = Project::new(|settings| settings.granted = Some([].into()));
    let answer = project.insert(A, "", &machine(A, "vm"));
    assert_eq!(reason(&answer), (403, "forbidden"));
    let message = answer.1["error"]["message"].as_str().expect("words");
    let path = format!("projects/acme-ci/zones/{A}/instances/vm");
    assert_eq!(
        message,
        format!("Required 'compute.instances.create' permission for '{path}'")
    );
    let needed = &project.gce.log().last().expect("a call").needs;
    assert!(needed.contains("compute.subnetworks.use"), "{needed:?}");
}

#[test]
fn a_quota_of_calls_is_used_up_until_the_full_minute() {
    let mut project = Project::new(|settings| {
        settings.rates = Some(Rates {
            lists: 2,
            ..Rates::default()
        });
    });
    let list = format!("zones/{A}/instances");
    assert_eq!((project.get(&list).0, project.get(&list).0), (200, 200));
    let answer = project.get(&list);
    assert_eq!(reason(&answer), (403, "rateLimitExceeded"));
    assert_eq!(
        answer.1["error"]["details"][0]["reason"],
        "RATE_LIMIT_EXCEEDED"
    );
    project.pass(59);
    assert_eq!(project.get(&list).0, 403);
    project.pass(1);
    assert_eq!(project.get(&list).0, 200);
}

#[test]
fn labels_change_only_with_the_fingerprint_that_they_have() {
    let mut project = Project::new(|_| {});
    project.made(A, &machine(A, "vm"));
    let path = format!("zones/{A}/instances/vm");
    let (_, seen) = project.get(&path);
    let set =
        |print: &Value| json!({"labels": {"fleet": "acme", "x": "1"}, "labelFingerprint": print});
    let body = set(&seen["labelFingerprint"]);
    assert_eq!(
        project.ask("POST", &format!("{path}/setLabels"), &body).0,
        200
    );
    let stale = project.ask("POST", &format!("{path}/setLabels"), &body);
    assert_eq!(reason(&stale), (412, "conditionNotMet"));
    assert_eq!(project.get(&path).1["labels"]["x"], "1");
}

#[test]
fn listings_lag_behind_both_ways_and_a_get_does_not() {
    let mut project = Project::new(|settings| {
        settings.appears_after = Duration::from_secs(30);
        settings.ends_unseen_for = Duration::from_secs(30);
    });
    let listed = |project: &mut Project| {
        let (_, list) = project.get("aggregated/instances?filter=labels.fleet%3Dacme");
        let scope = &list["items"][format!("zones/{A}")];
        scope["instances"].as_array().map_or(0, Vec::len)
    };
    project.made(A, &machine(A, "vm"));
    assert_eq!(
        (listed(&mut project), project.status(A, "vm").as_deref()),
        (0, Some("RUNNING"))
    );
    project.pass(30);
    assert_eq!(listed(&mut project), 1);
    project.ask("DELETE", &format!("zones/{A}/instances/vm"), &Value::Null);
    assert_eq!((listed(&mut project), project.status(A, "vm")), (1, None));
    project.pass(30);
    assert_eq!(listed(&mut project), 0);
}

#[test]
fn a_page_token_belongs_to_its_list() {
    let mut project = Project::new(|_| {});
    for index in 0..5 {
        project.made(A, &machine(A, &format!("vm-{index}")));
    }
    let list = format!("zones/{A}/instances?maxResults=2");
    let (_, page) = project.get(&list);
    let token = page["nextPageToken"].as_str().expect("more").to_owned();
    let (_, page) = project.get(&format!("{list}&pageToken={token}"));
    assert_eq!(page["items"][0]["name"], "vm-2");
    for other in [
        format!("{list}&filter=labels.fleet%3Dacme&pageToken={token}"),
        format!("{list}&pageToken=zz"),
    ] {
        assert_eq!(reason(&project.get(&other)), (400, "invalid"), "{other}");
    }
}

#[test]
fn a_zone_that_does_not_answer_says_so_and_a_hidden_one_is_left_out() {
    let mut project = Project::new(|_| {});
    project.made(A, &machine(A, "vm"));
    project.gce.set_unreachable(A, true);
    project.gce.hide(B);
    let (status, list) = project.get("aggregated/instances");
    let scope = format!("zones/{A}");
    assert_eq!(
        (status, &list["items"][&scope]["warning"]["code"]),
        (200, &json!("UNREACHABLE"))
    );
    assert_eq!(list["unreachables"], json!([scope]));
    assert!(list["items"].get(format!("zones/{B}")).is_none());
    assert_eq!(
        reason(&project.get(&format!("zones/{A}/instances"))),
        (503, "backendError")
    );
}

#[test]
fn machines_end_when_their_time_is_over_and_leave_the_disks_that_do_not_go_with_them() {
    let mut project = Project::new(|settings| settings.shutdown = Duration::from_secs(30));
    for (name, action, goes) in [
        ("gone", "DELETE", true),
        ("left", "DELETE", false),
        ("still", "STOP", true),
    ] {
        let mut body = machine(A, name);
        body["scheduling"] =
            json!({"maxRunDuration": {"seconds": "600"}, "instanceTerminationAction": action});
        body["disks"][0]["autoDelete"] = json!(goes);
        project.made(A, &body);
    }
    project.pass(600);
    assert_eq!(project.status(A, "gone").as_deref(), Some("STOPPING"));
    project.pass(30);
    let after = ["gone", "left", "still"].map(|name| project.status(A, name));
    assert_eq!(after, [None, None, Some("TERMINATED".to_owned())]);
    assert_eq!(project.gce.left_disks(project.now), 1);
}

#[test]
fn only_a_spot_machine_is_taken_back() {
    let mut project = Project::new(|settings| settings.shutdown = Duration::from_secs(30));
    project.made(A, &machine(A, "standard"));
    let mut spot = machine(A, "spot");
    spot["scheduling"] = json!({"provisioningModel": "SPOT"});
    project.made(A, &spot);
    assert!(!project.gce.preempt("standard", project.now));
    assert!(project.gce.preempt("spot", project.now));
    let (_, seen) = project.get(&format!("zones/{A}/instances/spot"));
    assert_eq!(
        (&seen["status"], &seen["statusMessage"]),
        (&json!("STOPPING"), &json!("Instance was preempted."))
    );
    project.pass(30);
    assert_eq!(
        project.status(A, "spot").as_deref(),
        Some("TERMINATED"),
        "stopped, unless it asked for DELETE"
    );
}

#[test]
fn a_console_keeps_its_last_mebibyte() {
    let mut project = Project::new(|_| {});
    project.made(A, &machine(A, "vm"));
    project
        .gce
        .print("vm", &"x".repeat(2 * 1024 * 1024), project.now);
    project.gce.print("vm", "the end", project.now);
    let path = format!("zones/{A}/instances/vm/serialPort");
    let (_, whole) = project.get(&path);
    assert_eq!(whole["contents"].as_str().map(str::len), Some(1024 * 1024));
    let (_, end) = project.get(&format!("{path}?port=1&start=-7"));
    assert_eq!(end["contents"], "the end");
    assert_eq!(
        reason(&project.get(&format!("{path}?port=5"))),
        (400, "invalid")
    );
}

#[test]
fn a_fault_strikes_the_calls_it_was_ordered_for() {
    let mut project = Project::new(|_| {});
    let code = "QUOTA_EXCEEDED".to_owned();
    project
        .gce
        .fault_after("instances.insert", 1, 1, Fault::Operation { code });
    let errors: Vec<bool> = ["a", "b", "c"]
        .map(|name| project.made(A, &machine(A, name)).get("error").is_some())
        .to_vec();
    assert_eq!(errors, [false, true, false]);
    assert_eq!(project.gce.alive(project.now), 2);
}
