//! What every emitter, provider and store must do, written once.
//!
//! Each suite is a set of plain async functions over a trait object, each with a doc line that says what breaks
//! without it, and a macro that runs them all as tests of their own. A case that an adapter cannot show is skipped by
//! name, never in silence.
#![forbid(unsafe_code)]

pub mod emitter;
pub mod hostile;
pub mod provider;
pub mod store;
