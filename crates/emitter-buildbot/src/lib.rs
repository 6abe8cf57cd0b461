//! The Buildbot plugin: requests that wait, builds that run, workers that stand ready.
//!
//! Speaks Buildbot's REST API, version 2. Four facts of Buildbot shape the crate:
//!
//! - *Worker names are fixed* by the master's configuration. `register` leases a free one, and the machine's tag
//!   and the intents are the memory of who has it (see `leases`).
//! - *A worker is listed because it is configured.* Only `connected_to` says that a machine stands behind it.
//! - *A pause outlives its worker* and the master, and its reason is free text: the mark of our cordon (see `mark`).
//! - *Now and then a request is never answered.* Every call has its own short deadline, and silence is unknown.
//!
//! What it does not do: it never kills a worker, never stops one that is not ours, and cannot create a name.
#![forbid(unsafe_code)]

mod client;
mod config;
mod control;
mod convert;
mod emitter;
mod leases;
mod mark;
mod matcher;

use std::sync::{Arc, Mutex};

use ports::strict::Problems;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
};

pub use config::{BuildbotConfig, DEFAULT_SETTLE, Manage, Serves};
pub use matcher::BuildbotMatcher;

use crate::client::Client;
use crate::config::{KIND, read_serves};

/// The plugin of kind `buildbot`.
#[derive(Debug)]
pub struct Buildbot;

impl EmitterPlugin for Buildbot {
    const KIND: &'static str = KIND;
    type Config = BuildbotConfig;
    type Serves = Serves;

    fn facts(config: &BuildbotConfig) -> EmitterFacts {
        EmitterFacts {
            appears: false,
            settle: config.settle(),
            manages: config.manage.is_some(),
        }
    }

    fn check(config: &BuildbotConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(BuildbotMatcher::new(serves))
    }

    fn emitter(
        config: BuildbotConfig,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError> {
        Ok(Arc::new(emitter::BuildbotEmitter {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client: Client::new(&config, context.clock.clone())?,
            clock: context.clock.clone(),
            probe_timeout: context.probe_timeout,
        }))
    }

    fn control(
        config: BuildbotConfig,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        let client = Client::new(&config, context.clock.clone())?;
        let pools = read_serves(&context.pools)?;
        let Some(manage) = config.manage else {
            return Ok(None);
        };
        Ok(Some(Arc::new(control::BuildbotControl {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            client,
            manage,
            pools,
            clock: context.clock.clone(),
            leases: Mutex::default(),
        })))
    }
}
