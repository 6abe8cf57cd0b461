//! An in-process CI server: the reference emitter.
#![forbid(unsafe_code)]
