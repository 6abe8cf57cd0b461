//! `${env:NAME}` and `${file:/path}`: a reference that is written slightly wrong would be sent to a server as the secret
//! itself, so everything that looks like one must be one.

use std::path::Path;

use ports::SecretRef;
use ports::strict::{Problem, Problems, Severity, Step, nearest};
use serde_json::Value;

/// What a reference looks like, for messages.
const FORMS: &str = "${env:NAME} or ${file:/path}";

/// Looks at every text of the document.
pub(super) fn check(value: &Value, path: &mut Vec<Step>, problems: &mut Problems) {
    match value {
        Value::String(text) if text.contains("${") => problems.0.extend(wrong(text, path)),
        Value::Array(list) => {
            for (index, entry) in list.iter().enumerate() {
                path.push(Step::Index(index));
                check(entry, path, problems);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (key, entry) in map {
                path.push(Step::Key(key.clone()));
                check(entry, path, problems);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn wrong(text: &str, path: &[Step]) -> Option<Problem> {
    let problem = |severity, message, suggestion| {
        Some(Problem {
            severity,
            path: path.to_vec(),
            at_key: false,
            message,
            suggestion,
        })
    };
    let error = |message: String| problem(Severity::Error, message, None);
    match SecretRef::parse(text) {
        SecretRef::Env(name) => {
            let odd = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            if name.is_empty() || name.contains(odd) {
                return error(format!(
                    "`{name}` is not the name of an environment variable: write ${{env:NAME}}"
                ));
            }
        }
        SecretRef::File(file) if file == Path::new("") => {
            return error("the reference names no file: write ${file:/path}".to_owned());
        }
        SecretRef::File(file) if file.is_relative() => {
            let message = "a relative path: it is looked for where the service was started, not beside this file";
            return problem(Severity::Warning, message.to_owned(), None);
        }
        SecretRef::File(_) => {}
        SecretRef::Literal(_) if text.starts_with("${") && text.ends_with('}') => {
            let (word, rest) = text[2..text.len() - 1].split_once(':').unwrap_or(("", ""));
            let meant = nearest(&word.to_lowercase(), ["env", "file"]);
            let suggestion = meant.map(|word| format!("${{{word}:{rest}}}"));
            let message = format!("this is not a reference: write {FORMS}");
            return problem(Severity::Error, message, suggestion);
        }
        SecretRef::Literal(_) if text.contains("${env:") || text.contains("${file:") => {
            return error(
                "a reference must be the whole value: put the whole text into the variable or the file"
                    .to_owned(),
            );
        }
        SecretRef::Literal(_) => {}
    }
    None
}

/// Adds to an error about a value that is a reference that this key takes none.
pub(super) fn explain(document: &Value, problems: &mut Problems) {
    for problem in &mut problems.0 {
        let mut at = Some(document);
        for step in &problem.path {
            at = at.and_then(|value| match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            });
        }
        let reference = at
            .and_then(Value::as_str)
            .filter(|text| text.starts_with("${"));
        if reference.is_some_and(|reference| problem.message.contains(reference)) {
            problem
                .message
                .push_str("; a reference is read only where a secret is expected");
        }
    }
}
