//! The polling loop and the mapping of jobs to pools.
#![forbid(unsafe_code)]
