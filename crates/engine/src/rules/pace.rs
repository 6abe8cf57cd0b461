//! `pace`: a token bucket for creations, and stabilisation on the way down.
//!
//! Worked, creations: `create: 60, per: 1m` lets 60 machines be created at once; then one more each second. A queue of
//! 100 jobs gets 60 now and the others over the next 40 s. Nothing is averaged on the way up.
//!
//! Worked, the way down: `stabilise: 2m` and targets 9, 4, 7, 3 at 0 s, 60 s, 90 s and 100 s: at 100 s the greatest
//! target of the last 2 minutes is 9 (it was wanted until 60 s), so 9 machines that are there are kept; at 180 s it is
//! 7, and at 220 s (7 was wanted until 100 s) it is 3.

use std::time::Duration;

use jiff::Timestamp;
use model::rules::Bucket;
use model::{Tokens, age};

use super::{Situation, greatest_within};
use crate::Plan;
use crate::reason::Reason;

/// Thousandths of a token, so that a slow refill is exact.
const MILLI: u64 = 1000;

/// Of `count` creations those that the pace allows.
pub(crate) fn allowed(at: &Situation<'_>, count: u32, plan: &mut Plan) -> u32 {
    let Some((rule, bucket)) = at
        .rules
        .pace
        .and_then(|(rule, pace)| Some((rule, pace.create?)))
    else {
        return count;
    };
    let level = level(&bucket, plan.memory.tokens, at.now);
    let allowed = count.min(u32::try_from(level / MILLI).unwrap_or(u32::MAX));
    if allowed < count {
        plan.reasons.push(Reason::Paced {
            rule: rule.name.clone(),
            burst: bucket.burst,
            per: bucket.per,
            short: count,
            allowed,
        });
    }
    allowed
}

/// Takes the tokens of `count` creations: those that the fleet granted too.
pub(crate) fn take(at: &Situation<'_>, count: u32, plan: &mut Plan) {
    let Some(bucket) = at.rules.pace.and_then(|(_, pace)| pace.create) else {
        return;
    };
    if count > 0 {
        let level = level(&bucket, plan.memory.tokens, at.now);
        plan.memory.tokens = Some(Tokens {
            milli: level.saturating_sub(u64::from(count) * MILLI),
            at: at.now,
        });
    }
}

/// Thousandths of a token in the bucket now; never more than its size.
fn level(bucket: &Bucket, left: Option<Tokens>, now: Timestamp) -> u64 {
    let full = u64::from(bucket.burst) * MILLI;
    let Some(left) = left else { return full };
    let refilled = u128::from(full) * age(left.at, now).as_millis()
        / bucket.per.max(Duration::from_millis(1)).as_millis();
    let level = u128::from(left.milli) + refilled;
    u64::try_from(level).unwrap_or(full).min(full)
}

/// Machines kept because so many were wanted within the window.
pub(crate) fn stabilise(at: &Situation<'_>, wanted: u32, plan: &mut Plan) -> u32 {
    let Some((rule, pace)) = at.rules.pace else {
        return wanted;
    };
    if pace.stabilise.is_zero() {
        return wanted;
    }
    let greatest = greatest_within(plan, pace.stabilise, at.now);
    let kept = greatest.min(at.lasting());
    if kept <= wanted {
        return wanted;
    }
    plan.reasons.push(Reason::Stabilised {
        rule: rule.name.clone(),
        window: pace.stabilise,
        wanted,
        kept,
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_bucket_refills_with_time_and_never_beyond_its_size() {
        let bucket = Bucket {
            burst: 60,
            per: Duration::from_secs(60),
        };
        assert_eq!(level(&bucket, None, at(0)), 60_000);
        let empty = Some(Tokens {
            milli: 0,
            at: at(0),
        });
        assert_eq!(level(&bucket, empty, at(0)), 0);
        assert_eq!(level(&bucket, empty, at(1)), 1_000);
        assert_eq!(level(&bucket, empty, at(3600)), 60_000);
        // a clock that went back fills nothing
        assert_eq!(level(&bucket, empty, at(-10)), 0);
    }
}
