//! `rules:`, and which of them a pool has.

use std::collections::BTreeMap;
use std::time::Duration;

use model::rules::{
    Bucket, IdleSlots, IdleTime, Limit, LoadRule, MemoryRule, Pace, Reserve, ScaleIn, Utilization,
};
use model::{MachineName, Profile, Rule, RuleKind};
use ports::Report;
use ports::strict::{self, Problems};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Maker;
use super::entries::{take_kind, too_long};
use super::limits::{self, BudgetParts};
use super::when;
use crate::raw;
use crate::raw::quantity::{Idle, IdleFor};

/// The kinds there are, in the order of their precedence.
const KINDS: [&str; 8] = [
    "utilization",
    "reserve",
    "memory",
    "load",
    "scale-in",
    "pace",
    "limit",
    "budget",
];

/// Kinds that have a name and a place, but no rule yet.
const NOT_YET: [(&str, &str); 3] = [
    (
        "wait",
        "`reserve` with `idle: arrivals` and a greater `wait_to_idle` shortens waits",
    ),
    (
        "forecast",
        "`reserve` with `when: { schedule: … }` starts machines ahead",
    ),
    (
        "recycle",
        "`reuse: { max_age, max_jobs }` of the machine replaces machines",
    ),
];

/// What a second of a waiting job is worth in a reserve without `wait_to_idle`, in seconds of an idle slot: the one of
/// the profile `balanced`.
const WAIT_TO_IDLE: u32 = 16;

/// The rules of the file: those that a pool takes for itself, and budgets, which several pools may share.
pub(super) struct Rules {
    pub(super) of_pools: BTreeMap<String, Rule>,
    pub(super) budgets: BTreeMap<String, BudgetParts>,
}

impl Maker<'_> {
    pub(super) fn rules(&mut self, document: &Value) -> Rules {
        let mut budgets = BTreeMap::new();
        let made: BTreeMap<MachineName, Rule> = self.entries(
            document,
            "rules",
            |_, name: &MachineName, value, problems| {
                if value.get("kind").and_then(Value::as_str) == Some("budget") {
                    let (_, rest) = take_kind(value, KINDS, problems);
                    let raw: raw::rules::Budget = strict::read(&rest, problems)?;
                    let budget = limits::budget(&raw, problems);
                    budgets.extend(budget.map(|budget| (name.to_string(), budget)));
                    return None;
                }
                rule(name.to_string(), value, problems)
            },
        );
        let of_pools = made.into_iter();
        Rules {
            of_pools: of_pools
                .map(|(name, rule)| (name.to_string(), rule))
                .collect(),
            budgets,
        }
    }
}

fn rule(name: String, value: &Value, problems: &mut Problems) -> Option<Rule> {
    let kind = value.get("kind").and_then(Value::as_str);
    if let Some((kind, instead)) = NOT_YET.iter().find(|(name, _)| Some(*name) == kind) {
        let message = format!("rules of the kind `{kind}` are not there yet; {instead}");
        problems.error(["kind".into()], message);
        return None;
    }
    let (kind, rest) = take_kind(value, KINDS, problems);
    let (when, rule) = match kind.as_deref()? {
        "utilization" => read(
            &rest,
            problems,
            |raw: &raw::rules::Utilization| &raw.when,
            utilization,
        ),
        "reserve" => read(
            &rest,
            problems,
            |raw: &raw::rules::Reserve| &raw.when,
            reserve,
        ),
        "memory" => read(
            &rest,
            problems,
            |raw: &raw::rules::Memory| &raw.when,
            memory,
        ),
        "load" => read(&rest, problems, |raw: &raw::rules::Load| &raw.when, load),
        "scale-in" => read(
            &rest,
            problems,
            |raw: &raw::rules::ScaleIn| &raw.when,
            scale_in,
        ),
        "pace" => read(&rest, problems, |raw: &raw::rules::Pace| &raw.when, pace),
        _ => read(&rest, problems, |raw: &raw::rules::Limit| &raw.when, limit),
    }?;
    Some(Rule { name, when, rule })
}

