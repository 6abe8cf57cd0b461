//! What ran, what did not and why, as one table at the end.
//!
//! A skipped test is never silent: it has a line with its name, and in CI it is a failure.

use std::path::Path;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

/// Skips with this prefix belong to slow parts that only `--extended` starts.
const EXTENDED: &str = "extended/";

/// How one step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// Not there or not run; the detail says why.
    Missing,
    /// Left out on purpose.
    NotAsked,
}

/// One line of the table.
#[derive(Clone, Debug)]
struct Step {
    name: String,
    outcome: Outcome,
    took: Option<Duration>,
    detail: String,
}

/// The steps of one run, in order.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
}

impl Report {
    pub(crate) fn add(
        &mut self,
        name: &str,
        outcome: Outcome,
        took: Option<Duration>,
        detail: impl Into<String>,
    ) {
        self.steps.push(Step {
            name: name.into(),
            outcome,
            took,
            detail: detail.into(),
        });
    }

    /// Adds a line per test that skipped itself.
    pub(crate) fn add_skips(&mut self, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for (name, why) in parse_skips(&text) {
            let outcome = if name.starts_with(EXTENDED) {
                Outcome::NotAsked
            } else {
                Outcome::Missing
            };
            self.add(&format!("test {name}"), outcome, None, why);
        }
    }

    /// True when the command may end well. In CI whatever is missing is a failure too.
    pub(crate) fn is_good(&self, ci: bool) -> bool {
        self.steps.iter().all(|step| match step.outcome {
            Outcome::Passed | Outcome::NotAsked => true,
            Outcome::Missing => !ci,
            Outcome::Failed => false,
        })
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_HORIZONTAL_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(["step", "outcome", "took", "what"]);
        for step in &self.steps {
            let outcome = match step.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "FAILED",
                Outcome::Missing => "SKIPPED",
                Outcome::NotAsked => "not asked for",
            };
            let took = step.took.map(|took| format!("{:.1} s", took.as_secs_f64()));
            table.add_row([&step.name, outcome, &took.unwrap_or_default(), &step.detail]);
        }
        table.to_string()
    }
}

/// Name and reason of each skipped test, each once.
fn parse_skips(text: &str) -> Vec<(String, String)> {
    let mut skips: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split_once('\t').unwrap_or((line, "no reason given")))
        .map(|(name, why)| (name.trim().to_owned(), why.trim().to_owned()))
        .collect();
    skips.sort();
    skips.dedup();
    skips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        let mut report = Report::default();
        report.add(
            "first",
            Outcome::Passed,
            Some(Duration::from_millis(1500)),
            "9 tests",
        );
        report.add("second", outcome, None, "no redis");
        report
    }

    #[test]
    fn a_skip_is_a_failure_in_ci_only() {
        assert!(report(Outcome::Missing).is_good(false));
        assert!(!report(Outcome::Missing).is_good(true));
        assert!(report(Outcome::NotAsked).is_good(true));
        assert!(!report(Outcome::Failed).is_good(false));
    }

    #[test]
    fn the_table_names_every_step_and_reason() {
        let table = report(Outcome::Missing).table();
        for word in ["first", "1.5 s", "9 tests", "second", "SKIPPED", "no redis"] {
            assert!(table.contains(word), "{word} in {table}");
        }
    }

    #[test]
    fn a_skip_is_listed_once_however_often_it_was_written() {
        let text = "b\tno moto\na\tno redis\n\nb\tno moto\nodd line\n";
        let expected = [
            ("a", "no redis"),
            ("b", "no moto"),
            ("odd line", "no reason given"),
        ];
        let found = parse_skips(text);
        assert_eq!(
            found,
            expected.map(|(name, why)| (name.to_owned(), why.to_owned()))
        );
    }
}
