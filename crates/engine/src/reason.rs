//! Why the engine chose what it chose, with the numbers an operator needs to agree or to object.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
pub(crate) use model::words::counted as count;
use model::{
    Currency, Epoch, GroupName, InstanceName, Money, OfferId, Period, ProviderName, Share,
};
use serde::{Deserialize, Serialize};

use crate::orders::OrderedBy;
use crate::plan::LeaveWhy;

/// Whose cap it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cap", rename_all = "snake_case")]
pub enum CapOf {
    /// All pools together.
    Fleet,
    /// The pools of one group.
    Group {
        /// The group.
        group: GroupName,
    },
    /// One provider, by the configuration.
    Provider {
        /// The provider.
        provider: ProviderName,
    },
    /// One provider, by its own refusal.
    Quota {
        /// The provider.
        provider: ProviderName,
        /// What it said.
        why: String,
    },
    /// A budget.
    Budget {
        /// Its name.
        budget: String,
        /// Its currency.
        currency: Currency,
        /// Its period.
        per: Period,
    },
}

/// One reason. The code is also a metric label: keep it stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// What the jobs need.
    Demand {
        /// Runnable jobs.
        queued: u32,
        /// Running jobs.
        running: u32,
        /// Machines that run jobs.
        busy: u32,
        /// Free slots on busy machines and on executors that are not ours.
        free: u32,
        /// Slots per machine.
        slots: u32,
        /// Machines wanted.
        wanted: u32,
    },
    /// Jobs that become runnable within one boot time count ahead.
    Ahead {
        /// How many.
        jobs: u32,
        /// The boot time.
        within: Duration,
        /// Wanted before.
        wanted: u32,
        /// Wanted after.
        raised: u32,
    },
    /// The total workload is held at a target.
    Utilization {
        /// The rule.
        rule: String,
        /// Running and runnable jobs.
        needed: u32,
        /// The target.
        target: Share,
        /// Slots that hold them at the target.
        slots: u32,
        /// Wanted before.
        wanted: u32,
        /// Wanted after.
        raised: u32,
    },
    /// Idle slots are kept ready.
    Reserve {
        /// The rule.
        rule: String,
        /// How many slots.
        idle: u32,
        /// Why so many.
        by: ReserveBy,
        /// Wanted before.
        wanted: u32,
        /// Wanted after.
        raised: u32,
    },
    /// Executors are short of memory or overloaded.
    Pressed {
        /// The rule.
        rule: String,
        /// What they report.
        seen: Pressure,
        /// Machines that run jobs.
        busy: u32,
        /// Wanted before.
        wanted: u32,
        /// Wanted after.
        raised: u32,
    },
    /// A rule asks what executors report, and none reports it.
    NoReports {
        /// The rule.
        rule: String,
    },
    /// Machines are kept, since what they were needed for may come back soon.
    Kept {
        /// The rule.
        rule: String,
        /// How long a level is kept.
        idle_for: Duration,
        /// What its return saves.
        worth: Duration,
        /// On how many gaps that rests; 0 when too few were seen.
        gaps: u64,
        /// Wanted before.
        wanted: u32,
        /// Kept.
        kept: u32,
    },
    /// Machines are kept, since so many were wanted a short time ago.
    Stabilised {
        /// The rule.
        rule: String,
        /// The window.
        window: Duration,
        /// Wanted before.
        wanted: u32,
        /// Kept.
        kept: u32,
    },
    /// Other limits than the pool's own are in force.
    Limited {
        /// The rule.
        rule: String,
        /// The pool's (min, max).
        from: (u32, u32),
        /// Those in force.
        to: (u32, u32),
    },
    /// Creations are slowed down.
    Paced {
        /// The rule.
        rule: String,
        /// Creations at once.
        burst: u32,
        /// Time in which so many may be made again.
        per: Duration,
        /// Machines that would have been created.
        short: u32,
        /// Machines that may be.
        allowed: u32,
    },
    /// Raised to the minimum.
    Floor {
        /// The minimum.
        min: u32,
        /// Wanted before.
        wanted: u32,
    },
    /// Cut at the maximum, which counts everything not confirmed gone.
    Ceiling {
        /// The maximum.
        max: u32,
        /// Machines that exist, serving or not.
        costing: u32,
        /// Wanted before.
        wanted: u32,
        /// Machines serving after this plan.
        reached: u32,
    },
    /// The workload allows no machine to leave.
    HeldByWorkload {
        /// Why.
        why: String,
    },
    /// The workload is too old or was never heard: the pool keeps what it has, or at least a configured size.
    HeldSize {
        /// Machines kept.
        keep: u32,
    },
    /// An operator paused the pool.
    Paused {
        /// Who, why, until when.
        by: OrderedBy,
        /// Machines that would be wanted.
        wanted: u32,
        /// Machines that stay.
        keep: u32,
    },
    /// An operator pinned the pool's size.
    Pinned {
        /// Who, why, until when.
        by: OrderedBy,
        /// Machines ordered.
        machines: u32,
        /// Machines that would be wanted.
        wanted: u32,
        /// Machines wanted now, within max, and no fewer than there are while the workload is in doubt.
        pinned: u32,
    },
    /// An operator drains machines of the pool.
    Draining {
        /// What, in words.
        what: String,
        /// Who, why, until when.
        by: OrderedBy,
        /// Machines of the pool that are still there.
        machines: u32,
    },
    /// An operator drains the image of an offer, or all its zones.
    OfferDrained {
        /// The offer.
        offer: OfferId,
        /// Who, why, until when.
        by: OrderedBy,
    },
    /// An override in the store is not what we write: until it is removed, no machine leaves.
    OverrideUnreadable {
        /// Where it stands, and what is wrong with it.
        why: String,
    },
    /// A provider's listing proves no absence: nothing is created or deleted there.
    HeldByListing {
        /// The provider.
        provider: ProviderName,
        /// Why.
        why: String,
    },
    /// A provider was not listed since this scaler began; what stood there before counts, and the others go on.
    CountedUnseen {
        /// The provider.
        provider: ProviderName,
        /// Machines that it listed when it was heard last.
        machines: u32,
    },
    /// Not every machine is listed, and executors of ours have none: each counts as a machine.
    CountedHidden {
        /// How many.
        executors: u32,
    },
    /// Creations in flight may have been forgotten: nothing is created until a later listing can show them.
    HeldAfterLoss {
        /// The provider's lag bound.
        lag: Duration,
    },
    /// Nothing can be created for this pool now.
    CreationHeld {
        /// Why.
        why: String,
        /// Machines that would have been created.
        short: u32,
    },
    /// An offer steps aside.
    OfferUnavailable {
        /// The offer.
        offer: OfferId,
        /// What its provider said.
        why: String,
    },
    /// No offer is left to create from.
    NoOffer {
        /// Machines that would have been created.
        short: u32,
    },
    /// An offer that stepped aside is tried by one machine.
    OfferCanary {
        /// The offer.
        offer: OfferId,
    },
    /// An offer costs more than the pool's machines may.
    TooDear {
        /// The offer.
        offer: OfferId,
        /// Its price per hour, if stated.
        price: Option<Money>,
        /// The ceiling.
        max: Money,
    },
    /// A cap over several pools, or a provider's own, lets the pool grow by less.
    Capped {
        /// Whose.
        of: CapOf,
        /// The cap.
        limit: u32,
        /// Machines that exist under it.
        there: u32,
        /// Machines asked for.
        wanted: u32,
        /// Machines granted.
        granted: u32,
    },
    /// What was spent in this period was not known, so a part of the budget is taken for spent.
    BudgetAssumed {
        /// The budget.
        budget: String,
        /// What is assumed.
        assumed: Money,
        /// Its currency.
        currency: Currency,
        /// Its period.
        per: Period,
    },
    /// Most of a budget is spent or promised.
    BudgetWarns {
        /// The budget.
        budget: String,
        /// The share of the limit.
        used: Share,
        /// The limit.
        limit: Money,
        /// Its currency.
        currency: Currency,
        /// Its period.
        per: Period,
    },
    /// So much of a budget is spent or promised that only the cheapest offers are used.
    BudgetCheapest {
        /// The budget.
        budget: String,
        /// Spent or promised, with what this plan adds.
        used: Money,
        /// The limit.
        limit: Money,
        /// Its currency.
        currency: Currency,
        /// Its period.
        per: Period,
    },
    /// What is left of a budget pays for no machine more.
    BudgetHolds {
        /// The budget.
        budget: String,
        /// Spent or promised, with what this plan adds.
        used: Money,
        /// The limit.
        limit: Money,
        /// Its currency.
        currency: Currency,
        /// Its period.
        per: Period,
        /// Machines asked for.
        wanted: u32,
        /// Machines granted.
        granted: u32,
    },
    /// Most of a busy pool's work is gone in one look: believed when a second one shows it too.
    Cliff {
        /// Jobs in the look before.
        before: u32,
        /// Jobs in this look.
        work: u32,
        /// Machines kept meanwhile.
        keep: u32,
    },
    /// Most executors of the pool are offline at once: it is a network or a CI server that failed, hardly the machines.
    MassAnomaly {
        /// Executors offline.
        offline: u32,
        /// Of so many that had joined.
        joined: u32,
        /// When they are taken at their word.
        until: Timestamp,
        /// Machines kept meanwhile, beside those that are offline.
        keep: u32,
    },
    /// So large a share of the pool began to leave in this window that no more may.
    LeaveShare {
        /// The share of the pool.
        share: Share,
        /// The window.
        per: Duration,
        /// Machines that wait for the next one.
        waiting: u32,
    },
    /// Too many machines in a row never joined: one at a time until one does.
    BootBreaker {
        /// Failures in a row.
        failures: u32,
        /// The offer they came from.
        offer: OfferId,
        /// Time until the next machine may try.
        wait: Duration,
    },
    /// Machines are created.
    Grows {
        /// How many.
        count: u32,
        /// From which offer.
        offer: OfferId,
    },
    /// Departing machines are called back before new ones are made.
    CalledBack {
        /// How many.
        count: u32,
    },
    /// A machine begins to leave.
    Leaves {
        /// The machine.
        instance: InstanceName,
        /// Why.
        why: LeaveWhy,
    },
    /// More machines than wanted, but none has been idle for long enough.
    NotIdleLongEnough {
        /// Machines more than wanted.
        surplus: u32,
        /// The idle time required.
        idle_for: Duration,
    },
    /// The scale-in rule lets no more machines begin to leave in its window.
    ScaleInPace {
        /// Machines that may begin to leave per window.
        at_most: u32,
        /// The window.
        per: Duration,
        /// Machines that wait for the next one.
        waiting: u32,
    },
    /// More machines than wanted, but Parmanu has no right to control executors here.
    ReadOnly {
        /// Machines more than wanted.
        surplus: u32,
    },
    /// More machines than wanted, and the look that shows them idle is too old for a deletion without a cordon.
    WaitsForLook {
        /// Machines more than wanted.
        surplus: u32,
        /// How old the look may be.
        within: Duration,
    },
    /// The configuration gives the right to control executors, and the CI server refuses it.
    ControlRefused {
        /// What it said, and what is missing.
        why: String,
        /// Machines more than wanted.
        surplus: u32,
    },
    /// The CI server refuses to have this machine's executor cordoned, and not those of others.
    CordonRefused {
        /// The machine.
        instance: InstanceName,
        /// What it said, and what is missing.
        why: String,
    },
    /// It would be deleted for having no executor, and that could not be proven right before.
    JoinDoubt {
        /// The machine.
        instance: InstanceName,
        /// What was found, or could not be told.
        why: String,
    },
    /// A departure goes on.
    Departing {
        /// The machine.
        instance: InstanceName,
        /// What happens to it now, in words.
        what: String,
    },
    /// A departure of an earlier term is taken over.
    Adopted {
        /// The machine.
        instance: InstanceName,
        /// The term that cordoned it.
        epoch: Epoch,
    },
    /// A machine that cannot be told idle: counted, never touched.
    Unclear {
        /// The machine.
        instance: InstanceName,
        /// Why.
        why: String,
    },
    /// Somebody else keeps this machine from taking jobs: counted, never touched.
    ForeignCordon {
        /// The machine.
        instance: InstanceName,
    },
    /// Its provider takes this machine back: it gets no new job, and another takes its place.
    Preempted {
        /// The machine.
        instance: InstanceName,
        /// What the provider, or the guest, said.
        notice: String,
        /// Whether a job may run on it.
        busy: bool,
    },
    /// Machines that serve are too old, or were made from what is not configured any more: others take their places.
    Replacing {
        /// How many are to be replaced.
        due: u32,
        /// How many may be on their way out at once, beyond those that are.
        at_once: u32,
        /// Machines kept beyond those that are wanted, to stand in for them.
        extra: u32,
        /// How many may begin to leave now.
        now: u32,
    },
    /// Another installation acts for the same fleet: nothing leaves.
    Rival {
        /// The sign of it.
        what: String,
    },
    /// A creation is settled: seen, or proven never to have happened.
    CreationSettled {
        /// The batch in words.
        batch: String,
        /// How.
        how: String,
    },
    /// An executor of ours has no machine any more.
    Ghost {
        /// Its name.
        instance: InstanceName,
    },
    /// Executors of a pool that is not configured have no machine that anybody lists, and the CI server hears of them.
    GhostsOnline {
        /// How many.
        executors: u32,
        /// One of them.
        first: InstanceName,
    },
    /// Executors of ours have no machine, and stay for now.
    GhostsKept {
        /// How many.
        executors: u32,
        /// Whether they are so many at once that machines may rather not be seen.
        storm: bool,
    },
    /// As many machines as wanted.
    Steady {
        /// Machines serving.
        serving: u32,
    },
}

