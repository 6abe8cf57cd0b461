//! `when:`: conditions as an operator writes them, and what two rules of one kind leave open or claim twice.

use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use model::rules::{Condition, MINUTES_OF_A_WEEK, Rule, Schedule, WeekRange, When};
use ports::strict::{self, Problem, Problems, Severity, nearest};
use serde_json::Value;

use super::entries::too_long;
use crate::raw::rules as raw;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A hole between two schedules that is no longer than this was not meant: nobody plans a rule for the minute between
/// 18:59 and 19:00, and everybody who plans for nights leaves more.
const SURELY_A_MISTAKE: usize = 60;

/// Reads the conditions of a rule.
pub(super) fn read(when: Option<&raw::When>, problems: &mut Problems) -> When {
    let mut inner = Problems::default();
    let mut all = when.map_or_else(Vec::new, |when| conditions(when, &mut inner));
    for (index, value) in when.iter().flat_map(|when| &when.any).enumerate() {
        let mut nested = Problems::default();
        let alternative = alternative(value, &mut nested);
        inner.append(&["any".into(), index.into()], nested);
        match (alternative, all.last_mut()) {
            (Some(when), Some(Condition::Any { any })) => any.push(when),
            (Some(when), _) => all.push(Condition::Any { any: vec![when] }),
            (None, _) => {}
        }
    }
    problems.append(&["when".into()], inner);
    When { all }
}

fn alternative(value: &Value, problems: &mut Problems) -> Option<When> {
    let when: raw::When = strict::read(value, problems)?;
    if !when.any.is_empty() {
        problems.error(["any".into()], "`any` stands in no other `any`");
    }
    let all = conditions(&when, problems);
    if all.is_empty() {
        problems.error([], "it asks nothing, so that it always holds");
    }
    Some(When { all })
}

fn conditions(when: &raw::When, problems: &mut Problems) -> Vec<Condition> {
    for (key, time) in [
        ("oldest_wait_over", when.oldest_wait_over),
        ("oldest_wait_under", when.oldest_wait_under),
    ] {
        if let Some(time) = time {
            too_long(key, time.0, problems);
        }
    }
    let schedule = schedule(when, problems).map(Condition::Schedule);
    let queued_over = when.queued_over.map(|jobs| Condition::QueuedOver { jobs });
    let queued_under = when
        .queued_under
        .map(|jobs| Condition::QueuedUnder { jobs });
    let over = when.oldest_wait_over;
    let wait_over = over.map(|span| Condition::OldestWaitOver { time: span.0 });
    let under = when.oldest_wait_under;
    let wait_under = under.map(|span| Condition::OldestWaitUnder { time: span.0 });
    let over = when.utilization_over;
    let use_over = over.map(|share| Condition::UtilizationOver { share: share.0 });
    let under = when.utilization_under;
    let use_under = under.map(|share| Condition::UtilizationUnder { share: share.0 });
    let below = when.memory_below;
    let memory_below = below.map(|size| Condition::MemoryBelow { bytes: size.0 });
    let above = when.memory_above;
    let memory_above = above.map(|size| Condition::MemoryAbove { bytes: size.0 });
    let over = when.load_over;
    let load_over = over.map(|load| Condition::LoadOver { milli: load.milli });
    let under = when.load_under;
    let load_under = under.map(|load| Condition::LoadUnder { milli: load.milli });
    let all = [
        schedule,
        queued_over,
        queued_under,
        wait_over,
        wait_under,
        use_over,
        use_under,
        memory_below,
        memory_above,
        load_over,
        load_under,
    ];
    all.into_iter().flatten().collect()
}

