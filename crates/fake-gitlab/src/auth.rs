//! Who calls, and what they may do.
//!
//! A caller is a user seen through a token: the token's scopes narrow what the user may do, and a
//! missing right is answered as GitLab answers it, which is not always with an error.

use std::collections::BTreeMap;

use fake_server::{Request, Response};
use serde_json::json;

use crate::answer;
use crate::world::{GitLab, Project, ProjectId, Runner, RunnerType};

/// A user's role in a project; later ones include the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// May see the project, not its jobs.
    Guest,
    /// May read jobs.
    Reporter,
    /// May run pipelines.
    Developer,
    /// May manage the project's runners.
    Maintainer,
    /// May do anything in the project.
    Owner,
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything its user may do.
    Api,
    /// Read requests and GraphQL queries.
    ReadApi,
    /// `POST /user/runners` only.
    CreateRunner,
    /// `GET`, `PUT` and `DELETE` under `/runners/:id` only.
    ManageRunner,
}

impl Scope {
    /// GitLab's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ReadApi => "read_api",
            Self::CreateRunner => "create_runner",
            Self::ManageRunner => "manage_runner",
        }
    }
}

/// An account.
#[derive(Debug, Clone)]
pub struct User {
    /// The numeric id.
    pub id: u64,
    /// The login name.
    pub username: String,
    /// Instance administrator, admin mode on.
    pub admin: bool,
    /// Roles by project.
    pub access: BTreeMap<ProjectId, Access>,
    /// Roles by path of a group.
    pub groups: BTreeMap<String, Access>,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) user: u64,
    pub(crate) scopes: Vec<Scope>,
}

impl User {
    pub(crate) fn can(&self, project: ProjectId, least: Access) -> bool {
        self.admin
            || self
                .access
                .get(&project)
                .is_some_and(|access| *access >= least)
    }

    pub(crate) fn can_read_jobs(&self, project: &Project) -> bool {
        project.builds && (project.public || self.can(project.id, Access::Reporter))
    }

    /// Whether the user may change or delete a runner.
    pub(crate) fn owns(&self, runner: &Runner) -> bool {
        let by_project = || {
            runner
                .projects
                .iter()
                .any(|id| self.can(*id, Access::Maintainer))
        };
        let by_group = || {
            let group = runner.group.as_deref();
            group.is_some_and(|path| self.can_in_group(path, Access::Owner))
        };
        match runner.kind {
            RunnerType::Instance => self.admin,
            RunnerType::Group => by_group(),
            RunnerType::Project => self.admin || by_project(),
        }
    }
}

/// The token of a request, from either header GitLab takes.
pub(crate) fn token_of(request: &Request) -> Option<&str> {
    let bearer = || request.header("authorization")?.strip_prefix("Bearer ");
    request.header("private-token").or_else(bearer)
}

impl GitLab {
    /// The user behind a REST request whose token has one of `scopes`.
    pub(crate) fn caller(&self, request: &Request, scopes: &[Scope]) -> Result<User, Response> {
        let unauthorized = || answer::refusal(401, "Unauthorized");
        let value = token_of(request).ok_or_else(unauthorized)?;
        let token = self.tokens.get(value).ok_or_else(unauthorized)?;
        if !token
            .scopes
            .iter()
            .any(|scope| *scope == Scope::Api || scopes.contains(scope))
        {
            return Err(answer::json(
                403,
                &json!({
                    "error": "insufficient_scope",
                    "error_description":
                        "The request requires higher privileges than provided by the access token.",
                }),
            ));
        }
        self.users
            .get(&token.user)
            .cloned()
            .ok_or_else(unauthorized)
    }

    /// The user behind a GraphQL request: `None` without a token, 401 with a bad one.
    pub(crate) fn graphql_caller(&self, request: &Request) -> Result<Option<User>, Response> {
        let Some(value) = token_of(request) else {
            return Ok(None);
        };
        let invalid = || answer::json(401, &json!({ "errors": [{ "message": "Invalid token" }] }));
        let token = self.tokens.get(value).ok_or_else(invalid)?;
        if !token
            .scopes
            .iter()
            .any(|scope| matches!(scope, Scope::Api | Scope::ReadApi))
        {
            return Err(invalid());
        }
        Ok(Some(
            self.users.get(&token.user).cloned().ok_or_else(invalid)?,
        ))
    }

    /// A project the caller may see; hidden and absent are the same 404.
    pub(crate) fn visible_project(&self, user: &User, key: &str) -> Result<&Project, Response> {
        let found = match key.parse::<u64>() {
            Ok(id) => self.projects.get(&ProjectId(id)),
            Err(_) => self.project_by_path(key),
        };
        found
            .filter(|project| project.public || user.can(project.id, Access::Guest))
            .ok_or_else(|| answer::refusal(404, "Project Not Found"))
    }
}
