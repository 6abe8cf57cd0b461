//! The boot script of a machine: read, and made once for nobody, so that a script which cannot be made is found by
//! `check` and not by the first machine.
//!
//! What stands in `executor` is the CI server's to say and is not known here, so any key of it is taken.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;

use minijinja::ErrorKind;
use minijinja::value::{Object, Value};
use ports::strict::{Problem, Problems, Severity, nearest};

use crate::template::{Template, empty_environment};
use crate::words;

/// What a boot script may use.
const KNOWN: [&str; 5] = ["fleet", "pool", "batch", "machine", "executor"];

/// What a script is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// The name of one machine and what the CI server gave when its executor was registered.
    Everything,
    /// Neither: the script may be for a whole batch.
    NoMachine,
}

/// Reads the template and tries it. `None` when it cannot be used at all.
pub(super) fn read(base: &Path, path: &str, problems: &mut Problems) -> Option<Template> {
    let template = match Template::read(base, path) {
        Ok(template) => template,
        Err(why) => {
            problems.error(["bootstrap".into()], why);
            return None;
        }
    };
    let unknown = unknown_words(&template);
    let suggestion = unknown.first().and_then(|word| nearest(word, KNOWN));
    let problem = |severity, message| Problem {
        severity,
        path: vec!["bootstrap".into()],
        at_key: false,
        message,
        suggestion: suggestion.clone(),
    };
    match attempt(&template, Given::Everything) {
        Err(why) => {
            problems.0.push(problem(Severity::Error, why));
            None
        }
        Ok(()) => {
            // asked for with `is defined` or in a branch that was not taken
            if !unknown.is_empty() {
                let (unknown, known) = (words::list(&unknown), words::list(&KNOWN));
                let message = format!(
                    "{path} speaks of {unknown}, which no boot script is given; known are {known}"
                );
                problems.0.push(problem(Severity::Warning, message));
            }
            Some(template)
        }
    }
}

/// Names that the script uses and nothing defines, sorted. Its parts may use what it sets for them, so they are not asked.
fn unknown_words(template: &Template) -> Vec<String> {
    let environment = empty_environment();
    let Ok(parsed) = environment.template_from_str(&template.text) else {
        return Vec::new();
    };
    let functions: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
    let mut unknown: Vec<String> = parsed
        .undeclared_variables(false)
        .into_iter()
        .filter(|name| !KNOWN.contains(&name.as_str()) && !functions.contains(&name.as_str()))
        .collect();
    unknown.sort();
    unknown
}

/// Whether the script, or a part of it, uses what the CI server gives at registration.
pub(super) fn uses_executor(template: &Template) -> bool {
    let environment = empty_environment();
    let uses = |text: &String| {
        let parsed = environment.template_from_str(text);
        parsed.is_ok_and(|parsed| parsed.undeclared_variables(false).contains("executor"))
    };
    uses(&template.text) || template.parts.values().any(uses)
}

/// A registration of which nothing is known but that it has what it is asked for.
#[derive(Debug)]
struct AnyKey;

impl Object for AnyKey {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from("x"))
    }
}

/// Makes the script once; what is wrong with it, in words.
pub(super) fn attempt(template: &Template, given: Given) -> Result<(), String> {
    let mut values: BTreeMap<&str, Value> = ["fleet", "pool", "batch"]
        .map(|name| (name, Value::from("x")))
        .into();
    match given {
        Given::Everything => {
            values.insert("machine", Value::from("x"));
            values.insert("executor", Value::from_object(AnyKey));
        }
        Given::NoMachine => {
            let nothing: [(&str, &str); 0] = [];
            values.insert("executor", Value::from_pairs(nothing));
        }
    }
    template
        .environment()
        .and_then(|environment| environment.get_template(&template.name)?.render(values))
        .map(drop)
        .map_err(|error| in_words(&error, template))
}

fn in_words(error: &minijinja::Error, template: &Template) -> String {
    let error = at_its_place(error);
    let file = error.name().unwrap_or(&template.name);
    let text = template.parts.get(file).unwrap_or(&template.text);
    let line = error
        .line()
        .map_or(String::new(), |line| format!(", line {line}"));
    let piece = error.range().and_then(|range| text.get(range));
    match (error.kind(), piece) {
        (ErrorKind::UndefinedError, Some(piece)) => {
            format!("{file}{line}: `{piece}` is not defined")
        }
        (kind, _) => {
            let detail = error
                .detail()
                .map_or(String::new(), |detail| format!(": {detail}"));
            format!("{file}{line}: {kind}{detail}")
        }
    }
}

/// What is wrong in a part, where it is wrong, and not that the part could not be included.
fn at_its_place(error: &minijinja::Error) -> &minijinja::Error {
    let below = error.source().and_then(|below| below.downcast_ref());
    match below {
        Some(below) if error.kind() == ErrorKind::BadInclude => at_its_place(below),
        _ => error,
    }
}
