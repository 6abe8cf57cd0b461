//! The Compute Engine plugin keeps the promises of every provider, against our fake, through Google's SDK over a socket.
//!
//! One machine goes the way of `insert`, several that of `bulkInsert`; the suite asks for both. Google's own clients judge
//! the fake: see `crates/fake-gce/tests/judge`.

#[path = "world/mod.rs"]
mod world;

use world::World;

async fn start() -> Result<World, String> {
    Ok(world::slow())
}

conformance::provider_suite!(start);
