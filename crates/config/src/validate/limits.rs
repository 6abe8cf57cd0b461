//! `groups:`, `limits:` and budgets: what several pools share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{
    Budget, Currency, FleetPolicy, GroupName, Money, Period, PoolName, ProviderName, Share,
};
use ports::strict::{self, Problem, Problems, Severity, Step};
use serde_json::Value;

use super::Maker;
use super::entries::{names, too_long, unknown};
use super::rules::Rules;
use super::when;
use crate::raw;
use crate::settings::{PoolSettings, ProviderSettings};

/// A budget as its rule states it; which pools it counts is not known yet.
pub(super) struct BudgetParts {
    limit: Money,
    per: Period,
    currency: Currency,
    zone: String,
    warn_at: Share,
    cheapest_at: Share,
    machine_life: Duration,
}

/// Checks one budget.
pub(super) fn budget(rule: &raw::rules::Budget, problems: &mut Problems) -> Option<BudgetParts> {
    let limit = Money::from_decimal(rule.limit).filter(|limit| *limit > Money::ZERO);
    if limit.is_none() {
        problems.error(
            ["limit".into()],
            "a limit is more than nothing; for a pool that may never grow write `max: 0`",
        );
    }
    let currency = rule.currency.parse::<Currency>();
    if let Err(wrong) = &currency {
        problems.error(["currency".into()], wrong.clone());
    }
    when::is_zone(&rule.zone, problems);
    let (warn_at, cheapest_at) = (rule.warn_at.0, rule.cheapest_at.0);
    for (key, share) in [("warn_at", warn_at), ("cheapest_at", cheapest_at)] {
        if share > Share::percent(100) {
            problems.error([key.into()], "a share of the limit is 100% at most");
        }
    }
    if warn_at > cheapest_at && cheapest_at <= Share::percent(100) {
        problems.warning(
            ["warn_at".into()],
            "it warns later than it uses the cheapest offers only: state the smaller share here",
        );
    }
    let machine_life = rule.machine_life.0;
    too_long("machine_life", machine_life, problems);
    if machine_life < Duration::from_secs(60) {
        problems.error(
            ["machine_life".into()],
            "a machine costs a minute at least: 1h is usual",
        );
    }
    let per = match rule.per {
        raw::rules::PeriodWord::Hour => Period::Hour,
        raw::rules::PeriodWord::Day => Period::Day,
        raw::rules::PeriodWord::Month => Period::Month,
    };
    Some(BudgetParts {
        limit: limit?,
        per,
        currency: currency.ok()?,
        zone: rule.zone.clone(),
        warn_at,
        cheapest_at,
        machine_life,
    })
}

/// Where a budget is named, and for which pools.
struct Named {
    path: Vec<Step>,
    rule: String,
    of: String,
    pools: BTreeSet<PoolName>,
}

