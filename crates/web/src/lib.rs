//! One bounded HTTP exchange, for every emitter that speaks HTTP.
//!
//! A CI server may be broken or hostile, and what stands before it too: a proxy's page of errors, an answer that never
//! ends, one that grows a thousandfold when it is unpacked, a redirect that would carry the token to somebody else. What
//! to do about each is the same for every emitter and is written here once: [`Client::send`] sends one [`Request`] and
//! gives one bounded [`Answer`] before a deadline, or a [`Failure`] that says what an operator can do.
//!
//! It knows HTTP and the port's kinds of error, and nothing of any CI server: their paths, tokens, envelopes and budgets
//! stay with the emitters. It never retries, since the next look is the retry, and nothing here quotes a body or a token.

#![forbid(unsafe_code)]

mod answer;
mod client;
mod failure;
mod link;
#[cfg(feature = "memory")]
pub mod memory;
mod meter;
mod request;
mod wait;

pub use answer::Answer;
pub use client::{Client, Settings, Toll};
pub use failure::{Advice, Failure, look, of_status, quote};
pub use meter::Meter;
pub use request::Request;
// the words of HTTP, so that an emitter names no HTTP library
pub use reqwest::{Method, header};
