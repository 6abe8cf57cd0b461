//! The two registries: one line per emitter, one per provider.
#![forbid(unsafe_code)]
