//! The REST life of a runner: made, listed, paused, deleted.

use fake_server::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::answer;
use crate::auth::{Access, Scope, User};
use crate::groups::is_below;
use crate::params::{Params, body};
use crate::world::{GitLab, Project, ProjectId, Runner, RunnerId, RunnerType};

/// A runner not heard for this long is offline (GitLab: `ONLINE_CONTACT_TIMEOUT`).
const ONLINE_FOR: SignedDuration = SignedDuration::from_hours(2);
/// A runner not heard for this long is stale (GitLab: `STALE_TIMEOUT`).
const STALE_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

impl GitLab {
    /// `POST /user/runners`.
    pub(crate) fn create_runner(
        &mut self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::CreateRunner])?;
        let body = body(request)?;
        let (kind, projects, group) = self.new_runner_owner(&user, &body)?;
        let tags = words(&body, "tag_list")?.unwrap_or_default();
        let run_untagged = flag(&body, "run_untagged")?.unwrap_or(true);
        if tags.is_empty() && !run_untagged {
            return Err(invalid(
                "tags_list",
                "can not be empty when runner is not allowed to pick untagged jobs",
            ));
        }
        self.last_runner += 1;
        let id = RunnerId(self.last_runner);
        let runner = Runner {
            id,
            token: format!("glrt-fake-{id}"),
            kind,
            projects,
            group,
            description: text(&body, "description")?.unwrap_or_default(),
            tags,
            run_untagged,
            ref_protected: protected(&body)?.unwrap_or(false),
            locked: flag(&body, "locked")?.unwrap_or(false),
            paused: flag(&body, "paused")?.unwrap_or(false),
            maintenance_note: text(&body, "maintenance_note")?,
            maximum_timeout: body.get("maximum_timeout").and_then(Value::as_u64),
            created_at: now,
            contacted_at: None,
            managers: Vec::new(),
        };
        let answer = json!({ "id": id.0, "token": runner.token, "token_expires_at": null });
        self.runners.insert(id, runner);
        Ok(answer::json(201, &answer))
    }

    fn new_runner_owner(
        &self,
        user: &User,
        body: &Value,
    ) -> Result<(RunnerType, Vec<ProjectId>, Option<String>), Response> {
        let forbidden = || answer::refusal(403, "Forbidden");
        match body.get("runner_type").and_then(Value::as_str) {
            Some("instance_type") if user.admin => Ok((RunnerType::Instance, Vec::new(), None)),
            Some("group_type") => {
                let id = body.get("group_id").and_then(Value::as_u64);
                let id = id.ok_or_else(|| answer::error(400, "group_id is missing"))?;
                let group = self.groups.get(&id);
                let group = group.filter(|group| user.can_in_group(&group.path, Access::Owner));
                let group = group.ok_or_else(forbidden)?;
                Ok((RunnerType::Group, Vec::new(), Some(group.path.clone())))
            }
            Some("project_type") => {
                let id = body
                    .get("project_id")
                    .and_then(Value::as_u64)
                    .map(ProjectId);
                let id = id.ok_or_else(|| answer::error(400, "project_id is missing"))?;
                if !self.projects.contains_key(&id) || !user.can(id, Access::Maintainer) {
                    return Err(forbidden());
                }
                Ok((RunnerType::Project, vec![id], None))
            }
            Some("instance_type") => Err(forbidden()),
            _ => Err(answer::error(
                400,
                "runner_type does not have a valid value",
            )),
        }
    }

    /// `GET /runners/:id`.
    pub(crate) fn show_runner(
        &self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi, Scope::ManageRunner])?;
        let runner = self.runner_by(runner_id(id)?)?;
        if runner.kind != RunnerType::Instance && !user.owns(runner) {
            return Err(answer::refusal(403, "Forbidden"));
        }
        Ok(answer::json(200, &self.runner_details(runner, &user, now)))
    }

    /// `PUT /runners/:id`.
    pub(crate) fn update_runner(
        &mut self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.owner_of(id, request)?;
        let body = body(request)?;
        let mut runner = self.runner_by(runner_id(id)?)?.clone();
        if let Some(paused) = flag(&body, "paused")? {
            runner.paused = paused;
        }
        if let Some(note) = text(&body, "maintenance_note")? {
            runner.maintenance_note = (!note.is_empty()).then_some(note);
        }
        if let Some(description) = text(&body, "description")? {
            runner.description = description;
        }
        if let Some(run_untagged) = flag(&body, "run_untagged")? {
            runner.run_untagged = run_untagged;
        }
        if let Some(locked) = flag(&body, "locked")? {
            runner.locked = locked;
        }
        if let Some(protected) = protected(&body)? {
            runner.ref_protected = protected;
        }
        if let Some(tags) = words(&body, "tag_list")? {
            runner.tags = tags;
        }
        if runner
            .maintenance_note
            .as_ref()
            .is_some_and(|note| note.chars().count() > 1024)
        {
            return Err(invalid(
                "maintenance_note",
                "is too long (maximum is 1024 characters)",
            ));
        }
        let details = self.runner_details(&runner, &user, now);
        self.runners.insert(runner.id, runner);
        Ok(answer::json(200, &details))
    }

    /// `DELETE /runners/:id`.
    pub(crate) fn delete_runner(
        &mut self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        self.owner_of(id, request)?;
        let id = runner_id(id)?;
        if self.runner_by(id)?.projects.len() > 1 {
            let words = "Forbidden - Runner associated with more than one project";
            return Err(answer::refusal(403, words));
        }
        self.remove_runner(id, now);
        Ok(Response::empty(204))
    }

    /// `GET /runners/:id/managers`.
    pub(crate) fn managers(
        &self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        self.owner_of(id, request)?;
        let runner = self.runner_by(runner_id(id)?)?;
        let rows = runner.managers.iter().enumerate().map(|(place, manager)| {
            json!({
                "id": place + 1,
                "system_id": manager.system_id,
                "contacted_at": manager.contacted_at,
                "status": status(Some(manager.contacted_at), manager.contacted_at, now),
                "job_execution_status": self.execution(runner.id, Some(&manager.system_id)),
            })
        });
        self.offset_page(request, rows.collect())
    }

    /// `GET /runners/all`.
    pub(crate) fn all_runners(
        &self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        if !user.admin {
            return Err(answer::refusal(403, "Forbidden"));
        }
        self.runner_list(request, self.runners.values().rev(), now)
    }

    /// `GET /projects/:id/runners`.
    pub(crate) fn project_runners(
        &self,
        key: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        if let Some(moved) = self.moved(key, request) {
            return Ok(moved);
        }
        let project = self.visible_project(&user, key)?;
        if !user.can(project.id, Access::Maintainer) {
            return Err(answer::refusal(403, "Forbidden"));
        }
        self.runner_list(
            request,
            self.runners
                .values()
                .rev()
                .filter(|runner| project.sees(runner)),
            now,
        )
    }

    fn runner_list<'a>(
        &self,
        request: &Request,
        runners: impl Iterator<Item = &'a Runner>,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let params = Params::of(request);
        let listed = runners.filter(|runner| listed(runner, &params, now));
        // the rows of a list carry no tags, as in the real server
        let rows = listed.map(|runner| self.runner_row(runner, now));
        self.offset_page(request, rows.collect())
    }

    /// A caller who may change the runner. Absent is 404, as in the real server.
    fn owner_of(&self, id: &str, request: &Request) -> Result<User, Response> {
        let user = self.caller(request, &[Scope::ManageRunner])?;
        let runner = self.runner_by(runner_id(id)?)?;
        let refused = || answer::refusal(403, "Forbidden - No access granted");
        if user.owns(runner) {
            Ok(user)
        } else {
            Err(refused())
        }
    }

    pub(crate) fn runner_by(&self, id: RunnerId) -> Result<&Runner, Response> {
        self.runners
            .get(&id)
            .ok_or_else(|| answer::refusal(404, "Runner Not Found"))
    }

    /// `active` while a job holds the runner (or one of its machines), else `idle`. A job that is only
    /// promised does not count, as in the real server.
    pub(crate) fn execution(&self, runner: RunnerId, system_id: Option<&str>) -> &'static str {
        let held = || {
            self.busy_with(runner)
                .filter(|job| job.state.holds_runner())
        };
        let on_machine = |id: &str| held().any(|job| job.system_id.as_deref() == Some(id));
        let busy = system_id.map_or_else(|| held().next().is_some(), on_machine);
        if busy { "active" } else { "idle" }
    }

    fn runner_row(&self, runner: &Runner, now: Timestamp) -> Value {
        let status = status(runner.contacted_at, runner.created_at, now);
        json!({
            "id": runner.id.0,
            "description": runner.description,
            "active": !runner.paused,
            "paused": runner.paused,
            "is_shared": runner.kind == RunnerType::Instance,
            "runner_type": kind_word(runner.kind),
            "name": "gitlab-runner",
            "online": status == "online",
            "status": status,
            "created_at": runner.created_at,
            "job_execution_status": self.execution(runner.id, None),
        })
    }

    fn runner_details(&self, runner: &Runner, user: &User, now: Timestamp) -> Value {
        let mut row = self.runner_row(runner, now);
        row["tag_list"] = json!(runner.tags);
        row["run_untagged"] = json!(runner.run_untagged);
        row["locked"] = json!(runner.locked);
        row["access_level"] = json!(if runner.ref_protected {
            "ref_protected"
        } else {
            "not_protected"
        });
        row["maximum_timeout"] = json!(runner.maximum_timeout);
        row["contacted_at"] = json!(runner.contacted_at);
        if user.owns(runner) {
            row["maintenance_note"] = json!(runner.maintenance_note);
        }
        row["projects"] = runner
            .projects
            .iter()
            .map(|id| json!({ "id": id.0 }))
            .collect();
        row
    }
}

