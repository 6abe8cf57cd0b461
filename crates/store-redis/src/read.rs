//! The verb that reads: one round trip for all pools and emitters.

use model::{EmitterName, PoolName, StoredOrders};
use ports::{EmitterStatus, FleetRecord, PoolRecord, ProbeFailure, StoreError, StoreErrorKind};
use redis::{FromRedisValue, RedisResult, Value, from_redis_value};

use crate::error::Trouble;
use crate::format::Fields;
use crate::{RedisStore, error, format};

const OPERATION: &str = "read workloads and intents";

impl RedisStore {
    pub(crate) async fn read_fleet(
        &self,
        pools: &[PoolName],
        emitters: &[EmitterName],
    ) -> Result<FleetRecord, StoreError> {
        let mut keys = vec![];
        let mut pipe = redis::pipe();
        // No transaction: Redis refuses even one that only reads while it is out of memory. The time comes first, so what
        // is read is never thought older than it is, and younger by no more than the few ms of this read. Errors are kept
        // apart, so that one can name the key it belongs to.
        pipe.ignore_errors().cmd("TIME");
        for pool in pools {
            for (command, key) in [
                ("HGETALL", self.keys.workload(pool)),
                ("HGETALL", self.keys.intents(pool)),
                ("GET", self.keys.memory(pool)),
            ] {
                pipe.cmd(command).arg(&key);
                keys.push(key);
            }
        }
        for emitter in emitters {
            let key = self.keys.status(emitter);
            pipe.cmd("HGETALL").arg(&key);
            keys.push(key);
        }
        let key = self.keys.overrides();
        pipe.cmd("HGETALL").arg(&key);
        keys.push(key);
        let mut line = self.link.line();
        let call = pipe.query_async::<Vec<RedisResult<Value>>>(&mut line.connection);
        let answers = self.call(OPERATION, line.number, call).await?;
        // each answer has its own error, and none of them ends the call
        let refused = answers.iter().find_map(|answer| answer.as_ref().err());
        if let Some(trouble) = refused.and_then(Trouble::of) {
            self.link.is_in_trouble(line.number, trouble);
        }
        decode(pools, emitters, &keys, answers)
    }
}

/// Takes the answers apart, in the order in which they were asked for.
fn decode(
    pools: &[PoolName],
    emitters: &[EmitterName],
    keys: &[String],
    answers: Vec<RedisResult<Value>>,
) -> Result<FleetRecord, StoreError> {
    let mut answers = answers.into_iter();
    let time = answers
        .next()
        .ok_or_else(|| format::corrupt("TIME", SHORT))?;
    let (seconds, micros): (i64, i64) = take("TIME", time)?;
    let now_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    let mut rest = keys.iter().zip(answers);
    let mut answer = || rest.next().map(|(key, answer)| (key.as_str(), answer));
    let mut record = FleetRecord::default();
    for pool in pools {
        let (Some(workloads), Some(intents), Some(memory)) = (answer(), answer(), answer()) else {
            return Err(format::corrupt("a pool", SHORT));
        };
        let read = decode_pool(pool, now_ms, workloads, intents, memory);
        // one pool's nonsense is that pool's trouble
        let pool_record = read.or_else(|error| {
            let unreadable = Some(only_corrupt(error)?);
            Ok(PoolRecord {
                unreadable,
                ..PoolRecord::default()
            })
        })?;
        record.pools.insert(pool.clone(), pool_record);
    }
    for emitter in emitters {
        let Some((key, fields)) = answer() else {
            return Err(format::corrupt("an emitter", SHORT));
        };
        let read = take::<Fields>(key, fields);
        let status = read.and_then(|fields| format::status(key, &fields, now_ms));
        let status = status.or_else(|error| {
            let why = only_corrupt(error)?;
            let age = std::time::Duration::ZERO;
            Ok(EmitterStatus {
                failure: Some(ProbeFailure { why, age }),
                ..EmitterStatus::default()
            })
        })?;
        record.emitters.insert(emitter.clone(), status);
    }
    let (key, orders) = answer().ok_or_else(|| format::corrupt("overrides", SHORT))?;
    let fields = take::<Fields>(key, orders);
    record.orders = match fields {
        Ok(fields) => format::orders(key, &fields, now_ms),
        Err(error) => StoredOrders {
            orders: Vec::new(),
            unreadable: vec![only_corrupt(error)?],
        },
    };
    Ok(record)
}

type Answer<'a> = (&'a str, RedisResult<Value>);

fn decode_pool(
    pool: &PoolName,
    now_ms: i64,
    (workloads_key, workloads): Answer<'_>,
    (intents_key, intents): Answer<'_>,
    (memory_key, memory): Answer<'_>,
) -> Result<PoolRecord, StoreError> {
    let fields = take::<Fields>(workloads_key, workloads)?;
    let workloads = format::workloads(workloads_key, pool, &fields, now_ms)?;
    let fields = take::<Fields>(intents_key, intents)?;
    let intents = format::intents(intents_key, pool, &fields, now_ms)?;
    let value = take::<Option<Vec<u8>>>(memory_key, memory)?;
    Ok(PoolRecord {
        workloads: workloads.into_iter().collect(),
        intents,
        memory: format::memory(memory_key, value.as_deref()),
        unreadable: None,
    })
}

/// The words of an error about one value; an error about the store itself goes on.
fn only_corrupt(error: StoreError) -> Result<String, StoreError> {
    match error.kind {
        StoreErrorKind::Corrupt => Ok(error.message),
        StoreErrorKind::Unavailable
        | StoreErrorKind::Refused
        | StoreErrorKind::Fenced
        | StoreErrorKind::Config => Err(error),
    }
}

const SHORT: &str = "Redis answered less than it was asked";

fn take<T: FromRedisValue>(key: &str, answer: RedisResult<Value>) -> Result<T, StoreError> {
    let value = answer.map_err(|error| match error.code() {
        Some("WRONGTYPE") => format::corrupt(key, "the key holds a value of another type"),
        _ => error::from_redis(OPERATION, error),
    })?;
    from_redis_value(value).map_err(|error| StoreError {
        source: Some(error.into()),
        ..format::corrupt(key, "the answer has another type")
    })
}
