//! docs/reference.md, every key of the configuration, written from the schema that is written from the types.
//!
//! `UPDATE_EXPECT=1 cargo test -p config --test reference` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fmt::Write;

use expect_test::expect_file;
use serde_json::{Map, Value};
use support::registries;

/// Deeper than any key lies; a condition may hold conditions without end.
const DEEPEST: usize = 6;

const HEAD: &str = "# Every key

What may stand in the one YAML file, from the schema that editors and `parmanu check` use ([config/parmanu.schema.json](../config/parmanu.schema.json)). How the parts belong together:
[concepts.md](concepts.md); what the rules do: [rules.md](rules.md); files to begin with: [config/](../config). Secrets are references, `${env:NAME}` or `${file:/path}`, and nothing else is accepted in their place.
A key that is not here is an error, and so is one that is written twice.

`NAME` stands for a name of your own, `[]` for each item of a list. **Needed** keys have no default.
";

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

/// The variants of a schema that are told apart by their `kind`.
fn kinds(schema: &Value) -> Vec<(&str, &Value)> {
    let variants = schema["anyOf"].as_array().into_iter().flatten();
    variants
        .filter_map(|variant| {
            let kind = variant["properties"]["kind"]["const"].as_str()?;
            Some((kind, variant))
        })
        .collect()
}

/// One of several values, what it looks like, or its type.
fn what(schema: &Value) -> String {
    let constants = |key: &str| -> Option<String> {
        let variants = schema[key].as_array()?;
        let all: Option<Vec<String>> = variants
            .iter()
            .map(|variant| Some(format!("`{}`", variant["const"].as_str()?)))
            .collect();
        Some(all?.join(", "))
    };
    if let Some(words) = constants("oneOf").or_else(|| constants("anyOf")) {
        return words;
    }
    if let Some(values) = schema["enum"].as_array() {
        let words: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        return words.join(", ").replace('"', "");
    }
    if let Some(value) = schema["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(examples) = schema["examples"].as_array() {
        let words: Vec<String> = examples
            .iter()
            .filter_map(|example| Some(format!("`{}`", example.as_str()?)))
            .collect();
        return format!("such as {}", words.join(", "));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    let word = types.into_iter().find(|word| *word != "null");
    match word {
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => match what(&schema["items"]) {
            word if word.is_empty() => "a list".to_owned(),
            word => format!("a list: {word}"),
        },
        Some("object") => "keys".to_owned(),
        Some("string") => "a text".to_owned(),
        Some(_) | None => String::new(),
    }
}

fn default(schema: &Value, needed: bool) -> String {
    match &schema["default"] {
        _ if needed => "needed".to_owned(),
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

/// The rows of an object's keys, and of what lies below them.
fn rows(page: &mut String, schema: &Value, path: &str, depth: usize) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let needed = |key: &str| {
        let all = schema["required"].as_array();
        all.is_some_and(|all| all.iter().any(|name| name == key))
    };
    for (key, inner) in properties {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let words = text(inner, "description")
            .replace('\n', " ")
            .replace('|', "\\|");
        let (what, default) = (what(inner), default(inner, needed(key)));
        writeln!(page, "| `{path}` | {what} | {default} | {words} |").unwrap();
        if depth < DEEPEST {
            below(page, inner, &path, depth + 1);
        }
    }
}

fn below(page: &mut String, schema: &Value, path: &str, depth: usize) {
    rows(page, schema, path, depth);
    let options = ["anyOf", "oneOf"].map(|key| schema[key].as_array());
    for option in options.into_iter().flatten().flatten() {
        rows(page, option, path, depth);
    }
    if schema["items"].is_object() {
        below(page, &schema["items"], &format!("{path}[]"), depth);
    }
    if schema["additionalProperties"].is_object() {
        below(
            page,
            &schema["additionalProperties"],
            &format!("{path}.NAME"),
            depth,
        );
    }
}

fn table(page: &mut String, schema: &Value, path: &str) {
    page.push_str("\n| Key | Is | Default | |\n|---|---|---|---|\n");
    rows(page, schema, path, 0);
}

fn page() -> String {
    let schema = config::schema(&registries());
    let sections = schema["properties"].as_object().unwrap();
    let mut page = HEAD.to_owned();
    page.push_str("\n## At the top\n\n| Key | Is | |\n|---|---|---|\n");
    for (key, section) in sections {
        let words = text(section, "description").replace('\n', " ");
        writeln!(page, "| `{key}` | {} | {words} |", what(section)).unwrap();
    }
    for (key, section) in sections {
        let named = &section["additionalProperties"];
        let (path, inner) = match named.is_object() {
            true => (format!("{key}.NAME"), named),
            false => (key.clone(), section),
        };
        let kinds = kinds(inner);
        if kinds.is_empty() && inner["properties"].is_object() {
            writeln!(page, "\n## {path}\n\n{}", text(inner, "description")).unwrap();
            table(&mut page, inner, "");
        }
        for (kind, variant) in kinds.iter().filter(|(kind, _)| *kind != "fake") {
            let words = text(variant, "description");
            writeln!(page, "\n## {path}, `kind: {kind}`\n\n{words}").unwrap();
            table(&mut page, variant, "");
        }
    }
    page
}

#[test]
fn the_page_of_all_keys_is_the_one_of_the_schema() {
    expect_file!["../../../docs/reference.md"].assert_eq(&page());
}