impl Project {
    /// Whether a runner may serve this project, whatever its tags.
    pub(crate) fn sees(&self, runner: &Runner) -> bool {
        match runner.kind {
            RunnerType::Instance => self.shared_runners,
            RunnerType::Group => runner
                .group
                .as_ref()
                .is_some_and(|group| is_below(&self.path, group)),
            RunnerType::Project => runner.projects.contains(&self.id),
        }
    }
}

/// The projects whose jobs a runner is or was busy with.
pub(crate) fn busy_projects<'a>(
    gitlab: &'a GitLab,
    runner: &'a Runner,
) -> impl Iterator<Item = &'a Project> {
    gitlab
        .projects
        .values()
        .filter(|project| project.sees(runner))
}

pub(crate) fn runner_id(text: &str) -> Result<RunnerId, Response> {
    text.parse()
        .map(RunnerId)
        .map_err(|_| answer::error(400, "id is invalid"))
}

pub(crate) fn status(
    contacted: Option<Timestamp>,
    created: Timestamp,
    now: Timestamp,
) -> &'static str {
    match contacted {
        Some(at) if now.duration_since(at) < ONLINE_FOR => "online",
        Some(at) if now.duration_since(at) < STALE_AFTER => "offline",
        None if now.duration_since(created) < STALE_AFTER => "never_contacted",
        _ => "stale",
    }
}

