//! The store in one process: for parmanu up, the demo and tests.
#![forbid(unsafe_code)]
