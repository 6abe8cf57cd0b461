//! What a pool's own demand teaches: how long levels stay unneeded, how far demand rises within one boot time, and how
//! long a boot takes.
//!
//! All of it is learned from the series of the demand that each tick sees, not from machines: which machine a CI server
//! leaves idle says nothing, but when demand falls from 9 to 7 and later rises to 8, one *level* was unneeded for so
//! long, and the next one still is (docs/adr/0011). Counts are integers in buckets of half an octave; they are halved
//! when they grow large, so that the newest weigh most. Nothing is written while demand stands still, but for one
//! heartbeat every few boot times, which tells a quiet pool from a scaler that was away.
//!
//! An empty memory is safe: every question has an answer that needs none.

use std::borrow::Cow;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::{Boot, Histogram, Learned, NeededAgain, RiseRow, RiseWindow, Unneeded, age};

/// Entries of the stack of unneeded levels; beyond it the two oldest become one, which is as old as the older.
const MAX_UNNEEDED: usize = 64;

/// A count that reaches this is halved with its whole histogram: old loads fade, and numbers stay small.
const HALVE_AT: u32 = 4096;

/// Boots remembered: enough that one slow boot changes nothing, few enough that a new image is noticed in an hour.
const MAX_BOOTS: usize = 16;

/// Fewer boots than this say less than what the operator expects.
const ENOUGH_BOOTS: usize = 3;

/// Fewer gaps than this are no law: each candidate would rest on one or two of them.
const ENOUGH_GAPS: u64 = 32;

/// A class of hours needs more before it outweighs the law of all hours.
const ENOUGH_GAPS_IN_CLASS: u64 = 64;

/// Recent activity fades to a half in so many boot times. Bursts have two lengths: jobs that come one after the other, so
/// that a rise right now foretells the next within the same boot time, and people who go on working for a while.
const ACTIVITY_HALVES_IN: [u32; 2] = [1, 8];

/// After so many boot times without news the memory is brought up to date anyway ...
const HEARTBEAT: u32 = 8;

/// ... and after so many without a heartbeat nobody watched: that time teaches nothing.
const AWAY: u32 = 3 * HEARTBEAT;

/// Activity is counted in such parts of a slot.
const ACTIVITY_UNIT: u32 = 256;

/// Buckets of half an octave: 1, 2, 3, 4, 6, 8, 12 … up to 12 days in seconds.
const LAST_BUCKET: usize = 41;

/// Classes of hours: six blocks of four hours (UTC) on weekdays, and six on the weekend.
const HOUR_CLASSES: usize = 12;

/// What is known at this moment: the windows that have passed are closed, and what the look before taught is in its law.
///
/// It does not depend on the demand of this tick (so more demand cannot make it more timid, E2), and is the same again
/// for a memory that was brought up to date at this very moment (so planning again does nothing, E1).
pub(crate) fn settled(learned: &Learned, boot: Duration, now: Timestamp) -> Cow<'_, Learned> {
    let mut known = Cow::Borrowed(learned);
    if learned.needed_again.iter().any(|gap| gap.at < now) {
        let known = known.to_mut();
        for gap in std::mem::take(&mut known.needed_again) {
            if gap.at < now {
                record_gap(known, gap.since, age(gap.since, gap.at), gap.levels);
            } else {
                known.needed_again.push(gap);
            }
        }
    }
    let elapsed = learned.window.map_or(Duration::ZERO, |w| age(w.since, now));
    if elapsed >= boot.saturating_mul(AWAY) {
        // nobody watched for a while: what happened meanwhile is not known
        let known = known.to_mut();
        known.window = None;
        known.unneeded.clear();
    } else if elapsed >= boot {
        close_windows(known.to_mut(), boot, now);
    }
    known
}

/// Takes in the demand of one whole and fresh look. `known` is what was settled for this moment.
pub(crate) fn observe(
    learned: &mut Learned,
    known: Cow<'_, Learned>,
    needed: u32,
    boot: Duration,
    now: Timestamp,
) {
    let quiet = learned
        .window
        .is_some_and(|w| age(w.since, now) < boot.saturating_mul(HEARTBEAT));
    if needed == known.demand && quiet {
        return;
    }
    let mut known = known.into_owned();
    let risen = needed.saturating_sub(known.demand);
    let window = match known.window {
        None => new_window(needed, now),
        Some(window) => RiseWindow {
            active: active(&window, risen, boot, now),
            touched: now,
            peak: window.peak.max(needed),
            ..window
        },
    };
    known.window = Some(window);
    watch_gaps(&mut known, needed, now);
    known.demand = needed;
    *learned = known;
}

