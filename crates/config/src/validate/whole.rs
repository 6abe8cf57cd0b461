//! What can be said of the whole file only: what nothing uses, and pools that are alike.

use std::collections::BTreeMap;

use model::PoolName;
use ports::strict::{Problem, Problems, Severity, Step};
use serde_json::Value;

use super::Maker;
use super::entries::names;
use crate::settings::PoolSettings;

impl Maker<'_> {
    pub(super) fn unused(&mut self, document: &Value) {
        // what could not be read may well be what uses it
        if self.problems.has_errors() {
            return;
        }
        for section in ["emitters", "providers", "machines", "groups", "rules"] {
            for name in names(document, section) {
                if !self.used.contains(&(section, name.clone())) {
                    self.problems.0.push(Problem {
                        severity: Severity::Warning,
                        path: vec![section.into(), Step::Key(name.clone())],
                        at_key: true,
                        message: format!(
                            "nothing uses `{name}`: remove it, or name it where it is needed"
                        ),
                        suggestion: None,
                    });
                }
            }
        }
    }
}

/// Two pools that claim the same jobs with the same precedence: nobody could tell which one gets them.
pub(super) fn alike(pools: &BTreeMap<PoolName, PoolSettings>, problems: &mut Problems) {
    let all: Vec<_> = pools.iter().collect();
    for (index, (name, pool)) in all.iter().enumerate() {
        for (other_name, other) in &all[..index] {
            let same = pool.policy.emitter.is_some()
                && pool.policy.emitter == other.policy.emitter
                && pool.precedence == other.precedence
                && sorted(&pool.serves) == sorted(&other.serves);
            if same {
                problems.warning(
                    ["pools".into(), Step::Key(name.to_string()), "serves".into()],
                    format!(
                        "pool `{other_name}` serves the same jobs with the same precedence, so this pool gets none; give one of them a greater `precedence`"
                    ),
                );
            }
        }
    }
}

/// Entries, and the words in them, in an order of their own: `[a, b]` serves what `[b, a]` serves.
fn sorted(serves: &[Value]) -> Vec<String> {
    fn in_order(value: &Value) -> String {
        match value {
            Value::Array(list) => {
                let mut words: Vec<String> = list.iter().map(in_order).collect();
                words.sort();
                format!("{words:?}")
            }
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| (key, in_order(value)));
                format!("{:?}", entries.collect::<Vec<_>>())
            }
            plain => plain.to_string(),
        }
    }
    let mut entries: Vec<String> = serves.iter().map(in_order).collect();
    entries.sort();
    entries
}
