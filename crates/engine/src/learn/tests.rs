//! What is learned, in worked numbers, and what learning guarantees over random gaps.

use proptest::prelude::*;

use super::*;

const BOOT: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Timestamp {
    later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

fn look(learned: &mut Learned, needed: u32, now: Timestamp) {
    let before = learned.clone();
    observe(learned, settled(&before, BOOT, now), needed, BOOT, now);
}

/// What keeping a level for `time` costs over these gaps, in seconds of a machine.
fn cost_of(gaps: &[u64], time: u64, worth: u64) -> u64 {
    let price = |gap: &u64| if *gap < time { *gap } else { time + worth };
    gaps.iter().map(price).sum()
}

/// What somebody pays who knows the future.
fn least_cost(gaps: &[u64], worth: u64) -> u64 {
    gaps.iter().map(|gap| (*gap).min(worth)).sum()
}

fn taught(gaps: &[u64]) -> Learned {
    let mut learned = Learned::default();
    for gap in gaps {
        record_gap(&mut learned, at(0), Duration::from_secs(*gap), 1);
    }
    learned
}

#[test]
fn buckets_are_half_octaves_that_meet_without_a_hole() {
    for place in 0..LAST_BUCKET {
        // the bucket between 1 and 2 has no whole number in it
        if place == 2 {
            continue;
        }
        assert_eq!(bucket(lower_bound(place)), place);
        let next = if place == 1 { 3 } else { place + 1 };
        assert_eq!(
            bucket(lower_bound(next) - 1),
            place,
            "before {}",
            lower_bound(next)
        );
    }
    assert_eq!(bucket(u64::MAX), LAST_BUCKET);
}

#[test]
fn the_level_that_was_needed_last_is_needed_again_first() {
    let mut learned = Learned::default();
    // 9 jobs, then 7 from 100 s, then 4 from 200 s, then 6 at 230 s: two gaps of 30 s
    for (second, needed) in [(0, 9), (100, 7), (200, 4), (230, 6)] {
        look(&mut learned, needed, at(second));
    }
    let mut expected = Histogram::default();
    add(&mut expected, bucket(30), 2);
    assert_eq!(settled(&learned, BOOT, at(231)).gaps, expected);
    // one level more is the third of those from 200 s; the next two wait since 100 s
    look(&mut learned, 9, at(300));
    add(&mut expected, bucket(100), 1);
    add(&mut expected, bucket(200), 2);
    assert!(learned.unneeded.is_empty());
    assert_eq!(settled(&learned, BOOT, at(301)).gaps, expected);
}

#[test]
fn a_demand_that_stands_still_writes_nothing_but_a_heartbeat() {
    let mut learned = Learned::default();
    look(&mut learned, 3, at(0));
    let before = learned.clone();
    for second in 1..480 {
        look(&mut learned, 3, at(second));
    }
    assert_eq!(learned, before);
    look(&mut learned, 3, at(480));
    assert_ne!(learned, before);
}

#[test]
fn time_in_which_nobody_watched_teaches_nothing() {
    let mut learned = Learned::default();
    for (second, needed) in [(0, 3), (10, 1), (100_000, 3)] {
        look(&mut learned, needed, at(second));
    }
    assert!(learned.gaps.is_empty());
    assert!(learned.rises.is_empty());
}

#[test]
fn quiet_windows_are_counted_when_news_come() {
    let mut learned = Learned::default();
    look(&mut learned, 0, at(0));
    // five windows have passed; the rise belongs to the sixth
    look(&mut learned, 4, at(310));
    assert_eq!(learned.rises[0][0].windows, 5);
    assert!(learned.rises[0][0].rises.is_empty());
    look(&mut learned, 4, at(310 + 480));
    let rises: u64 = learned.rises[0].iter().map(|row| total(&row.rises)).sum();
    assert_eq!(rises, 1);
}

/// A pool that gets two jobs every ten minutes keeps nothing at 1 in 2, and two slots at 1 in 16.
#[test]
fn the_reserve_follows_what_a_wait_is_worth() {
    let mut learned = Learned::default();
    for round in 0..200u64 {
        look(&mut learned, 2, at(round * 600));
        look(&mut learned, 0, at(round * 600 + 90));
        look(&mut learned, 0, at(round * 600 + 590));
    }
    let now = at(200 * 600);
    let slots = |odds| reserve(&learned, 0, odds, BOOT, now).slots;
    assert_eq!((slots(2), slots(16)), (0, 2));
}

#[test]
fn boot_times_are_learned_within_what_is_expected() {
    let expect = Boot {
        expect: Duration::from_secs(60),
        timeout: Duration::from_secs(600),
    };
    let mut learned = Learned::default();
    let with = |learned: &Learned| boot_time(learned, &expect).as_secs();
    for _ in 0..2 {
        observe_boot(&mut learned, Duration::from_secs(33));
    }
    assert_eq!(with(&learned), 60, "two boots are too few");
    observe_boot(&mut learned, Duration::from_secs(500));
    assert_eq!(with(&learned), 33, "one slow boot changes nothing");
    for _ in 0..20 {
        observe_boot(&mut learned, Duration::from_secs(100_000));
    }
    assert_eq!(with(&learned), 240, "never more than four times");
    assert_eq!(learned.boots.len(), MAX_BOOTS);
    for _ in 0..20 {
        observe_boot(&mut learned, Duration::ZERO);
    }
    assert_eq!(with(&learned), 15, "never less than a quarter");
}

/// The bound that docs/redis.md and the module of the memory name.
#[test]
fn the_memory_stays_small_whatever_it_sees() {
    let mut learned = Learned::default();
    let mut demand = 1u32;
    for step in 0..20_000u64 {
        demand = demand.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        look(&mut learned, demand >> (step % 32), at(step * 37));
    }
    let bytes = serde_json::to_string(&learned).unwrap().len();
    assert!(bytes <= 12 * 1024, "{bytes} bytes");
}

#[test]
fn a_class_of_hours_with_its_own_law_goes_by_it() {
    let mut learned = taught(&[40; 100]);
    let saturday = at(2 * 86_400);
    for _ in 0..100 {
        record_gap(&mut learned, saturday, Duration::from_secs(7000), 1);
    }
    // 1 January 1970 is a Thursday: its gaps are worth waiting for, those of a Saturday are not
    assert!(idle_time(&learned, BOOT, 8, at(0)).time >= Duration::from_secs(48));
    assert_eq!(
        idle_time(&learned, BOOT, 8, saturday).time,
        Duration::from_secs(8)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Untaught, break-even costs at most twice of what somebody pays who knows the future: on every sequence of
    /// gaps, in whole seconds.
    #[test]
    fn break_even_costs_at_most_twice_the_least(
        gaps in prop::collection::vec(0u64..2000, 2..200), worth in 1u64..600,
    ) {
        let time = idle_time(&Learned::default(), Duration::from_secs(worth), 2, at(0)).time.as_secs();
        prop_assert!(cost_of(&gaps, time, worth) <= 2 * least_cost(&gaps, worth));
    }

    /// Taught by whatever gaps, at most three times or nine times, on every other sequence.
    #[test]
    fn a_learned_idle_time_costs_at_most_three_or_nine_times_the_least(
        past in prop::collection::vec(0u64..5000, 2..300),
        gaps in prop::collection::vec(0u64..2000, 2..200), worth in 1u64..600,
        part in prop::sample::select(vec![2u64, 8]),
    ) {
        let found = idle_time(&taught(&past), Duration::from_secs(worth), part, at(0));
        let time = found.time.as_secs();
        prop_assert!(time <= longest_idle(Duration::from_secs(worth)).as_secs());
        prop_assert!(cost_of(&gaps, time, worth) <= (1 + part) * least_cost(&gaps, worth));
    }

    /// With all work announced α·worth ahead, at most 2 − α: a gap that is seen to end in time is waited for, and
    /// at `worth` − α·worth one is given up whose end is not in sight. Multiplied by `worth`, so that it is exact.
    #[test]
    fn announced_work_costs_at_most_two_less_the_announcement(
        gaps in prop::collection::vec(0u64..2000, 2..200), worth in 1u64..600, part in 0u64..=100,
    ) {
        let ahead = worth * part / 100;
        let kept = worth - ahead;
        // a gap that ends within kept + ahead is in sight when `kept` is over
        let price = |gap: &u64| if *gap <= kept + ahead { *gap } else { kept + worth };
        let cost: u64 = gaps.iter().map(price).sum();
        prop_assert!(cost * worth <= (2 * worth - ahead) * least_cost(&gaps, worth));
    }

    /// More needed slots never make a smaller reserve, whatever was learned.
    #[test]
    fn a_reserve_never_shrinks_as_demand_grows(
        demands in prop::collection::vec((0u32..60, 1u64..200), 10..200),
        needed in 0u32..60, more in 1u32..20, odds in 1u32..100,
    ) {
        let mut learned = Learned::default();
        let mut clock = 0;
        for (demand, wait) in demands {
            clock += wait;
            look(&mut learned, demand, at(clock));
        }
        let now = at(clock + 10);
        let known = settled(&learned, BOOT, now);
        let slots = |needed| reserve(&known, needed, odds, BOOT, now).slots;
        prop_assert!(slots(needed + more) >= slots(needed));
    }

    /// What is known at a moment is the same when it is asked again right after it was written down.
    #[test]
    fn looking_twice_at_one_moment_teaches_nothing_more(
        demands in prop::collection::vec((0u32..60, 1u64..700), 2..100),
    ) {
        let mut learned = Learned::default();
        let mut clock = 0;
        for (demand, wait) in demands {
            clock += wait;
            let first = settled(&learned, BOOT, at(clock)).into_owned();
            look(&mut learned, demand, at(clock));
            let again = settled(&learned, BOOT, at(clock)).into_owned();
            prop_assert_eq!(&first.gaps, &again.gaps);
            prop_assert_eq!(&first.rises, &again.rises);
            let written = learned.clone();
            look(&mut learned, demand, at(clock));
            prop_assert_eq!(written, learned.clone());
        }
    }
}

fn window(active: [u32; 2]) -> RiseWindow {
    RiseWindow {
        since: at(0),
        base: 0,
        peak: 0,
        activity: [0; 2],
        active,
        touched: at(0),
    }
}

/// Eight slots of activity (2 048 parts) halve in one boot time and in eight, on straight lines in between.
#[test]
fn activity_halves_in_one_boot_time_and_in_eight() {
    let eight = window([2048, 2048]);
    for (seconds, expected) in [
        (0, [2048, 2048]),
        (30, [1536, 1984]),
        (60, [1024, 1920]),
        (90, [768, 1856]),
        (120, [512, 1792]),
        (480, [8, 1024]),
        (960, [0, 512]),
    ] {
        assert_eq!(faded(&eight, BOOT, at(seconds)), expected, "{seconds} s");
    }
    // two slots more, after what was left of the eight
    assert_eq!(active(&eight, 2, BOOT, at(60)), [1536, 2432]);
}

#[test]
fn activities_fall_into_octaves_of_quarters_of_a_slot() {
    for (parts, row) in [
        (0, 0),
        (63, 0),
        (64, 1),
        (191, 1),
        (192, 2),
        (256, 2),
        (447, 2),
        (448, 3),
        (u32::MAX, 26),
    ] {
        assert_eq!(activity_row(parts), row, "{parts}");
    }
}

/// A rise is written under the activity at the start of its window: the next one comes two boot times after the first.
#[test]
fn a_rise_belongs_to_the_activity_before_it() {
    let mut learned = Learned::default();
    look(&mut learned, 0, at(0));
    // 4 slots more at 30 s, the window of 0 s to 60 s; from 60 s on nothing new; 2 more at 150 s, in that of 120 s to 180 s
    for (second, needed) in [(30, 4), (150, 6), (200, 6), (181 + 480, 6)] {
        look(&mut learned, needed, at(second));
    }
    let [fast, slow] = &learned.rises[..] else {
        panic!("two laws")
    };
    let seen = |rows: &[RiseRow]| -> Vec<(u32, Vec<u32>)> {
        rows.iter()
            .map(|row| (row.windows, row.rises.counts.clone()))
            .collect()
    };
    // 1 024 parts at 30 s are 768 at 60 s (13 quarters) and 384 at 120 s (7), under which the second rise is written; 4 are
    // in the bucket 5, 2 in the bucket 3
    let fast = seen(fast);
    assert_eq!(fast[0].1, [0, 0, 0, 0, 0, 1], "{fast:?}");
    assert_eq!(fast[2].1, [0, 0, 0, 1], "{fast:?}");
    assert!(fast[3].1.is_empty() && fast[3].0 >= 1, "{fast:?}");
    // the slow one has hardly faded: 928 parts at 120 s are 15 quarters
    let slow = seen(slow);
    assert_eq!(slow[3].1, [0, 0, 0, 1], "{slow:?}");
}

/// A row is halved when it gets 4 096 windows, its rises with it.
#[test]
fn old_windows_fade() {
    let mut rows = Vec::new();
    for _ in 0..4095 {
        record_in_row(&mut rows, 1, 1);
    }
    assert_eq!((rows[1].windows, rows[1].rises.counts[1]), (4095, 4095));
    record_in_row(&mut rows, 1, 0);
    assert_eq!((rows[1].windows, rows[1].rises.counts[1]), (2048, 2047));
    assert_eq!(rows[0], RiseRow::default());
}

#[test]
fn a_law_of_gaps_fades_too() {
    let mut learned = Learned::default();
    record_gap(&mut learned, at(0), Duration::from_secs(1), 4095);
    assert_eq!(total(&learned.gaps), 4095);
    record_gap(&mut learned, at(0), Duration::from_secs(1), 1);
    assert_eq!(total(&learned.gaps), 2048);
}

#[test]
fn the_usual_boot_is_a_median_within_bounds() {
    let boot = |boots: &[u32], expect: u64, timeout: u64| {
        let learned = Learned {
            boots: boots.to_vec(),
            ..Learned::default()
        };
        let (expect, timeout) = (Duration::from_secs(expect), Duration::from_secs(timeout));
        boot_time(&learned, &Boot { expect, timeout }).as_secs()
    };
    // two say less than the operator, three are enough
    assert_eq!(boot(&[30, 30], 60, 600), 60);
    assert_eq!(boot(&[30, 90, 40], 60, 600), 40);
    assert_eq!(boot(&[10, 20, 30, 40], 60, 600), 30);
    // a quarter and four times of what is expected, and the deadline
    assert_eq!(boot(&[1, 1, 1], 60, 600), 15);
    assert_eq!(boot(&[900, 900, 900], 60, 600), 240);
    assert_eq!(boot(&[900, 900, 900], 60, 180), 180);
    assert_eq!(boot(&[0, 0, 0], 0, 0), 1);
}

#[test]
fn sixteen_boots_are_remembered() {
    let mut learned = Learned::default();
    for second in 1..=17 {
        observe_boot(&mut learned, Duration::from_secs(second));
    }
    assert_eq!(learned.boots, (2..=17).collect::<Vec<u32>>());
}

#[test]
fn a_window_closes_a_boot_time_after_the_one_before_it() {
    let mut learned = Learned::default();
    assert_eq!(next_window(&learned, BOOT, at(5)), None);
    learned.window = Some(window([0; 2]));
    for (now, closes) in [(0, 60), (59, 60), (60, 120), (185, 240)] {
        assert_eq!(
            next_window(&learned, BOOT, at(now)),
            Some(at(closes)),
            "{now}"
        );
    }
    // without a boot time there is nothing to wait for
    assert_eq!(next_window(&learned, Duration::ZERO, at(5)), Some(at(0)));
}

#[test]
fn the_class_of_hours_changes_every_four_hours() {
    const HOUR: u64 = 3600;
    for (now, next) in [(0, 4), (4 * HOUR - 1, 4), (4 * HOUR, 8), (23 * HOUR, 24)] {
        assert_eq!(next_hour_class(at(now)), at(next * HOUR), "{now}");
    }
    // the epoch began on a Thursday; Saturday is two days later
    for (hours, class) in [(0, 0), (3, 0), (4, 1), (23, 5), (48, 6), (71, 11), (96, 0)] {
        assert_eq!(hour_class(at(hours * HOUR)), class, "{hours} h");
    }
}

/// Of more falls than are kept the two oldest become one, which is as old as the older.
#[test]
fn the_oldest_falls_are_put_together() {
    let mut learned = Learned::default();
    look(&mut learned, 66, at(0));
    for fall in 1..=65u32 {
        look(&mut learned, 66 - fall, at(u64::from(fall)));
    }
    assert_eq!(learned.unneeded.len(), MAX_UNNEEDED);
    assert_eq!(
        learned.unneeded[0],
        Unneeded {
            levels: 2,
            since: at(1)
        }
    );
    assert_eq!(
        learned.unneeded[1],
        Unneeded {
            levels: 1,
            since: at(3)
        }
    );
}

/// A rise of fewer levels than fell leaves the rest unneeded since then.
#[test]
fn a_smaller_rise_ends_only_so_many_gaps() {
    let mut learned = Learned::default();
    for (second, needed) in [(0, 5), (10, 1), (20, 2)] {
        look(&mut learned, needed, at(second));
    }
    assert_eq!(
        learned.unneeded,
        [Unneeded {
            levels: 3,
            since: at(10)
        }]
    );
    let again = NeededAgain {
        levels: 1,
        since: at(10),
        at: at(20),
    };
    assert_eq!(learned.needed_again, [again]);
    // at that very moment it is not in the law yet, a moment later it is
    assert!(settled(&learned, BOOT, at(20)).gaps.is_empty());
    assert_eq!(total(&settled(&learned, BOOT, at(21)).gaps), 1);
}

/// After three heartbeats without a look nobody knows what happened meanwhile; one moment before, it is known.
#[test]
fn a_scaler_that_was_away_forgets_what_it_watched() {
    let mut learned = Learned::default();
    for (second, needed) in [(0, 2), (10, 1)] {
        look(&mut learned, needed, at(second));
    }
    let away = 24 * 60;
    let before = settled(&learned, BOOT, at(away - 1));
    assert!(before.window.is_some() && before.unneeded.len() == 1);
    let after = settled(&learned, BOOT, at(away));
    assert!(after.window.is_none() && after.unneeded.is_empty());
}

/// Ten gaps of about 4.5 s, five of about 36 s; a return is worth 20 s. In half seconds, as `cost` counts.
#[test]
fn the_cost_of_an_idle_time_in_worked_numbers() {
    let mut law = Histogram::default();
    add(&mut law, bucket(4), 10);
    add(&mut law, bucket(32), 5);
    // 4 and 6 s bound the one bucket, 32 and 48 s the other: gaps of 5 and of 40 s
    for (time, expected) in [
        // nobody is waited for: each gap costs the return
        (0, 15 * 40),
        // a gap counts as ended in time when the time is longer than it, not when it is as long
        (5, 15 * 50),
        (6, 10 * 10 + 5 * 52),
        (40, 10 * 10 + 5 * 120),
        (41, 10 * 10 + 5 * 80),
    ] {
        assert_eq!(cost(&law, time, 20), expected, "{time} s");
    }
}

/// The last slot is needed in 5 of 100 windows: it is kept when a wait is worth more than 25 idle slots (5 x 25 is 125, which is
/// not more than 100 + 25; 5 x 26 is 130, which is more than 126).
#[test]
fn a_slot_is_kept_when_it_is_worth_more_than_its_idleness() {
    let mut row = RiseRow {
        windows: 100,
        ..RiseRow::default()
    };
    add(&mut row.rises, bucket(1), 5);
    assert_eq!(newsvendor(&row, 25), 0);
    assert_eq!(newsvendor(&row, 26), 1);
}

/// Thirty-one gaps are no law yet, thirty-two are; of one class of hours it takes sixty-four.
#[test]
fn enough_gaps_make_a_law() {
    let worth = Duration::from_secs(60);
    let found = |gaps: usize| idle_time(&taught(&vec![1; gaps]), worth, 8, at(0));
    assert_eq!(
        found(31),
        IdleTimeFound {
            time: worth,
            gaps: 0
        }
    );
    assert_eq!(found(32).gaps, 32);
    // all gaps are of the first class; another class of hours has the law of all hours
    let mut learned = taught(&[1; 64]);
    record_gap(&mut learned, at(5 * 3600), Duration::from_secs(1), 1);
    assert_eq!(idle_time(&learned, worth, 8, at(0)).gaps, 64);
    assert_eq!(idle_time(&learned, worth, 8, at(5 * 3600)).gaps, 65);
}