pub(crate) fn kind_word(kind: RunnerType) -> &'static str {
    match kind {
        RunnerType::Instance => "instance_type",
        RunnerType::Group => "group_type",
        RunnerType::Project => "project_type",
    }
}

fn listed(runner: &Runner, params: &Params, now: Timestamp) -> bool {
    let tags = params.list("tag_list");
    let status = status(runner.contacted_at, runner.created_at, now);
    tags.iter().all(|tag| runner.tags.contains(tag))
        && params
            .get("type")
            .is_none_or(|kind| kind == kind_word(runner.kind))
        && params
            .get("paused")
            .is_none_or(|paused| paused == runner.paused.to_string())
        && params.get("status").is_none_or(|wanted| wanted == status)
}

fn invalid(field: &str, words: &str) -> Response {
    answer::json(400, &json!({ "message": { field: [words] } }))
}

fn bad(field: &str) -> Response {
    answer::error(400, &format!("{field} is invalid"))
}

fn flag(body: &Value, field: &str) -> Result<Option<bool>, Response> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(Value::String(value)) => value.parse().map(Some).map_err(|_| bad(field)),
        Some(Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(bad(field)),
    }
}

fn text(body: &Value, field: &str) -> Result<Option<String>, Response> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(_) => Err(bad(field)),
    }
}

/// A list of tags, as an array or divided by commas.
fn words(body: &Value, field: &str) -> Result<Option<Vec<String>>, Response> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(values)) => {
            let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
            texts
                .collect::<Option<Vec<_>>>()
                .map(Some)
                .ok_or_else(|| bad(field))
        }
        Some(Value::String(value)) => Ok(Some(
            value
                .split(',')
                .map(str::trim)
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
        )),
        Some(_) => Err(bad(field)),
    }
}

fn protected(body: &Value) -> Result<Option<bool>, Response> {
    match text(body, "access_level")?.as_deref() {
        None => Ok(None),
        Some("ref_protected") => Ok(Some(true)),
        Some("not_protected") => Ok(Some(false)),
        Some(_) => Err(answer::error(
            400,
            "access_level does not have a valid value",
        )),
    }
}
