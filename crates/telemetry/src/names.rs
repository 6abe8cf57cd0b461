//! The names of spans and fields, each in one place, so that a search in the logs finds all of it.
//!
//! Use them as `#[instrument(name = span::SCALER_TICK)]` and `info!({ field::POOL } = %pool, ...)`.

/// Spans are `service.verb`.
pub mod span {
    /// One look at one emitter.
    pub const PROBOT_POLL: &str = "probot.poll";
    /// One pass of the scaler over all pools.
    pub const SCALER_TICK: &str = "scaler.tick";
    /// Deciding for one pool.
    pub const SCALER_PLAN: &str = "scaler.plan";
    /// Carrying out the plan of one pool.
    pub const SCALER_ACT: &str = "scaler.act";
    /// One listing of a provider account.
    pub const PROVIDER_LIST: &str = "provider.list";
    /// One batch of creations.
    pub const PROVIDER_CREATE: &str = "provider.create";
    /// One request to delete.
    pub const PROVIDER_DELETE: &str = "provider.delete";
    /// Reading from the store.
    pub const STORE_READ: &str = "store.read";
    /// Writing to the store.
    pub const STORE_WRITE: &str = "store.write";
}

/// Fields of spans and events.
pub mod field {
    /// The pool's name in the configuration.
    pub const POOL: &str = "pool";
    /// The emitter's name in the configuration.
    pub const EMITTER: &str = "emitter";
    /// The provider's name in the configuration.
    pub const PROVIDER: &str = "provider";
    /// The name of a machine, which is also its executor's.
    pub const INSTANCE: &str = "instance";
    /// The number of the pass since the service started.
    pub const TICK: &str = "tick";
    /// Reason codes of a plan, separated by commas.
    pub const REASON: &str = "reason";
    /// How something ended.
    pub const OUTCOME: &str = "outcome";
    /// An error with its causes, printed by [`crate::chain`].
    pub const ERROR: &str = "error";
    /// How long something took, in milliseconds.
    pub const ELAPSED_MS: &str = "elapsed_ms";
    /// The epoch of the lease that was held.
    pub const EPOCH: &str = "epoch";
}
