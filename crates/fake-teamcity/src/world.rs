//! The state of a server, and what people and agents do to it.
//!
//! Everything is public, so that a test can make any situation; the verbs below only save repetition.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::fault::Fault;

/// Which projects a token may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// All.
    All,
    /// These.
    Projects(BTreeSet<String>),
}

/// What the user behind a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// View project.
    pub projects: Sight,
    /// View agent details.
    pub view_agents: bool,
    /// Authorize, enable, disable and remove agents, and assign them to pools.
    pub manage_agents: bool,
    /// See the licences.
    pub licences: bool,
}

impl Rights {
    /// Sees everything and touches nothing.
    pub fn viewer() -> Self {
        Self {
            projects: Sight::All,
            view_agents: true,
            manage_agents: false,
            licences: false,
        }
    }

    /// An agent manager.
    pub fn manager() -> Self {
        Self {
            manage_agents: true,
            ..Self::viewer()
        }
    }

    /// Sees no project at all.
    pub fn blind() -> Self {
        Self {
            projects: Sight::Projects(BTreeSet::new()),
            ..Self::viewer()
        }
    }

    pub(crate) fn sees(&self, project: &str) -> bool {
        match &self.projects {
            Sight::All => true,
            Sight::Projects(some) => some.contains(project),
        }
    }
}

/// An agent pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How many agents it may hold.
    pub max_agents: Option<u32>,
    /// Projects that are linked to it.
    pub projects: BTreeSet<String>,
}

/// A snapshot dependency of a build configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// On which build configuration.
    pub on: String,
    /// "Run build on the same agent".
    pub same_agent: bool,
}

/// A build configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildType {
    /// What people call it.
    pub name: String,
    /// The project it belongs to.
    pub project: String,
    /// Agent parameters that must be there with this value.
    pub requires: BTreeMap<String, String>,
    /// Snapshot dependencies.
    pub needs: Vec<Dependency>,
    /// Composite: holds other builds together and needs no agent.
    pub composite: bool,
    /// "Limit the number of simultaneously running builds".
    pub limit: Option<usize>,
}

/// A build agent, known as long as nobody deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Unique name.
    pub name: String,
    /// Whether it is in contact.
    pub connected: bool,
    /// Whether it takes builds.
    pub enabled: bool,
    /// Why somebody enabled or disabled it.
    pub enabled_comment: String,
    /// When `enabled` changes by itself.
    pub switch_at: Option<Timestamp>,
    /// Whether it holds a licence.
    pub authorized: bool,
    /// Why somebody authorised it or not.
    pub authorized_comment: String,
    /// Whether somebody did that, or the server by itself.
    pub authorized_by_user: bool,
    /// The pool.
    pub pool: u64,
    /// What it says of itself.
    pub parameters: BTreeMap<String, String>,
    /// Last meaningful activity.
    pub idle_since: Timestamp,
    /// Waits for an upgrade.
    pub outdated: bool,
}

/// Where a build stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In the queue.
    Queued,
    /// Runs; a composite one holds no agent.
    Running,
    /// Has ended.
    Finished,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its build configuration.
    pub build_type: String,
    /// Where it stands.
    pub state: State,
    /// On which agent it runs or ran.
    pub agent: Option<u64>,
    /// "Run on this agent", chosen by a person: even a disabled agent takes it.
    pub only_on: Option<u64>,
    /// Builds of its chain that must end before it.
    pub needs: Vec<u64>,
    /// When it was queued.
    pub queued: Timestamp,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Goes on without an agent.
    pub detached: bool,
    /// How long it is likely to take in all, in seconds.
    pub estimate: Option<u64>,
    /// Words that stand in for the server's own wait reason.
    pub wait_reason: Option<String>,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub build: u64,
    /// On which agent.
    pub agent: Option<u64>,
    /// Whether it was left to end by itself.
    pub whole: bool,
}

