//! What stands under the keys: JSON that a person can read, dated by the store.
//!
//! Reading is tolerant of fields it does not know and strict about the rest: what cannot be understood is an error
//! that names the key, never a default. The one exception is the engine's memory, which may be lost at any time and is
//! then as good as absent.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{
    EmitterName, Intent, IntentKey, NamedJob, Order, PoolMemory, PoolName, StoredIntent,
    StoredOrder, StoredOrders, StoredWorkload, Unmatched, Workload,
};
use ports::{EmitterStatus, ProbeFailure, StoreError, StoreErrorKind, WorkloadWrite};
use serde::{Deserialize, Serialize};

/// A failure is told in a sentence; whatever is longer is a page of HTML that somebody took for one.
const LONGEST_WHY: usize = 2_000;

/// Fields of a hash, as Redis gives them.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Deserialize)]
struct DatedWorkload {
    looked_at_ms: i64,
    workload: Workload,
}

#[derive(Deserialize)]
struct DatedIntent {
    written_at_ms: i64,
    intent: Intent,
}

#[derive(Deserialize)]
struct DatedOrder {
    set_at_ms: i64,
    until_ms: i64,
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Report {
    unmatched: Vec<Unmatched>,
    unmatched_total: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    named: Vec<NamedJob>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    left_over: BTreeSet<PoolName>,
}

#[derive(Deserialize)]
struct DatedReport {
    looked_at_ms: i64,
    report: Report,
}

#[derive(Deserialize)]
struct DatedFailure {
    failed_at_ms: i64,
    why: String,
}

/// Our own types as JSON. It cannot fail: no map in them has keys that are not text.
pub(crate) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError {
        kind: StoreErrorKind::Corrupt,
        operation: "write a value as JSON",
        message: "this is an error in the program".into(),
        source: Some(error.into()),
    })
}

pub(crate) fn report(write: &WorkloadWrite) -> Result<String, StoreError> {
    let unmatched = write.unmatched.clone();
    json(&Report {
        unmatched,
        unmatched_total: write.unmatched_total,
        named: write.named.clone(),
        left_over: write.left_over.clone(),
    })
}

pub(crate) fn failure(why: &str) -> Result<String, StoreError> {
    json(&why.chars().take(LONGEST_WHY).collect::<String>())
}

/// A short fingerprint of what the scaler would act on: demand and executors. That the same job waited longer is no
/// news.
pub(crate) fn digest(workload: &Workload) -> Result<String, StoreError> {
    let mut demand = workload.demand.clone();
    demand.oldest_wait = None;
    let text = json(&(demand, &workload.executors))?;
    // FNV-1a: only ever compared with itself to save a wake-up, so that no stronger hash is called for.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(format!("{hash:016x}"))
}

pub(crate) fn intent_field(key: &IntentKey) -> String {
    key.to_string()
}

/// Reads the hash of one pool's workloads.
pub(crate) fn workloads(
    key: &str,
    pool: &PoolName,
    fields: &Fields,
    now_ms: i64,
) -> Result<Vec<(EmitterName, StoredWorkload)>, StoreError> {
    let one = |(field, value): &(Vec<u8>, Vec<u8>)| {
        let place = place(key, field);
        let emitter: EmitterName = text(field)
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| corrupt(&place, "the field is not the name of an emitter"))?;
        let dated: DatedWorkload = parse(&place, value)?;
        let workload = dated.workload;
        if workload.version > Workload::VERSION {
            return Err(corrupt(
                &place,
                "it was written by a newer version of this program",
            ));
        }
        if workload.pool != *pool || workload.emitter != emitter {
            return Err(corrupt(
                &place,
                "it is the workload of another pool or emitter",
            ));
        }
        Ok((
            emitter,
            StoredWorkload {
                workload,
                age: age(dated.looked_at_ms, now_ms),
            },
        ))
    };
    fields.iter().map(one).collect()
}

/// Reads the hash of one pool's intents, in the order of their keys.
pub(crate) fn intents(
    key: &str,
    pool: &PoolName,
    fields: &Fields,
    now_ms: i64,
) -> Result<Vec<StoredIntent>, StoreError> {
    let one = |(field, value): &(Vec<u8>, Vec<u8>)| {
        let place = place(key, field);
        let dated: DatedIntent = parse(&place, value)?;
        let intent = dated.intent;
        if intent.pool() != pool || text(field) != Some(&intent_field(&intent.key())) {
            return Err(corrupt(&place, "it is the intent of another pool or field"));
        }
        Ok(StoredIntent {
            intent,
            age: age(dated.written_at_ms, now_ms),
        })
    };
    let mut intents: Vec<StoredIntent> = fields.iter().map(one).collect::<Result<_, _>>()?;
    intents.sort_by_key(|stored| stored.intent.key());
    Ok(intents)
}

