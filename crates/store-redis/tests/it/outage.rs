//! Redis away, slow, read-only, full or closed to us.

use std::time::Duration;

use futures::StreamExt;
use model::{Epoch, HolderId};
use ports::SecretRef;
use ports::{LeaseName, Store, StoreError, StoreErrorKind, Wake};
use store_redis::{RedisStore, Tls};
use tokio::time::{sleep, timeout};

use crate::own_server_or_skip;
use crate::shared::random_fleet;

/// A call fails "at once" within this, on a machine that is busy with compiling.
const AT_ONCE: Duration = Duration::from_millis(1_000);

/// And works again within this after the server is back. Measured: 60 ms.
const SOON: Duration = Duration::from_secs(3);

fn store(url: &str) -> RedisStore {
    RedisStore::new(&SecretRef::parse(url), &Tls::default(), &random_fleet())
        .expect("the URL is usable")
}

async fn acquire(store: &RedisStore) -> Result<(), StoreError> {
    let holder = HolderId::new("me");
    let ttl = Duration::from_secs(60);
    store
        .acquire(&LeaseName::Scaler, &holder, ttl, Epoch(0))
        .await
        .map(|_| ())
}

async fn fails_at_once(store: &RedisStore) {
    for _ in 0..5 {
        let answer = timeout(AT_ONCE, acquire(store))
            .await
            .expect("an answer at once");
        let error = answer.expect_err("Redis is away");
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
}

async fn works_soon(store: &RedisStore) {
    let works = async {
        while acquire(store).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, works).await.expect("it works again");
}

async fn next(wakes: &mut futures::stream::BoxStream<'static, Wake>) -> Wake {
    let hint = timeout(Duration::from_secs(10), wakes.next()).await;
    hint.expect("a hint comes").expect("the hints never end")
}

#[tokio::test]
async fn a_killed_redis_is_noticed_at_once_and_found_again_at_once() {
    let mut server = own_server_or_skip!("a_killed_redis_is_noticed_at_once", &[]);
    server.start().await;
    let store = store(&server.url());
    acquire(&store).await.expect("it works");
    let mut wakes = store.wakes();
    assert_eq!(next(&mut wakes).await, Wake::All);
    for _ in 0..2 {
        server.kill().await;
        fails_at_once(&store).await;
        server.start().await;
        works_soon(&store).await;
        // What changed meanwhile was not heard, so everything is to be looked at.
        assert_eq!(next(&mut wakes).await, Wake::All);
    }
}

#[tokio::test]
async fn a_service_starts_while_redis_is_away() {
    let mut server = own_server_or_skip!("a_service_starts_while_redis_is_away", &[]);
    let store = store(&server.url());
    fails_at_once(&store).await;
    server.start().await;
    works_soon(&store).await;
}

#[tokio::test]
async fn a_redis_that_never_answers_costs_a_bounded_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let store = store(&format!(
        "redis://{}/",
        silent.local_addr().expect("its address")
    ));
    let held = tokio::spawn(async move {
        let mut connections = vec![];
        while let Ok((connection, _)) = silent.accept().await {
            connections.push(connection);
        }
    });
    let answer = timeout(Duration::from_secs(5), store.ping())
        .await
        .expect("an answer in time");
    assert_eq!(
        answer.expect_err("nobody answers").kind,
        StoreErrorKind::Unavailable
    );
    held.abort();
}

#[tokio::test]
async fn a_full_redis_refuses_and_can_be_read() {
    let mut server = own_server_or_skip!("a_full_redis_refuses", &["--maxmemory", "1"]);
    server.start().await;
    let store = store(&server.url());
    let error = acquire(&store).await.expect_err("Redis is full");
    assert_eq!(error.kind, StoreErrorKind::Refused, "{error}");
    store.read(&[], &[]).await.expect("reading works");
}

#[tokio::test]
async fn a_read_only_replica_refuses_and_can_be_read() {
    let options = &["--replicaof", "127.0.0.1 1"];
    let mut server = own_server_or_skip!("a_read_only_replica_refuses", options);
    server.start().await;
    let store = store(&server.url());
    let error = acquire(&store)
        .await
        .expect_err("a replica takes no writes");
    assert_eq!(error.kind, StoreErrorKind::Refused, "{error}");
    store.read(&[], &[]).await.expect("reading works");
}

#[tokio::test]
async fn wrong_credentials_are_a_matter_of_configuration_and_stay_secret() {
    let mut server = own_server_or_skip!("wrong_credentials", &["--requirepass", "right-secret"]);
    server.start().await;
    let url = format!("redis://:wrong-secret@{}/", server.address);
    let error = acquire(&store(&url))
        .await
        .expect_err("the password is wrong");
    assert_eq!(error.kind, StoreErrorKind::Config, "{error:?}");
    let store = store(&url);
    for text in [
        format!("{error:?}"),
        error.to_string(),
        format!("{store:?}"),
    ] {
        assert!(!text.contains("wrong-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_repeating_it() {
    let url = SecretRef::parse("http://user:secret@host/");
    let error = RedisStore::new(&url, &Tls::default(), &random_fleet()).expect_err("not a Redis");
    assert_eq!(error.kind, StoreErrorKind::Config);
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}
