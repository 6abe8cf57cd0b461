//! The only file that knows every emitter, provider and store.
//!
//! To add one: write a crate that implements `ports::EmitterPlugin` or `ports::ProviderPlugin`, and add one line here.
#![forbid(unsafe_code)]

use std::sync::Arc;

use model::FleetId;
use ports::{
    Clock, EmitterRegistry, ProviderRegistry, SecretRef, Store, StoreError, StoreErrorKind,
};

/// Every CI server Parmanu can serve.
pub fn emitters() -> EmitterRegistry {
    EmitterRegistry::default()
        .with::<emitter_gitlab::GitLab>()
        .with::<emitter_fake::FakeEmitter>()
}

/// Every cloud Parmanu can use. Without the feature `sdk` the clouds check their part of the configuration and refuse to
/// be built.
pub fn providers() -> ProviderRegistry {
    ProviderRegistry::default()
        .with::<provider_ec2::Ec2>()
        .with::<provider_fake::FakeProvider>()
}

/// The store behind this address, or one in this process without any.
pub fn store(
    url: Option<&SecretRef>,
    fleet: &FleetId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Store>, StoreError> {
    let Some(url) = url else {
        return Ok(Arc::new(store_memory::MemoryStore::new(clock)));
    };
    let url = url.read().map_err(|error| StoreError {
        kind: StoreErrorKind::Config,
        operation: "find its address",
        message: "check `store: { url: … }`".to_owned(),
        source: Some(Box::new(error)),
    })?;
    Ok(Arc::new(store_redis::RedisStore::new(&url, fleet)?))
}
