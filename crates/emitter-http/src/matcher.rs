//! Who may run what: an executor that offers all labels of the job. Pure.
//!
//! That is the rule of Woodpecker (labels, with `*` for any value), of Buildkite (agent query rules) and of GitHub (labels,
//! whatever their capitals). A server with another rule needs a plugin of its own.

use model::{Executor, Fit, Job};
use ports::Matcher;

use crate::config::Serves;

/// The matcher of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpMatcher {
    entries: Vec<Serves>,
}

impl HttpMatcher {
    /// Matches jobs that fit any of these.
    pub fn new(entries: Vec<Serves>) -> Self {
        Self { entries }
    }
}

impl Matcher for HttpMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let missing = self.entries.iter().map(|entry| entry.missing(job));
        match missing.min_by_key(Vec::len) {
            Some(missing) if missing.is_empty() => Fit::Yes,
            Some(missing) => Fit::No { missing },
            None => Fit::No {
                missing: Vec::new(),
            },
        }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.entries.iter().any(|entry| {
            let offers = |label: &String| offers(&executor.labels, label, entry.ignore_case);
            entry.labels.iter().all(offers) && (!entry.unlabelled || executor.run_untagged)
        })
    }
}

impl Serves {
    /// What this entry lacks for the job.
    fn missing(&self, job: &Job) -> Vec<String> {
        let labels = &job.requirement.labels;
        if labels.is_empty() && !self.unlabelled {
            return vec!["the pool takes no jobs without labels".to_owned()];
        }
        let lacking = labels
            .iter()
            .filter(|label| !offers(&self.labels, label, self.ignore_case));
        lacking.map(|label| format!("label `{label}`")).collect()
    }
}

/// Whether one of the labels stands for the one that is asked for. `*` as the value of either stands for any.
fn offers(labels: &[String], asked: &str, ignore_case: bool) -> bool {
    let same = |one: &str, other: &str| {
        one == other || (ignore_case && one.to_lowercase() == other.to_lowercase())
    };
    labels.iter().any(|label| {
        same(label, asked)
            || match (label.split_once('='), asked.split_once('=')) {
                (Some((key, value)), Some((asked, wanted))) => {
                    same(key, asked) && (value == "*" || wanted == "*")
                }
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    use model::{Cordon, ExecutorId, ExecutorState, JobClass, JobId, Requirement};

    use super::*;

    fn serves(labels: &[&str]) -> Serves {
        Serves {
            labels: labels.iter().map(ToString::to_string).collect(),
            unlabelled: false,
            ignore_case: false,
        }
    }

    fn job(labels: &[&str]) -> Job {
        Job {
            id: JobId::new("1"),
            name: "test".into(),
            project: "acme".into(),
            requirement: Requirement {
                labels: labels.iter().map(ToString::to_string).collect(),
                ..Requirement::default()
            },
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        }
    }

    fn fits(serves: &Serves, labels: &[&str]) -> bool {
        HttpMatcher::new(vec![serves.clone()])
            .fit(&job(labels))
            .is_yes()
    }

    #[test]
    fn all_labels_of_the_job_must_be_offered() {
        let linux = serves(&["linux", "docker", "repo=*", "os=debian"]);
        for (labels, fit) in [
            (&["linux"][..], true),
            (&["linux", "docker"], true),
            (&["linux", "gpu"], false),
            (&["Linux"], false),
            (&["repo=acme/app"], true),
            (&["os=*"], true),
            (&["os=arch"], false),
            (&["repo"], false),
            (&[], false),
        ] {
            assert_eq!(fits(&linux, labels), fit, "{labels:?}");
        }
        let any = Serves {
            unlabelled: true,
            ..linux.clone()
        };
        assert!(fits(&any, &[]));
        let github = Serves {
            ignore_case: true,
            ..linux
        };
        assert!(fits(&github, &["Linux", "DOCKER"]));
    }

    #[test]
    fn what_is_missing_is_told_of_the_nearest_entry() {
        let matcher = HttpMatcher::new(vec![serves(&["mac"]), serves(&["linux"])]);
        let Fit::No { missing } = matcher.fit(&job(&["linux", "gpu"])) else {
            panic!("it fits");
        };
        assert_eq!(missing, ["label `gpu`"]);
        assert!(!HttpMatcher::new(vec![]).fit(&job(&[])).is_yes());
    }

    #[test]
    fn an_executor_is_as_good_as_a_machine_when_it_offers_all() {
        let executor = |labels: &[&str]| Executor {
            id: ExecutorId::new("1"),
            name: "mac-mini".into(),
            fleet: None,
            labels: labels.iter().map(ToString::to_string).collect(),
            run_untagged: false,
            protected_only: false,
            slots: 1,
            state: ExecutorState::Idle { since: None },
            cordon: Cordon::None,
            health: None,
        };
        let matcher = HttpMatcher::new(vec![serves(&["linux", "docker"])]);
        assert!(matcher.is_served_by(&executor(&["docker", "linux", "gpu"])));
        assert!(!matcher.is_served_by(&executor(&["linux"])));
        let any = Serves {
            unlabelled: true,
            ..serves(&["linux"])
        };
        assert!(!HttpMatcher::new(vec![any]).is_served_by(&executor(&["linux"])));
    }
}
