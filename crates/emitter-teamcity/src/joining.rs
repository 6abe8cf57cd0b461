//! New agents of ours, as far as one look lets them in.

use crate::admit::{Admitted, Door};
use crate::client::Meter;
use crate::emitter::{Seen, TeamCityEmitter, pool_of};
use crate::error::{Failure, line};
use crate::wire::Agent;

/// Agents that are let in during one look; each takes four to eight requests.
const ADMISSIONS: usize = 20;

/// Agents with the name of one of ours and another key, that are not asked again.
const STRANGERS: usize = 1000;

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
        let door = Door {
            client,
            fleet: &self.fleet,
            token: &token,
            pools: &self.pools,
            trusts_names: self.trusts_names,
            now: self.clock.now(),
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
