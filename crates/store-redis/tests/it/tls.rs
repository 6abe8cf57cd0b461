//! Encrypted connections to a real Redis: a private authority is enough, a certificate of ours where the server asks for one, and
//! nothing else gets through.

use std::path::{Path, PathBuf};

use ports::SecretRef;
use ports::{Store, StoreErrorKind};
use store_redis::{RedisStore, Tls};

use crate::own_server::OwnServer;
use crate::own_server_or_skip;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(name)
}

/// What a server is started with.
fn options(asks: &'static str) -> Vec<String> {
    let path = |name: &str| file(name).display().to_string();
    [
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("authority.pem"),
        "--tls-auth-clients",
        asks,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn tls(authority: Option<&str>, identity: bool) -> Tls {
    Tls {
        ca_file: authority.map(file),
        identity: identity.then(|| (file("client.pem"), file("client.key"))),
    }
}

fn store(server: &OwnServer, scheme: &str, tls: &Tls) -> RedisStore {
    let url = format!("{scheme}://{}/", server.address);
    RedisStore::new(&SecretRef::parse(&url), tls, &"acme".parse().unwrap()).unwrap()
}

/// How a first command fared: well, or the kind of the error and its words.
async fn ping(server: &OwnServer, scheme: &str, tls: &Tls) -> Result<(), String> {
    let pinged = store(server, scheme, tls).ping().await;
    pinged.map_err(|error| format!("{:?} {}", error.kind, in_words(&error)))
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

#[tokio::test]
async fn a_private_authority_is_trusted_and_no_other() {
    let mut server = own_server_or_skip!("a_private_authority_is_trusted_and_no_other", &[]);
    server.start_encrypted(&options("no")).await;
    assert_eq!(
        ping(&server, "rediss", &tls(Some("authority.pem"), false)).await,
        Ok(())
    );
    for wrong in [Some("stranger.pem"), None] {
        let refused = ping(&server, "rediss", &tls(wrong, false))
            .await
            .unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }
    // without encryption the server understands nothing
    assert!(ping(&server, "redis", &Tls::default()).await.is_err());
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let mut server = own_server_or_skip!("a_server_that_asks_for_a_certificate_gets_ours", &[]);
    server.start_encrypted(&options("yes")).await;
    let authority = Some("authority.pem");
    assert_eq!(ping(&server, "rediss", &tls(authority, true)).await, Ok(()));
    assert!(
        ping(&server, "rediss", &tls(authority, false))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_without_a_restart() {
    let mut server = own_server_or_skip!("a_certificate_that_was_renewed", &[]);
    server.start_encrypted(&options("no")).await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("authority.pem");
    std::fs::copy(file("stranger.pem"), &trusted).unwrap();
    let tls = Tls {
        ca_file: Some(trusted.clone()),
        identity: None,
    };
    let store = store(&server, "rediss", &tls);
    for _ in 0..2 {
        assert!(store.ping().await.is_err(), "its authority is not trusted");
    }
    std::fs::copy(file("authority.pem"), &trusted).unwrap();
    // the first call finds that it must be read again
    let _ = store.ping().await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn certificates_that_would_encrypt_nothing_or_are_none_are_refused() {
    let fleet = "acme".parse().unwrap();
    let make = |url: &str, tls: &Tls| {
        let error = RedisStore::new(&SecretRef::parse(url), tls, &fleet).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Config);
        in_words(&error)
    };
    let plain = make(
        "redis://:hunter2@127.0.0.1/",
        &tls(Some("authority.pem"), false),
    );
    assert!(plain.contains("nothing would be encrypted"), "{plain}");
    let missing = make("rediss://127.0.0.1/", &tls(Some("nowhere.pem"), false));
    assert!(missing.contains("nowhere.pem cannot be used"), "{missing}");
    let none = make("rediss://:hunter2@127.0.0.1/", &tls(Some("make.sh"), false));
    assert!(none.contains("no CERTIFICATE in PEM form"), "{none}");
    assert!(!format!("{plain}{none}").contains("hunter2"));
}
