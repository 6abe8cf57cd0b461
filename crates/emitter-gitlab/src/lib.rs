//! GitLab as a CI server: which jobs wait or run, which runners stand ready, and the control verbs of
//! a runner.
//!
//! One runner per machine, since GitLab pauses runners and not machines. Ours are known by a tag that
//! names the fleet, and named like their machine. What this crate deliberately does not do: it keeps
//! no truth between looks, it never retries, and it never calls a runner idle that it could not read
//! to the end.
//!
//! **Certain idle** at GitLab: no pending, no running *and* no canceling job of that runner, read to the
//! last page with a token that may see them all, on a runner that is paused in the same read. Pending,
//! since a job can wait for its runner to accept it. Twice, a settle time apart ([`DEFAULT_SETTLE`]): a job request that began before the pause can be answered
//! with a job after it.
//!
//! Rights, cost and a sample are in the README of this crate.
#![forbid(unsafe_code)]

mod ahead;
mod budget;
mod client;
mod config;
mod control;
mod convert;
mod demand;
mod emitter;
mod error;
mod mark;
mod matcher;
mod protected;
mod queries;
mod rights;
mod roster;
mod scan;
mod seek;
mod sight;
mod supply;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ports::strict::Problems;
use ports::{
    Emitter, EmitterContext, EmitterFacts, EmitterPlugin, ExecutorControl, Matcher, PluginError,
};
use tokio::sync::OnceCell;

pub use budget::Budget;
pub use config::{DEFAULT_SETTLE, GitLabConfig, Scope, Serves};
pub use matcher::GitLabMatcher;

use crate::client::Client;
use crate::config::{KIND, Reach, read_serves};
use crate::control::GitLabControl;
use crate::emitter::GitLabEmitter;
use crate::protected::ProtectedRefs;
use crate::roster::Roster;

/// The plugin of kind `gitlab`.
#[derive(Debug)]
pub struct GitLab;

impl EmitterPlugin for GitLab {
    const KIND: &'static str = KIND;
    type Config = GitLabConfig;
    type Serves = Serves;

    fn facts(config: &GitLabConfig) -> EmitterFacts {
        EmitterFacts {
            appears: false,
            settle: config.settle(),
            manages: config.manage_token.is_some(),
        }
    }

    fn check(config: &GitLabConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn check_serves(serves: &[Serves], _slots: u32, problems: &mut Problems) {
        config::check_serves(serves, problems);
    }

    fn matcher(serves: Vec<Serves>) -> Box<dyn Matcher> {
        Box::new(GitLabMatcher::new(serves))
    }

    fn emitter(
        config: GitLabConfig,
        context: &EmitterContext,
    ) -> Result<Arc<dyn Emitter>, PluginError> {
        let (base, reach) = usable(&config)?;
        let budget = Some(config.budget.unwrap_or_default());
        Ok(Arc::new(GitLabEmitter {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            rescan: config.rescan(),
            client: Client::new(
                base,
                config.token,
                config.ca_file,
                context.clock.clone(),
                budget,
            )?,
            roster: Mutex::new(Roster::default()),
            member_of: Mutex::default(),
            reach,
            pools: read_serves(&context.pools)?,
            clock: context.clock.clone(),
            probe_timeout: context.probe_timeout,
            protected_refs: ProtectedRefs::default(),
            knows_canceling: AtomicBool::new(true),
        }))
    }

    fn control(
        config: GitLabConfig,
        context: &EmitterContext,
    ) -> Result<Option<Arc<dyn ExecutorControl>>, PluginError> {
        let (base, reach) = usable(&config)?;
        let Some(manage_token) = config.manage_token else {
            return Ok(None);
        };
        let ca_file = config.ca_file;
        let client =
            |base, token| Client::new(base, token, ca_file.clone(), context.clock.clone(), None);
        Ok(Some(Arc::new(GitLabControl {
            name: context.name.clone(),
            fleet: context.fleet.clone(),
            url: base.as_str().trim_end_matches('/').to_owned(),
            client: client(base.clone(), manage_token)?,
            reader: client(base, config.token)?,
            reach,
            pools: read_serves(&context.pools)?,
            owner_id: OnceCell::new(),
            knows_canceling: AtomicBool::new(true),
        })))
    }
}

/// The address and scope of a configuration that `check` found no error in.
fn usable(config: &GitLabConfig) -> Result<(url::Url, Reach), PluginError> {
    let unusable = |message| PluginError {
        kind: KIND,
        message,
        source: None,
    };
    Ok((
        config.base().map_err(unusable)?,
        config.scope.reach().map_err(unusable)?,
    ))
}