/// Reads the engine's memory; nothing when there is none or it cannot be understood.
pub(crate) fn memory(key: &str, value: Option<&[u8]>) -> Option<PoolMemory> {
    match parse::<PoolMemory>(key, value?) {
        Ok(memory) if memory.version <= PoolMemory::VERSION => Some(memory),
        Ok(memory) => {
            tracing::warn!(
                key,
                version = memory.version,
                "memory of a newer version is left out"
            );
            None
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(key, error, "memory that cannot be read is left out");
            None
        }
    }
}

/// Reads the status of one emitter.
pub(crate) fn status(key: &str, fields: &Fields, now_ms: i64) -> Result<EmitterStatus, StoreError> {
    let mut status = EmitterStatus::default();
    for (field, value) in fields {
        let place = place(key, field);
        match field.as_slice() {
            b"good" => {
                let good: DatedReport = parse(&place, value)?;
                status.last_good = Some(age(good.looked_at_ms, now_ms));
                status.unmatched = good.report.unmatched;
                status.unmatched_total = good.report.unmatched_total;
                status.named = good.report.named;
                status.left_over = good.report.left_over;
            }
            b"failure" => {
                let failure: DatedFailure = parse(&place, value)?;
                let age = age(failure.failed_at_ms, now_ms);
                status.failure = Some(ProbeFailure {
                    why: failure.why,
                    age,
                });
            }
            // Of a later version, which knows what it is for.
            _ => {}
        }
    }
    Ok(status)
}

/// Reads the hash of overrides. One that cannot be read is named and hides no other.
pub(crate) fn orders(key: &str, fields: &Fields, now_ms: i64) -> StoredOrders {
    let mut found = StoredOrders::default();
    for (field, value) in fields {
        match order(&place(key, field), field, value, now_ms) {
            Ok(order) => found.orders.push(order),
            Err(error) => found.unreadable.push(error.message),
        }
    }
    found.orders.sort_by_key(|stored| stored.order.what.id());
    found.unreadable.sort();
    found
}

fn order(place: &str, field: &[u8], value: &[u8], now_ms: i64) -> Result<StoredOrder, StoreError> {
    let dated: DatedOrder = parse(place, value)?;
    if text(field) != Some(&dated.order.what.id()) {
        return Err(corrupt(place, "it is the override of another field"));
    }
    Ok(StoredOrder {
        order: dated.order,
        age: age(dated.set_at_ms, now_ms),
        remaining: age(now_ms, dated.until_ms),
    })
}

/// Time from `then` to `now`; a moment in the future has age zero (the server's clock may have been set back).
fn age(then_ms: i64, now_ms: i64) -> Duration {
    let ms = i128::from(now_ms) - i128::from(then_ms);
    Duration::from_millis(u64::try_from(ms.max(0)).unwrap_or(u64::MAX))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn place(key: &str, field: &[u8]) -> String {
    // A foreign field may hold anything, so it is printed escaped and cut.
    let field: String = String::from_utf8_lossy(field)
        .escape_debug()
        .take(80)
        .collect();
    format!("{key} field {field}")
}

fn parse<'a, T: Deserialize<'a>>(place: &str, value: &'a [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError {
        source: Some(error.into()),
        ..corrupt(place, "it is not what this program writes")
    })
}

