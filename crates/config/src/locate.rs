//! Where in a text a path stands, asked of the YAML library itself.
//!
//! The library gives positions only with its errors, so the text is read once more with a reader that walks down the
//! path and raises an error there. No second YAML parser, hence no second opinion of what the text means.

use std::fmt;

use ports::strict::Step;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// A position in a text; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// The position of the key (`at_key`) or of the value at `path`; of the nearest parent that exists otherwise.
pub(crate) fn locate(text: &str, path: &[Step], at_key: bool) -> Option<Position> {
    (0..=path.len()).rev().find_map(|depth| {
        let at_key = at_key && depth == path.len();
        find(text, &path[..depth], at_key).or_else(|| find(text, &path[..depth], true))
    })
}

fn find(text: &str, path: &[Step], at_key: bool) -> Option<Position> {
    let walk = Walk { path, at_key };
    let error = walk
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    let place = error.location()?;
    error.to_string().contains(MARK).then(|| Position {
        line: place.line(),
        column: place.column(),
    })
}

/// A word that stands in no message of the library.
const MARK: &str = "parmanu-found-it";

#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a [Step],
    at_key: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Walk<'_> {
    fn here<E: serde::de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() {
            Err(E::custom(MARK))
        } else {
            Ok(())
        }
    }
}

macro_rules! scalar {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $type) -> Result<(), E> { self.here() })*
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    scalar!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.here()
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.here()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(MARK));
        };
        let wanted = match step {
            Step::Key(key) => key.as_str(),
            Step::Index(_) => return Ok(()),
        };
        let found = |rest: &[Step]| rest.is_empty() && self.at_key;
        while let Some(here) = map.next_key_seed(Key {
            wanted,
            raise: found(rest),
        })? {
            if here {
                map.next_value_seed(Walk {
                    path: rest,
                    at_key: self.at_key,
                })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(MARK));
        };
        let Step::Index(wanted) = step else {
            return Ok(());
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        seq.next_element_seed(Walk {
            path: rest,
            at_key: self.at_key,
        })?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads a key, tells whether it is the wanted one, and raises the error there if that is what is looked for.
struct Key<'a> {
    wanted: &'a str,
    raise: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.raise => Err(E::custom(MARK)),
            same => Ok(same),
        }
    }
    fn visit_bool<E: serde::de::Error>(self, key: bool) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_u64<E: serde::de::Error>(self, key: u64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_i64<E: serde::de::Error>(self, key: i64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
    fn visit_f64<E: serde::de::Error>(self, key: f64) -> Result<bool, E> {
        self.visit_str(&key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "version: 1\npools:\n  linux:\n    serves: [{ tags: [a, b] }]\n    max: 20\n";

    fn at(path: &[Step], at_key: bool) -> (usize, usize) {
        let found = locate(TEXT, path, at_key).unwrap();
        (found.line, found.column)
    }

    #[test]
    fn keys_values_and_list_entries_are_found_where_they_stand() {
        assert_eq!(
            at(&["pools".into(), "linux".into(), "max".into()], true),
            (5, 5)
        );
        assert_eq!(
            at(&["pools".into(), "linux".into(), "max".into()], false),
            (5, 10)
        );
        let second_tag = [
            "pools".into(),
            "linux".into(),
            "serves".into(),
            0.into(),
            "tags".into(),
            1.into(),
        ];
        assert_eq!(at(&second_tag, false), (4, 26));
    }

    #[test]
    fn what_does_not_exist_is_shown_at_its_nearest_parent() {
        assert_eq!(
            at(&["pools".into(), "linux".into(), "min".into()], false).0,
            4
        );
        assert_eq!(at(&["nowhere".into()], false).0, 1);
    }
}
