//! The GraphQL endpoint: a walk over the query.
//!
//! The table of types and the check against it are in `schema`. What the caller may not see is an
//! empty connection or `null`, as in the real server, and seldom an error.

use fake_server::{Request, Response};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::auth::{Access, User};
use crate::groups::is_below;
use crate::paging::{cursor, page_before, uncursor};
use crate::params::body;
use crate::query::{self, Field};
use crate::runners::{kind_word, status};
use crate::schema;
use crate::world::{GitLab, Group, Job, JobKind, JobState, Manager, Project, Runner, RunnerType};

/// The complexity a signed-in caller may use in one query.
const MOST_COMPLEX: u64 = 250;
/// The characters one query may have.
const LONGEST_QUERY: usize = 10_000;
const LARGEST_PAGE: usize = 100;

impl GitLab {
    /// `POST /api/graphql`.
    pub(crate) fn graphql(&self, request: &Request, now: Timestamp) -> Result<Response, Response> {
        let user = self.graphql_caller(request)?;
        let body = body(request)?;
        let text = body.get("query").and_then(Value::as_str).unwrap_or("");
        if text.len() > LONGEST_QUERY {
            return Ok(refuse("Query too large"));
        }
        let variables = body
            .get("variables")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let fields = match query::parse(text, &variables) {
            Ok(fields) => fields,
            Err(words) => return Ok(refuse(&words)),
        };
        if let Err(words) = schema::check(&fields, "Query", self.without_canceling) {
            return Ok(refuse(&words));
        }
        let score = schema::complexity(&fields);
        if score > MOST_COMPLEX {
            let words = format!(
                "Query has complexity of {score}, which exceeds max complexity of {MOST_COMPLEX}"
            );
            return Ok(refuse(&words));
        }
        let mut walk = Walk {
            gitlab: self,
            user,
            now,
            score,
            errors: Vec::new(),
            job_lists: 0,
        };
        let data = walk.object(&fields, |walk, field| walk.root(field));
        let mut answer = json!({ "data": data });
        if !walk.errors.is_empty() {
            answer["errors"] = walk
                .errors
                .iter()
                .map(|words| json!({ "message": words }))
                .collect();
        }
        Ok(answer::json(200, &answer))
    }
}

struct Walk<'a> {
    gitlab: &'a GitLab,
    user: Option<User>,
    now: Timestamp,
    score: u64,
    errors: Vec<String>,
    job_lists: u32,
}

impl<'a> Walk<'a> {
    fn object(
        &mut self,
        fields: &[Field],
        mut value: impl FnMut(&mut Self, &Field) -> Value,
    ) -> Value {
        let pairs = fields
            .iter()
            .map(|field| (field.key.clone(), value(self, field)));
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    fn admin(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.admin)
    }

    fn root(&mut self, field: &Field) -> Value {
        let gitlab = self.gitlab;
        match field.name.as_str() {
            "currentUser" => {
                let Some(user) = self.user.clone() else {
                    return Value::Null;
                };
                self.object(&field.fields, |_, field| match field.name.as_str() {
                    "id" => json!(format!("gid://gitlab/User/{}", user.id)),
                    _ => json!(user.username),
                })
            }
            "jobs" => {
                // no right is an EMPTY connection and no error: the trap of this API
                let mine: Vec<_> = if self.admin() {
                    gitlab.jobs.values().rev().collect()
                } else {
                    Vec::new()
                };
                self.jobs(field, &mine)
            }
            "runners" if self.admin() => {
                let all: Vec<_> = gitlab.runners.values().rev().collect();
                self.runners(field, &all)
            }
            "runners" => {
                self.hidden();
                Value::Null
            }
            "runner" => {
                let id = field
                    .text("id")
                    .and_then(|id| id.rsplit('/').next()?.parse().ok());
                let runner = id.and_then(|id| gitlab.runners.get(&crate::world::RunnerId(id)));
                match runner.filter(|runner| self.may_see(runner)) {
                    Some(runner) => self.runner(&field.fields, runner),
                    None => Value::Null,
                }
            }
            "project" => {
                let project = field
                    .text("fullPath")
                    .and_then(|path| gitlab.project_by_path(path));
                let visible = |project: &&Project| {
                    let member =
                        |user: &User| project.public || user.can(project.id, Access::Guest);
                    self.user.as_ref().is_some_and(member)
                };
                match project.filter(visible) {
                    Some(project) => {
                        self.object(&field.fields, |walk, field| walk.project(field, project))
                    }
                    None => Value::Null,
                }
            }
            "group" => {
                let user = self.user.clone();
                let group = field.text("fullPath").zip(user).and_then(|(path, user)| {
                    let group = gitlab.visible_group(&user, path).ok()?;
                    Some((group, user.can_in_group(&group.path, Access::Maintainer)))
                });
                match group {
                    Some((group, may)) => {
                        self.object(&field.fields, |walk, field| walk.group(field, group, may))
                    }
                    None => Value::Null,
                }
            }
            _ => {
                let score = self.score;
                self.object(&field.fields, |_, field| match field.name.as_str() {
                    "score" => json!(score),
                    _ => json!(MOST_COMPLEX),
                })
            }
        }
    }

