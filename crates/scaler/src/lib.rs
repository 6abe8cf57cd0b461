//! The reconcile loop: observe, plan, act.
#![forbid(unsafe_code)]
