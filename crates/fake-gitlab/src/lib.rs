//! A GitLab small enough to read and strict enough to believe.
//!
//! It exists so that the emitter, the end-to-end tests and the demo can talk to something that
//! *refuses* what the real server refuses: a token without rights gets an empty list or a 403, a
//! paused runner gets no job, a keyset page in the wrong order is a 405. Its state is plain data
//! behind [`GitLab::handle`], which does no I/O and reads no clock; [`Server`] puts it on a loopback
//! port. Every job remembers how it ended and on which runner, so that a test can assert that no
//! build was killed and that each ran once.
//!
//! It deliberately knows no product crate,
//! and only the queries and endpoints an autoscaler needs; anything else is a 404 or a
//! GraphQL error, so that a new call cannot pass a test by luck.
#![forbid(unsafe_code)]

mod answer;
mod auth;
mod dispatch;
mod fault;
mod graphql;
mod groups;
mod jobs;
mod paging;
mod params;
mod pipelines;
mod query;
mod route;
mod runners;
mod schema;
mod world;

pub use fake_server::{Request, Response, Server, Transport};

pub use auth::{Access, Scope, User};
pub use dispatch::JobRequest;
pub use fault::{Fault, FaultKind, RateLimit};
pub use pipelines::PipelineJob;
pub use world::{
    Ending, GitLab, Group, Job, JobId, JobKind, JobState, Manager, Project, ProjectId, Run, Runner,
    RunnerId, RunnerType,
};

/// The GraphQL schema that answers and queries are held against, restated from the published one.
pub const GRAPHQL_SCHEMA: &str = include_str!("../schema.graphql");