/// Why a reserve has its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum ReserveBy {
    /// The rule says a number.
    Number,
    /// The rule says a share of the busy slots.
    Share {
        /// Which.
        share: Share,
    },
    /// The pool's own rises of demand.
    Arrivals {
        /// Windows watched at such an activity.
        windows: u32,
        /// Length of a window: one boot time.
        within: Duration,
    },
}

/// What executors report, and what the rule asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Pressure {
    /// Bytes of memory that are free on average.
    Memory {
        /// Seen.
        free: u64,
        /// Asked for at least.
        least: u64,
    },
    /// Load per processor, in thousandths.
    Load {
        /// Seen.
        milli: u32,
        /// Asked for at most.
        most: u32,
    },
}

impl fmt::Display for ReserveBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReserveBy::Number => f.write_str("as the rule says"),
            ReserveBy::Share { share } => write!(f, "{share} of the busy ones"),
            ReserveBy::Arrivals { windows, within } => write!(
                f,
                "by the rises within {} in {} at such an activity",
                in_words(*within),
                count(*windows, "window")
            ),
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pressure::Memory { free, least } => write!(
                f,
                "{} MiB of memory free on average, {} MiB asked for",
                free >> 20,
                least >> 20
            ),
            Pressure::Load { milli, most } => write!(
                f,
                "load {} on average, at most {} asked for",
                decimal(*milli),
                decimal(*most)
            ),
        }
    }
}

