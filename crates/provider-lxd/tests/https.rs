//! LXD over HTTPS, where a client is known by its certificate and the daemon by its own.
//!
//! `PARMANU_TEST_LXD_URL` is where it answers and `PARMANU_TEST_LXD_CLIENT` a folder with `client.crt` and `client.key`,
//! which it trusts, and its `server.crt`.

#[path = "world/mod.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::{Provider, ProviderContext, ProviderErrorKind, ProviderPlugin};
use provider_lxd::{Config, Lxd};
use serde_json::{Value, json};
use world::RealClock;

const URL: &str = "PARMANU_TEST_LXD_URL";
const CLIENT: &str = "PARMANU_TEST_LXD_CLIENT";

fn parts(test: &str) -> Option<(String, PathBuf)> {
    let url = std::env::var(URL).ok();
    let Some((url, client)) = url.zip(std::env::var_os(CLIENT)) else {
        let why = format!("{URL} or {CLIENT} is not set");
        conformance::provider::missing(&format!("provider-lxd::https::{test}"), &why);
        return None;
    };
    Some((url, PathBuf::from(client)))
}

fn secret(folder: &Path, file: &str) -> Value {
    json!(format!("${{file:{}}}", folder.join(file).display()))
}

fn provider(config: Value) -> Arc<dyn Provider> {
    let config: Config = serde_json::from_value(config).expect("a configuration");
    let context = ProviderContext {
        name: "rack".parse().expect("a name"),
        clock: Arc::new(RealClock),
    };
    Lxd::provider(config, &context).expect("a provider")
}

fn config(url: &str, folder: &Path) -> Value {
    json!({
        "url": url,
        "client_certificate": secret(folder, "client.crt"),
        "client_key": secret(folder, "client.key"),
        "server_certificate": secret(folder, "server.crt"),
    })
}

async fn error(provider: &dyn Provider) -> ProviderErrorKind {
    let listed = provider.list(&"acme".parse().expect("a fleet")).await;
    listed.expect_err("no list").kind
}

#[tokio::test]
async fn a_trusted_certificate_lists() {
    let Some((url, folder)) = parts("trusted") else {
        return;
    };
    let provider = provider(config(&url, &folder));
    let listing = provider.list(&"acme".parse().expect("a fleet")).await;
    assert!(listing.expect("a list").unknown.is_empty());
}

/// LXD answers a stranger with 200 at its front door, and with 403 behind it.
#[tokio::test]
async fn a_certificate_that_the_daemon_does_not_trust_is_an_operators_matter() {
    let Some((url, folder)) = parts("stranger") else {
        return;
    };
    // a pair that is whole and that nobody has been told of: the daemon's own
    let mut config = config(&url, &folder);
    config["client_certificate"] = secret(&folder, "server.crt");
    config["client_key"] = secret(&folder, "server.key");
    assert_eq!(
        error(&*provider(config)).await,
        ProviderErrorKind::Unauthorized
    );
}

#[tokio::test]
async fn a_daemon_that_is_not_the_one_that_was_named_is_not_spoken_to() {
    let Some((url, folder)) = parts("impostor") else {
        return;
    };
    let mut other = config(&url, &folder);
    other["server_certificate"] = secret(&folder, "client.crt");
    assert_eq!(
        error(&*provider(other)).await,
        ProviderErrorKind::Unreachable
    );
    // and without a certificate the system's authorities decide, which do not know it
    let mut any = config(&url, &folder);
    any.as_object_mut()
        .expect("an object")
        .remove("server_certificate");
    assert_eq!(error(&*provider(any)).await, ProviderErrorKind::Unreachable);
}
