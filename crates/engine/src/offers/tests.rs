//! What is learned of offers, in worked numbers.

use super::*;
use crate::Refusal;

fn now() -> Timestamp {
    Timestamp::from_second(1_767_268_800).expect("a moment")
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn offer(index: u32) -> OfferId {
    OfferId {
        machine: "linux-m".parse().expect("a name"),
        index,
    }
}

fn aws() -> ProviderName {
    "aws".parse().expect("a name")
}

fn news(made: u32, kind: Option<RefusalKind>) -> OfferNews {
    OfferNews {
        offer: offer(0),
        provider: aws(),
        made,
        refusal: kind.map(|kind| Refusal {
            kind,
            why: "no capacity".to_owned(),
        }),
    }
}

fn heard(memory: &mut PoolMemory, entry: OfferNews, there: u32, at: Timestamp) {
    learn(memory, &[entry], &[(aws(), there)].into(), at);
}

/// How long the offer steps aside after this refusal, in seconds.
fn aside_for(memory: &PoolMemory, at: Timestamp) -> u64 {
    let until = memory.offers[&offer(0)].until.expect("it steps aside");
    age(at, until).as_secs()
}

/// Each refusal in a row doubles the time, up to half an hour; a failure of the account to two minutes; a machine that is made
/// ends it.
#[test]
fn each_refusal_doubles_the_time_aside() {
    let mut memory = PoolMemory::default();
    let mut at = now();
    for expected in [180, 360, 720, 1440, 1800, 1800] {
        heard(&mut memory, news(0, Some(RefusalKind::NoCapacity)), 0, at);
        assert_eq!(aside_for(&memory, at), expected);
        // the same refusal, asked before it stepped aside, is no second one
        heard(&mut memory, news(0, Some(RefusalKind::NoCapacity)), 0, at);
        assert_eq!(aside_for(&memory, at), expected);
        at = memory.offers[&offer(0)].until.expect("it steps aside");
    }
    // an outcome that nobody knows teaches nothing
    let before = memory.offers.clone();
    heard(&mut memory, news(0, None), 0, at);
    assert_eq!(memory.offers, before);
    heard(&mut memory, news(1, None), 0, at);
    let known = &memory.offers[&offer(0)];
    assert_eq!(
        (known.until, known.refusals, known.why.as_str()),
        (None, 0, "")
    );
}

#[test]
fn trouble_of_the_account_is_over_sooner() {
    let mut memory = PoolMemory::default();
    let mut at = now();
    let wait = RefusalKind::Wait { wait: seconds(30) };
    for expected in [30, 60, 120, 120] {
        heard(&mut memory, news(0, Some(wait)), 0, at);
        assert_eq!(aside_for(&memory, at), expected);
        at = memory.offers[&offer(0)].until.expect("it steps aside");
    }
    // what the provider itself asks for is not shortened
    let wait = RefusalKind::Wait { wait: seconds(600) };
    heard(&mut memory, news(0, Some(wait)), 0, at);
    assert_eq!(aside_for(&memory, at), 600);
}

/// A quota is taken for a cap of what was there, for five minutes and twice as long each time; one that is met while it is in
/// force is the same one, and more machines than it was taken for end it.
#[test]
fn a_quota_is_a_cap_for_a_while() {
    let mut memory = PoolMemory::default();
    let quota = || news(0, Some(RefusalKind::Quota));
    heard(&mut memory, quota(), 7, now());
    let known = memory.quotas[&aws()].clone();
    assert_eq!((known.cap, known.refusals), (7, 1));
    assert_eq!(age(now(), known.until), seconds(300));
    let later = after(now(), seconds(299));
    heard(&mut memory, quota(), 5, later);
    assert_eq!(memory.quotas[&aws()], known, "in force");
    let over = known.until;
    heard(&mut memory, quota(), 5, over);
    let known = memory.quotas[&aws()].clone();
    assert_eq!((known.cap, known.refusals), (5, 2));
    assert_eq!(age(over, known.until), seconds(600));
    // as many as it is taken for, or more that are not news of a creation, leave it
    heard(&mut memory, news(1, None), 5, over);
    heard(&mut memory, news(0, None), 6, over);
    assert!(memory.quotas.contains_key(&aws()));
    heard(&mut memory, news(1, None), 6, over);
    assert!(memory.quotas.is_empty(), "it was raised");
    // half an hour after its end it is no news any more
    heard(&mut memory, quota(), 7, now());
    let ends = memory.quotas[&aws()].until;
    learn(
        &mut memory,
        &[],
        &BTreeMap::new(),
        after(ends, seconds(1799)),
    );
    assert!(memory.quotas.contains_key(&aws()));
    learn(
        &mut memory,
        &[],
        &BTreeMap::new(),
        after(ends, seconds(1800)),
    );
    assert!(memory.quotas.is_empty());
}

#[test]
fn news_of_one_provider_leave_the_quota_of_another() {
    let mut memory = PoolMemory::default();
    heard(&mut memory, news(0, Some(RefusalKind::Quota)), 7, now());
    let elsewhere = OfferNews {
        provider: "gcp".parse().expect("a name"),
        ..news(1, None)
    };
    let there = [(aws(), 9), ("gcp".parse().expect("a name"), 9)].into();
    learn(&mut memory, &[elsewhere], &there, now());
    assert!(memory.quotas.contains_key(&aws()));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut memory = PoolMemory::default();
    for index in 0..70 {
        memory.offers.insert(offer(index), OfferMemory::default());
        let quota = QuotaMemory {
            cap: 1,
            until: now(),
            refusals: 1,
            why: String::new(),
        };
        let name = format!("p{index:02}").parse().expect("a name");
        memory.quotas.insert(name, quota);
    }
    learn(&mut memory, &[], &BTreeMap::new(), now());
    assert_eq!((memory.offers.len(), memory.quotas.len()), (64, 64));
}

/// More than 32 machines, or failures, are halved with the other counter: old news fade.
#[test]
fn counts_of_machines_fade() {
    for (made, failed, expected) in [
        (32, 8, (32, 8)),
        (33, 8, (16, 4)),
        (8, 33, (4, 16)),
        (130, 4, (32, 1)),
    ] {
        let mut known = OfferMemory {
            made,
            failed,
            ..OfferMemory::default()
        };
        fade(&mut known);
        assert_eq!((known.made, known.failed), expected, "{made} {failed}");
    }
}

/// 0.20 an hour with one of four that never joined is (5 / 4) of it: machines that never join are paid as well.
#[test]
fn the_price_of_a_joined_hour() {
    let price = |micros: Option<u64>, made: u32, failed: u32| {
        let policy = OfferPolicy {
            id: offer(0),
            provider: aws(),
            generation: model::Generation::new("now"),
            price: micros.map(Money::from_micros),
            listing_lag: seconds(30),
            batch_limit: 1,
            least_billed: seconds(60),
        };
        let known = OfferMemory {
            made,
            failed,
            ..OfferMemory::default()
        };
        per_joined(&policy, &known)
    };
    assert_eq!(price(Some(200_000), 0, 0), 200_000);
    assert_eq!(price(Some(200_000), 4, 1), 250_000);
    assert_eq!(price(Some(200_000), 3, 3), 800_000);
    assert_eq!(
        price(None, 4, 0),
        u64::MAX,
        "one without a price is the dearest"
    );
}
