//! The life of a job, and the side of the API that runners speak.
//!
//! Jobs are handed out by GitLab's own rule, oldest first. A request is split into a beginning,
//! where the pause is checked, and an end, where a job may be handed out: in the real server a long
//! poll lies between the two, and a job can be handed out *after* the runner was paused.

use fake_server::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer;
use crate::params::body;
use crate::world::{
    Ending, GitLab, Job, JobId, JobKind, JobState, Manager, Project, ProjectId, Run, Runner,
    RunnerId, RunnerType,
};

/// A job request that has begun and is not answered yet.
#[derive(Debug, Clone)]
#[must_use = "a request that begins is also answered"]
pub struct JobRequest {
    runner: RunnerId,
    system_id: String,
    paused: bool,
    two_phase: bool,
}

impl JobRequest {
    /// The same request of a runner that accepts a job before it runs it.
    pub fn in_two_phases(mut self) -> Self {
        self.two_phase = true;
        self
    }
}

impl GitLab {
    /// Adds a job that waits for a runner.
    pub fn push_job(
        &mut self,
        project: ProjectId,
        name: &str,
        tags: &[&str],
        ref_name: &str,
        now: Timestamp,
    ) -> JobId {
        let id = JobId(self.jobs.keys().next_back().map_or(1, |last| last.0 + 1));
        let job = Job {
            id,
            project,
            pipeline: id.0,
            stage: "test".to_owned(),
            needs: None,
            name: name.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ref_name: ref_name.to_owned(),
            git_tag: false,
            kind: JobKind::Build,
            state: JobState::Pending,
            created_at: now,
            queued_at: Some(now),
            scheduled_at: None,
            failure_reason: None,
            runs: Vec::new(),
            system_id: None,
            promised: None,
        };
        self.jobs.insert(id, job);
        id
    }

    /// Moves a job that does not run to another state that does not run, such as `Created` or
    /// `Manual`; `false` when there is no such job or it runs.
    pub fn set_waiting(&mut self, id: JobId, state: JobState, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.state.holds_runner() || state.holds_runner() {
            return false;
        }
        job.state = state;
        job.queued_at = (state == JobState::Pending).then_some(now);
        true
    }

    /// Hands a pending job to a runner whatever the matching rule says; `false` when it is not
    /// pending or there is no such runner.
    pub fn start_job(&mut self, runner: RunnerId, id: JobId, now: Timestamp) -> bool {
        if !self.runners.contains_key(&runner) {
            return false;
        }
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.state != JobState::Pending {
            return false;
        }
        job.state = JobState::Running;
        job.promised = None;
        job.runs.push(Run {
            runner,
            started_at: now,
            ended: None,
        });
        true
    }

    /// Ends a job that holds a runner. A canceling job ends as cancelled, whatever is reported.
    /// `false` when no runner holds it.
    pub fn finish_job(&mut self, id: JobId, success: bool, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        let ending = match (job.state, success) {
            (JobState::Canceling, _) => Ending::Canceled,
            (_, true) => Ending::Success,
            (_, false) => Ending::Failed,
        };
        let pipeline = job.pipeline;
        let ended = end(job, ending, now);
        self.advance(pipeline, now);
        ended
    }

    /// Cancels a job: at once when no runner holds it, else it becomes `canceling` until its runner
    /// reports back.
    pub fn cancel_job(&mut self, id: JobId, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        match job.state {
            JobState::Success | JobState::Failed | JobState::Canceled | JobState::Skipped => false,
            JobState::Running if self.without_canceling => end(job, Ending::Canceled, now),
            JobState::Running | JobState::Canceling => {
                job.state = JobState::Canceling;
                true
            }
            JobState::Created
            | JobState::WaitingForResource
            | JobState::Preparing
            | JobState::WaitingForCallback
            | JobState::Pending
            | JobState::Manual
            | JobState::Scheduled => {
                job.state = JobState::Canceled;
                true
            }
        }
    }