/// A server.
#[derive(Debug)]
pub struct TeamCity {
    /// Its own address.
    pub base: String,
    /// Answers 503 with a page, as at start-up.
    pub starting: bool,
    /// Hands out builds after each request, as the real one does all the time; else only when it is told to.
    pub hands_out: bool,
    /// Knows `authorizationTokens`; servers before 2024.07 do not.
    pub makes_tokens: bool,
    /// Agent licences; `None` is unlimited.
    pub licences: Option<u32>,
    /// Agent pools by id; 0 is the default one.
    pub pools: BTreeMap<u64, Pool>,
    /// Names of projects by id.
    pub projects: BTreeMap<String, String>,
    /// Build configurations by id.
    pub types: BTreeMap<String, BuildType>,
    /// Agents by id.
    pub agents: BTreeMap<u64, Agent>,
    /// All builds by id; the queue is in this order.
    pub builds: BTreeMap<u64, Build>,
    /// Every build that ended.
    pub ended: Vec<Ended>,
    /// Requests by `METHOD path`.
    pub requests: Vec<String>,
    pub(crate) users: BTreeMap<String, Rights>,
    pub(crate) tokens: BTreeMap<String, (u64, Timestamp)>,
    pub(crate) faults: Vec<Fault>,
    next: u64,
}

impl Default for TeamCity {
    fn default() -> Self {
        Self::new()
    }
}

impl TeamCity {
    /// A server with the default pool and nothing else.
    pub fn new() -> Self {
        let default = Pool {
            name: "Default".to_owned(),
            max_agents: None,
            projects: BTreeSet::new(),
        };
        Self {
            base: "http://teamcity".to_owned(),
            starting: false,
            hands_out: false,
            makes_tokens: true,
            licences: None,
            pools: [(0, default)].into(),
            projects: BTreeMap::new(),
            types: BTreeMap::new(),
            agents: BTreeMap::new(),
            builds: BTreeMap::new(),
            ended: Vec::new(),
            requests: Vec::new(),
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            faults: Vec::new(),
            next: 0,
        }
    }

    /// Lets a token in; again: changes its rights.
    pub fn grant(&mut self, token: &str, rights: Rights) {
        self.users.insert(token.to_owned(), rights);
    }

    /// A token that is over: whoever comes with it is nobody.
    pub fn revoke(&mut self, token: &str) {
        self.users.remove(token);
    }

    /// Orders a fault.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Adds a pool that these projects may use; the projects come into being with it.
    pub fn add_pool(&mut self, name: &str, projects: &[&str]) -> u64 {
        let id = self.fresh();
        for project in projects {
            let named = format!("{project} project");
            self.projects.insert((*project).to_owned(), named);
        }
        let pool = Pool {
            name: name.to_owned(),
            max_agents: None,
            projects: projects.iter().map(|id| (*id).to_owned()).collect(),
        };
        self.pools.insert(id, pool);
        id
    }

    /// Adds a build configuration with requirements `(parameter, value)`.
    pub fn add_type(
        &mut self,
        id: &str,
        project: &str,
        requires: &[(&str, &str)],
    ) -> &mut BuildType {
        let requires = requires.iter();
        let build_type = BuildType {
            name: id.replace('_', " "),
            project: project.to_owned(),
            requires: requires
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            needs: Vec::new(),
            composite: false,
            limit: None,
        };
        self.types.entry(id.to_owned()).or_insert(build_type)
    }

    /// Adds an agent that somebody set up by hand, authorised and in contact.
    pub fn add_agent(
        &mut self,
        name: &str,
        pool: u64,
        parameters: &[(&str, &str)],
        now: Timestamp,
    ) -> u64 {
        let id = self.join(name, parameters, None, now);
        if let Some(agent) = self.agents.get_mut(&id) {
            (agent.authorized, agent.pool) = (true, pool);
        }
        id
    }

    /// An agent comes up and registers. A known name is the same agent again. A one-time token authorises it into its pool
    /// if it is good and a licence and a place are left.
    pub fn join(
        &mut self,
        name: &str,
        parameters: &[(&str, &str)],
        token: Option<&str>,
        now: Timestamp,
    ) -> u64 {
        let known = self.agents.iter().find(|(_, agent)| agent.name == name);
        let id = known.map(|(id, _)| *id).unwrap_or_else(|| self.fresh());
        let agent = self.agents.entry(id).or_insert_with(|| Agent {
            name: name.to_owned(),
            connected: false,
            enabled: true,
            enabled_comment: String::new(),
            switch_at: None,
            authorized: false,
            authorized_comment: String::new(),
            authorized_by_user: false,
            pool: 0,
            parameters: BTreeMap::new(),
            idle_since: now,
            outdated: false,
        });
        agent.connected = true;
        agent.idle_since = now;
        agent.parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let used = token.and_then(|token| self.tokens.remove(token));
        if let Some((pool, until)) = used
            && now < until
            && self.licence_left()
            && self.room_in(pool)
            && let Some(agent) = self.agents.get_mut(&id)
        {
            agent.authorized = true;
            agent.pool = pool;
            agent.authorized_comment = "Authorized with a token".to_owned();
        }
        id
    }

