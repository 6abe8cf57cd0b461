//! The only file that knows every emitter, provider and store.
//!
//! To add one: write a crate that implements `ports::EmitterPlugin` or `ports::ProviderPlugin`, and add one line here.
#![forbid(unsafe_code)]

use std::sync::Arc;

use model::{FleetId, InstallationId};
use ports::{Clock, EmitterRegistry, ProviderRegistry, Store, StoreAddress, StoreError};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

/// Every CI server Parmanu can serve.
pub fn emitters() -> EmitterRegistry {
    EmitterRegistry::default()
        .with::<emitter_gitlab::GitLab>()
        .with::<emitter_jenkins::Jenkins>()
        .with::<emitter_teamcity::TeamCity>()
        .with::<emitter_buildbot::Buildbot>()
        .with::<emitter_http::Http>()
        .with::<emitter_fake::FakeEmitter>()
}

/// Every cloud Parmanu can use. Without the feature `sdk` the clouds check their part of the configuration and refuse to
/// be built.
pub fn providers() -> ProviderRegistry {
    ProviderRegistry::default()
        .with::<provider_ec2::Ec2>()
        .with::<provider_gce::Gce>()
        .with::<provider_lxd::Lxd>()
        .with::<provider_command::Command>()
        .with::<provider_fake::FakeProvider>()
}

/// The store behind this address, or one in this process without any.
pub fn store(
    address: Option<&StoreAddress>,
    fleet: &FleetId,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Store>, StoreError> {
    let Some(address) = address else {
        return Ok(Arc::new(store_memory::MemoryStore::new(clock)));
    };
    let tls = store_redis::Tls {
        ca_file: address.ca_file.clone(),
        identity: address.identity.clone(),
    };
    Ok(Arc::new(store_redis::RedisStore::new(
        &address.url,
        &tls,
        fleet,
    )?))
}

/// The mark of this installation on its machines: made from the store's address without its credentials, so that all
/// replicas of one installation have the same mark, it survives a wipe, and a second installation with the same fleet id
/// but another store has another one.
pub fn installation(address: Option<&StoreAddress>) -> InstallationId {
    let address = address
        .and_then(|address| address.url.read().ok())
        .map(|url| {
            let text = url.expose_secret();
            match text.split_once("://") {
                Some((scheme, rest)) => {
                    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                    format!("{scheme}://{host}")
                }
                None => String::new(),
            }
        });
    let digest = Sha256::digest(address.unwrap_or_default().as_bytes());
    InstallationId::new(
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_an_installation_does_not_depend_on_the_password() {
        let mark = |url: &str| {
            installation(Some(&StoreAddress {
                url: ports::SecretRef::parse(url),
                ca_file: None,
                identity: None,
            }))
        };
        assert_eq!(
            mark("redis://:a@redis:6379/"),
            mark("redis://user:b@redis:6379/")
        );
        assert_ne!(mark("redis://redis:6379/"), mark("redis://other:6379/"));
    }
}
