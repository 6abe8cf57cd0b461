//! GitLab's own rule of who may run what, for the entries of one pool.
//!
//! A runner may take a job when the job's tags are a subset of the runner's; a job without tags
//! needs a runner that runs untagged jobs; a protected runner takes jobs of protected refs only.
//! Pure. Whether a ref is protected, and which projects a runner serves, is asked elsewhere.

use model::{Executor, Fit, Job};
use ports::Matcher;

use crate::config::Serves;

/// The matcher of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitLabMatcher {
    entries: Vec<Serves>,
}

impl GitLabMatcher {
    /// Matches jobs that fit any of these entries.
    pub fn new(entries: Vec<Serves>) -> Self {
        Self { entries }
    }
}

impl Matcher for GitLabMatcher {
    fn fit(&self, job: &Job) -> Fit {
        let nearest = self
            .entries
            .iter()
            .map(|entry| entry.missing(job))
            .min_by_key(Vec::len);
        match nearest {
            Some(missing) if missing.is_empty() => Fit::Yes,
            Some(missing) => Fit::No { missing },
            None => Fit::No {
                missing: vec!["the pool serves nothing".to_owned()],
            },
        }
    }

    fn is_served_by(&self, executor: &Executor) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.is_offered_by(executor))
    }
}

impl Serves {
    /// What stands in the way of the job, each thing in words.
    pub(crate) fn missing(&self, job: &Job) -> Vec<String> {
        let labels = &job.requirement.labels;
        let lacking = labels.iter().filter(|label| !self.tags.contains(label));
        let mut missing: Vec<String> = lacking.map(|label| format!("tag `{label}`")).collect();
        if labels.is_empty() && !self.run_untagged {
            missing.push("the pool refuses untagged jobs".to_owned());
        }
        // a ref nobody could look up may be protected: better a machine too many than a job forgotten
        if self.protected && job.requirement.protected == Some(false) {
            missing.push("the pool takes jobs of protected refs only".to_owned());
        }
        missing
    }

    /// Whether an executor takes every job that this entry serves.
    pub(crate) fn is_offered_by(&self, executor: &Executor) -> bool {
        self.tags.iter().all(|tag| executor.labels.contains(tag))
            && (executor.run_untagged || !self.run_untagged)
            && (self.protected || !executor.protected_only)
    }
}

#[cfg(test)]
mod tests {
    use model::{Cordon, ExecutorId, ExecutorState, JobClass, JobId, Requirement};

    use super::*;

    fn entry(tags: &[&str], run_untagged: bool, protected: bool) -> Serves {
        Serves {
            tags: words(tags),
            run_untagged,
            protected,
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn job(tags: &[&str], protected: Option<bool>) -> Job {
        Job {
            id: JobId::new("1"),
            name: "build".to_owned(),
            project: "acme/app".to_owned(),
            requirement: Requirement {
                labels: words(tags),
                protected,
                ..Requirement::default()
            },
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        }
    }

    #[track_caller]
    fn check(entries: &[Serves], job: &Job, missing: &[&str]) {
        let fit = GitLabMatcher::new(entries.to_vec()).fit(job);
        match fit {
            Fit::Yes => assert!(missing.is_empty(), "it fits"),
            Fit::No { missing: found } => assert_eq!(found, missing),
        }
    }

    #[test]
    fn the_tags_of_a_job_are_a_subset_of_the_pools() {
        let linux = [entry(&["linux", "docker"], false, false)];
        check(&linux, &job(&["linux"], None), &[]);
        check(&linux, &job(&["docker", "linux"], None), &[]);
        check(&linux, &job(&["linux", "gpu"], None), &["tag `gpu`"]);
        check(&linux, &job(&["Linux"], None), &["tag `Linux`"]);
        check(&linux, &job(&[], None), &["the pool refuses untagged jobs"]);
        check(&[entry(&["linux"], true, false)], &job(&[], None), &[]);
        check(&[], &job(&[], None), &["the pool serves nothing"]);
    }

    #[test]
    fn a_pool_without_tags_takes_untagged_jobs_only() {
        let any = [entry(&[], true, false)];
        check(&any, &job(&[], None), &[]);
        check(&any, &job(&["linux"], None), &["tag `linux`"]);
    }

    #[test]
    fn a_protected_pool_takes_what_is_protected_or_may_be() {
        let safe = [entry(&["linux"], false, true)];
        check(&safe, &job(&["linux"], Some(true)), &[]);
        check(&safe, &job(&["linux"], None), &[]);
        let words = ["the pool takes jobs of protected refs only"];
        check(&safe, &job(&["linux"], Some(false)), &words);
    }

    #[test]
    fn the_nearest_entry_says_what_is_missing() {
        let entries = [
            entry(&["windows"], false, false),
            entry(&["linux"], false, false),
        ];
        check(&entries, &job(&["linux", "gpu"], None), &["tag `gpu`"]);
    }

    #[test]
    fn a_foreign_runner_counts_only_when_it_takes_every_job_of_an_entry() {
        let runner = |tags: &[&str], run_untagged, protected_only| Executor {
            id: ExecutorId::new("1"),
            name: "static".to_owned(),
            fleet: None,
            labels: words(tags),
            run_untagged,
            protected_only,
            health: None,
            slots: 1,
            state: ExecutorState::Idle { since: None },
            cordon: Cordon::None,
        };
        let matcher = GitLabMatcher::new(vec![entry(&["linux", "docker"], true, false)]);
        assert!(matcher.is_served_by(&runner(&["docker", "linux", "fast"], true, false)));
        assert!(!matcher.is_served_by(&runner(&["linux"], true, false)));
        assert!(!matcher.is_served_by(&runner(&["linux", "docker"], false, false)));
        assert!(!matcher.is_served_by(&runner(&["linux", "docker"], true, true)));
    }
}
