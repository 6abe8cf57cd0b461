//! probot: asks every CI server what it wants done and writes one workload per pool into the store.
//!
//! Stateless: kill it at any moment and start another anywhere. Each emitter has its own loop with its own frequency,
//! deadline and lease, so a slow one delays no other and any number of replicas share the emitters among them.
//!
//! It maps jobs to pools ([`mapping`]), tells when blocked ones may run ([`ahead`]) and decides nothing: how many machines that makes is the engine's business.
#![forbid(unsafe_code)]

pub mod ahead;
mod hooks;
pub mod mapping;
mod named;
mod pace;
pub mod passed_over;
mod poll;
mod reload;
mod run;

pub use hooks::Hooks;
pub use poll::Polled;
pub use reload::Reconfigure;
pub use run::Probot;
