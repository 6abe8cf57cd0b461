//! `rules:`, and which of them a pool takes.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{MachineName, ScaleIn};
use ports::strict::{self, Problems};
use serde_json::Value;

use super::Maker;
use super::entries::{take_kind, too_long};
use super::limits::{BudgetParts, budget};
use crate::raw;

/// Idle time before a machine may leave, where no rule says otherwise (what most comparable systems start with).
const IDLE_FOR: Duration = Duration::from_secs(600);

pub(super) enum Rule {
    ScaleIn(raw::ScaleInRule),
    Budget(BudgetParts),
}

impl Maker<'_> {
    pub(super) fn rules(&mut self, document: &Value) -> BTreeMap<String, Rule> {
        let made: BTreeMap<MachineName, Rule> =
            self.entries(document, "rules", |_, _, value, problems| {
                let (kind, rest) = take_kind(value, ["budget", "scale-in"], problems);
                if kind? == "budget" {
                    let rule: raw::BudgetRule = strict::read(&rest, problems)?;
                    return budget(&rule, problems).map(Rule::Budget);
                }
                let rule: raw::ScaleInRule = strict::read(&rest, problems)?;
                pace(&rule, problems);
                Some(Rule::ScaleIn(rule))
            });
        made.into_iter()
            .map(|(name, rule)| (name.to_string(), rule))
            .collect()
    }
}

pub(super) fn scale_in(
    pool: &raw::Pool,
    rules: &BTreeMap<String, Rule>,
    problems: &mut Problems,
) -> ScaleIn {
    let mut chosen = None;
    for (index, name) in pool.rules.iter().enumerate() {
        let Some(Rule::ScaleIn(rule)) = rules.get(name) else {
            continue;
        };
        if chosen.replace(*rule).is_some() {
            let path = ["rules".into(), index.into()];
            problems.error(
                path,
                format!("`{name}` is a second scale-in rule of this pool"),
            );
        }
    }
    let minute = Duration::from_secs(60);
    chosen.map_or(
        ScaleIn {
            idle_for: IDLE_FOR,
            at_most: None,
            per: minute,
        },
        |rule| ScaleIn {
            idle_for: rule.idle_for.0,
            at_most: rule.at_most,
            per: rule.per.0,
        },
    )
}

fn pace(rule: &raw::ScaleInRule, problems: &mut Problems) {
    too_long("idle_for", rule.idle_for.0, problems);
    too_long("per", rule.per.0, problems);
    if rule.at_most == Some(0) {
        problems.error(
            ["at_most".into()],
            "at_most 0: no machine could ever leave; without the key there is no limit",
        );
    }
    if rule.per.0.is_zero() {
        problems.error(
            ["per".into()],
            "a window of no time counts nothing: 1m is usual",
        );
    }
}
