//! One look at TeamCity: the queue first, then what runs, agents last, and then what the server says about who can run what.
//!
//! A build that moves between the first two is counted once, by the newer word. Without the queue there is no look; what
//! else fails makes it partial, with the reason. Whoever may not see a project gets an empty list and status 200, so each
//! look also asks whether anything can be seen at all, and notices builds on agents that are in no list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{Completeness, EmitterName, Executor, FleetId, Job, PoolName, Snapshot};
use ports::{Clock, Emitter, EmitterError, EmitterErrorKind};
use serde::Deserialize as _;

use crate::admit::{Admitted, Door};
use crate::chain::{self, Chains};
use crate::client::{Client, Meter, value};
use crate::config::Serves;
use crate::convert;
use crate::error::Failure;
use crate::limits::{Allowance, Limits};
use crate::matcher::as_good_as;
use crate::oracle::{Kind, Oracle};
use crate::walk::List;
use crate::wire::{self, Agent, AgentId, Build, Licences, Pool};

/// Questions about build types in one look. Many new ones at once are asked about over some looks.
const QUESTIONS: usize = 32;

/// Agents that are let in during one look; each takes up to eight requests.
const ADMISSIONS: usize = 20;

/// How long the words of a refused authorisation explain why jobs wait.
const REFUSAL: Duration = Duration::from_secs(300);

/// Agents with the name of one of ours and another key, that are not asked again.
const STRANGERS: usize = 1000;

/// Probes one server.
pub(crate) struct TeamCityEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    /// With the right to let agents in.
    pub(crate) manages: Option<Client>,
    pub(crate) pools: BTreeMap<PoolName, Serves>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
    pub(crate) memory: Mutex<Memory>,
}

/// What one look leaves for the next. All of it may be lost.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    oracle: Oracle,
    /// The server's words when it last refused to authorise, and when.
    refused: Option<(Duration, String)>,
    strangers: BTreeSet<u64>,
}

/// What one look read, besides the queue.
struct Seen {
    queued: Vec<Build>,
    running: Vec<Build>,
    pools: Option<Vec<Pool>>,
    agents: Vec<Agent>,
}

#[async_trait]
impl Emitter for TeamCityEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let looked = ports::timeout(self.clock.as_ref(), self.probe_timeout, self.look()).await;
        looked
            .unwrap_or_else(|| {
                let message = format!("the probe took more than {:?}", self.probe_timeout);
                Err(Failure::new(EmitterErrorKind::TimedOut, message))
            })
            .map_err(|failure| failure.into_error(&self.name, "look at the queue and the agents"))
    }
}