/// Reads one kind: its types, its conditions, and what its numbers mean.
fn read<T: DeserializeOwned>(
    value: &Value,
    problems: &mut Problems,
    when: impl Fn(&T) -> &Option<raw::rules::When>,
    make: impl Fn(&T, &mut Problems) -> RuleKind,
) -> Option<(model::When, RuleKind)> {
    let raw: T = strict::read(value, problems)?;
    let mut inner = Problems::default();
    let when = when::read(when(&raw).as_ref(), &mut inner);
    // a rule whose conditions cannot be read must not pass for one that always holds
    let readable = !inner.has_errors();
    problems.append(&[], inner);
    let rule = make(&raw, problems);
    readable.then_some((when, rule))
}

fn utilization(raw: &raw::rules::Utilization, problems: &mut Problems) -> RuleKind {
    let target = raw.target.0;
    if !(1..=1000).contains(&target.permille) {
        problems.error(
            ["target".into()],
            format!("a target is more than 0% and at most 100%, not {target}: a rule makes room and never takes it away"),
        );
    }
    RuleKind::Utilization(Utilization { target })
}

fn reserve(raw: &raw::rules::Reserve, problems: &mut Problems) -> RuleKind {
    if raw.wait_to_idle.is_some() && raw.idle != Idle::Arrivals {
        let message = "it only changes `idle: arrivals`";
        problems.error(["wait_to_idle".into()], message);
    }
    if raw.wait_to_idle.is_some_and(|n| !(1..=1000).contains(&n)) {
        problems.error(["wait_to_idle".into()], "wait_to_idle is 1 to 1000");
    }
    let idle = match raw.idle {
        Idle::Number(slots) => IdleSlots::Fixed { slots },
        Idle::Share(share) => IdleSlots::ShareOfBusy { share },
        Idle::Arrivals => IdleSlots::Arrivals {
            wait_to_idle: raw.wait_to_idle.unwrap_or(WAIT_TO_IDLE),
        },
    };
    let at_most = raw.at_most;
    RuleKind::Reserve(Reserve { idle, at_most })
}

fn memory(raw: &raw::rules::Memory, _: &mut Problems) -> RuleKind {
    RuleKind::Memory(MemoryRule {
        free_below: raw.free_below.0,
        grow: raw.grow,
    })
}

fn load(raw: &raw::rules::Load, _: &mut Problems) -> RuleKind {
    RuleKind::Load(LoadRule {
        over_milli: raw.over.milli,
        grow: raw.grow,
    })
}

fn scale_in(raw: &raw::rules::ScaleIn, problems: &mut Problems) -> RuleKind {
    too_long("per", raw.per.0, problems);
    if raw.at_most == Some(0) {
        problems.error(
            ["at_most".into()],
            "at_most 0: no machine could ever leave; without the key there is no limit",
        );
    }
    if raw
        .at_most_share
        .is_some_and(|share| !(1..=1000).contains(&share.0.permille))
    {
        problems.error(
            ["at_most_share".into()],
            "a share of the pool is more than 0% and at most 100%; without the key there is no limit",
        );
    }
    no_window(raw.per.0, problems);
    let announced = raw.announced.map_or(Duration::ZERO, |span| span.0);
    let idle = match raw.idle_for {
        IdleFor::Fixed(idle_for) => {
            too_long("idle_for", idle_for, problems);
            for (key, given) in [
                ("wait_to_idle", raw.wait_to_idle.is_some()),
                ("announced", raw.announced.is_some()),
            ] {
                if given {
                    problems.error([key.into()], "it only changes `idle_for: break-even`");
                }
            }
            IdleTime::Fixed { idle_for }
        }
        IdleFor::BreakEven => IdleTime::BreakEven {
            wait_to_idle: raw.wait_to_idle.unwrap_or(1),
            announced,
        },
    };
    if raw.wait_to_idle.is_some_and(|n| n > 1000) {
        problems.error(["wait_to_idle".into()], "wait_to_idle is 0 to 1000");
    }
    too_long("announced", announced, problems);
    RuleKind::ScaleIn(ScaleIn {
        idle,
        at_most: raw.at_most,
        at_most_share: raw.at_most_share.map(|percent| percent.0),
        per: raw.per.0,
    })
}

