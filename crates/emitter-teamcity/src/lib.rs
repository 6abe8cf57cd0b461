//! The TeamCity plugin: builds that wait, builds that run, agents that stand ready.
//!
//! Speaks TeamCity's REST API as a server 2026.2 was seen to answer it, and as its schema and source of 2024 and 2025 say.
//! Five facts of TeamCity shape the crate:
//!
//! - *The server alone knows who can run what.* Requirements are computed there, so it is asked, and its answers travel in
//!   the jobs' facts (see `oracle`, `matcher`). From zero one canary is booted to be asked about.
//! - *Whole chains are in the queue.* Only what waits for nothing but an agent is demand; composite builds and builds that
//!   have left their agent are none, and builds that stay on one agent are one machine (see `chain`).
//! - *An agent registers by itself*, under the name it was given, and is then let in: by its name and a key (see `admit`).
//! - *A disabled agent still takes a build that a person chose it for*, so the strong read asks for that too (see `control`).
//! - *Agents take licences*, and a pool has a size: what is beyond is told and asks for no machine (see `limits`).
//!
//! What it does not do: it never stops a build, never touches an agent that is not ours, and matches nothing itself.
#![forbid(unsafe_code)]

mod admit;
mod asking;
mod chain;
mod client;
mod config;
mod control;
mod convert;
mod emitter;
mod error;
mod joining;
mod limits;
mod mark;
mod matcher;
mod oracle;
mod reason;
mod walk;
mod wire;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod recorded;

use std::sync::{Arc, Mutex};

use ports::secret::SecretRef;
use ports::strict::Problems;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
};

pub use config::{DEFAULT_CORDON, DEFAULT_SETTLE, Manage, Serves, TeamCityConfig};
pub use matcher::TeamCityMatcher;

use crate::client::Client;
use crate::config::{KIND, read_serves};

/// The plugin of kind `teamcity`.
#[derive(Debug)]
pub struct TeamCity;

impl EmitterPlugin for TeamCity {
    const KIND: &'static str = KIND;
    type Config = TeamCityConfig;
    type Serves = Serves;

    fn facts(config: &TeamCityConfig) -> EmitterFacts {
        EmitterFacts {
            appears: true,
            settle: config.settle(),
            manages: config.manage.is_some(),
        }
    }

    fn check(config: &TeamCityConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_serves(serves: &[Serves], slots: u32, problems: &mut Problems) {
        config::check_serves(serves, slots, problems);
    }

    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(TeamCityMatcher::new(serves))
    }

    fn emitter(
        config: TeamCityConfig,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError> {
        let manages = managing_token(&config)
            .map(|token| client(&config, token, context))
            .transpose()?;
        Ok(Arc::new(emitter::TeamCityEmitter {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client: client(&config, config.token.clone(), context)?,
            manages,
            upkeep: context.upkeep,
            trusts_names: config
                .manage
                .as_ref()
                .is_some_and(|manage| manage.trust_names),
            pools: read_serves(&context.pools)?,
            clock: context.clock.clone(),
            probe_timeout: context.probe_timeout,
            memory: Mutex::default(),
        }))
    }

    fn control(
        config: TeamCityConfig,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        let pools = read_serves(&context.pools)?;
        let Some(token) = managing_token(&config) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(control::TeamCityControl {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client: client(&config, token, context)?,
            url: config.url.trim_end_matches('/').to_owned(),
            manage: config.manage.clone().unwrap_or_default(),
            pools,
            clock: context.clock.clone(),
        })))
    }
}

/// The token that manages agents, if the configuration gives the right to it.
fn managing_token(config: &TeamCityConfig) -> Option<SecretRef> {
    let manage = config.manage.as_ref()?;
    Some(manage.token.clone().unwrap_or_else(|| config.token.clone()))
}

fn client(
    config: &TeamCityConfig,
    token: SecretRef,
    context: &EmitterContext,
) -> Result<Client, PluginError> {
    let base = config.base().map_err(|message| PluginError {
        kind: KIND,
        message,
        source: None,
    })?;
    Client::new(base, token, config.ca_file.clone(), context.clock.clone())
}
