//! A simulated cloud, in process: boot times, listing lag, capacity, lost replies.
//!
//! The reference adapter of the port `Provider`: it passes the same suite as the real ones and lets a newcomer run the
//! whole system on a laptop. It answers as a cloud does and refuses what a cloud refuses (foreign machines are never
//! listed, a deleted machine stays deleted), but it knows nothing of CI servers: whoever plays the machines asks
//! [`FakeCloud::machines`] which of them run and what their boot script says.
#![forbid(unsafe_code)]

mod cloud;
mod plugin;

pub use cloud::{FakeCloud, FakeMachine, Fault, Options};
pub use plugin::{Config, FakeProvider, Offer};
