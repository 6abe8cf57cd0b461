//! The heart of Parmanu: `plan(observation, policy, now) -> Plan`.
//!
//! Pure: no I/O, clock, randomness or logging, so equal inputs give an equal plan and any plan seen in production can
//! be replayed from its recorded inputs. In order: trust, supply, demand, rules, limits, who leaves. Every step that moves the
//! target says why, and a plan that does nothing has reasons too.
//!
//! - Where is it decided that a machine leaves? [`plan`] in `decide.rs` compares, `leave.rs` chooses and carries each
//!   departure through cordon, settle, first read, second read and deletion.
//! - What must never happen? `invariants.rs`, used by the tests, the simulation and the production counters alike.
//!
//! It does not know how anything is done: no plugin, no wire, no store.
#![forbid(unsafe_code)]

mod allocate;
mod boots;
mod budget;
mod create;
mod decide;
mod demand;
mod fleet;
mod ghosts;
pub mod invariants;
mod learn;
mod leave;
mod observation;
mod offers;
mod orders;
mod plan;
mod quiet;
mod reason;
mod retire;
mod rival;
pub mod rules;
mod supply;
mod trust;

pub use allocate::{Ask, Grant, Held, Part, allocate};
pub use budget::{BudgetState, period_of};
pub use decide::{plan, plan_granted, wants};
pub use fleet::{PoolPlan, Record, plan_fleet};
pub use observation::{
    FleetObservation, Observation, OfferNews, PoolSeen, Refusal, RefusalKind, Split, Unavailable,
};
pub use offers::Rung;
pub use orders::OrderedBy;
pub use plan::{Action, DeleteProof, LeaveWhy, Plan, Summary};
pub use quiet::quiet_until;
pub use reason::{CapOf, Pressure, Reason, ReserveBy};
pub use rival::{Sign, Signature, renewed_by_another, rival};
pub use supply::{Agent, Does, Ghost, Listed, Machine, Phase, Supply};
