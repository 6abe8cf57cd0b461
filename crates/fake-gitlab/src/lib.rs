//! A stateful GitLab that refuses what the real one refuses; depends on no product crate.
#![forbid(unsafe_code)]