    fn hidden(&mut self) {
        self.errors.push(
            "The resource that you are attempting to access does not exist or you don't have permission to perform this action"
                .to_owned(),
        );
    }

    fn project(&mut self, field: &Field, project: &'a Project) -> Value {
        let may = |least| {
            self.user
                .as_ref()
                .is_some_and(|user| user.can(project.id, least))
        };
        match field.name.as_str() {
            "id" => json!(format!("gid://gitlab/Project/{}", project.id)),
            "fullPath" => json!(project.path),
            "jobs" => {
                self.job_lists += 1;
                if self.job_lists > 1 {
                    self.errors.push(
                        "\"jobs\" field can be requested only for 1 Project(s) at a time."
                            .to_owned(),
                    );
                    return Value::Null;
                }
                if !(project.public || may(Access::Reporter)) {
                    return self.jobs(field, &[]);
                }
                let jobs = self.gitlab.jobs.values().rev();
                let jobs: Vec<_> = jobs.filter(|job| job.project == project.id).collect();
                self.jobs(field, &jobs)
            }
            "pipelines" => {
                let visible = project.public || may(Access::Reporter);
                let all = self.gitlab.running_pipelines(project.id);
                let all = if visible { all } else { Vec::new() };
                self.pipelines(field, &all)
            }
            _ if may(Access::Maintainer) => {
                let runners = self.gitlab.runners.values().rev();
                let runners: Vec<_> = runners.filter(|runner| project.sees(runner)).collect();
                self.runners(field, &runners)
            }
            _ => {
                self.hidden();
                Value::Null
            }
        }
    }

    /// Only running ones can be asked for.
    fn pipelines(&mut self, field: &Field, all: &[u64]) -> Value {
        if field.text("status") != Some("RUNNING") {
            self.errors
                .push("this fake lists running pipelines only".to_owned());
            return Value::Null;
        }
        let shown = &all[..all.len().min(page_size(field))];
        let more = shown.len() < all.len();
        let gitlab = self.gitlab;
        self.connection(&field.fields, more, None, |walk, fields| {
            let nodes = shown.iter().map(|id| {
                walk.object(fields, |walk, field| match field.name.as_str() {
                    "id" => json!(format!("gid://gitlab/Ci::Pipeline/{id}")),
                    "ref" => json!("main"),
                    "stages" => {
                        let stages = gitlab.stages(*id);
                        walk.names(field, &stages)
                    }
                    _ => {
                        let jobs = gitlab.jobs.values().rev();
                        let jobs: Vec<_> = jobs.filter(|job| job.pipeline == *id).collect();
                        walk.jobs(field, &jobs)
                    }
                })
            });
            nodes.collect()
        })
    }

    /// A connection whose rows have nothing but a name.
    fn names(&mut self, field: &Field, names: &[&str]) -> Value {
        let shown = &names[..names.len().min(page_size(field))];
        let more = shown.len() < names.len();
        self.connection(&field.fields, more, None, |walk, fields| {
            let nodes = shown
                .iter()
                .map(|name| walk.object(fields, |_, _| json!(name)));
            nodes.collect()
        })
    }

    /// A group, with the runners of it and of all that lies below it.
    fn group(&mut self, field: &Field, group: &'a Group, may: bool) -> Value {
        match field.name.as_str() {
            "id" => json!(format!("gid://gitlab/Group/{}", group.id)),
            "fullPath" => json!(group.path),
            _ if may => {
                let gitlab = self.gitlab;
                let below = |path: &str| path == group.path || is_below(path, &group.path);
                let in_projects = |runner: &Runner| {
                    let mut projects = runner.projects.iter();
                    projects.any(|id| {
                        let project = gitlab.projects.get(id);
                        project.is_some_and(|project| below(&project.path))
                    })
                };
                let listed = |runner: &&Runner| match runner.kind {
                    RunnerType::Instance => false,
                    RunnerType::Group => runner.group.as_deref().is_some_and(below),
                    RunnerType::Project => in_projects(runner),
                };
                let runners = gitlab.runners.values().rev();
                let runners: Vec<_> = runners.filter(listed).collect();
                self.runners(field, &runners)
            }
            _ => {
                self.hidden();
                Value::Null
            }
        }
    }

