//! Money: what a pool's machines cost so far, and what is promised to those that run.
//!
//! What counts against a budget is what was *spent* in the period, plus for each machine that exists the price of the
//! rest of its expected life. A machine is created only when its whole expected price is left, so that no creation of
//! ours takes the known spend over the limit (I3); what is promised turns into what is spent as time passes. A machine
//! that lives longer than expected goes on costing, since a budget never makes one leave.
//!
//! Spend is memory. Where there is none (a first start, a wiped store, a pool that is new in a budget) the pro-rata line
//! of the budget is assumed: on the 10th of a month of 30 days a third of it, and the plan says so.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use model::{Budget, Money, Period, Policy, PoolMemory, Share, Spend, age};

use crate::reason::Reason;
use crate::rules::when;
use crate::supply::{Machine, Supply};

/// EC2 and GCE bill a minute at least.
const LEAST_BILLED: Duration = Duration::from_secs(60);
/// Spend is written down no more often than this: it changes with every tick, and the store need not.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A price is per hour.
const HOUR_MS: u128 = 3_600_000;

/// One budget at one moment.
#[derive(Debug, Clone)]
pub struct BudgetState<'a> {
    /// The budget.
    pub budget: &'a Budget,
    /// Spent in this period.
    pub spent: Money,
    /// Promised to machines that exist.
    pub promised: Money,
    /// The part of `spent` that is assumed.
    pub assumed: Money,
}

impl<'a> BudgetState<'a> {
    /// Nothing spent yet.
    pub(crate) fn new(budget: &'a Budget) -> Self {
        BudgetState {
            budget,
            spent: Money::ZERO,
            promised: Money::ZERO,
            assumed: Money::ZERO,
        }
    }

    /// What is spent or promised.
    pub fn used(&self) -> Money {
        self.spent.plus(self.promised)
    }

    /// What one new machine is taken to cost. Without a price it cannot be told, and so cannot be afforded.
    pub fn cost_of(&self, price: Option<Money>) -> Money {
        let life = self.budget.machine_life.max(LEAST_BILLED);
        price.map_or(Money::from_micros(u64::MAX), |price| price.for_time(life))
    }

    /// Adds one pool: what it spent, and what its machines are promised.
    pub(crate) fn add(&mut self, spend: &Spend, supply: &Supply, policy: &Policy, now: Timestamp) {
        self.spent = self.spent.plus(spend.amount);
        self.assumed = self.assumed.plus(spend.assumed);
        let life = self.budget.machine_life.max(LEAST_BILLED);
        for machine in &supply.machines {
            let lived = lived(machine, now).unwrap_or(Duration::ZERO);
            let rest = price_of(machine, policy).for_time(life.saturating_sub(lived));
            self.promised = self.promised.plus(rest);
        }
    }

    /// Adds a pool of which nothing can be read now.
    pub(crate) fn add_unknown(&mut self, now: Timestamp) {
        let part = share_of_line(self.budget, now);
        self.spent = self.spent.plus(part);
        self.assumed = self.assumed.plus(part);
    }

    /// What a plan says of the budget whether or not it cuts anything.
    pub(crate) fn said(&self) -> Vec<Reason> {
        let budget = self.budget;
        let mut said = Vec::new();
        if self.assumed > Money::ZERO {
            said.push(Reason::BudgetAssumed {
                budget: budget.name.clone(),
                assumed: self.assumed,
                currency: budget.currency.clone(),
                per: budget.per,
            });
        }
        if self.used() >= budget.limit.share(budget.warn_at) {
            said.push(Reason::BudgetWarns {
                budget: budget.name.clone(),
                used: part(self.used(), budget.limit),
                limit: budget.limit,
                currency: budget.currency.clone(),
                per: budget.per,
            });
        }
        said
    }
}

