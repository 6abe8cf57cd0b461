//! New agents of ours, as far as one look lets them in; and those that nobody lets in any more.
//!
//! An agent whose pool was removed before it was marked has nothing that says whose it is but its join key. Whoever shows it is
//! told of as ours, so that its machine can leave by a cordon; it is let into nothing.

use std::collections::BTreeSet;

use secrecy::SecretString;

use crate::admit::{Admitted, Door};
use crate::client::{Client, Meter};
use crate::emitter::{Seen, TeamCityEmitter, pool_of};
use crate::error::{Failure, line};
use crate::wire::Agent;

/// Agents that are let in during one look; each takes four to eight requests.
const ADMISSIONS: usize = 20;

/// Agents with the name of one of ours and another key, that are not asked again.
const STRANGERS: usize = 1000;

/// Agents with the name of a machine of no pool of ours whose keys are remembered. Of more nothing is asked.
const UNCLAIMED: usize = 1000;

impl TeamCityEmitter {
    /// Lets new agents of ours in. What fails is tried again in the next look, and is no part of what was seen.
    pub(crate) async fn let_in(&self, seen: &mut Seen, meter: &Meter) {
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
        let door = self.door(client, &token, meter);
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

    fn door<'a>(
        &'a self,
        client: &'a Client,
        token: &'a SecretString,
        meter: &'a Meter,
    ) -> Door<'a> {
        Door {
            client,
            fleet: &self.fleet,
            token,
            pools: &self.pools,
            trusts_names: self.trusts_names,
            now: self.clock.now(),
            meter,
        }
    }

    /// The agents of this look that are ours by their keys, though no pool of ours has their names. What could not be asked is
    /// asked in the next look; until then its machine is one whose agent is not seen, and stays.
    pub(crate) async fn unclaimed(&self, seen: &Seen, meter: &Meter) -> BTreeSet<u64> {
        let token = self.manages.as_ref().map(|client| client.token());
        // one that cannot be read was said by whoever lets agents in
        let Some((client, Ok(token))) = self.manages.as_ref().zip(token) else {
            return BTreeSet::new();
        };
        let door = self.door(client, &token, meter);
        let unclaimed: Vec<&Agent> = seen
            .agents
            .iter()
            .filter(|agent| door.is_unclaimed(agent))
            .take(UNCLAIMED)
            .collect();
        let mut known = std::mem::take(&mut self.memory().keys);
        known.retain(|id, _| unclaimed.iter().any(|agent| agent.id == *id));
        let began = self.clock.boottime();
        let unknown: Vec<&&Agent> = unclaimed
            .iter()
            .filter(|agent| !known.contains_key(&agent.id))
            .take(ADMISSIONS)
            .collect();
        for agent in unknown {
            // the look itself must not run out of time
            if self.clock.boottime().saturating_sub(began) > self.probe_timeout / 6 {
                break;
            }
            let (name, emitter) = (line(&agent.name), &self.name);
            match door.has_key(agent).await {
                Ok(ours) => {
                    known.insert(agent.id, ours);
                    if ours {
                        tracing::warn!(%emitter, agent = name, "an agent of ours belongs to no pool that is configured: it is let into none, and its machine leaves");
                    }
                }
                Err(failure) => {
                    tracing::warn!(%emitter, agent = name, why = failure.message, "whether an agent is ours could not be asked");
                }
            }
        }
        let ours = known.iter().filter(|(_, ours)| **ours);
        let ours = ours.map(|(id, _)| *id).collect();
        self.memory().keys = known;
        ours
    }

    fn remember(&self, agent: &Agent, admitted: &Result<Admitted, Failure>) {
        let (name, emitter) = (line(&agent.name), &self.name);
        match admitted {
            Ok(Admitted::Yes(_)) => {
                self.memory().refused = None;
                tracing::info!(%emitter, agent = name, "agent authorised and put into its pool");
            }
            Ok(Admitted::Stranger(why)) => {
                let mut memory = self.memory();
                if memory.strangers.len() < STRANGERS {
                    memory.strangers.insert(agent.id);
                }
                tracing::warn!(
                    %emitter, agent = name, why,
                    "an agent has the name of a machine of ours and is not let in"
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
}
