//! Buildbot's own rule of who may run what: a request is built by a worker that its builder names. Pure.

use model::{Executor, Fit, Job};
use ports::Matcher;

use crate::config::Serves;

/// The matcher of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildbotMatcher {
    entries: Vec<Serves>,
}

impl BuildbotMatcher {
    /// Matches requests for any of these builders.
    pub fn new(entries: Vec<Serves>) -> Self {
        Self { entries }
    }
}

impl Matcher for BuildbotMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let serves = |label: &String| {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.builders.contains(label))
        };
        let labels = &job.requirement.labels;
        let missing: Vec<String> = labels
            .iter()
            .filter(|label| !serves(label))
            .map(|label| format!("builder `{label}`"))
            .collect();
        if missing.is_empty() && !labels.is_empty() {
            Fit::Yes
        } else {
            Fit::No { missing }
        }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.entries
            .iter()
            .any(|entry| serves_all(entry, &executor.labels))
    }
}

/// Whether a worker with these builders takes every request that the entry stands for.
pub(crate) fn serves_all(entry: &Serves, builders: &[String]) -> bool {
    entry.builders.iter().all(|name| builders.contains(name))
}
