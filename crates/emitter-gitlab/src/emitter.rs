//! One look at GitLab: demand first, executors second.
//!
//! A job that moves between the two is counted twice, never not at all. A page that failed makes the
//! look partial, with the reason; only a look that brought nothing at all is an error. "Cannot see"
//! is told apart from "nothing queued" in every look, since rights can be taken away at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use model::{EmitterName, ExecutorId, FleetId, PoolName, Snapshot, Timestamp};
use ports::{Clock, Emitter, EmitterError, EmitterErrorKind};
use serde_json::{Value, json};

use crate::client::{Client, Meter};
use crate::config::{Reach, Serves};
use crate::convert::{self, Page, Runner};
use crate::error::Failure;
use crate::sight::Sight;
use crate::{mark, queries};

/// Pages of one list. 100 pages are 10,000 jobs or runners; a list that does not end there is cut
/// and the look is partial, which holds every pool, so a runaway queue cannot eat our memory.
const MOST_PAGES: usize = 100;
/// Requests in flight at one server. GitLab serves a small number of workers; a scaler that takes
/// more of them than this is felt by people.
const PARALLEL: usize = 4;
/// Busy runners whose jobs are asked by name in one look, one request each. The others' jobs are
/// counted from the list of runners and stay without a name; the numbers are the same.
const MOST_NAMED: usize = 20;
/// Answers slower than this are felt by the server; the operator should probe less often.
const SLOW: Duration = Duration::from_secs(2);

/// Probes one GitLab.
pub(crate) struct GitLabEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    pub(crate) reach: Reach,
    pub(crate) pools: BTreeMap<PoolName, Vec<Serves>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
    /// False once the server has refused the word, which came in 17.0.
    pub(crate) knows_canceling: AtomicBool,
}

#[async_trait]
impl Emitter for GitLabEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let taken_at = self.clock.now();
        let began = self.clock.boottime();
        let meter = Meter::default();
        let look = self.look(taken_at, &meter);
        let looked = ports::timeout(self.clock.as_ref(), self.probe_timeout, look).await;
        let took = self.clock.boottime().saturating_sub(began);
        if took > SLOW {
            let elapsed_ms = took.as_millis();
            tracing::warn!(emitter = %self.name, elapsed_ms, "gitlab is slow to answer, probe it less often");
        }
        let sight = looked
            .unwrap_or_else(|| {
                let message = format!(
                    "the probe took more than {:?}: raise `probe.timeout`, or narrow the scope",
                    self.probe_timeout
                );
                Err(Failure::new(EmitterErrorKind::TimedOut, message))
            })
            .map_err(|failure| failure.into_error(&self.name, "look at jobs and runners"))?;
        Ok(sight.into_snapshot(taken_at, meter.cost()))
    }
}

impl GitLabEmitter {
    async fn look(&self, now: Timestamp, meter: &Meter) -> Result<Sight, Failure> {
        let mut sight = Sight::new();
        match &self.reach {
            Reach::Instance => {
                self.pending(&mut sight, meter).await?;
                self.runners(&mut sight, &[None], meter).await;
                self.running(&mut sight, meter).await;
            }
            Reach::Projects(paths) => {
                self.projects(&mut sight, paths, now, meter).await?;
                let owners: Vec<Option<&str>> =
                    paths.iter().map(|path| Some(path.as_str())).collect();
                self.runners(&mut sight, &owners, meter).await;
            }
        }
        Ok(sight)
    }

    /// The waiting jobs of the instance.
    async fn pending(&self, sight: &mut Sight, meter: &Meter) -> Result<(), Failure> {
        let mut after = Value::Null;
        for number in 1..=MOST_PAGES {
            let page = match self.pending_page(&after, meter).await {
                Ok(page) => page,
                Err(failure) if number == 1 => return Err(failure),
                Err(failure) => {
                    sight.doubt(format!(
                        "page {number} of the pending jobs: {}",
                        failure.message
                    ));
                    return Ok(());
                }
            };
            let next = page.next.clone();
            sight.add_page(page);
            match next {
                None => return Ok(()),
                Some(next) if after == json!(next) => {
                    sight.doubt("GitLab gave the same page of pending jobs again");
                    return Ok(());
                }
                Some(next) => after = json!(next),
            }
        }
        sight.doubt(format!(
            "more than {MOST_PAGES} pages of pending jobs; the rest was not read"
        ));
        Ok(())
    }

