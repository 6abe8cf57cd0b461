//! The shared server, and one fleet per test on it.

use std::hash::{BuildHasher, Hasher, RandomState};

use model::FleetId;
use ports::SecretRef;
use redis::aio::MultiplexedConnection;
use store_redis::{RedisStore, Tls};

/// One fleet on the shared server.
pub(crate) struct Fleet {
    pub(crate) store: RedisStore,
    pub(crate) redis: MultiplexedConnection,
    pub(crate) prefix: String,
}

/// A name that no other test has, not even one of another run on the same server.
pub(crate) fn random_fleet() -> FleetId {
    let random = RandomState::new().build_hasher().finish();
    format!("t{random:016x}").parse().expect("a fleet id")
}

impl Fleet {
    pub(crate) async fn start() -> Result<Self, String> {
        let url = std::env::var("PARMANU_TEST_REDIS_URL")
            .map_err(|_| "PARMANU_TEST_REDIS_URL is not set".to_owned())?;
        let fleet = random_fleet();
        let store = RedisStore::new(&SecretRef::parse(&url), &Tls::default(), &fleet)
            .expect("the URL is usable");
        let client = redis::Client::open(url).expect("the URL is usable");
        let redis = client.get_multiplexed_async_connection().await;
        Ok(Fleet {
            store,
            redis: redis.expect("the server that was named answers"),
            prefix: format!("parmanu:v1:{fleet}:"),
        })
    }

    /// Every key of this fleet.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut redis = self.redis.clone();
        let mut keys = vec![];
        let mut cursor: u64 = 0;
        loop {
            let page: (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg(&["MATCH", &format!("{}*", self.prefix), "COUNT", "1000"])
                .query_async(&mut redis)
                .await
                .expect("SCAN");
            keys.extend(page.1);
            cursor = page.0;
            if cursor == 0 {
                return keys;
            }
        }
    }

    /// Loses everything of this fleet and nothing else.
    pub(crate) async fn wipe(&self) {
        for key in self.keys().await {
            self.run::<()>(&["DEL", &key]).await;
        }
    }

    /// One command; the first key-like word without our prefix is the caller's business.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut redis = self.redis.clone();
        let done = redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut redis)
            .await;
        done.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }
}

/// Starts a test on the shared server, or skips it by name and returns.
#[macro_export]
macro_rules! fleet_or_skip {
    ($name:literal) => {
        match $crate::shared::Fleet::start().await {
            Ok(fleet) => fleet,
            Err(why) => return conformance::store::skip(concat!("store-redis::", $name), &why),
        }
    };
}
