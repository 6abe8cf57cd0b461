//! What expressions give, as the types that a snapshot is made of.
//!
//! An answer may hold anything in any place. Each reader says what it found instead; none of them guesses.

use std::time::Duration;

use jiff::Timestamp;
use jmespath::{Rcvar, Variable};

/// Longest id, name or label that is taken. GitHub's job names end at some hundred characters; what is longer is not a name.
const LONGEST_TEXT: usize = 1000;
/// Most labels, parents or jobs of one item.
const MOST_LIST: usize = 1000;
/// A number above this counts milliseconds: as seconds it would be the year 5138.
const MILLISECONDS: f64 = 1e11;

/// Why a value is of no use, with its type and never with itself.
pub(crate) type Odd = String;

fn odd(value: &Variable, expected: &str) -> Odd {
    format!("gives {} where {expected} is expected", value.get_type())
}

/// A text; numbers and booleans are written as JSON writes them. Nothing for null and for the empty text.
pub(crate) fn text(value: &Variable) -> Result<Option<String>, Odd> {
    let text = match value {
        Variable::Null => return Ok(None),
        Variable::String(text) => text.clone(),
        Variable::Number(number) => number.to_string(),
        Variable::Bool(bool) => bool.to_string(),
        _ => return Err(odd(value, "a text")),
    };
    if text.len() > LONGEST_TEXT {
        return Err(format!("gives a text of more than {LONGEST_TEXT} bytes"));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// A list of texts. A single one is a list of one, and an object the list of its members as `key=value`;
/// a member without a value asks for nothing, as with Woodpecker.
pub(crate) fn texts(value: &Variable) -> Result<Vec<String>, Odd> {
    let texts: Vec<String> = match value {
        Variable::Array(items) if items.len() <= MOST_LIST => {
            let each = items.iter().map(|item| text(item));
            each.filter_map(Result::transpose)
                .collect::<Result<_, _>>()?
        }
        Variable::Object(members) if members.len() <= MOST_LIST => {
            let member = |(key, value): (&String, &Rcvar)| {
                Ok(text(value)?.map(|value| format!("{key}={value}")))
            };
            let each = members.iter().map(member);
            each.filter_map(Result::transpose)
                .collect::<Result<_, Odd>>()?
        }
        Variable::Array(_) | Variable::Object(_) => {
            return Err(format!("gives a list of more than {MOST_LIST}"));
        }
        _ => text(value)?.into_iter().collect(),
    };
    Ok(texts)
}

/// A yes or no; nothing for null.
pub(crate) fn truth(value: &Variable) -> Result<Option<bool>, Odd> {
    match value {
        Variable::Null => Ok(None),
        Variable::Bool(truth) => Ok(Some(*truth)),
        _ => Err(odd(value, "true or false")),
    }
}

/// A number that is not negative; nothing for null.
pub(crate) fn number(value: &Variable) -> Result<Option<f64>, Odd> {
    match value {
        Variable::Null => Ok(None),
        Variable::Number(number) => match number.as_f64() {
            Some(number) if number >= 0.0 && number.is_finite() => Ok(Some(number)),
            _ => Err("gives a number below zero".to_owned()),
        },
        _ => Err(odd(value, "a number")),
    }
}

/// A whole number that is not negative; nothing for null.
pub(crate) fn whole(value: &Variable) -> Result<Option<u64>, Odd> {
    match number(value)? {
        None => Ok(None),
        // beyond 2^53 a number of JSON is no longer exact
        Some(number) if number.fract() == 0.0 && number <= 9e15 => Ok(Some(number as u64)),
        Some(_) => Err("gives a number that is not whole".to_owned()),
    }
}

/// A moment: seconds or milliseconds since 1970, or a text as RFC 3339 writes it. Nothing for null, for zero and for the
/// empty text, by which servers say "never".
pub(crate) fn moment(value: &Variable) -> Result<Option<Timestamp>, Odd> {
    if let Variable::String(text) = value {
        if text.is_empty() {
            return Ok(None);
        }
        let moment = text.parse();
        return moment.map(Some).map_err(|_| odd(value, "a moment"));
    }
    let Some(number) = number(value)?.filter(|number| *number > 0.0) else {
        return Ok(None);
    };
    let milliseconds = if number > MILLISECONDS {
        number
    } else {
        number * 1000.0
    };
    let moment = Timestamp::from_millisecond(milliseconds as i64);
    moment.map(Some).map_err(|_| odd(value, "a moment"))
}

/// A length of time in seconds; nothing for null and zero.
pub(crate) fn seconds(value: &Variable) -> Result<Option<Duration>, Odd> {
    let seconds = number(value)?.filter(|seconds| *seconds > 0.0);
    let span = |seconds| Duration::try_from_secs_f64(seconds);
    seconds
        .map(span)
        .transpose()
        .map_err(|_| "gives a time without end".to_owned())
}

/// The items of a list. The members of an object are items too, each with its `key` and `value`.
pub(crate) fn items(value: &Rcvar) -> Result<Vec<Rcvar>, Odd> {
    match &**value {
        Variable::Array(items) => Ok(items.clone()),
        Variable::Object(members) => Ok(members.iter().map(member).collect()),
        _ => Err(odd(value, "a list")),
    }
}

fn member((key, value): (&String, &Rcvar)) -> Rcvar {
    let key = Rcvar::new(Variable::String(key.clone()));
    let pair = [("key".to_owned(), key), ("value".to_owned(), value.clone())];
    Rcvar::new(Variable::Object(pair.into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn value(json: &Value) -> Rcvar {
        Rcvar::new(Variable::from_serializable(json).unwrap())
    }

    #[test]
    fn labels_may_be_a_list_a_text_or_an_object() {
        for (json, labels) in [
            (json!(["a", 1, true, null, ""]), vec!["a", "1", "true"]),
            (json!("a"), vec!["a"]),
            (json!({ "os": "linux", "gpu": "" }), vec!["os=linux"]),
            (json!(null), vec![]),
        ] {
            assert_eq!(texts(&value(&json)).unwrap(), labels, "{json}");
        }
        for odd in [json!([["a"]]), json!({ "a": {} }), json!(vec!["a"; 1001])] {
            assert!(texts(&value(&odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_moment_is_written_in_one_of_three_ways() {
        let expected: Timestamp = "2026-09-01T10:00:00Z".parse().unwrap();
        for json in [
            json!(1_788_256_800),
            json!(1_788_256_800_000_u64),
            json!("2026-09-01T12:00:00+02:00"),
        ] {
            assert_eq!(moment(&value(&json)).unwrap(), Some(expected), "{json}");
        }
        for never in [json!(null), json!(0), json!("")] {
            assert_eq!(moment(&value(&never)).unwrap(), None, "{never}");
        }
        for odd in [json!("soon"), json!(-1), json!(1e300), json!([])] {
            assert!(moment(&value(&odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn numbers_are_whole_where_things_are_counted() {
        assert_eq!(whole(&value(&json!(3))), Ok(Some(3)));
        assert_eq!(whole(&value(&json!(3.0))), Ok(Some(3)));
        for odd in [json!(3.5), json!(-3), json!("3"), json!(1e300)] {
            assert!(whole(&value(&odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_members_of_an_object_are_items() {
        let found = items(&value(&json!({ "gpu": { "waiting": 1 } }))).unwrap();
        assert_eq!(
            found,
            [value(&json!({ "key": "gpu", "value": { "waiting": 1 } }))]
        );
        assert!(items(&value(&json!(null))).is_err());
    }
}
