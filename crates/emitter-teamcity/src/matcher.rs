//! Who may run what, as the server said. Pure.
//!
//! TeamCity matches parameters, requirements, links and policies, and much of it is computed on the server only. So nothing
//! is matched here: each look carries the server's answers (see `oracle`) as facts of the job, and the matcher of a pool
//! reads what was said about its own kind of agents.

use model::{Executor, Fit, Job};
use ports::Matcher;

use crate::config::Serves;

/// Fact: the build type.
pub(crate) const TYPE: &str = "build-type";
/// Fact: kinds of agents that the server called compatible.
pub(crate) const CAN: &str = "can";
/// Fact: kinds of agents that the server called incompatible.
pub(crate) const CANNOT: &str = "cannot";
/// Fact: kinds whose agent pool is not linked to the project.
pub(crate) const UNLINKED: &str = "unlinked";
/// Fact: kinds of which no agent is known, and this job brings the first.
pub(crate) const CANARY: &str = "canary";
/// Fact: kinds of which no agent is known, and another job brings the first.
pub(crate) const AWAITS: &str = "awaits-canary";

/// A label of somebody else's agent that runs whatever agents of this kind run.
pub(crate) fn as_good_as(key: &str) -> String {
    format!("as-good-as {key}")
}

/// The matcher of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamCityMatcher {
    entries: Vec<Serves>,
}

impl TeamCityMatcher {
    /// Matches the builds that the server would give to agents of these kinds.
    pub fn new(entries: Vec<Serves>) -> Self {
        Self { entries }
    }
}

impl Matcher for TeamCityMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let facts = &job.requirement.facts;
        let says = |fact: &str, key: &str| {
            let keys = facts.get(fact);
            keys.is_some_and(|keys| keys.iter().any(|said| said == key))
        };
        let of_type = facts.get(TYPE).and_then(|names| names.first());
        let of_type = of_type.map_or("this build", String::as_str);
        let mut missing = Vec::new();
        for entry in &self.entries {
            let (key, pool) = (entry.key(), &entry.agent_pool);
            if says(CAN, &key) || says(CANARY, &key) {
                return Fit::Yes;
            }
            missing.push(if says(UNLINKED, &key) {
                format!(
                    "a link of project {} to agent pool `{pool}` in TeamCity",
                    job.project
                )
            } else if says(CANNOT, &key) {
                format!(
                    "agents that TeamCity calls compatible with {of_type}: those of agent pool `{pool}` are not"
                )
            } else if says(AWAITS, &key) {
                format!(
                    "the first agent of agent pool `{pool}`, which is started for another build: TeamCity is asked about {of_type} then"
                )
            } else {
                format!("TeamCity's answer whether agents of agent pool `{pool}` can run {of_type}")
            });
        }
        Fit::No { missing }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.entries
            .iter()
            .any(|entry| executor.labels.contains(&as_good_as(&entry.key())))
    }
}

#[cfg(test)]
mod tests {
    use model::{JobClass, JobId, Requirement};

    use super::*;

    fn fit(fact: &str) -> Fit {
        let serves = Serves {
            agent_pool: "Linux".to_owned(),
            prototype: None,
        };
        let facts = [
            (TYPE.to_owned(), vec!["App_Build".to_owned()]),
            (fact.to_owned(), vec!["Mac".to_owned(), serves.key()]),
        ];
        let job = Job {
            id: JobId::new("1"),
            name: "Build".to_owned(),
            project: "App".to_owned(),
            requirement: Requirement {
                facts: facts.into(),
                ..Requirement::default()
            },
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        };
        TeamCityMatcher::new(vec![serves]).fit(&job)
    }

    #[test]
    fn the_servers_answer_about_this_kind_decides_and_the_lack_is_named() {
        for fact in [CAN, CANARY] {
            assert!(fit(fact).is_yes());
        }
        for (fact, words) in [
            (CANNOT, "compatible with App_Build"),
            (UNLINKED, "link of project App to agent pool `Linux`"),
            (AWAITS, "started for another build"),
            ("nothing", "TeamCity's answer"),
        ] {
            let Fit::No { missing } = fit(fact) else {
                panic!("{fact}");
            };
            assert!(
                missing.len() == 1 && missing[0].contains(words),
                "{missing:?}"
            );
        }
    }
}
