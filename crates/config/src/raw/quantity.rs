//! Numbers with their unit, as an operator writes them. A bare number is refused where nobody could tell its unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::Share;
use ports::units::{SPAN, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// Reads a text by `FromStr`, or a bare number where the type has a meaning for one.
struct TextOr<T> {
    expecting: &'static str,
    number: Option<fn(f64) -> Option<T>>,
}

impl<'de, T: FromStr<Err = String>> serde::de::Visitor<'de> for TextOr<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        // what a configuration counts is far below the point where this loses anything
        #[expect(clippy::cast_precision_loss, reason = "greater numbers are refused")]
        self.visit_f64(number as f64)
    }
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        let read = self.number.and_then(|read| read(number));
        read.ok_or_else(|| E::invalid_type(serde::de::Unexpected::Other("a number"), &self))
    }
}

macro_rules! quantity {
    ($type:ty, $expecting:literal, $number:expr, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextOr {
                    expecting: $expecting,
                    number: $number,
                })
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

/// A share of a whole: `80%`, `99.5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) Share);

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Percent)
    }
}

quantity!(Percent, "a share such as 80% or 99.5%", None, {
    "type": "string", "pattern": "^[0-9]+(\\.[0-9])?%$", "examples": ["80%", "99.5%"]
});

/// An amount of memory with its unit: `512MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not an amount of memory; write such as 512MiB or 2GiB");
        let text = text.trim();
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let found = units.iter().find_map(|(unit, shift)| {
            let number = text.strip_suffix(unit)?.trim();
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            Some((digits.then_some(number)?, *shift))
        });
        let (number, shift) = found.ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    /// In the greatest unit in which it is whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |shift: u32| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        let (shift, unit) = units
            .into_iter()
            .find(|(shift, _)| whole(*shift))
            .unwrap_or((0, "B"));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

quantity!(Size, "an amount of memory with its unit, such as 512MiB or 2GiB", None, {
    "type": "string", "pattern": "^[0-9]+ ?(Ki|Mi|Gi|Ti)B$", "examples": ["512MiB", "2GiB"]
});

/// A number with up to three digits behind the point, kept in thousandths: `4`, `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal {
    pub(crate) milli: u32,
}

impl Decimal {
    fn of(number: f64) -> Option<Self> {
        let milli = (number * 1000.0).round();
        let fits =
            (0.0..=f64::from(u32::MAX)).contains(&milli) && (milli / 1000.0 - number).abs() < 1e-6;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked right above"
        )]
        fits.then_some(Decimal {
            milli: milli as u32,
        })
    }
}

impl FromStr for Decimal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number: Option<f64> = text.trim().parse().ok();
        let read = number.and_then(Decimal::of);
        read.ok_or_else(|| format!("`{text}` is not a number such as 4 or 0.5"))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.milli / 1000, self.milli % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

quantity!(Decimal, "a number such as 4 or 0.5", Some(Decimal::of), {
    "type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?$", "examples": [4, 0.5]
});

/// From a least to a greatest amount: `1..4`, or one for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range<T> {
    pub(crate) least: T,
    pub(crate) most: T,
}

impl<T: FromStr<Err = String> + Copy + PartialOrd> FromStr for Range<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (least.parse()?, most.parse()?);
        if least > most {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(Range { least, most })
    }
}

quantity!(Range<Decimal>, "a range such as 1..4, or one number", Some(|number| {
    let one = Decimal::of(number)?;
    Some(Range { least: one, most: one })
}), {
    "type": ["string", "number"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?( ?\\.\\. ?[0-9]+(\\.[0-9]+)?)?$",
    "examples": ["1..4", "0.5..2", 2]
});

quantity!(Range<Size>, "a range of memory such as 2GiB..8GiB, or one amount", None, {
    "type": "string", "pattern": "^[0-9]+ ?(Ki|Mi|Gi|Ti)B( ?\\.\\. ?[0-9]+ ?(Ki|Mi|Gi|Ti)B)?$",
    "examples": ["2GiB..8GiB", "4GiB"]
});

/// How long idleness lasts: a time, or `break-even`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleFor {
    Fixed(Duration),
    BreakEven,
}

impl FromStr for IdleFor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "break-even" {
            return Ok(IdleFor::BreakEven);
        }
        let span: Span = text
            .parse()
            .map_err(|error| format!("{error}; or `break-even`, which is learned"))?;
        Ok(IdleFor::Fixed(span.0))
    }
}

quantity!(IdleFor, "a time with its unit, such as 5s, 10m or 1h 30m, or `break-even`", None, {
    "type": "string", "pattern": format!("^(break-even|{SPAN})$"), "examples": ["break-even", "10m"]
});

/// How many slots are kept idle: a number, a share of the busy ones, or `arrivals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    Number(u32),
    Share(Share),
    Arrivals,
}

impl FromStr for Idle {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "arrivals" {
            return Ok(Idle::Arrivals);
        }
        let number = text.parse().map(Idle::Number).ok();
        let share = || text.parse().map(Idle::Share).ok();
        number.or_else(share).ok_or_else(|| {
            format!("`{text}` is not a number of slots, a share of the busy ones such as 10%, or `arrivals`")
        })
    }
}

quantity!(Idle, "a number of slots, a share of the busy ones such as 10%, or `arrivals`", Some(|number| {
    let decimal = Decimal::of(number)?;
    (decimal.milli % 1000 == 0).then_some(Idle::Number(decimal.milli / 1000))
}), {
    "type": ["integer", "string"], "minimum": 0, "pattern": "^([0-9]+|[0-9]+(\\.[0-9])?%|arrivals)$",
    "examples": [4, "10%", "arrivals"]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units_and_nothing_else() {
        assert_eq!("2GiB".parse(), Ok(Size(2 << 30)));
        assert_eq!("512 MiB".parse(), Ok(Size(512 << 20)));
        for bad in ["2", "2GB", "GiB", "-1GiB", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert_eq!("0.5".parse(), Ok(Decimal { milli: 500 }));
        assert!("0.0001".parse::<Decimal>().is_err() && "-1".parse::<Decimal>().is_err());
        let range: Range<Decimal> = "1..4".parse().unwrap();
        assert_eq!((range.least.milli, range.most.milli), (1000, 4000));
        assert!("4..1".parse::<Range<Decimal>>().is_err());
        assert_eq!("10%".parse(), Ok(Idle::Share(Share::percent(10))));
        assert_eq!("break-even".parse(), Ok(IdleFor::BreakEven));
        assert!("600".parse::<IdleFor>().is_err());
    }
}
