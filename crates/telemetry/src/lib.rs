//! Names of spans, fields and metrics; log set-up; health and metrics endpoints; the system clock.
#![forbid(unsafe_code)]
