//! The state as JSON, as much of it as the caller may see.

use serde_json::{Value, json};

use crate::world::{Agent, Build, Rights, State, TeamCity, time_text};

impl TeamCity {
    pub(crate) fn show_agent(&self, id: u64, agent: &Agent, rights: &Rights) -> Value {
        let mut shown = json!({
            "id": id, "name": agent.name, "typeId": id,
            "connected": agent.connected, "enabled": agent.enabled, "authorized": agent.authorized,
            "href": format!("/app/rest/agents/id:{id}"),
            "pool": self.show_pool_link(agent.pool),
        });
        let held = self.running_on(id).next();
        if let Some((held, build)) = held.and_then(|held| Some((held, self.builds.get(&held)?))) {
            // of a build that may not be seen only that there is one
            let project = self
                .types
                .get(&build.build_type)
                .map(|t| t.project.as_str());
            let seen = project.is_some_and(|project| rights.sees(project));
            shown["build"] = if seen {
                self.show_build_link(held, build)
            } else {
                json!({ "id": held })
            };
        }
        // without the right to the details of agents these are not sent at all
        if rights.view_agents {
            let comment = |text: &str| (!text.is_empty()).then(|| json!({ "text": text }));
            shown["uptodate"] = json!(!agent.outdated);
            shown["outdated"] = json!(agent.outdated);
            // nobody has seen what is told of an agent that was never let in, so nothing is
            if held.is_none() && agent.authorized {
                shown["idleSinceTime"] = json!(time_text(agent.idle_since));
            }
            shown["enabledInfo"] = json!({
                "status": agent.enabled,
                "comment": comment(&agent.enabled_comment),
                "statusSwitchTime": agent.switch_at.map(time_text),
            });
            let mut by = comment(&agent.authorized_comment).unwrap_or(Value::Null);
            if agent.authorized_by_user {
                by = json!({ "text": agent.authorized_comment, "user": { "id": 1 } });
            }
            shown["authorizedInfo"] = json!({ "status": agent.authorized, "comment": by });
            let properties = agent.parameters.iter();
            let properties: Vec<Value> = properties
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect();
            shown["properties"] = json!({ "count": properties.len(), "property": properties });
        }
        shown
    }

    fn show_pool_link(&self, id: u64) -> Value {
        let name = self.pools.get(&id).map(|pool| pool.name.as_str());
        json!({ "id": id, "name": name, "href": format!("/app/rest/agentPools/id:{id}") })
    }

    pub(crate) fn show_pool(&self, id: u64, rights: &Rights) -> Value {
        let mut shown = self.show_pool_link(id);
        if let Some(pool) = self.pools.get(&id) {
            let seen: Vec<Value> = pool
                .projects
                .iter()
                .filter(|project| rights.sees(project))
                .map(|project| json!({ "id": project }))
                .collect();
            shown["maxAgents"] = json!(pool.max_agents);
            shown["projects"] = json!({ "count": seen.len(), "project": seen });
        }
        shown
    }

    pub(crate) fn sees_build(&self, build: &Build, rights: &Rights) -> bool {
        let of = self.types.get(&build.build_type);
        of.is_some_and(|t| rights.sees(&t.project))
    }

    fn show_build_link(&self, id: u64, build: &Build) -> Value {
        let state = match build.state {
            State::Queued => "queued",
            State::Running => "running",
            State::Finished => "finished",
        };
        json!({
            "id": id, "buildTypeId": build.build_type, "state": state,
            "composite": self.is_composite(build),
            "detachedFromAgent": build.detached.then_some(true),
            "href": format!("/app/rest/builds/id:{id}"),
        })
    }

    fn show_agent_link(&self, id: Option<u64>) -> Value {
        let known = id.and_then(|id| Some((id, self.agents.get(&id)?)));
        known.map_or(
            Value::Null,
            |(id, agent)| json!({ "id": id, "name": agent.name }),
        )
    }

    pub(crate) fn show_build(&self, id: u64, build: &Build, rights: &Rights) -> Value {
        let mut shown = self.show_build_link(id, build);
        let agent = match build.state {
            State::Queued => build.only_on,
            _ => build.agent,
        };
        if rights.view_agents {
            shown["agent"] = self.show_agent_link(agent);
        }
        shown["personal"] = json!(false);
        shown["queuedDate"] = json!(time_text(build.queued));
        if let Some(t) = self.types.get(&build.build_type) {
            shown["buildType"] = json!({
                "id": build.build_type, "name": t.name, "projectId": t.project,
                "projectName": self.projects.get(&t.project), "paused": false,
            });
        }
        let needs: Vec<Value> = build
            .needs
            .iter()
            .filter_map(|need| Some((*need, self.builds.get(need)?)))
            .filter(|(_, need)| self.sees_build(need, rights))
            .map(|(id, need)| {
                let mut link = self.show_build_link(id, need);
                if rights.view_agents {
                    link["agent"] = self.show_agent_link(need.agent);
                }
                link
            })
            .collect();
        if !needs.is_empty() {
            shown["snapshot-dependencies"] = json!({ "count": needs.len(), "build": needs });
        }
        match build.state {
            State::Queued => shown["waitReason"] = json!(self.wait_reason(build)),
            State::Running => {
                shown["startDate"] = json!(build.started.map(time_text));
                shown["running-info"] = json!({ "estimatedTotalSeconds": build.estimate });
            }
            State::Finished => {}
        }
        shown
    }

    pub(crate) fn show_type(&self, id: &str) -> Option<Value> {
        let build_type = self.types.get(id)?;
        let needs: Vec<Value> = build_type
            .needs
            .iter()
            .map(|need| {
                json!({
                    "id": need.on, "type": "snapshot_dependency",
                    "source-buildType": { "id": need.on },
                    "properties": { "property": [
                        { "name": "run-build-if-dependency-failed", "value": "RUN_ADD_PROBLEM" },
                        { "name": "run-build-on-the-same-agent", "value": need.same_agent.to_string() },
                    ]},
                })
            })
            .collect();
        Some(json!({
            "id": id, "name": build_type.name, "projectId": build_type.project, "paused": false,
            "snapshot-dependencies": { "count": needs.len(), "snapshot-dependency": needs },
        }))
    }
}
