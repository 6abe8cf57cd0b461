//! Times with units, as an operator writes them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// How a length of time is written, as a regular expression for schemas. The reader takes a few more ways (`PT5M`), which an
/// editor need not offer.
pub const SPAN: &str = concat!(
    "[0-9]+(\\.[0-9]+)? ?(h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|millis|milliseconds?)",
    "(,? ?[0-9]+(\\.[0-9]+)? ?(h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|millis|milliseconds?))*"
);

/// A length of time with its unit: `5s`, `10m`, `1h 30m`. A bare number is refused, since nobody can tell its unit;
/// `0s` means zero, not "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }
    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Span(Duration::from_secs(minutes * 60))
    }
}

/// The form in which it is written: `48h`, `1h 30m`.
impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write a time with its unit, such as 5s, 10m or 1h 30m";
        let parsed: jiff::SignedDuration = text
            .parse()
            .map_err(|_| format!("`{text}` is not a length of time; {example}"))?;
        Duration::try_from(parsed)
            .map(Span)
            .map_err(|_| format!("`{text}` is negative; {example}"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time with its unit, such as 5s, 10m or 1h 30m")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time with its unit, such as 5s, 10m or 1h 30m.",
            "pattern": format!("^{SPAN}$"),
            "examples": ["5s", "10m", "1h 30m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!("5s".parse(), Ok(Span::seconds(5)));
        assert_eq!("10m".parse(), Ok(Span::minutes(10)));
        assert_eq!("1h 30m".parse(), Ok(Span::minutes(90)));
        assert_eq!("0s".parse(), Ok(Span::seconds(0)));
        for bad in ["5", "", "-5s", "soon"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        let number: Result<Span, _> = serde_json::from_str("5");
        assert!(number.unwrap_err().to_string().contains("unit"));
    }
}
