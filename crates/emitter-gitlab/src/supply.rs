//! Which runners stand ready, and, at instance scope, what holds the busy ones.
//!
//! A failure here is a doubt and never an error: the demand was read already, and a look that knows
//! the demand but not the supply can still raise a pool.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use model::ExecutorId;
use ports::EmitterErrorKind;
use serde_json::{Value, json};

use crate::client::Meter;
use crate::config::Serves;
use crate::convert::{self, Page, Runner};
use crate::emitter::{GitLabEmitter, MOST_PAGES, few_at_a_time, refused};
use crate::error::Failure;
use crate::sight::Sight;
use crate::{mark, queries};

/// Busy runners whose jobs are asked by name in one look, one request each. The others' jobs are
/// counted from the list of runners and stay without a name; the numbers are the same.
const MOST_NAMED: usize = 20;

/// Lists of runners by tags in one look, one request each at least. A list of all runners costs as much for 5 000 of them.
const MOST_LISTS: usize = 50;

/// Whose list of runners is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    Instance,
    /// By full path; with the runners of its subgroups and projects.
    Group(&'a str),
    /// By full path.
    Project(&'a str),
}

impl GitLabEmitter {
    /// The runners that matter: those with our fleet's mark, and those as good as a pool's machine.
    pub(crate) async fn runners(&self, sight: &mut Sight, owners: &[Owner<'_>], meter: &Meter) {
        let lists = self.lists();
        let asked = owners
            .iter()
            .flat_map(|owner| lists.iter().map(move |tags| (*owner, tags)));
        let asked: Vec<_> = asked.collect();
        let looks = asked
            .into_iter()
            .map(|(owner, tags)| self.runner_list(owner, tags.as_deref(), meter).boxed());
        let looks = few_at_a_time(looks.collect()).await;
        for (runners, doubts) in looks {
            for runner in runners {
                sight.runners.insert(runner.executor.id.clone(), runner);
            }
            doubts.into_iter().for_each(|doubt| sight.doubt(doubt));
        }
    }

    /// The tags to list runners by: narrow lists instead of one of all runners. `None` is that one, where there would be so
    /// many narrow ones that they cost more than it does.
    fn lists(&self) -> BTreeSet<Option<Vec<String>>> {
        let narrow = self.narrow_lists();
        match narrow.len() > MOST_LISTS {
            true => [None].into(),
            false => narrow.into_iter().map(Some).collect(),
        }
    }

    fn narrow_lists(&self) -> BTreeSet<Vec<String>> {
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
        owner: Owner<'_>,
        tags: Option<&[String]>,
        meter: &Meter,
    ) -> (Vec<Runner>, Vec<String>) {
        let which = tags.map_or_else(String::new, |tags| format!(" with tags {tags:?}"));
        let (mut runners, mut doubts) = (Vec::new(), Vec::new());
        let mut after = Value::Null;
        for _ in 0..MOST_PAGES {
            let page = match self.runner_list_page(owner, tags, &after, meter).await {
                Ok(page) => page,
                Err(failure) => {
                    let whose = match owner {
                        Owner::Instance => String::new(),
                        Owner::Group(path) => format!(" of group {path}"),
                        Owner::Project(path) => format!(" of project {path}"),
                    };
                    doubts.push(format!("runners{whose}{which}: {}", failure.message));
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
        doubts.push(format!("the list of runners{which} does not end"));
        (runners, doubts)
    }

    async fn runner_list_page(
        &self,
        owner: Owner<'_>,
        tags: Option<&[String]>,
        after: &Value,
        meter: &Meter,
    ) -> Result<convert::RunnerPage, Failure> {
        let is_untagged = tags.is_some_and(<[String]>::is_empty);
        let tag_list = tags
            .filter(|tags| !tags.is_empty())
            .map_or(Value::Null, |tags| json!(tags));
        let (data, errors) = match owner {
            Owner::Instance => {
                // a pool without tags is served by untagged runners, and of those by the shared ones
                let kind = if is_untagged {
                    json!("INSTANCE_TYPE")
                } else {
                    Value::Null
                };
                let variables = json!({ "tags": tag_list, "type": kind, "after": after });
                self.ask(queries::runners, &variables, meter).await?
            }
            Owner::Group(path) | Owner::Project(path) => {
                let kind = match owner {
                    Owner::Group(_) => "group",
                    Owner::Instance | Owner::Project(_) => "project",
                };
                let variables = json!({ "path": path, "tags": tag_list, "after": after });
                let query = |holding: &str| queries::runners_of(kind, holding);
                let (mut data, errors) = self.ask(query, &variables, meter).await?;
                let found = data.get_mut(kind).map(Value::take).unwrap_or(Value::Null);
                if found.is_null() && errors.is_empty() {
                    let words = format!(
                        "the {kind} is hidden from the token, or has moved: write its present path"
                    );
                    return Err(Failure::new(EmitterErrorKind::NotFound, words));
                }
                (found, errors)
            }
        };
        let Some(mut page) = convert::runner_page(&data["runners"], &self.fleet) else {
            return Err(refused(
                "the runners (an administrator's token sees those of the instance, a Maintainer's \
                 those of his project or group)",
                &errors,
            ));
        };
        page.doubts.extend(errors);
        Ok(page)
    }

    /// Who holds busy runners of the pools whose jobs were not all seen: one of a quiet project that was not
    /// asked in this look. Its project is asked from now on.
    pub(crate) async fn unseen(&self, sight: &mut Sight, meter: &Meter) {
        if !self.roster().takes_turns() {
            return;
        }
        let asked = sight.projects();
        self.running(sight, meter).await;
        let now = self.clock.boottime();
        let mut roster = self.roster();
        for project in sight.projects().difference(&asked) {
            roster.wake(project, now);
        }
    }

    /// Who holds the busy runners of the pools, where not all of their jobs were seen yet.
    pub(crate) async fn running(&self, sight: &mut Sight, meter: &Meter) {
        let held = sight.held();
        let busy = sight
            .runners
            .values()
            .filter(|runner| runner.holds > held.get(&runner.executor.id).copied().unwrap_or(0));
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
}
