//! The nouns of Parmanu as plain data: no I/O, no async, no clock.
#![forbid(unsafe_code)]
