//! The profiles: published sets of rules, and nothing else.
//!
//! No number here is fitted to a load. Times are learned by each pool for itself; what differs between the profiles is
//! one opinion: how many seconds of an idle machine a second of a waiting job is worth.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IdleSlots, IdleTime, Reserve, Rule, RuleKind, ScaleIn};

/// A named set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The lowest cost: waits for a boot are worth nothing.
    Economy,
    /// Short waits at a modest cost.
    #[default]
    Balanced,
    /// The shortest waits.
    Latency,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 3] = [Profile::Economy, Profile::Balanced, Profile::Latency];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Economy => "economy",
            Profile::Balanced => "balanced",
            Profile::Latency => "latency",
        }
    }

    /// What a second of a waiting job is worth, in seconds of an idle slot: (for keeping a machine that is there, for
    /// having one more). Keeping is cheaper than making, so it is asked less.
    fn worth(self) -> (u32, Option<u32>) {
        match self {
            Profile::Economy => (0, None),
            Profile::Balanced => (2, Some(16)),
            Profile::Latency => (12, Some(56)),
        }
    }

    /// Its rules, in the order in which they are looked through.
    pub fn rules(self) -> Vec<Rule> {
        let name = |kind: &str| format!("{}.{kind}", self.name());
        let (keep, more) = self.worth();
        let mut rules = Vec::new();
        if let Some(wait_to_idle) = more {
            let reserve = Reserve {
                idle: IdleSlots::Arrivals { wait_to_idle },
                at_most: None,
            };
            rules.push(Rule::always(name("reserve"), RuleKind::Reserve(reserve)));
        }
        let scale_in = ScaleIn {
            idle: IdleTime::BreakEven {
                wait_to_idle: keep,
                announced: Duration::ZERO,
            },
            at_most: None,
            at_most_share: None,
            per: Duration::from_secs(60),
        };
        rules.push(Rule::always(name("scale-in"), RuleKind::ScaleIn(scale_in)));
        rules
    }
}
