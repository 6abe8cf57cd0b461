//! `GET /api/v1/jobs/…`: what is known of the job that somebody has in hand, by its id, its name or its address.
//!
//! A look names the oldest jobs of each pool and state, and every job that an executor says it runs. What is not among them is
//! not guessed at: the answer says how many were not named, and what names each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Json;
use model::words::{counted, visible};
use model::{EmitterName, ExecutorState, NamedJob, NamedState, PoolName, age};
use ports::EmitterStatus;

use super::look::has_looked;
use super::shapes::{FoundJobs, Job, JobPool, JobState};
use super::{Api, Now, Refusal, show};
use crate::looked::Looked;

/// Jobs in one answer: a name may be that of hundreds.
const MOST_FOUND: usize = 20;

/// Longest text that is looked for; addresses of jobs have up to 300 characters.
const MOST_ASKED: usize = 1_000;

/// Parts of an address that may be the id.
const MOST_PARTS: usize = 30;

pub(super) async fn job(
    State(api): State<Api>,
    Path(asked): Path<String>,
) -> Result<Json<FoundJobs>, Refusal> {
    let now = api.now();
    let looked = has_looked(&now)?;
    Ok(Json(answer(&api, &now, looked, &asked)))
}

fn answer(api: &Api, now: &Now, looked: &Looked, asked: &str) -> FoundJobs {
    let wanted = Wanted::of(&visible(asked, MOST_ASKED));
    // what was read once grows old here too
    let since = age(looked.at, api.time());
    let all = all(looked, since.as_secs());
    let (mut jobs, mut not_known) = wanted.among(all);
    if jobs.is_empty() {
        not_known.extend(emitters(api).map(|emitter| unnamed(looked, &emitter)));
        not_known.push("whether it has ended: nothing is kept of jobs that are over".to_owned());
    }
    if jobs.len() > MOST_FOUND {
        let more = jobs.len() - MOST_FOUND;
        not_known.push(format!("{more} more jobs are called like this"));
        jobs.truncate(MOST_FOUND);
    }
    let pools: BTreeSet<&String> = jobs.iter().filter_map(|job| job.pool.as_ref()).collect();
    let pools = pools.into_iter().filter_map(|pool| {
        let name: PoolName = pool.parse().ok()?;
        Some(JobPool {
            pool: show::pool(api, now, &name)?,
            plan: show::plan(&name, looked),
        })
    });
    FoundJobs {
        pools: pools.collect(),
        replica: show::replica(api, now),
        asked: visible(asked, MOST_ASKED),
        jobs,
        not_known,
    }
}

fn emitters(api: &Api) -> impl Iterator<Item = EmitterName> {
    let known = api.known();
    let pools = known.pools.values();
    let names: BTreeSet<EmitterName> = pools.filter_map(|pool| pool.emitter.clone()).collect();
    names.into_iter()
}

/// What somebody asks for.
struct Wanted {
    /// What may be the id, the likeliest first.
    ids: Vec<String>,
    /// Its name, with or without its project; or the project alone.
    words: String,
    is_address: bool,
}

impl Wanted {
    fn of(asked: &str) -> Self {
        let asked = asked.trim();
        let mut ids = vec![asked.to_owned()];
        // behind the name of the server
        let address = asked.split_once("://").map(|(_, rest)| {
            let server = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            &rest[server..]
        });
        if let Some(rest) = address {
            let parts = rest.rsplit(['/', '?', '#', '&', '=']).take(MOST_PARTS);
            let numbered = parts.filter(|part| part.contains(|c: char| c.is_ascii_digit()));
            ids.extend(numbered.map(str::to_owned));
        } else if let Some((_, id)) = asked.rsplit_once('#') {
            ids.push(id.to_owned());
        }
        // addresses put words of their own between those of the job
        let own =
            |part: &&str| !["", "-", "job", "jobs"].contains(part) && part.parse::<u64>().is_err();
        let words = match address {
            Some(rest) => {
                let path = rest.split(['?', '#']).next().unwrap_or_default();
                let parts: Vec<&str> = path.split('/').filter(own).collect();
                parts.join("/")
            }
            None => asked.to_owned(),
        };
        Wanted {
            ids,
            words: folded(&words),
            is_address: address.is_some(),
        }
    }

