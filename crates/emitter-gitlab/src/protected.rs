//! Whether a job's ref is protected: asked only for pools that take protected refs alone.
//!
//! No list of jobs says it, so the project's rules are read and kept for a few minutes. A ref that
//! could not be looked up stays unknown, which the matcher takes for "may be": a machine too many,
//! and never a job that is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use model::{Job, JobClass};
use serde_json::Value;

use crate::client::{Meter, next_query};
use crate::emitter::{GitLabEmitter, few_at_a_time};
use crate::error::Failure;
use crate::sight::Sight;

/// How long a project's rules are believed. They change by hand, a few times a year; a new rule that
/// is seen five minutes late makes a machine too many or one five minutes late.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Projects looked up in one look, two requests each; the rest follows in the next ones.
const MOST_LOOKUPS: usize = 20;
/// Pages of rules of one project. A project with more than 500 rules stays unknown.
const MOST_PAGES: usize = 5;

/// The rules of one project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rules {
    branches: Vec<String>,
    tags: Vec<String>,
}

/// Rules read lately, by project, with the moment they were read.
#[derive(Debug, Default)]
pub(crate) struct ProtectedRefs(Mutex<BTreeMap<String, (Duration, Rules)>>);

impl ProtectedRefs {
    fn fresh(&self, project: &str, now: Duration) -> Option<Rules> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, rules) = kept.get(project)?;
        (now.saturating_sub(*read_at) < KEPT_FOR).then(|| rules.clone())
    }

    fn keep(&self, project: String, rules: Rules, now: Duration) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (read_at, _)| now.saturating_sub(*read_at) < KEPT_FOR);
        kept.insert(project, (now, rules));
    }
}

impl GitLabEmitter {
    /// Fills in whether the refs of waiting jobs are protected, where a pool wants to know.
    pub(crate) async fn protection(&self, sight: &mut Sight, meter: &Meter) {
        if !self.pools.values().flatten().any(|entry| entry.protected) {
            return;
        }
        let now = self.clock.boottime();
        let asked: BTreeSet<String> = sight
            .jobs_mut()
            .filter(|job| self.wants_protection(job))
            .map(|job| job.project.clone())
            .filter(|project| self.protected_refs.fresh(project, now).is_none())
            .take(MOST_LOOKUPS)
            .collect();
        let looks = asked.into_iter().map(|project| {
            async move {
                let rules = self.rules(&project, meter).await;
                (project, rules)
            }
            .boxed()
        });
        for (project, rules) in few_at_a_time(looks.collect()).await {
            match rules {
                Ok(rules) => self.protected_refs.keep(project, rules, now),
                Err(failure) => {
                    tracing::debug!(emitter = %self.name, project, error = failure.message, "protected refs are unknown");
                }
            }
        }
        for job in sight.jobs_mut().filter(|job| self.wants_protection(job)) {
            let rules = self.protected_refs.fresh(&job.project, now);
            job.requirement.protected = rules.and_then(|rules| rules.protect(job));
        }
    }

    fn wants_protection(&self, job: &Job) -> bool {
        let entries = self.pools.values().flatten();
        job.class == JobClass::Runnable
            && !job.project.is_empty()
            && entries
                .filter(|entry| entry.protected)
                .any(|entry| entry.missing(job).is_empty())
    }

    async fn rules(&self, project: &str, meter: &Meter) -> Result<Rules, Failure> {
        let branches = self
            .rule_names(project, "protected_branches", meter)
            .await?;
        let tags = self.rule_names(project, "protected_tags", meter).await?;
        Ok(Rules { branches, tags })
    }

    async fn rule_names(
        &self,
        project: &str,
        list: &str,
        meter: &Meter,
    ) -> Result<Vec<String>, Failure> {
        let encoded: String = url::form_urlencoded::byte_serialize(project.as_bytes()).collect();
        let place = format!("/projects/{encoded}/{list}");
        let mut names = Vec::new();
        let mut query = "per_page=100".to_owned();
        for _ in 0..MOST_PAGES {
            let answer = self.client.get(&place, &query, meter).await?;
            let body = answer.json()?;
            let found = body.as_array().and_then(|rows| {
                let name = |row: &Value| row.get("name")?.as_str().map(str::to_owned);
                rows.iter().map(name).collect::<Option<Vec<_>>>()
            });
            names.extend(found.ok_or_else(|| Failure::bad_answer("rules without names"))?);
            match next_query(&answer) {
                None => return Ok(names),
                Some(next) => query = next,
            }
        }
        Err(Failure::bad_answer("too many rules"))
    }
}

impl Rules {
    /// `None` when the job does not name its ref. A ref that may be a branch or a git tag is
    /// protected when either rule says so.
    fn protect(&self, job: &Job) -> Option<bool> {
        let facts = &job.requirement.facts;
        let named = |key: &str| facts.get(key).and_then(|names| names.first());
        let any = |rules: &[String], name: &str| rules.iter().any(|rule| wildcard(rule, name));
        if let Some(branch) = named("branch") {
            return Some(any(&self.branches, branch));
        }
        if let Some(tag) = named("git_tag") {
            return Some(any(&self.tags, tag));
        }
        named("ref").map(|name| any(&self.branches, name) || any(&self.tags, name))
    }
}

/// GitLab's rule names: `*` stands for anything, the empty text included.
fn wildcard(rule: &str, name: &str) -> bool {
    let mut parts = rule.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (rule, name, protects) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("*", "", true),
            ("release/*", "release/1.2", true),
            ("release/*", "releases", false),
            ("*-stable", "16-0-stable", true),
            ("*-stable", "stable", false),
            ("v*.*", "v1.2", true),
            ("v*.*", "v1", false),
            ("a*a", "a", false),
            ("*gitlab*", "my/gitlab/x", true),
            ("", "main", false),
        ] {
            assert_eq!(wildcard(rule, name), protects, "{rule} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_made_from_a_rule_is_matched_by_it(parts in prop::collection::vec("[a-c/ä]{0,3}", 1..5), fill in "[a-cö]{0,3}") {
            prop_assert!(wildcard(&parts.join("*"), &parts.join(&fill)));
        }
    }
}
