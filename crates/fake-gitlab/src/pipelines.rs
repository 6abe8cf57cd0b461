//! Pipelines: jobs that wait for other jobs, by stage or by need.
//!
//! As far as an autoscaler sees them: no rules, no retries, no manual gates.

use jiff::Timestamp;

use crate::world::{GitLab, Job, JobId, JobState, ProjectId};

/// One job of a pipeline that is pushed.
#[derive(Debug, Clone, Copy)]
pub struct PipelineJob<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its stage.
    pub stage: &'a str,
    /// The runner tags it requires.
    pub tags: &'a [&'a str],
    /// The jobs it needs, by name; `None` for a job that waits for the earlier stages.
    pub needs: Option<&'a [&'a str]>,
}

impl GitLab {
    /// Adds a pipeline on `main`. Jobs that wait for none are pending at once, the others are created.
    pub fn push_pipeline(
        &mut self,
        project: ProjectId,
        jobs: &[PipelineJob<'_>],
        now: Timestamp,
    ) -> Vec<JobId> {
        let ids: Vec<JobId> = jobs
            .iter()
            .map(|job| self.push_job(project, job.name, job.tags, "main", now))
            .collect();
        let Some(first) = ids.first().copied() else {
            return ids;
        };
        for (id, wanted) in ids.iter().zip(jobs) {
            let Some(job) = self.jobs.get_mut(id) else {
                continue;
            };
            job.pipeline = first.0;
            job.stage = wanted.stage.to_owned();
            job.needs = wanted
                .needs
                .map(|needs| needs.iter().map(|name| (*name).to_owned()).collect());
            job.state = JobState::Created;
            job.queued_at = None;
        }
        self.advance(first.0, now);
        ids
    }

    /// The stages of a pipeline, in their order.
    pub(crate) fn stages(&self, pipeline: u64) -> Vec<&str> {
        let mut stages = Vec::new();
        for job in self.jobs.values().filter(|job| job.pipeline == pipeline) {
            if !stages.contains(&job.stage.as_str()) {
                stages.push(job.stage.as_str());
            }
        }
        stages
    }

    /// The pipelines of a project in which a job waits or runs, newest first.
    pub(crate) fn running_pipelines(&self, project: ProjectId) -> Vec<u64> {
        let active = |job: &&Job| {
            job.project == project
                && matches!(
                    job.state,
                    JobState::Pending | JobState::Running | JobState::Canceling
                )
        };
        let jobs = self.jobs.values().filter(active);
        let mut pipelines: Vec<u64> = jobs.map(|job| job.pipeline).collect();
        pipelines.sort_unstable_by(|one, other| other.cmp(one));
        pipelines.dedup();
        pipelines
    }

    /// Created jobs whose turn it is become pending, and those that will never have one are skipped.
    pub(crate) fn advance(&mut self, pipeline: u64, now: Timestamp) {
        let mut waits: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| job.pipeline == pipeline && job.state == JobState::Created)
            .map(|job| job.id)
            .collect();
        // a skipped job may skip others
        while let Some((place, state)) = waits.iter().enumerate().find_map(|(place, id)| {
            let state = self.turn(self.jobs.get(id)?);
            (state != JobState::Created).then_some((place, state))
        }) {
            let id = waits.swap_remove(place);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.state = state;
                job.queued_at = (state == JobState::Pending).then_some(now);
            }
        }
    }

    /// What becomes of a created job now.
    fn turn(&self, job: &Job) -> JobState {
        let stages = self.stages(job.pipeline);
        let place = |stage: &str| stages.iter().position(|known| *known == stage);
        let parents = self.jobs.values().filter(|other| {
            other.pipeline == job.pipeline
                && match &job.needs {
                    Some(names) => names.contains(&other.name),
                    None => place(&other.stage) < place(&job.stage),
                }
        });
        let states: Vec<JobState> = parents.map(|parent| parent.state).collect();
        let failed = [JobState::Failed, JobState::Canceled, JobState::Skipped];
        if states.iter().any(|state| failed.contains(state)) {
            JobState::Skipped
        } else if states.iter().all(|state| *state == JobState::Success) {
            JobState::Pending
        } else {
            JobState::Created
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[&str] = &[];

    fn job<'a>(name: &'a str, stage: &'a str, needs: Option<&'a [&'a str]>) -> PipelineJob<'a> {
        PipelineJob {
            name,
            stage,
            tags: NONE,
            needs,
        }
    }

    fn states(gitlab: &GitLab) -> Vec<&'static str> {
        gitlab.jobs().map(|job| job.state.word()).collect()
    }

    fn world() -> (GitLab, crate::RunnerId, Vec<JobId>) {
        let mut gitlab = GitLab::new();
        let project = gitlab.add_project("acme/app");
        let now = Timestamp::UNIX_EPOCH;
        let user = gitlab.add_user("admin", true);
        gitlab.add_token(user, "t", &[crate::Scope::Api]);
        let mut request =
            crate::Request::new("POST", "/api/v4/user/runners").with_header("private-token", "t");
        request.body = br#"{"runner_type":"instance_type","run_untagged":true}"#.to_vec();
        assert_eq!(gitlab.handle(&request, now).status, 201);
        let jobs = [
            job("compile", "build", None),
            job("lint", "build", None),
            job("unit", "test", Some(&["compile"])),
            job("ship", "deploy", None),
        ];
        let ids = gitlab.push_pipeline(project, &jobs, now);
        let runner = gitlab.runners().next().map(|runner| runner.id);
        (gitlab, runner.unwrap(), ids)
    }

    #[test]
    fn a_job_is_pending_when_what_it_needs_or_every_earlier_stage_is_done() {
        let (mut gitlab, runner, ids) = world();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            states(&gitlab),
            ["pending", "pending", "created", "created"]
        );
        for (id, after) in [
            (0, ["success", "pending", "pending", "created"]),
            (2, ["success", "pending", "success", "created"]),
            (1, ["success", "success", "success", "pending"]),
        ] {
            assert!(gitlab.start_job(runner, ids[id], now));
            assert!(gitlab.finish_job(ids[id], true, now));
            assert_eq!(states(&gitlab), after);
        }
    }

    #[test]
    fn what_follows_a_failed_job_is_skipped() {
        let (mut gitlab, runner, ids) = world();
        let now = Timestamp::UNIX_EPOCH;
        assert!(gitlab.start_job(runner, ids[0], now));
        assert!(gitlab.finish_job(ids[0], false, now));
        assert_eq!(states(&gitlab), ["failed", "pending", "skipped", "skipped"]);
    }
}
