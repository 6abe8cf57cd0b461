//! Jobs that no further agent may run: licences and the size of an agent pool. Pure.
//!
//! Every authorised agent takes a licence, and an agent pool may hold only so many. A machine beyond that boots, connects
//! and is never given a build. So what waits beyond what all allowed agents could run is told as not runnable, with the
//! limit, and asks for no machine.

use std::collections::BTreeMap;

use model::{Job, JobClass};

use crate::matcher::{CAN, CANARY};

/// How many more builds may run at a time, and what limits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) left: u32,
    pub(crate) why: String,
}

/// What limits the builds of this look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Over all agent pools, if known and limited.
    pub(crate) licences: Option<Allowance>,
    /// By the key of a kind.
    pub(crate) pools: BTreeMap<String, u64>,
    /// By the agent pool that stands behind it.
    pub(crate) rooms: BTreeMap<u64, Allowance>,
}

impl Limits {
    /// Marks what is beyond the limits, oldest jobs first served.
    pub(crate) fn apply<'a>(mut self, jobs: impl Iterator<Item = &'a mut Job>) {
        for job in jobs.filter(|job| job.class == JobClass::Runnable) {
            let facts = &job.requirement.facts;
            let keys = [CAN, CANARY]
                .iter()
                .filter_map(|fact| facts.get(*fact))
                .flatten();
            let pools: Vec<Option<u64>> = keys.map(|key| self.pools.get(key).copied()).collect();
            if pools.is_empty() {
                continue;
            }
            if let Some(why) = self.take(&pools) {
                job.class = JobClass::Unrunnable { why };
            }
        }
    }

    /// Takes a place in one of the pools, or says why there is none.
    fn take(&mut self, pools: &[Option<u64>]) -> Option<String> {
        if let Some(licences) = self.licences.as_ref().filter(|all| all.left == 0) {
            return Some(licences.why.clone());
        }
        let mut full = None;
        for pool in pools {
            match pool.and_then(|pool| self.rooms.get_mut(&pool)) {
                Some(room) if room.left == 0 => full = Some(room.why.clone()),
                Some(room) => {
                    room.left -= 1;
                    full = None;
                    break;
                }
                None => {
                    full = None;
                    break;
                }
            }
        }
        if full.is_none()
            && let Some(licences) = &mut self.licences
        {
            licences.left -= 1;
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use model::{JobId, Requirement};

    use super::*;

    fn jobs(keys: &[&[&str]]) -> Vec<Job> {
        let job = |keys: &&[&str]| Job {
            id: JobId::new("1"),
            name: String::new(),
            project: String::new(),
            requirement: Requirement {
                facts: [(
                    CAN.to_owned(),
                    keys.iter().map(|key| (*key).to_owned()).collect(),
                )]
                .into(),
                ..Requirement::default()
            },
            queued_at: None,
            started_at: None,
            expected: None,
            class: JobClass::Runnable,
        };
        keys.iter().map(job).collect()
    }

    fn allowance(left: u32, why: &str) -> Allowance {
        let why = why.to_owned();
        Allowance { left, why }
    }

    fn check(limits: Limits, keys: &[&[&str]]) -> Vec<String> {
        let mut jobs = jobs(keys);
        limits.apply(jobs.iter_mut());
        let words = jobs.into_iter().map(|job| match job.class {
            JobClass::Unrunnable { why } => why,
            _ => "runs".to_owned(),
        });
        words.collect()
    }

    #[test]
    fn what_is_beyond_a_limit_says_so_and_the_oldest_go_first() {
        let limits = Limits {
            licences: Some(allowance(2, "licences")),
            pools: [("a".to_owned(), 1), ("b".to_owned(), 2)].into(),
            rooms: [(1, allowance(1, "pool 1"))].into(),
        };
        let waiting: [&[&str]; 4] = [&["a"], &["a"], &["a", "b"], &["b"]];
        assert_eq!(
            check(limits, &waiting),
            ["runs", "pool 1", "runs", "licences"]
        );
        assert_eq!(check(Limits::default(), &[&["a"], &[]]), ["runs", "runs"]);
    }
}
