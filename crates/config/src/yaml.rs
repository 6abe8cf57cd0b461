//! One text to one document, strictly: a key that stands twice, a key that is not text, a tag or an endless number is an
//! error with its place, where the library's own value type would keep something in silence.
//!
//! A text is bounded in bytes, in nesting and in what its aliases unfold to, so that a broken file cannot hang a service.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::locate::Position;

/// Longest configuration file; a fleet of a thousand pools needs a third of this.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Open brackets at once. The library's time grows with their square, and it stops at 128 only after it has looked at
/// all of them.
const MAX_BRACKETS: usize = 500;

/// Keys and values, aliases unfolded; a thousand pools have about forty thousand.
const MAX_NODES: usize = 300_000;

/// Why a text is not a document, and where.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) message: String,
    pub(crate) place: Option<Position>,
}

/// Reads one text.
pub(crate) fn parse(text: &str) -> Result<Map<String, Value>, Unreadable> {
    if text.len() > MAX_BYTES {
        let (read, most) = (text.len(), MAX_BYTES);
        let message = format!("the file has {read} bytes, and at most {most} are read: divide it");
        return Err(Unreadable {
            message,
            place: None,
        });
    }
    brackets(text)?;
    let reader = Reader {
        nodes: Cell::new(MAX_NODES),
        said: RefCell::new(None),
    };
    let read = Node(&reader).deserialize(serde_yaml::Deserializer::from_str(text));
    let first = Position { line: 1, column: 1 };
    match read {
        Ok(Value::Object(document)) => Ok(document),
        Ok(Value::Null) => Err(Unreadable {
            message: "the file is empty: a first one needs `version`, `fleet` and `pools`".into(),
            place: None,
        }),
        Ok(_) => Err(Unreadable {
            message: "expected a mapping of keys, such as `version: 1`".into(),
            place: Some(first),
        }),
        Err(error) => {
            let words = error.to_string();
            let place = error.location().map(|place| Position {
                line: place.line(),
                column: place.column(),
            });
            Err(Unreadable {
                place: place.or_else(|| place_in(&words)),
                message: match reader.said.take() {
                    Some(said) => said,
                    None => in_our_words(&words),
                },
            })
        }
    }
}

fn brackets(text: &str) -> Result<(), Unreadable> {
    let mut open = 0usize;
    for (index, line) in text.lines().enumerate() {
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MAX_BRACKETS {
                let (line, column) = (index + 1, column + 1);
                return Err(Unreadable {
                    message: format!("more than {MAX_BRACKETS} brackets are open here"),
                    place: Some(Position { line, column }),
                });
            }
        }
    }
    Ok(())
}

/// The first place that a message of the library names.
fn place_in(message: &str) -> Option<Position> {
    let (_, rest) = message.split_once(" at line ")?;
    let (line, rest) = rest.split_once(" column ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(Position {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

/// The library's message with what helps.
fn in_our_words(message: &str) -> String {
    let message = message
        .split_once(", while ")
        .map_or(message, |(what, _)| what);
    let message = message
        .split_once(" at line ")
        .map_or(message, |(what, _)| what);
    let hint = if message.contains("cannot start any token") {
        " (a tab? YAML is indented with spaces; a text that begins with @, ` or % needs quotes)"
    } else if message.contains("mapping values are not allowed") {
        " (a text with `: ` in it needs quotes; or a line is indented too far)"
    } else if message.contains("more than one document") {
        " (remove the line `---` between them)"
    } else if message.contains("repetition limit") {
        " (aliases unfold to too much)"
    } else if message.contains("did not find expected") {
        " (a bracket or quote that is not closed, or a line that is indented otherwise than its neighbours)"
    } else {
        ""
    };
    format!("this is not YAML: {message}{hint}")
}

struct Reader {
    nodes: Cell<usize>,
    /// What was wrong in our words; the library's error carries the place only.
    said: RefCell<Option<String>>,
}

impl Reader {
    fn refuse<T, E: serde::de::Error>(&self, message: String) -> Result<T, E> {
        let error = E::custom(&message);
        self.said.replace(Some(message));
        Err(error)
    }

    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        match self.nodes.get().checked_sub(1) {
            Some(left) => {
                self.nodes.set(left);
                Ok(())
            }
            None => self.refuse(format!(
                "more than {MAX_NODES} keys and values, aliases unfolded: divide the file, or use fewer aliases"
            )),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'r>(&'r Reader);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Value, E> {
        self.0.refuse("this number is too large".into())
    }
    fn visit_u128<E: serde::de::Error>(self, _: u128) -> Result<Value, E> {
        self.0.refuse("this number is too large".into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => self.0.refuse(
                "this is not a finite number; what has no limit is written by leaving the key out"
                    .into(),
            ),
        }
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        self.0
            .refuse("tags (`!name`) mean nothing here: put the text in quotes".into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut document = Map::new();
        while let Some(key) = map.next_key_seed(Key {
            reader: self.0,
            before: &document,
        })? {
            let value = map.next_value_seed(self)?;
            document.insert(key, value);
        }
        Ok(Value::Object(document))
    }
}

/// A key of a mapping, refused where it stands.
struct Key<'r> {
    reader: &'r Reader,
    before: &'r Map<String, Value>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        self.reader.count()?;
        deserializer.deserialize_any(self)
    }
}

impl Key<'_> {
    fn not_text<T, E: serde::de::Error>(self) -> Result<T, E> {
        self.reader
            .refuse("a key is a text: write it in quotes".into())
    }
}

macro_rules! not_text {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $type) -> Result<String, E> { self.not_text() })*
    };
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if key == "<<" {
            return self.reader.refuse(
                "merge keys (`<<`) are not read: write the keys out, or alias whole values".into(),
            );
        }
        if self.before.contains_key(key) {
            let message =
                format!("the key `{key}` stands twice in this mapping: remove one of them");
            return self.reader.refuse(message);
        }
        Ok(key.to_owned())
    }
    not_text!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64);
    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        self.not_text()
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<String, E> {
        self.not_text()
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.not_text()
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        self.not_text()
    }
}