/// Takes in one boot, from creation to an executor that is online.
pub(crate) fn observe_boot(learned: &mut Learned, took: Duration) {
    learned
        .boots
        .push(u32::try_from(took.as_secs()).unwrap_or(u32::MAX));
    let surplus = learned.boots.len().saturating_sub(MAX_BOOTS);
    learned.boots.drain(..surplus);
}

/// The usual time of a boot: the median of the last ones, held within a quarter and four times of what the
/// configuration expects (a machine found late must not teach hours), and within the boot deadline.
pub(crate) fn boot_time(learned: &Learned, boot: &Boot) -> Duration {
    let expect = boot.expect.max(Duration::from_secs(1));
    if learned.boots.len() < ENOUGH_BOOTS {
        return expect;
    }
    let mut boots = learned.boots.clone();
    boots.sort_unstable();
    let median = Duration::from_secs(u64::from(boots[boots.len() / 2]));
    let most = expect.saturating_mul(4).min(boot.timeout).max(expect / 4);
    median.clamp(
        (expect / 4).max(Duration::from_secs(1)),
        most.max(Duration::from_secs(1)),
    )
}

/// Closes the windows that have passed. Demand has not changed since the last one that was written.
fn close_windows(learned: &mut Learned, boot: Duration, now: Timestamp) {
    let Some(mut window) = learned.window else {
        return;
    };
    while age(window.since, now) >= boot {
        let rise = window.peak.saturating_sub(window.base);
        record_rise(&mut learned.rises, window.activity, rise);
        window.since = later(window.since, boot);
        (window.base, window.peak) = (learned.demand, learned.demand);
        window.activity = faded(&window, boot, window.since);
    }
    learned.window = Some(window);
}

/// When the window that is watched now is closed: what is known changes then, and sometimes it is written down.
pub(crate) fn next_window(learned: &Learned, boot: Duration, now: Timestamp) -> Option<Timestamp> {
    let mut closes = learned.window?.since;
    while closes <= now && !boot.is_zero() {
        closes = later(closes, boot);
    }
    Some(closes)
}

/// When the hour of the week begins to count as another one.
pub(crate) fn next_hour_class(now: Timestamp) -> Timestamp {
    const BLOCK_S: i64 = 4 * 3600;
    let next = (now.as_second().div_euclid(BLOCK_S) + 1) * BLOCK_S;
    Timestamp::from_second(next).unwrap_or(now)
}

fn new_window(demand: u32, now: Timestamp) -> RiseWindow {
    RiseWindow {
        since: now,
        base: demand,
        peak: demand,
        activity: [0; 2],
        active: [0; 2],
        touched: now,
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::ZERO);
    at.checked_add(by).unwrap_or(at)
}

/// The activities after a rise.
fn active(window: &RiseWindow, risen: u32, boot: Duration, now: Timestamp) -> [u32; 2] {
    let risen = risen.saturating_mul(ACTIVITY_UNIT);
    faded(window, boot, now).map(|active| active.saturating_add(risen))
}

/// The activities at a moment: they halve in some boot times, on straight lines in between, so that they are integers
/// and the same everywhere.
fn faded(window: &RiseWindow, boot: Duration, at: Timestamp) -> [u32; 2] {
    let passed = age(window.touched, at).as_millis();
    let fade = |active: u32, halves_in: u32| {
        let half = boot.saturating_mul(halves_in).as_millis().max(1);
        let halves = u32::try_from(passed / half).unwrap_or(u32::MAX);
        let left = u128::from(active.checked_shr(halves).unwrap_or(0));
        let part = left * (passed % half) / (2 * half);
        u32::try_from(left - part).unwrap_or(active)
    };
    let [fast, slow] = ACTIVITY_HALVES_IN;
    [fade(window.active[0], fast), fade(window.active[1], slow)]
}