impl Maker<'_> {
    pub(super) fn limits(
        &mut self,
        document: &Value,
        rules: &Rules,
        providers: &BTreeMap<ProviderName, ProviderSettings>,
        pools: &BTreeMap<PoolName, PoolSettings>,
    ) -> FleetPolicy {
        let known = names(document, "rules");
        let mut named = Vec::new();
        let groups = self.entries(
            document,
            "groups",
            |maker, name: &GroupName, value, problems| {
                let group: raw::Group = strict::read(value, problems)?;
                let of = |pool: &PoolSettings| pool.policy.standing.group.as_ref() == Some(name);
                let pools = members(pools, of);
                let min = min_of(&pools);
                cap(
                    group.max,
                    min,
                    &format!("the pools of group `{name}`"),
                    problems,
                );
                maker.budgets_only(&group.rules, rules, &known, problems);
                let path = vec!["groups".into(), Step::Key(name.to_string())];
                named.extend(naming(
                    &group.rules,
                    &path,
                    &format!("group {name}"),
                    &pools,
                ));
                Some(group)
            },
        );
        let mut problems = Problems::default();
        let limits: raw::Limits = match document.get("limits") {
            None | Some(Value::Null) => raw::Limits::default(),
            Some(value) => strict::read(value, &mut problems).unwrap_or_default(),
        };
        let all = members(pools, |_| true);
        cap(limits.max, min_of(&all), "all pools", &mut problems);
        too_long("patience", limits.patience.0, &mut problems);
        if limits.patience.0 < Duration::from_secs(1) {
            problems.error(
                ["patience".into()],
                "with no patience every job has a claim at once and no priority counts: 15m is usual",
            );
        }
        self.budgets_only(&limits.rules, rules, &known, &mut problems);
        self.problems.append(&["limits".into()], problems);
        named.extend(naming(&limits.rules, &["limits".into()], "the fleet", &all));
        for (name, pool) in pools {
            let own: BTreeMap<&PoolName, &PoolSettings> = [(name, pool)].into();
            let path = ["pools".into(), Step::Key(name.to_string())];
            let budgets: Vec<String> = self.own_rules(document, name);
            named.extend(naming(&budgets, &path, &format!("pool {name}"), &own));
        }
        let at_provider = |(name, provider): (&ProviderName, &ProviderSettings)| {
            provider.max_machines.map(|max| (name.clone(), max))
        };
        let budgets = self.budgets(named, rules, pools);
        self.spend_without_budget(pools, &budgets);
        FleetPolicy {
            max: limits.max,
            providers: providers.iter().filter_map(at_provider).collect(),
            groups: groups
                .into_iter()
                .filter_map(|(name, group)| Some((name, group.max?)))
                .collect(),
            budgets,
            patience: limits.patience.0,
        }
    }

    /// Warns of rules that ask how much is spent where no budget counts the pool: they never hold.
    fn spend_without_budget(
        &mut self,
        pools: &BTreeMap<PoolName, PoolSettings>,
        budgets: &[Budget],
    ) {
        let counted = |pool: &PoolName| budgets.iter().any(|budget| budget.pools.contains(pool));
        for (name, pool) in pools.iter().filter(|(name, _)| !counted(name)) {
            let asking = pool
                .policy
                .rules
                .iter()
                .filter(|rule| rule.when.asks_spend());
            for rule in asking {
                let message = format!(
                    "`{}` asks how much of a budget is spent, and no budget counts this pool: that condition never holds",
                    rule.name
                );
                let path = ["pools".into(), Step::Key(name.to_string()), "rules".into()];
                self.problems.0.push(Problem {
                    severity: Severity::Warning,
                    ..error(&path, message)
                });
            }
        }
    }

    fn own_rules(&self, document: &Value, pool: &PoolName) -> Vec<String> {
        let rules = document.pointer(&format!("/pools/{pool}/rules"));
        let rules = rules.and_then(Value::as_array).into_iter().flatten();
        rules.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Rules that a group or the fleet can take: budgets that exist.
    fn budgets_only(
        &mut self,
        taken: &[String],
        rules: &Rules,
        known: &[String],
        problems: &mut Problems,
    ) {
        for (index, name) in taken.iter().enumerate() {
            self.used.insert(("rules", name.clone()));
            let path = ["rules".into(), index.into()];
            match (rules.budgets.get(name), rules.of_pools.get(name)) {
                (Some(_), _) => {}
                (None, Some(_)) => problems.error(
                    path,
                    format!("`{name}` is no budget: other rules are taken by pools only"),
                ),
                (None, None) if !known.contains(name) => {
                    unknown("rule", name, known, path, problems);
                }
                (None, None) => {}
            }
        }
    }

    /// The budgets with the pools they count. An offer without a price cannot be counted, and there is one currency.
    fn budgets(
        &mut self,
        named: Vec<Named>,
        rules: &Rules,
        pools: &BTreeMap<PoolName, PoolSettings>,
    ) -> Vec<Budget> {
        let mut first: Option<(Currency, String)> = None;
        let mut budgets = Vec::new();
        for named in named {
            let Some(parts) = rules.budgets.get(&named.rule) else {
                continue;
            };
            let (currency, rule) = first
                .get_or_insert_with(|| (parts.currency.clone(), named.rule.clone()))
                .clone();
            if currency != parts.currency {
                let message = format!(
                    "budget `{}` is in {} and `{rule}` in {currency}: prices are in one currency",
                    named.rule, parts.currency
                );
                self.problems.0.push(error(&named.path, message));
            }
            for pool in &named.pools {
                let offers = pools.get(pool).map(|pool| &pool.policy.offers);
                let unpriced = offers.into_iter().flatten().find(|o| o.price.is_none());
                if let Some(offer) = unpriced {
                    let (machine, place) = (&offer.id.machine, offer.id.index + 1);
                    let message = format!(
                        "budget `{}` counts pool `{pool}`, but offer {place} of machine `{machine}` has no price: what it costs could not be counted{}",
                        named.rule,
                        self.hint_at_price(&offer.id)
                    );
                    self.problems.0.push(error(&named.path, message));
                }
            }
            budgets.push(Budget {
                name: format!("{} of {}", named.rule, named.of),
                pools: named.pools,
                limit: parts.limit,
                currency: parts.currency.clone(),
                per: parts.per,
                zone: parts.zone.clone(),
                warn_at: parts.warn_at,
                cheapest_at: parts.cheapest_at,
                machine_life: parts.machine_life,
            });
        }
        budgets
    }
}

fn error(path: &[Step], message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        path: path.to_vec(),
        at_key: false,
        message,
        suggestion: None,
    }
}

fn members(
    pools: &BTreeMap<PoolName, PoolSettings>,
    is_one: impl Fn(&PoolSettings) -> bool,
) -> BTreeMap<&PoolName, &PoolSettings> {
    pools.iter().filter(|(_, pool)| is_one(pool)).collect()
}

fn min_of(pools: &BTreeMap<&PoolName, &PoolSettings>) -> u64 {
    pools.values().map(|pool| u64::from(pool.policy.min)).sum()
}

fn cap(max: Option<u32>, min: u64, of: &str, problems: &mut Problems) {
    if let Some(max) = max.filter(|max| u64::from(*max) < min) {
        problems.error(
            ["max".into()],
            format!("max {max} is less than the {min} machines that {of} keep as their minimum"),
        );
    }
}

fn naming(
    rules: &[String],
    path: &[Step],
    of: &str,
    pools: &BTreeMap<&PoolName, &PoolSettings>,
) -> Vec<Named> {
    let named = |(index, rule): (usize, &String)| Named {
        path: path
            .iter()
            .cloned()
            .chain(["rules".into(), index.into()])
            .collect(),
        rule: rule.clone(),
        of: of.to_owned(),
        pools: pools.keys().map(|name| (*name).clone()).collect(),
    };
    rules.iter().enumerate().map(named).collect()
}