/// The share of `limit` that an amount is, in whole hundredths, so that a plan is not a new one at every tick; anything
/// is all of nothing.
pub(crate) fn part(amount: Money, limit: Money) -> Share {
    let limit = u128::from(limit.micros());
    let percent = (u128::from(amount.micros()) * 100).checked_div(limit);
    Share::percent(u32::try_from(percent.unwrap_or(100)).unwrap_or(u32::MAX))
}

/// What a pool spent up to now; to be remembered only if [`worth_writing`].
pub(crate) fn spend(
    memory: &PoolMemory,
    budget: &Budget,
    supply: &Supply,
    policy: &Policy,
    now: Timestamp,
) -> Spend {
    let (period, _) = period_of(budget, now);
    let Some(known) = memory.spend.get(&budget.name) else {
        let assumed = share_of_line(budget, now);
        return Spend {
            period,
            amount: assumed,
            rest: 0,
            at: now,
            assumed,
        };
    };
    let (mut spend, from) = if known.period < period {
        let fresh = Spend {
            period,
            amount: Money::ZERO,
            rest: 0,
            at: now,
            assumed: Money::ZERO,
        };
        (fresh, period)
    } else {
        (known.clone(), known.at)
    };
    // a clock that went back counts nothing twice
    if now <= from {
        return spend;
    }
    let passed = age(from, now);
    let mut all = u128::from(spend.rest);
    for machine in &supply.machines {
        // one that is not listed yet is promised only
        let Some(lived) = lived(machine, now) else {
            continue;
        };
        let price = u128::from(price_of(machine, policy).micros());
        all += price * passed.min(lived).as_millis();
    }
    let whole = u64::try_from(all / HOUR_MS).unwrap_or(u64::MAX);
    spend.amount = spend.amount.plus(Money::from_micros(whole));
    spend.rest = u64::try_from(all % HOUR_MS).unwrap_or_default();
    spend.at = now;
    spend
}

/// Whether a spend differs enough from what is remembered.
pub(crate) fn worth_writing(memory: &PoolMemory, budget: &Budget, spend: &Spend) -> bool {
    let known = memory.spend.get(&budget.name);
    known.is_none_or(|known| known.period != spend.period || age(known.at, spend.at) >= WRITE_EVERY)
}

/// How long a machine has been there; `None` for one that no listing shows.
fn lived(machine: &Machine, now: Timestamp) -> Option<Duration> {
    let listed = machine.listed?;
    Some(listed.created_at.map_or(Duration::MAX, |at| age(at, now)))
}

/// The price of a machine; one from an offer that is not known any more is taken for the dearest that is.
fn price_of(machine: &Machine, policy: &Policy) -> Money {
    let offer = machine.offer.as_ref();
    let known = policy.offers.iter().find(|known| Some(&known.id) == offer);
    let dearest = || policy.offers.iter().filter_map(|offer| offer.price).max();
    known
        .and_then(|offer| offer.price)
        .or_else(dearest)
        .unwrap_or_default()
}

/// One pool's part of the pro-rata line: the limit, for the part of the period that is over, among its pools.
fn share_of_line(budget: &Budget, now: Timestamp) -> Money {
    let (start, end) = period_of(budget, now);
    let whole = age(start, end).as_millis().max(1);
    let line = u128::from(budget.limit.micros()) * age(start, now).as_millis() / whole;
    let part = line.div_ceil(u128::try_from(budget.pools.len().max(1)).unwrap_or(1));
    Money::from_micros(u64::try_from(part).unwrap_or(u64::MAX))
}

/// Start and end of the calendar period that `now` lies in. A zone that is not known counts as UTC: `check` refuses it.
pub fn period_of(budget: &Budget, now: Timestamp) -> (Timestamp, Timestamp) {
    let zone = when::zone(&budget.zone).unwrap_or(TimeZone::UTC);
    let here = now.to_zoned(zone);
    let bounds = match budget.per {
        Period::Hour => hour(&here),
        Period::Day => day(&here),
        Period::Month => month(&here),
    };
    let (start, end) = bounds.unwrap_or((now, now));
    (start, end)
}