    /// Gives a pending job to a runner that has to accept it first: it stays pending and is offered to
    /// nobody else. `false` when it is not free or there is no such runner.
    pub fn promise_job(&mut self, runner: RunnerId, id: JobId) -> bool {
        let free = |job: &&mut Job| job.state == JobState::Pending && job.promised.is_none();
        let job = self.jobs.get_mut(&id).filter(free);
        match job.filter(|_| self.runners.contains_key(&runner)) {
            Some(job) => {
                job.promised = Some(runner);
                true
            }
            None => false,
        }
    }

    /// The machine behind a runner is gone: what it ran was killed, and what it was only promised waits
    /// again. Returns the killed jobs.
    pub fn lose_machine(&mut self, runner: RunnerId, now: Timestamp) -> Vec<JobId> {
        let mut killed = Vec::new();
        for job in self
            .jobs
            .values_mut()
            .filter(|job| job.runner() == Some(runner))
        {
            job.promised = None;
            if end(job, Ending::Killed, now) {
                killed.push(job.id);
            }
        }
        killed
    }

    /// Removes a runner. What it ran is killed: the real server fails those jobs a while later.
    pub fn remove_runner(&mut self, runner: RunnerId, now: Timestamp) -> bool {
        self.lose_machine(runner, now);
        self.runners.remove(&runner).is_some()
    }

    /// A runner asks for a job; the pause is looked at here. The error is the server's answer.
    pub fn begin_job_request(
        &mut self,
        token: &str,
        system_id: &str,
        now: Timestamp,
    ) -> Result<JobRequest, Box<Response>> {
        let runner = self
            .runners
            .values_mut()
            .find(|runner| runner.token == token);
        let Some(runner) = runner else {
            return Err(Box::new(answer::refusal(403, "Forbidden")));
        };
        runner.contacted_at = Some(now);
        match runner
            .managers
            .iter_mut()
            .find(|manager| manager.system_id == system_id)
        {
            Some(manager) => manager.contacted_at = now,
            None => runner.managers.push(Manager {
                system_id: system_id.to_owned(),
                contacted_at: now,
            }),
        }
        let (runner, paused) = (runner.id, runner.paused);
        Ok(JobRequest {
            runner,
            system_id: system_id.to_owned(),
            paused,
            two_phase: false,
        })
    }

    /// Answers a job request that has begun: the oldest job the runner may take, or none. The pause
    /// is *not* looked at again, which is the race a scaler must survive.
    pub fn finish_job_request(&mut self, request: &JobRequest, now: Timestamp) -> Option<JobId> {
        let runner = self.runners.get(&request.runner)?;
        if request.paused {
            return None;
        }
        let mut waiting = self
            .jobs
            .values()
            .filter(|job| job.state == JobState::Pending && job.promised.is_none());
        let id = waiting.find(|job| self.may_take(runner, job))?.id;
        if request.two_phase {
            self.promise_job(request.runner, id);
        } else {
            self.start_job(request.runner, id, now);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.system_id = Some(request.system_id.clone());
        }
        Some(id)
    }

    /// The oldest job this runner may take now, handed to it at once.
    pub fn request_job(&mut self, token: &str, now: Timestamp) -> Option<JobId> {
        let request = self.begin_job_request(token, "s_test", now).ok()?;
        self.finish_job_request(&request, now)
    }

