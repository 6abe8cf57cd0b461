//! Agents over REST: finding them by locator, and changing one.

use fake_server::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer;
use crate::locator::Locator;
use crate::world::{Agent, Rights, TeamCity};

impl TeamCity {
    /// Ids of the agents that a locator finds, after the defaults of `AgentFinder.setLocatorDefaults`.
    pub(crate) fn find_agents(
        &self,
        locator: &mut Locator,
        rights: &Rights,
    ) -> Result<Vec<u64>, Response> {
        let filtered = locator.flag("defaultFilter")?;
        let named = ["id", "name"].iter().any(|name| locator.has(name));
        let switched_off = ["pool", "ip", "build"].iter().any(|name| locator.has(name));
        let mut authorized = locator.flag("authorized")?;
        let mut connected = locator.flag("connected")?;
        let mut enabled = locator.flag("enabled")?;
        let defaults = filtered != Some(false) && !(filtered.is_none() && (named || switched_off));
        let compatible = match locator.take("compatible") {
            Some(text) => Some(self.compatible_of(&text, rights)?),
            None => None,
        };
        if defaults {
            if compatible.is_some() {
                connected = connected.or(Some(true));
                enabled = enabled.or(Some(true));
            }
            authorized = authorized.or(Some(true));
        }
        let pool = match locator.take("pool") {
            Some(text) => Some(self.find_pool(&text)?),
            None => None,
        };
        let (id, name) = (locator.number("id")?, locator.take("name"));
        let matches = |(agent_id, agent): &(&u64, &Agent)| {
            id.is_none_or(|id| id == **agent_id)
                && name.as_ref().is_none_or(|name| *name == agent.name)
                && pool.is_none_or(|pool| pool == agent.pool)
                && authorized.is_none_or(|is| is == agent.authorized)
                && connected.is_none_or(|is| is == agent.connected)
                && enabled.is_none_or(|is| is == agent.enabled)
                && compatible
                    .as_ref()
                    .is_none_or(|all| all.contains(*agent_id))
        };
        let found: Vec<u64> = self
            .agents
            .iter()
            .filter(matches)
            .map(|(id, _)| *id)
            .collect();
        match (found.is_empty(), id, name) {
            (true, Some(id), _) => Err(answer::not_found(&format!(
                "No agent can be found by id '{id}'."
            ))),
            (true, None, Some(name)) => Err(answer::not_found(&format!(
                "No agent can be found by name '{name}'."
            ))),
            _ => Ok(found),
        }
    }

    /// `compatible:(buildType:(id:X))` asks parameters, pool and links; `compatible:(build:(id:N))` only agents that could
    /// be given the build this moment.
    fn compatible_of(&self, text: &str, rights: &Rights) -> Result<Vec<u64>, Response> {
        let mut inner = Locator::parse(text)?;
        let (build_type, now) = if let Some(of) = inner.take("buildType") {
            (id_of(&of)?, false)
        } else if let Some(of) = inner.take("build") {
            let id = id_of(&of)?;
            let build = id.parse().ok().and_then(|id: u64| self.builds.get(&id));
            let build =
                build.ok_or_else(|| answer::not_found(&format!("No build found by id '{id}'.")))?;
            (build.build_type.clone(), true)
        } else {
            return Err(answer::bad_request(
                "Invalid compatible locator: should contain 'buildType' dimension",
            ));
        };
        let of = self
            .types
            .get(&build_type)
            .filter(|t| rights.sees(&t.project));
        let of = of.ok_or_else(|| {
            answer::not_found(&format!(
                "No build type nor template is found by id '{build_type}'."
            ))
        })?;
        let fits = |agent: &Agent| {
            let there = agent.connected && agent.authorized && agent.enabled;
            self.is_compatible(agent, of) && (there || !now)
        };
        let found = self.agents.iter().filter(|(_, agent)| fits(agent));
        Ok(found.map(|(id, _)| *id).collect())
    }

    pub(crate) fn find_pool(&self, text: &str) -> Result<u64, Response> {
        let mut inner = Locator::parse(text)?;
        let found = match (inner.number("id")?, inner.take("name")) {
            (Some(id), _) => self.pools.contains_key(&id).then_some(id),
            (None, Some(name)) => {
                let mut pools = self.pools.iter();
                pools.find(|(_, pool)| pool.name == name).map(|(id, _)| *id)
            }
            (None, None) => None,
        };
        found.ok_or_else(|| {
            answer::not_found(&format!("Nothing is found by locator 'count:1,{text}'."))
        })
    }

