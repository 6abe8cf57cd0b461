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
        for section in ["emitters", "providers", "machines", "rules"] {
            for name in names(document, section) {
                if !self.used.contains(&(section, name.clone())) {
                    self.problems.0.push(Problem {
                        severity: Severity::Warning,
                        path: vec![section.into(), Step::Key(name.clone())],
                        at_key: true,
                        message: format!("`{name}` is not used by anything"),
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
                && pool.serves == other.serves;
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
