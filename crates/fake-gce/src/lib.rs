//! A stateful Google Compute Engine for tests and simulations: it keeps machines and operations, enforces the rules
//! callers trip over and refuses what the real service refuses.
//!
//! Why our own: no emulator at hand speaks to Google's own clients about instances, and none knows the cases in which
//! a scaler pays twice or kills a build: a creation that is accepted and fails a minute later inside its operation, a
//! name that is taken in one zone only, a zone that is missing from a listing, a quota that fills up again at the
//! next full minute.
//!
//! [`Gce`] is pure: [`Gce::handle`] takes a request and the time and gives the answer, so that it runs in virtual time
//! as well as behind [`Server`], a thin HTTP server on a loopback port.
//!
//! What it deliberately is not: it reads who signed a token and not whether the signature is right; it knows no
//! networks, disks or images beyond their names; and where the real service's order of checks is not documented, it
//! picks one. `tests/judge` has Google's own Python clients drive it and checks its answers against Google's discovery
//! document; a green run proves our handling of the documented behaviour, not that the documentation is right.
#![forbid(unsafe_code)]

mod access;
mod body;
mod change;
mod control;
mod faults;
mod filter;
mod gce;
mod identity;
mod insert;
mod limits;
mod list;
mod machine;
mod operation;
mod patch;
mod route;
mod server;
mod settings;
mod show;
mod wire;

pub use faults::Fault;
pub use gce::{Call, Gce};
pub use limits::Rates;
pub use machine::{Ending, Machine, Why};
pub use server::{Server, Time};
pub use settings::{MachineType, Settings};
pub use wire::{Delivery, Request, Response};
