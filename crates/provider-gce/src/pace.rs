//! How fast the project may be called: Google's call quotas, minded here so that they are not run into.
//!
//! Google counts per minute of the clock and refuses until the next one begins, every tool of the project alike. A bucket
//! with a third of a minute's calls, filled with the other two thirds over the minute, never lets more through in any
//! minute than the quota allows, wherever the minute begins. Quotas are per region for what happens in zones; one bucket
//! for all regions of a provider is the safe side of that.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::ProviderName;
use pacer::{Bucket, Pacer};
use ports::{Clock, ProviderErrorKind};
use sha2::{Digest as _, Sha256};

use crate::config::Config;

pub(crate) use pacer::Turn;

/// Calls of one kind per minute and region of a new project ("Compute Engine rate quotas", read 2026). Older and larger
/// projects have more; the configuration can say so.
const PER_MINUTE: u32 = 1500;

/// What a call counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// It changes something.
    Changes,
    /// It reads one thing.
    Reads,
    /// It lists.
    Lists,
    /// It asks about an operation.
    Operations,
}

/// One bucket for each kind.
#[derive(Debug)]
pub(crate) struct Pace {
    changes: Pacer,
    reads: Pacer,
    lists: Pacer,
    operations: Pacer,
}

impl Pace {
    pub(crate) fn new(config: &Config, clock: &Arc<dyn Clock>) -> Self {
        let per_minute = config.calls_per_minute.map_or(PER_MINUTE, Into::into);
        let burst = (per_minute / 3).max(1);
        let rest = f64::from(per_minute.saturating_sub(burst).max(1));
        let bucket = Bucket {
            burst,
            per_second: rest / 60.0,
        };
        let pacer = || Pacer::new(clock.clone(), bucket);
        Self {
            changes: pacer(),
            reads: pacer(),
            lists: pacer(),
            operations: pacer(),
        }
    }

    pub(crate) fn of(&self, quota: Quota) -> &Pacer {
        match quota {
            Quota::Changes => &self.changes,
            Quota::Reads => &self.reads,
            Quota::Lists => &self.lists,
            Quota::Operations => &self.operations,
        }
    }
}

/// When a refusal for too many calls is over: at the next full minute, and a little later. The little is another for each
/// provider, or all that were refused together would come back together.
pub(crate) fn at_the_full_minute(
    kind: ProviderErrorKind,
    provider: &ProviderName,
    now: Timestamp,
) -> ProviderErrorKind {
    /// Longest extra wait. Seconds spread a handful of callers; more only delays.
    const SPREAD_MS: u64 = 3000;
    match kind {
        ProviderErrorKind::RateLimited { retry_after: None } => {
            let into = now.as_millisecond().rem_euclid(60_000).unsigned_abs();
            let digest = Sha256::digest(provider.as_str().as_bytes());
            let extra = u64::from(u16::from_be_bytes([digest[0], digest[1]])) % SPREAD_MS;
            let wait = Duration::from_millis(60_000 - into + extra);
            ProviderErrorKind::RateLimited {
                retry_after: Some(wait),
            }
        }
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_lasts_until_the_next_full_minute() {
        let wait = |second: i64, name: &str| {
            let limited = ProviderErrorKind::RateLimited { retry_after: None };
            let now = Timestamp::from_second(6_000_000 + second).unwrap();
            match at_the_full_minute(limited, &name.parse().unwrap(), now) {
                ProviderErrorKind::RateLimited { retry_after } => retry_after.unwrap().as_millis(),
                other => panic!("{other:?}"),
            }
        };
        for second in [0, 1, 30, 59] {
            let least = 60_000 - u128::try_from(second).unwrap() * 1000;
            let told = wait(second, "gcp");
            assert!((least..least + 3000).contains(&told), "{second}: {told}");
        }
        assert_eq!(wait(7, "gcp"), wait(7, "gcp"));
        assert_ne!(wait(7, "gcp"), wait(7, "gcp-two"), "not all at once");
    }
}
