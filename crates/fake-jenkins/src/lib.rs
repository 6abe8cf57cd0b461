//! A Jenkins controller small enough to read and strict enough to believe.
//!
//! It exists so that the emitter, the end-to-end tests and the demo can talk to something that *refuses* what the real
//! controller refuses: a user without a right gets 403 or an empty list, a toggle toggles, a restart lifts cordons, and
//! deleting a busy node aborts its build. Its state is plain data behind [`Jenkins::handle`], which does no I/O and reads
//! no clock; [`Server`] puts it on a loopback port. Every build remembers how it ended and on which node, so that a test can
//! assert that no build was killed.
//!
//! Shapes and texts follow answers recorded from Jenkins 2.263.4 and 2.446. It knows no product crate, no plugins and no
//! views; an address it does not know is a 404, so that a new call cannot pass a test by luck.
#![forbid(unsafe_code)]

mod answer;
mod fault;
mod label;
mod route;
mod show;
mod tree;
mod why;
mod world;

pub use fake_server::{Request, Response, Server, Transport};

pub use fault::{Fault, FaultKind};
pub use tree::{EXPORTED, unexported};
pub use world::{Ended, Item, Jenkins, Node, OfflineCause, Rights, Sight, Stage, Task, Work};
