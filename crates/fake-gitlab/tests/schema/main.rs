//! Every kind of answer has the fields and types of the published schemas, as far as they are restated: `rest.json` here, and
//! `schema.graphql` at the root of the crate.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod graphql;
mod rest;

use fake_gitlab::{
    Access, GitLab, JobKind, JobState, PipelineJob, ProjectId, Request, Response, RunnerId, Scope,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A server in which everything that can be shown is there to be shown.
struct World {
    gitlab: GitLab,
    project: ProjectId,
    runner: RunnerId,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut gitlab = GitLab::new();
        let now: Timestamp = "2026-09-01T10:00:00Z".parse().unwrap();
        let project = gitlab.add_project("acme/app");
        gitlab.add_group("acme");
        let root = gitlab.add_user("root", true);
        gitlab.add_token(root, "root", &[Scope::Api]);
        let reader = gitlab.add_user("reader", false);
        gitlab.add_token(reader, "reader", &[Scope::ReadApi]);
        gitlab.grant_group(reader, "acme", Access::Reporter);
        gitlab.grant(root, project, Access::Owner);
        gitlab.set_activity("acme/app", now);
        let mut world = Self {
            gitlab,
            project,
            runner: RunnerId(0),
            now,
        };
        world.fill();
        world
    }

    fn fill(&mut self) {
        let made = self.send("root", "POST", "/api/v4/user/runners", &json!({
            "runner_type": "project_type", "project_id": self.project.0, "tag_list": ["linux"], "description": "vm-1",
            "maintenance_note": "ours", "maximum_timeout": 3600,
        }));
        self.runner = RunnerId(made.json_body()["id"].as_u64().unwrap());
        for owner in [
            json!({ "runner_type": "instance_type", "access_level": "ref_protected" }),
            json!({ "runner_type": "group_type", "group_id": 9001 }),
        ] {
            assert_eq!(
                self.send("root", "POST", "/api/v4/user/runners", &owner)
                    .status,
                201
            );
        }
        let job = |name, stage, needs| PipelineJob {
            name,
            stage,
            tags: &["linux"],
            needs,
        };
        self.gitlab.push_pipeline(
            self.project,
            &[
                job("build", "build", None),
                job("test", "test", None),
                job("lint", "test", Some(&["build"])),
            ],
            self.now,
        );
        // one that ran and one in every other state
        let token = self.gitlab.runner(self.runner).unwrap().token.clone();
        let taken = self.gitlab.request_job(&token, self.now).unwrap();
        let states = [
            JobState::Created,
            JobState::WaitingForResource,
            JobState::Preparing,
            JobState::WaitingForCallback,
            JobState::Pending,
            JobState::Manual,
            JobState::Scheduled,
        ];
        for state in states {
            let id = self.push(&["linux"]);
            self.gitlab.set_waiting(id, state, self.now);
            self.gitlab.job_mut(id).unwrap().scheduled_at =
                (state == JobState::Scheduled).then_some(self.now);
        }
        for ending in 0..4 {
            let id = self.push(&[]);
            self.gitlab.start_job(self.runner, id, self.now);
            match ending {
                0 => self.gitlab.finish_job(id, true, self.now),
                1 => self.gitlab.finish_job(id, false, self.now),
                _ => self.gitlab.cancel_job(id, self.now),
            };
            if ending == 3 {
                self.gitlab.finish_job(id, true, self.now);
            }
        }
        let bridge = self.push(&[]);
        self.gitlab.job_mut(bridge).unwrap().kind = JobKind::Bridge;
        assert!(self.gitlab.job(taken).unwrap().state.holds_runner());
    }

    fn push(&mut self, tags: &[&str]) -> fake_gitlab::JobId {
        self.gitlab
            .push_job(self.project, "build", tags, "main", self.now)
    }

    fn send(&mut self, token: &str, method: &str, target: &str, body: &Value) -> Response {
        let mut request = Request::new(method, target).with_header("private-token", token);
        if !body.is_null() {
            request = request.with_json(body);
        }
        self.gitlab.handle(&request, self.now)
    }

    fn wait(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
    }
}