    /// The machine of an agent is gone: its build ends at once, and it is known as disconnected.
    pub fn kill(&mut self, agent: u64) {
        let held: Vec<u64> = self.running_on(agent).collect();
        for build in held {
            self.end(build, false);
        }
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.connected = false;
        }
    }

    /// Builds that run on an agent.
    pub fn running_on(&self, agent: u64) -> impl Iterator<Item = u64> + '_ {
        let running = self.builds.iter().filter(move |(_, build)| {
            build.state == State::Running && build.agent == Some(agent) && !build.detached
        });
        running.map(|(id, _)| *id)
    }

    /// Queues a build; with it, unless they are given, everything that its configuration depends on.
    pub fn push(&mut self, build_type: &str, now: Timestamp) -> u64 {
        let needs = self.types.get(build_type).map(|t| t.needs.clone());
        let needs: Vec<u64> = needs
            .unwrap_or_default()
            .iter()
            .map(|need| self.push(&need.on, now))
            .collect();
        self.push_with(build_type, needs, now)
    }

    /// Queues a build that waits for these.
    pub fn push_with(&mut self, build_type: &str, needs: Vec<u64>, now: Timestamp) -> u64 {
        let id = self.fresh();
        let build = Build {
            build_type: build_type.to_owned(),
            state: State::Queued,
            agent: None,
            only_on: None,
            needs,
            queued: now,
            started: None,
            detached: false,
            estimate: None,
            wait_reason: None,
        };
        self.builds.insert(id, build);
        id
    }

    /// A build ends by itself.
    pub fn finish(&mut self, build: u64) -> bool {
        self.end(build, true)
    }

    pub(crate) fn end(&mut self, id: u64, whole: bool) -> bool {
        let Some(build) = self.builds.get_mut(&id) else {
            return false;
        };
        if build.state != State::Running {
            return false;
        }
        build.state = State::Finished;
        let agent = build.agent;
        self.ended.push(Ended {
            build: id,
            agent,
            whole,
        });
        true
    }

    /// Whether one more agent may be authorised.
    pub fn licence_left(&self) -> bool {
        let used = self
            .agents
            .values()
            .filter(|agent| agent.authorized)
            .count();
        self.licences.is_none_or(|most| used < most as usize)
    }

    pub(crate) fn room_in(&self, pool: u64) -> bool {
        let held = self
            .agents
            .values()
            .filter(|agent| agent.pool == pool && agent.authorized);
        let held = held.count();
        self.pools
            .get(&pool)
            .is_some_and(|pool| pool.max_agents.is_none_or(|most| held < most as usize))
    }

    /// Whether the parameters of an agent, its pool and its links let it run builds of this configuration. Whether it is
    /// there, enabled or authorised does not matter.
    pub fn is_compatible(&self, agent: &Agent, build_type: &BuildType) -> bool {
        let linked = self.pools.get(&agent.pool);
        linked.is_some_and(|pool| pool.projects.contains(&build_type.project))
            && build_type
                .requires
                .iter()
                .all(|(name, value)| agent.parameters.get(name) == Some(value))
    }

    /// Cordons that have an end are lifted when it has come.
    pub fn pass_time(&mut self, now: Timestamp) {
        for agent in self.agents.values_mut() {
            if agent.switch_at.is_some_and(|at| at <= now) {
                agent.enabled = !agent.enabled;
                agent.switch_at = None;
                agent.enabled_comment = String::new();
            }
        }
    }
}

/// A moment as TeamCity writes it.
pub fn time_text(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%S+0000").to_string()
}