    /// Those that are meant, and what that leaves open: first by id, then by name.
    fn among(&self, all: Vec<Job>) -> (Vec<Job>, Vec<String>) {
        for id in &self.ids {
            if all.iter().any(|job| job.id == *id) {
                let found = all.into_iter().filter(|job| job.id == *id);
                return (found.collect(), Vec::new());
            }
        }
        let found: Vec<Job> = all.into_iter().filter(|job| self.names(job)).collect();
        let mut not_known = Vec::new();
        if self.is_address && !found.is_empty() {
            not_known.push(
                "which of these it is: none has an id that stands in the address, and they are called like it".to_owned(),
            );
        }
        (found, not_known)
    }

    fn names(&self, job: &Job) -> bool {
        let project = job.project.as_deref().unwrap_or_default();
        let name = job.name.as_deref().unwrap_or_default();
        let ways = [name, project, &format!("{project}/{name}")].map(folded);
        !self.words.is_empty() && ways.contains(&self.words)
    }
}

/// Without what people write one way or another.
fn folded(text: &str) -> String {
    let words = text.split(|c: char| c == '/' || c.is_whitespace());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join(" ")
}

/// Every job that is known by its id, each once; who has waited longest first.
fn all(looked: &Looked, since: u64) -> Vec<Job> {
    let mut found = Vec::new();
    for (emitter, status) in &looked.emitters {
        let mut known = Known {
            emitter,
            seen: status.last_good.map(|good| good.as_secs() + since),
            jobs: BTreeMap::new(),
        };
        known.add_named(status);
        known.add_unmatched(status);
        known.add_running(looked);
        found.extend(known.jobs.into_values());
    }
    found.sort_by_key(|job| Reverse(job.waited_seconds));
    found
}

/// The jobs of one emitter, by id.
struct Known<'a> {
    emitter: &'a EmitterName,
    /// Age of the last good look, in seconds.
    seen: Option<u64>,
    jobs: BTreeMap<String, Job>,
}

impl Known<'_> {
    fn job(&mut self, id: &str) -> &mut Job {
        let nameless = || nameless(self.emitter, self.seen, id);
        self.jobs.entry(id.to_owned()).or_insert_with(nameless)
    }

    fn add_named(&mut self, status: &EmitterStatus) {
        let seen = self.seen.unwrap_or(0);
        for named in &status.named {
            let job = self.job(named.id.as_str());
            job.state = match named.state {
                NamedState::Runnable if named.pool.is_none() => JobState::Unmatched,
                NamedState::Runnable => JobState::Runnable,
                NamedState::Running => JobState::Running,
                NamedState::Scheduled => JobState::Scheduled,
                NamedState::Blocked => JobState::Blocked,
                NamedState::Unrunnable => JobState::Unrunnable,
            };
            job.name = Some(named.name.clone());
            job.project = Some(named.project.clone());
            job.why.clone_from(&named.why);
            job.pool = named.pool.as_ref().map(ToString::to_string);
            let waits = named.waited_s.filter(|_| job.state != JobState::Running);
            job.waited_seconds = waits.map(|waited| waited.saturating_add(seen));
        }
    }

    /// Jobs that no pool takes are called `<project> <name> #<id>`.
    fn add_unmatched(&mut self, status: &EmitterStatus) {
        for unmatched in &status.unmatched {
            let whole = unmatched.job.as_str();
            let (name, id) = whole.rsplit_once(" #").unwrap_or((whole, whole));
            let job = self.job(id);
            if job.name.is_none() {
                job.name = Some(visible(name, MOST_ASKED));
            }
            job.state = JobState::Unmatched;
            job.nearest = unmatched.nearest.as_ref().map(ToString::to_string);
            job.missing.clone_from(&unmatched.missing);
        }
    }

    /// What executors say that they run: the newest word on it.
    fn add_running(&mut self, looked: &Looked) {
        for (pool, record) in &looked.pools {
            let workload = record.seen.seen.workload.any();
            let workload = workload.filter(|it| it.emitter == *self.emitter);
            for executor in workload.iter().flat_map(|it| &it.executors) {
                let ExecutorState::Busy { jobs } = &executor.state else {
                    continue;
                };
                for id in jobs {
                    let job = self.job(id.as_str());
                    job.state = JobState::Running;
                    job.pool = Some(pool.to_string());
                    job.executor = Some(executor.name.clone());
                    (job.why, job.waited_seconds) = (None, None);
                }
            }
        }
    }
}