    fn jobs(&mut self, field: &Field, jobs: &[&'a Job]) -> Value {
        let states = states(field);
        let listed = |job: &&&Job| {
            states
                .as_ref()
                .is_none_or(|states| states.contains(&job.state))
        };
        let jobs: Vec<&Job> = jobs.iter().filter(listed).copied().collect();
        let size = page_size(field);
        let before = field.text("after").and_then(uncursor);
        if field.text("after").is_some() && before.is_none() {
            self.errors.push("Please provide a valid cursor".to_owned());
            return Value::Null;
        }
        let (shown, more) = page_before(&jobs, before, size);
        let end = shown.last().map(|job| cursor(job.id));
        self.connection(&field.fields, more, end.as_deref(), |walk, fields| {
            shown
                .iter()
                .map(|job| walk.object(fields, |walk, field| walk.job(field, job)))
                .collect()
        })
    }

    fn runners(&mut self, field: &Field, runners: &[&'a Runner]) -> Value {
        let tags = field.words("tagList").unwrap_or_default();
        let offset: usize = field
            .text("after")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let now = self.now;
        let listed = |runner: &&&Runner| {
            let state = status(runner.contacted_at, runner.created_at, now);
            tags.iter().all(|tag| runner.tags.contains(tag))
                && field
                    .text("type")
                    .is_none_or(|kind| kind.eq_ignore_ascii_case(kind_word(runner.kind)))
                && field
                    .text("status")
                    .is_none_or(|wanted| wanted.eq_ignore_ascii_case(state))
                && field
                    .text("search")
                    .is_none_or(|text| runner.description.contains(text))
        };
        let all: Vec<&Runner> = runners.iter().filter(listed).copied().collect();
        let size = page_size(field);
        let more = all.len() > offset + size;
        let end = Some((offset + size).to_string());
        self.connection(&field.fields, more, end.as_deref(), |walk, fields| {
            all.iter()
                .skip(offset)
                .take(size)
                .map(|runner| walk.runner(fields, runner))
                .collect()
        })
    }

    fn connection(
        &mut self,
        fields: &[Field],
        more: bool,
        end: Option<&str>,
        nodes: impl Fn(&mut Self, &[Field]) -> Vec<Value>,
    ) -> Value {
        self.object(fields, |walk, field| match field.name.as_str() {
            "nodes" => Value::Array(nodes(walk, &field.fields)),
            _ => walk.object(&field.fields, |_, field| match field.name.as_str() {
                "hasNextPage" => json!(more),
                _ => json!(end),
            }),
        })
    }

    fn job(&mut self, field: &Field, job: &'a Job) -> Value {
        let gitlab = self.gitlab;
        let run = job.runs.last();
        match field.name.as_str() {
            "id" if job.kind == JobKind::Bridge => {
                json!(format!("gid://gitlab/Ci::Bridge/{}", job.id))
            }
            "id" => json!(format!("gid://gitlab/Ci::Build/{}", job.id)),
            "name" => json!(job.name),
            "status" => json!(job.state.word().to_uppercase()),
            "stuck" => json!(gitlab.is_stuck(job, self.now)),
            "tags" if job.kind == JobKind::Bridge => Value::Null,
            "tags" => json!(job.tags),
            "kind" => json!(if job.kind == JobKind::Bridge {
                "BRIDGE"
            } else {
                "BUILD"
            }),
            "createdAt" => json!(job.created_at),
            "queuedAt" => json!(job.queued_at),
            "startedAt" => json!(run.map(|run| run.started_at)),
            "finishedAt" => json!(run.and_then(|run| run.ended).map(|(at, _)| at)),
            "scheduledAt" => json!(job.scheduled_at),
            "refName" => json!(job.ref_name),
            "runner" => {
                let runner = job.last_runner().and_then(|id| gitlab.runners.get(&id));
                match runner.filter(|runner| self.may_see(runner)) {
                    Some(runner) => self.runner(&field.fields, runner),
                    None => Value::Null,
                }
            }
            "runnerManager" => match &job.system_id {
                Some(id) => self.object(&field.fields, |_, field| match field.name.as_str() {
                    "systemId" => json!(id),
                    _ => Value::Null,
                }),
                None => Value::Null,
            },
            "pipeline" => self.object(&field.fields, |_, field| match field.name.as_str() {
                "id" => json!(format!("gid://gitlab/Ci::Pipeline/{}", job.pipeline)),
                _ => json!(job.ref_name),
            }),
            "project" => match gitlab.projects.get(&job.project) {
                Some(project) => {
                    self.object(&field.fields, |walk, field| walk.project(field, project))
                }
                None => Value::Null,
            },
            "schedulingType" => json!(if job.needs.is_some() { "dag" } else { "stage" }),
            "needs" => {
                let needs = job.needs.iter().flatten();
                let needs: Vec<&str> = needs.map(String::as_str).collect();
                self.names(field, &needs)
            }
            _ => self.object(&field.fields, |_, _| json!(job.stage)),
        }
    }

    fn may_see(&self, runner: &Runner) -> bool {
        let sees = |user: &User| runner.kind == RunnerType::Instance || user.owns(runner);
        self.user.as_ref().is_some_and(sees)
    }

    fn runner(&mut self, fields: &[Field], runner: &'a Runner) -> Value {
        let (gitlab, now) = (self.gitlab, self.now);
        let owner = self.user.as_ref().is_some_and(|user| user.owns(runner));
        self.object(fields, |walk, field| match field.name.as_str() {
            "id" => json!(format!("gid://gitlab/Ci::Runner/{}", runner.id)),
            "description" => json!(runner.description),
            "runnerType" => json!(kind_word(runner.kind).to_uppercase()),
            "status" => json!(status(runner.contacted_at, runner.created_at, now).to_uppercase()),
            "paused" => json!(runner.paused),
            "locked" => json!(runner.locked),
            "runUntagged" => json!(runner.run_untagged),
            "accessLevel" => json!(if runner.ref_protected {
                "REF_PROTECTED"
            } else {
                "NOT_PROTECTED"
            }),
            "tagList" => json!(runner.tags),
            "contactedAt" => json!(runner.contacted_at),
            "createdAt" => json!(runner.created_at),
            "jobExecutionStatus" => json!(gitlab.execution(runner.id, None).to_uppercase()),
            "jobCount" => {
                let states = states(field);
                let taken = |job: &&Job| job.last_runner() == Some(runner.id);
                let jobs = gitlab.jobs.values().filter(taken);
                json!(
                    jobs.filter(|job| states
                        .as_ref()
                        .is_none_or(|states| states.contains(&job.state)))
                        .count()
                )
            }
            "maintenanceNote" if owner => json!(runner.maintenance_note),
            "jobs" => {
                walk.job_lists += 1;
                if walk.job_lists > 1 {
                    walk.errors.push(
                        "\"jobs\" field can be requested only for 1 CiRunner(s) at a time."
                            .to_owned(),
                    );
                    return Value::Null;
                }
                let jobs = gitlab.jobs.values().rev();
                let jobs = jobs.filter(|job| job.last_runner() == Some(runner.id));
                walk.jobs(field, &jobs.collect::<Vec<_>>())
            }
            "managers" => walk.connection(&field.fields, false, None, |walk, fields| {
                runner
                    .managers
                    .iter()
                    .map(|manager| walk.manager(fields, runner, manager))
                    .collect()
            }),
            _ => Value::Null,
        })
    }

    fn manager(&mut self, fields: &[Field], runner: &Runner, manager: &Manager) -> Value {
        let (gitlab, now) = (self.gitlab, self.now);
        self.object(fields, |_, field| match field.name.as_str() {
            "id" => json!(format!(
                "gid://gitlab/Ci::RunnerManager/{}",
                manager.system_id
            )),
            "systemId" => json!(manager.system_id),
            "status" => {
                json!(status(Some(manager.contacted_at), manager.contacted_at, now).to_uppercase())
            }
            "contactedAt" => json!(manager.contacted_at),
            _ => json!(
                gitlab
                    .execution(runner.id, Some(&manager.system_id))
                    .to_uppercase()
            ),
        })
    }
}

impl GitLab {
    /// A pending job that no online runner could take.
    fn is_stuck(&self, job: &Job, now: Timestamp) -> bool {
        let online = |runner: &&Runner| {
            !runner.paused && status(runner.contacted_at, runner.created_at, now) == "online"
        };
        job.state == JobState::Pending
            && !self
                .runners
                .values()
                .filter(online)
                .any(|runner| self.may_take(runner, job))
    }
}

fn states(field: &Field) -> Option<Vec<JobState>> {
    let words = field.words("statuses")?;
    Some(
        words
            .iter()
            .filter_map(|word| JobState::from_word(word))
            .collect(),
    )
}

fn page_size(field: &Field) -> usize {
    let first = field
        .number("first")
        .and_then(|first| usize::try_from(first).ok());
    first.unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE)
}

fn refuse(words: &str) -> Response {
    answer::json(200, &json!({ "errors": [{ "message": words }] }))
}
