//! The rules of a pool as data: what an operations engineer would otherwise tune by hand.
//!
//! A rule has a name, a kind, and may have conditions that must all hold (`when:`). At any moment one rule of each kind
//! is in force: the first of the pool's own list whose conditions hold, else the one of its profile. So a time without
//! a matching window falls back to something that has a name, and never to nothing.
//!
//! What a kind does is decided in `engine::rules`, one module for each. To add a kind: a variant of [`RuleKind`], its
//! place in [`RuleKind::name`], its module there, and its keys in the crate `config`.

mod condition;
mod profiles;
mod schedule;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use condition::{Condition, When};
pub use profiles::Profile;
pub use schedule::{MINUTES_OF_A_WEEK, Schedule, ScheduleError, WeekRange};

/// The order in which a target is made: (step, what it may do). `parmanu check` prints it, docs/rules.md explains it.
pub const PRECEDENCE: [(&str, &str); 12] = [
    (
        "demand",
        "sets what running, runnable and imminent jobs need",
    ),
    ("utilization", "may raise it"),
    ("reserve", "may raise it"),
    ("memory, load", "may raise it"),
    ("scale-in (break-even)", "may keep machines that are there"),
    ("pace (stabilise)", "may keep machines that are there"),
    ("limit", "puts other limits in the place of min and max"),
    ("min", "may raise it"),
    ("doubt", "keeps what is there"),
    (
        "max",
        "may lower it; counts every machine not confirmed gone",
    ),
    ("pace (create)", "may slow creations"),
    (
        "scale-in",
        "says which idle machines leave, and how many at a time",
    ),
];

/// One rule of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name in the file; `balanced.reserve` for one that a profile brings.
    pub name: String,
    /// All of them must hold.
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
    /// What it does.
    pub rule: RuleKind,
}

impl Rule {
    /// A rule that always holds.
    pub fn always(name: impl Into<String>, rule: RuleKind) -> Self {
        Rule {
            name: name.into(),
            when: When::default(),
            rule,
        }
    }
}

/// What a rule does. The kinds of later versions (`wait`, `forecast`, `recycle`) and of money (`budget`) get a variant
/// of their own here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RuleKind {
    /// Holds the total workload at a target.
    Utilization(Utilization),
    /// Keeps idle slots ready.
    Reserve(Reserve),
    /// Grows or holds while executors are short of memory.
    Memory(MemoryRule),
    /// Grows or holds while executors are overloaded.
    Load(LoadRule),
    /// When idle machines leave.
    ScaleIn(ScaleIn),
    /// How fast machines are created, and how long a lower target is doubted.
    Pace(Pace),
    /// Other limits than the pool's own.
    Limit(Limit),
}

impl RuleKind {
    /// The value of `kind:`.
    pub fn name(&self) -> &'static str {
        match self {
            RuleKind::Utilization(_) => "utilization",
            RuleKind::Reserve(_) => "reserve",
            RuleKind::Memory(_) => "memory",
            RuleKind::Load(_) => "load",
            RuleKind::ScaleIn(_) => "scale-in",
            RuleKind::Pace(_) => "pace",
            RuleKind::Limit(_) => "limit",
        }
    }
}

/// A part of a whole, in thousandths: exact, and the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share {
    /// Thousandths; 1000 is the whole.
    pub permille: u32,
}

impl Share {
    /// So many hundredths.
    pub const fn percent(percent: u32) -> Self {
        Share {
            permille: percent.saturating_mul(10),
        }
    }

    /// This share of a number, rounded up: a share of something is at least one.
    pub fn of(self, whole: u32) -> u32 {
        let part = (u64::from(whole) * u64::from(self.permille)).div_ceil(1000);
        u32::try_from(part).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.permille % 10 {
            0 => write!(f, "{}%", self.permille / 10),
            rest => write!(f, "{}.{rest}%", self.permille / 10),
        }
    }
}

impl std::str::FromStr for Share {
    type Err = String;
    /// Reads `80%` and `99.5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a share; write a percentage such as 80% or 99.5%");
        let number = text.trim().strip_suffix('%').ok_or_else(bad)?;
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        if tenths.len() != 1 || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(bad());
        }
        let whole: u32 = whole.parse().map_err(|_| bad())?;
        let tenths: u32 = tenths.parse().map_err(|_| bad())?;
        let permille = whole.checked_mul(10).and_then(|n| n.checked_add(tenths));
        permille.map(|permille| Share { permille }).ok_or_else(bad)
    }
}

/// Holds the total workload, (active executors + idle builds) / executors, at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utilization {
    /// The target, above 0 and at most the whole: a rule only raises, so more would change nothing.
    pub target: Share,
}