    async fn pending_page(&self, after: &Value, meter: &Meter) -> Result<Page, Failure> {
        let variables = json!({ "after": after });
        let (data, errors) = self
            .client
            .graphql(&queries::pending(), &variables, meter)
            .await?;
        let Some(mut page) = convert::pending_page(&data["jobs"]) else {
            return Err(refused("the pending jobs", &errors));
        };
        page.doubts
            .extend(errors.iter().map(|words| format!("pending jobs: {words}")));
        let sees_any = data["any"]["nodes"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty());
        if page.jobs.is_empty() && !sees_any {
            self.prove_rights(&data["currentUser"], meter).await?;
        }
        Ok(page)
    }

    /// GitLab answers an empty list to a token that may not see jobs. An instance without any job is
    /// told from that by the one key that only administrators are shown.
    async fn prove_rights(&self, current_user: &Value, meter: &Meter) -> Result<(), Failure> {
        if current_user.is_null() {
            let words = "GitLab does not know the user of the token: make a new one";
            return Err(Failure::new(EmitterErrorKind::Unauthorized, words));
        }
        let user = self.client.get("/user", "", meter).await?.json()?;
        if user["is_admin"].as_bool() == Some(true) {
            return Ok(());
        }
        let words = "the token sees no job at all and is not an administrator's, and GitLab answers \
                     such tokens an empty list: use an administrator's token of scope read_api (and \
                     admin_mode where it is enforced), or `scope: { projects: [...] }`";
        Err(Failure::new(EmitterErrorKind::Forbidden, words))
    }

    /// The jobs of all projects. An error only if none of them could be read.
    async fn projects(
        &self,
        sight: &mut Sight,
        paths: &[String],
        now: Timestamp,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let looks = paths.iter().map(|path| {
            async move {
                let mut own = Vec::new();
                let ended = self.project(path, now, meter, &mut own).await;
                (path, own, ended)
            }
            .boxed()
        });
        let looks = few_at_a_time(looks.collect()).await;
        let mut first = None;
        let mut seen = false;
        for (path, pages, ended) in looks {
            seen |= !pages.is_empty();
            pages.into_iter().for_each(|page| sight.add_page(page));
            if let Err(failure) = ended {
                sight.doubt(format!("jobs of project {path}: {}", failure.message));
                first.get_or_insert(failure);
            }
        }
        match first {
            Some(failure) if !seen => Err(failure),
            _ => Ok(()),
        }
    }

    /// The pages of one project, waiting and running jobs in one list.
    ///
    /// REST and not GraphQL, although its rows are ten times as large: a missing right is a 403 here
    /// and an empty list there; the rows say whether the ref is a branch or a tag, and name the
    /// runner even to a Reporter, who may not read it; and a moved project is a redirect.
    async fn project(
        &self,
        path: &str,
        now: Timestamp,
        meter: &Meter,
        pages: &mut Vec<Page>,
    ) -> Result<(), Failure> {
        let encoded: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
        let place = format!("/projects/{encoded}/jobs");
        let first = |canceling| {
            let more = if canceling { "&scope[]=canceling" } else { "" };
            format!(
                "scope[]=pending&scope[]=running{more}&per_page=100&pagination=keyset&order_by=id"
            )
        };
        let mut query = first(self.knows_canceling.load(Ordering::Relaxed));
        for _ in 0..MOST_PAGES {
            let mut answer = self.client.get(&place, &query, meter).await?;
            if answer.refuses("scope") && query.contains("canceling") {
                self.knows_canceling.store(false, Ordering::Relaxed);
                query = first(false);
                answer = self.client.get(&place, &query, meter).await?;
            }
            let body = answer.json()?;
            let page = convert::project_page(&body, path, now).ok_or_else(|| {
                Failure::bad_answer(format!("{} answered no list of jobs", answer.endpoint))
            })?;
            pages.push(page);
            match answer.next {
                None => return Ok(()),
                Some(next) if next == query => {
                    return Err(Failure::bad_answer("GitLab gave the same page again"));
                }
                Some(next) => query = next,
            }
        }
        Err(Failure::new(
            EmitterErrorKind::TooLarge,
            format!("more than {MOST_PAGES} pages; the rest was not read"),
        ))
    }

