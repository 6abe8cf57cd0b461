//! Redis: the only code that knows keys, scripts, formats and expiry.
//!
//! Each verb is one script or one pipeline, so a cycle costs the same few round trips whatever the number of pools,
//! and checking a lease and writing under it are one step. The server's clock dates everything. The layout is
//! described in docs/redis.md.
//!
//! A plain Redis (or a managed one, or what a Sentinel's virtual address leads to) is expected; Cluster is not
//! supported and nothing here needs it.
//!
//! Where to read on: `keys` (what stands where), `scripts` (how it is written), `format` (what it looks like).
#![forbid(unsafe_code)]

mod error;
mod format;
mod keys;
mod read;
mod scripts;
mod wakes;
mod write;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use model::{EmitterName, Epoch, FleetId, HolderId, Order, PoolName};
use ports::{
    Acquired, FleetRecord, Lease, LeaseName, PoolCommit, Store, StoreError, StoreErrorKind, Wake,
    WorkloadWrite,
};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, IntoConnectionInfo, RedisError, RedisResult, TlsCertificates,
};
// its feature brings the provider of the client above
use rustls as _;
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use crate::keys::{KEEP_EPOCH, Keys};
use crate::wakes::Heard;

/// How long one attempt to connect may take. In one data centre it takes 1 ms.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How long Redis may take to answer one command. A read for a thousand pools takes tens of ms.
const RESPONSE_LIMIT: Duration = Duration::from_secs(2);

/// How long one call may take in all, whatever the client does meanwhile: the longest of the ways through connecting,
/// trying once more and waiting for the answer that is still worth waiting for in a cycle of seconds.
const CALL_LIMIT: Duration = Duration::from_millis(2_500);

/// What a file of certificates says of each.
const CERTIFICATE: &str = "CERTIFICATE";

/// Largest file of certificates: the bundle of a whole operating system has 0.3 MiB.
const LARGEST_PEM: usize = 4 << 20;

/// The largest epoch that is exact as a number of Lua, and far beyond every clock.
const LARGEST_EPOCH: u64 = (1 << 53) - 2;

/// The store of one fleet on Redis. Clones share one connection.
#[derive(Clone)]
pub struct RedisStore {
    client: Client,
    connection: ConnectionManager,
    keys: Keys,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client would print its address, which may carry a password.
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// What an encrypted connection is made with; files in PEM form, read when the store is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What this side shows of itself: its certificate, and the key of it.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn is_empty(&self) -> bool {
        *self == Tls::default()
    }

    fn read(&self) -> Result<TlsCertificates, StoreError> {
        let read = |file: &PathBuf, what: &str| {
            let text = std::fs::read(file);
            let text = text.and_then(|text| {
                if text.len() > LARGEST_PEM {
                    return Err(std::io::Error::other("it is too large"));
                }
                // the client takes a file without any for a list of none, and then trusts nobody
                let has = text.windows(what.len()).any(|part| part == what.as_bytes());
                has.then_some(text)
                    .ok_or_else(|| std::io::Error::other(format!("no {what} in PEM form is in it")))
            });
            text.map_err(|error| StoreError {
                kind: StoreErrorKind::Config,
                operation: "read a certificate",
                message: format!("{} cannot be used", file.display()),
                source: Some(Box::new(error)),
            })
        };
        let client_tls = match &self.identity {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read(certificate, CERTIFICATE)?,
                client_key: read(key, "PRIVATE KEY")?,
            }),
            None => None,
        };
        let root_cert = self.ca_file.as_ref();
        let root_cert = root_cert.map(|file| read(file, CERTIFICATE)).transpose()?;
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }
}

impl RedisStore {
    /// A store at `url` (`redis://` or `rediss://`). It connects at the first call, so that a service starts while Redis
    /// is away. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the URL is not usable; its text is not repeated, since it may carry a password. When certificates are given for a
    /// connection that is not encrypted, or cannot be read.
    pub fn new(url: &SecretString, tls: &Tls, fleet: &FleetId) -> Result<Self, StoreError> {
        let certificates = tls.read()?;
        if !tls.is_empty() && !url.expose_secret().starts_with("rediss://") {
            return Err(StoreError {
                kind: StoreErrorKind::Config,
                operation: "use its address",
                message: "certificates are configured, and the address does not begin with rediss://: nothing would be encrypted".into(),
                source: None,
            });
        }
        let make = || -> RedisResult<(Client, ConnectionManager)> {
            let tcp = TcpSettings::default().set_nodelay(true);
            let address = url
                .expose_secret()
                .into_connection_info()?
                .set_tcp_settings(tcp);
            let client = match tls.is_empty() {
                true => Client::open(address)?,
                false => Client::build_with_tls(address, certificates)?,
            };
            // With the defaults one call hangs for up to 9 s while Redis is away and finds it again only after 1.4 s;
            // with these it fails within 60 ms and finds it at once (measured, Redis killed for 15 s).
            let config = ConnectionManagerConfig::new()
                .set_min_delay(Duration::from_millis(50))
                .set_max_delay(Duration::from_secs(1))
                .set_number_of_retries(1)
                .set_connection_timeout(Some(CONNECT_LIMIT))
                .set_response_timeout(Some(RESPONSE_LIMIT));
            let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
            Ok((client, connection))
        };
        let (client, connection) = make().map_err(|_: RedisError| StoreError {
            kind: StoreErrorKind::Config,
            operation: "use its address",
            message: match tls.is_empty() {
                true => {
                    "it is not a URL of the form redis://[user:password@]host[:port][/database] \
                     or rediss://..."
                }
                false => {
                    "it is not a URL of the form rediss://[user:password@]host[:port][/database], \
                     or the certificates are none in PEM form"
                }
            }
            .into(),
            source: None,
        })?;
        Ok(RedisStore {
            client,
            connection,
            keys: Keys::new(fleet),
        })
    }

