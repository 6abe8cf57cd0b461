//! A simulated cloud: boot times, failures, capacity, listing lag; the reference provider.
#![forbid(unsafe_code)]
