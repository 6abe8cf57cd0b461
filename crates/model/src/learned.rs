//! What the engine learns of one pool from the series of its demand: small, bounded, and worth nothing when lost.
//!
//! The numbers are read and written by `engine::learn` alone; here is only their form. At most about 12 KiB as JSON, and 1 to 2 KiB for a pool in use.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was learned of one pool. An empty one is always safe: the rules fall back to what their documents promise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// Slots that running and runnable jobs needed in the last whole look.
    pub demand: u32,
    /// Levels of demand that are not needed now, the deepest first: the newest is needed again first. At most 64
    /// entries; further ones are put together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unneeded: Vec<Unneeded>,
    /// Levels that the newest look needed again. They join the law of gaps at the next one, so that what a tick teaches
    /// does not change what it decides; at most as many entries as above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needed_again: Vec<NeededAgain>,
    /// How long levels stayed unneeded, over all hours.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub gaps: Histogram,
    /// The same by class of hour of the week (see `engine::learn`); at most 12.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps_by_hour: Vec<Histogram>,
    /// Rises of demand within one boot time, by how much demand has risen lately: once for what fades fast and once for
    /// what fades slowly, at most 30 rows each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rises: Vec<Vec<RiseRow>>,
    /// The window in which a rise is watched now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<RiseWindow>,
    /// Seconds from creation to an executor that is online, newest last; at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boots: Vec<u32>,
}

impl Learned {
    /// Whether nothing was learned yet.
    pub fn is_empty(&self) -> bool {
        *self == Learned::default()
    }
}

/// Levels of demand that stopped being needed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unneeded {
    /// How many.
    pub levels: u32,
    /// Since when.
    pub since: Timestamp,
}

/// Levels of demand that were needed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeededAgain {
    /// How many.
    pub levels: u32,
    /// Since when they had not been needed.
    pub since: Timestamp,
    /// When they were needed again.
    pub at: Timestamp,
}

/// Counts in buckets whose bounds grow like a logarithm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    /// Counts; what lies behind the last one is zero.
    pub counts: Vec<u32>,
}

impl Histogram {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// Rises that were seen at one level of recent activity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RiseRow {
    /// Windows watched.
    pub windows: u32,
    /// Windows by their rise; those without any are not counted here.
    #[serde(default)]
    pub rises: Histogram,
}

/// A window of one boot time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiseWindow {
    /// When it began.
    pub since: Timestamp,
    /// Demand when it began.
    pub base: u32,
    /// The greatest demand in it so far.
    pub peak: u32,
    /// Recent rises when it began, fading fast and slowly; in 1/256 of a slot.
    pub activity: [u32; 2],
    /// Recent rises now, as of `touched`.
    pub active: [u32; 2],
    /// When `active` was brought up to date.
    pub touched: Timestamp,
}
