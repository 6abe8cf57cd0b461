//! Readiness by named conditions.
//!
//! A service makes one [`Condition`] for each thing it needs before it can do its work ("store",
//! "configuration", "emitter gitlab") and says when it has it and when it lost it. Being alive is
//! something else: a process that answers at all is alive, and restarting it because a CI server is
//! down would only lose what it knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// What a service needs, and what of it is missing. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// Name to the reason why it is not ready; `None` when it is.
    conditions: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// One thing a service needs. Dropping the last clone leaves the condition as it is.
#[derive(Clone, Debug)]
pub struct Condition {
    readiness: Readiness,
    name: String,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// True when every condition is, and there is one: before the first the service has just begun.
    pub ready: bool,
    /// What is not ready: name to reason.
    pub waiting_for: BTreeMap<String, String>,
    /// The names of the conditions that hold.
    pub have: Vec<String>,
}

impl Readiness {
    /// Adds a condition, which is not ready until [`Condition::ready`]. A second one of the same
    /// name is the same condition, begun anew.
    #[must_use]
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let condition = Condition {
            readiness: self.clone(),
            name: name.into(),
        };
        condition.not_ready("not yet");
        condition
    }

    /// Forgets a condition, for example of an emitter that left the configuration.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What holds and what does not, at this moment.
    #[must_use]
    pub fn report(&self) -> ReadinessReport {
        let conditions = self.lock();
        let missing = conditions
            .iter()
            .filter_map(|(name, why)| Some((name, why.as_ref()?)));
        let mut waiting_for: BTreeMap<_, _> = missing
            .map(|(name, why)| (name.clone(), why.clone()))
            .collect();
        if conditions.is_empty() {
            // a service that has not come to name what it needs has not got it
            waiting_for.insert("start".to_owned(), "it has just begun".to_owned());
        }
        let holds = conditions.iter().filter(|(_, why)| why.is_none());
        ReadinessReport {
            ready: waiting_for.is_empty(),
            waiting_for,
            have: holds.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // The map is whole after every operation, so a panic elsewhere did not break it.
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// The service has what it needs.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It does not, and `why` is what the operator reads.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    fn set(&self, why: Option<String>) {
        self.readiness.lock().insert(self.name.clone(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_condition() {
        let readiness = Readiness::default();
        let begun = readiness.report();
        assert!(!begun.ready, "nothing is known yet");
        assert_eq!(begun.waiting_for["start"], "it has just begun");
        let store = readiness.condition("store");
        let file = readiness.condition("configuration");
        store.ready();
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(
            report.waiting_for,
            BTreeMap::from([("configuration".into(), "not yet".into())])
        );
        assert_eq!(report.have, ["store"]);

        file.ready();
        assert!(readiness.report().ready);
        store.not_ready("connection refused");
        assert_eq!(
            readiness.report().waiting_for["store"],
            "connection refused"
        );
        readiness.forget("store");
        assert!(readiness.report().ready);
    }
}
