//! The names of spans and fields, each in one place, so that a search in the logs finds all of it.
//!
//! Use them as `#[instrument(name = SCALER_TICK)]` (the macro takes a bare name, no path) and
//! `info!({ field::POOL } = %pool, ...)`.

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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::field;
    use super::span::SCALER_TICK;

    #[tracing::instrument(name = SCALER_TICK, skip_all, fields(pool = %pool))]
    fn tick(pool: &str) {
        tracing::info!(
            { field::REASON } = "demand",
            { field::ELAPSED_MS } = 3,
            "plan changed"
        );
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_names_can_be_used_where_names_are_written() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || tick("linux"));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        for part in [
            r#""message":"plan changed""#,
            r#""reason":"demand""#,
            r#""elapsed_ms":3"#,
            r#""name":"scaler.tick""#,
            r#""pool":"linux""#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