impl TeamCityEmitter {
    async fn look(&self) -> Result<Snapshot, Failure> {
        let taken_at = self.clock.now();
        let meter = Meter::default();
        let mut doubts = Completeness::Complete;
        let mut seen = self.read(&mut doubts, &meter).await?;
        self.sight(&seen, &mut doubts, &meter).await;
        self.let_in(&mut seen, &meter).await;

        let kinds = self.kinds(&seen, &mut doubts);
        self.ask_about_bonds(&seen, &meter).await;
        let bonds = self.memory().oracle.bonds();
        let Chains { placed, bound } = chain::place(&seen.queued, &seen.running, &bonds);
        let mut jobs: Vec<(Job, BTreeSet<String>)> = placed.iter().map(convert::waiting).collect();
        jobs.extend(convert::running(&seen.running));
        let types: BTreeSet<String> = jobs.iter().flat_map(|(_, types)| types).cloned().collect();
        self.ask_about_types(&types, &kinds, &seen, &mut doubts, &meter)
            .await;
        let now = self.clock.boottime();
        self.memory().oracle.tell(&mut jobs, &kinds, now);
        let limits = self.limits(&seen, &meter).await;
        limits.apply(jobs.iter_mut().map(|(job, _)| job));
        let executors = self.executors(&seen, &kinds, &bound);
        Ok(Snapshot {
            jobs: jobs.into_iter().map(|(job, _)| job).collect(),
            executors,
            taken_at,
            completeness: doubts,
            cost: meter.cost(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Demand first, executors last.
    async fn read(&self, doubts: &mut Completeness, meter: &Meter) -> Result<Seen, Failure> {
        let queue = List {
            path: &["buildQueue"],
            locator: "",
            fields: wire::QUEUED,
            key: "build",
            what: "builds of the queue",
        };
        let queued: Vec<Build> = queue.walk(&self.client, doubts, meter).await?;
        let running = List {
            path: &["builds"],
            // the default filter leaves out personal builds and other branches
            locator: "running:true,defaultFilter:false",
            fields: wire::RUNNING,
            key: "build",
            what: "builds that run",
        };
        let running = running.walk(&self.client, doubts, meter).await;
        let running: Vec<Build> = or_doubt(running, "builds that run", doubts).unwrap_or_default();
        let pools = List {
            path: &["agentPools"],
            locator: "",
            fields: wire::POOLS,
            key: "agentPool",
            what: "agent pools",
        };
        let pools = pools.walk(&self.client, doubts, meter).await;
        let pools: Option<Vec<Pool>> = or_doubt(pools, "agent pools", doubts);
        let agents = List {
            path: &["agents"],
            // the default filter leaves out new agents
            locator: "defaultFilter:false",
            fields: &wire::agents(),
            key: "agent",
            what: "agents",
        };
        let agents = agents.walk(&self.client, doubts, meter).await;
        let agents: Vec<Agent> = or_doubt(agents, "agents", doubts).unwrap_or_default();
        Ok(Seen {
            queued,
            running,
            pools,
            agents,
        })
    }

    /// What the token may not see, as far as that can be told.
    async fn sight(&self, seen: &Seen, doubts: &mut Completeness, meter: &Meter) {
        let query = [("locator", "count:1"), ("fields", "count,project(id)")];
        let answered = self.client.get(&["projects"], &query, meter).await;
        match answered.and_then(|answer| answer.json()) {
            Err(failure) => doubts.doubt(format!("rights: {}", failure.message)),
            Ok(body) if body["project"].as_array().is_none_or(Vec::is_empty) => doubts.doubt(
                "not a single project: give the token's user the role Project viewer on the projects of the pools",
            ),
            Ok(_) => {}
        }
        let of_pools = seen.agents.iter().filter(|agent| self.matters(agent, seen));
        let of_pools: Vec<&Agent> = of_pools.collect();
        let hidden = of_pools.iter().filter(|agent| agent.enabled_info.is_none());
        let hidden = hidden.count();
        if hidden > 0 {
            doubts.doubt(format!(
                "the details of {hidden} agents: give the token's user the permission View agent details"
            ));
        }
        let listed = seen.running.iter().chain(&seen.queued);
        let listed: BTreeSet<u64> = listed.map(|build| build.id).collect();
        let mut unseen = of_pools.iter().filter(|agent| {
            let held = agent.build.as_ref();
            held.is_some_and(|held| held.id.is_none_or(|id| !listed.contains(&id)))
        });
        if let Some(agent) = unseen.next() {
            doubts.doubt(format!(
                "a build on agent {} and {} more like it, of projects that this token may not see, or begun just now",
                crate::error::line(&agent.name),
                unseen.count()
            ));
        }
    }

    /// Whether an agent is in an agent pool of ours, or has a name of ours. What cannot be told matters.
    fn matters(&self, agent: &Agent, seen: &Seen) -> bool {
        let named: Option<model::InstanceName> = agent.name.parse().ok();
        if named.is_some_and(|named| self.pools.contains_key(named.pool())) {
            return true;
        }
        let Some((id, pools)) = agent.pool_id().zip(seen.pools.as_ref()) else {
            return true;
        };
        let pool = pools.iter().find(|pool| pool.id == id);
        pool.is_none_or(|pool| {
            self.pools
                .values()
                .any(|serves| serves.agent_pool == pool.name)
        })
    }

    /// Lets new agents of ours in. What fails is tried again in the next look, and is no part of what was seen.
    async fn let_in(&self, seen: &mut Seen, meter: &Meter) {
        let Some(client) = &self.manages else {
            return;
        };
        let token = match client.token() {
            Ok(token) => token,
            Err(failure) => {
                tracing::warn!(emitter = %self.name, why = failure.message, "the token that lets agents in cannot be read");
                return;
            }
        };
        let door = Door {
            client,
            fleet: &self.fleet,
            token: &token,
            pools: &self.pools,
            meter,
        };
        let strangers = self.memory().strangers.clone();
        let began = self.clock.boottime();
        let waiting: Vec<usize> = (0..seen.agents.len())
            .filter(|at| door.is_waiting(&seen.agents[*at]))
            .filter(|at| !strangers.contains(&seen.agents[*at].id))
            .take(ADMISSIONS)
            .collect();
        for at in waiting {
            // the look itself must not run out of time
            if self.clock.boottime().saturating_sub(began) > self.probe_timeout / 3 {
                return;
            }
            let agent = &seen.agents[at];
            let Some(pool) = pool_of(door.home(&agent.name), seen.pools.as_deref()) else {
                continue;
            };
            let admitted = door.admit(agent, pool).await;
            self.remember(agent, &admitted);
            if let Ok(Admitted::Yes(now)) = admitted {
                seen.agents[at] = *now;
            }
        }
    }

    fn remember(&self, agent: &Agent, admitted: &Result<Admitted, Failure>) {
        let (name, emitter) = (crate::error::line(&agent.name), &self.name);
        match admitted {
            Ok(Admitted::Yes(_)) => {
                self.memory().refused = None;
                tracing::info!(%emitter, agent = name, "agent authorised and put into its pool");
            }
            Ok(Admitted::Stranger) => {
                let mut memory = self.memory();
                if memory.strangers.len() < STRANGERS {
                    memory.strangers.insert(agent.id);
                }
                tracing::warn!(
                    %emitter, agent = name,
                    "an agent has the name of a machine of ours and not its key: it is not let in"
                );
            }
            Ok(Admitted::Refused(words)) => {
                tracing::warn!(%emitter, agent = name, why = words, "teamcity does not let an agent in");
                self.memory().refused = Some((self.clock.boottime(), words.clone()));
            }
            Err(failure) => {
                tracing::warn!(%emitter, agent = name, why = failure.message, "an agent was not let in");
            }
        }
    }

    /// The kinds of agents that the pools stand for, with those that can be asked about.
    fn kinds(&self, seen: &Seen, doubts: &mut Completeness) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for (name, serves) in &self.pools {
            let pool = pool_of(Some(serves), seen.pools.as_deref());
            if pool.is_none() && seen.pools.is_some() {
                doubts.doubt(format!(
                    "agent pool `{}` of pool {name}: it is not there, or hidden from this token",
                    serves.agent_pool
                ));
            }
            let is_sample = |agent: &&Agent| {
                let prototype = serves.prototype.as_ref() == Some(&agent.name);
                let ours = || {
                    let named: Option<model::InstanceName> = agent.name.parse().ok();
                    let in_pool = pool.is_none_or(|pool| agent.pool_id() == Some(pool.id));
                    named.is_some_and(|named| named.pool() == name)
                        && agent.authorized
                        && in_pool
                        && convert::is_marked(agent, &self.fleet)
                };
                prototype || ours()
            };
            let samples = seen.agents.iter().filter(is_sample);
            let projects = pool.and_then(|pool| pool.projects.as_ref());
            kinds.push(Kind {
                key: serves.key(),
                samples: samples.map(|agent| agent.id).collect(),
                projects: projects.map(|all| all.project.iter().map(|p| p.id.clone()).collect()),
            });
        }
        kinds
    }

    /// Which dependencies keep their builds on one agent. Where that cannot be told each build is a machine of its own:
    /// too many, never too few.
    async fn ask_about_bonds(&self, seen: &Seen, meter: &Meter) {
        let now = self.clock.boottime();
        let chained = seen
            .queued
            .iter()
            .filter(|build| !build.needs.build.is_empty());
        let types: BTreeSet<&str> = chained.filter_map(Build::of_type).collect();
        let due: Vec<&str> = {
            let memory = self.memory();
            let due = types
                .into_iter()
                .filter(|of| memory.oracle.bonds_are_due(of, now));
            due.take(QUESTIONS).collect()
        };
        for of_type in due {
            let place = format!("id:{}", value(of_type));
            let fields = [("fields", wire::SAME_AGENT)];
            let answered = self
                .client
                .get(&["buildTypes", &place], &fields, meter)
                .await;
            let bonds = answered.and_then(|answer| answer.json());
            match bonds.map(|body| wire::same_agent(&body)) {
                Ok(Some(on)) => {
                    let on = on.into_iter().collect();
                    self.memory().oracle.learn_bonds(of_type, on, now);
                }
                Ok(None) => tracing::debug!(of_type, "its dependencies have another shape"),
                Err(failure) => tracing::debug!(of_type, why = failure.message, "its dependencies"),
            }
        }
    }

    async fn ask_about_types(
        &self,
        types: &BTreeSet<String>,
        kinds: &[Kind],
        seen: &Seen,
        doubts: &mut Completeness,
        meter: &Meter,
    ) {
        let now = self.clock.boottime();
        let anybody = !seen.agents.is_empty() && !kinds.is_empty();
        let mut due: Vec<(Option<Duration>, &String)> = {
            let mut memory = self.memory();
            memory.oracle.begin(types.iter());
            let due = types
                .iter()
                .filter(|of| memory.oracle.is_due(of, kinds, anybody, now));
            due.map(|of| (memory.oracle.asked_at(of), of)).collect()
        };
        // what was never asked about first
        due.sort();
        for (_, of_type) in due.into_iter().take(QUESTIONS) {
            let locator = format!(
                "compatible:(buildType:(id:{})),defaultFilter:false",
                value(of_type)
            );
            let question = List {
                path: &["agents"],
                locator: &locator,
                fields: "count,nextHref,agent(id)",
                key: "agent",
                what: "agents that can run a build type",
            };
            let mut whole = Completeness::Complete;
            let answer = question
                .walk::<AgentId>(&self.client, &mut whole, meter)
                .await;
            match answer {
                Ok(agents) if whole.is_complete() => {
                    let agents = agents.iter().map(|agent| agent.id).collect();
                    self.memory().oracle.learn(of_type, agents, kinds, now);
                }
                Ok(_) => {
                    let why = whole.doubts().join("; ");
                    doubts.doubt(format!(
                        "who can run {}: {why}",
                        crate::error::line(of_type)
                    ));
                }
                Err(failure) => doubts.doubt(format!(
                    "who can run {}: {}",
                    crate::error::line(of_type),
                    failure.message
                )),
            }
        }
        let unasked = self.memory().oracle.unasked(types, kinds, now);
        if unasked > 0 {
            doubts.doubt(format!(
                "who can run {unasked} build types: TeamCity is asked about them in the next looks"
            ));
        }
    }

    /// How many more builds the licences and the sizes of agent pools allow.
    async fn limits(&self, seen: &Seen, meter: &Meter) -> Limits {
        let mut limits = Limits::default();
        let Some(client) = &self.manages else {
            return limits;
        };
        let (mut idle, mut ids) = (0, BTreeSet::new());
        for serves in self.pools.values() {
            let Some(pool) = pool_of(Some(serves), seen.pools.as_deref()) else {
                continue;
            };
            limits.pools.insert(serves.key(), pool.id);
            let inside = seen
                .agents
                .iter()
                .filter(|agent| agent.authorized && agent.pool_id() == Some(pool.id));
            let all: Vec<&Agent> = inside.collect();
            let free = all
                .iter()
                .filter(|agent| agent.connected && agent.is_enabled() && agent.build.is_none());
            let free = count(free.count());
            if ids.insert(pool.id) {
                idle += free;
            }
            if let Some(most) = pool.max_agents {
                let left = free + most.saturating_sub(count(all.len()));
                let why = format!(
                    "agent pool `{}` holds {most} agents at most (maxAgents in TeamCity)",
                    pool.name
                );
                limits.rooms.insert(pool.id, Allowance { left, why });
            }
        }
        limits.licences = self.licences(client, idle, meter).await;
        limits
    }

    async fn licences(&self, client: &Client, idle: u32, meter: &Meter) -> Option<Allowance> {
        let fields = [("fields", "maxAgents,unlimitedAgents,agentsLeft")];
        let asked = client
            .get(&["server", "licensingData"], &fields, meter)
            .await;
        let told = asked.and_then(|answer| answer.json());
        let told = told.ok().and_then(|body| Licences::deserialize(body).ok());
        if let Some(left) = told.as_ref().and_then(|told| told.agents_left)
            && told.as_ref().is_some_and(|told| !told.unlimited_agents)
        {
            let most = told.and_then(|told| told.max_agents).unwrap_or_default();
            return Some(Allowance {
                left: idle.saturating_add(left),
                why: format!("no agent licence is left: TeamCity has {most}"),
            });
        }
        // most tokens may not see the licences; then only a refusal tells
        let refused = self.memory().refused.clone();
        let (at, words) = refused.filter(|_| told.is_none())?;
        (self.clock.boottime().saturating_sub(at) <= REFUSAL).then(|| Allowance {
            left: idle,
            why: format!("TeamCity authorises no further agent: {words}"),
        })
    }

    fn executors(
        &self,
        seen: &Seen,
        kinds: &[Kind],
        bound: &BTreeMap<String, Vec<model::JobId>>,
    ) -> Vec<Executor> {
        let memory = self.memory();
        let labels = |agent: &Agent| {
            let keys = memory.oracle.as_good_as(agent.id, kinds);
            keys.into_iter().map(as_good_as).collect()
        };
        // kept for their answers, and never capacity
        let prototypes: BTreeSet<&String> = self
            .pools
            .values()
            .filter_map(|serves| serves.prototype.as_ref())
            .collect();
        seen.agents
            .iter()
            .filter(|agent| !prototypes.contains(&agent.name) || agent.build.is_some())
            .filter_map(|agent| convert::executor(agent, &self.fleet, bound, labels(agent)))
            .collect()
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The agent pool that a `serves` entry names.
fn pool_of<'a>(serves: Option<&Serves>, pools: Option<&'a [Pool]>) -> Option<&'a Pool> {
    let name = &serves?.agent_pool;
    pools?.iter().find(|pool| pool.name == *name)
}

/// What a call brought, or a doubt in its place.
fn or_doubt<T>(answer: Result<T, Failure>, what: &str, doubts: &mut Completeness) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(failure) => {
            doubts.doubt(format!("{what}: {}", failure.message));
            None
        }
    }
}
