//! The API as an OpenAPI document: generated from the shapes, so that it cannot say anything else than they do.
//!
//! The schemas come from `schemars`, which makes the schema of the configuration too; OpenAPI 3.1 takes JSON Schema as it
//! is, so nothing is translated. The paths are the table below, and a test asks every one of them of a running API, and
//! every route of the API of the table.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::shapes;

/// One route: method, path, what it is for.
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// The shape of the body, if it takes one.
    body: Option<fn(&mut SchemaGenerator) -> Value>,
    /// The shape of a good answer.
    answer: fn(&mut SchemaGenerator) -> Value,
    /// Parameters beside those of the path.
    query: &'static [(&'static str, &'static str)],
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

const fn look(
    path: &'static str,
    summary: &'static str,
    answer: fn(&mut SchemaGenerator) -> Value,
) -> Route {
    Route {
        method: "get",
        path,
        summary,
        body: None,
        answer,
        query: &[],
    }
}

const fn verb(
    path: &'static str,
    summary: &'static str,
    body: fn(&mut SchemaGenerator) -> Value,
) -> Route {
    Route {
        method: "post",
        path,
        summary,
        body: Some(body),
        answer: shape::<shapes::Overrides>,
        query: &[],
    }
}

const ROUTES: [Route; 16] = [
    look(
        "/api/v1/pools",
        "Every pool in numbers.",
        shape::<shapes::Pools>,
    ),
    look(
        "/api/v1/pools/{name}",
        "One pool with its machines, its last plan and its overrides.",
        shape::<shapes::OnePool>,
    ),
    look(
        "/api/v1/machines",
        "Every machine.",
        shape::<shapes::Machines>,
    ),
    look(
        "/api/v1/machines/{name}",
        "One machine, and what the last plan says of it.",
        shape::<shapes::OneMachine>,
    ),
    look(
        "/api/v1/emitters",
        "The CI servers as probot last saw them.",
        shape::<shapes::Emitters>,
    ),
    look(
        "/api/v1/plans",
        "The plan of each pool at the last tick.",
        shape::<shapes::Plans>,
    ),
    Route {
        query: &[
            ("pool", "Of this pool only."),
            ("limit", "So many at most; 100 unless said."),
        ],
        ..look(
            "/api/v1/decisions",
            "The plans that changed, the newest first.",
            shape::<shapes::Decisions>,
        )
    },
    look(
        "/api/v1/jobs/{id}",
        "What is known of a job, by its id, its name, `project/name` or its address (percent-encoded).",
        shape::<shapes::FoundJobs>,
    ),
    look(
        "/api/v1/overrides",
        "The overrides in force.",
        shape::<shapes::Overrides>,
    ),
    verb(
        "/api/v1/pools/{name}/pause",
        "The pool neither grows nor shrinks for a while.",
        shape::<shapes::Ordered>,
    ),
    verb(
        "/api/v1/pools/{name}/resume",
        "Takes the pause of a pool back.",
        shape::<shapes::By>,
    ),
    verb(
        "/api/v1/pools/{name}/pin",
        "The pool wants this many machines for a while, within its max.",
        shape::<shapes::Pinned>,
    ),
    verb(
        "/api/v1/machines/{name}/drain",
        "The machine leaves, after its job.",
        shape::<shapes::Ordered>,
    ),
    verb(
        "/api/v1/confirmations/{hash}",
        "What waits under this hash may leave: machines that a changed configuration lets go.",
        shape::<shapes::Ordered>,
    ),
    verb(
        "/api/v1/drains",
        "Every machine of an image or in a zone leaves, after its job, and none is made there.",
        shape::<shapes::Drained>,
    ),
    Route {
        method: "delete",
        path: "/api/v1/overrides/{id}",
        summary: "Takes an override back; the id may contain slashes.",
        body: None,
        answer: shape::<shapes::Overrides>,
        query: &[("who", "Who, for the audit.")],
    },
];

/// The document, as it is served under `/api/v1/openapi.json` and stands in docs/api/openapi.json.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in &ROUTES {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    let trouble = shape::<shapes::Trouble>(&mut generator);
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Parmanu scaler",
            "version": "1",
            "description": "What a scaler knows, and the verbs that overrule its rules for a while. Fields are added and never renamed, removed or given another meaning. Looking needs no token; verbs need `api: { token: … }` in the configuration.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Trouble": { "description": "What is wrong and what to do.", "content": { "application/json": { "schema": trouble } } } },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let answer = (route.answer)(generator);
    let mut responses = json!({
        "200": { "description": "Good.", "content": { "application/json": { "schema": answer } } },
    });
    for status in statuses(route) {
        responses[status] = json!({ "$ref": "#/components/responses/Trouble" });
    }
    let in_path = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let required = route.method == "delete";
    let in_query = route.query.iter().map(|(name, description)| {
        json!({ "name": name, "in": "query", "required": required, "description": description, "schema": { "type": "string" } })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut operation = json!({ "summary": route.summary, "responses": responses });
    if !parameters.is_empty() {
        operation["parameters"] = Value::from(parameters);
    }
    if let Some(body) = route.body {
        let schema = body(generator);
        operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if route.method != "get" {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

fn statuses(route: &Route) -> &'static [&'static str] {
    match (route.method, route.path.contains('{')) {
        ("get", false) => &[],
        ("get", true) => &["404", "503"],
        ("delete", _) => &["401", "403", "404", "503"],
        _ => &["401", "403", "404", "409", "413", "422", "503"],
    }
}
