//! The CI servers that the demo can play: the fakes behind their sockets, and what people and machines do with them.
//!
//! The product speaks to them over HTTP only. What stands here is the other side: somebody pushes jobs, an agent starts
//! with what its boot script says, and the server hands out jobs by its own rule.

pub(super) mod gitlab;
mod jenkins;
mod teamcity;

use std::sync::Arc;

use clap::ValueEnum;
use fake_server::Server;
use jiff::Timestamp;
use model::InstanceName;
use ports::Clock;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Platform {
    /// GitLab: one runner per machine.
    #[default]
    Gitlab,
    /// Jenkins: one node per machine.
    Jenkins,
    /// TeamCity: one agent per machine, let in when it has come.
    Teamcity,
}

impl Platform {
    /// Its name as its makers write it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Platform::Gitlab => "GitLab",
            Platform::Jenkins => "Jenkins",
            Platform::Teamcity => "TeamCity",
        }
    }

    /// Starts the fake server.
    pub(crate) async fn start(self, clock: &Arc<dyn Clock>) -> std::io::Result<Played> {
        match self {
            Platform::Gitlab => gitlab::start(gitlab::server(), clock).await,
            Platform::Jenkins => jenkins::start(clock).await,
            Platform::Teamcity => teamcity::start(clock).await,
        }
    }
}

/// A server that runs, and what the configuration says of it.
pub(crate) struct Played {
    pub(crate) ci: Box<dyn Ci>,
    /// The keys of its entry in `emitters:`, but `probe`.
    pub(crate) emitter: String,
    /// `serves:` of the pools `linux`, `docker` and `gpu`.
    pub(crate) serves: [&'static str; 3],
    /// The template of the boot script.
    pub(crate) script: &'static str,
    /// Listens as long as this lives.
    pub(crate) server: Server,
}

/// Kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    UnitTests,
    Lint,
    Image,
    Train,
}

/// What people and machines do with a CI server.
pub(crate) trait Ci: Send {
    /// Somebody pushes a job; its number.
    fn push(&mut self, kind: Kind, now: Timestamp) -> u64;
    /// The agent of a machine starts, with the arguments that its boot script gives it.
    fn join(&mut self, machine: &InstanceName, arguments: &[&str], now: Timestamp);
    /// Agents without a job are given those that wait.
    fn hand_out(&mut self, now: Timestamp);
    /// The job that a machine has.
    fn holds(&self, machine: &InstanceName) -> Option<u64>;
    /// An agent reports that its job ended well.
    fn finish(&mut self, job: u64, now: Timestamp);
    /// A machine is gone, and what it ran with it.
    fn lose(&mut self, machine: &InstanceName, now: Timestamp);
    /// Jobs that were killed: the promise of the product is that there are none.
    fn killed(&self) -> usize;
}
