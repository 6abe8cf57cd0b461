//! Which request goes where.
//!
//! Faults and the rate limit come first, as they do in a proxy; then one table of routes. A route
//! that is not in the table is a 404, and an unknown method a 405.

use fake_server::{Fake, Request, Response};
use jiff::Timestamp;
use serde_json::json;

use crate::answer;
use crate::auth::{Access, Scope};
use crate::fault;
use crate::world::GitLab;

impl Fake for GitLab {
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.handle(request, now)
    }

    fn listens_at(&mut self, base: String) {
        self.base = base;
    }
}

impl GitLab {
    /// Answers one request. No I/O and no clock: the only thing that can change is `self`.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        *self.requests.entry(label(request)).or_default() += 1;
        let fault = fault::next(&mut self.faults, request);
        if let Some(answer) = fault.as_ref().and_then(fault::FaultKind::instead) {
            return answer;
        }
        let headers = match self.rate_limit.as_mut().map(|limit| limit.admit(now)) {
            None => None,
            Some(Ok(headers)) => Some(headers),
            Some(Err(throttled)) => return *throttled,
        };
        let mut response = self.route(request, now).unwrap_or_else(|refusal| refusal);
        response.headers.extend(headers.into_iter().flatten());
        if let Some(fault) = fault {
            fault.spoil(&mut response);
        }
        response
    }

    fn route(&mut self, request: &Request, now: Timestamp) -> Result<Response, Response> {
        let method = request.method.as_str();
        let Some(path) = request.path.strip_prefix("/api/") else {
            return Err(answer::html(404, "Page not found"));
        };
        let parts: Vec<String> = path.split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (method, parts.as_slice()) {
            ("POST", ["graphql"]) => self.graphql(request, now),
            ("GET", ["v4", "user"]) => self.current_user(request),
            ("GET", ["v4", "version"]) => self.version(request),
            ("GET", ["v4", "projects", key]) => self.show_project(key, request),
            ("GET", ["v4", "projects", key, "jobs"]) => self.project_jobs(key, request, now),
            ("GET", ["v4", "projects", key, "runners"]) => self.project_runners(key, request, now),
            ("GET", ["v4", "projects", key, "protected_branches"]) => {
                self.protected(key, request, false)
            }
            ("GET", ["v4", "projects", key, "protected_tags"]) => {
                self.protected(key, request, true)
            }
            ("GET", ["v4", "groups", key]) => self.show_group(key, request),
            ("GET", ["v4", "groups", key, "projects"]) => self.group_projects(key, request),
            ("GET", ["v4", "groups", key, "members", "all", member]) => {
                self.group_member(key, member, request)
            }
            ("GET", ["v4", "personal_access_tokens", "self"]) => self.token_itself(request),
            ("POST", ["v4", "user", "runners"]) => self.create_runner(request, now),
            ("GET", ["v4", "runners", "all"]) => self.all_runners(request, now),
            ("POST", ["v4", "runners", "verify"]) => self.verify(request),
            ("GET", ["v4", "runners", id]) => self.show_runner(id, request, now),
            ("PUT", ["v4", "runners", id]) => self.update_runner(id, request, now),
            ("DELETE", ["v4", "runners", id]) => self.delete_runner(id, request, now),
            ("GET", ["v4", "runners", id, "jobs"]) => self.runner_jobs(id, request, now),
            ("GET", ["v4", "runners", id, "managers"]) => self.managers(id, request, now),
            ("POST", ["v4", "jobs", "request"]) => self.job_request(request, now),
            ("PUT", ["v4", "jobs", id]) => self.job_update(id, request, now),
            ("GET" | "POST" | "PUT" | "DELETE", _) => Err(answer::error(404, "404 Not Found")),
            _ => Err(answer::error(405, "405 Method Not Allowed")),
        }
    }

    fn current_user(&self, request: &Request) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        let mut body = json!({ "id": user.id, "username": user.username, "state": "active" });
        if user.admin {
            // the real server shows this key to administrators and to nobody else
            body["is_admin"] = json!(true);
        }
        Ok(answer::json(200, &body))
    }

    fn version(&self, request: &Request) -> Result<Response, Response> {
        self.caller(request, &[Scope::ReadApi])?;
        Ok(answer::json(
            200,
            &json!({ "version": "18.2.0", "revision": "fake" }),
        ))
    }

    /// A redirect when the project is asked for by the path it had before it moved.
    pub(crate) fn moved(&self, key: &str, request: &Request) -> Option<Response> {
        let moved = |old: &String| old.eq_ignore_ascii_case(key);
        let project = self
            .projects
            .values()
            .find(|project| project.old_path.as_ref().is_some_and(moved))?;
        let written = request.path.split('/').nth(4)?;
        let to = request.path.replacen(written, &project.id.to_string(), 1);
        let query = if request.query.is_empty() {
            String::new()
        } else {
            format!("?{}", request.query)
        };
        let answer = answer::refusal(301, "Moved Permanently");
        Some(answer.with_header("location", format!("{}{to}{query}", self.base)))
    }

    fn show_project(&self, key: &str, request: &Request) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        if let Some(moved) = self.moved(key, request) {
            return Ok(moved);
        }
        let project = self.visible_project(&user, key)?;
        let body = json!({
            "id": project.id.0,
            "path_with_namespace": project.path,
            "shared_runners_enabled": project.shared_runners,
            "visibility": if project.public { "internal" } else { "private" },
        });
        Ok(answer::json(200, &body))
    }

    fn protected(&self, key: &str, request: &Request, tags: bool) -> Result<Response, Response> {
        let user = self.caller(request, &[Scope::ReadApi])?;
        if let Some(moved) = self.moved(key, request) {
            return Ok(moved);
        }
        let project = self.visible_project(&user, key)?;
        if !user.can(project.id, Access::Maintainer) {
            return Err(answer::refusal(403, "Forbidden"));
        }
        let rules = if tags {
            &project.protected_tags
        } else {
            &project.protected_branches
        };
        let rows: Vec<_> = rules.iter().map(|name| json!({ "name": name })).collect();
        self.offset_page(request, rows)
    }
}

/// The route of a request for the counters: numbers and encoded paths become `:id`.
fn label(request: &Request) -> String {
    let parts = request.path.split('/').enumerate().map(|(place, part)| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let keyed = place == 4
            && ["/api/v4/projects/", "/api/v4/groups/"]
                .iter()
                .any(|list| request.path.starts_with(list));
        if number || keyed { ":id" } else { part }
    });
    format!("{} {}", request.method, parts.collect::<Vec<_>>().join("/"))
}

fn decode(part: &str) -> String {
    // a plus is a plus in a path, unlike in a query
    let query = format!("part={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
