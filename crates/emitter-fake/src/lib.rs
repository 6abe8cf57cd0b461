//! An in-process CI server: the reference emitter.
//!
//! It keeps a queue, hands jobs to registered executors by the tag rule, and has both halves of the port: the probe
//! and the control verbs. It behaves as the real ones do where it hurts: a job that was promised before a cordon can
//! still be handed out after it, a deleted machine loses the build that ran on it, an operator's own pause is refused
//! to everybody else. Tests ask it afterwards how every job ended.
#![forbid(unsafe_code)]

mod plugin;
mod server;

pub use plugin::{Config, FakeEmitter, Serves, TagMatcher};
pub use server::{FakeCi, FakeJob, JobEnd};
