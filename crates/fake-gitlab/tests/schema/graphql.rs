//! GraphQL: a query is valid in the schema, and its answer has the types, the nulls and the words that the schema allows.

use apollo_compiler::ast::Type;
use apollo_compiler::executable::{Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Schema};
use fake_server::shape::Shapes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::World;

fn schema() -> Valid<Schema> {
    Schema::parse_and_validate(fake_gitlab::GRAPHQL_SCHEMA, "schema.graphql").unwrap()
}

/// What of an answer's data does not fit its query, each with the way to it.
fn misfits(schema: &Valid<Schema>, query: &str, data: &Value) -> Vec<String> {
    let query = ExecutableDocument::parse_and_validate(schema, query, "query.graphql");
    let query = query.unwrap_or_else(|errors| panic!("{errors}"));
    let mut found = Vec::new();
    let fields = &query.operations.get(None).unwrap().selection_set;
    object(schema, fields, data, "data", &mut found);
    found
}

fn object(
    schema: &Schema,
    asked: &SelectionSet,
    value: &Value,
    way: &str,
    found: &mut Vec<String>,
) {
    let Some(sent) = value.as_object() else {
        return found.push(format!("{way} is no {}: {value}", asked.ty));
    };
    let mut keys = Vec::new();
    for selection in &asked.selections {
        let Selection::Field(field) = selection else {
            panic!("the fake reads no fragments");
        };
        let key = field.response_key().as_str();
        keys.push(key);
        let way = format!("{way}.{key}");
        match sent.get(key) {
            None => found.push(format!("{way} is missing")),
            Some(value) => typed(schema, field.ty(), &field.selection_set, value, &way, found),
        }
    }
    let unasked = sent.keys().filter(|key| !keys.contains(&key.as_str()));
    found.extend(unasked.map(|key| format!("{way}.{key} was not asked for")));
}

fn typed(
    schema: &Schema,
    ty: &Type,
    asked: &SelectionSet,
    value: &Value,
    way: &str,
    found: &mut Vec<String>,
) {
    match (ty, value) {
        (Type::Named(_) | Type::List(_), Value::Null) => {}
        (Type::NonNullNamed(_) | Type::NonNullList(_), Value::Null) => {
            found.push(format!("{way} is null, and {ty}"));
        }
        (Type::List(of) | Type::NonNullList(of), Value::Array(rows)) => {
            rows.iter()
                .for_each(|row| typed(schema, of, asked, row, way, found));
        }
        (Type::List(_) | Type::NonNullList(_), _) => {
            found.push(format!("{way} is no list: {value}"));
        }
        (Type::Named(name) | Type::NonNullNamed(name), value) => match &schema.types[name] {
            ExtendedType::Object(_) => object(schema, asked, value, way, found),
            ExtendedType::Enum(words) => {
                if !value
                    .as_str()
                    .is_some_and(|word| words.values.contains_key(word))
                {
                    found.push(format!("{way} is no {name}: {value}"));
                }
            }
            _ => {
                if !scalar(name.as_str(), value) {
                    found.push(format!("{way} is no {name}: {value}"));
                }
            }
        },
    }
}

fn scalar(name: &str, value: &Value) -> bool {
    let global = |model: &str| {
        value
            .as_str()
            .is_some_and(|id| id.starts_with(&format!("gid://gitlab/{model}/")))
    };
    match name {
        "Int" => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        "Boolean" => value.is_boolean(),
        "Time" => value
            .as_str()
            .is_some_and(|text| text.parse::<Timestamp>().is_ok()),
        "JobID" => global("Ci::Build") || global("Ci::Bridge"),
        "CiPipelineID" => global("Ci::Pipeline"),
        "CiRunnerID" => global("Ci::Runner"),
        "CiRunnerManagerID" => global("Ci::RunnerManager"),
        "UserID" => global("User"),
        _ => value.is_string(),
    }
}

const JOB: &str = "id name status stuck tags kind createdAt queuedAt startedAt finishedAt scheduledAt refName schedulingType \
    runner { id } runnerManager { systemId } pipeline { id ref } project { id fullPath } stage { name } \
    needs(first: 5) { pageInfo { hasNextPage endCursor } nodes { name } }";
const RUNNER: &str = "id description runnerType status paused locked runUntagged accessLevel tagList contactedAt createdAt \
    jobExecutionStatus maintenanceNote jobCount(statuses: [RUNNING]) \
    managers(first: 5) { pageInfo { hasNextPage endCursor } nodes { id systemId status contactedAt jobExecutionStatus } }";
const PAGE: &str = "pageInfo { hasNextPage endCursor }";