/// The row of an activity: quarters of a slot in octaves.
fn activity_row(activity: u32) -> usize {
    let quarters = activity / (ACTIVITY_UNIT / 4) + 1;
    quarters.ilog2() as usize
}

fn record_rise(laws: &mut Vec<Vec<RiseRow>>, activity: [u32; 2], rise: u32) {
    laws.resize(activity.len(), Vec::new());
    for (rows, activity) in laws.iter_mut().zip(activity) {
        record_in_row(rows, activity_row(activity), rise);
    }
}

fn record_in_row(rows: &mut Vec<RiseRow>, place: usize, rise: u32) {
    if rows.len() <= place {
        rows.resize(place + 1, RiseRow::default());
    }
    let row = &mut rows[place];
    row.windows += 1;
    if rise > 0 {
        add(&mut row.rises, bucket(u64::from(rise)), 1);
    }
    if row.windows >= HALVE_AT {
        row.windows /= 2;
        halve(&mut row.rises);
    }
}

/// Takes note of the gaps that a rise ends, and of those that a fall begins: the level that was needed last is needed again
/// first.
fn watch_gaps(learned: &mut Learned, needed: u32, now: Timestamp) {
    let before = learned.demand;
    if needed < before {
        let levels = before - needed;
        learned.unneeded.push(Unneeded { levels, since: now });
        if learned.unneeded.len() > MAX_UNNEEDED {
            let oldest = learned.unneeded.remove(0);
            let next = &mut learned.unneeded[0];
            next.since = oldest.since;
            next.levels = next.levels.saturating_add(oldest.levels);
        }
    }
    let mut risen = needed.saturating_sub(before);
    while risen > 0 {
        let Some(newest) = learned.unneeded.last_mut() else {
            return;
        };
        let ended = newest.levels.min(risen);
        let since = newest.since;
        newest.levels -= ended;
        risen -= ended;
        if newest.levels == 0 {
            learned.unneeded.pop();
        }
        learned.needed_again.push(NeededAgain {
            levels: ended,
            since,
            at: now,
        });
    }
}

fn record_gap(learned: &mut Learned, since: Timestamp, gap: Duration, times: u32) {
    let place = bucket(gap.as_secs());
    let class = hour_class(since);
    if learned.gaps_by_hour.len() <= class {
        learned.gaps_by_hour.resize(class + 1, Histogram::default());
    }
    for histogram in [&mut learned.gaps, &mut learned.gaps_by_hour[class]] {
        add(histogram, place, times);
        if total(histogram) >= u64::from(HALVE_AT) {
            halve(histogram);
        }
    }
}

fn hour_class(at: Timestamp) -> usize {
    let local = at.to_zoned(TimeZone::UTC);
    let block = usize::try_from(local.hour() / 4).unwrap_or(0);
    let weekend = local.weekday().to_monday_zero_offset() >= 5;
    (block + if weekend { HOUR_CLASSES / 2 } else { 0 }).min(HOUR_CLASSES - 1)
}

/// A learned idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleTimeFound {
    /// How long a level is kept.
    pub(crate) time: Duration,
    /// On how many gaps it rests; 0 for the one that needs none.
    pub(crate) gaps: u64,
}

/// The longest idle time that `idle_time` may find.
pub(crate) fn longest_idle(worth: Duration) -> Duration {
    worth.saturating_mul(2)
}

/// How long to keep a level whose return saves `worth`: the time in worth/`part` … 2·worth for which the gaps seen would
/// have cost least; `worth` itself while too few were seen.
///
/// Whatever comes, `worth` costs at most twice what somebody would pay who knew the future, and any time in that range
/// at most 1 + `part` times, or three times if that is more: `(t + worth) / min(t, worth)` is that at the lower end and 3
/// at the upper one. It is for gaps which all turn into the worst ones at once; the law then learns them.
pub(crate) fn idle_time(
    learned: &Learned,
    worth: Duration,
    part: u64,
    now: Timestamp,
) -> IdleTimeFound {
    let class = learned.gaps_by_hour.get(hour_class(now));
    let law = class
        .filter(|law| total(law) >= ENOUGH_GAPS_IN_CLASS)
        .unwrap_or(&learned.gaps);
    let gaps = total(law);
    if gaps < ENOUGH_GAPS {
        let time = worth;
        return IdleTimeFound { time, gaps: 0 };
    }
    let worth = worth.as_secs();
    let bounds = (0..=LAST_BUCKET).map(lower_bound);
    let candidates = bounds.filter(|time| (worth.div_ceil(part.max(1))..=worth * 2).contains(time));
    let best = candidates
        .chain([worth])
        .min_by_key(|time| (cost(law, *time, worth), *time));
    IdleTimeFound {
        time: Duration::from_secs(best.unwrap_or(worth)),
        gaps,
    }
}

