//! What was done and what stayed, in a table for a person.

use std::fmt::Write;

use model::age;

use super::report::{Fate, Report, Row};
use crate::tables::{in_words, table};

pub(super) fn of(report: &Report) -> String {
    let mut text = String::new();
    let fleet = &report.fleet;
    let _ = writeln!(
        text,
        "fleet {fleet}: {} past their time, {} wanted, {} without a mark, {} gone or on their way",
        report.machines.len(),
        report.wanted,
        report.unmarked,
        report.leaving,
    );
    for doubt in &report.doubts {
        let _ = writeln!(text, "  not seen: {doubt}");
    }
    if report.even_if_busy {
        let _ = writeln!(
            text,
            "  --even-if-busy: no executor is cordoned or read, and builds that run there are killed"
        );
    }
    if report.dry_run {
        let _ = writeln!(text, "  --dry-run: nothing is done");
    }
    if report.machines.is_empty() {
        return text;
    }
    let mut machines = table(["machine", "provider", "over for", "executor", "fate", "why"]);
    for row in &report.machines {
        let executor = row.executor.as_ref().map(ToString::to_string);
        machines.add_row([
            row.machine.to_string(),
            row.provider.to_string(),
            over_for(row, report),
            executor.unwrap_or_default(),
            fate(&row.fate).to_owned(),
            why(row),
        ]);
    }
    let _ = writeln!(text, "{machines}");
    let _ = writeln!(text, "{}", sum(report));
    text
}

fn over_for(row: &Row, report: &Report) -> String {
    match row.expires {
        Some(until) => in_words(age(until, report.at)),
        None => "no mark".to_owned(),
    }
}

fn fate(fate: &Fate) -> &'static str {
    match fate {
        Fate::Deleted(_) => "deleted",
        Fate::Gone => "gone",
        Fate::Wanted => "wanted again",
        Fate::Stayed(_) => "STAYS",
        Fate::WouldGo(_) => "would go",
    }
}

fn why(row: &Row) -> String {
    let why = match &row.fate {
        Fate::Deleted(why) | Fate::Stayed(why) | Fate::WouldGo(why) => why.as_str(),
        Fate::Gone => "it went without us",
        Fate::Wanted => "somebody said so meanwhile",
    };
    match &row.left_behind {
        Some(left) => format!("{why}; {left}"),
        None => why.to_owned(),
    }
}

fn sum(report: &Report) -> String {
    let count = |is: fn(&Fate) -> bool| report.machines.iter().filter(|row| is(&row.fate)).count();
    let left = report
        .machines
        .iter()
        .filter(|row| row.left_behind.is_some());
    format!(
        "in all: {} deleted, {} gone, {} wanted again, {} stay, {} would go, {} left something behind",
        count(|fate| matches!(fate, Fate::Deleted(_))),
        count(|fate| *fate == Fate::Gone),
        count(|fate| *fate == Fate::Wanted),
        count(|fate| matches!(fate, Fate::Stayed(_))),
        count(|fate| matches!(fate, Fate::WouldGo(_))),
        left.count(),
    )
}