fn queries() -> Vec<String> {
    vec![
        "{ currentUser { id username } queryComplexity { score limit } }".to_owned(),
        format!("{{ jobs(first: 3) {{ {PAGE} nodes {{ {JOB} }} }} }}"),
        format!(
            "{{ any: jobs(first: 1) {{ nodes {{ id }} }} jobs(statuses: [PENDING, CANCELING, WAITING_FOR_CALLBACK]) {{ {PAGE} nodes {{ {JOB} }} }} }}"
        ),
        format!("{{ runners(first: 100) {{ {PAGE} nodes {{ {RUNNER} }} }} }}"),
        format!(
            "{{ runner(id: \"gid://gitlab/Ci::Runner/1\") {{ {RUNNER} jobs {{ {PAGE} nodes {{ {JOB} }} }} }} }}"
        ),
        format!(
            "{{ project(fullPath: \"acme/app\") {{ id fullPath jobs {{ {PAGE} nodes {{ {JOB} }} }} runners {{ {PAGE} nodes {{ {RUNNER} }} }} }} }}"
        ),
        format!(
            "{{ project(fullPath: \"acme/app\") {{ pipelines(status: RUNNING) {{ {PAGE} nodes {{ id ref stages(first: 9) {{ {PAGE} nodes {{ name }} }} jobs {{ {PAGE} nodes {{ {JOB} }} }} }} }} }} }}"
        ),
        format!(
            "{{ group(fullPath: \"acme\") {{ id fullPath runners {{ {PAGE} nodes {{ {RUNNER} }} }} }} }}"
        ),
        // what is not there, or may not be seen, is null
        format!(
            "{{ runner(id: \"gid://gitlab/Ci::Runner/99\") {{ {RUNNER} }} project(fullPath: \"x\") {{ id }} group(fullPath: \"x\") {{ id }} }}"
        ),
    ]
}

#[test]
fn every_answer_fits_the_query_and_the_schema() {
    let schema = schema();
    let mut world = World::new();
    for token in ["root", "reader"] {
        for query in queries() {
            let answer = world.send(token, "POST", "/api/graphql", &json!({ "query": query }));
            assert_eq!(answer.status, 200);
            let body = answer.json_body();
            assert!(
                token == "reader" || body.get("errors").is_none(),
                "{query}: {body}"
            );
            assert_eq!(
                misfits(&schema, &query, &body["data"]),
                [""; 0],
                "{token}: {query}"
            );
        }
    }
}

#[test]
fn every_state_and_word_is_shown() {
    let mut world = World::new();
    let schema = schema();
    let query = "{ jobs { nodes { status kind } } }";
    let body = world
        .send("root", "POST", "/api/graphql", &json!({ "query": query }))
        .json_body();
    assert_eq!(misfits(&schema, query, &body["data"]), [""; 0]);
    let rows = body["data"]["jobs"]["nodes"].as_array().unwrap();
    let states: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row["status"].to_string()).collect();
    assert_eq!(
        states.len(),
        12,
        "all but skipped, which is never shown here: {states:?}"
    );
    assert!(rows.iter().any(|row| row["kind"] == "BRIDGE"));
}

#[test]
fn errors_have_the_published_form() {
    let mut world = World::new();
    let shapes = Shapes::parse(include_str!("rest.json")).unwrap();
    for (token, query, status) in [
        ("nobody", "{ currentUser { id } }", 401),
        ("root", "{ nothing }", 200),
        ("root", "{ jobs(statuses: [ASLEEP]) { nodes { id } } }", 200),
        ("root", "{ jobs { count } }", 200),
        ("root", "{", 200),
    ] {
        let answer = world.send(token, "POST", "/api/graphql", &json!({ "query": query }));
        assert_eq!(answer.status, status, "{query}");
        let body = answer.json_body();
        assert_eq!(
            shapes.misfits(&json!("GraphqlErrors"), &body),
            [""; 0],
            "{query}: {body}"
        );
    }
}

#[test]
fn what_the_fake_refuses_to_be_asked_is_invalid_in_the_schema_too() {
    let schema = schema();
    for query in [
        "{ nothing }",
        "{ jobs { count } }",
        "{ jobs(statuses: [ASLEEP]) { nodes { id } } }",
        "{ jobs(tag: \"x\") { nodes { id } } }",
        "{ jobs }",
        "{ currentUser { username { x } } }",
    ] {
        assert!(
            ExecutableDocument::parse_and_validate(&schema, query, "q.graphql").is_err(),
            "{query}"
        );
        let mut world = World::new();
        let body = world
            .send("root", "POST", "/api/graphql", &json!({ "query": query }))
            .json_body();
        assert!(body.get("errors").is_some(), "{query}: {body}");
    }
}

#[test]
fn the_check_itself_tells_a_spoilt_answer() {
    let schema = schema();
    let query =
        "{ jobs { pageInfo { hasNextPage } nodes { id status tags createdAt stage { name } } } }";
    let right = json!({
        "id": "gid://gitlab/Ci::Build/1", "status": "PENDING", "tags": ["a"], "createdAt": "2026-09-01T10:00:00Z", "stage": { "name": "x" },
    });
    let data =
        |job: &Value| json!({ "jobs": { "pageInfo": { "hasNextPage": false }, "nodes": [job] } });
    assert_eq!(misfits(&schema, query, &data(&right)), [""; 0]);
    for (field, wrong) in [
        ("id", json!(1)),
        ("id", json!("gid://gitlab/Ci::Runner/1")),
        ("status", json!("pending")),
        ("tags", json!("a")),
        ("tags", json!([null])),
        ("createdAt", json!(null)),
        ("createdAt", json!("yesterday")),
        ("stage", json!("x")),
        ("stage", json!({})),
        ("unasked", json!(1)),
    ] {
        let mut spoilt = right.clone();
        spoilt[field] = wrong.clone();
        assert_eq!(
            misfits(&schema, query, &data(&spoilt)).len(),
            1,
            "{field} {wrong}"
        );
    }
}