    /// GitLab's matching rule: tags, untagged jobs, protected refs, and whom the runner serves.
    pub fn may_take(&self, runner: &Runner, job: &Job) -> bool {
        let Some(project) = self.projects.get(&job.project) else {
            return false;
        };
        let served = match runner.kind {
            RunnerType::Instance => project.shared_runners,
            RunnerType::Group => runner.group.as_ref().is_some_and(|group| {
                project
                    .path
                    .strip_prefix(group.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            }),
            RunnerType::Project => runner.projects.contains(&job.project),
        };
        let tags = match job.tags.as_slice() {
            [] => runner.run_untagged,
            tags => tags.iter().all(|tag| runner.tags.contains(tag)),
        };
        let protected = !runner.ref_protected || project.protects(&job.ref_name, job.git_tag);
        job.kind == JobKind::Build && served && tags && protected
    }

    /// `POST /jobs/request`.
    pub(crate) fn job_request(
        &mut self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let body = body(request)?;
        let token = text(&body, "token").ok_or_else(|| answer::error(400, "token is missing"))?;
        let system_id = text(&body, "system_id").unwrap_or("s_unknown");
        let mut begun = self
            .begin_job_request(token, system_id, now)
            .map_err(|answer| *answer)?;
        if body["info"]["features"]["two_phase_job_commit"] == json!(true) {
            begun = begun.in_two_phases();
        }
        let taken = self.finish_job_request(&begun, now);
        let Some(job) = taken.and_then(|id| self.jobs.get(&id)) else {
            return Ok(Response::empty(204).with_header("x-gitlab-last-update", "1"));
        };
        Ok(answer::json(
            201,
            &json!({
                "id": job.id.0,
                "token": job.token(),
                "job_info": {
                    "id": job.id.0,
                    "name": job.name,
                    "stage": "test",
                    "project_id": job.project.0,
                    "project_name": self.projects.get(&job.project).map(|project| &project.path),
                },
                "git_info": { "ref": job.ref_name, "ref_type": if job.git_tag { "tag" } else { "branch" } },
                "runner_info": { "timeout": 3600 },
                "variables": [],
                "steps": [],
            }),
        ))
    }

    /// `PUT /jobs/:id`.
    pub(crate) fn job_update(
        &mut self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let body = body(request)?;
        let id = id
            .parse()
            .map(JobId)
            .map_err(|_| answer::error(400, "id is invalid"))?;
        let job = self
            .jobs
            .get(&id)
            .ok_or_else(|| answer::refusal(403, "Forbidden"))?;
        if text(&body, "token") != Some(job.token().as_str()) {
            return Err(answer::refusal(403, "Forbidden"));
        }
        let state = text(&body, "state").unwrap_or("running");
        if let Some(runner) = job.promised {
            match state {
                // still getting ready
                "pending" => {}
                "running" => {
                    self.start_job(runner, id, now);
                }
                _ => return Err(answer::refusal(400, "Bad Request")),
            }
            return Ok(answer::json(200, &Value::Null));
        }
        if !job.state.holds_runner() {
            let refused = answer::refusal(403, "Forbidden  - Job is not running");
            return Err(refused.with_header("job-status", job.state.word()));
        }
        match state {
            "running" => {}
            "success" | "failed" => {
                self.finish_job(id, state == "success", now);
            }
            _ => return Err(answer::error(400, "state does not have a valid value")),
        }
        let word = self.jobs.get(&id).map_or("", |job| job.state.word());
        Ok(answer::json(200, &Value::Null).with_header("job-status", word))
    }

    /// `POST /runners/verify`.
    pub(crate) fn verify(&mut self, request: &Request) -> Result<Response, Response> {
        let body = body(request)?;
        let token = text(&body, "token").ok_or_else(|| answer::error(400, "token is missing"))?;
        let runner = self.runners.values().find(|runner| runner.token == token);
        let runner = runner.ok_or_else(|| answer::refusal(403, "Forbidden"))?;
        let answer = json!({ "id": runner.id.0, "token": runner.token, "token_expires_at": null });
        Ok(answer::json(200, &answer))
    }
}

impl Project {
    /// Whether a branch or git tag is protected; `*` in a rule stands for anything.
    pub fn protects(&self, ref_name: &str, git_tag: bool) -> bool {
        let rules = if git_tag {
            &self.protected_tags
        } else {
            &self.protected_branches
        };
        rules.iter().any(|rule| wildcard(rule, ref_name))
    }
}

fn wildcard(rule: &str, name: &str) -> bool {
    match rule.split_once('*') {
        None => rule == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|name| {
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| wildcard(rest, &name[at..]))
        }),
    }
}

fn text<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    body.get(key).and_then(Value::as_str)
}

fn end(job: &mut Job, ending: Ending, now: Timestamp) -> bool {
    if !job.state.holds_runner() {
        return false;
    }
    (job.state, job.failure_reason) = match ending {
        Ending::Success => (JobState::Success, None),
        Ending::Failed => (JobState::Failed, Some("script_failure")),
        Ending::Canceled => (JobState::Canceled, None),
        Ending::Killed => (JobState::Failed, Some("runner_system_failure")),
    };
    if let Some(run) = job.runs.last_mut() {
        run.ended = Some((now, ending));
    }
    true
}
