//! The EC2 query protocol's way of writing lists and structures in a form: `Filter.1.Value.2=x`.
//!
//! Only shapes: what a parameter means is the actions' business.

use std::collections::BTreeMap;

use crate::wire::{Outcome, Refusal};

/// The parameters of one request, or the part of them below a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn need(&self, key: &str) -> Outcome<&str> {
        self.get(key).ok_or_else(|| {
            Refusal::bad(
                "MissingParameter",
                format!("The request must contain the parameter {key}"),
            )
        })
    }

    pub(crate) fn number(&self, key: &str) -> Outcome<Option<u32>> {
        self.get(key)
            .map(|value| value.parse().map_err(|_| Refusal::value(value, key)))
            .transpose()
    }

    pub(crate) fn flag(&self, key: &str) -> Outcome<bool> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refusal::value(other, key)),
        }
    }

    /// The structure below `prefix.`.
    pub(crate) fn group(&self, prefix: &str) -> Self {
        let below = self.0.iter().filter_map(|(key, value)| {
            let rest = key.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), value.clone()))
        });
        Self(below.collect())
    }

    /// The structures `prefix.1`, `prefix.2` and so on, in the order of their numbers.
    pub(crate) fn groups(&self, prefix: &str) -> Vec<Self> {
        let mut found: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
        for (key, value) in self.group(prefix).0 {
            let Some((number, rest)) = key.split_once('.') else {
                continue;
            };
            if let Ok(number) = number.parse() {
                found
                    .entry(number)
                    .or_default()
                    .insert(rest.to_owned(), value);
            }
        }
        found.into_values().map(Self).collect()
    }

    /// The values `prefix.1`, `prefix.2` and so on, in the order of their numbers.
    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        let numbered = self.group(prefix).0.into_iter();
        let found: BTreeMap<u32, String> = numbered
            .filter_map(|(key, value)| Some((key.parse().ok()?, value)))
            .collect();
        found.into_values().collect()
    }

    /// Refuses parameters whose first part is not in `known`: a misspelt one is not ignored.
    pub(crate) fn only(&self, known: &[&str]) -> Outcome<()> {
        for key in self.0.keys() {
            let head = key.split_once('.').map_or(key.as_str(), |(head, _)| head);
            if !known.contains(&head) {
                let message = format!("The parameter {head} is not recognized");
                return Err(Refusal::bad("UnknownParameter", message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let form = Form::parse(
            b"Id.10=j&Id.2=b&Id.1=a&Filter.2.Name=y&Filter.1.Name=x&Filter.1.Value.1=v",
        );
        assert_eq!(form.list("Id"), ["a", "b", "j"]);
        let filters = form.groups("Filter");
        assert_eq!(filters[0].get("Name"), Some("x"));
        assert_eq!(filters[0].list("Value"), ["v"]);
        assert_eq!(filters[1].get("Name"), Some("y"));
    }

    #[test]
    fn a_misspelt_parameter_is_refused() {
        let refusal = Form::parse(b"MaxResult=5")
            .only(&["MaxResults"])
            .unwrap_err();
        assert_eq!(refusal.code, "UnknownParameter");
    }
}