    /// The runners that matter: those with our fleet's mark, and those as good as a pool's machine.
    async fn runners(&self, sight: &mut Sight, owners: &[Option<&str>], meter: &Meter) {
        let lists = self.lists();
        let asked = owners
            .iter()
            .flat_map(|owner| lists.iter().map(move |tags| (*owner, tags)));
        let asked: Vec<_> = asked.collect();
        let looks = asked
            .into_iter()
            .map(|(owner, tags)| self.runner_list(owner, tags, meter).boxed());
        let looks = few_at_a_time(looks.collect()).await;
        for (runners, doubts) in looks {
            for runner in runners {
                sight.runners.insert(runner.executor.id.clone(), runner);
            }
            doubts.into_iter().for_each(|doubt| sight.doubt(doubt));
        }
    }

    /// The tags to list runners by: narrow lists instead of one of all runners.
    fn lists(&self) -> BTreeSet<Vec<String>> {
        let entries = self.pools.values().flatten();
        let mut lists: BTreeSet<Vec<String>> = entries
            .map(|entry| {
                let mut tags = entry.tags.clone();
                tags.sort();
                tags
            })
            .collect();
        lists.insert(vec![mark::fleet_tag(&self.fleet)]);
        lists
    }

    async fn runner_list(
        &self,
        owner: Option<&str>,
        tags: &[String],
        meter: &Meter,
    ) -> (Vec<Runner>, Vec<String>) {
        let (mut runners, mut doubts) = (Vec::new(), Vec::new());
        let mut after = Value::Null;
        for _ in 0..MOST_PAGES {
            let page = match self.runner_list_page(owner, tags, &after, meter).await {
                Ok(page) => page,
                Err(failure) => {
                    doubts.push(format!("runners with tags {tags:?}: {}", failure.message));
                    return (runners, doubts);
                }
            };
            runners.extend(page.runners);
            doubts.extend(page.doubts);
            match page.next {
                None => return (runners, doubts),
                Some(next) if after == json!(next) => break,
                Some(next) => after = json!(next),
            }
        }
        doubts.push(format!(
            "the list of runners with tags {tags:?} does not end"
        ));
        (runners, doubts)
    }

    async fn runner_list_page(
        &self,
        owner: Option<&str>,
        tags: &[String],
        after: &Value,
        meter: &Meter,
    ) -> Result<convert::RunnerPage, Failure> {
        let tag_list = if tags.is_empty() {
            Value::Null
        } else {
            json!(tags)
        };
        let (data, errors) = match owner {
            None => {
                // a pool without tags is served by untagged runners, and of those by the shared ones
                let kind = if tags.is_empty() {
                    json!("INSTANCE_TYPE")
                } else {
                    Value::Null
                };
                let variables = json!({ "tags": tag_list, "type": kind, "after": after });
                self.ask(queries::runners, &variables, meter).await?
            }
            Some(path) => {
                let variables = json!({ "path": path, "tags": tag_list, "after": after });
                let (mut data, errors) = self
                    .ask(queries::project_runners, &variables, meter)
                    .await?;
                (data["project"].take(), errors)
            }
        };
        let Some(mut page) = convert::runner_page(&data["runners"], &self.fleet) else {
            return Err(refused(
                "the runners (an administrator's token sees those of the instance, a Maintainer's \
                 those of his project)",
                &errors,
            ));
        };
        page.doubts.extend(errors);
        Ok(page)
    }

