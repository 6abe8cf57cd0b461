//! The permissions that docs/redis.md names are enough, and no wider than the fleet.

use std::time::Duration;

use futures::StreamExt;
use model::{Epoch, HolderId};
use ports::SecretRef;
use ports::{Acquired, LeaseName, PoolCommit, Store, StoreErrorKind, Wake, WorkloadWrite};
use store_redis::{RedisStore, Tls};

use crate::formats::{create, workload};
use crate::own_server::OwnServer;
use crate::own_server_or_skip;

const DOCUMENT: &str = include_str!("../../../../docs/redis.md");

/// Makes the user that the document describes for this service, and a store that uses it.
async fn store_as(server: &OwnServer, service: &str, fleet: &str) -> RedisStore {
    let line = DOCUMENT
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{service}: ")));
    let rights = line
        .expect("a line of the document")
        .replace("FLEET", fleet);
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let rules: Vec<_> = rights.split_whitespace().collect();
    redis::cmd("ACL")
        .arg(&["SETUSER", service, "on", ">pass"])
        .arg(&rules)
        .query_async::<()>(&mut admin)
        .await
        .unwrap();
    let url = format!("redis://{service}:pass@{}/", server.address);
    RedisStore::new(
        &SecretRef::parse(&url),
        &Tls::default(),
        &fleet.parse().unwrap(),
    )
    .unwrap()
}

async fn take(store: &RedisStore, lease: &LeaseName) -> Epoch {
    let (me, long) = (HolderId::new("me"), Duration::from_secs(600));
    match store.acquire(lease, &me, long, Epoch(0)).await.unwrap() {
        Acquired::Held(lease) => lease.epoch,
        Acquired::By { holder, .. } => panic!("held by {holder}"),
    }
}

/// A plain connection as the user that [`store_as`] made.
async fn plain_as(server: &OwnServer, service: &str) -> redis::aio::MultiplexedConnection {
    let url = format!("redis://{service}:pass@{}/", server.address);
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// What Redis says to a command of which only the permission is of interest.
async fn says(redis: &mut redis::aio::MultiplexedConnection, command: &str) -> String {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        asked.arg(word);
    });
    match asked.query_async::<redis::Value>(redis).await {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    }
}

/// What nobody but an administrator may do: a service that was taken over must not end every fleet on this Redis, read what
/// others keep, or make itself more rights.
const REFUSED_TO_ALL: [&str; 22] = [
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "KEYS *",
    "CONFIG GET requirepass",
    "CONFIG SET maxmemory 1",
    "ACL LIST",
    "ACL SETUSER probot +@all",
    "SHUTDOWN NOSAVE",
    "REPLICAOF 127.0.0.1 1",
    "MONITOR",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "SCRIPT FLUSH",
    "FUNCTION FLUSH",
    "GET parmanu:v1:other:linux:memory",
    "EVAL return(redis.call('DEL',KEYS[1])) 1 parmanu:v1:other:scaler:lease",
    "SAVE",
    "ACL SETUSER probot allkeys",
    "SET somebody-elses 1",
    "DEL parmanu:v1:other:scaler:lease",
    "PUBLISH elsewhere 1",
];

/// What is the scaler's alone: with it somebody could forge an order to drain, or forget what was begun.
const REFUSED_TO_PROBOT: [&str; 6] = [
    "HSET parmanu:v1:acme:overrides pause:linux x",
    "DEL parmanu:v1:acme:scaler:lease",
    "DEL parmanu:v1:acme:linux:intents",
    "GET parmanu:v1:acme:linux:memory",
    "XADD parmanu:v1:acme:linux:decisions * decision x",
    "SUBSCRIBE parmanu:v1:other:wake",
];

#[tokio::test]
async fn what_is_not_documented_is_refused() {
    let mut server = own_server_or_skip!("what_is_not_documented_is_refused", &[]);
    server.start().await;
    let mut open = vec![];
    for service in ["probot", "scaler"] {
        store_as(&server, service, "acme").await;
        let mut redis = plain_as(&server, service).await;
        // the question can be answered with yes
        let own = "EXISTS parmanu:v1:acme:linux:workload";
        assert_eq!(says(&mut redis, own).await, "int(0)", "{service}");
        let own_too = if service == "probot" {
            REFUSED_TO_PROBOT.as_slice()
        } else {
            &[]
        };
        for command in REFUSED_TO_ALL.iter().chain(own_too) {
            let answer = says(&mut redis, command).await;
            if !answer.to_lowercase().contains("noperm") && !answer.contains("ermission") {
                open.push(format!("{service}: {command}: {answer}"));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let mut server = own_server_or_skip!("the_documented_permissions_are_enough", &[]);
    server.start().await;
    let probot = store_as(&server, "probot", "acme").await;
    let scaler = store_as(&server, "scaler", "acme").await;
    let mut wakes = scaler.wakes();
    assert_eq!(wakes.next().await, Some(Wake::All));
    let id = model::InstallationId::new("1795531234-one");
    assert_eq!(scaler.installation(&id).await.unwrap(), id);

    let lease = LeaseName::Emitter("gitlab".parse().unwrap());
    let epoch = take(&probot, &lease).await;
    let write = WorkloadWrite {
        emitter: "gitlab".parse().unwrap(),
        epoch,
        elapsed: Duration::ZERO,
        workloads: vec![workload()],
        unmatched: vec![],
        unmatched_total: 0,
        named: vec![],
        left_over: [].into(),
    };
    probot.put_workloads(&write).await.unwrap();
    probot
        .put_failure(&write.emitter, epoch, "502")
        .await
        .unwrap();
    probot.ping().await.unwrap();
    let pools: [model::PoolName; 1] = ["linux".parse().unwrap()];
    assert_eq!(wakes.next().await, Some(Wake::Pool(pools[0].clone())));

    let epoch = take(&scaler, &LeaseName::Scaler).await;
    let commit = PoolCommit {
        pool: pools[0].clone(),
        memory: Some(model::PoolMemory::default()),
        put: vec![create("linux")],
        end: vec![],
        decision: Some(serde_json::json!({})),
    };
    scaler.commit(epoch, &[commit]).await.unwrap();
    let (order, hour) = (crate::formats::pause(), Duration::from_secs(3600));
    scaler.put_order(&order, hour).await.unwrap();
    assert!(scaler.end_order(&order.what.id(), false).await.unwrap());
    let record = scaler
        .read(&pools, std::slice::from_ref(&write.emitter))
        .await
        .unwrap();
    assert_eq!(record.pools[&pools[0]].intents.len(), 1);
    let me = HolderId::new("me");
    scaler
        .release(&LeaseName::Scaler, &me, epoch)
        .await
        .unwrap();

    // Another fleet's keys are out of reach.
    let url = format!("redis://scaler:pass@{}/", server.address);
    let foreign = RedisStore::new(
        &SecretRef::parse(&url),
        &Tls::default(),
        &"other".parse().unwrap(),
    )
    .unwrap();
    let error = foreign
        .read(&pools, &[])
        .await
        .expect_err("it is another fleet");
    assert_eq!(error.kind, StoreErrorKind::Config, "{error:?}");
}
