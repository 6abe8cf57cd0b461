//! Times of the week, such as `Mon-Fri 08:00-19:00`, in a time zone.
//!
//! A range is civil time: on the day on which clocks change, an office that opens at 08:00 still opens when its clock
//! shows 08:00. Whether a moment lies in a schedule is decided in `engine::rules::when`, where the zones are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Minutes of a week, from Monday 00:00.
pub const MINUTES_OF_A_WEEK: u16 = 7 * 24 * 60;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Ranges of the week in one time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// As it is written.
    pub text: String,
    /// The name of the zone in the IANA database, such as `Asia/Kolkata`.
    pub zone: String,
    /// What the text means; none of them passes the end of the week.
    pub ranges: Vec<WeekRange>,
}

/// From one minute of the week up to, and without, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeekRange {
    /// The first minute, from Monday 00:00.
    pub from: u16,
    /// The first one after it; at most [`MINUTES_OF_A_WEEK`].
    pub to: u16,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a time of the week: {why}; write such as `Mon-Fri 08:00-19:00; Sat 10:00-14:00`"
)]
pub struct ScheduleError {
    text: String,
    why: &'static str,
}

impl Schedule {
    /// Reads ranges that are separated by semicolons. Each is days and hours: `Mon-Fri 08:00-19:00`,
    /// `Sat,Sun 22:00-06:00` (until the next morning), `Mon-Sun 00:00-24:00`.
    ///
    /// # Errors
    ///
    /// A range that cannot be read.
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        let mut ranges = Vec::new();
        for part in text.split(';') {
            let error = |why| ScheduleError {
                text: part.trim().to_owned(),
                why,
            };
            read_range(part.trim(), &mut ranges).map_err(error)?;
        }
        ranges.sort_by_key(|range| (range.from, range.to));
        Ok(Schedule {
            text: text.trim().to_owned(),
            zone: zone.to_owned(),
            ranges,
        })
    }

    /// Whether a minute of the week, in the schedule's own zone, lies in it.
    pub fn contains(&self, minute: u16) -> bool {
        self.ranges
            .iter()
            .any(|range| range.from <= minute && minute < range.to)
    }

    /// The first minute of the week that lies in both, if the zones are the same.
    pub fn first_overlap(&self, other: &Schedule) -> Option<u16> {
        if self.zone != other.zone {
            return None;
        }
        let pairs = self
            .ranges
            .iter()
            .flat_map(|a| other.ranges.iter().map(move |b| (a, b)));
        pairs
            .map(|(a, b)| (a.from.max(b.from), a.to.min(b.to)))
            .filter(|(from, to)| from < to)
            .map(|(from, _)| from)
            .min()
    }
}

impl WeekRange {
    /// A minute of the week as `Mon 08:00`.
    pub fn minute_in_words(minute: u16) -> String {
        let (day, rest) = (minute / 1440 % 7, minute % 1440);
        format!(
            "{} {:02}:{:02}",
            DAYS[usize::from(day)],
            rest / 60,
            rest % 60
        )
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

fn read_range(text: &str, into: &mut Vec<WeekRange>) -> Result<(), &'static str> {
    let (days, hours) = text
        .split_once(char::is_whitespace)
        .ok_or("it needs days and hours")?;
    let (from, to) = hours
        .trim()
        .split_once('-')
        .ok_or("hours have a beginning and an end")?;
    let (from, to) = (read_time(from)?, read_time(to)?);
    if from == to {
        return Err("its hours begin when they end; a whole day is 00:00-24:00");
    }
    if from == 1440 {
        return Err("hours begin before 24:00");
    }
    for day in read_days(days)? {
        let start = day * 1440 + from;
        // over midnight: until that hour of the next day
        let end = day * 1440 + to + if to < from { 1440 } else { 0 };
        into.push(WeekRange {
            from: start,
            to: end.min(MINUTES_OF_A_WEEK),
        });
        if end > MINUTES_OF_A_WEEK {
            into.push(WeekRange {
                from: 0,
                to: end - MINUTES_OF_A_WEEK,
            });
        }
    }
    Ok(())
}

fn read_days(text: &str) -> Result<Vec<u16>, &'static str> {
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (read_day(first)?, read_day(last)?);
        // Fri-Mon goes over the end of the week
        let count = (last + 7 - first) % 7 + 1;
        days.extend((0..count).map(|n| (first + n) % 7));
    }
    Ok(days)
}

