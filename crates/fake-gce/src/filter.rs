//! The small part of the list filter language that is needed; the rest is refused rather than ignored.

use crate::machine::Machine;
use crate::wire::{Outcome, Refusal};

/// Terms that all have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: Key,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Name,
    Status,
    Label(String),
}

impl Filter {
    /// Reads `labels.a=b`, `name!=x`, and several of them in parentheses or joined by `AND`.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let bad = || Refusal::field("filter", text, "Invalid list filter expression.");
        let mut terms = Vec::new();
        let joined = text.replace(") (", ") AND (");
        for term in joined.split(" AND ").filter(|term| !term.trim().is_empty()) {
            let term = term.trim();
            let bare = term
                .strip_prefix('(')
                .and_then(|term| term.strip_suffix(')'))
                .unwrap_or(term);
            let (key, value, equal) = match bare.split_once("!=") {
                Some((key, value)) => (key, value, false),
                None => {
                    let (key, value) = bare.split_once('=').ok_or_else(bad)?;
                    (key, value, true)
                }
            };
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            let odd = |c: char| c.is_whitespace() || "()\"*:<>".contains(c);
            if value.is_empty() || value.contains(odd) {
                return Err(bad());
            }
            let key = match (key, key.strip_prefix("labels.")) {
                ("name", _) => Key::Name,
                ("status", _) => Key::Status,
                (_, Some(label)) if !label.is_empty() && !label.contains(odd) => {
                    Key::Label(label.to_owned())
                }
                _ => return Err(bad()),
            };
            terms.push(Term {
                key,
                equal,
                value: value.to_owned(),
            });
        }
        Ok(Self(terms))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn fits(&self, machine: &Machine, status: &str) -> bool {
        self.0.iter().all(|term| {
            let found = match &term.key {
                Key::Name => Some(machine.name.as_str()),
                Key::Status => Some(status),
                Key::Label(label) => machine.labels.get(label).map(String::as_str),
            };
            (found == Some(term.value.as_str())) == term.equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        for good in [
            "labels.parmanu-fleet=acme",
            "(labels.a=b) (labels.c=d)",
            "labels.a=b AND name!=x",
            "status = RUNNING",
            "labels.a=\"b\"",
        ] {
            assert!(Filter::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "labels.a:*",
            "labels.a eq b",
            "labels.a=b OR labels.c=d",
            "machineType=x",
            "labels.a=",
            "labels.=x",
            "nonsense",
            "creationTimestamp>2020",
        ] {
            let refusal = Filter::parse(bad).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.reason.as_str()),
                (400, "invalid"),
                "{bad}"
            );
        }
    }
}
