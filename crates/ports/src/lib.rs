//! The border between the core and the outside.
//!
//! Five traits: [`Emitter`] and [`ExecutorControl`] (a CI server), [`Provider`] (a cloud account), [`Store`]
//! (notice-board and lock-keeper) and [`Clock`]. Each has one small `kind` of error that tells the caller what it
//! can do. The [`EmitterRegistry`] and [`ProviderRegistry`] turn a plugin into one line of the crate `plugins`.
//!
//! No adapter lives here and nothing here talks to a network. To add a cloud: implement [`ProviderPlugin`] in a
//! crate of its own, run `conformance::provider_suite!` over it, add one line to `plugins`.
#![forbid(unsafe_code)]

pub mod clock;
pub mod emitter;
pub mod provider;
mod registry;
pub mod secret;
pub mod store;
mod store_address;
pub mod strict;
pub mod units;

pub use clock::{Call, CallEnd, Clock, timeout};
pub use emitter::{
    Contact, Credential, Emitter, EmitterContext, EmitterError, EmitterErrorKind, EmitterFacts,
    EmitterPlugin, ExecutorControl, Found, Matcher, Register, Registration, Report,
};
pub use provider::{
    Fate, Leftover, MAX_CONSOLE, MAX_LEFTOVERS, Outcome, Provider, ProviderContext, ProviderError,
    ProviderErrorKind, ProviderFacts, ProviderPlugin, console_end,
};
pub use registry::{EmitterEntry, EmitterRegistry, Made, ProviderEntry, ProviderRegistry};
pub use secret::{SecretError, SecretRef};
pub use store::{
    Acquired, EmitterStatus, FleetRecord, Lease, LeaseName, PoolCommit, PoolRecord, ProbeFailure,
    Store, StoreError, StoreErrorKind, Wake, WorkloadWrite,
};
pub use store_address::StoreAddress;

/// Any error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a plugin could not be made from its configuration.
#[derive(Debug, thiserror::Error)]
#[error("{kind} plugin: {message}")]
pub struct PluginError {
    /// The plugin.
    pub kind: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// What lies below, if anything.
    #[source]
    pub source: Option<BoxError>,
}