fn read_day(text: &str) -> Result<u16, &'static str> {
    let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
    let day = found.ok_or("days are Mon, Tue, Wed, Thu, Fri, Sat and Sun")?;
    u16::try_from(day).map_err(|_| "no such day")
}

fn read_time(text: &str) -> Result<u16, &'static str> {
    const WRONG: &str = "times are 00:00 to 24:00";
    let (hours, minutes) = text.trim().split_once(':').ok_or(WRONG)?;
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = two_digits(hours).zip(two_digits(minutes)).ok_or(WRONG)?;
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= 1440).then_some(all).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> Vec<(String, String)> {
        let schedule = Schedule::parse(text, "UTC").unwrap();
        let words = WeekRange::minute_in_words;
        let ranges = schedule.ranges.iter();
        ranges.map(|r| (words(r.from), words(r.to))).collect()
    }

    #[test]
    fn days_and_hours_become_ranges_of_the_week() {
        let expected = [("Sat 10:00", "Sat 14:00"), ("Sun 10:00", "Sun 14:00")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(ranges("Sat-Sun 10:00-14:00"), expected);
        assert_eq!(ranges("sat,Sun 10:00-14:00"), expected);
        assert_eq!(ranges("Sat 10:00-14:00; Sun 10:00-14:00"), expected);
    }

    #[test]
    fn hours_over_midnight_end_on_the_next_day_and_over_the_end_of_the_week_on_monday() {
        let night = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(ranges("Fri 22:00-06:00"), [night("Fri 22:00", "Sat 06:00")]);
        let schedule = Schedule::parse("Sun 22:00-06:00", "UTC").unwrap();
        assert!(schedule.contains(0) && schedule.contains(359) && !schedule.contains(360));
        assert!(schedule.contains(MINUTES_OF_A_WEEK - 1));
        let always = Schedule::parse("Mon-Sun 00:00-24:00", "UTC").unwrap();
        assert!((0..MINUTES_OF_A_WEEK).all(|minute| always.contains(minute)));
    }

    #[test]
    fn a_range_holds_its_first_minute_and_not_its_last() {
        let office = Schedule::parse("Mon-Fri 08:00-19:00", "UTC").unwrap();
        assert!(!office.contains(479) && office.contains(480));
        assert!(office.contains(1139) && !office.contains(1140));
    }

    #[test]
    fn what_is_no_time_of_the_week_is_refused_with_an_example() {
        for bad in [
            "",
            "Mon",
            "08:00-19:00",
            "Mon-Fri 8-19",
            "Mon-Fri 08:00",
            "Mon 08:00-08:00",
            "Mon 25:00-26:00",
            "Mon 08:60-09:00",
            "Day 08:00-09:00",
            "Mon 24:00-06:00",
            "Mon 08:00-09:00;",
        ] {
            let error = Schedule::parse(bad, "UTC").unwrap_err().to_string();
            assert!(error.contains("Mon-Fri 08:00-19:00"), "{bad}: {error}");
        }
    }

    #[test]
    fn two_schedules_overlap_where_both_hold() {
        let at = |text| Schedule::parse(text, "UTC").unwrap();
        let overlap = at("Mon-Fri 08:00-19:00").first_overlap(&at("Fri 18:00-20:00"));
        assert_eq!(
            overlap.map(WeekRange::minute_in_words).as_deref(),
            Some("Fri 18:00")
        );
        assert_eq!(
            at("Mon 08:00-12:00").first_overlap(&at("Mon 12:00-13:00")),
            None
        );
    }
}
