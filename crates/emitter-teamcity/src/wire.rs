//! The rows of TeamCity's REST API as far as they are asked for, and the `fields=` that asks for them.
//!
//! A row of another shape is no row: it makes the look partial, and never smaller in silence. Unknown fields are ignored,
//! and what is not sent is not there: details that the token may not see look exactly like that.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// What is read of a build of the queue.
pub(crate) const QUEUED: &str = "count,nextHref,build(id,buildTypeId,state,composite,queuedDate,waitReason,\
    buildType(id,name,projectId,projectName),agent(name),\
    snapshot-dependencies(build(id,buildTypeId,state,agent(name))))";

/// What is read of a build that runs.
pub(crate) const RUNNING: &str = "count,nextHref,build(id,buildTypeId,state,composite,detachedFromAgent,queuedDate,startDate,\
    buildType(id,name,projectId,projectName),agent(name),running-info(estimatedTotalSeconds),\
    snapshot-dependencies(build(id,buildTypeId,state,agent(name))))";

/// What is read of an agent.
pub(crate) const AGENT: &str = "id,name,connected,enabled,authorized,uptodate,idleSinceTime,lastActivityTime,\
    enabledInfo(status,statusSwitchTime,comment(text)),authorizedInfo(status,comment(text,user(id))),pool(id,name),build(id)";

/// All agents.
pub(crate) fn agents() -> String {
    format!("count,nextHref,agent({AGENT})")
}

/// Agent pools and the projects that are linked to them.
pub(crate) const POOLS: &str = "count,nextHref,agentPool(id,name,maxAgents,projects(project(id)))";

/// Which snapshot dependencies of a build type hold its builds on one agent.
pub(crate) const SAME_AGENT: &str = "id,snapshot-dependencies(snapshot-dependency(id,source-buildType(id),properties(property(name,value))))";

/// A build.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Build {
    pub(crate) id: u64,
    pub(crate) build_type_id: Option<String>,
    #[serde(default)]
    pub(crate) composite: bool,
    #[serde(default)]
    pub(crate) detached_from_agent: bool,
    pub(crate) queued_date: Option<String>,
    pub(crate) start_date: Option<String>,
    pub(crate) wait_reason: Option<String>,
    pub(crate) build_type: Option<BuildType>,
    pub(crate) agent: Option<AgentLink>,
    #[serde(rename = "running-info")]
    pub(crate) running_info: Option<RunningInfo>,
    #[serde(rename = "snapshot-dependencies", default)]
    pub(crate) needs: Needs,
}

impl Build {
    /// The build type, by whichever field tells it.
    pub(crate) fn of_type(&self) -> Option<&str> {
        let inner = self.build_type.as_ref().and_then(|t| t.id.as_deref());
        self.build_type_id.as_deref().or(inner)
    }

    /// The project, if it is told.
    pub(crate) fn project(&self) -> Option<&str> {
        self.build_type.as_ref()?.project_id.as_deref()
    }
}

/// Builds that a build depends on.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Needs {
    #[serde(default)]
    pub(crate) build: Vec<Need>,
}

/// One of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Need {
    pub(crate) id: u64,
    pub(crate) build_type_id: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) agent: Option<AgentLink>,
}

impl Need {
    pub(crate) fn has_ended(&self) -> bool {
        self.state.as_deref() == Some("finished")
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BuildType {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) project_id: Option<String>,
    pub(crate) project_name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningInfo {
    pub(crate) estimated_total_seconds: Option<u64>,
}

/// An agent as it is named elsewhere.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentLink {
    pub(crate) name: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) connected: bool,
    pub(crate) authorized: bool,
    pub(crate) uptodate: Option<bool>,
    pub(crate) idle_since_time: Option<String>,
    pub(crate) last_activity_time: Option<String>,
    /// Missing when the token may not see details of agents.
    pub(crate) enabled_info: Option<Info>,
    /// Missing likewise.
    pub(crate) authorized_info: Option<Info>,
    pub(crate) pool: Option<PoolLink>,
    /// There whenever it builds; empty when the build may not be seen.
    pub(crate) build: Option<Held>,
}