/// What the gaps of a law would have cost, in half seconds of one machine: those that ended in time their length, the
/// others the time waited in vain and what their end would have saved.
fn cost(law: &Histogram, time: u64, worth: u64) -> u128 {
    let price = |(place, count): (usize, &u32)| {
        let twice_the_gap = lower_bound(place) + lower_bound(place + 1);
        let price = if twice_the_gap < 2 * time {
            twice_the_gap
        } else {
            2 * (time + worth)
        };
        u128::from(price) * u128::from(*count)
    };
    law.counts.iter().enumerate().map(price).sum()
}

/// A learned reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReserveFound {
    /// Idle slots to keep.
    pub(crate) slots: u32,
    /// Windows seen at such an activity.
    pub(crate) windows: u32,
}

/// The newsvendor's answer: the most slots of which the last one is needed within a boot time in more than 1 of
/// `wait_to_idle` cases, as far as was seen at this activity or a lower one; the greater answer of the two activities.
/// So many unseen cases are assumed to have needed none: a reserve has to be earned.
pub(crate) fn reserve(
    learned: &Learned,
    needed: u32,
    wait_to_idle: u32,
    boot: Duration,
    now: Timestamp,
) -> ReserveFound {
    let mut found = ReserveFound {
        slots: 0,
        windows: 0,
    };
    let Some(window) = learned.window else {
        return found;
    };
    let activities = active(&window, needed.saturating_sub(learned.demand), boot, now);
    for (rows, activity) in learned.rises.iter().zip(activities) {
        let row = activity_row(activity);
        // a lower activity never keeps more than a greater one, so that more work never means fewer machines
        let lower = rows.iter().take(row + 1);
        let slots = lower.map(|row| newsvendor(row, wait_to_idle)).max();
        let slots = slots.unwrap_or(0);
        if slots >= found.slots {
            let windows = rows.get(row).map_or(0, |row| row.windows);
            found = ReserveFound { slots, windows };
        }
    }
    found
}

fn newsvendor(row: &RiseRow, wait_to_idle: u32) -> u32 {
    let odds = u64::from(wait_to_idle);
    let enough = u64::from(row.windows) + odds;
    let mut needed_in = 0u64;
    for (place, count) in row.rises.counts.iter().enumerate().rev() {
        needed_in += u64::from(*count);
        if needed_in * odds > enough {
            return u32::try_from(lower_bound(place)).unwrap_or(u32::MAX);
        }
    }
    0
}

/// The bucket of a number: half octaves.
fn bucket(value: u64) -> usize {
    let Some(octave) = value.checked_ilog2() else {
        return 0;
    };
    let upper_half = octave > 0 && value & (1 << (octave - 1)) != 0;
    (1 + 2 * octave as usize + usize::from(upper_half)).min(LAST_BUCKET)
}

/// The least number of a bucket.
fn lower_bound(place: usize) -> u64 {
    let Some(place) = place.checked_sub(1) else {
        return 0;
    };
    let octave = 1u64 << (place / 2);
    octave + if place % 2 == 1 { octave / 2 } else { 0 }
}

fn add(histogram: &mut Histogram, place: usize, times: u32) {
    if histogram.counts.len() <= place {
        histogram.counts.resize(place + 1, 0);
    }
    let count = &mut histogram.counts[place];
    *count = count.saturating_add(times);
}

fn total(histogram: &Histogram) -> u64 {
    histogram.counts.iter().map(|count| u64::from(*count)).sum()
}

fn halve(histogram: &mut Histogram) {
    for count in &mut histogram.counts {
        *count /= 2;
    }
}

#[cfg(test)]
mod tests;
