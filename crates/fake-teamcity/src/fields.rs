//! `fields=`: which parts of an answer were asked for. What is not named is not sent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A parsed list of fields. An empty one stands for "as it is".
#[derive(Debug, Default)]
pub(crate) struct Fields(BTreeMap<String, Fields>);

impl Fields {
    /// Reads `a,b(c,d)`; `None` when the brackets do not match.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let fields = Self::list(&mut rest)?;
        rest.is_empty().then_some(fields)
    }

    fn list(rest: &mut &str) -> Option<Self> {
        let mut found = BTreeMap::new();
        loop {
            let end = rest.find([',', '(', ')']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            *rest = after;
            let mut inner = Self::default();
            if let Some(after) = rest.strip_prefix('(') {
                *rest = after;
                inner = Self::list(rest)?;
                *rest = rest.strip_prefix(')')?;
            }
            if name.is_empty() {
                return None;
            }
            found.insert(name.to_owned(), inner);
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(Self(found)),
            }
        }
    }

    /// Leaves what was asked for. The server drops `null` values too.
    pub(crate) fn pick(&self, value: Value) -> Value {
        match value {
            Value::Array(rows) => rows.into_iter().map(|row| self.pick(row)).collect(),
            Value::Object(all) => {
                let asked = all
                    .into_iter()
                    .filter(|(_, value)| !value.is_null())
                    .filter_map(|(key, value)| {
                        if self.0.is_empty() {
                            return Some((key, self.pick(value)));
                        }
                        let inner = self.0.get(&key)?;
                        Some((key, inner.pick(value)))
                    });
                Value::Object(asked.collect::<Map<_, _>>())
            }
            plain => plain,
        }
    }
}
