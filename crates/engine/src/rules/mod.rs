//! The rules, one small module each, and the order in which they act.
//!
//! Of each kind one rule is in force: the first of the policy's list whose conditions hold (`when.rs`). The order is
//! fixed and has names ([`model::rules::PRECEDENCE`]): first come the rules that may only raise the target, then what holds it on the
//! way down, then the limits, then what slows a change. A rule that raises never lowers and a limit never raises, so
//! that none undoes another in silence; each step that changes a number leaves a reason with both numbers.
//!
//! To add a rule: a module here with one function, its variant in `model::rules::RuleKind`, a field of `InForce`, its
//! line in `PRECEDENCE`, and a call in `decide.rs` at that place.

pub(crate) mod limit;
pub(crate) mod pace;
pub(crate) mod pressure;
pub(crate) mod reserve;
pub(crate) mod scale_in;
pub(crate) mod utilization;
pub mod when;

use std::time::Duration;

use jiff::Timestamp;
use model::rules::{
    IdleTime, LoadRule, MemoryRule, Pace, Reserve, Rule, RuleKind, ScaleIn, Utilization,
};
use model::{Learned, Policy, Workload};

use crate::supply::{Machine, Supply};
use crate::{Observation, Plan, demand, learn, retire};

/// Idle time before a machine may leave where no rule says otherwise (what most comparable systems start with).
pub(crate) const IDLE_FOR: Duration = Duration::from_secs(600);

/// The rules in force at one tick.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InForce<'a> {
    pub(crate) utilization: Option<(&'a Rule, &'a Utilization)>,
    pub(crate) reserve: Option<(&'a Rule, &'a Reserve)>,
    pub(crate) memory: Option<(&'a Rule, &'a MemoryRule)>,
    pub(crate) load: Option<(&'a Rule, &'a LoadRule)>,
    pub(crate) scale_in: Option<(&'a Rule, &'a ScaleIn)>,
    pub(crate) pace: Option<(&'a Rule, &'a Pace)>,
}

impl<'a> InForce<'a> {
    /// The first rule of each kind whose conditions hold.
    pub(crate) fn of(policy: &'a Policy, facts: &when::Facts) -> Self {
        let mut found = InForce::default();
        for rule in &policy.rules {
            if !when::holds(&rule.when, facts) {
                continue;
            }
            match &rule.rule {
                RuleKind::Utilization(kind) => first(&mut found.utilization, rule, kind),
                RuleKind::Reserve(kind) => first(&mut found.reserve, rule, kind),
                RuleKind::Memory(kind) => first(&mut found.memory, rule, kind),
                RuleKind::Load(kind) => first(&mut found.load, rule, kind),
                RuleKind::ScaleIn(kind) => first(&mut found.scale_in, rule, kind),
                RuleKind::Pace(kind) => first(&mut found.pace, rule, kind),
                // already put into the policy, see limit.rs
                RuleKind::Limit(_) => {}
            }
        }
        found
    }

    /// The idle time and the pace of departures.
    pub(crate) fn scale_in(&self) -> ScaleIn {
        self.scale_in
            .map_or(ScaleIn::fixed(IDLE_FOR), |(_, rule)| *rule)
    }
}

fn first<'a, T>(place: &mut Option<(&'a Rule, &'a T)>, rule: &'a Rule, kind: &'a T) {
    place.get_or_insert((rule, kind));
}

/// What the rules look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) seen: &'a Observation,
    pub(crate) policy: &'a Policy,
    pub(crate) supply: &'a Supply,
    pub(crate) rules: InForce<'a>,
    /// What is known of its load at this moment.
    pub(crate) known: &'a Learned,
    /// Usual time from a creation to an executor that is online.
    pub(crate) boot: Duration,
    pub(crate) now: Timestamp,
}

impl<'a> Situation<'a> {
    /// Machines that serve and are not to be replaced: what a rule may keep for what it was. Whoever stands in for one that
    /// is due would else be kept beside it, and need somebody to stand in for it again.
    pub(crate) fn lasting(&self) -> u32 {
        let lasts = |machine: &Machine| {
            machine.phase.serves() && retire::due(machine, self.policy, self.now).is_none()
        };
        self.supply.count(lasts)
    }

    pub(crate) fn workload(&self) -> Option<&'a Workload> {
        self.seen.seen.workload.any()
    }

    /// Machines that give so many slots beside those that run jobs.
    pub(crate) fn machines_for(&self, open_slots: u32) -> u32 {
        demand::machines_for(self.policy, self.supply, open_slots)
    }
}

/// The greatest number of machines wanted within this time; nothing if nothing was recorded.
pub(crate) fn greatest_within(plan: &Plan, window: Duration, now: Timestamp) -> u32 {
    let wanted = plan.memory.wanted.as_ref();
    wanted.map_or(0, |wanted| wanted.greatest_within(window, now))
}

/// The longest time for which any rule of the pool may ask what was wanted: what is older can be forgotten.
pub(crate) fn longest_window(policy: &Policy, boot: Duration) -> Duration {
    let window = |rule: &Rule| match &rule.rule {
        RuleKind::Pace(pace) => pace.stabilise,
        RuleKind::ScaleIn(ScaleIn {
            idle: IdleTime::BreakEven { wait_to_idle, .. },
            ..
        }) => learn::longest_idle(scale_in::worth(boot, *wait_to_idle)),
        _ => Duration::ZERO,
    };
    policy.rules.iter().map(window).max().unwrap_or_default()
}

/// The longest window in which departures are counted.
pub(crate) fn longest_departure_window(policy: &Policy) -> Duration {
    let per = |rule: &Rule| match &rule.rule {
        RuleKind::ScaleIn(scale_in) => scale_in.per,
        _ => Duration::ZERO,
    };
    policy.rules.iter().map(per).max().unwrap_or_default()
}
