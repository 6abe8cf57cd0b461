//! On what the deletion of a machine may rest, and what of the world has to be known for that. Nothing here changes anything.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use model::{EmitterName, ExecutorMode, ExecutorRef, Instance, InstanceState, Snapshot};

use super::due::is_renewed;
use super::reaper::Reaper;
use super::report::Fate;

/// What the CI servers show.
pub(super) type Looks = BTreeMap<EmitterName, Result<Snapshot, String>>;

/// What is known beside one machine.
pub(super) struct World {
    pub(super) looks: Looks,
    /// How many machines name each executor as theirs.
    claims: BTreeMap<ExecutorRef, usize>,
    /// Whether a scaler of the fleet has shown itself.
    pub(super) alive: bool,
}

impl World {
    /// What the first listings of all providers tell.
    pub(super) fn of<'a>(
        machines: impl Iterator<Item = &'a Instance> + Clone,
        now: Timestamp,
    ) -> Self {
        let alive = machines.clone().any(|machine| is_renewed(machine, now));
        let mut claims = BTreeMap::new();
        let there = machines.filter(|machine| !machine.state.is_gone());
        for executor in there.filter_map(|machine| machine.executor.clone()) {
            *claims.entry(executor).or_default() += 1;
        }
        World {
            looks: Looks::new(),
            claims,
            alive,
        }
    }

    /// Whether more than one machine names this executor as its own.
    pub(super) fn is_shared(&self, executor: &ExecutorRef) -> bool {
        self.claims.get(executor).is_some_and(|claims| *claims > 1)
    }
}

/// On what a deletion is to rest.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// This executor is certainly idle, and cordoned.
    Idle(ExecutorRef),
    /// These CI servers show no executor of its name.
    Unregistered(Vec<EmitterName>),
    /// Nothing runs on it.
    PoweredOff,
    /// It joins no CI server.
    NoExecutor,
    /// Whoever started this run wants no proof.
    NotAsked,
}

impl Proof {
    pub(super) fn words(&self) -> String {
        match self {
            Proof::Idle(executor) => format!("{executor} was read as idle twice"),
            Proof::Unregistered(_) => "it never registered".to_owned(),
            Proof::PoweredOff => "it was powered off".to_owned(),
            Proof::NoExecutor => "it joins no CI server".to_owned(),
            Proof::NotAsked => "nobody asked whether it was busy".to_owned(),
        }
    }
}

impl Reaper {
    /// Looks at the CI servers that may have executors of machines which name none.
    pub(super) async fn looks(&self, machines: &[&Instance]) -> Looks {
        let nameless = machines.iter().filter(|m| self.must_be_looked_for(m));
        let mut asked: Vec<EmitterName> = nameless.flat_map(|m| self.homes(m)).collect();
        asked.sort();
        asked.dedup();
        let looks = asked.into_iter().filter_map(|name| {
            let server = self.servers.get(&name)?;
            Some(async move { (name, server.look().await) })
        });
        join_all(looks).await.into_iter().collect()
    }

    fn must_be_looked_for(&self, machine: &Instance) -> bool {
        machine.executor.is_none() && !self.joins_nothing(machine)
    }

    fn joins_nothing(&self, machine: &Instance) -> bool {
        let policy = self.pools.get(machine.pool());
        policy.is_some_and(|policy| policy.executors == ExecutorMode::None)
    }

    /// The CI servers that a machine may have joined: its pool's, or any if the configuration does not have its pool.
    pub(super) fn homes(&self, machine: &Instance) -> Vec<EmitterName> {
        let policy = self.pools.get(machine.pool());
        match policy.and_then(|policy| policy.emitter.clone()) {
            Some(emitter) => vec![emitter],
            None => self.servers.keys().cloned().collect(),
        }
    }

    /// What a run would begin with, without touching anything.
    pub(super) async fn would_be(&self, machine: &Instance, world: &World) -> Fate {
        let proof = match self.proof(machine, world) {
            Ok(proof) => proof,
            Err(why) => return Fate::Stayed(why),
        };
        Fate::WouldGo(match &proof {
            Proof::Idle(executor) => {
                let read = match self.server(executor) {
                    Ok(server) => server.idle(&executor.id).await,
                    Err(why) => Err(why),
                };
                if let Err(why) = read {
                    return Fate::Stayed(why);
                }
                "its executor is idle now; it would be cordoned and read again".into()
            }
            Proof::Unregistered(_) => {
                "no executor of its name is seen; it would be looked for again".into()
            }
            Proof::PoweredOff => "it is powered off".into(),
            Proof::NoExecutor | Proof::NotAsked => proof.words(),
        })
    }

    /// On what the deletion of a machine could rest; fails if on nothing.
    pub(super) fn proof(&self, machine: &Instance, world: &World) -> Result<Proof, String> {
        match &machine.state {
            InstanceState::Unknown { what } => {
                return Err(format!(
                    "its provider says that it is `{what}`, which is no state that is known here"
                ));
            }
            _ if self.order.even_if_busy => return Ok(Proof::NotAsked),
            InstanceState::Stopped => return Ok(Proof::PoweredOff),
            _ => {}
        }
        if let Some(executor) = &machine.executor {
            if world.is_shared(executor) {
                return Err(format!(
                    "another machine names {executor} as its executor too"
                ));
            }
            return Ok(Proof::Idle(executor.clone()));
        }
        if self.joins_nothing(machine) {
            return Ok(Proof::NoExecutor);
        }
        let homes = self.homes(machine);
        match find(machine, &homes, &world.looks)? {
            Some(executor) => Ok(Proof::Idle(executor)),
            // a look shows what the pools of the configuration can be served by, and not all that there is
            None if !self.pools.contains_key(machine.pool()) => Err(format!(
                "no executor of its name is seen, and without the pool {} in the configuration that proves nothing",
                machine.pool()
            )),
            None => Ok(Proof::Unregistered(homes)),
        }
    }
}

pub(super) fn no_server(executor: &ExecutorRef) -> String {
    format!("its executor {executor} is at a CI server that the configuration does not have")
}

/// The executor of the machine's name; `None` only where every CI server that could have it was seen whole.
pub(super) fn find(
    machine: &Instance,
    homes: &[EmitterName],
    looks: &Looks,
) -> Result<Option<ExecutorRef>, String> {
    if homes.is_empty() {
        return Err("the configuration has no CI server that could know its executor".to_owned());
    }
    let name = machine.name.to_string();
    let mut found = None;
    for home in homes {
        let look = match looks.get(home) {
            Some(Ok(look)) => look,
            Some(Err(why)) => return Err(format!("{home} was not seen whole: {why}")),
            None => return Err(format!("{home} was not looked at")),
        };
        for executor in look.executors.iter().filter(|e| e.name == name) {
            let executor = ExecutorRef {
                emitter: home.clone(),
                id: executor.id.clone(),
            };
            if let Some(other) = found.replace(executor) {
                return Err(format!("{other} is not the only executor of its name"));
            }
        }
    }
    Ok(found)
}
