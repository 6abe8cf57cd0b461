//! The engine in virtual time: a trace of jobs and a policy in, waits and machine-hours out.
//!
//! [`simulate`] runs one [`Choice`] of policy over a [`Trace`] and returns a [`Report`]. The policies are the real
//! engine ([`Choice::Engine`]), which is fed exactly what the scaler feeds it, and plain ones to compare it with. Equal
//! inputs and an equal seed give an equal report.
//!
//! - `trace.rs` reads the jobs, `workload.rs` makes some up;
//! - `world.rs` is what happens: jobs, executors, machines and time; `plain.rs` and `driven.rs` decide in it;
//! - `optimum.rs` is what a clairvoyant would pay, `measure.rs` what a run is judged by.
//!
//! It does not simulate failures, prices that change, quotas or API limits, and no CI server: jobs are matched to pools
//! in the trace.
#![forbid(unsafe_code)]

mod driven;
mod measure;
mod optimum;
mod plain;
mod run;
mod trace;
mod workload;
mod world;

pub use measure::{Elasticity, Measures, Waits};
pub use optimum::{Optimum, optimum};
pub use run::{Choice, EnginePool, Record, Report, Settings, simulate, simulate_with};
pub use trace::{Job, MAX_JOBS, Trace, TraceError};
pub use workload::Shape;
pub use world::{BootTime, Controller, Dispatch, Machine, Pool, PoolSpec, Ran, WATCHED_AFTER};

/// Time in virtual milliseconds: a moment since the start of the trace, or a span.
pub type Ms = u64;