fn schedule(when: &raw::When, problems: &mut Problems) -> Option<Schedule> {
    let (text, zone) = match (&when.schedule, &when.zone) {
        (Some(text), Some(zone)) => (text, zone),
        (Some(_), None) => {
            let message =
                "missing the key `zone`: in which time zone, such as Europe/Berlin or UTC?";
            problems.error([], message);
            return None;
        }
        (None, Some(_)) => {
            problems.error(["zone".into()], "a zone without a `schedule` says nothing");
            return None;
        }
        (None, None) => return None,
    };
    if ZONES.get(zone).is_err() {
        let names: Vec<String> = ZONES.available().map(|name| name.to_string()).collect();
        problems.0.push(Problem {
            severity: Severity::Error,
            path: vec!["zone".into()],
            at_key: false,
            message: format!("`{zone}` is no time zone of the IANA database"),
            suggestion: nearest(zone, names.iter().map(String::as_str)),
        });
        return None;
    }
    match Schedule::parse(text, zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            problems.error(["schedule".into()], error.to_string());
            None
        }
    }
}

/// What two rules of one kind in one pool claim twice, and what they surely forgot. `own` are the pool's rules, with
/// their place in its list; `profile` those that hold where none of them does.
pub(super) fn compare(own: &[(usize, &Rule)], profile: &[Rule], problems: &mut Problems) {
    for (later, (place, rule)) in own.iter().enumerate() {
        for (_, earlier) in &own[..later] {
            if let Some(message) = claimed_twice(earlier, rule) {
                problems.warning(["rules".into(), (*place).into()], message);
                break;
            }
        }
    }
    let mut kinds: Vec<&str> = own.iter().map(|(_, rule)| rule.rule.name()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let same = own.iter().filter(|(_, rule)| rule.rule.name() == kind);
        let same: Vec<&(usize, &Rule)> = same.collect();
        if let (Some(message), Some((place, _))) = (forgotten(&same, profile), same.last()) {
            problems.warning(["rules".into(), (*place).into()], message);
        }
    }
}

fn claimed_twice(earlier: &Rule, later: &Rule) -> Option<String> {
    if earlier.rule.name() != later.rule.name() {
        return None;
    }
    let (kind, first, second) = (earlier.rule.name(), &earlier.name, &later.name);
    if earlier.when.is_always() {
        return Some(format!(
            "`{second}` is never in force: `{first}` stands before it, is a {kind} rule too, and always holds"
        ));
    }
    let (a, b) = (earlier.when.only_schedule()?, later.when.only_schedule()?);
    let minute = WeekRange::minute_in_words(a.first_overlap(b)?);
    Some(format!(
        "`{first}` and `{second}` are both {kind} rules and both hold on {minute}: there `{first}` wins, since it stands first"
    ))
}

/// A short hole between the schedules of one kind. Only where all of them are schedules of one zone can it be seen.
fn forgotten(same: &[&(usize, &Rule)], profile: &[Rule]) -> Option<String> {
    let schedules: Option<Vec<&Schedule>> = same
        .iter()
        .map(|(_, rule)| rule.when.only_schedule())
        .collect();
    let schedules = schedules.filter(|schedules| schedules.len() > 1)?;
    let zone = &schedules[0].zone;
    if schedules.iter().any(|schedule| schedule.zone != *zone) {
        return None;
    }
    let week = usize::from(MINUTES_OF_A_WEEK);
    let minute = |n: usize| u16::try_from(n % week).unwrap_or(0);
    let open = |n: usize| {
        !schedules
            .iter()
            .any(|schedule| schedule.contains(minute(n)))
    };
    // every hole begins where a range ends
    let ends = schedules.iter().flat_map(|schedule| &schedule.ranges);
    let hole = ends.map(|range| usize::from(range.to)).find_map(|from| {
        let length = (from..from + week).take_while(|n| open(*n)).count();
        (1..=SURELY_A_MISTAKE)
            .contains(&length)
            .then_some((from, length))
    });
    let (from, length) = hole?;
    let kind = same.first()?.1.rule.name();
    let instead = profile.iter().find(|rule| rule.rule.name() == kind);
    Some(format!(
        "from {} to {} none of this pool's {kind} rules holds, {}: is that meant?",
        WeekRange::minute_in_words(minute(from)),
        WeekRange::minute_in_words(minute(from + length)),
        match instead {
            Some(rule) => format!("and `{}` does", rule.name),
            None => "and its profile has none".to_owned(),
        }
    ))
}
