//! The nouns of Parmanu as plain data.
//!
//! Everything another crate says about jobs, executors, machines and time is said with these types, so
//! that one word means one thing from the wire to the log (docs/glossary.md). There is no I/O here, no
//! async and no clock: a moment in time is always a value that somebody passed in.
//!
//! Doubt is a type: [`Seen`] tells a complete look from a partial one and from none at all, and nothing
//! that was not seen may be read as zero.
//!
//! Where to read on: `engine` decides with these types, `ports` carries them over the border.
#![forbid(unsafe_code)]

mod batch;
mod executor;
mod fleet;
mod ids;
mod instance;
mod intent;
mod job;
mod learned;
mod memory;
mod money;
mod named;
mod overrides;
mod policy;
pub mod rules;
mod seen;
pub mod words;
mod workload;

pub use batch::{BatchId, CreateBatch, InstanceName, NameParts, UserData, idempotency_token};
pub use executor::{Cordon, Executor, ExecutorRef, ExecutorState, Health, Reading, Work};
pub use fleet::{Budget, FleetPolicy, Period, Ranking, Standing};
pub use ids::{
    ConfigHash, EmitterName, Epoch, ExecutorId, FleetId, Generation, GroupName, HolderId, IdError,
    InstallationId, JobId, MachineName, PoolName, ProviderName, ProviderRef,
};
pub use instance::{Instance, InstanceState, Listing, MarketKind, Owner};
pub use intent::{Intent, IntentKey, LeaveStep, StoredIntent};
pub use job::{Fit, Job, JobClass, JobRange, Requirement, Snapshot, SnapshotCost};
pub use learned::{Histogram, Learned, NeededAgain, RiseRow, RiseWindow, Unneeded};
pub use memory::{
    FailedBoots, JobsRun, Joins, Keeps, LastListed, Missing, OfferMemory, PoolMemory, QuotaMemory,
    Recommendations, Spend, Tokens, Wanted,
};
pub use money::{Currency, Money};
pub use named::{NamedJob, NamedState};
pub use overrides::{Directive, Order, Override, Overrides, StoredOrder, StoredOrders};
pub use policy::{
    Boot, Bootstrap, ExecutorMode, OfferId, OfferPolicy, OnStale, Policy, Reuse, UncontrolledLeave,
    WorkloadTrust, offer_keys,
};
pub use rules::{Profile, Rule, RuleKind, Share, When};
pub use seen::{Completeness, Seen, age};
pub use workload::{Demand, Soon, StoredWorkload, Unmatched, Workload};

pub use jiff::Timestamp;
