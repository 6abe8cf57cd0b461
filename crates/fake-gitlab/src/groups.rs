//! Groups: who is in them, and which projects lie below them.
//!
//! A role in a group is a role in every project and group below it, those made later too.

use fake_server::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer;
use crate::auth::{Access, Scope, User};
use crate::params::Params;
use crate::world::{GitLab, Group, Project};

impl User {
    /// Whether the user has at least this role in a group or in one above it.
    pub(crate) fn can_in_group(&self, path: &str, least: Access) -> bool {
        self.admin || self.role_in(path).is_some_and(|access| access >= least)
    }

    /// The highest role in a group or in one above it; an administrator has none by being one.
    fn role_in(&self, path: &str) -> Option<Access> {
        let above = |group: &str| group == path || is_below(path, group);
        let roles = self.groups.iter().filter(|(group, _)| above(group));
        roles.map(|(_, access)| *access).max()
    }
}

/// Whether a path lies below a group, at any depth.
pub(crate) fn is_below(path: &str, group: &str) -> bool {
    path.strip_prefix(group)
        .is_some_and(|rest| rest.starts_with('/'))
}

impl Access {
    /// GitLab's number of a role.
    fn level(self) -> u32 {
        match self {
            Self::Guest => 10,
            Self::Reporter => 20,
            Self::Developer => 30,
            Self::Maintainer => 40,
            Self::Owner => 50,
        }
    }
}

impl GitLab {
    /// A group the caller may see: a member's, or one above a project that he may see.
    pub(crate) fn visible_group(&self, user: &User, key: &str) -> Result<&Group, Response> {
        let number = key.parse::<u64>().ok();
        let named = |group: &&Group| {
            number.map_or_else(|| group.path.eq_ignore_ascii_case(key), |id| group.id == id)
        };
        let seen = |group: &&Group| {
            let mut below = self
                .projects
                .values()
                .filter(|project| is_below(&project.path, &group.path));
            user.can_in_group(&group.path, Access::Guest)
                || below.any(|project| may_see(user, project))
        };
        let found = self.groups.values().find(named).filter(seen);
        found.ok_or_else(|| answer::refusal(404, "Group Not Found"))
    }

    /// `GET /groups/:id`.
    pub(crate) fn show_group(&self, key: &str, request: &Request) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        let group = self.visible_group(&user, key)?;
        Ok(answer::json(
            200,
            &json!({ "id": group.id, "full_path": group.path }),
        ))
    }

    /// `GET /groups/:id/projects`: what the caller may not see is not in it, and nothing says so.
    pub(crate) fn group_projects(
        &self,
        key: &str,
        request: &Request,
    ) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        let group = self.visible_group(&user, key)?;
        let params = Params::of(request);
        let deep = params.get("include_subgroups") == Some("true");
        let listed = |project: &&Project| {
            is_below(&project.path, &group.path)
                && (deep
                    || project.path.matches('/').count() == group.path.matches('/').count() + 1)
                && params
                    .get("archived")
                    .is_none_or(|wanted| wanted == project.archived.to_string())
                && may_see(&user, project)
        };
        let mut projects: Vec<&Project> = self.projects.values().filter(listed).collect();
        match params.get("order_by") {
            Some("id") => {}
            Some("last_activity_at") => projects.sort_by_key(|project| project.last_activity_at),
            None => projects.sort_by_key(|project| project.id),
            Some(_) => return Err(answer::error(400, "order_by does not have a valid value")),
        }
        if params.get("sort") != Some("asc") {
            projects.reverse();
        }
        let row = |project: &&Project| {
            json!({
                "id": project.id.0,
                "path_with_namespace": project.path,
                "last_activity_at": project.last_activity_at,
            })
        };
        self.offset_page(request, projects.iter().map(row).collect::<Vec<Value>>())
    }

    /// `GET /groups/:id/members/all/:user_id`.
    pub(crate) fn group_member(
        &self,
        key: &str,
        member: &str,
        request: &Request,
    ) -> Result<Response, Response> {
        let caller = self.caller(request, &[Scope::ReadApi])?;
        let group = self.visible_group(&caller, key)?;
        let member = member.parse().ok().and_then(|id: u64| self.users.get(&id));
        let role = member.and_then(|user| Some((user, user.role_in(&group.path)?)));
        let (user, role) = role.ok_or_else(|| answer::refusal(404, "Not found"))?;
        Ok(answer::json(
            200,
            &json!({ "id": user.id, "username": user.username, "access_level": role.level() }),
        ))
    }

    /// `GET /personal_access_tokens/self`: any token may ask about itself.
    pub(crate) fn token_itself(&self, request: &Request) -> Result<Response, Response> {
        let unauthorized = || answer::refusal(401, "Unauthorized");
        let value = crate::auth::token_of(request).ok_or_else(unauthorized)?;
        let token = self.tokens.get(value).ok_or_else(unauthorized)?;
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.word()).collect();
        Ok(answer::json(
            200,
            &json!({ "id": 1, "name": "parmanu", "active": true, "revoked": false, "scopes": scopes }),
        ))
    }

    /// Adds a group; a path with slashes is a subgroup.
    pub fn add_group(&mut self, path: &str) -> u64 {
        // apart from the numbers of projects, so that one cannot pass for the other
        let id = self.groups.len() as u64 + 9001;
        let path = path.to_owned();
        self.groups.insert(id, Group { id, path });
        id
    }

    /// Gives a user a role in a group, and so in everything below it.
    pub fn grant_group(&mut self, user: u64, path: &str, access: Access) {
        if let Some(user) = self.users.get_mut(&user) {
            user.groups.insert(path.to_owned(), access);
        }
        self.inherit();
    }

    /// Hands roles in groups down to the projects.
    pub(crate) fn inherit(&mut self) {
        for user in self.users.values_mut() {
            for project in self.projects.values() {
                let Some((parent, _)) = project.path.rsplit_once('/') else {
                    continue;
                };
                if let Some(role) = user.role_in(parent) {
                    let access = user.access.entry(project.id).or_insert(role);
                    *access = role.max(*access);
                }
            }
        }
    }

    /// Sets when a project was last pushed to. The real server moves it at most once an hour, and not
    /// for a pipeline that a schedule or the API started.
    pub fn set_activity(&mut self, path: &str, at: Timestamp) {
        let projects = self.projects.values_mut();
        projects
            .filter(|project| project.path == path)
            .for_each(|project| project.last_activity_at = Some(at));
    }
}

fn may_see(user: &User, project: &Project) -> bool {
    project.public || user.can(project.id, Access::Guest)
}
