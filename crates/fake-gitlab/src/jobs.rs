//! The REST lists of jobs: of a project, with tags, and of a runner, without.

use fake_server::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer;
use crate::auth::Scope;
use crate::params::Params;
use crate::runners::{busy_projects, runner_id};
use crate::world::{GitLab, Job, JobState};

impl GitLab {
    /// `GET /projects/:id/jobs`.
    pub(crate) fn project_jobs(
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
        if !user.can_read_jobs(project) {
            return Err(answer::refusal(403, "Forbidden"));
        }
        let states = self.states(&Params::of(request).list("scope"), "scope")?;
        let listed = |job: &&Job| {
            job.project == project.id && (states.is_empty() || states.contains(&job.state))
        };
        let jobs: Vec<&Job> = self.jobs.values().rev().filter(listed).collect();
        self.job_page(request, &jobs, |job| {
            let mut row = self.job_row(job, now);
            row["tag_list"] = json!(job.tags);
            row["runner"] = json!(job.last_runner().map(|id| json!({ "id": id.0 })));
            row
        })
    }

    /// `GET /runners/:id/jobs`: rows carry no tags, and only jobs of projects the caller may read.
    pub(crate) fn runner_jobs(
        &self,
        id: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi, Scope::ManageRunner])?;
        let runner = self.runner_by(runner_id(id)?)?;
        let reads_some = || busy_projects(self, runner).any(|project| user.can_read_jobs(project));
        if !(user.owns(runner) || reads_some()) {
            return Err(answer::refusal(403, "Forbidden - No access granted"));
        }
        let params = Params::of(request);
        let states = match params.get("status") {
            None => Vec::new(),
            Some(word) => self.states(&[word.to_owned()], "status")?,
        };
        let system_id = params.get("system_id");
        let listed = |job: &&Job| {
            job.last_runner() == Some(runner.id)
                && (states.is_empty() || states.contains(&job.state))
                && system_id.is_none_or(|id| job.system_id.as_deref() == Some(id))
                && self
                    .projects
                    .get(&job.project)
                    .is_some_and(|project| user.can_read_jobs(project))
        };
        let jobs: Vec<&Job> = self.jobs.values().rev().filter(listed).collect();
        self.job_page(request, &jobs, |job| {
            let mut row = self.job_row(job, now);
            let path = self
                .projects
                .get(&job.project)
                .map(|project| project.path.as_str());
            row["project"] = json!({ "id": job.project.0, "path_with_namespace": path });
            row
        })
    }

    fn states(&self, words: &[String], parameter: &str) -> Result<Vec<JobState>, Response> {
        let state = |word: &String| {
            JobState::from_word(word)
                .filter(|state| state.word() == word)
                .filter(|state| !(self.without_canceling && *state == JobState::Canceling))
                .ok_or_else(|| {
                    answer::error(400, &format!("{parameter} does not have a valid value"))
                })
        };
        words.iter().map(state).collect()
    }

    fn job_row(&self, job: &Job, now: Timestamp) -> Value {
        let started = job.runs.last().map(|run| run.started_at);
        let finished = job.runs.last().and_then(|run| run.ended).map(|(at, _)| at);
        let waited = job
            .queued_at
            .map(|at| started.unwrap_or(now).duration_since(at).as_secs_f64());
        json!({
            "id": job.id.0,
            "queued_duration": waited,
            "status": job.state.word(),
            "stage": job.stage,
            "name": job.name,
            "ref": job.ref_name,
            "tag": job.git_tag,
            "created_at": job.created_at,
            "started_at": started,
            "finished_at": finished,
            "failure_reason": job.failure_reason,
            "pipeline": { "id": job.pipeline, "project_id": job.project.0, "ref": job.ref_name },
        })
    }
}
