//! Who may run what, for the machines of one pool: one node carries the labels of all `serves` entries together.
//!
//! Pure. What an item asks for was found out by [`convert`](crate::convert); an item whose label nobody can know fits no
//! pool, and says why, so that it is reported by name instead of vanishing.

use std::collections::BTreeSet;

use model::{Executor, Fit, Job};
use ports::Matcher;

use crate::config::Serves;
use crate::label::Expression;

/// Fact: the label cannot be known, with the reason.
pub(crate) const UNKNOWN: &str = "unknown";
/// Fact: labels of a node of this fleet that would take the item.
pub(crate) const LIKE_OURS: &str = "like-our-node";
/// Fact: labels of somebody else's node that would take the item.
pub(crate) const LIKE_OTHERS: &str = "like-node";

/// The matcher of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JenkinsMatcher {
    labels: BTreeSet<String>,
}

impl JenkinsMatcher {
    /// Matches the jobs that a node with the labels of all these entries would be given.
    pub fn new(entries: Vec<Serves>) -> Self {
        Self {
            labels: entries.into_iter().flat_map(|entry| entry.labels).collect(),
        }
    }

    fn has(&self, label: &str) -> bool {
        self.labels.contains(label)
    }
}

impl Matcher for JenkinsMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let asked = &job.requirement;
        let no = |missing| Fit::No { missing };
        if let Some(why) = asked.facts.get(UNKNOWN) {
            return no(why.clone());
        }
        if let Some(labels) = asked.facts.get(LIKE_OURS) {
            let same = labels.iter().collect::<BTreeSet<_>>() == self.labels.iter().collect();
            return if same {
                Fit::Yes
            } else {
                no(vec![format!(
                    "the labels of its node: {}",
                    labels.join(" ")
                )])
            };
        }
        if let Some(labels) = asked.facts.get(LIKE_OTHERS) {
            let lacking = labels.iter().filter(|label| !self.has(label));
            let lacking: Vec<String> = lacking.map(|label| format!("label `{label}`")).collect();
            return if lacking.is_empty() {
                Fit::Yes
            } else {
                no(lacking)
            };
        }
        let Some(expression) = &asked.expression else {
            let words = "the job asks for no label, and the pool's nodes take only jobs that ask";
            return no(vec![words.to_owned()]);
        };
        let expression = Expression::parse(expression);
        // the node's own name is a label too; before it is made no expression can mean it
        let has = |label: &str| self.has(label);
        let lacking: Vec<String> = expression
            .conjuncts()
            .into_iter()
            .filter(|part| !part.is_satisfied(&has))
            .map(|part| match part {
                Expression::Atom(label) => format!("label `{label}`"),
                other => format!("`{other}`"),
            })
            .collect();
        if lacking.is_empty() {
            Fit::Yes
        } else {
            no(lacking)
        }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.labels
            .iter()
            .all(|label| executor.labels.contains(label))
    }
}

#[cfg(test)]
mod tests {
    use model::{JobClass, JobId, Requirement};

    use super::*;

    fn fit(requirement: Requirement) -> Vec<String> {
        let entries = [&["linux"][..], &["docker"]].map(|labels| Serves {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            executors: 1,
        });
        let job = Job {
            id: JobId::new("1"),
            name: "a".to_owned(),
            project: String::new(),
            requirement,
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        };
        match JenkinsMatcher::new(entries.into()).fit(&job) {
            Fit::Yes => Vec::new(),
            Fit::No { missing } => missing,
        }
    }

    fn asks(expression: &str) -> Vec<String> {
        fit(Requirement {
            expression: Some(expression.to_owned()),
            ..Requirement::default()
        })
    }

    fn fact(key: &str, words: &[&str]) -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        fit(Requirement {
            facts: [(key.to_owned(), words)].into(),
            ..Requirement::default()
        })
    }

    #[test]
    fn a_node_has_the_labels_of_all_entries_together() {
        for expression in [
            "linux",
            "linux && docker",
            "!windows",
            "windows||docker",
            "gpu->x",
        ] {
            assert_eq!(asks(expression), [""; 0], "{expression}");
        }
        // an entry alone would do, the node does not
        assert_eq!(asks("linux && !docker"), ["`!docker`"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(asks("linux&&(gpu&&big)"), ["label `gpu`", "label `big`"]);
        assert!(fit(Requirement::default())[0].contains("no label"));
        assert_eq!(fact(UNKNOWN, &["nobody knows"]), ["nobody knows"]);
    }

    #[test]
    fn a_node_that_would_do_stands_for_the_label() {
        assert_eq!(fact(LIKE_OURS, &["docker", "linux"]), [""; 0]);
        assert_eq!(fact(LIKE_OURS, &["linux"]).len(), 1);
        assert_eq!(fact(LIKE_OTHERS, &["linux"]), [""; 0]);
        assert_eq!(fact(LIKE_OTHERS, &["linux", "mac"]), ["label `mac`"]);
    }
}