fn hour(here: &Zoned) -> Option<(Timestamp, Timestamp)> {
    // by the clock's own hour: where a zone is half an hour off, so is its hour
    let past = i64::from(here.minute()) * 60 + i64::from(here.second());
    let start = here.timestamp().checked_sub(past.seconds()).ok()?;
    let start = Timestamp::from_second(start.as_second()).ok()?;
    Some((start, start.checked_add(1.hour()).ok()?))
}

fn day(here: &Zoned) -> Option<(Timestamp, Timestamp)> {
    let start = here.start_of_day().ok()?;
    let end = here.tomorrow().ok()?.start_of_day().ok()?;
    Some((start.timestamp(), end.timestamp()))
}

fn month(here: &Zoned) -> Option<(Timestamp, Timestamp)> {
    let zone = here.time_zone().clone();
    let first = here.date().first_of_month();
    let next = first.checked_add(1.month()).ok()?;
    let at = |date: jiff::civil::Date| {
        let start = date
            .to_datetime(Time::midnight())
            .to_zoned(zone.clone())
            .ok()?;
        Some(start.timestamp())
    };
    Some((at(first)?, at(next)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per: Period, zone: &str) -> Budget {
        Budget {
            name: "monthly".into(),
            pools: ["linux".parse().unwrap(), "mac".parse().unwrap()].into(),
            limit: Money::from_decimal(4000.0).unwrap(),
            currency: "USD".parse().unwrap(),
            per,
            zone: zone.into(),
            warn_at: Share::percent(80),
            cheapest_at: Share::percent(90),
            machine_life: Duration::from_secs(3600),
        }
    }

    /// Days and months begin where the zone says, over switches of daylight saving time too.
    #[test]
    fn a_period_begins_where_the_zone_says() {
        for (per, zone, now, start, end) in [
            (
                Period::Hour,
                "UTC",
                "2026-01-10T12:34:56Z",
                "2026-01-10T12:00:00Z",
                "2026-01-10T13:00:00Z",
            ),
            (
                Period::Hour,
                "Asia/Kolkata",
                "2026-01-10T12:34:56Z",
                "2026-01-10T12:30:00Z",
                "2026-01-10T13:30:00Z",
            ),
            (
                Period::Day,
                "UTC",
                "2026-01-10T12:34:56Z",
                "2026-01-10T00:00:00Z",
                "2026-01-11T00:00:00Z",
            ),
            (
                Period::Day,
                "Asia/Kolkata",
                "2026-01-10T20:00:00Z",
                "2026-01-10T18:30:00Z",
                "2026-01-11T18:30:00Z",
            ),
            // 23 hours long
            (
                Period::Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // 25 hours long
            (
                Period::Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                Period::Month,
                "UTC",
                "2026-02-28T23:59:59Z",
                "2026-02-01T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "America/New_York",
                "2026-03-31T12:00:00Z",
                "2026-03-01T05:00:00Z",
                "2026-04-01T04:00:00Z",
            ),
            (
                Period::Month,
                "No/Where",
                "2026-12-31T12:00:00Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            let found = period_of(&budget(per, zone), now.parse().unwrap());
            let expected = (start.parse().unwrap(), end.parse().unwrap());
            assert_eq!(found, expected, "{per} in {zone} at {now}");
        }
    }

    #[test]
    fn after_a_loss_the_pro_rata_line_is_assumed_by_parts_of_the_pools() {
        let budget = budget(Period::Month, "UTC");
        let memory = PoolMemory::default();
        let supply = Supply::default();
        // a third of a month of thirty days is over; two pools share the budget
        let now: Timestamp = "2026-04-11T00:00:00Z".parse().unwrap();
        assert_eq!(share_of_line(&budget, now).micros(), 666_666_667);
        let first: Timestamp = "2026-04-01T00:00:00Z".parse().unwrap();
        assert_eq!(share_of_line(&budget, first), Money::ZERO);
        assert!(memory.spend.is_empty() && supply.machines.is_empty());
    }
}
