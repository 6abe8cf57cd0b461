//! Whether an answer has the fields and types of the published schema, as far as that is restated.
//!
//! A fake that invents a field lets a plugin read what no server sends. So each fake has its schema, written by us from
//! the published one, and a test that holds every kind of answer against it. Not JSON Schema: only what these need, so that
//! a restated schema is a page one can compare with its source.
//!
//! A schema is a JSON object of named shapes. `{"field": kind}` is an object with these fields and no others, each of which
//! may be missing; `{"by field": [names]}` is one of these shapes, and the value's field names it; `["a", "b"]` is one of these
//! words. A kind is `"string"`, `"integer"`, `"number"`, `"boolean"`,
//! `"null"`, `"timestamp"` (RFC 3339), `"any"` or the name of a shape, with `?` behind it where `null` is allowed; and
//! `[kind]` is a list.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The shapes of one server's answers.
#[derive(Debug)]
pub struct Shapes(Map<String, Value>);

impl Shapes {
    /// Reads a schema.
    ///
    /// # Errors
    /// If the text is no JSON object.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The kinds that a field has in a shape, one for each shape it stands for; none if it does not have the field.
    pub fn kinds_of(&self, shape: &str, field: &str) -> Vec<&Value> {
        let shape = shape.strip_suffix('?').unwrap_or(shape);
        let Some(Value::Object(fields)) = self.0.get(shape) else {
            return Vec::new();
        };
        match alternatives(fields) {
            Some((_, names)) => {
                let names = names.iter().filter_map(Value::as_str);
                names.flat_map(|name| self.kinds_of(name, field)).collect()
            }
            None => fields.get(field).into_iter().collect(),
        }
    }

    /// What of a value does not fit the kind, each with the way to it; nothing if it fits.
    pub fn misfits(&self, kind: &Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let start = kind.as_str().unwrap_or("list");
        self.compare(kind, value, start, &mut found);
        found
    }

    fn compare(&self, kind: &Value, value: &Value, way: &str, found: &mut Vec<String>) {
        match (kind, value) {
            (Value::Array(kinds), Value::Array(rows)) => {
                for row in rows {
                    self.compare(&kinds[0], row, way, found);
                }
            }
            (Value::Array(_), _) => found.push(format!("{way} is no list: {value}")),
            (Value::String(name), _) => match name.strip_suffix('?') {
                Some(_) if value.is_null() => {}
                name => self.one(
                    name.unwrap_or(kind.as_str().unwrap_or("")),
                    value,
                    way,
                    found,
                ),
            },
            _ => found.push(format!("{way}: {kind} is no kind")),
        }
    }

    fn one(&self, name: &str, value: &Value, way: &str, found: &mut Vec<String>) {
        let fits = match name {
            "any" => true,
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "timestamp" => value
                .as_str()
                .is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            name => match (self.0.get(name), value) {
                (Some(Value::Array(words)), value) => words.contains(value),
                (Some(Value::Object(fields)), Value::Object(sent)) => {
                    return match alternatives(fields) {
                        Some((by, names)) => match sent.get(by) {
                            Some(Value::String(name))
                                if names.iter().any(|known| known == name) =>
                            {
                                self.one(name, value, way, found);
                            }
                            other => found.push(format!("{way}.{by} is none of {name}: {other:?}")),
                        },
                        None => self.fields(fields, sent, way, found),
                    };
                }
                (Some(_), _) => false,
                (None, _) => return found.push(format!("{way}: no shape is called {name}")),
            },
        };
        if !fits {
            found.push(format!("{way} is no {name}: {value}"));
        }
    }

    fn fields(
        &self,
        known: &Map<String, Value>,
        sent: &Map<String, Value>,
        way: &str,
        found: &mut Vec<String>,
    ) {
        for (key, value) in sent {
            let way = format!("{way}.{key}");
            match known.get(key) {
                Some(kind) => self.compare(kind, value, &way, found),
                None => found.push(format!("{way} is not in the schema")),
            }
        }
    }
}

/// The field that tells the shape, and the shapes there are.
fn alternatives(definition: &Map<String, Value>) -> Option<(&str, &Vec<Value>)> {
    let (key, names) = definition.iter().next()?;
    Some((key.strip_prefix("by ")?, names.as_array()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = r#"{
        "Row": { "id": "integer", "name": "string?", "state": "State", "at": "timestamp", "tags": ["string"], "next": "Row?" },
        "State": ["idle", "busy"],
        "Any": { "by kind": ["Cat", "Dog"] }, "Cat": { "kind": "string", "lives": "integer" }, "Dog": { "kind": "string" }
    }"#;

    fn misfits(value: &Value) -> Vec<String> {
        Shapes::parse(SCHEMA).unwrap().misfits(&json!("Row"), value)
    }

    #[test]
    fn what_fits_fits() {
        for good in [
            json!({}),
            json!({ "id": 1, "name": null, "state": "idle", "at": "2026-09-01T10:00:00Z", "tags": [] }),
            json!({ "next": { "id": 2, "next": null }, "tags": ["a", "b"] }),
        ] {
            assert_eq!(misfits(&good), [""; 0]);
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_the_way_to_it() {
        for (bad, words) in [
            (json!([]), "Row is no Row: []"),
            (json!({ "id": "1" }), "Row.id is no integer: \"1\""),
            (json!({ "id": null }), "Row.id is no integer: null"),
            (json!({ "other": 1 }), "Row.other is not in the schema"),
            (
                json!({ "state": "gone" }),
                "Row.state is no State: \"gone\"",
            ),
            (
                json!({ "at": "yesterday" }),
                "Row.at is no timestamp: \"yesterday\"",
            ),
            (json!({ "tags": "a" }), "Row.tags is no list: \"a\""),
            (json!({ "tags": ["a", 2] }), "Row.tags is no string: 2"),
            (
                json!({ "next": { "id": true } }),
                "Row.next.id is no integer: true",
            ),
        ] {
            assert_eq!(misfits(&bad), [words]);
        }
    }

    #[test]
    fn a_schema_that_names_what_it_does_not_have_fits_nothing() {
        let shapes = Shapes::parse(r#"{ "Row": { "a": "Rov", "b": 1 } }"#).unwrap();
        for (bad, words) in [
            (json!({ "a": 1 }), "Row.a: no shape is called Rov"),
            (json!({ "b": 1 }), "Row.b: 1 is no kind"),
        ] {
            assert_eq!(shapes.misfits(&json!("Row"), &bad), [words]);
        }
    }

    #[test]
    fn a_field_of_the_value_tells_its_shape() {
        let shapes = Shapes::parse(SCHEMA).unwrap();
        let misfits = |value: Value| shapes.misfits(&json!("Any"), &value);
        assert_eq!(misfits(json!({ "kind": "Cat", "lives": 9 })), [""; 0]);
        for bad in [
            json!({ "kind": "Dog", "lives": 9 }),
            json!({ "kind": "Row" }),
            json!({ "kind": 1 }),
            json!({ "lives": 9 }),
            json!("Cat"),
        ] {
            assert_eq!(misfits(bad.clone()).len(), 1, "{bad}");
        }
    }
}
