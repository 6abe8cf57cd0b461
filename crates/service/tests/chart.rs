//! The chart of `deploy/helm/parmanu` as far as no Helm is needed: its values, their schema and their README name the same
//! keys, and what it was rendered to selects what it means to.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn chart(file: &str) -> String {
    read(&format!("deploy/helm/parmanu/{file}"))
}

/// Every value that is not a group of others, by its path. A group that users fill (`{}`) is a value.
fn leaves(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
    match value.as_object().filter(|it| !it.is_empty()) {
        // what a person hands on to Kubernetes has no keys of ours
        Some(keys) if !path.ends_with("resources") && !path.ends_with("labels") => {
            for (key, value) in keys {
                let path = format!("{path}.{key}");
                leaves(value, path.trim_start_matches('.'), into);
            }
        }
        _ => drop(into.insert(path.to_owned(), value.clone())),
    }
}

fn values() -> BTreeMap<String, Value> {
    let values: Value = serde_yaml::from_str(&chart("values.yaml")).unwrap();
    let mut found = BTreeMap::new();
    leaves(&values, "", &mut found);
    found
}

#[test]
fn the_schema_knows_the_values_that_there_are_and_no_others() {
    fn keys(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
        let Some(properties) = schema["properties"].as_object() else {
            into.insert(path.to_owned());
            return;
        };
        assert_eq!(schema["additionalProperties"], false, "{path}");
        for (key, schema) in properties {
            let path = format!("{path}.{key}");
            let path = path.trim_start_matches('.');
            if path.ends_with("resources") {
                into.insert(path.to_owned());
            } else {
                keys(schema, path, into);
            }
        }
    }
    let mut known = BTreeSet::new();
    keys(
        &serde_json::from_str(&chart("values.schema.json")).unwrap(),
        "",
        &mut known,
    );
    // what a chart above this one hands to all its parts
    assert!(known.remove("global"));
    assert_eq!(known, values().into_keys().collect());
}

#[test]
fn the_readme_has_a_row_for_each_value_with_its_default() {
    let readme = chart("README.md");
    let rows = readme.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_matches('`').to_owned();
        Some((key, cells.next()?.trim_matches('`').to_owned()))
    });
    let rows: BTreeMap<String, String> = rows.collect();
    let values = values();
    assert_eq!(
        rows.keys().collect::<Vec<_>>(),
        values.keys().collect::<Vec<_>>()
    );
    for (key, value) in &values {
        let written: Value = match rows[key].as_str() {
            "see values.yaml" => continue,
            text => serde_yaml::from_str(text).unwrap(),
        };
        assert_eq!(&written, value, "{key}");
    }
}

/// Whether these labels are among those.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let all = wanted.all(|(key, value)| labels[key] == *value);
    let mut listed = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    all && listed.all(|it| {
        let values = it["values"].as_array().unwrap();
        it["operator"] == "In" && values.contains(&labels[it["key"].as_str().unwrap()])
    })
}

#[test]
fn every_selector_finds_the_pods_it_is_meant_for() {
    let text = read("deploy/kubernetes/parmanu.yaml");
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    let documents: Vec<Value> = documents.map(Result::unwrap).collect();
    let of = |kind: &'static str| documents.iter().filter(move |it| it["kind"] == kind);
    let pods: BTreeMap<&str, &Value> = of("Deployment")
        .map(|it| {
            let labels = &it["spec"]["template"]["metadata"]["labels"];
            (it["metadata"]["name"].as_str().unwrap(), labels)
        })
        .collect();
    let found = |selector: &Value| -> Vec<&str> {
        let found = pods.iter().filter(|(_, labels)| selects(selector, labels));
        found.map(|(name, _)| *name).collect()
    };
    for deployment in of("Deployment") {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        assert_eq!(found(&deployment["spec"]["selector"]), [name]);
        let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
        for constraint in spread.as_array().into_iter().flatten() {
            assert_eq!(found(&constraint["labelSelector"]), [name]);
        }
    }
    for service in of("Service") {
        let labels = serde_json::json!({ "matchLabels": service["spec"]["selector"] });
        assert_eq!(
            found(&labels),
            [service["metadata"]["name"].as_str().unwrap()]
        );
    }
    for budget in of("PodDisruptionBudget") {
        let name = budget["metadata"]["name"].as_str().unwrap();
        assert_eq!(found(&budget["spec"]["selector"]), [name]);
    }
    for policy in of("NetworkPolicy") {
        let found = found(&policy["spec"]["podSelector"]);
        match policy["metadata"]["name"].as_str().unwrap() {
            "parmanu-default-deny" => {
                let spec = &policy["spec"];
                assert_eq!(found, ["parmanu-probot", "parmanu-redis", "parmanu-scaler"]);
                assert!(spec.get("ingress").is_none() && spec.get("egress").is_none());
            }
            name => assert_eq!(found, [name]),
        }
    }
    let redis = of("NetworkPolicy").find(|it| it["metadata"]["name"] == "parmanu-redis");
    let from = &redis.unwrap()["spec"]["ingress"][0]["from"][0]["podSelector"];
    assert_eq!(found(from), ["parmanu-probot", "parmanu-scaler"]);
}

/// No service asks the API server anything, so nothing here may give it a right.
#[test]
fn the_chart_gives_no_right_at_the_api_server() {
    let text = read("deploy/kubernetes/parmanu.yaml");
    assert!(!text.contains("kind: Role"), "a role or a binding");
    let tokens = text.matches("automountServiceAccountToken: false").count();
    assert_eq!(tokens, 5, "two accounts and three pods");
}