    /// Who holds the busy runners of the pools, at instance scope.
    async fn running(&self, sight: &mut Sight, meter: &Meter) {
        let busy = sight.runners.values().filter(|runner| runner.holds > 0);
        let ours = |runner: &Runner| runner.executor.fleet.as_ref() == Some(&self.fleet);
        let mut watched: Vec<(Runner, Option<&Serves>)> = busy
            .map(|runner| (runner.clone(), self.entry_of(runner)))
            .filter(|(runner, entry)| entry.is_some() || ours(runner))
            .collect();
        watched.sort_by_key(|(runner, _)| !ours(runner));
        let unnamed = watched.split_off(watched.len().min(MOST_NAMED));
        let looks = watched.into_iter().map(|(runner, entry)| {
            async move {
                let pages = self.runner_jobs(&runner.executor.id, meter).await;
                (runner, entry, pages)
            }
            .boxed()
        });
        let looks = few_at_a_time(looks.collect()).await;
        for (runner, entry, pages) in looks {
            match pages {
                Ok(pages) => pages.into_iter().for_each(|page| sight.add_page(page)),
                Err(failure) => {
                    sight.doubt(format!(
                        "jobs of runner {}: {}",
                        runner.executor.id, failure.message
                    ));
                    sight.add_unnamed(&runner, entry);
                }
            }
        }
        for (runner, entry) in unnamed {
            sight.add_unnamed(&runner, entry);
        }
    }

    /// The pool entry whose jobs a runner takes.
    fn entry_of(&self, runner: &Runner) -> Option<&Serves> {
        self.pools
            .values()
            .flatten()
            .find(|entry| entry.is_offered_by(&runner.executor))
    }

    async fn runner_jobs(&self, id: &ExecutorId, meter: &Meter) -> Result<Vec<Page>, Failure> {
        let mut pages = Vec::new();
        let mut after = Value::Null;
        for _ in 0..MOST_PAGES {
            let gid = format!("gid://gitlab/Ci::Runner/{id}");
            let variables = json!({ "id": gid, "after": after });
            let (data, errors) = self.ask(queries::runner_jobs, &variables, meter).await?;
            let Some(mut page) = convert::runner_page_jobs(&data["runner"], id) else {
                return Err(refused("the jobs of a runner", &errors));
            };
            page.doubts.extend(errors);
            let next = page.next.clone();
            pages.push(page);
            match next {
                None => return Ok(pages),
                Some(next) if after == json!(next) => break,
                Some(next) => after = json!(next),
            }
        }
        Err(Failure::bad_answer(
            "the list of a runner's jobs does not end",
        ))
    }

    /// Asks with the states in which a job holds its runner; an old server does not know one of them.
    async fn ask(
        &self,
        query: impl Fn(&str) -> String,
        variables: &Value,
        meter: &Meter,
    ) -> Result<(Value, Vec<String>), Failure> {
        if self.knows_canceling.load(Ordering::Relaxed) {
            let answer = self
                .client
                .graphql(&query("RUNNING, CANCELING"), variables, meter)
                .await?;
            if !answer.1.iter().any(|words| words.contains("CANCELING")) {
                return Ok(answer);
            }
            self.knows_canceling.store(false, Ordering::Relaxed);
        }
        self.client
            .graphql(&query("RUNNING"), variables, meter)
            .await
    }
}

/// The failure of a GraphQL answer that lacks what was asked for.
fn refused(what: &str, errors: &[String]) -> Failure {
    match errors.first() {
        None => Failure::bad_answer(format!("GraphQL answered without {what}")),
        Some(words) if words.contains("permission") => {
            let message = format!("the token may not see {what}");
            Failure::new(EmitterErrorKind::Forbidden, message)
        }
        Some(words) => Failure::bad_answer(format!("GraphQL answered without {what}: {words}")),
    }
}

/// Waits for all of them, a few at a time, in order. Boxed, because the compiler cannot yet see that
/// futures which borrow from a closure's argument may be sent.
async fn few_at_a_time<T>(futures: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    futures::stream::iter(futures)
        .buffered(PARALLEL)
        .collect()
        .await
}