/// The error about a value that is not ours; `place` is the key, and the field where there is one.
pub(crate) fn corrupt(place: &str, why: &str) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Corrupt,
        operation: "read a value",
        message: format!("{why}: {place}; look at what wrote it, then delete it"),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use model::{Epoch, LeaveStep};

    use super::*;

    /// The moment in the files, and one 1.75 s later.
    const NOW_MS: i64 = 1_795_531_234_567 + 1_750;
    const AGE: Duration = Duration::from_millis(1_750);

    macro_rules! golden {
        ($version:literal, $file:literal) => {
            include_str!(concat!("../tests/golden/", $version, "/", $file))
                .trim_end()
                .as_bytes()
        };
    }

    fn fields(field: &str, value: &[u8]) -> Fields {
        vec![(field.as_bytes().to_vec(), value.to_vec())]
    }

    fn linux() -> PoolName {
        "linux".parse().unwrap()
    }

    #[test]
    fn a_workload_of_version_1_is_read() {
        let fields = fields("gitlab", golden!("v1", "workload.json"));
        let found = workloads("key", &linux(), &fields, NOW_MS).unwrap();
        let (emitter, stored) = &found[0];
        assert_eq!((emitter.as_str(), stored.age), ("gitlab", AGE));
        assert_eq!(stored.workload.demand.runnable, 3);
        assert_eq!(stored.workload.executors[0].labels, ["linux", "docker"]);
        assert!(stored.workload.completeness.is_complete());
    }

    #[test]
    fn intents_of_version_1_are_read() {
        let mut both = fields(
            "leave:linux-1795531234567-1-0",
            golden!("v1", "intent-leave.json"),
        );
        both.extend(fields(
            "create:linux-1795531234567-1",
            golden!("v1", "intent-create.json"),
        ));
        let found = intents("key", &linux(), &both, NOW_MS).unwrap();
        assert!(
            matches!(found[0].intent, Intent::Create { count: 2, .. }),
            "{found:?}"
        );
        let epoch = Epoch(1_795_531_234_567);
        assert!(
            matches!(found[1].intent, Intent::Leave { step: LeaveStep::Settling, epoch: of, .. } if of == epoch),
            "{found:?}"
        );
        assert_eq!((found[0].age, found[1].age), (AGE, AGE));
    }

    #[test]
    fn a_status_of_version_1_is_read() {
        let mut both = fields("good", golden!("v1", "status-good.json"));
        both.extend(fields("failure", golden!("v1", "status-failure.json")));
        both.extend(fields("of-the-future", b"whatever"));
        let found = status("key", &both, NOW_MS).unwrap();
        assert_eq!(found.last_good, Some(AGE));
        assert_eq!(found.unmatched[0].missing, ["tag macos"]);
        assert_eq!(found.named[0].name, "test");
        assert_eq!(found.left_over, ["mac".parse().unwrap()].into());
        let failure = found.failure.unwrap();
        assert_eq!(
            (failure.why.as_str(), failure.age),
            ("GET /api/v4/runners answered 502", AGE)
        );
    }

    /// Jobs are told by name since 0.1, and pools without a configuration; a look of before that tells everything else.
    #[test]
    fn a_status_without_names_is_read() {
        let golden = golden!("v1", "status-good-without-names.json");
        let found = status("key", &fields("good", golden), NOW_MS).unwrap();
        assert_eq!((found.last_good, found.unmatched_total), (Some(AGE), 1));
        assert_eq!((found.named, found.left_over.len()), (Vec::new(), 0));
    }

    #[test]
    fn an_override_of_version_1_is_read_and_a_spoilt_one_hides_no_other() {
        let mut both = fields("pause:linux", golden!("v1", "override.json"));
        both.extend(fields("pin:linux", b"{}"));
        both.extend(fields("pause:windows", golden!("v1", "override.json")));
        let found = orders("key", &both, NOW_MS);
        let [stored] = &found.orders[..] else {
            panic!("{found:?}")
        };
        assert_eq!(stored.order.who, "ann");
        let hour = Duration::from_secs(3600);
        assert_eq!((stored.age, stored.remaining), (AGE, hour - AGE));
        assert_eq!(found.unreadable.len(), 2, "{found:?}");
        let later = orders("key", &both, NOW_MS + 3_600_000);
        assert!(later.orders[0].remaining.is_zero());
    }

    #[test]
    fn memory_of_version_1_is_read() {
        let found = memory("key", Some(golden!("v1", "memory.json"))).unwrap();
        assert_eq!(
            (
                found.idle_since.len(),
                found.missing.len(),
                found.ghosts.len()
            ),
            (1, 1, 1)
        );
        assert_eq!(found.learned.boots, [45, 50]);
        assert_eq!(found.spend["monthly of the fleet"].rest, 17);
        // and one that was written before most of it was known
        let small = memory("key", Some(golden!("v1", "memory-small.json"))).unwrap();
        assert_eq!((small.idle_since.len(), small.wanted), (1, None));
    }

    #[test]
    fn fields_of_the_future_are_no_reason_to_stop() {
        let text = std::str::from_utf8(golden!("v1", "workload.json")).unwrap();
        let newer = text
            .replacen("{", r#"{"since":"2030","#, 1)
            .replace(r#""demand":{"#, r#""demand":{"waiting":1,"#);
        let fields = fields("gitlab", newer.as_bytes());
        assert!(workloads("key", &linux(), &fields, NOW_MS).is_ok());
    }

    #[test]
    fn a_moment_in_the_future_has_age_zero_and_the_far_past_no_overflow() {
        assert_eq!(age(NOW_MS, NOW_MS - 1), Duration::ZERO);
        assert_eq!(age(i64::MIN, i64::MAX), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn a_longer_wait_is_no_change_and_another_job_is() {
        let fields = fields("gitlab", golden!("v1", "workload.json"));
        let found = workloads("key", &linux(), &fields, NOW_MS).unwrap();
        let mut workload = found[0].1.workload.clone();
        let before = digest(&workload).unwrap();
        workload.demand.oldest_wait = Some(Duration::from_secs(99));
        assert_eq!(digest(&workload).unwrap(), before);
        workload.demand.runnable += 1;
        assert_ne!(digest(&workload).unwrap(), before);
    }
}
