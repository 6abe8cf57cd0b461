//! The Jenkins plugin: items that wait, builds that run, nodes that stand ready.
//!
//! Speaks Jenkins' remote API as two controllers, 2.263.4 and 2.446, were seen to answer it. Five facts of Jenkins shape
//! the crate:
//!
//! - *The label of a pipeline step is nowhere but in the words of `why`*, and not always there (see `convert`). A job whose
//!   label nobody can know is reported as fitting no pool; it is never left out.
//! - *A label is told only where two nodes have it, or none does.* So one offline placeholder node is kept for each pool,
//!   where the configuration allows it: with it each machine's labels are those of at least two nodes.
//! - *The cordon is a toggle or a cause.* It is always set as a cause, which carries our mark (see `control`).
//! - *A restart forgets*: cordons until the agents are back, and why a node is offline. A node that reads uncordoned is
//!   uncordoned, and whether a machine ever joined is told by the session in its mark (see `mark`).
//! - *A pipeline survives a restart and its node does not remember it*; the queue does (see `control`).
//!
//! What it does not do: it never stops a build, never touches a node that is not ours, and needs no script console.
#![forbid(unsafe_code)]

mod client;
mod config;
mod control;
mod convert;
mod emitter;
mod error;
#[cfg(test)]
mod fuzz;
pub mod label;
mod mark;
mod matcher;
mod nodes;
mod placeholders;
mod why;
mod wire;

use std::sync::{Arc, Mutex};

use ports::strict::Problems;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
    Report,
};

pub use config::{DEFAULT_SETTLE, JenkinsConfig, Manage, Serves};
pub use matcher::JenkinsMatcher;

use crate::client::Client;
use crate::config::{KIND, read_serves};
use crate::placeholders::Placeholders;

/// The plugin of kind `jenkins`.
#[derive(Debug)]
pub struct Jenkins;

impl EmitterPlugin for Jenkins {
    const KIND: &'static str = KIND;
    /// Core Jenkins measures free memory and no load.
    const REPORTS: &'static [Report] = &[Report::Memory];
    type Config = JenkinsConfig;
    type Serves = Serves;

    fn facts(config: &JenkinsConfig) -> EmitterFacts {
        EmitterFacts {
            appears: false,
            settle: config.settle(),
            manages: config.manage.is_some(),
        }
    }

    fn check(config: &JenkinsConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_serves(serves: &[Serves], slots: u32, problems: &mut Problems) {
        config::check_serves(serves, slots, problems);
    }

    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(JenkinsMatcher::new(serves))
    }

    fn emitter(
        config: JenkinsConfig,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError> {
        let client = client(&config, context)?;
        let pools = read_serves(&context.pools)?;
        let keeps = config
            .manage
            .filter(|manage| manage.placeholder && context.upkeep)
            .map(|manage| Placeholders::of(&context.fleet, &pools, manage.work_dir));
        Ok(Arc::new(emitter::JenkinsEmitter {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client,
            keeps,
            clock: context.clock.clone(),
            probe_timeout: context.probe_timeout,
            labels: Mutex::default(),
        }))
    }

    fn control(
        config: JenkinsConfig,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        let client = client(&config, context)?;
        let url = config.url.trim_end_matches('/').to_owned();
        let Some(manage) = config.manage else {
            return Ok(None);
        };
        Ok(Some(Arc::new(control::JenkinsControl {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client,
            url,
            manage,
            pools: read_serves(&context.pools)?,
        })))
    }
}

fn client(config: &JenkinsConfig, context: &EmitterContext) -> Result<Client, PluginError> {
    let base = config.base().map_err(|message| PluginError {
        kind: KIND,
        message,
        source: None,
    })?;
    let (user, token) = (config.user.clone(), config.token.clone());
    let ca_file = config.ca_file.clone();
    Client::new(base, user, token, ca_file, context.clock.clone())
}
