//! One look at TeamCity: the queue first, then what runs, agents last, and then what the server says about who can run what.
//!
//! A build that moves between the first two is counted once, by the newer word. Without the queue there is no look; what
//! else fails makes it partial, with the reason. Whoever may not see a project gets an empty list and status 200, so each
//! look also asks whether anything can be seen at all, and notices builds on agents that are in no list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::{Completeness, EmitterName, Executor, ExecutorState, FleetId, Job, PoolName, Snapshot};
use ports::{Clock, Emitter, EmitterError};

use crate::chain::{self, Chains};
use crate::client::{Client, Meter};
use crate::config::Serves;
use crate::convert;
use crate::error::Failure;
use crate::matcher::as_good_as;
use crate::oracle::{Kind, Oracle};
use crate::reason;
use crate::walk::List;
use crate::wire::{self, Agent, Build, Pool};

/// Probes one server.
pub(crate) struct TeamCityEmitter {
    pub(crate) name: EmitterName,
    pub(crate) fleet: FleetId,
    pub(crate) client: Client,
    /// With the right to let agents in.
    pub(crate) manages: Option<Client>,
    /// Whether a look lets them in.
    pub(crate) upkeep: bool,
    /// Whether agents are let in by their names alone.
    pub(crate) trusts_names: bool,
    pub(crate) pools: BTreeMap<PoolName, Serves>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) probe_timeout: Duration,
    pub(crate) memory: Mutex<Memory>,
}

/// What one look leaves for the next. All of it may be lost.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) oracle: Oracle,
    /// The server's words when it last refused to authorise, and when.
    pub(crate) refused: Option<(Duration, String)>,
    pub(crate) strangers: BTreeSet<u64>,
    /// Agents with the name of a machine of no pool of ours, and whether they have its key.
    pub(crate) keys: BTreeMap<u64, bool>,
    /// Wait reasons that nobody knows and that were said.
    pub(crate) reasons: BTreeSet<String>,
}

/// What one look read, besides the queue.
pub(crate) struct Seen {
    pub(crate) queued: Vec<Build>,
    pub(crate) running: Vec<Build>,
    pub(crate) pools: Option<Vec<Pool>>,
    pub(crate) agents: Vec<Agent>,
    /// When the look began, on the clock's boot time.
    pub(crate) began: Duration,
}

#[async_trait]
impl Emitter for TeamCityEmitter {
    async fn probe(&self) -> Result<Snapshot, EmitterError> {
        let operation = "look at the queue and the agents";
        let (clock, limit) = (self.clock.as_ref(), self.probe_timeout);
        web::look(clock, limit, &self.name, operation, self.look()).await
    }
}

impl TeamCityEmitter {
    async fn look(&self) -> Result<Snapshot, Failure> {
        let taken_at = self.clock.now();
        let meter = Meter::default();
        let mut doubts = Completeness::Complete;
        let mut seen = self.read(&mut doubts, &meter).await?;
        self.say_reasons(&seen.queued);
        self.sight(&seen, &mut doubts, &meter).await;
        if self.upkeep {
            self.let_in(&mut seen, &meter).await;
        }
        let unclaimed = self.unclaimed(&seen, &meter).await;

        let kinds = self.kinds(&seen, &mut doubts);
        self.ask_about_bonds(&seen, &meter).await;
        let bonds = self.memory().oracle.bonds();
        let Chains { placed, bound } = chain::place(&seen.queued, &seen.running, &bonds);
        let mut jobs: Vec<(Job, BTreeSet<String>)> = placed.iter().map(convert::waiting).collect();
        jobs.extend(convert::running(&seen.running));
        // of projects that are linked to no pool of ours nobody is asked
        let ours = jobs
            .iter()
            .filter(|(job, _)| kinds.iter().any(|kind| kind.is_linked(&job.project)));
        let types: BTreeSet<String> = ours.flat_map(|(_, types)| types).cloned().collect();
        self.ask_about_types(&types, &kinds, &seen, &mut doubts, &meter)
            .await;
        let now = self.clock.boottime();
        self.memory().oracle.tell(&mut jobs, &kinds, now);
        let limits = self.limits(&seen, &meter).await;
        limits.apply(jobs.iter_mut().map(|(job, _)| job));
        let executors = self.executors(&seen, &unclaimed, &kinds, &bound);
        Ok(Snapshot {
            jobs: jobs.into_iter().map(|(job, _)| job).collect(),
            executors,
            taken_at,
            completeness: doubts,
            cost: meter.cost(),
        })
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_reasons(&self, queued: &[Build]) {
        let texts = queued.iter().map(|build| build.wait_reason.as_deref());
        for words in reason::news(texts, &mut self.memory().reasons) {
            tracing::warn!(
                emitter = %self.name,
                reason = words,
                "builds wait for something that Parmanu does not know: no machine is made for them"
            );
        }
    }

    /// Demand first, executors last.
    async fn read(&self, doubts: &mut Completeness, meter: &Meter) -> Result<Seen, Failure> {
        let began = self.clock.boottime();
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
            began,
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
        if self.has_our_name(agent) {
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

    /// Whether an agent has the name of a machine of a pool of ours.
    fn has_our_name(&self, agent: &Agent) -> bool {
        let named: Option<model::InstanceName> = agent.name.parse().ok();
        named.is_some_and(|named| self.pools.contains_key(named.pool()))
    }

    fn executors(
        &self,
        seen: &Seen,
        unclaimed: &BTreeSet<u64>,
        kinds: &[Kind],
        bound: &BTreeMap<String, Vec<model::JobId>>,
    ) -> Vec<Executor> {
        let good = self.memory().oracle.as_good(kinds);
        let labels = |agent: &Agent| {
            let kinds = kinds.iter().zip(&good);
            let as_good = kinds.filter(|(_, good)| good.contains(&agent.id));
            as_good.map(|(kind, _)| as_good_as(&kind.key)).collect()
        };
        // kept for their answers, and never capacity
        let prototypes: BTreeSet<&String> = self
            .pools
            .values()
            .filter_map(|serves| serves.prototype.as_ref())
            .collect();
        let mut names = BTreeSet::new();
        let again = seen
            .agents
            .iter()
            .filter(|agent| !names.insert(&agent.name));
        let twice: BTreeSet<&String> = again.map(|agent| &agent.name).collect();
        let doubtful = |mut executor: Executor| {
            let is_busy = matches!(executor.state, ExecutorState::Busy { .. });
            if twice.contains(&executor.name) && !is_busy {
                let why = "two agents of this name were listed".to_owned();
                executor.state = ExecutorState::Unknown { why };
            }
            executor
        };
        seen.agents
            .iter()
            .filter(|agent| !prototypes.contains(&agent.name) || agent.build.is_some())
            .filter_map(|agent| {
                let claim = convert::Claim {
                    name: self.has_our_name(agent),
                    key: unclaimed.contains(&agent.id),
                };
                convert::executor(agent, &self.fleet, claim, bound, labels(agent))
            })
            .map(doubtful)
            .collect()
    }
}

/// The agent pool that a `serves` entry names.
pub(crate) fn pool_of<'a>(serves: Option<&Serves>, pools: Option<&'a [Pool]>) -> Option<&'a Pool> {
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