/// Thousandths as `1.5`.
fn decimal(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Reason {
    /// The machine it is about, if it is about one.
    pub fn subject(&self) -> Option<&InstanceName> {
        match self {
            Reason::Leaves { instance, .. }
            | Reason::Departing { instance, .. }
            | Reason::Adopted { instance, .. }
            | Reason::Unclear { instance, .. }
            | Reason::CordonRefused { instance, .. }
            | Reason::JoinDoubt { instance, .. }
            | Reason::ForeignCordon { instance }
            | Reason::Preempted { instance, .. }
            | Reason::Ghost { instance } => Some(instance),
            _ => None,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Demand { .. } => "demand",
            Reason::Ahead { .. } => "ahead",
            Reason::Utilization { .. } => "utilization",
            Reason::Reserve { .. } => "reserve",
            Reason::Pressed { .. } => "pressed",
            Reason::NoReports { .. } => "no_reports",
            Reason::Kept { .. } => "kept",
            Reason::Stabilised { .. } => "stabilised",
            Reason::Limited { .. } => "limited",
            Reason::Paced { .. } => "paced",
            Reason::Floor { .. } => "floor",
            Reason::Ceiling { .. } => "ceiling",
            Reason::HeldByWorkload { .. } => "held_by_workload",
            Reason::HeldSize { .. } => "held_size",
            Reason::Paused { .. } => "paused",
            Reason::Pinned { .. } => "pinned",
            Reason::Draining { .. } => "draining",
            Reason::OfferDrained { .. } => "offer_drained",
            Reason::OverrideUnreadable { .. } => "override_unreadable",
            Reason::HeldByListing { .. } => "held_by_listing",
            Reason::CountedUnseen { .. } => "counted_unseen",
            Reason::CountedHidden { .. } => "counted_hidden",
            Reason::HeldAfterLoss { .. } => "held_after_loss",
            Reason::CreationHeld { .. } => "creation_held",
            Reason::OfferUnavailable { .. } => "offer_unavailable",
            Reason::NoOffer { .. } => "no_offer",
            Reason::OfferCanary { .. } => "offer_canary",
            Reason::TooDear { .. } => "too_dear",
            Reason::Capped { of, .. } => match of {
                CapOf::Fleet => "fleet_cap",
                CapOf::Group { .. } => "group_cap",
                CapOf::Provider { .. } => "provider_cap",
                CapOf::Quota { .. } => "quota",
                CapOf::Budget { .. } => "budget_holds",
            },
            Reason::BudgetAssumed { .. } => "budget_assumed",
            Reason::BudgetWarns { .. } => "budget_warns",
            Reason::BudgetCheapest { .. } => "budget_cheapest",
            Reason::BudgetHolds { .. } => "budget_holds",
            Reason::Cliff { .. } => "cliff",
            Reason::MassAnomaly { .. } => "mass_anomaly",
            Reason::LeaveShare { .. } => "leave_share",
            Reason::BootBreaker { .. } => "boot_breaker",
            Reason::Grows { .. } => "grows",
            Reason::CalledBack { .. } => "called_back",
            Reason::Leaves { .. } => "leaves",
            Reason::NotIdleLongEnough { .. } => "not_idle_long_enough",
            Reason::ScaleInPace { .. } => "scale_in_pace",
            Reason::ReadOnly { .. } => "read_only",
            Reason::WaitsForLook { .. } => "waits_for_look",
            Reason::ControlRefused { .. } => "control_refused",
            Reason::Departing { .. } => "departing",
            Reason::Adopted { .. } => "adopted",
            Reason::Unclear { .. } => "unclear",
            Reason::CordonRefused { .. } => "cordon_refused",
            Reason::JoinDoubt { .. } => "join_doubt",
            Reason::ForeignCordon { .. } => "foreign_cordon",
            Reason::Preempted { .. } => "preempted",
            Reason::Replacing { .. } => "replacing",
            Reason::Rival { .. } => "rival",
            Reason::CreationSettled { .. } => "creation_settled",
            Reason::Ghost { .. } => "ghost",
            Reason::GhostsOnline { .. } => "ghosts_online",
            Reason::GhostsKept { .. } => "ghosts_kept",
            Reason::Steady { .. } => "steady",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Demand {
                queued,
                running,
                busy,
                free,
                slots,
                wanted,
            } => write!(
                f,
                "demand: {queued} queued, {running} running; {} with work, {} free elsewhere, {} per machine -> {wanted}",
                count(*busy, "machine"),
                count(*free, "slot"),
                count(*slots, "slot"),
            ),
            Reason::Ahead {
                jobs,
                within,
                wanted,
                raised,
            } => write!(
                f,
                "ahead: {} runnable within {} -> {wanted} to {raised}",
                count(*jobs, "more job"),
                in_words(*within)
            ),
            Reason::Utilization {
                rule,
                needed,
                target,
                slots,
                wanted,
                raised,
            } => write!(
                f,
                "{rule}: {} held at {target} ask for {} -> {wanted} to {raised}",
                count(*needed, "job"),
                count(*slots, "slot")
            ),
            Reason::Reserve {
                rule,
                idle,
                by,
                wanted,
                raised,
            } => write!(
                f,
                "{rule}: {} kept idle, {by} -> {wanted} to {raised}",
                count(*idle, "slot")
            ),
            Reason::Pressed {
                rule,
                seen,
                busy,
                wanted,
                raised,
            } => write!(
                f,
                "{rule}: {seen}; {} busy -> {wanted} to {raised}",
                count(*busy, "machine")
            ),
            Reason::NoReports { rule } => {
                write!(
                    f,
                    "{rule}: no busy executor reports what it asks, so it changes nothing"
                )
            }
            Reason::Kept {
                rule,
                idle_for,
                worth,
                gaps,
                wanted,
                kept,
            } => write!(
                f,
                "{rule}: what was needed less than {} ago is kept, {} -> {wanted} to {kept}",
                in_words(*idle_for),
                match gaps {
                    0 => format!("its return saves {}", in_words(*worth)),
                    gaps => format!(
                        "learned from {gaps} gaps, a return saves {}",
                        in_words(*worth)
                    ),
                }
            ),
            Reason::Stabilised {
                rule,
                window,
                wanted,
                kept,
            } => write!(
                f,
                "{rule}: the greatest number wanted within {} is kept -> {wanted} to {kept}",
                in_words(*window)
            ),
            Reason::Limited { rule, from, to } => write!(
                f,
                "{rule}: min {} and max {} in the place of {} and {}",
                to.0, to.1, from.0, from.1
            ),
            Reason::Paced {
                rule,
                burst,
                per,
                short,
                allowed,
            } => write!(
                f,
                "{rule}: at most {} at once and {burst} per {} -> {short} to {allowed}",
                count(*burst, "creation"),
                in_words(*per)
            ),
            Reason::Floor { min, wanted } => write!(f, "floor: {wanted} -> {min} (min)"),
            Reason::Ceiling {
                max,
                costing,
                wanted,
                reached,
            } => write!(
                f,
                "ceiling: {wanted} -> {reached} (max {max}, {} now, serving or not)",
                count(*costing, "machine")
            ),
            Reason::HeldByWorkload { why } => write!(f, "no machine may leave: {why}"),
            Reason::HeldSize { keep } => {
                write!(
                    f,
                    "the pool keeps {} until its emitter is heard",
                    count(*keep, "machine")
                )
            }
            Reason::Paused { by, wanted, keep } => write!(
                f,
                "paused {by}; it keeps {}, {wanted} would be wanted",
                count(*keep, "machine")
            ),
            Reason::Pinned {
                by,
                machines,
                wanted,
                pinned,
            } => {
                write!(f, "pinned at {machines} {by}: {wanted} -> {pinned}")
            }
            Reason::Draining { what, by, machines } => {
                write!(f, "{what} {by}; {} left", count(*machines, "machine"))
            }
            Reason::OfferDrained { offer, by } => {
                write!(f, "nothing is made from {offer}, which is drained {by}")
            }
            Reason::OverrideUnreadable { why } => {
                write!(f, "no machine may leave: an override cannot be read: {why}")
            }
            Reason::HeldByListing { provider, why } => {
                write!(f, "nothing is created or deleted at {provider}: {why}")
            }
            Reason::CountedUnseen { provider, machines } => write!(
                f,
                "{} of it at {provider} when that was heard last: counted against max, and others may grow",
                count(*machines, "machine")
            ),
            Reason::CountedHidden { executors } => write!(
                f,
                "{} of ours without a machine, while not every machine is listed: counted against max",
                count(*executors, "executor")
            ),
            Reason::HeldAfterLoss { lag } => write!(
                f,
                "creations in flight may have been forgotten: nothing is created until a listing {} later can show them",
                in_words(*lag)
            ),
            Reason::CreationHeld { why, short } => {
                write!(
                    f,
                    "{} short, but nothing can be created now: {why}",
                    count(*short, "machine")
                )
            }
            Reason::OfferUnavailable { offer, why } => {
                write!(f, "offer {offer} steps aside: {why}")
            }
            Reason::NoOffer { short } => {
                write!(
                    f,
                    "{} short, but no offer is left to create from",
                    count(*short, "machine")
                )
            }
            Reason::OfferCanary { offer } => {
                write!(
                    f,
                    "offer {offer} had stepped aside: one machine tries it again"
                )
            }
            Reason::TooDear { offer, price, max } => match price {
                Some(price) => write!(
                    f,
                    "offer {offer} is left out: {price} per hour, max_price {max}"
                ),
                None => write!(
                    f,
                    "offer {offer} is left out: it has no price, and max_price is {max}"
                ),
            },
            Reason::Capped {
                of,
                limit,
                there,
                wanted,
                granted,
            } => {
                write!(
                    f,
                    "{of}: +{wanted} -> +{granted} ({limit} at most, {there} there"
                )?;
                match of {
                    CapOf::Quota { why, .. } => write!(f, "; it said: {why})"),
                    _ => write!(f, ")"),
                }
            }
            Reason::BudgetAssumed {
                budget,
                assumed,
                currency,
                per,
            } => write!(
                f,
                "budget {budget}: what was spent this {per} was not known; {assumed} {currency} is assumed, the pro-rata line"
            ),
            Reason::BudgetWarns {
                budget,
                used,
                limit,
                currency,
                per,
            } => write!(
                f,
                "budget {budget}: {used} of {limit} {currency} per {per} is spent or promised"
            ),
            Reason::BudgetCheapest {
                budget,
                used,
                limit,
                currency,
                per,
            } => write!(
                f,
                "budget {budget}: the cheapest offers only ({used} of {limit} {currency} per {per} spent or promised)"
            ),
            Reason::BudgetHolds {
                budget,
                used,
                limit,
                currency,
                per,
                wanted,
                granted,
            } => write!(
                f,
                "budget {budget}: +{wanted} -> +{granted} ({used} of {limit} {currency} per {per} spent or promised)"
            ),
            Reason::Cliff { before, work, keep } => write!(
                f,
                "no machine may leave: {before} jobs became {work} in one look, which a second look must show too; {} stay",
                count(*keep, "machine")
            ),
            Reason::MassAnomaly {
                offline,
                joined,
                until,
                keep,
            } => write!(
                f,
                "no machine may leave: {offline} of {joined} executors are offline at once; if they still are, they are given up at {until}; {} stay",
                count(*keep, "other machine")
            ),
            Reason::LeaveShare {
                share,
                per,
                waiting,
            } => write!(
                f,
                "share: at most {share} of the pool begins to leave per {}, {waiting} wait",
                in_words(*per)
            ),
            Reason::BootBreaker {
                failures,
                offer,
                wait,
            } => {
                let failures = count(*failures, "machine");
                write!(f, "the last {failures} from {offer} never joined: ")?;
                match wait.is_zero() {
                    true => f.write_str("one at a time until one does"),
                    false => write!(f, "the next one tries in {}", in_words(*wait)),
                }
            }
            Reason::Grows { count: n, offer } => {
                write!(f, "grows by {} from {offer}", count(*n, "machine"))
            }
            Reason::CalledBack { count: n } => {
                write!(f, "{} called back from leaving", count(*n, "machine"))
            }
            Reason::Leaves { instance, why } => write!(f, "{instance} begins to leave: {why}"),
            Reason::NotIdleLongEnough { surplus, idle_for } => write!(
                f,
                "{} more than wanted, none idle for {}",
                count(*surplus, "machine"),
                in_words(*idle_for)
            ),
            Reason::ScaleInPace {
                at_most,
                per,
                waiting,
            } => write!(
                f,
                "pace: at most {at_most} begin to leave per {}, {waiting} wait",
                in_words(*per)
            ),
            Reason::ReadOnly { surplus } => write!(
                f,
                "{} more than wanted, but there is no right to control executors here: machines leave by themselves only (or with `scale_in`)",
                count(*surplus, "machine")
            ),
            Reason::WaitsForLook { surplus, within } => write!(
                f,
                "{} more than wanted, and a look of the last {} must show which are idle (scale_in: best-effort)",
                count(*surplus, "machine"),
                in_words(*within)
            ),
            Reason::ControlRefused { why, surplus } => {
                f.write_str("read-only for now")?;
                if *surplus > 0 {
                    write!(f, ", {} more than wanted", count(*surplus, "machine"))?;
                }
                write!(
                    f,
                    ": no executor can be cordoned, so no machine begins to leave: {why}"
                )
            }
            Reason::Departing { instance, what } => write!(f, "{instance} is leaving: {what}"),
            Reason::Adopted { instance, epoch } => {
                write!(
                    f,
                    "{instance} was cordoned in epoch {epoch}: its departure is taken over"
                )
            }
            Reason::Unclear { instance, why } => write!(f, "{instance} is left alone: {why}"),
            Reason::CordonRefused { instance, why } => write!(
                f,
                "{instance} stays, since the CI server refuses to keep it from new jobs: {why}"
            ),
            Reason::JoinDoubt { instance, why } => {
                write!(f, "{instance} is not deleted for now: {why}")
            }
            Reason::ForeignCordon { instance } => {
                write!(
                    f,
                    "{instance} is left alone: somebody else keeps it from taking jobs"
                )
            }
            Reason::Rival { what } => write!(
                f,
                "another installation acts for this fleet ({what}), so nothing leaves: give one of the two another `fleet`"
            ),
            Reason::Replacing {
                due,
                at_once,
                extra,
                now,
            } => {
                write!(
                    f,
                    "{} to be replaced (too old, changed or drained), {at_once} more may leave at once",
                    count(*due, "machine")
                )?;
                match (*now, *extra) {
                    (0, 0) => write!(f, "; those on their way out are waited for"),
                    (0, extra) => write!(f, "; {extra} more than wanted must be up first"),
                    (now, _) => write!(f, "; up to {now} now"),
                }
            }
            Reason::Preempted {
                instance,
                notice,
                busy,
            } => {
                let job = if *busy { ", and may run a job" } else { "" };
                write!(
                    f,
                    "{instance} serves no longer, since its provider takes it back{job}: {notice}"
                )
            }
            Reason::CreationSettled { batch, how } => {
                write!(f, "creation {batch} is settled: {how}")
            }
            Reason::Ghost { instance } => {
                write!(
                    f,
                    "executor {instance} has no machine any more: it is removed"
                )
            }
            Reason::GhostsOnline { executors, first } => write!(
                f,
                "{} of this pool, {first} for one, are online or may run a job, and no provider lists a machine of them: they stay until the CI server hears of them no more (is a provider missing in the file? Else stop their machines, or remove them at the CI server)",
                count(*executors, "executor")
            ),
            Reason::GhostsKept {
                executors,
                storm: true,
            } => write!(
                f,
                "{} of this pool have no machine, all at once: it is rather the machines that are not seen (is a provider missing in the file, or does it lead elsewhere?). None that is online is removed, one that is offline after an hour; if the machines are really gone, remove the executors at the CI server",
                count(*executors, "executor")
            ),
            Reason::GhostsKept {
                executors,
                storm: false,
            } => write!(
                f,
                "{} more without a machine are removed later, a few at a time",
                count(*executors, "executor")
            ),
            Reason::Steady { serving } => write!(f, "steady at {}", count(*serving, "machine")),
        }
    }
}

impl fmt::Display for CapOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapOf::Fleet => f.write_str("fleet cap"),
            CapOf::Group { group } => write!(f, "cap of group {group}"),
            CapOf::Provider { provider } => write!(f, "cap of provider {provider}"),
            CapOf::Quota { provider, .. } => write!(f, "quota at {provider}"),
            CapOf::Budget { budget, .. } => write!(f, "budget {budget}"),
        }
    }
}

/// `10m`, `1m 30s`, `45s`: the form in which the configuration states times.
pub(crate) fn in_words(duration: Duration) -> String {
    let total = duration.as_secs();
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let parts: Vec<String> = [(hours, "h"), (minutes, "m"), (seconds, "s")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    match parts.is_empty() {
        true if duration.is_zero() => "0s".to_owned(),
        true => format!("{}ms", duration.as_millis()),
        false => parts.join(" "),
    }
}
