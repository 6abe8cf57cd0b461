//! Redis: the only code that knows keys, scripts, formats and expiry.
//!
//! Each verb is one script or one pipeline, so a cycle costs the same few round trips whatever the number of pools,
//! and checking a lease and writing under it are one step. The server's clock dates everything. The layout is
//! described in docs/redis.md.
//!
//! A plain Redis (or a managed one, or what a Sentinel's virtual address leads to) is expected; Cluster is not
//! supported and nothing here needs it.
//!
//! Where to read on: `keys` (what stands where), `scripts` (how it is written), `format` (what it looks like), `link` (the
//! connection, and a rotated password).
#![forbid(unsafe_code)]

mod error;
mod format;
mod keys;
mod link;
mod read;
mod scripts;
mod tls;
mod wakes;
mod write;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use model::{EmitterName, Epoch, FleetId, HolderId, InstallationId, Order, PoolName};
use ports::{
    Acquired, FleetRecord, Lease, LeaseName, PoolCommit, SecretRef, Store, StoreError,
    StoreErrorKind, Wake, WorkloadWrite,
};
use redis::{RedisError, RedisResult};
// its feature brings the provider of the client above
use rustls as _;
use tracing::debug;

use crate::error::Trouble;
use crate::keys::{KEEP_EPOCH, KEEP_INSTALLATION, Keys};
use crate::link::Link;
pub use crate::tls::Tls;
use crate::wakes::Heard;

/// How long one call may take in all, whatever the client does meanwhile: the longest of the ways through connecting,
/// trying once more and waiting for the answer that is still worth waiting for in a cycle of seconds.
const CALL_LIMIT: Duration = Duration::from_millis(2_500);

/// The largest epoch that is exact as a number of Lua, and far beyond every clock.
const LARGEST_EPOCH: u64 = (1 << 53) - 2;

/// The store of one fleet on Redis. Clones share one connection.
#[derive(Clone)]
pub struct RedisStore {
    link: Link,
    keys: Keys,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What the link has may carry a password.
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A store at `url` (`redis://` or `rediss://`). It connects at the first call, so that a service starts while Redis
    /// is away, and reads the secret again when Redis refuses it or the connection breaks (`link.rs`). Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the URL cannot be read or is not usable; its text is not repeated, since it may carry a password. When certificates
    /// are given for a connection that is not encrypted, or cannot be read.
    pub fn new(url: &SecretRef, tls: &Tls, fleet: &FleetId) -> Result<Self, StoreError> {
        Ok(RedisStore {
            link: Link::new(url, tls)?,
            keys: Keys::new(fleet),
        })
    }

    /// Runs one call with an end.
    async fn call<T>(
        &self,
        operation: &'static str,
        line: u64,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.failed(operation, line, error)),
            Err(_) => {
                self.link.is_in_trouble(line, Trouble::Broken);
                Err(error::too_slow(operation, CALL_LIMIT))
            }
        }
    }

    /// An error of the client in our words; the next call has the line that is right after it.
    fn failed(&self, operation: &'static str, line: u64, error: RedisError) -> StoreError {
        let doubt = Trouble::of(&error).and_then(|trouble| self.link.is_in_trouble(line, trouble));
        let mut told = error::from_redis(operation, error);
        if let Some(doubt) = doubt {
            told.message = format!("{}; {doubt}", told.message);
        }
        told
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
        let mut line = self.link.line();
        let mut script = scripts::RENEW.key(self.keys.lease(lease));
        script
            .arg(holder.as_str())
            .arg(epoch.0)
            .arg(ms(ttl))
            .arg(ms(KEEP_EPOCH));
        self.call(
            operation,
            line.number,
            script.invoke_async(&mut line.connection),
        )
        .await
    }

    async fn publish(
        &self,
        operation: &'static str,
        channel: String,
        message: &str,
    ) -> Result<(), StoreError> {
        let mut line = self.link.line();
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        self.call(
            operation,
            line.number,
            command.query_async(&mut line.connection),
        )
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
        let mut line = self.link.line();
        let key = self.keys.lease(lease);
        let mut script = scripts::ACQUIRE.key(&key);
        script
            .arg(holder.as_str())
            .arg(ms(ttl))
            .arg(floor.0)
            .arg(ms(KEEP_EPOCH));
        let call = script.invoke_async::<(bool, String, u64)>(&mut line.connection);
        let (held, text, number) = self.call(operation, line.number, call).await?;
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
        wakes::listen(self.link.clone(), self.keys.wake(), |heard| match heard {
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
        wakes::listen(self.link.clone(), self.keys.hint(), |heard| match heard {
            Heard::Message(name) => name.parse().ok(),
            Heard::Connected => None,
        })
    }

    async fn installation(&self, proposed: &InstallationId) -> Result<InstallationId, StoreError> {
        let mut line = self.link.line();
        let key = self.keys.installation();
        // not in a transaction, which takes a right of its own: of a wipe between the two the
        // next call tells
        let mut both = redis::pipe();
        both.cmd("SET").arg(&key).arg(proposed.as_str()).arg("NX");
        both.ignore().cmd("PEXPIRE").arg(&key);
        both.arg(ms(KEEP_INSTALLATION)).ignore().get(&key);
        let call = both.query_async::<(Option<String>,)>(&mut line.connection);
        let (kept,) = self
            .call("keep the installation's id", line.number, call)
            .await?;
        let kept = kept.unwrap_or_else(|| proposed.to_string());
        Ok(InstallationId::new(kept))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut line = self.link.line();
        let command = redis::cmd("PING");
        self.call(
            "answer",
            line.number,
            command.query_async(&mut line.connection),
        )
        .await
    }
}