    /// Runs one call with an end.
    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(done) => done.map_err(|error| error::from_redis(operation, error)),
            Err(_) => Err(error::too_slow(operation, CALL_LIMIT)),
        }
    }

    /// Extends a lease, or with no time to live gives it back.
    async fn extend(
        &self,
        operation: &'static str,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection.clone();
        let mut script = scripts::RENEW.key(self.keys.lease(lease));
        script
            .arg(holder.as_str())
            .arg(epoch.0)
            .arg(ms(ttl))
            .arg(ms(KEEP_EPOCH));
        self.call(operation, script.invoke_async(&mut connection))
            .await
    }

    async fn publish(
        &self,
        operation: &'static str,
        channel: String,
        message: &str,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        self.call(operation, command.query_async(&mut connection))
            .await
    }
}

/// Published on `wake` when the scaler's lease is given back. No name of a pool: to who does not know it, it says to look at
/// everything.
const LEASE_IS_FREE: &str = "*";

/// Whole milliseconds, as scripts take them.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Store for RedisStore {
    async fn acquire(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        ttl: Duration,
        floor: Epoch,
    ) -> Result<Acquired, StoreError> {
        let operation = "take a lease";
        if floor.0 > LARGEST_EPOCH {
            return Err(StoreError {
                kind: StoreErrorKind::Refused,
                operation,
                message: format!(
                    "the epoch {floor} was never given out: look for a machine with a forged tag"
                ),
                source: None,
            });
        }
        let mut connection = self.connection.clone();
        let key = self.keys.lease(lease);
        let mut script = scripts::ACQUIRE.key(&key);
        script
            .arg(holder.as_str())
            .arg(ms(ttl))
            .arg(floor.0)
            .arg(ms(KEEP_EPOCH));
        let call = script.invoke_async::<(bool, String, u64)>(&mut connection);
        let (held, text, number) = self.call(operation, call).await?;
        if held {
            let epoch = text
                .parse()
                .map_err(|_| format::corrupt(&key, "its epoch is no number"))?;
            return Ok(Acquired::Held(Lease {
                epoch: Epoch(epoch),
                remembered: number == 1,
            }));
        }
        let remaining = Duration::from_millis(number);
        Ok(Acquired::By {
            holder: HolderId::new(text),
            remaining,
        })
    }

    async fn renew(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.extend("renew a lease", lease, holder, epoch, ttl)
            .await
    }

    async fn release(
        &self,
        lease: &LeaseName,
        holder: &HolderId,
        epoch: Epoch,
    ) -> Result<(), StoreError> {
        let given = self
            .extend("release a lease", lease, holder, epoch, Duration::ZERO)
            .await?;
        if given && *lease == LeaseName::Scaler {
            // a hint, and the lease is given back without it: a user of Redis that may not publish is no failure
            let hint = self.publish("tell the standby", self.keys.wake(), LEASE_IS_FREE);
            if let Err(error) = hint.await {
                debug!(%error, "the standby finds out by itself");
            }
        }
        Ok(())
    }

    async fn put_workloads(&self, write: &WorkloadWrite) -> Result<(), StoreError> {
        self.write_workloads(write).await
    }

    async fn put_failure(
        &self,
        emitter: &EmitterName,
        epoch: Epoch,
        why: &str,
    ) -> Result<(), StoreError> {
        self.write_failure(emitter, epoch, why).await
    }

    async fn read(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
    ) -> Result<FleetRecord, StoreError> {
        self.read_fleet(pools, emitters).await
    }

    async fn commit(&self, epoch: Epoch, pools: &[PoolCommit]) -> Result<(), StoreError> {
        self.write_commit(epoch, pools).await
    }

    async fn put_order(&self, order: &Order, lasts: Duration) -> Result<(), StoreError> {
        self.write_order(order, lasts).await
    }

    async fn end_order(&self, id: &str, only_if_over: bool) -> Result<bool, StoreError> {
        self.remove_order(id, only_if_over).await
    }

    fn wakes(&self) -> BoxStream<'static, Wake> {
        wakes::listen(self.client.clone(), self.keys.wake(), |heard| match heard {
            // a hint that cannot be read is a hint still
            Heard::Message(name) => Some(name.parse().map_or(Wake::All, Wake::Pool)),
            Heard::Connected => Some(Wake::All),
        })
    }

    async fn hint(&self, emitter: &EmitterName) -> Result<(), StoreError> {
        self.publish("pass on a hint", self.keys.hint(), emitter.as_str())
            .await
    }

    fn hints(&self) -> BoxStream<'static, EmitterName> {
        wakes::listen(self.client.clone(), self.keys.hint(), |heard| match heard {
            Heard::Message(name) => name.parse().ok(),
            Heard::Connected => None,
        })
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        let command = redis::cmd("PING");
        self.call("answer", command.query_async(&mut connection))
            .await
    }
}
