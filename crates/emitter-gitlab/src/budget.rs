//! How many requests one emitter may send: per probe and per minute.
//!
//! A budget that is used up is a failed request like any other, so what it hides makes the look
//! partial and never smaller in silence. Control verbs do not draw on it: a machine that is paused
//! or removed in time is worth more than the next look.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// Requests in one probe. A look at a small instance takes five; a thousand projects of which a few
/// dozen are busy take about seventy. Less than that cuts such a look; more is felt by the server.
const PER_PROBE: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
/// Requests in one minute. GitLab's own limit on the list of a project's jobs is 600 per minute and
/// user; staying below it is cheaper than being refused.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(550).expect("not zero");
const MINUTE: Duration = Duration::from_secs(60);

/// Most requests of this emitter; what they do not reach makes the look partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In one probe; 200 unless said.
    #[serde(default = "per_probe")]
    pub per_probe: NonZeroU32,
    /// In one minute; 550 unless said, which is below GitLab's own limit of 600 lists of jobs.
    #[serde(default = "per_minute")]
    pub per_minute: NonZeroU32,
}

fn per_probe() -> NonZeroU32 {
    PER_PROBE
}

fn per_minute() -> NonZeroU32 {
    PER_MINUTE
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_probe: PER_PROBE,
            per_minute: PER_MINUTE,
        }
    }
}

/// Why a request is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// The probe had its share.
    Probe(u32),
    /// The minute had its share; there is room again after this time.
    Minute(u32, Duration),
}

/// Counts requests against a [`Budget`].
#[derive(Debug)]
pub(crate) struct Purse {
    budget: Budget,
    /// When the requests of the last minute were sent.
    sent: Mutex<VecDeque<Duration>>,
}

impl Purse {
    pub(crate) fn of(budget: Budget) -> Self {
        Self {
            budget,
            sent: Mutex::default(),
        }
    }

    /// Takes one request, after `in_probe` others of the same probe.
    pub(crate) fn take(&self, in_probe: u32, now: Duration) -> Result<(), Spent> {
        if in_probe >= self.budget.per_probe.get() {
            return Err(Spent::Probe(self.budget.per_probe.get()));
        }
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut sent, now);
        let most = self.budget.per_minute.get();
        match sent.front() {
            Some(oldest) if sent.len() >= most as usize => {
                let wait = MINUTE.saturating_sub(now.saturating_sub(*oldest));
                Err(Spent::Minute(most, wait))
            }
            _ => {
                sent.push_back(now);
                Ok(())
            }
        }
    }

    /// How many projects may be asked in a probe that begins now: half of what is left, since pages,
    /// runners and pipelines want the rest.
    pub(crate) fn room(&self, now: Duration) -> usize {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut sent, now);
        let left = (self.budget.per_minute.get() as usize).saturating_sub(sent.len());
        left.min(self.budget.per_probe.get() as usize) / 2
    }
}

fn forget(sent: &mut VecDeque<Duration>, now: Duration) {
    while sent
        .front()
        .is_some_and(|at| now.saturating_sub(*at) >= MINUTE)
    {
        sent.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purse(per_probe: u32, per_minute: u32) -> Purse {
        Purse::of(Budget {
            per_probe: NonZeroU32::new(per_probe).unwrap(),
            per_minute: NonZeroU32::new(per_minute).unwrap(),
        })
    }

    #[test]
    fn a_probe_and_a_minute_have_their_share_and_no_more() {
        let purse = purse(2, 3);
        let at = Duration::from_secs;
        assert_eq!(purse.room(at(0)), 1);
        assert_eq!(purse.take(0, at(0)), Ok(()));
        assert_eq!(purse.take(1, at(10)), Ok(()));
        assert_eq!(purse.take(2, at(10)), Err(Spent::Probe(2)));
        assert_eq!(purse.take(0, at(20)), Ok(()));
        assert_eq!(purse.take(1, at(30)), Err(Spent::Minute(3, at(30))));
        assert_eq!(purse.room(at(30)), 0);
        assert_eq!(purse.take(0, at(60)), Ok(()));
        assert_eq!(purse.take(1, at(60)), Err(Spent::Minute(3, at(10))));
    }
}