    /// One agent out of a path.
    pub(crate) fn one_agent(&self, text: &str, rights: &Rights) -> Result<u64, Response> {
        let mut locator = Locator::parse(text)?;
        if let Some(name) = locator.single() {
            let mut agents = self.agents.iter();
            let found = agents
                .find(|(_, agent)| agent.name == name)
                .map(|(id, _)| *id);
            return found.ok_or_else(|| {
                answer::not_found(&format!("No agent can be found by name '{name}'."))
            });
        }
        let found = self.find_agents(&mut locator, rights)?;
        locator.done()?;
        found
            .first()
            .copied()
            .ok_or_else(|| answer::not_found(&format!("Nothing is found by locator '{text}'.")))
    }

    pub(crate) fn put_agent(
        &mut self,
        id: u64,
        field: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<Value, Response> {
        match field {
            "enabledInfo" => self.put_enabled(id, &answer::read_json(request)?, now),
            "authorizedInfo" => self.put_authorized(id, &answer::read_json(request)?),
            "pool" => self.put_pool(id, &answer::read_json(request)?),
            _ => Err(answer::not_found(&format!("Unknown field '{field}'."))),
        }
    }

    fn put_enabled(&mut self, id: u64, body: &Value, now: Timestamp) -> Result<Value, Response> {
        let (status, text) = change(body)?;
        let switch = match body["statusSwitchTime"].as_str() {
            None => None,
            Some(words) => Some(read_time(words).filter(|at| *at > now).ok_or_else(|| {
                answer::bad_request(&format!("Could not parse date from value '{words}'"))
            })?),
        };
        let agent = self.agents.get_mut(&id).ok_or_else(gone)?;
        agent.enabled = status.unwrap_or(agent.enabled);
        agent.enabled_comment = text.unwrap_or_default();
        agent.switch_at = switch;
        Ok(json!({ "status": agent.enabled, "comment": { "text": agent.enabled_comment } }))
    }

    fn put_authorized(&mut self, id: u64, body: &Value) -> Result<Value, Response> {
        let (status, text) = change(body)?;
        let licence = self.licence_left();
        let pool = self.agents.get(&id).ok_or_else(gone)?.pool;
        let room = self.room_in(pool);
        let agent = self.agents.get_mut(&id).ok_or_else(gone)?;
        let status = status.unwrap_or(agent.authorized);
        if status && !agent.authorized && !licence {
            return Err(answer::conflict(
                "Cannot authorize agent: the number of agent licenses is exceeded",
            ));
        }
        if status && !agent.authorized && !room {
            return Err(answer::conflict(
                "Agent pool has reached its maximum number of agents",
            ));
        }
        agent.authorized = status;
        agent.authorized_comment = text.unwrap_or_default();
        agent.authorized_by_user = true;
        Ok(json!({ "status": status, "comment": { "text": agent.authorized_comment } }))
    }

    fn put_pool(&mut self, id: u64, body: &Value) -> Result<Value, Response> {
        let pool = body["id"].as_u64().filter(|id| self.pools.contains_key(id));
        let pool = pool.ok_or_else(|| answer::not_found("Nothing is found by locator 'id'."))?;
        let agent = self.agents.get(&id).ok_or_else(gone)?;
        if agent.pool != pool && agent.authorized && !self.room_in(pool) {
            return Err(answer::conflict(
                "Agent pool has reached its maximum number of agents",
            ));
        }
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.pool = pool;
        }
        Ok(json!({ "id": pool }))
    }

    pub(crate) fn delete_agent(&mut self, id: u64) -> Result<(), Response> {
        let agent = self.agents.get(&id).ok_or_else(gone)?;
        if agent.connected {
            return Err(answer::conflict(&format!(
                "Cannot remove agent '{}': it is connected",
                agent.name
            )));
        }
        self.agents.remove(&id);
        Ok(())
    }
}

fn gone() -> Response {
    answer::not_found("No agent can be found.")
}

fn id_of(text: &str) -> Result<String, Response> {
    let mut inner = Locator::parse(text)?;
    let id = inner.take("id");
    inner.done()?;
    id.ok_or_else(|| answer::bad_request(&format!("Bad locator syntax: '{text}'")))
}

/// Status and words of a posted change; a change of nothing is refused.
fn change(body: &Value) -> Result<(Option<bool>, Option<String>), Response> {
    let status = body["status"].as_bool();
    let text = body["comment"]["text"].as_str().map(str::to_owned);
    if status.is_none() && text.is_none() {
        let words = "Neither value nor comment are provided, nothing to change";
        return Err(answer::bad_request(words));
    }
    Ok((status, text))
}

fn read_time(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%Y%m%dT%H%M%S%z", text).ok()
}
