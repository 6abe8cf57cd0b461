//! What an operator sees of a service: logs, metrics, health; and the one clock.
//!
//! It exists so that every service says the same things in the same words. It decides nothing and
//! knows no service: the services set the values, this crate names and prints them.
//!
//! - [`logs`]: one line per event, JSON or for people.
//! - [`chain`]: an error with everything that caused it, for the `error` field of a log line.
//! - [`names`]: spans and fields; [`metrics`]: every metric there is.
//! - [`SystemClock`]: the machine's clocks, read nowhere else.
//! - [`process`]: who this process is, and when to stop.
//! - [`health`]: readiness by named conditions; [`http`]: `/healthz`, `/readyz`, `/metrics`.

#![forbid(unsafe_code)]

mod chain;
mod clock;
pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod process;

pub use chain::{Chain, chain};
pub use clock::SystemClock;
pub use health::{Condition, Readiness};
pub use metrics::Metrics;
