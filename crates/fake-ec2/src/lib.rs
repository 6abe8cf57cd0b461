//! A stateful EC2 that enforces ClientToken, pending states, listing lag and capacity; depends on no product crate.
#![forbid(unsafe_code)]
