//! What all sections have in common: entries under checked names, `kind:`, references to other entries.

use std::collections::BTreeMap;
use std::time::Duration;

use ports::strict::{self, Problem, Problems, Severity, Step, nearest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Maker;
use crate::words;

/// Takes `kind:` out of an entry; reports one that is missing or not known.
pub(super) fn take_kind<'k>(
    value: &Value,
    known: impl IntoIterator<Item = &'k str>,
    problems: &mut Problems,
) -> (Option<String>, Value) {
    let known: Vec<&str> = known.into_iter().collect();
    let mut rest = value.clone();
    let Some(map) = rest.as_object_mut() else {
        problems.error(
            [],
            format!(
                "expected a mapping of keys with a `kind`; known are {}",
                known.join(", ")
            ),
        );
        return (None, rest);
    };
    match map.remove("kind") {
        Some(Value::String(kind)) if known.contains(&kind.as_str()) => (Some(kind), rest),
        Some(other) => {
            let word = other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned);
            problems.0.push(Problem {
                severity: Severity::Error,
                path: vec!["kind".into()],
                at_key: false,
                message: format!(
                    "`{word}` is not a kind known here; known are {}",
                    known.join(", ")
                ),
                suggestion: nearest(&word, known.iter().copied()),
            });
            (None, rest)
        }
        None => {
            problems.error(
                [],
                format!("missing the key `kind`; known are {}", known.join(", ")),
            );
            (None, rest)
        }
    }
}

pub(super) fn take<T: DeserializeOwned + Default>(
    rest: &mut Value,
    key: &str,
    problems: &mut Problems,
) -> T {
    let Some(value) = rest.as_object_mut().and_then(|map| map.remove(key)) else {
        return T::default();
    };
    let mut inner = Problems::default();
    let read = strict::read(&value, &mut inner);
    problems.append(&[key.into()], inner);
    read.unwrap_or_default()
}

impl Maker<'_> {
    /// Reads every entry of a section under a checked name.
    pub(super) fn entries<N, T>(
        &mut self,
        document: &Value,
        key: &'static str,
        mut read: impl FnMut(&mut Self, &N, &Value, &mut Problems) -> Option<T>,
    ) -> BTreeMap<N, T>
    where
        N: std::str::FromStr<Err = model::IdError> + Ord,
    {
        let mut made = BTreeMap::new();
        let entries = match document.get(key) {
            None | Some(Value::Null) => return made,
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                let message = format!("expected a mapping under `{key}`: a name, and what it is");
                self.problems.error([key.into()], message);
                return made;
            }
        };
        for (name, value) in entries {
            let place = [key.into(), Step::Key(name.clone())];
            let mut inner = Problems::default();
            match name.parse::<N>() {
                Ok(parsed) => {
                    if let Some(entry) = read(self, &parsed, value, &mut inner) {
                        made.insert(parsed, entry);
                    }
                }
                Err(error) => inner.0.push(Problem {
                    severity: Severity::Error,
                    path: Vec::new(),
                    at_key: true,
                    message: error.to_string(),
                    suggestion: None,
                }),
            }
            self.problems.append(&place, inner);
        }
        made
    }
}

pub(super) fn names(document: &Value, section: &str) -> Vec<String> {
    let entries = document.get(section).and_then(Value::as_object);
    entries.into_iter().flat_map(Map::keys).cloned().collect()
}

pub(super) fn unknown<const N: usize>(
    noun: &str,
    name: &str,
    known: &[String],
    path: [Step; N],
    problems: &mut Problems,
) {
    problems.0.push(Problem {
        severity: Severity::Error,
        path: path.to_vec(),
        at_key: false,
        message: match known {
            [] => format!("there is no {noun} `{name}`: `{noun}s:` defines none"),
            known => format!(
                "there is no {noun} `{name}`; known are {}",
                words::list(known)
            ),
        },
        suggestion: nearest(name, known.iter().map(String::as_str)),
    });
}

/// Longer times are mistyped, and sums of them leave the calendar.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Refuses a time that is longer than a year.
pub(super) fn too_long(key: &str, time: Duration, problems: &mut Problems) {
    if time > LONGEST {
        let path: Vec<Step> = key.split('.').map(Step::from).collect();
        problems.error(
            path,
            "longer than a year: leave the key out, or write what is meant",
        );
    }
}
