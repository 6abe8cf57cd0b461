//! The fake's promises, asked for with hand-built form requests: no SDK between test and wire.

mod client;
mod faults;
mod life;
mod looking;
mod refusals;
mod server;
