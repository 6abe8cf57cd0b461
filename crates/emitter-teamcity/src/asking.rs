//! What the server is asked beside its lists: who can run what, what stays on one agent, and how many more it allows.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Completeness;
use serde::Deserialize as _;

use crate::client::{Client, Meter, value};
use crate::convert;
use crate::emitter::{Seen, TeamCityEmitter, pool_of};
use crate::limits::{Allowance, Limits};
use crate::oracle::Kind;
use crate::walk::List;
use crate::wire::{self, Agent, AgentId, Build, Licences};

/// Questions about build types in one look. Many new ones at once are asked about over some looks.
const QUESTIONS: usize = 32;

/// How long the words of a refused authorisation explain why jobs wait.
const REFUSAL: Duration = Duration::from_secs(300);

impl TeamCityEmitter {
    /// The kinds of agents that the pools stand for, with those that can be asked about.
    pub(crate) fn kinds(&self, seen: &Seen, doubts: &mut Completeness) -> Vec<Kind> {
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

    /// Whether so much of the look's time is gone that the rest is for later: a look without an answer is worth more than
    /// none.
    fn is_late(&self, seen: &Seen) -> bool {
        self.clock.boottime().saturating_sub(seen.began) > self.probe_timeout / 2
    }

    /// Which dependencies keep their builds on one agent. Where that cannot be told each build is a machine of its own:
    /// too many, never too few.
    pub(crate) async fn ask_about_bonds(&self, seen: &Seen, meter: &Meter) {
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
            if self.is_late(seen) {
                return;
            }
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

    pub(crate) async fn ask_about_types(
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
            if self.is_late(seen) {
                break;
            }
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
    pub(crate) async fn limits(&self, seen: &Seen, meter: &Meter) -> Limits {
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
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
