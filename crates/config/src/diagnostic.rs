//! How a problem is shown: file, line, column, the text underlined, a suggestion.

use std::fmt;

use model::words::visible;
use ports::strict::{Problem, Severity};

use crate::load::Source;
use crate::locate::{Position, locate};
use crate::words::plain;

/// One problem with its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// Line and column, from 1, if the place is known.
    pub place: Option<(usize, usize)>,
    /// The column after the last character that is meant, from 1, if the place is known and nothing of it is hidden.
    pub end: Option<usize>,
    /// The line of text, with a secret's value taken out.
    pub excerpt: Option<String>,
    /// The column of the excerpt at which the underline begins, from 1, and its length.
    pub underline: (usize, usize),
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

/// What is kept before the column when a line is too long.
const BEFORE: usize = 60;

/// Longest message, for the same reason.
const MAX_MESSAGE: usize = 600;

impl Diagnostic {
    /// Gives a problem its place in the text.
    pub(crate) fn new(problem: &Problem, source: &Source) -> Self {
        let position = locate(&source.text, &problem.path, problem.at_key);
        Self::at(problem, source, position)
    }

    pub(crate) fn at(problem: &Problem, source: &Source, position: Option<Position>) -> Self {
        let shown = position.and_then(|position| Excerpt::of(source, position));
        let words = |text: &str| visible(&source.secrets.hide(text), MAX_MESSAGE);
        Diagnostic {
            severity: problem.severity,
            file: source.file.clone(),
            place: position.map(|p| (p.line, p.column)),
            end: shown.as_ref().and_then(|shown| shown.end),
            excerpt: shown.as_ref().map(|shown| shown.line.clone()),
            underline: shown.map_or((1, 1), |shown| shown.underline),
            message: words(&plain(&problem.message)),
            suggestion: problem.suggestion.as_deref().map(words),
        }
    }
}

/// A line as it is shown.
struct Excerpt {
    line: String,
    underline: (usize, usize),
    end: Option<usize>,
}

impl Excerpt {
    fn of(source: &Source, position: Position) -> Option<Self> {
        let written = source.text.lines().nth(position.line.saturating_sub(1))?;
        let (line, column) = source.secrets.hide_in_line(written, position.column);
        let (mut line, mut column) = (visible(&line, usize::MAX), column.max(1));
        if line.chars().count() > MAX_EXCERPT {
            let skip = (column - 1).saturating_sub(BEFORE);
            let cut: String = line.chars().skip(skip).take(MAX_EXCERPT).collect();
            let dots = if skip > 0 { "…" } else { "" };
            line = format!("{dots}{cut}…");
            column = column - skip + dots.chars().count();
        }
        let underline = (column, width(&line, column));
        // the length of what is hidden is nobody's business
        let meant = word(written, position.column.max(1));
        let end = (meant == word(&line, column)).then(|| position.column + meant.chars().count());
        Some(Excerpt {
            line,
            underline,
            end,
        })
    }
}

/// What is underlined at the column.
fn word(line: &str, column: usize) -> String {
    let rest = line.chars().skip(column - 1);
    rest.take(width(line, column)).collect()
}

/// The word at the column; the whole text if it is in quotes.
fn width(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(column - 1).collect();
    let quoted = match rest.first() {
        Some(quote @ ('"' | '\'')) => rest[1..].iter().position(|c| c == quote).map(|end| end + 2),
        _ => None,
    };
    quoted.unwrap_or_else(|| {
        let word = rest
            .iter()
            .take_while(|c| !c.is_whitespace() && !",:]}".contains(**c));
        word.count().max(1)
    })
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.as_str(), self.message)?;
        match (self.place, &self.excerpt) {
            (Some((line, column)), Some(excerpt)) => {
                let gutter = line.to_string();
                let pad = " ".repeat(gutter.len());
                writeln!(f, "{pad}--> {}:{line}:{column}", self.file)?;
                writeln!(f, "{pad} |")?;
                writeln!(f, "{gutter} | {excerpt}")?;
                let (start, width) = self.underline;
                let space = " ".repeat(start.saturating_sub(1));
                writeln!(f, "{pad} | {space}{}", "^".repeat(width))?;
            }
            _ => writeln!(f, " --> {}", self.file)?,
        }
        match &self.suggestion {
            Some(suggestion) => writeln!(f, "  = did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}
