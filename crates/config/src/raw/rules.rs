//! The keys of `rules:`, one type for each kind.

use ports::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::quantity::{Decimal, Idle, IdleFor, Percent, Size};

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct When {
    /// Times of the week, such as "Mon-Fri 08:00-19:00; Sat 22:00-06:00"; needs `zone`.
    #[serde(default)]
    pub(crate) schedule: Option<String>,
    /// The time zone of `schedule`, such as Asia/Kolkata.
    #[serde(default)]
    pub(crate) zone: Option<String>,
    /// More jobs than this wait for an executor.
    #[serde(default)]
    pub(crate) queued_over: Option<u32>,
    /// Fewer jobs than this wait for an executor.
    #[serde(default)]
    pub(crate) queued_under: Option<u32>,
    /// The oldest of them has waited longer than this.
    #[serde(default)]
    pub(crate) oldest_wait_over: Option<Span>,
    /// The oldest of them has waited less than this.
    #[serde(default)]
    pub(crate) oldest_wait_under: Option<Span>,
    /// Running and queued jobs are more than this share of all slots.
    #[serde(default)]
    pub(crate) utilization_over: Option<Percent>,
    /// Running and queued jobs are less than this share of all slots.
    #[serde(default)]
    pub(crate) utilization_under: Option<Percent>,
    /// Less memory than this is free on the busy executors, on average.
    #[serde(default)]
    pub(crate) memory_below: Option<Size>,
    /// More memory than this is free on the busy executors, on average.
    #[serde(default)]
    pub(crate) memory_above: Option<Size>,
    /// The load per processor of the busy executors is more than this, on average.
    #[serde(default)]
    pub(crate) load_over: Option<Decimal>,
    /// The load per processor of the busy executors is less than this, on average.
    #[serde(default)]
    pub(crate) load_under: Option<Decimal>,
    /// Sets of conditions of which one must hold.
    #[serde(default)]
    pub(crate) any: Vec<Value>,
}

/// Holds (running + queued jobs) / slots at a target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Utilization {
    /// The share of all slots that the jobs may take; the rest is room for more.
    pub(crate) target: Percent,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// Keeps idle slots ready.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reserve {
    /// Slots beyond what the jobs need: a number, a share of the busy ones, or `arrivals`, which is learned.
    pub(crate) idle: Idle,
    /// With `arrivals`: what a second of a waiting job is worth in seconds of an idle slot. Default 16.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) wait_to_idle: Option<u32>,
    /// Never more slots than this.
    #[serde(default)]
    pub(crate) at_most: Option<u32>,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// Grows or holds while executors are short of memory.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// Memory that should be free on the busy executors, on average.
    pub(crate) free_below: Size,
    /// Idle machines beside the busy ones while less is free; 0 only keeps what there is. Default 1.
    #[serde(default = "one")]
    pub(crate) grow: u32,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// Grows or holds while executors are overloaded.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// Load per processor of the busy executors, on average.
    pub(crate) over: Decimal,
    /// Idle machines beside the busy ones while it is higher; 0 only keeps what there is. Default 1.
    #[serde(default = "one")]
    pub(crate) grow: u32,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// When idle machines leave.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScaleIn {
    /// Idle time before a machine may leave: a time from registration or the end of its last job, or `break-even`,
    /// which is learned from how long the pool's demand stays away.
    pub(crate) idle_for: IdleFor,
    /// With `break-even`: what a second of a waiting job is worth in seconds of an idle machine. Default 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) wait_to_idle: Option<u32>,
    /// With `break-even`: all work is known at least this long ahead (schedules, chains). Default 0s.
    #[serde(default)]
    pub(crate) announced: Option<Span>,
    /// At most this many machines begin to leave within `per`. Without it there is no limit.
    #[serde(default)]
    pub(crate) at_most: Option<u32>,
    /// The window of `at_most`. Default 1m.
    #[serde(default = "minute")]
    pub(crate) per: Span,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// How fast a pool moves.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pace {
    /// Machines that may be created at once, and again within `per`. Without it there is no limit.
    #[serde(default)]
    pub(crate) create: Option<u32>,
    /// The time in which so many may be created again. Default 1m.
    #[serde(default = "minute")]
    pub(crate) per: Span,
    /// On the way down the greatest number wanted within this time is kept. Default 0s.
    #[serde(default)]
    pub(crate) stabilise: Option<Span>,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

/// Other limits than the pool's own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// In the place of the pool's `min`.
    #[serde(default)]
    pub(crate) min: Option<u32>,
    /// In the place of the pool's `max`.
    #[serde(default)]
    pub(crate) max: Option<u32>,
    /// When the rule holds. Always, without it.
    #[serde(default)]
    pub(crate) when: Option<When>,
}

fn one() -> u32 {
    1
}

fn minute() -> Span {
    Span::minutes(1)
}
