//! The Redis store against a real Redis.
//!
//! Most tests share the server at `PARMANU_TEST_REDIS_URL`, each with a fleet of its own, so with keys of its own; those
//! about outages start and stop their own. What is missing is skipped by name.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the right answer")]

mod conformance;
mod formats;
mod hostile;
mod outage;
mod own_server;
mod permissions;
mod rotation;
mod shared;
mod tls;