/// Keeps idle slots ready beyond what the jobs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// How many.
    pub idle: IdleSlots,
    /// Never more than these many slots; without it the pool's max is the only bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
}

/// How many idle slots are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum IdleSlots {
    /// A number.
    Fixed {
        /// Slots.
        slots: u32,
    },
    /// A share of the busy ones, rounded up.
    ShareOfBusy {
        /// The share.
        share: Share,
    },
    /// Sized from the pool's own rises of demand within one boot time.
    Arrivals {
        /// What a job's wait costs against what a slot's idleness costs, for the same time: one more slot is kept while
        /// the chance that it is needed within a boot time is greater than 1 in so many.
        wait_to_idle: u32,
    },
}

/// Grows or holds while executors are short of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRule {
    /// Bytes that should be free, on average over the busy executors that report.
    pub free_below: u64,
    /// Idle machines kept beside the busy ones while less is free; 0 only holds.
    pub grow: u32,
}

/// Grows or holds while executors are overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRule {
    /// Load per processor in thousandths, on average over the busy executors that report.
    pub over_milli: u32,
    /// Idle machines kept beside the busy ones while the load is higher; 0 only holds.
    pub grow: u32,
}

/// When idle machines leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleIn {
    /// How long idleness lasts before a machine leaves.
    pub idle: IdleTime,
    /// At most this many machines begin to leave within `per`; `None` is unlimited.
    pub at_most: Option<u32>,
    /// The window of `at_most`.
    pub per: Duration,
}

impl ScaleIn {
    /// A fixed idle time without a limit on how many leave.
    pub const fn fixed(idle_for: Duration) -> Self {
        ScaleIn {
            idle: IdleTime::Fixed { idle_for },
            at_most: None,
            per: Duration::from_secs(60),
        }
    }
}

/// How long idleness lasts before a machine leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum IdleTime {
    /// A fixed time by each machine's own idle clock, which starts at registration or at the end of its last job.
    Fixed {
        /// The time.
        idle_for: Duration,
    },
    /// Learned: idleness is paid until it has cost about as much as what its end would save.
    BreakEven {
        /// What a job's wait costs against what a slot's idleness costs, for the same time. 0 counts the boot alone.
        wait_to_idle: u32,
        /// All work of the pool is announced at least this long ahead (schedules, chains): so much less idleness is
        /// waited out. Zero if unsure.
        #[serde(default)]
        announced: Duration,
    },
}

/// How fast a pool moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Creations: at most `burst` at once, refilled by `burst` within `per`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Bucket>,
    /// The target of the way down is the greatest of this window. Zero follows at once.
    #[serde(default)]
    pub stabilise: Duration,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Machines at once, 1 or more.
    pub burst: u32,
    /// Time in which an empty bucket fills, more than zero.
    pub per: Duration,
}

/// Other limits than the pool's own, while the rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In place of the pool's `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// In place of the pool's `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_same_order_and_the_same_profiles() {
        let text = include_str!("../../../../docs/rules.md");
        let (_, table) = text.split_once("| step | may |").unwrap();
        let rows: Vec<&str> = table.lines().skip(2).take(PRECEDENCE.len()).collect();
        for ((step, _), row) in PRECEDENCE.iter().zip(rows) {
            let word = step.split([' ', ',']).next().unwrap();
            assert!(
                row.contains(word),
                "{step} is not where docs/rules.md has {row}"
            );
        }
        for profile in Profile::ALL {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{}`", profile.name())));
            for rule in profile.rules() {
                let worth = match rule.rule {
                    RuleKind::Reserve(Reserve {
                        idle: IdleSlots::Arrivals { wait_to_idle },
                        ..
                    })
                    | RuleKind::ScaleIn(ScaleIn {
                        idle: IdleTime::BreakEven { wait_to_idle, .. },
                        ..
                    }) => wait_to_idle,
                    _ => continue,
                };
                let named = format!("wait_to_idle: {worth}");
                assert!(row.unwrap().contains(&named), "{}: {named}", rule.name);
            }
        }
    }

    #[test]
    fn a_share_is_written_with_its_percent_and_rounds_up() {
        assert_eq!("80%".parse(), Ok(Share::percent(80)));
        assert_eq!("99.5%".parse(), Ok(Share { permille: 995 }));
        assert_eq!(Share { permille: 995 }.to_string(), "99.5%");
        for bad in ["80", "0.8", "-5%", "1.25%", "%", "+5%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        // 10% of 21 busy slots is 2.1: three are kept
        assert_eq!(Share::percent(10).of(21), 3);
        assert_eq!(Share::percent(10).of(0), 0);
        assert_eq!(Share::percent(100).of(u32::MAX), u32::MAX);
    }
}
