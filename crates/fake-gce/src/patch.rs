//! JSON Merge Patch (RFC 7396): how a request overrides an instance template.

use serde_json::{Map, Value};

/// Objects are merged, everything else is replaced, and `null` removes.
pub(crate) fn merge(base: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                base.remove(key);
            }
            Value::Object(patch) => {
                let below = base.entry(key.clone()).or_insert_with(|| Map::new().into());
                if !below.is_object() {
                    *below = Map::new().into();
                }
                if let Value::Object(below) = below {
                    merge(below, patch);
                }
            }
            value => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_merged_and_lists_replaced() {
        let mut base = json!({"labels": {"a": "1", "b": "2"}, "disks": [1, 2], "x": {"y": 1}});
        let patch = json!({"labels": {"b": null, "c": "3"}, "disks": [3], "x": 7});
        if let (Value::Object(base), Value::Object(patch)) = (&mut base, &patch) {
            merge(base, patch);
        }
        assert_eq!(
            base,
            json!({"labels": {"a": "1", "c": "3"}, "disks": [3], "x": 7})
        );
    }
}
