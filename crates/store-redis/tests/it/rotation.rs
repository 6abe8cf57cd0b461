//! A password, a user or a file of either that changes while we are connected to a real Redis.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use ports::{SecretRef, Store, StoreErrorKind, Wake};
use store_redis::{RedisStore, Tls};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::own_server::OwnServer;
use crate::own_server_or_skip;
use crate::shared::random_fleet;

/// A Redis whose users change, and the file that says how to reach it.
struct Rotation {
    server: OwnServer,
    admin: redis::aio::MultiplexedConnection,
    folder: TempDir,
}

impl Rotation {
    async fn start(mut server: OwnServer) -> Self {
        server.start().await;
        let client = redis::Client::open(server.url()).unwrap();
        let admin = client.get_multiplexed_async_connection().await.unwrap();
        let mut rotation = Rotation {
            server,
            admin,
            folder: tempfile::tempdir().unwrap(),
        };
        rotation.acl("scaler reset on >first ~* &* +@all").await;
        rotation.file_says("scaler:first");
        rotation
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("redis_url")
    }

    /// Who the file says that we are.
    fn file_says(&self, who: &str) {
        let url = format!("redis://{who}@{}/\n", self.server.address);
        std::fs::write(self.file(), url).unwrap();
    }

    fn store(&self) -> RedisStore {
        let url = SecretRef::File(self.file());
        RedisStore::new(&url, &Tls::default(), &random_fleet()).unwrap()
    }

    async fn run(&mut self, command: &[&str]) {
        let mut run = redis::cmd(command[0]);
        run.arg(&command[1..]);
        run.query_async::<redis::Value>(&mut self.admin)
            .await
            .unwrap();
    }

    async fn acl(&mut self, user: &str) {
        let words = user.split(' ');
        let words: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
        self.run(&words).await;
    }

    /// Ends every connection but ours, as a restart of Redis does.
    async fn hang_up(&mut self) {
        for kind in ["normal", "pubsub"] {
            self.run(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
                .await;
        }
    }
}

/// What is said until it works; at most the call that finds out fails, and the one that was under way.
async fn until_it_works(store: &RedisStore) -> Vec<StoreErrorKind> {
    let mut failures = vec![];
    while let Err(error) = store.ping().await {
        failures.push(error.kind);
        assert!(failures.len() <= 2, "{failures:?} {error:?}");
    }
    failures
}

async fn refused(store: &RedisStore) -> String {
    let mut last = store.ping().await;
    // the connection that was ended is found out by the first
    if matches!(&last, Err(error) if error.kind == StoreErrorKind::Unavailable) {
        last = store.ping().await;
    }
    let error = last.expect_err("Redis does not know this password");
    assert_eq!(error.kind, StoreErrorKind::Config, "{error:?}");
    let words = format!("{error:?} {error}");
    for secret in ["first", "second"] {
        assert!(!words.contains(secret), "{words}");
    }
    error.to_string()
}

#[tokio::test]
async fn a_password_that_was_rotated_is_picked_up_without_a_restart() {
    let server = own_server_or_skip!("a_password_that_was_rotated", &[]);
    let mut rotation = Rotation::start(server).await;
    let store = rotation.store();
    store.ping().await.unwrap();
    let mut wakes = store.wakes();
    assert_eq!(wakes.next().await, Some(Wake::All));

    // what is connected stays so, whatever becomes of its password
    rotation.acl("scaler resetpass >second").await;
    store.ping().await.unwrap();

    // refused as long as only one side was changed, however often it is tried
    rotation.hang_up().await;
    for _ in 0..3 {
        refused(&store).await;
    }
    rotation.file_says("scaler:second");
    until_it_works(&store).await;
    let again = timeout(Duration::from_secs(10), wakes.next()).await;
    assert_eq!(again.expect("hints come again"), Some(Wake::All));
}

#[tokio::test]
async fn with_both_passwords_valid_for_a_while_nothing_is_ever_refused() {
    let server = own_server_or_skip!("with_both_passwords_valid", &[]);
    let mut rotation = Rotation::start(server).await;
    let store = rotation.store();
    store.ping().await.unwrap();
    rotation.acl("scaler >second").await;
    rotation.file_says("scaler:second");
    rotation.hang_up().await;
    let failures = until_it_works(&store).await;
    assert!(
        !failures.contains(&StoreErrorKind::Config),
        "{failures:?}: a password was refused"
    );
    // it is the new one that is in use: without the old one all goes on, also over the next break
    rotation.acl("scaler <first").await;
    rotation.hang_up().await;
    let failures = until_it_works(&store).await;
    assert!(!failures.contains(&StoreErrorKind::Config), "{failures:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_leaves_the_last_good_password_and_is_named() {
    let server = own_server_or_skip!("a_file_that_cannot_be_read", &[]);
    let mut rotation = Rotation::start(server).await;
    let store = rotation.store();
    store.ping().await.unwrap();
    std::fs::remove_file(rotation.file()).unwrap();
    rotation.hang_up().await;
    until_it_works(&store).await;

    rotation.acl("scaler resetpass >second").await;
    rotation.hang_up().await;
    let words = refused(&store).await;
    let file = rotation.file().display().to_string();
    assert!(words.contains(&file), "{words}");
    rotation.file_says("scaler:second");
    until_it_works(&store).await;
}

#[tokio::test]
async fn a_user_that_is_mended_at_redis_is_taken_without_a_restart() {
    let server = own_server_or_skip!("a_user_that_is_mended_at_redis", &[]);
    let mut rotation = Rotation::start(server).await;
    rotation.acl("scaler resetpass >second").await;
    let store = rotation.store();
    for _ in 0..3 {
        refused(&store).await;
    }
    rotation.acl("scaler >first").await;
    until_it_works(&store).await;
}

#[tokio::test]
async fn a_user_that_may_no_longer_is_followed_by_the_next() {
    let server = own_server_or_skip!("a_user_that_may_no_longer", &[]);
    let mut rotation = Rotation::start(server).await;
    let store = rotation.store();
    store.read(&[], &[]).await.unwrap();
    rotation.acl("next on >third ~* &* +@all").await;
    rotation.file_says("next:third");
    rotation.acl("scaler -@all").await;
    // each way to be told: by a single command, and by one of many in a pipeline
    let error = store.read(&[], &[]).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Config, "{error:?}");
    store.read(&[], &[]).await.unwrap();
}

#[tokio::test]
async fn another_redis_is_not_followed() {
    let server = own_server_or_skip!("another_redis_is_not_followed", &[]);
    let mut rotation = Rotation::start(server).await;
    let store = rotation.store();
    store.ping().await.unwrap();
    for other in ["redis://scaler:first@127.0.0.1:1/", "not a url"] {
        std::fs::write(rotation.file(), other).unwrap();
        rotation.hang_up().await;
        until_it_works(&store).await;
    }
}
