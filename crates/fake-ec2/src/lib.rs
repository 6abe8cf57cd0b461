//! A stateful EC2 for tests and simulations: it keeps machines, enforces the rules callers trip over
//! and refuses what the real service refuses.
//!
//! Why our own: the emulators at hand ignore ClientToken, never lack capacity, never throttle and
//! show a new machine at once. Those are exactly the cases in which a scaler pays twice or kills a
//! build, so this fake makes every one of them happen on demand.
//!
//! [`Ec2`] is pure: [`Ec2::handle`] takes a request and the time and gives the answer, so that it
//! runs in virtual time as well as behind [`Server`], a thin HTTP server on a loopback port.
//!
//! What it deliberately is not: it checks the *form* of a signature, not the signature; it knows no
//! networks, volumes or launch template contents beyond their ids; and where the real service's order
//! of checks is not documented, it picks one. A green run proves our handling of the documented
//! behavior, not that the documentation is right.
#![forbid(unsafe_code)]

mod access;
mod console;
mod describe;
mod ec2;
mod faults;
mod filter;
mod form;
mod images;
mod launch;
mod limits;
mod machine;
mod page;
mod run;
mod server;
mod settings;
mod spot;
mod tags;
mod terminate;
mod volumes;
mod wire;
mod xml;

pub use ec2::{Call, Ec2};
pub use faults::Fault;
pub use machine::{Ending, Machine, Market, State};
pub use server::Server;
pub use settings::{Image, InstanceType, LaunchTemplate, Settings};
pub use wire::{Delivery, Request, Response};
