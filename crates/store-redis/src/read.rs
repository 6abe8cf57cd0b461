//! The verb that reads: one round trip for all pools and emitters.

use model::{EmitterName, PoolName};
use ports::{FleetRecord, PoolRecord, StoreError};
use redis::{FromRedisValue, RedisResult, Value, from_redis_value};

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
        let mut connection = self.connection.clone();
        let call = pipe.query_async::<Vec<RedisResult<Value>>>(&mut connection);
        let answers = self.call(OPERATION, call).await?;
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
    let (seconds, micros): (i64, i64) = take("TIME", answers.next())?;
    let now_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    let mut rest = keys.iter().zip(answers);
    let mut record = FleetRecord::default();
    for pool in pools {
        let (key, fields) = next::<Fields>(&mut rest)?;
        let workloads = format::workloads(key, pool, &fields, now_ms)?
            .into_iter()
            .collect();
        let (key, fields) = next::<Fields>(&mut rest)?;
        let intents = format::intents(key, pool, &fields, now_ms)?;
        let (key, value) = next::<Option<Vec<u8>>>(&mut rest)?;
        let memory = format::memory(key, value.as_deref());
        record.pools.insert(
            pool.clone(),
            PoolRecord {
                workloads,
                intents,
                memory,
            },
        );
    }
    for emitter in emitters {
        let (key, fields) = next::<Fields>(&mut rest)?;
        let status = format::status(key, &fields, now_ms)?;
        record.emitters.insert(emitter.clone(), status);
    }
    Ok(record)
}

fn next<'a, T: FromRedisValue>(
    rest: &mut impl Iterator<Item = (&'a String, RedisResult<Value>)>,
) -> Result<(&'a str, T), StoreError> {
    let (key, answer) = match rest.next() {
        Some((key, answer)) => (key.as_str(), Some(answer)),
        None => ("the end of the answer", None),
    };
    Ok((key, take(key, answer)?))
}

fn take<T: FromRedisValue>(key: &str, answer: Option<RedisResult<Value>>) -> Result<T, StoreError> {
    let missing = || format::corrupt(key, "Redis answered less than it was asked");
    let value = answer
        .ok_or_else(missing)?
        .map_err(|error| match error.code() {
            Some("WRONGTYPE") => format::corrupt(key, "the key holds a value of another type"),
            _ => error::from_redis(OPERATION, error),
        })?;
    from_redis_value(value).map_err(|error| StoreError {
        source: Some(error.into()),
        ..format::corrupt(key, "the answer has another type")
    })
}
