//! How a problem is shown: file, line, column, the text underlined, a suggestion.

use std::fmt;

use ports::strict::{Problem, Severity};

use crate::locate::{Position, locate};

/// One problem with its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// Line and column, from 1, if the place is known.
    pub place: Option<(usize, usize)>,
    /// The line of text, with a secret's value taken out.
    pub excerpt: Option<String>,
    /// How many characters to underline.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What the operator may have meant.
    pub suggestion: Option<String>,
}

/// All that is wrong with a configuration, in the order of the files and lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report(pub Vec<Diagnostic>);

impl Report {
    /// Whether the configuration cannot be used.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// How many errors and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self
            .0
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .count();
        (errors, self.0.len() - errors)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// Longest excerpt; a line of a hostile file may be a megabyte.
const MAX_EXCERPT: usize = 160;

/// Keys whose values are not shown unless they are references.
const SECRET_WORDS: [&str; 5] = ["token", "secret", "password", "key", "credential"];

impl Diagnostic {
    /// Gives a problem its place in `text`.
    pub(crate) fn new(problem: &Problem, file: &str, text: &str) -> Self {
        let position = locate(text, &problem.path, problem.at_key);
        Self::at(problem, file, text, position)
    }

    pub(crate) fn at(
        problem: &Problem,
        file: &str,
        text: &str,
        position: Option<Position>,
    ) -> Self {
        let line = position.and_then(|p| text.lines().nth(p.line.saturating_sub(1)));
        let excerpt = line.map(without_secret);
        let width = position
            .zip(excerpt.as_deref())
            .map_or(1, |(p, line)| width(line, p.column));
        Diagnostic {
            severity: problem.severity,
            file: file.to_owned(),
            place: position.map(|p| (p.line, p.column)),
            excerpt,
            width,
            message: problem.message.clone(),
            suggestion: problem.suggestion.clone(),
        }
    }
}

/// The line with the value of a secret-like key replaced, unless the value is a reference.
fn without_secret(line: &str) -> String {
    let line: String = line.chars().take(MAX_EXCERPT).collect();
    let lower = line.to_lowercase();
    let secret = SECRET_WORDS.iter().any(|word| {
        lower.match_indices(word).any(|(at, _)| {
            let after = &lower[at + word.len()..];
            let value = after.split_once(':').map(|(_, value)| value.trim_start());
            value.is_some_and(|v| {
                !v.trim_start_matches(['"', '\'']).starts_with("${") && !v.is_empty()
            })
        })
    });
    match (secret, line.split_once(':')) {
        (true, Some((key, _))) => format!("{key}: …"),
        (true, None) | (false, _) => line,
    }
}

fn width(line: &str, column: usize) -> usize {
    line.chars()
        .skip(column.saturating_sub(1))
        .take_while(|c| !c.is_whitespace() && !",:]}".contains(*c))
        .count()
        .max(1)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", self.message)?;
        match (self.place, &self.excerpt) {
            (Some((line, column)), Some(excerpt)) => {
                let gutter = line.to_string();
                let pad = " ".repeat(gutter.len());
                writeln!(f, "{pad}--> {}:{line}:{column}", self.file)?;
                writeln!(f, "{pad} |")?;
                writeln!(f, "{gutter} | {excerpt}")?;
                let marks = "^".repeat(self.width);
                writeln!(f, "{pad} | {}{marks}", " ".repeat(column.saturating_sub(1)))?;
            }
            _ => writeln!(f, " --> {}", self.file)?,
        }
        match &self.suggestion {
            Some(suggestion) => writeln!(f, "  = did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_secret_is_not_repeated_in_an_excerpt() {
        for line in [
            "  token: hunter2",
            "gitlab: { kind: gitlab, token: hunter2 }",
            "  PASSWORD: \"hunter2\"",
        ] {
            assert!(!without_secret(line).contains("hunter2"), "{line}");
        }
        assert_eq!(without_secret("  token: ${env:T}"), "  token: ${env:T}");
        assert_eq!(
            without_secret("  token: \"${env:T}\""),
            "  token: \"${env:T}\""
        );
        assert_eq!(without_secret("  max: 3"), "  max: 3");
    }
}
