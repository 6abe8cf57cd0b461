//! What was found, in tables for a person: what is wrong stands first, since that is what one looks for.

use std::fmt::Write as _;

use super::report::{ExecutorRow, MachineRow, Problem, Report};
use crate::tables::table;
use model::words::counted;

pub(super) fn of(report: &Report, only_problems: bool) -> String {
    let mut text = String::new();
    let ours = report.executors.iter().filter(|row| row.ours).count();
    let _ = writeln!(
        text,
        "fleet {}: {}, {} of ours and {} others",
        report.fleet,
        counted(report.machines.len(), "machine"),
        counted(ours, "executor"),
        report.executors.len() - ours,
    );
    for what in &report.not_seen {
        let _ = writeln!(text, "  not seen: {what}");
    }
    say_problems(&mut text, report);
    if !only_problems {
        say_machines(&mut text, &report.machines);
        say_executors(&mut text, &report.executors);
    }
    text
}

fn say_problems(text: &mut String, report: &Report) {
    let of_machines = report
        .machines
        .iter()
        .map(|row| (row.name.clone(), &row.problems));
    let of_executors = report.executors.iter();
    let of_executors =
        of_executors.map(|row| (format!("{} at {}", row.name, row.emitter), &row.problems));
    let of_fleet = [(String::new(), &report.problems)];
    let rows: Vec<(String, &Problem)> = of_fleet
        .into_iter()
        .chain(of_machines)
        .chain(of_executors)
        .flat_map(|(name, problems)| problems.iter().map(move |problem| (name.clone(), problem)))
        .collect();
    if rows.is_empty() {
        let _ = writeln!(text, "nothing that was seen is wrong");
        return;
    }
    let mut problems = table(["what", "is wrong", "how", "what to do"]);
    for (name, problem) in &rows {
        problems.add_row([name, problem.code, &problem.what, &problem.advice]);
    }
    let _ = writeln!(text, "{} wrong:\n{problems}", rows.len());
}

fn say_machines(text: &mut String, rows: &[MachineRow]) {
    if rows.is_empty() {
        return;
    }
    let mut machines = table([
        "machine",
        "where",
        "state",
        "executor",
        "why it is there",
        "wrong",
    ]);
    for row in rows {
        machines.add_row([
            row.name.clone(),
            format!("{} {}", row.provider, row.zone),
            row.state.clone(),
            row.executor.clone().unwrap_or_default(),
            row.why.clone(),
            codes(&row.problems),
        ]);
    }
    let _ = writeln!(text, "{machines}");
}

fn say_executors(text: &mut String, rows: &[ExecutorRow]) {
    if rows.is_empty() {
        return;
    }
    let mut executors = table(["executor", "at", "state", "why it is there", "wrong"]);
    for row in rows {
        executors.add_row([
            format!("{} ({})", row.name, row.id),
            row.emitter.clone(),
            row.state.clone(),
            row.why.clone(),
            codes(&row.problems),
        ]);
    }
    let _ = writeln!(text, "{executors}");
}

fn codes(problems: &[Problem]) -> String {
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    codes.join(", ")
}
