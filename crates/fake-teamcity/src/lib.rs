//! A TeamCity server small enough to read and strict enough to believe.
//!
//! It exists so that the emitter, the end-to-end tests and a demo can talk to something that *refuses* what the real
//! server refuses: a default filter hides unauthorised agents, a pool that may not be seen is 404 and not empty, a project
//! that may not be seen is missing from the queue, authorising above the licences fails, an agent that is connected cannot
//! be deleted, and a machine that is switched off while it builds loses its build. Its state is plain data behind
//! [`TeamCity::handle`], which does no I/O and reads no clock; [`Server`] puts it on a loopback port. Every build remembers
//! how it ended and on which agent, so that a test can assert that none was killed.
//!
//! Shapes and texts follow answers recorded from TeamCity 2026.2 and the published REST schema of 2025; who is compatible
//! with what follows the order in which `AgentFinder` of JetBrains/teamcity-rest (2024) asks. It knows no product crate; an
//! address or a locator dimension that it does not know is refused, so that a new call cannot pass a test by luck.
#![forbid(unsafe_code)]

mod agents;
mod answer;
mod dispatch;
mod fault;
mod fields;
mod locator;
mod route;
mod show;
mod world;

pub use fake_server::{Request, Response, Server, Transport};

pub use fault::{Fault, FaultKind};
pub use world::{
    Agent, Build, BuildType, Dependency, Ended, Pool, Rights, Sight, State, TeamCity, time_text,
};
