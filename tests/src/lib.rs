//! End-to-end runs on real parts, and the architecture tests.
#![forbid(unsafe_code)]
