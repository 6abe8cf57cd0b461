//! scaler: observes, lets the engine plan, and carries the plan out.
//!
//! Stateless: the truth about machines is the provider's tagged listing, the truth about jobs is the emitter. A scaler
//! that starts on a running fleet takes it over. Of a fleet's scalers one is active, by a lease with a growing epoch;
//! the others stand by.
//!
//! - `lease.rs` holds the term, `lister.rs` one listing loop per provider, `observe.rs` puts together what is known;
//! - `tick.rs` is one pass: read, plan, check, commit, dispatch. It never waits for a CI server or a cloud;
//! - `reload.rs` makes the parts of a changed configuration, which the next tick goes on with;
//! - `held.rs` keeps what a changed configuration would let go at once until an operator confirms it;
//! - `unseen.rs` counts machines whose provider is not in the configuration any more;
//! - `api/` shows what was seen last and takes an operator's orders;
//! - `act.rs` carries actions out in parallel, each with a deadline inside the lease; what it learns goes to the
//!   `ledger.rs` and so into the next tick.
//!
//! Where is it decided that a machine leaves? In the crate `engine`, `leave/begin.rs`. Nothing here chooses.
#![forbid(unsafe_code)]

mod act;
mod acting;
mod ages;
pub mod api;
mod bootstrap;
mod consoles;
mod creating;
mod deleting;
pub mod drains;
mod former;
mod held;
mod installation;
mod keeping;
mod lease;
mod ledger;
mod left_over;
mod lister;
mod looked;
mod measure;
mod names;
mod observe;
mod orphans;
mod permits;
mod refusals;
mod reload;
mod run;
mod showing;
mod sought;
mod stages;
mod tick;
mod unseen;
mod view;
mod ways;

pub use api::Api;
pub use observe::workload_of;
pub use reload::Reconfigure;
pub use run::{Parts, Pool, Scaler, Timing};
pub use unseen::is_listed;
pub use view::{FleetView, MachineView, PoolView};
pub use ways::CiServers;
