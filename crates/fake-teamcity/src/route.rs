//! Which request goes where, and what is refused.

use fake_server::{Fake, Request, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::answer;
use crate::fault;
use crate::fields::Fields;
use crate::locator::Locator;
use crate::world::{Build, Rights, Sight, State, TeamCity};

/// Rows of a page if nobody says.
const PAGE: usize = 100;

impl Fake for TeamCity {
    fn answer(&mut self, request: &Request, now: Timestamp) -> Response {
        self.handle(request, now)
    }

    fn listens_at(&mut self, base: String) {
        self.base = base;
    }
}

impl TeamCity {
    /// Answers one request. No I/O and no clock: the only thing that can change is `self`.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Response {
        self.pass_time(now);
        self.requests
            .push(format!("{} {}", request.method, request.path));
        let fault = fault::next(&mut self.faults, request);
        if let Some(answer) = fault.as_ref().and_then(fault::FaultKind::instead) {
            return answer;
        }
        if self.starting {
            return answer::html(503, "TeamCity is starting");
        }
        let mut response = self.route(request, now).unwrap_or_else(|refusal| refusal);
        if let Some(fault) = fault {
            fault.spoil(&mut response);
        }
        if self.hands_out {
            self.dispatch(now);
        }
        response
    }

    fn route(&mut self, request: &Request, now: Timestamp) -> Result<Response, Response> {
        let rights = self.caller(request)?;
        let path = request.path.strip_prefix("/app/rest/");
        let path = path.ok_or_else(|| answer::html(404, "Not Found"))?;
        let parts: Vec<String> = path.split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["server"]) => shown(request, server()),
            ("GET", ["server", "licensingData"]) => shown(request, self.licensing(&rights)?),
            ("GET", ["users", "current", "permissions"]) => shown(request, permissions(&rights)),
            ("GET", ["projects"]) => self.list(request, &rights, Self::projects),
            ("GET", ["agentPools"]) => self.list(request, &rights, Self::pools),
            ("GET", ["buildQueue"]) => self.list(request, &rights, Self::queued),
            ("GET", ["builds"]) => self.list(request, &rights, Self::running),
            ("GET", ["agents"]) => self.list(request, &rights, Self::agents),
            ("GET", ["buildTypes", one]) => {
                let id = Locator::parse(one)?.take("id").unwrap_or_default();
                let seen = self.types.get(&id).is_some_and(|t| rights.sees(&t.project));
                let found = self.show_type(&id).filter(|_| seen);
                shown(
                    request,
                    found.ok_or_else(|| {
                        answer::not_found(&format!(
                            "No build type nor template is found by id '{id}'."
                        ))
                    })?,
                )
            }
            ("GET", ["agents", one]) => {
                let id = self.one_agent(one, &rights)?;
                shown(request, self.show_agent(id, &self.agents[&id], &rights))
            }
            ("PUT", ["agents", one, field]) => {
                let id = self.one_agent(one, &rights)?;
                manages(&rights)?;
                let answer = self.put_agent(id, field, request, now)?;
                shown(request, answer)
            }
            ("DELETE", ["agents", one]) => {
                let id = self.one_agent(one, &rights)?;
                manages(&rights)?;
                self.delete_agent(id)?;
                Ok(Response::of(204, "application/json", String::new()))
            }
            ("POST", ["agentPools", one, "authorizationTokens"]) if self.makes_tokens => {
                let pool = self.find_pool(one)?;
                manages(&rights)?;
                self.make_tokens(pool, &answer::read_json(request)?, now)
            }
            // an address that it does not have
            _ => Err(answer::refusal(
                404,
                "Not Found",
                "javax.ws.rs.NotFoundException",
                "HTTP 404 Not Found",
            )),
        }
    }

    fn caller(&self, request: &Request) -> Result<Rights, Response> {
        let found = request.bearer().and_then(|token| self.users.get(token));
        let Some(rights) = found else {
            return Err(Response::of(
                401,
                "text/plain;charset=UTF-8",
                "Authentication required\nTo login manually go to \"/login.html\" page",
            ));
        };
        // whoever does not ask for JSON gets XML
        if !request
            .header("accept")
            .is_some_and(|kinds| kinds.contains("application/json"))
        {
            let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><agents/>";
            return Err(Response::of(200, "application/xml", xml));
        }
        Ok(rights.clone())
    }

    fn licensing(&self, rights: &Rights) -> Result<Value, Response> {
        if !rights.licences {
            return Err(answer::forbidden(
                "You do not have enough permissions to access licensing data",
            ));
        }
        let used = self
            .agents
            .values()
            .filter(|agent| agent.authorized)
            .count();
        let left = self
            .licences
            .map(|most| (most as usize).saturating_sub(used));
        Ok(json!({
            "maxAgents": self.licences, "unlimitedAgents": self.licences.is_none(), "agentsLeft": left,
            "licenseUseExceeded": false,
        }))
    }

    fn make_tokens(
        &mut self,
        pool: u64,
        body: &Value,
        now: Timestamp,
    ) -> Result<Response, Response> {
        let count = body["count"].as_u64().unwrap_or(1);
        let seconds = body["timeToLiveSeconds"].as_i64().unwrap_or(3600);
        if count == 0 || count > 1000 || seconds <= 0 {
            return Err(answer::bad_request("Bad requirements of tokens"));
        }
        let mut made = Vec::new();
        for _ in 0..count {
            let token = format!("one-time-{:08x}", self.fresh() * 0x9e37_79b1);
            let until = now + SignedDuration::from_secs(seconds);
            self.tokens.insert(token.clone(), (pool, until));
            made.push(token);
        }
        Ok(answer::json(&json!({ "item": made })))
    }

    /// One page of a list with its `nextHref`. Rows are counted from the start anew for each page, so rows that go between
    /// two pages move the others.
    fn list(
        &self,
        request: &Request,
        rights: &Rights,
        rows: fn(&Self, &mut Locator, &Rights) -> Result<(&'static str, Vec<Value>), Response>,
    ) -> Result<Response, Response> {
        let text = request.param("locator").unwrap_or_default();
        let mut locator = match text.as_str() {
            "" => Locator::default(),
            some => Locator::parse(some)?,
        };
        let count = locator.number("count")?;
        let start = locator.number("start")?.unwrap_or(0);
        let looked = locator.number("lookupLimit")?.unwrap_or(5000);
        let (key, mut all) = rows(self, &mut locator, rights)?;
        locator.done()?;
        all.truncate(usize::try_from(looked).unwrap_or(usize::MAX));
        let count = count.map_or(PAGE, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let from = usize::try_from(start).unwrap_or(usize::MAX).min(all.len());
        let page: Vec<Value> = all.into_iter().skip(from).take(count).collect();
        let mut body = json!({ "count": page.len() });
        if page.len() == count && count > 0 {
            // sent even when the next page is empty
            let others = text.split(',').filter(|part| !part.starts_with("start:"));
            let others: Vec<&str> = others.filter(|part| !part.is_empty()).collect();
            let fields = request.param("fields");
            let fields = fields.map_or(String::new(), |fields| format!("fields={fields}&"));
            let next = from + page.len();
            body["nextHref"] = json!(format!(
                "{}?{fields}locator={},start:{next}",
                request.path,
                others.join(",")
            ));
        }
        body[key] = Value::Array(page);
        shown(request, body)
    }

    fn projects(
        &self,
        _: &mut Locator,
        rights: &Rights,
    ) -> Result<(&'static str, Vec<Value>), Response> {
        let seen = self.projects.iter().filter(|(id, _)| rights.sees(id));
        let rows = seen.map(|(id, name)| json!({ "id": id, "name": name }));
        Ok(("project", rows.collect()))
    }

    fn pools(
        &self,
        _: &mut Locator,
        rights: &Rights,
    ) -> Result<(&'static str, Vec<Value>), Response> {
        let rows = self.pools.keys().map(|id| self.show_pool(*id, rights));
        Ok(("agentPool", rows.collect()))
    }

    fn queued(
        &self,
        locator: &mut Locator,
        rights: &Rights,
    ) -> Result<(&'static str, Vec<Value>), Response> {
        let agent = match locator.take("agent") {
            Some(text) => Some(self.one_agent(&text, rights)?),
            None => None,
        };
        if let Some(project) = locator.take("project") {
            let id = Locator::parse(&project)?.take("id").unwrap_or_default();
            if !rights.sees(&id) {
                return Err(answer::forbidden(&format!(
                    "You do not have enough permissions to access project with internal id: {id}"
                )));
            }
        }
        let rows = self
            .queue()
            .filter(|(_, build)| self.sees_build(build, rights))
            .filter(|(_, build)| agent.is_none() || build.only_on == agent)
            .enumerate()
            .map(|(place, (id, build))| {
                let mut row = self.show_build(id, build, rights);
                row["queuePosition"] = json!(place + 1);
                row
            });
        Ok(("build", rows.collect()))
    }

    fn running(
        &self,
        locator: &mut Locator,
        rights: &Rights,
    ) -> Result<(&'static str, Vec<Value>), Response> {
        locator.flag("defaultFilter")?;
        let running = locator.flag("running")? == Some(true);
        let agent = match locator.take("agent") {
            Some(text) => Some(self.one_agent(&text, rights)?),
            None => None,
        };
        let wanted = |build: &Build| match build.state {
            State::Running => true,
            State::Finished => !running,
            State::Queued => false,
        };
        let rows = self
            .builds
            .iter()
            .filter(|(_, build)| wanted(build) && self.sees_build(build, rights))
            .filter(|(_, build)| agent.is_none() || build.agent == agent)
            .map(|(id, build)| self.show_build(*id, build, rights));
        Ok(("build", rows.collect()))
    }

    fn agents(
        &self,
        locator: &mut Locator,
        rights: &Rights,
    ) -> Result<(&'static str, Vec<Value>), Response> {
        let found = self.find_agents(locator, rights)?;
        let rows = found.iter();
        let rows = rows.map(|id| self.show_agent(*id, &self.agents[id], rights));
        Ok(("agent", rows.collect()))
    }
}

fn manages(rights: &Rights) -> Result<(), Response> {
    if rights.manage_agents {
        return Ok(());
    }
    Err(answer::forbidden(
        "You do not have enough permissions to manage agents of the pool",
    ))
}

fn server() -> Value {
    json!({ "version": "2026.2 (build 238924)", "versionMajor": 2026, "versionMinor": 2, "buildNumber": "238924" })
}

fn permissions(rights: &Rights) -> Value {
    let global =
        |id: &str| json!({ "isGlobalScope": true, "permission": { "id": id, "global": true } });
    let mut rows = vec![global("change_own_profile")];
    match &rights.projects {
        Sight::All => rows.push(global("view_project")),
        Sight::Projects(some) => rows.extend(some.iter().map(|project| {
            json!({
                "isGlobalScope": false, "permission": { "id": "view_project", "global": false },
                "project": { "id": project },
            })
        })),
    }
    if rights.view_agents {
        rows.push(global("view_agent_details"));
    }
    json!({ "count": rows.len(), "permissionAssignment": rows })
}

fn shown(request: &Request, body: Value) -> Result<Response, Response> {
    let fields = match request.param("fields") {
        None => Fields::default(),
        Some(text) => Fields::parse(&text)
            .ok_or_else(|| answer::bad_request(&format!("Bad fields: '{text}'")))?,
    };
    Ok(answer::json(&fields.pick(body)))
}

fn decode(part: &str) -> String {
    // a path segment, where a plus is a plus
    let text = part.replace('+', "%2B");
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.next().map_or(String::new(), |(key, value)| {
        if value.is_empty() {
            key.into_owned()
        } else {
            format!("{key}={value}")
        }
    })
}