/// A job of which only the id is known yet.
fn nameless(emitter: &EmitterName, seen: Option<u64>, id: &str) -> Job {
    Job {
        id: id.to_owned(),
        name: None,
        project: None,
        emitter: emitter.to_string(),
        state: JobState::Runnable,
        why: None,
        pool: None,
        nearest: None,
        missing: Vec::new(),
        executor: None,
        waited_seconds: None,
        seen_seconds_ago: seen,
    }
}

/// What may hide a job that is not found.
fn unnamed(looked: &Looked, emitter: &EmitterName) -> String {
    let Some(status) = looked
        .emitters
        .get(emitter)
        .filter(|it| it.last_good.is_some())
    else {
        return format!("whether it is one of {emitter}: that was not heard yet");
    };
    let pools = looked.pools.values();
    let workloads = pools.filter_map(|pool| pool.seen.seen.workload.any());
    let demands = workloads
        .filter(|it| it.emitter == *emitter)
        .map(|it| &it.demand);
    let in_pools: u32 = demands
        .map(|it| it.runnable + it.running + it.scheduled + it.blocked + it.unrunnable)
        .sum();
    let all = in_pools as usize + status.unmatched_total as usize;
    let mut said = match all.saturating_sub(status.named.len()) {
        0 => format!("whether {emitter} lists it by now: it did not at the last look"),
        unnamed => format!(
            "whether it is one of {} of {emitter}, counted and not named (the {} oldest of each pool and state are): `parmanu probe {emitter}` names each with its pool and why",
            counted(unnamed, "job"),
            NamedJob::EACH
        ),
    };
    if let Some(failure) = &status.failure {
        said.push_str(&format!("; the last look failed: {}", failure.why));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, project: &str, name: &str) -> Job {
        Job {
            project: Some(project.to_owned()),
            name: Some(name.to_owned()),
            ..nameless(&"ci".parse().unwrap(), Some(3), id)
        }
    }

    /// The ids that are found, and whether something is left open.
    fn found(asked: &str) -> (Vec<String>, bool) {
        let all = vec![
            job("4711", "acme/app", "build"),
            job("4712", "acme/app", "unit test"),
            job("12", "tools", "4711"),
            job("99", "folder/site", "deploy"),
        ];
        let (jobs, open) = Wanted::of(asked).among(all);
        (
            jobs.into_iter().map(|job| job.id).collect(),
            !open.is_empty(),
        )
    }

    #[test]
    fn a_job_is_found_by_what_a_person_has_in_hand() {
        for (asked, ids) in [
            ("4711", vec!["4711"]),
            (" #4712 ", vec!["4712"]),
            ("acme/app unit test #4712", vec!["4712"]),
            ("Build", vec!["4711"]),
            ("acme/app/unit  test", vec!["4712"]),
            ("acme/app", vec!["4711", "4712"]),
            (
                "https://gitlab.example.com/acme/app/-/jobs/4712",
                vec!["4712"],
            ),
            (
                "https://gitlab.example.com/acme/app/-/jobs/4712?tab=log#L3",
                vec!["4712"],
            ),
            (
                "https://tc.example.com/viewLog.html?buildId=99&tab=log",
                vec!["99"],
            ),
            ("http://localhost:8010/#/buildrequests/12", vec!["12"]),
            ("https://ci.example.com:4711/", vec![]),
            ("nobody", vec![]),
            ("", vec![]),
            ("https://", vec![]),
        ] {
            assert_eq!(found(asked).0, ids, "{asked}");
        }
    }

    #[test]
    fn an_address_without_the_id_is_taken_for_its_name_and_says_so() {
        let jenkins = "https://ci.example.com/job/folder/job/site/7/";
        assert_eq!(found(jenkins), (vec!["99".to_owned()], true));
        assert_eq!(found("4711"), (vec!["4711".to_owned()], false));
    }
}
