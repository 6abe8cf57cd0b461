//! Paths and query values with `{name}` in them.

use std::collections::BTreeMap;

/// A text of which some parts are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads a text in which `{name}` is a place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` has a bracket without its other half");
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(wrong)?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(wrong());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Name(name.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The names of its places.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The whole text; `None` when a value is missing.
    pub(crate) fn fill(&self, values: &BTreeMap<String, String>) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Name(name) => values.get(name).cloned(),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_halves_refused() {
        let template = Template::parse("/runs/{run}/jobs/{job}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["run", "job"]);
        let values = [("run", "7"), ("job", "a/b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(
            template.fill(&values.into()).as_deref(),
            Some("/runs/7/jobs/a/b")
        );
        assert_eq!(template.fill(&BTreeMap::new()), None);
        for half in ["{a", "a}", "}{", "{}", "{a{b}}"] {
            assert!(Template::parse(half).is_err(), "{half}");
        }
    }
}
