//! Strict reading of one typed piece of configuration, with *all* of its errors at once.
//!
//! serde stops at the first error. Here the offending key is taken out and the rest is read again, until it reads or
//! nothing more can be taken out: an operator with five mistakes learns of five. Only for checking; the value that is
//! returned was read from an unchanged text.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}
impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used; the operator should know.
    Warning,
}

impl Severity {
    /// Its word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where, from the root of the piece that was read.
    pub path: Vec<Step>,
    /// Whether the key at the end of the path is meant, not its value.
    pub at_key: bool,
    /// What is wrong, what was read, what was expected.
    pub message: String,
    /// What the operator may have meant.
    pub suggestion: Option<String>,
}

/// Problems found so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds an error about the value at `path`.
    pub fn error(&mut self, path: impl IntoIterator<Item = Step>, message: impl Into<String>) {
        self.add(Severity::Error, path, message.into());
    }

    /// Adds a warning about the value at `path`.
    pub fn warning(&mut self, path: impl IntoIterator<Item = Step>, message: impl Into<String>) {
        self.add(Severity::Warning, path, message.into());
    }

    fn add(&mut self, severity: Severity, path: impl IntoIterator<Item = Step>, message: String) {
        let path = path.into_iter().collect();
        self.0.push(Problem {
            severity,
            path,
            at_key: false,
            message,
            suggestion: None,
        });
    }

    /// Takes over the problems of a piece that stands at `prefix`.
    pub fn append(&mut self, prefix: &[Step], inner: Problems) {
        self.0.extend(inner.0.into_iter().map(|mut problem| {
            problem.path.splice(0..0, prefix.iter().cloned());
            problem
        }));
    }

    /// Whether any of them forbids the use of the configuration.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// At most this many errors of one piece are reported; the rest would be noise.
const MAX_ERRORS: usize = 20;

/// Reads `value` as a `T`; on failure adds every error that can be found to `problems`.
pub fn read<T: DeserializeOwned>(value: &Value, problems: &mut Problems) -> Option<T> {
    let first = match serde_path_to_error::deserialize::<_, T>(value) {
        Ok(read) => return Some(read),
        Err(error) => error,
    };
    let mut rest = value.clone();
    let mut removed: Vec<Vec<Step>> = Vec::new();
    let mut error = first;
    for _ in 0..MAX_ERRORS {
        let problem = problem_of(&error);
        let path = problem.path.clone();
        if !is_echo(&problem, &removed) {
            problems.0.push(problem);
        }
        if path.is_empty() || !remove(&mut rest, &path) {
            break;
        }
        removed.push(path);
        match serde_path_to_error::deserialize::<_, T>(&rest) {
            Ok(_) => break,
            Err(next) => error = next,
        }
    }
    None
}

/// Whether an error only says that a key which was taken out before is missing now.
fn is_echo(problem: &Problem, removed: &[Vec<Step>]) -> bool {
    let Some(missing) = quoted_after(&problem.message, "missing the key ") else {
        return false;
    };
    removed.iter().any(|path| {
        path.len() == problem.path.len() + 1
            && path.starts_with(&problem.path)
            && path.last() == Some(&Step::Key(missing.to_owned()))
    })
}

fn problem_of(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    use serde_path_to_error::Segment;
    let mut path: Vec<Step> = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let message = error.inner().to_string();
    let mut problem = Problem {
        severity: Severity::Error,
        path: Vec::new(),
        at_key: false,
        message: message.clone(),
        suggestion: None,
    };
    if let Some(field) = quoted_after(&message, "unknown field ") {
        // serde names the parent or the field, depending on where the error was raised
        if path.last() != Some(&Step::Key(field.to_owned())) {
            path.push(Step::Key(field.to_owned()));
        }
        let known = quoted(message.split_once("expected").map_or("", |(_, rest)| rest));
        problem.at_key = true;
        problem.suggestion = nearest(field, known.iter().copied());
        problem.message = if known.is_empty() {
            format!("unknown key `{field}`; no key is expected here")
        } else {
            format!("unknown key `{field}`; known are {}", known.join(", "))
        };
    } else if let Some(field) = quoted_after(&message, "missing field ") {
        problem.message = format!("missing the key `{field}`");
    } else if let Some(variant) = quoted_after(&message, "unknown variant ") {
        let known = quoted(message.split_once("expected").map_or("", |(_, rest)| rest));
        problem.suggestion = nearest(variant, known.iter().copied());
        problem.message = format!(
            "`{variant}` is not known here; known are {}",
            known.join(", ")
        );
    }
    problem.path = path;
    problem
}

fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    message
        .strip_prefix(prefix)?
        .strip_prefix('`')?
        .split('`')
        .next()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The known word that looks most like `word`, if any does.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(word, candidate),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

fn remove(value: &mut Value, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut at = value;
    for step in parents {
        let next = match step {
            Step::Key(key) => at.get_mut(key),
            Step::Index(index) => at.get_mut(index),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    match (last, at) {
        (Step::Key(key), Value::Object(map)) => map.remove(key).is_some(),
        // taking an entry out of a list would shift the paths of the others
        (Step::Index(index), Value::Array(list)) if *index + 1 == list.len() => {
            list.pop().is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Piece {
        url: String,
        count: u32,
        #[serde(default)]
        inner: Option<Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        every: crate::units::Span,
    }

    fn all(value: &Value) -> Vec<String> {
        let mut problems = Problems::default();
        assert!(read::<Piece>(value, &mut problems).is_none());
        problems
            .0
            .iter()
            .map(|p| format!("{:?} {} {:?}", p.path, p.message, p.suggestion))
            .collect()
    }

    #[test]
    fn every_error_is_reported_once() {
        let found = all(&json!({"ulr": "x", "count": "many", "inner": {"every": 5, "evry": 1}}));
        let text = found.join("\n");
        assert_eq!(found.len(), 5, "{text}");
        assert!(
            text.contains("unknown key `ulr`") && text.contains("Some(\"url\")"),
            "{text}"
        );
        assert!(text.contains("missing the key `url`"), "{text}");
        assert!(text.contains("unknown key `evry`"), "{text}");
        assert!(text.contains("[Key(\"inner\"), Key(\"every\")]"), "{text}");
        assert!(!text.contains("missing the key `count`"), "{text}");
    }

    #[test]
    fn a_good_piece_has_no_problem() {
        let mut problems = Problems::default();
        let good = json!({"url": "x", "count": 1});
        assert!(read::<Piece>(&good, &mut problems).is_some());
        assert_eq!(problems, Problems::default());
    }
}
