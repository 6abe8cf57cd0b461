//! What the fakes of foreign HTTP servers have in common.
//!
//! A fake is state and one function from a request to an answer, without I/O and without a clock: so
//! a test drives it directly, and a simulation in virtual time. Here are the request, the answer, the
//! shell that puts any fake on a loopback port ([`Server`]), connections that a fake can cut ([`mod@line`]), and a check of its answers against the
//! published shape of the real ones ([`shape`]).
//!
//! It knows no product crate and nothing of any one server: routes, refusals, rights and faults are
//! the fakes' own.
#![forbid(unsafe_code)]

mod http;
pub mod line;
mod server;
pub mod shape;

pub use http::{Request, Response, Transport};
pub use server::{Fake, Server};