impl Agent {
    /// The comment of the authorisation.
    pub(crate) fn owner_words(&self) -> &str {
        words(self.authorized_info.as_ref())
    }

    /// The comment of the enabled state.
    pub(crate) fn enabled_words(&self) -> &str {
        words(self.enabled_info.as_ref())
    }

    /// Whether it takes builds. What is not told is taken for a no: nobody may rest a deletion on it.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled_info.as_ref().and_then(|info| info.status) == Some(true)
    }

    pub(crate) fn pool_id(&self) -> Option<u64> {
        self.pool.as_ref()?.id
    }
}

fn words(info: Option<&Info>) -> &str {
    let comment = info.and_then(|info| info.comment.as_ref());
    comment
        .and_then(|comment| comment.text.as_deref())
        .unwrap_or("")
}

/// A state with its comment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    pub(crate) status: Option<bool>,
    pub(crate) status_switch_time: Option<String>,
    pub(crate) comment: Option<Comment>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Comment {
    pub(crate) text: Option<String>,
    /// Who did it; nobody did what the server does by itself.
    pub(crate) user: Option<User>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct User {}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PoolLink {
    pub(crate) id: Option<u64>,
}

/// The build of an agent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Held {
    pub(crate) id: Option<u64>,
}

/// An agent pool.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pool {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) max_agents: Option<u32>,
    pub(crate) projects: Option<Projects>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Projects {
    #[serde(default)]
    pub(crate) project: Vec<Project>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Project {
    pub(crate) id: String,
}

/// An agent in an answer about compatibility.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AgentId {
    pub(crate) id: u64,
}

/// Licences for agents.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Licences {
    #[serde(default)]
    pub(crate) unlimited_agents: bool,
    pub(crate) max_agents: Option<u32>,
    pub(crate) agents_left: Option<u32>,
}

/// A moment as TeamCity writes it, `20261002T154126+0000`.
pub(crate) fn time(text: Option<&String>) -> Option<Timestamp> {
    Timestamp::strptime("%Y%m%dT%H%M%S%z", text?).ok()
}

/// A moment for TeamCity to read.
pub(crate) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S+0000").to_string()
}

/// The rows of a list that could be read, and where those that could not were wrong.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    pub(crate) good: Vec<T>,
    pub(crate) bad: usize,
    /// The field at which the first bad row is of another type.
    pub(crate) at: String,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            good: Vec::new(),
            bad: 0,
            at: String::new(),
        }
    }
}

impl<T: for<'a> Deserialize<'a>> Rows<T> {
    pub(crate) fn add(&mut self, row: Value) {
        match serde_path_to_error::deserialize::<_, T>(row) {
            Ok(row) => self.good.push(row),
            // not the error itself: it quotes the value
            Err(error) => {
                if self.bad == 0 {
                    self.at = crate::error::line(&error.path().to_string());
                }
                self.bad += 1;
            }
        }
    }
}

/// Build types from which a build has to go on with the agent of its dependency ("Run build on the same agent").
pub(crate) fn same_agent(body: &Value) -> Option<Vec<String>> {
    let dependencies = match &body["snapshot-dependencies"] {
        Value::Null => return Some(Vec::new()),
        some => some,
    };
    let rows = match &dependencies["snapshot-dependency"] {
        Value::Null => return Some(Vec::new()),
        some => some.as_array()?,
    };
    let binds = |row: &&Value| {
        let properties = row["properties"]["property"].as_array();
        properties.into_iter().flatten().any(|property| {
            property["name"] == "run-build-on-the-same-agent" && property["value"] == "true"
        })
    };
    let on = |row: &Value| {
        let id = row["source-buildType"]["id"]
            .as_str()
            .or(row["id"].as_str());
        id.map(str::to_owned)
    };
    Some(rows.iter().filter(binds).filter_map(on).collect())
}
