//! Compute Engine's call quotas, as documented in "Compute Engine rate quotas".
//!
//! Counted per project, kind of call and minute of the clock. A quota that is used up is whole again at the next full
//! minute and not sooner, unlike a bucket that fills while one waits.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::wire::{Outcome, Refusal};

/// Calls per minute. The defaults are those of a new project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// What changes something in a zone, per region.
    pub changes: u32,
    /// Gets.
    pub reads: u32,
    /// Lists.
    pub lists: u32,
    /// Gets and waits of operations.
    pub operation_reads: u32,
    /// Resources looked through by lists with a filter.
    pub filtered: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            changes: 1500,
            reads: 1500,
            lists: 1500,
            operation_reads: 1500,
            filtered: 750_000,
        }
    }
}

/// What was used in the minute of the last call.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    minute: i64,
    used: BTreeMap<String, u32>,
}

impl Limits {
    /// Counts `amount` of a metric, or refuses and counts nothing.
    pub(crate) fn take(
        &mut self,
        metric: &str,
        scope: &str,
        amount: u32,
        limit: u32,
        now: Timestamp,
    ) -> Outcome<()> {
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            self.minute = minute;
            self.used.clear();
        }
        let used = self.used.entry(format!("{metric} {scope}")).or_default();
        if used.saturating_add(amount) > limit {
            return Err(Refusal::rate_limited(metric));
        }
        *used += amount;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quota_is_whole_again_at_the_full_minute_and_not_before() {
        let mut limits = Limits::default();
        let start = Timestamp::from_second(6_000_030).unwrap();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let mut take = |at| limits.take("Queries", "r", 1, 2, at).is_ok();
        assert!(take(seconds(0)) && take(seconds(0)) && !take(seconds(0)));
        assert!(!take(seconds(29)), "half a minute has filled nothing");
        assert!(take(seconds(30)) && take(seconds(30)) && !take(seconds(30)));
    }

    #[test]
    fn each_region_has_a_quota_of_its_own() {
        let mut limits = Limits::default();
        let mut take = |region| {
            limits
                .take("Queries", region, 1, 1, Timestamp::UNIX_EPOCH)
                .is_ok()
        };
        assert!(take("a") && take("b") && !take("a"));
    }
}
