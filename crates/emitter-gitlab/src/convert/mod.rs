//! GitLab's answers to our nouns. Pure, and total: any JSON value gives a result.
//!
//! A row that cannot be read is a doubt about the whole look, never a row less in silence.

mod jobs;
mod pipelines;
mod projects;
mod runners;

pub(crate) use jobs::{Page, pending_page, project_page, runner_page_jobs};
pub(crate) use pipelines::waiting;
pub(crate) use projects::{is_below, project_list};
pub(crate) use runners::{Runner, RunnerPage, runner_page};

use jiff::Timestamp;
use serde_json::Value;

/// The number in `gid://gitlab/Ci::Build/43`, or a plain number.
pub(crate) fn number_of(id: &Value) -> Option<String> {
    let digits = match id {
        Value::Number(number) => number.as_u64()?.to_string(),
        Value::String(text) => {
            let last = text.rsplit('/').next()?;
            last.parse::<u64>().ok()?.to_string()
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(digits)
}

pub(crate) fn text<'a>(row: &'a Value, key: &str) -> Option<&'a str> {
    row.get(key).and_then(Value::as_str)
}

fn time(row: &Value, key: &str) -> Option<Timestamp> {
    text(row, key)?.parse().ok()
}

/// A list of words; `None` when it is missing or holds something else.
fn words(row: &Value, key: &str) -> Option<Vec<String>> {
    let list = row.get(key)?.as_array()?;
    list.iter()
        .map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// The cursor of the next page of a connection; the error is a doubt.
pub(crate) fn next_cursor(connection: &Value) -> Result<Option<String>, String> {
    let info = &connection["pageInfo"];
    match (info["hasNextPage"].as_bool(), info["endCursor"].as_str()) {
        (Some(false), _) => Ok(None),
        (Some(true), Some(cursor)) => Ok(Some(cursor.to_owned())),
        _ => Err("a page does not say whether another one follows".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    /// Any JSON value, with the keys that the readers look for more often than chance would have it.
    pub(super) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("id".to_owned()),
            Just("nodes".to_owned()),
            Just("pageInfo".to_owned()),
            Just("jobs".to_owned()),
            Just("tag_list".to_owned()),
            Just("status".to_owned()),
            ".{0,6}",
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    #[test]
    fn an_id_is_a_number_in_either_dialect() {
        assert_eq!(
            number_of(&json!("gid://gitlab/Ci::Build/43")).as_deref(),
            Some("43")
        );
        assert_eq!(number_of(&json!(43)).as_deref(), Some("43"));
        for bad in [
            json!(-1),
            json!("gid://gitlab/Ci::Build/"),
            json!("x/../y"),
            json!(null),
        ] {
            assert_eq!(number_of(&bad), None);
        }
    }
}
