//! Which jobs of a look are told by name: the oldest of each pool and state, so that a person with one in hand gets an answer
//! and a look of a hundred thousand jobs stays as small as one of a thousand.
//!
//! What stands in a name was written by whoever can push to a repository: it is cut and cleaned here, once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::words::visible;
use model::{Job, JobClass, JobId, NamedJob, NamedState, PoolName, age};

/// Longest name and project, and longest reason; CI servers allow 255 characters for a job.
const MOST_NAME: usize = 120;
const MOST_WHY: usize = 200;

/// Longest id: with a longer one nobody can ask for it anyway.
const MOST_ID: usize = 200;

/// The oldest jobs seen so far.
#[derive(Default)]
pub(crate) struct Named<'a> {
    kept: BTreeMap<NamedState, BTreeMap<Option<PoolName>, Vec<&'a Job>>>,
}

impl<'a> Named<'a> {
    /// Takes in a job where it counts.
    pub(crate) fn add(&mut self, job: &'a Job, class: &JobClass, pool: Option<&PoolName>) {
        if job.id.as_str().len() > MOST_ID {
            return;
        }
        let pools = self.kept.entry(state(class)).or_default();
        let jobs = pools.entry(pool.cloned()).or_default();
        let place = jobs.partition_point(|kept| rank(kept) <= rank(job));
        if place < NamedJob::EACH {
            jobs.insert(place, job);
            jobs.truncate(NamedJob::EACH);
        }
    }

    /// All of them as they are told; each pool gets as many as the others.
    pub(crate) fn told(self, now: Timestamp) -> Vec<NamedJob> {
        let groups: usize = self.kept.values().map(BTreeMap::len).sum();
        let each = (NamedJob::ALL / groups.max(1)).clamp(1, NamedJob::EACH);
        let groups = self.kept.into_iter();
        let groups = groups.flat_map(|(state, pools)| {
            let of = move |(pool, jobs)| (state, pool, jobs);
            pools.into_iter().map(of)
        });
        let told = groups.flat_map(|(state, pool, jobs): (_, Option<PoolName>, Vec<_>)| {
            let jobs = jobs.into_iter().take(each);
            jobs.map(move |job| one(job, state, pool.clone(), now))
        });
        told.take(NamedJob::ALL).collect()
    }
}

/// The oldest first; of whom the server does not say since when, last.
fn rank(job: &Job) -> (bool, Option<Timestamp>, &JobId) {
    (job.queued_at.is_none(), job.queued_at, &job.id)
}

fn state(class: &JobClass) -> NamedState {
    match class {
        JobClass::Runnable => NamedState::Runnable,
        JobClass::Running { .. } => NamedState::Running,
        JobClass::Scheduled { .. } => NamedState::Scheduled,
        JobClass::Blocked { .. } => NamedState::Blocked,
        JobClass::Unrunnable { .. } => NamedState::Unrunnable,
    }
}

fn one(job: &Job, state: NamedState, pool: Option<PoolName>, now: Timestamp) -> NamedJob {
    let why = match &job.class {
        _ if state == NamedState::Running => None,
        JobClass::Blocked { by, .. } => Some(visible(by, MOST_WHY)),
        JobClass::Unrunnable { why } => Some(visible(why, MOST_WHY)),
        JobClass::Scheduled { at } => Some(format!("it is to begin at {at:.0}")),
        JobClass::Runnable | JobClass::Running { .. } => None,
    };
    NamedJob {
        id: job.id.clone(),
        project: visible(&job.project, MOST_NAME),
        name: visible(&job.name, MOST_NAME),
        pool,
        state,
        why: why.filter(|why| !why.is_empty()),
        waited_s: job.queued_at.map(|at| age(at, now).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use model::Requirement;

    use super::*;

    fn job(id: u32, queued_at: Option<i64>, class: JobClass) -> Job {
        Job {
            id: JobId::new(id.to_string()),
            name: "build".to_owned(),
            project: "acme/app".to_owned(),
            requirement: Requirement::default(),
            queued_at: queued_at.map(|at| Timestamp::from_second(at).unwrap()),
            started_at: None,
            expected: None,
            class,
        }
    }

    fn told(jobs: &[(Job, &str)]) -> Vec<NamedJob> {
        let mut named = Named::default();
        for (job, pool) in jobs {
            let pool: Option<PoolName> = pool.parse().ok();
            named.add(job, &job.class, pool.as_ref());
        }
        named.told(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000))
    }

    #[test]
    fn the_oldest_of_each_pool_and_state_are_told_and_no_more() {
        let mut jobs: Vec<(Job, &str)> = (0..50)
            .map(|n| {
                (
                    job(n, Some(900 - i64::from(n)), JobClass::Runnable),
                    "linux",
                )
            })
            .collect();
        jobs.push((job(100, None, JobClass::Runnable), "linux"));
        jobs.push((job(101, None, JobClass::Runnable), "mac"));
        jobs.push((job(102, Some(1), JobClass::Runnable), "no pool"));
        let why = "no compute minutes".to_owned();
        jobs.push((job(103, Some(5), JobClass::Unrunnable { why }), "linux"));
        let told = told(&jobs);
        let in_linux = told.iter().filter(|job| {
            job.state == NamedState::Runnable
                && job.pool.as_ref().is_some_and(|p| p.as_str() == "linux")
        });
        let ids: Vec<&str> = in_linux.map(|job| job.id.as_str()).collect();
        let oldest = ["49", "48", "47", "46", "45", "44", "43", "42", "41", "40"];
        assert_eq!(ids, oldest);
        let find = |id: &str| told.iter().find(|job| job.id.as_str() == id).unwrap();
        assert_eq!(find("49").waited_s, Some(1_000 - 851));
        assert_eq!(find("101").waited_s, None);
        assert_eq!(find("102").pool, None);
        assert_eq!(find("103").why.as_deref(), Some("no compute minutes"));
        assert_eq!(told.len(), 13);
    }

    #[test]
    fn many_pools_share_what_may_be_told_and_each_has_its_oldest() {
        let names: Vec<String> = (0..300).map(|n| format!("pool-{n}")).collect();
        let jobs: Vec<(Job, &str)> = names
            .iter()
            .enumerate()
            .flat_map(|(place, pool)| {
                let id = u32::try_from(place * 20).unwrap();
                (0..20).map(move |n| {
                    let job = job(id + n, Some(i64::from(n)), JobClass::Runnable);
                    (job, pool.as_str())
                })
            })
            .collect();
        let told = told(&jobs);
        assert_eq!(told.len(), 900, "three of each of three hundred");
        for name in &names {
            let oldest = told
                .iter()
                .find(|job| job.pool.as_ref().unwrap().as_str() == name);
            assert_eq!(oldest.unwrap().waited_s, Some(1_000), "{name}");
        }
    }

    #[test]
    fn names_are_cut_and_cannot_move_a_cursor() {
        let mut odd = job(1, None, JobClass::Runnable);
        odd.name = format!("\u{1b}[2J{}", "x".repeat(500));
        odd.project = "a\r\nb\u{202e}".to_owned();
        let mut endless = job(2, None, JobClass::Runnable);
        endless.id = JobId::new("9".repeat(MOST_ID + 1));
        let told = told(&[(odd, "linux"), (endless, "linux")]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].project, "a  b·");
        assert!(told[0].name.starts_with("·[2Jx"), "{}", told[0].name);
        assert_eq!(told[0].name.chars().count(), MOST_NAME + 1);
    }
}
