//! One machine and its life, as a function of time.
//!
//! Nothing ticks: a machine stores when it was made and when and why it ended, and its status is computed for any
//! moment. So virtual time may jump, and there is no order of updates to get wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::settings::Settings;

/// Why a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody deleted it.
    Deleted,
    /// The guest powered itself off.
    PoweredOff,
    /// The service took a spot machine back.
    Preempted,
    /// `maxRunDuration` was over.
    Expired,
}

/// Why, when and how a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// When it was told to end.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// It is only stopped: it stays, and its disks cost.
    pub stops: bool,
}

/// One machine as the service knows it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The service's id.
    pub id: u64,
    /// The caller's name, unique in its zone.
    pub name: String,
    /// Where it runs.
    pub zone: String,
    /// Its machine type's short name.
    pub machine_type: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// Whether it may be taken back at any time.
    pub spot: bool,
    /// What happens to it at the end of its time and when it is taken back: it is deleted, or only stopped.
    pub deletes_itself: bool,
    /// How long it may run.
    pub max_run: Option<Duration>,
    /// When its creation was accepted.
    pub created_at: Timestamp,
    /// When it is running.
    pub running_at: Timestamp,
    /// Why it ends, if somebody ended it; see [`Machine::end_at`] for its own time.
    pub ending: Option<Ending>,
    /// Cannot be deleted.
    pub protected: bool,
    /// Maintenance of its host that was announced, and when it begins.
    pub maintenance: Option<Timestamp>,
    /// What the guest wrote to its first serial port.
    pub console: String,
    /// The other fields of its resource, as they were asked for.
    pub(crate) body: Map<String, Value>,
    /// Counts the changes of its labels.
    pub(crate) label_changes: u64,
}

impl Machine {
    /// When it has run for as long as it may.
    pub(crate) fn time_is_over_at(&self) -> Option<Timestamp> {
        Some(after(self.running_at, self.max_run?))
    }

    /// The ending that counts at a moment.
    #[must_use]
    pub fn end_at(&self, now: Timestamp) -> Option<Ending> {
        let expiry = self.time_is_over_at().map(|at| Ending {
            at,
            why: Why::Expired,
            stops: !self.deletes_itself,
        });
        let told = self.ending.filter(|ending| ending.at <= now);
        let expired = expiry.filter(|expiry| expiry.at <= now);
        match (told, expired) {
            // a machine that was stopped before its time does not run, so its time is not over
            (Some(told), Some(expired)) if told.stops && expired.at < told.at => Some(expired),
            (Some(told), _) => Some(told),
            (None, expired) => expired,
        }
    }

    /// The status in the service's words, `None` when the machine is no more.
    #[must_use]
    pub fn status(&self, settings: &Settings, now: Timestamp) -> Option<&'static str> {
        let Some(ending) = self.end_at(now) else {
            return Some(self.status_alive(now));
        };
        let over = now >= after(ending.at, settings.shutdown);
        match (over, ending.stops) {
            (false, _) => Some("STOPPING"),
            (true, true) => Some("TERMINATED"),
            (true, false) => None,
        }
    }

    fn status_alive(&self, now: Timestamp) -> &'static str {
        let boot = self
            .running_at
            .duration_since(self.created_at)
            .unsigned_abs();
        if now >= self.running_at {
            "RUNNING"
        } else if now >= after(self.created_at, boot / 2) {
            "STAGING"
        } else {
            "PROVISIONING"
        }
    }

    /// The status in listings, which lag behind; `None` while or once they show nothing.
    pub(crate) fn listed(&self, settings: &Settings, now: Timestamp) -> Option<&'static str> {
        if now < after(self.created_at, settings.appears_after) {
            return None;
        }
        match self.end_at(now) {
            Some(ending) if now < after(ending.at, settings.ends_unseen_for) => {
                Some(self.status_alive(now))
            }
            _ => self.status(settings, now),
        }
    }

    /// Whether it takes up capacity: until it has stopped.
    pub(crate) fn occupies(&self, settings: &Settings, now: Timestamp) -> bool {
        !matches!(self.status(settings, now), None | Some("TERMINATED"))
    }
}

/// `at + wait`, or the end of time where that does not exist.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}
