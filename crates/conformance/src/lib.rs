//! What every emitter, provider and store must do, written once.
#![forbid(unsafe_code)]
