//! EC2's token buckets, as documented in "Request throttling for the Amazon EC2 API".
//!
//! Per account, region and action. RunInstances and TerminateInstances pay twice: one token per call
//! and one per instance. The buckets for actions the fake does not know are left out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::wire::{Outcome, Refusal};

/// The buckets of one account; all full at first.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    calls: BTreeMap<&'static str, Bucket>,
    instances: BTreeMap<&'static str, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    at: Timestamp,
}

impl Limits {
    /// Takes one call's token. `paged` is whether a describe call has a filter or a page size.
    pub(crate) fn call(&mut self, action: &str, paged: bool, now: Timestamp) -> Outcome<()> {
        let (name, capacity, per_second) = match action {
            "RunInstances" => ("RunInstances", 5, 2),
            "TerminateInstances" => ("TerminateInstances", 100, 5),
            "CreateTags" => ("CreateTags", 100, 10),
            "DescribeInstances" if !paged => ("DescribeInstances unpaged", 50, 10),
            // every action has a bucket of its own, most of one size
            "DescribeImages" => ("DescribeImages", 100, 20),
            "DescribeSpotInstanceRequests" if !paged => {
                ("DescribeSpotInstanceRequests unpaged", 50, 10)
            }
            "DescribeSpotInstanceRequests" => ("DescribeSpotInstanceRequests", 100, 20),
            "DescribeVolumes" => ("DescribeVolumes", 100, 20),
            "GetConsoleOutput" => ("GetConsoleOutput", 100, 20),
            _ => ("DescribeInstances", 100, 20),
        };
        let bucket = self
            .calls
            .entry(name)
            .or_insert_with(|| Bucket::full(capacity, per_second, now));
        bucket.take(1, now)
    }

    /// Takes one token for each instance of the call.
    pub(crate) fn instances(&mut self, action: &str, count: u32, now: Timestamp) -> Outcome<()> {
        let (name, per_second) = match action {
            "RunInstances" => ("RunInstances", 2),
            _ => ("TerminateInstances", 20),
        };
        let bucket = self
            .instances
            .entry(name)
            .or_insert_with(|| Bucket::full(1000, per_second, now));
        bucket.take(count, now)
    }
}

impl Bucket {
    fn full(capacity: u32, per_second: u32, now: Timestamp) -> Self {
        let capacity = f64::from(capacity);
        Self {
            capacity,
            per_second: f64::from(per_second),
            tokens: capacity,
            at: now,
        }
    }

    fn take(&mut self, count: u32, now: Timestamp) -> Outcome<()> {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
        if self.tokens < f64::from(count) {
            return Err(Refusal::throttled());
        }
        self.tokens -= f64::from(count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn five_launches_at_once_then_two_a_second() {
        let mut limits = Limits::default();
        let start = Timestamp::UNIX_EPOCH;
        let burst = (0..9)
            .filter(|_| limits.call("RunInstances", false, start).is_ok())
            .count();
        let later = start + Duration::from_secs(1);
        let second = (0..9)
            .filter(|_| limits.call("RunInstances", false, later).is_ok())
            .count();
        assert_eq!((burst, second), (5, 2));
    }

    #[test]
    fn a_thousand_instances_at_once_then_two_a_second() {
        let mut limits = Limits::default();
        let start = Timestamp::UNIX_EPOCH;
        assert!(limits.instances("RunInstances", 1000, start).is_ok());
        assert!(limits.instances("RunInstances", 1, start).is_err());
        assert!(
            limits
                .instances("RunInstances", 20, start + Duration::from_secs(10))
                .is_ok()
        );
    }
}