fn pace(raw: &raw::rules::Pace, problems: &mut Problems) -> RuleKind {
    too_long("per", raw.per.0, problems);
    no_window(raw.per.0, problems);
    if raw.create == Some(0) {
        problems.error(
            ["create".into()],
            "create 0: no machine could ever be made; without the key there is no limit",
        );
    }
    if raw.create.is_none() && raw.stabilise.is_none() {
        problems.error(
            [],
            "it needs `create`, `stabilise` or both: else it says nothing",
        );
    }
    let stabilise = raw.stabilise.map_or(Duration::ZERO, |span| span.0);
    too_long("stabilise", stabilise, problems);
    let per = raw.per.0;
    let create = raw.create.map(|burst| Bucket { burst, per });
    RuleKind::Pace(Pace { create, stabilise })
}

fn no_window(per: Duration, problems: &mut Problems) {
    if per.is_zero() {
        problems.error(
            ["per".into()],
            "a window of no time counts nothing: 1m is usual",
        );
    }
}

fn limit(raw: &raw::rules::Limit, problems: &mut Problems) -> RuleKind {
    match (raw.min, raw.max) {
        (None, None) => problems.error([], "it needs `min`, `max` or both: else it says nothing"),
        (Some(min), Some(max)) if min > max => problems.error(
            ["min".into()],
            format!("min {min} is greater than max {max}: no number of machines satisfies both"),
        ),
        _ => {}
    }
    let (min, max) = (raw.min, raw.max);
    RuleKind::Limit(Limit { min, max })
}

/// The rules of one pool: its own in their order, then those of its profile.
pub(super) fn of_pool(
    pool: &raw::Pool,
    rules: &BTreeMap<String, Rule>,
    reports: &[Report],
    problems: &mut Problems,
) -> Vec<Rule> {
    let profile = Profile::from(pool.profile).rules();
    let named = pool.rules.iter().enumerate();
    let own: Vec<(usize, &Rule)> = named
        .filter_map(|(place, name)| Some((place, rules.get(name)?)))
        .collect();
    for (place, rule) in &own {
        let never = not_reported(rule, reports).or_else(|| needs_jobs(pool, rule));
        if let Some(message) = never {
            problems.error(["rules".into(), (*place).into()], message);
        }
        if let RuleKind::Limit(limit) = &rule.rule {
            let max = limit.max.unwrap_or(pool.max);
            if limit.min.is_some_and(|min| min > max) {
                let message = format!(
                    "`{}` asks for a min above the max of this pool, {max}",
                    rule.name
                );
                problems.error(["rules".into(), (*place).into()], message);
            }
        }
    }
    when::compare(&own, &profile, problems);
    let own = own.into_iter().map(|(_, rule)| rule.clone());
    own.chain(profile).collect()
}

/// What a rule asks of jobs in a pool that has none. It would never hold, and who wrote it would wait for machines.
fn needs_jobs(pool: &raw::Pool, rule: &Rule) -> Option<String> {
    let of_jobs = matches!(
        rule.rule,
        RuleKind::Utilization(_) | RuleKind::Reserve(_) | RuleKind::Memory(_) | RuleKind::Load(_)
    );
    let never = pool.emitter.is_none() && (of_jobs || rule.when.needs_jobs());
    never.then(|| {
        format!(
            "`{}` goes by jobs, and a pool without an emitter has none: it would never act. Size the pool by `min`, or by rules of the kind `limit` with a `schedule`",
            rule.name
        )
    })
}

/// What a rule asks of executors that this CI server does not pass on.
fn not_reported(rule: &Rule, reports: &[Report]) -> Option<String> {
    let asks_memory = matches!(rule.rule, RuleKind::Memory(_)) || rule.when.asks_memory();
    let asks_load = matches!(rule.rule, RuleKind::Load(_)) || rule.when.asks_load();
    let missing = match (asks_memory, asks_load) {
        (true, _) if !reports.contains(&Report::Memory) => "free memory",
        (_, true) if !reports.contains(&Report::Load) => "load",
        _ => return None,
    };
    Some(format!(
        "`{}` asks for the {missing} of the machines, which this pool's emitter does not report: it would never hold",
        rule.name
    ))
}
