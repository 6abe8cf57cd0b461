//! The JSON Schema for editors, made from the types that read the file.
//!
//! Each plugin brings the schema of its own keys; here they are put together so that an editor which sees
//! `kind: gitlab` offers the keys of that plugin.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::load::Registries;
use crate::raw;

/// The schema of a whole configuration file.
pub fn schema(registries: &Registries) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let emitters: Vec<Value> = registries
        .emitters
        .iter()
        .map(|(kind, entry)| {
            let mut schema = (entry.schema)(&mut generator).to_value();
            add(&mut schema, "kind", json!({ "const": kind }), true);
            add(
                &mut schema,
                "probe",
                of::<raw::Probe>(&mut generator),
                false,
            );
            add(&mut schema, "hook", of::<raw::Hook>(&mut generator), false);
            schema
        })
        .collect();
    let providers: Vec<Value> = registries
        .providers
        .iter()
        .map(|(kind, entry)| {
            let mut schema = (entry.schema)(&mut generator).to_value();
            add(&mut schema, "kind", json!({ "const": kind }), true);
            let max = of::<raw::MaxMachines>(&mut generator);
            add(&mut schema, "max_machines", max, false);
            schema
        })
        .collect();
    let offers: Vec<Value> = registries
        .providers
        .iter()
        .map(|(_, entry)| {
            let mut schema = (entry.offer_schema)(&mut generator).to_value();
            let common = of::<raw::Offer>(&mut generator);
            for key in ["provider", "price"] {
                add(
                    &mut schema,
                    key,
                    common["properties"][key].clone(),
                    key == "provider",
                );
            }
            schema
        })
        .collect();
    let serves: Vec<Value> = registries
        .emitters
        .iter()
        .map(|(_, entry)| (entry.serves_schema)(&mut generator).to_value())
        .collect();
    let mut machine = of::<raw::Machine>(&mut generator);
    machine["properties"]["offers"]["items"] = json!({ "anyOf": offers });
    let mut pool = of::<raw::Pool>(&mut generator);
    pool["properties"]["serves"]["items"] = json!({ "anyOf": serves });
    let rules = rules(&mut generator);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parmanu configuration",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "fleet", "pools"],
        "properties": {
            "version": { "const": 1, "description": "Version of this format." },
            "fleet": of::<model::FleetId>(&mut generator),
            "store": store(&mut generator),
            "api": of::<raw::Api>(&mut generator),
            "emitters": named(json!({ "anyOf": emitters }), "Job emitter platforms, credentials, probing frequency."),
            "providers": named(json!({ "anyOf": providers }), "Infrastructure platforms and credentials."),
            "machines": named(machine, "Executor machine configurations."),
            "pools": named(pool, "Job-to-node mapping, limits and rules."),
            "groups": named(of::<raw::Group>(&mut generator), "Pools that share a cap or a budget."),
            "limits": of::<raw::Limits>(&mut generator),
            "rules": named(json!({ "anyOf": rules }), "Rules for auto-scaling.")
        }
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// One schema for each kind of rule.
fn rules(generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut kinds = [
        ("utilization", of::<raw::rules::Utilization>(generator)),
        ("reserve", of::<raw::rules::Reserve>(generator)),
        ("memory", of::<raw::rules::Memory>(generator)),
        ("load", of::<raw::rules::Load>(generator)),
        ("scale-in", of::<raw::rules::ScaleIn>(generator)),
        ("pace", of::<raw::rules::Pace>(generator)),
        ("limit", of::<raw::rules::Limit>(generator)),
    ];
    let mut budget = of::<raw::rules::Budget>(generator);
    add(&mut budget, "kind", json!({ "const": "budget" }), true);
    let mut when = of::<raw::rules::When>(generator);
    let mut alternative = when.clone();
    if let Some(properties) = alternative["properties"].as_object_mut() {
        properties.remove("any");
    }
    when["properties"]["any"]["items"] = alternative;
    for (kind, schema) in &mut kinds {
        add(schema, "when", when.clone(), false);
        add(schema, "kind", json!({ "const": kind }), true);
    }
    let kinds = kinds.into_iter().map(|(_, schema)| schema);
    kinds.chain([budget]).collect()
}

fn store(generator: &mut SchemaGenerator) -> Value {
    let mut redis = of::<raw::RedisStore>(generator);
    add(&mut redis, "kind", json!({ "const": "redis" }), true);
    let mut memory = of::<raw::MemoryStore>(generator);
    add(&mut memory, "kind", json!({ "const": "memory" }), true);
    json!({ "anyOf": [redis, memory], "description": "Where probot and scaler meet. Default: redis at ${env:REDIS_URL}." })
}

fn named(entry: Value, description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "propertyNames": { "pattern": "^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$" },
        "additionalProperties": entry
    })
}

/// Adds a property to an object schema.
fn add(schema: &mut Value, key: &str, property: Value, required: bool) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let properties = object
        .entry("properties")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(key.to_owned(), property);
    }
    if required {
        let list = object.entry("required").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.insert(0, Value::from(key));
        }
    }
}
